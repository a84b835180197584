//! The handle for several writers of one task.

use std::fmt;
use std::sync::Arc as StdArc;

use crate::engine::lifecycle::{Ending, Finish};
use crate::model::id::TaskId;
use crate::model::payload::Payload;
use crate::model::reason::FailureReason;
use crate::record::error::{ChangeError, FinishError, ProgressError};
use crate::record::status::Status;
use crate::sync::{AtomicU64, Ordering};
use crate::task::cancelled::Cancelled;
use crate::task::handle::Handle;

/// A handle that can be cloned and shared. [`Task::share`](crate::Task::share) returns it.
///
/// Its writes take `&self`. An addition is one atomic operation, and none is lost. If the last clone is
/// dropped before the task has ended, the task becomes `Failed`.
///
/// An addition that is made while another thread ends the task is either counted, and then part of the final
/// status, or refused.
///
/// ```
/// use inflight::{NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index").total(200))?;
/// task.start()?;
/// let task = task.share();
/// std::thread::scope(|scope| {
///     for _ in 0..2 {
///         let task = task.clone();
///         scope.spawn(move || (0..100).try_for_each(|_| task.advance(1)));
///     }
/// });
/// task.succeed(())?;
/// assert_eq!(store.get(task.id()).ok_or("gone")?.done(), 200);
/// # Ok(())
/// # }
/// ```
pub struct SharedTask {
    handle: StdArc<Handle>,
    /// The last tick in which this clone noted progress. It is kept here so that the clone need not read the
    /// line, to which other writers write.
    noted: AtomicU64,
}

impl SharedTask {
    pub(crate) fn new(handle: Handle) -> Self {
        Self::of(StdArc::new(handle.shared()))
    }

    fn of(handle: StdArc<Handle>) -> Self {
        Self { handle, noted: AtomicU64::new(0) }
    }

