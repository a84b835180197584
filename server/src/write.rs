//! Writes to a task: `PATCH`, and the verbs that are posted.
//!
//! The service holds the handle of each task that was created over HTTP. Its lock orders the writes of
//! all requests, so what is checked first (the version, the attempt, the state) still holds when the
//! write is made. Two things can come in between, and both are the store's: a lease that runs out, after
//! which the write is refused, and a request to cancel from inside the process, which no write undoes.

use std::sync::Arc;

use axum::extract::{Path, Request, State as Extracted};
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use inflight::{
    CancelError, Details, FailureReason, Finish, FinishError, MAX_COUNT, Payload, State, Status, Task, TaskId,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::app::{App, Shared, VERBS, parse_id};
use crate::auth::{Caller, Scope};
use crate::body;
use crate::conditions::Tags;
use crate::idempotency::{Answer, Key};
use crate::problem::{Kind, Problem};
use crate::remote::Remote;

/// A change of a task. All of it is made, or nothing.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PatchTask {
    /// `running` starts a pending task and goes on with a blocked one; `blocked` waits for something
    /// outside.
    status: Option<PatchState>,
    #[serde(default, deserialize_with = "body::maybe_object")]
    progress: Option<PatchProgress>,
    /// What is being done, in a few words. `null` in a merge patch takes back what was said.
    #[schema(value_type = Option<String>)]
    #[serde(default, deserialize_with = "body::present")]
    status_message: Option<Option<String>>,
    /// The attempt that this is about; refused if the task is in another. With it, a start that has been made
    /// already is not refused.
    #[serde(default, deserialize_with = "body::whole")]
    attempt: Option<u32>,
}

/// The states that a patch leads to. The others have verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PatchState {
    Running,
    Blocked,
}

/// New progress: `done` or `advance`, not both.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PatchProgress {
    /// How much is done; not less than before.
    #[schema(minimum = 0, maximum = 1152921504606846975_u64)]
    #[serde(default, deserialize_with = "body::whole")]
    done: Option<u64>,
    /// How much more is done.
    #[schema(minimum = 0, maximum = 1152921504606846975_u64)]
    #[serde(default, deserialize_with = "body::whole")]
    advance: Option<u64>,
    /// How much there is to do.
    #[schema(minimum = 0, maximum = 1152921504606846975_u64)]
    #[serde(default, deserialize_with = "body::whole")]
    total: Option<u64>,
}

/// How a task succeeds.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Succeed {
    /// Any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    result: Option<Box<RawValue>>,
    /// The attempt that this is about; refused if the task is in another.
    #[serde(default, deserialize_with = "body::whole")]
    attempt: Option<u32>,
}

/// How a task fails.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Fail {
    /// Any JSON.
    #[schema(value_type = Option<serde_json::Value>)]
    error: Option<Box<RawValue>>,
    #[serde(default)]
    reason: ReasonName,
    /// The attempt that this is about; refused if the task is in another.
    #[serde(default, deserialize_with = "body::whole")]
    attempt: Option<u32>,
}

/// What kind of failure it was.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ReasonName {
    #[default]
    Error,
    Panicked,
    Lost,
    TimedOut,
    Rejected,
}

impl From<ReasonName> for FailureReason {
    fn from(name: ReasonName) -> Self {
        match name {
            ReasonName::Error => FailureReason::Error,
            ReasonName::Panicked => FailureReason::Panicked,
            ReasonName::Lost => FailureReason::Lost,
            ReasonName::TimedOut => FailureReason::TimedOut,
            ReasonName::Rejected => FailureReason::Rejected,
        }
    }
}

/// A request to cancel, or the worker's consent.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cancel {
    /// The worker agrees: the task ends as cancelled, now.
    #[serde(default)]
    confirm: bool,
    /// The attempt that this is about; refused if the task is in another.
    #[serde(default, deserialize_with = "body::whole")]
    attempt: Option<u32>,
}

/// A verb that says nothing more.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Plain {
    /// The attempt that this is about; refused if the task is in another.
    #[serde(default, deserialize_with = "body::whole")]
    attempt: Option<u32>,
}

/// Changes a task that is being worked on
///
/// Starts it, counts progress, says what is being done, blocks it and goes on. All of it is done, or
/// nothing: 409 with the task as it is, if it cannot.
#[utoipa::path(
    patch,
    path = "/v1/tasks/{id}",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("If-Match" = Option<String>, Header, pattern = r#"^(\*|"[!#-~]+"(, ?"[!#-~]+")*)$"#, description = "Only if the task has this version; 412 otherwise"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, description = "The same key and request give the same answer; 422 for another request"),
    ),
    request_body(content = PatchTask),
    responses(
        (status = 200, description = "The task, after that", body = crate::view::TaskView),
        (status = 409, description = "Its state does not allow that", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
        (status = 412, description = "It has another version", body = crate::problem::ProblemDetails, content_type = "application/problem+json"),
    ),
    tag = "work"
)]
pub(crate) async fn patch(
    Extracted(app): Extracted<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let target = Target::new(&app, &caller, &id, request.headers())?;
    let is_merge = body::is_merge_patch(request.headers());
    let mut patch: PatchTask = body::required_json(request, &app.options).await?;
    patch.read_null(is_merge);
    target.once("patch", &patch, || {
        target.write(patch.attempt, |task, status| {
            patch.check(status)?;
            patch.apply(task)
        })
    })
}

