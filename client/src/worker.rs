//! A remote worker's handle: counts in memory, reports in the background.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight::{FailureReason, MAX_COUNT, TaskId};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

use crate::client::{Client, Ending, Finished};
use crate::details::Details;
use crate::error::Error;
use crate::reporter::{Command, Reporter};
use crate::task_ref::value;

/// How a worker reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The lease that the task was created with, if it has one: a heartbeat is sent after each third of it
    /// that was silent.
    pub lease: Option<Duration>,
    /// The shortest time between two reports; 250 ms by default, and 10 ms at the least. However often the
    /// worker advances, it makes no more requests than that.
    pub report_every: Duration,
    /// After how long without a report the worker asks whether it is to stop; 2 s by default. With a lease
    /// the heartbeat asks.
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
/// [`advance`](Self::advance) is one atomic addition; a background task reports where the count has got to,
/// a few times a second at the most ([`WorkerOptions::report_every`]), together with the newest message and
/// total. Nothing queues up: whatever has not been reported yet is one number, one message and one total.
/// While the service cannot be reached the worker goes on counting, and the first report that gets through
/// makes up for it.
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
///         Standing::CancelRequested => return worker.agree_to_cancel().await.map(drop),
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
    pub(crate) fn start(client: Client, task: Details, options: WorkerOptions) -> Self {
        let done = AtomicU64::new(task.progress.done);
        let shared = Arc::new(Shared { done, cold: Mutex::default() });
        let (tell, standing) = watch::channel(Standing::Holds);
        // One command at a time is enough: who gives one waits for its answer.
        let (commands, receiver) = mpsc::channel(1);
        let (id, attempt) = (task.id, task.attempt);
        let reporter = Reporter::new(client, &task, options, Arc::clone(&shared), tell, receiver);
        tokio::spawn(reporter.run());
        Self { id, attempt, shared, standing, commands }
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
    /// That of the report; or, once, what the service refused of one before: a message that was too large, a
    /// total below what is done. [`is_fenced`](Error::is_fenced) if the task is this worker's no more.
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
    /// # Errors
    ///
    /// [`is_fenced`](Error::is_fenced) if the task was this worker's no more and how it ended is not known;
    /// where it is, that is [`Finished::Lost`]. If the service cannot be reached, after
    /// [`WorkerOptions::finish_patience`], that of the connection.
    pub async fn succeed(self, result: impl Serialize) -> Result<Finished, Error> {
        let ending = Ending::Succeeded(value(result)?);
        self.command(|reply| Command::Finish(ending, reply)).await
    }

    /// Flushes, and ends the task badly, with an error; `()` for none.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub async fn fail(self, reason: FailureReason, error: impl Serialize) -> Result<Finished, Error> {
        let ending = Ending::Failed(reason, value(error)?);
        self.command(|reply| Command::Finish(ending, reply)).await
    }

    /// Flushes, and ends the task as cancelled.
    ///
    /// # Errors
    ///
    /// As [`succeed`](Self::succeed).
    pub async fn agree_to_cancel(self) -> Result<Finished, Error> {
        self.command(|reply| Command::Finish(Ending::Cancelled, reply)).await
    }

    /// Gives the attempt up, so that another one can be made: `Running | Blocked → Pending`.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub async fn retry(self) -> Result<(), Error> {
        self.command(Command::Retry).await
    }

    async fn command<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        // The reporter goes only when its runtime does; then nobody can answer for the task.
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
