//! A task as JSON: the native form, of which every other dialect is a mapping.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use inflight::{Details, Payload, Status};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::fit;
use crate::pacing::Pace;
use crate::time::Time;

/// A task: its status, and all else that is known of it. What is not known is `null`, never 0.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Task)]
pub(crate) struct TaskView<'a> {
    #[schema(value_type = String, format = Uuid)]
    task_id: Text<inflight::TaskId>,
    /// What sort of work it is.
    kind: &'a str,
    /// The state.
    #[schema(value_type = StateName)]
    status: &'static str,
    /// Of a failed task, what kind of failure it was.
    #[schema(value_type = Option<FailureReasonName>)]
    failure_reason: Option<&'static str>,
    /// What is being done, in a few words.
    status_message: Option<&'a str>,
    /// The ordered token of this observation: also the ETag, and the id of a task's events.
    #[schema(value_type = String)]
    version: Text<inflight::Version>,
    /// 1, 2, …: a retry is a new attempt, and its progress starts at 0.
    attempt: u32,
    progress: ProgressView<'a>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Time>,
    #[schema(value_type = String, format = DateTime)]
    last_updated_at: Time,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Time>,
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    labels: Labels<'a>,
    #[schema(value_type = Option<String>, format = Uuid)]
    parent_id: Option<Text<inflight::TaskId>>,
    /// Whether somebody has asked for the task to be cancelled.
    cancel_requested: bool,
    /// For how long the task is kept after its end, where it has a time of its own.
    #[schema(value_type = Option<u64>)]
    ttl_ms: Option<u64>,
    /// When it is worth asking again. `null` once the task has ended.
    #[schema(value_type = Option<u64>)]
    poll_interval_ms: Option<u64>,
    /// The result, of a task that succeeded with one; left out (`null`) in the basic view.
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<PayloadView<'a>>,
    /// The error, of a task that failed with one; left out (`null`) in the basic view.
    #[schema(value_type = Option<serde_json::Value>)]
    error: Option<PayloadView<'a>>,
}

/// How far a task is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Progress)]
pub(crate) struct ProgressView<'a> {
    done: u64,
    #[schema(value_type = Option<u64>)]
    total: Option<u64>,
    /// What `done` and `total` count.
    unit: Option<&'a str>,
    /// From 0 to 1.
    fraction: Option<f64>,
    /// Per second, on average over this attempt.
    rate: Option<f64>,
    /// How long the rest will take at this rate, from `lastUpdatedAt` on.
    #[schema(value_type = Option<u64>)]
    eta_ms: Option<u64>,
}

/// The name of a state.
#[derive(Debug, ToSchema)]
#[schema(as = State, rename_all = "lowercase")]
#[expect(dead_code, reason = "it only describes the JSON")]
pub(crate) enum StateName {
    Pending,
    Running,
    Blocked,
    Succeeded,
    Failed,
    Cancelled,
}

/// How much of each task is shown: `full` has result and error, too.
#[derive(Debug, ToSchema)]
#[schema(as = View, rename_all = "lowercase")]
#[expect(dead_code, reason = "it only describes the parameter")]
pub(crate) enum ViewParam {
    Basic,
    Full,
}

/// What kind of failure it was.
#[derive(Debug, ToSchema)]
#[schema(as = FailureReason, rename_all = "snake_case")]
#[expect(dead_code, reason = "it only describes the JSON")]
pub(crate) enum FailureReasonName {
    Error,
    Panicked,
    Lost,
    TimedOut,
    Rejected,
}

/// How much of a task is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All but the result and the error, which may be large.
    Basic,
    Full,
}

impl<'a> TaskView<'a> {
    pub(crate) fn new(details: &'a Details, pace: Pace, extent: Extent) -> Self {
        Self::at(details, &details.status(), pace, extent)
    }

    /// The task with this status, which may be a later one than that of the details.
    pub(crate) fn at(details: &'a Details, status: &Status, pace: Pace, extent: Extent) -> Self {
        let payload =
            |payload: Option<&'a Payload>| payload.filter(|_| extent == Extent::Full).map(PayloadView);
        Self {
            kind: details.kind(),
            // An empty one is what is left of one that was taken back.
            status_message: details.message().filter(|message| !message.is_empty()),
            labels: Labels(Some(details)),
            parent_id: details.parent().map(Text),
            ttl_ms: details.ttl().map(millis),
            result: payload(details.result()),
            error: payload(details.error()),
            ..Self::of_status(status, details.unit(), pace)
        }
    }

