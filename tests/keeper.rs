//! The keeper: which thread ticks, what a tick does, and that the thread ends.
//!
//! * The builder's modes: a thread of the store's own ticks, or only calls of `tick` do. (That the thread
//!   ends with the store, and goes on after a panic, is in `src/store/tests/`.)
//! * I10: a lease that runs out leaves `Failed(Lost)`, and its holder is fenced out. A heartbeat extends it,
//!   and so does progress; it does not expire early.
//! * Concurrent ticks by several threads, and ticks while the clock stands still, do no harm.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::thread;
use std::time::{Duration, Instant};

use common::{builder, running, store, task};
use inflight::{
    ChangeError, FailureReason, Finish, KeeperMode, ManualClock, NewTask, ProgressError, Retention,
    SharedTask, State, Store, Task,
};

const SECOND: Duration = Duration::from_secs(1);

fn leased(store: &Store, span: Duration) -> Task {
    let mut task = store.create(NewTask::new("test").lease(span)).unwrap();
    task.start().unwrap();
    task
}

fn state(task: &Task) -> State {
    task.status().unwrap().state()
}

/// Waits, for a minute at most, until another thread has done something.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}, not within a minute");
        thread::yield_now();
    }
}

#[test]
fn i10_a_lease_that_is_not_kept_is_lost_and_its_holder_fenced_out() {
    let (store, clock) = store(4);
    for started in [true, false] {
        let mut task = store.create(NewTask::new("test").lease(10 * SECOND)).unwrap();
        if started {
            task.start().unwrap();
        }
        clock.advance(10 * SECOND - Duration::from_micros(8));
        store.tick();
        assert_ne!(state(&task), State::Failed, "not a moment early");
        clock.advance(Duration::from_micros(8));
        store.tick();
        let status = task.status().unwrap();
        assert_eq!((status.state(), status.failure_reason()), (State::Failed, Some(FailureReason::Lost)));
        assert!(store.details(task.id()).unwrap().error().unwrap().as_text().unwrap().contains("lease"));
        assert_eq!(task.advance(1), Err(ProgressError::NotRunning));
        assert_eq!(task.counter().advance(1), Err(ProgressError::NotRunning));
        assert_eq!(task.heartbeat(), Err(ChangeError::Ended(State::Failed)));
        assert_eq!(task.set_message("still here"), Err(ChangeError::Ended(State::Failed)));
        assert_eq!(task.succeed("too late"), Ok(Finish::Lost(status)));
        assert_eq!(task.start(), Err(ChangeError::NotAllowed { from: State::Failed, to: State::Running }));
        drop(task);
        assert_eq!(store.get(status.id()), Some(status), "I4");
    }
}

#[test]
fn i10_a_heartbeat_keeps_a_lease() {
    let (store, clock) = store(1);
    let mut task = leased(&store, 10 * SECOND);
    let before = task.status().unwrap();
    for _ in 0..20 {
        clock.advance(9 * SECOND);
        task.heartbeat().unwrap();
        store.tick();
        assert_eq!(task.status(), Some(before), "a heartbeat is no change");
    }
    clock.advance(9 * SECOND);
    store.tick();
    assert_eq!(state(&task), State::Running);
    clock.advance(SECOND);
    store.tick();
    assert_eq!(state(&task), State::Failed);
}

#[test]
fn i10_a_heartbeat_counts_from_when_it_was_given() {
    let (store, clock) = store(2);
    let mut early = leased(&store, 10 * SECOND);
    clock.advance(5 * SECOND);
    early.heartbeat().unwrap();
    let shared = leased(&store, 20 * SECOND).share();
    shared.heartbeat().unwrap();
    clock.advance(9 * SECOND);
    store.tick();
    assert_eq!(state(&early), State::Running);
    clock.advance(SECOND);
    store.tick();
    assert_eq!(state(&early), State::Failed, "ten seconds after the heartbeat, whenever the ticks were");
    assert_eq!(shared.status().unwrap().state(), State::Running, "each has its own");
}

/// The store knows when progress was made to within a tick: the lease counts from the end of it.
#[test]
fn i10_progress_keeps_a_lease() {
    let (store, clock) = store(2);
    let [mut task, shared] = [leased(&store, 10 * SECOND), leased(&store, 10 * SECOND)];
    let shared = shared.share();
    let tick = |seconds| {
        for _ in 0..seconds {
            clock.advance(SECOND);
            store.tick();
        }
    };
    for _ in 0..20 {
        tick(9);
        task.advance(1).unwrap();
        shared.set_done(shared.status().unwrap().done() + 1).unwrap();
    }
    assert_eq!((task.status().unwrap().done(), shared.status().unwrap().done()), (20, 20));
    tick(11);
    assert_eq!(state(&task), State::Running, "for all that is known it was made a second later");
    tick(1);
    assert_eq!((state(&task), shared.status().unwrap().state()), (State::Failed, State::Failed));
}

