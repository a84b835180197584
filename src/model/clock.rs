//! The one source of time.
//!
//! Inside, time is a [`Stamp`]: monotonic, counted from 2020, in units of 8 µs, 48 bits of it (enough
//! until 2091). It is anchored to the wall clock once, when the store is built, and from then on only
//! follows the monotonic clock. How far the wall clock has been stepped since then is the *skew*, read
//! again at each tick; it is added at the edge, when a stamp is shown as a `SystemTime`.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sync::{Arc, AtomicI64, AtomicU64, Ordering, keep_order};

/// Microseconds from the Unix epoch to 2020-01-01T00:00:00Z, where stamps count from.
const ORIGIN_MICROS: i64 = 1_577_836_800_000_000;
const UNIT_NANOS: u64 = 8_000;
const UNIT_MICROS: u64 = UNIT_NANOS / 1_000;

/// From how much on the wall clock is taken to have been stepped. What is less is for the most part the time
/// that it takes to look at two clocks; if it were followed, each tick would move all times a little.
const STEP_MICROS: u64 = 10_000;

/// How many bits of a word a stamp takes.
pub(crate) const STAMP_BITS: u32 = 48;

/// A point in a store's own time. Zero is "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) const MASK: u64 = (1 << STAMP_BITS) - 1;

    /// The stamp in the low 48 bits of `bits`.
    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits & Self::MASK)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    fn from_micros(micros: u64) -> Self {
        Self((micros / UNIT_MICROS).clamp(1, Self::MASK))
    }

    fn after(self, elapsed: Duration) -> Self {
        let nanos = elapsed.as_secs().saturating_mul(1_000_000_000) + u64::from(elapsed.subsec_nanos());
        Self(self.0.saturating_add(nanos / UNIT_NANOS).min(Self::MASK))
    }

    /// This stamp and `span` more, rounded up so that it is never early.
    pub(crate) fn plus(self, span: Duration) -> Self {
        let units = span.as_nanos().div_ceil(u128::from(UNIT_NANOS));
        let units = u64::try_from(units).unwrap_or(Self::MASK);
        Self(self.0.saturating_add(units).min(Self::MASK))
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub(crate) fn since(self, earlier: Stamp) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0).saturating_mul(UNIT_MICROS))
    }

    /// The wall-clock time of this stamp; `None` for "never".
    pub(crate) fn wall(self, skew_micros: i64) -> Option<SystemTime> {
        if self.0 == 0 {
            return None;
        }
        let micros = i64::try_from(self.0 * UNIT_MICROS).ok()?.checked_add(ORIGIN_MICROS)?;
        let micros = micros.saturating_add(skew_micros);
        let span = Duration::from_micros(micros.unsigned_abs());
        if micros >= 0 { UNIX_EPOCH.checked_add(span) } else { UNIX_EPOCH.checked_sub(span) }
    }
}

/// Where a store's time comes from.
pub(crate) enum Clock {
    System { anchor: Instant, start: Stamp },
    Manual(ManualClock),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System {
            anchor: Instant::now(),
            start: Stamp::from_micros(wall_micros().saturating_sub(ORIGIN_MICROS).max(1).unsigned_abs()),
        }
    }

    pub(crate) fn now(&self) -> Stamp {
        match self {
            Clock::System { anchor, start } => start.after(anchor.elapsed()),
            Clock::Manual(clock) => clock.now(),
        }
    }

    /// How far the wall clock is ahead, if it has been stepped since that was `known`.
    fn skew_unlike(&self, known: i64) -> Option<i64> {
        self.skew_micros().filter(|skew| skew.abs_diff(known) >= STEP_MICROS)
    }

    /// How far the wall clock is ahead of where the monotonic one says it should be, in microseconds. `None`
    /// if the thread was held up between looking at the two, so that it would be far off.
    fn skew_micros(&self) -> Option<i64> {
        match self {
            Clock::System { .. } => {
                let (before, wall, after) = (self.now(), wall_micros(), self.now());
                let believed = i64::try_from(before.bits() * UNIT_MICROS).unwrap_or(i64::MAX);
                let skew = wall.saturating_sub(believed.saturating_add(ORIGIN_MICROS));
                (after.since(before).as_micros() < u128::from(STEP_MICROS / 2)).then_some(skew)
            }
            Clock::Manual(clock) => Some(clock.skew_micros()),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Clock::System { .. } => "System",
            Clock::Manual(_) => "Manual",
        })
    }
}

