//! A poll against a writer: it is never torn (I2), and versions never go back (I5).

use inflight::{NewTask, State, Status, TaskId};
use loom::sync::{Arc, Mutex};
use loom::thread;

use super::models;
use crate::scene::{STEP, create, poller, running, store};

models![
    i2_poll_against_start_and_progress large,
    i2_poll_against_retry,
    i2_poll_against_the_end,
    i2_poll_against_block_and_resume,
    i2_poll_against_two_totals,
    i2_poll_against_the_time_of_a_change,
    i2_poll_against_the_time_of_the_end,
    i2_poll_against_the_time_of_progress,
    i2_poll_against_a_retry_and_a_cancel,
    i2_poll_against_a_retry_that_counts_nothing large,
    i2_a_look_by_handle_against_retry,
    i2_a_look_by_handle_against_the_removal,
    i2_details_against_messages,
    i2_poll_against_a_request_to_cancel large,
    i2_poll_against_the_time_of_a_request_to_cancel,
    i2_poll_while_the_keeper_marks large,
    i5_polls_against_a_whole_life large,
    i5_a_second_poller_sees_nothing_older large,
    i5_polls_against_a_counter_and_a_block,
    i5_polls_against_two_who_add,
    i5_polls_against_adding_and_the_end large,
    i5_polls_across_two_lives_of_a_clients_id,
];

/// I2. A poll races with a start and two increments: a pending status has no progress and no start time, a
/// running one has a start time.
fn i2_poll_against_start_and_progress() {
    let (store, _clock) = store(1);
    let mut task = create(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.start().unwrap();
        task.advance(1).unwrap();
        task.advance(1).unwrap();
        task
    });
    let poller = poller::<2>(&store, id);
    drop(worker.join().unwrap());
    let statuses = poller.join().unwrap();
    for status in statuses {
        match status.state() {
            State::Pending => assert_eq!((status.done(), status.started_at()), (0, None)),
            State::Running => assert!(status.done() <= 2 && status.started_at().is_some()),
            State::Failed => assert_eq!(status.done(), 2, "the handle was dropped"),
            state => panic!("{state}"),
        }
    }
    assert!(statuses.is_sorted_by_key(Status::version), "I5");
}

/// I2. A poll races with a retry and the start of the second attempt: progress and start time are those of
/// the attempt that the status names.
fn i2_poll_against_retry() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    task.advance(5).unwrap();
    let first_start = store.get(task.id()).unwrap().started_at();
    clock.advance(STEP);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.retry().unwrap();
        task.start().unwrap();
        task.advance(1).unwrap();
        task
    });
    let poller = poller(&store, id);
    let task = worker.join().unwrap();
    let [status] = poller.join().unwrap();
    drop(task);
    match (status.attempt(), status.state()) {
        (1, State::Running) => assert_eq!((status.done(), status.started_at()), (5, first_start)),
        (2, State::Pending) => assert_eq!((status.done(), status.started_at()), (0, None)),
        (2, State::Running) => assert!(status.done() <= 1 && status.started_at() > first_start),
        other => panic!("{other:?}"),
    }
}

/// I2. A poll races with an increment and the end: a succeeded status has all the progress.
fn i2_poll_against_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.advance(3).unwrap();
        task.succeed("done").unwrap();
        task
    });
    let poller = poller(&store, id);
    drop(worker.join().unwrap());
    let [status] = poller.join().unwrap();
    match status.state() {
        State::Running => assert!([0, 3].contains(&status.done())),
        State::Succeeded => assert_eq!(status.done(), 3),
        state => panic!("{state}"),
    }
}

/// I2. A poll races with an increment before and one after a block: each state is seen with its own progress.
fn i2_poll_against_block_and_resume() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap().version());
    let worker = thread::spawn(move || {
        task.advance(1).unwrap();
        task.block().unwrap();
        task.resume().unwrap();
        task.advance(1).unwrap();
        task
    });
    let poller = poller::<2>(&store, id);
    let task = worker.join().unwrap();
    for status in poller.join().unwrap() {
        match status.state() {
            State::Running if status.version() == before => assert_eq!(status.done(), 0),
            State::Running => assert!((1..=2).contains(&status.done())),
            State::Blocked => assert_eq!(status.done(), 1),
            state => panic!("{state}"),
        }
    }
    drop(task);
}

