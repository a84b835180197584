//! The keeper: who ticks. What a tick does is in `upkeep.rs`.

use std::time::Duration;

/// Who ticks.
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
        /// The interval: how exact the times of progress are, how soon progress is sampled for parents
        /// and watchers, and how late at most a lease or a task expires.
        tick: Duration,
    },
    /// Nobody: [`Store::tick`](crate::Store::tick) is called by hand.
    Manual,
}

impl Default for KeeperMode {
    fn default() -> Self {
        KeeperMode::Thread { tick: Duration::from_millis(50) }
    }
}

#[cfg(not(inflight_loom))]
pub(crate) use thread::Keeper;

#[cfg(not(inflight_loom))]
mod thread {
    use std::sync::{Arc, Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use crate::engine::Engine;

    /// The thread that ticks; it ends when this is dropped.
    #[derive(Debug)]
    pub(crate) struct Keeper(Arc<Stop>);

    #[derive(Debug, Default)]
    struct Stop {
        stopped: Mutex<bool>,
        changed: Condvar,
    }

    impl Keeper {
        pub(crate) fn start(engine: Arc<Engine>, tick: Duration) -> std::io::Result<Self> {
            let stop = Arc::new(Stop::default());
            let keeper = Self(Arc::clone(&stop));
            std::thread::Builder::new().name("inflight-keeper".into()).spawn(move || {
                while !stop.wait(tick) {
                    engine.tick();
                }
            })?;
            Ok(keeper)
        }
    }

    impl Stop {
        /// Waits for `span`, or until stopped; gives whether it was stopped.
        fn wait(&self, span: Duration) -> bool {
            let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.changed.wait_timeout_while(stopped, span, |stopped| !*stopped);
            *waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }

    impl Drop for Keeper {
        fn drop(&mut self) {
            *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.changed.notify_all();
        }
    }
}
