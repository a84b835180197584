//! What the service says of a task: its native JSON, checked and typed.
//!
//! Fields that a newer service adds are ignored, and what it leaves out or calls `null` is unknown: `None`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use inflight::{FailureReason, State, TaskId, Version};
use serde::Deserialize;

use crate::json::Json;

/// A task as it was at one version: its status, and what belongs to it.
///
/// # Consistency
///
/// Status and record are from one instant. Of two of one task, the one of the greater version was observed
/// later; of a terminal one nothing changes any more.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
#[non_exhaustive]
pub struct Details {
    /// The task's id.
    pub id: TaskId,
    /// What sort of work it is.
    pub kind: String,
    /// Where the task is in its life.
    pub state: State,
    /// What kind of failure it was, in state `Failed`.
    pub failure_reason: Option<FailureReason>,
    /// The last message that the worker set.
    pub message: Option<String>,
    /// The ordered token of what this has seen; it is the `ETag` and the event id.
    pub version: Version,
    /// Which attempt this is: 1, 2, …
    pub attempt: u32,
    /// How far this attempt has come.
    pub progress: Progress,
    /// When the task was created.
    pub created_at: Option<SystemTime>,
    /// When this attempt was started.
    pub started_at: Option<SystemTime>,
    /// When the task last changed.
    pub updated_at: Option<SystemTime>,
    /// When it became terminal.
    pub ended_at: Option<SystemTime>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
    /// The parent's id.
    pub parent: Option<TaskId>,
    /// Whether somebody has asked for the task to be cancelled.
    pub cancel_requested: bool,
    /// For how long the task is kept after its end, where it has a time of its own.
    pub ttl: Option<Duration>,
    /// How often the service would like to be polled.
    pub poll_interval: Option<Duration>,
    /// The result, in state `Succeeded`, if one was given.
    pub result: Option<Json>,
    /// The error, in state `Failed` or `Cancelled`, if one was given.
    pub error: Option<Json>,
}

impl Details {
    /// Whether nothing will change any more.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.state.is_terminal()
    }
}

/// How far an attempt has come, in the task's own unit.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "RawProgress")]
#[non_exhaustive]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is to do.
    pub total: Option<u64>,
    /// What the unit is called.
    pub unit: Option<String>,
    /// `done / total`, from 0 to 1.
    pub fraction: Option<f64>,
    /// Progress per second, on average.
    pub rate: Option<f64>,
    /// How long the rest will take at this rate.
    pub eta: Option<Duration>,
}

/// What a task's children add up to; children that are gone still count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Children {
    /// How many there are and were.
    pub count: u64,
    /// What is done, over all children.
    pub done: u64,
    /// What there is to do, if known of all of them.
    pub total: Option<u64>,
    /// How many are, or ended, in each state.
    pub by_state: Counts,
}

/// How many tasks are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counts {
    /// Not yet begun.
    pub pending: u64,
    /// Being worked on.
    pub running: u64,
    /// Waiting for something outside.
    pub blocked: u64,
    /// Ended well.
    pub succeeded: u64,
    /// Ended badly.
    pub failed: u64,
    /// Given up on request.
    pub cancelled: u64,
}

impl Counts {
    /// How many there are.
    #[must_use]
    pub fn total(&self) -> u64 {
        [self.pending, self.running, self.blocked, self.succeeded, self.failed, self.cancelled].iter().sum()
    }

    /// How many are not terminal.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.pending + self.running + self.blocked
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    task_id: String,
    #[serde(default)]
    kind: Option<String>,
    status: String,
    failure_reason: Option<String>,
    status_message: Option<String>,
    version: String,
    attempt: Option<u32>,
    progress: Option<Progress>,
    created_at: Option<String>,
    started_at: Option<String>,
    last_updated_at: Option<String>,
    ended_at: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    parent_id: Option<String>,
    cancel_requested: Option<bool>,
    ttl_ms: Option<u64>,
    poll_interval_ms: Option<u64>,
    result: Option<Json>,
    error: Option<Json>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawProgress {
    done: Option<u64>,
    total: Option<u64>,
    unit: Option<String>,
    fraction: Option<f64>,
    rate: Option<f64>,
    eta_ms: Option<f64>,
}

impl From<RawProgress> for Progress {
    fn from(raw: RawProgress) -> Self {
        Self {
            done: raw.done.unwrap_or(0),
            total: raw.total,
            unit: raw.unit,
            fraction: raw.fraction,
            rate: raw.rate,
            eta: raw.eta_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok()),
        }
    }
}

