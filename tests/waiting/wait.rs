//! `wait`, `wait_timeout`, `wait_blocking` and `changed_since`.

use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_util::StreamExt;
use inflight::{
    Absent, FailureReason, GoneReason, KeeperMode, ManualClock, NewTask, Retention, State, Store, Task,
    TaskId, WaitError, Watch,
};

use crate::support::{Bell, TICK, builder, comes_to_an_end, ended, pending, running, status, store, tick};

/// Every way in which a task can end, and the state and reason that it then has.
type End = (fn(&Store, &ManualClock, Task), State, Option<FailureReason>);

const ENDS: [End; 9] = [
    (|_, _, mut task| drop(task.succeed("done")), State::Succeeded, None),
    (
        |_, _, mut task| drop(task.fail(FailureReason::TimedOut, "late")),
        State::Failed,
        Some(FailureReason::TimedOut),
    ),
    (|_, _, mut task| drop(task.cancel()), State::Cancelled, None),
    (|_, _, task| drop(task), State::Failed, Some(FailureReason::Lost)),
    (
        |_, _, task| {
            let panics = || {
                let _task = task;
                panic!("on purpose");
            };
            assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        },
        State::Failed,
        Some(FailureReason::Panicked),
    ),
    (|_, _, task| drop(task.scope(|_| Ok::<_, std::io::Error>(()))), State::Succeeded, None),
    (|_, _, task| drop(task.share().succeed(())), State::Succeeded, None),
    (
        |store, clock, task| {
            clock.advance(Duration::from_secs(61));
            store.tick();
            drop(task);
        },
        State::Failed,
        Some(FailureReason::Lost),
    ),
    (
        |store, _, mut task| {
            task.retry().unwrap();
            let _ = store.cancel(task.id()).unwrap();
        },
        State::Cancelled,
        None,
    ),
];

fn leased(store: &Store) -> Task {
    let mut task = store.create(NewTask::new("test").lease(Duration::from_secs(60))).unwrap();
    task.start().unwrap();
    task
}

#[test]
fn i6_wait_resolves_to_every_terminal_status_and_is_woken_at_once_and_by_nothing_else() {
    let (store, clock) = store(16);
    for (number, (end, state, reason)) in ENDS.into_iter().enumerate() {
        let mut task = leased(&store);
        let id = task.id();
        let bell = Bell::new();
        let mut wait = store.wait(id);
        let mut timed = store.wait_timeout(id, Duration::from_secs(3_600));
        assert_eq!(bell.poll(&mut wait), Poll::Pending);
        assert_eq!(bell.poll(&mut timed), Poll::Pending);
        task.advance(1).unwrap();
        task.set_message("at work").unwrap();
        task.set_total(10).unwrap();
        task.block().unwrap();
        task.resume().unwrap();
        let _ = store.cancel(id).unwrap();
        tick(&store, &clock);
        assert_eq!(bell.rung(), 0, "end {number}: it was not the end");
        end(&store, &clock, task);
        assert_eq!(bell.rung(), 2, "end {number}");
        let last = store.get(id).unwrap();
        assert_eq!((last.state(), last.failure_reason()), (state, reason), "end {number}");
        assert_eq!(bell.poll(&mut wait), Poll::Ready(Ok(last)));
        assert_eq!(bell.poll(&mut timed), Poll::Ready(Ok(last)));
        assert_eq!(store.wait_blocking(id), Ok(last));
        let _ = store.remove(id).unwrap();
    }
}

#[test]
fn i6_a_wait_for_what_has_ended_resolves_at_the_first_poll() {
    let (store, _) = store(16);
    let task = ended(&store);
    let last = status(&store, &task);
    let bell = Bell::new();
    assert_eq!(bell.poll(&mut store.wait(task.id())), Poll::Ready(Ok(last)));
    assert_eq!(bell.poll(&mut store.wait_timeout(task.id(), Duration::ZERO)), Poll::Ready(Ok(last)));
    assert_eq!(store.wait_blocking(task.id()), Ok(last));
    assert_eq!(bell.held(), 0);
}

/// Every way in which a terminal task can be removed, and the reason that is reported.
type Going = (fn(&Store, &ManualClock, TaskId), GoneReason);

