//! What the keeper's lists hold, and for how long.
#![allow(clippy::unwrap_used, reason = "what tests share fails as they do")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::engine::keeper::KeeperMode;
use crate::model::clock::ManualClock;
use crate::model::retention::Retention;
use crate::model::state::{FailureReason, State};
use crate::record::new_task::NewTask;
use crate::store::Store;
use crate::task::Task;

const TICK: Duration = Duration::from_millis(50);

fn store() -> (Store, ManualClock) {
    store_with(4096, Retention::forever())
}

fn store_with(capacity: usize, retention: Retention) -> (Store, ManualClock) {
    let clock = ManualClock::new();
    let builder = Store::builder().capacity(capacity).clock(clock.clone()).keeper(KeeperMode::Manual);
    (builder.retain(retention).build().unwrap(), clock)
}

fn running(store: &Store) -> Task {
    let mut task = store.create(NewTask::new("test")).unwrap();
    task.start().unwrap();
    task
}

fn tick(store: &Store, clock: &ManualClock) {
    clock.advance(TICK);
    store.tick();
}

/// Remembers whether it was called.
#[derive(Default)]
struct Bell(Mutex<bool>);

impl Bell {
    fn rang(&self) -> bool {
        *self.0.lock().unwrap()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(waker)).is_ready()
}

#[test]
fn i8_only_the_first_reader_costs_a_look_at_every_line() {
    let (store, clock) = store();
    let mut task = running(&store);
    task.advance(1).unwrap();
    let sizes = || store.engine.upkeep.sizes();
    let first = store.changes().unwrap();
    assert!(sizes().has_unread);
    store.tick();
    assert_eq!(sizes().active, 1, "what was noted when nobody read is sampled");
    assert!(sizes().has_unread, "it is not certain yet that all was visible");
    tick(&store, &clock);
    let second = store.changes().unwrap();
    assert!(!sizes().has_unread);
    drop((first, second));
    let _again = store.changes().unwrap();
    assert!(sizes().has_unread, "for a while nobody has read");
}

// A timer named the seat of its waiter, and was taken for whoever sat there later.
#[test]
fn i6_the_timers_of_waiters_who_have_gone_are_swept_out() {
    let (store, _) = store();
    let task = store.create(NewTask::new("test")).unwrap();
    let timers = || store.engine.upkeep.sizes().dues;
    let mut waits: Vec<_> = (0..10).map(|_| store.wait_timeout(task.id(), Duration::MAX)).collect();
    for round in 0..100 {
        for wait in &mut waits {
            assert!(!poll(wait, Waker::noop()));
        }
        store.tick();
        assert!(timers() <= 2 * 1024, "round {round}: {}", timers());
        waits = (0..100).map(|_| store.wait_timeout(task.id(), Duration::MAX)).collect();
    }
}

#[test]
fn i6_the_keeper_looks_at_what_changes_and_not_at_what_is_watched() {
    let (store, clock) = store();
    let mut tasks: Vec<_> = (0..1_000).map(|_| running(&store)).collect();
    let _watches: Vec<_> = tasks.iter().map(|task| store.watch(task.id())).collect();
    let tick = || {
        tick(&store, &clock);
        store.engine.upkeep.sizes().active
    };
    for _ in 0..3 {
        tick();
    }
    assert_eq!(tick(), 0, "all are quiet");
    for task in tasks.iter_mut().take(7) {
        task.advance(1).unwrap();
    }
    assert_eq!(tick(), 7);
    for _ in 0..2 {
        tick();
    }
    assert_eq!(tick(), 0);
}

// A reader had to wait for the lock that the keeper held for a whole tick.
#[test]
fn i8_a_new_reader_does_not_wait_for_the_keeper() {
    let (store, _) = store();
    let (told, is_told) = std::sync::mpsc::channel();
    store.engine.upkeep.while_locked(|| {
        let store = store.clone();
        let reader = std::thread::spawn(move || told.send(store.changes().is_ok()));
        assert_eq!(is_told.recv_timeout(Duration::from_secs(60)), Ok(true), "it waits for the keeper");
        reader.join().unwrap().unwrap();
    });
}

#[test]
fn i9_what_is_due_at_once_is_done_in_slices() {
    let kept = Retention::forever().succeeded_for(TICK).at_most_failed(10);
    let (store, clock) = store_with(20_000, kept);
    let end = |count: usize, new: fn() -> NewTask, fails: bool| {
        for _ in 0..count {
            let mut task = store.create(new()).unwrap();
            task.start().unwrap();
            if fails {
                task.fail(FailureReason::Error, ()).unwrap();
            } else {
                task.succeed(()).unwrap();
            }
        }
    };
    end(5_000, || NewTask::new("by age"), false);
    end(5_000, || NewTask::new("by its own age").ttl(TICK), false);
    end(5_000, || NewTask::new("by number"), true);
    let lost: Vec<Task> =
        (0..2_000).map(|_| store.create(NewTask::new("leased").lease(TICK)).unwrap()).collect();
    let mut watched = running(&store);
    let mut watch = store.changed_since(watched.id(), watched.status().unwrap().version());
    let bell = Arc::new(Bell::default());
    assert!(!poll(&mut watch, &Waker::from(Arc::clone(&bell))));
    clock.advance(TICK);
    let (mut slices, mut is_more) = (0, true);
    while is_more {
        let before = store.counts();
        is_more = store.engine.slice(slices == 0);
        let after = store.counts();
        let gone = before.total() - after.total();
        let lost = before.of(State::Pending) - after.of(State::Pending);
        assert!(gone + lost <= 2 * 1024, "{gone} gone and {lost} lost in one slice");
        assert!(is_more || after.total() == 10 + 1, "{after:?}");
        slices += 1;
        assert_eq!(bell.rang(), slices > 3, "sampled in the slice after the pulse has moved: {slices}");
        if slices == 3 {
            watched.advance(1).unwrap();
            clock.advance(TICK);
        }
    }
    assert!(slices >= 15_000 / 2_048, "{slices}");
    drop(lost);
}
