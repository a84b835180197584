//! A remote worker's handle: counts in memory, reports in the background.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight::{FailureReason, MAX_COUNT, TaskId};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::client::{Client, Finished};
use crate::details::Details;
use crate::error::Error;
use crate::json::Json;
use crate::reporter::{Command, Reporter};
use crate::writes::Ending;

/// How a worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The lease that the task was created with, if it has one. Without a report, a heartbeat is sent after a
    /// third of it, or earlier.
    pub lease: Option<Duration>,
    /// The shortest time between two reports; 250 ms by default, and 10 ms at the least. However often the
    /// worker advances, it makes no more requests than that.
    pub report_every: Duration,
    /// After how long without a report the worker asks whether it is to stop; 2 s by default. With a lease
    /// this request is the heartbeat.
    pub check_every: Duration,
    /// For how long the last report and the end are tried again while the service cannot be reached; 60 s by
    /// default.
    pub finish_patience: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            lease: None,
            report_every: Duration::from_millis(250),
            check_every: Duration::from_secs(2),
            finish_patience: Duration::from_secs(60),
        }
    }
}

/// Whether a worker is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// The task is this worker's.
    Holds,
    /// It is, and somebody asks for it to be cancelled; [`Worker::agree_to_cancel`] agrees.
    CancelRequested,
    /// The task is this worker's no more: it has ended, was given to another attempt, is gone, or the lease
    /// ran out without an answer. Nothing that the worker does changes it.
    Fenced,
}

/// The handle of a task that is worked on here and kept there: what [`Client::work`] gives.
///
/// [`advance`](Self::advance) is one atomic addition. The workers of a client share a thread that reports the
/// count, a few times a second at the most ([`WorkerOptions::report_every`]), together with the newest
/// message and total. Nothing queues up: whatever has not been reported yet is one number, one message and
/// one total. While the service cannot be reached the worker goes on counting, and the first report that gets
/// through makes up for it.
///
/// The ends flush: what was counted is reported before the task ends. A handle that is dropped without an end
/// tells the service that the worker is lost, as well as that can be told; where it cannot, because the
/// process dies or the network is gone, only a lease will.
///
/// ```no_run
/// use std::time::Duration;
/// use inflight_client::{Client, NewTask, Standing};
///
/// # fn work(page: u32) {}
/// # async fn doc(client: Client) -> Result<(), inflight_client::Error> {
/// let new = NewTask::new("index").total(42).unit("pages").lease(Duration::from_secs(30));
/// let worker = client.create_and_work(new).await?;
/// for page in 0..42 {
///     match worker.standing() {
///         Standing::Holds => {}
///         Standing::CancelRequested => {
///             worker.agree_to_cancel().await?;
///             return Ok(());
///         }
///         _ => return Ok(()), // fenced: somebody else has the task now
///     }
///     work(page);
///     worker.advance(1);
/// }
/// worker.succeed("42 pages").await?;
/// # Ok(())
/// # }
/// ```
pub struct Worker {
    id: TaskId,
    attempt: u32,
    shared: Arc<Shared>,
    standing: watch::Receiver<Standing>,
    commands: mpsc::Sender<Command>,
    /// The place reserved for the end in the queue of commands, so that the end is never dropped.
    end: Option<mpsc::OwnedPermit<Command>>,
}

/// A worker whose end was refused or did not reach the service: the error of the methods that end a
/// [`Worker`]. The task continues.
///
/// To drop it is to drop the worker: the task then ends as lost. `?` does so in a function that returns an
/// [`Error`].
///
/// ```no_run
/// use inflight_client::{FailureReason, Worker};
///
/// # async fn doc(worker: Worker, result: String) -> Result<(), inflight_client::Error> {
/// if let Err(unfinished) = worker.succeed(&result).await {
///     let (worker, error) = unfinished.into_parts();
///     if error.is_too_large() {
///         worker.succeed("too large to be kept here").await?;
///     } else {
///         worker.fail(FailureReason::Error, error.to_string()).await?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Unfinished {
    worker: Worker,
    error: Error,
}

