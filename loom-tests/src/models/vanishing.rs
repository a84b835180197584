//! Workers that vanish are seen, and fenced out (I10).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use inflight::{ChangeError, FailureReason, Finish, NewTask, State, Store, Task};
use loom::thread;

use super::models;
use crate::scene::{STEP, create, poller, running, sleeper, store};

models![
    i10_a_dropped_handle_against_a_poll,
    i10_a_dropped_handle_against_a_waiter,
    i10_a_dropped_handle_against_a_cancel,
    i10_a_dropped_handle_against_its_lease large,
    i10_a_panic_against_a_waiter,
    i10_a_lease_against_a_heartbeat,
    i10_a_lease_against_a_message,
    i10_a_lease_and_two_heartbeats,
    i10_a_lease_against_progress,
    i10_a_lease_against_the_end,
    i10_a_lease_against_a_retry,
    i10_the_old_lease_holder_is_fenced_out,
];

/// I10. A running task's handle is dropped while it is polled: what was done stays, and it failed as lost.
fn i10_a_dropped_handle_against_a_poll() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let worker = thread::spawn(move || {
        task.advance(3).unwrap();
        drop(task);
    });
    let poller = poller::<2>(&store, id);
    worker.join().unwrap();
    for status in poller.join().unwrap() {
        match status.state() {
            State::Running => assert_eq!(status.failure_reason(), None),
            State::Failed => {
                assert_eq!((status.done(), status.failure_reason()), (3, Some(FailureReason::Lost)));
            }
            state => panic!("{state}"),
        }
    }
    assert_eq!(store.get(id).unwrap().state(), State::Failed);
}

/// I10, I6. A task's handle is dropped while somebody begins to wait for it.
fn i10_a_dropped_handle_against_a_waiter() {
    let (store, _clock) = store(1);
    let task = running(&store);
    let waiter = sleeper(&store, task.id());
    drop(task);
    assert_eq!(waiter.join().unwrap().failure_reason(), Some(FailureReason::Lost));
}

/// I10, I3. A pending task's handle is dropped while it is cancelled: one of the two ends it.
fn i10_a_dropped_handle_against_a_cancel() {
    let (store, _clock) = store(1);
    let task = create(&store);
    let id = task.id();
    let worker = thread::spawn(move || drop(task));
    let cancelled = store.cancel(id);
    worker.join().unwrap();
    let after = store.get(id).unwrap();
    match cancelled {
        Ok(status) => assert_eq!((status, after.state()), (after, State::Cancelled)),
        Err(_) => assert_eq!(after.failure_reason(), Some(FailureReason::Lost)),
    }
}

/// I10. A leased handle is dropped while its lease runs out: the task is lost once.
fn i10_a_dropped_handle_against_its_lease() {
    let (store, clock) = store(1);
    let task = leased(&store, &clock);
    let id = task.id();
    let keeper = ticks(&store);
    let waiter = sleeper(&store, id);
    drop(task);
    keeper.join().unwrap();
    let status = store.get(id).unwrap();
    assert_eq!(status.failure_reason(), Some(FailureReason::Lost));
    assert_eq!((waiter.join().unwrap(), store.counts().of(State::Failed)), (status, 1));
}

/// I10. A worker panics in its scope while somebody waits: the task failed as panicked, with the message.
fn i10_a_panic_against_a_waiter() {
    let (store, _clock) = store(1);
    let task = running(&store);
    let id = task.id();
    let waiter = sleeper(&store, id);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        task.scope(|task| -> Result<(), std::fmt::Error> {
            task.advance(1).unwrap();
            panic!("out of paper")
        })
    }));
    assert!(panicked.is_err());
    let status = waiter.join().unwrap();
    assert_eq!((status.done(), status.failure_reason()), (1, Some(FailureReason::Panicked)));
    let details = store.details(id).unwrap();
    assert_eq!(details.error().and_then(inflight::Payload::as_text), Some("out of paper"));
}

/// A running task with a lease that runs out at the next tick.
fn leased(store: &Store, clock: &inflight::ManualClock) -> Task {
    let mut task = store.create(NewTask::new("leased").lease(STEP)).unwrap();
    task.start().unwrap();
    clock.advance(STEP);
    task
}

fn ticks(store: &Store) -> thread::JoinHandle<()> {
    let store = store.clone();
    thread::spawn(move || store.tick())
}

/// I10. A lease runs out while its holder sends a heartbeat: the heartbeat is in time and the task goes
/// on, or it is refused.
fn i10_a_lease_against_a_heartbeat() {
    let (store, clock) = store(1);
    let mut task = leased(&store, &clock);
    let keeper = ticks(&store);
    let poller = poller::<1>(&store, task.id());
    let heartbeat = task.heartbeat();
    keeper.join().unwrap();
    let [seen] = poller.join().unwrap();
    let status = task.status().unwrap();
    match heartbeat {
        Ok(()) => assert_eq!(status.state(), State::Running),
        Err(why) => {
            assert_eq!(why, ChangeError::Ended(State::Failed));
            assert_eq!(status.failure_reason(), Some(FailureReason::Lost));
        }
    }
    assert!(!seen.is_terminal() || seen == status, "I4");
}

