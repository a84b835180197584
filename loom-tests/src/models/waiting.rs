//! WaitList against those who change what they wait for: no wake-up is lost (I6).
//!
//! Most of these waiters poll once, in the midst of the race. If that leaves them waiting, then at the
//! end somebody must have rung their bell, and the next poll must have what they wait for.

use std::future::Future;
use std::sync::Arc;
use std::task::{Poll, Waker};

use inflight::{
    Absent, FailureReason, GoneReason, ManualClock, Retention, State, Status, Store, TaskId, Version,
    WaitError,
};
use loom::thread::{self, JoinHandle};

use super::models;
use crate::scene::{
    Bell, STEP, block_on, create, keeper, next, poll, poll_next, running, sleeper, store, store_with, tick,
};

models![
    i6_a_wait_against_the_end,
    i6_two_wait_for_the_end,
    i6_a_wait_against_the_end_and_the_removal,
    i6_a_registration_against_the_end,
    i6_a_waiter_from_before_against_the_end_and_the_removal,
    i6_an_end_is_told_before_the_task_can_be_removed,
    i6_a_removal_is_told_when_polls_find_nothing,
    i6_progress_after_a_message_against_a_stream,
    i6_a_change_against_a_start,
    i6_a_change_against_two_messages,
    i6_a_waiter_for_cancellation_against_a_request,
    i6_the_last_status_against_its_removal,
    i6_the_last_status_against_its_expiry,
    i6_a_new_waker_against_the_end,
    i6_a_waiter_that_leaves_against_the_end,
    i6_a_waiter_that_leaves_against_one_that_comes,
    i6_a_sleeper_is_woken_by_the_end,
    i6_a_sleeper_is_woken_by_a_message,
    i6_a_stream_against_a_whole_life large,
    i6_a_time_out_against_the_end,
    i6_progress_against_a_new_watcher large,
    i6_progress_against_a_new_watcher_and_its_tick,
    i6_a_new_watcher_against_the_tick_that_lets_go large,
    i6_progress_against_a_watcher_that_comes_slowly large,
    i6_silent_progress_against_a_tick,
    i6_a_counters_progress_against_a_tick,
    i6_progress_against_the_tick_that_lets_go,
    i6_shared_progress_against_the_tick_that_lets_go large,
];

/// A waiter that has polled once.
struct Asked<F: Future> {
    future: F,
    first: Poll<F::Output>,
    bell: Arc<Bell>,
}

impl<F: Future + Unpin> Asked<F> {
    fn new(mut future: F) -> Self {
        let (bell, waker) = Bell::new();
        let first = poll(&mut future, &waker);
        Self { future, first, bell }
    }

    /// What it came to, now that everybody has done what they were to do.
    fn outcome(mut self) -> F::Output {
        match self.first {
            Poll::Ready(output) => output,
            Poll::Pending => {
                assert!(self.bell.rang(), "the wake-up was lost");
                let Poll::Ready(output) = poll(&mut self.future, Waker::noop()) else {
                    panic!("woken for nothing, and nobody is left to wake it again")
                };
                output
            }
        }
    }
}

/// A thread that makes a future, which registers, and polls it.
fn ask<F: Future + Unpin + 'static>(
    store: &Store,
    make: impl FnOnce(&Store) -> F + 'static,
) -> JoinHandle<Asked<F>>
where
    F::Output: 'static,
{
    let store = store.clone();
    thread::spawn(move || Asked::new(make(&store)))
}

/// I6. A waiter comes while the task ends.
fn i6_a_wait_against_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let waiter = ask(&store, move |store| store.wait(id));
    task.succeed("done").unwrap();
    assert_eq!(waiter.join().unwrap().outcome(), Ok(task.status().unwrap()));
}

/// I6. Two waiters come while the task ends: both learn of it.
fn i6_two_wait_for_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let waiters = [(); 2].map(|()| ask(&store, move |store| store.wait(id)));
    task.fail(FailureReason::Error, "no").unwrap();
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap().outcome(), Ok(task.status().unwrap()));
    }
}