    /// What a status alone shows.
    pub(crate) fn of_status(status: &Status, unit: Option<&'a str>, pace: Pace) -> Self {
        Self {
            task_id: Text(status.id()),
            kind: "",
            status: status.state().as_str(),
            failure_reason: status.failure_reason().map(|reason| reason.as_str()),
            status_message: None,
            version: Text(status.version()),
            attempt: status.attempt(),
            progress: ProgressView {
                done: status.done(),
                total: status.total(),
                unit,
                fraction: status.fraction(),
                rate: status.rate(),
                eta_ms: status.eta().map(millis),
            },
            created_at: Time(status.created_at()),
            started_at: status.started_at().map(Time),
            last_updated_at: Time(status.updated_at()),
            ended_at: status.ended_at().map(Time),
            labels: Labels::NONE,
            parent_id: None,
            cancel_requested: status.cancel_requested(),
            ttl_ms: None,
            poll_interval_ms: pace.interval(status).map(millis),
            result: None,
            error: None,
        }
    }

    /// The JSON text.
    pub(crate) fn render(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(768);
        self.write(&mut json);
        json
    }

    /// The JSON text, behind what is there.
    pub(crate) fn write(&self, json: &mut Vec<u8>) {
        // It has no map with keys that are no strings, and a vector takes all that is written.
        let _ = serde_json::to_writer(json, self);
    }

    /// The JSON text, to be part of another.
    pub(crate) fn raw(&self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(self).ok()
    }
}

/// Whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Anything that prints, as a string.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<T>(pub(crate) T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The labels of a task, as a map.
#[derive(Debug)]
struct Labels<'a>(Option<&'a Details>);

impl Labels<'_> {
    const NONE: Self = Self(None);
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (key, value) in self.0.iter().flat_map(|details| details.labels()) {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// A result or error: JSON as it is, text as a string, and anything else as an object with its media
/// type and its bytes in base64.
#[derive(Debug)]
struct PayloadView<'a>(&'a Payload);

impl Serialize for PayloadView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let payload = self.0;
        let text = payload.as_text().unwrap_or_default();
        match form(payload) {
            Form::Json => match serde_json::from_str::<&RawValue>(text) {
                Ok(json) => return json.serialize(serializer),
                Err(error) => return Err(serde::ser::Error::custom(error)),
            },
            Form::Text => return serializer.serialize_str(text),
            Form::Binary => {}
        }
        let mut object = serializer.serialize_struct("Binary", 2)?;
        object.serialize_field("mediaType", payload.media_type())?;
        object.serialize_field("base64", &STANDARD.encode(payload.bytes()))?;
        object.end()
    }
}

/// As what a payload is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Text,
    Binary,
}

/// JSON is only shown as such if it is JSON, and nothing that breaks those who read it: the host's own tasks
/// may have any result.
pub(crate) fn form(payload: &Payload) -> Form {
    let Some(text) = payload.as_text() else { return Form::Binary };
    let is_fit = || fit::check(text.as_bytes()).is_ok() && serde_json::from_str::<&RawValue>(text).is_ok();
    if is_json(payload.media_type()) && is_fit() {
        return Form::Json;
    }
    if payload.media_type().starts_with("text/") { Form::Text } else { Form::Binary }
}

/// Whether the media type is JSON, or based on it.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json")
}

/// What a parent's children add up to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Children)]
pub(crate) struct ChildrenView {
    /// How many children there are and were.
    count: u64,
    /// How many of them have not ended.
    live: u64,
    by_state: ByState,
    done: u64,
    /// `null` if it is unknown of any of them.
    #[schema(value_type = Option<u64>)]
    total: Option<u64>,
    fraction: Option<f64>,
}

/// How many tasks are in each state.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
pub(crate) struct ByState {
    pending: u64,
    running: u64,
    blocked: u64,
    succeeded: u64,
    failed: u64,
    cancelled: u64,
}

impl ByState {
    pub(crate) fn new(count: impl Fn(inflight::State) -> u64) -> Self {
        use inflight::State;
        Self {
            pending: count(State::Pending),
            running: count(State::Running),
            blocked: count(State::Blocked),
            succeeded: count(State::Succeeded),
            failed: count(State::Failed),
            cancelled: count(State::Cancelled),
        }
    }
}

impl From<inflight::Children> for ChildrenView {
    fn from(children: inflight::Children) -> Self {
        Self {
            count: children.count(),
            live: children.live(),
            by_state: ByState::new(|state| children.in_state(state)),
            done: children.done(),
            total: children.total(),
            fraction: children.fraction(),
        }
    }
}
