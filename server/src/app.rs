//! What all requests share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use inflight::{Absent, Details, Filter, Page, Status, Store, TaskId, Version};
use tokio::sync::Semaphore;

use crate::access::Access;
use crate::auth::Caller;
use crate::hub::Hub;
use crate::idempotency::{Answer, REPLAYED, Replays};
use crate::meters::Meters;
use crate::options::Options;
use crate::pacing::Pace;
use crate::pieces::{Pieces, SMALL};
use crate::problem::{Kind, Problem};
use crate::quota::Quotas;
use crate::remote::Remotes;
use crate::shelf::{Ready, Shelf};
use crate::tenants::Tenants;
use crate::view::{Extent, TaskView};

pub(crate) type Shared = Arc<App>;

/// The store, and what the service keeps beside it.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) access: Access,
    pub(crate) quotas: Quotas,
    pub(crate) pace: Pace,
    pub(crate) remotes: Remotes,
    pub(crate) hub: Hub,
    pub(crate) replays: Replays,
    /// Whose tasks they are; only kept where a caller may be bound to one.
    pub(crate) tenants: Option<Tenants>,
    pub(crate) gate: Gate,
    pub(crate) meters: Meters,
    pub(crate) shelf: Shelf,
    /// How many looks at many tasks there may be at a time.
    walks: Arc<Semaphore>,
}

impl App {
    pub(crate) fn new(store: Store, access: Access, options: Options) -> Shared {
        let options = options.within_ranges();
        let (least, most) = options.poll_interval;
        let tenants = access.may_have_tenants();
        Arc::new(Self {
            store,
            pace: Pace { least, most: most.max(least) },
            remotes: Remotes::default(),
            hub: Hub::new(options.event_log),
            replays: Replays::new(options.idempotency_bytes, options.idempotency_ttl),
            tenants: tenants.then(|| Tenants::new(options.tenant_label.clone())),
            gate: Gate::default(),
            meters: Meters::new(),
            shelf: Shelf::new(),
            walks: Arc::new(Semaphore::new(walks())),
            quotas: Quotas::new(options.quota, options.total),
            options,
            access,
        })
    }

    // ---- finding, as far as the caller may see -------------------------------------------------------

    /// The status of a task.
    pub(crate) fn status(&self, caller: &Caller, id: TaskId) -> Result<Status, Problem> {
        if caller.tenant().is_some() {
            return self.details(caller, id).map(|details| details.status());
        }
        self.store.lookup(id).map_err(Problem::from)
    }

    /// The whole of a task.
    pub(crate) fn details(&self, caller: &Caller, id: TaskId) -> Result<Details, Problem> {
        match self.store.details(id) {
            Ok(details) if self.may_see(caller, &details) => Ok(details),
            // Another tenant's task is as if it were not there.
            Ok(_) => Err(Absent::Unknown.into()),
            Err(absent) => Err(self.absent(caller, id, absent).into()),
        }
    }

    pub(crate) fn may_see(&self, caller: &Caller, details: &Details) -> bool {
        caller.tenant().is_none_or(|tenant| details.label(&self.options.tenant_label) == Some(tenant))
    }

    /// What the caller is told of a task that is not there.
    pub(crate) fn absent(&self, caller: &Caller, id: TaskId, absent: Absent) -> Absent {
        match (caller.tenant(), &self.tenants) {
            (None, _) => absent,
            (Some(tenant), Some(tenants)) if tenants.was_of(id, tenant) => absent,
            (Some(_), _) => Absent::Unknown,
        }
    }

    // ---- answers -------------------------------------------------------------------------------------

    /// A task, as it is the answer to most requests.
    pub(crate) fn answer(&self, code: StatusCode, details: &Details) -> Response {
        let mut pieces = Pieces::default();
        pieces.task(details, self.pace, Extent::Full);
        let status = details.status();
        self.answer_with(code, &status, pieces.into_body(), etag(status.version()))
    }

    /// A page of a list. It may look at a great many tasks, so it does not hold up those who answer requests,
    /// and there are never more such looks at a time than leave a core for them.
    pub(crate) async fn walk(&self, filter: Filter) -> Result<Page, Problem> {
        let failed = |error: String| Problem::new(Kind::Internal, error);
        let walks = Arc::clone(&self.walks).acquire_owned().await;
        let permit = walks.map_err(|error| failed(error.to_string()))?;
        let store = self.store.clone();
        let walked = tokio::task::spawn_blocking(move || {
            let page = store.list(&filter);
            drop(permit);
            page
        });
        Ok(walked.await.map_err(|error| failed(error.to_string()))??)
    }

