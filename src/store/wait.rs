//! Waiting without polling: futures that resolve to a status, and a stream of statuses.
//!
//! They need no runtime, can be dropped at any time, and keep nothing of a task that is gone. Their common
//! part is `engine/waiter.rs`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::engine::waiter::Waiter;
use crate::model::clock::Stamp;
use crate::model::id::TaskId;
use crate::model::reason::Absent;
use crate::model::version::Version;
use crate::record::status::Status;
use crate::record::wait_list::Interest;
use crate::store::Store;
use crate::sync::thread::{self, Thread};

/// A future that waits for a task to end. [`Store::wait`] returns it. It resolves to the terminal status, or
/// to the reason why there is none.
///
/// ```
/// # use inflight::{NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// let wait = store.wait(task.id());
/// task.cancel()?;
/// assert!(smol::block_on(wait)?.is_terminal());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Wait {
    waiter: Waiter,
    _store: Store,
}

impl Future for Wait {
    type Output = Result<Status, Absent>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiter.poll(context, None, Status::is_terminal)
    }
}

/// A future that waits for a task to end, for a limited time. [`Store::wait_timeout`] returns it.
///
/// ```
/// # use inflight::{NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// let wait = store.wait_timeout(task.id(), std::time::Duration::from_secs(60));
/// task.cancel()?;
/// assert!(smol::block_on(wait)?.is_terminal());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct WaitTimeout {
    waiter: Waiter,
    deadline: Stamp,
    timed: bool,
    _store: Store,
}

impl Future for WaitTimeout {
    type Output = Result<Status, WaitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Poll::Ready(ended) = this.waiter.poll(context, None, Status::is_terminal) {
            return Poll::Ready(ended.map_err(WaitError::Absent));
        }
        let Some((registration, subject)) = this.waiter.registration() else { return Poll::Pending };
        let engine = this.waiter.engine();
        if engine.clock.now() >= this.deadline
            && let Some(status) = engine.poll_line(subject)
        {
            // The task may have ended since the poll above.
            let is_late = !status.is_terminal();
            return Poll::Ready(if is_late { Err(WaitError::TimedOut(status)) } else { Ok(status) });
        }
        if !std::mem::replace(&mut this.timed, true) {
            engine.watch_waiter(registration.clone(), this.deadline);
        }
        Poll::Pending
    }
}

/// Why [`Store::wait_timeout`] did not resolve to a terminal status.
///
/// ```
/// # use inflight::{Absent, Store, TaskId, WaitError};
/// # let store = Store::builder().capacity(16).build()?;
/// let wait = store.wait_timeout(TaskId::from_u128(7), std::time::Duration::from_secs(60));
/// assert_eq!(smol::block_on(wait), Err(WaitError::Absent(Absent::Unknown)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// There is no such task, or it was removed.
    Absent(Absent),
    /// The time ran out. This is the status at that moment.
    TimedOut(Status),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WaitError::Absent(absent) => absent.fmt(f),
            WaitError::TimedOut(status) => write!(f, "the task is still {}", status.state()),
        }
    }
}

impl std::error::Error for WaitError {}

/// A future that waits for a task to change. [`Store::changed_since`] returns it. It resolves to a status
/// with a greater version, or to the reason why there is none.
///
/// ```
/// # use inflight::{NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// let seen = store.lookup(task.id())?.version();
/// let change = store.changed_since(task.id(), seen);
/// task.start()?;
/// assert!(smol::block_on(change)?.version() > seen);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct ChangedSince {
    waiter: Waiter,
    seen: Version,
    _store: Store,
}

impl Future for ChangedSince {
    type Output = Result<Status, Absent>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let seen = self.seen;
        self.waiter.poll(context, Some(seen), |status| status.version() > seen)
    }
}

/// A stream of the statuses of one task as they change. [`Store::watch`] returns it.
///
/// The stream begins with the present status and continues with newer ones. It never repeats a version and
/// never returns an older one. It may skip progress and intermediate changes, but not the terminal status,
/// even if the task is gone when the stream is polled. After the terminal status it ends. It also ends if
/// there was no such task when it was created; then [`absent`](Watch::absent) says why.
///
/// # Consistency
///
/// It wakes at once for transitions, messages, totals and requests to cancel, and at the keeper's next tick
/// for progress. It costs the worker nothing per increment.
///
/// ```
/// # use inflight::{NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// use futures_util::StreamExt;
///
/// let mut watch = store.watch(task.id());
/// task.cancel()?;
/// let last = smol::block_on(watch.next()).ok_or("it has ended")?;
/// assert!(last.is_terminal());
/// assert_eq!(smol::block_on(watch.next()), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct Watch {
    waiter: Waiter,
    seen: Option<Version>,
    ended: Option<Result<(), Absent>>,
    _store: Store,
}

impl Watch {
    /// Why the stream ended without a terminal status.
    ///
    /// ```
    /// # use inflight::{Absent, Store, TaskId};
    /// # let store = Store::builder().capacity(16).build()?;
    /// use futures_util::StreamExt;
    ///
    /// let mut watch = store.watch(TaskId::from_u128(7));
    /// assert_eq!(smol::block_on(watch.next()), None);
    /// assert_eq!(watch.absent(), Some(Absent::Unknown));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn absent(&self) -> Option<Absent> {
        self.ended.and_then(Result::err)
    }
}

