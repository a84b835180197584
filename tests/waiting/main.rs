//! Waiting without polling, and the change feed: I5, I6 and I8.
//!
//! The clock is set by hand and so is the keeper, so that a test knows what has happened by the time it
//! looks; where there are threads, they meet by what is tested and not by sleeping.
//!
//! * `wait`: the waits for an end or a change, to the end of every way that a task can go.
//! * `watch`: the stream of one task's statuses.
//! * `cancelled`: the worker's side of a request to cancel.
//! * `feed`: the coalesced feed of all changes.
//! * `wakers`: what a waker may do to others, and what is left of one.
//! * `model`: random histories, against what ought to be told of them.
//! * `runtimes`: the same work on several executors.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "what is shared by tests fails as they do")]

mod cancelled;
mod feed;
mod model;
mod runtimes;
mod support;
mod wait;
mod wakers;
mod watch;
