//! What can go wrong with a request: one opaque error, with predicates for what a caller decides on.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use http::StatusCode;
use inflight::GoneReason;
use serde::Deserialize;

use crate::details::Details;

/// A request that did not succeed.
///
/// The predicates say what to do about it; [`problem`](Error::problem) has what the server said, and
/// [`current`](Error::current) the task as it is, where the server sent it along.
///
/// ```
/// # async fn doc(client: inflight_client::Client, id: inflight_client::TaskId) {
/// match client.cancel(id).await {
///     Ok(task) => println!("asked; the task is {}", task.state),
///     Err(error) if error.is_conflict() => println!("too late: {error}"),
///     Err(error) if error.is_gone() || error.is_unknown() => println!("no such task"),
///     Err(error) => eprintln!("{error}"),
/// }
/// # }
/// ```
pub struct Error(Box<Kind>);

enum Kind {
    /// No answer: the connection, or the client's own deadline.
    Connect(Box<dyn StdError + Send + Sync>),
    Broken(Box<dyn StdError + Send + Sync>),
    TimedOut(Duration),
    /// What was given cannot be sent.
    Unfit(String),
    /// A result or an error is not what the caller reads it as.
    Unreadable(String),
    /// The worker has no thread to report from.
    NoThread(std::io::Error),
    /// An answer that is not what the service says.
    TooLarge {
        what: &'static str,
        limit: usize,
    },
    Malformed(String),
    /// An answer that says no.
    Refused {
        status: StatusCode,
        problem: Problem,
        retry_after: Option<Duration>,
    },
    /// The worker is not to go on: see [`Standing`](crate::Standing).
    Fenced(Option<Details>),
}

/// The body of an answer that says no: RFC 9457.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[non_exhaustive]
pub struct Problem {
    /// The kind of problem: a URI, or `about:blank`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What kind it is, in words.
    pub title: Option<String>,
    /// What is wrong here, in words.
    pub detail: Option<String>,
    /// Which request it was.
    pub instance: Option<String>,
    /// The task as it is, where that helps.
    #[serde(alias = "current")]
    pub current_status: Option<Details>,
    /// Of a task that is gone: why, where it is still known.
    #[serde(alias = "goneReason")]
    pub reason: Option<String>,
}

