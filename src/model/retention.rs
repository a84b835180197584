//! How long terminal tasks are kept. Pure.

use std::time::Duration;

use crate::model::state::State;

/// How long terminal tasks are kept: by outcome, by age and by count.
///
/// Ages count from the instant at which a task became terminal. A live task is never removed, however old it
/// is.
///
/// The default keeps successes and cancellations for 10 minutes, failures for 24 hours, and any number
/// of each. See the guide on [retention](crate::guide::retention).
///
/// ```
/// use std::time::Duration;
/// use inflight::Retention;
///
/// let retention = Retention::default()
///     .succeeded_for(Duration::from_secs(60))
///     .at_most_failed(10_000);
/// # let _ = retention;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retention {
    keeps: [Keep; OUTCOMES],
}

/// The number of outcomes.
pub(crate) const OUTCOMES: usize = 3;

/// The bounds for one outcome. `None` means no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    pub(crate) age: Option<Duration>,
    pub(crate) count: Option<u64>,
}

/// The index of a terminal state among the outcomes; `None` for a live state.
pub(crate) const fn outcome(state: State) -> Option<usize> {
    match state {
        State::Succeeded => Some(0),
        State::Failed => Some(1),
        State::Cancelled => Some(2),
        State::Pending | State::Running | State::Blocked => None,
    }
}

impl Retention {
    const FOREVER: Keep = Keep { age: None, count: None };

    /// Keeps every terminal task until it is removed.
    ///
    /// ```
    /// # use inflight::Retention;
    /// assert_ne!(Retention::forever(), Retention::default());
    /// ```
    pub const fn forever() -> Self {
        Self { keeps: [Self::FOREVER; OUTCOMES] }
    }

    /// Keeps a succeeded task for `age` after its end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::Retention;
    /// let retention = Retention::forever().succeeded_for(Duration::from_secs(60));
    /// # let _ = retention;
    /// ```
    pub const fn succeeded_for(mut self, age: Duration) -> Self {
        self.keeps[0].age = Some(age);
        self
    }

    /// Keeps a failed task for `age` after its end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::Retention;
    /// let retention = Retention::forever().failed_for(Duration::from_secs(60));
    /// # let _ = retention;
    /// ```
    pub const fn failed_for(mut self, age: Duration) -> Self {
        self.keeps[1].age = Some(age);
        self
    }

    /// Keeps a cancelled task for `age` after its end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::Retention;
    /// let retention = Retention::forever().cancelled_for(Duration::from_secs(60));
    /// # let _ = retention;
    /// ```
    pub const fn cancelled_for(mut self, age: Duration) -> Self {
        self.keeps[2].age = Some(age);
        self
    }

    /// Keeps the last `count` succeeded tasks; older ones are evicted.
    ///
    /// ```
    /// # use inflight::Retention;
    /// let retention = Retention::default().at_most_succeeded(1_000);
    /// # let _ = retention;
    /// ```
    pub const fn at_most_succeeded(mut self, count: u64) -> Self {
        self.keeps[0].count = Some(count);
        self
    }

    /// Keeps the last `count` failed tasks; older ones are evicted.
    ///
    /// ```
    /// # use inflight::Retention;
    /// let retention = Retention::default().at_most_failed(1_000);
    /// # let _ = retention;
    /// ```
    pub const fn at_most_failed(mut self, count: u64) -> Self {
        self.keeps[1].count = Some(count);
        self
    }

    /// Keeps the last `count` cancelled tasks; older ones are evicted.
    ///
    /// ```
    /// # use inflight::Retention;
    /// let retention = Retention::default().at_most_cancelled(1_000);
    /// # let _ = retention;
    /// ```
    pub const fn at_most_cancelled(mut self, count: u64) -> Self {
        self.keeps[2].count = Some(count);
        self
    }

    pub(crate) const fn keeps(&self) -> &[Keep; OUTCOMES] {
        &self.keeps
    }

    /// The bounds for tasks that ended in `state`.
    pub(crate) const fn keep(&self, state: State) -> Keep {
        match outcome(state) {
            Some(0) => self.keeps[0],
            Some(1) => self.keeps[1],
            Some(_) => self.keeps[2],
            None => Self::FOREVER,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::forever()
            .succeeded_for(Duration::from_secs(600))
            .cancelled_for(Duration::from_secs(600))
            .failed_for(Duration::from_secs(86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i9_only_terminal_states_are_bounded_and_failures_are_kept_longer() {
        let retention = Retention::default();
        for state in State::ALL {
            assert_eq!(retention.keep(state).age.is_some(), state.is_terminal(), "{state}");
            assert_eq!(outcome(state).is_some(), state.is_terminal());
        }
        assert!(retention.keep(State::Failed).age > retention.keep(State::Succeeded).age);
    }
}
