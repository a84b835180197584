//! Every transition from every state, by every way to cause one, with every kind of handle.
//!
//! * I3: the transitions in the table happen, and no others do. A refusal says which state was found, and a
//!   late finish returns how the task ended.
//! * I4: a refusal changes nothing: neither status nor details nor counts. After the end every way is
//!   refused; after the removal, too.
//! * I5: a transition makes a greater version, a refusal leaves it as it is.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use State::{Blocked, Cancelled, Failed, Pending, Running, Succeeded};
use inflight::{
    Absent, CancelError, ChangeError, Details, FailureReason, Finish, FinishError, GoneReason, MAX_ATTEMPTS,
    ManualClock, NewTask, ScopeError, SharedTask, State, Status, Store, Task, TaskId,
};

const LEASE: Duration = Duration::from_secs(10);
const LIVE: [State; 3] = [Pending, Running, Blocked];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Exclusive,
    Leased,
    Shared,
}

enum Worker {
    Exclusive(Task),
    Shared(SharedTask),
}

/// The result of a way to cause a transition.
#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    /// The way returns nothing.
    Silence,
    NotAllowed(State, State),
    Lost(Status),
    Gone,
}

impl From<Result<(), ChangeError>> for Answer {
    fn from(said: Result<(), ChangeError>) -> Self {
        match said {
            Ok(()) => Answer::Done,
            Err(ChangeError::NotAllowed { from, to }) => Answer::NotAllowed(from, to),
            Err(ChangeError::Gone) => Answer::Gone,
            Err(other) => panic!("{other:?}"),
        }
    }
}

impl From<Result<Finish, FinishError>> for Answer {
    fn from(said: Result<Finish, FinishError>) -> Self {
        match said {
            Ok(Finish::Won) => Answer::Done,
            Ok(Finish::Lost(status)) => Answer::Lost(status),
            Err(FinishError::NotAllowed { from, to }) => Answer::NotAllowed(from, to),
            Err(FinishError::Gone) => Answer::Gone,
            Err(other) => panic!("{other:?}"),
        }
    }
}

impl<T> From<Result<T, ScopeError<&'static str>>> for Answer {
    fn from(said: Result<T, ScopeError<&'static str>>) -> Self {
        match said {
            Err(ScopeError::NotStarted(why)) => Answer::from(Err(why)),
            Ok(_) | Err(ScopeError::Work(_)) => Answer::Done,
        }
    }
}

/// One task in a store of its own.
struct Bench {
    store: Store,
    clock: ManualClock,
    id: TaskId,
    /// Present until a way consumes it.
    worker: Option<Worker>,
}

impl Bench {
    fn new(kind: Kind, state: State) -> Self {
        let (store, clock) = common::store(1);
        let new = NewTask::new("test").total(9).label("tenant", "acme");
        let new = if kind == Kind::Leased { new.lease(LEASE) } else { new };
        let mut task = store.create(new).unwrap();
        let id = task.id();
        task.set_message("the message").unwrap();
        common::bring(&mut task, state);
        let worker = match kind {
            Kind::Shared => Worker::Shared(task.share()),
            Kind::Exclusive | Kind::Leased => Worker::Exclusive(task),
        };
        clock.advance(Duration::from_secs(1));
        Self { store, clock, id, worker: Some(worker) }
    }

    fn status(&self) -> Status {
        self.store.get(self.id).unwrap()
    }

    /// The handle, if it is exclusive, for a way that consumes it.
    fn take(&mut self) -> Task {
        match self.worker.take() {
            Some(Worker::Exclusive(task)) => task,
            _ => panic!("not exclusive"),
        }
    }
}

/// Calls the same method of either kind of handle.
macro_rules! of {
    ($bench:expr, $method:ident($($argument:expr),*)) => {
        match $bench.worker.as_mut().unwrap() {
            Worker::Exclusive(task) => task.$method($($argument),*).into(),
            Worker::Shared(task) => task.$method($($argument),*).into(),
        }
    };
}