/// I6. A waiter comes while the task ends and is removed: it gets the terminal status, unless it came
/// when the task was gone.
fn i6_a_wait_against_the_end_and_the_removal() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let waiter = ask(&store, move |store| store.wait(id));
    task.succeed(()).unwrap();
    let last = store.remove(id).unwrap();
    let asked = waiter.join().unwrap();
    let waited = asked.first.is_pending();
    match asked.outcome() {
        Ok(status) => assert_eq!(status, last),
        Err(why) => assert_eq!((why, waited), (Absent::Gone(Some(GoneReason::Removed)), false)),
    }
}

/// I6. A waiter registers while the task ends. It looks only when the task has been removed, and
/// learns of the end all the same.
fn i6_a_registration_against_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let maker = {
        let store = store.clone();
        thread::spawn(move || store.wait(id))
    };
    task.succeed(()).unwrap();
    let mut waiting = maker.join().unwrap();
    let last = store.remove(id).unwrap();
    assert_eq!(poll(&mut waiting, Waker::noop()), Poll::Ready(Ok(last)));
}

/// I6. Somebody who has waited since before the end looks while the task ends and is removed: they learn how
/// it ended, and not that it is gone.
fn i6_a_waiter_from_before_against_the_end_and_the_removal() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let waiting = store.wait(id);
    let waiter = ask(&store, |_| waiting);
    task.succeed(()).unwrap();
    let last = store.remove(id).unwrap();
    assert_eq!(waiter.join().unwrap().outcome(), Ok(last));
}

/// I6. Somebody waits for the end. Once the task can be removed, as only one that has ended can, the waiter
/// learns how it ended, and not that it is gone.
fn i6_an_end_is_told_before_the_task_can_be_removed() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let [mut first, mut later] = [(); 2].map(|()| store.wait(id));
    let worker = thread::spawn(move || {
        task.succeed(()).unwrap();
        task
    });
    if let Ok(last) = store.remove(id) {
        assert_eq!(poll(&mut first, Waker::noop()), Poll::Ready(Ok(last)));
    }
    let task = worker.join().unwrap();
    let last = store.remove(id).ok();
    if let Poll::Ready(learned) = poll(&mut later, Waker::noop()) {
        assert!(learned.is_ok_and(|learned| last.is_none_or(|last| last == learned)), "{learned:?}");
    } else {
        panic!("it was not told");
    }
    drop(task);
}

/// I6. Somebody has seen the last status and waits for another one while the task is removed: once they
/// are told that it is gone, no poll finds it.
fn i6_a_removal_is_told_when_polls_find_nothing() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    task.succeed(()).unwrap();
    let (id, last) = (task.id(), task.status().unwrap());
    let mut waiting = store.changed_since(id, last.version());
    let waiter = {
        let store = store.clone();
        thread::spawn(move || match poll(&mut waiting, Waker::noop()) {
            Poll::Ready(told) => assert_eq!((told.is_err(), store.get(id)), (true, None)),
            Poll::Pending => {}
        })
    };
    assert_eq!(store.remove(id), Ok(last));
    waiter.join().unwrap();
}

/// I6. A worker sets a message and then makes silent progress, since the message has noted the time. A stream
/// that has told of the message tells of the progress within two ticks.
fn i6_progress_after_a_message_against_a_stream() {
    let (store, clock) = store(1);
    let task = running(&store).share();
    let mut watch = store.watch(task.id());
    let first = poll_next(&mut watch, Waker::noop());
    assert!(matches!(first, Poll::Ready(Some(_))));
    // The keeper lets go of what is quiet.
    for _ in 0..3 {
        clock.advance(STEP);
        store.tick();
    }
    clock.advance(STEP);
    let worker = thread::spawn(move || {
        task.set_message("hello").unwrap();
        task.set_done(1).unwrap();
        task
    });
    let (bell, waker) = Bell::new();
    let mut done = 0;
    while let Poll::Ready(status) = poll_next(&mut watch, &waker) {
        done = status.unwrap().done();
    }
    let task = worker.join().unwrap();
    (0..2).for_each(|_| store.tick());
    assert!(done == 1 || bell.rang(), "the wake-up was lost");
    while let Poll::Ready(status) = poll_next(&mut watch, Waker::noop()) {
        done = status.unwrap().done();
    }
    assert_eq!(done, 1);
    drop(task);
}

