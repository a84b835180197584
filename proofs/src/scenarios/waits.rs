//! Waiters: each wait ends, or shuttle reports a deadlock.

use std::time::Duration;

use inflight::{Absent, Finish, GoneReason, NewTask, State, WaitError};
use shuttle::future::block_on;
use shuttle::sync::Arc;
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread::JoinHandle;

use super::{Poller, World, join, start};

/// Waits for the end, by future and by blocking, of a task that ends and is removed at once.
pub(super) fn waiters() {
    let world = World::new(1);
    let mut task = world.running(NewTask::new("awaited"));
    let id = task.id();
    let blocking = start(&world, move |world| world.store.wait_blocking(id));
    let waiting = start(&world, move |world| block_on(world.store.wait(id)));
    let cancelled = task.cancelled();
    let cancelled = start(&world, move |_| block_on(cancelled));
    let given_up = start(&world, move |world| {
        // A waiter that is dropped removes its registration.
        let mut wait = Box::pin(world.store.wait(id));
        let waker = std::task::Waker::noop();
        let _ = wait.as_mut().poll(&mut std::task::Context::from_waker(waker));
    });
    let worker = start(&world, move |world| {
        assert!(matches!(task.succeed(()), Ok(Finish::Won)));
        assert!(world.store.remove(id).is_ok());
    });
    for waited in [join(blocking), join(waiting)] {
        match waited {
            Ok(status) => assert_eq!(status.state(), State::Succeeded, "I6"),
            // The wait began too late.
            Err(absent) => assert_eq!(absent, Absent::Gone(Some(GoneReason::Removed)), "I11"),
        }
    }
    [cancelled, given_up, worker].into_iter().for_each(join);
}

/// Progress wakes the waiters for changes, within a tick.
pub(super) fn progress_waiters() {
    let world = World::new(1);
    let mut task = world.running(NewTask::new("watched"));
    let id = task.id();
    let watcher = |until: u64| {
        start(&world, move |world| {
            let mut poller = Poller::new(id);
            let Some(mut status) = poller.poll(&world.store) else { return };
            while status.done() < until {
                let Ok(next) = block_on(world.store.changed_since(id, status.version())) else { return };
                assert!(next.version() > status.version(), "I6: woken for nothing");
                poller.see(next);
                status = next;
            }
        })
    };
    let watchers = [watcher(2), watcher(1)];
    let worker = start(&world, move |_| {
        assert_eq!(task.advance(1), Ok(()));
        assert_eq!(task.advance(1), Ok(()));
        task
    });
    // If no tick reports the progress, the watchers sleep for ever, and the ticks never end.
    let ticking = Ticking::start(&world);
    let task = join(worker);
    watchers.into_iter().for_each(join);
    ticking.stop();
    drop(task);
}

/// Waits that time out, a wait that is given up, and the end of the task: each wait has a result of its own.
pub(super) fn timeouts() {
    let world = World::new(1);
    let mut task = world.running(NewTask::new("slow"));
    let id = task.id();
    let hurry = Duration::from_millis(10);
    let impatient = start(&world, move |world| block_on(world.store.wait_timeout(id, hurry)));
    let patient = start(&world, move |world| block_on(world.store.wait_timeout(id, hurry * 1000)));
    let worker = start(&world, move |_| {
        assert!(matches!(task.succeed(()), Ok(Finish::Won)));
    });
    let ticking = Ticking::start(&world);
    match join(impatient) {
        Ok(status) => assert!(status.is_terminal(), "I6"),
        Err(WaitError::TimedOut(status)) => assert!(!status.is_terminal(), "I6"),
        Err(WaitError::Absent(absent)) => assert_eq!(absent, Absent::Gone(None)),
    }
    join(worker);
    assert!(join(patient).is_ok_and(|status| status.is_terminal()), "I6");
    ticking.stop();
}

/// Ticks for as long as a thread waits, as the keeper does in a service. A wait without end exceeds the bound
/// on the steps of a schedule.
struct Ticking {
    stopped: Arc<AtomicBool>,
    ticker: JoinHandle<()>,
}

impl Ticking {
    fn start(world: &World) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let ticker = {
            let stopped = Arc::clone(&stopped);
            start(world, move |world| {
                while !stopped.load(Ordering::SeqCst) {
                    world.tick();
                    shuttle::thread::yield_now();
                }
            })
        };
        Self { stopped, ticker }
    }

    fn stop(self) {
        self.stopped.store(true, Ordering::SeqCst);
        join(self.ticker);
    }
}
