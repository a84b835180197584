//! The change feed: it loses nothing (I8).

use inflight::{
    Change, ChangeKind, Changes, Drained, Filter, GoneReason, NewTask, State, Status, Store, TaskId,
};
use loom::thread;

use super::models;
use crate::scene::{STEP, block_on, create, keeper, running, store, store_with, tick};

models![
    i8_a_drain_against_two_transitions,
    i8_a_drain_against_the_end,
    i8_a_drain_against_a_creation,
    i8_a_task_that_is_ended_while_it_is_created_is_told_as_new_first,
    i8_a_task_that_is_listed_and_ended_while_it_is_created_is_told_as_new_first,
    i8_a_task_that_is_removed_while_it_is_created_is_told_as_new_first,
    i8_a_new_task_that_is_gone_when_it_is_drained_is_told_as_new_later,
    i8_a_drain_against_a_removal,
    i8_a_drain_against_changes_of_two_tasks,
    i8_two_readers_drain,
    i8_a_new_reader_against_a_change,
    i8_a_new_reader_that_filters_against_a_change,
    i8_a_new_reader_against_a_creation,
    i8_a_removal_is_told_when_polls_find_nothing,
    i8_progress_after_a_message_against_a_drain,
    i8_a_new_reader_against_the_end_and_the_removal,
    i8_a_reader_that_leaves_against_a_change,
    i8_a_reader_that_lags_is_told,
    i8_a_sleeping_reader_is_woken,
    i8_a_sleeping_reader_is_woken_by_a_removal,
    i8_silent_progress_against_a_tick,
    i8_a_new_reader_against_silent_progress,
    i8_a_new_reader_and_its_tick_against_progress large,
];

fn changed(drained: Drained) -> Vec<Change> {
    match drained {
        Drained::Changes(changes) => changes,
        Drained::Resync => panic!("it did not fall behind"),
    }
}

/// What one reader was told of one task: each drain tells once, and never goes back.
fn told_of(id: TaskId, drains: &[Vec<Change>]) -> Vec<Change> {
    let of_task = |drain: &Vec<Change>| {
        let mut changes = drain.iter().filter(|change| change.status.id() == id);
        let change = changes.next().copied();
        assert!(changes.next().is_none(), "twice in one drain");
        change
    };
    let told: Vec<Change> = drains.iter().filter_map(of_task).collect();
    assert!(told.is_sorted_by_key(|change| change.status.version()), "{told:?}");
    told
}

fn drains_twice(mut changes: Changes) -> thread::JoinHandle<(Changes, Vec<Vec<Change>>)> {
    thread::spawn(move || {
        let drains = [(); 2].map(|()| changed(changes.try_drain())).into();
        (changes, drains)
    })
}

/// I8. A reader drains while a task is started and blocked: it learns of the last state.
fn i8_a_drain_against_two_transitions() {
    let (store, _clock) = store(1);
    let mut task = create(&store);
    let reader = drains_twice(store.changes().unwrap());
    task.start().unwrap();
    task.block().unwrap();
    let (mut changes, mut drains) = reader.join().unwrap();
    drains.push(changed(changes.try_drain()));
    let told = told_of(task.id(), &drains);
    assert_eq!(told.last().map(|change| change.status), task.status());
}

/// I8. A reader drains while a task makes progress and ends, and another handle adds: the end is told.
fn i8_a_drain_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let reader = drains_twice(store.changes().unwrap());
    let adder = {
        let task = task.clone();
        thread::spawn(move || task.advance(1).is_ok())
    };
    task.succeed(()).unwrap();
    adder.join().unwrap();
    let (mut changes, mut drains) = reader.join().unwrap();
    drains.push(changed(changes.try_drain()));
    let told = told_of(task.id(), &drains);
    let last = told.last().unwrap();
    assert_eq!((Some(last.status), last.kind), (task.status(), ChangeKind::Ended));
}

/// I8. A reader drains while a task is created and started: it is new once.
fn i8_a_drain_against_a_creation() {
    let (store, _clock) = store(1);
    let reader = drains_twice(store.changes().unwrap());
    let task = running(&store);
    let (mut changes, mut drains) = reader.join().unwrap();
    drains.push(changed(changes.try_drain()));
    let told = told_of(task.id(), &drains);
    let new: Vec<bool> = told.iter().map(|change| change.is_new).collect();
    assert!(matches!(new[..], [true] | [true, false]), "{told:?}");
    assert_eq!(told.last().map(|change| change.status), task.status());
}

/// An id that its client knows before the task is created.
const KNOWN: TaskId = TaskId::from_u128(7);

fn create_known(store: &Store) -> inflight::Task {
    store.create(NewTask::new("known").id(KNOWN)).unwrap()
}

