//! Bodies that are ready: a task that is polled again before it has changed is answered with the same
//! bytes. A version stands for everything that a body shows, so a body is good for as long as the version
//! is the task's; the poll that finds out takes no lock.

use std::sync::Mutex;

use bytes::Bytes;
use hyper::header::HeaderValue;
use inflight::{TaskId, Version};

/// How many bodies are kept. Where two tasks have one place, the later takes it.
const PLACES_LOG2: u32 = 10;

/// The largest body that is kept, so that all together take 4 MiB at the most.
const MAX_BODY: usize = 4096;

#[derive(Debug)]
pub(crate) struct Shelf {
    places: Box<[Mutex<Option<Ready>>]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) id: TaskId,
    pub(crate) version: Version,
    pub(crate) body: Bytes,
    pub(crate) etag: HeaderValue,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        Self { places: (0..1_u32 << PLACES_LOG2).map(|_| Mutex::default()).collect() }
    }

    fn place(&self, id: TaskId) -> Option<&Mutex<Option<Ready>>> {
        let bits = id.as_u128();
        let folded = (bits >> 64) as u64 ^ bits as u64;
        let at = folded.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - PLACES_LOG2);
        self.places.get(at as usize)
    }

    /// The body of this version of this task, if it is there. Nobody waits for a place that is in use.
    pub(crate) fn take(&self, id: TaskId, version: Version) -> Option<Ready> {
        let place = self.place(id)?.try_lock().ok()?;
        place.as_ref().filter(|ready| ready.id == id && ready.version == version).cloned()
    }

    pub(crate) fn put(&self, ready: Ready) {
        if ready.body.len() > MAX_BODY {
            return;
        }
        if let Some(Ok(mut place)) = self.place(ready.id).map(Mutex::try_lock) {
            let before = place.replace(ready);
            drop(place);
            drop(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(id: u128, version: &str, body: Vec<u8>) -> Ready {
        let (id, version) = (TaskId::from_u128(id), version.parse().unwrap());
        Ready { id, version, body: body.into(), etag: HeaderValue::from_static("\"x\"") }
    }

    #[test]
    fn a_body_is_given_for_its_own_task_and_version_only() {
        let shelf = Shelf::new();
        let one = ready(1, "1-1-0", vec![7]);
        shelf.put(one.clone());
        assert_eq!(shelf.take(one.id, one.version).map(|ready| ready.body), Some(one.body));
        assert!(shelf.take(one.id, "1-1-1".parse().unwrap()).is_none());
        // These two fold to the same, so they have one place.
        let other = ready(1 << 64, "1-1-0", vec![8]);
        assert!(shelf.take(other.id, other.version).is_none());
        shelf.put(other);
        assert!(shelf.take(one.id, one.version).is_none(), "the later takes it");
        let large = ready(2, "1-1-0", vec![0; MAX_BODY + 1]);
        shelf.put(large.clone());
        assert!(shelf.take(large.id, large.version).is_none());
    }
}
