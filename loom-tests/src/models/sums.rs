//! Counts and sums (I12), and retention (I9).

use inflight::{CreateError, NewTask, Retention, State, Store, Task, TaskId};
use loom::thread;

use super::models;
use crate::scene::{STEP, create, keeper, running, store, store_with, tick};

models![
    i12_counts_after_transitions_of_two_tasks,
    i12_a_parents_sums_after_transitions_of_two_children,
    i12_a_childs_progress_against_a_tick,
    i12_a_childs_progress_against_the_tick_that_lets_go,
    i12_a_childs_end_against_a_sample,
    i12_a_childs_retry_against_a_sample,
    i12_a_new_child_against_the_end_of_its_parent,
    i12_a_task_that_is_cancelled_while_it_is_created_is_counted_and_listed,
    i12_sums_and_counts_are_there_with_the_end,
    i12_two_first_children,
    i9_eviction_against_a_life,
    i9_expiry_against_a_create,
    i9_two_ticks_at_once,
    i9_a_list_against_a_creation_and_a_removal,
    i9_a_list_by_single_pages_after_two_creations,
    i9_what_was_done_before_the_time_is_seen_with_it,
];

/// I12. Two tasks are started and ended at once, and a third thread reads the counts: afterwards they
/// are exact.
fn i12_counts_after_transitions_of_two_tasks() {
    let (store, _clock) = store(2);
    let workers = [(); 2].map(|()| {
        let mut task = create(&store);
        thread::spawn(move || {
            task.start().unwrap();
            task
        })
    });
    assert!(store.counts().total() <= 4);
    let [mut one, two] = workers.map(|worker| worker.join().unwrap());
    one.succeed(()).unwrap();
    let counts = store.counts();
    assert_eq!((counts.of(State::Running), counts.of(State::Succeeded), counts.total()), (1, 1, 2));
    drop(two);
}

fn child(store: &Store, parent: TaskId) -> Task {
    let mut child = store.create(NewTask::new("child").parent(parent).total(10)).unwrap();
    child.start().unwrap();
    child
}

/// I12. Two children end at once: the parent's sums are exact.
fn i12_a_parents_sums_after_transitions_of_two_children() {
    let (store, _clock) = store(3);
    let parent = create(&store);
    let children = [1, 2].map(|count| {
        let mut child = child(&store, parent.id());
        thread::spawn(move || {
            child.advance(count).unwrap();
            child.succeed(()).unwrap();
        })
    });
    let _: [(); 2] = children.map(|child| child.join().unwrap());
    let sums = store.children(parent.id()).unwrap();
    assert_eq!((sums.done(), sums.total(), sums.in_state(State::Succeeded)), (3, Some(20), 2));
    assert_eq!(sums.count(), 2);
}

/// I12. The store–load race of sampled progress, as a parent sees it.
fn i12_a_childs_progress_against_a_tick() {
    let (store, clock) = store(2);
    let parent = create(&store);
    let mut child = child(&store, parent.id());
    child.advance(1).unwrap();
    let keeper = keeper(&store, &clock);
    child.advance(1).unwrap();
    keeper.join().unwrap();
    tick(&store, &clock);
    assert_eq!(store.children(parent.id()).unwrap().done(), 2);
}

/// I12. The keeper lets go of a quiet child while it makes progress, twice.
fn i12_a_childs_progress_against_the_tick_that_lets_go() {
    let (store, clock) = store(2);
    let parent = create(&store);
    let mut child = child(&store, parent.id());
    child.advance(1).unwrap();
    tick(&store, &clock);
    let keeper = keeper(&store, &clock);
    child.advance(1).unwrap();
    child.advance(1).unwrap();
    keeper.join().unwrap();
    tick(&store, &clock);
    assert_eq!(store.children(parent.id()).unwrap().done(), 3);
}

/// I12. A child ends while it is sampled: what it did is counted once.
fn i12_a_childs_end_against_a_sample() {
    let (store, clock) = store(2);
    let parent = create(&store);
    let mut child = child(&store, parent.id());
    child.advance(1).unwrap();
    let keeper = keeper(&store, &clock);
    child.advance(2).unwrap();
    child.succeed(()).unwrap();
    keeper.join().unwrap();
    tick(&store, &clock);
    let sums = store.children(parent.id()).unwrap();
    assert_eq!((sums.done(), sums.live(), sums.in_state(State::Succeeded)), (3, 0, 1));
}

