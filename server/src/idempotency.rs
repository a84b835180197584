//! Idempotency keys: the answer to a write is kept and given again to the same write.
//!
//! The book is a cache with an age and a weight: what is kept is counted in bytes, and the answer that was
//! asked for longest ago goes first. Only the answer to a write that was made is kept; one that was refused
//! has changed nothing, and leaves nothing.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use inflight::Details;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::auth::Caller;
use crate::problem::{Kind, Problem};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The longest idempotency key, in bytes.
const MAX_KEY: usize = 255;

/// What a kept answer takes beside what it shows, in bytes; rather too much than too little.
const OVERHEAD: usize = 512;

/// What two requests must have in common to be the same.
pub(crate) type Fingerprint = [u8; 32];

/// Equal for requests that ask for the same, however their bodies are written.
pub(crate) fn fingerprint(headers: &[u8], what: &str, body: &impl Serialize) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in [what.as_bytes(), headers, &serde_json::to_vec(body).unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The key that a request came with, as seen by one tenant.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    name: Name,
    /// The condition that the request came with, which is a part of what it asks for.
    condition: Vec<u8>,
}

type Name = (Option<Arc<str>>, String);

impl Key {
    pub(crate) fn of(headers: &HeaderMap, caller: &Caller) -> Result<Option<Self>, Problem> {
        let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Problem::bad(format!("{IDEMPOTENCY_KEY} is there more than once")));
        }
        let text = value.to_str();
        let text = text
            .map_err(|_| Problem::bad(format!("{IDEMPOTENCY_KEY} has characters that no such header has")))?;
        let conditions = headers.get_all(IF_MATCH).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        Ok(Some(Self {
            name: (caller.tenant().cloned(), parse_key(text)?),
            condition: conditions.join(&b','),
        }))
    }
}

/// The draft has the key as a quoted string; most clients send it bare.
fn parse_key(value: &str) -> Result<String, Problem> {
    let value = value.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if bare.is_empty() || bare.len() > MAX_KEY {
        return Err(Problem::bad(format!("an idempotency key has from 1 to {MAX_KEY} bytes")));
    }
    Ok(bare.to_owned())
}

/// What is answered, and answered again: a code, and the task as it was. `None`: it had gone already.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) details: Option<Details>,
}

/// The answers that are kept, by key.
#[derive(Debug)]
pub(crate) struct Replays {
    answers: Cache<Name, Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    fingerprint: Fingerprint,
    answer: Arc<Answer>,
}

impl Replays {
    /// Keeps `bytes` of answers at the most, each for `ttl` at the most.
    pub(crate) fn new(bytes: usize, ttl: Duration) -> Self {
        let answers = Cache::builder()
            .max_capacity(bytes as u64)
            .weigher(|name: &Name, kept: &Kept| u32::try_from(weight(name, kept)).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(ttl);
        Self { answers: answers.build() }
    }

    /// Makes a write, or gives the answer that it was given before; says whether it was. Of several at a time
    /// with one key one is made, and the others wait for its answer; `write` therefore never waits.
    pub(crate) fn once(
        &self,
        key: &Key,
        what: &str,
        body: &impl Serialize,
        write: impl FnOnce() -> Result<Answer, Problem>,
    ) -> Result<(Answer, bool), Problem> {
        let fingerprint = fingerprint(&key.condition, what, body);
        let name = &key.name.1;
        let kept = self.answers.entry_by_ref(&key.name).or_try_insert_with(|| {
            let answer = write().map_err(|problem| (fingerprint, problem))?;
            Ok(Kept { fingerprint, answer: Arc::new(answer) })
        });
        let kept = kept.map_err(|refused: Arc<(Fingerprint, Problem)>| match &*refused {
            (of, problem) if *of == fingerprint => problem.clone(),
            _ => {
                let detail = format!("another request with the idempotency key {name:?} was under way");
                Problem::new(Kind::Conflict, detail).with_retry_after(Duration::from_secs(1))
            }
        })?;
        let is_replayed = !kept.is_fresh();
        let kept = kept.into_value();
        if kept.fingerprint != fingerprint {
            let detail = format!("the idempotency key {name:?} came with another request before");
            return Err(Problem::new(Kind::KeyReused, detail));
        }
        if !is_replayed {
            // At once, and not some writes later: the weight is a promise.
            self.answers.run_pending_tasks();
        }
        Ok((Answer::clone(&kept.answer), is_replayed))
    }

    /// How many bytes the answers take.
    pub(crate) fn bytes(&self) -> u64 {
        self.answers.weighted_size()
    }
}

fn weight((tenant, name): &Name, kept: &Kept) -> usize {
    let of_tenant = tenant.as_ref().map_or(0, |tenant| tenant.len());
    let of_task = kept.answer.details.as_ref().map_or(0, |details| {
        let labels = details.labels().map(|(key, value)| key.len() + value.len() + 64).sum::<usize>();
        let payload = details.result().or(details.error()).map_or(0, |payload| payload.bytes().len());
        details.kind().len() + details.message().map_or(0, str::len) + labels + payload
    });
    OVERHEAD + of_tenant + name.len() + of_task
}

#[cfg(test)]
mod tests {
    use super::*;
    use inflight::{NewTask, Payload, Store};