/// I6. A waiter for any change comes while the task is started.
fn i6_a_change_against_a_start() {
    let (store, _clock) = store(1);
    let mut task = create(&store);
    let seen = task.status().unwrap().version();
    let id = task.id();
    let waiter = ask(&store, move |store| store.changed_since(id, seen));
    task.start().unwrap();
    let status = waiter.join().unwrap().outcome().unwrap();
    assert!(status.version() > seen && status.state() == State::Running);
}

/// I6. A waiter for any change comes while two messages are set, and has seen what was before them, or
/// learns of one of them.
fn i6_a_change_against_two_messages() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let seen = task.status().unwrap().version();
    let waiter = ask(&store, move |store| store.changed_since(id, seen));
    task.set_message("one").unwrap();
    task.set_message("two").unwrap();
    assert!(waiter.join().unwrap().outcome().unwrap().version() > seen);
}

/// I6. A worker begins to wait for a request to cancel while there is one, and an increment.
fn i6_a_waiter_for_cancellation_against_a_request() {
    let (store, _clock) = store(1);
    let task = running(&store).share();
    let (id, worker) = (task.id(), task.clone());
    let waiter = ask(&store, move |_| worker.cancelled());
    let other = {
        let store = store.clone();
        thread::spawn(move || store.cancel(id).unwrap())
    };
    task.advance(1).unwrap();
    let _ = other.join().unwrap();
    waiter.join().unwrap().outcome();
    assert!(task.cancel_requested());
}

/// I6. Somebody has seen the last status and waits for another one while the task is removed.
fn i6_the_last_status_against_its_removal() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    task.succeed(()).unwrap();
    let (id, last) = (task.id(), task.status().unwrap());
    let waiter = ask(&store, move |store| store.changed_since(id, last.version()));
    let _ = store.remove(id).unwrap();
    let outcome = waiter.join().unwrap().outcome();
    assert_eq!(outcome, Err(Absent::Gone(Some(GoneReason::Removed))));
}

/// I6, I9. Somebody has seen the last status and waits for another one while the task expires.
fn i6_the_last_status_against_its_expiry() {
    let keep = Retention::forever().succeeded_for(STEP);
    let (store, clock) = store_with(|builder| builder.capacity(1).retain(keep));
    let mut task = running(&store);
    task.succeed(()).unwrap();
    let (id, last) = (task.id(), task.status().unwrap());
    let waiter = ask(&store, move |store| store.changed_since(id, last.version()));
    clock.advance(STEP);
    store.tick();
    let outcome = waiter.join().unwrap().outcome();
    assert_eq!(outcome, Err(Absent::Gone(Some(GoneReason::Expired))));
}

/// I6. A waiter comes back with another waker while the task ends: the one it left last is called, if it
/// still waits.
fn i6_a_new_waker_against_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let mut future = store.wait(task.id());
    assert!(poll(&mut future, Waker::noop()).is_pending());
    let waiter = ask(&store, |_| future);
    task.succeed(()).unwrap();
    assert_eq!(waiter.join().unwrap().outcome(), Ok(task.status().unwrap()));
}

/// I6. One of two waiters gives up while the task ends: the other is woken all the same.
fn i6_a_waiter_that_leaves_against_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let leaving = Asked::new(store.wait(task.id()));
    let staying = Asked::new(store.wait(task.id()));
    let other = thread::spawn(move || drop(leaving));
    task.succeed(()).unwrap();
    other.join().unwrap();
    assert_eq!(staying.outcome(), Ok(task.status().unwrap()));
}

/// I6. A waiter gives up while another comes, and may get its entry, and the task ends.
fn i6_a_waiter_that_leaves_against_one_that_comes() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let leaving = Asked::new(store.wait(task.id()));
    let other = thread::spawn(move || drop(leaving));
    let id = task.id();
    let coming = ask(&store, move |store| store.wait(id));
    task.succeed(()).unwrap();
    other.join().unwrap();
    assert_eq!(coming.join().unwrap().outcome(), Ok(task.status().unwrap()));
}

/// I6. A waiter sleeps until it is woken, and looks again at once: were it woken before the end is there
/// to be seen, it would sleep for ever.
fn i6_a_sleeper_is_woken_by_the_end() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let waiter = sleeper(&store, task.id());
    task.succeed(()).unwrap();
    assert_eq!(waiter.join().unwrap(), task.status().unwrap());
}

