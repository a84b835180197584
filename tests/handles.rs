//! Handles: what happens to a task whose worker is gone, and to a worker whose task is gone.
//!
//! * I10: a dropped handle leaves `Failed(Lost)`; the handle of a started task that is dropped by a panic
//!   leaves `Failed(Panicked)` with the panic's message. A scope ends its task whichever way it is left. Of
//!   several shared handles, the last one counts.
//! * I4: a late call changes nothing.
//! * I7: a handle that outlived its task writes to no other task.
//! * Several threads that count for one task lose nothing.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, panic_any, resume_unwind};
use std::sync::Barrier;
use std::thread;

use common::{builder, in_state, running, store, task};
use inflight::{
    Absent, ChangeError, Details, FailureReason, Finish, FinishError, GoneReason, Limits, ManualClock,
    NewTask, ProgressError, ScopeError, State, Store, TaskId,
};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

fn ended(store: &Store, id: TaskId) -> (State, Option<FailureReason>, Option<String>) {
    let details = store.details(id).unwrap();
    let text = details.result().or(details.error()).and_then(|payload| payload.as_text()).map(str::to_owned);
    (details.status().state(), details.status().failure_reason(), text)
}

fn panicked(message: &str) -> (State, Option<FailureReason>, Option<String>) {
    (State::Failed, Some(FailureReason::Panicked), Some(message.to_owned()))
}

fn catch(work: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
}

#[test]
fn i10_a_dropped_handle_leaves_a_lost_task() {
    let (store, _) = store(3);
    for state in [State::Pending, State::Running, State::Blocked] {
        let id = in_state(&store, state).id();
        let (state, reason, text) = ended(&store, id);
        assert_eq!((state, reason), (State::Failed, Some(FailureReason::Lost)));
        assert!(text.is_some_and(|text| text.contains("dropped")));
    }
}

#[test]
fn i4_a_handle_that_is_dropped_after_the_end_changes_nothing() {
    let (store, _) = store(3);
    for state in [State::Succeeded, State::Failed, State::Cancelled] {
        let task = in_state(&store, state);
        let (id, before) = (task.id(), task.status().unwrap());
        let text = ended(&store, id);
        drop(task);
        assert_eq!((store.get(id), ended(&store, id)), (Some(before), text));
    }
}

#[test]
fn i10_a_panic_leaves_its_message() {
    let (store, _) = store(8);
    let unwinding = |panic: fn()| {
        let task = running(&store);
        let id = task.id();
        catch(move || {
            let _task = task;
            panic();
        });
        ended(&store, id)
    };
    assert_eq!(unwinding(|| panic!("a text")), panicked("a text"));
    assert_eq!(unwinding(|| panic!("a text with a {}", 7)), panicked("a text with a 7"));
    assert_eq!(unwinding(|| panic_any(7)), panicked("the worker panicked"));
    assert_eq!(unwinding(|| assert_eq!(1, 2, "no")).2.unwrap(), {
        "assertion `left == right` failed: no\n  left: 1\n right: 2"
    });
    assert_eq!(unwinding(|| panic!("{}", "ä".repeat(10_000))).2.unwrap().len(), 4_096, "as much as is kept");
    let nested = unwinding(|| {
        catch(|| panic!("the inner one"));
        panic!("the outer one");
    });
    assert_eq!(nested, panicked("the outer one"));
}

#[test]
fn i10_a_panic_in_a_thread_of_its_own_leaves_its_message() {
    let (store, _) = store(2);
    let [one, other] = [running(&store), running(&store)];
    let ids = [one.id(), other.id()];
    let threads = [
        thread::spawn(move || {
            let (_one, shared) = (one, other.share());
            let _last = shared.clone();
            panic!("in a thread");
        }),
        thread::spawn(|| panic!("in another, with no task")),
    ];
    threads.into_iter().for_each(|thread| assert!(thread.join().is_err()));
    assert_eq!(ids.map(|id| ended(&store, id)), [panicked("in a thread"), panicked("in a thread")]);
}

