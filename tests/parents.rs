//! A parent's aggregate over its children.
//!
//! * I12: children by state, their counts and their totals add up: with retries, totals that are set late or
//!   not at all, leases that run out, children that are gone, and whatever state the parent is in. States and
//!   totals are exact at once, progress at the next tick. The parent's own numbers are not included.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::time::Duration;

use State::{Blocked, Cancelled, Failed, Pending, Running, Succeeded};
use common::{builder, running, store, task};
use inflight::{
    Absent, Children, CreateError, FailureReason, Filter, GoneReason, MAX_COUNT, ManualClock, NewTask,
    Retention, State, Store, Task, TaskId,
};

const SECOND: Duration = Duration::from_secs(1);

fn child(store: &Store, parent: TaskId) -> Task {
    store.create(NewTask::new("child").parent(parent)).unwrap()
}

fn sums(store: &Store, parent: TaskId) -> ([u64; 6], u64, Option<u64>) {
    let children: Children = store.children(parent).unwrap();
    let by_state = State::ALL.map(|state| children.in_state(state));
    assert_eq!(children.count(), by_state.iter().sum::<u64>());
    assert_eq!(children.live(), by_state[..3].iter().sum::<u64>());
    (by_state, children.done(), children.total())
}

fn states(of: &[(State, u64)]) -> [u64; 6] {
    State::ALL.map(|state| of.iter().filter(|(which, _)| *which == state).map(|(_, count)| count).sum())
}

#[test]
fn i12_no_children_is_an_empty_sum() {
    let (store, _) = store(1);
    let task = running(&store);
    assert_eq!(store.children(task.id()), Ok(Children::default()));
    assert_eq!(sums(&store, task.id()), ([0; 6], 0, None));
    assert_eq!(store.children(task.id()).unwrap().fraction(), None);
    assert_eq!(store.children(TaskId::from_u128(7)), Err(Absent::Unknown));
}

#[test]
fn i12_states_and_totals_add_up_at_once() {
    let (store, _) = store(8);
    let parent = running(&store);
    let id = parent.id();
    let mut one = child(&store, id);
    assert_eq!(sums(&store, id), (states(&[(Pending, 1)]), 0, None));
    let mut other = store.create(NewTask::new("child").parent(id).total(10)).unwrap();
    assert_eq!(sums(&store, id), (states(&[(Pending, 2)]), 0, None), "one child's total is unknown");
    one.set_total(5).unwrap();
    assert_eq!(sums(&store, id).2, Some(15));
    one.start().unwrap();
    other.start().unwrap();
    other.block().unwrap();
    assert_eq!(sums(&store, id).0, states(&[(Running, 1), (Blocked, 1)]));
    one.advance(5).unwrap();
    one.set_total(7).unwrap();
    one.succeed(()).unwrap();
    assert_eq!(sums(&store, id), (states(&[(Succeeded, 1), (Blocked, 1)]), 5, Some(17)), "the end, at once");
    other.resume().unwrap();
    other.advance(4).unwrap();
    other.fail(FailureReason::TimedOut, ()).unwrap();
    assert_eq!(sums(&store, id), (states(&[(Succeeded, 1), (Failed, 1)]), 9, Some(17)));
    let third = child(&store, id);
    let _ = store.cancel(third.id()).unwrap();
    assert_eq!(sums(&store, id), (states(&[(Succeeded, 1), (Failed, 1), (Cancelled, 1)]), 9, None));
    drop(child(&store, id));
    assert_eq!(sums(&store, id).0, states(&[(Succeeded, 1), (Failed, 2), (Cancelled, 1)]));
    assert_eq!(parent.status().unwrap().done(), 0, "the parent's own count does not include its children");
}

#[test]
fn i12_a_retry_takes_the_progress_of_its_attempt_back_at_once() {
    let (store, clock) = store(4);
    let parent = task(&store);
    let mut one = child(&store, parent.id());
    one.start().unwrap();
    one.advance(3).unwrap();
    clock.advance(SECOND);
    store.tick();
    assert_eq!(sums(&store, parent.id()).1, 3);
    one.retry().unwrap();
    assert_eq!(sums(&store, parent.id()).1, 0);
}

