//! The background half of a [`Worker`](crate::Worker): one request at a time, no more than a few a second,
//! whatever the worker does; and the lease kept alive.
//!
//! What it owes the service is one count, one message and one total at the most, so an outage of any length
//! costs nothing but time. When it learns that the task is not the worker's any more, or has not heard from
//! the service for as long as the lease is, it says so and sends nothing more (I10).

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use inflight::{FailureReason, State, TaskId, Version};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::backoff::Backoff;
use crate::client::{Client, Finished};
use crate::deadline::{later, never};
use crate::details::Details;
use crate::error::Error;
use crate::json::Json;
use crate::worker::{Shared, Standing, WorkerOptions};
use crate::writes::{Ending, Patch, PatchProgress};

const LEAST_INTERVAL: Duration = Duration::from_millis(10);

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the worker asks for and waits for.
pub(crate) enum Command {
    Flush(Reply<()>),
    Transition(&'static str, Reply<()>),
    Finish(Ending, Reply<Finished>),
    Retry(Reply<()>),
}

pub(crate) struct Reporter {
    client: Client,
    id: TaskId,
    attempt: u32,
    version: Version,
    options: WorkerOptions,
    shared: Arc<Shared>,
    tell: watch::Sender<Standing>,
    commands: mpsc::Receiver<Command>,
    /// How much the service knows of.
    reported: u64,
    /// When to report next, if there is anything to report.
    due: Instant,
    /// When to beat or check next, if there is nothing to report.
    beat: Instant,
    /// When the request that was last answered was sent: the lease is good from then.
    heard: Instant,
    backoff: Backoff,
    /// What the service refused, if no caller has received that answer.
    refused: Option<Error>,
    /// A transition that may have been made, if no caller has received that answer.
    unheard: Option<&'static str>,
    /// An end that may have been made, though no answer confirmed it.
    unsure: Option<Ending>,
    /// The task as it was when it was found to be another's.
    fenced: Option<Option<Details>>,
}

/// An answer that may say how the task stands.
trait News {
    fn task(&self) -> Option<&Details>;
}

impl News for Details {
    fn task(&self) -> Option<&Details> {
        Some(self)
    }
}

impl News for (Option<Details>, crate::transport::Reply) {
    fn task(&self) -> Option<&Details> {
        self.0.as_ref()
    }
}

/// The attempt is over by the worker's own will: no news that would fence it.
impl News for Finished {
    fn task(&self) -> Option<&Details> {
        None
    }
}

impl News for () {
    fn task(&self) -> Option<&Details> {
        None
    }
}

impl Reporter {
    pub(crate) fn new(
        client: Client,
        task: &Details,
        mut options: WorkerOptions,
        shared: Arc<Shared>,
        tell: watch::Sender<Standing>,
        commands: mpsc::Receiver<Command>,
        asked: Instant,
    ) -> Self {
        options.report_every = options.report_every.max(LEAST_INTERVAL);
        options.check_every = options.check_every.max(options.report_every);
        let backoff = client.transport.bounds.backoff();
        let mut reporter = Self {
            client,
            id: task.id,
            attempt: task.attempt,
            version: task.version,
            reported: task.progress.done,
            due: later(Instant::now(), options.report_every),
            beat: asked,
            heard: asked,
            options,
            shared,
            tell,
            commands,
            backoff,
            refused: None,
            unheard: None,
            unsure: None,
            fenced: None,
        };
        reporter.beat = later(asked, reporter.silence());
        reporter.learn(task);
        reporter
    }

    /// How long it may be silent.
    fn silence(&self) -> Duration {
        let check = self.options.check_every;
        self.options.lease.map_or(check, |lease| (lease / 3).min(check).max(LEAST_INTERVAL))
    }

