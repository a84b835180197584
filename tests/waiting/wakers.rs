//! Effects of a waker on others, and that no waker is kept.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use inflight::{
    Changes, Filter, Finish, KeeperMode, ManualClock, NewTask, Retention, State, Store, Task, Wait, WaitError,
};

use crate::support::{Bell, builder, comes_to_an_end, pending, running, status, store, tick};

/// A waker that panics, with a payload that panics again when it is dropped.
struct Bomb;

struct Shrapnel;

impl Drop for Shrapnel {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "on purpose: the payload of the panic");
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        std::panic::panic_any(Shrapnel);
    }
}

fn poll_with<F: Future + Unpin>(waker: &Waker, future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn i6_a_waker_that_panics_harms_nobody_else() {
    let (store, clock) = store(16);
    let bomb = Waker::from(Arc::new(Bomb));
    let (before, after) = (Bell::new(), Bell::new());
    let mut task = running(&store);
    let id = task.id();
    let mut reader = store.changes().unwrap();
    let mut waits: Vec<_> = (0..3).map(|_| store.wait(id)).collect();
    let mut changes: Vec<_> =
        (0..3).map(|_| store.changed_since(id, status(&store, &task).version())).collect();
    let mut cancels: Vec<_> = (0..3).map(|_| task.cancelled()).collect();
    let mut timed: Vec<_> = (0..3).map(|_| store.wait_timeout(id, Duration::from_millis(20))).collect();
    let wakers = [&before.waker, &bomb, &after.waker];
    for (at, waker) in wakers.into_iter().enumerate() {
        assert!(poll_with(waker, &mut waits[at]).is_pending());
        assert!(poll_with(waker, &mut changes[at]).is_pending());
        assert!(poll_with(waker, &mut cancels[at]).is_pending());
        assert!(poll_with(waker, &mut timed[at]).is_pending());
    }
    let rung = || (before.rung(), after.rung());

    task.set_message("a change").unwrap();
    assert_eq!(rung(), (1, 1), "`changed_since`");
    tick(&store, &clock);
    assert_eq!(rung(), (1, 1), "`wait_timeout`, in the keeper's tick");
    assert_eq!(store.cancel(id).unwrap().state(), State::Running);
    assert_eq!(rung(), (1, 1), "`cancelled`");
    drop(reader.try_drain());
    {
        let mut drain = reader.drain();
        assert!(poll_with(&bomb, &mut drain).is_pending());
        assert_eq!(task.succeed("the result").unwrap(), Finish::Won, "the worker does not notice");
    }
    assert_eq!(rung(), (1, 1), "`wait`");
    assert_eq!(store.details(id).unwrap().result().and_then(|result| result.as_text()), Some("the result"));
    let _ = store.remove(id).unwrap();
    assert_eq!(store.counts().total(), 0);
}

#[test]
fn i6_i10_a_waker_that_panics_while_a_worker_unwinds_does_not_abort() {
    let (store, _) = store(16);
    let task = running(&store);
    let id = task.id();
    let mut wait = store.wait(id);
    let mut other = store.wait(id);
    let bell = Bell::new();
    assert!(poll_with(&Waker::from(Arc::new(Bomb)), &mut wait).is_pending());
    assert!(bell.poll(&mut other).is_pending());
    let work = move || {
        let _task = task;
        panic!("the worker's own");
    };
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    assert_eq!(bell.rung(), 1);
    let details = store.details(id).unwrap();
    assert_eq!(details.error().and_then(|error| error.as_text()), Some("the worker's own"));
}

#[test]
fn i6_the_keepers_thread_survives_a_waker_that_panics() {
    comes_to_an_end(|| {
        let tick = Duration::from_millis(1);
        let store = Store::builder().capacity(16).keeper(KeeperMode::Thread { tick }).build().unwrap();
        let task = running(&store);
        let mut timed = store.wait_timeout(task.id(), tick);
        let bomb = Waker::from(Arc::new(Bomb));
        // Only the keeper wakes this one, and then the bomb has panicked.
        if poll_with(&bomb, &mut timed).is_pending() {
            for _ in 0..3 {
                let waited = smol::block_on(store.wait_timeout(task.id(), 3 * tick));
                assert!(matches!(waited, Err(WaitError::TimedOut(_))));
            }
        }
    });
}

/// A waker that uses the store in every way, both when it is called and when it is dropped.
struct Meddler {
    store: Store,
    victim: Mutex<Vec<Box<dyn std::any::Any + Send>>>,
    meddled: Arc<AtomicUsize>,
}

impl Meddler {
    fn meddle(&self) {
        let store = &self.store;
        // Its own waiter, and handles: dropping them takes the locks of the task that wakes it.
        let victims = std::mem::take(&mut *self.victim.lock().unwrap());
        drop(victims);
        let mut changes = store.changes().unwrap();
        for details in store.list(&Filter::new()).unwrap().tasks {
            let id = details.status().id();
            let _ = (store.get(id), store.details(id), store.children(id), store.get_many(&[id]));
            let bell = Bell::new();
            let _ = bell.poll(&mut store.wait(id));
            let _ = bell.poll(&mut store.changed_since(id, details.status().version()));
            let _ = bell.next(&mut store.watch(id));
            let _ = store.cancel(id);
            let _ = store.remove(id);
        }
        if let Ok(mut task) = store.create(NewTask::new("meddler")) {
            task.start().unwrap();
            task.advance(1).unwrap();
            drop(task.cancelled());
            task.succeed(()).unwrap();
            let _ = store.remove(task.id());
        }
        drop(changes.try_drain());
        store.tick();
        self.meddled.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.meddle();
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.meddle();
    }
}

/// A way to wake a waiter, on a store that removes failures at the next tick.
type Waking = (&'static str, fn(&Store, &ManualClock, Task));

const WAKINGS: [Waking; 9] = [
    ("an end", |_, _, mut task| drop(task.succeed(()))),
    ("a worker that vanishes", |_, _, task| drop(task)),
    ("a message", |_, _, mut task| task.set_message("at work").unwrap()),
    ("a request to cancel", |store, _, task| {
        let _ = store.cancel(task.id()).unwrap();
    }),
    ("progress", |store, clock, mut task| {
        task.advance(1).unwrap();
        tick(store, clock);
    }),
    ("a time-out", |store, clock, task| {
        clock.advance(Duration::from_secs(2));
        store.tick();
        drop(task);
    }),
    ("an expiry", |store, clock, task| {
        drop(task);
        tick(store, clock);
        tick(store, clock);
    }),
    ("a removal", |store, _, mut task| {
        task.succeed(()).unwrap();
        let _ = store.remove(task.id());
    }),
    ("a creation", |store, _, _task| drop(pending(store))),
];

#[test]
fn i6_wakers_run_outside_every_lock() {
    for (what, wake) in WAKINGS {
        let meddled = comes_to_an_end(move || {
            let clock = ManualClock::new();
            let retention = Retention::forever().failed_for(Duration::ZERO);
            let store = builder(64, &clock).retain(retention).build().unwrap();
            let _crowd: Vec<Task> = (0..4).map(|_| running(&store)).collect();
            let meddled = Arc::new(AtomicUsize::new(0));
            let mut task = running(&store);
            let id = task.id();
            let seen = status(&store, &task).version();
            let meddler = || {
                let meddler =
                    Meddler { store: store.clone(), victim: Mutex::default(), meddled: Arc::clone(&meddled) };
                Arc::new(meddler)
            };
            let mut ended = pending(&store);
            ended.cancel().unwrap();
            let mut reader: Changes = store.changes().unwrap();
            let (one, two, three, four, five) = (meddler(), meddler(), meddler(), meddler(), meddler());
            let mut wait = store.wait(id);
            let mut timed = store.wait_timeout(id, Duration::from_secs(1));
            let mut changed = store.changed_since(id, seen);
            let mut cancelled = task.cancelled();
            assert!(poll_with(&Waker::from(Arc::clone(&one)), &mut wait).is_pending());
            assert!(poll_with(&Waker::from(Arc::clone(&two)), &mut timed).is_pending());
            assert!(poll_with(&Waker::from(Arc::clone(&three)), &mut changed).is_pending());
            assert!(poll_with(&Waker::from(Arc::clone(&four)), &mut cancelled).is_pending());
            let mut drain = reader.drain();
            assert!(poll_with(&Waker::from(Arc::clone(&five)), &mut drain).is_pending());
            std::mem::forget(drain);
            // Each waker owns its waiter, as a task on an executor does.
            one.victim.lock().unwrap().push(Box::new(wait));
            two.victim.lock().unwrap().push(Box::new(timed));
            three.victim.lock().unwrap().push(Box::new(changed));
            four.victim.lock().unwrap().push(Box::new(cancelled));
            five.victim.lock().unwrap().push(Box::new(reader));
            drop((one, two, three, four, five));
            task.advance(1).unwrap();
            wake(&store, &clock, task);
            meddled.load(Ordering::SeqCst)
        });
        assert!(meddled > 0, "{what} woke no waiter");
    }
}

/// A way to drop a registered waker without calling it.
type Dropping = (&'static str, fn(Wait));

const DROPPINGS: [Dropping; 2] = [
    ("another waker", |mut wait| assert!(poll_with(Waker::noop(), &mut wait).is_pending())),
    ("the last waiter is dropped", drop),
];

#[test]
fn i6_wakers_are_dropped_outside_every_lock() {
    for (what, drop_waker) in DROPPINGS {
        let meddled = comes_to_an_end(move || {
            let (store, _) = store(64);
            let task = running(&store);
            let meddled = Arc::new(AtomicUsize::new(0));
            let mut wait = store.wait(task.id());
            let meddler = Meddler { store, victim: Mutex::default(), meddled: Arc::clone(&meddled) };
            assert!(poll_with(&Waker::from(Arc::new(meddler)), &mut wait).is_pending());
            assert_eq!(meddled.load(Ordering::SeqCst), 0);
            drop_waker(wait);
            meddled.load(Ordering::SeqCst)
        });
        assert_eq!(meddled, 1, "{what}");
    }
}

#[test]
fn i6_a_waker_that_is_replaced_is_dropped_and_not_called() {
    let (store, _) = store(16);
    let mut task = running(&store);
    let (old, new) = (Bell::new(), Bell::new());
    let mut wait = store.wait(task.id());
    let mut watch = store.watch(task.id());
    let mut reader = store.changes().unwrap();
    assert!(old.next(&mut watch).is_ready());
    {
        let mut drain = reader.drain();
        for bell in [&old, &new] {
            assert!(bell.poll(&mut wait).is_pending());
            assert!(bell.next(&mut watch).is_pending());
            assert!(bell.poll(&mut drain).is_pending());
        }
        assert_eq!((old.held(), new.held()), (0, 3));
        task.succeed(()).unwrap();
        assert_eq!((old.rung(), new.rung()), (0, 3));
        assert_eq!((old.held(), new.held()), (0, 0), "a waker that was called is not kept");
    }
}

#[test]
fn i6_a_waiter_that_is_dropped_is_not_kept_and_others_stay() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let id = task.id();
    let seen = status(&store, &task).version();
    let (stays, goes) = (Bell::new(), Bell::new());
    let mut wait = store.wait(id);
    assert!(stays.poll(&mut wait).is_pending());
    for _ in 0..100 {
        let mut wait = store.wait(id);
        let mut timed = store.wait_timeout(id, Duration::from_secs(60));
        let mut changed = store.changed_since(id, seen);
        let mut watch = store.watch(id);
        let mut cancelled = task.cancelled();
        assert!(goes.poll(&mut wait).is_pending());
        assert!(goes.poll(&mut timed).is_pending());
        assert!(goes.poll(&mut changed).is_pending());
        assert!(goes.next(&mut watch).is_ready());
        assert!(goes.next(&mut watch).is_pending());
        assert!(goes.poll(&mut cancelled).is_pending());
        assert_eq!(goes.held(), 5);
    }
    assert_eq!(goes.held(), 0);
    clock.advance(Duration::from_secs(60));
    store.tick();
    task.succeed(()).unwrap();
    assert_eq!((stays.rung(), goes.rung()), (1, 0));
}

#[test]
fn i6_a_future_can_be_dropped_at_every_await() {
    let (store, clock) = store(64);
    // What the future awaits, step by step; the test drops it after each number of steps.
    for steps in 0..7 {
        let task = Arc::new(Mutex::new(running(&store)));
        let id = task.lock().unwrap().id();
        let bell = Bell::new();
        let mut whole = Box::pin({
            let (store, task) = (store.clone(), Arc::clone(&task));
            async move {
                let seen = store.get(id).unwrap().version();
                let mut reader = store.changes().unwrap();
                let seen = store.changed_since(id, seen).await.unwrap().version();
                drop(reader.drain().await);
                let seen = store.changed_since(id, seen).await.unwrap().version();
                let timed_out = store.wait_timeout(id, Duration::from_millis(1)).await;
                assert!(matches!(timed_out, Err(WaitError::TimedOut(_))));
                let cancelled = task.lock().unwrap().cancelled();
                cancelled.await;
                let _ = store.wait(id).await.unwrap();
                assert!(store.changed_since(id, seen).await.unwrap().is_terminal());
                let seen = store.get(id).unwrap().version();
                store.changed_since(id, seen).await.unwrap_err()
            }
        });
        let mut outcome = bell.poll(&mut whole);
        for step in 0..steps {
            assert!(outcome.is_pending(), "step {step}");
            assert!(bell.held() > 0);
            match step {
                0 | 1 => task.lock().unwrap().set_message("at work").unwrap(),
                2 => tick(&store, &clock),
                3 => assert_eq!(store.cancel(id).map(drop), Ok(())),
                4 => drop(task.lock().unwrap().cancel().unwrap()),
                _ => assert_eq!(store.remove(id).map(drop), Ok(())),
            }
            assert_eq!(bell.rung(), 1, "step {step}");
            outcome = bell.poll(&mut whole);
            if outcome.is_ready() {
                break;
            }
        }
        drop(whole);
        assert_eq!(bell.held(), 0, "dropped after {steps} steps");
        drop(task);
        tick(&store, &clock);
        assert_eq!(bell.rung(), 0);
    }
}

#[test]
fn i6_a_forgotten_waiter_leaves_nothing_when_the_task_is_gone() {
    let (store, clock) = store(1);
    let bell = Bell::new();
    for _ in 0..10 {
        let mut task = running(&store);
        let id = task.id();
        let seen = status(&store, &task).version();
        let mut wait = store.wait(id);
        let mut timed = store.wait_timeout(id, Duration::MAX);
        let mut changed = store.changed_since(id, seen);
        let mut watch = store.watch(id);
        let mut cancelled = task.cancelled();
        assert!(bell.poll(&mut wait).is_pending());
        assert!(bell.poll(&mut timed).is_pending());
        assert!(bell.poll(&mut changed).is_pending());
        assert!(bell.next(&mut watch).is_ready());
        assert!(bell.poll(&mut cancelled).is_pending());
        std::mem::forget((wait, timed, changed, watch, cancelled));
        assert_eq!(bell.held(), 5);
        task.succeed(()).unwrap();
        assert_eq!(bell.held(), 0, "from the end on");
        let last = status(&store, &task).version();
        let mut changed = store.changed_since(id, last);
        assert!(bell.poll(&mut changed).is_pending());
        std::mem::forget(changed);
        assert_eq!(bell.held(), 1);
        let _ = store.remove(id).unwrap();
        assert_eq!(bell.held(), 0, "from the removal on");
        drop(task);
        // The keeper reads its list once more, and the line is free for the next round.
        tick(&store, &clock);
    }
}

#[test]
fn the_futures_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Unpin>(_: &T) {}
    let (store, _) = store(16);
    let task = pending(&store);
    let id = task.id();
    check(&store.wait(id));
    check(&store.wait_timeout(id, Duration::MAX));
    check(&store.changed_since(id, status(&store, &task).version()));
    check(&store.watch(id));
    check(&task.cancelled());
    let mut reader = store.changes().unwrap();
    check(&reader.drain());
    check(&reader);
}
