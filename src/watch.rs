//! Waiting without polling: futures that end with a status, and a stream of them.
//!
//! They need no runtime, can be dropped at any time, and keep nothing of a task that is gone. Each takes a
//! seat when it is made, not when it is first polled: between the two the task may end and be let go, and
//! a client's id may come to stand for another task. How the seats are told is in `signal.rs`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;
use futures_core::stream::FusedStream;

use crate::clock::Stamp;
use crate::engine::Engine;
use crate::feed::Subject;
use crate::id::TaskId;
use crate::record::Record;
use crate::signal::{Interest, Letterbox, News, Waiters};
use crate::state::Absent;
use crate::status::Status;
use crate::store::Store;
use crate::sync::Arc;
use crate::sync::thread::{self, Thread};
use crate::version::Version;

/// One who waits for a task, and from when it is made misses neither its end nor its removal.
struct Waiter {
    engine: StdArc<Engine>,
    standing: Standing,
}

enum Standing {
    /// There is nothing to wait for: the task had ended, or there was none.
    Settled(News),
    Seated(Seat),
}

struct Seat {
    number: usize,
    subject: Subject,
    letterbox: Arc<Letterbox>,
}

impl Waiter {
    /// One who waits for the task `id`. Who has `seen` its end waits for its removal.
    fn new(engine: &StdArc<Engine>, id: TaskId, interest: Interest, seen: Option<Version>) -> Self {
        match engine.poll(id) {
            Some(status) if is_unseen_end(&status, seen) => Self::settled(engine, News::Ended(status)),
            Some(_) => match engine.find(id) {
                Some(record) => Self::seated(engine, &record, interest, seen),
                None => Self::settled(engine, News::Gone(engine.absent(id))),
            },
            None => Self::settled(engine, News::Gone(engine.absent(id))),
        }
    }

    fn settled(engine: &StdArc<Engine>, news: News) -> Self {
        Self { engine: StdArc::clone(engine), standing: Standing::Settled(news) }
    }

    /// One who waits for the task of this record.
    fn seated(
        engine: &StdArc<Engine>,
        record: &Arc<Record>,
        interest: Interest,
        seen: Option<Version>,
    ) -> Self {
        let subject = engine.subject(record);
        let letterbox = Arc::new(Letterbox::new());
        let mut cold = record.lock();
        // Under the lock nothing changes but progress; for that see `keeper.rs`.
        match engine.poll_line(subject) {
            Some(status) if is_unseen_end(&status, seen) => {
                return Self::settled(engine, News::Ended(status));
            }
            Some(_) => {}
            None => {
                drop(cold);
                return Self::settled(engine, News::Gone(engine.absent(subject.key)));
            }
        }
        let waiters = cold.rare().waiters.get_or_insert_with(|| Box::new(Waiters::new()));
        let number = waiters.seat(interest, Arc::clone(&letterbox));
        if interest == Interest::Change
            && let Some(cell) = engine.cell(record)
        {
            cell.observe();
        }
        drop(cold);
        if interest == Interest::Change {
            engine.stir(record);
        }
        let seat = Seat { number, subject, letterbox };
        Self { engine: StdArc::clone(engine), standing: Standing::Seated(seat) }
    }

    /// The first status that `is_awaited`; the last one, if the task has ended; or why there is none.
    /// `seen` is what a waiter for changes has seen.
    fn poll(
        &self,
        context: &Context<'_>,
        seen: Option<Version>,
        is_awaited: impl Fn(&Status) -> bool,
    ) -> Poll<Result<Status, Absent>> {
        let seat = match &self.standing {
            Standing::Settled(news) => return Poll::Ready(read(*news)),
            Standing::Seated(seat) => seat,
        };
        // First the waker, then the look: see `signal.rs`.
        if let Some(news) = seat.letterbox.leave(context.waker(), seen) {
            return Poll::Ready(read(news));
        }
        match self.engine.poll_line(seat.subject) {
            Some(status) if is_awaited(&status) => Poll::Ready(Ok(status)),
            Some(_) => Poll::Pending,
            // It went between the two looks, and left word of it.
            None => Poll::Ready(
                seat.letterbox.news().map_or_else(|| Err(self.engine.absent(seat.subject.key)), read),
            ),
        }
    }
}

/// Whether the task has ended, and that is news to who has seen `seen`: unless it is this very end, they
/// have seen an earlier version, or one that was never this task's.
fn is_unseen_end(status: &Status, seen: Option<Version>) -> bool {
    status.is_terminal() && seen != Some(status.version())
}

