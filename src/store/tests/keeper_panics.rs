//! A keeper that panics is seen, and goes on; and its thread ends with the store.
#![allow(clippy::unwrap_used, reason = "what tests share fails as they do")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::{Bell, TICK, poll, running, store_with, tick};
use crate::engine::keeper::KeeperMode;
use crate::engine::lifecycle::Finish;
use crate::model::retention::Retention;
use crate::model::state::State;
use crate::record::new_task::NewTask;
use crate::store::Store;
use crate::store::changes::Drained;
use crate::store::wait::block_on;

/// Has one tick panic at its `nth` step, and then checks that all was done that there was to do. Gives
/// whether the tick had so many steps.
fn panics_at(nth: usize) -> bool {
    let kept = Retention::forever().succeeded_for(TICK).at_most_failed(0);
    let (store, clock) = store_with(64, kept);
    let mut ended = running(&store);
    ended.succeed(()).unwrap();
    let mut brief = store.create(NewTask::new("brief").ttl(TICK)).unwrap();
    brief.cancel().unwrap();
    let leased = [(); 2].map(|()| store.create(NewTask::new("leased").lease(TICK)).unwrap());
    let parent = running(&store);
    let mut child = store.create(NewTask::new("child").parent(parent.id())).unwrap();
    child.start().unwrap();
    let mut watched = running(&store);
    let mut wait = store.changed_since(watched.id(), watched.status().unwrap().version());
    let bell = Arc::new(Bell::default());
    assert!(!poll(&mut wait, &Waker::from(Arc::clone(&bell))));
    let mut timed = store.wait_timeout(parent.id(), TICK);
    let timed_bell = Arc::new(Bell::default());
    assert!(!poll(&mut timed, &Waker::from(Arc::clone(&timed_bell))));
    let mut unwatched = running(&store);
    unwatched.advance(3).unwrap();
    let mut changes = store.changes().unwrap();
    child.advance(5).unwrap();
    watched.advance(7).unwrap();
    unwatched.advance(1).unwrap();

    store.engine.upkeep.panic_at(nth);
    clock.advance(TICK);
    let ticked = catch_unwind(AssertUnwindSafe(|| store.tick()));
    if ticked.is_ok() {
        return false;
    }
    let health = store.keeper_health();
    assert!(health.is_failing && health.panics == 1, "{health:?}");
    assert_eq!(health.last_panic.unwrap().message, "a test has the keeper panic");
    tick(&store, &clock);
    assert_eq!((store.keeper_health().is_failing, store.keeper_health().panics), (false, 1));
    for _ in 0..2 {
        clock.advance(Duration::from_secs(1));
        store.tick();
    }
    assert_eq!((ended.status(), brief.status()), (None, None), "{nth}");
    assert_eq!(leased.each_ref().map(|task| task.status()), [None, None], "{nth}: lost, and too many");
    assert_eq!(store.children(parent.id()).unwrap().done(), 5, "{nth}");
    assert!(bell.rang() && timed_bell.rang(), "{nth}: I6");
    let Drained::Changes(told) = changes.try_drain() else { panic!("it did not fall behind") };
    for task in [&child, &watched, &unwatched] {
        let change = told.iter().find(|change| change.status.id() == task.id());
        assert_eq!(change.map(|change| change.status), task.status(), "{nth}: I8");
    }
    assert_eq!(store.counts().total(), store.counts().of(State::Running));
    let sizes = store.engine.upkeep.sizes();
    assert_eq!((sizes.active, sizes.dirty, sizes.dues, sizes.has_unread), (0, 0, 0, false), "{nth}");
    true
}

#[test]
fn i6_i8_i9_i10_i12_nothing_is_lost_wherever_a_tick_panics() {
    let steps = (0..).take_while(|nth| panics_at(*nth)).count();
    assert!(steps >= 15, "{steps}");
}

/// The keeper panics whenever it samples one task. All others are sampled, and what is due is done.
#[test]
fn i6_i9_i10_a_task_that_panics_at_each_sample_holds_up_no_other() {
    let (store, clock) = store_with(64, Retention::forever().succeeded_for(TICK));
    let mut ended = running(&store);
    ended.succeed(()).unwrap();
    let leased = store.create(NewTask::new("leased").lease(TICK)).unwrap();
    let parent = running(&store);
    let child = || {
        let mut child = store.create(NewTask::new("child").parent(parent.id())).unwrap();
        child.start().unwrap();
        child.advance(1).unwrap();
        child
    };
    let children = [child(), child(), child()];
    let cursed = store.engine.find(children[1].id()).unwrap().key().address();
    store.engine.upkeep.panic_at_each_sample_of(cursed);
    for _ in 0..8 {
        clock.advance(TICK);
        assert!(catch_unwind(AssertUnwindSafe(|| store.tick())).is_err());
    }
    assert!(store.keeper_health().is_failing);
    assert_eq!(ended.status(), None);
    assert_eq!(leased.status().map(|status| status.state()), Some(State::Failed));
    assert_eq!(store.children(parent.id()).unwrap().done(), 2, "all but one");
}

// The thread ended with the first panic, and nobody knew.
#[test]
fn the_thread_goes_on_after_a_panic() {
    let mode = KeeperMode::Thread { tick: Duration::from_millis(1) };
    let kept = Retention::forever().succeeded_for(Duration::ZERO);
    let store = Store::builder().capacity(4).keeper(mode).retain(kept).build().unwrap();
    assert_eq!(store.keeper_health().mode, mode);
    store.engine.upkeep.panic_at(0);
    let watched = running(&store);
    let _watch = store.watch(watched.id());
    // The first may be removed by the tick that panics, and the second only by a later one.
    for _ in 0..2 {
        let mut task = running(&store);
        task.succeed(()).unwrap();
        if let Some(last) = task.status() {
            let gone = block_on(store.changed_since(last.id(), last.version()));
            assert!(gone.is_err(), "{gone:?}");
        }
    }
    let health = store.keeper_health();
    assert_eq!((health.panics, health.last_panic.is_some()), (1, true));
}

#[test]
fn the_thread_ends_with_the_last_clone_of_the_store() {
    for tick in [Duration::from_millis(1), Duration::from_secs(3_600)] {
        let builder = Store::builder().capacity(4).keeper(KeeperMode::Thread { tick });
        let store = builder.build().unwrap();
        let thread = store.keeper.as_ref().unwrap().signal();
        let clones = [store.clone(), store.clone()];
        let (mut task, engine) = (running(&store), Arc::downgrade(&store.engine));
        drop(store);
        let [first, last] = clones;
        drop(first);
        assert!(!thread.is_stopped(), "one clone is left");
        drop(last);
        assert!(thread.is_stopped());
        thread.join(); // Even in the middle of a long wait.
        task.advance(1).unwrap();
        assert_eq!(task.succeed(()), Ok(Finish::Won), "a handle that is left works on");
        drop(task);
        assert!(engine.upgrade().is_none(), "nothing is left");
    }
    assert!(store_with(1, Retention::forever()).0.keeper.is_none(), "none by hand");
}