const GOINGS: [Going; 4] = [
    (
        |store, _, id| {
            let _ = store.remove(id).unwrap();
        },
        GoneReason::Removed,
    ),
    (
        |store, clock, _| {
            clock.advance(Duration::from_secs(100));
            store.tick();
        },
        GoneReason::Expired,
    ),
    (
        // One failure is kept: the latest.
        |store, _, _| {
            drop(running(store));
            store.tick();
        },
        GoneReason::Evicted,
    ),
    (
        |store, clock, _| {
            clock.advance(Duration::from_secs(20));
            store.tick();
        },
        GoneReason::Expired,
    ),
];

/// A store that removes failures after 100 s, and when there is more than one.
fn forgetful() -> (Store, ManualClock) {
    let clock = ManualClock::new();
    let retention = Retention::forever().failed_for(Duration::from_secs(100)).at_most_failed(1);
    (builder(16, &clock).retain(retention).build().unwrap(), clock)
}

/// A failed task; the last way of removal is by a time to live of its own.
fn failed(store: &Store, going: usize) -> Task {
    let new = NewTask::new("test");
    let new = if going == 3 { new.ttl(Duration::from_secs(20)) } else { new };
    let mut task = store.create(new).unwrap();
    task.fail(FailureReason::Error, ()).unwrap();
    task
}

#[test]
fn i6_who_has_seen_the_end_is_woken_by_the_removal_and_told_why() {
    for (number, (go, why)) in GOINGS.into_iter().enumerate() {
        let (store, clock) = forgetful();
        let task = failed(&store, number);
        let id = task.id();
        let seen = status(&store, &task).version();
        let bell = Bell::new();
        let mut changed = store.changed_since(id, seen);
        assert_eq!(bell.poll(&mut changed), Poll::Pending);
        store.tick();
        assert_eq!(bell.rung(), 0);
        go(&store, &clock, id);
        assert_eq!(bell.rung(), 1, "{why:?}");
        let gone = Absent::Gone(Some(why));
        assert_eq!(bell.poll(&mut changed), Poll::Ready(Err(gone)));

        // A later call returns the same, in every form, while the line is not used again.
        assert_eq!(bell.poll(&mut store.wait(id)), Poll::Ready(Err(gone)));
        let timed = bell.poll(&mut store.wait_timeout(id, TICK));
        assert_eq!(timed, Poll::Ready(Err(WaitError::Absent(gone))));
        assert_eq!(store.wait_blocking(id), Err(gone));
        assert_eq!(bell.poll(&mut store.changed_since(id, seen)), Poll::Ready(Err(gone)));
        assert_eq!(bell.held(), 0);
    }
}

#[test]
fn i6_an_end_is_told_even_if_the_task_is_gone_before_the_next_poll() {
    for (number, (go, _)) in GOINGS.into_iter().enumerate() {
        let (store, clock) = forgetful();
        let mut task = pending(&store);
        if number == 3 {
            task = store.create(NewTask::new("test").ttl(Duration::from_secs(20))).unwrap();
        }
        let id = task.id();
        let bell = Bell::new();
        let mut polled = store.wait(id);
        assert_eq!(bell.poll(&mut polled), Poll::Pending);
        let mut never_polled = store.wait(id);
        let mut timed = store.wait_timeout(id, Duration::MAX);
        let mut changed = store.changed_since(id, status(&store, &task).version());
        task.fail(FailureReason::Error, "the error").unwrap();
        let last = status(&store, &task);
        go(&store, &clock, id);
        assert_eq!(store.get(id), None);
        drop(task);
        // Even if another task uses its line.
        let _tenants: Vec<Task> = (0..8).map(|_| pending(&store)).collect();
        assert_eq!(bell.poll(&mut polled), Poll::Ready(Ok(last)));
        assert_eq!(bell.poll(&mut never_polled), Poll::Ready(Ok(last)));
        assert_eq!(bell.poll(&mut timed), Poll::Ready(Ok(last)));
        assert_eq!(bell.poll(&mut changed), Poll::Ready(Ok(last)));
    }
}

