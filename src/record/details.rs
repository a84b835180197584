//! The snapshot of a task's cold record.

use std::borrow::Cow;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::model::id::TaskId;
use crate::model::payload::Payload;
use crate::model::state::State;
use crate::record::Traits;
use crate::record::status::Status;

/// A task's status together with its cold record: kind, labels, parent, message, result or error.
///
/// # Consistency
///
/// Status and record are from one instant: the message belongs to the version of the status, and there is a
/// result or error if and only if the task has ended with one.
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
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(Some(store.details(task.id())?.status()), store.get(task.id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn status(&self) -> Status {
        self.status
    }

    /// The kind of work.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.details(task.id())?.kind(), "index");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The name of the unit of progress.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").unit("pages"))?;
    /// assert_eq!(store.details(task.id())?.unit(), Some("pages"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unit(&self) -> Option<&str> {
        self.traits.as_ref()?.unit.as_deref()
    }

    /// The value of the label `key`.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// let details = store.details(task.id())?;
    /// assert_eq!((details.label("tenant"), details.label("colour")), (Some("acme"), None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels().find_map(|(have, value)| (have == key).then_some(value))
    }

    /// All labels, sorted by key.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").label("tenant", "acme").label("colour", "red"))?;
    /// let details = store.details(task.id())?;
    /// assert_eq!(details.labels().collect::<Vec<_>>(), [("colour", "red"), ("tenant", "acme")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.traits.iter().flat_map(|traits| &traits.labels).map(|(key, value)| (&**key, &**value))
    }

    /// The parent's id.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let parent = store.create(NewTask::new("batch"))?;
    /// let child = store.create(NewTask::new("page").parent(parent.id()))?;
    /// assert_eq!(store.details(child.id())?.parent(), Some(parent.id()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn parent(&self) -> Option<TaskId> {
        self.traits.as_ref()?.parent.map(|parent| parent.id)
    }

    /// How long the task is kept after its end, if it was created with a time of its own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").ttl(Duration::from_secs(60)))?;
    /// assert_eq!(store.details(task.id())?.ttl(), Some(Duration::from_secs(60)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.traits.as_ref()?.ttl
    }

    /// The last message that was set.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// assert_eq!(store.details(task.id())?.message(), None);
    /// task.set_message("embedding")?;
    /// assert_eq!(store.details(task.id())?.message(), Some("embedding"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// The result, in state `Succeeded`, if one was given.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.succeed(vec![1, 2, 3])?;
    /// let details = store.details(task.id())?;
    /// assert_eq!(details.result().map(|result| result.bytes()), Some(&[1, 2, 3][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn result(&self) -> Option<&Payload> {
        self.outcome.as_ref().filter(|_| self.status.state() == State::Succeeded)
    }

    /// The error, in state `Failed` or `Cancelled`, if one was given.
    ///
    /// ```
    /// # use inflight::{FailureReason, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// task.fail(FailureReason::Error, "no such file")?;
    /// let details = store.details(task.id())?;
    /// assert_eq!(details.error().and_then(|error| error.as_text()), Some("no such file"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&Payload> {
        self.outcome.as_ref().filter(|_| self.status.state() != State::Succeeded)
    }
}
