//! From the end of a task to its waiters, next to `tokio::sync::watch`.
//!
//! The waiters are futures that are polled by hand. So the transition, the wake-ups and the reads are timed,
//! and not a runtime or the system's scheduler.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use inflight::{KeeperMode, NewTask, Retention, Store, Task, TaskId, Watch};
use tokio::sync::{mpsc, watch};

use crate::payload::Plain;

/// A future that waits for a task's end, and returns whether it saw one.
pub type Waiting = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Counts wake-ups.
#[derive(Debug, Default)]
pub struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    /// How often it was woken.
    #[must_use]
    pub fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A store whose waiters are measured.
pub trait Ending {
    /// The handle that ends a task.
    type End;
    /// Creates a task, with so many waiters.
    fn task(&self, waiters: usize) -> (Self::End, Vec<Waiting>);
    /// Ends it.
    fn end(&self, end: Self::End);
}

/// The store's `wait`.
#[derive(Debug)]
pub struct Ours(Store);

/// `watch::Receiver::wait_for`.
#[derive(Debug)]
pub struct Channel;

impl Ours {
    /// With a capacity of so many tasks.
    ///
    /// # Panics
    ///
    /// When the system has no memory left.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self(kept_by_hand(capacity))
    }
}

/// A store that is ticked by hand, and that removes succeeded tasks at the next tick.
fn kept_by_hand(capacity: usize) -> Store {
    let built = Store::builder()
        .capacity(capacity)
        .retain(Retention::forever().succeeded_for(Duration::ZERO))
        .keeper(KeeperMode::Manual)
        .panic_messages(false)
        .build();
    built.expect("a store of that capacity")
}

impl Ending for Ours {
    type End = Task;

    fn task(&self, waiters: usize) -> (Task, Vec<Waiting>) {
        // Removes the tasks of the last round.
        self.0.tick();
        let mut task = self.0.create(NewTask::new("job")).expect("the store is not full");
        task.start().expect("it is pending");
        let id: TaskId = task.id();
        let wait = |_| {
            let wait = self.0.wait(id);
            Box::pin(async move { wait.await.is_ok_and(|status| status.is_terminal()) }) as Waiting
        };
        (task, (0..waiters).map(wait).collect())
    }

    fn end(&self, mut task: Task) {
        assert!(task.succeed(()).is_ok(), "it runs");
    }
}

impl Ending for Channel {
    type End = watch::Sender<Plain>;

    fn task(&self, waiters: usize) -> (watch::Sender<Plain>, Vec<Waiting>) {
        let (sender, receiver) = watch::channel(Plain::running(0));
        let wait = |_| {
            let mut receiver = receiver.clone();
            Box::pin(async move { receiver.wait_for(|plain| !plain.read().running).await.is_ok() }) as Waiting
        };
        (sender, (0..waiters).map(wait).collect())
    }

    fn end(&self, sender: watch::Sender<Plain>) {
        sender.send_modify(|plain| plain.succeed(1));
    }
}

/// The end of the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until all wakers have been called.
    Woken,
    /// Until all waiters have read the terminal status, too.
    Read,
}

/// How many tasks end in one timing.
const BATCH: usize = 64;

/// Times the ends of so many tasks with so many waiters each.
///
/// # Errors
///
/// A waiter was not woken, or did not see the end.
pub fn time<E: Ending>(subject: &E, waiters: usize, until: Until, ends: usize) -> Result<Duration, String> {
    let mut elapsed = Duration::ZERO;
    let mut left = ends;
    while left > 0 {
        let batch = left.min(BATCH.min((4096 / waiters.max(1)).max(1)));
        left -= batch;
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        let mut tasks: Vec<_> = (0..batch).map(|_| subject.task(waiters)).collect();
        for waiting in tasks.iter_mut().flat_map(|(_, waiters)| waiters) {
            if waiting.as_mut().poll(&mut context).is_ready() {
                return Err("a waiter was ready before the end".to_owned());
            }
        }
        let (mut seen, mut over) = (0, Vec::with_capacity(batch));
        let begin = Instant::now();
        for (end, mut waiters) in tasks.drain(..) {
            subject.end(end);
            if until == Until::Read {
                let read = |waiting: &mut Waiting| waiting.as_mut().poll(&mut context) == Poll::Ready(true);
                seen += waiters.iter_mut().map(read).filter(|seen| *seen).count();
            }
            over.push(waiters);
        }
        elapsed += begin.elapsed();
        let expected = batch * waiters;
        if bell.rung() != expected || (until == Until::Read && seen != expected) {
            return Err(format!("{} woken and {seen} read of {expected}", bell.rung()));
        }
    }
    Ok(elapsed)
}