impl Error {
    pub(crate) fn connect(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Kind::Connect(source.into())))
    }

    pub(crate) fn broken(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(Kind::Broken(source.into())))
    }

    pub(crate) fn timed_out(after: Duration) -> Self {
        Self(Box::new(Kind::TimedOut(after)))
    }

    pub(crate) fn too_large(what: &'static str, limit: usize) -> Self {
        Self(Box::new(Kind::TooLarge { what, limit }))
    }

    pub(crate) fn malformed(why: impl Into<String>) -> Self {
        Self(Box::new(Kind::Malformed(why.into())))
    }

    pub(crate) fn unfit(why: impl Into<String>) -> Self {
        Self(Box::new(Kind::Unfit(why.into())))
    }

    pub(crate) fn unreadable(why: impl Into<String>) -> Self {
        Self(Box::new(Kind::Unreadable(why.into())))
    }

    pub(crate) fn no_thread(source: std::io::Error) -> Self {
        Self(Box::new(Kind::NoThread(source)))
    }

    pub(crate) fn refused(status: StatusCode, problem: Problem, retry_after: Option<Duration>) -> Self {
        Self(Box::new(Kind::Refused { status, problem, retry_after }))
    }

    pub(crate) fn fenced(current: Option<Details>) -> Self {
        Self(Box::new(Kind::Fenced(current)))
    }

    /// The status code of the answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.code().map(|code| code.as_u16())
    }

    fn code(&self) -> Option<StatusCode> {
        match &*self.0 {
            Kind::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// What the server said, if it said no.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match &*self.0 {
            Kind::Refused { problem, .. } => Some(problem),
            _ => None,
        }
    }

    /// The task as it is, if the server sent it along: with a conflict or a failed precondition.
    #[must_use]
    pub fn current(&self) -> Option<&Details> {
        match &*self.0 {
            Kind::Refused { problem, .. } => problem.current_status.as_ref(),
            Kind::Fenced(current) => current.as_ref(),
            _ => None,
        }
    }

    /// How long the server asks to wait before the next try.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match &*self.0 {
            Kind::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// No connection could be made: the server is not there, or not yet.
    #[must_use]
    pub fn is_connect(&self) -> bool {
        matches!(&*self.0, Kind::Connect(_))
    }

    /// No answer in time. The request may have been carried out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(&*self.0, Kind::TimedOut(_))
    }

    /// 404: there was never such a task, or it is not the caller's.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.code() == Some(StatusCode::NOT_FOUND)
    }

    /// 410: the task was there, and is not any more. See [`gone_reason`](Error::gone_reason).
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.code() == Some(StatusCode::GONE)
    }

    /// Why a task is gone, where it is still known.
    #[must_use]
    pub fn gone_reason(&self) -> Option<GoneReason> {
        gone_reason(self.problem()?.reason.as_deref()?)
    }

    /// 409: the table of transitions does not have this one, the task has ended, or an id is taken.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(StatusCode::CONFLICT)
    }

    /// 412: the task is not at the version that the request named.
    #[must_use]
    pub fn is_precondition_failed(&self) -> bool {
        self.code() == Some(StatusCode::PRECONDITION_FAILED)
    }

    /// 401: a token is needed, or this one is not known.
    #[must_use]
    pub fn is_unauthorized(&self) -> bool {
        self.code() == Some(StatusCode::UNAUTHORIZED)
    }

    /// 403: the token has not the scope.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(StatusCode::FORBIDDEN)
    }

    /// The service cannot now, but may soon: 429, 502, 503, 504, no connection, a broken one, or no answer
    /// in time.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &*self.0 {
            Kind::Connect(_) | Kind::Broken(_) | Kind::TimedOut(_) => true,
            Kind::Refused { status, .. } => is_transient(*status),
            _ => false,
        }
    }

    /// Over a size limit: a request over that of the service (413), or an answer over that of this client
    /// ([`max_body`](crate::ClientBuilder::max_body), [`max_event`](crate::ClientBuilder::max_event)).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(&*self.0, Kind::TooLarge { .. }) || self.code() == Some(StatusCode::PAYLOAD_TOO_LARGE)
    }

    /// Whether the request may have been carried out in spite of this error.
    pub(crate) fn leaves_unsure(&self) -> bool {
        match &*self.0 {
            Kind::Broken(_) | Kind::TimedOut(_) | Kind::TooLarge { .. } | Kind::Malformed(_) => true,
            Kind::Refused { status, .. } => status.is_server_error(),
            Kind::Connect(_) | Kind::Unfit(_) | Kind::Unreadable(_) | Kind::NoThread(_) | Kind::Fenced(_) => {
                false
            }
        }
    }

    /// The worker is not to go on: its task has ended without it, or belongs to another one now.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(&*self.0, Kind::Fenced(_))
    }
}

pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

pub(crate) fn gone_reason(text: &str) -> Option<GoneReason> {
    [GoneReason::Expired, GoneReason::Evicted, GoneReason::Removed]
        .into_iter()
        .find(|reason| reason.to_string() == text)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Connect(source) => write!(f, "the service cannot be reached: {source}"),
            Kind::Broken(source) => write!(f, "the connection broke: {source}"),
            Kind::TimedOut(after) => write!(f, "no answer within {after:?}"),
            Kind::Unfit(why) => write!(f, "what was given cannot be sent: {why}"),
            Kind::Unreadable(why) => write!(f, "the payload cannot be read so: {why}"),
            Kind::NoThread(source) => {
                write!(f, "no thread for the worker's reports can be started: {source}")
            }
            Kind::TooLarge { what, limit } => write!(f, "{what} has more than {limit} bytes"),
            Kind::Malformed(why) => write!(f, "the answer is not one of the service's: {why}"),
            Kind::Refused { status, problem, .. } => {
                let said = problem.detail.as_deref().or(problem.title.as_deref());
                write!(f, "{}: {}", status.as_u16(), said.or(status.canonical_reason()).unwrap_or("refused"))
            }
            Kind::Fenced(Some(task)) => {
                write!(f, "this worker no longer holds the task, which is {}", task.state)
            }
            Kind::Fenced(None) => f.write_str("this worker no longer holds the task"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.0 {
            Kind::Connect(source) | Kind::Broken(source) => Some(&**source),
            Kind::NoThread(source) => Some(source),
            _ => None,
        }
    }
}