/// A pending task was not worked on when its thread panicked: it is lost.
#[test]
fn i10_a_panic_before_the_start() {
    let (store, _) = store(2);
    let [task, mut again] = [task(&store), running(&store)];
    again.retry().unwrap();
    let ids = [task.id(), again.id()];
    catch(move || {
        let _tasks = (task, again.share());
        panic!("early");
    });
    for (state, reason, text) in ids.map(|id| ended(&store, id)) {
        assert_eq!((state, reason), (State::Failed, Some(FailureReason::Lost)));
        assert!(
            text.is_some_and(|text| text.contains("before the task was started") && !text.contains("early"))
        );
    }
}

/// A thread has forty tasks of a job's, and panics in one: those that it has not begun did not panic.
#[test]
fn i10_a_panic_in_one_of_many_tasks_of_a_thread() {
    let (store, _) = store(40);
    let tasks: Vec<_> = (0..40).map(|_| task(&store)).collect();
    let ids: Vec<_> = tasks.iter().map(inflight::Task::id).collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    catch(|| {
        let work = |(nth, mut task): (usize, inflight::Task)| {
            task.start().unwrap();
            assert_ne!(nth, 7, "in the eighth");
            task.succeed(()).unwrap();
        };
        pool.install(|| tasks.into_par_iter().enumerate().with_min_len(40).for_each(work));
    });
    let ended: Vec<_> = ids.iter().map(|id| ended(&store, *id)).collect();
    let text = ended[7].2.as_deref().unwrap();
    assert!(text.contains("in the eighth"), "{text}");
    let reasons: Vec<_> = ended.iter().map(|(_, reason, _)| *reason).collect();
    assert!(reasons[..7].iter().all(Option::is_none), "{reasons:?}");
    assert_eq!(reasons[7], Some(FailureReason::Panicked));
    assert!(reasons[8..].iter().all(|reason| *reason == Some(FailureReason::Lost)), "{reasons:?}");
}

#[test]
fn i10_what_is_dropped_after_a_panic_was_caught_is_lost() {
    let (store, _) = store(1);
    let task = running(&store);
    let id = task.id();
    catch(|| panic!("caught"));
    drop(task);
    assert_eq!(ended(&store, id).1, Some(FailureReason::Lost));
}

#[test]
fn i10_a_scope_ends_its_task_whichever_way_it_is_left() {
    let (store, _) = store(8);
    let scoped = |work: fn(&mut inflight::Task) -> Result<u32, String>| {
        let task = task(&store);
        let id = task.id();
        (task.scope(work), id)
    };
    let (said, id) = scoped(|task| {
        assert_eq!(task.status().unwrap().state(), State::Running, "a pending task is started");
        task.advance(7).map_err(|error| error.to_string())?;
        Ok(42)
    });
    assert_eq!((said, ended(&store, id)), (Ok(42), (State::Succeeded, None, None)));
    assert_eq!(store.get(id).unwrap().done(), 7);

    let (said, id) = scoped(|_| Err("it did not work".into()));
    assert_eq!(said, Err(ScopeError::Work("it did not work".into())));
    let failed = (State::Failed, Some(FailureReason::Error), Some("it did not work".to_owned()));
    assert_eq!(ended(&store, id), failed);

    let (said, id) = scoped(|task| {
        assert_eq!(task.succeed("by itself"), Ok(Finish::Won));
        Err("too late".into())
    });
    assert_eq!(said, Err(ScopeError::Work("too late".into())));
    assert_eq!(ended(&store, id), (State::Succeeded, None, Some("by itself".to_owned())));

    let (said, id) = scoped(|task| {
        assert_eq!(task.cancel(), Ok(Finish::Won));
        Ok(1)
    });
    assert_eq!((said, ended(&store, id)), (Ok(1), (State::Cancelled, None, None)));

    let task = task(&store);
    let id = task.id();
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _: Result<(), ScopeError<String>> = task.scope(|_| panic!("in the scope"));
    }));
    assert_eq!(*unwound.unwrap_err().downcast::<&str>().unwrap(), "in the scope", "the panic continues");
    assert_eq!(ended(&store, id), panicked("in the scope"));
}

