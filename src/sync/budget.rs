//! Counts the operations that a call does on memory that threads share. Only with `--cfg inflight_budget`,
//! for the tests of the budgets.
//!
//! Each thread has its own counts, so what other threads do meanwhile is not counted.

use std::cell::Cell;
use std::ops::Sub;

/// Operations on shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operations {
    /// Atomic loads.
    pub loads: u64,
    /// Atomic stores.
    pub stores: u64,
    /// Atomic read-modify-writes, failed ones too, and clones and drops of counted references.
    pub exchanges: u64,
    /// Fences.
    pub fences: u64,
    /// Locks taken. Each costs at least one exchange to take it and one to release it.
    pub locks: u64,
    /// Operations on a DashMap: a hash, and the lock of a shard.
    pub map: u64,
}

/// One operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Load,
    Store,
    Exchange,
    Fence,
    Lock,
    Map,
}

const NONE: Operations = Operations { loads: 0, stores: 0, exchanges: 0, fences: 0, locks: 0, map: 0 };

thread_local! {
    static DONE: Cell<Operations> = const { Cell::new(NONE) };
}

/// Notes an operation of the calling thread.
#[inline]
pub(crate) fn note(operation: Operation) {
    // A thread that is ending is not measured any more.
    let _ = DONE.try_with(|done| {
        let mut now = done.get();
        *match operation {
            Operation::Load => &mut now.loads,
            Operation::Store => &mut now.stores,
            Operation::Exchange => &mut now.exchanges,
            Operation::Fence => &mut now.fences,
            Operation::Lock => &mut now.locks,
            Operation::Map => &mut now.map,
        } += 1;
        done.set(now);
    });
}

/// Calls `work`. Returns its result, and the operations that it did on this thread.
pub fn measure<T>(work: impl FnOnce() -> T) -> (T, Operations) {
    let before = DONE.get();
    let result = work();
    (result, DONE.get() - before)
}

impl Sub for Operations {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            loads: self.loads - earlier.loads,
            stores: self.stores - earlier.stores,
            exchanges: self.exchanges - earlier.exchanges,
            fences: self.fences - earlier.fences,
            locks: self.locks - earlier.locks,
            map: self.map - earlier.map,
        }
    }
}
