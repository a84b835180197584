//! Several threads at once, for a bounded number of rounds, by invariant.
//!
//! * I2: a poll is from one instant, whatever the writer does meanwhile.
//! * I3: of several threads that end a task one wins, and the others are told how it ended.
//! * I4: a counted increment is in the final status, a refused one is not; the end stays as it is.
//! * I5: no poller sees a version go back, also when a client's id is used again.
//! * I7, I9, I11: in a small store with many creations and removals, no id ever reads another task's status,
//!   ids of tasks that are gone are never unknown, the store never holds more tasks than its capacity, and no
//!   line is lost.
//! * I8: the feed reports every task, each end and each removal, once a drain, and never goes back.
//! * I10: leases that run out while the worker works.
//! * I12: counts and sums are exact when all threads are done.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;
#[path = "stress/over.rs"]
mod over;
#[path = "stress/reuse.rs"]
mod reuse;
#[path = "stress/sums.rs"]
mod sums;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread::{self, scope};
use std::time::Duration;

use common::{builder, running, store, task};
use inflight::{
    ChangeKind, Drained, FailureReason, Finish, GoneReason, MAX_ATTEMPTS, ManualClock, NewTask,
    ProgressError, State, Status, Store, TaskId,
};
use over::{OnPanic, Over, until};

/// What one poller remembers of one task, to compare the next poll with.
#[derive(Default)]
struct Poller {
    last: Option<Status>,
    polls: u64,
}

impl Poller {
    /// I4, I5.
    fn check(&mut self, status: Status) {
        if let Some(last) = self.last {
            assert!(status.version() >= last.version(), "I5: {last:?} then {status:?}");
            if last.is_terminal() {
                assert_eq!((status, status.version()), (last, last.version()), "I4");
            }
            if status.version() == last.version() {
                let what = |status: Status| (status.state(), status.attempt(), status.done());
                assert_eq!(what(status), what(last), "I5");
            }
        }
        self.last = Some(status);
        self.polls += 1;
    }
}

const BASE: u64 = 1_000;
const STEPS: u64 = 20;

/// What the writers of the next test keep true: state, attempt, count and the request to cancel belong
/// together.
fn whole(status: &Status) {
    let attempt = u64::from(status.attempt());
    let done = status.done();
    match status.state() {
        State::Pending => assert_eq!(done, 0, "{status:?}"),
        State::Running => assert!(done == 0 || done / BASE == attempt, "{status:?}"),
        State::Blocked => assert_eq!(done, attempt * BASE + STEPS, "{status:?}"),
        State::Succeeded => panic!("{status:?}"),
        State::Failed => {
            assert_eq!(status.failure_reason(), Some(FailureReason::ALL[attempt as usize % 5]), "{status:?}");
            assert_eq!(done, attempt * BASE + STEPS, "{status:?}");
        }
        State::Cancelled => assert_eq!(done, 0, "{status:?}"),
    }
    assert_eq!(status.failure_reason().is_some(), status.state() == State::Failed, "{status:?}");
    assert_eq!(
        status.started_at().is_some(),
        matches!(status.state(), State::Running | State::Blocked | State::Failed),
        "{status:?}"
    );
}

/// Works on a task, by either kind of handle, for a minimum of attempts, and until the pollers have seen
/// enough of it.
macro_rules! try_often {
    ($task:ident, $seen:expr) => {
        for attempt in 1..MAX_ATTEMPTS {
            $task.start().unwrap();
            $task.set_done(u64::from(attempt) * BASE).unwrap();
            (0..STEPS).for_each(|_| $task.advance(1).unwrap());
            $task.block().unwrap();
            if attempt >= 20 && $seen {
                break;
            }
            $task.retry().unwrap();
        }
    };
}

#[test]
fn i2_i4_i5_polls_are_whole_and_go_forward() {
    const TASKS: u64 = 60;
    const POLLS: u64 = 30_000;
    let (store, clock) = store(TASKS as usize);
    let (over, polls, present) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(None));
    let poll = || {
        let mut poller = Poller::default();
        until(&over, || {
            let Some(id) = *present.lock().unwrap() else { return };
            if poller.last.is_some_and(|last| last.id() != id) {
                poller.last = None;
            }
            for _ in 0..1_000 {
                let status = store.get(id).unwrap();
                whole(&status);
                poller.check(status);
            }
            polls.fetch_add(1_000, Ordering::Relaxed);
        });
    };
    scope(|scope| {
        let pollers = [scope.spawn(poll), scope.spawn(poll)];
        scope.spawn(|| {
            until(&over, || {
                clock.advance(Duration::from_micros(50));
                store.tick();
            });
        });
        let _over = Over(&over);
        for round in 1..=TASKS {
            let seen =
                || polls.load(Ordering::Relaxed) >= round * POLLS || pollers.iter().any(|p| p.is_finished());
            let mut task = task(&store);
            *present.lock().unwrap() = Some(task.id());
            if round % 2 == 0 {
                try_often!(task, seen());
                let attempt = task.status().unwrap().attempt() as usize;
                task.fail(FailureReason::ALL[attempt % 5], ()).unwrap();
            } else {
                let task = task.share();
                try_often!(task, seen());
                task.retry().unwrap();
                task.cancel().unwrap();
            }
        }
        assert!(polls.load(Ordering::Relaxed) >= TASKS * POLLS, "the pollers have seen all tasks running");
    });
}