    /// The task's id.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert_eq!(store.get(task.id()), task.status());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.handle.id()
    }

    /// The task's status; `None` if it has ended and is gone.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert_eq!(task.status().map(|status| status.done()), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.handle.status()
    }

    /// `Pending → Running`; see [`Task::start`](crate::Task::start).
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotAllowed`] in any other state than `Pending`.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let task = store.create(NewTask::new("index"))?;
    /// # let task = task.share();
    /// task.start()?;
    /// assert_eq!(task.status().map(|status| status.state()), Some(State::Running));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(&self) -> Result<(), ChangeError> {
        self.handle.start()
    }

    /// Adds `count` to what is done. Adding 0 changes nothing.
    ///
    /// # Errors
    ///
    /// [`ProgressError::NotRunning`] unless the task has been started and has not ended;
    /// [`ProgressError::Overflow`] if more than [`MAX_COUNT`](crate::MAX_COUNT) would be done.
    ///
    /// # Consistency
    ///
    /// Counting is opened a moment before a poll shows the start, and closed a moment before a poll shows
    /// the end. So while another clone starts the task, an addition may be counted just before the start is
    /// visible. While another clone ends it, an addition may be refused just before the end is visible. A
    /// poll at the very moment of the end may show an addition that is refused. The final status shows
    /// exactly what was counted.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.advance(3)?;
    /// task.advance(4)?;
    /// assert_eq!(store.lookup(task.id())?.done(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn advance(&self, count: u64) -> Result<(), ProgressError> {
        self.handle.add_unnoted(count)?;
        let pulse = self.handle.engine.pulse.now();
        // Relaxed: a time that concerns this clone only. Threads that share the clone and load an old value
        // note the time once more.
        if self.noted.load(Ordering::Relaxed) != pulse.bits() && count > 0 {
            self.noted.store(pulse.bits(), Ordering::Relaxed);
            self.handle.engine.note_progress(&self.handle.record, pulse);
        }
        Ok(())
    }

    /// Raises what is done to `done`.
    ///
    /// # Errors
    ///
    /// As [`SharedTask::advance`], and [`ProgressError::Backwards`] if more is done already.
    ///
    /// ```
    /// # use inflight::{NewTask, ProgressError, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.set_done(7)?;
    /// assert_eq!(task.set_done(3), Err(ProgressError::Backwards { done: 7, to: 3 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_done(&self, done: u64) -> Result<(), ProgressError> {
        self.handle.raise(done)
    }

    /// Sets the total: how much there is to do. See [`Task::set_total`](crate::Task::set_total).
    ///
    /// # Errors
    ///
    /// [`ChangeError::TotalTooLarge`], [`ChangeError::TotalBelowDone`], or [`ChangeError::Ended`].
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.advance(3)?;
    /// task.set_total(12)?;
    /// assert_eq!(task.status().and_then(|status| status.fraction()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_total(&self, total: u64) -> Result<(), ChangeError> {
        self.handle.set_total(total)
    }

    /// Sets the message, which says in a few words what is being done.
    ///
    /// # Errors
    ///
    /// [`ChangeError::TooLarge`], or [`ChangeError::Ended`].
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.set_message("embedding")?;
    /// assert_eq!(store.details(task.id())?.message(), Some("embedding"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_message(&self, message: impl AsRef<str>) -> Result<(), ChangeError> {
        self.handle.set_message(message.as_ref())
    }

    /// `Running → Blocked`.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotAllowed`] in any other state.
    ///
    /// ```
    /// # use inflight::{ChangeError, NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.block()?;
    /// assert_eq!(task.block(), Err(ChangeError::NotAllowed { from: State::Blocked, to: State::Blocked }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block(&self) -> Result<(), ChangeError> {
        self.handle.block()
    }

    /// `Blocked → Running`.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotAllowed`] in any other state.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.block()?;
    /// task.resume()?;
    /// assert_eq!(task.status().map(|status| status.state()), Some(State::Running));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&self) -> Result<(), ChangeError> {
        self.handle.resume()
    }

    /// `Running | Blocked → Pending`, the next attempt; see [`Task::retry`](crate::Task::retry). An addition
    /// that another clone makes meanwhile may count for either attempt.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotAllowed`] in any other state; [`ChangeError::TooManyAttempts`].
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// task.advance(3)?;
    /// task.retry()?;
    /// assert_eq!(task.status().map(|status| (status.attempt(), status.done())), Some((2, 0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry(&self) -> Result<(), ChangeError> {
        self.handle.retry()
    }

    /// Ends the task as `Succeeded`; see [`Task::succeed`](crate::Task::succeed).
    ///
    /// # Errors
    ///
    /// [`FinishError::NotAllowed`] if the task has not been started; [`FinishError::TooLarge`].
    ///
    /// ```
    /// # use inflight::{Finish, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert_eq!(task.succeed("42 pages")?, Finish::Won);
    /// let details = store.details(task.id())?;
    /// assert_eq!(details.result().and_then(|result| result.as_text()), Some("42 pages"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn succeed(&self, result: impl Into<Payload>) -> Result<Finish, FinishError> {
        self.handle.finish(Ending::succeeded(result))
    }

    /// Ends the task as `Failed`; see [`Task::fail`](crate::Task::fail).
    ///
    /// # Errors
    ///
    /// [`FinishError::TooLarge`].
    ///
    /// ```
    /// # use inflight::{FailureReason, Finish, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert_eq!(task.fail(FailureReason::TimedOut, "after 3 s")?, Finish::Won);
    /// assert_eq!(store.lookup(task.id())?.failure_reason(), Some(FailureReason::TimedOut));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail(&self, reason: FailureReason, error: impl Into<Payload>) -> Result<Finish, FinishError> {
        self.handle.finish(Ending::failed(reason, error))
    }

    /// Ends the task as `Cancelled`.
    ///
    /// # Errors
    ///
    /// [`FinishError::Gone`] if it has ended and is gone.
    ///
    /// ```
    /// # use inflight::{Finish, NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert_eq!(task.cancel()?, Finish::Won);
    /// assert_eq!(store.lookup(task.id())?.state(), State::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&self) -> Result<Finish, FinishError> {
        self.handle.finish(Ending::cancelled())
    }

    /// Whether cancellation was requested.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert!(!task.cancel_requested());
    /// let _ = store.cancel(task.id())?;
    /// assert!(task.cancel_requested());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn cancel_requested(&self) -> bool {
        self.handle.cancel_requested()
    }

    /// A future that resolves when cancellation is requested or the task ends, for example for `select!`.
    /// It does not borrow the handle.
    ///
    /// ```
    /// use inflight::{NewTask, Store};
    ///
    /// # async fn work() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let mut task = store.create(NewTask::new("index"))?;
    /// task.start()?;
    /// let cancelled = task.cancelled();
    /// let _ = store.cancel(task.id())?;
    /// cancelled.await;
    /// task.cancel()?;
    /// # Ok(())
    /// # }
    /// # drop(work());
    /// ```
    pub fn cancelled(&self) -> Cancelled {
        self.handle.cancelled()
    }

    /// Extends the lease; see [`Task::heartbeat`](crate::Task::heartbeat).
    ///
    /// # Errors
    ///
    /// [`ChangeError::Ended`] once the lease has run out; [`ChangeError::NoLease`] if there was none.
    ///
    /// ```
    /// # use inflight::{ChangeError, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// # let task = task.share();
    /// assert_eq!(task.heartbeat(), Err(ChangeError::NoLease));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn heartbeat(&self) -> Result<(), ChangeError> {
        self.handle.heartbeat()
    }
}

impl Clone for SharedTask {
    fn clone(&self) -> Self {
        Self::of(StdArc::clone(&self.handle))
    }
}

impl fmt::Debug for SharedTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedTask").field(&self.status()).finish()
    }
}