#[test]
fn i12_progress_adds_up_at_the_next_tick() {
    let (store, clock) = store(4);
    let parent = task(&store);
    let id = parent.id();
    let [mut one, shared] = [child(&store, id), child(&store, id)];
    one.start().unwrap();
    let shared = shared.share();
    shared.start().unwrap();
    let mut expected = 0;
    // However the increments are spread over the ticks, and however many ticks are quiet.
    for round in 0..20_u64 {
        for _ in 0..round % 4 {
            one.advance(round + 1).unwrap();
            shared.advance(1).unwrap();
            expected += round + 2;
        }
        if round % 3 == 0 {
            one.counter().advance(2).unwrap();
            expected += 2;
        }
        for _ in 0..=round % 5 {
            clock.advance(SECOND);
            store.tick();
            assert_eq!(sums(&store, id).1, expected, "round {round}");
        }
    }
    // Also if the clock stands still.
    for _ in 0..5 {
        one.advance(1).unwrap();
        store.tick();
        expected += 1;
        assert_eq!(sums(&store, id).1, expected);
    }
    one.succeed(()).unwrap();
    drop(shared);
    assert_eq!(sums(&store, id).1, expected);
}

#[test]
fn i12_a_retry_takes_its_progress_back() {
    let (store, clock) = store(4);
    let parent = task(&store);
    let mut child = store.create(NewTask::new("child").parent(parent.id()).total(10)).unwrap();
    for (attempt, done) in [(1, 7), (2, 3), (3, 9)] {
        child.start().unwrap();
        child.advance(done).unwrap();
        clock.advance(SECOND);
        store.tick();
        assert_eq!(sums(&store, parent.id()), (states(&[(Running, 1)]), done, Some(10)));
        assert_eq!(child.status().unwrap().attempt(), attempt);
        child.retry().unwrap();
        assert_eq!(sums(&store, parent.id()), (states(&[(Pending, 1)]), 0, Some(10)));
        store.tick();
        assert_eq!(sums(&store, parent.id()).1, 0);
    }
    child.cancel().unwrap();
    assert_eq!(sums(&store, parent.id()), (states(&[(Cancelled, 1)]), 0, Some(10)));
}

#[test]
fn i12_children_that_are_gone_still_count() {
    let clock = ManualClock::new();
    let retention = Retention::forever().succeeded_for(SECOND).at_most_failed(0);
    let store = builder(4, &clock).retain(retention).build().unwrap();
    let parent = task(&store);
    let id = parent.id();
    for round in 1..=10 {
        let [mut expired, mut evicted, mut removed] =
            [child(&store, id), child(&store, id), child(&store, id)];
        for task in [&mut expired, &mut evicted, &mut removed] {
            task.set_total(3).unwrap();
            task.start().unwrap();
            task.advance(2).unwrap();
        }
        expired.succeed(()).unwrap();
        evicted.fail(FailureReason::Error, ()).unwrap();
        removed.cancel().unwrap();
        clock.advance(2 * SECOND);
        store.tick();
        let _ = store.remove(removed.id()).unwrap();
        assert_eq!(store.counts().total(), 1);
        let expected = states(&[(Succeeded, round), (Failed, round), (Cancelled, round)]);
        assert_eq!(sums(&store, id), (expected, 6 * round, Some(9 * round)));
        drop((expired, evicted, removed));
        store.tick();
    }
    assert_eq!(store.children(id).unwrap().fraction(), Some(2.0 / 3.0));
}

