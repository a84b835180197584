//! The end of a task: one transition wins (I3), and nothing changes after it (I4).

use std::time::Duration;

use inflight::{CancelError, ChangeError, FailureReason, Finish, NewTask, SharedTask, State, Store};
use loom::thread;

use super::models;
use crate::scene::{STEP, create, poller, running, store};

models![
    i3_two_end_a_task,
    i3_three_end_a_task,
    i3_two_start_a_task,
    i3_a_cancel_against_a_start,
    i3_a_request_to_cancel_against_the_end,
    i3_the_end_against_a_block,
    i3_a_retry_against_the_end,
    i3_two_cancel_what_is_pending,
    i4_an_addition_against_the_end,
    i4_two_additions_against_the_end,
    i4_an_addition_against_a_retry,
    i4_a_raise_against_the_end,
    i4_a_large_addition_against_the_end,
    i4_a_time_of_progress_against_the_end,
    i5_the_time_of_a_change_does_not_go_back,
    i5_the_time_of_the_end_does_not_go_back,
    i4_a_message_against_the_end,
    i4_a_total_against_the_end,
    i4_the_result_is_there_with_the_state,
    i4_what_is_terminal_stays_as_it_is large,
    i4_a_cancelled_pending_task_counts_nothing,
    i4_what_was_done_before_is_seen_with_the_end large,
    i4_what_was_done_before_is_seen_with_the_end_by_the_careful large,
    i4_what_was_done_before_a_raise_is_seen_with_it,
];

/// I3. Two handles of one task race to end it: one wins, and the other is told how it ended.
fn i3_two_end_a_task() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, other) = (task.id(), task.clone());
    let other = thread::spawn(move || other.fail(FailureReason::Error, "no").unwrap());
    let mine = task.succeed("yes").unwrap();
    let other = other.join().unwrap();
    let status = store.get(id).unwrap();
    match (mine, other) {
        (Finish::Won, Finish::Lost(how)) | (Finish::Lost(how), Finish::Won) => assert_eq!(how, status),
        both => panic!("{both:?}"),
    }
}

/// I3. Three handles race to end a task, while a fourth thread polls: exactly one wins, and the poller sees
/// only the winner's end.
fn i3_three_end_a_task() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let enders: [fn(&inflight::SharedTask) -> Finish; 2] =
        [|task| task.succeed("yes").unwrap(), |task| task.fail(FailureReason::Rejected, "no").unwrap()];
    let enders = enders.map(|end| {
        let task = task.clone();
        thread::spawn(move || end(&task))
    });
    let poller = poller::<1>(&store, id);
    let mine = task.cancel().unwrap();
    let all = [mine].into_iter().chain(enders.map(|ender| ender.join().unwrap()));
    assert_eq!(all.filter(|finish| *finish == Finish::Won).count(), 1);
    let (seen, after) = (poller.join().unwrap()[0], store.get(id).unwrap());
    assert!(!seen.is_terminal() || seen == after);
}

/// I3. Two handles race to start a task, and a third thread polls it: one is refused, with the state.
fn i3_two_start_a_task() {
    let (store, _clock) = store(1);
    let task = create(&store).share();
    let (id, other) = (task.id(), task.clone());
    let other = thread::spawn(move || other.start());
    let poller = poller::<1>(&store, id);
    let mine = task.start();
    match (mine, other.join().unwrap()) {
        (Ok(()), Err(why)) | (Err(why), Ok(())) => {
            assert_eq!(why, ChangeError::NotAllowed { from: State::Running, to: State::Running });
        }
        both => panic!("{both:?}"),
    }
    assert!(poller.join().unwrap()[0].version() <= store.get(id).unwrap().version());
}

/// I3. A pending task is started and cancelled at once: either it was cancelled and the start is refused,
/// or it runs and has been asked to stop.
fn i3_a_cancel_against_a_start() {
    let (store, _clock) = store(1);
    let mut task = create(&store);
    let id = task.id();
    let worker = thread::spawn(move || (task.start(), task));
    let cancelled = store.cancel(id).unwrap();
    let (started, task) = worker.join().unwrap();
    let status = task.status().unwrap();
    match started {
        Ok(()) => assert_eq!((status.state(), status.cancel_requested()), (State::Running, true)),
        Err(why) => {
            assert_eq!(why, ChangeError::NotAllowed { from: State::Cancelled, to: State::Running });
            assert_eq!((status.state(), cancelled), (State::Cancelled, status));
        }
    }
}