    /// What a write is answered with: the task after it.
    pub(crate) fn written(&self, answer: &Answer, is_replayed: bool) -> Response {
        let mut response = match &answer.details {
            Some(details) => self.answer(answer.code, details),
            None => Response::default(),
        };
        *response.status_mut() = answer.code;
        if is_replayed {
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }

    /// A task's body and ETag, to be kept; `None` of a task with a large result or error.
    pub(crate) fn ready(&self, details: &Details) -> Option<Ready> {
        if details.result().or(details.error()).is_some_and(|payload| payload.bytes().len() > SMALL) {
            return None;
        }
        let (id, version) = (details.status().id(), details.status().version());
        let body = TaskView::new(details, self.pace, Extent::Full).render().into();
        Some(Ready { id, version, body, etag: etag(version) })
    }

    /// A task whose body is ready.
    pub(crate) fn answer_ready(&self, code: StatusCode, status: &Status, ready: Ready) -> Response {
        self.answer_with(code, status, Body::from(ready.body), ready.etag)
    }

    fn answer_with(&self, code: StatusCode, status: &Status, body: Body, etag: HeaderValue) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = code;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self.put_validators(&mut response, status, etag);
        response
    }

    /// The ETag, and when to ask again.
    pub(crate) fn put_validators(&self, response: &mut Response, status: &Status, etag: HeaderValue) {
        let headers = response.headers_mut();
        headers.insert(ETAG, etag);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Some(interval) = self.pace.interval(status) {
            let seconds = self.pace.retry_after(interval, self.gate.load(self.options.busy_at));
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
    }

    /// A problem, with the task as it is now, if it is one that the caller may see: the id may be another's
    /// by now.
    pub(crate) fn refused(&self, caller: &Caller, problem: Problem, id: TaskId) -> Problem {
        let details = self.details(caller, id).ok();
        let current = details.and_then(|details| TaskView::new(&details, self.pace, Extent::Basic).raw());
        problem.with_current(current)
    }

    /// A problem, with the task as it was when it was refused: looked at again, it might show a state that
    /// would not have been refused.
    pub(crate) fn refused_at(&self, problem: Problem, details: &Details, status: &Status) -> Problem {
        problem.with_current(TaskView::at(details, status, self.pace, Extent::Basic).raw())
    }
}

fn walks() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1))
}

pub(crate) fn etag(version: Version) -> HeaderValue {
    // A version prints as hexadecimal digits and hyphens.
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Any JSON as the answer.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    /// The front has put it there, but for an open service.
    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Self, Problem> {
        match (parts.extensions.get::<Self>(), app.access.is_open()) {
            (Some(caller), _) => Ok(caller.clone()),
            (None, true) => Ok(Self::ANYONE),
            (None, false) => Err(Problem::new(Kind::Unauthenticated, "the request was not identified")),
        }
    }
}

/// What can be done to a task beside changing it.
pub(crate) const VERBS: [&str; 5] = ["succeed", "fail", "cancel", "retry", "heartbeat"];

/// The id in a path.
pub(crate) fn parse_id(text: &str) -> Result<TaskId, Problem> {
    // A UUID in braces or as a URN is one, too, but not an address of anything here.
    if text.split_once(':').is_some_and(|(_, verb)| VERBS.contains(&verb)) {
        let problem = Problem::new(Kind::MethodNotAllowed, "a verb is posted");
        return Err(problem.with_header(ALLOW, HeaderValue::from_static("POST")));
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let id = text.parse().ok().filter(|_| plain);
    id.ok_or_else(|| Problem::new(Kind::Unknown, format!("{text:?} is not a task id, which is a UUID")))
}

/// How many requests are under way.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicUsize);

impl Gate {
    pub(crate) fn enter(&self) {
        // Relaxed, all of them: a figure that callers are paced by, and no more.
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn inside(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// For a request that waits and does nothing: it is out until this is dropped.
    pub(crate) fn step_out(&self) -> SteppedOut<'_> {
        self.leave();
        SteppedOut(self)
    }

    fn load(&self, busy_at: usize) -> f64 {
        self.inside() as f64 / busy_at.max(1) as f64
    }
}

pub(crate) struct SteppedOut<'a>(&'a Gate);

impl Drop for SteppedOut<'_> {
    fn drop(&mut self) {
        self.0.enter();
    }
}