#[test]
fn i6_nobody_waits_for_what_never_was() {
    let (store, _) = store(16);
    let bell = Bell::new();
    let task = pending(&store);
    let seen = status(&store, &task).version();
    for id in [TaskId::from_u128(7), TaskId::from_u128(u128::MAX)] {
        assert_eq!(bell.poll(&mut store.wait(id)), Poll::Ready(Err(Absent::Unknown)));
        let timed = bell.poll(&mut store.wait_timeout(id, Duration::MAX));
        assert_eq!(timed, Poll::Ready(Err(WaitError::Absent(Absent::Unknown))));
        assert_eq!(store.wait_blocking(id), Err(Absent::Unknown));
        assert_eq!(bell.poll(&mut store.changed_since(id, seen)), Poll::Ready(Err(Absent::Unknown)));
    }
}

#[test]
fn i6_changed_since_is_woken_at_once_by_every_change_but_progress() {
    let (store, clock) = store(16);
    type Change = fn(&Store, &mut Task);
    let changes: [(&str, Change); 8] = [
        ("start", |_, task| task.start().unwrap()),
        ("message", |_, task| task.set_message("embedding").unwrap()),
        ("total", |_, task| task.set_total(10).unwrap()),
        ("block", |_, task| task.block().unwrap()),
        ("resume", |_, task| task.resume().unwrap()),
        ("request to cancel", |store, task| {
            let _ = store.cancel(task.id()).unwrap();
        }),
        ("retry", |_, task| task.retry().unwrap()),
        ("end", |_, task| drop(task.fail(FailureReason::Error, ()))),
    ];
    let mut task = pending(&store);
    for (what, change) in changes {
        let seen = status(&store, &task).version();
        let bell = Bell::new();
        let mut changed = store.changed_since(task.id(), seen);
        assert_eq!(bell.poll(&mut changed), Poll::Pending, "{what}");
        change(&store, &mut task);
        assert_eq!(bell.rung(), 1, "{what}");
        let now = status(&store, &task);
        assert!(now.version() > seen, "{what}");
        assert_eq!(bell.poll(&mut changed), Poll::Ready(Ok(now)), "{what}");
        tick(&store, &clock);
    }
}

#[test]
fn i6_advance_wakes_nobody_and_the_next_tick_everybody_who_wants_progress() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let bell = Bell::new();
    for round in 1..=3 {
        let seen = status(&store, &task).version();
        let mut changed = store.changed_since(task.id(), seen);
        let mut wait = store.wait(task.id());
        assert_eq!(bell.poll(&mut changed), Poll::Pending);
        assert_eq!(bell.poll(&mut wait), Poll::Pending);
        for _ in 0..100_000 {
            task.advance(1).unwrap();
        }
        assert_eq!(bell.rung(), 0, "increments are silent");
        tick(&store, &clock);
        assert_eq!(bell.rung(), 1, "the one that waits for changes");
        let Poll::Ready(Ok(now)) = bell.poll(&mut changed) else { panic!("it has changed") };
        assert_eq!(now.done(), round * 100_000);
        // Quiet ticks, after which the keeper does not sample the task any more.
        for _ in 0..4 {
            tick(&store, &clock);
        }
    }
}

#[test]
fn i6_progress_is_sampled_whoever_adds_and_whenever_the_waiter_came() {
    let (store, clock) = store(16);
    let task = running(&store).share();
    let bell = Bell::new();
    for round in 0..4 {
        // Quiet for some ticks, or for none; with or without an increment in this tick before the waiter is
        // created.
        for _ in 0..round {
            tick(&store, &clock);
        }
        if round % 2 == 1 {
            task.advance(1).unwrap();
        }
        let mut changed = store.changed_since(task.id(), store.get(task.id()).unwrap().version());
        assert_eq!(bell.poll(&mut changed), Poll::Pending);
        task.advance(1).unwrap();
        assert_eq!(bell.rung(), 0);
        tick(&store, &clock);
        assert_eq!(bell.rung(), 1, "round {round}");
        let Poll::Ready(Ok(_)) = bell.poll(&mut changed) else { panic!("round {round}") };
    }
}

