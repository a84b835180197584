//! Counters and additions, at the bounds of the count.
#![allow(clippy::unwrap_used, reason = "what tests share fails as they do")]

use std::time::Duration;

use super::store;
use crate::cell::{MAX_COUNT, ROOMY};
use crate::record::error::ProgressError;
use crate::record::new_task::NewTask;
use crate::store::Store;

#[test]
fn additions_check_first_once_the_count_may_be_near_its_end() {
    let store = Store::builder().capacity(1).build().unwrap();
    let mut task = store.create(NewTask::new("test")).unwrap();
    task.start().unwrap();
    task.advance(ROOMY - 1).unwrap();
    let handle = task.into_handle().shared();
    let checks = || handle.checks_first();
    assert!(!checks());
    handle.add_unnoted(1).unwrap();
    assert!(!checks(), "there was room before");
    handle.add_unnoted(1).unwrap();
    assert!(checks());
}

#[test]
fn i5_handle_and_counter_go_on_from_each_other() {
    let (store, _) = store();
    let mut task = store.create(NewTask::new("count")).unwrap();
    task.start().unwrap();
    task.advance(2).unwrap();
    let mut counter = task.counter();
    counter.advance(3).unwrap();
    counter.advance(0).unwrap();
    assert_eq!(store.get(task.id()).unwrap().done(), 5);
    task.advance(4).unwrap();
    assert_eq!(store.get(task.id()).unwrap().done(), 9);
    task.counter().advance(1).unwrap();
    task.set_done(12).unwrap();
    assert_eq!(store.get(task.id()).unwrap().done(), 12);
}

#[test]
fn progress_has_the_same_bounds_here_as_elsewhere() {
    let (store, _) = store();
    let mut task = store.create(NewTask::new("count")).unwrap();
    assert_eq!(task.counter().advance(1), Err(ProgressError::NotRunning), "not started");
    task.start().unwrap();
    task.set_done(MAX_COUNT - 1).unwrap();
    let overflow = Err(ProgressError::Overflow { done: MAX_COUNT - 1, limit: MAX_COUNT });
    assert_eq!(task.counter().advance(2), overflow);
    assert_eq!(task.counter().advance(1), Ok(()));
    let mut full = task.counter();
    assert_eq!(full.advance(1), Err(ProgressError::Overflow { done: MAX_COUNT, limit: MAX_COUNT }));
    assert_eq!(full.advance(0), Ok(()));
    assert_eq!(store.get(task.id()).unwrap().done(), MAX_COUNT);
    task.succeed(()).unwrap();
    assert_eq!(task.counter().advance(1), Err(ProgressError::NotRunning), "ended");
}

#[test]
fn i4_a_counter_whose_lease_has_run_out_counts_nothing() {
    let (store, clock) = store();
    let mut task = store.create(NewTask::new("count").lease(Duration::from_secs(1))).unwrap();
    task.start().unwrap();
    let id = task.id();
    let mut counter = task.counter();
    counter.advance(7).unwrap();
    for _ in 0..2 {
        clock.advance(Duration::from_secs(5));
        store.tick();
    }
    assert_eq!(counter.advance(1), Err(ProgressError::NotRunning));
    assert_eq!(store.get(id).unwrap().done(), 7);
}