/// I6. As above, of a change that is not the end.
fn i6_a_sleeper_is_woken_by_a_message() {
    let (store, _clock) = store(1);
    let mut task = running(&store);
    let (id, seen) = (task.id(), task.status().unwrap().version());
    let other = store.clone();
    let waiter = thread::spawn(move || block_on(other.changed_since(id, seen)).unwrap());
    task.set_message("hello").unwrap();
    assert_eq!(waiter.join().unwrap(), task.status().unwrap());
}

/// I6, I5. A stream follows a task that starts, works and succeeds: it never repeats a version, never
/// goes back, never skips the end, and then ends.
fn i6_a_stream_against_a_whole_life() {
    let (store, _clock) = store(1);
    let mut task = create(&store);
    let (id, other) = (task.id(), store.clone());
    let watcher = thread::spawn(move || {
        let mut watch = other.watch(id);
        let mut seen: Vec<Status> = Vec::new();
        while let Some(status) = block_on(next(&mut watch)) {
            seen.push(status);
        }
        assert!(poll_next(&mut watch, Waker::noop()).is_ready());
        seen
    });
    task.start().unwrap();
    task.advance(1).unwrap();
    task.succeed(()).unwrap();
    let seen = watcher.join().unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].version() < pair[1].version()), "{seen:?}");
    assert_eq!(seen.last(), Some(&task.status().unwrap()));
}

/// I6. The time of a waiter runs out while the task ends: it learns of one or the other.
fn i6_a_time_out_against_the_end() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let waiter = ask(&store, move |store| store.wait_timeout(id, STEP));
    let keeper = {
        let store = store.clone();
        thread::spawn(move || {
            clock.advance(STEP);
            store.tick();
        })
    };
    task.succeed(()).unwrap();
    keeper.join().unwrap();
    match waiter.join().unwrap().outcome() {
        Ok(status) => assert_eq!(status, task.status().unwrap()),
        Err(WaitError::TimedOut(status)) => assert!(!status.is_terminal()),
        Err(WaitError::Absent(why)) => panic!("{why}"),
    }
}

/// Somebody who has seen `seen` and waits for a change, and is to learn of progress at the coming tick.
fn is_told_of_progress(
    store: &Store,
    clock: &ManualClock,
    waiter: Asked<inflight::ChangedSince>,
    seen: Version,
) {
    tick(store, clock);
    assert!(waiter.outcome().unwrap().version() > seen);
}

fn changes(store: &Store, id: TaskId) -> (Version, inflight::ChangedSince) {
    let seen = store.get(id).unwrap().version();
    (seen, store.changed_since(id, seen))
}

/// I6. Somebody begins to watch while the worker makes silent progress: it was noted in this tick
/// already, so the increment tells nobody. The next tick does.
fn i6_progress_against_a_new_watcher() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    task.advance(1).unwrap();
    let (id, seen) = (task.id(), task.status().unwrap().version());
    let waiter = ask(&store, move |store| store.changed_since(id, seen));
    let other = ask(&store, move |store| store.changed_since(id, seen));
    task.advance(1).unwrap();
    let waiters = [waiter.join().unwrap(), other.join().unwrap()];
    tick(&store, &clock);
    for waiter in waiters {
        assert!(waiter.outcome().unwrap().version() > seen);
    }
}

/// I6. Somebody begins to watch while two ticks pass and the worker makes progress, twice in one tick: what
/// was silent since the watcher registered is told.
fn i6_progress_against_a_watcher_that_comes_slowly() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let watcher = {
        let (store, id) = (store.clone(), task.id());
        thread::spawn(move || {
            let (bell, waker) = Bell::new();
            let (mut watch, mut done) = (store.watch(id), 0);
            while let Poll::Ready(status) = poll_next(&mut watch, &waker) {
                done = status.unwrap().done();
            }
            (watch, bell, done)
        })
    };
    let tick = || {
        clock.advance(STEP);
        store.tick();
    };
    (0..2).for_each(|_| tick());
    task.advance(1).unwrap();
    task.advance(1).unwrap();
    let (_watch, bell, done) = watcher.join().unwrap();
    (0..2).for_each(|_| tick());
    assert!(done == 2 || bell.rang(), "the wake-up was lost");
}

