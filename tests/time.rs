//! Time, on a clock that is set by hand: monotonic inside, the wall clock at the interface.
//!
//! * Times: created, started, updated and ended are those of the events; the start is that of this attempt.
//! * Steps of the wall clock shift the times that are shown. They neither expire a task nor change a status.
//! * Rate and ETA are averages of this attempt, and `None` where they are not known.
//! * I4: the time of an end never changes.
//! * I5: a time changes only together with the version.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{builder, running, store, task};
use inflight::{FailureReason, Filter, KeeperMode, ManualClock, NewTask, Retention, State, Status, Store};

const SECOND: Duration = Duration::from_secs(1);

/// When a [`ManualClock`] begins: 2030-01-01T00:00:00Z.
fn start() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_893_456_000)
}

fn at(seconds: u64) -> SystemTime {
    start() + Duration::from_secs(seconds)
}

fn tick(store: &Store, clock: &ManualClock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
    store.tick();
}

#[test]
fn the_times_are_those_of_the_events() {
    let (store, clock) = store(1);
    clock.advance(SECOND);
    let mut task = task(&store);
    let id = task.id();
    let times = |status: Status| {
        (
            status.created_at(),
            status.started_at(),
            status.updated_at(),
            status.ended_at(),
            status.worked_for(),
        )
    };
    let now = || times(store.get(id).unwrap());
    assert_eq!(now(), (at(1), None, at(1), None, None));
    clock.advance(SECOND);
    task.start().unwrap();
    assert_eq!(now(), (at(1), Some(at(2)), at(2), None, Some(Duration::ZERO)));
    clock.advance(SECOND);
    task.set_message("on the way").unwrap();
    assert_eq!(now(), (at(1), Some(at(2)), at(3), None, Some(SECOND)));
    clock.advance(SECOND);
    task.set_total(7).unwrap();
    assert_eq!(now(), (at(1), Some(at(2)), at(4), None, Some(2 * SECOND)));
    clock.advance(SECOND);
    let _ = store.cancel(id).unwrap();
    assert_eq!(now(), (at(1), Some(at(2)), at(5), None, Some(3 * SECOND)));
    clock.advance(SECOND);
    task.block().unwrap();
    clock.advance(SECOND);
    task.resume().unwrap();
    assert_eq!(now(), (at(1), Some(at(2)), at(7), None, Some(5 * SECOND)));
    clock.advance(SECOND);
    task.succeed(()).unwrap();
    let end = (at(1), Some(at(2)), at(8), Some(at(8)), Some(6 * SECOND));
    assert_eq!(now(), end);
    tick(&store, &clock, 100);
    assert!(task.advance(1).is_err() && task.set_message("late").is_err());
    assert_eq!(now(), end, "I4");
}

#[test]
fn progress_is_noted_with_the_resolution_of_the_tick() {
    let (store, clock) = store(2);
    let tasks = [running(&store), running(&store)];
    let [mut task, shared] = tasks;
    let shared = shared.share();
    for ticked in [2, 5] {
        tick(&store, &clock, 2);
        clock.advance(SECOND);
        task.advance(1).unwrap();
        shared.advance(1).unwrap();
        for status in [task.status().unwrap(), shared.status().unwrap()] {
            assert_eq!(status.updated_at(), at(ticked));
        }
    }
}

/// The clock stands still, or the last tick's time is older than a change: no time goes back.
#[test]
fn i5_progress_does_not_take_updated_back() {
    let (store, clock) = store(1);
    let mut task = task(&store);
    clock.advance(5 * SECOND);
    task.start().unwrap();
    task.advance(1).unwrap();
    let status = task.status().unwrap();
    assert_eq!((status.updated_at(), status.rate()), (at(5), None), "the time of the start, not of the tick");
}

