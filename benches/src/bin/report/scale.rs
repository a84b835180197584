//! How much is measured.

use std::time::Duration;

use inflight_benches::measure::Effort;

use crate::args::Thoroughness;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) thoroughness: Thoroughness,
    pub(crate) effort: Effort,
}

impl Scale {
    pub(crate) fn of(thoroughness: Thoroughness) -> Self {
        let (repeats, slice) = match thoroughness {
            Thoroughness::Smoke => (2, Duration::from_micros(100)),
            Thoroughness::Quick => (5, Duration::from_millis(12)),
            Thoroughness::Full => (7, Duration::from_millis(50)),
        };
        Self { thoroughness, effort: Effort { repeats, slice } }
    }

    /// The argument that belongs to this scale.
    pub(crate) fn pick<T>(&self, smoke: T, quick: T, full: T) -> T {
        match self.thoroughness {
            Thoroughness::Smoke => smoke,
            Thoroughness::Quick => quick,
            Thoroughness::Full => full,
        }
    }
}
