//! `watch`: the stream of one task's statuses.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;

use futures_util::StreamExt;
use futures_util::stream::FusedStream;
use inflight::{Absent, FailureReason, GoneReason, NewTask, State, Status, Store, TaskId, Watch};

use crate::support::{Bell, comes_to_an_end, ended, pending, running, status, store, tick};

fn item(bell: &Bell, watch: &mut Watch) -> Status {
    match bell.next(watch) {
        Poll::Ready(Some(status)) => status,
        other => panic!("a status must follow, not {other:?}"),
    }
}

/// The stream ends, and stays ended.
fn is_over(bell: &Bell, watch: &mut Watch) {
    for _ in 0..2 {
        assert_eq!(bell.next(watch), Poll::Ready(None));
        assert!(watch.is_terminated());
    }
}

#[test]
fn i5_a_watch_starts_with_the_present_and_gives_each_version_once() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    task.advance(3).unwrap();
    let bell = Bell::new();
    let mut watch = store.watch(task.id());
    assert_eq!(item(&bell, &mut watch), status(&store, &task), "the present one");
    for _ in 0..3 {
        assert_eq!(bell.next(&mut watch), Poll::Pending, "no version is returned twice");
        tick(&store, &clock);
    }
    assert_eq!(bell.rung(), 0, "nothing has changed");

    task.block().unwrap();
    assert_eq!(bell.rung(), 1, "a transition wakes at once");
    assert_eq!(item(&bell, &mut watch).state(), State::Blocked);
    assert_eq!(bell.next(&mut watch), Poll::Pending);

    task.set_message("waiting for input").unwrap();
    assert_eq!(bell.rung(), 1, "and so does a message");
    assert_eq!(item(&bell, &mut watch), status(&store, &task));
    assert_eq!(bell.next(&mut watch), Poll::Pending);

    task.resume().unwrap();
    task.succeed(()).unwrap();
    assert_eq!(bell.rung(), 1, "one call until the next poll");
    assert!(!watch.is_terminated());
    assert_eq!(item(&bell, &mut watch), status(&store, &task), "from `Blocked` to the end");
    is_over(&bell, &mut watch);
    assert_eq!(watch.absent(), None);
}

#[test]
fn i6_a_watch_may_skip_progress_but_sees_it_within_a_tick() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let bell = Bell::new();
    let mut watch = store.watch(task.id());
    assert_eq!(item(&bell, &mut watch).done(), 0);
    for round in 1..=10 {
        assert_eq!(bell.next(&mut watch), Poll::Pending);
        // So many quiet ticks that the keeper does not sample the task any more, or fewer.
        (0..round % 6).for_each(|_| tick(&store, &clock));
        assert_eq!(bell.rung(), 0);
        for _ in 0..1_000 {
            task.advance(1).unwrap();
        }
        assert_eq!(bell.rung(), 0, "increments wake no waiter");
        tick(&store, &clock);
        assert_eq!(bell.rung(), 1, "round {round}");
        assert_eq!(item(&bell, &mut watch).done(), round * 1_000, "a thousand versions are one");
    }
}

#[test]
fn i5_a_retry_does_not_look_like_going_back() {
    let (store, _) = store(16);
    let mut task = running(&store);
    task.advance(100).unwrap();
    let bell = Bell::new();
    let mut watch = store.watch(task.id());
    let before = item(&bell, &mut watch);
    task.retry().unwrap();
    let after = item(&bell, &mut watch);
    assert_eq!((before.attempt(), before.done()), (1, 100));
    assert_eq!((after.attempt(), after.done()), (2, 0));
    assert!(after.version() > before.version());
}

// Regression: a stream was not registered between its first status and the next poll, so an end and a removal
// in between were not seen.
#[test]
fn i6_a_watch_never_skips_the_end_however_late_it_looks() {
    for polls in 0..3 {
        let (store, clock) = store(1);
        let mut task = running(&store);
        let id = task.id();
        let bell = Bell::new();
        let mut watch = store.watch(id);
        for _ in 0..polls {
            // The first poll returns the present status, the second leaves a waker.
            let _ = bell.next(&mut watch);
        }
        task.fail(FailureReason::Error, "the error").unwrap();
        let last = status(&store, &task);
        let _ = store.remove(id).unwrap();
        drop(task);
        tick(&store, &clock);
        let _next_tenant = running(&store);
        assert_eq!(store.get(id), None);
        assert_eq!(bell.rung(), usize::from(polls > 0));
        assert_eq!(item(&bell, &mut watch), last, "after {polls} polls");
        is_over(&bell, &mut watch);
        assert_eq!(watch.absent(), None);
        assert_eq!(bell.held(), 0);
    }
}

#[test]
fn i6_a_watch_of_what_has_ended_is_one_status_long() {
    let (store, _) = store(16);
    let task = ended(&store);
    let bell = Bell::new();
    let mut watch = store.watch(task.id());
    assert_eq!(item(&bell, &mut watch), status(&store, &task));
    is_over(&bell, &mut watch);
    // Even if the task was removed before the first poll.
    let mut watch = store.watch(task.id());
    let last = status(&store, &task);
    let _ = store.remove(task.id()).unwrap();
    assert_eq!(item(&bell, &mut watch), last);
    is_over(&bell, &mut watch);
}

