//! Retention, with the keeper ticked by hand.
//!
//! * I9: terminal tasks are kept by outcome, by age from their end, and by count; a task's own time to live
//!   replaces the age, not the count. Live tasks are never removed. A full store refuses creations until a
//!   task is removed. The reasons are distinguished: expired, evicted, removed (I11).
//! * A removed task is not in lists, counts or details any more.
//!
//! (That upkeep costs as much as is due, and not as much as is stored, cannot be counted from here; it is
//! measured in `benches/`.)
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::time::Duration;

use common::{builder, running, task};
use inflight::{
    Absent, CreateError, FailureReason, Filter, Finish, GoneReason, ManualClock, NewTask, RemoveError,
    Retention, State, Store, Task, TaskId,
};

const SECOND: Duration = Duration::from_secs(1);
const TERMINAL: [State; 3] = [State::Succeeded, State::Failed, State::Cancelled];
/// The resolution of the store's clock.
const UNIT: Duration = Duration::from_micros(8);

fn store(capacity: usize, retention: Retention) -> (Store, ManualClock) {
    let clock = ManualClock::new();
    (builder(capacity, &clock).retain(retention).build().unwrap(), clock)
}

fn tick(store: &Store, clock: &ManualClock, span: Duration) {
    clock.advance(span);
    store.tick();
}

fn end(task: &mut Task, state: State) {
    let finish = match state {
        State::Succeeded => task.succeed("r"),
        State::Failed => task.fail(FailureReason::Error, "e"),
        _ => task.cancel(),
    };
    assert_eq!(finish, Ok(Finish::Won));
}

/// A task that has ended in `state`, and has no handle.
fn ended(store: &Store, state: State) -> TaskId {
    let mut task = running(store);
    end(&mut task, state);
    task.id()
}

