//! Polling at the pace that the service asks for, and only for what has changed.

use std::time::Duration;

use inflight::TaskId;
use tokio::time::{Instant, sleep_until};

use crate::client::Client;
use crate::deadline::later;
use crate::details::Details;
use crate::error::Error;

const PACE: Duration = Duration::from_secs(1);

/// Polls one task: what [`Client::poller`] gives.
///
/// It remembers what it saw, so that an answer to "nothing new" has no body (304), and how long the service
/// asked to wait before the next poll.
///
/// ```no_run
/// # use inflight_client::{Client, TaskId};
/// # async fn doc(client: Client, id: TaskId) -> Result<(), inflight_client::Error> {
/// let mut poller = client.poller(id);
/// loop {
///     let polled = poller.poll().await?;
///     println!("{} {}", polled.task.state, polled.task.progress.done);
///     if polled.task.is_terminal() { break }
///     poller.pause().await;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Poller {
    client: Client,
    id: TaskId,
    seen: Option<Details>,
    next: Instant,
}

/// What a poll found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Poll {
    /// The task.
    pub task: Details,
    /// Whether it has changed since the poll before.
    pub changed: bool,
}

impl Poller {
    pub(crate) fn new(client: Client, id: TaskId) -> Self {
        Self { client, id, seen: None, next: Instant::now() }
    }

    /// Polls now. It does not wait for the pace; [`pause`](Self::pause) does.
    ///
    /// # Errors
    ///
    /// As [`Client::get`].
    pub async fn poll(&mut self) -> Result<Poll, Error> {
        let version = self.seen.as_ref().map(|task| task.version);
        let (fresh, reply) = self.client.poll(self.id, version, None).await?;
        let (task, changed) = match (fresh, self.seen.take()) {
            (Some(task), _) => (task, true),
            (None, Some(task)) => (task, false),
            (None, None) => return Err(Error::malformed("not modified, though nothing was known")),
        };
        let pace = reply.retry_after().or(task.poll_interval).unwrap_or(PACE);
        self.next = later(Instant::now(), pace.min(self.client.transport.bounds.max_backoff));
        self.seen = Some(task.clone());
        Ok(Poll { task, changed })
    }

    /// Waits until the service would like the next poll; not longer than the client's greatest back-off.
    pub async fn pause(&self) {
        sleep_until(self.next).await;
    }
}
