//! Lines and ids that are used again (I7), and what is told of those who went (I11).

use inflight::{Absent, CreateError, Finish, GoneReason, NewTask, State, Store, Task};
use loom::thread;

use super::models;
use crate::scene::{STEP, create, running, store};

models![
    i7_a_stale_poll_against_a_new_tenant,
    i7_a_stale_poll_against_reuse large,
    i7_a_stale_poll_against_what_is_told_of_the_next_tenant large,
    i7_a_stale_poll_across_the_end_and_reuse large,
    i7_a_stale_wait_against_reuse large,
    i7_two_creates_for_the_last_line,
    i7_two_creates_and_a_line_that_comes_free,
    i7_a_line_is_taken_while_a_handle_holds_it,
    i7_two_let_go_of_a_line,
    i7_two_remove_a_task,
    i11_a_lookup_against_a_removal,
    i11_a_stale_lookup_against_reuse large,
];

fn ended(store: &Store) -> Task {
    let mut task = running(store);
    task.advance(7).unwrap();
    task.succeed("first").unwrap();
    task
}

/// I7. A terminal task is polled while it is removed and another is created on its line: the stale id
/// finds the first task as it was, or nothing.
fn i7_a_stale_poll_against_a_new_tenant() {
    let (store, clock) = store(1);
    let task = ended(&store);
    let (id, last) = (task.id(), task.status().unwrap());
    clock.advance(STEP);
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(id).unwrap();
            drop(task);
            store.create(NewTask::new("second").total(90)).unwrap()
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(id))
    };
    let second = worker.join().unwrap();
    assert!(poller.join().unwrap().is_none_or(|status| status == last));
    drop(second);
}

/// I7. A terminal task is polled while it is removed and its next tenant is cancelled at once: the
/// stale id finds the first task as it was, or nothing.
fn i7_a_stale_poll_against_reuse() {
    let (store, clock) = store(1);
    let task = ended(&store);
    let (id, last) = (task.id(), task.status().unwrap());
    clock.advance(STEP);
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(id).unwrap();
            drop(task);
            let second = create(&store);
            let _ = store.cancel(second.id()).unwrap();
            second
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(id))
    };
    let second = worker.join().unwrap();
    assert!(poller.join().unwrap().is_none_or(|status| status == last));
    assert_eq!(second.status().unwrap().done(), 0);
    assert_eq!(store.get(id), None);
}

/// I7. A terminal task is polled while the next tenant of its line works and says so: what those who
/// observe that one were told is kept where a terminal task has its count.
fn i7_a_stale_poll_against_what_is_told_of_the_next_tenant() {
    let (store, _clock) = store(1);
    let task = ended(&store);
    let (id, last) = (task.id(), task.status().unwrap());
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(id).unwrap();
            drop(task);
            let mut second = running(&store);
            second.advance(4).unwrap();
            second.set_message("half").unwrap();
            second
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(id))
    };
    let second = worker.join().unwrap();
    assert!(poller.join().unwrap().is_none_or(|status| status == last));
    drop(second);
}

/// I7, I2. A running task is polled while it ends, is removed and makes room for another: each poll finds
/// what was once true of the first.
fn i7_a_stale_poll_across_the_end_and_reuse() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    task.advance(7).unwrap();
    let (id, first) = (task.id(), task.status().unwrap());
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            task.succeed("first").unwrap();
            let last = store.remove(id).unwrap();
            drop(task);
            clock.advance(STEP);
            (last, store.create(NewTask::new("second").total(90)).unwrap())
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(id))
    };
    let (last, second) = worker.join().unwrap();
    if let Some(status) = poller.join().unwrap() {
        assert!(status == first || status == last, "{status:?}");
    }
    drop(second);
}

/// I7. Somebody begins to wait for a task while it is removed and its line is used again: no news of the
/// second task reach it.
fn i7_a_stale_wait_against_reuse() {
    let (store, _clock) = store(1);
    let task = ended(&store);
    let (id, last) = (task.id(), task.status().unwrap());
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(id).unwrap();
            drop(task);
            create(&store)
        })
    };
    let waiter = {
        let store = store.clone();
        thread::spawn(move || crate::scene::block_on(store.wait(id)))
    };
    let second = worker.join().unwrap();
    match waiter.join().unwrap() {
        Ok(status) => assert_eq!(status, last),
        Err(why) => assert!(matches!(why, Absent::Gone(None | Some(GoneReason::Removed))), "{why:?}"),
    }
    assert_eq!(second.status().unwrap().state(), State::Pending);
}

/// I7. Two threads create in a store with room for one: one of them is told that it is full.
fn i7_two_creates_for_the_last_line() {
    let (store, _clock) = store(1);
    let other = {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("other")))
    };
    let both = [store.create(NewTask::new("mine")), other.join().unwrap()];
    assert_eq!(both.iter().filter(|created| created.is_ok()).count(), 1);
    assert!(both.iter().any(|created| matches!(created, Err(CreateError::Full { capacity: 1 }))));
    assert_eq!(store.counts().of(State::Pending), 1);
}