/// What was told of a task is that it is new, and then that it is not.
fn is_new_first(told: &[Change]) -> bool {
    told.iter().map(|change| change.is_new).eq((0..told.len()).map(|nth| nth == 0))
}

/// I8. A client that knew the id beforehand cancels the task as soon as it can be found: the feed tells of
/// a new task first.
fn i8_a_task_that_is_ended_while_it_is_created_is_told_as_new_first() {
    let (store, _clock) = store(1);
    let mut changes = store.changes().unwrap();
    let client = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.cancel(KNOWN);
            let drained = changed(changes.try_drain());
            (changes, drained)
        })
    };
    let task = create_known(&store);
    let (mut changes, first) = client.join().unwrap();
    let told = told_of(KNOWN, &[first, changed(changes.try_drain())]);
    assert!(is_new_first(&told), "{told:?}");
    assert_eq!(told.last().map(|change| change.status), task.status());
}

/// I8. The same of a minted id, which is found on a list.
fn i8_a_task_that_is_listed_and_ended_while_it_is_created_is_told_as_new_first() {
    let (store, _clock) = store(1);
    let mut changes = store.changes().unwrap();
    let client = {
        let store = store.clone();
        thread::spawn(move || {
            let page = store.list(&Filter::new()).unwrap();
            let cancelled = page.tasks.first().map(|task| store.cancel(task.status().id()).unwrap());
            let drained = changed(changes.try_drain());
            (changes, cancelled, drained)
        })
    };
    let task = create(&store);
    let (mut changes, cancelled, first) = client.join().unwrap();
    let told = told_of(task.id(), &[first, changed(changes.try_drain())]);
    assert!(is_new_first(&told), "{cancelled:?} {told:?}");
    assert_eq!(told.last().map(|change| change.status), task.status());
}

/// I8. It is cancelled and removed as soon as it can be found: the feed tells of a new task first, and of
/// the removal last.
fn i8_a_task_that_is_removed_while_it_is_created_is_told_as_new_first() {
    let (store, _clock) = store(1);
    let mut changes = store.changes().unwrap();
    let client = {
        let store = store.clone();
        thread::spawn(move || {
            let is_removed = store.cancel(KNOWN).is_ok() && store.remove(KNOWN).is_ok();
            let drained = changed(changes.try_drain());
            (changes, is_removed, drained)
        })
    };
    let _task = create_known(&store);
    let (mut changes, is_removed, first) = client.join().unwrap();
    let told = told_of(KNOWN, &[first, changed(changes.try_drain())]);
    assert!(is_new_first(&told), "{told:?}");
    let is_gone = matches!(told.last().map(|change| change.kind), Some(ChangeKind::Gone(_)));
    assert_eq!(is_gone, is_removed, "{told:?}");
}

/// I8. A reader drains while a new task of which it was not told ends and is removed: the first that it is
/// told of it is that it is new.
fn i8_a_new_task_that_is_gone_when_it_is_drained_is_told_as_new_later() {
    let (store, _clock) = store(1);
    let changes = store.changes().unwrap();
    let mut task = running(&store);
    task.succeed(()).unwrap();
    let reader = drains_twice(changes);
    let last = store.remove(task.id()).unwrap();
    let (mut changes, mut drains) = reader.join().unwrap();
    drains.push(changed(changes.try_drain()));
    let told = told_of(last.id(), &drains);
    assert!(is_new_first(&told), "{told:?}");
    assert!(matches!(told.last().map(|change| change.kind), Some(ChangeKind::Gone(_))), "{told:?}");
}

/// I8. A reader drains while a task ends and is removed, and its line used again: the removal is told
/// last, with the last status.
fn i8_a_drain_against_a_removal() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let reader = drains_twice(store.changes().unwrap());
    task.succeed(()).unwrap();
    let last = store.remove(task.id()).unwrap();
    drop(task);
    let second = create(&store);
    let (mut changes, mut drains) = reader.join().unwrap();
    drains.push(changed(changes.try_drain()));
    let told = told_of(last.id(), &drains);
    let gone = Change { status: last, kind: ChangeKind::Gone(GoneReason::Removed), is_new: false };
    assert_eq!(told.last(), Some(&gone));
    assert_eq!(told_of(second.id(), &drains).last().map(|change| change.status), second.status());
}

/// I8. A reader drains while two workers change two tasks.
fn i8_a_drain_against_changes_of_two_tasks() {
    let (store, _clock) = store(2);
    let (mut one, mut two) = (running(&store), running(&store));
    let mut changes = store.changes().unwrap();
    let other = thread::spawn(move || {
        two.block().unwrap();
        two
    });
    let reader = thread::spawn(move || {
        let drained = changed(changes.try_drain());
        (changes, drained)
    });
    one.block().unwrap();
    let two = other.join().unwrap();
    let (mut changes, first) = reader.join().unwrap();
    let drains = [first, changed(changes.try_drain())];
    for task in [&one, &two] {
        let told = told_of(task.id(), &drains);
        assert_eq!(told.iter().map(|change| Some(change.status)).collect::<Vec<_>>(), [task.status()]);
    }
}