#[test]
fn i5_changed_since_resolves_at_once_for_an_older_version_and_for_an_earlier_use_of_the_id() {
    let (store, clock) = store(16);
    let id = TaskId::from_u128(0x1234_5678);
    let bell = Bell::new();
    let mut seen = None;
    for _ in 0..3 {
        let mut task = store.create(NewTask::new("test").id(id)).unwrap();
        if let Some(seen) = seen {
            let Poll::Ready(Ok(now)) = bell.poll(&mut store.changed_since(id, seen)) else {
                panic!("the version is of an earlier task")
            };
            assert_eq!(now, store.get(id).unwrap());
        }
        task.start().unwrap();
        let before = store.get(id).unwrap();
        task.advance(1).unwrap();
        let Poll::Ready(Ok(now)) = bell.poll(&mut store.changed_since(id, before.version())) else {
            panic!("the count is newer, and need not be sampled for that")
        };
        assert_eq!(now.done(), 1);
        task.succeed(()).unwrap();
        seen = Some(store.get(id).unwrap().version());
        let _ = store.remove(id).unwrap();
        tick(&store, &clock);
    }
}

#[test]
fn i6_a_time_out_comes_at_the_first_tick_after_it_and_not_before() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let bell = Bell::new();
    let mut timed = store.wait_timeout(task.id(), Duration::from_millis(120));
    assert_eq!(bell.poll(&mut timed), Poll::Pending);
    task.advance(5).unwrap();
    for _ in 0..2 {
        tick(&store, &clock);
        assert_eq!(bell.rung(), 0);
        assert_eq!(bell.poll(&mut timed), Poll::Pending);
    }
    tick(&store, &clock);
    assert_eq!(bell.rung(), 1);
    let Poll::Ready(Err(error @ WaitError::TimedOut(last))) = bell.poll(&mut timed) else {
        panic!("150 ms have passed")
    };
    assert_eq!(last, status(&store, &task));
    assert_eq!(error.to_string(), "the task is still running");
    // The future can be polled again, and still returns the end.
    assert_eq!(bell.poll(&mut timed), Poll::Ready(Err(WaitError::TimedOut(last))));
    task.succeed(()).unwrap();
    assert_eq!(bell.poll(&mut timed), Poll::Ready(Ok(status(&store, &task))));
    drop(timed);
    assert_eq!(bell.held(), 0);
}

#[test]
fn i6_time_outs_of_nothing_and_of_for_ever() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let bell = Bell::new();
    let now = status(&store, &task);
    let at_once = bell.poll(&mut store.wait_timeout(task.id(), Duration::ZERO));
    assert_eq!(at_once, Poll::Ready(Err(WaitError::TimedOut(now))));
    assert_eq!(bell.held(), 0);

    let mut for_ever = store.wait_timeout(task.id(), Duration::MAX);
    assert_eq!(bell.poll(&mut for_ever), Poll::Pending);
    clock.advance(Duration::from_secs(60 * 365 * 86_400));
    store.tick();
    assert_eq!(bell.rung(), 0, "sixty years are not for ever");
    task.succeed(()).unwrap();
    assert_eq!(bell.rung(), 1);
    assert_eq!(bell.poll(&mut for_ever), Poll::Ready(Ok(status(&store, &task))));
}

#[test]
fn i6_the_end_comes_before_a_time_out_of_the_same_moment() {
    let (store, clock) = store(16);
    let mut task = running(&store);
    let bell = Bell::new();
    let mut timed = store.wait_timeout(task.id(), TICK);
    assert_eq!(bell.poll(&mut timed), Poll::Pending);
    tick(&store, &clock);
    task.succeed(()).unwrap();
    assert_eq!(bell.poll(&mut timed), Poll::Ready(Ok(status(&store, &task))));
}

#[test]
fn i6_a_future_can_be_asked_again_after_it_has_resolved() {
    let (store, _) = store(16);
    let mut task = running(&store);
    let bell = Bell::new();
    let mut wait = store.wait(task.id());
    let mut changed = store.changed_since(task.id(), status(&store, &task).version());
    assert_eq!(bell.poll(&mut wait), Poll::Pending);
    task.succeed(()).unwrap();
    let last = status(&store, &task);
    for _ in 0..3 {
        assert_eq!(bell.poll(&mut wait), Poll::Ready(Ok(last)));
        assert_eq!(bell.poll(&mut changed), Poll::Ready(Ok(last)));
    }
    let _ = store.remove(task.id()).unwrap();
    assert_eq!(bell.poll(&mut wait), Poll::Ready(Ok(last)));
    assert_eq!(bell.poll(&mut changed), Poll::Ready(Ok(last)));
}

