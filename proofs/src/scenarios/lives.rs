//! The lives of tasks: progress, attempts, leases, parents, retention, and lines that are used again.

use inflight::{CreateError, Finish, NewTask, RemoveError, Retention, State};

use super::{Poller, SPAN, World, join, start, start_poller};

/// Tasks use one line, one after the other, while an old id is polled and an old handle writes.
pub(super) fn reuse() {
    let world = World::new(1);
    let mut first = world.running(NewTask::new("first").total(1));
    let id = first.id();
    assert_eq!(first.advance(1), Ok(()));
    let worker = start(&world, move |_| {
        assert!(matches!(first.succeed("first"), Ok(Finish::Won)));
        // The handle outlives its task: it must not reach another task.
        let late = first.advance(5);
        assert!(late.is_err(), "I4: progress after the end");
    });
    let keeper = start(&world, |world| {
        for _ in 0..2 {
            world.pass();
        }
    });
    let next = start(&world, move |world| {
        for _ in 0..2 {
            match world.store.create(NewTask::new("second").total(2)) {
                Ok(second) => {
                    let status = world.store.get(second.id());
                    let seen = status.map(|status| (status.state(), status.done(), status.total()));
                    assert_eq!(seen, Some((State::Pending, 0, Some(2))), "I7: the new task, as it is");
                }
                Err(error) => assert_eq!(error, CreateError::Full { capacity: 1 }),
            }
        }
    });
    let mut poller = Poller::new(id);
    for _ in 0..3 {
        if let Some(status) = poller.poll(&world.store) {
            assert_eq!((status.total(), status.done()), (Some(1), 1), "I7: the old id, another's numbers");
        }
    }
    [worker, keeper, next].into_iter().for_each(join);
}

/// A retry resets progress and raises the attempt in one step.
pub(super) fn retry() {
    let world = World::new(1);
    let mut task = world.running(NewTask::new("retry"));
    let id = task.id();
    let worker = start(&world, move |_| {
        assert_eq!(task.advance(5), Ok(()));
        assert_eq!(task.retry(), Ok(()));
        assert_eq!(task.start(), Ok(()));
        assert_eq!(task.advance(1), Ok(()));
        assert!(matches!(task.succeed(()), Ok(Finish::Won)));
    });
    let ticker = start(&world, |world| world.tick());
    let poll = move |world: World| {
        let mut poller = Poller::new(id);
        for _ in 0..4 {
            let Some(status) = poller.poll(&world.store) else { continue };
            let seen = (status.attempt(), status.state(), status.done());
            let is_one = match seen {
                (1, State::Running, done) => done == 0 || done == 5,
                (2, State::Pending, done) => done == 0,
                (2, State::Running, done) => done <= 1,
                (2, State::Succeeded, done) => done == 1,
                _ => false,
            };
            assert!(is_one, "I2: {seen:?} is from two moments");
        }
    };
    let other = start(&world, poll);
    poll(world);
    [worker, ticker, other].into_iter().for_each(join);
}

/// Increments of several writers against the end: each is counted or refused, none is lost.
pub(super) fn increments() {
    let world = World::new(1);
    let shared = world.running(NewTask::new("shared")).share();
    let id = shared.id();
    let adder = |count: u64| {
        let shared = shared.clone();
        start(&world, move |_| (0..2).filter(|_| shared.advance(count).is_ok()).count() as u64 * count)
    };
    let adders = [adder(1), adder(100)];
    let ender = {
        let shared = shared.clone();
        start(&world, move |_| assert!(matches!(shared.succeed(()), Ok(Finish::Won))))
    };
    join(ender);
    let ended = world.store.get(id);
    let counted: u64 = adders.into_iter().map(join).sum();
    assert_eq!(ended.map(|status| status.done()), Some(counted), "I4: what was counted is in the end");
    assert_eq!(world.store.get(id), ended, "I4");
}

