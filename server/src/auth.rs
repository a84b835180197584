//! Who may do what: bearer tokens with scopes, each bound to a tenant or not.

use std::fmt;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::problem::{Kind, Problem};

/// The fewest bytes that a token may have.
pub const MIN_TOKEN: usize = 16;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// Reading a task whose id is known, waiting for it, and its events.
    Read,
    /// Creating, changing, cancelling and removing tasks.
    Write,
    /// Finding tasks: lists, counts, and the stream of all events.
    List,
    /// All of that, and `/metrics`.
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

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, have)| *have == name).map(|(scope, _)| *scope)
    }
}

/// The tokens that are accepted. They are kept as hashes, and never printed.
///
/// ```
/// use inflight_server::Tokens;
///
/// let tokens = Tokens::parse(
///     "# name   scopes      tenant  token
///      ci       read,write  acme    c3VwZXJzZWNyZXQtb25l
///      ops      admin       -       c3VwZXJzZWNyZXQtdHdv",
/// )?;
/// assert_eq!(tokens.len(), 2);
/// # Ok::<(), inflight_server::TokenError>(())
/// ```
#[derive(Clone, Default)]
pub struct Tokens(Arc<[Token]>);

struct Token {
    hash: [u8; 32],
    caller: Caller,
}

impl Tokens {
    /// Reads tokens: one a line (or, where line breaks are awkward, separated by `;`), each as name,
    /// scopes, tenant (`-` for none) and token, with blanks between. What follows a `#` at the
    /// beginning of a line is a comment.
    ///
    /// # Errors
    ///
    /// [`TokenError`] says in which line and what is wrong; it never shows the token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut tokens: Vec<Token> = Vec::new();
        let lines = text.lines().flat_map(|line| line.split(';')).map(str::trim).enumerate();
        for (number, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = |what| TokenError { line: number + 1, what };
            let fields: Vec<&str> = line.split_whitespace().collect();
            let &[name, scopes, tenant, token] = fields.as_slice() else {
                return Err(wrong("name, scopes, tenant and token are needed"));
            };
            let scopes = scopes.split(',').try_fold(0, |bits, scope| Some(bits | Scope::parse(scope)?.bit()));
            let scopes =
                scopes.ok_or(wrong("the scopes are of read, write, list, admin, with commas between"))?;
            if token.len() < MIN_TOKEN {
                return Err(wrong("a token has 16 bytes at the least"));
            }
            let hash = digest(token.as_bytes());
            if tokens.iter().any(|have| have.hash == hash) {
                return Err(wrong("the token is there twice"));
            }
            let tenant = (tenant != "-").then(|| Arc::from(tenant));
            let name = Some(Arc::from(name));
            tokens.push(Token { hash, caller: Caller { name, scopes, tenant } });
        }
        Ok(Self(tokens.into()))
    }

    /// These and those.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let all = self.0.iter().chain(&*others.0);
        Self(all.map(|token| Token { hash: token.hash, caller: token.caller.clone() }).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, so that nobody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any token is bound to a tenant.
    pub(crate) fn have_tenants(&self) -> bool {
        self.0.iter().any(|token| token.caller.tenant.is_some())
    }

    /// Who the request comes from.
    ///
    /// Both sides are hashed and every token is compared, so the time that it takes tells neither how
    /// much of a token is right nor which one it is.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let header = headers.get(AUTHORIZATION);
        let header = header.ok_or_else(|| {
            Problem::new(Kind::Unauthenticated, "the request has no Authorization: Bearer header")
        })?;
        let wrong = || Problem::new(Kind::Unauthenticated, "the token is not one that is known here");
        let (scheme, token) = split_scheme(header.as_bytes()).ok_or_else(wrong)?;
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Err(wrong());
        }
        let hash = digest(token);
        let mut found = u32::MAX;
        for (at, have) in (0_u32..).zip(self.0.iter()) {
            found.conditional_assign(&at, have.hash.ct_eq(&hash));
        }
        self.0.get(found as usize).map(|token| token.caller.clone()).ok_or_else(wrong)
    }
}

fn split_scheme(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = value.split_at(at);
    Some((scheme, token.trim_ascii()))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|token| &token.caller)).finish()
    }
}

/// A line of tokens cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    line: usize,
    what: &'static str,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "token {}: {}", self.line, self.what)
    }
}

impl std::error::Error for TokenError {}

/// Who asks, and what they may do.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    name: Option<Arc<str>>,
    scopes: u8,
    tenant: Option<Arc<str>>,
}

impl Caller {
    /// Where there are no tokens: everybody, who may do everything.
    pub(crate) const ANYONE: Self = Self { name: None, scopes: Scope::Admin.bit(), tenant: None };

    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("-")
    }

    /// The tenant that the caller is bound to.
    pub(crate) fn tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }

    pub(crate) fn must(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes & (scope.bit() | Scope::Admin.bit()) != 0 {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, format!("the token has not the scope {}", scope.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const TEXT: &str =
        "a read - aaaaaaaaaaaaaaaa\n# b\n b list,write t bbbbbbbbbbbbbbbb; c admin - cccccccccccccccc";

    fn identify(header: &str) -> Result<Caller, Problem> {
        let headers = [(AUTHORIZATION, HeaderValue::from_str(header).unwrap())].into_iter().collect();
        Tokens::parse(TEXT).unwrap().identify(&headers)
    }

    #[test]
    fn each_token_is_its_own_caller() {
        let caller = identify("Bearer bbbbbbbbbbbbbbbb").unwrap();
        assert_eq!((caller.name(), caller.tenant().map(|t| &**t)), ("b", Some("t")));
        assert!(caller.must(Scope::List).is_ok() && caller.must(Scope::Read).is_err());
        assert!(identify("bearer   cccccccccccccccc").unwrap().must(Scope::Write).is_ok(), "admin is all");
        for wrong in
            ["Bearer bbbbbbbbbbbbbbbc", "Bearer ", "bbbbbbbbbbbbbbbb", "Basic bbbbbbbbbbbbbbbb", "Bearer"]
        {
            assert_eq!(identify(wrong).unwrap_err().status(), 401, "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_has_no_token_in_it() {
        let printed = format!("{:?}", Tokens::parse(TEXT).unwrap());
        assert!(printed.contains("\"b\"") && !printed.contains("bbbb"), "{printed}");
        for bad in ["a read -", "a reed - aaaaaaaaaaaaaaaa", "a read - short", &format!("{TEXT}\n{TEXT}")] {
            let error = Tokens::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("aaaa") && !error.contains("short"), "{error}");
        }
    }
}
