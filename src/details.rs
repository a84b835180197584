//! The snapshot of a task's cold record.

use std::borrow::Cow;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::id::TaskId;
use crate::payload::Payload;
use crate::record::Traits;
use crate::state::State;
use crate::status::Status;

/// A task's status together with its cold record: kind, labels, parent, message, result or error.
///
/// # Consistency
///
/// Status and record are from one instant: the message is the one that the status's version goes with,
/// and a result or error is there if and only if the state is terminal and it was given (I4).
///
/// ```
/// use inflight::{NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// task.start()?;
/// task.set_message("embedding")?;
/// assert_eq!(store.details(task.id())?.message(), Some("embedding"));
///
/// task.succeed("42 pages")?;
/// let details = store.details(task.id())?;
/// assert_eq!(details.result().and_then(|result| result.as_text()), Some("42 pages"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Details {
    pub(crate) status: Status,
    pub(crate) kind: Cow<'static, str>,
    pub(crate) traits: Option<StdArc<Traits>>,
    pub(crate) message: Option<StdArc<str>>,
    pub(crate) outcome: Option<Payload>,
}

impl Details {
    /// The status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// What sort of work it is.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What the unit of progress is called.
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.traits.as_ref()?.unit.as_deref()
    }

    /// The value of the label `key`.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find_map(|(have, value)| (have == key).then_some(value))
    }

    /// All labels, sorted by key.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.traits.iter().flat_map(|traits| &traits.labels).map(|(key, value)| (&**key, &**value))
    }

    /// The parent's id.
    #[must_use]
    pub fn parent(&self) -> Option<TaskId> {
        self.traits.as_ref()?.parent
    }

    /// For how long the task is kept after its end, where it has a time of its own.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.traits.as_ref()?.ttl
    }

    /// The last message that was set.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The result, in state `Succeeded`, if one was given.
    #[must_use]
    pub fn result(&self) -> Option<&Payload> {
        self.outcome.as_ref().filter(|_| self.status.state() == State::Succeeded)
    }

    /// The error, in state `Failed` or `Cancelled`, if one was given.
    #[must_use]
    pub fn error(&self) -> Option<&Payload> {
        self.outcome.as_ref().filter(|_| self.status.state() != State::Succeeded)
    }
}
