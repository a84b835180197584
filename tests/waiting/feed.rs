//! `changes`: the coalesced feed.

use std::collections::HashMap;
use std::sync::{Barrier, mpsc};
use std::task::Poll;
use std::thread;

use inflight::{
    Change, ChangeKind, Changes, Drained, FailureReason, Filter, GoneReason, ManualClock, NewTask, Retention,
    State, Status, Store, Task, TaskId, TooManyReaders, Version,
};

use crate::support::{Bell, builder, comes_to_an_end, ended, pending, running, status, store, tick};

/// All pending changes, of a reader that has not fallen behind.
fn drained(changes: &mut Changes) -> Vec<Change> {
    match changes.try_drain() {
        Drained::Changes(changes) => changes,
        Drained::Resync => panic!("the reader has not fallen behind"),
    }
}

/// The only pending change.
fn one(changes: &mut Changes) -> Change {
    let all = drained(changes);
    assert_eq!(all.len(), 1, "{all:?}");
    all[0]
}

#[test]
fn i8_a_drain_gives_each_changed_task_once_with_its_newest_status_and_what_became_of_it() {
    let (store, _) = store(16);
    let old = running(&store);
    let mut changes = store.changes().unwrap();
    assert_eq!(drained(&mut changes), [], "the reader starts where it subscribes");

    let mut task = pending(&store);
    let id = task.id();
    task.start().unwrap();
    task.advance(5).unwrap();
    let change = Change { status: status(&store, &task), kind: ChangeKind::New, is_new: true };
    assert_eq!(one(&mut changes), change);

    task.set_message("one").unwrap();
    task.set_message("two").unwrap();
    task.block().unwrap();
    let change = Change { status: status(&store, &task), kind: ChangeKind::Changed, is_new: false };
    assert_eq!(one(&mut changes), change);

    task.resume().unwrap();
    task.succeed(()).unwrap();
    let last = status(&store, &task);
    assert_eq!(one(&mut changes), Change { status: last, kind: ChangeKind::Ended, is_new: false });

    let _ = store.remove(id).unwrap();
    let gone = ChangeKind::Gone(GoneReason::Removed);
    assert_eq!(one(&mut changes), Change { status: last, kind: gone, is_new: false });
    assert_eq!(drained(&mut changes), []);

    // A whole life between two drains.
    let mut brief = running(&store);
    brief.fail(FailureReason::Error, ()).unwrap();
    let change = one(&mut changes);
    assert_eq!((change.kind, change.is_new), (ChangeKind::Ended, true));
    let mut brief = running(&store);
    brief.cancel().unwrap();
    let last = status(&store, &brief);
    let _ = store.remove(brief.id()).unwrap();
    assert_eq!(one(&mut changes), Change { status: last, kind: gone, is_new: true });
    drop(old);
    assert_eq!(one(&mut changes).kind, ChangeKind::Ended);
}

#[test]
fn i8_every_way_to_go_is_told() {
    let clock = ManualClock::new();
    let hour = std::time::Duration::from_secs(3_600);
    let retention = Retention::forever().failed_for(hour).at_most_cancelled(0);
    let store = builder(16, &clock).retain(retention).build().unwrap();
    let mut changes = store.changes().unwrap();
    let mut failed = pending(&store);
    failed.fail(FailureReason::Error, ()).unwrap();
    let mut cancelled = pending(&store);
    cancelled.cancel().unwrap();
    let mut removed = running(&store);
    removed.succeed(()).unwrap();
    assert_eq!(drained(&mut changes).len(), 3);
    let lasts: HashMap<TaskId, Status> =
        [&failed, &cancelled, &removed].map(|task| (task.id(), status(&store, task))).into();
    let _ = store.remove(removed.id()).unwrap();
    clock.advance(hour);
    store.tick();
    let gone: HashMap<TaskId, Change> =
        drained(&mut changes).into_iter().map(|change| (change.status.id(), change)).collect();
    assert_eq!(gone.len(), 3);
    for (task, why) in
        [(&failed, GoneReason::Expired), (&cancelled, GoneReason::Evicted), (&removed, GoneReason::Removed)]
    {
        assert_eq!(gone[&task.id()].kind, ChangeKind::Gone(why));
        assert_eq!(gone[&task.id()].status, lasts[&task.id()]);
    }
}