/// The message is the panic's own, even if no hook saw the panic.
#[test]
fn i10_a_scope_tells_a_panic_that_was_resumed() {
    let (store, _) = store(1);
    let task = task(&store);
    let id = task.id();
    catch(|| panic!("an earlier one"));
    catch(|| {
        let _: Result<(), ScopeError<String>> = task.scope(|_| resume_unwind(Box::new("a resumed one")));
    });
    assert_eq!(ended(&store, id), panicked("a resumed one"));
}

#[test]
fn i10_an_error_too_long_for_the_store_is_cut() {
    let clock = ManualClock::new();
    let store = builder(1, &clock).limits(Limits { payload: 10, ..Limits::default() }).build().unwrap();
    let task = task(&store);
    let id = task.id();
    assert!(task.scope(|_| Err::<(), _>("äääääääää")).is_err());
    assert_eq!(ended(&store, id).2.unwrap(), "äääää");
}

#[test]
fn without_the_hook_a_panic_is_seen_but_not_heard() {
    // With a process for each test, no other test's store has installed the hook; in a shared process one may
    // have.
    let clock = ManualClock::new();
    let store = builder(1, &clock).panic_messages(false).build().unwrap();
    let task = running(&store);
    let id = task.id();
    catch(move || {
        let _task = task;
        panic!("unheard");
    });
    let (state, reason, text) = ended(&store, id);
    assert_eq!((state, reason), (State::Failed, Some(FailureReason::Panicked)));
    assert!(matches!(&*text.unwrap(), "unheard" | "the worker panicked"));
}

#[test]
fn i10_of_shared_handles_the_last_one_counts() {
    let (store, _) = store(1);
    let shared = running(&store).share();
    let id = shared.id();
    let clones: Vec<_> = (0..3).map(|_| shared.clone()).collect();
    drop(shared);
    for clone in clones {
        assert_eq!(store.get(id).unwrap().state(), State::Running);
        clone.advance(1).unwrap();
        drop(clone);
    }
    assert_eq!(ended(&store, id).1, Some(FailureReason::Lost));
    assert_eq!(store.get(id).unwrap().done(), 3);
}

#[test]
fn several_threads_lose_nothing() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 200_000;
    let (store, _) = store(1);
    let mut task = store.create(NewTask::new("test").total(THREADS * ROUNDS * 3)).unwrap();
    task.start().unwrap();
    task.advance(5).unwrap();
    task.counter().advance(6).unwrap();
    let shared = task.share();
    let barrier = Barrier::new(THREADS as usize);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let (shared, barrier) = (shared.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for round in 0..ROUNDS {
                    shared.advance(if round % 100 == 0 { 1 << 33 } else { 3 }).unwrap();
                }
            });
        }
    });
    let large = ROUNDS / 100;
    let expected = THREADS * (large * (1 << 33) + (ROUNDS - large) * 3) + 11;
    assert_eq!(shared.status().unwrap().done(), expected, "with what the exclusive handle had counted");
    assert_eq!(shared.succeed(()), Ok(Finish::Won));
    assert_eq!(shared.status().unwrap().done(), expected);
}

