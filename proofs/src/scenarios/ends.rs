//! Races for the end of a task.

use inflight::{CancelError, ChangeError, FailureReason, Finish, NewTask, State};

use super::{World, join, start, start_poller};

/// A pending task is cancelled while it is started: one of the two happens.
pub(super) fn cancel_pending() {
    let world = World::new(1);
    let mut task = world.create(NewTask::new("pending"));
    let id = task.id();
    let worker = start(&world, move |_| {
        let started = task.start();
        if started.is_ok() {
            assert_eq!(task.advance(1), Ok(()));
            let wanted = if task.cancel_requested() { State::Cancelled } else { State::Succeeded };
            let finish = if wanted == State::Cancelled { task.cancel() } else { task.succeed(()) };
            assert!(matches!(finish, Ok(Finish::Won)), "only its owner ends an exclusive task that runs");
            return wanted;
        }
        assert_eq!(started, Err(ChangeError::NotAllowed { from: State::Cancelled, to: State::Running }));
        assert!(task.advance(1).is_err(), "I4");
        State::Cancelled
    });
    let canceller = start(&world, move |world| match world.store.cancel(id) {
        Ok(status) => assert!(status.is_terminal() || status.cancel_requested(), "{status:?}"),
        Err(error) => assert!(matches!(error, CancelError::Ended(_)), "{error:?}"),
    });
    let poller = start_poller(&world, id, 3);
    let wanted = join(worker);
    join(canceller);
    join(poller);
    assert_eq!(world.store.get(id).map(|status| status.state()), Some(wanted), "I3");
    assert_eq!(world.store.counts().of(wanted), 1, "I12");
}

/// Two threads request the cancellation of a running task, while its worker blocks and resumes it.
pub(super) fn cancel_running() {
    let world = World::new(1);
    let mut task = world.running(NewTask::new("running"));
    let id = task.id();
    let ask = move |world: World| match world.store.cancel(id) {
        Ok(status) => assert!(status.cancel_requested() || status.state() == State::Cancelled),
        Err(error) => assert!(matches!(error, CancelError::Ended(_)), "{error:?}"),
    };
    let worker = start(&world, move |_| {
        assert_eq!(task.block(), Ok(()));
        assert_eq!(task.advance(1), Ok(()));
        assert_eq!(task.resume(), Ok(()));
        let finish = if task.cancel_requested() { task.cancel() } else { task.succeed(()) };
        assert!(matches!(finish, Ok(Finish::Won)), "I3");
    });
    let askers = [start(&world, ask), start(&world, ask)];
    let poller = start_poller(&world, id, 3);
    join(worker);
    askers.into_iter().for_each(join);
    join(poller);
    // Two requests are one change: created, started, requested or not, blocked, resumed, ended.
    let ended = world.store.get(id).map(|status| (status.is_terminal(), status.done()));
    assert_eq!(ended, Some((true, 1)));
}

/// Three threads end one task: one wins, and the others are told how it ended.
pub(super) fn winners() {
    let world = World::new(1);
    let shared = world.running(NewTask::new("shared")).share();
    let id = shared.id();
    let ender = |number: usize| {
        let shared = shared.clone();
        start(&world, move |_| match number {
            0 => shared.succeed("0"),
            1 => shared.fail(FailureReason::Error, "1"),
            _ => shared.cancel(),
        })
    };
    let enders = [ender(0), ender(1), ender(2)];
    let poller = start_poller(&world, id, 3);
    let finishes = enders.map(join);
    join(poller);
    let details = world.store.details(id).ok();
    let status = details.as_ref().map(inflight::Details::status);
    let won = finishes.iter().position(|finish| matches!(finish, Ok(Finish::Won)));
    let state = [State::Succeeded, State::Failed, State::Cancelled];
    assert_eq!(status.map(|status| status.state()), won.and_then(|won| state.get(won)).copied(), "I3");
    for finish in &finishes {
        match finish {
            Ok(Finish::Lost(lost)) => {
                assert_eq!(Some(*lost), status, "I3: the losing call returns the real end")
            }
            Ok(Finish::Won) => {}
            Err(error) => assert_eq!(Some(error), None),
        }
    }
    let wins = finishes.iter().filter(|finish| matches!(finish, Ok(Finish::Won))).count();
    assert_eq!(wins, 1, "I3");
    let outcome = details.as_ref().and_then(|details| details.result().or(details.error()));
    let left = outcome.and_then(|payload| payload.as_text());
    assert_eq!(left, [Some("0"), Some("1"), None].get(won.unwrap_or(2)).copied().flatten(), "I4");
}

/// The last of several handles is dropped, and the task is lost, unless it was ended or cancelled.
pub(super) fn last_handle() {
    let world = World::new(1);
    let shared = world.create(NewTask::new("pending")).share();
    let id = shared.id();
    let other = shared.clone();
    let droppers = [start(&world, move |_| drop(shared)), start(&world, move |_| drop(other))];
    let canceller = start(&world, move |world| world.store.cancel(id).map(|status| status.state()));
    droppers.into_iter().for_each(join);
    let status = world.store.get(id);
    let reason = status.and_then(|status| status.failure_reason());
    match join(canceller) {
        Ok(state) => assert_eq!((state, reason), (State::Cancelled, None), "I3"),
        Err(CancelError::Ended(_)) => assert_eq!(reason, Some(FailureReason::Lost), "I10"),
        Err(error) => assert_eq!(Some(error), None),
    }
}
