//! The sums over a parent's children. They are updated when a child changes, not computed when read (I12).

use crate::model::state::State;
use crate::sync::{AtomicU64, Ordering};

/// The sums over a parent's children. Children that have expired or were removed still count.
///
/// # Consistency
///
/// The sums are exact while no child changes and one tick has passed since the last progress. At other times
/// each figure was right at a moment within the last tick: transitions and totals count at once, and the
/// keeper samples progress. The figures may be from slightly different moments.
///
/// ```
/// use inflight::{NewTask, State, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let parent = store.create(NewTask::new("batch"))?;
/// let mut child = store.create(NewTask::new("page").total(3).parent(parent.id()))?;
/// child.start()?;
/// child.advance(2)?;
/// child.succeed(())?;
///
/// let children = store.children(parent.id())?;
/// assert_eq!(children.in_state(State::Succeeded), 1);
/// assert_eq!((children.done(), children.total()), (2, Some(3)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Children {
    by_state: [u64; State::ALL.len()],
    done: u64,
    total: u64,
    without_total: u64,
}

impl Children {
    /// The number of children that are in `state`, or that ended in it and are gone.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let parent = store.create(NewTask::new("batch"))?;
    /// # let mut child = store.create(NewTask::new("page").total(4).parent(parent.id()))?;
    /// # child.start()?;
    /// assert_eq!(store.children(parent.id())?.in_state(State::Running), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn in_state(&self, state: State) -> u64 {
        self.by_state.get(state as usize).copied().unwrap_or(0)
    }

    /// The number of children, those that are gone included.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let parent = store.create(NewTask::new("batch"))?;
    /// # let mut child = store.create(NewTask::new("page").total(4).parent(parent.id()))?;
    /// # child.start()?;
    /// child.cancel()?;
    /// store.remove(child.id())?;
    /// assert_eq!(store.children(parent.id())?.count(), 1, "it was one");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.by_state.iter().sum()
    }

    /// The number of children that are not terminal.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let parent = store.create(NewTask::new("batch"))?;
    /// # let mut child = store.create(NewTask::new("page").total(4).parent(parent.id()))?;
    /// # child.start()?;
    /// child.cancel()?;
    /// assert_eq!(store.children(parent.id())?.live(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn live(&self) -> u64 {
        State::ALL.into_iter().filter(|state| !state.is_terminal()).map(|state| self.in_state(state)).sum()
    }

    /// How much is done, summed over all children. The sum is right as long as it fits in 64 bits.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let parent = store.create(NewTask::new("batch"))?;
    /// # let mut child = store.create(NewTask::new("page").total(4).parent(parent.id()))?;
    /// # child.start()?;
    /// child.advance(3)?;
    /// child.succeed(())?;
    /// assert_eq!(store.children(parent.id())?.done(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done
    }

    /// How much there is to do, summed over all children. The sum is right as long as it fits in 64 bits.
    /// `None` if the total of any child is unknown, or if there are no children.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let parent = store.create(NewTask::new("batch"))?;
    /// # let mut child = store.create(NewTask::new("page").total(4).parent(parent.id()))?;
    /// # child.start()?;
    /// assert_eq!(store.children(parent.id())?.total(), Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        (self.without_total == 0 && self.count() > 0).then_some(self.total)
    }

    /// `done / total`, from 0 to 1. `None` if the total is unknown or 0.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let parent = store.create(NewTask::new("batch"))?;
    /// # let mut child = store.create(NewTask::new("page").total(4).parent(parent.id()))?;
    /// # child.start()?;
    /// child.advance(3)?;
    /// child.succeed(())?;
    /// assert_eq!(store.children(parent.id())?.fraction(), Some(0.75));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a fraction is rounded anyway")]
    pub fn fraction(&self) -> Option<f64> {
        let total = self.total().filter(|total| *total > 0)?;
        Some((self.done as f64 / total as f64).min(1.0))
    }
}

/// The running sums of one parent.
#[derive(Debug)]
pub(crate) struct Family {
    by_state: [AtomicU64; State::ALL.len()],
    done: AtomicU64,
    total: AtomicU64,
    without_total: AtomicU64,
}

/// What one child contributes to its family's sums. Guarded by the child's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) state: Option<State>,
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
}

impl Family {
    pub(crate) fn new() -> Self {
        Self {
            by_state: std::array::from_fn(|_| AtomicU64::new(0)),
            done: AtomicU64::new(0),
            total: AtomicU64::new(0),
            without_total: AtomicU64::new(0),
        }
    }

    /// Replaces a child's old share with its new one.
    pub(crate) fn exchange(&self, old: Share, new: Share) {
        // Relaxed, all of these: independent sums, which are exact while they have no writers, and publish
        // nothing. No sum is ever below zero: the changes of a child are ordered by its lock, so whatever the
        // child subtracts from a sum was added before.
        let shift = |sum: &AtomicU64, old: u64, new: u64| {
            if old != new {
                sum.fetch_add(new.wrapping_sub(old), Ordering::Relaxed);
            }
        };
        if old.state != new.state {
            for (state, by) in [(old.state, u64::MAX), (new.state, 1)] {
                if let Some(sum) = state.and_then(|state| self.by_state.get(state as usize)) {
                    sum.fetch_add(by, Ordering::Relaxed);
                }
            }
        }
        let unknown = |share: Share| u64::from(share.state.is_some() && share.total.is_none());
        shift(&self.done, old.done, new.done);
        shift(&self.total, old.total.unwrap_or(0), new.total.unwrap_or(0));
        shift(&self.without_total, unknown(old), unknown(new));
    }

    pub(crate) fn read(&self) -> Children {
        // Relaxed: see `exchange`.
        let read = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        Children {
            by_state: std::array::from_fn(|at| self.by_state.get(at).map_or(0, read)),
            done: read(&self.done),
            total: read(&self.total),
            without_total: read(&self.without_total),
        }
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn i12_sums_follow_the_shares() {
        let family = Family::new();
        assert_eq!(family.read(), Children::default());
        let share = |state, done, total| Share { state: Some(state), done, total };
        let mut last = Share::default();
        let steps = [
            share(State::Pending, 0, None),
            share(State::Running, 0, None),
            share(State::Running, 7, Some(9)),
            share(State::Pending, 0, Some(9)), // a retry resets its progress
            share(State::Running, 4, Some(9)),
            share(State::Succeeded, 9, Some(9)),
        ];
        for next in steps {
            family.exchange(last, next);
            last = next;
            let children = family.read();
            assert_eq!((children.count(), children.done(), children.total()), (1, next.done, next.total));
            assert_eq!(children.in_state(next.state.unwrap()), 1);
        }
    }
}
