//! `POST /v1/tasks`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, Request, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use inflight::{NewTask, TaskId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::{App, Shared};
use crate::auth::{Caller, Scope};
use crate::body;
use crate::front::authority;
use crate::idempotency::{Answer, Fingerprint, Key, fingerprint};
use crate::problem::{Kind, Problem};
use crate::quota::{Charge, Limit};
use crate::remote::{Created, Remote};
use crate::view::TaskView;

const OPERATION_ID: HeaderName = HeaderName::from_static("operation-id");
const OPERATION_LOCATION: HeaderName = HeaderName::from_static("operation-location");

/// The longest claim, in characters.
const MAX_CLAIM: usize = 64;

/// A task to be made.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateTask {
    /// The client's own id, a UUID; the service mints one otherwise.
    #[schema(format = Uuid)]
    task_id: Option<String>,
    /// What sort of work it is.
    #[schema(min_length = 1, max_length = 128, example = "index")]
    kind: String,
    /// `running` starts it at once; `pending` by default.
    #[serde(default)]
    status: InitialState,
    /// A word chosen by the worker that starts the task. It is part of the request, so only the same worker
    /// can repeat the request: another worker with the same id or key gets an error.
    #[schema(min_length = 1, max_length = 64)]
    claim: Option<String>,
    #[serde(default, deserialize_with = "body::object")]
    progress: NewProgress,
    /// What is being done, in a few words.
    status_message: Option<String>,
    /// At most 32 of them.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// The task that this one is part of.
    #[schema(format = Uuid)]
    parent_id: Option<String>,
    /// The task is lost if nothing is heard of its worker for that long.
    #[schema(minimum = 1)]
    #[serde(default, deserialize_with = "body::whole")]
    lease_ms: Option<u64>,
    /// For how long it is kept after its end, instead of what the service is set to.
    #[schema(minimum = 0)]
    #[serde(default, deserialize_with = "body::whole")]
    ttl_ms: Option<u64>,
}

/// How a new task begins.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InitialState {
    #[default]
    Pending,
    Running,
}

/// What is known of the progress to come.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewProgress {
    /// How much there is to do.
    #[schema(minimum = 0, maximum = 1152921504606846975_u64)]
    #[serde(default, deserialize_with = "body::whole")]
    total: Option<u64>,
    /// What it counts.
    #[schema(max_length = 32, example = "pages")]
    unit: Option<String>,
}

