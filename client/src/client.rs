//! The client: one method for each thing that the service does.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, IF_NONE_MATCH};
use http::{Method, StatusCode};
use inflight::{TaskId, Version};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::builder::ClientBuilder;
use crate::deadline::later;
use crate::details::{Children, Counts, Details};
use crate::error::Error;
use crate::new_task::{Created, NewTask};
use crate::poller::Poller;
use crate::query::Filter;
use crate::reporters::Reporters;
use crate::task_ref::TaskRef;
use crate::transport::{Call, Reply, Transport, random_word};
use crate::watch::{Events, Watch};
use crate::worker::{Worker, WorkerOptions};

const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The lease of a task that is created to be worked on, if it was given none.
const DEFAULT_LEASE: Duration = Duration::from_secs(60);

/// How long one request asks the server to wait; a longer wait is several requests.
const WAIT_STEP: Duration = Duration::from_secs(30);

/// The service, from afar. Cheap to clone; all clones share their connections.
///
/// Needs a Tokio runtime. Nothing in it grows with the number of tasks.
///
/// # Cancellation
///
/// Every future here can be dropped, and its method called again. A read sends a new request. A write that
/// was dropped may have been carried out: [`create`](Self::create) can be repeated if the caller chooses the
/// idempotency key, and a write by [`TaskRef`] if it has a precondition. [`wait`](Self::wait) and
/// [`changed_since`](Self::changed_since) start their time limit again, but miss no change. [`Watch`],
/// [`Events`] and [`Worker`] continue where they were.
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
    reporters: Arc<Reporters>,
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
        Self { transport, reporters: Arc::default() }
    }

    /// The same client, with connections of its own.
    pub(crate) fn apart(&self) -> Self {
        Self::over(Arc::new(self.transport.apart()))
    }

    /// Creates a task. Repeats are safe: they have one idempotency key, and so make one task. To repeat a
    /// call that was dropped before its answer, choose the key ([`NewTask::idempotency_key`]). Without it
    /// each call has a new key.
    ///
    /// # Errors
    ///
    /// A conflict for an id or key that is in use with another content; [`is_transient`](Error::is_transient)
    /// if the store is full, and stayed so.
    pub async fn create(&self, new: NewTask) -> Result<Created, Error> {
        let key = new.idempotency_key.as_deref();
        let call = Call::new(Method::POST, "/v1/tasks").json(&new)?.keyed(key)?;
        let reply = self.transport.send(call).await?;
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
        let deadline = later(Instant::now(), patience);
        let mut backoff = self.transport.bounds.backoff();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::timed_out(patience));
            }
            let asked = Instant::now();
            let next = |pause| later(Instant::now(), pause).min(deadline);
            let polled = tokio::time::timeout(left, self.poll(id, since, Some(left.min(WAIT_STEP)))).await;
            match polled.map_err(|_| Error::timed_out(patience))? {
                Ok((Some(task), _)) if enough(&task) => return Ok(task),
                // A server that answers before it must is not asked again in a tight loop.
                Ok((_, reply)) if asked.elapsed() < Duration::from_millis(100) => {
                    sleep_until(next(backoff.next(reply.retry_after()))).await;
                }
                Ok(_) => backoff.reset(),
                Err(error) if error.is_transient() => {
                    sleep_until(next(backoff.next(error.retry_after()))).await;
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

    /// Follows all tasks that match, live: first those that there are, then what changes. What of a filter is
    /// for lists (page size and token, [`changed_since`](Filter::changed_since), [`full`](Filter::full))
    /// means nothing here.
    #[must_use]
    pub fn events(&self, filter: &Filter) -> Events {
        Events::new(self.clone(), filter)
    }

    /// What a task's children add up to.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn children(&self, id: impl Into<TaskId>) -> Result<Children, Error> {
        self.transport.send(Call::get(path(id.into(), "/children"))).await?.parse()
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

    /// Creates a task that is running, in one request, and gives the handle to work on it with.
    ///
    /// The task has a lease, so that it does not run for ever if its worker vanishes: that of
    /// [`NewTask::lease`], or 60 s. Only one worker gets the task: an id or an idempotency key that another
    /// call has used is refused. If this future is dropped before its answer, the task ends as lost.
    ///
    /// # Errors
    ///
    /// As [`Client::create`]; a conflict for an id, a 422 for an idempotency key that is in use.
    pub async fn create_and_work(&self, new: NewTask) -> Result<Worker, Error> {
        let new = new.claimed(DEFAULT_LEASE, random_word());
        let options = WorkerOptions { lease: new.lease_span(), ..WorkerOptions::default() };
        self.employ(options, |client| async move { Ok(client.create(new).await?.task) }).await
    }

    /// Starts a pending task, and gives the handle to work on it with: it reports progress, coalesced, and
    /// sends the heartbeats of its lease. A task without a lease runs for ever if its worker vanishes without
    /// a word.
    ///
    /// If this future is dropped before its answer, and the task was started, the task ends as lost.
    ///
    /// # Errors
    ///
    /// [`is_conflict`](Error::is_conflict), with the task, if it is not pending.
    pub async fn work(&self, id: impl Into<TaskId>, options: WorkerOptions) -> Result<Worker, Error> {
        let id = id.into();
        self.employ(options, move |client| async move { client.task(id).start().await }).await
    }

    /// Claims a task on the reporters' thread, and returns its handle. If the caller does not wait for the
    /// handle, it is dropped here, and the reporter ends the task as lost (I10).
    async fn employ<F>(
        &self,
        options: WorkerOptions,
        claim: impl FnOnce(Client) -> F + Send + 'static,
    ) -> Result<Worker, Error>
    where
        F: Future<Output = Result<Details, Error>> + Send + 'static,
    {
        let thread = self.reporters.thread(self).map_err(Error::no_thread)?;
        let client = thread.client().clone();
        let (give, given) = oneshot::channel();
        thread.run(async move {
            // The lease cannot have started earlier than this.
            let asked = Instant::now();
            match claim(client.clone()).await {
                Ok(task) => {
                    let (worker, reporter) = Worker::new(client, &task, options, asked);
                    drop(give.send(Ok(worker)));
                    reporter.run().await;
                }
                Err(error) => drop(give.send(Err(error))),
            }
        });
        given.await.unwrap_or_else(|_| Err(Error::fenced(None)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.transport).finish()
    }
}

pub(crate) fn path(id: TaskId, rest: &str) -> String {
    format!("/v1/tasks/{id}{rest}")
}

pub(crate) fn etag(version: Version) -> String {
    format!("\"{version}\"")
}