impl TryFrom<Raw> for Details {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let id = parsed("taskId", &raw.task_id)?;
        Ok(Self {
            id,
            kind: raw.kind.unwrap_or_default(),
            state: parsed("status", &raw.status)?,
            failure_reason: raw.failure_reason.as_deref().and_then(failure_reason),
            message: raw.status_message,
            version: parsed("version", &raw.version)?,
            attempt: raw.attempt.unwrap_or(1),
            progress: raw.progress.unwrap_or_default(),
            created_at: time("createdAt", raw.created_at)?,
            started_at: time("startedAt", raw.started_at)?,
            updated_at: time("lastUpdatedAt", raw.last_updated_at)?,
            ended_at: time("endedAt", raw.ended_at)?,
            labels: raw.labels.unwrap_or_default(),
            parent: raw.parent_id.as_deref().map(|id| parsed("parentId", id)).transpose()?,
            cancel_requested: raw.cancel_requested.unwrap_or(false),
            ttl: raw.ttl_ms.map(Duration::from_millis),
            poll_interval: raw.poll_interval_ms.map(Duration::from_millis),
            result: raw.result,
            error: raw.error,
        })
    }
}

fn parsed<T: std::str::FromStr>(field: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{field} is {text:?}"))
}

fn time(field: &str, text: Option<String>) -> Result<Option<SystemTime>, String> {
    let parse = |text: String| {
        humantime::parse_rfc3339(&text).map_err(|_| format!("{field} is {text:?}, which is no time in UTC"))
    };
    text.map(parse).transpose()
}

/// One that is not known yet is none, not an error: the state says that it failed.
fn failure_reason(text: &str) -> Option<FailureReason> {
    FailureReason::ALL.into_iter().find(|reason| reason.as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Details, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn all_of_the_native_json_is_read() {
        let task = parse(
            r#"{"taskId":"00000000-0000-8000-8000-000000000007","kind":"index","status":"failed",
            "failureReason":"timed_out","statusMessage":"embedding","version":"a-1f-0","attempt":2,
            "progress":{"done":7,"total":42,"unit":"pages","fraction":0.16,"rate":1.5,"etaMs":2500},
            "createdAt":"2026-01-02T03:04:05.678Z","startedAt":null,"lastUpdatedAt":"2026-01-02T03:04:06Z",
            "endedAt":"2026-01-02T03:04:06Z","labels":{"tenant":"acme"},
            "parentId":"00000000-0000-8000-8000-000000000001","cancelRequested":true,"ttlMs":60000,
            "pollIntervalMs":250,"result":null,"error":{"why":"slow"},"fromTheFuture":[1]}"#,
        )
        .expect("valid");
        assert_eq!((task.state, task.failure_reason), (State::Failed, Some(FailureReason::TimedOut)));
        assert_eq!((task.kind.as_str(), task.message.as_deref()), ("index", Some("embedding")));
        assert_eq!((task.progress.done, task.progress.total), (7, Some(42)));
        assert_eq!(task.progress.eta, Some(Duration::from_millis(2500)));
        assert_eq!((task.started_at, task.ended_at), (None, task.updated_at));
        assert_eq!(task.labels.get("tenant").map(String::as_str), Some("acme"));
        assert_eq!((task.ttl, task.cancel_requested), (Some(Duration::from_secs(60)), true));
        assert_eq!((task.result, task.error.is_some()), (None, true));
    }

    #[test]
    fn what_is_left_out_is_unknown_and_what_is_wrong_is_named() {
        let least =
            r#"{"taskId":"00000000-0000-8000-8000-000000000007","status":"pending","version":"1-2-0"}"#;
        let task = parse(least).expect("enough");
        assert_eq!((task.progress.total, task.progress.rate, task.created_at), (None, None, None));
        for (good, bad, field) in
            [("-000000000007", "", "taskId"), ("pending", "waiting", "status"), ("1-2-0", "1", "version")]
        {
            let error = parse(&least.replace(good, bad)).expect_err(field).to_string();
            assert!(error.contains(field), "{error}");
        }
        let newer = least.replace("}", r#","failureReason":"bored"}"#);
        assert_eq!(parse(&newer).expect("a newer reason").failure_reason, None);
    }
}
