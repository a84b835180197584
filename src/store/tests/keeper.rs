//! What the keeper's lists hold, and for how long.
#![allow(clippy::unwrap_used, reason = "what tests share fails as they do")]

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::{Bell, TICK, poll, running, store, store_with, tick};
use crate::model::reason::FailureReason;
use crate::model::retention::Retention;
use crate::model::state::State;
use crate::record::new_task::NewTask;
use crate::store::changes::Drained;
use crate::task::Task;

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

// A timer named the entry of its waiter, and was taken for the entry's next owner.
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

// The keeper's lists held the records of removed tasks, and so their lines, until the next tick.
#[test]
fn i7_a_removed_task_holds_no_line_whoever_observed_it() {
    let (store, clock) = store_with(1_000, Retention::default());
    let mut changes = store.changes().unwrap();
    let parent = store.create(NewTask::new("parent")).unwrap();
    for round in 0..3_000 {
        if round % 1_001 == 0 {
            tick(&store, &clock);
        }
        let mut task = store
            .create(NewTask::new("child").parent(parent.id()).lease(TICK).ttl(TICK))
            .unwrap_or_else(|why| panic!("round {round}: {why}"));
        task.start().unwrap();
        let watch = store.watch(task.id());
        task.advance(1).unwrap();
        task.succeed(()).unwrap();
        let _ = store.remove(task.id()).unwrap();
        drop(watch);
    }
    assert!(matches!(changes.try_drain(), Drained::Changes(_)));
}

#[test]
fn i9_without_a_tick_nothing_grows_with_the_number_of_lives() {
    let (store, _) = store_with(16, Retention::default().at_most_succeeded(5));
    let _changes = store.changes().unwrap();
    for _ in 0..100_000 {
        let mut task = store.create(NewTask::new("leased").lease(TICK).ttl(TICK)).unwrap();
        task.start().unwrap();
        task.advance(1).unwrap();
        task.succeed(()).unwrap();
        let _ = store.remove(task.id()).unwrap();
    }
    let sizes = store.engine.upkeep.sizes();
    assert!(sizes.dirty <= 16 * 1024 && sizes.dues <= 2 * 16 * 1024, "{sizes:?}");
}

#[test]
fn i9_the_lists_give_back_the_room_that_they_had_at_a_peak() {
    const PEAK: usize = 100_000;
    let (store, clock) = store_with(PEAK, Retention::forever().at_most_failed(10));
    let _changes = store.changes().unwrap();
    let mut tasks: Vec<Task> = Vec::new();
    for _ in 0..PEAK {
        let mut task = store.create(NewTask::new("leased").lease(TICK)).unwrap();
        task.start().unwrap();
        tasks.push(task);
    }
    store.tick();
    let peak = store.engine.upkeep.sizes();
    assert!(peak.active == PEAK && peak.dues == PEAK && peak.room >= 2 * PEAK, "{peak:?}");
    tasks.clear();
    for _ in 0..3 {
        tick(&store, &clock);
    }
    let after = store.engine.upkeep.sizes();
    assert_eq!((after.active, after.dirty, after.dues), (0, 0, 10));
    assert!(after.room < 16 * 1024, "{after:?}");
}

#[test]
fn i8_a_look_at_all_lines_goes_on_in_the_next_slice() {
    const TASKS: usize = 70_000;
    let (store, _) = store_with(TASKS, Retention::forever());
    let mut tasks: Vec<Task> = (0..TASKS).map(|_| running(&store)).collect();
    let last = tasks.last_mut().unwrap();
    last.advance(1).unwrap();
    let mut changes = store.changes().unwrap();
    last.advance(1).unwrap();
    assert!(store.engine.slice(true));
    assert!(store.engine.upkeep.sizes().active < TASKS, "not all lines have been looked at");
    store.tick();
    assert_eq!(store.engine.upkeep.sizes().active, TASKS);
    let Drained::Changes(told) = changes.try_drain() else { panic!("it did not fall behind") };
    let told: Vec<_> = told.iter().map(|change| (change.status.id(), change.status.done())).collect();
    assert_eq!(told, [(last.id(), 2)], "silent progress, and no more");
}
