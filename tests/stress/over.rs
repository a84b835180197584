//! How threads that run until the test is over learn that it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Sets a flag when it is dropped, also by a panic, so that the other threads do not run for ever.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The same, but only if its thread panics: other threads wait for what that thread was to do.
pub(crate) struct OnPanic<'a>(pub(crate) &'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::Release);
    }
}

pub(crate) fn until(over: &AtomicBool, mut work: impl FnMut()) {
    while !over.load(Ordering::Acquire) {
        work();
    }
    work();
}
