//! Lines and ids that are used again and again (I5, I7, I9, I11).

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, scope};

use inflight::{Absent, Counts, CreateError, Filter, Finish, GoneReason, NewTask, Status, TaskId, Version};

use crate::common::{store, task};
use crate::over::{OnPanic, Over, until};

/// Whether this is the task with that number: it is in the task's total, and in its count when done.
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
            assert!(held.fetch_add(1, Ordering::AcqRel) < CAPACITY as u64, "I9: more than its capacity");
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
                    // The latest, which may be there; and some of the earlier ones, whose lines now belong to
                    // other tasks.
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
            assert_eq!(task.succeed(()), Ok(Finish::Won), "I7: no other thread ends it");
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
