//! Several threads at once, for a bounded number of rounds, by invariant.
//!
//! * I2: a poll is from one instant, whatever the writer does meanwhile.
//! * I3: of several who end a task one wins, and the others are told how it ended.
//! * I4: what was counted is in the final status, what was refused is not; the end stays as it is.
//! * I5: no poller sees a version go back, also when a client's id is used again.
//! * I7, I9, I11: in a small store under churn no id ever reads another task's status, ids of tasks that
//!   are gone are never unknown, there is never more in the store than fits, and no line is lost.
//! * I8: the feed tells of every task, each end and each removal, once a drain, and never goes back.
//! * I10: leases that run out under a worker's hands.
//! * I12: counts and sums are exact when all is quiet.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails where it is surprised")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};
use std::thread::{self, scope};
use std::time::Duration;

use common::{builder, running, store, task};
use inflight::{
    Absent, CancelError, ChangeKind, Counts, CreateError, Drained, FailureReason, Filter, Finish, GoneReason,
    MAX_ATTEMPTS, ManualClock, NewTask, ProgressError, State, Status, Store, TaskId, Version,
};

/// Sets a flag when it goes, also by a panic: so that the others do not run for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The same, but only if the thread panics that has it: others wait for what it was to do.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.fetch_or(thread::panicking(), Ordering::Release);
    }
}

fn until(over: &AtomicBool, mut work: impl FnMut()) {
    while !over.load(Ordering::Acquire) {
        work();
    }
    work();
}

/// What one poller remembers of one task, to hold the next poll against.
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

/// What the writers of the next test see to: that state, attempt, count and the request to cancel belong
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

/// Works at a task, by either kind of handle, for at least some attempts, and until the pollers have seen
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
        assert!(polls.load(Ordering::Relaxed) >= TASKS * POLLS, "the pollers have seen them all at work");
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

/// Each addition is either counted, and then part of the end, or refused: whenever the end comes.
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
                        // Progress keeps a lease: wait until it has run out.
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

/// The number of a task in the churn, in its total; what it is to have done is the same again.
fn is_number(status: &Status, number: u64) -> bool {
    status.total() == Some(number) && (status.done() == 0 || status.done() == number)
}

#[test]
fn i7_i9_i11_a_small_store_under_churn() {
    const CAPACITY: usize = 6;
    const TASKS: u64 = 6_000;
    let (store, _) = store(CAPACITY);
    let (read, next, held) = (AtomicU64::new(0), AtomicU64::new(1), AtomicU64::new(0));
    let ids: Mutex<Vec<(TaskId, u64)>> = Mutex::new(Vec::new());
    let finished = AtomicBool::new(false);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > TASKS && (read.load(Ordering::Relaxed) >= 100 || number > 50 * TASKS) {
                return;
            }
            let mut task = loop {
                match store.create(NewTask::new("test").total(number)) {
                    Ok(task) => break task,
                    Err(error) => {
                        assert_eq!(error, CreateError::Full { capacity: CAPACITY });
                        thread::yield_now();
                    }
                }
            };
            assert!(held.fetch_add(1, Ordering::AcqRel) < CAPACITY as u64, "I9: more than there is room for");
            let id = task.id();
            ids.lock().unwrap().push((id, number));
            task.start().unwrap();
            task.advance(number).unwrap();
            task.succeed(number.to_string()).unwrap();
            let details = store.details(id).unwrap();
            assert_eq!(details.result().and_then(|result| result.as_text()), Some(&*number.to_string()));
            let _ = store.remove(id).unwrap();
            assert_eq!(task.status(), None, "I7: by a handle that outlived its task");
            assert!(task.advance(1).is_err() && task.set_message("late").is_err());
            held.fetch_sub(1, Ordering::AcqRel);
        }
    };
    scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut known = Vec::new();
                until(&finished, || {
                    let ids = ids.lock().unwrap();
                    known.extend_from_slice(&ids[known.len()..]);
                    drop(ids);
                    // The latest, which may be there; and some of the others, whose lines are others' now.
                    let latest = known.iter().rev().take(2 * CAPACITY);
                    for (id, number) in latest.chain(known.iter().step_by(97)) {
                        match store.lookup(*id) {
                            Ok(status) => {
                                assert!(status.id() == *id && is_number(&status, *number), "I7: {status:?}");
                                read.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(Absent::Gone(None | Some(GoneReason::Removed))) => {}
                            Err(other) => panic!("I11: {other:?}"),
                        }
                    }
                });
            });
        }
        let _over = Over(&finished);
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    assert!(read.load(Ordering::Relaxed) >= 100, "the pollers have seen tasks while they lived");
    assert_eq!(store.counts(), Counts::default());
    assert_eq!(store.list(&Filter::new()).unwrap().tasks.len(), 0);
    let again: Vec<_> = (0..CAPACITY).map(|_| task(&store)).collect();
    assert_eq!(again.len(), CAPACITY, "no line is lost");
    for (id, _) in ids.into_inner().unwrap() {
        assert!(matches!(store.lookup(id), Err(Absent::Gone(_))), "I11");
    }
}