/// One way to cause a transition.
struct Way {
    name: &'static str,
    from: &'static [State],
    to: State,
    kinds: &'static [Kind],
    reason: Option<FailureReason>,
    go: fn(&mut Bench) -> Answer,
}

const ALL_KINDS: &[Kind] = &[Kind::Exclusive, Kind::Leased, Kind::Shared];
const EXCLUSIVE: &[Kind] = &[Kind::Exclusive, Kind::Leased];

const fn way(name: &'static str, from: &'static [State], to: State, go: fn(&mut Bench) -> Answer) -> Way {
    Way { name, from, to, kinds: ALL_KINDS, reason: None, go }
}

const fn failing(name: &'static str, reason: FailureReason, go: fn(&mut Bench) -> Answer) -> Way {
    Way { name, from: &LIVE, to: Failed, kinds: ALL_KINDS, reason: Some(reason), go }
}

impl Way {
    const fn only(mut self, kinds: &'static [Kind]) -> Self {
        self.kinds = kinds;
        self
    }
}

fn scope(bench: &mut Bench, work: fn(&mut Task) -> Result<(), &'static str>) -> Answer {
    let task = bench.take();
    let may_run = LIVE.contains(&task.status().map_or(Succeeded, |status| status.state()));
    let scoped = task.scope(|task| {
        assert!(may_run, "work is done for a task that has ended");
        work(task)
    });
    scoped.into()
}

fn unwind(bench: &mut Bench, work: impl FnOnce(&mut Bench)) -> Answer {
    let before = bench.store.get(bench.id).filter(|status| !status.is_terminal());
    assert!(catch_unwind(AssertUnwindSafe(|| work(bench))).is_err());
    if before.is_some() { Answer::Done } else { Answer::Silence }
}

/// For a way without a result: whether the task was there to be ended.
fn unheard(bench: &mut Bench, act: impl FnOnce(&mut Bench)) -> Answer {
    let live = bench.store.get(bench.id).is_some_and(|status| !status.is_terminal());
    act(bench);
    if live { Answer::Done } else { Answer::Silence }
}

fn ways() -> Vec<Way> {
    use FailureReason::{Error, Lost, Panicked, Rejected, TimedOut};
    vec![
        way("start", &[Pending], Running, |bench| of!(bench, start())),
        way("block", &[Running], Blocked, |bench| of!(bench, block())),
        way("resume", &[Blocked], Running, |bench| of!(bench, resume())),
        way("retry", &[Running, Blocked], Pending, |bench| of!(bench, retry())),
        way("succeed", &[Running, Blocked], Succeeded, |bench| of!(bench, succeed("r"))),
        way("cancel", &LIVE, Cancelled, |bench| of!(bench, cancel())),
        failing("fail: error", Error, |bench| of!(bench, fail(Error, "e"))),
        failing("fail: panicked", Panicked, |bench| of!(bench, fail(Panicked, "e"))),
        failing("fail: lost", Lost, |bench| of!(bench, fail(Lost, "e"))),
        failing("fail: timed out", TimedOut, |bench| of!(bench, fail(TimedOut, "e"))),
        failing("fail: rejected", Rejected, |bench| of!(bench, fail(Rejected, "e"))),
        failing("drop", Lost, |bench| unheard(bench, |bench| bench.worker = None)),
        failing("panic", Panicked, |bench| {
            unwind(bench, |bench| {
                let _worker = bench.worker.take();
                panic!("on purpose");
            })
        }),
        failing("the lease runs out", Lost, |bench| {
            unheard(bench, |bench| {
                bench.clock.advance(LEASE);
                bench.store.tick();
            })
        })
        .only(&[Kind::Leased]),
        Way { reason: Some(Error), ..way("scope: Err", &LIVE, Failed, |bench| scope(bench, |_| Err("e"))) }
            .only(EXCLUSIVE),
        way("scope: Ok", &LIVE, Succeeded, |bench| scope(bench, |_| Ok(()))).only(EXCLUSIVE),
    ]
}

