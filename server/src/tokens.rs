//! Bearer tokens, each with a name, scopes, and a tenant or none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hyper::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::auth::{Caller, Key, Principal, Scope, Standing};
use crate::problem::{Kind, Problem};
use crate::quota::{Account, Quota};

/// The fewest bytes that a token may have.
pub const MIN_TOKEN: usize = 16;

type Hash = [u8; 32];

/// The tokens that are accepted. They are kept as SHA-256 hashes, and never printed. Clones are the same:
/// what [`replace`](Self::replace) does, all see.
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
#[derive(Clone)]
pub struct Tokens(Arc<Book>);

struct Book {
    by_hash: ArcSwap<ByHash>,
    replacing: Mutex<()>,
}

type ByHash = HashMap<Hash, Arc<Standing>>;

impl Tokens {
    /// Reads tokens: one a line (or, where line breaks are awkward, separated by `;`), each as name, scopes,
    /// tenant (`-` for none), token, and if it has a [quota](crate::Quota) of its own,
    /// `tasks=…,bytes=…,streams=…,connections=…,rate=…` or some of these, with blanks between. A `#` where an
    /// entry would begin makes the rest of the line a comment, whatever is in it.
    ///
    /// # Errors
    ///
    /// [`TokenError`] names the line and what is wrong; it never shows the token.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut tokens = Known::default();
        for (number, line) in (1..).zip(text.lines()) {
            let entries = line.split(';').map(|entry| entry.trim_matches([' ', '\t']));
            let entries = entries.take_while(|entry| !entry.starts_with('#'));
            for entry in entries.filter(|entry| !entry.is_empty()) {
                let at = |what| TokenError { line: number, what };
                let (hash, principal) = parse_entry(entry).map_err(at)?;
                tokens.add(hash, principal).map_err(at)?;
            }
        }
        Ok(Self::of(tokens.by_hash))
    }

    fn of(tokens: ByHash) -> Self {
        Self(Arc::new(Book { by_hash: ArcSwap::from_pointee(tokens), replacing: Mutex::default() }))
    }

    /// These and those.
    ///
    /// # Errors
    ///
    /// [`TokenError`] if a token is in both: which of its two entries counts would be a guess.
    pub fn and(&self, others: &Self) -> Result<Self, TokenError> {
        let mut all = Known::default();
        for (hash, standing) in self.0.by_hash.load().iter().chain(&**others.0.by_hash.load()) {
            let added = all.add(*hash, standing.principal.clone());
            added.map_err(|what| TokenError { line: 0, what })?;
        }
        Ok(Self::of(all.by_hash))
    }

    /// From now on, these are accepted instead. No connection is ended and no request under way is broken
    /// off, but streams of events end that a token has opened which is not among these, or means something
    /// else now.
    ///
    /// ```
    /// use inflight_server::Tokens;
    ///
    /// let tokens = Tokens::parse("ci read - c3VwZXJzZWNyZXQtb25l")?;
    /// tokens.replace(&Tokens::parse("ci read - c3VwZXJzZWNyZXQtdHdv; ops admin - c3VwZXJzZWNyZXQtMw==")?);
    /// assert_eq!(tokens.len(), 2);
    /// # Ok::<(), inflight_server::TokenError>(())
    /// ```
    pub fn replace(&self, by: &Self) {
        let _one_at_a_time = self.0.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.0.by_hash.load_full();
        let accounts: HashMap<Key, &Arc<Account>> =
            before.values().map(|standing| (standing.principal.key(), &standing.account)).collect();
        let is_same = |hash: &Hash, new: &Standing| {
            before.get(hash).filter(|standing| standing.principal == new.principal).cloned()
        };
        let taken_over = |(hash, new): (&Hash, &Arc<Standing>)| {
            // What a caller uses goes on to be counted, whatever the token is.
            let account = accounts.get(&new.principal.key()).copied().unwrap_or(&new.account);
            let fresh = || Arc::new(Standing::new(new.principal.clone(), Arc::clone(account)));
            (*hash, is_same(hash, new).unwrap_or_else(fresh))
        };
        let after: ByHash = by.0.by_hash.load().iter().map(taken_over).collect();
        let stays = |hash: &Hash, standing: &Arc<Standing>| {
            after.get(hash).is_some_and(|after| Arc::ptr_eq(after, standing))
        };
        let withdrawn = before.iter().filter(|(hash, standing)| !stays(hash, standing));
        let withdrawn: Vec<_> = withdrawn.map(|(_, standing)| standing.withdrawn.clone()).collect();
        self.0.by_hash.store(Arc::new(after));
        // Only now, so that nobody who comes back at once is let in.
        withdrawn.iter().for_each(CancellationToken::cancel);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.by_hash.load().len()
    }

    /// Whether there are none, so that nobody is let in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.by_hash.load().is_empty()
    }

    /// Who the request comes from.
    ///
    /// A token is found by its hash. How long that takes tells something of the hash at the most, and
    /// nothing of the token.
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
        let found = self.0.by_hash.load().get(&digest(token)).cloned();
        found.map(Caller::new).ok_or_else(wrong)
    }
}