#[test]
fn shared_handles_raise_to_the_greatest() {
    const THREADS: u64 = 4;
    let (store, _) = store(1);
    let shared = running(&store).share();
    thread::scope(|scope| {
        for me in 0..THREADS {
            let shared = shared.clone();
            scope.spawn(move || {
                for to in (me..4_000).step_by(THREADS as usize) {
                    match shared.set_done(to) {
                        Ok(()) => {}
                        Err(ProgressError::Backwards { done, to: refused }) => {
                            assert!(refused == to && done > to);
                        }
                        Err(other) => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(shared.status().unwrap().done(), 3_999);
}

#[test]
fn sharing_changes_nothing() {
    let (store, _) = store(4);
    for state in State::ALL {
        let mut task = in_state(&store, state);
        let _ = task.advance(3);
        let before = task.status().unwrap();
        let shared = task.share();
        assert_eq!((shared.status(), store.get(shared.id())), (Some(before), Some(before)));
        assert_eq!(shared.advance(1).is_ok(), matches!(state, State::Running | State::Blocked));
        let id = shared.id();
        drop(shared);
        let _ = store.remove(id).unwrap();
    }
}

/// A handle that outlived its task keeps the line, so that the next task is on another one.
#[test]
fn i4_i7_late_writes_reach_nobody() {
    let (store, _) = store(2);
    let mut stale = running(&store);
    stale.advance(3).unwrap();
    stale.succeed("done").unwrap();
    let id = stale.id();
    let _ = store.remove(id).unwrap();
    let mut next = running(&store);
    next.advance(1).unwrap();
    let before = (next.status().unwrap(), cold(&store.details(next.id()).unwrap()));
    assert_eq!(store.create(NewTask::new("test")).map(|_| ()).unwrap_err().to_string(), {
        inflight::CreateError::Full { capacity: 2 }.to_string()
    });
    assert_eq!((stale.id(), stale.status()), (id, None));
    assert_eq!(stale.advance(1), Err(ProgressError::NotRunning));
    assert_eq!(stale.counter().advance(1), Err(ProgressError::NotRunning));
    assert_eq!(stale.set_done(9), Err(ProgressError::NotRunning));
    assert_eq!(stale.set_total(9), Err(ChangeError::Gone));
    assert_eq!(stale.set_message("late"), Err(ChangeError::Gone));
    assert_eq!(stale.heartbeat(), Err(ChangeError::Gone));
    assert_eq!(stale.start(), Err(ChangeError::Gone));
    assert_eq!(stale.cancel(), Err(FinishError::Gone));
    let shared = stale.share();
    assert_eq!(shared.advance(1), Err(ProgressError::NotRunning));
    assert_eq!(shared.set_message("late"), Err(ChangeError::Gone));
    assert_eq!(shared.fail(FailureReason::Error, "late"), Err(FinishError::Gone));
    drop(shared);
    assert_eq!((next.status().unwrap(), cold(&store.details(next.id()).unwrap())), before);
    assert_eq!(store.lookup(id), Err(Absent::Gone(Some(GoneReason::Removed))));
    assert!(store.create(NewTask::new("test")).is_ok(), "the line is free now");
}

/// The same when the id itself is used again, which is possible only for a client's id.
#[test]
fn i7_a_stale_handle_and_the_next_task_of_the_same_id() {
    let (store, _) = store(2);
    let id = TaskId::from_u128(7);
    let mut stale = store.create(NewTask::new("test").id(id)).unwrap();
    stale.cancel().unwrap();
    let _ = store.remove(id).unwrap();
    let mut next = store.create(NewTask::new("test").id(id)).unwrap();
    next.start().unwrap();
    let before = next.status().unwrap();
    assert_eq!((stale.id(), stale.status()), (id, None));
    assert!(stale.start().is_err() && stale.set_message("late").is_err() && stale.cancel().is_err());
    assert_eq!(stale.advance(1), Err(ProgressError::NotRunning));
    drop(stale);
    assert_eq!(store.get(id), Some(before));
    assert_eq!(next.succeed(()), Ok(Finish::Won));
}

#[test]
fn i10_a_handle_that_outlives_the_store() {
    let (store, _) = store(1);
    let mut task = running(&store);
    drop(store);
    task.advance(1).unwrap();
    task.set_message("alone").unwrap();
    assert_eq!(task.status().unwrap().done(), 1);
    assert_eq!(task.succeed(()), Ok(Finish::Won));
}

fn cold(details: &Details) -> (Option<String>, bool) {
    (details.message().map(str::to_owned), details.result().or(details.error()).is_some())
}