/// I10. A lease runs out while its holder sets a message: the message is in time and the task goes on, or
/// it is refused.
fn i10_a_lease_against_a_message() {
    let (store, clock) = store(1);
    let mut task = leased(&store, &clock);
    let keeper = ticks(&store);
    let message = task.set_message("still here");
    keeper.join().unwrap();
    let status = task.status().unwrap();
    match message {
        Ok(()) => assert_eq!(status.state(), State::Running),
        Err(why) => {
            assert_eq!(why, ChangeError::Ended(State::Failed));
            assert_eq!(status.failure_reason(), Some(FailureReason::Lost));
        }
    }
}

/// I10. Two handles send a heartbeat, one of them at a later time: the lease runs from the later one.
fn i10_a_lease_and_two_heartbeats() {
    let (store, clock) = store(1);
    let mut task = store.create(NewTask::new("leased").lease(2 * STEP)).unwrap();
    task.start().unwrap();
    let task = task.share();
    let other = {
        let task = task.clone();
        thread::spawn(move || task.heartbeat().unwrap())
    };
    clock.advance(STEP);
    task.heartbeat().unwrap();
    other.join().unwrap();
    clock.advance(STEP);
    store.tick();
    assert_eq!(task.status().unwrap().state(), State::Running);
    clock.advance(STEP);
    store.tick();
    assert_eq!(task.status().unwrap().failure_reason(), Some(FailureReason::Lost));
}

/// I10, I4. A lease runs out while its holder makes progress: what it was told that counts does, and
/// once it was fenced out nothing does.
fn i10_a_lease_against_progress() {
    let (store, clock) = store(1);
    let mut task = leased(&store, &clock);
    let keeper = ticks(&store);
    let counted = [task.advance(1).is_ok(), task.advance(1).is_ok()];
    keeper.join().unwrap();
    let status = task.status().unwrap();
    assert_eq!(status.done(), counted.map(u64::from).iter().sum::<u64>());
    assert!(counted[0] || !counted[1]);
    assert!(status.state() == State::Running || status.failure_reason() == Some(FailureReason::Lost));
}

/// I10, I3. A lease runs out while its holder succeeds: one of the two it is.
fn i10_a_lease_against_the_end() {
    let (store, clock) = store(1);
    let mut task = leased(&store, &clock);
    let keeper = ticks(&store);
    let finish = task.succeed("in time").unwrap();
    keeper.join().unwrap();
    let status = task.status().unwrap();
    match finish {
        Finish::Won => assert_eq!(status.state(), State::Succeeded),
        Finish::Lost(how) => {
            assert_eq!((how, status.failure_reason()), (status, Some(FailureReason::Lost)));
        }
    }
    let details = store.details(task.id()).unwrap();
    let text = details.result().and_then(inflight::Payload::as_text);
    assert_eq!(text, (finish == Finish::Won).then_some("in time"));
}

/// I10. A lease runs out while its holder retries and adds: in whichever attempt it ended, what counts is
/// what was accepted in that attempt.
fn i10_a_lease_against_a_retry() {
    let (store, clock) = store(1);
    let mut task = leased(&store, &clock);
    task.advance(5).unwrap();
    // The first look takes that into account, and the next one finds nothing new.
    store.tick();
    clock.advance(STEP);
    let keeper = ticks(&store);
    let retried = task.retry().is_ok();
    let started = retried && task.start().is_ok();
    let counted = started && task.advance(1).is_ok();
    keeper.join().unwrap();
    let status = task.status().unwrap();
    let expected = match (retried, started) {
        (false, _) => (1, 5),
        (true, false) => (2, 0),
        (true, true) => (2, u64::from(counted)),
    };
    assert_eq!((status.attempt(), status.done()), expected);
}

/// I10. A lease has run out. Whatever its holder tries then is refused and changes nothing, while
/// somebody reads.
fn i10_the_old_lease_holder_is_fenced_out() {
    let (store, clock) = store(1);
    let mut task = leased(&store, &clock);
    store.tick();
    let (id, last) = (task.id(), task.status().unwrap());
    assert_eq!(last.failure_reason(), Some(FailureReason::Lost));
    let holder = thread::spawn(move || {
        let refused = [
            task.advance(1).is_err(),
            task.set_done(9).is_err(),
            task.set_total(9).is_err(),
            task.set_message("still here").is_err(),
            task.retry().is_err(),
            task.heartbeat().is_err(),
            task.succeed("late").is_ok_and(|finish| finish == Finish::Lost(last)),
        ];
        (task, refused)
    });
    let reader = {
        let store = store.clone();
        thread::spawn(move || (store.get(id).unwrap(), store.details(id).unwrap()))
    };
    clock.advance(Duration::from_secs(1));
    store.tick();
    let (task, refused) = holder.join().unwrap();
    assert_eq!(refused, [true; 7]);
    let (status, details) = reader.join().unwrap();
    assert_eq!((status, details.status(), details.message()), (last, last, None));
    assert_eq!(task.status(), Some(last));
}