/// I3, I4. A request to cancel races with the end, and with a poller: it comes before the end and stays
/// in the status, or is refused and leaves no trace.
fn i3_a_request_to_cancel_against_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        assert_eq!(task.succeed(()).unwrap(), Finish::Won);
        task
    });
    let poller = poller::<1>(&store, id);
    let asked = store.cancel(id);
    let after = worker.join().unwrap().status().unwrap();
    match asked {
        Ok(_) => assert!(after.cancel_requested()),
        Err(CancelError::Ended(status)) => {
            assert_eq!(status, after);
            assert!(!after.cancel_requested());
        }
        Err(why) => panic!("{why}"),
    }
    let [seen] = poller.join().unwrap();
    assert!(!seen.is_terminal() || seen == after, "I4");
}

/// I3. A block races with the end: it is refused once the task has ended.
fn i3_the_end_against_a_block() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, other) = (task.id(), task.clone());
    let other = thread::spawn(move || other.block());
    assert_eq!(task.succeed(()).unwrap(), Finish::Won);
    if let Err(why) = other.join().unwrap() {
        assert_eq!(why, ChangeError::NotAllowed { from: State::Succeeded, to: State::Blocked });
    }
    assert_eq!(store.get(id).unwrap().state(), State::Succeeded);
}

/// I3. A retry races with an end, and a third thread adds: either the task fails in its first attempt, or
/// from pending in its second; whatever was added counts for the attempt that it was accepted in.
fn i3_a_retry_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let retrier = {
        let task = task.clone();
        thread::spawn(move || task.retry())
    };
    let adder = {
        let task = task.clone();
        thread::spawn(move || task.advance(1).is_ok())
    };
    assert_eq!(task.fail(FailureReason::Error, "no").unwrap(), Finish::Won);
    let (retried, added) = (retrier.join().unwrap(), adder.join().unwrap());
    let status = store.get(id).unwrap();
    match retried {
        Ok(()) => assert_eq!((status.attempt(), status.done()), (2, 0)),
        Err(why) => {
            assert_eq!(why, ChangeError::NotAllowed { from: State::Failed, to: State::Pending });
            assert_eq!((status.attempt(), status.done()), (1, u64::from(added)));
        }
    }
}

/// I3. Two threads cancel a pending task at once: one succeeds, the other finds it cancelled.
fn i3_two_cancel_what_is_pending() {
    let (store, _clock) = store(1);
    let task = create(&store);
    let id = task.id();
    let other = {
        let store = store.clone();
        thread::spawn(move || store.cancel(id))
    };
    let both = [store.cancel(id), other.join().unwrap()];
    assert_eq!(both.iter().filter(|asked| asked.is_ok()).count(), 1);
    let after = task.status().unwrap();
    for asked in both {
        let status = asked.unwrap_or_else(|why| match why {
            CancelError::Ended(status) => status,
            why => panic!("{why}"),
        });
        assert_eq!(status, after);
    }
}

/// I4. An addition races with the end: it counts if and only if its writer is told so, and a terminal status
/// never changes.
fn i4_an_addition_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, other) = (task.id(), task.clone());
    let adder = thread::spawn(move || other.advance(1).is_ok());
    task.succeed(()).unwrap();
    let ended = store.get(id).unwrap();
    let added = adder.join().unwrap();
    assert_eq!(store.get(id).unwrap(), ended);
    assert_eq!(ended.done(), u64::from(added));
}

/// I4. Two threads add while a third ends the task: the sum consists of the additions that were reported as
/// counted.
fn i4_two_additions_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let adders = [1, 2].map(|count| {
        let task = task.clone();
        thread::spawn(move || if task.advance(count).is_ok() { count } else { 0 })
    });
    task.succeed(()).unwrap();
    let ended = store.get(id).unwrap();
    let added: u64 = adders.map(|adder| adder.join().unwrap()).into_iter().sum();
    assert_eq!((ended.done(), store.get(id).unwrap()), (added, ended));
}

/// I4, I3. An addition races with a retry: once its writer has seen that the task is pending again, the
/// addition is refused, since the next start would discard it.
fn i4_an_addition_against_a_retry() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let other = task.clone();
    let adder = thread::spawn(move || (other.status().unwrap().state(), other.advance(1).is_ok()));
    task.retry().unwrap();
    let (seen, counted) = adder.join().unwrap();
    assert!(seen == State::Running || !counted);
    assert_eq!(task.status().unwrap().done(), 0);
}

