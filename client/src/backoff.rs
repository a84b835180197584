//! How long to wait before the next try: doubling, with jitter, between two bounds. Pure, but for the dice.

use std::time::Duration;

/// Doubles from `first` up to `most`; each wait is between half of that and all of it, so that many clients
/// that lost the same server do not come back in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, tries: 0 }
    }

    /// How often it has been asked since it was last reset.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The server names the base (`retry:` of an event stream); the upper bound stays the client's.
    pub(crate) fn set_first(&mut self, first: Duration) {
        self.first = first.clamp(Duration::from_millis(1), self.most);
    }

    /// The next wait: at least what the server asked for, and never above the bound.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = self.first.saturating_mul(1_u32 << self.tries.min(16)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        // Without random bytes there is no jitter, which is no reason to fail.
        let dice = f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX);
        let jittered = full.mul_f64(0.5 + dice / 2.0);
        jittered.max(asked.unwrap_or_default()).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_within_its_bounds_and_heeds_the_server() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, most);
        for doubled in [100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.next(None);
            let full = Duration::from_millis(doubled);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert_eq!(
            backoff.next(Some(Duration::from_secs(1))),
            Duration::from_secs(1),
            "Retry-After is longer"
        );
        assert_eq!(backoff.next(Some(Duration::from_secs(3600))), most, "but not longer than the bound");
        for _ in 0..100 {
            assert!(backoff.next(None) <= most);
        }
    }
}