// Regression: the keeper's first sample of a task reported it even if nothing had changed since the
// transition.
#[test]
fn i8_what_was_told_is_not_told_again() {
    let (store, clock) = store(16);
    let mut changes = store.changes().unwrap();
    let mut task = pending(&store);
    let steps: [fn(&mut Task); 7] = [
        |task| task.start().unwrap(),
        |task| task.set_message("at work").unwrap(),
        |task| task.block().unwrap(),
        |task| task.resume().unwrap(),
        |task| task.retry().unwrap(),
        |task| task.start().unwrap(),
        |task| drop(task.succeed(())),
    ];
    one(&mut changes);
    for (number, step) in steps.into_iter().enumerate() {
        step(&mut task);
        one(&mut changes);
        let is_quiet = |changes: &mut Changes| {
            for _ in 0..3 {
                tick(&store, &clock);
                assert_eq!(drained(changes), [], "step {number}");
            }
        };
        is_quiet(&mut changes);
        if task.advance(1).is_ok() {
            tick(&store, &clock);
            one(&mut changes);
            is_quiet(&mut changes);
            // Progress that is reported with a transition is not reported again, either.
            task.advance(1).unwrap();
            task.set_message("further").unwrap();
            assert_eq!(one(&mut changes).status.done() % 2, 0);
            is_quiet(&mut changes);
        }
    }
}

#[test]
fn i8_what_a_lines_earlier_task_has_done_is_not_the_next_ones() {
    let (store, clock) = store(1);
    let mut changes = store.changes().unwrap();
    for done in [5, 5, 0, 5] {
        let mut task = pending(&store);
        let _watch = store.watch(task.id());
        let kinds = |changes: &mut Changes| -> Vec<ChangeKind> {
            drained(changes).iter().map(|change| change.kind).collect()
        };
        assert!(kinds(&mut changes).contains(&ChangeKind::New));
        tick(&store, &clock);
        assert_eq!(kinds(&mut changes), [], "a new task has done nothing");
        task.start().unwrap();
        one(&mut changes);
        task.advance(done).unwrap();
        tick(&store, &clock);
        assert_eq!(kinds(&mut changes).len(), usize::from(done > 0));
        task.succeed(()).unwrap();
        let _ = store.remove(task.id()).unwrap();
        drop(task);
        tick(&store, &clock);
    }
}

#[test]
fn i8_progress_is_told_at_the_next_tick_and_advance_wakes_no_reader() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let mut changes = store.changes().unwrap();
    tick(&store, &clock);
    drop(changes.try_drain());
    let bell = Bell::new();
    for round in 1..=3 {
        assert!(bell.poll(&mut changes.drain()).is_pending());
        let mut drain = changes.drain();
        assert!(bell.poll(&mut drain).is_pending());
        for _ in 0..10_000 {
            task.advance(1).unwrap();
        }
        assert_eq!(bell.rung(), 0);
        tick(&store, &clock);
        assert_eq!(bell.rung(), 1);
        let Poll::Ready(Drained::Changes(all)) = bell.poll(&mut drain) else { panic!("it has changed") };
        assert_eq!(all.len(), 1, "ten thousand increments are one change");
        assert_eq!(all[0].status.done(), round * 10_000);
    }
}

#[test]
fn i8_progress_that_was_silent_when_the_reader_came_is_told() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    task.advance(1).unwrap();
    let mut changes = store.changes().unwrap();
    let listed = store.list(&Filter::new()).unwrap().tasks[0].status();
    assert_eq!(listed.done(), 1);
    // The task was not observed when it noted its progress in this tick, so this progress is not noted …
    task.advance(1).unwrap();
    assert_eq!(drained(&mut changes), []);
    tick(&store, &clock);
    assert_eq!(one(&mut changes).status.done(), 2, "… and yet is seen");
}

#[test]
fn i8_a_million_updates_are_one_record_a_task_and_drain() {
    let (store, clock) = store(1_000);
    let mut changes = store.changes().unwrap();
    let mut tasks: Vec<Task> = (0..1_000).map(|_| running(&store)).collect();
    let mut records = 0;
    for _ in 0..10 {
        for _ in 0..100 {
            tasks.iter_mut().for_each(|task| task.advance(1).unwrap());
        }
        tick(&store, &clock);
        let all = drained(&mut changes);
        let of_task: HashMap<TaskId, Status> =
            all.iter().map(|change| (change.status.id(), change.status)).collect();
        assert_eq!((all.len(), of_task.len()), (1_000, 1_000));
        records += all.len();
    }
    assert_eq!(records, 10_000, "for 1,000,000 updates");
    // Only what changes is reported.
    tasks[7].advance(1).unwrap();
    tick(&store, &clock);
    assert_eq!(one(&mut changes).status.id(), tasks[7].id());
}