/// A lease runs out, or does not: the task has one end, and the holder is fenced out.
pub(super) fn lease() {
    let world = World::new(1);
    let mut task = world.running(NewTask::new("leased").lease(SPAN));
    let id = task.id();
    let worker = start(&world, move |world| {
        let counted = u64::from(task.advance(1).is_ok());
        let _ = task.heartbeat();
        let counted = counted + u64::from(task.advance(1).is_ok());
        let finish = task.succeed(counted.to_string());
        let late = task.advance(1);
        assert!(late.is_err(), "I4: progress after the end");
        let status = world.store.get(id);
        match finish {
            Ok(Finish::Won) => {
                let is_mine = status.is_none_or(|status| status.state() == State::Succeeded);
                assert!(is_mine, "I3: {status:?}");
            }
            Ok(Finish::Lost(lost)) => {
                assert_eq!((lost.state(), lost.done()), (State::Failed, counted), "I10");
            }
            Err(error) => assert_eq!(error, inflight::FinishError::Gone),
        }
    });
    let keeper = start(&world, |world| {
        world.pass();
        world.pass();
    });
    let poller = start_poller(&world, id, 3);
    join(worker);
    join(keeper);
    join(poller);
}

/// A parent's sums follow its children.
pub(super) fn parents() {
    let world = World::new(4);
    let parent = world.running(NewTask::new("parent"));
    let id = parent.id();
    let child = |count: u64, fails: bool| {
        start(&world, move |world| {
            let mut child = world.running(NewTask::new("child").total(10).parent(id));
            assert_eq!(child.advance(count), Ok(()));
            world.store.tick();
            assert_eq!(child.advance(count), Ok(()));
            let finish =
                if fails { child.fail(inflight::FailureReason::Error, ()) } else { child.succeed(()) };
            assert!(matches!(finish, Ok(Finish::Won)));
        })
    };
    let children = [child(1, false), child(3, true)];
    let ticker = start(&world, |world| world.tick());
    let looker = start(&world, move |world| {
        for _ in 0..2 {
            let children = world.store.children(id).ok();
            let most = children.map_or(0, |children| children.done().max(children.count()));
            assert!(most <= 8, "I12: never more than there is: {children:?}");
        }
    });
    children.into_iter().for_each(join);
    join(ticker);
    join(looker);
    let children = world.store.children(id).unwrap_or_default();
    let by_state = [State::Succeeded, State::Failed].map(|state| children.in_state(state));
    assert_eq!((by_state, children.live()), ([1, 1], 0), "I12");
    assert_eq!((children.done(), children.total()), (8, Some(20)), "I12");
}

/// Concurrent creations race for the last lines.
pub(super) fn capacity() {
    let world = World::new(2);
    let creator = || {
        start(&world, |world| {
            let mut made = 0;
            for _ in 0..2 {
                match world.store.create(NewTask::new("task")) {
                    Ok(mut task) => {
                        made += 1;
                        let id = task.id();
                        assert!(task.cancel().is_ok());
                        drop(task);
                        assert!(world.store.remove(id).is_ok());
                    }
                    Err(error) => assert_eq!(error, CreateError::Full { capacity: 2 }),
                }
                assert!(world.store.counts().total() <= 3 + 2, "I12: about right while tasks come and go");
            }
            made
        })
    };
    let creators = [creator(), creator(), creator()];
    let made: u64 = creators.into_iter().map(join).sum();
    assert!(made >= 2, "two lines were free at any time");
    assert_eq!(world.store.counts().total(), 0, "I12: exact at rest");
    // All lines are free again.
    let again = [world.create(NewTask::new("task")), world.create(NewTask::new("task"))];
    assert_eq!(world.store.create(NewTask::new("task")).err(), Some(CreateError::Full { capacity: 2 }));
    drop(again);
}

/// Eviction by count races with removals, while tasks end.
pub(super) fn eviction() {
    let world = World::with(8, |builder| builder.retain(Retention::forever().at_most_succeeded(1)));
    let live = world.running(NewTask::new("live"));
    let worker = || {
        start(&world, |world| {
            let mut task = world.running(NewTask::new("task"));
            assert!(matches!(task.succeed(()), Ok(Finish::Won)));
            match world.store.remove(task.id()) {
                Ok(status) => assert_eq!(status.state(), State::Succeeded),
                Err(error) => assert!(matches!(error, RemoveError::Absent(_)), "{error:?}"),
            }
            let mut kept = world.running(NewTask::new("kept"));
            assert!(matches!(kept.succeed(()), Ok(Finish::Won)));
        })
    };
    let workers = [worker(), worker()];
    let keeper = start(&world, |world| world.tick());
    workers.into_iter().for_each(join);
    join(keeper);
    world.tick();
    let counts = world.store.counts();
    assert_eq!((counts.of(State::Succeeded), counts.of(State::Running)), (1, 1), "I9 I12");
    assert!(world.store.get(live.id()).is_some(), "I9: never a live task");
}