/// A client's id, used again and again by several threads.
#[test]
fn i5_i7_a_clients_id_under_churn() {
    const TASKS: u64 = 1_500;
    let (store, _) = store(8);
    let id = TaskId::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
    let (over, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let work = || {
        let _over = OnPanic(&over);
        while made.load(Ordering::Relaxed) < TASKS && !over.load(Ordering::Acquire) {
            let mut task = match store.create(NewTask::new("test").id(id)) {
                Ok(task) => task,
                Err(error) => {
                    assert_eq!(error, CreateError::DuplicateId(id));
                    continue;
                }
            };
            made.fetch_add(1, Ordering::Relaxed);
            task.start().unwrap();
            (0..5).for_each(|_| task.advance(1).unwrap());
            assert_eq!(task.succeed(()), Ok(Finish::Won), "I7: nobody else ends it");
            let _ = store.remove(id).unwrap();
            assert_eq!(task.status(), None);
        }
    };
    scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last: Option<Version> = None;
                until(&over, || {
                    if let Some(status) = store.get(id) {
                        assert!(last.is_none_or(|last| status.version() >= last), "I5: {last:?} {status:?}");
                        assert!(status.id() == id && status.done() <= 5);
                        last = Some(status.version());
                    }
                });
            });
        }
        let _over = Over(&over);
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    assert_eq!(store.counts(), Counts::default());
    let again: Vec<_> = (0..8).map(|_| task(&store)).collect();
    assert_eq!(again.len(), 8, "no line is lost");
}

/// One drain after the other, as a subscriber would keep them.
#[derive(Default)]
struct Book {
    last: HashMap<TaskId, (Status, ChangeKind)>,
    born: HashMap<TaskId, u64>,
}

impl Book {
    fn enter(&mut self, drained: Drained) {
        let Drained::Changes(changes) = drained else { panic!("nothing was dropped, there is room") };
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
    const TASKS: usize = 1_200;
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
    let mut book = Book::default();
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
            book.enter(changes.try_drain());
        }
        book.enter(changes.try_drain());
        for (worker, removed) in workers.into_iter().zip([true, false]) {
            for (id, status) in worker.join().unwrap() {
                let kind = if removed { ChangeKind::Gone(GoneReason::Removed) } else { ChangeKind::Ended };
                assert_eq!(book.last.get(&id), Some(&(status, kind)), "I8");
                assert_eq!(book.born.get(&id), Some(&1), "I8: it is new once");
            }
        }
    });
    assert_eq!(book.last.len(), 2 * TASKS);
}