impl Unfinished {
    /// Why the end was not made.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The worker, whose task goes on, and why.
    #[must_use]
    pub fn into_parts(self) -> (Worker, Error) {
        (self.worker, self.error)
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Unfinished {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Drops the worker.
impl From<Unfinished> for Error {
    fn from(unfinished: Unfinished) -> Self {
        unfinished.error
    }
}

/// What the worker writes and the reporter reads.
pub(crate) struct Shared {
    pub(crate) done: AtomicU64,
    pub(crate) cold: Mutex<Cold>,
}

/// What is to be reported beside the count: the newest of each.
#[derive(Default)]
pub(crate) struct Cold {
    pub(crate) message: Option<String>,
    pub(crate) total: Option<u64>,
}

impl Shared {
    pub(crate) fn cold(&self) -> std::sync::MutexGuard<'_, Cold> {
        // What a panic elsewhere left behind is still a message and a total.
        self.cold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn done(&self) -> u64 {
        // Relaxed: a count on its own, it publishes nothing.
        self.done.load(Ordering::Relaxed).min(MAX_COUNT)
    }
}

impl Worker {
    /// The handle of a task, and its reporter, which is yet to run. `asked` is when the task was asked for.
    pub(crate) fn new(
        client: Client,
        task: &Details,
        options: WorkerOptions,
        asked: Instant,
    ) -> (Self, Reporter) {
        let done = AtomicU64::new(task.progress.done);
        let shared = Arc::new(Shared { done, cold: Mutex::default() });
        let (tell, standing) = watch::channel(Standing::Holds);
        // One command at a time is enough, since each is waited for; and the end has a place of its own.
        let (commands, receiver) = mpsc::channel(2);
        let end = commands.clone().try_reserve_owned().ok();
        let (id, attempt) = (task.id, task.attempt);
        let reporter = Reporter::new(client, task, options, Arc::clone(&shared), tell, receiver, asked);
        (Self { id, attempt, shared, standing, commands, end }, reporter)
    }

    /// The task's id.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Which attempt this worker makes.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Adds to what is done: one atomic addition, from any thread. It is reported in the background.
    pub fn advance(&self, by: u64) {
        // Relaxed: see `Shared::done`.
        self.shared.done.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets how much is done, in all. It does not go back.
    pub fn set_done(&self, done: u64) {
        // Relaxed: see `Shared::done`.
        self.shared.done.fetch_max(done, Ordering::Relaxed);
    }

    /// How much has been counted here; the service may not know of all of it yet.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.shared.done()
    }

    /// Sets how much there is to do; reported in the background.
    pub fn set_total(&self, total: u64) {
        self.shared.cold().total = Some(total);
    }

    /// Sets the message; reported in the background. Of several between two reports the last one counts.
    pub fn set_message(&self, message: impl Into<String>) {
        self.shared.cold().message = Some(message.into());
    }

    /// Whether to go on, as far as is known here: it is learnt from the answers to reports, heartbeats and
    /// checks. Cheap.
    #[must_use]
    pub fn standing(&self) -> Standing {
        *self.standing.borrow()
    }

    /// Whether somebody asks for the task to be cancelled.
    #[must_use]
    pub fn cancel_requested(&self) -> bool {
        self.standing() == Standing::CancelRequested
    }

    /// Waits until the worker is not just to go on: it is asked to cancel, or fenced.
    pub async fn stopped(&self) -> Standing {
        let mut standing = self.standing.clone();
        let stopped = standing.wait_for(|standing| *standing != Standing::Holds).await;
        stopped.map_or(Standing::Fenced, |standing| *standing)
    }

    /// Reports now whatever has not been reported.
    ///
    /// # Errors
    ///
    /// That of the report; or, once, what the service refused before and nobody heard: a message that was too
    /// large, a total below what is done. [`is_fenced`](Error::is_fenced) if the task is this worker's no
    /// more.
    pub async fn flush(&self) -> Result<(), Error> {
        self.command(Command::Flush).await
    }

    /// `Running → Blocked`: the work waits for something outside. Flushes before.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); a conflict if the task is not running.
    pub async fn block(&self) -> Result<(), Error> {
        self.command(|reply| Command::Transition("blocked", reply)).await
    }

    /// `Blocked → Running`.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush); a conflict if the task is not blocked.
    pub async fn resume(&self) -> Result<(), Error> {
        self.command(|reply| Command::Transition("running", reply)).await
    }

    /// Flushes, and ends the task well, with a result; `()` for none.
    ///
    /// Once this future was polled the end is made, even if the future is then dropped.
    ///
    /// # Errors
    ///
    /// The worker is given back: with [`is_too_large`](Error::is_too_large) if the result is, with
    /// [`is_fenced`](Error::is_fenced) if the task was this worker's no more and how it ended is not known
    /// (where it is, that is [`Finished::Lost`]), and with that of the connection if the service cannot be
    /// reached for as long as [`WorkerOptions::finish_patience`]. To ask for the same end again is safe.
    pub async fn succeed(self, result: impl Serialize) -> Result<Finished, Unfinished> {
        self.finish(Json::of(result).map(Ending::Succeeded)).await
    }

    /// Flushes, and ends the task badly, with an error; `()` for none.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub async fn fail(self, reason: FailureReason, error: impl Serialize) -> Result<Finished, Unfinished> {
        self.finish(Json::of(error).map(|error| Ending::Failed(reason, error))).await
    }

    /// Flushes, and ends the task as cancelled.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub async fn agree_to_cancel(self) -> Result<Finished, Unfinished> {
        self.finish(Ok(Ending::Cancelled)).await
    }

    async fn finish(self, ending: Result<Ending, Error>) -> Result<Finished, Unfinished> {
        match ending {
            Ok(ending) => self.end(|reply| Command::Finish(ending, reply)).await,
            Err(error) => Err(Unfinished { worker: self, error }),
        }
    }

    /// Gives the attempt up, so that another one can be made: `Running | Blocked → Pending`.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush), with the worker given back.
    pub async fn retry(self) -> Result<(), Unfinished> {
        self.end(Command::Retry).await
    }

    /// Gives a command that ends the attempt; and the worker back, if it does not.
    async fn end<T>(
        mut self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Unfinished> {
        let (reply, answer) = oneshot::channel();
        if let Some(place) = self.end.take() {
            place.send(command(reply));
        }
        match answer.await.unwrap_or_else(|_| Err(Error::fenced(None))) {
            Ok(done) => Ok(done),
            Err(error) => {
                // What was before it among the commands was taken before it.
                self.end = self.commands.clone().try_reserve_owned().ok();
                Err(Unfinished { worker: self, error })
            }
        }
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        // The reporter goes only with its process; then nobody can answer for the task.
        let gone = || Error::fenced(None);
        self.commands.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .field("attempt", &self.attempt)
            .field("done", &self.done())
            .field("standing", &self.standing())
            .finish()
    }
}