#[test]
fn a_step_of_the_wall_clock_moves_what_is_shown() {
    let (store, clock) = store(4);
    let mut task = running(&store);
    task.advance(3).unwrap();
    task.succeed(()).unwrap();
    let before = task.status().unwrap();
    for step in [3_600, -7_200, 1] {
        let shown = store.get(task.id()).unwrap().ended_at().unwrap();
        clock.step_wall(step);
        assert_eq!(store.get(task.id()).unwrap().ended_at(), Some(shown), "until the next tick");
        tick(&store, &clock, 1);
        let status = store.get(task.id()).unwrap();
        let (span, ended) = (Duration::from_secs(step.unsigned_abs()), status.ended_at().unwrap());
        assert_eq!(ended, if step > 0 { shown + span } else { shown - span });
        assert_eq!(status.started_at(), status.ended_at(), "all of them move alike");
        assert_eq!(
            (status, status.version()),
            (before, before.version()),
            "I4, I5: the task has not changed"
        );
        let created = common::task(&store).status().unwrap().created_at();
        assert!(created > ended, "a new task is later, wherever the wall clock is");
    }
}

#[test]
fn i9_i10_a_step_of_the_wall_clock_expires_nothing() {
    let clock = ManualClock::new();
    let retention = Retention::forever().succeeded_for(10 * SECOND);
    let store = builder(3, &clock).retain(retention).build().unwrap();
    let mut ended = running(&store);
    ended.succeed(()).unwrap();
    let mut leased = store.create(NewTask::new("test").lease(10 * SECOND)).unwrap();
    leased.start().unwrap();
    for step in [1_000_000, -3_000_000] {
        clock.step_wall(step);
        tick(&store, &clock, 4);
        assert!(ended.status().is_some());
        assert_eq!(leased.status().unwrap().state(), State::Running);
    }
    tick(&store, &clock, 2);
    assert!(ended.status().is_none(), "10 s, however the wall clock went");
    assert_eq!(leased.status().unwrap().state(), State::Failed);
}

/// A filter by time takes wall-clock times, which callers know.
#[test]
fn changed_since_follows_the_wall_clock() {
    let (store, clock) = store(2);
    let _early = running(&store);
    tick(&store, &clock, 10);
    let late = running(&store);
    clock.step_wall(-3_600);
    tick(&store, &clock, 1);
    let since = |time| store.list(&Filter::new().changed_since(time)).unwrap().tasks;
    let listed = since(at(5) - Duration::from_secs(3_600));
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].status().id(), late.id());
    assert_eq!(since(late.status().unwrap().updated_at()).len(), 1, "at that time, or later");
    assert_eq!(since(at(0)).len(), 0, "which is in the future now");
}

#[test]
fn rate_and_eta_are_averages_of_the_attempt() {
    let (store, clock) = store(1);
    let mut task = store.create(NewTask::new("test").total(100)).unwrap();
    let told = |task: &inflight::Task| {
        let status = task.status().unwrap();
        (status.rate(), status.eta(), status.fraction())
    };
    assert_eq!(told(&task), (None, None, Some(0.0)), "pending");
    clock.advance(50 * SECOND);
    task.start().unwrap();
    tick(&store, &clock, 5);
    assert_eq!(told(&task), (None, None, Some(0.0)), "nothing done yet");
    task.advance(20).unwrap();
    assert_eq!(told(&task), (Some(4.0), Some(20 * SECOND), Some(0.2)));
    task.block().unwrap();
    assert_eq!(told(&task).1, None, "it makes no progress");
    task.resume().unwrap();
    tick(&store, &clock, 5);
    task.advance(60).unwrap();
    assert_eq!(told(&task), (Some(8.0), Some(Duration::from_millis(2_500)), Some(0.8)));
    task.advance(40).unwrap();
    assert_eq!(told(&task), (Some(12.0), Some(Duration::ZERO), Some(1.0)), "more than the total");
    task.retry().unwrap();
    assert_eq!(told(&task), (None, None, Some(0.0)), "the next attempt knows nothing of the last");
    tick(&store, &clock, 5);
    task.start().unwrap();
    tick(&store, &clock, 2);
    task.advance(1).unwrap();
    assert_eq!(told(&task).0, Some(0.5));
    task.succeed(()).unwrap();
    assert_eq!(told(&task), (Some(0.5), None, Some(0.01)));
}

