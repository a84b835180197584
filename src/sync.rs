//! The one file that names atomics, locks and queues.
//!
//! Everything concurrent in the crate comes from here, so that a model checker can take the place of
//! the real thing (`--cfg inflight_loom`) without the rest of the code knowing.

#[cfg(not(inflight_loom))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

    pub(crate) use crossbeam_queue::SegQueue as Queue;

    /// How many stripes the sharded counters have (a power of two).
    pub(crate) const STRIPES: usize = 16;

    std::thread_local! {
        static STRIPE: usize = {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            // Relaxed: it hands out numbers, and publishes nothing with them.
            NEXT.fetch_add(1, Ordering::Relaxed) as usize % STRIPES
        };
    }

    /// The stripe of the calling thread: always the same one, and threads take them in turn.
    pub(crate) fn stripe() -> usize {
        STRIPE.with(|stripe| *stripe)
    }

    /// `len` atomics, all zero, that cost no memory until they are touched: the allocator maps zero
    /// pages for a large zeroed allocation, and nothing here writes to them.
    pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
        bytemuck::allocation::try_zeroed_slice_box(len).ok()
    }
}

#[cfg(not(inflight_loom))]
pub(crate) use real::*;

#[cfg(inflight_loom)]
mod model {
    pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU64, Ordering};
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

    use super::lock;

    /// One stripe: a model has few threads, and each atomic costs it states.
    pub(crate) const STRIPES: usize = 1;

    pub(crate) fn stripe() -> usize {
        0
    }

    pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
        Some((0..len).map(|_| AtomicU64::new(0)).collect())
    }

    /// An unbounded queue with the guarantees of crossbeam's, as the model checker can see them.
    pub(crate) struct Queue<T>(Mutex<std::collections::VecDeque<T>>);

    impl<T> Queue<T> {
        pub(crate) fn new() -> Self {
            Self(Mutex::new(std::collections::VecDeque::new()))
        }

        pub(crate) fn push(&self, value: T) {
            lock(&self.0).push_back(value);
        }

        pub(crate) fn pop(&self) -> Option<T> {
            lock(&self.0).pop_front()
        }
    }
}

#[cfg(inflight_loom)]
pub(crate) use model::*;

/// Locks `mutex`, poisoned or not: no code of a user runs under any lock of this crate, so what a
/// poisoned lock guards is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
