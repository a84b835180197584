//! The one place that names atomics, locks and maps: this folder.
//!
//! Every folder may use it. It uses none.
//!
//! Everything concurrent in the crate comes from here, so that a checker can take the place of the real
//! thing without the rest of the code knowing. (What no checker looks at has std's: the keeper's thread is
//! stopped by a lock of its own, and what never changes is shared by std's `Arc`.)
//!
//! | `--cfg` | what takes its place |
//! | --- | --- |
//! | none | nothing: `std` and DashMap |
//! | `inflight_loom` | loom: all orders of a small model, weak ones included |
//! | `inflight_shuttle` | shuttle: random schedules of the whole store (`sync/scheduled.rs`) |
//! | `inflight_budget` | the real thing, counted (`sync/counted.rs`) |

#[cfg(inflight_budget)]
pub mod budget;

#[cfg(not(any(inflight_loom, inflight_shuttle, inflight_budget)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU64};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

    /// `len` atomics, all zero, that cost no memory until they are touched: the allocator maps zero
    /// pages for a large zeroed allocation, and nothing here writes to them.
    pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
        bytemuck::allocation::try_zeroed_slice_box(len).ok()
    }
}

#[cfg(not(any(inflight_loom, inflight_shuttle, inflight_budget)))]
pub(crate) use real::*;

#[cfg(inflight_budget)]
mod counted;
#[cfg(inflight_budget)]
pub(crate) use counted::*;

#[cfg(inflight_shuttle)]
mod scheduled;
#[cfg(inflight_shuttle)]
pub(crate) use scheduled::*;

/// What real threads share, counted or not.
#[cfg(not(any(inflight_loom, inflight_shuttle)))]
mod threaded {
    pub(crate) use std::sync::atomic::Ordering;

    use std::sync::atomic::AtomicUsize;

    pub(crate) type DashMap<K, V> = dashmap::DashMap<K, V, foldhash::quality::RandomState>;

    pub(crate) fn dash_map<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
        let hasher = foldhash::quality::RandomState::default();
        // Counted, it has room from the start: that it grows now and then is no call's own allocation.
        DashMap::with_capacity_and_hasher(if cfg!(inflight_budget) { 1 << 14 } else { 0 }, hasher)
    }

    /// How many stripes the sharded counters have (a power of two).
    pub(crate) const STRIPES: usize = 16;

    std::thread_local! {
        static STRIPE: usize = {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            // Relaxed: it hands out numbers, and publishes nothing with them.
            NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
        };
    }

    /// The stripe of the calling thread: always the same one, and threads take them in turn.
    pub(crate) fn stripe() -> usize {
        STRIPE.with(|stripe| *stripe)
    }
}

#[cfg(not(any(inflight_loom, inflight_shuttle)))]
pub(crate) use threaded::*;

/// How ids are hashed where the store does so itself: seeded at random, since clients choose ids.
#[cfg(not(any(inflight_loom, inflight_shuttle)))]
pub(crate) type Hashing = foldhash::fast::RandomState;
/// How ids are hashed, the same way each time: an execution must be repeatable.
#[cfg(any(inflight_loom, inflight_shuttle))]
pub(crate) type Hashing = foldhash::fast::FixedState;

/// A value that is set once and then copied without a lock.
#[cfg(not(any(inflight_loom, inflight_shuttle)))]
mod once {
    use std::sync::OnceLock;

    pub(crate) struct Once<T>(OnceLock<T>);

    impl<T: Copy> Once<T> {
        pub(crate) fn new() -> Self {
            Self(OnceLock::new())
        }

        /// What was set first stays.
        pub(crate) fn set(&self, value: T) {
            let _ = self.0.set(value);
        }

        #[inline]
        pub(crate) fn get(&self) -> Option<T> {
            self.0.get().copied()
        }
    }
}

/// The same, with a flag that the checkers can see.
#[cfg(any(inflight_loom, inflight_shuttle))]
mod once {
    use std::sync::OnceLock;

    use super::{AtomicU64, Ordering};

    pub(crate) struct Once<T> {
        value: OnceLock<T>,
        is_set: AtomicU64,
    }

    impl<T: Copy> Once<T> {
        pub(crate) fn new() -> Self {
            Self { value: OnceLock::new(), is_set: AtomicU64::new(0) }
        }

        pub(crate) fn set(&self, value: T) {
            let _ = self.value.set(value);
            // Release: pairs with the Acquire load in `get`, as std's do.
            self.is_set.store(1, Ordering::Release);
        }

        pub(crate) fn get(&self) -> Option<T> {
            // Acquire: pairs with the Release store in `set`.
            (self.is_set.load(Ordering::Acquire) == 1).then(|| self.value.get().copied()).flatten()
        }
    }
}

pub(crate) use once::Once;

/// Threads park and are named by this; and randomness that a replay must be able to repeat.
#[cfg(not(inflight_shuttle))]
mod outside {
    pub(crate) use std::thread;

    pub(crate) use getrandom::fill as fill_random;
}

#[cfg(not(inflight_shuttle))]
pub(crate) use outside::*;

#[cfg(inflight_loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

    /// One stripe: a model has few threads, and each atomic costs it states.
    pub(crate) const STRIPES: usize = 1;

    pub(crate) fn stripe() -> usize {
        0
    }

    pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
        Some((0..len).map(|_| AtomicU64::new(0)).collect())
    }
}

#[cfg(inflight_loom)]
pub(crate) use model::*;

/// So many units of `words` atomics each, as [`zeroed`], and how many words to skip for the first unit to
/// begin at a multiple of its size: so none lies across two cache lines. (What stands in for an atomic in
/// a model has another size, and no line.)
pub(crate) fn aligned(units: usize, words: usize) -> Option<(Box<[AtomicU64]>, usize)> {
    let all = zeroed(units * words + words - 1)?;
    let past = all.as_ptr().addr() / size_of::<u64>() % words;
    let skip = if past == 0 || cfg!(inflight_loom) { 0 } else { words - past };
    Some((all, skip))
}

/// Locks `mutex`, poisoned or not: no code of a user runs under any lock of this crate, so what a
/// poisoned lock guards is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(inflight_budget)]
    crate::sync::budget::note(crate::sync::budget::Operation::Lock);
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
