//! Who asks, and what they may do.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::problem::{Kind, Problem};
use crate::quota::{Account, Quota};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Reading a task whose id is known, waiting for it, and its events.
    Read,
    /// Creating, changing, cancelling and removing tasks.
    Write,
    /// Finding tasks: lists, counts, and the stream of all events.
    List,
    /// All of that, and, for a caller that is bound to no tenant, `/metrics`.
    Admin,
}

impl Scope {
    const ALL: [(Scope, &'static str); 4] =
        [(Scope::Read, "read"), (Scope::Write, "write"), (Scope::List, "list"), (Scope::Admin, "admin")];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(scope, _)| *scope == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, have)| *have == name).map(|(scope, _)| *scope)
    }
}

/// Who a request comes from, and what they may do: nothing, until a scope is given.
///
/// ```
/// use inflight_server::{Principal, Scope};
///
/// let ci = Principal::new("ci").scope(Scope::Read).scope(Scope::Write).tenant("acme");
/// # let _ = ci;
/// ```
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Principal {
    name: Option<Arc<str>>,
    scopes: u8,
    tenant: Option<Arc<str>>,
    quota: Quota,
}

impl Principal {
    /// Somebody who may do nothing yet. The name is shown in the log.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: Some(name.into()), scopes: 0, tenant: None, quota: Quota::default() }
    }

    /// They may do this, too.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scopes |= scope.bit();
        self
    }

    /// They see and make only tasks whose tenant label has this value. An empty text is a tenant like any
    /// other; it does not mean all tenants.
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// How much they may use, where that is other than [`Options::quota`](crate::Options::quota) says.
    /// Whoever has the same name and tenant is the same caller, and is counted together.
    pub fn quota(mut self, quota: Quota) -> Self {
        self.quota = quota;
        self
    }

    /// What they are counted by.
    pub(crate) fn key(&self) -> Key {
        (self.name.clone(), self.tenant.clone())
    }

    pub(crate) fn has_quota_of(&self, other: &Self) -> bool {
        self.quota == other.quota
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scopes = Scope::ALL.iter().filter(|(scope, _)| self.scopes & scope.bit() != 0);
        let scopes: Vec<_> = scopes.map(|(_, name)| *name).collect();
        f.debug_struct("Principal")
            .field("name", &self.name)
            .field("scopes", &scopes)
            .field("tenant", &self.tenant)
            .finish()
    }
}

/// What principals are told apart by: name and tenant.
pub(crate) type Key = (Option<Arc<str>>, Option<Arc<str>>);

/// A principal that is known, and what is known of it beside.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) principal: Principal,
    /// What they use, by whatever they are known.
    pub(crate) account: Arc<Account>,
    /// Cancelled when what it was known by is withdrawn.
    pub(crate) withdrawn: CancellationToken,
}

impl Standing {
    pub(crate) fn new(principal: Principal, account: Arc<Account>) -> Self {
        Self { principal, account, withdrawn: CancellationToken::new() }
    }
}

/// A principal, as the handlers see it.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Option<Arc<Standing>>);

impl Caller {
    /// Everybody, who may do everything: on an open service, and where nothing of any task is shown.
    pub(crate) const ANYONE: Self = Self(None);

    pub(crate) fn new(standing: Arc<Standing>) -> Self {
        Self(Some(standing))
    }

    fn principal(&self) -> Option<&Principal> {
        self.0.as_deref().map(|standing| &standing.principal)
    }

    pub(crate) fn name(&self) -> &str {
        self.principal().and_then(|principal| principal.name.as_deref()).unwrap_or("-")
    }

    /// What the caller uses; `None`: it is counted among all only.
    pub(crate) fn account(&self) -> Option<&Arc<Account>> {
        self.0.as_deref().map(|standing| &standing.account)
    }

    /// The caller's own quota.
    pub(crate) fn quota(&self) -> Option<&Quota> {
        self.principal().map(|principal| &principal.quota)
    }

    /// The tenant that the caller is bound to.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.principal().and_then(|principal| principal.tenant.as_ref())
    }

    pub(crate) fn must(&self, scope: Scope) -> Result<(), Problem> {
        let allowing = scope.bit() | Scope::Admin.bit();
        if self.principal().is_none_or(|principal| principal.scopes & allowing != 0) {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, format!("the token has not the scope {}", scope.name())))
    }

    /// For what is about all tenants.
    pub(crate) fn must_be_of_no_tenant(&self) -> Result<(), Problem> {
        match self.tenant() {
            None => Ok(()),
            Some(_) => {
                Err(Problem::new(Kind::Forbidden, "this is about all tenants, and the token is bound to one"))
            }
        }
    }

    /// Resolves when the caller is not known any more; `None`: that cannot be.
    pub(crate) fn withdrawn(&self) -> Option<WaitForCancellationFutureOwned> {
        self.0.as_deref().map(|standing| standing.withdrawn.clone().cancelled_owned())
    }
}
