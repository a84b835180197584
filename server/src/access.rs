//! Who may use the service at all, and as whom.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request};
use dashmap::DashMap;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use crate::auth::{Caller, Key, Principal, Standing};
use crate::connection::Connection;
use crate::problem::{Kind, Problem};
use crate::quota::Account;
use crate::tokens::Tokens;

/// Who may do what. There is no default: a host says it.
///
/// ```
/// use inflight_server::{Access, Principal, Scope, Tokens};
///
/// // This machine only, everybody everything:
/// let open = Access::open_on_loopback();
///
/// // Who has a token:
/// let tokens = Access::tokens(Tokens::parse("ci read,write acme c3VwZXJzZWNyZXQtb25l")?);
///
/// // Whom the host itself has identified; here by what a layer in front has put into the request.
/// #[derive(Clone)]
/// struct User { name: String, tenant: String }
/// let own = Access::from_request(|parts| {
///     let user = parts.extensions.get::<User>()?;
///     Some(Principal::new(&*user.name).scope(Scope::Read).scope(Scope::List).tenant(&*user.tenant))
/// });
/// # let _ = (open, tokens, own);
/// # Ok::<(), inflight_server::TokenError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Access(Arc<Way>);

enum Way {
    OpenOnLoopback,
    Tokens(Tokens),
    Request(Box<Judge>, Accounts),
}

type Judge = dyn Fn(&Parts) -> Option<Principal> + Send + Sync;

impl Access {
    /// Everybody may do everything who is on this machine: the connection comes from a loopback address,
    /// and the service is called by a name of this machine (or one of
    /// [`allowed_hosts`](crate::Options::allowed_hosts)), so that no web page reaches it by rebinding a name
    /// of its own. All others are refused.
    ///
    /// [`serve`](crate::serve) says where a connection comes from; with `axum::serve`, use
    /// `into_make_service_with_connect_info::<SocketAddr>()`. Where that is not known, nobody is let in.
    #[must_use]
    pub fn open_on_loopback() -> Self {
        Self(Arc::new(Way::OpenOnLoopback))
    }

    /// Requests with one of these tokens may do what the token allows; all others get 401. Which tokens these
    /// are can be [replaced](Tokens::replace) while the service runs.
    #[must_use]
    pub fn tokens(tokens: Tokens) -> Self {
        Self(Arc::new(Way::Tokens(tokens)))
    }

    /// The host decides: `identify` sees the head of each request and gives who it comes from, as a
    /// [`Principal`] or, where it may be nobody, as an `Option<Principal>`. `None` is answered with 401, and
    /// so is a panic with 500.
    ///
    /// It is not asked for the pages, `/healthz`, `/readyz`, `/docs` and `/openapi.json`, which show nothing
    /// of any task.
    #[must_use]
    pub fn from_request<F, P>(identify: F) -> Self
    where
        F: Fn(&Parts) -> P + Send + Sync + 'static,
        P: Into<Option<Principal>>,
    {
        Self(Arc::new(Way::Request(Box::new(move |parts| identify(parts).into()), Accounts::default())))
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.0, Way::OpenOnLoopback)
    }

    /// Whether a caller may be bound to a tenant.
    pub(crate) fn may_have_tenants(&self) -> bool {
        !self.is_open()
    }

    /// Who the request comes from, for whatever shows or changes tasks.
    pub(crate) fn identify(&self, request: &mut Request) -> Result<Caller, Problem> {
        let caller = match &*self.0 {
            Way::OpenOnLoopback => return check_peer(request).map(|()| Caller::ANYONE),
            Way::Tokens(tokens) => {
                let caller = tokens.identify(request.headers())?;
                // Nothing behind this has any use for it, or could log it.
                request.headers_mut().remove(AUTHORIZATION);
                caller
            }
            Way::Request(identify, accounts) => {
                let principal = ask(identify, request)?;
                let account = accounts.of(&principal);
                Caller::new(Arc::new(Standing::new(principal, account)))
            }
        };
        request.extensions_mut().insert(caller.clone());
        Ok(caller)
    }
}

/// What those use whom the host has identified, by name and tenant.
#[derive(Default)]
struct Accounts(DashMap<Key, Arc<Account>>);

impl Accounts {
    /// How many are kept that nobody uses.
    const AT_REST: usize = 1 << 12;

    fn of(&self, principal: &Principal) -> Arc<Account> {
        let key = principal.key();
        if let Some(account) = self.0.get(&key) {
            return Arc::clone(&account);
        }
        // From time to time, so that it costs little for each.
        if self.0.len() >= Self::AT_REST && self.0.len().is_power_of_two() {
            self.0.retain(|_, account| !account.is_at_rest());
        }
        Arc::clone(&self.0.entry(key).or_default())
    }
}

fn ask(identify: &Judge, request: &mut Request) -> Result<Principal, Problem> {
    let (parts, body) = std::mem::take(request).into_parts();
    let found = catch_unwind(AssertUnwindSafe(|| identify(&parts)));
    *request = Request::from_parts(parts, body);
    match found {
        Ok(Some(principal)) => Ok(principal),
        Ok(None) => {
            Err(Problem::new(Kind::Unauthenticated, "the host of this service does not know the caller"))
        }
        Err(_) => Err(Problem::new(Kind::Internal, "the host of this service could not identify the caller")),
    }
}

/// Whether the connection comes from this machine.
fn check_peer(request: &Request) -> Result<(), Problem> {
    let of_axum =
        || request.extensions().get().map(|ConnectInfo(address): &ConnectInfo<SocketAddr>| *address);
    let address =
        request.extensions().get().map(|connection: &Connection| connection.address).or_else(of_axum);
    match address {
        Some(address) if is_loopback(address.ip()) => Ok(()),
        Some(_) => Err(Problem::new(Kind::Forbidden, "without tokens, only this machine is served")),
        None => Err(Problem::new(
            Kind::Forbidden,
            "without tokens, only this machine is served, and where the connection comes from is not known",
        )),
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    // On a socket for both families, an IPv4 address comes as one of IPv6.
    ip.to_canonical().is_loopback()
}

/// Whether a name, as in `Host`, means this machine and can mean no other.
pub(crate) fn is_local_name(name: &str) -> bool {
    let ipv6 = || name.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let ip = name.parse::<Ipv4Addr>().ok().map(IpAddr::V4).or_else(|| ipv6().map(IpAddr::V6));
    name.eq_ignore_ascii_case("localhost") || ip.is_some_and(is_loopback)
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::OpenOnLoopback => f.write_str("OpenOnLoopback"),
            Way::Tokens(tokens) => f.debug_tuple("Tokens").field(tokens).finish(),
            Way::Request(..) => f.write_str("Request"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_told_from_all_others() {
        for name in ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_local_name(name), "{name}");
        }
        for name in [
            "",
            "localhost.",
            "a.localhost",
            "127.0.0.1.example",
            "::1",
            "[::2]",
            "10.0.0.1",
            "0.0.0.0",
            "127.1",
        ] {
            assert!(!is_local_name(name), "{name}");
        }
    }
}
