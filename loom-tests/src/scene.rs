//! The setting of the models: small stores with a clock set by hand, and wakers that count.
//!
//! # Spawn read-only threads last
//!
//! Loom finds races by remembering the last access to each object, by whichever thread. If a thread loads
//! what it then stores, loom does not see that another thread loaded it earlier, and never tries the store
//! before that load. A load may return older values as well, so nothing is missed when the threads that only
//! load run after those that store. When the running thread has to wait, loom runs threads in the order of
//! their creation; so in these models the main thread waits, and pollers are spawned last.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use inflight::{KeeperMode, ManualClock, NewTask, Retention, Status, Store, StoreBuilder, Task, TaskId};
use loom::thread::{self, JoinHandle};

/// One step of the clock: after it the pulse moves, and what was stored before it is visible. So a model lets
/// an increment race with one step at the most, and joins its threads before the next.
pub(crate) const STEP: Duration = Duration::from_millis(1);

/// Moves the clock on, and ticks: the pulse moves.
pub(crate) fn tick(store: &Store, clock: &ManualClock) {
    clock.advance(STEP);
    store.tick();
}

/// A thread that ticks, and again before the clock has moved on.
pub(crate) fn keeper(store: &Store, clock: &ManualClock) -> JoinHandle<()> {
    let (store, clock) = (store.clone(), clock.clone());
    thread::spawn(move || {
        tick(&store, &clock);
        store.tick();
    })
}

/// A store for `capacity` tasks in which nothing happens by itself, with its clock.
pub(crate) fn store(capacity: usize) -> (Store, ManualClock) {
    store_with(|builder| builder.capacity(capacity))
}

pub(crate) fn store_with(configure: impl FnOnce(StoreBuilder) -> StoreBuilder) -> (Store, ManualClock) {
    let clock = ManualClock::new();
    let builder = Store::builder()
        .clock(clock.clone())
        .keeper(KeeperMode::Manual)
        .panic_messages(false)
        .retain(Retention::forever());
    let store = configure(builder).build().expect("a small store can be built");
    (store, clock)
}

pub(crate) fn create(store: &Store) -> Task {
    store.create(NewTask::new("model")).expect("the store is not full")
}

pub(crate) fn running(store: &Store) -> Task {
    let mut task = create(store);
    task.start().expect("a new task can be started");
    task
}

/// A thread that polls a task `N` times. It is spawned after the threads that change the task (see the head
/// of this file).
pub(crate) fn poller<const N: usize>(store: &Store, id: TaskId) -> JoinHandle<[Status; N]> {
    let store = store.clone();
    thread::spawn(move || [(); N].map(|()| store.get(id).expect("the task is not removed")))
}

/// Counts how often it was woken. The counter is not part of the model, so a thread may read it only when it
/// is ordered after all threads that may wake.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicUsize);

impl Bell {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let bell = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&bell));
        (bell, waker)
    }

    pub(crate) fn rang(&self) -> bool {
        // Relaxed: read after the threads were joined.
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Relaxed: as above.
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls a future or a stream's next item once.
pub(crate) fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

pub(crate) fn poll_next<S: futures_core::Stream + Unpin>(
    stream: &mut S,
    waker: &Waker,
) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

/// Runs a future on the calling thread of a model, which sleeps until it is woken. If a wake-up is lost, the
/// model ends in a deadlock, which loom reports.
pub(crate) fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = poll(&mut future, &waker) {
            return output;
        }
        thread::park();
    }
}

/// The next item of a stream, as a future.
pub(crate) fn next<S: futures_core::Stream + Unpin>(
    stream: &mut S,
) -> impl Future<Output = Option<S::Item>> + Unpin + '_ {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context))
}

/// A thread that sleeps until the end of a task.
pub(crate) fn sleeper(store: &Store, id: TaskId) -> JoinHandle<Status> {
    let store = store.clone();
    thread::spawn(move || block_on(store.wait(id)).expect("the task is not removed"))
}
