//! Idempotency keys: the answer to a request is kept and given again to the same request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::HeaderValue;

use crate::problem::{Kind, Problem};

/// What two requests must have in common to be the same.
pub(crate) type Fingerprint = [u8; 32];

/// A key, as seen by one tenant.
pub(crate) type Key = (Option<Arc<str>>, String);

/// What is answered again.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) etag: HeaderValue,
    pub(crate) location: HeaderValue,
}

/// The answers that are kept, by key.
#[derive(Debug)]
pub(crate) struct Replays {
    limit: usize,
    ttl: Duration,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<Key, Entry>,
    order: VecDeque<(Instant, Key)>,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    fingerprint: Fingerprint,
    /// `None` while the first request is under way.
    answer: Option<Answer>,
}

/// What a key means for a request that comes with it.
pub(crate) enum Claim<'a> {
    /// It is the first; the answer is to be left here.
    First(Pending<'a>),
    /// It was answered before.
    Again(Answer),
}

/// A request under way. If it is dropped without an answer, the key is free again.
pub(crate) struct Pending<'a> {
    replays: &'a Replays,
    key: Key,
}

impl Replays {
    pub(crate) fn new(limit: usize, ttl: Duration) -> Self {
        Self { limit: limit.max(1), ttl, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn claim(&self, key: Key, fingerprint: Fingerprint) -> Result<Claim<'_>, Problem> {
        let now = Instant::now();
        let mut book = self.book();
        book.sweep(usize::MAX, self.ttl, now);
        match book.entries.get(&key) {
            Some(entry) if entry.fingerprint != fingerprint => Err(Problem::new(
                Kind::KeyReused,
                format!("the idempotency key {:?} came with another request before", key.1),
            )),
            Some(Entry { answer: Some(answer), .. }) => Ok(Claim::Again(answer.clone())),
            Some(Entry { answer: None, .. }) => Err(Problem::new(
                Kind::Conflict,
                format!("the first request with the idempotency key {:?} is under way", key.1),
            )
            .with_retry_after(Duration::from_secs(1))),
            None => {
                book.sweep(self.limit, self.ttl, now);
                book.entries.insert(key.clone(), Entry { since: now, fingerprint, answer: None });
                book.order.push_back((now, key.clone()));
                Ok(Claim::First(Pending { replays: self, key }))
            }
        }
    }
}

impl Book {
    /// Lets go of what is too old or too many. A request under way is never let go of.
    fn sweep(&mut self, limit: usize, ttl: Duration, now: Instant) {
        while let Some((since, key)) = self.order.front() {
            let entry = self.entries.get(key).filter(|entry| entry.since == *since);
            let is_due = match entry {
                None => true,
                Some(entry) if entry.answer.is_none() => false,
                Some(_) => self.entries.len() >= limit || now.duration_since(*since) >= ttl,
            };
            if !is_due {
                return;
            }
            if entry.is_some() {
                self.entries.remove(key);
            }
            self.order.pop_front();
        }
    }
}

impl Pending<'_> {
    pub(crate) fn answer(self, answer: Answer) {
        if let Some(entry) = self.replays.book().entries.get_mut(&self.key) {
            entry.answer = Some(answer);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut book = self.replays.book();
        if book.entries.get(&self.key).is_some_and(|entry| entry.answer.is_none()) {
            book.entries.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (None, name.into())
    }

    fn answer(body: &'static str) -> Answer {
        let value = HeaderValue::from_static("x");
        Answer { body: Bytes::from_static(body.as_bytes()), etag: value.clone(), location: value }
    }

    fn replayed(replays: &Replays, name: &str, fingerprint: Fingerprint) -> Option<Bytes> {
        match replays.claim(key(name), fingerprint) {
            Ok(Claim::Again(answer)) => Some(answer.body),
            _ => None,
        }
    }

    #[test]
    fn a_key_is_replayed_refused_and_under_way() {
        let replays = Replays::new(10, Duration::from_secs(60));
        let Ok(Claim::First(pending)) = replays.claim(key("a"), [1; 32]) else { panic!("the first") };
        let status = |fingerprint| replays.claim(key("a"), fingerprint).err().map(|problem| problem.status());
        assert_eq!(status([1; 32]).map(|status| status.as_u16()), Some(409), "under way");
        assert_eq!(status([2; 32]).map(|status| status.as_u16()), Some(422), "another request");
        pending.answer(answer("one"));
        assert_eq!(replayed(&replays, "a", [1; 32]).as_deref(), Some(&b"one"[..]));
        assert_eq!(status([2; 32]).map(|status| status.as_u16()), Some(422));
        let other = (Some(Arc::from("acme")), "a".to_owned());
        assert!(matches!(replays.claim(other, [2; 32]), Ok(Claim::First(_))), "another tenant's key");
    }

    #[test]
    fn a_request_that_failed_frees_its_key() {
        let replays = Replays::new(10, Duration::from_secs(60));
        drop(replays.claim(key("a"), [1; 32]));
        assert!(matches!(replays.claim(key("a"), [2; 32]), Ok(Claim::First(_))));
    }

    #[test]
    fn the_oldest_goes_first_and_never_one_under_way() {
        let replays = Replays::new(2, Duration::from_secs(60));
        for name in ["a", "b", "c"] {
            let Ok(Claim::First(pending)) = replays.claim(key(name), [1; 32]) else { panic!("the first") };
            pending.answer(answer("x"));
        }
        assert_eq!(replayed(&replays, "b", [1; 32]).as_deref(), Some(&b"x"[..]));
        assert!(replayed(&replays, "a", [1; 32]).is_none(), "the oldest went");
        assert!(replays.book().order.len() <= 3);

        let replays = Replays::new(1, Duration::ZERO);
        let Ok(Claim::First(_pending)) = replays.claim(key("a"), [1; 32]) else { panic!("the first") };
        let _b = replays.claim(key("b"), [1; 32]);
        assert!(replays.claim(key("a"), [1; 32]).is_err(), "still under way");
    }
}
