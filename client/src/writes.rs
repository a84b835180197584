//! The bodies of writes.

use inflight::{FailureReason, State};
use serde::Serialize;

use crate::details::Details;
use crate::json::Json;

/// What changes a task that goes on; left out is unchanged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Patch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status_message: Option<String>,
    #[serde(skip_serializing_if = "PatchProgress::is_empty")]
    pub(crate) progress: PatchProgress,
    /// The attempt that this is about: a write of an earlier one's worker is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PatchProgress {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) done: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
}

impl PatchProgress {
    fn is_empty(&self) -> bool {
        self.done.is_none() && self.total.is_none()
    }
}

/// The body of a verb; left out is what the verb has by itself.
#[derive(Debug, Default, Serialize)]
pub(crate) struct VerbBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt: Option<u32>,
}

/// How a task is to end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ending {
    Succeeded(Option<Json>),
    Failed(FailureReason, Option<Json>),
    Cancelled,
}

impl Ending {
    pub(crate) fn verb(&self) -> &'static str {
        match self {
            Ending::Succeeded(_) => "succeed",
            Ending::Failed(..) => "fail",
            Ending::Cancelled => "cancel",
        }
    }

    pub(crate) fn body(&self) -> VerbBody<'_> {
        match self {
            Ending::Succeeded(result) => VerbBody { result: result.as_ref(), ..VerbBody::default() },
            Ending::Failed(reason, error) => {
                VerbBody { reason: Some(reason.as_str()), error: error.as_ref(), ..VerbBody::default() }
            }
            Ending::Cancelled => VerbBody { confirm: Some(true), ..VerbBody::default() },
        }
    }

    /// Whether `task` ended as this asked for.
    pub(crate) fn made(&self, task: &Details) -> bool {
        match self {
            Ending::Succeeded(result) => task.state == State::Succeeded && task.result == *result,
            Ending::Failed(reason, error) => {
                task.state == State::Failed && task.failure_reason == Some(*reason) && task.error == *error
            }
            Ending::Cancelled => task.state == State::Cancelled,
        }
    }
}
