//! What shuttle schedules: its own atomics, locks, threads and DashMap.
//!
//! At each operation on one of these, another thread may continue. All operations are sequentially consistent
//! here; loom checks what weaker orderings allow. Only the schedule is random, so that it can be replayed.

pub(crate) use shuttle::sync::atomic::{AtomicI64, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
pub(crate) use shuttle::thread;
pub(crate) use shuttle_dashmap::DashMap;

pub(crate) fn dash_map<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
    DashMap::new()
}

/// Two stripes, so that a sum over the stripes has more than one term.
pub(crate) const STRIPES: usize = 2;

/// The stripe of the calling thread.
pub(crate) fn stripe() -> usize {
    usize::from(shuttle::current::me()) % STRIPES
}

pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..len).map(|_| AtomicU64::new(0)).collect())
}

/// Fills `bytes` with a fixed value, so that the key of the ids is the same each time.
#[expect(clippy::unnecessary_wraps, reason = "the signature is the system's")]
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    bytes.fill(0x5A);
    Ok(())
}