#[test]
fn i3_i4_one_of_several_ends_a_task() {
    const ROUNDS: usize = 400;
    const THREADS: u64 = 4;
    let (store, _) = store(ROUNDS);
    let tasks: Vec<_> = (0..ROUNDS).map(|_| running(&store).share()).collect();
    let barrier = Barrier::new(THREADS as usize);
    let enders: Vec<Vec<(Result<Finish, _>, u64)>> = scope(|scope| {
        let ender = |me: u64| {
            let (barrier, tasks) = (&barrier, &tasks);
            move || {
                let end = |task: &inflight::SharedTask| {
                    barrier.wait();
                    let added = (0..20).filter(|_| task.advance(me + 1).is_ok()).count() as u64 * (me + 1);
                    let finish = match me % 3 {
                        0 => task.succeed(me.to_string()),
                        1 => task.fail(FailureReason::Error, me.to_string()),
                        _ => task.cancel(),
                    };
                    (finish, added)
                };
                tasks.iter().map(end).collect()
            }
        };
        let threads: Vec<_> = (0..THREADS).map(|me| scope.spawn(ender(me))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (round, task) in tasks.iter().enumerate() {
        let details = store.details(task.id()).unwrap();
        let status = details.status();
        let said: Vec<_> = enders.iter().map(|ender| &ender[round]).collect();
        let winners: Vec<_> = (0..THREADS).filter(|me| said[*me as usize].0 == Ok(Finish::Won)).collect();
        assert_eq!(winners.len(), 1, "I3: {said:?}");
        let losers = said.iter().filter(|(finish, _)| *finish == Ok(Finish::Lost(status))).count();
        assert_eq!(losers as u64, THREADS - 1, "I3: {said:?}");
        let states = [State::Succeeded, State::Failed, State::Cancelled];
        assert_eq!(status.state(), states[winners[0] as usize % 3]);
        let text = details.result().or(details.error()).and_then(|payload| payload.as_text());
        assert_eq!(text, (winners[0] % 3 < 2).then(|| winners[0].to_string()).as_deref());
        assert_eq!(status.done(), said.iter().map(|(_, added)| added).sum::<u64>(), "I4: counted or refused");
    }
}

/// Each addition is either counted, and then part of the end, or refused, whenever the end comes.
#[test]
fn i4_what_is_counted_is_in_the_end() {
    const ROUNDS: usize = 3_000;
    let (store, _) = store(ROUNDS);
    let tasks: Vec<_> = (0..ROUNDS).map(|_| running(&store).share()).collect();
    let over = AtomicBool::new(false);
    scope(|scope| {
        let adder = scope.spawn(|| {
            let counts =
                |task: &inflight::SharedTask| task.advance(1).is_ok() && !over.load(Ordering::Acquire);
            let add = |task: &inflight::SharedTask| (0..).take_while(|_| counts(task)).count();
            tasks.iter().map(add).collect::<Vec<_>>()
        });
        let _over = OnPanic(&over);
        for task in &tasks {
            while task.status().unwrap().done() < 20 {
                std::hint::spin_loop();
            }
            assert_eq!(task.succeed(()), Ok(Finish::Won));
        }
        for (task, counted) in tasks.iter().zip(adder.join().unwrap()) {
            assert_eq!(task.status().unwrap().done(), counted as u64);
        }
    });
}

#[test]
fn i4_i10_a_lease_that_runs_out_counts_what_it_let_in() {
    const ROUNDS: u64 = 150;
    let (store, clock) = store(ROUNDS as usize);
    let over = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            until(&over, || {
                clock.advance(Duration::from_micros(80));
                store.tick();
            });
        });
        let _over = Over(&over);
        for round in 0..ROUNDS {
            let new = NewTask::new("test").lease(Duration::from_micros(80 + round));
            let mut task = store.create(new).unwrap();
            let mut added = 0;
            if task.start().is_ok() {
                while task.advance(1).is_ok() {
                    added += 1;
                    if added % 64 == 0 {
                        thread::yield_now();
                    }
                    if added % 1_000 == 0 {
                        // Progress extends a lease: wait until it has run out.
                        while !task.status().unwrap().is_terminal() {
                            thread::yield_now();
                        }
                        break;
                    }
                }
                assert_eq!(task.advance(1), Err(ProgressError::NotRunning));
            }
            // Counting is closed a moment before the state says so.
            while !task.status().unwrap().is_terminal() {
                thread::yield_now();
            }
            let status = task.status().unwrap();
            assert_eq!((status.state(), status.failure_reason()), (State::Failed, Some(FailureReason::Lost)));
            assert_eq!(status.done(), added, "I4");
            assert_eq!(task.succeed(()), Ok(Finish::Lost(status)));
        }
    });
}

