//! Waiting without polling: futures that end with a status, and a stream of them.
//!
//! They need no runtime, can be dropped at any time, and keep nothing of a task that is gone.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;

use crate::clock::Stamp;
use crate::engine::Engine;
use crate::feed::Subject;
use crate::id::TaskId;
use crate::signal::{Interest, Letterbox, News, Waiters};
use crate::state::Absent;
use crate::status::Status;
use crate::store::Store;
use crate::sync::Arc;
use crate::sync::thread::{self, Thread};
use crate::version::Version;

/// One who waits for a task: has no seat at first, and takes one when there is something to wait for.
struct Waiter {
    engine: StdArc<Engine>,
    id: TaskId,
    interest: Interest,
    seat: Option<Seat>,
}

struct Seat {
    number: usize,
    subject: Subject,
    letterbox: Arc<Letterbox>,
}

impl Waiter {
    fn new(engine: StdArc<Engine>, id: TaskId, interest: Interest) -> Self {
        Self { engine, id, interest, seat: None }
    }

    /// The first status that `is_awaited`; the last one, if the task has ended; or why there is none.
    /// `seen` is what a waiter for changes has seen.
    fn poll(
        &mut self,
        context: &Context<'_>,
        seen: Option<Version>,
        is_awaited: impl Fn(&Status) -> bool,
    ) -> Poll<Result<Status, Absent>> {
        if let Some(seat) = &self.seat {
            // First the waker, then the look: see `signal.rs`.
            if let Some(news) = seat.letterbox.leave(context.waker(), seen) {
                return Poll::Ready(read(news));
            }
            return match self.engine.poll_line(seat.subject) {
                Some(status) if is_awaited(&status) => Poll::Ready(Ok(status)),
                Some(_) => Poll::Pending,
                // It went between the two looks, and left word of it.
                None => Poll::Ready(
                    seat.letterbox.news().map_or_else(|| Err(self.engine.absent(seat.subject.key)), read),
                ),
            };
        }
        match self.engine.poll(self.id) {
            Some(status) if is_awaited(&status) => return Poll::Ready(Ok(status)),
            Some(_) => {}
            None => return Poll::Ready(Err(self.engine.absent(self.id))),
        }
        let Some(record) = self.engine.find(self.id) else {
            return Poll::Ready(Err(self.engine.absent(self.id)));
        };
        let letterbox = Arc::new(Letterbox::new(context.waker().clone(), seen));
        let mut cold = record.lock();
        // Under the lock nothing changes but progress; for that see `keeper.rs`.
        match self.engine.status(&record) {
            Some(status) if is_awaited(&status) => return Poll::Ready(Ok(status)),
            Some(_) => {}
            None => {
                drop(cold);
                return Poll::Ready(Err(self.engine.absent(record.key())));
            }
        }
        let number = cold.rare().waiters.get_or_insert_default().seat(self.interest, Arc::clone(&letterbox));
        if self.interest == Interest::Change
            && let Some(cell) = self.engine.cell(&record)
        {
            cell.observe();
        }
        drop(cold);
        if self.interest == Interest::Change {
            self.engine.stir(&record);
        }
        self.seat = Some(Seat { number, subject: self.engine.subject(&record), letterbox });
        Poll::Pending
    }
}

fn read(news: News) -> Result<Status, Absent> {
    match news {
        News::Ended(status) => Ok(status),
        News::Gone(absent) => Err(absent),
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Some(Seat { number, subject, letterbox }) = self.seat.take() else { return };
        // Whoever has news has been shown out.
        if letterbox.news().is_some() {
            return;
        }
        let Some(record) = self.engine.registry.find(subject.key) else { return };
        let mut cold = record.lock();
        let given_up = cold.waiters_mut().and_then(|waiters| waiters.rise(number, &letterbox));
        if cold.waiters().is_some_and(Waiters::is_empty) {
            cold.rare().waiters = None;
        }
        drop(cold);
        drop(given_up); // With its waker, outside the lock.
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("id", &self.id).field("interest", &self.interest).finish()
    }
}

/// Waits for a task to end: what [`Store::wait`] gives. It resolves to the terminal status, or to why
/// there is none.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Wait {
    waiter: Waiter,
    _store: Store,
}