/// What a way returns for a task that it may not change.
fn refusal(way: &Way, before: Status) -> Answer {
    let from = before.state();
    match way.name {
        "drop" | "panic" | "the lease runs out" => Answer::Silence,
        "start" | "block" | "resume" | "retry" => Answer::NotAllowed(from, way.to),
        name if name.starts_with("scope") => Answer::NotAllowed(from, Running),
        _ if from.is_terminal() => Answer::Lost(before),
        _ => Answer::NotAllowed(from, way.to),
    }
}

fn told(details: &Details) -> impl PartialEq + std::fmt::Debug + use<> {
    let payload = |payload: Option<&inflight::Payload>| payload.cloned();
    let labels: Vec<_> = details.labels().map(|(key, value)| format!("{key}={value}")).collect();
    (
        (details.status(), details.status().version(), details.kind().to_owned(), labels),
        (details.message().map(str::to_owned), payload(details.result()), payload(details.error())),
    )
}

#[test]
fn i3_i4_i5_every_way_from_every_state() {
    let mut seen = BTreeSet::new();
    for way in ways() {
        for (kind, from) in way.kinds.iter().flat_map(|kind| State::ALL.map(|from| (*kind, from))) {
            let case = format!("{} of a {kind:?} task that is {from}", way.name);
            let mut bench = Bench::new(kind, from);
            let (before, counts) = (bench.status(), bench.store.counts());
            let details = told(&bench.store.details(bench.id).unwrap());
            let answer = (way.go)(&mut bench);
            let after = bench.status();
            if way.from.contains(&from) {
                assert_eq!(answer, Answer::Done, "{case}");
                // What has not been started did not panic, its thread did.
                let is_lost = way.name == "panic" && from == Pending;
                let reason = if is_lost { Some(FailureReason::Lost) } else { way.reason };
                assert_eq!((after.state(), after.failure_reason()), (way.to, reason), "{case}");
                assert!(after.version() > before.version(), "{case}");
                assert_eq!(after.attempt(), before.attempt() + u32::from(way.to == Pending), "{case}");
                assert_eq!((bench.store.counts().of(way.to), bench.store.counts().total()), (1, 1), "{case}");
                if !way.name.starts_with("scope") || from != Pending {
                    seen.insert((from, way.to)); // A pending task is started first.
                }
            } else {
                assert_eq!(answer, refusal(&way, before), "{case}");
                assert_eq!((after, after.version()), (before, before.version()), "{case}");
                assert_eq!(told(&bench.store.details(bench.id).unwrap()), details, "{case}");
                assert_eq!(bench.store.counts(), counts, "{case}");
            }
        }
    }
    let pairs = State::ALL.into_iter().flat_map(|from| State::ALL.map(|to| (from, to)));
    let table: BTreeSet<_> = pairs.filter(|(from, to)| from.allows(*to)).collect();
    assert_eq!(seen, table, "the ways cover exactly the table");
}

#[test]
fn i3_a_scope_that_panics_ends_its_task_and_goes_on_unwinding() {
    for (kind, from) in EXCLUSIVE.iter().flat_map(|kind| LIVE.map(|from| (*kind, from))) {
        let mut bench = Bench::new(kind, from);
        let answer = unwind(&mut bench, |bench| {
            let _ = scope(bench, |_| panic!("on purpose"));
        });
        assert_eq!(answer, Answer::Done);
        let status = bench.status();
        assert_eq!((status.state(), status.failure_reason()), (Failed, Some(FailureReason::Panicked)));
    }
}

#[test]
fn i3_i4_a_request_to_cancel_ends_only_what_is_pending() {
    for (kind, from) in ALL_KINDS.iter().flat_map(|kind| State::ALL.map(|from| (*kind, from))) {
        let bench = Bench::new(kind, from);
        let before = bench.status();
        let said = bench.store.cancel(bench.id);
        let after = bench.status();
        match from {
            Pending => {
                assert_eq!((said, after.state()), (Ok(after), Cancelled));
                assert!(after.version() > before.version());
            }
            Running | Blocked => {
                assert_eq!(said, Ok(after));
                assert_eq!((after.state(), after.cancel_requested()), (from, true));
                assert!(after.version() > before.version());
                assert_eq!(bench.store.cancel(bench.id), Ok(after), "once is enough");
                assert_eq!(bench.status().version(), after.version());
            }
            _ => {
                assert_eq!(said, Err(CancelError::Ended(before)), "with the state found");
                assert_eq!((after, after.version()), (before, before.version()));
            }
        }
    }
}

