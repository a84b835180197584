//! The errors. Each one names the value and the limit, or the state that was found. Where one is returned,
//! nothing was changed.

use std::error::Error;
use std::fmt;

use crate::cell::{MAX_ATTEMPTS, NotCounted, Refusal};
use crate::model::id::TaskId;
use crate::model::limits::TooLarge;
use crate::model::payload::Payload;
use crate::model::reason::Absent;
use crate::model::state::State;
use crate::record::status::Status;

/// A store could not be built.
///
/// ```
/// # use inflight::{BuildError, MAX_CAPACITY, Store};
/// let refused = Store::builder().capacity(0).build().err();
/// assert_eq!(refused, Some(BuildError::Capacity { capacity: 0, limit: MAX_CAPACITY }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The capacity is 0, or greater than the limit.
    Capacity {
        /// The requested capacity.
        capacity: usize,
        /// [`MAX_CAPACITY`](crate::MAX_CAPACITY).
        limit: usize,
    },
    /// The interval of the keeper's tick is 0.
    ZeroTick,
    /// There is not enough memory for that many tasks.
    OutOfMemory {
        /// The requested capacity.
        capacity: usize,
    },
    /// The system does not provide random bytes for the key of the ids.
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
            BuildError::OutOfMemory { capacity } => write!(f, "not enough memory for {capacity} tasks"),
            BuildError::NoRandomness(why) => {
                write!(f, "the system does not provide random bytes for the key of the ids: {why}")
            }
            BuildError::NoThread(why) => write!(f, "the keeper's thread cannot be started: {why}"),
        }
    }
}

impl Error for BuildError {}

/// A task could not be created.
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
    /// The store is full. A task that is gone still counts while a handle of it exists. (If its progress was
    /// observed, it counts until the next tick.)
    Full {
        /// How many tasks the store can hold.
        capacity: usize,
    },
    /// The client's id is in use, or this store minted it.
    DuplicateId(TaskId),
    /// There is no task with the parent's id.
    UnknownParent(TaskId),
    /// The parent has ended; a task that has ended cannot have more children. (The parent is checked when the
    /// create begins. A create that races with the parent's end may come after it.)
    ParentEnded(Status),
    /// A part of the task is too large.
    TooLarge(TooLarge),
    /// The total is greater than a counter can hold.
    TotalTooLarge {
        /// The requested total.
        total: u64,
        /// [`MAX_COUNT`](crate::MAX_COUNT).
        limit: u64,
    },
    /// The lease is 0: the task would be lost at once.
    ZeroLease,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::Full { capacity } => {
                write!(f, "the store is full: its capacity is {capacity} tasks")
            }
            CreateError::DuplicateId(id) => write!(f, "the id {id} is in use, or was minted by this store"),
            CreateError::UnknownParent(id) => write!(f, "there is no task {id}, which is to be the parent"),
            CreateError::ParentEnded(status) => {
                let (id, state) = (status.id(), status.state());
                write!(f, "the parent {id} has ended ({state}), so it cannot have more children")
            }
            CreateError::TooLarge(too_large) => too_large.fmt(f),
            CreateError::TotalTooLarge { total, limit } => {
                write!(f, "the total is {total}; the limit is {limit}")
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
    /// There is no transition from the state that was found to the requested one.
    NotAllowed {
        /// The state that was found.
        from: State,
        /// The requested state.
        to: State,
    },
    /// The task has ended; nothing about it changes any more.
    Ended(State),
    /// The task is no longer in the store.
    Gone,
    /// The task has had as many attempts as it can have.
    TooManyAttempts {
        /// [`MAX_ATTEMPTS`](crate::MAX_ATTEMPTS).
        limit: u32,
    },
    /// The task has changed so often (more than 10¹¹ times) that the only change left is its end.
    TooManyChanges,
    /// The message is too large.
    TooLarge(TooLarge),
    /// The total is greater than a counter can hold.
    TotalTooLarge {
        /// The requested total.
        total: u64,
        /// [`MAX_COUNT`](crate::MAX_COUNT).
        limit: u64,
    },
    /// More than the requested total is done already.
    TotalBelowDone {
        /// The requested total.
        total: u64,
        /// What is done.
        done: u64,
    },
    /// The task was created without a lease, so there is none to extend.
    NoLease,
}

impl ChangeError {
    /// The error for a change of the word that was refused; `to` is the requested state, for a transition.
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
            ChangeError::Ended(state) => write!(f, "the task has already ended ({state})"),
            ChangeError::Gone => f.write_str("the task is no longer in the store"),
            ChangeError::TooManyAttempts { limit } => {
                write!(f, "the task has had {limit} attempts, which is the limit")
            }
            ChangeError::TooManyChanges => f.write_str("the task has changed too often; it can only end"),
            ChangeError::TooLarge(too_large) => too_large.fmt(f),
            ChangeError::TotalTooLarge { total, limit } => {
                write!(f, "the total is {total}; the limit is {limit}")
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
    /// The task is not being worked on: it has not been started, or not since its retry, or it has ended, or
    /// it is gone.
    NotRunning,
    /// More would be done than a counter can hold.
    Overflow {
        /// What is done.
        done: u64,
        /// [`MAX_COUNT`](crate::MAX_COUNT).
        limit: u64,
    },
    /// More than that is done already, and progress never decreases within an attempt.
    Backwards {
        /// What is done.
        done: u64,
        /// The requested value.
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
                write!(f, "{done} is done already, and the limit is {limit}")
            }
            ProgressError::Backwards { done, to } => {
                write!(f, "{done} is done already, so progress cannot be set to {to}")
            }
        }
    }
}

impl Error for ProgressError {}

/// A task could not be ended as requested.
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
    /// There is no such transition: only a task that has been started can succeed.
    NotAllowed {
        /// The state that was found.
        from: State,
        /// The requested state.
        to: State,
    },
    /// The result or error is too large. It is returned.
    TooLarge {
        /// The size and the limit.
        too_large: TooLarge,
        /// The result or error.
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
            CancelError::Ended(status) => write!(f, "the task has already ended ({})", status.state()),
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
    /// The task has not ended; only terminal tasks can be removed.
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

/// The tasks could not be listed.
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
    /// The cursor is from another store, or from before a restart.
    StaleCursor,
    /// The page size is 0: the list would never end.
    EmptyPage,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListError::StaleCursor => "the cursor is from another store, or from before a restart",
            ListError::EmptyPage => "the page size must be at least 1",
        })
    }
}

impl Error for ListError {}
