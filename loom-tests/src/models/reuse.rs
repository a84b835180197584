//! Lines and ids that are used again (I7), and what is told of those who went (I11).

use inflight::{Absent, CreateError, Finish, GoneReason, NewTask, State, Status, Store, Task, TaskId};
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
    i7_a_clients_id_is_claimed_once,
    i7_an_overflowed_clients_id_is_claimed_once,
    i7_a_clients_id_is_released_and_claimed,
    i7_a_poll_of_a_clients_id_against_its_creation large,
    i5_a_poll_of_a_clients_id_against_its_next_use large,
    i5_a_poll_of_a_clients_id_against_its_next_use_on_the_same_line large,
    i7_a_poll_of_a_clients_id_against_another large,
    i7_a_poll_of_a_clients_id_with_another_low_half large,
    i7_a_poll_of_a_clients_id_with_another_high_half large,
    i7_a_clients_id_that_is_gone_is_gone_for_its_handle,
    i7_an_overflowed_clients_id_that_is_gone_is_gone_for_its_handle,
    i7_two_clients_ids_and_a_place_for_one large,
    i7_a_late_release_against_two_more_uses,
    i7_a_late_release_of_an_overflowed_id_against_two_more_uses,
    i5_a_clients_id_that_is_used_again_has_greater_versions,
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

/// Two tasks are created with one client's id, where there are two free lines: one of them gets it, and the
/// other leaves no trace.
fn claimed_once(store: &Store) {
    let (before, id) = (store.counts().total(), CLIENTS);
    let other = {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("other").id(id)))
    };
    let both = [store.create(NewTask::new("mine").id(id)), other.join().unwrap()];
    assert_eq!(both.iter().filter(|created| created.is_ok()).count(), 1);
    for created in &both {
        match created {
            Ok(task) => assert_eq!(task.status(), store.get(id)),
            Err(why) => assert_eq!(*why, CreateError::DuplicateId(id)),
        }
    }
    assert_eq!(store.counts().total(), before + 1);
    let next = create(store);
    assert!(store.create(NewTask::new("one too many")).is_err());
    drop(next);
}

/// I7. Two tasks are created with one client's id.
fn i7_a_clients_id_is_claimed_once() {
    let (store, _clock) = store(2);
    claimed_once(&store);
}

/// I7. The same, where another client's id has the only place.
fn i7_an_overflowed_clients_id_is_claimed_once() {
    let (store, _clock) = store(3);
    let _other = store.create(NewTask::new("other").id(TaskId::from_u128(8))).unwrap();
    claimed_once(&store);
}

/// I7. A client's id is used again as soon as its task is removed: the old task does not take the id away
/// from the new one.
fn i7_a_clients_id_is_released_and_claimed() {
    let (store, _clock) = store(2);
    let id = TaskId::from_u128(7);
    let mut task = store.create(NewTask::new("first").id(id)).unwrap();
    task.start().unwrap();
    task.succeed("first").unwrap();
    let creator = {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("second").id(id)))
    };
    let _ = store.remove(id).unwrap();
    match creator.join().unwrap() {
        Ok(second) => assert_eq!(second.status(), store.get(id)),
        Err(why) => {
            assert_eq!(why, CreateError::DuplicateId(id));
            assert_eq!(store.get(id), None);
        }
    }
}

/// I7. A client's id is polled while its task is created: it is found whole, or not yet.
fn i7_a_poll_of_a_clients_id_against_its_creation() {
    let (store, _clock) = store(1);
    // A UUID of version 8: it has the form of a minted id, and so of an address.
    let id: TaskId = "00000000-0000-8000-8000-000000000007".parse().unwrap();
    let creator = {
        let store = store.clone();
        thread::spawn(move || store.create(NewTask::new("first").id(id).total(9)).unwrap())
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(id))
    };
    let task = creator.join().unwrap();
    assert!(poller.join().unwrap().is_none_or(|status| Some(status) == task.status()));
}

const CLIENTS: TaskId = TaskId::from_u128(7);

