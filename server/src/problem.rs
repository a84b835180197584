//! Errors as callers see them: problem details (RFC 9457).
//!
//! A handler returns a [`Problem`]; the front (`front.rs`) renders it, because only there the path and
//! the request's id are known.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use inflight::{Absent, ChangeError, CreateError, FinishError, ListError, ProgressError};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::quota::Limit;

/// What kind of problem it is. The slug ends the `type` URN, `urn:inflight:problem:<slug>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    Unauthenticated,
    Forbidden,
    NoRoute,
    NoPayload,
    Unknown,
    MethodNotAllowed,
    BodyTimeout,
    Conflict,
    NoParent,
    Refused,
    InProcess,
    Gone,
    Stale,
    TooLarge,
    MediaType,
    Misdirected,
    KeyReused,
    Full,
    /// A caller uses as much as one may.
    OverQuota(Limit),
    /// All together use as much as they may.
    OverLimit(Limit),
    Draining,
    Unhealthy,
    Connections,
    Internal,
}

impl Kind {
    fn describe(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request is not valid"),
            Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated", "A token is needed"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "The token does not allow this"),
            Kind::NoRoute => (StatusCode::NOT_FOUND, "no-route", "There is nothing at this address"),
            Kind::NoPayload => (StatusCode::NOT_FOUND, "no-payload", "The task has no such result or error"),
            Kind::Unknown => (StatusCode::NOT_FOUND, "unknown-task", "There is no such task"),
            Kind::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The method does not fit the address")
            }
            Kind::BodyTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body did not arrive in time")
            }
            Kind::Conflict => (StatusCode::CONFLICT, "conflict", "The id or key is in use"),
            Kind::NoParent => (StatusCode::CONFLICT, "unknown-parent", "The parent is not there"),
            Kind::Refused => (StatusCode::CONFLICT, "refused", "The task's state does not allow this"),
            Kind::InProcess => {
                (StatusCode::CONFLICT, "worker-in-process", "The task's worker is inside the service")
            }
            Kind::Gone => (StatusCode::GONE, "gone", "The task is gone"),
            Kind::Stale => {
                (StatusCode::PRECONDITION_FAILED, "stale", "The task has changed since that version")
            }
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large"),
            Kind::MediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "The body is not of a type that is read")
            }
            Kind::Misdirected => {
                (StatusCode::MISDIRECTED_REQUEST, "misdirected", "The service is not known by this name")
            }
            Kind::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The key came with another request before",
            ),
            Kind::Full => (StatusCode::SERVICE_UNAVAILABLE, "full", "The store is full"),
            Kind::OverQuota(what) => {
                (StatusCode::TOO_MANY_REQUESTS, what.quota_slug(), "The caller's quota is used up")
            }
            Kind::OverLimit(what) => {
                (StatusCode::SERVICE_UNAVAILABLE, what.limit_slug(), "The service is at a limit of its own")
            }
            Kind::Draining => {
                (StatusCode::SERVICE_UNAVAILABLE, "shutting-down", "The service is shutting down")
            }
            Kind::Unhealthy => (StatusCode::SERVICE_UNAVAILABLE, "unhealthy", "The service is not in order"),
            Kind::Connections => (StatusCode::SERVICE_UNAVAILABLE, "connections", "The service is busy"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The service has failed"),
        }
    }
}

