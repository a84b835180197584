//! The future that reports a request to cancel to the worker.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use crate::engine::Engine;
use crate::engine::waiter::Waiter;
use crate::record::Record;
use crate::record::status::Status;
use crate::record::wait_list::Interest;
use crate::sync::Arc;

/// A future that resolves when cancellation of a task is requested or the task ends.
/// [`Task::cancelled`](crate::Task::cancelled) returns it.
///
/// It does not borrow the handle, so the worker can use the handle meanwhile.
///
/// ```
/// # use inflight::{NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// # task.start()?;
/// let cancelled = task.cancelled();
/// let _ = store.cancel(task.id())?;
/// smol::block_on(cancelled);
/// assert!(task.cancel_requested());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Cancelled {
    waiter: Waiter,
}

impl Cancelled {
    pub(crate) fn new(engine: &StdArc<Engine>, record: &Arc<Record>) -> Self {
        // By the record, not by the id, which may belong to another task by now.
        Self { waiter: Waiter::registered(engine, record, Interest::Cancel, None) }
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_over = |status: &Status| status.cancel_requested() || status.is_terminal();
        self.waiter.poll(context, None, is_over).map(|_| ())
    }
}
