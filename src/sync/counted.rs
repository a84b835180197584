//! The atomics of `std`, counted: each operation is noted for the thread that does it (`budget.rs`).
//!
//! Locks and maps are noted where they are used: in `lock`, and in `registry.rs`.

pub(crate) use std::sync::{Mutex, MutexGuard};

use std::ops::Deref;
use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicI64 as RealI64, AtomicU64 as RealU64, Ordering};

use crate::sync::budget::{Operation, note};

/// An atomic, with those operations that the store uses.
macro_rules! counted {
    ($name:ident, $real:ident, $value:ty) => {
        #[derive(Debug)]
        #[repr(transparent)]
        pub(crate) struct $name($real);

        #[allow(dead_code, reason = "not every operation is used on every type")]
        impl $name {
            pub(crate) const fn new(value: $value) -> Self {
                Self($real::new(value))
            }

            #[inline]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                note(Operation::Load);
                self.0.load(order)
            }

            #[inline]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                note(Operation::Store);
                self.0.store(value, order);
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                note(Operation::Exchange);
                self.0.swap(value, order)
            }

            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                note(Operation::Exchange);
                self.0.fetch_add(value, order)
            }

            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                note(Operation::Exchange);
                self.0.fetch_sub(value, order)
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                note(Operation::Exchange);
                self.0.fetch_or(value, order)
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                note(Operation::Exchange);
                self.0.fetch_and(value, order)
            }

            pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                note(Operation::Exchange);
                self.0.fetch_max(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                note(Operation::Exchange);
                self.0.compare_exchange(from, to, success, failure)
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                note(Operation::Exchange);
                self.0.compare_exchange_weak(from, to, success, failure)
            }

            /// One load, and one exchange for each round, as in `std`.
            pub(crate) fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut before = self.load(failure);
                while let Some(after) = change(before) {
                    match self.compare_exchange_weak(before, after, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(found) => before = found,
                    }
                }
                Err(before)
            }
        }
    };
}

counted!(AtomicU64, RealU64, u64);
counted!(AtomicI64, RealI64, i64);

/// A fence.
#[allow(dead_code, reason = "the store has no fence; if it gets one, that is counted")]
pub(crate) fn fence(order: Ordering) {
    note(Operation::Fence);
    std::sync::atomic::fence(order);
}

pub(crate) fn zeroed(len: usize) -> Option<Box<[AtomicU64]>> {
    Some((0..len).map(|_| AtomicU64::new(0)).collect())
}

/// A counted reference: a clone and a drop are an exchange each.
#[derive(Debug)]
pub(crate) struct Arc<T>(StdArc<T>);

impl<T> Arc<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(StdArc::new(value))
    }
}

impl<T> Clone for Arc<T> {
    fn clone(&self) -> Self {
        note(Operation::Exchange);
        Self(StdArc::clone(&self.0))
    }
}

impl<T> Drop for Arc<T> {
    fn drop(&mut self) {
        note(Operation::Exchange);
    }
}

impl<T> Deref for Arc<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