fn ended_as(store: &Store, id: TaskId) -> Task {
    let mut task = store.create(NewTask::new("first").id(id)).unwrap();
    task.start().unwrap();
    task.succeed("first").unwrap();
    task
}

/// I5, I7. A client's id is polled while its task is removed and the id is used again: each poll finds the
/// first task as it was, nothing, or the second; and never what came before.
fn i5_a_poll_of_a_clients_id_against_its_next_use() {
    let (store, _clock) = store(2);
    let mut first = store.create(NewTask::new("first").id(CLIENTS)).unwrap();
    first.cancel().unwrap();
    let last = first.status().unwrap();
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(CLIENTS).unwrap();
            // On another line: the handle of the first still holds the one that it had.
            store.create(NewTask::new("second").id(CLIENTS)).unwrap()
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || [store.get(CLIENTS), store.get(CLIENTS)])
    };
    let second = worker.join().unwrap();
    let [one, two] = poller.join().unwrap();
    for status in [one, two].into_iter().flatten() {
        assert!(status == last || Some(status) == second.status(), "{status:?}");
    }
    assert!(one == Some(last) || two != Some(last), "it was gone");
}

/// I5, I7. The same, where the next use is on the same line: no status of the first task has the versions of
/// the second.
fn i5_a_poll_of_a_clients_id_against_its_next_use_on_the_same_line() {
    let (store, clock) = store(1);
    let task = ended_as(&store, CLIENTS);
    let last = task.status().unwrap();
    clock.advance(STEP);
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(CLIENTS).unwrap();
            drop(task);
            store.create(NewTask::new("second").id(CLIENTS).total(90)).unwrap()
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(CLIENTS))
    };
    let second = worker.join().unwrap();
    let status = poller.join().unwrap();
    assert!(status.is_none_or(|status| status == last || Some(status) == second.status()), "{status:?}");
}

/// A client's id is polled while its task is removed, and `other` takes its line and its place in the index:
/// gives the last status of the first task, what the poll of `polled` found, and the status of the second
/// task.
fn polled_while_another_comes(polled: TaskId, other: TaskId) -> (Status, Option<Status>, Option<Status>) {
    let (store, clock) = store(1);
    let task = ended_as(&store, CLIENTS);
    let last = task.status().unwrap();
    clock.advance(STEP);
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(CLIENTS).unwrap();
            drop(task);
            store.create(NewTask::new("second").id(other).total(90)).unwrap()
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || store.get(polled))
    };
    let second = worker.join().unwrap();
    assert_eq!((store.get(other), store.get(CLIENTS)), (second.status(), None));
    (last, poller.join().unwrap(), second.status())
}

/// I7. The id of the first task finds that task as it was, or nothing.
fn i7_a_poll_of_a_clients_id_against_another() {
    let (last, found, _) = polled_while_another_comes(CLIENTS, TaskId::from_u128(8));
    assert!(found.is_none_or(|status| status == last), "{found:?}");
}

/// I7. The id of the second task, which differs in its low half, finds that task, or nothing.
fn i7_a_poll_of_a_clients_id_with_another_low_half() {
    let other = TaskId::from_u128(8);
    let (_, found, second) = polled_while_another_comes(other, other);
    assert!(found.is_none() || found == second, "{found:?}");
}

/// I7. The same, where the ids differ in the high half.
fn i7_a_poll_of_a_clients_id_with_another_high_half() {
    let other = TaskId::from_u128(CLIENTS.as_u128() | 1 << 127);
    let (_, found, second) = polled_while_another_comes(other, other);
    assert!(found.is_none() || found == second, "{found:?}");
}

/// Whoever does not find `task` by its client's id does not find it by its handle, either.
fn gone_for_its_handle(store: &Store, task: Task) {
    let id = task.id();
    let remover = {
        let store = store.clone();
        thread::spawn(move || store.remove(id).unwrap())
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || {
            if store.get(id).is_none() {
                assert_eq!(task.status(), None, "it was gone");
            }
        })
    };
    let _ = remover.join().unwrap();
    poller.join().unwrap();
}

