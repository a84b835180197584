//! The calls of clients and their replies: the vocabulary of a history. Pure.

use std::time::Duration;

use inflight::{Absent, FailureReason, State, Status, TaskId, Version};

/// A task to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCall {
    /// The client's own id; with `None` the store mints one.
    pub id: Option<TaskId>,
    /// The task's total.
    pub total: Option<u64>,
    /// Whether the task has a lease that runs out when time passes ([`Call::Pass`]) without a sign of life.
    pub leased: bool,
    /// Whether several clients write to the task.
    pub shared: bool,
}

/// One call of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Creates a task.
    Create(NewCall),
    /// Changes it, as its worker.
    Change(Change),
    /// Ends it, as its worker. The number is the text of the result or error.
    End(Ending, u32),
    /// Adds to its count, as its worker.
    Advance(u64),
    /// Shows that the worker is alive.
    Heartbeat,
    /// The worker disappears without ending the task.
    Abandon,
    /// Polls it.
    Get,
    /// Polls it together with its message and its result or error.
    Details,
    /// Requests its cancellation.
    Cancel,
    /// Removes it from the store.
    Remove,
    /// Lets time pass for all tasks, enough for every lease to run out and every terminal task to expire, and
    /// does the upkeep that is due.
    Pass(Duration),
}

/// A change of a task by its worker, other than its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// `Pending → Running`.
    Start,
    /// `Running → Blocked`.
    Block,
    /// `Blocked → Running`.
    Resume,
    /// `Running | Blocked → Pending`, the next attempt.
    Retry,
    /// A message: the text is this number.
    Message(u32),
}

/// How a worker ends its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// As `Succeeded`.
    Succeeded,
    /// As `Failed(Error)`.
    Failed,
    /// As `Cancelled`. There is no text.
    Cancelled,
}

/// What a poll showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The state.
    pub state: State,
    /// The reason of a failure.
    pub reason: Option<FailureReason>,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The count.
    pub done: u64,
    /// The total.
    pub total: Option<u64>,
    /// Whether cancellation was requested.
    pub cancel_requested: bool,
    /// The version.
    pub version: Version,
}

impl From<Status> for Seen {
    fn from(status: Status) -> Self {
        Self {
            state: status.state(),
            reason: status.failure_reason(),
            attempt: status.attempt(),
            done: status.done(),
            total: status.total(),
            cancel_requested: status.cancel_requested(),
            version: status.version(),
        }
    }
}

/// The reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The task was created, and this is its id.
    Created(TaskId),
    /// The call took effect.
    Done,
    /// The caller has ended the task.
    Won,
    /// The task had ended before, like this.
    Lost(Seen),
    /// A status.
    Seen(Seen),
    /// A status, with the message, and the result or error as text.
    Detailed(Seen, Option<String>, Option<String>),
    /// There is no such task. A handle whose task is gone answers `Absent::Gone(None)`.
    Absent(Absent),
    /// A cancellation of a task that has ended, or a removal of one that has not: this is its status.
    Refused(Seen),
    /// A change that the task's state does not allow: the state found.
    NotAllowed(State),
    /// Progress was not counted, because the task does not run.
    NotRunning,
    /// There was no lease to extend.
    NoLease,
    /// The id is in use.
    Duplicate,
    /// The store is full. Always believed.
    Full,
    /// It is not known whether the call took effect: a connection broke, an answer was lost. It may take
    /// effect at any time after it began, or never.
    Unclear,
}
