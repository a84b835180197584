//! The same work on several executors: no code here depends on the executor that it runs on.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use inflight::{Changes, Drained, KeeperMode, NewTask, State, Status, Store, Task, TaskId, WaitError};

use crate::support::comes_to_an_end;

const TASKS: u64 = 50;
const STEPS: u64 = 20;

/// Yields to other futures once.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Works until it is done or cancelled; returns its count.
async fn work(mut task: Task) -> u64 {
    task.start().unwrap();
    let mut cancelled = task.cancelled();
    for step in 0..STEPS {
        // The macro needs no runtime.
        tokio::select! {
            () = &mut cancelled => {
                task.cancel().unwrap();
                return step;
            }
            () = yield_now() => task.advance(1).unwrap(),
        }
    }
    // A task that is going to be cancelled has nothing more to do, but does not end by itself.
    if task.status().unwrap().total() == Some(STEPS) {
        task.succeed(()).unwrap();
    } else {
        cancelled.await;
        task.cancel().unwrap();
    }
    STEPS
}

async fn follow(store: Store, id: TaskId) -> Status {
    let mut watch = store.watch(id);
    let mut seen = watch.next().await.unwrap();
    while let Some(status) = watch.next().await {
        assert!(status.version() > seen.version());
        seen = status;
    }
    let waited = store.wait(id).await.unwrap();
    assert_eq!(seen, waited);
    assert_eq!(store.wait_timeout(id, Duration::ZERO).await, Ok(waited));
    seen
}

/// Drains until as many tasks have ended as there are.
async fn read(mut changes: Changes) -> u64 {
    let mut ended = 0;
    while ended < TASKS {
        let Drained::Changes(all) = changes.drain().await else { panic!("the reader has not fallen behind") };
        ended += all.iter().filter(|change| change.status.is_terminal()).count() as u64;
    }
    ended
}

/// Runs all of that on an executor, to which `spawn` passes futures.
async fn scenario(spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>)) {
    let keeper = KeeperMode::Thread { tick: Duration::from_millis(1) };
    let store = Store::builder().capacity(64).keeper(keeper).build().unwrap();
    let (done, all_done) = smol::channel::unbounded();
    let reader = read(store.changes().unwrap());
    let tell = done.clone();
    spawn(Box::pin(async move { tell.send(reader.await).await.unwrap() }));
    for number in 0..TASKS {
        let is_cancelled = number % 5 == 0;
        let new = NewTask::new("test");
        let new = if is_cancelled { new } else { new.total(STEPS) };
        let task = store.create(new).unwrap();
        let (id, created) = (task.id(), task.status().unwrap().version());
        let (watcher, worker) = (follow(store.clone(), id), work(task));
        let tell = done.clone();
        spawn(Box::pin(async move {
            let end = watcher.await;
            let expected = if is_cancelled { State::Cancelled } else { State::Succeeded };
            assert_eq!(end.state(), expected);
            tell.send(end.done()).await.unwrap();
        }));
        let tell = done.clone();
        spawn(Box::pin(async move { tell.send(worker.await).await.unwrap() }));
        if is_cancelled {
            let seen = store.changed_since(id, created).await.unwrap();
            assert!(seen.version() > created);
            let timed_out = store.wait_timeout(id, Duration::from_millis(1)).await;
            assert!(matches!(timed_out, Err(WaitError::TimedOut(_))));
            let _ = store.cancel(id).unwrap();
        }
    }
    for _ in 0..=2 * TASKS {
        all_done.recv().await.unwrap();
    }
    let counts = store.counts();
    assert_eq!((counts.of(State::Cancelled), counts.of(State::Succeeded)), (TASKS / 5, TASKS - TASKS / 5));
}

#[test]
fn i6_i8_on_tokio_with_one_thread() {
    comes_to_an_end(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(scenario(|future| drop(tokio::spawn(future))));
    });
}

#[test]
fn i6_i8_on_tokio_with_several_threads() {
    comes_to_an_end(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
        runtime.block_on(scenario(|future| drop(tokio::spawn(future))));
    });
}

#[test]
fn i6_i8_on_smol() {
    comes_to_an_end(|| smol::block_on(scenario(|future| smol::spawn(future).detach())));
}

#[test]
fn i6_i8_on_a_local_executor() {
    comes_to_an_end(|| {
        let executor = smol::LocalExecutor::new();
        let work = scenario(|future| executor.spawn(future).detach());
        smol::future::block_on(executor.run(work));
    });
}

/// An executor of a few lines: a queue of the futures that have been woken.
struct Spawned {
    future: std::sync::Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    queue: Sender<Arc<Spawned>>,
}

impl Wake for Spawned {
    fn wake(self: Arc<Self>) {
        let queue = self.queue.clone();
        // If the executor is gone, so is the work.
        drop(queue.send(self));
    }
}

impl Spawned {
    fn run(self: Arc<Self>) {
        let waker = Waker::from(Arc::clone(&self));
        let mut place = self.future.lock().unwrap();
        if let Some(future) = place.as_mut()
            && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            *place = None;
        }
    }
}

struct Main(Sender<Option<Arc<Spawned>>>);

impl Wake for Main {
    fn wake(self: Arc<Self>) {
        drop(self.0.send(None));
    }
}

#[test]
fn i6_i8_on_a_bare_executor() {
    comes_to_an_end(|| {
        let (queue, woken) = channel::<Arc<Spawned>>();
        let (rouse, roused) = channel();
        // The spawned futures go through the same queue as the main one.
        let forward = rouse.clone();
        std::thread::spawn(move || woken.iter().try_for_each(|spawned| forward.send(Some(spawned))));
        let mut work = pin!(scenario(|future| {
            let spawned = Spawned { future: std::sync::Mutex::new(Some(future)), queue: queue.clone() };
            Arc::new(spawned).wake();
        }));
        let waker = Waker::from(Arc::new(Main(rouse)));
        let mut context = Context::from_waker(&waker);
        loop {
            if work.as_mut().poll(&mut context).is_ready() {
                break;
            }
            // Only a future that was woken is polled, so a lost wake-up would hang here.
            while let Some(spawned) = roused.recv().unwrap() {
                spawned.run();
            }
        }
    });
}