#[test]
fn what_is_unknown_is_none() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    tick(&store, &clock, 5);
    task.advance(5).unwrap();
    let status = task.status().unwrap();
    assert_eq!((status.total(), status.fraction(), status.eta()), (None, None, None));
    assert_eq!((status.rate(), status.ended_at()), (Some(1.0), None));
    task.set_total(5).unwrap();
    assert_eq!(task.status().unwrap().fraction(), Some(1.0));
}

/// The default clock: it runs, it shows the wall clock's time, and events stay in order.
#[test]
fn the_systems_clock_tells_the_wall_time() {
    let before = SystemTime::now();
    let store = Store::builder().capacity(1).build().unwrap();
    let mut task = task(&store);
    task.start().unwrap();
    task.succeed(()).unwrap();
    let status = task.status().unwrap();
    let after = SystemTime::now();
    let slack = Duration::from_millis(1); // Stamps are truncated to 8 µs, the skew is taken at the tick.
    let times = [status.created_at(), status.started_at().unwrap(), status.ended_at().unwrap()];
    assert!(times.is_sorted(), "{times:?}");
    assert!(before - slack <= times[0] && times[2] <= after + slack, "{before:?} {times:?} {after:?}");
}

#[test]
fn the_systems_clock_runs_as_fast_as_time_does() {
    let store = Store::builder().capacity(1).keeper(KeeperMode::Manual).build().unwrap();
    let mut task = task(&store);
    let before = Instant::now();
    task.start().unwrap();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(20) {
        std::hint::spin_loop();
    }
    let least = started.elapsed();
    task.succeed(()).unwrap();
    let (worked, most) = (task.status().unwrap().worked_for().unwrap(), before.elapsed());
    let unit = Duration::from_micros(8);
    assert!(least - unit <= worked && worked <= most + unit, "{least:?} {worked:?} {most:?}");
}

/// Regression: a task that was retried and then ended before its next start showed the start of the earlier
/// attempt, and with it a time during which it had not been worked on.
#[test]
fn i2_an_attempt_that_was_never_started_has_no_start() {
    let (store, clock) = store(3);
    let retried = || {
        let mut task = running(&store);
        clock.advance(SECOND);
        task.advance(1).unwrap();
        task.retry().unwrap();
        clock.advance(SECOND);
        task
    };
    let (mut failed, cancelled, dropped) = (retried(), retried(), retried());
    let ids = [failed.id(), cancelled.id(), dropped.id()];
    failed.fail(FailureReason::Rejected, ()).unwrap();
    let _ = store.cancel(ids[1]).unwrap();
    drop(dropped);
    for id in ids {
        let status = store.get(id).unwrap();
        assert!(status.is_terminal() && status.attempt() == 2, "{status:?}");
        assert_eq!(
            (status.started_at(), status.worked_for(), status.rate()),
            (None, None, None),
            "{status:?}"
        );
    }
}

/// Regression: setting `done` to its present value moved `updated_at` of a shared task, so the status changed
/// although its version did not.
#[test]
fn i5_setting_done_to_what_it_is_changes_nothing() {
    let (store, clock) = store(2);
    let mut task = running(&store);
    task.advance(5).unwrap();
    let shared = running(&store).share();
    shared.advance(5).unwrap();
    let before = [task.status().unwrap(), shared.status().unwrap()];
    tick(&store, &clock, 1);
    task.set_done(5).unwrap();
    shared.set_done(5).unwrap();
    task.advance(0).unwrap();
    shared.advance(0).unwrap();
    assert_eq!([task.status().unwrap(), shared.status().unwrap()], before);
}