/// One drain after the other, as a subscriber would record them.
#[derive(Default)]
struct Log {
    last: HashMap<TaskId, (Status, ChangeKind)>,
    born: HashMap<TaskId, u64>,
}

impl Log {
    fn enter(&mut self, drained: Drained) {
        let Drained::Changes(changes) = drained else { panic!("the reader has not fallen behind") };
        let mut once = std::collections::HashSet::new();
        for change in changes {
            let id = change.status.id();
            assert!(once.insert(id), "I8: once a drain");
            *self.born.entry(id).or_default() += u64::from(change.is_new);
            if let Some((before, kind)) = self.last.insert(id, (change.status, change.kind)) {
                assert!(change.status.version() >= before.version(), "I8: {before:?} {change:?}");
                assert!(!matches!(kind, ChangeKind::Gone(_)), "I8: after its removal");
            }
            let is_over = matches!(change.kind, ChangeKind::Ended | ChangeKind::Gone(_));
            assert_eq!(is_over, change.status.is_terminal(), "{change:?}");
        }
    }
}

#[test]
fn i8_the_feed_loses_nothing() {
    const TASKS: usize = 8_000;
    let (store, clock) = store(3 * TASKS);
    let mut changes = store.changes().unwrap();
    let over = AtomicBool::new(false);
    let work = |remove: bool| {
        let store = &store;
        move || -> Vec<(TaskId, Status)> {
            let one = |number| {
                let mut task = task(store);
                task.start().unwrap();
                (0..number % 7).for_each(|_| task.advance(1).unwrap());
                match number % 3 {
                    0 => drop(task.succeed(())),
                    1 => drop(task.fail(FailureReason::Error, ())),
                    _ => drop(task.cancel()),
                }
                let status = task.status().unwrap();
                if remove {
                    assert_eq!(store.remove(task.id()), Ok(status));
                }
                (task.id(), status)
            };
            (0..TASKS).map(one).collect()
        }
    };
    let mut log = Log::default();
    scope(|scope| {
        let over = &over;
        let (store, clock) = (&store, &clock);
        scope.spawn(move || {
            until(over, || {
                clock.advance(Duration::from_micros(200));
                store.tick();
            });
        });
        let workers = [scope.spawn(work(true)), scope.spawn(work(false))];
        let _over = Over(over);
        while workers.iter().any(|worker| !worker.is_finished()) {
            log.enter(changes.try_drain());
        }
        log.enter(changes.try_drain());
        for (worker, removed) in workers.into_iter().zip([true, false]) {
            for (id, status) in worker.join().unwrap() {
                let kind = if removed { ChangeKind::Gone(GoneReason::Removed) } else { ChangeKind::Ended };
                assert_eq!(log.last.get(&id), Some(&(status, kind)), "I8");
                assert_eq!(log.born.get(&id), Some(&1), "I8: it is new once");
            }
        }
    });
    assert_eq!(log.last.len(), 2 * TASKS);
}

/// Retention by a keeper thread, while workers work: live tasks are never removed.
#[test]
fn i9_retention_leaves_the_living_alone() {
    const ROUNDS: usize = 2_000;
    let clock = ManualClock::new();
    let retention = inflight::Retention::forever().succeeded_for(Duration::from_millis(1)).at_most_failed(3);
    let store: Store = builder(64, &clock).retain(retention).build().unwrap();
    let over = AtomicBool::new(false);
    scope(|scope| {
        scope.spawn(|| {
            until(&over, || {
                clock.advance(Duration::from_millis(1));
                store.tick();
            });
        });
        let work = || {
            for number in 0..ROUNDS {
                let mut task = loop {
                    match store.create(NewTask::new("test")) {
                        Ok(task) => break task,
                        Err(_) => thread::yield_now(),
                    }
                };
                task.start().expect("I9: it lives");
                task.advance(7).expect("I9: it lives");
                assert_eq!(task.status().expect("I9: it lives").done(), 7);
                let finish =
                    if number % 2 == 0 { task.succeed(()) } else { task.fail(FailureReason::Error, ()) };
                assert_eq!(finish, Ok(Finish::Won));
            }
        };
        let _over = Over(&over);
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    clock.advance(Duration::from_millis(1));
    store.tick();
    assert_eq!((store.counts().total(), store.counts().of(State::Failed)), (3, 3));
}
