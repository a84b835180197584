//! The snapshot that a poll returns. Pure.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::cell::Reading;
use crate::model::id::TaskId;
use crate::model::reason::FailureReason;
use crate::model::state::State;
use crate::model::version::Version;

/// The snapshot of a task that a poll returns. It is `Copy`, and refers to nothing else.
///
/// What is unknown is `None`, never 0: a total that was not set, the rate of a task without progress, the end
/// of a running task.
///
/// # Consistency
///
/// State, failure reason, attempt, `done`, cancel-requested and version are all from one instant. The total
/// and the time of the last change may be one change ahead of the version, for the nanoseconds that a change
/// takes. The time of progress is noted about as long after the progress. Once the state is terminal, nothing
/// in the status changes any more.
///
/// Times come from the store's monotonic clock. They are converted to `SystemTime` with the wall clock as it
/// is at the poll, so they are right after the wall clock has been stepped. Two snapshots that differ only in
/// this are equal.
///
/// ```
/// use inflight::{NewTask, State, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index").total(40))?;
/// task.start()?;
/// task.advance(10)?;
///
/// let status = store.get(task.id()).ok_or("gone")?;
/// assert_eq!(status.state(), State::Running);
/// assert_eq!((status.done(), status.total()), (10, Some(40)));
/// assert_eq!(status.fraction(), Some(0.25));
/// assert_eq!(status.ended_at(), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
#[must_use]
pub struct Status {
    id: TaskId,
    epoch: u64,
    reading: Reading,
    skew_micros: i64,
}

impl Status {
    #[inline(always)]
    pub(crate) fn new(id: TaskId, epoch: u64, reading: Reading, skew_micros: i64) -> Self {
        Self { id, epoch, reading, skew_micros }
    }

    /// The task's id: the client's own, if it chose one.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(store.lookup(task.id())?.id(), task.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// The state of the task.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(store.lookup(task.id())?.state(), State::Running);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn state(&self) -> State {
        // No status is created from the reading of a vacant line.
        self.reading.word().state().unwrap_or(State::Pending)
    }

    /// Whether the task has ended. Nothing about it changes after that.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert!(!store.lookup(task.id())?.is_terminal());
    /// task.succeed(())?;
    /// assert!(store.lookup(task.id())?.is_terminal());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.reading.word().is_terminal()
    }

    /// What kind of failure ended the task; `None` in any other state than `Failed`.
    ///
    /// ```
    /// # use inflight::{FailureReason, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// let id = task.id();
    /// assert_eq!(store.lookup(id)?.failure_reason(), None);
    /// drop(task);
    /// assert_eq!(store.lookup(id)?.failure_reason(), Some(FailureReason::Lost));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn failure_reason(&self) -> Option<FailureReason> {
        self.reading.word().failure_reason()
    }

    /// Which attempt this is: 1, 2, …
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.retry()?;
    /// assert_eq!(store.lookup(task.id())?.attempt(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.reading.word().attempt()
    }

    /// Whether cancellation was requested.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert!(store.cancel(task.id())?.cancel_requested());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cancel_requested(&self) -> bool {
        self.reading.word().cancel_requested()
    }

    /// How much of this attempt is done, in the task's own unit; at most [`MAX_COUNT`](crate::MAX_COUNT).
    /// (Shared handles that add at the same moment may exceed it slightly.)
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.advance(3)?;
    /// assert_eq!(store.lookup(task.id())?.done(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn done(&self) -> u64 {
        self.reading.done()
    }

    /// How much there is to do, in the task's own unit, if known. It may be an estimate that `done` exceeds.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(store.lookup(task.id())?.total(), None);
    /// task.set_total(42)?;
    /// assert_eq!(store.lookup(task.id())?.total(), Some(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.reading.total()
    }

    /// The version of this snapshot, an ordered token.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// let before = store.lookup(task.id())?.version();
    /// task.advance(1)?;
    /// assert!(store.lookup(task.id())?.version() > before);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn version(&self) -> Version {
        Version::new(self.epoch, self.reading.word().sequence(), self.done())
    }

    /// `done / total`, from 0 to 1. `None` if the total is unknown or 0.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.advance(3)?;
    /// assert_eq!(store.lookup(task.id())?.fraction(), None, "of what?");
    /// task.set_total(4)?;
    /// assert_eq!(store.lookup(task.id())?.fraction(), Some(0.75));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a fraction is rounded anyway")]
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total().filter(|total| *total > 0)?;
        Some((self.done() as f64 / total as f64).min(1.0))
    }

    /// Progress per second, on average since this attempt was started and up to its last progress.
    /// `None` before there is any progress. Progress is timed by the tick, so the rate is rough in an
    /// attempt's first few ticks, and too high rather than too low.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// # let mut task = store.create(NewTask::new("index").total(100))?;
    /// # task.start()?;
    /// clock.advance(Duration::from_secs(10));
    /// store.tick();
    /// task.advance(20)?;
    /// assert_eq!(store.lookup(task.id())?.rate(), Some(2.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
    pub fn rate(&self) -> Option<f64> {
        let span = self.worked_for().filter(|span| !span.is_zero())?;
        (self.done() > 0).then(|| self.done() as f64 / span.as_secs_f64())
    }

    /// How long the rest will take at this [`rate`](Status::rate), counted from
    /// [`updated_at`](Status::updated_at). `None` if the total or the rate is unknown, if the task is not
    /// running, or if the time is longer than a [`Duration`] can be.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// # let mut task = store.create(NewTask::new("index").total(100))?;
    /// # task.start()?;
    /// clock.advance(Duration::from_secs(10));
    /// store.tick();
    /// task.advance(20)?;
    /// assert_eq!(store.lookup(task.id())?.eta(), Some(Duration::from_secs(40)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn eta(&self) -> Option<Duration> {
        if self.state() != State::Running {
            return None;
        }
        let left = self.total()?.saturating_sub(self.done());
        Duration::try_from_secs_f64(left as f64 / self.rate()?).ok()
    }

    /// How long this attempt has been worked on, up to its last change. `None` before it is started.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// # let mut task = store.create(NewTask::new("index").total(100))?;
    /// # task.start()?;
    /// clock.advance(Duration::from_secs(10));
    /// task.succeed(())?;
    /// assert_eq!(store.lookup(task.id())?.worked_for(), Some(Duration::from_secs(10)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn worked_for(&self) -> Option<Duration> {
        let started = self.reading.started();
        (started.bits() != 0).then(|| self.reading.updated().since(started))
    }

    /// When the task was created.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// let status = store.lookup(task.id())?;
    /// assert!(status.created_at() <= status.updated_at());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn created_at(&self) -> SystemTime {
        // The line of a task always has the time of its creation.
        self.reading.created().wall(self.skew_micros).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// When this attempt was started. `None` while it is pending, and if the task ended without a start.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.lookup(task.id())?.started_at(), None);
    /// task.start()?;
    /// assert!(store.lookup(task.id())?.started_at().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn started_at(&self) -> Option<SystemTime> {
        self.reading.started().wall(self.skew_micros)
    }

    /// When the task last changed: a transition, a message, a request to cancel, a new total, or
    /// progress, which is noted with the resolution of the store's tick.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// # let mut task = store.create(NewTask::new("index").total(100))?;
    /// # task.start()?;
    /// let before = store.lookup(task.id())?.updated_at();
    /// clock.advance(Duration::from_secs(10));
    /// task.set_message("embedding")?;
    /// assert_eq!(store.lookup(task.id())?.updated_at(), before + Duration::from_secs(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn updated_at(&self) -> SystemTime {
        self.reading.updated().wall(self.skew_micros).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// When the task became terminal.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(store.lookup(task.id())?.ended_at(), None);
    /// task.succeed(())?;
    /// let status = store.lookup(task.id())?;
    /// assert_eq!(status.ended_at(), Some(status.updated_at()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ended_at(&self) -> Option<SystemTime> {
        self.is_terminal().then(|| self.updated_at())
    }

    /// The parts by which two snapshots are compared.
    fn observed(&self) -> impl PartialEq + use<> {
        let reading = &self.reading;
        let times = (reading.created(), reading.started(), reading.updated());
        (self.id, self.epoch, reading.word(), reading.done(), reading.total(), times)
    }
}