impl Stream for Watch {
    type Item = Status;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Status>> {
        let this = &mut *self;
        if this.ended.is_some() {
            return Poll::Ready(None);
        }
        let seen = this.seen;
        let is_newer = |status: &Status| seen.is_none_or(|seen| status.version() > seen);
        match this.waiter.poll(context, seen, is_newer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(status)) => {
                this.seen = Some(status.version());
                this.ended = status.is_terminal().then_some(Ok(()));
                Poll::Ready(Some(status))
            }
            Poll::Ready(Err(absent)) => {
                this.ended = Some(Err(absent));
                Poll::Ready(None)
            }
        }
    }
}

impl FusedStream for Watch {
    fn is_terminated(&self) -> bool {
        self.ended.is_some()
    }
}

impl Store {
    fn waiter(&self, id: TaskId, interest: Interest, seen: Option<Version>) -> Waiter {
        Waiter::new(&self.engine, id, interest, seen)
    }

    /// Waits for a task to end.
    ///
    /// Resolves to the terminal status at once after the transition, or to [`Absent`] if there is no such
    /// task. The future works on any runtime, and may be dropped at any time. See the guide on
    /// [waiting](crate::guide::waiting).
    ///
    /// # Consistency
    ///
    /// From this call on, no end is missed: the end is reported even if the task is gone when the future is
    /// polled, or if its id belongs to another task by then.
    ///
    /// The thread that ends the task calls the waker, with no lock held. A panic in the waker is contained.
    /// The same is true of all other futures and streams of the store.
    ///
    /// ```
    /// use inflight::{NewTask, State, Store};
    ///
    /// # async fn wait() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let mut task = store.create(NewTask::new("index"))?;
    /// let id = task.id();
    /// std::thread::spawn(move || task.start().and_then(|()| { let _ = task.succeed("done"); Ok(()) }));
    /// let status = store.wait(id).await?;
    /// assert_eq!(status.state(), State::Succeeded);
    /// # Ok(())
    /// # }
    /// # std::task::Poll::Ready(drop(wait()));
    /// ```
    pub fn wait(&self, id: impl Into<TaskId>) -> Wait {
        Wait { waiter: self.waiter(id.into(), Interest::End, None), _store: self.clone() }
    }

    /// Waits for a task to end, for `span` at most, counted from this call by the store's clock.
    ///
    /// Resolves to [`WaitError::TimedOut`] at the first tick after that, or at the first poll if `span` is
    /// zero. A span beyond the clock's range (until 2091) has no end.
    ///
    /// ```
    /// use std::time::Duration;
    /// use inflight::{NewTask, Store, WaitError};
    ///
    /// # async fn wait() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// let waited = store.wait_timeout(task.id(), Duration::from_millis(10)).await;
    /// assert!(matches!(waited, Err(WaitError::TimedOut(_))));
    /// # Ok(())
    /// # }
    /// # std::task::Poll::Ready(drop(wait()));
    /// ```
    pub fn wait_timeout(&self, id: impl Into<TaskId>, span: Duration) -> WaitTimeout {
        let deadline = self.engine.clock.now().plus(span);
        WaitTimeout {
            waiter: self.waiter(id.into(), Interest::End, None),
            deadline,
            timed: false,
            _store: self.clone(),
        }
    }

    /// Waits for a task to end, and blocks the calling thread meanwhile: not for use in async code.
    ///
    /// # Errors
    ///
    /// [`Absent`] if there is no such task.
    ///
    /// ```
    /// use inflight::{NewTask, Store};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// let id = task.id();
    /// std::thread::spawn(move || task.scope(|_| Ok::<_, std::io::Error>(())));
    /// assert!(store.wait_blocking(id)?.is_terminal());
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_blocking(&self, id: impl Into<TaskId>) -> Result<Status, Absent> {
        block_on(self.wait(id))
    }

    /// Waits for any change of a task after the version `seen`: a transition, a message, a total, a request
    /// to cancel, or progress, which is sampled at each tick.
    ///
    /// Resolves to a status with a greater version, not necessarily the next one. If `seen` is the version of
    /// the terminal status, it resolves to [`Absent`] with the reason when the task is gone. (If `seen` is
    /// ahead of the task, because it is not this task's version, it resolves to the terminal status.)
    ///
    /// ```
    /// use inflight::{NewTask, Store};
    ///
    /// # async fn wait() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let mut task = store.create(NewTask::new("index"))?;
    /// let seen = store.lookup(task.id())?.version();
    /// task.start()?;
    /// assert!(store.changed_since(task.id(), seen).await?.version() > seen);
    /// # Ok(())
    /// # }
    /// # std::task::Poll::Ready(drop(wait()));
    /// ```
    pub fn changed_since(&self, id: impl Into<TaskId>, seen: Version) -> ChangedSince {
        let waiter = self.waiter(id.into(), Interest::Change, Some(seen));
        ChangedSince { waiter, seen, _store: self.clone() }
    }

    /// The statuses of a task as they change, from the present one to the terminal one: see [`Watch`].
    /// See the guide on [waiting](crate::guide::waiting).
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use inflight::{NewTask, Store};
    ///
    /// # async fn watch() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").total(3))?;
    /// let mut watch = store.watch(task.id());
    /// while let Some(status) = watch.next().await {
    ///     println!("{} {:?}", status.state(), status.fraction());
    /// }
    /// # Ok(())
    /// # }
    /// # drop(watch());
    /// ```
    pub fn watch(&self, id: impl Into<TaskId>) -> Watch {
        let waiter = self.waiter(id.into(), Interest::Change, None);
        Watch { waiter, seen: None, ended: None, _store: self.clone() }
    }
}

/// Runs a future on the calling thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        // A wake-up since the poll is not lost: the next `park` returns at once.
        thread::park();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