/// I4. Two threads raise the count, to different values, while a third ends the task.
fn i4_a_raise_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let raisers = [5, 7].map(|done| {
        let task = task.clone();
        thread::spawn(move || if task.set_done(done).is_ok() { done } else { 0 })
    });
    task.succeed(()).unwrap();
    let ended = store.get(id).unwrap();
    let raised = raisers.map(|raiser| raiser.join().unwrap());
    assert_eq!((Some(ended.done()), store.get(id).unwrap()), (raised.into_iter().max(), ended));
}

/// I4. An addition so large that it needs an exchange races with a small one and with the end.
fn i4_a_large_addition_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let adders = [1, 1 << 40].map(|count| {
        let task = task.clone();
        thread::spawn(move || if task.advance(count).is_ok() { count } else { 0 })
    });
    task.succeed(()).unwrap();
    let ended = store.get(id).unwrap();
    let added: u64 = adders.map(|adder| adder.join().unwrap()).into_iter().sum();
    assert_eq!((ended.done(), store.get(id).unwrap()), (added, ended));
}

/// I4. Progress is recorded with a new time while the task ends: the time of the end stays.
fn i4_a_time_of_progress_against_the_end() {
    let (store, clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    clock.advance(STEP);
    store.tick();
    let adder = {
        let task = task.clone();
        thread::spawn(move || task.advance(1).is_ok())
    };
    let keeper = {
        let (store, clock) = (store.clone(), clock.clone());
        thread::spawn(move || {
            clock.advance(STEP);
            store.tick();
        })
    };
    task.succeed(()).unwrap();
    let ended = store.get(id).unwrap();
    keeper.join().unwrap();
    let added = adder.join().unwrap();
    assert_eq!((ended.done(), store.get(id).unwrap()), (u64::from(added), ended));
}

/// Progress is noted at a new time while another handle does something else to the task, which may have begun
/// at the earlier time: once somebody has seen the new time, it does not go back.
fn a_time_does_not_go_back(change: fn(&SharedTask)) {
    let (store, clock) = store(1);
    let task = running(&store).share();
    let other = {
        let task = task.clone();
        thread::spawn(move || change(&task))
    };
    clock.advance(STEP);
    store.tick();
    let _may_be_too_late = task.advance(1);
    let seen = task.status().unwrap().updated_at();
    other.join().unwrap();
    assert!(task.status().unwrap().updated_at() >= seen);
}

/// I5. A message is set while progress is noted at a later time.
fn i5_the_time_of_a_change_does_not_go_back() {
    a_time_does_not_go_back(|task| task.set_message("hello").unwrap());
}

/// I5, I4. A task ends while progress is noted at a later time.
fn i5_the_time_of_the_end_does_not_go_back() {
    a_time_does_not_go_back(|task| assert_eq!(task.succeed(()), Ok(Finish::Won)));
}

/// I4. A message races with the end, and a third thread reads the details: after the end they stay.
fn i4_a_message_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, other) = (task.id(), task.clone());
    let messenger = thread::spawn(move || other.set_message("late").is_ok());
    task.succeed(()).unwrap();
    let ended = store.details(id).unwrap();
    let set = messenger.join().unwrap();
    let after = store.details(id).unwrap();
    assert_eq!((after.status(), after.message()), (ended.status(), ended.message()));
    assert_eq!(after.message(), set.then_some("late"));
}

/// I4. A total races with the end and a poller.
fn i4_a_total_against_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let totaller = {
        let task = task.clone();
        thread::spawn(move || task.set_total(9).is_ok())
    };
    let poller = poller::<1>(&store, id);
    task.succeed(()).unwrap();
    let ended = store.get(id).unwrap();
    let set = totaller.join().unwrap();
    let [seen] = poller.join().unwrap();
    let after = store.get(id).unwrap();
    assert_eq!((ended.total(), after), (set.then_some(9), ended));
    assert!(!seen.is_terminal() || seen == after);
}

/// I4. A thread that polls `Succeeded` can read the result, and one that polls `Failed` can read the error.
fn i4_the_result_is_there_with_the_state() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, other) = (task.id(), task.clone());
    let ender = thread::spawn(move || task.succeed("yes").unwrap());
    let other = thread::spawn(move || other.fail(FailureReason::Error, "no").unwrap());
    let reader = thread::spawn(move || {
        let status = store.get(id).unwrap();
        (status, store.details(id).unwrap())
    });
    ender.join().unwrap();
    other.join().unwrap();
    let (status, details) = reader.join().unwrap();
    if status.is_terminal() {
        assert_eq!(details.status(), status);
        let text = if status.state() == State::Succeeded { details.result() } else { details.error() };
        let expected = if status.state() == State::Succeeded { "yes" } else { "no" };
        assert_eq!(text.and_then(inflight::Payload::as_text), Some(expected));
    }
}