fn gone(store: &Store, id: TaskId) -> Option<GoneReason> {
    match store.lookup(id) {
        Ok(_) => None,
        Err(Absent::Gone(Some(reason))) => Some(reason),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn i9_each_outcome_has_its_age() {
    let retention =
        Retention::forever().succeeded_for(10 * SECOND).failed_for(30 * SECOND).cancelled_for(20 * SECOND);
    let (store, clock) = store(8, retention);
    clock.advance(5 * SECOND);
    let ids = TERMINAL.map(|state| ended(&store, state));
    let mut now = 0;
    for (seconds, left) in [(9, 3), (10, 2), (19, 2), (20, 1), (29, 1), (30, 0)] {
        while now < seconds {
            tick(&store, &clock, SECOND);
            now += 1;
        }
        let there = ids.iter().filter(|id| gone(&store, **id).is_none()).count();
        assert_eq!(there, left, "{seconds} s after the end");
    }
    assert_eq!(ids.map(|id| gone(&store, id)), [Some(GoneReason::Expired); 3]);
}

#[test]
fn i9_an_age_is_exact_and_counts_from_the_end() {
    let (store, clock) = store(2, Retention::forever().succeeded_for(10 * SECOND));
    let mut old = running(&store);
    tick(&store, &clock, 1_000 * SECOND);
    assert_eq!(old.status().unwrap().state(), State::Running, "however old it is");
    end(&mut old, State::Succeeded);
    tick(&store, &clock, 10 * SECOND - UNIT);
    assert!(old.status().is_some());
    tick(&store, &clock, UNIT);
    assert_eq!(gone(&store, old.id()), Some(GoneReason::Expired));
}

#[test]
fn i9_a_bound_of_one_outcome_is_none_of_the_others() {
    let forever = Retention::forever;
    let bounds = [
        [forever().succeeded_for(SECOND), forever().at_most_succeeded(0)],
        [forever().failed_for(SECOND), forever().at_most_failed(0)],
        [forever().cancelled_for(SECOND), forever().at_most_cancelled(0)],
    ];
    for (state, bounds) in TERMINAL.into_iter().zip(bounds) {
        for retention in bounds {
            let (store, clock) = store(3, retention);
            let ids = TERMINAL.map(|state| ended(&store, state));
            tick(&store, &clock, 2 * SECOND);
            let left = ids.map(|id| store.get(id).is_some());
            assert_eq!(left, TERMINAL.map(|other| other != state), "{state}");
        }
    }
}

#[test]
fn i9_nothing_goes_between_the_ticks() {
    let (store, clock) = store(1, Retention::forever().succeeded_for(SECOND).at_most_succeeded(0));
    let id = ended(&store, State::Succeeded);
    clock.advance(100 * SECOND);
    assert_eq!(gone(&store, id), None);
    store.tick();
    assert!(gone(&store, id).is_some());
}

#[test]
fn i9_an_age_of_nothing_is_the_next_tick() {
    for state in TERMINAL {
        let none = Duration::ZERO;
        let retention = Retention::forever().succeeded_for(none).failed_for(none).cancelled_for(none);
        let (store, _) = store(1, retention);
        let id = ended(&store, state);
        assert_eq!(store.get(id).unwrap().state(), state);
        store.tick();
        assert_eq!(gone(&store, id), Some(GoneReason::Expired));
    }
}

#[test]
fn i9_by_default_failures_are_kept_longer() {
    let (store, clock) = store(8, Retention::default());
    let ids = TERMINAL.map(|state| ended(&store, state));
    let mut live = running(&store);
    tick(&store, &clock, 601 * SECOND);
    let there = ids.map(|id| gone(&store, id).is_none());
    assert_eq!(there, [false, true, false]);
    tick(&store, &clock, 86_400 * SECOND);
    assert_eq!(gone(&store, ids[1]), Some(GoneReason::Expired));
    tick(&store, &clock, 10_000 * 86_400 * SECOND);
    live.advance(1).unwrap();
    assert_eq!(live.succeed(()), Ok(Finish::Won));
}

#[test]
fn i9_the_oldest_end_goes_first_when_there_are_too_many() {
    let retention = Retention::forever().at_most_succeeded(2).at_most_failed(3).at_most_cancelled(0);
    let (store, clock) = store(64, retention);
    for (state, most) in TERMINAL.into_iter().zip([2, 3, 0]) {
        let mut tasks: Vec<Task> = (0..6).map(|_| running(&store)).collect();
        // They end in another order than they were created in.
        let order = [3, 1, 5, 0, 4, 2];
        for at in order {
            end(&mut tasks[at], state);
            clock.advance(SECOND);
        }
        assert_eq!(store.counts().of(state), 6, "until the tick");
        store.tick();
        assert_eq!(store.counts().of(state), most as u64);
        for (place, at) in order.into_iter().enumerate() {
            let expected = (place < 6 - most).then_some(GoneReason::Evicted);
            assert_eq!(gone(&store, tasks[at].id()), expected, "{state}: the {place}th to end");
        }
    }
}

#[test]
fn i9_a_bound_by_count_does_not_see_the_living() {
    let retention = Retention::forever().at_most_succeeded(0).at_most_failed(0).at_most_cancelled(0);
    let (store, clock) = store(8, retention);
    let mut pending = task(&store);
    let running = running(&store);
    let mut blocked = common::in_state(&store, State::Blocked);
    let mut retried = common::running(&store);
    retried.retry().unwrap();
    for _ in 0..10 {
        tick(&store, &clock, 1_000 * SECOND);
    }
    let states = [&pending, &running, &blocked, &retried].map(|task| task.status().unwrap().state());
    assert_eq!(states, [State::Pending, State::Running, State::Blocked, State::Pending]);
    pending.start().unwrap();
    blocked.resume().unwrap();
    drop((pending, running, blocked, retried));
    assert_eq!(store.counts().total(), 4);
    store.tick();
    assert_eq!(store.counts().total(), 0);
}

#[test]
fn i9_a_time_to_live_of_its_own_takes_the_ages_place() {
    let (store, clock) = store(8, Retention::forever().succeeded_for(10 * SECOND).cancelled_for(10 * SECOND));
    let with_ttl = |span: Duration, state: State| {
        let mut task = store.create(NewTask::new("test").ttl(span)).unwrap();
        task.start().unwrap();
        end(&mut task, state);
        task.id()
    };
    let short = with_ttl(5 * SECOND, State::Succeeded);
    let long = with_ttl(20 * SECOND, State::Cancelled);
    let of_kept = with_ttl(5 * SECOND, State::Failed);
    let none = with_ttl(Duration::ZERO, State::Succeeded);
    let forever = with_ttl(Duration::MAX, State::Succeeded);
    let live = store.create(NewTask::new("test").ttl(SECOND)).unwrap();
    let mut now = 0;
    let mut there = |at: u32, ids: &[TaskId]| {
        tick(&store, &clock, (at - now) * SECOND);
        now = at;
        for id in [short, long, of_kept, none, forever] {
            assert_eq!(gone(&store, id).is_none(), ids.contains(&id), "{at} s");
        }
    };
    there(0, &[short, long, of_kept, forever]);
    there(4, &[short, long, of_kept, forever]);
    there(5, &[long, forever]);
    there(19, &[long, forever]);
    there(20, &[forever]);
    there(1_000_000, &[forever]);
    assert_eq!(live.status().unwrap().state(), State::Pending);
    assert_eq!(gone(&store, short), Some(GoneReason::Expired));
}

#[test]
fn i9_a_bound_by_count_holds_for_a_time_to_live_as_well() {
    let (store, clock) = store(8, Retention::forever().succeeded_for(SECOND).at_most_succeeded(2));
    let ids: Vec<TaskId> = (0..4)
        .map(|_| {
            let mut task = store.create(NewTask::new("test").ttl(100 * SECOND)).unwrap();
            task.start().unwrap();
            end(&mut task, State::Succeeded);
            clock.advance(10 * SECOND);
            task.id()
        })
        .collect();
    store.tick();
    let goings: Vec<_> = ids.iter().map(|id| gone(&store, *id)).collect();
    assert_eq!(goings, [Some(GoneReason::Evicted), Some(GoneReason::Evicted), None, None]);
    tick(&store, &clock, 80 * SECOND - UNIT);
    assert_eq!(gone(&store, ids[2]), None);
    tick(&store, &clock, UNIT);
    assert_eq!(gone(&store, ids[2]), Some(GoneReason::Expired), "a hundred seconds after its end");
}

#[test]
fn i9_what_is_removed_makes_room_in_the_bounds() {
    let (store, clock) = store(8, Retention::forever().at_most_succeeded(2));
    let ids: Vec<TaskId> = (0..4)
        .map(|_| {
            clock.advance(SECOND);
            ended(&store, State::Succeeded)
        })
        .collect();
    let _ = store.remove(ids[3]).unwrap();
    let _ = store.remove(ids[0]).unwrap();
    store.tick();
    assert_eq!(gone(&store, ids[1]), None);
    assert_eq!(gone(&store, ids[2]), None);
    assert_eq!(gone(&store, ids[0]), Some(GoneReason::Removed));
}

#[test]
fn i9_only_what_has_ended_is_removed_and_only_once() {
    let (store, _) = common::store(8);
    for state in State::ALL {
        let task = common::in_state(&store, state);
        let status = task.status().unwrap();
        if !state.is_terminal() {
            assert_eq!(store.remove(task.id()), Err(RemoveError::Live(status)));
            continue;
        }
        assert_eq!(store.remove(task.id()), Ok(status));
        let gone = Absent::Gone(Some(GoneReason::Removed));
        assert_eq!(store.remove(task.id()), Err(RemoveError::Absent(gone)));
        assert_eq!((store.lookup(task.id()), store.get(task.id())), (Err(gone), None));
        assert_eq!(store.counts().of(state), u64::from(state == State::Failed) * store.counts().of(state));
        let listed = store.list(&Filter::new()).unwrap().tasks;
        assert!(listed.iter().all(|other| other.status().id() != task.id()));
    }
}

#[test]
fn i9_a_full_store_has_room_again_when_something_is_let_go() {
    let (store, clock) = store(3, Retention::forever().succeeded_for(SECOND));
    let _live = running(&store);
    let kept = ended(&store, State::Failed);
    let held = {
        let mut task = running(&store);
        end(&mut task, State::Succeeded);
        task
    };
    let create = || store.create(NewTask::new("test")).map(|task| task.id());
    let full = Err(CreateError::Full { capacity: 3 });
    assert_eq!(create(), full);
    tick(&store, &clock, SECOND);
    assert_eq!((held.status(), create()), (None, full.clone()), "gone, but its handle is still there");
    drop(held);
    assert!(create().is_ok());
    assert_eq!(create(), full);
    let _ = store.remove(kept).unwrap();
    assert!(create().is_ok());
    assert_eq!(store.capacity(), 3);
}

/// More ended tasks than the initial size of any of the keeper's lists, removed in several ways at once.
#[test]
fn i9_many_come_and_go() {
    const TASKS: usize = 20_000;
    let retention = Retention::forever().succeeded_for(10 * SECOND).at_most_failed(7).cancelled_for(SECOND);
    let (store, clock) = store(TASKS, retention);
    for round in 0..5_usize {
        for number in 0..TASKS / 4 {
            let mut task = task(&store);
            if number % 3 == 0 {
                task.start().unwrap();
            }
            let state = TERMINAL[number % 3];
            end(&mut task, state);
            if (number + round) % 5 == 0 {
                let _ = store.remove(task.id()).unwrap();
            }
        }
        tick(&store, &clock, 4 * SECOND);
        let counts = store.counts();
        assert_eq!((counts.of(State::Failed), counts.of(State::Cancelled)), (7, 0));
        assert!(
            counts.of(State::Succeeded) <= 3 * (TASKS as u64 / 12 + 1),
            "three rounds of 4 s within 10 s"
        );
        assert!(counts.of(State::Succeeded) >= TASKS as u64 / 20);
    }
    tick(&store, &clock, 10 * SECOND);
    assert_eq!(store.counts().total(), 7);
    assert_eq!(store.list(&Filter::new()).unwrap().tasks.len(), 7);
}

#[test]
fn i9_the_longest_ended_goes_first_whichever_threads_ended_them() {
    let (store, clock) = store(64, Retention::forever().at_most_succeeded(20));
    // More threads than the store has stripes, one after the other.
    let ids: Vec<TaskId> = (0..40)
        .map(|_| {
            clock.advance(SECOND);
            std::thread::scope(|scope| scope.spawn(|| ended(&store, State::Succeeded)).join().unwrap())
        })
        .collect();
    store.tick();
    let (first, last) = ids.split_at(20);
    assert!(first.iter().all(|id| gone(&store, *id) == Some(GoneReason::Evicted)));
    assert!(last.iter().all(|id| store.get(*id).is_some()));
}
