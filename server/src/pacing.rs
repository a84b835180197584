//! How soon it is worth asking again. Pure.

use std::time::Duration;

use inflight::{State, Status};

/// Between which bounds callers are asked to poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) least: Duration,
    pub(crate) most: Duration,
}

impl Pace {
    /// When to look again, by what the task itself shows: as often as it makes progress, but not more
    /// often than twenty times in what is left of it. `None` once it has ended.
    ///
    /// A function of the status alone, so that it can stand in a body that has the version for its ETag.
    pub(crate) fn interval(self, status: &Status) -> Option<Duration> {
        if status.is_terminal() {
            return None;
        }
        let ideal = match (status.rate(), status.eta()) {
            _ if status.state() != State::Running => 2 * self.least,
            (Some(rate), eta) => {
                let step = Duration::try_from_secs_f64(rate.recip()).unwrap_or(self.most);
                // Neither sooner than anything has changed, nor much later than the end.
                step.max(eta.map_or(self.least, |eta| eta / 20))
            }
            (None, _) => self.least,
        };
        Some(ideal.clamp(self.least, self.most))
    }

    /// The same in whole seconds for `Retry-After`, longer the busier the service is: `load` is the
    /// share of its capacity that is in use, from 0 to 1.
    pub(crate) fn retry_after(self, interval: Duration, load: f64) -> u64 {
        let stretched = interval.mul_f64(1.0 + 7.0 * load.clamp(0.0, 1.0));
        (stretched.as_millis().div_ceil(1000) as u64).clamp(1, self.most.as_secs().max(1))
    }
}