/// I8. Two readers drain while a task is blocked: each is told, on its own.
fn i8_two_readers_drain() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let readers = [(); 2].map(|()| {
        let mut changes = store.changes().unwrap();
        thread::spawn(move || {
            let drained = changed(changes.try_drain());
            (changes, drained)
        })
    });
    task.block().unwrap();
    for reader in readers {
        let (mut changes, first) = reader.join().unwrap();
        let told = told_of(task.id(), &[first, changed(changes.try_drain())]);
        assert_eq!(told.iter().map(|change| Some(change.status)).collect::<Vec<_>>(), [task.status()]);
    }
}

/// Subscribes, lists, and drains later.
fn subscribes(store: &Store) -> thread::JoinHandle<(Changes, Vec<Status>)> {
    let store = store.clone();
    thread::spawn(move || {
        let changes = store.changes().unwrap();
        let page = store.list(&Filter::new()).unwrap();
        (changes, page.tasks.iter().map(inflight::Details::status).collect())
    })
}

/// I8. Somebody subscribes and lists while a task is blocked and resumed: what the list has not seen, the
/// feed tells.
fn i8_a_new_reader_against_a_change() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let reader = subscribes(&store);
    task.block().unwrap();
    task.resume().unwrap();
    let (mut changes, listed) = reader.join().unwrap();
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    let newest = told.iter().map(|change| change.status).chain(listed).max_by_key(Status::version);
    assert_eq!(newest, task.status());
}

/// I8. Somebody subscribes and lists what is blocked while a task is blocked: it is on the list, or the feed
/// tells.
fn i8_a_new_reader_that_filters_against_a_change() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let reader = {
        let store = store.clone();
        thread::spawn(move || {
            let changes = store.changes().unwrap();
            let page = store.list(&Filter::new().state(State::Blocked)).unwrap();
            (changes, page.tasks.len())
        })
    };
    task.block().unwrap();
    let (mut changes, listed) = reader.join().unwrap();
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    assert!(listed == 1 || told.last().map(|change| change.status) == task.status(), "{told:?}");
}

/// I8. Somebody is told by the feed that a task is gone: then no poll finds it.
fn i8_a_removal_is_told_when_polls_find_nothing() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    task.succeed(()).unwrap();
    let id = task.id();
    let mut changes = store.changes().unwrap();
    let reader = {
        let store = store.clone();
        thread::spawn(move || {
            let drained = changed(changes.try_drain());
            let is_gone = drained.iter().any(|change| matches!(change.kind, ChangeKind::Gone(_)));
            assert!(!is_gone || store.get(id).is_none(), "{drained:?}");
        })
    };
    let _ = store.remove(id).unwrap();
    reader.join().unwrap();
}

/// I8. A worker sets a message and then makes silent progress, since the message has noted the time, while a
/// reader drains: two ticks later the feed has told of the progress.
fn i8_progress_after_a_message_against_a_drain() {
    let (store, clock) = store(1);
    let task = running(&store).share();
    let mut changes = store.changes().unwrap();
    // The keeper lets go of what is quiet.
    for _ in 0..3 {
        clock.advance(STEP);
        store.tick();
    }
    clock.advance(STEP);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.set_message("hello").unwrap();
        task.set_done(1).unwrap();
        task
    });
    let first = changed(changes.try_drain());
    let task = worker.join().unwrap();
    (0..2).for_each(|_| store.tick());
    let told = told_of(id, &[first, changed(changes.try_drain())]);
    assert_eq!(told.last().map(|change| change.status), task.status());
}

/// I8. Somebody subscribes and lists while a task is created.
fn i8_a_new_reader_against_a_creation() {
    let (store, _clock) = store(1);
    let reader = subscribes(&store);
    let task = create(&store);
    let (mut changes, listed) = reader.join().unwrap();
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    let seen: Vec<Status> = told.iter().map(|change| change.status).chain(listed).collect();
    assert!(seen.contains(&task.status().unwrap()), "{seen:?}");
}

/// I8. Somebody subscribes and lists while a task ends and is removed: who has seen it on the list learns
/// that it is gone.
fn i8_a_new_reader_against_the_end_and_the_removal() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let reader = subscribes(&store);
    task.succeed(()).unwrap();
    let _ = store.remove(task.id()).unwrap();
    let (mut changes, listed) = reader.join().unwrap();
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    let gone = told.iter().any(|change| matches!(change.kind, ChangeKind::Gone(_)));
    assert!(listed.is_empty() || gone, "{listed:?} {told:?}");
}