/// I2. A poll races with two changes of the total: it may be one ahead of the version, and no more.
fn i2_poll_against_two_totals() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap().version());
    let worker = thread::spawn(move || {
        task.set_total(10).unwrap();
        task.set_total(20).unwrap();
        task
    });
    let poller = poller(&store, id);
    let worker = worker.join().unwrap();
    let [status] = poller.join().unwrap();
    if status.version() == before {
        assert!([None, Some(10)].contains(&status.total()), "{status:?}");
    } else if status.version() < worker.status().unwrap().version() {
        assert!([Some(10), Some(20)].contains(&status.total()), "{status:?}");
    } else {
        assert_eq!(status.total(), Some(20));
    }
}

/// I2. A poll races with two changes at different times: the time is that of the version, or of the
/// change that is being made.
fn i2_poll_against_the_time_of_a_change() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap());
    clock.advance(STEP);
    let worker = thread::spawn(move || {
        task.block().unwrap();
        clock.advance(STEP);
        task.resume().unwrap();
        task
    });
    let poller = poller(&store, id);
    let task = worker.join().unwrap();
    let (after, [status]) = (task.status().unwrap(), poller.join().unwrap());
    let (seen, first, last) = (status.updated_at(), before.updated_at(), after.updated_at());
    match status.state() {
        State::Running if status.version() == before.version() => assert!(seen <= first + STEP),
        State::Blocked => assert!(seen >= first + STEP && seen <= last),
        _ => assert_eq!(seen, last),
    }
}

/// I2. As above, when the second change is the end.
fn i2_poll_against_the_time_of_the_end() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap());
    clock.advance(STEP);
    let worker = thread::spawn(move || {
        task.block().unwrap();
        clock.advance(STEP);
        task.succeed(()).unwrap();
        task
    });
    let poller = poller(&store, id);
    drop(worker.join().unwrap());
    let [status] = poller.join().unwrap();
    let ahead = status.updated_at().duration_since(before.updated_at()).unwrap();
    assert!(status.version() != before.version() || ahead <= STEP, "{status:?}");
}

/// I2. As above, when the second change is progress that is noted at a new tick.
fn i2_poll_against_the_time_of_progress() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap());
    clock.advance(STEP);
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            task.block().unwrap();
            clock.advance(STEP);
            store.tick();
            task.advance(1).unwrap();
            task
        })
    };
    let poller = poller(&store, id);
    drop(worker.join().unwrap());
    let [status] = poller.join().unwrap();
    let ahead = status.updated_at().duration_since(before.updated_at()).unwrap();
    assert!(status.version() != before.version() || ahead <= STEP, "{status:?}");
}

/// I2. A poll races with a retry and a cancel before the second start: the time of the first start belongs to
/// the first attempt.
fn i2_poll_against_a_retry_and_a_cancel() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let (id, first) = (task.id(), task.status().unwrap());
    let worker = thread::spawn(move || {
        task.retry().unwrap();
        task.cancel().unwrap();
        task
    });
    let poller = poller(&store, id);
    drop(worker.join().unwrap());
    let [status] = poller.join().unwrap();
    let expected = if status.state() == State::Running { first.started_at() } else { None };
    assert_eq!(status.started_at(), expected, "{status:?}");
}

/// I2. A poll races with an increment, a block, and a retry: a status with the first word has no progress
/// later than one change.
fn i2_poll_against_a_retry_that_counts_nothing() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, before) = (task.id(), task.status().unwrap().version());
    let worker = thread::spawn(move || {
        task.block().unwrap();
        task.advance(1).unwrap();
        task.retry().unwrap();
        task
    });
    let poller = poller(&store, id);
    drop(worker.join().unwrap());
    let [status] = poller.join().unwrap();
    assert!(status.state() != State::Running || (status.done(), status.version()) == (0, before));
}

/// I2. One clone of a handle reads the status while another clone retries and starts the task: as with a
/// poll, all fields are of the attempt that the status names.
fn i2_a_look_by_handle_against_retry() {
    let (store, clock) = store(1);
    let task = running(&store).share();
    task.advance(5).unwrap();
    let before = task.status().unwrap();
    clock.advance(STEP);
    let worker = {
        let task = task.clone();
        thread::spawn(move || {
            task.retry().unwrap();
            task.start().unwrap();
            task
        })
    };
    let looker = thread::spawn(move || (task.status(), task));
    let worker = worker.join().unwrap();
    let (status, looker) = looker.join().unwrap();
    let status = status.unwrap();
    assert_eq!(status.id(), before.id());
    match (status.attempt(), status.state()) {
        (1, State::Running) => {
            assert_eq!((status.version(), status.started_at()), (before.version(), before.started_at()));
        }
        (2, State::Pending) => assert_eq!((status.done(), status.started_at()), (0, None)),
        (2, State::Running) => assert!(status.done() == 0 && status.started_at() > before.started_at()),
        other => panic!("{other:?}"),
    }
    drop((worker, looker));
}