impl Future for Wait {
    type Output = Result<Status, Absent>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiter.poll(context, None, Status::is_terminal)
    }
}

/// Waits for a task to end, but not for ever: what [`Store::wait_timeout`] gives.
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
        let Some(seat) = &this.waiter.seat else { return Poll::Pending };
        let engine = &this.waiter.engine;
        // The timers go by the time of the tick, which may be ahead of the clock by a unit.
        if engine.clock.now().max(engine.pulse.now()) >= this.deadline
            && let Some(status) = engine.poll_line(seat.subject)
        {
            // It may have ended since the look above.
            let is_late = !status.is_terminal();
            return Poll::Ready(if is_late { Err(WaitError::TimedOut(status)) } else { Ok(status) });
        }
        if !std::mem::replace(&mut this.timed, true) {
            engine.upkeep.watch_waiter(seat.subject.key, seat.number, this.deadline);
        }
        Poll::Pending
    }
}

/// Why [`Store::wait_timeout`] has no terminal status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitError {
    /// There is no such task, or it was removed.
    Absent(Absent),
    /// The time ran out; this is how the task was then.
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

/// Waits for a task to change: what [`Store::changed_since`] gives. It resolves to the first status with
/// a greater version, or to why there is none.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct ChangedSince {
    waiter: Waiter,
    seen: Version,
    _store: Store,
}

impl Future for ChangedSince {
    type Output = Result<Status, Absent>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let seen = self.seen;
        self.waiter.poll(context, Some(seen), |status| status.version() > seen)
    }
}

/// The statuses of one task as they change: what [`Store::watch`] gives.
///
/// The stream begins with the present status, goes on with newer ones, never repeats a version and never
/// goes back. It may skip progress in between, but not the terminal status, even if the task is gone by
/// the time that it is asked; and then it ends. It also ends if there is no such task;
/// [`absent`](Watch::absent) then says why.
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

/// Resolves when cancellation of a task is requested, or the task ends: what
/// [`Task::cancelled`](crate::Task::cancelled) gives.
///
/// It does not borrow the handle, so the worker can go on using it meanwhile.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Cancelled {
    waiter: Waiter,
}

impl Cancelled {
    pub(crate) fn new(engine: &StdArc<Engine>, id: TaskId) -> Self {
        Self { waiter: Waiter::new(StdArc::clone(engine), id, Interest::Cancel) }
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_over = |status: &Status| status.cancel_requested() || status.is_terminal();
        self.waiter.poll(context, None, is_over).map(|_| ())
    }
}

impl Store {
    fn waiter(&self, id: TaskId, interest: Interest) -> Waiter {
        Waiter::new(StdArc::clone(&self.engine), id, interest)
    }

    /// Waits for a task to end.
    ///
    /// Resolves to the terminal status at once after the transition; to [`Absent`] if there is no such
    /// task. Works on any runtime, and may be dropped at any time.
    ///
    /// # Consistency
    ///
    /// No end is missed: a task that ends is reported, even if it is gone by the time that the future is
    /// polled again (I6).
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
        Wait { waiter: self.waiter(id.into(), Interest::End), _store: self.clone() }
    }

    /// Waits for a task to end, for `span` at most, counted from now by the store's clock.
    ///
    /// That the time has run out is noticed at the first tick after it.
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
            waiter: self.waiter(id.into(), Interest::End),
            deadline,
            timed: false,
            _store: self.clone(),
        }
    }

    /// Waits for a task to end, and blocks the calling thread meanwhile.
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

    /// Waits for any change of a task after the one that `seen` has seen: a transition, a message, a
    /// total, a request to cancel, or progress, which is looked for at each tick.
    ///
    /// Resolves to a status with a greater version, not necessarily the next one. If `seen` is the last
    /// there will be, it resolves when the task is gone.
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
        ChangedSince { waiter: self.waiter(id.into(), Interest::Change), seen, _store: self.clone() }
    }

    /// The statuses of a task as they change, from the present one to the terminal one.
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
        let waiter = self.waiter(id.into(), Interest::Change);
        Watch { waiter, seen: None, ended: None, _store: self.clone() }
    }
}

/// Runs a future on the calling thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(StdArc::new(Unpark(thread::current())));
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
    fn wake(self: StdArc<Self>) {
        self.0.unpark();
    }
}
