//! What the integration tests share: stores whose clock and keeper are driven by hand.
#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use inflight::{
    FailureReason, Finish, KeeperMode, ManualClock, NewTask, Retention, State, Store, StoreBuilder, Task,
};

/// A builder for a store without a keeper thread. The store takes its time from `clock`, and keeps ended
/// tasks.
pub(crate) fn builder(capacity: usize, clock: &ManualClock) -> StoreBuilder {
    Store::builder()
        .capacity(capacity)
        .clock(clock.clone())
        .keeper(KeeperMode::Manual)
        .retain(Retention::forever())
}

/// A store built by [`builder`], and its clock.
pub(crate) fn store(capacity: usize) -> (Store, ManualClock) {
    let clock = ManualClock::new();
    let store = builder(capacity, &clock).build().expect("these settings are in range");
    (store, clock)
}

/// A task in `store`, which must not be full.
pub(crate) fn task(store: &Store) -> Task {
    store.create(NewTask::new("test")).expect("the store is not full")
}

/// A task that has been started.
pub(crate) fn running(store: &Store) -> Task {
    let mut task = task(store);
    task.start().expect("it is pending");
    task
}

/// A task that has been brought to `state` by its handle.
pub(crate) fn in_state(store: &Store, state: State) -> Task {
    let mut task = task(store);
    bring(&mut task, state);
    task
}

/// Brings a pending task to `state` by the shortest way.
pub(crate) fn bring(task: &mut Task, state: State) {
    if matches!(state, State::Running | State::Blocked | State::Succeeded) {
        task.start().expect("it is pending");
    }
    match state {
        State::Pending | State::Running => {}
        State::Blocked => task.block().expect("it is running"),
        State::Succeeded => assert_eq!(task.succeed("the result"), Ok(Finish::Won)),
        State::Failed => assert_eq!(task.fail(FailureReason::Error, "the error"), Ok(Finish::Won)),
        State::Cancelled => assert_eq!(task.cancel(), Ok(Finish::Won)),
    }
    assert_eq!(task.status().expect("the handle keeps it").state(), state);
}