/// Tokens as they are collected.
#[derive(Default)]
struct Known {
    by_hash: ByHash,
    /// The first with each name and tenant.
    by_key: HashMap<Key, Arc<Standing>>,
}

impl Known {
    fn add(&mut self, hash: Hash, principal: Principal) -> Result<(), &'static str> {
        let Entry::Vacant(free) = self.by_hash.entry(hash) else { return Err("a token is there twice") };
        let standing = match self.by_key.entry(principal.key()) {
            Entry::Vacant(first) => {
                Arc::clone(first.insert(Arc::new(Standing::new(principal, Arc::default()))))
            }
            Entry::Occupied(first) if !first.get().principal.has_quota_of(&principal) => {
                return Err("the same name and tenant has another quota elsewhere");
            }
            Entry::Occupied(first) => Arc::new(Standing::new(principal, Arc::clone(&first.get().account))),
        };
        free.insert(standing);
        Ok(())
    }
}

fn parse_entry(entry: &str) -> Result<(Hash, Principal), &'static str> {
    let fields: Vec<&str> = entry.split([' ', '\t']).filter(|field| !field.is_empty()).collect();
    let (name, scopes, tenant, token, quota) = match *fields.as_slice() {
        [name, scopes, tenant, token] => (name, scopes, tenant, token, None),
        [name, scopes, tenant, token, quota] => (name, scopes, tenant, token, Some(quota)),
        _ => return Err("name, scopes, tenant and token are needed, and nothing else but a quota"),
    };
    // A blank that is not one of ASCII would end up in a name, or make a token that nobody can send.
    if entry.chars().any(|char| char != ' ' && char != '\t' && (char.is_whitespace() || char.is_control())) {
        return Err("there is a control character, or a blank that is neither a space nor a tab");
    }
    // Such as an invisible mark in front of a `#`, which would be no comment then.
    if !name.starts_with(char::is_alphanumeric) {
        return Err("a name begins with a letter or a digit");
    }
    let mut principal = Principal::new(name);
    for scope in scopes.split(',') {
        let scope = Scope::parse(scope);
        principal =
            principal.scope(scope.ok_or("the scopes are of read, write, list, admin, with commas between")?);
    }
    if tenant != "-" {
        principal = principal.tenant(tenant);
    }
    if let Some(quota) = quota {
        let quota = Quota::parse(quota);
        principal =
            principal
                .quota(quota.ok_or(
                    "a quota is of tasks, bytes, streams, connections, rate, as in tasks=10,rate=5",
                )?);
    }
    if token.len() < MIN_TOKEN {
        return Err("a token has 16 bytes at the least");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is of visible ASCII characters");
    }
    Ok((digest(token.as_bytes()), principal))
}

fn split_scheme(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = value.split_at(at);
    Some((scheme, token.trim_ascii()))
}

fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.by_hash.load().values().map(|standing| &standing.principal)).finish()
    }
}