    fn key(tenant: Option<&str>, name: &str) -> Key {
        Key { name: (tenant.map(Arc::from), name.to_owned()), condition: Vec::new() }
    }

    fn made() -> Result<Answer, Problem> {
        Ok(Answer { code: StatusCode::OK, details: None })
    }

    fn refused() -> Result<Answer, Problem> {
        Err(Problem::bad("no"))
    }

    fn replays(bytes: usize) -> Replays {
        Replays::new(bytes, Duration::from_secs(60))
    }

    #[test]
    fn a_key_is_replayed_and_refused_for_another_request() {
        let replays = replays(1 << 20);
        assert!(matches!(replays.once(&key(None, "a"), "w", &1, made), Ok((_, false))));
        assert!(matches!(replays.once(&key(None, "a"), "w", &1, refused), Ok((_, true))));
        for (what, body) in [("w", 2), ("v", 1)] {
            let other = replays.once(&key(None, "a"), what, &body, made);
            assert_eq!(other.err().map(|problem| problem.status().as_u16()), Some(422));
        }
        let condition = Key { condition: b"\"1-1-1\"".to_vec(), ..key(None, "a") };
        assert!(replays.once(&condition, "w", &1, made).is_err(), "another condition is another request");
        let other = replays.once(&key(Some("acme"), "a"), "w", &2, made);
        assert!(matches!(other, Ok((_, false))), "another tenant's key");
    }

    #[test]
    fn a_request_that_was_refused_leaves_nothing() {
        let replays = replays(1 << 20);
        assert!(matches!(replays.once(&key(None, "first"), "w", &1, made), Ok((_, false))));
        for number in 0..10_000 {
            assert!(replays.once(&key(None, &number.to_string()), "w", &1, refused).is_err());
        }
        replays.answers.run_pending_tasks();
        assert_eq!(replays.answers.entry_count(), 1);
        assert!(matches!(replays.once(&key(None, "7"), "w", &2, made), Ok((_, false))), "the key is free");
    }

    #[test]
    fn answers_are_kept_by_the_byte_and_the_oldest_goes_first() {
        let store = Store::builder().capacity(1 << 10).build().unwrap();
        let limit = 64 << 10;
        let replays = replays(limit);
        let mut least = u64::MAX;
        for number in 0..100 {
            let mut task = store.create(NewTask::new("index")).unwrap();
            task.start().unwrap();
            let _ = task.succeed(Payload::new("application/json", vec![b'1'; 4096])).unwrap();
            let answer = || Ok(Answer { code: StatusCode::OK, details: store.details(task.id()).ok() });
            assert!(replays.once(&key(None, &number.to_string()), "w", &number, answer).is_ok());
            assert!(replays.bytes() <= limit as u64, "{}", replays.bytes());
            least = if number == 99 { replays.answers.entry_count() } else { least };
        }
        assert!((10..=15).contains(&least), "each weighs what its result does: {least}");
        assert!(matches!(replays.once(&key(None, "99"), "w", &99, refused), Ok((_, true))), "the newest");
        assert!(replays.once(&key(None, "0"), "w", &0, refused).is_err(), "the oldest went");
    }

    #[test]
    fn a_key_is_kept_for_its_time_and_no_longer() {
        let replays = Replays::new(1 << 20, Duration::from_nanos(1));
        assert!(matches!(replays.once(&key(None, "a"), "w", &1, made), Ok((_, false))));
        assert!(matches!(replays.once(&key(None, "a"), "w", &1, made), Ok((_, false))));
    }

    #[test]
    fn of_many_at_a_time_one_is_made() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (replays, writes) = (replays(1 << 20), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let write = || {
                        // Relaxed: the threads are joined before it is read.
                        writes.fetch_add(1, Ordering::Relaxed);
                        std::thread::yield_now();
                        made()
                    };
                    assert!(replays.once(&key(None, "a"), "w", &1, write).is_ok());
                });
            }
        });
        assert_eq!(writes.into_inner(), 1);
    }
}