/// I4. Two polls race with the end at a later time, and with an addition: once the first poll has seen the
/// end, the second sees the very same status.
fn i4_what_is_terminal_stays_as_it_is() {
    let (store, clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    clock.advance(STEP);
    let adder = {
        let task = task.clone();
        thread::spawn(move || task.advance(1).is_ok())
    };
    let ender = thread::spawn(move || task.fail(FailureReason::Error, "no").unwrap());
    let poller = poller(&store, id);
    let added = adder.join().unwrap();
    ender.join().unwrap();
    let [first, second] = poller.join().unwrap();
    assert!(!first.is_terminal() || first == second, "{first:?} {second:?}");
    let after = store.get(id).unwrap();
    assert!(!second.is_terminal() || second == after);
    assert_eq!(after.done(), u64::from(added));
}

/// I4. A pending task of a leased handle is cancelled while its worker starts it and makes progress: if it
/// was cancelled, no progress counts.
fn i4_a_cancelled_pending_task_counts_nothing() {
    let (store, _clock) = store(1);
    let mut task = store.create(NewTask::new("leased").lease(Duration::from_secs(1))).unwrap();
    let id = task.id();
    let worker = thread::spawn(move || {
        let started = task.start().is_ok();
        (started, task.advance(1).is_ok(), task)
    });
    let _ = store.cancel(id).unwrap();
    let (started, counted, task) = worker.join().unwrap();
    let status = task.status().unwrap();
    assert_eq!(started, counted);
    assert_eq!((status.state() == State::Cancelled, status.done()), (!started, u64::from(counted)));
}

/// I4. A thread that sees the end, which another thread made, also sees what a worker did before its last
/// addition. Here a thread polls the end of one task, and then reads what the adder had stored before.
fn i4_what_was_done_before_is_seen_with_the_end() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    what_was_done_before_is_seen(store, task);
}

/// I4. The same when additions read the word first, because counting was found closed once.
fn i4_what_was_done_before_is_seen_with_the_end_by_the_careful() {
    let (store, _clock) = store(1);
    let task = create(&store).share();
    assert!(task.advance(1).is_err());
    task.start().unwrap();
    what_was_done_before_is_seen(store, task);
}

fn what_was_done_before_is_seen(store: Store, task: SharedTask) {
    let (id, other) = (task.id(), task.clone());
    let stored = loom::sync::Arc::new(loom::sync::atomic::AtomicU64::new(0));
    let adder = {
        let stored = loom::sync::Arc::clone(&stored);
        thread::spawn(move || {
            // Relaxed: the addition publishes it.
            stored.store(1, loom::sync::atomic::Ordering::Relaxed);
            let _ = other.advance(1);
        })
    };
    let ender = thread::spawn(move || task.succeed(()).unwrap());
    let reader = thread::spawn(move || {
        let status = store.get(id).unwrap();
        // Relaxed: the poll has acquired it.
        (status, stored.load(loom::sync::atomic::Ordering::Relaxed))
    });
    adder.join().unwrap();
    ender.join().unwrap();
    let (status, stored) = reader.join().unwrap();
    assert!(stored == 1 || status.done() == 0);
}

/// I4. A thread that sees a raised count also sees what the worker did before it raised the count.
fn i4_what_was_done_before_a_raise_is_seen_with_it() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let id = task.id();
    let stored = loom::sync::Arc::new(loom::sync::atomic::AtomicU64::new(0));
    let raiser = {
        let stored = loom::sync::Arc::clone(&stored);
        thread::spawn(move || {
            // Relaxed: the raise publishes it.
            stored.store(1, loom::sync::atomic::Ordering::Relaxed);
            task.set_done(5).unwrap();
            task
        })
    };
    let reader = thread::spawn(move || {
        let status = store.get(id).unwrap();
        // Relaxed: the poll has acquired it.
        (status, stored.load(loom::sync::atomic::Ordering::Relaxed))
    });
    drop(raiser.join().unwrap());
    let (status, stored) = reader.join().unwrap();
    assert!(stored == 1 || status.done() == 0);
}
