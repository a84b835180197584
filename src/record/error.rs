//! What can be refused, and why. Each error names the value and the limit, or the state that it found;
//! and where one is returned, nothing was changed.

use std::error::Error;
use std::fmt;

use crate::cell::{MAX_ATTEMPTS, NotCounted, Refusal};
use crate::model::id::TaskId;
use crate::model::limits::TooLarge;
use crate::model::payload::Payload;
use crate::model::state::{Absent, State};
use crate::record::status::Status;

/// A store cannot be built like that.
///
/// ```
/// # use inflight::{BuildError, MAX_CAPACITY, Store};
/// let refused = Store::builder().capacity(0).build().err();
/// assert_eq!(refused, Some(BuildError::Capacity { capacity: 0, limit: MAX_CAPACITY }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The capacity is 0 or above the greatest.
    Capacity {
        /// What was asked for.
        capacity: usize,
        /// [`MAX_CAPACITY`](crate::MAX_CAPACITY).
        limit: usize,
    },
    /// The interval of the keeper's tick is 0.
    ZeroTick,
    /// There is no memory for that many tasks.
    OutOfMemory {
        /// What was asked for.
        capacity: usize,
    },
    /// The system gives no random bytes for the key of the ids.
    NoRandomness(String),
    /// The keeper's thread cannot be started.
    NoThread(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Capacity { capacity, limit } => {
                write!(f, "the capacity is {capacity}, but must be from 1 to {limit}")
            }
            BuildError::ZeroTick => f.write_str("the interval of the tick must not be 0"),
            BuildError::OutOfMemory { capacity } => write!(f, "no memory for {capacity} tasks"),
            BuildError::NoRandomness(why) => write!(f, "no random bytes for the key of the ids: {why}"),
            BuildError::NoThread(why) => write!(f, "the keeper's thread cannot be started: {why}"),
        }
    }
}

impl Error for BuildError {}

/// A task cannot be created like that.
///
/// ```
/// # use inflight::{CreateError, NewTask, Store};
/// let store = Store::builder().capacity(1).build()?;
/// let _task = store.create(NewTask::new("index"))?;
/// assert_eq!(store.create(NewTask::new("index")).err(), Some(CreateError::Full { capacity: 1 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateError {
    /// The store is full: it holds as many tasks as it has room for, or their handles have not let go. (The
    /// place of a task whose progress was observed is free at the tick after it has gone.)
    Full {
        /// How many tasks the store has room for.
        capacity: usize,
    },
    /// The client's id is taken, or is one that this store has minted.
    DuplicateId(TaskId),
    /// There is no such parent.
    UnknownParent(TaskId),
    /// The parent has ended; a task that has ended gets no more children. (The parent is looked at when the
    /// create begins: a create that races with the parent's end may come after it.)
    ParentEnded(Status),
    /// A part of it is too large.
    TooLarge(TooLarge),
    /// The total is out of the counter's range.
    TotalTooLarge {
        /// What was asked for.
        total: u64,
        /// [`MAX_COUNT`](crate::MAX_COUNT).
        limit: u64,
    },
    /// A lease of no time would be lost at once.
    ZeroLease,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::Full { capacity } => {
                write!(f, "the store is full: it has room for {capacity} tasks")
            }
            CreateError::DuplicateId(id) => write!(f, "the id {id} is in use"),
            CreateError::UnknownParent(id) => write!(f, "there is no task {id} to be the parent"),
            CreateError::ParentEnded(status) => {
                write!(f, "the parent {} has {}; it gets no more children", status.id(), status.state())
            }
            CreateError::TooLarge(too_large) => too_large.fmt(f),
            CreateError::TotalTooLarge { total, limit } => {
                write!(f, "the total is {total}; a counter goes to {limit}")
            }
            CreateError::ZeroLease => f.write_str("a lease must be longer than 0"),
        }
    }
}

impl Error for CreateError {}

impl From<TooLarge> for CreateError {
    fn from(too_large: TooLarge) -> Self {
        CreateError::TooLarge(too_large)
    }
}

/// A transition, or another change of a task, was refused.
///
/// ```
/// # use inflight::{ChangeError, NewTask, State, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// let refused = task.resume();
/// assert_eq!(refused, Err(ChangeError::NotAllowed { from: State::Pending, to: State::Running }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// The table of transitions does not have this one.
    NotAllowed {
        /// The state that was found.
        from: State,
        /// The state that was asked for.
        to: State,
    },
    /// The task has ended; nothing about it changes any more (I4).
    Ended(State),
    /// The task is no longer in the store.
    Gone,
    /// It has been tried as often as it can be.
    TooManyAttempts {
        /// [`MAX_ATTEMPTS`](crate::MAX_ATTEMPTS).
        limit: u32,
    },
    /// The task has changed so often (2³⁹ times) that only its end can still be told apart.
    TooManyChanges,
    /// The message is too large.
    TooLarge(TooLarge),
    /// The total is out of the counter's range.
    TotalTooLarge {
        /// What was asked for.
        total: u64,
        /// [`MAX_COUNT`](crate::MAX_COUNT).
        limit: u64,
    },
    /// More than that is done already.
    TotalBelowDone {
        /// What was asked for.
        total: u64,
        /// What is done.
        done: u64,
    },
    /// The task was created without a lease, so there is none to extend.
    NoLease,
}