fn read(news: News) -> Result<Status, Absent> {
    match news {
        News::Ended(status) => Ok(status),
        News::Gone(absent) => Err(absent),
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Standing::Seated(Seat { number, subject, letterbox }) = &self.standing else { return };
        // What is dropped here may be the last of a waker: no lock is held.
        drop(letterbox.shut());
        // Whoever has news has been shown out.
        if letterbox.news().is_some() {
            return;
        }
        let Some(record) = self.engine.registry.find(subject.key) else { return };
        let mut cold = record.lock();
        let Some(waiters) = cold.waiters_mut() else { return };
        waiters.rise(*number, letterbox);
        if waiters.is_empty() {
            cold.rare().waiters = None;
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.standing {
            Standing::Settled(news) => f.debug_tuple("Settled").field(news).finish(),
            Standing::Seated(seat) => f.debug_tuple("Seated").field(&seat.subject.id).finish(),
        }
    }
}

/// Waits for a task to end: what [`Store::wait`] gives. It resolves to the terminal status, or to why
/// there is none.
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

/// Waits for a task to end, but not for ever: what [`Store::wait_timeout`] gives.
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
        let Standing::Seated(seat) = &this.waiter.standing else { return Poll::Pending };
        let engine = &this.waiter.engine;
        if engine.clock.now() >= this.deadline
            && let Some(status) = engine.poll_line(seat.subject)
        {
            // It may have ended since the look above.
            let is_late = !status.is_terminal();
            return Poll::Ready(if is_late { Err(WaitError::TimedOut(status)) } else { Ok(status) });
        }
        if !std::mem::replace(&mut this.timed, true) {
            engine.upkeep.watch_waiter(&seat.letterbox, this.deadline);
        }
        Poll::Pending
    }
}

/// Why [`Store::wait_timeout`] has no terminal status.
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

/// The statuses of one task as they change: what [`Store::watch`] gives.
///
/// The stream begins with the present status, goes on with newer ones, never repeats a version and never
/// goes back (I5). It may skip progress and what came in between, but not the terminal status, even if the
/// task is gone by the time that it is asked; and then it ends. It also ends if there was no such task when
/// it was made; [`absent`](Watch::absent) then says why.
///
/// # Consistency
///
/// It wakes at once for transitions, messages, totals and requests to cancel, and at the keeper's next tick
/// for progress (I6). It costs the worker nothing per increment.
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

/// Resolves when cancellation of a task is requested, or the task ends: what
/// [`Task::cancelled`](crate::Task::cancelled) gives.
///
/// It does not borrow the handle, so the worker can go on using it meanwhile.
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
        // By the record, not by the id, which a client may have used again.
        Self { waiter: Waiter::seated(engine, record, Interest::Cancel, None) }
    }
}

impl Future for Cancelled {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let is_over = |status: &Status| status.cancel_requested() || status.is_terminal();
        self.waiter.poll(context, None, is_over).map(|_| ())
    }
}

impl Store {
    fn waiter(&self, id: TaskId, interest: Interest, seen: Option<Version>) -> Waiter {
        Waiter::new(&self.engine, id, interest, seen)
    }

    /// Waits for a task to end.
    ///
    /// Resolves to the terminal status at once after the transition; to [`Absent`] if there is no such
    /// task. Works on any runtime, and may be dropped at any time.
    ///
    /// # Consistency
    ///
    /// No end is missed from this call on: a task that ends is reported, even if it is gone by the time that
    /// the future is polled, or its id is another task's (I6).
    ///
    /// The waker is called by whoever ends the task, on that thread, with no lock held; a panic in it is
    /// contained. The same holds for everything here that waits.
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
    /// Resolves to [`WaitError::TimedOut`] at the first tick after that, and if `span` is zero at the first
    /// poll. A span beyond the clock's range (until 2091) is one without end.
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

    /// Waits for any change of a task after the one that `seen` has seen: a transition, a message, a
    /// total, a request to cancel, or progress, which is looked for at each tick.
    ///
    /// Resolves to a status with a greater version, not necessarily the next one. If `seen` is the last
    /// there will be, it resolves when the task is gone, to [`Absent`] with the reason. (A `seen` that is
    /// ahead of the task, because it is not this task's, resolves to the terminal status.)
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

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;
    use crate::new_task::NewTask;

    #[test]
    fn i6_a_waiter_that_is_dropped_gives_up_its_seat() {
        let store = Store::builder().capacity(16).build().unwrap();
        let task = store.create(NewTask::new("test")).unwrap();
        let record = store.engine.find(task.id()).unwrap();
        let (first, last) = (store.wait(task.id()), store.watch(task.id()));
        for _ in 0..100 {
            drop((store.wait(task.id()), store.watch(task.id()), task.cancelled()));
        }
        let seats = || record.lock().waiters().map(|waiters| (waiters.seats(), waiters.want_progress()));
        assert_eq!(seats(), Some((2, true)));
        drop(last);
        assert_eq!(seats(), Some((1, false)), "each has its own");
        drop(first);
        assert_eq!(seats(), None);
    }
}
