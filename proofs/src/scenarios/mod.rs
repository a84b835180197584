//! Scenarios of the whole store for shuttle, which runs each under many schedules.
//!
//! A scenario is a function that starts a few threads and asserts what must hold at any time and in the end.
//! If a thread waits for ever because a wake-up was lost, shuttle reports a deadlock.

mod ends;
mod feeds;
mod ids;
mod lives;
mod waits;

use std::time::Duration;

use inflight::{KeeperMode, ManualClock, NewTask, Retention, Status, Store, StoreBuilder, Task, TaskId};
use shuttle::thread::JoinHandle;

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// The invariants that it checks.
    pub about: &'static str,
    /// Its body.
    pub run: fn(),
}

/// All of them.
pub const SCENARIOS: [Scenario; 23] = [
    Scenario { name: "reuse", about: "I7 I9", run: lives::reuse },
    Scenario { name: "retry", about: "I2 I5", run: lives::retry },
    Scenario { name: "increments", about: "I3 I4", run: lives::increments },
    Scenario { name: "lease", about: "I3 I4 I10", run: lives::lease },
    Scenario { name: "parents", about: "I12", run: lives::parents },
    Scenario { name: "capacity", about: "I7 I9 I12", run: lives::capacity },
    Scenario { name: "eviction", about: "I9 I12", run: lives::eviction },
    Scenario { name: "cancel-pending", about: "I3 I4", run: ends::cancel_pending },
    Scenario { name: "cancel-running", about: "I3 I5", run: ends::cancel_running },
    Scenario { name: "winners", about: "I3 I4", run: ends::winners },
    Scenario { name: "last-handle", about: "I3 I10", run: ends::last_handle },
    Scenario { name: "own-ids", about: "I5 I7 I11", run: ids::own_ids },
    Scenario { name: "own-ids-again", about: "I5 I7 I11", run: ids::own_ids_again },
    Scenario { name: "own-id-freed", about: "I7 I11", run: ids::own_id_freed },
    Scenario { name: "own-id-overtaken", about: "I5", run: ids::own_id_overtaken },
    Scenario { name: "own-id-child", about: "I12", run: ids::own_id_child },
    Scenario { name: "pages", about: "list", run: ids::pages },
    Scenario { name: "feed", about: "I8", run: feeds::feed },
    Scenario { name: "feed-and-list", about: "I8", run: feeds::feed_and_list },
    Scenario { name: "feed-resync", about: "I8", run: feeds::feed_resync },
    Scenario { name: "waiters", about: "I6", run: waits::waiters },
    Scenario { name: "progress-waiters", about: "I6", run: waits::progress_waiters },
    Scenario { name: "timeouts", about: "I6", run: waits::timeouts },
];

/// How long ended tasks are kept, and how long a lease is.
const SPAN: Duration = Duration::from_secs(60);

/// A store and its clock.
#[derive(Clone)]
struct World {
    store: Store,
    clock: ManualClock,
}

impl World {
    fn new(capacity: usize) -> Self {
        let keep = Retention::forever().succeeded_for(SPAN).failed_for(SPAN).cancelled_for(SPAN);
        Self::with(capacity, |builder| builder.retain(keep))
    }

    fn with(capacity: usize, setting: impl FnOnce(StoreBuilder) -> StoreBuilder) -> Self {
        let clock = ManualClock::new();
        let builder = Store::builder()
            .capacity(capacity)
            .clock(clock.clone())
            .keeper(KeeperMode::Manual)
            .panic_messages(false);
        match setting(builder).build() {
            Ok(store) => Self { store, clock },
            Err(error) => panic!("{error}"),
        }
    }

    /// Creates a task and starts it.
    fn running(&self, new: NewTask) -> Task {
        let mut task = self.create(new);
        assert_eq!(task.start(), Ok(()));
        task
    }

    fn create(&self, new: NewTask) -> Task {
        self.store.create(new).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Advances the clock so that everything due happens.
    fn pass(&self) {
        self.clock.advance(SPAN + SPAN);
        self.store.tick();
    }

    fn tick(&self) {
        self.clock.advance(Duration::from_millis(50));
        self.store.tick();
    }
}

/// Starts a thread with its own clone of the world.
fn start<T: Send + 'static>(world: &World, work: impl FnOnce(World) -> T + Send + 'static) -> JoinHandle<T> {
    let world = world.clone();
    shuttle::thread::spawn(move || work(world))
}

fn join<T>(thread: JoinHandle<T>) -> T {
    match thread.join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A poller of one task, which panics on what no poller may ever see.
struct Poller {
    id: TaskId,
    last: Option<Status>,
}

impl Poller {
    fn new(id: TaskId) -> Self {
        Self { id, last: None }
    }

    /// Polls once.
    fn poll(&mut self, store: &Store) -> Option<Status> {
        let status = store.get(self.id)?;
        self.see(status);
        Some(status)
    }

    /// Compares a status with the last one (I2, I4, I5, I7).
    fn see(&mut self, status: Status) {
        assert_eq!(status.id(), self.id, "I7: another task's status");
        if let Some(last) = self.last.replace(status) {
            assert!(status.version() >= last.version(), "I5: {last:?}, and then {status:?}");
            if status.version() == last.version() {
                assert_eq!(seen(status), seen(last), "I5: one version, two statuses");
            }
            assert!(!last.is_terminal() || status == last, "I4: {last:?}, and then {status:?}");
            assert!(
                status.attempt() > last.attempt() || status.done() >= last.done() || status.is_terminal(),
                "I2: progress goes back within an attempt: {last:?}, and then {status:?}"
            );
        }
    }
}

/// All of a status but its times: the time of the last change may be a step ahead of the version, or behind.
fn seen(status: Status) -> impl PartialEq + std::fmt::Debug {
    let numbers = (status.done(), status.total(), status.attempt());
    (status.state(), status.failure_reason(), status.cancel_requested(), numbers)
}

/// Starts a poller that polls `times` times, and returns the last status that it saw.
fn start_poller(world: &World, id: TaskId, times: usize) -> JoinHandle<Option<Status>> {
    start(world, move |world| {
        let mut poller = Poller::new(id);
        for _ in 0..times {
            let _ = poller.poll(&world.store);
        }
        poller.last
    })
}