/// `POST /v1/tasks/{id}:{verb}`. The router cannot tell the verb from the id.
pub(crate) async fn verb(
    Extracted(app): Extracted<Shared>,
    caller: Caller,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let Some((id, verb)) = path.split_once(':') else {
        // As it is for any address that knows POST not.
        parse_id(&path)?;
        let problem = Problem::new(Kind::MethodNotAllowed, "a task is not posted to, but for its verbs");
        return Err(problem.with_header(hyper::header::ALLOW, crate::router::TASK_METHODS));
    };
    if !VERBS.contains(&verb) {
        return Err(Problem::new(
            Kind::NoRoute,
            format!("there is no verb {verb:?}; there are succeed, fail, cancel, retry, heartbeat"),
        ));
    }
    let target = Target::new(&app, &caller, id, request.headers())?;
    match verb {
        "succeed" => {
            let asked: Succeed = body(request, &app).await?;
            let result = payload(asked.result.as_deref());
            target.once(verb, &asked, || {
                target.end(asked.attempt, &result, |task| finished(task.succeed(result.clone())))
            })
        }
        "fail" => {
            let asked: Fail = body(request, &app).await?;
            let error = payload(asked.error.as_deref());
            target.once(verb, &asked, || {
                target.end(asked.attempt, &error, |task| {
                    finished(task.fail(asked.reason.into(), error.clone()))
                })
            })
        }
        "cancel" => {
            let asked: Cancel = body(request, &app).await?;
            target.once(verb, &asked, || target.cancel(&asked))
        }
        "retry" => {
            let asked: Plain = body(request, &app).await?;
            target.once(verb, &asked, || {
                let retried = target.write(asked.attempt, |task, _| Ok(task.retry()?));
                retried.map_err(|problem| problem.with_hint(Kind::Refused, WHO_IS_RETRIED))
            })
        }
        _ => {
            let asked: Plain = body(request, &app).await?;
            target.once(verb, &asked, || target.write(asked.attempt, |task, _| Ok(task.heartbeat()?)))
        }
    }
}

/// The body of a verb; none is as good as `{}`.
async fn body<T: serde::de::DeserializeOwned + Default>(request: Request, app: &App) -> Result<T, Problem> {
    Ok(body::json(request, &app.options).await?.unwrap_or_default())
}

fn payload(json: Option<&RawValue>) -> Payload {
    json.map_or_else(Payload::none, |json| Payload::new("application/json", json.get().as_bytes().to_vec()))
}

fn finished(finish: Result<Finish, FinishError>) -> Result<(), Problem> {
    match finish? {
        Finish::Won => Ok(()),
        Finish::Lost(status) => Err(ended(&status)),
    }
}

fn ended(status: &Status) -> Problem {
    Problem::new(Kind::Refused, format!("the task has ended: it is {}", status.state()))
}

const WHO_IS_RETRIED: &str = "; a task can be retried while it is running or blocked";

impl PatchTask {
    /// In a merge patch, a message of `null` is to be taken back: it becomes empty, and an empty one is shown
    /// as none. Elsewhere `null` says nothing.
    fn read_null(&mut self, is_merge: bool) {
        if self.status_message == Some(None) {
            self.status_message = is_merge.then(|| Some(String::new()));
        }
    }

    /// Whether the task is to be started or to go on, and it is known which attempt that is about, and that
    /// one is running: it is what a repeated request finds. What it counts on top would count twice.
    fn is_repeated(&self, from: State) -> bool {
        let counts = self.progress.as_ref().is_some_and(|progress| progress.advance.is_some());
        self.status == Some(PatchState::Running)
            && from == State::Running
            && self.attempt.is_some()
            && !counts
    }

