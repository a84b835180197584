//! What the tests here share: stores driven by hand, wakers that count, and a poll by hand.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use futures_util::Stream;
use inflight::{KeeperMode, ManualClock, NewTask, Retention, Status, Store, StoreBuilder, Task, Watch};

/// The time between two ticks in these tests.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// A builder for a store without a keeper thread. The store takes its time from `clock`, and keeps ended
/// tasks.
pub(crate) fn builder(capacity: usize, clock: &ManualClock) -> StoreBuilder {
    Store::builder()
        .capacity(capacity)
        .clock(clock.clone())
        .keeper(KeeperMode::Manual)
        .retain(Retention::forever())
}

/// A store built by [`builder`], and its clock.
pub(crate) fn store(capacity: usize) -> (Store, ManualClock) {
    let clock = ManualClock::new();
    (builder(capacity, &clock).build().unwrap(), clock)
}

/// Advances the clock by the time of one tick, and ticks.
pub(crate) fn tick(store: &Store, clock: &ManualClock) {
    clock.advance(TICK);
    store.tick();
}

pub(crate) fn pending(store: &Store) -> Task {
    store.create(NewTask::new("test")).unwrap()
}

pub(crate) fn running(store: &Store) -> Task {
    let mut task = pending(store);
    task.start().unwrap();
    task
}

pub(crate) fn ended(store: &Store) -> Task {
    let mut task = running(store);
    task.succeed("the result").unwrap();
    task
}

pub(crate) fn status(store: &Store, task: &Task) -> Status {
    store.get(task.id()).unwrap()
}

/// A waker that counts how often it is called.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A waker, and how often it was called.
pub(crate) struct Bell {
    count: Arc<Count>,
    pub(crate) waker: Waker,
}

impl Bell {
    pub(crate) fn new() -> Self {
        let count = Arc::new(Count::default());
        Self { waker: Waker::from(Arc::clone(&count)), count }
    }

    /// How often it has been called since the last call of this method.
    pub(crate) fn rung(&self) -> usize {
        self.count.0.swap(0, Ordering::SeqCst)
    }

    /// How many clones of the waker there are besides this one.
    pub(crate) fn held(&self) -> usize {
        Arc::strong_count(&self.count) - 2
    }

    pub(crate) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&self.waker))
    }

    pub(crate) fn next(&self, watch: &mut Watch) -> Poll<Option<Status>> {
        Pin::new(watch).poll_next(&mut Context::from_waker(&self.waker))
    }
}

/// Runs `work`, which might hang if the code were wrong, and fails if it does not return.
pub(crate) fn comes_to_an_end<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waits) = mpsc::channel();
    let worker = thread::spawn(move || done.send(work()));
    let outcome = waits.recv_timeout(Duration::from_secs(120));
    match outcome {
        Ok(value) => {
            drop(worker.join());
            value
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        Err(mpsc::RecvTimeoutError::Disconnected) => match worker.join() {
            Ok(_) => unreachable!("it sends before it ends"),
            Err(panic) => std::panic::resume_unwind(panic),
        },
    }
}
