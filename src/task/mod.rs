//! The worker's exclusive handle. It is the only writer, so an increment is a plain store.
//!
//! The folder holds the handles: everything that writes to a task. `store/` uses it. It uses `engine/` and
//! what lies below.

pub(crate) mod cancelled;
pub(crate) mod counter;
pub(crate) mod handle;
pub(crate) mod panics;
pub(crate) mod shared;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::cell::{Cell, MAX_COUNT};
use crate::engine::lifecycle::{Ending, Finish};
use crate::model::clock::Stamp;
use crate::model::id::TaskId;
use crate::model::payload::Payload;
use crate::model::reason::FailureReason;
use crate::model::state::State;
use crate::record::error::{ChangeError, FinishError, ProgressError};
use crate::record::status::Status;
use crate::task::cancelled::Cancelled;
use crate::task::counter::Counter;
use crate::task::handle::Handle;
use crate::task::shared::SharedTask;

/// The exclusive handle of one task: it is not `Clone`, and its writes take `&mut self`.
///
/// So it is the only writer, and an increment is a plain store that takes about a nanosecond. For several
/// writers of one task, see [`Task::share`].
///
/// If the handle is dropped before the task has ended, the task becomes `Failed`: with
/// [`FailureReason::Panicked`] and the panic's message if it was started and the thread is unwinding,
/// otherwise with [`FailureReason::Lost`]. See the guide on [a task's life](crate::guide::lifecycle).
///
/// If one thread has several tasks running when it panics, and drops them all, each is `Failed(Panicked)`:
/// the store cannot know which of them the thread was working on, since an increment leaves no note of that.
/// A worker that takes one task after the other starts each when it begins with it, or uses [`Task::scope`].
///
/// ```
/// use inflight::{Finish, NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index").total(3).unit("pages"))?;
/// let id = task.id();
/// task.start()?;
/// for page in ["one", "two", "three"] {
///     // … work on it …
///     task.advance(1)?;
/// }
/// assert_eq!(task.succeed("3 pages")?, Finish::Won);
/// assert_eq!(store.get(id).ok_or("gone")?.fraction(), Some(1.0));
/// # Ok(())
/// # }
/// ```
pub struct Task {
    handle: Handle,
    /// Whether counting is open and this handle is the only writer.
    alone: bool,
    /// How much can still be added by plain stores: `MAX_COUNT - done` while this handle is the only writer.
    /// Otherwise 0, and then every addition takes the slow path. It is also 0 after a `Counter` was created,
    /// until the count has been read from the line.
    room: u64,
    /// The time of the last tick in which this handle noted progress.
    noted: Stamp,
}

