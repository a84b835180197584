//! Waiting without polling, and the change feed: I5, I6 and I8.
//!
//! The clock is set by hand, and so is the keeper, so a test knows what has happened when it checks. Threads
//! synchronise by the calls under test, not by sleeping.
//!
//! * `wait`: waiting for an end or a change, with every way in which a task can end or be removed.
//! * `watch`: the stream of one task's statuses.
//! * `cancelled`: the worker's side of a request to cancel.
//! * `feed`: the coalesced feed of all changes.
//! * `wakers`: effects of a waker on others, and that no waker is kept.
//! * `model`: random histories, compared with what should be reported of them.
//! * `runtimes`: the same work on several executors.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test panics")]

mod cancelled;
mod feed;
mod model;
mod runtimes;
mod support;
mod wait;
mod wakers;
mod watch;
