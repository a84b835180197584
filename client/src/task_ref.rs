//! The verbs of one task, each with or without a precondition.

use http::Method;
use http::header::IF_MATCH;
use inflight::{FailureReason, TaskId, Version};
use serde::Serialize;

use crate::client::{Client, Finished, etag, path};
use crate::details::Details;
use crate::error::Error;
use crate::json::Json;
use crate::transport::{Call, Reply};
use crate::writes::{Ending, Patch, PatchProgress, VerbBody};

/// One task of a service: what [`Client::task`] gives. Each method is one request.
///
/// ```no_run
/// # use inflight_client::{Client, TaskId};
/// # async fn doc(client: Client, id: TaskId) -> Result<(), inflight_client::Error> {
/// let seen = client.get(id).await?;
/// // Only if nothing has happened since: otherwise `error.is_precondition_failed()`.
/// client.task(id).if_match(seen.version).set_message("looked at").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// All verbs: [`is_conflict`](Error::is_conflict), with the task as it is, for a transition that the table
/// does not have; [`is_precondition_failed`](Error::is_precondition_failed) if the task is at another version
/// than [`if_match`](Self::if_match) says.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct TaskRef<'c> {
    client: &'c Client,
    id: TaskId,
    version: Option<Version>,
    attempt: Option<u32>,
}

impl<'c> TaskRef<'c> {
    pub(crate) fn new(client: &'c Client, id: TaskId) -> Self {
        Self { client, id, version: None, attempt: None }
    }

    /// Only if the task is at this version (`If-Match`).
    pub fn if_match(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    /// Only if the task is in this attempt: otherwise a conflict. What the worker of an attempt does, it does
    /// with this, so that it cannot reach into the next one (I10).
    pub fn in_attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }

    /// `Pending → Running`.
    pub async fn start(self) -> Result<Details, Error> {
        self.patch(&Patch { status: Some("running"), ..Patch::default() }).await
    }

    /// `Running → Blocked`.
    pub async fn block(self) -> Result<Details, Error> {
        self.patch(&Patch { status: Some("blocked"), ..Patch::default() }).await
    }

    /// `Blocked → Running`.
    pub async fn resume(self) -> Result<Details, Error> {
        self.start().await
    }

    /// Sets how much is done, in all. It does not go back within an attempt.
    pub async fn set_done(self, done: u64) -> Result<Details, Error> {
        let progress = PatchProgress { done: Some(done), total: None };
        self.patch(&Patch { progress, ..Patch::default() }).await
    }

    /// Sets how much there is to do.
    pub async fn set_total(self, total: u64) -> Result<Details, Error> {
        let progress = PatchProgress { done: None, total: Some(total) };
        self.patch(&Patch { progress, ..Patch::default() }).await
    }

    /// Sets the message.
    pub async fn set_message(self, message: impl Into<String>) -> Result<Details, Error> {
        self.patch(&Patch { status_message: Some(message.into()), ..Patch::default() }).await
    }

    pub(crate) async fn patch(self, patch: &Patch) -> Result<Details, Error> {
        let patch = Patch { attempt: self.attempt, ..patch.clone() };
        let call = Call::new(Method::PATCH, path(self.id, "")).json(&patch)?;
        // A second transition is refused, and so is a second write with the same precondition. All other
        // patches are idempotent: they contain the new value, not an increment.
        let call = if patch.status.is_some() || self.version.is_some() { call.keyed(None)? } else { call };
        self.send(call).await?.parse()
    }

    /// Asks for the task to be cancelled; a pending one is cancelled at once.
    pub async fn cancel(self) -> Result<Details, Error> {
        self.send(self.verb_call("cancel", VerbBody::default())?.keyed(None)?).await?.parse()
    }

    /// `Running | Blocked → Pending`: the next attempt.
    pub async fn retry(self) -> Result<Details, Error> {
        self.send(self.verb_call("retry", VerbBody::default())?.keyed(None)?).await?.parse()
    }

    /// Extends the lease.
    pub async fn heartbeat(self) -> Result<Details, Error> {
        self.send(self.verb_call("heartbeat", VerbBody::default())?).await?.parse()
    }

    /// Takes a task that has ended out of the store, before its time.
    pub async fn remove(self) -> Result<(), Error> {
        let (call, mut unsure) = (Call::new(Method::DELETE, path(self.id, "")), false);
        match self.client.transport.send_noting(self.conditioned(call)?, &mut unsure).await {
            // An earlier try did it, and its answer was lost.
            Err(error) if unsure && error.is_gone() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Ends the task well, with a result; `()` for none.
    pub async fn succeed(self, result: impl Serialize) -> Result<Finished, Error> {
        self.finish(&Ending::Succeeded(Json::of(result)?), &mut false).await
    }

    /// Ends the task badly, with an error; `()` for none.
    pub async fn fail(self, reason: FailureReason, error: impl Serialize) -> Result<Finished, Error> {
        self.finish(&Ending::Failed(reason, Json::of(error)?), &mut false).await
    }

    /// Ends the task as cancelled: what a worker does when it agrees to a request to cancel.
    pub async fn agree_to_cancel(self) -> Result<Finished, Error> {
        self.finish(&Ending::Cancelled, &mut false).await
    }

    /// Ends the task. `unsure` says that an earlier try may have been carried out without an answer. If the
    /// next try then finds the task ended exactly as asked, the earlier one has won.
    pub(crate) async fn finish(self, ending: &Ending, unsure: &mut bool) -> Result<Finished, Error> {
        // Without a key: the service would keep the answer, and a result can be large.
        let call = self.verb_call(ending.verb(), ending.body())?;
        match self.client.transport.send_noting(self.conditioned(call)?, unsure).await {
            Ok(reply) => Ok(Finished::Won(reply.parse()?)),
            Err(error) => match error.current().filter(|task| error.is_conflict() && task.is_terminal()) {
                Some(task) if *unsure && ending.made(task) => Ok(Finished::Won(task.clone())),
                Some(task) => Ok(Finished::Lost(task.clone())),
                None => Err(error),
            },
        }
    }

    fn verb_call(&self, verb: &str, mut body: VerbBody<'_>) -> Result<Call, Error> {
        body.attempt = self.attempt;
        Call::new(Method::POST, path(self.id, &format!(":{verb}"))).json(&body)
    }

    async fn send(self, call: Call) -> Result<Reply, Error> {
        self.client.transport.send(self.conditioned(call)?).await
    }

    fn conditioned(&self, call: Call) -> Result<Call, Error> {
        match self.version {
            Some(version) => call.header(IF_MATCH, &etag(version)),
            None => Ok(call),
        }
    }
}