#[test]
fn i12_counts_and_sums_are_exact_when_all_is_quiet() {
    const CHILDREN: usize = 800;
    let (store, clock) = store(4 * CHILDREN);
    let parent = running(&store);
    let over = AtomicBool::new(false);
    let work = || {
        let (mut done, mut ended) = (0, [0_u64; 6]);
        for number in 0..CHILDREN {
            let new = NewTask::new("test").parent(parent.id()).total(number as u64);
            let mut child = store.create(new).unwrap();
            child.start().unwrap();
            (0..number % 11).for_each(|_| child.advance(3).unwrap());
            if number % 4 == 0 {
                child.retry().unwrap();
                child.start().unwrap();
                child.advance(5).unwrap();
            }
            match number % 5 {
                0 => drop(child.succeed(())),
                1 => drop(child.fail(FailureReason::Error, ())),
                2 => drop(child.cancel()),
                3 => drop(store.cancel(child.id())),
                _ => {}
            }
            let before = child.status().unwrap();
            done += before.done();
            drop(child);
            ended[store.get(before.id()).unwrap().state() as usize] += 1;
        }
        let mut alive = store.create(NewTask::new("test").parent(parent.id()).total(0)).unwrap();
        alive.start().unwrap();
        alive.advance(7).unwrap();
        ended[State::Running as usize] += 1;
        (done + 7, ended, alive)
    };
    let sums = scope(|scope| {
        scope.spawn(|| {
            let mut before = 0;
            until(&over, || {
                clock.advance(Duration::from_micros(100));
                store.tick();
                let children = store.children(parent.id()).unwrap();
                assert!(children.count() <= 3 * (CHILDREN as u64 + 1) + 3, "{children:?}");
                assert!(children.count() + 6 >= before, "children that were there still count");
                before = children.count();
            });
        });
        let _over = Over(&over);
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect::<Vec<_>>()
    });
    clock.advance(Duration::from_millis(1));
    store.tick();
    let children = store.children(parent.id()).unwrap();
    assert_eq!(children.done(), sums.iter().map(|(done, ..)| done).sum::<u64>());
    assert_eq!(children.total(), Some(3 * (CHILDREN * (CHILDREN - 1) / 2) as u64));
    for state in State::ALL {
        let expected: u64 = sums.iter().map(|(_, ended, _)| ended[state as usize]).sum();
        assert_eq!(children.in_state(state), expected, "{state}");
        assert_eq!(store.counts().of(state), expected + u64::from(state == State::Running), "{state}");
    }
}

/// Regression: a task with a client's id can be cancelled as soon as its id is there. The creating thread
/// then put it into its parent's sums once more, as pending, and so it stayed for ever.
#[test]
fn i12_a_child_that_is_cancelled_while_it_is_created() {
    const ROUNDS: u128 = 100_000;
    let (store, _) = store(ROUNDS as usize + 1);
    let parent = running(&store);
    let (round, over) = (AtomicU64::new(0), AtomicBool::new(false));
    scope(|scope| {
        scope.spawn(|| {
            let is_early = || !over.load(Ordering::Acquire);
            for number in 1..=ROUNDS {
                while u128::from(round.load(Ordering::Acquire)) < number && is_early() {
                    std::hint::spin_loop();
                }
                let cancel = || store.cancel(TaskId::from_u128(number));
                while cancel() == Err(CancelError::Absent(Absent::Unknown)) && is_early() {}
            }
        });
        let _over = OnPanic(&over);
        for number in 1..=ROUNDS {
            round.store(number as u64, Ordering::Release);
            drop(
                store.create(NewTask::new("test").id(TaskId::from_u128(number)).parent(parent.id())).unwrap(),
            );
        }
    });
    let children = store.children(parent.id()).unwrap();
    assert_eq!((children.count(), children.live()), (ROUNDS as u64, 0), "{children:?}");
    assert_eq!(store.counts().live(), 1);
}

/// Retention by a keeper of its own, while workers work: what lives is never touched.
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