impl PartialEq for Status {
    fn eq(&self, other: &Self) -> bool {
        self.observed() == other.observed()
    }
}

impl Eq for Status {}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("id", &self.id)
            .field("state", &self.state())
            .field("failure_reason", &self.failure_reason())
            .field("attempt", &self.attempt())
            .field("done", &self.done())
            .field("total", &self.total())
            .field("version", &format_args!("{}", self.version()))
            .field("cancel_requested", &self.cancel_requested())
            .field("created_at", &self.created_at())
            .field("started_at", &self.started_at())
            .field("updated_at", &self.updated_at())
            .finish()
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;
    use crate::cell::{Cell, Line};
    use crate::model::clock::Stamp;

    fn status(state: State, done: u64, total: Option<u64>, secs: u64) -> Status {
        let start = Stamp::from_bits(1_000_000);
        let line: Line = Default::default();
        let (cell, id) = (Cell::new(&line), TaskId::from_u128(1));
        cell.occupy(id, total, start, false);
        let go = |to| {
            assert!(cell.update(|word| word.transition_to(to, None)).is_ok());
        };
        if state != State::Pending {
            cell.open(start);
            go(State::Running);
            cell.publish(done);
            cell.touch_locked(start.plus(Duration::from_secs(secs)));
        }
        if !matches!(state, State::Pending | State::Running) {
            cell.freeze(done);
            go(state);
        }
        let reading = cell.read(id).expect("just occupied");
        Status::new(TaskId::from_u128(1), 1, reading, 0)
    }

    #[test]
    fn what_is_unknown_is_none_and_never_zero() {
        let pending = status(State::Pending, 0, None, 5);
        assert_eq!((pending.fraction(), pending.rate(), pending.eta()), (None, None, None));
        assert_eq!((pending.started_at(), pending.worked_for()), (None, None));
        let just_started = status(State::Running, 0, Some(10), 0);
        assert_eq!((just_started.rate(), just_started.eta()), (None, None));
        assert_eq!(just_started.fraction(), Some(0.0), "0 of 10 is known");
        assert_eq!(status(State::Running, 0, Some(10), 5).rate(), None, "no progress yet");
        assert_eq!(status(State::Running, 5, None, 5).eta(), None);
        assert_eq!(status(State::Running, 5, Some(0), 5).fraction(), None);
    }

    #[test]
    fn rate_and_eta_are_averages_since_the_start() {
        let running = status(State::Running, 20, Some(100), 10);
        assert_eq!(running.rate(), Some(2.0));
        assert_eq!(running.eta(), Some(Duration::from_secs(40)));
        let over = status(State::Running, 200, Some(100), 10);
        assert_eq!((over.fraction(), over.eta()), (Some(1.0), Some(Duration::ZERO)));
        let blocked = status(State::Blocked, 20, Some(100), 10);
        assert_eq!((blocked.rate(), blocked.eta()), (Some(2.0), None));
        let ended = status(State::Succeeded, 20, Some(100), 10);
        assert_eq!((ended.rate(), ended.eta()), (Some(2.0), None));
        assert_eq!(ended.ended_at(), Some(ended.updated_at()));
    }
}