/// Regression: while a tick took long, for example since a million tasks expired at once, the pulse stood
/// still. All increments were silent meanwhile, and the lease ran out under a worker that never paused.
#[test]
fn i10_a_worker_that_counts_is_not_lost_however_long_a_tick_takes() {
    const MILLI: Duration = Duration::from_millis(1);
    for (lease, gap, between_ticks) in [(500, 21, 3_000), (100, 90, 50), (100, 90, 1_000), (20, 19, 400)] {
        let (store, clock) = store(2);
        let [mut task, shared] = [leased(&store, lease * MILLI), leased(&store, lease * MILLI)];
        let shared = shared.share();
        let ended = |task: &SharedTask| task.status().unwrap().is_terminal();
        for now in 1..12_000 {
            clock.advance(MILLI);
            if now % gap == 0 {
                assert_eq!(
                    (task.advance(1), shared.advance(1)),
                    (Ok(()), Ok(())),
                    "at {now} ms, lease {lease} ms"
                );
            }
            if now % between_ticks == 0 {
                store.tick();
            }
        }
        store.tick();
        assert!(!ended(&shared) && !task.status().unwrap().is_terminal(), "lease {lease} ms, gap {gap} ms");
        let silent = (1..).take_while(|_| {
            clock.advance(MILLI);
            store.tick();
            !ended(&shared)
        });
        let silent = silent.count() as u32;
        assert!((lease - 1..=lease + 1).contains(&silent), "lost after {silent} ms, lease {lease} ms");
        assert_eq!(state(&task), State::Failed);
    }
}

/// The relatives of the above: each sign of life counts, whatever the count is.
#[test]
fn i10_every_sign_of_life_keeps_a_lease_over_a_long_tick() {
    type Sign = fn(&mut Task);
    let signs: [(&str, Sign); 6] = [
        ("a heartbeat", |task| task.heartbeat().unwrap()),
        ("a total", |task| task.set_total(100).unwrap()),
        ("a message", |task| task.set_message("at work").unwrap()),
        ("a counter", |task| task.counter().advance(1).unwrap()),
        ("a wait", |task| {
            task.block().unwrap();
            task.resume().unwrap();
        }),
        ("a retry that comes to the same count", |task| {
            let done = task.status().unwrap().done();
            task.retry().unwrap();
            task.start().unwrap();
            task.advance(done).unwrap();
        }),
    ];
    for (what, sign) in signs {
        let (store, clock) = store(1);
        let mut task = leased(&store, 10 * SECOND);
        task.advance(5).unwrap();
        for _ in 0..5 {
            for _ in 0..7 {
                clock.advance(9 * SECOND);
                sign(&mut task);
            }
            clock.advance(9 * SECOND);
            store.tick();
            assert_eq!(state(&task), State::Running, "{what}");
        }
        for _ in 0..2 {
            clock.advance(10 * SECOND);
            store.tick();
        }
        assert_eq!(state(&task), State::Failed, "{what}");
    }
}

/// Progress after a retry counts for itself, even if the keeper has seen the same count before.
#[test]
fn i10_a_retry_that_counts_silently_to_the_same_number_keeps_its_lease() {
    let (store, clock) = store(1);
    let mut task = leased(&store, 10 * SECOND);
    task.advance(5).unwrap();
    clock.advance(10 * SECOND);
    store.tick();
    assert_eq!(state(&task), State::Running, "the keeper has seen a count of 5");
    clock.advance(5 * SECOND);
    task.retry().unwrap();
    task.start().unwrap();
    clock.advance(9 * SECOND);
    task.advance(5).unwrap();
    clock.advance(2 * SECOND);
    store.tick();
    assert_eq!(state(&task), State::Running, "two seconds after it counted");
}

#[test]
fn i10_progress_that_is_none_keeps_no_lease() {
    let (store, clock) = store(2);
    let [mut task, shared] = [leased(&store, 10 * SECOND), leased(&store, 10 * SECOND)];
    let shared = shared.share();
    for _ in 0..5 {
        clock.advance(2 * SECOND);
        let _ = (task.advance(0), task.set_done(0), shared.advance(0), shared.set_done(0));
        store.tick();
    }
    assert_eq!((state(&task), shared.status().unwrap().state()), (State::Failed, State::Failed));
}