#[test]
fn i6_a_waiter_keeps_the_store_and_so_its_end_comes() {
    let (store, _) = store(16);
    let mut task = running(&store);
    let mut wait = store.wait(task.id());
    let bell = Bell::new();
    assert_eq!(bell.poll(&mut wait), Poll::Pending);
    drop(store);
    assert_eq!(bell.poll(&mut wait), Poll::Pending);
    task.succeed(()).unwrap();
    let Poll::Ready(Ok(last)) = bell.poll(&mut wait) else { panic!("it has ended") };
    assert_eq!(last.state(), State::Succeeded);
}

#[test]
fn i6_wait_blocking_returns_whenever_the_end_comes() {
    comes_to_an_end(|| {
        let store = Store::builder().capacity(64).build().unwrap();
        for _ in 0..2_000 {
            let task = running(&store);
            let id = task.id();
            let (tell, told) = mpsc::channel();
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let (store, tell) = (store.clone(), tell.clone());
                    thread::spawn(move || {
                        // A call that was meant for something else, and comes too early.
                        thread::current().unpark();
                        tell.send(store.wait_blocking(id))
                    })
                })
                .collect();
            let mut task = task;
            task.succeed("done").unwrap();
            drop(tell);
            let last = store.get(id).unwrap();
            assert_eq!(told.iter().collect::<Vec<_>>(), [Ok(last); 2]);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap().unwrap());
            let _ = store.remove(id).unwrap();
        }
    });
}

#[test]
fn i6_a_keeper_of_its_own_samples_and_times_out() {
    assert_eq!(KeeperMode::default(), KeeperMode::Thread { tick: TICK }, "the documented default");
    comes_to_an_end(|| {
        let tick = Duration::from_millis(1);
        let store = Store::builder().capacity(16).keeper(KeeperMode::Thread { tick }).build().unwrap();
        let mut task = running(&store);
        let seen = status(&store, &task).version();
        task.advance(1).unwrap();
        let changed = smol::block_on(store.changed_since(task.id(), seen)).unwrap();
        assert_eq!(changed.done(), 1);
        // Only the keeper can end this wait: nothing else happens.
        let waited = smol::block_on(store.wait_timeout(task.id(), 5 * tick));
        assert_eq!(waited, Err(WaitError::TimedOut(changed)));
        let waits = store.changed_since(task.id(), changed.version());
        let waiter = thread::spawn(move || smol::block_on(waits));
        task.advance(1).unwrap();
        assert_eq!(waiter.join().unwrap().unwrap().done(), 2);
    });
}

#[test]
fn i6_a_change_at_the_very_moment_of_looking_wakes() {
    comes_to_an_end(|| {
        const CHANGES: u64 = 50_000;
        let (store, _) = store(16);
        let mut task = running(&store);
        let (seen, mut watch) = (Arc::new(AtomicU64::new(0)), store.watch(task.id()));
        let waiter = thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let next = |watch: &mut Watch| smol::block_on(watch.next());
                while next(&mut watch).is_some_and(|status| !status.is_terminal()) {
                    seen.fetch_add(1, Ordering::Release);
                }
            }
        });
        // The next change is made as soon as the last one was seen, so just when the waiter goes to sleep. If
        // its wake-up were lost, nothing would ever wake it, and this test would hang.
        for change in 1..=CHANGES {
            let mut looks = 0_u64;
            while seen.load(Ordering::Acquire) < change {
                looks += 1;
                // For machines with one core.
                if looks.is_multiple_of(1_000) { thread::yield_now() } else { spin_loop() }
            }
            task.set_message("a change").unwrap();
        }
        task.succeed(()).unwrap();
        waiter.join().unwrap();
        assert!(seen.load(Ordering::Acquire) >= CHANGES);
    });
}
