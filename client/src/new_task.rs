//! What a task is created from.

use std::collections::BTreeMap;
use std::time::Duration;

use inflight::TaskId;
use serde::Serialize;

use crate::details::Details;

/// What [`Client::create`](crate::Client::create) makes a task of.
///
/// ```
/// use std::time::Duration;
/// use inflight_client::NewTask;
///
/// let new = NewTask::new("index")
///     .total(42)
///     .unit("pages")
///     .label("tenant", "acme")
///     .lease(Duration::from_secs(30))
///     .idempotency_key("order-1017");
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[must_use]
pub struct NewTask {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "NewProgress::is_empty")]
    progress: NewProgress,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip)]
    pub(crate) idempotency_key: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct NewProgress {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
}

impl NewProgress {
    fn is_empty(&self) -> bool {
        self.total.is_none() && self.unit.is_none()
    }
}

impl NewTask {
    /// A task of this kind: what sort of work it is.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            task_id: None,
            status: None,
            claim: None,
            progress: NewProgress::default(),
            labels: BTreeMap::new(),
            parent_id: None,
            lease_ms: None,
            ttl_ms: None,
            idempotency_key: None,
        }
    }

    /// Uses an id of the client's own. The same id with the same content is the existing task; with another
    /// content it is a conflict.
    pub fn id(mut self, id: impl Into<TaskId>) -> Self {
        self.task_id = Some(id.into().to_string());
        self
    }

    /// How much there is to do, in units of the caller's choice.
    pub fn total(mut self, total: u64) -> Self {
        self.progress.total = Some(total);
        self
    }

    /// What the unit of progress is called, for those who show it.
    pub fn unit(mut self, unit: impl Into<String>) -> Self {
        self.progress.unit = Some(unit.into());
        self
    }

    /// Adds a label. A label of the same key replaces the earlier one.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Makes it a child of the task `parent`.
    pub fn parent(mut self, parent: impl Into<TaskId>) -> Self {
        self.parent_id = Some(parent.into().to_string());
        self
    }

    /// Gives the worker a lease, in whole milliseconds: if for `span` there is neither a heartbeat nor
    /// progress, the task is `Failed(Lost)`, and the worker is fenced. A [`Worker`](crate::Worker) sends the
    /// heartbeats. Without this call, a task of [`create`](crate::Client::create) has no lease, and one of
    /// [`create_and_work`](crate::Client::create_and_work) has a lease of 60 s.
    pub fn lease(mut self, span: Duration) -> Self {
        self.lease_ms = Some(millis(span));
        self
    }

    /// Keeps the task for `span` after its end, in whole milliseconds.
    pub fn ttl(mut self, span: Duration) -> Self {
        self.ttl_ms = Some(millis(span));
        self
    }

    /// Names this creation, so that repeating it gives the first answer again and no second task. Without
    /// one the client draws a key for each call of `create`, for its own retries.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A created task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Created {
    /// The task, as the service answered.
    pub task: Details,
    /// The lease that was asked for; [`Client::work`](crate::Client::work) takes its heartbeat from it.
    pub lease: Option<Duration>,
    /// How long to wait before a first poll.
    pub retry_after: Option<Duration>,
}

impl NewTask {
    pub(crate) fn lease_span(&self) -> Option<Duration> {
        self.lease_ms.map(Duration::from_millis)
    }

    /// The same task, running from the start, with a lease. `claim` names the worker, so that no other worker
    /// gets the task by the same id or key.
    pub(crate) fn claimed(mut self, lease: Duration, claim: String) -> Self {
        self.status = Some("running");
        self.claim = Some(claim);
        self.lease_ms.get_or_insert(millis(lease));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_what_was_set_and_no_more() {
        let json = |new: &NewTask| serde_json::to_string(new).expect("plain");
        assert_eq!(json(&NewTask::new("index").idempotency_key("k")), r#"{"kind":"index"}"#);
        let full = NewTask::new("index").total(3).unit("pages").label("a", "1").label("a", "2");
        let full =
            full.parent(TaskId::from_u128(1)).lease(Duration::from_secs(2)).ttl(Duration::from_millis(5));
        assert_eq!(
            json(&full.id(TaskId::from_u128(2))),
            r#"{"kind":"index","taskId":"00000000-0000-0000-0000-000000000002","progress":{"total":3,"unit":"pages"},"labels":{"a":"2"},"parentId":"00000000-0000-0000-0000-000000000001","leaseMs":2000,"ttlMs":5}"#
        );
    }
}
