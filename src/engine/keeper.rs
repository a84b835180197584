//! The keeper: who ticks, and how it fares. What a tick does is in `upkeep.rs`.

use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How the store is ticked.
///
/// A process that forks takes no thread along, so the keeper stays with the parent; and a lock that another
/// thread holds at that moment stays locked in the child. The child has to build a store of its own, and must
/// not use its parent's.
///
/// ```
/// use std::time::Duration;
/// use inflight::{KeeperMode, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder()
///     .capacity(16)
///     .keeper(KeeperMode::Thread { tick: Duration::from_millis(20) })
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperMode {
    /// A thread of the store's, at this interval, until the last clone of the store is gone. The default,
    /// at 50 ms.
    Thread {
        /// The interval: how exact the times of progress are, though no more than to a millisecond; how soon
        /// progress is sampled for parents and watchers; and how late at most a task expires. A lease runs
        /// out by as much later, and by a thirtieth of its span, if its worker made progress.
        tick: Duration,
    },
    /// No thread. The program calls [`Store::tick`](crate::Store::tick).
    Manual,
}

impl Default for KeeperMode {
    fn default() -> Self {
        KeeperMode::Thread { tick: Duration::from_millis(50) }
    }
}

/// How the keeper fares: what [`Store::keeper_health`](crate::Store::keeper_health) gives.
///
/// A panic of the keeper is an error in this crate. The keeper goes on with the next tick. It tries the
/// interrupted sample again at that tick, and an interrupted lease, time-out or removal a second later. If
/// one panics again and again, that one task stays as it is; all others are served.
///
/// ```
/// # use inflight::{KeeperMode, Store};
/// let store = Store::builder().capacity(16).keeper(KeeperMode::Manual).build()?;
/// store.tick();
/// let health = store.keeper_health();
/// assert_eq!((health.mode, health.is_failing, health.panics), (KeeperMode::Manual, false, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperHealth {
    /// How the store is ticked.
    pub mode: KeeperMode,
    /// Whether the last tick panicked.
    pub is_failing: bool,
    /// How many ticks have panicked since the store was built.
    pub panics: u64,
    /// The last of these panics.
    pub last_panic: Option<KeeperPanic>,
}

/// A panic of the keeper.
///
/// ```
/// # use inflight::Store;
/// # let store = Store::builder().capacity(16).build()?;
/// if let Some(panic) = store.keeper_health().last_panic {
///     eprintln!("the keeper panicked: {} ({:?})", panic.message, panic.at);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeeperPanic {
    /// What it said.
    pub message: String,
    /// When it was, by the store's clock.
    pub at: SystemTime,
}

/// What is known of past ticks. Its lock is the last that anyone takes.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<KeeperHealth>);

impl Health {
    /// A copy, with what the store knows of who ticks.
    pub(crate) fn read(&self, mode: KeeperMode) -> KeeperHealth {
        KeeperHealth { mode, ..self.lock().clone() }
    }

    pub(crate) fn has_ticked(&self) {
        self.lock().is_failing = false;
    }

    pub(crate) fn has_panicked(&self, panic: &(dyn Any + Send), at: Option<SystemTime>) {
        let text = panic.downcast_ref::<&'static str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = text.unwrap_or("a panic without a message").to_owned();
        let mut health = self.lock();
        health.is_failing = true;
        health.panics += 1;
        health.last_panic = at.map(|at| KeeperPanic { message, at });
    }

    fn lock(&self) -> MutexGuard<'_, KeeperHealth> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(not(inflight_loom))]
pub(crate) use thread::Keeper;

#[cfg(not(inflight_loom))]
mod thread {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use super::KeeperMode;
    use crate::engine::Engine;

    /// The thread that ticks; it ends when this is dropped.
    #[derive(Debug)]
    pub(crate) struct Keeper {
        signal: Arc<Signal>,
        tick: Duration,
    }

    /// Tells the thread that the store is dropped, and the store that the thread has ended.
    #[derive(Debug, Default)]
    pub(crate) struct Signal {
        life: Mutex<Life>,
        changed: Condvar,
    }

    #[derive(Debug, Default)]
    struct Life {
        is_stopped: bool,
        has_ended: bool,
    }

    impl Keeper {
        pub(crate) fn start(engine: Arc<Engine>, tick: Duration) -> std::io::Result<Self> {
            let signal = Arc::new(Signal::default());
            let keeper = Self { signal: Arc::clone(&signal), tick };
            std::thread::Builder::new().name("inflight-keeper".into()).spawn(move || {
                let mut is_more = false;
                while !signal.is_stopped_within(if is_more { Duration::ZERO } else { tick }) {
                    // A panic has been noted in the store's health, and its hook has told of it.
                    let slice = catch_unwind(AssertUnwindSafe(|| engine.slice(!is_more)));
                    is_more = slice.unwrap_or(false);
                }
                drop(engine);
                signal.tell(|life| life.has_ended = true);
            })?;
            Ok(keeper)
        }

        pub(crate) fn mode(&self) -> KeeperMode {
            KeeperMode::Thread { tick: self.tick }
        }

        #[cfg(test)]
        pub(crate) fn signal(&self) -> Arc<Signal> {
            Arc::clone(&self.signal)
        }
    }

    impl Signal {
        /// Waits for `span`, or until stopped; gives whether it was stopped.
        fn is_stopped_within(&self, span: Duration) -> bool {
            let waited = self.changed.wait_timeout_while(self.lock(), span, |life| !life.is_stopped);
            waited.unwrap_or_else(PoisonError::into_inner).0.is_stopped
        }

        fn tell(&self, change: impl FnOnce(&mut Life)) {
            change(&mut self.lock());
            self.changed.notify_all();
        }

        fn lock(&self) -> MutexGuard<'_, Life> {
            self.life.lock().unwrap_or_else(PoisonError::into_inner)
        }

        #[cfg(test)]
        pub(crate) fn is_stopped(&self) -> bool {
            self.lock().is_stopped
        }

        /// Waits until the thread has ended.
        #[cfg(test)]
        pub(crate) fn join(&self) {
            let waited = self.changed.wait_while(self.lock(), |life| !life.has_ended);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    impl Drop for Keeper {
        fn drop(&mut self) {
            self.signal.tell(|life| life.is_stopped = true);
        }
    }
}