/// I12. A child is retried while it is sampled: what its first attempt did is not counted.
fn i12_a_childs_retry_against_a_sample() {
    let (store, clock) = store(2);
    let parent = create(&store);
    let mut child = child(&store, parent.id());
    child.advance(1).unwrap();
    let keeper = keeper(&store, &clock);
    child.retry().unwrap();
    keeper.join().unwrap();
    tick(&store, &clock);
    let sums = store.children(parent.id()).unwrap();
    assert_eq!((sums.done(), sums.in_state(State::Pending), sums.count()), (0, 1, 1));
}

/// I12. A child is created while its parent ends: it is refused, or counts.
fn i12_a_new_child_against_the_end_of_its_parent() {
    let (store, _clock) = store(2);
    let mut parent = running(&store);
    let id = parent.id();
    let creator = {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("child").parent(id)))
    };
    parent.succeed(()).unwrap();
    let child = creator.join().unwrap();
    let sums = store.children(id).unwrap();
    match child {
        Ok(_) => assert_eq!(sums.in_state(State::Pending), 1),
        Err(CreateError::ParentEnded(status)) => {
            assert_eq!((Some(status), sums.count()), (parent.status(), 0));
        }
        Err(why) => panic!("{why}"),
    }
    assert_eq!(store.counts().total(), store.counts().live() + 1);
}

/// I12. A client that knew the id beforehand cancels a task as soon as it can be found: by then the task is
/// counted, in the sums of its parent too, and on lists.
fn i12_a_task_that_is_cancelled_while_it_is_created_is_counted_and_listed() {
    let id = TaskId::from_u128(7);
    let (store, _clock) = store(2);
    let parent = create(&store);
    let client = {
        let (store, parent) = (store.clone(), parent.id());
        thread::spawn(move || {
            let is_cancelled = store.cancel(id).is_ok();
            let page = store.list(&inflight::Filter::new()).unwrap();
            (is_cancelled, store.counts(), store.children(parent).unwrap(), page.tasks.len())
        })
    };
    let _child = store.create(NewTask::new("child").id(id).parent(parent.id())).unwrap();
    let (is_cancelled, counts, children, listed) = client.join().unwrap();
    if is_cancelled {
        assert_eq!((counts.of(State::Pending), counts.of(State::Cancelled), listed), (1, 1, 2));
        assert_eq!((children.count(), children.in_state(State::Cancelled)), (1, 1));
    }
}

/// I12. Whoever sees that a child has ended sees it in its parent's sums, and in the counts.
fn i12_sums_and_counts_are_there_with_the_end() {
    let (store, _clock) = store(2);
    let parent = create(&store);
    let mut child = child(&store, parent.id());
    let id = child.id();
    let poller = {
        let (store, parent) = (store.clone(), parent.id());
        thread::spawn(move || {
            if store.get(id).unwrap().is_terminal() {
                let children = store.children(parent).unwrap();
                assert_eq!((children.in_state(State::Succeeded), children.done()), (1, 3));
                assert_eq!(store.counts().of(State::Succeeded), 1);
            }
        })
    };
    child.advance(3).unwrap();
    child.succeed(()).unwrap();
    poller.join().unwrap();
}

/// I12. A parent's first two children are created at once: both count.
fn i12_two_first_children() {
    let (store, _clock) = store(3);
    let parent = create(&store);
    let id = parent.id();
    let other = {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("other").parent(id)).unwrap())
    };
    let mine = store.create(NewTask::new("mine").parent(id)).unwrap();
    let other = other.join().unwrap();
    assert_eq!(store.children(id).unwrap().in_state(State::Pending), 2);
    drop((mine, other));
}

/// I9. Tasks above the count are evicted while another task lives and ends: the living one is not
/// touched, and the oldest goes first.
fn i9_eviction_against_a_life() {
    let keep = Retention::forever().at_most_succeeded(1);
    let (store, _clock) = store_with(|builder| builder.capacity(3).retain(keep));
    let ended = [(); 2].map(|()| {
        let mut task = running(&store);
        task.succeed(()).unwrap();
        task.id()
    });
    let mut task = running(&store);
    let keeper = {
        let store = store.clone();
        thread::spawn(move || store.tick())
    };
    task.advance(1).unwrap();
    task.succeed(()).unwrap();
    keeper.join().unwrap();
    assert_eq!(store.get(ended[0]), None);
    assert_eq!(task.status().unwrap().done(), 1);
    store.tick();
    assert_eq!((store.get(ended[1]), store.counts().total()), (None, 1));
}

