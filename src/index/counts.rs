//! The number of tasks by state, in sharded counters. A transition adds to the stripe of its thread, and a
//! read sums the stripes, whose number is constant (I12).

use crossbeam_utils::CachePadded;

use crate::model::state::State;
use crate::sync::{AtomicU64, Ordering, STRIPES, stripe};

/// How many stored tasks are in each state.
///
/// # Consistency
///
/// The numbers are exact while no task changes. A task that changes its state during the call may be counted
/// in its old state, in its new one, in both or in neither.
///
/// ```
/// use inflight::{NewTask, State, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// task.start()?;
/// let _waiting = store.create(NewTask::new("index"))?;
///
/// let counts = store.counts();
/// assert_eq!((counts.of(State::Pending), counts.of(State::Running)), (1, 1));
/// assert_eq!(counts.total(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    by_state: [u64; State::ALL.len()],
}

impl Counts {
    /// The number of tasks in `state`.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.counts().of(State::Pending), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(&self, state: State) -> u64 {
        self.by_state.get(state as usize).copied().unwrap_or(0)
    }

    /// The number of tasks in all states.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.counts().total(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_state.iter().sum()
    }

    /// The number of tasks that are not terminal.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.counts().live(), 1);
    /// task.cancel()?;
    /// assert_eq!((store.counts().live(), store.counts().total()), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn live(&self) -> u64 {
        State::ALL.into_iter().filter(|state| !state.is_terminal()).map(|state| self.of(state)).sum()
    }
}

/// The counters of one store.
#[derive(Debug)]
pub(crate) struct Tally {
    stripes: Box<[CachePadded<[AtomicU64; State::ALL.len()]>]>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let zeros = || CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: (0..STRIPES).map(|_| zeros()).collect() }
    }

    /// Moves one task from one state to another. `None` is outside the store.
    pub(crate) fn shift(&self, from: Option<State>, to: Option<State>) {
        let Some(stripe) = self.stripes.get(stripe()) else { return };
        for (state, by) in [(from, u64::MAX), (to, 1)] {
            if let Some(count) = state.and_then(|state| stripe.get(state as usize)) {
                // Relaxed: an independent sum, exact while it has no writers. It publishes nothing.
                count.fetch_add(by, Ordering::Relaxed);
            }
        }
    }

    /// The number of tasks in `state`.
    pub(crate) fn of(&self, state: State) -> u64 {
        let sum = self
            .stripes
            .iter()
            .filter_map(|stripe| stripe.get(state as usize))
            // Relaxed: see `shift`. A stripe may wrap around below zero. The sum over all stripes does so
            // only for moments.
            .fold(0_u64, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)));
        if sum > u64::MAX / 2 { 0 } else { sum }
    }

    pub(crate) fn read(&self) -> Counts {
        let mut counts = Counts::default();
        for (state, count) in State::ALL.into_iter().zip(&mut counts.by_state) {
            *count = self.of(state);
        }
        counts
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn i12_a_stripe_may_go_below_zero_but_the_sum_is_right() {
        let tally = Tally::new();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..1000).for_each(|_| tally.shift(None, Some(State::Pending))));
        });
        std::thread::scope(|scope| {
            scope.spawn(|| (0..999).for_each(|_| tally.shift(Some(State::Pending), Some(State::Running))));
        });
        let counts = tally.read();
        assert_eq!((counts.of(State::Pending), counts.of(State::Running), counts.total()), (1, 999, 1000));
    }
}