#[test]
fn i4_i7_every_way_of_a_task_that_is_gone() {
    for way in ways() {
        for (kind, from) in way.kinds.iter().flat_map(|kind| State::ALL.map(|from| (*kind, from))) {
            if !from.is_terminal() {
                continue;
            }
            let case = format!("{} of a {kind:?} task that was {from} and is gone", way.name);
            let mut bench = Bench::new(kind, from);
            let _ = bench.store.remove(bench.id).unwrap();
            let expected = match refusal(&way, bench_status(kind, from)) {
                Answer::Silence => Answer::Silence,
                _ => Answer::Gone,
            };
            assert_eq!((way.go)(&mut bench), expected, "{case}");
            let gone = Absent::Gone(Some(GoneReason::Removed));
            assert_eq!(bench.store.lookup(bench.id), Err(gone), "{case}");
            assert_eq!(bench.store.cancel(bench.id), Err(CancelError::Absent(gone)), "{case}");
            assert_eq!(bench.store.counts().total(), 0, "{case}");
        }
    }
}

/// A status in that state, of a task that is still there.
fn bench_status(kind: Kind, state: State) -> Status {
    Bench::new(kind, state).status()
}

/// Regression: `scope` ran the work of a task that had been cancelled before.
#[test]
fn i3_a_scope_does_no_work_for_a_task_that_has_ended() {
    let (store, _) = common::store(1);
    let task = common::task(&store);
    let id = task.id();
    let _ = store.cancel(id).unwrap();
    let mut worked = false;
    let said = task.scope(|_| {
        worked = true;
        Ok::<(), String>(())
    });
    assert_eq!(said, Err(ScopeError::NotStarted(ChangeError::NotAllowed { from: Cancelled, to: Running })));
    assert!(!worked);
}

/// A request to cancel from before the retry is still there after it, and the attempt is the next one.
#[test]
fn i3_i5_a_retry_is_a_new_attempt() {
    for (kind, from) in ALL_KINDS.iter().flat_map(|kind| [Running, Blocked].map(|from| (*kind, from))) {
        let mut bench = Bench::new(kind, from);
        let answer: Result<(), inflight::ProgressError> = match bench.worker.as_mut().unwrap() {
            Worker::Exclusive(task) => task.advance(7),
            Worker::Shared(task) => task.advance(7),
        };
        assert_eq!(answer, Ok(()));
        let _ = bench.store.cancel(bench.id).unwrap();
        let before = bench.status();
        assert_eq!((before.done(), before.attempt()), (7, 1));
        assert_eq!(of_retry(&mut bench), Answer::Done);
        let after = bench.status();
        assert_eq!((after.state(), after.attempt(), after.done(), after.total()), (Pending, 2, 0, Some(9)));
        assert!(after.cancel_requested() && after.version() > before.version());
        let started: Answer = of!(bench, start());
        assert_eq!(started, Answer::Done);
        assert_eq!((bench.status().attempt(), bench.status().done()), (2, 0));
    }
}

fn of_retry(bench: &mut Bench) -> Answer {
    of!(bench, retry())
}

#[test]
fn attempts_have_a_limit() {
    let mut bench = Bench::new(Kind::Exclusive, Running);
    let mut task = bench.take();
    for attempt in 2..=MAX_ATTEMPTS {
        task.retry().unwrap();
        task.start().unwrap();
        assert_eq!(task.status().unwrap().attempt(), attempt);
    }
    task.advance(3).unwrap();
    let before = task.status().unwrap();
    assert_eq!(task.retry(), Err(ChangeError::TooManyAttempts { limit: MAX_ATTEMPTS }));
    assert_eq!((task.status().unwrap(), before.state()), (before, Running));
    task.advance(1).unwrap();
    assert_eq!(task.succeed(()), Ok(Finish::Won));
    assert_eq!(task.status().unwrap().done(), 4);
}
