//! The description of a task that is to be created.

use std::borrow::Cow;
use std::time::Duration;

use crate::cell::MAX_COUNT;
use crate::model::id::TaskId;
use crate::model::limits::{Limits, Oversized, TooLarge};
use crate::record::error::CreateError;
use crate::record::{ForeignId, Parent, Traits};

/// The description of a task, from which [`Store::create`](crate::Store::create) creates it.
///
/// ```
/// use std::time::Duration;
/// use inflight::{NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let task = store.create(
///     NewTask::new("index").total(42).unit("pages").label("tenant", "acme").ttl(Duration::from_secs(60)),
/// )?;
/// let details = store.details(task.id())?;
/// assert_eq!((details.kind(), details.unit()), ("index", Some("pages")));
/// assert_eq!(details.label("tenant"), Some("acme"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NewTask {
    pub(crate) kind: Cow<'static, str>,
    pub(crate) id: Option<TaskId>,
    pub(crate) total: Option<u64>,
    pub(crate) parent: Option<TaskId>,
    pub(crate) lease: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    unit: Option<String>,
    /// In the order in which they were added, until `check` sorts them.
    labels: Vec<(String, String)>,
}

impl NewTask {
    /// A task of this kind. The kind says what sort of work it is, for example the name of the job.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.details(task.id())?.kind(), "index");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind: kind.into(),
            id: None,
            total: None,
            parent: None,
            lease: None,
            ttl: None,
            unit: None,
            labels: Vec::new(),
        }
    }

    /// Uses an id that the client chose, a UUID of any version, instead of minting one.
    ///
    /// A poll of such an id looks it up in an index first. The id can be used again once its task is gone.
    /// See the guide on [ids](crate::guide::ids).
    ///
    /// ```
    /// # use inflight::{NewTask, Store, TaskId};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let id: TaskId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse()?;
    /// let task = store.create(NewTask::new("index").id(id))?;
    /// assert_eq!(task.id(), id);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn id(mut self, id: impl Into<TaskId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// How much there is to do, at most [`MAX_COUNT`](crate::MAX_COUNT), in units of the caller's choice.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").total(42))?;
    /// assert_eq!(store.lookup(task.id())?.total(), Some(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn total(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }

    /// The name of the unit of progress, to be shown with it: `"bytes"`, `"pages"`.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").unit("pages"))?;
    /// assert_eq!(store.details(task.id())?.unit(), Some("pages"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.unit = Some(unit.into());
        self
    }

    /// Adds a label. It replaces an earlier label with the same key.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// assert_eq!(store.details(task.id())?.label("tenant"), Some("acme"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// Makes the task a child of `parent`. The store keeps the sums over a parent's children
    /// ([`Store::children`](crate::Store::children)).
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let parent = store.create(NewTask::new("batch"))?;
    /// let child = store.create(NewTask::new("page").parent(parent.id()))?;
    /// assert_eq!(store.children(parent.id())?.count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn parent(mut self, parent: impl Into<TaskId>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// Gives the handle a lease: if there is neither a heartbeat nor progress for `span`, the task becomes
    /// `Failed(Lost)`, and the handle can no longer change it. See the guide on
    /// [vanishing workers](crate::guide::vanishing_workers).
    ///
    /// The store notices this at the first tick after that. Progress counts as of the tick before it, so a
    /// lease that is kept by progress alone must span more than two ticks. Every other change of the task
    /// extends the lease as progress does, including a request to cancel. The progress of a leased task is
    /// added by an atomic operation, not by a plain store, because not only the handle may end the task.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{FailureReason, KeeperMode, ManualClock, NewTask, Store};
    /// # let clock = ManualClock::new();
    /// # let store = Store::builder().capacity(16).clock(clock.clone()).keeper(KeeperMode::Manual).build()?;
    /// let task = store.create(NewTask::new("index").lease(Duration::from_secs(30)))?;
    /// clock.advance(Duration::from_secs(30));
    /// store.tick();
    /// assert_eq!(store.lookup(task.id())?.failure_reason(), Some(FailureReason::Lost));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease(mut self, span: Duration) -> Self {
        self.lease = Some(span);
        self
    }

    /// Keeps the task for `span` after its end, whatever the store's
    /// [`Retention`](crate::Retention) says about ages. (Bounds by count apply to it as well.)
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").ttl(Duration::from_secs(60)))?;
    /// assert_eq!(store.details(task.id())?.ttl(), Some(Duration::from_secs(60)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ttl(mut self, span: Duration) -> Self {
        self.ttl = Some(span);
        self
    }

    /// Checks the limits. Sorts the labels, and keeps the last one of each key.
    pub(crate) fn check(&mut self, limits: &Limits) -> Result<(), CreateError> {
        TooLarge::check(Oversized::Kind, self.kind.len(), limits.kind)?;
        TooLarge::check(Oversized::Unit, self.unit.as_ref().map_or(0, String::len), limits.unit)?;
        self.labels.sort_by(|(one, _), (other, _)| one.cmp(other)); // Labels of one key stay in order.
        self.labels.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        TooLarge::check(Oversized::Labels, self.labels.len(), limits.labels)?;
        for (key, value) in &self.labels {
            TooLarge::check(Oversized::LabelKey, key.len(), limits.label_key)?;
            TooLarge::check(Oversized::LabelValue, value.len(), limits.label_value)?;
        }
        if let Some(total) = self.total.filter(|total| *total > MAX_COUNT) {
            return Err(CreateError::TotalTooLarge { total, limit: MAX_COUNT });
        }
        if self.lease.is_some_and(|span| span.is_zero()) {
            return Err(CreateError::ZeroLease);
        }
        Ok(())
    }

    /// Takes out the parts that most tasks do not have; `None` if there are none. Called after `check`.
    /// `parent` is the parent that was found.
    pub(crate) fn traits(&mut self, foreign: Option<ForeignId>, parent: Option<Parent>) -> Option<Traits> {
        let (unit, labels) = (self.unit.take(), std::mem::take(&mut self.labels));
        let (ttl, lease) = (self.ttl, self.lease);
        let is_timed = ttl.is_some() || lease.is_some();
        if foreign.is_none() && unit.is_none() && labels.is_empty() && parent.is_none() && !is_timed {
            return None;
        }
        let labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Some(Traits { foreign, unit: unit.map(Into::into), labels, parent, ttl, lease })
    }
}