/// An error on its way to the caller.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    current: Option<Box<RawValue>>,
    gone_reason: Option<&'static str>,
    retry_after: Option<Duration>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let retry_after = matches!(kind, Kind::Full | Kind::Draining | Kind::Connections | Kind::BodyTimeout)
            .then_some(Duration::from_secs(1));
        let header = match kind {
            Kind::Unauthenticated => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"inflight\"")))
            }
            // What is left of the body would be taken for the next request.
            Kind::BodyTimeout | Kind::OverQuota(Limit::Connections) => {
                Some((CONNECTION, HeaderValue::from_static("close")))
            }
            _ => None,
        };
        let detail = detail.into();
        Self(Box::new(Parts { kind, detail, current: None, gone_reason: None, retry_after, header }))
    }

    pub(crate) fn bad(detail: impl Into<String>) -> Self {
        Self::new(Kind::BadRequest, detail)
    }

    /// With the task as it is now.
    pub(crate) fn with_current(mut self, current: Option<Box<RawValue>>) -> Self {
        self.0.current = current;
        self
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.header = Some((name, value));
        self
    }

    pub(crate) fn with_retry_after(mut self, span: Duration) -> Self {
        self.0.retry_after = Some(span);
        self
    }

    /// What else is worth knowing, if it is of this kind.
    pub(crate) fn with_hint(mut self, kind: Kind, hint: &str) -> Self {
        if self.0.kind == kind {
            self.0.detail.push_str(hint);
        }
        self
    }

    /// A problem with a token that came, as opposed to one that did not (RFC 6750 §3.1).
    pub(crate) fn of_token_sent(mut self) -> Self {
        let challenge = match self.0.kind {
            Kind::Unauthenticated => "Bearer realm=\"inflight\", error=\"invalid_token\"",
            _ => return self,
        };
        self.0.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        self
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.kind.describe().0
    }

    /// What ends the `type` URN.
    pub(crate) fn slug(&self) -> &'static str {
        self.0.kind.describe().1
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The answer, once it is known what it is an answer to.
    pub(crate) fn render(self, instance: &str, request_id: &str) -> Response {
        let (status, slug, title) = self.0.kind.describe();
        let details = ProblemDetails {
            problem_type: format!("urn:inflight:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.0.detail,
            instance,
            request_id,
            gone_reason: self.0.gone_reason,
            current_status: self.0.current.as_deref(),
        };
        let body = serde_json::to_vec(&details).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(span) = self.0.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(span.as_secs().max(1)));
        }
        if let Some((name, value)) = self.0.header {
            headers.insert(name, value);
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        response.extensions_mut().insert(self);
        response
    }
}

/// Problem details (RFC 9457), as every error is answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails<'a> {
    /// `urn:inflight:problem:` and what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "urn:inflight:problem:gone")]
    problem_type: String,
    /// The kind of problem, in words.
    title: &'static str,
    /// The status code of the answer.
    status: u16,
    /// What is wrong with this request: the value, and the limit or the state that was found.
    detail: &'a str,
    /// The path that was asked for.
    instance: &'a str,
    /// The request's id, as in the `X-Request-Id` header and the log.
    request_id: &'a str,
    /// Why a task is gone, where that is still known: `expired`, `evicted` or `removed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    gone_reason: Option<&'static str>,
    /// The task as it is, where a write was refused because of that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<crate::view::TaskView>)]
    current_status: Option<&'a RawValue>,
}

impl From<Absent> for Problem {
    fn from(absent: Absent) -> Self {
        match absent {
            Absent::Unknown => Self::new(Kind::Unknown, absent.to_string()),
            Absent::Gone(reason) => {
                let mut problem = Self::new(Kind::Gone, absent.to_string());
                problem.0.gone_reason = reason.map(|reason| reason.as_str());
                problem
            }
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Self {
        let kind = match &error {
            CreateError::Full { .. } => Kind::Full,
            CreateError::DuplicateId(_) => Kind::Conflict,
            CreateError::UnknownParent(_) => Kind::NoParent,
            CreateError::ParentEnded(_) => Kind::Refused,
            _ => Kind::BadRequest,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let kind = match error {
            ChangeError::TooLarge(_) | ChangeError::TotalTooLarge { .. } => Kind::BadRequest,
            ChangeError::Gone => Kind::Gone,
            _ => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ProgressError> for Problem {
    fn from(error: ProgressError) -> Self {
        let kind = match error {
            ProgressError::Overflow { .. } => Kind::BadRequest,
            _ => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<FinishError> for Problem {
    fn from(error: FinishError) -> Self {
        let kind = match error {
            FinishError::TooLarge { .. } => Kind::TooLarge,
            FinishError::Gone => Kind::Gone,
            _ => Kind::Refused,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        Self::bad(error.to_string())
    }
}
