//! How threads that go on until something is over learn that it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Sets a flag when it goes, also by a panic: so that the others do not run for ever.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The same, but only if the thread panics that has it: others wait for what it was to do.
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