/// A thread that begins to wait for a change, and then ticks at once, twice. The pulse moves at the first.
fn comes_and_ticks(
    store: &Store,
    clock: &ManualClock,
    id: TaskId,
    seen: Version,
) -> JoinHandle<Asked<inflight::ChangedSince>> {
    let store = store.clone();
    clock.advance(STEP);
    thread::spawn(move || {
        let asked = Asked::new(store.changed_since(id, seen));
        store.tick();
        store.tick();
        asked
    })
}

/// I6. The store–load race of a new watcher: the worker notes the time and then finds that nobody observes
/// the task, while the watcher sets the flag and the keeper then finds an old time. Each may miss the other,
/// and all the worker's further progress in this tick is silent.
fn i6_progress_against_a_new_watcher_and_its_tick() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    tick(&store, &clock);
    let (id, seen) = (task.id(), task.status().unwrap().version());
    let waiter = comes_and_ticks(&store, &clock, id, seen);
    task.advance(1).unwrap();
    let waiter = waiter.join().unwrap();
    is_told_of_progress(&store, &clock, waiter, seen);
}

/// I6. A watcher comes while the task is on the list for another reason, and the keeper drops it: the watcher
/// finds the mark, and so does not put the task on the list, and the keeper has not seen that it is observed.
fn i6_a_new_watcher_against_the_tick_that_lets_go() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let reader = store.changes().unwrap();
    tick(&store, &clock);
    drop(reader);
    clock.advance(STEP);
    let (id, seen) = (task.id(), task.status().unwrap().version());
    let waiter = ask(&store, move |store| store.changed_since(id, seen));
    let keeper = {
        let store = store.clone();
        thread::spawn(move || store.tick())
    };
    task.advance(1).unwrap();
    keeper.join().unwrap();
    let waiter = waiter.join().unwrap();
    is_told_of_progress(&store, &clock, waiter, seen);
}

/// I6. The store–load race of sampled progress: the worker stores its count and then finds that the pulse has
/// not moved, while the keeper moves it and then samples the count. Each may miss the other; the next move
/// does not.
fn i6_silent_progress_against_a_tick() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    task.advance(1).unwrap();
    let (seen, future) = changes(&store, task.id());
    let waiter = Asked::new(future);
    let keeper = keeper(&store, &clock);
    task.advance(1).unwrap();
    keeper.join().unwrap();
    is_told_of_progress(&store, &clock, waiter, seen);
}

/// I6. As above, with a counter.
fn i6_a_counters_progress_against_a_tick() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let id = task.id();
    let mut counter = task.counter();
    counter.advance(1).unwrap();
    let (seen, future) = changes(&store, id);
    let waiter = Asked::new(future);
    let keeper = keeper(&store, &clock);
    counter.advance(1).unwrap();
    keeper.join().unwrap();
    is_told_of_progress(&store, &clock, waiter, seen);
}

/// I6. The keeper lets go of a task that was quiet for a tick, while the worker makes progress: either
/// the keeper sees the time that is noted, or the worker puts the task back on the list.
fn i6_progress_against_the_tick_that_lets_go() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    task.advance(1).unwrap();
    let (seen, future) = changes(&store, task.id());
    let waiter = Asked::new(future);
    tick(&store, &clock);
    let keeper = keeper(&store, &clock);
    task.advance(1).unwrap();
    keeper.join().unwrap();
    is_told_of_progress(&store, &clock, waiter, seen);
}

/// I6. As above, with two who add.
fn i6_shared_progress_against_the_tick_that_lets_go() {
    let (store, clock) = store(1);
    let task = running(&store).share();
    task.advance(1).unwrap();
    let (seen, future) = changes(&store, task.id());
    let waiter = Asked::new(future);
    tick(&store, &clock);
    let other = {
        let task = task.clone();
        thread::spawn(move || task.advance(1).unwrap())
    };
    clock.advance(STEP);
    let keeper = {
        let store = store.clone();
        thread::spawn(move || store.tick())
    };
    task.advance(1).unwrap();
    keeper.join().unwrap();
    other.join().unwrap();
    is_told_of_progress(&store, &clock, waiter, seen);
    assert_eq!(task.status().unwrap().done(), 3);
}
