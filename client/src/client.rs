//! The client: one method for each thing that the service does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, IF_NONE_MATCH};
use http::{Method, StatusCode};
use inflight::{FailureReason, State, TaskId, Version};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::builder::ClientBuilder;
use crate::details::{Children, Counts, Details};
use crate::error::Error;
use crate::new_task::{Created, NewTask};
use crate::poller::Poller;
use crate::query::{Batch, Filter, Page};
use crate::task_ref::TaskRef;
use crate::transport::{Call, Reply, Transport};
use crate::watch::{Events, Watch};
use crate::worker::{Worker, WorkerOptions};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How long one request asks the server to wait; a longer wait is several requests.
const WAIT_STEP: Duration = Duration::from_secs(30);

/// The service, from afar. Cheap to clone; all clones share their connections.
///
/// Needs a Tokio runtime. Nothing in it grows with the number of tasks.
///
/// ```no_run
/// use std::time::Duration;
/// use inflight_client::{Client, NewTask};
///
/// # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new("http://127.0.0.1:7117")?;
/// let created = client.create(NewTask::new("index").total(42)).await?;
/// let ended = client.wait(created.task.id, Duration::from_secs(60)).await?;
/// println!("{} after {:?}", ended.state, ended.progress.done);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) transport: Arc<Transport>,
}

/// Who ended a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// The caller did.
    Won(Details),
    /// It had ended before; this is how.
    Lost(Details),
}

impl Finished {
    /// The task, as it ended.
    #[must_use]
    pub fn task(&self) -> &Details {
        match self {
            Finished::Won(task) | Finished::Lost(task) => task,
        }
    }

    /// Whether the caller ended it.
    #[must_use]
    pub fn is_won(&self) -> bool {
        matches!(self, Finished::Won(_))
    }
}

impl Client {
    /// A client of the service at `base`, with the defaults: no token, 10 s for a request, three retries.
    ///
    /// # Errors
    ///
    /// If `base` is no address of a service: `http://host:port`, and the path that it is nested under, if
    /// any.
    pub fn new(base: impl Into<String>) -> Result<Self, crate::BuildError> {
        Self::builder(base).build()
    }

    /// A builder for a client of the service at `base`.
    pub fn builder(base: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(base)
    }

    pub(crate) fn over(transport: Arc<Transport>) -> Self {
        Self { transport }
    }

    /// Creates a task. Repeats are safe: they carry one idempotency key, and so make one task.
    ///
    /// # Errors
    ///
    /// A conflict for an id or key that is in use with another content; [`is_transient`](Error::is_transient)
    /// if the store is full, and stayed so.
    pub async fn create(&self, new: NewTask) -> Result<Created, Error> {
        let key = new.idempotency_key.clone().unwrap_or_else(random_key);
        let call = Call::new(Method::POST, "/v1/tasks").json(&new)?.header(IDEMPOTENCY_KEY, &key)?;
        let reply = self.transport.send(call.repeatable()).await?;
        Ok(Created { task: reply.parse()?, lease: new.lease_span(), retry_after: reply.retry_after() })
    }