/// Creates a task
///
/// Its id can be read before the answer is there. With an id of the client's own (`Operation-Id`, or
/// `taskId`) the same request again gives the same task, with 200; with an `Idempotency-Key` it gives
/// the same answer.
#[utoipa::path(
    post,
    path = "/v1/tasks",
    params(
        ("Operation-Id" = Option<String>, Header, format = Uuid, description = "The client's own id for the task"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = CreateTask),
    responses(
        (status = 202, description = "The new task", body = TaskView, headers(
            ("Location" = String, description = "The task's address"),
            ("Operation-Location" = String, description = "The same"),
            ("ETag" = String, description = "Its version"),
            ("Retry-After" = u64, description = "When it is worth looking, in seconds"),
        )),
        (status = 200, description = "The task that the same request has created before", body = TaskView),
        (status = 409, description = "The id is in use", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
        (status = 422, description = "The key came with another request", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
        (status = 503, description = "The store is full", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
    ),
    tag = "work"
)]
pub(crate) async fn create(
    State(app): State<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    caller.must(Scope::Write)?;
    if app.options.shutdown.has_begun() {
        return Err(Problem::new(Kind::Draining, "no more tasks are taken"));
    }
    let base = base_url(&app, &request);
    let key = Key::of(request.headers(), &caller)?;
    let operation_id = header(request.headers(), &OPERATION_ID)?.map(str::to_owned);
    let mut new: CreateTask = body::required_json(request, &app.options).await?;
    new.take_operation_id(operation_id)?;

    let (answer, is_replayed) = match key {
        None => (app.create(&caller, new)?, false),
        Some(key) => {
            let asked = new.clone();
            app.replays.once(&key, "create", &asked, || app.create(&caller, new))?
        }
    };
    Ok(app.created(&answer, is_replayed, &base))
}

impl CreateTask {
    /// `Operation-Id` is the same as `taskId`; both are well if they agree.
    fn take_operation_id(&mut self, header: Option<String>) -> Result<(), Problem> {
        let Some(header) = header else { return Ok(()) };
        let of_header = parse_uuid("Operation-Id", &header)?;
        let of_body = self.task_id.as_deref().map(|id| parse_uuid("taskId", id)).transpose()?;
        if of_body.is_some_and(|id| id != of_header) {
            return Err(Problem::bad("Operation-Id and taskId are different ids"));
        }
        self.task_id = Some(of_header.to_string());
        Ok(())
    }

    /// Equal for requests that ask for the same, however they are written.
    fn fingerprint(&self) -> Fingerprint {
        fingerprint(&[], "create", self)
    }

    fn own_id(&self) -> Result<Option<TaskId>, Problem> {
        self.task_id.as_deref().map(|id| parse_uuid("taskId", id)).transpose()
    }

    fn into_new_task(self, caller: &Caller, tenant_label: &str) -> Result<NewTask, Problem> {
        if self.kind.is_empty() {
            return Err(Problem::bad("the kind is empty"));
        }
        if let Some(claim) = &self.claim {
            let length = claim.chars().count();
            if !(1..=MAX_CLAIM).contains(&length) {
                let detail = format!("the claim has {length} characters; it has from 1 to {MAX_CLAIM}");
                return Err(Problem::bad(detail));
            }
        }
        let mut new = NewTask::new(self.kind);
        for (label, value) in self.labels {
            if label == tenant_label && caller.tenant().is_some_and(|tenant| **tenant != *value) {
                return Err(Problem::new(Kind::Forbidden, "the token is bound to another tenant"));
            }
            new = new.label(label, value);
        }
        if let Some(tenant) = caller.tenant() {
            new = new.label(tenant_label, &**tenant);
        }
        if let Some(total) = self.progress.total {
            new = new.total(total);
        }
        if let Some(unit) = self.progress.unit {
            new = new.unit(unit);
        }
        if let Some(parent) = self.parent_id {
            new = new.parent(parse_uuid("parentId", &parent)?);
        }
        if let Some(millis) = self.lease_ms {
            new = new.lease(Duration::from_millis(millis));
        }
        if let Some(millis) = self.ttl_ms {
            new = new.ttl(Duration::from_millis(millis));
        }
        Ok(new)
    }
}

impl App {
    /// Creates the task; its id resolves before this returns.
    fn create(&self, caller: &Caller, new: CreateTask) -> Result<Answer, Problem> {
        let own_id = new.own_id()?;
        let own = own_id.map(|id| (id, new.fingerprint()));
        if let Some(parent) = new.parent_id.as_deref() {
            self.check_parent(caller, parse_uuid("parentId", parent)?)?;
        }
        let starts = matches!(new.status, InitialState::Running);
        let message = new.status_message.clone();
        let task = new.into_new_task(caller, &self.options.tenant_label)?;
        let begin = |remote: &Arc<Remote>| -> Result<(), Problem> {
            let mut handle = remote.lock();
            let Some(handle) = handle.as_mut() else { return Ok(()) };
            message.map_or(Ok(()), |message| handle.set_message(message))?;
            if starts { Ok(handle.start()?) } else { Ok(()) }
        };
        let charge = || self.charge_task(caller);
        // What is there already is charged already.
        let is_there = own_id.is_some_and(|id| self.store.get(id).is_some());
        let charged = if is_there { None } else { Some(charge()?) };
        let (code, id) = match (self.remotes.create(&self.store, task, own)?, own_id) {
            (Created::New(remote, id), _) => {
                let charged = charged.map_or_else(charge, Ok);
                let begun = charged.and_then(|charged| begin(&remote).map(|()| charged));
                let charged = begun.inspect_err(|_| self.take_back(&remote, id))?;
                if let Some(charged) = charged {
                    self.remotes.charge(&self.store, id, remote.born(), charged);
                }
                (StatusCode::ACCEPTED, id)
            }
            (Created::Before, Some(id)) => (StatusCode::OK, id),
            (Created::Before, None) => return Err(Problem::new(Kind::Internal, "an id was minted twice")),
        };
        let details = match self.details(caller, id) {
            // Another tenant's: that its create was the same is told no more than that it was another.
            Err(_) if code == StatusCode::OK => return Err(inflight::CreateError::DuplicateId(id).into()),
            found => found?,
        };
        if let Some(tenants) = &self.tenants {
            tenants.note(&details);
        }
        Ok(Answer { code, details: Some(details) })
    }

    /// `None`: tasks are not counted.
    fn charge_task(&self, caller: &Caller) -> Result<Option<Charge>, Problem> {
        let is_counted = self.quotas.limits(caller, Limit::Tasks);
        is_counted.then(|| self.quotas.take(caller, Limit::Tasks, 1)).transpose()
    }

    fn check_parent(&self, caller: &Caller, parent: TaskId) -> Result<(), Problem> {
        if caller.tenant().is_some() && self.details(caller, parent).is_err() {
            return Err(inflight::CreateError::UnknownParent(parent).into());
        }
        Ok(())
    }

    /// A task whose message was refused has never been there.
    fn take_back(&self, remote: &Remote, id: TaskId) {
        if let Some(mut task) = remote.lock().take() {
            let _ = task.cancel();
        }
        if let Ok(status) = self.store.remove(id) {
            self.remotes.gone(id, status.version());
        }
    }

    /// The answer to a create. The address is made anew each time, of how this caller calls the service.
    fn created(&self, answer: &Answer, is_replayed: bool, base: &str) -> Response {
        let mut response = self.written(answer, is_replayed);
        let headers = response.headers_mut();
        if let Some(details) = &answer.details {
            let location = HeaderValue::try_from(format!("{base}/v1/tasks/{}", details.status().id()));
            let location = location.unwrap_or(HeaderValue::from_static("/"));
            headers.insert(OPERATION_LOCATION, location.clone());
            headers.insert(LOCATION, location);
        }
        headers.remove(CACHE_CONTROL);
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        response
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let value = headers.get(name).map(HeaderValue::to_str).transpose();
    value.map_err(|_| Problem::bad(format!("{name} has characters that no such header has")))
}

fn parse_uuid(what: &str, text: &str) -> Result<TaskId, Problem> {
    text.parse().map_err(|error| Problem::bad(format!("{what} is {text:?}: {error}")))
}

/// What the addresses of tasks begin with: as the service is set to, or as the caller called it.
fn base_url(app: &App, request: &Request) -> String {
    if let Some(url) = &app.options.public_url {
        return url.as_str().to_owned();
    }
    let scheme = if request.extensions().get::<crate::serve::Secure>().is_some() { "https" } else { "http" };
    format!("{scheme}://{}{}", authority(request).unwrap_or("localhost"), prefix(request))
}

/// Where the router is nested: what is in front of its own part of the path.
pub(crate) fn prefix(request: &Request) -> &str {
    let original = request.extensions().get::<OriginalUri>().map_or("", |uri| uri.0.path());
    original.strip_suffix(request.uri().path()).unwrap_or_default()
}