impl Task {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle, alone: false, room: 0, noted: Stamp::default() }
    }

    /// The task's id.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.get(task.id()), task.status());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.handle.id()
    }

    /// The task's status; `None` if the task has ended and is gone.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(task.status().map(|status| status.done()), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.handle.status()
    }

    /// Starts the work, or the next attempt: `Pending → Running`. Progress starts at 0.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NotAllowed`] in any other state than `Pending`.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// task.start()?;
    /// assert_eq!(task.status().map(|status| status.state()), Some(State::Running));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(&mut self) -> Result<(), ChangeError> {
        self.handle.start()?;
        self.alone = self.handle.record.lease().is_none();
        self.room = self.room_on_line();
        self.noted = Stamp::default();
        Ok(())
    }

    /// Adds `count` to what is done. Adding 0 changes nothing.
    ///
    /// # Errors
    ///
    /// [`ProgressError::NotRunning`] unless the task has been started and has not ended;
    /// [`ProgressError::Overflow`] if more than [`MAX_COUNT`] would be done. Then nothing is counted.
    ///
    /// # Consistency
    ///
    /// A poll on any thread sees the new count as soon as the store is visible there; the version grows
    /// with it. Waiters, the feed and the parent's sums follow at the next tick.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.advance(3)?;
    /// task.advance(4)?;
    /// assert_eq!(store.lookup(task.id())?.done(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn advance(&mut self, count: u64) -> Result<(), ProgressError> {
        // 0 wraps around and takes the slow path.
        if count.wrapping_sub(1) >= self.room {
            return self.advance_slowly(count);
        }
        self.room -= count;
        self.publish();
        Ok(())
    }

    #[inline(always)]
    fn publish(&mut self) {
        let engine = &*self.handle.engine;
        if let Some(cell) = self.handle.cell() {
            cell.publish(MAX_COUNT - self.room);
        }
        let pulse = engine.pulse.now();
        if pulse != self.noted {
            self.noted = pulse;
            engine.note_progress(&self.handle.record, pulse);
        }
    }

    #[cold]
    fn advance_slowly(&mut self, count: u64) -> Result<(), ProgressError> {
        if !self.alone {
            return self.handle.add(count);
        }
        self.room = self.room_on_line();
        if count > self.room {
            return Err(ProgressError::Overflow { done: MAX_COUNT - self.room, limit: MAX_COUNT });
        }
        if count > 0 {
            self.room -= count;
            self.publish();
        }
        Ok(())
    }

    /// How much this handle can add by plain stores, by the count on the line.
    #[inline]
    fn room_on_line(&self) -> u64 {
        let done = self.handle.cell().map_or(0, Cell::counted);
        if self.alone { MAX_COUNT.saturating_sub(done) } else { 0 }
    }

    fn stop_counting(&mut self) {
        (self.alone, self.room) = (false, 0);
    }

    /// A counter for a tight loop, in which a step costs even less than [`Task::advance`]. It borrows the
    /// handle. What it has counted stays counted when it is dropped.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// let mut counter = task.counter();
    /// (0..100).try_for_each(|_| counter.advance(1))?;
    /// assert_eq!(store.lookup(task.id())?.done(), 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn counter(&mut self) -> Counter<'_> {
        let room = self.room_on_line();
        // This handle does not see what the counter adds, so it reads the line at its next addition.
        self.room = 0;
        Counter::new(&self.handle, room)
    }

    /// Sets what is done to `done`, which must not be less than what is done already.
    ///
    /// # Errors
    ///
    /// As [`Task::advance`], and [`ProgressError::Backwards`] if more is done already.
    ///
    /// ```
    /// # use inflight::{NewTask, ProgressError, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.set_done(7)?;
    /// assert_eq!(task.set_done(3), Err(ProgressError::Backwards { done: 7, to: 3 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_done(&mut self, done: u64) -> Result<(), ProgressError> {
        if !self.alone {
            return self.handle.raise(done);
        }
        let before = MAX_COUNT - self.room_on_line();
        if done > MAX_COUNT {
            return Err(ProgressError::Overflow { done: before, limit: MAX_COUNT });
        }
        match done.checked_sub(before) {
            None => Err(ProgressError::Backwards { done: before, to: done }),
            Some(more) => self.advance(more),
        }
    }

    /// Sets the total: how much there is to do.
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
    /// task.advance(3)?;
    /// task.set_total(12)?;
    /// assert_eq!(task.status().and_then(|status| status.fraction()), Some(0.25));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_total(&mut self, total: u64) -> Result<(), ChangeError> {
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
    /// task.set_message("embedding")?;
    /// assert_eq!(store.details(task.id())?.message(), Some("embedding"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_message(&mut self, message: impl AsRef<str>) -> Result<(), ChangeError> {
        self.handle.set_message(message.as_ref())
    }

    /// Marks that the worker waits for something outside: `Running → Blocked`.
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
    /// task.block()?;
    /// assert_eq!(task.block(), Err(ChangeError::NotAllowed { from: State::Blocked, to: State::Blocked }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn block(&mut self) -> Result<(), ChangeError> {
        self.handle.block()
    }

    /// Marks that the worker continues: `Blocked → Running`.
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
    /// task.block()?;
    /// task.resume()?;
    /// assert_eq!(task.status().map(|status| status.state()), Some(State::Running));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn resume(&mut self) -> Result<(), ChangeError> {
        self.handle.resume()
    }

    /// Gives up this attempt and makes the next one pending: `Running | Blocked → Pending`. The progress of
    /// the next one starts at 0. A request to cancel remains.
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
    /// task.advance(3)?;
    /// task.retry()?;
    /// assert_eq!(task.status().map(|status| (status.attempt(), status.done())), Some((2, 0)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry(&mut self) -> Result<(), ChangeError> {
        self.handle.retry()?;
        self.stop_counting();
        Ok(())
    }

    /// Ends the task as `Succeeded`, with a result: a text, bytes, a [`Payload`], or `()` for none.
    ///
    /// # Errors
    ///
    /// [`FinishError::NotAllowed`] if the task has not been started; [`FinishError::TooLarge`], which
    /// returns the result. Nothing has changed then.
    ///
    /// ```
    /// # use inflight::{Finish, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(task.succeed("42 pages")?, Finish::Won);
    /// let details = store.details(task.id())?;
    /// assert_eq!(details.result().and_then(|result| result.as_text()), Some("42 pages"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn succeed(&mut self, result: impl Into<Payload>) -> Result<Finish, FinishError> {
        self.finish(Ending::succeeded(result))
    }

    /// Ends the task as `Failed`, with an error: a text, bytes, a [`Payload`], or `()` for none.
    ///
    /// # Errors
    ///
    /// [`FinishError::TooLarge`], which returns the error. Nothing has changed then.
    ///
    /// ```
    /// # use inflight::{FailureReason, Finish, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(task.fail(FailureReason::TimedOut, "after 3 s")?, Finish::Won);
    /// assert_eq!(store.lookup(task.id())?.failure_reason(), Some(FailureReason::TimedOut));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail(&mut self, reason: FailureReason, error: impl Into<Payload>) -> Result<Finish, FinishError> {
        self.finish(Ending::failed(reason, error))
    }

    /// Ends the task as `Cancelled`, whether or not that was requested.
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
    /// assert_eq!(task.cancel()?, Finish::Won);
    /// assert_eq!(store.lookup(task.id())?.state(), State::Cancelled);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(&mut self) -> Result<Finish, FinishError> {
        self.finish(Ending::cancelled())
    }

    fn finish(&mut self, ending: Ending) -> Result<Finish, FinishError> {
        let finish = self.handle.finish(ending)?;
        self.stop_counting();
        Ok(finish)
    }

    /// Whether cancellation was requested. One load, cheap enough for every iteration of a loop.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
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

    /// Extends the lease: its span begins again now. Progress extends the lease, too.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Ended`] once the lease has run out; [`ChangeError::NoLease`] if there was none.
    ///
    /// ```
    /// # use inflight::{ChangeError, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let new = NewTask::new("index").lease(std::time::Duration::from_secs(30));
    /// let mut task = store.create(new)?;
    /// task.heartbeat()?;
    /// let mut other = store.create(NewTask::new("index"))?;
    /// assert_eq!(other.heartbeat(), Err(ChangeError::NoLease));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn heartbeat(&mut self) -> Result<(), ChangeError> {
        self.handle.heartbeat()
    }

    /// Turns the handle into one that can be cloned, for a task on which several threads work. From then on
    /// progress is added by an atomic operation.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// let one = task.share();
    /// let other = one.clone();
    /// one.advance(1)?;
    /// other.advance(1)?;
    /// assert_eq!(store.lookup(one.id())?.done(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "dropping the last handle ends the task"]
    pub fn share(self) -> SharedTask {
        SharedTask::new(self.handle)
    }

    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn into_handle(self) -> Handle {
        self.handle
    }

    /// Runs `work` and ends the task by its outcome. After `Ok` the task is `Succeeded`, after `Err` it is
    /// `Failed(Error)` with the error's text. After a panic it is `Failed(Panicked)` with the panic's
    /// message, and the panic continues. If `work` ends the task itself, for example with a result, that end
    /// stands. If `work` leaves the task pending after a retry and returns `Ok`, the task is `Failed(Lost)`,
    /// as if the handle had been dropped.
    ///
    /// A pending task is started first.
    ///
    /// # Errors
    ///
    /// The error that `work` returned, or [`ScopeError::NotStarted`] if the task had ended before, for
    /// example because it was cancelled. In the second case `work` is not called.
    ///
    /// ```
    /// use inflight::{NewTask, State, Store};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("parse"))?;
    /// let id = task.id();
    /// let number = task.scope(|task| {
    ///     task.advance(1).ok();
    ///     "42".parse::<u32>()
    /// })?;
    /// assert_eq!(number, 42);
    /// assert_eq!(store.get(id).ok_or("gone")?.state(), State::Succeeded);
    /// # Ok(())
    /// # }
    /// ```
    pub fn scope<T, E: fmt::Display>(
        mut self,
        work: impl FnOnce(&mut Task) -> Result<T, E>,
    ) -> Result<T, ScopeError<E>> {
        // Also for a task that has ended or is gone: `start` refuses it.
        if !self.status().is_some_and(|status| matches!(status.state(), State::Running | State::Blocked)) {
            self.start().map_err(ScopeError::NotStarted)?;
        }
        // The closure shares only the task with this frame, and the task is ended at once.
        match catch_unwind(AssertUnwindSafe(|| work(&mut self))) {
            Ok(Ok(value)) => {
                // The result is `Lost` if `work` has ended the task itself.
                let _ = self.succeed(());
                Ok(value)
            }
            Ok(Err(error)) => {
                self.handle.fail_anyhow(FailureReason::Error, &error.to_string());
                Err(ScopeError::Work(error))
            }
            Err(panic) => {
                self.handle.fail_anyhow(FailureReason::Panicked, panics::message(&*panic));
                resume_unwind(panic)
            }
        }
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Task").field(&self.status()).finish()
    }
}

/// Why [`Task::scope`] returned no value.
///
/// ```
/// # use inflight::{NewTask, ScopeError, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let task = store.create(NewTask::new("index"))?;
/// let said = task.scope(|_| "x".parse::<u32>());
/// assert!(matches!(said, Err(ScopeError::Work(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScopeError<E> {
    /// The task could not be started, so the work was not done.
    NotStarted(ChangeError),
    /// The work returned an error.
    Work(E),
}

impl<E: fmt::Display> fmt::Display for ScopeError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScopeError::NotStarted(why) => write!(f, "the task was not started: {why}"),
            ScopeError::Work(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ScopeError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ScopeError::NotStarted(why) => Some(why),
            ScopeError::Work(error) => error.source(),
        }
    }
}