/// A watched task: the stream has been polled, and will be woken.
#[derive(Debug)]
pub struct Watcher {
    stream: Watch,
    waker: Waker,
}

impl Watcher {
    /// Watches a task; changes wake `bell`.
    #[must_use]
    pub fn new(store: &Store, id: TaskId, bell: &Arc<Bell>) -> Self {
        let mut watcher = Self { stream: store.watch(id), waker: Waker::from(Arc::clone(bell)) };
        watcher.read();
        watcher
    }

    /// Reads all statuses that are there; returns how many.
    pub fn read(&mut self) -> usize {
        let mut context = Context::from_waker(&self.waker);
        let mut count = 0;
        while let Poll::Ready(Some(_)) = Pin::new(&mut self.stream).poll_next(&mut context) {
            count += 1;
        }
        count
    }
}

// ---- across threads ---------------------------------------------------------------------------------

/// Another thread, with a single-threaded tokio runtime that runs the waiters. It is the same thread for all
/// ends and all subjects, so that its placement by the system is the same for all of them, too.
#[derive(Debug)]
pub struct Across {
    come: mpsc::UnboundedSender<Vec<Waiting>>,
    asleep: Receiver<()>,
    seen: Receiver<(Instant, usize)>,
}

impl Across {
    /// Starts the thread.
    ///
    /// # Panics
    ///
    /// When the runtime cannot be built.
    #[must_use]
    pub fn new() -> Self {
        let (come, mut coming) = mpsc::unbounded_channel::<Vec<Waiting>>();
        let (falling_asleep, asleep) = channel();
        let (done, seen) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let work = async move {
            while let Some(waiting) = coming.recv().await {
                let tasks: Vec<_> = waiting.into_iter().map(|waiting| tokio::spawn(waiting)).collect();
                // All of them are polled before this task is polled again.
                tokio::task::yield_now().await;
                let mut seen = 0;
                let _ = falling_asleep.send(());
                for task in tasks {
                    seen += usize::from(task.await.unwrap_or(false));
                }
                let _ = done.send((Instant::now(), seen));
            }
        };
        // The thread ends when this is dropped.
        std::thread::spawn(move || runtime.block_on(work));
        Self { come, asleep, seen }
    }

    /// The time from the end of a task on this thread until the last of `waiters` on the other thread has the
    /// terminal status.
    ///
    /// # Errors
    ///
    /// A waiter did not see the end.
    pub fn time<E: Ending>(&self, subject: &E, waiters: usize) -> Result<Duration, String> {
        const PANICKED: &str = "the waiters' thread panicked";
        let (end, waiting) = subject.task(waiters);
        self.come.send(waiting).map_err(|_| PANICKED.to_owned())?;
        self.asleep.recv().map_err(|_| PANICKED.to_owned())?;
        // Long enough for the runtime to fall asleep, as waiters do.
        std::thread::sleep(Duration::from_micros(200));
        let begin = Instant::now();
        subject.end(end);
        let (at, seen) = self.seen.recv().map_err(|_| PANICKED.to_owned())?;
        if seen == waiters { Ok(at - begin) } else { Err(format!("{seen} of {waiters} saw the end")) }
    }
}

impl Default for Across {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_waiters_are_woken_and_see_the_end() {
        for waiters in [1, 100] {
            for until in [Until::Woken, Until::Read] {
                assert!(time(&Ours::new(256), waiters, until, 100).is_ok());
                assert!(time(&Channel, waiters, until, 100).is_ok());
            }
            let across = Across::new();
            for _ in 0..2 {
                assert!(across.time(&Ours::new(16), waiters).is_ok());
                assert!(across.time(&Channel, waiters).is_ok());
            }
        }
    }

    #[test]
    fn a_waiter_that_is_not_woken_is_an_error() {
        struct Silent;
        impl Ending for Silent {
            type End = ();
            fn task(&self, _: usize) -> ((), Vec<Waiting>) {
                ((), vec![Box::pin(std::future::pending())])
            }
            fn end(&self, (): ()) {}
        }
        assert!(time(&Silent, 1, Until::Woken, 1).is_err());
    }

    #[test]
    fn a_waiter_on_the_other_thread_that_sees_no_end_is_an_error() {
        struct Blind;
        impl Ending for Blind {
            type End = ();
            fn task(&self, _: usize) -> ((), Vec<Waiting>) {
                ((), vec![Box::pin(std::future::ready(false))])
            }
            fn end(&self, (): ()) {}
        }
        assert!(Across::new().time(&Blind, 1).is_err());
    }
}