    /// One task: for its verbs, and for a precondition on them.
    pub fn task(&self, id: impl Into<TaskId>) -> TaskRef<'_> {
        TaskRef::new(self, id.into())
    }

    /// A task as it is now.
    ///
    /// # Errors
    ///
    /// [`is_unknown`](Error::is_unknown), [`is_gone`](Error::is_gone), or that of the connection.
    pub async fn get(&self, id: impl Into<TaskId>) -> Result<Details, Error> {
        self.transport.send(Call::get(path(id.into(), ""))).await?.parse()
    }

    /// Something to poll one task with: it asks for what has changed, at the pace that the service asks for.
    #[must_use]
    pub fn poller(&self, id: impl Into<TaskId>) -> Poller {
        Poller::new(self.clone(), id.into())
    }

    /// One poll, that says nothing if the task is still at `version`.
    pub(crate) async fn poll(
        &self,
        id: TaskId,
        version: Option<Version>,
        wait: Option<Duration>,
    ) -> Result<(Option<Details>, Reply), Error> {
        let mut call = Call::get(path(id, ""));
        if let Some(version) = version {
            call = call.header(IF_NONE_MATCH, &etag(version))?;
        }
        if let Some(wait) = wait {
            let seconds = wait.as_secs().max(1);
            call = call.header(PREFER, &format!("wait={seconds}"))?.patience(Duration::from_secs(seconds));
        }
        let reply = self.transport.send(call).await?;
        let changed = reply.status != StatusCode::NOT_MODIFIED;
        Ok((if changed { Some(reply.parse()?) } else { None }, reply))
    }

    /// Waits until a task has ended, and gives it as it ended.
    ///
    /// The server holds the request until then (`Prefer: wait`), so the answer comes at once, without
    /// polling. Faults of the network are waited out.
    ///
    /// # Errors
    ///
    /// [`is_timeout`](Error::is_timeout) after `patience`; [`is_gone`](Error::is_gone) if the task was taken
    /// away meanwhile.
    pub async fn wait(&self, id: impl Into<TaskId>, patience: Duration) -> Result<Details, Error> {
        let id = id.into();
        self.wait_until(id, None, patience, Details::is_terminal).await
    }

    /// Waits until a task has changed since `version`, and gives it as it is then. It may have changed more
    /// than once.
    ///
    /// # Errors
    ///
    /// As [`Client::wait`].
    pub async fn changed_since(
        &self,
        id: impl Into<TaskId>,
        version: Version,
        patience: Duration,
    ) -> Result<Details, Error> {
        self.wait_until(id.into(), Some(version), patience, |_| true).await
    }

    async fn wait_until(
        &self,
        id: TaskId,
        since: Option<Version>,
        patience: Duration,
        enough: impl Fn(&Details) -> bool,
    ) -> Result<Details, Error> {
        let deadline = Instant::now() + patience;
        let mut backoff = self.transport.bounds.backoff();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::timed_out(patience));
            }
            let asked = Instant::now();
            let polled = tokio::time::timeout(left, self.poll(id, since, Some(left.min(WAIT_STEP)))).await;
            match polled.map_err(|_| Error::timed_out(patience))? {
                Ok((Some(task), _)) if enough(&task) => return Ok(task),
                // A server that answers before it must is not asked again in a tight loop.
                Ok((_, reply)) if asked.elapsed() < Duration::from_millis(100) => {
                    sleep(backoff.next(reply.retry_after()).min(left)).await;
                }
                Ok(_) => backoff.reset(),
                Err(error) if error.is_transient() => {
                    sleep(backoff.next(error.retry_after()).min(left)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Follows one task live: its status now, and after each change, until it has ended.
    #[must_use]
    pub fn watch(&self, id: impl Into<TaskId>) -> Watch {
        Watch::new(self.clone(), id.into())
    }

    /// Follows all tasks that match, live: first those that there are, then what changes. What of a filter is for
    /// lists (page size and token, [`changed_since`](Filter::changed_since), [`full`](Filter::full)) means
    /// nothing here.
    #[must_use]
    pub fn events(&self, filter: &Filter) -> Events {
        Events::new(self.clone(), filter)
    }

    /// One page of the tasks that match, in the order of their creation.
    ///
    /// ```no_run
    /// # use inflight_client::{Client, Filter, State};
    /// # async fn doc(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut filter = Filter::new().state(State::Running);
    /// loop {
    ///     let page = client.list(&filter).await?;
    ///     for task in page.tasks {
    ///         println!("{} {}", task.id, task.kind);
    ///     }
    ///     let Some(next) = page.next else { break };
    ///     filter = filter.after(next);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A 400 names what is wrong with the filter or the token.
    pub async fn list(&self, filter: &Filter) -> Result<Page, Error> {
        self.transport.send(Call::get(filter.for_list("/v1/tasks"))).await?.parse()
    }

    /// What a task's children add up to.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn children(&self, id: impl Into<TaskId>) -> Result<Children, Error> {
        self.transport.send(Call::get(path(id.into(), "/children"))).await?.parse()
    }

    /// The tasks with these ids, results and errors included, read in one request.
    ///
    /// # Errors
    ///
    /// A 400 if they are more than the service takes: 1000, where it is not set otherwise.
    pub async fn batch(&self, ids: &[TaskId]) -> Result<Batch, Error> {
        #[derive(Deserialize)]
        struct Raw {
            tasks: Vec<Option<Details>>,
        }
        let asked: Vec<String> = ids.iter().map(TaskId::to_string).collect();
        let body = json!({ "taskIds": asked, "view": "full" });
        let call = Call::new(Method::POST, "/v1/tasks:batchGet").json(&body)?;
        let raw: Raw = self.transport.send(call.repeatable()).await?.parse()?;
        if raw.tasks.len() != ids.len() {
            return Err(Error::malformed(format!("{} tasks for {} ids", raw.tasks.len(), ids.len())));
        }
        let mut batch = Batch::default();
        for (id, task) in ids.iter().zip(raw.tasks) {
            match task {
                Some(task) => batch.tasks.push(task),
                None => batch.absent.push(*id),
            }
        }
        Ok(batch)
    }

    /// How many tasks are in each state.
    ///
    /// # Errors
    ///
    /// That of the connection, or a missing scope.
    pub async fn counts(&self) -> Result<Counts, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            by_state: Counts,
        }
        let raw: Raw = self.transport.send(Call::get("/v1/counts")).await?.parse()?;
        Ok(raw.by_state)
    }

    /// Asks for a task to be cancelled, and gives it as it is after that: a pending one is cancelled at once,
    /// of another one the worker decides when.
    ///
    /// # Errors
    ///
    /// [`is_conflict`](Error::is_conflict), with the task, if it has ended.
    pub async fn cancel(&self, id: impl Into<TaskId>) -> Result<Details, Error> {
        self.task(id).cancel().await
    }

    /// Creates a task, starts it, and gives the handle to work on it with.
    ///
    /// # Errors
    ///
    /// As [`Client::create`] and [`Client::work`].
    pub async fn create_and_work(&self, new: NewTask) -> Result<Worker, Error> {
        let created = self.create(new).await?;
        self.work(created.task.id, WorkerOptions { lease: created.lease, ..WorkerOptions::default() }).await
    }

    /// Starts a pending task, and gives the handle to work on it with: it reports progress, coalesced, and
    /// sends the heartbeats of its lease.
    ///
    /// # Errors
    ///
    /// [`is_conflict`](Error::is_conflict), with the task, if it is not pending.
    pub async fn work(&self, id: impl Into<TaskId>, options: WorkerOptions) -> Result<Worker, Error> {
        let id = id.into();
        let task = self.task(id).start().await?;
        Ok(Worker::start(self.clone(), task, options))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.transport).finish()
    }
}

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