    /// Whether all of it can be done, so that nothing is done if not. The message alone may still be too
    /// large, which is found out first.
    fn check(&self, status: &Status) -> Result<(), Problem> {
        let progress = self.progress.as_ref();
        if self.status.is_none() && self.status_message.is_none() && progress.is_none() {
            return Ok(());
        }
        if status.is_terminal() {
            return Err(ended(status));
        }
        let from = status.state();
        let to = match (self.status, from) {
            (None, _) => from,
            _ if self.is_repeated(from) => from,
            (Some(PatchState::Running), State::Pending | State::Blocked) => State::Running,
            (Some(PatchState::Blocked), State::Running) => State::Blocked,
            (Some(PatchState::Running), _) => return Err(not_allowed(from, State::Running)),
            (Some(PatchState::Blocked), _) => return Err(not_allowed(from, State::Blocked)),
        };
        progress.map_or(Ok(()), |progress| {
            // Progress starts at 0 with the attempt.
            let done = if from == State::Pending { 0 } else { status.done() };
            progress.check(done, to)
        })
    }

    fn apply(&self, task: &mut Task) -> Result<(), Problem> {
        if let Some(Some(message)) = &self.status_message {
            task.set_message(message)?;
        }
        let state = task.status().map(|status| status.state());
        match self.status.filter(|_| !state.is_some_and(|state| self.is_repeated(state))) {
            Some(PatchState::Blocked) => task.block()?,
            Some(PatchState::Running) => {
                if state == Some(State::Blocked) {
                    task.resume()?
                } else {
                    task.start()?
                }
            }
            None => {}
        }
        let Some(progress) = &self.progress else { return Ok(()) };
        // The total comes last where it would be less than what is done, and is so only for a moment.
        let done = |task: &mut Task| match (progress.done, progress.advance) {
            (Some(done), _) => task.set_done(done),
            (None, Some(more)) => task.advance(more),
            (None, None) => Ok(()),
        };
        done(task)?;
        progress.total.map_or(Ok(()), |total| task.set_total(total))?;
        Ok(())
    }
}

fn not_allowed(from: State, to: State) -> Problem {
    Problem::new(Kind::Refused, format!("a {from} task cannot become {to}"))
}

impl PatchProgress {
    /// `done` is what is done now, `state` the state that the task will be in.
    fn check(&self, done: u64, state: State) -> Result<(), Problem> {
        let after = match (self.done, self.advance) {
            (Some(_), Some(_)) => {
                return Err(Problem::bad("progress has done and advance; one of them is enough"));
            }
            (Some(to), None) => to,
            (None, Some(more)) => done.saturating_add(more),
            (None, None) => done,
        };
        for (what, count) in [("done", after), ("total", self.total.unwrap_or(0))] {
            if count > MAX_COUNT {
                return Err(Problem::bad(format!("{what} is {count}; a counter goes to {MAX_COUNT}")));
            }
        }
        let counts = self.done.is_some() || self.advance.is_some();
        if counts && !matches!(state, State::Running | State::Blocked) {
            return Err(Problem::new(Kind::Refused, format!("a {state} task makes no progress")));
        }
        if after < done {
            let detail = format!("{done} is done, and progress does not go back to {after}");
            return Err(Problem::new(Kind::Refused, detail));
        }
        if let Some(total) = self.total.filter(|total| *total < after) {
            return Err(Problem::new(Kind::Refused, format!("the total is {total}, but {after} is done")));
        }
        Ok(())
    }
}

/// The task that a write is for, and on which condition.
struct Target<'a> {
    app: &'a App,
    caller: &'a Caller,
    id: TaskId,
    if_match: Option<Tags>,
    key: Option<Key>,
}

impl<'a> Target<'a> {
    fn new(app: &'a App, caller: &'a Caller, id: &str, headers: &HeaderMap) -> Result<Self, Problem> {
        caller.must(Scope::Write)?;
        let (id, if_match) = (parse_id(id)?, Tags::if_match(headers)?);
        Ok(Self { app, caller, id, if_match, key: Key::of(headers, caller)? })
    }

    /// Makes the write, or answers as before if it came with a key and was made before.
    fn once(
        &self,
        what: &str,
        body: &impl Serialize,
        write: impl FnOnce() -> Result<Answer, Problem>,
    ) -> Result<Response, Problem> {
        let (answer, is_replayed) = match &self.key {
            None => (write()?, false),
            Some(key) => self.app.replays.once(key, &format!("{what} {}", self.id), body, write)?,
        };
        Ok(self.app.written(&answer, is_replayed))
    }

    /// Ends the task with this payload.
    fn end(
        &self,
        attempt: Option<u32>,
        payload: &Payload,
        end: impl Fn(&mut Task) -> Result<(), Problem>,
    ) -> Result<Answer, Problem> {
        let bytes = payload.bytes().len();
        self.write(attempt, |task, _| self.app.with_payload(self.caller, task, bytes, &end))
    }

