//! The only folder that names atomics, locks and maps.
//!
//! Every folder may use it. It uses none.
//!
//! All atomics, locks and maps of the crate come from here, so that a checker can replace them without any
//! change elsewhere. (What no checker examines comes from `std` directly: the lock by which the keeper's
//! thread is stopped, and the `Arc` of what never changes.)
//!
//! | `--cfg` | what is used |
//! | --- | --- |
//! | none | `std` and DashMap |
//! | `inflight_loom` | loom: the executions of a small model, with weak memory orderings |
//! | `inflight_shuttle` | shuttle: random schedules of the whole store (`sync/scheduled.rs`) |
//! | `inflight_budget` | `std` and DashMap, with their operations counted (`sync/counted.rs`) |

#[cfg(inflight_budget)]
pub mod budget;

#[cfg(not(any(inflight_loom, inflight_shuttle, inflight_budget)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU64};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

    /// `len` atomics, all zero. They cost no memory until they are first used: the allocator maps zero pages
    /// for a large zeroed allocation, and nothing here writes to them.
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

/// What is the same for real threads, counted or not.
#[cfg(not(any(inflight_loom, inflight_shuttle)))]
mod threaded {
    pub(crate) use std::sync::atomic::Ordering;

    use std::sync::atomic::AtomicUsize;

    pub(crate) type DashMap<K, V> = dashmap::DashMap<K, V, foldhash::quality::RandomState>;

    pub(crate) fn dash_map<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
        let hasher = foldhash::quality::RandomState::default();
        // The counted map is large from the start, so that its occasional growth is not counted for a call.
        DashMap::with_capacity_and_hasher(if cfg!(inflight_budget) { 1 << 14 } else { 0 }, hasher)
    }

    /// How many stripes the sharded counters have (a power of two).
    pub(crate) const STRIPES: usize = 16;

    std::thread_local! {
        static STRIPE: usize = {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            // Relaxed: it assigns numbers, and publishes nothing with them.
            NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES
        };
    }

    /// The stripe of the calling thread. A thread keeps its stripe, and new threads take the stripes in turn.
    pub(crate) fn stripe() -> usize {
        STRIPE.with(|stripe| *stripe)
    }
}

#[cfg(not(any(inflight_loom, inflight_shuttle)))]
pub(crate) use threaded::*;

/// Keeps what comes before it in the program before what comes after it, as far as the compiler is concerned.
/// It is no instruction: what the processor reorders is another matter (`engine/pace.rs`). In a model nothing
/// needs it, since there a thread's own order stands.
#[inline(always)]
pub(crate) fn keep_order() {
    #[cfg(not(any(inflight_loom, inflight_shuttle)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// A value that is set once and then copied without a lock.
#[cfg(not(any(inflight_loom, inflight_shuttle)))]
mod once {
    use std::sync::OnceLock;

    pub(crate) struct Once<T>(OnceLock<T>);

    impl<T: Copy> Once<T> {
        pub(crate) fn new() -> Self {
            Self(OnceLock::new())
        }

        /// Sets the value, unless it is set already.
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
            // Release: pairs with the Acquire load in `get`, as in std.
            self.is_set.store(1, Ordering::Release);
        }

        pub(crate) fn get(&self) -> Option<T> {
            // Acquire: pairs with the Release store in `set`.
            (self.is_set.load(Ordering::Acquire) == 1).then(|| self.value.get().copied()).flatten()
        }
    }
}

pub(crate) use once::Once;

/// Threads, and random bytes that a replay must be able to repeat.
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

    /// One stripe: a model has few threads, and each further atomic adds states.
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

/// `units` units of `words` atomics each, all zero (see [`zeroed`]), and how many words to skip so that the
/// first unit begins at a multiple of its size. Then no unit crosses a cache line. (In a loom model an atomic
/// has another size, and alignment does not matter.)
pub(crate) fn aligned(units: usize, words: usize) -> Option<(Box<[AtomicU64]>, usize)> {
    let all = zeroed(units * words + words - 1)?;
    let past = all.as_ptr().addr() / size_of::<u64>() % words;
    let skip = if past == 0 || cfg!(inflight_loom) { 0 } else { words - past };
    Some((all, skip))
}

/// Locks `mutex`, even if it is poisoned. No user code runs under a lock of this crate, so what a poisoned
/// lock guards is consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(inflight_budget)]
    crate::sync::budget::note(crate::sync::budget::Operation::Lock);
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