#[test]
fn i10_i12_a_child_whose_lease_runs_out_is_seen() {
    let (store, clock) = store(2);
    let parent = task(&store);
    let new = NewTask::new("child").parent(parent.id()).lease(SECOND).total(5);
    let mut child = store.create(new).unwrap();
    child.start().unwrap();
    child.advance(2).unwrap();
    clock.advance(2 * SECOND);
    store.tick();
    // The progress from before the tick has the time of the tick before it: one more lease.
    clock.advance(2 * SECOND);
    store.tick();
    assert_eq!(sums(&store, parent.id()), (states(&[(Failed, 1)]), 2, Some(5)));
    assert!(child.advance(1).is_err());
    store.tick();
    assert_eq!(sums(&store, parent.id()).1, 2, "fenced");
}

#[test]
fn i12_a_parent_may_end_and_go_before_its_children() {
    let (store, clock) = store(4);
    let mut parent = running(&store);
    let id = parent.id();
    let [mut one, mut other] = [child(&store, id), child(&store, id)];
    one.start().unwrap();
    parent.succeed(()).unwrap();
    let status = parent.status().unwrap();
    one.advance(3).unwrap();
    clock.advance(SECOND);
    store.tick();
    assert_eq!(sums(&store, id), (states(&[(Pending, 1), (Running, 1)]), 3, None), "they go on");
    assert_eq!(store.get(id), Some(status), "I4: and it stays as it ended");
    let late = store.create(NewTask::new("child").parent(id)).map(|_| ());
    assert_eq!(late, Err(CreateError::ParentEnded(status)));
    let _ = store.remove(id).unwrap();
    assert_eq!(store.children(id), Err(Absent::Gone(Some(GoneReason::Removed))));
    one.advance(1).unwrap();
    other.start().unwrap();
    clock.advance(SECOND);
    store.tick();
    one.succeed(()).unwrap();
    drop(other);
    assert_eq!(store.details(one.id()).unwrap().parent(), Some(id), "a task keeps its parent's id");
    let children = store.list(&Filter::new().parent(id)).unwrap().tasks;
    assert_eq!(children.len(), 2);
}

/// Children of children count for their own parent only.
#[test]
fn i12_a_parent_sums_its_children_and_not_theirs() {
    let (store, _) = store(8);
    let top = task(&store);
    let mut middle = child(&store, top.id());
    middle.start().unwrap();
    middle.advance(1).unwrap();
    for _ in 0..3 {
        let mut leaf = child(&store, middle.id());
        leaf.start().unwrap();
        leaf.advance(10).unwrap();
        leaf.succeed(()).unwrap();
    }
    middle.succeed(()).unwrap();
    assert_eq!(sums(&store, middle.id()), (states(&[(Succeeded, 3)]), 30, None));
    assert_eq!(sums(&store, top.id()), (states(&[(Succeeded, 1)]), 1, None));
}

#[test]
fn i12_a_create_that_is_refused_adds_nothing() {
    let (store, _) = store(2);
    let parent = task(&store);
    let id = TaskId::from_u128(7);
    let _child = store.create(NewTask::new("child").id(id).parent(parent.id())).unwrap();
    let before = sums(&store, parent.id());
    assert!(store.create(NewTask::new("child").id(id).parent(parent.id())).is_err(), "duplicate");
    assert!(store.create(NewTask::new("child").parent(parent.id())).is_err(), "full");
    let too_much = NewTask::new("child").parent(parent.id()).total(MAX_COUNT + 1);
    assert!(store.create(too_much).is_err());
    assert_eq!(sums(&store, parent.id()), before);
}

/// Regression: sums above half of a counter's range were read as 0.
#[test]
fn i12_large_sums() {
    let (store, _) = store(32);
    let parent = task(&store);
    let mut children = Vec::new();
    for count in 1..=15 {
        let mut child = store.create(NewTask::new("child").parent(parent.id()).total(MAX_COUNT)).unwrap();
        child.start().unwrap();
        child.set_done(MAX_COUNT).unwrap();
        store.tick();
        children.push(child);
        let (_, done, total) = sums(&store, parent.id());
        assert_eq!((done, total), (count * MAX_COUNT, Some(count * MAX_COUNT)), "{count} children");
    }
}