/// The store's cached time, for callers that cannot afford to read a clock. The keeper moves it
/// (`engine/pace.rs` says when), and between two moves it stands.
#[derive(Debug)]
pub(crate) struct Pulse {
    now: AtomicU64,
    skew_micros: AtomicI64,
}

impl Pulse {
    pub(crate) fn new(clock: &Clock) -> Self {
        let skew_micros = clock.skew_unlike(0).unwrap_or(0);
        Self { now: AtomicU64::new(clock.now().bits()), skew_micros: AtomicI64::new(skew_micros) }
    }

    /// The time at the last move, loaded after whatever the caller has stored.
    #[inline(always)]
    pub(crate) fn now(&self) -> Stamp {
        keep_order();
        // Relaxed: a time and no more. A thread that loads an old one notes an old time; the head of
        // `engine/upkeep.rs` says why the keeper still sees all progress.
        Stamp(self.now.load(Ordering::Relaxed))
    }

    /// How far the wall clock was ahead of the monotonic one at the last tick.
    #[inline(always)]
    pub(crate) fn skew_micros(&self) -> i64 {
        // Relaxed: as above.
        self.skew_micros.load(Ordering::Relaxed)
    }

    /// Moves to `now`. The caller holds the lock of the pace.
    pub(crate) fn move_to(&self, now: Stamp) {
        // Relaxed: as above.
        self.now.store(now.bits(), Ordering::Relaxed);
    }

    /// Reads the wall clock, and follows it if it has been stepped. The caller holds the lock of the keeper's
    /// lists.
    pub(crate) fn follow_wall(&self, clock: &Clock) {
        if let Some(skew) = clock.skew_unlike(self.skew_micros()) {
            // Relaxed: as above.
            self.skew_micros.store(skew, Ordering::Relaxed);
        }
    }
}

fn wall_micros() -> i64 {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(span) => micros(span),
        Err(before) => -micros(before.duration()),
    }
}

/// A clock that moves only when it is told to, for tests.
///
/// Clones are the same clock. It starts at 2030-01-01T00:00:00Z.
///
/// ```
/// use std::time::Duration;
/// use inflight::{KeeperMode, ManualClock, NewTask, Retention, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let store = Store::builder()
///     .capacity(16)
///     .clock(clock.clone())
///     .keeper(KeeperMode::Manual)
///     .retain(Retention::default().succeeded_for(Duration::from_secs(60)))
///     .build()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// task.start()?;
/// task.succeed(())?;
///
/// clock.advance(Duration::from_secs(59));
/// store.tick();
/// assert!(store.get(task.id()).is_some());
///
/// clock.advance(Duration::from_secs(1));
/// store.tick();
/// assert!(store.get(task.id()).is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ManualClock(Arc<Manual>);

struct Manual {
    nanos: AtomicU64,
    skew_micros: AtomicI64,
}