/// I7. A task is removed while it is polled by its client's id and then by its handle.
fn i7_a_clients_id_that_is_gone_is_gone_for_its_handle() {
    let (store, _clock) = store(1);
    let task = ended_as(&store, CLIENTS);
    gone_for_its_handle(&store, task);
}

/// I7. The same, where another client's id has the only place.
fn i7_an_overflowed_clients_id_that_is_gone_is_gone_for_its_handle() {
    let (store, _clock) = store(2);
    let _other = store.create(NewTask::new("other").id(TaskId::from_u128(8))).unwrap();
    let task = ended_as(&store, CLIENTS);
    gone_for_its_handle(&store, task);
}

/// I7. Two tasks with clients' ids are created at a time, where there is a place for one: both are found, and
/// each until it is removed.
fn i7_two_clients_ids_and_a_place_for_one() {
    let (store, _clock) = store(2);
    let ids = [CLIENTS, TaskId::from_u128(8)];
    let other = {
        let store = store.clone();
        thread::spawn(move || {
            let mut task = store.create(NewTask::new("other").id(ids[1])).unwrap();
            task.cancel().unwrap();
            assert_eq!(store.get(ids[1]), task.status());
            let _ = store.remove(ids[1]).unwrap();
            assert_eq!(store.get(ids[1]), None);
        })
    };
    let task = store.create(NewTask::new("mine").id(ids[0])).unwrap();
    assert_eq!(store.get(ids[0]), task.status());
    other.join().unwrap();
    assert_eq!(ids.map(|id| store.get(id)), [task.status(), None]);
}

/// A client's id is used a second and a third time while whoever removed its first task has yet to release
/// it: the late release takes the id from neither.
fn released_late(store: &Store) {
    let first = ended_as(store, CLIENTS);
    let remover = {
        let store = store.clone();
        thread::spawn(move || store.remove(CLIENTS).unwrap())
    };
    let user = {
        let store = store.clone();
        thread::spawn(move || {
            let mut second = store.create(NewTask::new("second").id(CLIENTS)).ok()?;
            assert_eq!(store.get(CLIENTS), second.status());
            second.cancel().unwrap();
            let _ = store.remove(CLIENTS).unwrap();
            let third = store.create(NewTask::new("third").id(CLIENTS)).unwrap();
            assert_eq!(store.get(CLIENTS), third.status());
            Some(third)
        })
    };
    let _ = remover.join().unwrap();
    if let Some(third) = user.join().unwrap() {
        assert_eq!(store.get(CLIENTS), third.status());
        assert!(store.create(NewTask::new("fourth").id(CLIENTS)).is_err());
    }
    drop(first);
}

/// I5. Two create tasks with the same client's id, the one for a short while: whichever task comes later has
/// the greater versions.
fn i5_a_clients_id_that_is_used_again_has_greater_versions() {
    let id = TaskId::from_u128(7);
    let (store, _clock) = store(2);
    let other = {
        let store = store.clone();
        thread::spawn(move || {
            let mut task = store.create(NewTask::new("short").id(id)).ok()?;
            task.cancel().unwrap();
            store.remove(id).ok()
        })
    };
    let staying = store.create(NewTask::new("staying").id(id));
    let gone = other.join().unwrap();
    if let (Ok(staying), Some(gone)) = (&staying, gone) {
        assert!(staying.status().unwrap().version() > gone.version());
    }
    assert!(staying.is_ok() || gone.is_some());
}

/// I7. A late release, while the id has a place in the index.
fn i7_a_late_release_against_two_more_uses() {
    let (store, _clock) = store(3);
    released_late(&store);
}

/// I7. The same, where another client's id has the only place.
fn i7_a_late_release_of_an_overflowed_id_against_two_more_uses() {
    let (store, _clock) = store(4);
    let _other = store.create(NewTask::new("other").id(TaskId::from_u128(8))).unwrap();
    released_late(&store);
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