/// I2, I7. A handle reads the status of its task while that ends and is removed: it sees the task, or none.
fn i2_a_look_by_handle_against_the_removal() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let worker = {
        let task = task.clone();
        thread::spawn(move || {
            task.advance(3).unwrap();
            task.succeed(()).unwrap();
            let _ = store.remove(id).unwrap();
            (task, store)
        })
    };
    let looker = thread::spawn(move || (task.status(), task));
    let worker = worker.join().unwrap();
    let (status, looker) = looker.join().unwrap();
    if let Some(status) = status {
        assert_eq!(status.id(), id);
        assert!(status.state() != State::Succeeded || status.done() == 3, "{status:?}");
    }
    assert_eq!(looker.status(), None);
    drop((worker, looker));
}

/// I2. Details are read while two messages are set: message and version belong together.
fn i2_details_against_messages() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap().version());
    let worker = thread::spawn(move || {
        task.set_message("one").unwrap();
        task.set_message("two").unwrap();
        task
    });
    let details = store.details(id).unwrap();
    let after = worker.join().unwrap().status().unwrap().version();
    let version = details.status().version();
    let expected = if version == before { None } else { Some(if version == after { "two" } else { "one" }) };
    assert_eq!(details.message(), expected);
}

/// I2. A poll races with a request to cancel, a second one and an increment: versions after the first request
/// include it, and the second changes nothing.
fn i2_poll_against_a_request_to_cancel() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap());
    let worker = thread::spawn(move || {
        task.advance(1).unwrap();
        task
    });
    let other = {
        let store = store.clone();
        thread::spawn(move || {
            let asked = store.cancel(id).unwrap();
            assert!(asked.cancel_requested());
            store.cancel(id).unwrap()
        })
    };
    let poller = poller(&store, id);
    let (task, asked) = (worker.join().unwrap(), other.join().unwrap());
    let [status] = poller.join().unwrap();
    if !status.cancel_requested() {
        assert!(status.version() == before.version() || status.done() == 1);
    }
    let after = task.status().unwrap();
    assert!(after.version() >= asked.version() && after.version() >= status.version());
    assert!(task.cancel_requested());
}

/// I2. A poll races with a request to cancel at a later time: with the request it sees that time.
fn i2_poll_against_the_time_of_a_request_to_cancel() {
    let (store, clock) = store(1);
    let task = running(&store);
    let (id, before) = (task.id(), task.status().unwrap());
    clock.advance(STEP);
    let client = {
        let store = store.clone();
        thread::spawn(move || store.cancel(id).unwrap())
    };
    let poller = poller(&store, id);
    let after = client.join().unwrap();
    let [status] = poller.join().unwrap();
    assert!(after.cancel_requested() && after.updated_at() == before.updated_at() + STEP);
    assert!(!status.cancel_requested() || status == after, "{status:?}");
}

/// I2, I5. A parent's child is marked dirty and cleared while it is polled: the flag is not part of what a
/// poll sees, and does not disturb it.
fn i2_poll_while_the_keeper_marks() {
    let (store, _clock) = store(2);
    let parent = create(&store);
    let mut child = store.create(NewTask::new("child").parent(parent.id())).unwrap();
    child.start().unwrap();
    child.advance(1).unwrap();
    store.tick();
    let (id, before) = (child.id(), child.status().unwrap());
    let worker = thread::spawn(move || {
        child.advance(1).unwrap();
        child
    });
    let keeper = {
        let store = store.clone();
        thread::spawn(move || store.tick())
    };
    let poller = poller(&store, id);
    let (task, ()) = (worker.join().unwrap(), keeper.join().unwrap());
    let [status] = poller.join().unwrap();
    assert_eq!((status.state(), status.attempt()), (State::Running, 1));
    assert_eq!(status.version() == before.version(), status.done() == 1);
    drop(task);
}