    /// Makes a write through the task's handle, and answers with what has become of the task.
    fn write(
        &self,
        attempt: Option<u32>,
        write: impl Fn(&mut Task, &Status) -> Result<(), Problem>,
    ) -> Result<Answer, Problem> {
        let mut tried = None;
        loop {
            let _ = self.checked(attempt)?;
            let Some(remote) = self.app.remotes.find(self.id) else { return Err(self.without_handle()) };
            // An id can be used again: then the handle that was found is the earlier task's, and what it
            // says is not about this one. The second time it is, and it stands.
            let is_last = tried.as_ref().is_some_and(|tried| Arc::ptr_eq(tried, &remote));
            match self.write_through(&remote, attempt, &write) {
                Written::Answer(answer) => return answer,
                Written::NoHandle | Written::Gone(_) if !is_last => tried = Some(remote),
                Written::NoHandle => return Err(self.without_handle()),
                Written::Gone(problem) => return Err(problem),
            }
        }
    }

    fn write_through(
        &self,
        remote: &Remote,
        attempt: Option<u32>,
        write: impl Fn(&mut Task, &Status) -> Result<(), Problem>,
    ) -> Written {
        let mut handle = remote.lock();
        let Some(task) = handle.as_mut() else { return Written::NoHandle };
        let status = match self.checked(attempt) {
            Ok(status) => status,
            Err(problem) => return Written::Answer(Err(problem)),
        };
        if let Err(problem) = write(task, &status) {
            // Under the handle's lock, so that no other request has changed the task meanwhile.
            return match problem.status() {
                StatusCode::GONE => Written::Gone(problem),
                _ => Written::Answer(Err(self.app.refused(self.caller, problem, self.id))),
            };
        }
        let details = self.app.details(self.caller, self.id);
        let ended = details.as_ref().map_or(true, |details| details.status().is_terminal());
        if ended {
            drop(handle.take());
        }
        drop(handle);
        let Ok(details) = details else { return Written::Answer(Ok(gone_since())) };
        if ended {
            self.app.remotes.ended(self.id, details.status().version());
        }
        Written::Answer(Ok(made(details)))
    }

    /// The status, if the caller may see it and it is the version and the attempt that are asked for.
    fn checked(&self, attempt: Option<u32>) -> Result<Status, Problem> {
        let status = self.app.status(self.caller, self.id)?;
        if self.if_match.as_ref().is_some_and(|tags| !tags.match_strongly(status.version())) {
            let detail = format!("the task's version is {}", status.version());
            return Err(self.app.refused(self.caller, Problem::new(Kind::Stale, detail), self.id));
        }
        if let Some(attempt) = attempt.filter(|attempt| *attempt != status.attempt()) {
            let detail = format!("the task is in attempt {}, not {attempt}", status.attempt());
            return Err(self.app.refused(self.caller, Problem::new(Kind::Refused, detail), self.id));
        }
        Ok(status)
    }

    /// Why there is no handle: the task has ended, or its worker has the handle.
    fn without_handle(&self) -> Problem {
        match self.app.status(self.caller, self.id) {
            Err(problem) => problem,
            Ok(status) if status.is_terminal() => self.app.refused(self.caller, ended(&status), self.id),
            Ok(_) => {
                let problem = Problem::new(
                    Kind::InProcess,
                    "the task was not created over HTTP; only its worker writes to it, and it can be cancelled",
                );
                self.app.refused(self.caller, problem, self.id)
            }
        }
    }

    /// A request to cancel goes to any task; the consent only to one whose worker is elsewhere.
    fn cancel(&self, &Cancel { confirm, attempt }: &Cancel) -> Result<Answer, Problem> {
        if confirm {
            return self.write(attempt, |task, _| finished(task.cancel()));
        }
        let remote = self.app.remotes.find(self.id);
        let handle = remote.as_ref().map(|remote| remote.lock());
        let _ = self.checked(attempt)?;
        let cancelled = self.app.store.cancel(self.id);
        drop(handle);
        match cancelled {
            Ok(status) => {
                if status.is_terminal() {
                    self.app.remotes.ended(self.id, status.version());
                }
                let details = self.app.details(self.caller, self.id);
                Ok(details.map_or_else(|_| gone_since(), made))
            }
            Err(CancelError::Absent(absent)) => Err(self.app.absent(self.caller, self.id, absent).into()),
            Err(CancelError::Ended(status)) => Err(self.app.refused(self.caller, ended(&status), self.id)),
            Err(error) => {
                Err(self.app.refused(self.caller, Problem::new(Kind::Refused, error.to_string()), self.id))
            }
        }
    }
}

/// What came of a try to write.
enum Written {
    Answer(Result<Answer, Problem>),
    /// The handle has been let go of: the task that it was of has ended.
    NoHandle,
    /// So is the task.
    Gone(Problem),
}

/// The write was made, and this is the task after it.
fn made(details: Details) -> Answer {
    Answer { code: StatusCode::OK, details: Some(details) }
}

/// The write was made, and the task has gone since: there is nothing left to show.
const fn gone_since() -> Answer {
    Answer { code: StatusCode::NO_CONTENT, details: None }
}
