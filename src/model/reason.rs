//! Reasons: why a task failed, why it is gone, and why a poll found none.

use std::fmt;

/// What kind of failure ended a task.
///
/// ```
/// use inflight::FailureReason;
///
/// assert_eq!(FailureReason::TimedOut.as_str(), "timed_out");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureReason {
    /// The work reported an error.
    Error,
    /// The worker panicked.
    Panicked,
    /// The worker vanished: its handle was dropped before the task had ended, or its lease ran out.
    Lost,
    /// The work took longer than it was allowed to.
    TimedOut,
    /// The work was not accepted.
    Rejected,
}

impl FailureReason {
    /// All reasons.
    ///
    /// ```
    /// # use inflight::FailureReason;
    /// assert!(FailureReason::ALL.contains(&FailureReason::Lost));
    /// ```
    pub const ALL: [FailureReason; 5] = [
        FailureReason::Error,
        FailureReason::Panicked,
        FailureReason::Lost,
        FailureReason::TimedOut,
        FailureReason::Rejected,
    ];

    /// The lower-case name, as in JSON: `error panicked lost timed_out rejected`.
    ///
    /// ```
    /// # use inflight::FailureReason;
    /// assert_eq!(FailureReason::Lost.as_str(), "lost");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureReason::Error => "error",
            FailureReason::Panicked => "panicked",
            FailureReason::Lost => "lost",
            FailureReason::TimedOut => "timed_out",
            FailureReason::Rejected => "rejected",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a poll found no task. The store can tell the two cases apart for every id that it minted.
///
/// ```
/// use inflight::{Absent, NewTask, Store, TaskId};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let never = TaskId::from_u128(7);
/// assert_eq!(store.lookup(never), Err(Absent::Unknown));
///
/// let mut task = store.create(NewTask::new("index"))?;
/// task.cancel()?;
/// store.remove(task.id())?;
/// assert!(matches!(store.lookup(task.id()), Err(Absent::Gone(_))));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absent {
    /// This store never minted the id. (A client's own id is unknown, too, once its task is gone: the store
    /// keeps nothing about ids that clients chose.)
    Unknown,
    /// The task was in this store and is gone. The reason is `None` once the task's line has been used again.
    Gone(Option<GoneReason>),
}

/// Why a task is no longer in the store.
///
/// ```
/// # use inflight::{Absent, GoneReason, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// task.cancel()?;
/// store.remove(task.id())?;
/// assert_eq!(store.lookup(task.id()), Err(Absent::Gone(Some(GoneReason::Removed))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoneReason {
    /// It had been terminal for as long as retention keeps such tasks.
    Expired,
    /// More tasks with its outcome were stored than retention keeps, and it was the oldest of them.
    Evicted,
    /// It was removed by [`Store::remove`](crate::Store::remove).
    Removed,
}

impl GoneReason {
    /// The lower-case name: `expired evicted removed`.
    ///
    /// ```
    /// # use inflight::GoneReason;
    /// assert_eq!(GoneReason::Evicted.as_str(), "evicted");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            GoneReason::Expired => "expired",
            GoneReason::Evicted => "evicted",
            GoneReason::Removed => "removed",
        }
    }
}

impl fmt::Display for GoneReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Absent::Unknown => f.write_str("no task has this id"),
            Absent::Gone(None) => f.write_str("the task is gone"),
            Absent::Gone(Some(reason)) => write!(f, "the task is gone ({reason})"),
        }
    }
}

impl std::error::Error for Absent {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_the_name_that_clients_know() {
        let failures = FailureReason::ALL.map(FailureReason::as_str);
        assert_eq!(failures, ["error", "panicked", "lost", "timed_out", "rejected"]);
        let gone = [GoneReason::Expired, GoneReason::Evicted, GoneReason::Removed].map(GoneReason::as_str);
        assert_eq!(gone, ["expired", "evicted", "removed"]);
        assert_eq!(FailureReason::TimedOut.to_string(), "timed_out");
    }
}
