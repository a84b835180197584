//! `GET /v1/tasks/{id}`: the poll, and the wait. Also a task's children, and its result as it is.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use inflight::{Absent, Status, TaskId};

use crate::app::{App, Shared, etag, json, parse_id};
use crate::auth::{Caller, Scope};
use crate::conditions::{self, PREFERENCE_APPLIED, Tags};
use crate::pieces::Pieces;
use crate::problem::{Kind, Problem};
use crate::view::ChildrenView;

/// Reads a task, and waits for it
///
/// 200 whatever its state. With `If-None-Match` 304 if nothing has changed. `Prefer: wait=10` waits for
/// up to 10 seconds: with `If-None-Match` for a change, alone for the end; the answer may come early.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-None-Match" = Option<String>, Header, pattern = r#"^(\*|(W/)?"[!#-~]+"(, ?(W/)?"[!#-~]+")*)$"#, description = "The version that is known already"),
        ("Prefer" = Option<String>, Header, description = "wait= and a number of seconds"),
    ),
    responses(
        (status = 200, description = "The task", body = crate::view::TaskView, headers(
            ("ETag" = String, description = "Its version"),
            ("Retry-After" = Option<u64>, description = "Until it has ended: when to ask again, in seconds"),
            ("Preference-Applied" = Option<String>, description = "For how long it would have been waited"),
        )),
        (status = 304, description = "It has the version that is known"),
        (status = 404, description = "No task has had this id", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
        (status = 410, description = "The task is gone, and where still known, why", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
    ),
    tag = "read"
)]
pub(crate) async fn read(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    caller.must(Scope::Read)?;
    let id = parse_id(&id)?;
    // Not as an extractor, which would copy them all.
    let headers = request.headers();
    let seen = Tags::if_none_match(headers)?;
    let mut applied = None;
    if let Some(asked) = conditions::wait(headers) {
        let span = asked.min(app.options.wait_limit);
        app.wait(&caller, id, seen.as_ref(), span).await?;
        applied = Some(span);
    }
    let mut response = app.poll(&caller, id, seen.as_ref())?;
    if let Some(span) = applied {
        let value = HeaderValue::try_from(format!("wait={}", span.as_secs()));
        response.headers_mut().extend(value.ok().map(|value| (PREFERENCE_APPLIED, value)));
    }
    Ok(response)
}

impl App {
    /// What there is to see now; 304 if the caller has seen it.
    fn poll(&self, caller: &Caller, id: TaskId, seen: Option<&Tags>) -> Result<Response, Problem> {
        // The hot line alone tells whether there is anything new, and whether a body is ready for it; so
        // such a poll does not touch the cold record.
        let status = self.status(caller, id)?;
        if let Some(seen) = seen
            && seen.match_weakly(status.version())
        {
            // The one tag that was sent is the one to answer with, and need not be put together again.
            let tag = if let Tags::One(tag) = seen { tag.clone() } else { etag(status.version()) };
            return Ok(self.not_modified(&status, tag));
        }
        // A tenant's own tasks are told by the record.
        if caller.tenant().is_none()
            && let Some(ready) = self.shelf.take(id, status.version())
        {
            return Ok(self.answer_ready(StatusCode::OK, &status, ready));
        }
        let details = self.details(caller, id)?;
        let Some(ready) = self.ready(&details) else { return Ok(self.answer(StatusCode::OK, &details)) };
        self.shelf.put(ready.clone());
        Ok(self.answer_ready(StatusCode::OK, &details.status(), ready))
    }

