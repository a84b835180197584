//! How a store is built.

use std::sync::Arc as StdArc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cell::table::{MAX_CAPACITY, Table};
use crate::engine::Engine;
use crate::engine::keeper::KeeperMode;
use crate::index::feed::Feed;
use crate::model::clock::{Clock, ManualClock};
use crate::model::id::Mint;
use crate::model::limits::Limits;
use crate::model::retention::Retention;
use crate::record::error::BuildError;
use crate::store::Store;
use crate::sync::fill_random;
use crate::task::panics;

/// The settings with which a [`Store`] is built. [`Store::builder`] returns one.
///
/// ```
/// use inflight::{Limits, Retention, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder()
///     .capacity(1 << 16)
///     .retain(Retention::default().at_most_failed(10_000))
///     .limits(Limits { labels: 8, ..Limits::default() })
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct StoreBuilder {
    capacity: usize,
    retention: Retention,
    limits: Limits,
    keeper: KeeperMode,
    clock: Option<ManualClock>,
    panic_messages: bool,
    feed_limit: usize,
}

impl StoreBuilder {
    pub(crate) fn new() -> Self {
        Self {
            capacity: 1 << 20,
            retention: Retention::default(),
            limits: Limits::default(),
            keeper: KeeperMode::default(),
            clock: None,
            panic_messages: true,
            feed_limit: 1 << 18,
        }
    }

    /// How many tasks the store can hold, live and terminal, from 1 to [`MAX_CAPACITY`]. 2²⁰ by default.
    ///
    /// Each reserves a line of 64 bytes of address space, and the indexes reserve some more. Memory is
    /// committed as tasks are created. See the guide on [capacity](crate::guide::retention).
    ///
    /// ```
    /// # use inflight::Store;
    /// let store = Store::builder().capacity(1 << 16).build()?;
    /// assert_eq!(store.capacity(), 65_536);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// How long terminal tasks are kept.
    ///
    /// ```
    /// # use inflight::{Retention, Store};
    /// let store = Store::builder().capacity(16).retain(Retention::forever()).build()?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retain(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Which sizes are accepted.
    ///
    /// ```
    /// # use inflight::{Limits, Store};
    /// let limits = Limits { message: 256, ..Limits::default() };
    /// let store = Store::builder().capacity(16).limits(limits).build()?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How the store ticks: by a thread of its own, every 50 ms by default, or by calls of [`Store::tick`].
    ///
    /// ```
    /// # use inflight::{KeeperMode, Store};
    /// let store = Store::builder().capacity(16).keeper(KeeperMode::Manual).build()?;
    /// store.tick();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn keeper(mut self, keeper: KeeperMode) -> Self {
        self.keeper = keeper;
        self
    }

    /// Takes the time from a clock that is set by hand, for tests.
    ///
    /// ```
    /// # use inflight::{ManualClock, Store};
    /// let clock = ManualClock::new();
    /// let store = Store::builder().capacity(16).clock(clock.clone()).build()?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: ManualClock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Whether the store may add to the process's panic hook, so that a task whose worker panics keeps
    /// the panic's message; `true` by default. The previous hook is still called. A program that replaces the
    /// hook after the store was built should then call [`keep_panic_messages`](crate::keep_panic_messages);
    /// otherwise messages are kept again once the next store is built.
    ///
    /// Without it, such a task is `Failed(Panicked)` as well, but has no message unless it ran in
    /// [`Task::scope`](crate::Task::scope).
    ///
    /// ```
    /// # use inflight::Store;
    /// let store = Store::builder().capacity(16).panic_messages(false).build()?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn panic_messages(mut self, keep: bool) -> Self {
        self.panic_messages = keep;
        self
    }

    /// About how many changed tasks are kept for readers of the change feed that have not drained them yet;
    /// 2¹⁸ by default. A reader that falls further behind is told to resync. Each changed task takes about
    /// 150 bytes, and only while there is a reader.
    ///
    /// ```
    /// # use inflight::Store;
    /// let store = Store::builder().capacity(16).feed_limit(1_000).build()?;
    /// # drop(store);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn feed_limit(mut self, tasks: usize) -> Self {
        self.feed_limit = tasks;
        self
    }

    /// Builds the store.
    ///
    /// # Errors
    ///
    /// [`BuildError`] says which setting is out of range, or what the system does not provide.
    ///
    /// ```
    /// # use inflight::{BuildError, Store};
    /// let none = Store::builder().capacity(0).build();
    /// assert!(matches!(none, Err(BuildError::Capacity { capacity: 0, .. })));
    /// ```
    pub fn build(self) -> Result<Store, BuildError> {
        let capacity = self.capacity;
        let lines =
            u32::try_from(capacity).ok().filter(|lines| (1..=MAX_CAPACITY).contains(&(*lines as usize)));
        let lines = lines.ok_or(BuildError::Capacity { capacity, limit: MAX_CAPACITY })?;
        if matches!(self.keeper, KeeperMode::Thread { tick } if tick.is_zero()) {
            return Err(BuildError::ZeroTick);
        }
        let table = Table::new(lines).ok_or(BuildError::OutOfMemory { capacity })?;
        let mut key = [0; 16];
        fill_random(&mut key).map_err(|error| BuildError::NoRandomness(error.to_string()))?;
        let clock = self.clock.map_or_else(Clock::system, Clock::Manual);
        if self.panic_messages {
            panics::keep_panic_messages();
        }
        let feed = Feed::new(self.feed_limit);
        let mint = Mint::new(&key);
        let engine = Engine::new(table, mint, incarnation(), clock, self.limits, self.retention, feed)
            .ok_or(BuildError::OutOfMemory { capacity })?;
        Store::start(StdArc::new(engine), self.keeper)
    }
}

/// A number that is greater at each start: nanoseconds since the Unix epoch. Tenancies of clients' ids are
/// added to it. The next start's number is greater than these sums, too, unless more than 10⁹ tenancies are
/// created per second.
fn incarnation() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX / 2)
}