/// I7. A line comes free while two threads ask for one: no line has two tenants.
fn i7_two_creates_and_a_line_that_comes_free() {
    let (store, _clock) = store(1);
    let task = ended(&store);
    let id = task.id();
    let _ = store.remove(id).unwrap();
    let others = [(); 2].map(|()| {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("other")).ok())
    });
    drop(task);
    let created: Vec<Task> = others.into_iter().filter_map(|other| other.join().unwrap()).collect();
    assert!(created.len() <= 1);
    assert!(created.iter().all(|task| task.status().is_some_and(|status| status.id() == task.id())));
    assert_eq!(store.create(NewTask::new("third")).is_err(), created.len() == 1);
}

/// I7. A handle outlives its task while somebody removes it and asks for its line: the line is not given
/// to anyone while the handle is there, and what the handle still tries is refused.
fn i7_a_line_is_taken_while_a_handle_holds_it() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, other) = (task.id(), task.clone());
    task.succeed(()).unwrap();
    drop(task);
    let holder = thread::spawn(move || {
        let late = (other.advance(1), other.set_message("late"), other.succeed("late"));
        drop(other);
        late
    });
    let _ = store.remove(id).unwrap();
    let second = store.create(NewTask::new("second"));
    let (added, said, finished) = holder.join().unwrap();
    assert!(added.is_err() && said.is_err());
    assert!(!matches!(finished, Ok(Finish::Won)));
    match second {
        Ok(second) => {
            let status = second.status().unwrap();
            assert_eq!((status.state(), status.done()), (State::Pending, 0));
            assert_eq!(store.details(second.id()).unwrap().message(), None);
        }
        Err(why) => assert_eq!(why, CreateError::Full { capacity: 1 }),
    }
}

/// I7. The entry and the handle let go of a line at the same time: it comes free once.
fn i7_two_let_go_of_a_line() {
    let (store, _clock) = store(1);
    let task = ended(&store);
    let id = task.id();
    let other = thread::spawn(move || drop(task));
    let _ = store.remove(id).unwrap();
    other.join().unwrap();
    let next = create(&store);
    assert!(store.create(NewTask::new("one too many")).is_err());
    assert_ne!(next.id(), id);
    drop(next);
}

/// I7. Two remove the same task, and a third thread polls it: one removes it.
fn i7_two_remove_a_task() {
    let (store, _clock) = store(1);
    let task = ended(&store);
    let (id, last) = (task.id(), task.status().unwrap());
    let other = {
        let store = store.clone();
        thread::spawn(move || store.remove(id))
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(id))
    };
    let both = [store.remove(id), other.join().unwrap()];
    assert_eq!(both.iter().filter(|removed| removed.is_ok()).count(), 1);
    assert!(poller.join().unwrap().is_none_or(|status| status == last));
    assert_eq!(store.counts().total(), 0, "I12");
}

/// I11. A lookup races with a removal: it finds the task, or that it is gone, but never that it was never
/// here.
fn i11_a_lookup_against_a_removal() {
    let (store, _clock) = store(1);
    let task = ended(&store);
    let (id, last) = (task.id(), task.status().unwrap());
    let remover = {
        let store = store.clone();
        thread::spawn(move || store.remove(id).unwrap())
    };
    let lookup = {
        let store = store.clone();
        thread::spawn(move || store.lookup(id))
    };
    let _ = remover.join().unwrap();
    match lookup.join().unwrap() {
        Ok(status) => assert_eq!(status, last),
        Err(why) => assert_eq!(why, Absent::Gone(Some(GoneReason::Removed))),
    }
    drop(task);
}

/// I11. A task that was removed is looked up while its line is used again and left for another reason:
/// the reason is the right one, or not known any more.
fn i11_a_stale_lookup_against_reuse() {
    let keep = inflight::Retention::forever().at_most_cancelled(0);
    let (store, _clock) = crate::scene::store_with(|builder| builder.capacity(1).retain(keep));
    let task = ended(&store);
    let id = task.id();
    let _ = store.remove(id).unwrap();
    drop(task);
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let second = create(&store);
            let _ = store.cancel(second.id()).unwrap();
            store.tick();
            second
        })
    };
    let lookup = {
        let store = store.clone();
        thread::spawn(move || store.lookup(id))
    };
    let second = worker.join().unwrap();
    let why = lookup.join().unwrap().unwrap_err();
    assert!(matches!(why, Absent::Gone(None | Some(GoneReason::Removed))), "{why:?}");
    assert_eq!(store.lookup(second.id()), Err(Absent::Gone(Some(GoneReason::Evicted))));
}