/// How a task is to end.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    Succeeded(Value),
    Failed(FailureReason, Value),
    Cancelled,
}

impl Ending {
    pub(crate) fn state(&self) -> State {
        match self {
            Ending::Succeeded(_) => State::Succeeded,
            Ending::Failed(..) => State::Failed,
            Ending::Cancelled => State::Cancelled,
        }
    }

    /// Whether `task` ended as this asked for.
    pub(crate) fn made(&self, task: &Details) -> bool {
        let payload = |sent: &Value, have: &Option<Value>| {
            if sent.is_null() { have.is_none() } else { have.as_ref() == Some(sent) }
        };
        task.state == self.state()
            && match self {
                Ending::Succeeded(result) => payload(result, &task.result),
                Ending::Failed(reason, error) => {
                    task.failure_reason == Some(*reason) && payload(error, &task.error)
                }
                Ending::Cancelled => true,
            }
    }
}

pub(crate) fn path(id: TaskId, rest: &str) -> String {
    format!("/v1/tasks/{id}{rest}")
}

pub(crate) fn etag(version: Version) -> String {
    format!("\"{version}\"")
}

/// A key that nobody else draws: 128 random bits. Without random bytes, the address of the moment will do.
fn random_key() -> String {
    let mut bytes = [0_u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        bytes = now.unwrap_or_default().as_nanos().to_be_bytes();
    }
    format!("{:032x}", u128::from_be_bytes(bytes))
}
