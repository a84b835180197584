//! Ids that clients bring: claimed, polled, released and used again (I5, I7).

use inflight::{CreateError, NewTask, Status, Store, Task, TaskId};
use loom::thread;

use super::models;
use crate::scene::{STEP, create, store};

models![
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
];

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