impl ChangeError {
    /// Why a word could not be changed; `to` is where a transition was to lead.
    pub(crate) fn refused(refusal: Refusal, to: Option<State>) -> Self {
        match (refusal, to) {
            (Refusal::Vacant, _) => ChangeError::Gone,
            (Refusal::Transition { from }, Some(to)) => ChangeError::NotAllowed { from, to },
            (Refusal::Transition { from }, None) => ChangeError::Ended(from),
            (Refusal::Attempts, _) => ChangeError::TooManyAttempts { limit: MAX_ATTEMPTS },
            (Refusal::Sequence, _) => ChangeError::TooManyChanges,
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::NotAllowed { from, to } => write!(f, "a {from} task cannot become {to}"),
            ChangeError::Ended(state) => write!(f, "the task has ended: it is {state}"),
            ChangeError::Gone => f.write_str("the task is no longer in the store"),
            ChangeError::TooManyAttempts { limit } => {
                write!(f, "the task has been tried {limit} times, which is the limit")
            }
            ChangeError::TooManyChanges => f.write_str("the task has changed too often to change again"),
            ChangeError::TooLarge(too_large) => too_large.fmt(f),
            ChangeError::TotalTooLarge { total, limit } => {
                write!(f, "the total is {total}; a counter goes to {limit}")
            }
            ChangeError::TotalBelowDone { total, done } => {
                write!(f, "the total is {total}, but {done} is done already")
            }
            ChangeError::NoLease => f.write_str("the task was created without a lease"),
        }
    }
}

impl Error for ChangeError {}

impl From<TooLarge> for ChangeError {
    fn from(too_large: TooLarge) -> Self {
        ChangeError::TooLarge(too_large)
    }
}

/// Progress was not counted.
///
/// ```
/// # use inflight::{MAX_COUNT, NewTask, ProgressError, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// assert_eq!(task.advance(1), Err(ProgressError::NotRunning));
/// task.start()?;
/// let refused = task.advance(u64::MAX);
/// assert_eq!(refused, Err(ProgressError::Overflow { done: 0, limit: MAX_COUNT }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressError {
    /// The task is not being worked on: it has not been started, or not since its retry, or it has
    /// ended, or it is gone.
    NotRunning,
    /// The counter's range would be exceeded.
    Overflow {
        /// What is done.
        done: u64,
        /// [`MAX_COUNT`](crate::MAX_COUNT).
        limit: u64,
    },
    /// More than that is done already, and progress does not go back within an attempt.
    Backwards {
        /// What is done.
        done: u64,
        /// What it was to be set to.
        to: u64,
    },
}

impl ProgressError {
    pub(crate) fn not_counted(why: NotCounted, to: u64) -> Self {
        match why {
            NotCounted::Closed => ProgressError::NotRunning,
            NotCounted::Overflow { done } => ProgressError::Overflow { done, limit: crate::cell::MAX_COUNT },
            NotCounted::Backwards { done } => ProgressError::Backwards { done, to },
        }
    }
}

impl fmt::Display for ProgressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProgressError::NotRunning => f.write_str("the task is not running, so nothing is counted"),
            ProgressError::Overflow { done, limit } => {
                write!(f, "{done} is done, and a counter goes to {limit}")
            }
            ProgressError::Backwards { done, to } => {
                write!(f, "{done} is done, and progress does not go back to {to}")
            }
        }
    }
}

impl Error for ProgressError {}

/// A task could not be ended as asked.
///
/// ```
/// # use inflight::{FinishError, NewTask, State, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// let refused = task.succeed("before it began");
/// let (from, to) = (State::Pending, State::Succeeded);
/// assert_eq!(refused, Err(FinishError::NotAllowed { from, to }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FinishError {
    /// The table of transitions does not have this one: only what has been started can succeed.
    NotAllowed {
        /// The state that was found.
        from: State,
        /// The state that was asked for.
        to: State,
    },
    /// The result or error is too large; here it is back.
    TooLarge {
        /// How large, and how large it may be.
        too_large: TooLarge,
        /// The payload.
        payload: Payload,
    },
    /// The task is no longer in the store.
    Gone,
}

impl fmt::Display for FinishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FinishError::NotAllowed { from, to } => write!(f, "a {from} task cannot become {to}"),
            FinishError::TooLarge { too_large, .. } => too_large.fmt(f),
            FinishError::Gone => f.write_str("the task is no longer in the store"),
        }
    }
}

impl Error for FinishError {}

/// Cancellation could not be requested.
///
/// ```
/// # use inflight::{CancelError, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// # task.start()?;
/// task.succeed(())?;
/// assert!(matches!(store.cancel(task.id()), Err(CancelError::Ended(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CancelError {
    /// There is no such task.
    Absent(Absent),
    /// The task has ended already.
    Ended(Status),
}

impl fmt::Display for CancelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CancelError::Absent(absent) => absent.fmt(f),
            CancelError::Ended(status) => write!(f, "the task has ended: it is {}", status.state()),
        }
    }
}

impl Error for CancelError {}

/// A task could not be removed.
///
/// ```
/// # use inflight::{NewTask, RemoveError, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// # task.start()?;
/// assert!(matches!(store.remove(task.id()), Err(RemoveError::Live(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoveError {
    /// There is no such task.
    Absent(Absent),
    /// The task has not ended; only terminal tasks are removed.
    Live(Status),
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoveError::Absent(absent) => absent.fmt(f),
            RemoveError::Live(status) => {
                write!(f, "the task is {}; only a task that has ended can be removed", status.state())
            }
        }
    }
}

impl Error for RemoveError {}

/// A list could not be made.
///
/// ```
/// # use inflight::{Filter, ListError, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// assert_eq!(store.list(&Filter::new().page_size(0)).err(), Some(ListError::EmptyPage));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// The cursor is another store's, or this one's before a restart.
    StaleCursor,
    /// A page of no tasks would never come to an end.
    EmptyPage,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListError::StaleCursor => "the cursor is from another store, or from before a restart",
            ListError::EmptyPage => "a page must have room for at least one task",
        })
    }
}

impl Error for ListError {}