#[test]
fn i6_a_watch_of_nothing_ends_and_says_why() {
    let (store, _) = store(16);
    let task = ended(&store);
    let _ = store.remove(task.id()).unwrap();
    let bell = Bell::new();
    for (id, why) in
        [(TaskId::from_u128(7), Absent::Unknown), (task.id(), Absent::Gone(Some(GoneReason::Removed)))]
    {
        let mut watch = store.watch(id);
        is_over(&bell, &mut watch);
        assert_eq!(watch.absent(), Some(why));
    }
}

#[test]
fn i7_a_watch_stays_with_its_task_when_the_clients_id_is_used_again() {
    let (store, _) = store(16);
    let id = TaskId::from_u128(0xABCD);
    let mut first = store.create(NewTask::new("test").id(id)).unwrap();
    let bell = Bell::new();
    let mut watch = store.watch(id);
    assert_eq!(item(&bell, &mut watch).state(), State::Pending);
    first.cancel().unwrap();
    let last = store.get(id).unwrap();
    let _ = store.remove(id).unwrap();
    let mut second = store.create(NewTask::new("test").id(id)).unwrap();
    second.start().unwrap();
    assert_eq!(item(&bell, &mut watch), last);
    is_over(&bell, &mut watch);
}

/// The first part of all versions of a task: it differs for each use of a client's id.
fn epoch(status: &Status) -> String {
    let version = status.version().to_string();
    version.split('-').next().map(str::to_owned).unwrap()
}

/// Reads the whole stream, and checks it. Returns how many statuses there were, and the last one.
async fn follow(watch: &mut Watch) -> (usize, Option<Status>) {
    let (mut seen, mut count) = (None::<Status>, 0);
    while let Some(status) = watch.next().await {
        if let Some(before) = seen {
            assert!(!before.is_terminal(), "there is a status after the end");
            assert!(status.version() > before.version(), "{before:?}, then {status:?}");
            assert_eq!(epoch(&status), epoch(&before), "that is another task");
        }
        (seen, count) = (Some(status), count + 1);
    }
    (count, seen)
}

#[test]
fn i5_i6_every_watch_sees_the_end_while_workers_work_and_tasks_go() {
    comes_to_an_end(|| {
        // Enough capacity for tasks that the keeper still holds: they are free at the next tick.
        let store = Store::builder().capacity(1_000).build().unwrap();
        for round in 0..1_000 {
            let mut task = pending(&store);
            let id = task.id();
            let watchers: Vec<_> = (0..2)
                .map(|_| {
                    let mut watch = store.watch(id);
                    thread::spawn(move || smol::block_on(follow(&mut watch)))
                })
                .collect();
            task.start().unwrap();
            (0..round % 7).for_each(|_| task.advance(1).unwrap());
            task.set_message("half way").unwrap();
            task.retry().unwrap();
            task.start().unwrap();
            (0..round % 11).for_each(|_| task.advance(1).unwrap());
            task.succeed(()).unwrap();
            let last = store.remove(id).unwrap();
            drop(task);
            for watcher in watchers {
                let (count, end) = watcher.join().unwrap();
                assert_eq!(end, Some(last));
                assert!(count <= 30, "more statuses than changes");
            }
        }
    });
}

/// A short life of the client's id `id`.
fn live(store: &Store, id: TaskId, life: u64) {
    let mut task = store.create(NewTask::new("test").id(id)).unwrap();
    task.start().unwrap();
    (0..life % 5).for_each(|_| task.advance(1).unwrap());
    task.set_message("at work").unwrap();
    task.succeed(()).unwrap();
    let _ = store.remove(id).unwrap();
}

#[test]
fn i5_i7_a_watch_stays_with_one_task_while_its_id_is_used_again_and_again() {
    comes_to_an_end(|| {
        let store = Store::builder().capacity(4_000).build().unwrap();
        let (start, is_over) = (Barrier::new(3), AtomicBool::new(false));
        let id = TaskId::from_u128(0xABCD);
        let mut first = store.create(NewTask::new("test").id(id)).unwrap();
        first.start().unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut watch = store.watch(id);
                    start.wait();
                    assert!(matches!(smol::block_on(follow(&mut watch)), (1.., Some(_))));
                    while !is_over.load(Ordering::Acquire) {
                        let mut watch = store.watch(id);
                        let (count, last) = smol::block_on(follow(&mut watch));
                        // Either the stream was empty, or it was followed to its end. (The first watch
                        // fails.)
                        assert_eq!(last.map(|last| last.is_terminal()), (count > 0).then_some(true));
                        assert_eq!(watch.absent().is_none(), count > 0);
                        let waited = store.wait_blocking(id);
                        assert!(waited.is_err() || waited.is_ok_and(|end| end.is_terminal()));
                    }
                });
            }
            start.wait();
            first.succeed(()).unwrap();
            let _ = store.remove(id).unwrap();
            (0..3_000).for_each(|life| live(&store, id, life));
            is_over.store(true, Ordering::Release);
        });
    });
}