#[test]
fn i8_readers_are_independent() {
    let (store, _) = store(16);
    let mut early = store.changes().unwrap();
    let mut task = pending(&store);
    let mut late = store.changes().unwrap();
    let mut never = store.changes().unwrap();
    task.start().unwrap();
    assert_eq!(one(&mut early).kind, ChangeKind::New);
    assert_eq!(one(&mut late).kind, ChangeKind::Changed, "it was there when this reader subscribed");
    task.block().unwrap();
    assert_eq!(one(&mut early).kind, ChangeKind::Changed);
    drop(early);
    task.resume().unwrap();
    assert_eq!(one(&mut late).status.state(), State::Running);
    assert_eq!(one(&mut never).status.state(), State::Running);
}

#[test]
fn i8_a_blocking_an_async_and_a_try_form() {
    comes_to_an_end(|| {
        let (store, _) = store(16);
        let mut changes = store.changes().unwrap();
        assert_eq!(drained(&mut changes), []);
        let mut task = pending(&store);
        assert_eq!(one(&mut changes).kind, ChangeKind::New);
        task.start().unwrap();
        let Drained::Changes(all) = smol::block_on(changes.drain()) else {
            panic!("the reader has not fallen behind")
        };
        assert_eq!(all[0].status.state(), State::Running);

        // Whether the change comes before the wait or after it, the reader gets it.
        for _ in 0..1_000 {
            let reader = thread::spawn(move || {
                let Drained::Changes(all) = changes.drain_blocking() else {
                    panic!("the reader has not fallen behind")
                };
                assert_eq!(all.len(), 1);
                changes
            });
            task.set_message("another").unwrap();
            changes = reader.join().unwrap();
        }
    });
}