impl ManualClock {
    /// A clock that stands still.
    ///
    /// ```
    /// # use inflight::{ManualClock, Store};
    /// let clock = ManualClock::new();
    /// let store = Store::builder().capacity(16).clock(clock).build()?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        const TEN_YEARS_NANOS: u64 = 3653 * 86_400 * 1_000_000_000;
        Self(Arc::new(Manual { nanos: AtomicU64::new(TEN_YEARS_NANOS), skew_micros: AtomicI64::new(0) }))
    }

    /// Moves the clock on by `span`; to the end of its range at most.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// # let mut task = store.create(NewTask::new("index").total(100))?;
    /// # task.start()?;
    /// let created = store.lookup(task.id())?.created_at();
    /// clock.advance(Duration::from_secs(60));
    /// let later = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.lookup(later.id())?.created_at(), created + Duration::from_secs(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn advance(&self, span: Duration) {
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        // Release: a thread that reads the new time also sees what was done before the clock was moved (tests
        // rely on it; no invariant does). Relaxed before it: only the value is used.
        let _ = self
            .0
            .nanos
            .fetch_update(Ordering::Release, Ordering::Relaxed, |nanos| Some(nanos.saturating_add(span)));
    }

    /// Steps the wall clock, as an administrator or NTP would: the monotonic time stays as it is.
    /// A negative `seconds` steps it back.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// # let mut task = store.create(NewTask::new("index").total(100))?;
    /// # task.start()?;
    /// let created = store.lookup(task.id())?.created_at();
    /// clock.step_wall(-3_600);
    /// store.tick();
    /// assert_eq!(store.lookup(task.id())?.created_at(), created - Duration::from_secs(3_600));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn step_wall(&self, seconds: i64) {
        // Relaxed: a lone figure, read at the next tick; nothing is published with it.
        self.0.skew_micros.fetch_add(seconds.saturating_mul(1_000_000), Ordering::Relaxed);
    }

    fn now(&self) -> Stamp {
        // Acquire: pairs with the Release in `advance`.
        Stamp::from_micros(self.0.nanos.load(Ordering::Acquire) / 1_000)
    }

    fn skew_micros(&self) -> i64 {
        // Relaxed: as in `step_wall`.
        self.0.skew_micros.load(Ordering::Relaxed)
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now().wall(self.skew_micros())).finish()
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_shows_as_the_wall_clock_does_after_a_step() {
        let clock = ManualClock::new();
        let stamp = clock.now();
        let shown = |clock: &ManualClock| stamp.wall(clock.skew_micros()).unwrap();
        let at_first = shown(&clock);
        assert_eq!(at_first.duration_since(UNIX_EPOCH).unwrap().as_secs(), 1_893_456_000, "2030-01-01");
        clock.step_wall(3_600);
        assert_eq!(shown(&clock).duration_since(at_first).unwrap(), Duration::from_secs(3_600));
        assert_eq!(clock.now(), stamp, "monotonic inside");
        clock.step_wall(-7_200);
        assert_eq!(at_first.duration_since(shown(&clock)).unwrap(), Duration::from_secs(3_600));
    }

    #[test]
    fn the_system_clock_is_right_and_does_not_go_back() {
        let clock = Clock::system();
        let stamp = clock.now();
        let shown = stamp.wall(0).unwrap();
        let off = SystemTime::now().duration_since(shown).unwrap_or_default();
        assert!(off < Duration::from_secs(60), "{off:?}");
        assert!(clock.now() >= stamp);
    }

    // Each tick moved the times of all tasks by the microseconds that it takes to look at two clocks.
    #[test]
    fn i4_times_stay_as_they_are_while_the_wall_clock_is_not_stepped() {
        let clock = Clock::system();
        let pulse = Pulse::new(&clock);
        let stamp = clock.now();
        let at_first = stamp.wall(pulse.skew_micros());
        for _ in 0..10_000 {
            pulse.follow_wall(&clock);
            assert_eq!(stamp.wall(pulse.skew_micros()), at_first);
        }
        let manual = ManualClock::new();
        let (clock, steps) = (Clock::Manual(manual.clone()), [3_600, -7_200, 1]);
        let pulse = Pulse::new(&clock);
        for step in steps {
            let before = pulse.skew_micros();
            manual.step_wall(step);
            pulse.follow_wall(&clock);
            assert_eq!(pulse.skew_micros() - before, step * 1_000_000, "a step is followed");
        }
    }

    #[test]
    fn spans_round_up_and_saturate() {
        let stamp = Stamp::from_micros(80);
        assert_eq!(stamp.plus(Duration::from_nanos(1)).since(stamp), Duration::from_micros(8));
        assert_eq!(stamp.plus(Duration::from_secs(1)).since(stamp), Duration::from_secs(1));
        assert_eq!(stamp.plus(Duration::MAX).bits(), Stamp::MASK);
        assert_eq!(stamp.since(stamp.plus(Duration::from_secs(1))), Duration::ZERO);
        assert_eq!(Stamp::default().wall(0), None);
    }
}