#[test]
fn i10_what_has_no_lease_is_never_lost() {
    let (store, clock) = store(2);
    let tasks = [task(&store), running(&store)];
    for _ in 0..10 {
        clock.advance(1_000_000 * SECOND);
        store.tick();
    }
    assert_eq!(tasks.each_ref().map(state), [State::Pending, State::Running]);
}

#[test]
fn i10_a_lease_is_kept_by_every_state_and_over_a_retry() {
    let (store, clock) = store(3);
    let mut tasks = [(); 3].map(|()| leased(&store, 10 * SECOND));
    tasks[1].block().unwrap();
    tasks[2].retry().unwrap();
    clock.advance(9 * SECOND);
    store.tick();
    assert_eq!(tasks.each_ref().map(state), [State::Running, State::Blocked, State::Pending]);
    clock.advance(SECOND);
    store.tick();
    assert_eq!(tasks.each_ref().map(state), [State::Failed; 3]);
}

#[test]
fn i10_a_lease_ends_with_its_task() {
    let (store, clock) = store(2);
    let mut task = leased(&store, SECOND);
    task.succeed("in time").unwrap();
    let status = task.status().unwrap();
    clock.advance(5 * SECOND);
    store.tick();
    assert_eq!(task.status(), Some(status));
    let _ = store.remove(task.id()).unwrap();
    drop(task);
    let next = running(&store);
    clock.advance(5 * SECOND);
    store.tick();
    assert_eq!(state(&next), State::Running, "I7: nor is the next task on its line meant");
}

#[test]
fn ticks_by_hand_do_no_harm() {
    let (store, clock) = store(8);
    for _ in 0..1_000 {
        store.tick();
    }
    let mut task = task(&store);
    task.start().unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            let (store, clock) = (store.clone(), clock.clone());
            scope.spawn(move || {
                for _ in 0..500 {
                    clock.advance(Duration::from_millis(1));
                    store.tick();
                }
            });
        }
        for _ in 0..500 {
            task.advance(1).unwrap();
            store.tick();
        }
    });
    assert_eq!(task.status().unwrap().done(), 500);
    assert_eq!(task.succeed(()), Ok(Finish::Won));
}

#[test]
fn by_hand_means_that_nobody_else_ticks() {
    let clock = ManualClock::new();
    let store =
        builder(1, &clock).retain(Retention::forever().succeeded_for(Duration::ZERO)).build().unwrap();
    let mut task = running(&store);
    task.succeed(()).unwrap();
    clock.advance(1_000 * SECOND);
    // Long enough for a ticking thread to tick, if there were one.
    let ticking = Store::builder().capacity(32).keeper(KeeperMode::Thread { tick: Duration::from_millis(1) });
    let ticking = ticking.retain(Retention::forever().succeeded_for(Duration::ZERO)).build().unwrap();
    for _ in 0..20 {
        let mut probe = running(&ticking);
        probe.succeed(()).unwrap();
        eventually("another store's keeper ticks", || probe.status().is_none());
    }
    assert!(task.status().is_some());
    store.tick();
    assert!(task.status().is_none());
}

#[test]
fn a_thread_ticks_by_itself() {
    let clock = ManualClock::new();
    let build = |keeper: Option<KeeperMode>| {
        let retention = Retention::forever().succeeded_for(SECOND);
        let builder = Store::builder().capacity(4).clock(clock.clone()).retain(retention);
        match keeper {
            None => builder, // By default the store has one.
            Some(keeper) => builder.keeper(keeper),
        }
        .build()
        .unwrap()
    };
    for keeper in [None, Some(KeeperMode::Thread { tick: Duration::from_millis(1) })] {
        let store = build(keeper);
        let parent = task(&store);
        let mut child = store.create(NewTask::new("test").parent(parent.id())).unwrap();
        child.start().unwrap();
        child.advance(3).unwrap();
        eventually("progress is sampled", || store.children(parent.id()).unwrap().done() == 3);
        let lost = leased(&store, SECOND);
        let mut ended = running(&store);
        ended.succeed(()).unwrap();
        clock.advance(2 * SECOND);
        eventually("a lease runs out", || state(&lost) == State::Failed);
        eventually("a task past its age is removed", || ended.status().is_none());
        assert_eq!((state(&child), state(&parent)), (State::Running, State::Pending));
    }
}