    /// When the lease runs out, as far as can be said here: not later than the service thinks.
    fn lapse(&self) -> Instant {
        self.options.lease.map_or_else(|| never(self.heard), |lease| later(self.heard, lease))
    }

    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                // First what the worker waits for.
                biased;
                command = self.commands.recv() => {
                    let Some(command) = command else { return self.abandon().await };
                    if self.obey(command).await.is_break() {
                        return;
                    }
                }
                () = sleep_until(self.due), if self.fenced.is_none() => self.tick().await,
            }
        }
    }

    /// Whether anything is unreported.
    fn owes(&self) -> bool {
        let cold = self.shared.cold();
        self.shared.done() > self.reported || cold.message.is_some() || cold.total.is_some()
    }

    /// Reports, beats or checks, as is due. Errors are for later: the count stays owed.
    async fn tick(&mut self) {
        let result = if self.owes() {
            self.report().await
        } else if Instant::now() >= self.beat {
            self.beat().await
        } else {
            Ok(())
        };
        let now = Instant::now();
        let pause = match result {
            Ok(()) => {
                self.backoff.reset();
                self.options.report_every
            }
            Err(error) => {
                let pause = self.backoff.next(error.retry_after());
                if !error.is_transient() {
                    self.refused = Some(error);
                }
                pause.max(self.options.report_every)
            }
        };
        // No pause reaches past a beat: a lease would be lost by waiting.
        self.due = later(now, pause.min(self.silence()));
    }

    /// Sends what is owed, in one request.
    async fn report(&mut self) -> Result<(), Error> {
        let (message, total) = {
            let mut cold = self.shared.cold();
            (cold.message.take(), cold.total.take())
        };
        let done = self.shared.done();
        let progress = PatchProgress { done: (done > self.reported).then_some(done), total };
        let patch = Patch { status_message: message, progress, ..Patch::default() };
        let client = self.client.clone();
        match self.exchange(client.task(self.id).in_attempt(self.attempt).patch(&patch)).await {
            Ok(_) => {
                self.reported = self.reported.max(done);
                Ok(())
            }
            Err(error) => {
                // A count that is refused stays owed: a blocked task takes it once it goes on. A message or a
                // total that is refused is told to the next flush, and not sent again.
                if error.is_transient() {
                    self.owe_again(patch);
                }
                Err(error)
            }
        }
    }

    /// Puts back what was not sent, where there is nothing newer.
    fn owe_again(&self, patch: Patch) {
        let mut cold = self.shared.cold();
        cold.message = cold.message.take().or(patch.status_message);
        cold.total = cold.total.or(patch.progress.total);
    }

    /// Extends the lease, and learns whether to stop.
    async fn beat(&mut self) -> Result<(), Error> {
        let (client, id, attempt) = (self.client.clone(), self.id, self.attempt);
        if self.options.lease.is_some() {
            return self.exchange(client.task(id).in_attempt(attempt).heartbeat()).await.map(drop);
        }
        let version = Some(self.version);
        self.exchange(client.poll(id, version, None)).await.map(drop)
    }

    /// Makes a request, and learns from its answer.
    async fn exchange<T: News>(
        &mut self,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(task) = &self.fenced {
            return Err(Error::fenced(task.clone()));
        }
        let sent = Instant::now();
        let answer = match timeout_at(self.lapse(), request).await {
            Ok(answer) => answer,
            Err(_) => {
                self.fence(None);
                Err(Error::fenced(None))
            }
        };
        match &answer {
            Ok(answer) => {
                self.heard = sent;
                self.beat = later(sent, self.silence());
                if let Some(task) = answer.task() {
                    self.learn(task);
                }
            }
            Err(error) if error.is_unknown() || error.is_gone() => self.fence(None),
            Err(error) => {
                if let Some(task) = error.current() {
                    self.learn(task);
                }
            }
        }
        match &self.fenced {
            Some(task) => Err(Error::fenced(task.clone())),
            None => answer,
        }
    }

    /// What an answer says of the worker's standing.
    fn learn(&mut self, task: &Details) {
        self.version = self.version.max(task.version);
        if task.attempt != self.attempt || !matches!(task.state, State::Running | State::Blocked) {
            self.fence(Some(task.clone()));
        } else if task.cancel_requested {
            self.tell.send_replace(Standing::CancelRequested);
        }
    }

    fn fence(&mut self, task: Option<Details>) {
        self.fenced.get_or_insert(task);
        self.tell.send_replace(Standing::Fenced);
    }

    /// Carries out a command, even if no caller waits for the answer any more. Breaks if the attempt is over.
    async fn obey(&mut self, command: Command) -> ControlFlow<()> {
        let is_over = match command {
            Command::Flush(reply) => {
                let flushed = self.flush().await;
                self.answer(reply, flushed);
                false
            }
            Command::Transition(status, reply) => {
                let made = self.transition(status).await;
                let (is_made, is_unsure) = (made.is_ok(), made.as_ref().is_err_and(Error::leaves_unsure));
                let is_heard = self.answer(reply, made);
                self.unheard = (is_unsure || is_made && !is_heard).then_some(status);
                false
            }
            Command::Retry(reply) => {
                let retried = self.retry().await;
                let is_over = retried.is_ok();
                self.answer(reply, retried);
                is_over
            }
            Command::Finish(ending, reply) => {
                let finished = self.finish(&ending).await;
                let is_over = finished.is_ok();
                self.answer(reply, finished);
                is_over
            }
        };
        if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Sends an answer, and returns whether a caller received it. If not, the next flush reports a refusal.
    fn answer<T>(&mut self, reply: Reply<T>, answer: Result<T, Error>) -> bool {
        match reply.send(answer) {
            Ok(()) => true,
            Err(Err(error)) if !error.is_transient() && !error.is_fenced() => {
                self.refused = Some(error);
                false
            }
            Err(_) => false,
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        if let Some(task) = &self.fenced {
            return Err(Error::fenced(task.clone()));
        }
        if self.owes() {
            self.report().await?;
            self.due = later(Instant::now(), self.options.report_every);
        }
        self.refused.take().map_or(Ok(()), Err)
    }

    async fn transition(&mut self, status: &'static str) -> Result<(), Error> {
        self.flush().await?;
        let (client, patch) = (self.client.clone(), Patch { status: Some(status), ..Patch::default() });
        let made = self.exchange(client.task(self.id).in_attempt(self.attempt).patch(&patch)).await.map(drop);
        let is_made = |error: &Error| {
            error.is_conflict() && error.current().is_some_and(|task| task.state.as_str() == status)
        };
        match made {
            Err(error) if self.unheard == Some(status) && is_made(&error) => Ok(()),
            made => made,
        }
    }

    async fn retry(&mut self) -> Result<(), Error> {
        let (client, id, attempt) = (self.client.clone(), self.id, self.attempt);
        self.exchange(async move { client.task(id).in_attempt(attempt).retry().await.map(drop) }).await
    }

    /// Reports the last of it and ends the task; tries for as long as its patience lasts.
    async fn finish(&mut self, ending: &Ending) -> Result<Finished, Error> {
        let deadline = later(Instant::now(), self.options.finish_patience);
        self.backoff.reset();
        loop {
            let mut result = if self.owes() { self.report().await } else { Ok(()) };
            // What was refused of the report does not keep the task from its end.
            if result.as_ref().is_err_and(|error| !error.is_transient() && !error.is_fenced()) {
                result = Ok(());
            }
            let result = match result {
                Ok(()) => self.end(ending).await,
                Err(error) => Err(error),
            };
            let error = match result {
                Ok(finished) => return Ok(finished),
                Err(error) => error,
            };
            if let Some(Some(task)) = &self.fenced
                && task.is_terminal()
            {
                let won = self.unsure.as_ref() == Some(ending) && ending.made(task);
                return Ok(if won { Finished::Won(task.clone()) } else { Finished::Lost(task.clone()) });
            }
            if !error.is_transient() || Instant::now() >= deadline {
                return Err(error);
            }
            let pause = self.backoff.next(error.retry_after()).min(self.silence());
            sleep_until(later(Instant::now(), pause).min(deadline)).await;
        }
    }

    /// Asks for the end once, and notes it if it may have been made without an answer.
    async fn end(&mut self, ending: &Ending) -> Result<Finished, Error> {
        let client = self.client.clone();
        let mut unsure = self.unsure.as_ref() == Some(ending);
        let end = client.task(self.id).in_attempt(self.attempt).finish(ending, &mut unsure);
        let ended = self.exchange(end).await;
        if unsure {
            self.unsure = Some(ending.clone());
        }
        ended
    }

    /// The handle was dropped before the end: says so, once, if that can be said.
    async fn abandon(mut self) {
        if self.fenced.is_some() {
            return;
        }
        if self.owes() {
            let _ = self.report().await;
        }
        let why = Json::of("the worker let go of the task").ok().flatten();
        let _ = self.end(&Ending::Failed(FailureReason::Lost, why)).await;
    }
}