#[test]
fn i8_a_change_at_the_very_moment_of_looking_wakes_the_reader() {
    comes_to_an_end(|| {
        let (store, _) = store(16);
        let mut task = running(&store);
        let mut changes = store.changes().unwrap();
        let (tell, told) = mpsc::channel();
        let reader = thread::spawn(move || {
            loop {
                let Drained::Changes(all) = changes.drain_blocking() else {
                    panic!("the reader has not fallen behind")
                };
                let newest = all.iter().map(|change| change.status.version()).max();
                if tell.send(newest).is_err() {
                    return;
                }
            }
        });
        for _ in 0..20_000 {
            task.set_message("a change").unwrap();
            let now = status(&store, &task).version();
            // A change that is drained between the store of its word and its note is reported twice.
            while told.recv().unwrap() != Some(now) {}
        }
        drop(told);
        task.set_message("the last").unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn i8_a_blocking_drain_outlives_every_clone_of_the_store() {
    comes_to_an_end(|| {
        let (store, _) = store(16);
        let mut task = running(&store);
        let mut changes = store.changes().unwrap();
        drop(store);
        let reader = thread::spawn(move || changes.drain_blocking());
        task.succeed(()).unwrap();
        let Drained::Changes(all) = reader.join().unwrap() else {
            panic!("the reader has not fallen behind")
        };
        assert_eq!(all[0].kind, ChangeKind::Ended);
    });
}

#[test]
fn i8_a_drain_can_be_dropped_without_loss() {
    let (store, _) = store(16);
    let mut changes = store.changes().unwrap();
    let bell = Bell::new();
    let mut task = pending(&store);
    one(&mut changes);
    let mut drain = changes.drain();
    assert!(bell.poll(&mut drain).is_pending());
    assert_eq!(bell.held(), 1);
    task.start().unwrap();
    assert_eq!(bell.rung(), 1);
    drop(drain); // It was woken, but not polled.
    assert_eq!(bell.held(), 0);
    assert_eq!(one(&mut changes).status.state(), State::Running);

    let mut drain = changes.drain();
    assert!(bell.poll(&mut drain).is_pending());
    drop(drain);
    task.block().unwrap();
    assert_eq!((bell.rung(), bell.held()), (0, 0), "no reader sleeps");

    // Even if the future is forgotten: the next change, or the reader's end, drops its waker.
    drop(changes.try_drain());
    let mut drain = changes.drain();
    assert!(bell.poll(&mut drain).is_pending());
    std::mem::forget(drain);
    assert_eq!(bell.held(), 1);
    drop(changes);
    assert_eq!(bell.held(), 0);
}

#[test]
fn i8_a_reader_that_fell_behind_is_told_once_and_others_are_not() {
    let clock = ManualClock::new();
    let store = builder(10_000, &clock).feed_limit(160).build().unwrap();
    let mut slow = store.changes().unwrap();
    let mut quick = store.changes().unwrap();
    let mut tasks = Vec::new();
    for _ in 0..100 {
        tasks.extend((0..100).map(|_| pending(&store)));
        assert_eq!(drained(&mut quick).len(), 100);
    }
    let bell = Bell::new();
    assert!(matches!(bell.poll(&mut slow.drain()), Poll::Ready(Drained::Resync)));
    assert_eq!(drained(&mut slow), [], "reported once, and nothing is missing from here on");
    tasks[0].start().unwrap();
    assert_eq!(one(&mut slow).status.id(), tasks[0].id());
    assert_eq!(one(&mut quick).status.id(), tasks[0].id());
}

#[test]
fn i8_a_reader_that_sleeps_is_woken_for_a_resync_too() {
    let clock = ManualClock::new();
    let store = builder(64, &clock).feed_limit(1).build().unwrap();
    let mut changes = store.changes().unwrap();
    let bell = Bell::new();
    let mut drain = changes.drain();
    assert!(bell.poll(&mut drain).is_pending());
    let _tasks: Vec<Task> = (0..64).map(|_| pending(&store)).collect();
    assert_eq!(bell.rung(), 1);
    assert!(matches!(bell.poll(&mut drain), Poll::Ready(Drained::Resync)));
}

#[test]
fn i8_there_are_at_most_1024_readers() {
    let (store, _) = store(16);
    let mut readers: Vec<Changes> = (0..1_024).map(|_| store.changes().unwrap()).collect();
    let refused = store.changes().unwrap_err();
    assert_eq!(refused, TooManyReaders { limit: 1_024 });
    assert_eq!(refused.to_string(), "the change feed has 1024 readers, which is the limit");
    let task = pending(&store);
    readers.truncate(1_000);
    let mut again: Vec<Changes> = (0..24).map(|_| store.changes().unwrap()).collect();
    assert!(store.changes().is_err());
    drop(task);
    for reader in &mut readers {
        assert!(one(reader).is_new);
    }
    for reader in &mut again {
        let change = one(reader);
        assert_eq!((change.kind, change.is_new), (ChangeKind::Ended, false), "no cursor is inherited");
    }
}

#[test]
fn i8_a_clients_id_that_is_used_again_is_two_tasks_and_versions_tell_them_apart() {
    let (store, _) = store(16);
    let mut changes = store.changes().unwrap();
    let id = TaskId::from_u128(0xABCD);
    let mut first = store.create(NewTask::new("test").id(id)).unwrap();
    first.cancel().unwrap();
    let _ = store.remove(id).unwrap();
    let second = store.create(NewTask::new("test").id(id)).unwrap();
    let all = drained(&mut changes);
    assert_eq!(all.len(), 2);
    let newest = all.iter().max_by_key(|change| change.status.version()).unwrap();
    assert_eq!((newest.status, newest.kind), (status(&store, &second), ChangeKind::New));
}

/// A reader's view of the store, from lists and drains alone.
#[derive(Default)]
struct Mirror {
    tasks: HashMap<TaskId, Status>,
    gone: HashMap<TaskId, Status>,
    resyncs: usize,
}

impl Mirror {
    fn list(&mut self, store: &Store) {
        self.tasks.clear();
        let mut filter = Filter::new().page_size(1_000);
        loop {
            let page = store.list(&filter).unwrap();
            for details in page.tasks {
                self.see(details.status());
            }
            match page.next {
                Some(next) => filter = filter.after(next),
                None => break,
            }
        }
    }

    /// Its view, without the time of the last progress, which is recorded a moment after the progress.
    fn versions(&self) -> HashMap<TaskId, Version> {
        self.tasks.iter().map(|(id, status)| (*id, status.version())).collect()
    }

    fn see(&mut self, status: Status) {
        let before = self.tasks.insert(status.id(), status);
        assert!(before.is_none_or(|before| before.version() <= status.version()), "{before:?}, {status:?}");
    }

    fn take(&mut self, drained: Drained, store: &Store) {
        match drained {
            Drained::Resync => {
                self.resyncs += 1;
                self.list(store);
            }
            Drained::Changes(all) => {
                let once: HashMap<TaskId, ()> = all.iter().map(|change| (change.status.id(), ())).collect();
                assert_eq!(once.len(), all.len(), "a task came twice in one drain");
                for Change { status, kind, .. } in all {
                    if let ChangeKind::Gone(_) = kind {
                        assert!(status.is_terminal());
                        self.tasks.remove(&status.id());
                        self.gone.insert(status.id(), status);
                    } else {
                        assert_eq!(kind == ChangeKind::Ended, status.is_terminal());
                        self.see(status);
                    }
                }
            }
        }
    }
}

/// Mirrors the store until the last task, which has a total of [`LAST`], is seen. A slow reader pauses after
/// each drain.
fn mirror(store: &Store, start: &Barrier, pause: usize) -> Mirror {
    let mut changes = store.changes().unwrap();
    let mut mirror = Mirror::default();
    start.wait();
    mirror.list(store);
    while !mirror.tasks.values().any(|status| status.total() == Some(LAST)) {
        let drained = changes.drain_blocking();
        mirror.take(drained, store);
        (0..pause).for_each(|_| thread::yield_now());
    }
    let drained = changes.try_drain();
    mirror.take(drained, store);
    mirror
}

/// Creates tasks and works on them. In the end a third is live, a third has ended, and a third is removed.
fn work(store: &Store, start: &Barrier) -> Vec<Task> {
    start.wait();
    let work_on = |number| {
        let mut task = running(store);
        task.advance(1).unwrap();
        if number % 3 > 0 {
            task.succeed(()).unwrap();
        }
        if number % 3 > 1 {
            let _ = store.remove(task.id()).unwrap();
        }
        task
    };
    (0..TASKS).map(work_on).collect()
}

const WORKERS: usize = 2;
const TASKS: usize = 3_000;
const LAST: u64 = 999;

/// Workers work while readers mirror the store. Some readers fall behind; in the end all agree.
fn mirrors(feed_limit: usize, pauses: &'static [usize]) -> Vec<Mirror> {
    comes_to_an_end(move || {
        let builder = Store::builder().capacity(2 * WORKERS * TASKS).retain(Retention::forever());
        let store = builder.feed_limit(feed_limit).build().unwrap();
        let _before: Vec<Task> = (0..100).map(|_| running(&store)).collect();
        let start = Barrier::new(WORKERS + pauses.len());
        let (start, store) = (&start, &store);
        thread::scope(|scope| {
            let readers: Vec<_> =
                pauses.iter().map(|pause| scope.spawn(|| mirror(store, start, *pause))).collect();
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| work(store, start))).collect();
            let tasks: Vec<Task> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
            // All unreported progress is sampled by this tick; then the last task is created.
            store.tick();
            store.tick();
            let _last = store.create(NewTask::new("test").total(LAST)).unwrap();
            let mirrors: Vec<Mirror> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
            let mut truth = Mirror::default();
            truth.list(store);
            for mirror in &mirrors {
                assert_eq!(mirror.versions(), truth.versions());
                // A reader that listed again was not told of the tasks that were gone by then.
                let gone = tasks.iter().filter(|task| task.status().is_none());
                let untold = gone.filter(|task| !mirror.gone.contains_key(&task.id())).count();
                assert!(mirror.resyncs > 0 || untold == 0, "{untold} removals were lost");
            }
            drop(tasks);
            mirrors
        })
    })
}

#[test]
fn i8_the_feed_and_one_list_at_its_beginning_miss_nothing() {
    let mirrors = mirrors(1 << 18, &[0, 1_000]);
    assert!(mirrors.iter().all(|mirror| mirror.resyncs == 0));
}

#[test]
fn i8_after_a_resync_a_list_and_the_feed_miss_nothing() {
    let mirrors = mirrors(64, &[0, 2_000]);
    assert!(mirrors.iter().any(|mirror| mirror.resyncs > 0), "no reader fell behind");
}

#[test]
fn i8_a_task_that_ended_before_the_reader_came_is_not_told() {
    let (store, clock) = store(16);
    let _ended = ended(&store);
    let mut changes = store.changes().unwrap();
    for _ in 0..3 {
        tick(&store, &clock);
        assert_eq!(drained(&mut changes), []);
    }
}