/// Tokens cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    /// From 1; 0 where it is not about one line.
    line: usize,
    what: &'static str,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(self.what),
            line => write!(f, "line {line}: {}", self.what),
        }
    }
}

impl std::error::Error for TokenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    const TEXT: &str =
        "a read - aaaaaaaaaaaaaaaa\n# b\n b list,write t bbbbbbbbbbbbbbbb; c admin - cccccccccccccccc";

    fn identify(text: &str, header: &str) -> Result<Caller, Problem> {
        let headers = [(AUTHORIZATION, HeaderValue::from_str(header).unwrap())].into_iter().collect();
        Tokens::parse(text).unwrap().identify(&headers)
    }

    #[test]
    fn each_token_is_its_own_caller() {
        let caller = identify(TEXT, "Bearer bbbbbbbbbbbbbbbb").unwrap();
        assert_eq!((caller.name(), caller.tenant().map(|t| &**t)), ("b", Some("t")));
        assert!(caller.must(Scope::List).is_ok() && caller.must(Scope::Read).is_err());
        assert!(identify(TEXT, "bearer   cccccccccccccccc").unwrap().must(Scope::Write).is_ok());
        for wrong in
            ["Bearer bbbbbbbbbbbbbbbc", "Bearer ", "bbbbbbbbbbbbbbbb", "Basic bbbbbbbbbbbbbbbb", "Bearer"]
        {
            assert_eq!(identify(TEXT, wrong).unwrap_err().status(), 401, "{wrong}");
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

    #[test]
    fn a_comment_goes_to_the_end_of_its_line() {
        let text = "#was a read - aaaaaaaaaaaaaaaa; b read - bbbbbbbbbbbbbbbb\n\
                    c read - cccccccccccccccc; # d; d read - dddddddddddddddd";
        for (token, valid) in [("a", false), ("b", false), ("c", true), ("d", false)] {
            assert_eq!(identify(text, &format!("Bearer {}", token.repeat(16))).is_ok(), valid, "{token}");
        }
    }

    #[test]
    fn what_leaves_a_doubt_is_refused() {
        for (text, says) in [
            ("a read - aaaaaaaaaaaaaaaa # mine", "nothing else"),
            ("a read - aaaaaaaaaaaaaaaa #mine", "quota"),
            ("a read - aaaaaaaaaaaaaaaa tasks=x", "quota"),
            ("a read - aaaaaaaaaaaaaaaa tasks=1; a read - bbbbbbbbbbbbbbbb tasks=2", "another quota"),
            ("a read - aaaaaaaaaaaaaaaa; b read - aaaaaaaaaaaaaaaa", "twice"),
            ("\u{feff}a\u{a0}read - x aaaaaaaaaaaaaaaa", "control character"),
            ("\u{feff}#a read - aaaaaaaaaaaaaaaa", "begins with"),
            ("a,read - aaaaaaaaaaaaaaaa", "are needed"),
            ("a\u{a0}b read - aaaaaaaaaaaaaaaa", "blank"),
            ("a read,, - aaaaaaaaaaaaaaaa", "scopes"),
            ("a READ - aaaaaaaaaaaaaaaa", "scopes"),
            ("a read - aaaaaaaaaaaaaaa\u{e4}", "ASCII"),
            ("a read - aaaaaaaaaaaaaaaa\rb read - bbbbbbbbbbbbbbbb", "needed"),
        ] {
            let error = Tokens::parse(text).unwrap_err().to_string();
            assert!(error.contains(says) && error.starts_with("line 1"), "{text:?}: {error}");
        }
        let (one, two) = ("a read - aaaaaaaaaaaaaaaa", "b admin - aaaaaaaaaaaaaaaa");
        let parsed = |text| Tokens::parse(text).unwrap();
        assert_eq!(parsed(one).and(&parsed(two)).unwrap_err().to_string(), "a token is there twice");
        assert_eq!(parsed(one).and(&parsed("b admin - bbbbbbbbbbbbbbbb")).map(|both| both.len()), Ok(2));
    }
}