/// I9, I7. A full store's terminal task expires while somebody creates: it is refused, or gets the line.
fn i9_expiry_against_a_create() {
    let keep = Retention::forever().succeeded_for(STEP);
    let (store, clock) = store_with(|builder| builder.capacity(1).retain(keep));
    let mut task = running(&store);
    task.succeed(()).unwrap();
    let id = task.id();
    drop(task);
    clock.advance(STEP);
    let keeper = {
        let store = store.clone();
        thread::spawn(move || store.tick())
    };
    let created = store.create(NewTask::new("next"));
    keeper.join().unwrap();
    assert_eq!(store.get(id), None);
    match created {
        Ok(task) => assert_eq!(task.status().unwrap().state(), State::Pending),
        Err(why) => {
            assert_eq!(why, CreateError::Full { capacity: 1 });
            assert!(store.create(NewTask::new("again")).is_ok());
        }
    }
}

/// I9. Two tick at once, while a task ends: a task expires once, and nothing else does.
fn i9_two_ticks_at_once() {
    let keep = Retention::forever().succeeded_for(STEP);
    let (store, clock) = store_with(|builder| builder.capacity(2).retain(keep));
    let mut old = running(&store);
    old.succeed(()).unwrap();
    clock.advance(STEP);
    let mut task = running(&store);
    let keeper = {
        let store = store.clone();
        thread::spawn(move || store.tick())
    };
    task.succeed(()).unwrap();
    store.tick();
    keeper.join().unwrap();
    assert_eq!((old.status(), store.counts().total()), (None, 1));
    assert_eq!(task.status().unwrap().state(), State::Succeeded);
}

/// I9. Two tasks are created at once. Afterwards a list whose pages have one task each has both.
fn i9_a_list_by_single_pages_after_two_creations() {
    let (store, _clock) = store(2);
    let creator = {
        let store = store.clone();
        thread::spawn(move || create(&store))
    };
    let one = create(&store);
    let other = creator.join().unwrap();
    let mut filter = inflight::Filter::new().page_size(1);
    let mut listed = Vec::new();
    loop {
        let page = store.list(&filter).unwrap();
        listed.extend(page.tasks.iter().map(|task| task.status().id()));
        let Some(next) = page.next else { break };
        filter = filter.after(next);
    }
    assert!(listed == [one.id(), other.id()] || listed == [other.id(), one.id()], "{listed:?}");
}

/// I9. A list races with a creation and a removal: the task that is there all the time is on it once.
fn i9_a_list_against_a_creation_and_a_removal() {
    let (store, _clock) = store(3);
    let staying = create(&store);
    let mut leaving = running(&store);
    leaving.succeed(()).unwrap();
    let creator = {
        let store = store.clone();
        thread::spawn(move || create(&store))
    };
    let remover = {
        let (store, id) = (store.clone(), leaving.id());
        thread::spawn(move || store.remove(id).unwrap())
    };
    let page = store.list(&inflight::Filter::new()).unwrap();
    let times = page.tasks.iter().filter(|details| details.status().id() == staying.id()).count();
    assert_eq!((times, page.next.is_none()), (1, true));
    drop((creator.join().unwrap(), remover.join().unwrap()));
}

/// I9. Time is an argument: whoever is told the new time by the hand-set clock also sees what was done
/// before it was set, so that what is due by that time is due after what was done.
fn i9_what_was_done_before_the_time_is_seen_with_it() {
    let (store, clock) = store(2);
    let task = running(&store).share();
    let (id, before) = (task.id(), task.status().unwrap().created_at());
    let worker = thread::spawn(move || {
        task.advance(1).unwrap();
        clock.advance(STEP);
        task
    });
    let other = {
        let store = store.clone();
        thread::spawn(move || (create(&store), store.get(id).unwrap().done()))
    };
    drop(worker.join().unwrap());
    let (later, done) = other.join().unwrap();
    assert!(later.status().unwrap().created_at() == before || done == 1);
}