/// I8. A reader leaves while a task is blocked: the other is told all the same.
fn i8_a_reader_that_leaves_against_a_change() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let leaving = store.changes().unwrap();
    let mut staying = store.changes().unwrap();
    let other = thread::spawn(move || drop(leaving));
    task.block().unwrap();
    other.join().unwrap();
    let told = told_of(task.id(), &[changed(staying.try_drain())]);
    assert_eq!(told.iter().map(|change| Some(change.status)).collect::<Vec<_>>(), [task.status()]);
}

/// I8. Two tasks change while a reader for whom one is kept drains: it has been told of both, or that it
/// is to look for itself, once.
fn i8_a_reader_that_lags_is_told() {
    let (store, _clock) = store_with(|builder| builder.capacity(2).feed_limit(1));
    let (mut one, mut two) = (running(&store), running(&store));
    let mut changes = store.changes().unwrap();
    let reader = thread::spawn(move || {
        let first = changes.try_drain();
        (changes, first)
    });
    let other = thread::spawn(move || {
        two.block().unwrap();
        two
    });
    one.block().unwrap();
    let two = other.join().unwrap();
    let (mut changes, first) = reader.join().unwrap();
    let drains = [first, changes.try_drain()];
    let resyncs = drains.iter().filter(|drained| matches!(drained, Drained::Resync)).count();
    let told = |id| {
        let has = |drained: &Drained| match drained {
            Drained::Changes(changes) => changes.iter().any(|change| change.status.id() == id),
            Drained::Resync => false,
        };
        drains.iter().any(has)
    };
    assert!(resyncs == 1 || (resyncs == 0 && told(one.id()) && told(two.id())));
    assert!(changed(changes.try_drain()).is_empty());
}

/// I8, I6. A reader sleeps until there is something to drain: if it were not woken, or too early, it
/// would sleep for ever.
fn i8_a_sleeping_reader_is_woken() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let mut changes = store.changes().unwrap();
    let reader = thread::spawn(move || changed(block_on(changes.drain())));
    task.block().unwrap();
    let told = told_of(task.id(), &[reader.join().unwrap()]);
    assert_eq!(told.iter().map(|change| Some(change.status)).collect::<Vec<_>>(), [task.status()]);
}

/// I8, I6. As above, while the task ends and is removed: the reader goes on until it knows that.
fn i8_a_sleeping_reader_is_woken_by_a_removal() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let mut changes = store.changes().unwrap();
    let reader = thread::spawn(move || {
        loop {
            let drained = changed(block_on(changes.drain()));
            if drained.iter().any(|change| matches!(change.kind, ChangeKind::Gone(_))) {
                return;
            }
        }
    });
    task.succeed(()).unwrap();
    let _ = store.remove(task.id()).unwrap();
    reader.join().unwrap();
}

/// I8. The store–load race of sampled progress: the feed tells of it at the tick after.
fn i8_silent_progress_against_a_tick() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let mut changes = store.changes().unwrap();
    task.advance(1).unwrap();
    let keeper = keeper(&store, &clock);
    task.advance(1).unwrap();
    keeper.join().unwrap();
    tick(&store, &clock);
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    assert_eq!(told.last().map(|change| change.status.done()), Some(2));
}

/// I8. Somebody subscribes while a task makes progress that was noted in this tick, when nobody read: the
/// feed tells of it, or the list has it.
fn i8_a_new_reader_against_silent_progress() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    tick(&store, &clock);
    task.advance(1).unwrap();
    let reader = subscribes(&store);
    task.advance(1).unwrap();
    let (mut changes, listed) = reader.join().unwrap();
    tick(&store, &clock);
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    let newest = told.iter().map(|change| change.status).chain(listed).max_by_key(Status::version);
    assert_eq!(newest.map(|status| status.done()), Some(2));
    assert!(store.create(NewTask::new("one too many")).is_err());
}

/// I8. The store–load race of the first reader: the worker notes the time and then finds that nobody reads,
/// while the reader counts itself and the keeper then finds an old time on the line. Each may miss the other.
fn i8_a_new_reader_and_its_tick_against_progress() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    tick(&store, &clock);
    clock.advance(STEP);
    let reader = {
        let store = store.clone();
        thread::spawn(move || {
            let changes = store.changes().unwrap();
            let page = store.list(&Filter::new()).unwrap();
            store.tick();
            store.tick();
            (changes, page.tasks.iter().map(inflight::Details::status).collect::<Vec<_>>())
        })
    };
    task.advance(1).unwrap();
    task.advance(1).unwrap();
    let (mut changes, listed) = reader.join().unwrap();
    tick(&store, &clock);
    let told = told_of(task.id(), &[changed(changes.try_drain())]);
    let newest = told.iter().map(|change| change.status).chain(listed).max_by_key(Status::version);
    assert_eq!(newest.map(|status| status.done()), Some(2));
}
