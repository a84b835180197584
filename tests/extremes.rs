//! Settings and calls at the ends of their ranges, and calls in an unusual order.
//!
//! * I4, I9, I10: the end of the clock's range, and ticks in much quicker succession than the clock advances.
//! * I6: a version that is not the task's.
//! * I7: children whose parent's id is used again.
//! * I10: a panic that the panic hook did not see; a scope that is left with a pending task.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use common::{builder, running, store};
use inflight::{FailureReason, Filter, ManualClock, NewTask, Retention, State, Store, TaskId};

/// The result of polling the future once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn error(store: &Store, id: TaskId) -> Option<String> {
    Some(store.details(id).unwrap().error()?.as_text()?.to_owned())
}

/// Regression: each tick advanced the time by one unit, even past the last unit that a line can store.
/// Progress was then recorded with no time at all, and ended tasks showed an end in 1970.
#[test]
fn i4_i9_at_the_end_of_the_clocks_range_time_stands_still() {
    let clock = ManualClock::new();
    let retention = Retention::forever().failed_for(Duration::MAX);
    let store = builder(4, &clock).retain(retention).build().unwrap();
    let mut task = running(&store);
    let early = task.status().unwrap().updated_at();
    for span in [Duration::MAX, Duration::from_secs(1)] {
        clock.advance(span);
        for _ in 0..3 {
            store.tick();
            task.advance(1).unwrap();
            let status = task.status().unwrap();
            assert!(status.updated_at() > early + Duration::from_secs(60 * 365 * 86_400), "{status:?}");
            assert!(status.rate().is_some_and(|rate| rate > 0.0), "{status:?}");
        }
    }
    task.succeed(()).unwrap();
    let ended = task.status().unwrap();
    assert!(ended.ended_at() > Some(early), "{ended:?}");
    store.tick();
    assert_eq!(store.get(task.id()), Some(ended), "it is kept for ever");
}

/// Regression: the time of a tick is one unit after the last one even if the clock stands still. Leases and
/// ages were measured by it, so ticks in quick succession let them run out early.
#[test]
fn i9_i10_ticks_alone_make_nothing_due() {
    let clock = ManualClock::new();
    let retention = Retention::forever().succeeded_for(Duration::from_secs(1));
    let store = builder(4, &clock).retain(retention).build().unwrap();
    let mut leased = store.create(NewTask::new("test").lease(Duration::from_secs(1))).unwrap();
    leased.start().unwrap();
    let mut ended = running(&store);
    ended.succeed(()).unwrap();
    let mut wait = store.wait_timeout(leased.id(), Duration::from_secs(1));
    assert!(poll(&mut wait).is_pending());
    for _ in 0..250_000 {
        store.tick();
    }
    assert_eq!(leased.status().unwrap().state(), State::Running);
    assert!(store.get(ended.id()).is_some());
    assert!(poll(&mut wait).is_pending());
    clock.advance(Duration::from_secs(1));
    store.tick();
    assert!(poll(&mut wait).is_ready());
    assert_eq!(leased.status().unwrap().failure_reason(), Some(FailureReason::Lost));
    assert!(store.get(ended.id()).is_none());
}

/// Regression: a waiter that passed a version ahead of the task's, for example that of a client's id in
/// another run, waited for the removal of an ended task, instead of being told of its end.
#[test]
fn i6_a_version_that_is_not_the_tasks_does_not_keep_the_end_back() {
    let id = TaskId::from_u128(7);
    let (store, _) = store(4);
    let mut task = store.create(NewTask::new("test").id(id)).unwrap();
    let own = task.status().unwrap().version();
    // A version greater than all of this task's: its first digits are the time of the store's start.
    let ahead = own.to_string().replacen(|c: char| c != '-', "f", 1).parse().unwrap();
    assert!(ahead > own);
    let mut live = store.changed_since(id, ahead);
    assert!(poll(&mut live).is_pending(), "it has not ended");
    task.cancel().unwrap();
    let end = store.get(id).unwrap();
    assert_eq!(poll(&mut live), Poll::Ready(Ok(end)));
    assert_eq!(poll(&mut store.changed_since(id, ahead)), Poll::Ready(Ok(end)));
    assert!(poll(&mut store.changed_since(id, end.version())).is_pending(), "no change follows the end");
}

/// Regression: a resumed panic, which the hook does not see, was reported with the message of an earlier
/// panic that the same thread had caught.
#[test]
fn i10_an_earlier_panics_message_is_not_told_again() {
    let (store, _) = store(4);
    let caught = catch_unwind(|| panic!("the one before"));
    let task = running(&store);
    let id = task.id();
    let resumed = catch_unwind(AssertUnwindSafe(move || {
        let _task = task;
        resume_unwind(Box::new("of another thread"));
    }));
    assert!(caught.is_err() && resumed.is_err());
    assert_eq!(store.get(id).unwrap().failure_reason(), Some(FailureReason::Panicked));
    assert_eq!(error(&store, id).as_deref(), Some("the worker panicked"));
}

#[test]
fn i10_a_scope_that_leaves_its_task_pending_has_lost_it() {
    let (store, _) = store(4);
    let task = running(&store);
    let id = task.id();
    let said = task.scope(|task| {
        task.retry().unwrap();
        Ok::<_, String>(7)
    });
    assert_eq!(said, Ok(7));
    let status = store.get(id).unwrap();
    assert_eq!((status.failure_reason(), status.attempt()), (Some(FailureReason::Lost), 2));
}

/// Regression: each label was compared with all labels before it. With so many, that takes longer than a CI job may.
#[test]
fn labels_beyond_number_are_refused() {
    let (store, _) = store(1);
    let many = (0..1_000_000).fold(NewTask::new("test"), |new, n| new.label(n.to_string(), ""));
    assert!(store.create(many).is_err());
    let same = (0..1_000_000).fold(NewTask::new("test"), |new, n| new.label("key", n.to_string()));
    let task = store.create(same.label("a", "")).unwrap();
    let labels = store.details(task.id()).unwrap();
    assert_eq!(
        labels.labels().collect::<Vec<_>>(),
        [("a", ""), ("key", "999999")],
        "the last value of a key is kept"
    );
    assert!(store.get(task.id()).unwrap().created_at() > SystemTime::UNIX_EPOCH);
}

/// Regression: the children of a removed task were listed as children of the next task with the same id.
#[test]
fn i7_children_stay_with_their_parent_when_its_id_is_used_again() {
    let (store, _) = store(8);
    let id = TaskId::from_u128(7);
    let first = store.create(NewTask::new("parent").id(id)).unwrap();
    let child = store.create(NewTask::new("child").parent(id)).unwrap();
    drop(first);
    let _ = store.remove(id).unwrap();
    let listed = || -> Vec<TaskId> {
        let page = store.list(&Filter::new().parent(id)).unwrap();
        page.tasks.iter().map(|task| task.status().id()).collect()
    };
    assert_eq!(listed(), [child.id()], "only the new task's child is listed");
    let _second = store.create(NewTask::new("parent").id(id)).unwrap();
    assert_eq!((listed(), store.children(id).unwrap().count()), (vec![], 0));
    let other = store.create(NewTask::new("child").parent(id)).unwrap();
    assert_eq!(listed(), [other.id()]);
    assert_eq!(store.details(child.id()).unwrap().parent(), Some(id), "that is what it was created with");
}
