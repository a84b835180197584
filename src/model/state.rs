//! The states of a task, the transitions between them, and why a task failed. Pure.

use std::fmt;
use std::str::FromStr;

/// The state of a task.
///
/// ```text
///            ┌────────────── retry ──────────────┐
///            ▼                                   │
///         Pending ──────────▶ Running ◀────▶ Blocked
///            │                   │               │
///            ├─▶ Cancelled       ├─▶ Succeeded ◀─┤
///            └─▶ Failed          ├─▶ Failed    ◀─┤
///                                └─▶ Cancelled ◀─┘
/// ```
///
/// The last three are *terminal*: nothing about the task changes after them.
///
/// ```
/// use inflight::State;
///
/// assert!(State::Pending.allows(State::Running));
/// assert!(!State::Succeeded.allows(State::Running));
/// assert_eq!("blocked".parse(), Ok(State::Blocked));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Created, or set back by a retry. No worker works on it yet.
    Pending,
    /// A worker works on it.
    Running,
    /// Its worker waits for something outside, for example for input.
    Blocked,
    /// Terminal: the work succeeded. The result can be read.
    Succeeded,
    /// Terminal: the work failed. The error can be read, and the [`FailureReason`](crate::FailureReason) says what kind it was.
    Failed,
    /// Terminal: the task was cancelled.
    Cancelled,
}

impl State {
    /// All six states, in the order of a task's life.
    ///
    /// ```
    /// # use inflight::State;
    /// assert_eq!(State::ALL.iter().filter(|state| state.is_terminal()).count(), 3);
    /// ```
    pub const ALL: [State; 6] =
        [State::Pending, State::Running, State::Blocked, State::Succeeded, State::Failed, State::Cancelled];

    /// Whether this state is final: `Succeeded`, `Failed` or `Cancelled`.
    ///
    /// ```
    /// # use inflight::State;
    /// assert!(State::Cancelled.is_terminal() && !State::Blocked.is_terminal());
    /// ```
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }

    /// Whether a task may change from this state to `to`. (`Running` or `Blocked` to `Pending` is a retry.)
    ///
    /// ```
    /// # use inflight::State;
    /// assert!(State::Running.allows(State::Pending));
    /// assert!(!State::Pending.allows(State::Succeeded), "it has to start first");
    /// ```
    #[must_use]
    pub const fn allows(self, to: State) -> bool {
        use State::{Blocked, Cancelled, Failed, Pending, Running, Succeeded};
        match self {
            Pending => matches!(to, Running | Cancelled | Failed),
            Running => matches!(to, Blocked | Succeeded | Failed | Cancelled | Pending),
            Blocked => matches!(to, Running | Succeeded | Failed | Cancelled | Pending),
            Succeeded | Failed | Cancelled => false,
        }
    }

    /// The lower-case name, as in JSON: `pending running blocked succeeded failed cancelled`.
    ///
    /// ```
    /// # use inflight::State;
    /// assert_eq!(State::Succeeded.as_str(), "succeeded");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Running => "running",
            State::Blocked => "blocked",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for State {
    type Err = ParseStateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        State::ALL.into_iter().find(|state| state.as_str() == text).ok_or(ParseStateError(()))
    }
}

/// The parsed text is not the name of a [`State`].
///
/// ```
/// # use inflight::State;
/// assert!("done".parse::<State>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseStateError(());

impl fmt::Display for ParseStateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a state is one of pending, running, blocked, succeeded, failed, cancelled")
    }
}

impl std::error::Error for ParseStateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_the_table_is_the_contracts() {
        let allowed: Vec<(State, State)> = State::ALL
            .into_iter()
            .flat_map(|from| State::ALL.into_iter().map(move |to| (from, to)))
            .filter(|(from, to)| from.allows(*to))
            .collect();
        use State::{Blocked, Cancelled, Failed, Pending, Running, Succeeded};
        assert_eq!(
            allowed,
            [
                (Pending, Running),
                (Pending, Failed),
                (Pending, Cancelled),
                (Running, Pending),
                (Running, Blocked),
                (Running, Succeeded),
                (Running, Failed),
                (Running, Cancelled),
                (Blocked, Pending),
                (Blocked, Running),
                (Blocked, Succeeded),
                (Blocked, Failed),
                (Blocked, Cancelled),
            ]
        );
    }

    #[test]
    fn names_round_trip() {
        for state in State::ALL {
            assert_eq!(state.to_string().parse(), Ok(state));
        }
        assert_eq!("Running".parse::<State>(), Err(ParseStateError(())));
    }
}