    fn not_modified(&self, status: &Status, etag: HeaderValue) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        self.put_validators(&mut response, status, etag);
        response
    }

    /// Waits for a version that the caller has not seen, or, if it does not say what it has seen, for
    /// the end. It may be over early: when the time is up, or the service comes to its end.
    async fn wait(
        &self,
        caller: &Caller,
        id: TaskId,
        seen: Option<&Tags>,
        span: Duration,
    ) -> Result<(), Problem> {
        let status = self.status(caller, id)?;
        if status.is_terminal() || seen.is_some_and(|seen| !seen.match_weakly(status.version())) {
            return Ok(());
        }
        let _out = self.gate.step_out();
        let change = async {
            match seen {
                Some(_) => self.store.changed_since(id, status.version()).await,
                None => self.store.wait(id).await,
            }
        };
        tokio::select! {
            changed = change => self.waited(caller, id, changed),
            () = tokio::time::sleep(span) => Ok(()),
            () = self.options.shutdown.begun() => Ok(()),
        }
    }

    fn waited(&self, caller: &Caller, id: TaskId, changed: Result<Status, Absent>) -> Result<(), Problem> {
        changed.map(|_| ()).map_err(|absent| self.absent(caller, id, absent).into())
    }
}

/// What a task's children add up to
///
/// Kept as they change, so it costs the same for any number of children.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/children",
    params(("id" = String, Path, format = Uuid, description = "The task's id")),
    responses((status = 200, description = "The sums", body = ChildrenView)),
    tag = "read"
)]
pub(crate) async fn children(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.must(Scope::Read)?;
    let id = parse_id(&id)?;
    let _ = app.status(&caller, id)?;
    let children = app.store.children(id).map_err(|absent| app.absent(&caller, id, absent))?;
    json(&ChildrenView::from(children))
}

/// The result or error, as it is.
pub(crate) async fn payload(
    State(app): State<Shared>,
    caller: Caller,
    Path((id, part)): Path<(String, String)>,
) -> Result<Response, Problem> {
    caller.must(Scope::Read)?;
    let details = app.details(&caller, parse_id(&id)?)?;
    let payload = match part.as_str() {
        "result" => details.result(),
        "error" => details.error(),
        _ => return Err(Problem::new(Kind::NoRoute, format!("a task has no {part:?}"))),
    };
    let state = details.status().state();
    let payload =
        payload.ok_or_else(|| Problem::new(Kind::NoPayload, format!("the {state} task has no {part}")))?;
    let mut response = Response::new(Pieces::payload(payload).into_body());
    let media_type = HeaderValue::try_from(payload.media_type());
    let headers = response.headers_mut();
    let unknown = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, media_type.unwrap_or(unknown));
    // It may be anything, from anyone: no browser is to take it for a page of this service.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Takes a task that has ended out of the store
///
/// Before its time. 409 if it has not ended.
#[utoipa::path(
    delete,
    path = "/v1/tasks/{id}",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
    ),
    responses((status = 200, description = "The task, as it was", body = crate::view::TaskView)),
    tag = "work"
)]
pub(crate) async fn remove(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.must(Scope::Write)?;
    let id = parse_id(&id)?;
    // The handle's lock orders this among the writes, where there are any.
    let remote = app.remotes.find(id);
    let handle = remote.as_ref().map(|remote| remote.lock());
    let details = app.details(&caller, id)?;
    let version = details.status().version();
    if Tags::if_match(&headers)?.is_some_and(|tags| !tags.match_strongly(version)) {
        let problem = Problem::new(Kind::Stale, format!("the task's version is {version}"));
        return Err(app.refused(&caller, problem, id));
    }
    let removed = app.store.remove(id);
    drop(handle);
    match removed {
        Ok(status) => {
            app.remotes.gone(id, status.version());
            Ok(app.answer(StatusCode::OK, &details))
        }
        Err(inflight::RemoveError::Absent(absent)) => Err(app.absent(&caller, id, absent).into()),
        Err(error) => {
            let problem = Problem::new(Kind::Refused, error.to_string());
            Err(match error {
                inflight::RemoveError::Live(status) => app.refused_at(problem, &details, &status),
                _ => app.refused(&caller, problem, id),
            })
        }
    }
}
