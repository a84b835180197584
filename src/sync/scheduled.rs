//! What shuttle schedules: its own atomics, locks, threads and DashMap.
//!
//! Each operation on one of these is a point at which another thread may go on. All are sequentially
//! consistent here; what weaker orderings allow is for loom to find. Nothing is random but the schedule,
//! so that a schedule can be replayed.

pub(crate) use shuttle::sync::atomic::{AtomicI64, AtomicU64, Ordering};
pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
pub(crate) use shuttle::thread;
pub(crate) use shuttle_dashmap::DashMap;

pub(crate) fn dash_map<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
    DashMap::new()
}

/// Two stripes, so that sums over stripes are sums.
pub(crate) const STRIPES: usize = 2;

/// The stripe of the calling thread.
pub(crate) fn stripe() -> usize {
    usize::from(shuttle::current::me()) % STRIPES
}

pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..len).map(|_| AtomicU64::new(0)).collect())
}

/// The same key for the ids each time.
#[expect(clippy::unnecessary_wraps, reason = "the signature is the system's")]
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    bytes.fill(0x5A);
    Ok(())
}