/// I5. Two polls race with a task that works, is retried and starts again: the versions never go back.
fn i5_polls_against_a_whole_life() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.advance(2).unwrap();
        task.retry().unwrap();
        task.start().unwrap();
        task
    });
    let poller = poller::<2>(&store, id);
    let task = worker.join().unwrap();
    let (after, statuses) = (task.status().unwrap(), poller.join().unwrap());
    assert!(statuses.is_sorted_by_key(Status::version), "{statuses:?}");
    assert!(after.version() >= statuses[1].version());
}

/// I5. Two threads poll, the second after it has learned what the first has seen: it sees nothing older.
fn i5_a_second_poller_sees_nothing_older() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.advance(1).unwrap();
        task.block().unwrap();
        task.advance(1).unwrap();
        task
    });
    let told = Arc::new(Mutex::new(None));
    let first = {
        let (store, told) = (store.clone(), Arc::clone(&told));
        thread::spawn(move || {
            let status = store.get(id).unwrap();
            *told.lock().unwrap() = Some(status.version());
        })
    };
    let second = thread::spawn(move || (*told.lock().unwrap(), store.get(id).unwrap()));
    let task = worker.join().unwrap();
    first.join().unwrap();
    let (seen, status) = second.join().unwrap();
    assert!(seen.is_none_or(|seen| status.version() >= seen));
    drop(task);
}

/// I5. Two polls race with a worker that changes from its counter to its handle and back.
fn i5_polls_against_a_counter_and_a_block() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.counter().advance(2).unwrap();
        task.block().unwrap();
        task.advance(1).unwrap();
        task
    });
    let poller = poller::<2>(&store, id);
    let task = worker.join().unwrap();
    let statuses = poller.join().unwrap();
    assert!(statuses.is_sorted_by_key(Status::version), "{statuses:?}");
    for status in statuses {
        let blocked = status.state() == State::Blocked;
        assert!(if blocked { status.done() >= 2 } else { [0, 2].contains(&status.done()) });
    }
    assert_eq!(task.status().unwrap().done(), 3);
}

/// I5. Two handles add while a third thread polls: the count that it sees grows, and nothing is lost.
fn i5_polls_against_two_who_add() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let adders = [1, 2].map(|count| {
        let task = task.clone();
        thread::spawn(move || task.advance(count).unwrap())
    });
    let poller = poller::<2>(&store, id);
    let _: [(); 2] = adders.map(|adder| adder.join().unwrap());
    assert!(poller.join().unwrap().is_sorted_by_key(Status::version));
    assert_eq!(store.get(id).unwrap().done(), 3);
}

/// I5. A thread polls twice while one handle adds and another ends the task. An addition that comes too late
/// may be seen and then not be counted; the version grows nevertheless.
fn i5_polls_against_adding_and_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let adder = {
        let task = task.clone();
        thread::spawn(move || task.advance(1).is_ok())
    };
    let ender = thread::spawn(move || task.succeed(()).unwrap());
    let poller = poller::<2>(&store, id);
    let added = adder.join().unwrap();
    ender.join().unwrap();
    let statuses = poller.join().unwrap();
    assert!(statuses.is_sorted_by_key(Status::version), "{statuses:?}");
    let after = store.get(id).unwrap();
    assert_eq!(after.done(), u64::from(added), "I4: counted if and only if the writer was told so");
    assert!(after.version() >= statuses[1].version());
}

/// I5. A client's id is polled while its task is removed and another task takes the id: the versions of the
/// second task are above those of the first.
fn i5_polls_across_two_lives_of_a_clients_id() {
    let (store, _clock) = store(2);
    let id = TaskId::from_u128(7);
    let mut task = store.create(NewTask::new("first").id(id)).unwrap();
    task.start().unwrap();
    task.advance(9).unwrap();
    task.succeed(()).unwrap();
    let old = task.status().unwrap().version();
    let worker = {
        let store = store.clone();
        thread::spawn(move || {
            let _ = store.remove(id).unwrap();
            store.create(NewTask::new("second").id(id)).unwrap()
        })
    };
    let poller = {
        let store = store.clone();
        thread::spawn(move || [store.get(id), store.get(id)])
    };
    let second = worker.join().unwrap();
    let statuses = poller.join().unwrap();
    let seen: Vec<_> = statuses.into_iter().flatten().collect();
    assert!(seen.is_sorted_by_key(Status::version), "{seen:?}");
    assert!(statuses[0].is_none_or(|status| status.is_terminal() || status.done() == 0));
    assert!(second.status().unwrap().version() > old);
    drop(task);
}
