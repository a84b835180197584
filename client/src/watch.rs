//! Live events: one task, or all that match. Connects again by itself, and goes on where it was.

use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::header::{ACCEPT, HeaderName};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use inflight::{GoneReason, TaskId, Version};
use serde::Deserialize;
use tokio::time::{sleep, timeout};

use crate::backoff::Backoff;
use crate::client::{Client, path};
use crate::details::{Counts, Details};
use crate::error::{Error, gone_reason};
use crate::query::Filter;
use crate::sse::{Message, Parser};
use crate::transport::Call;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follows one task: what [`Client::watch`] gives.
///
/// The first item is the task as it is, then one for each change, coalesced: a reader that is slow skips
/// versions, but never goes back, and never misses the end. After the terminal status comes `None`.
///
/// A connection that breaks, is silent for too long, or is turned away with a 503 is made again, with the id
/// of the last event, after a bounded and jittered back-off.
///
/// ```no_run
/// # use inflight_client::{Client, TaskId};
/// # async fn doc(client: Client, id: TaskId) -> Result<(), inflight_client::Error> {
/// let mut watch = client.watch(id);
/// while let Some(task) = watch.next().await {
///     let task = task?;
///     println!("{} {:?}", task.state, task.progress.fraction);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    feed: Feed,
    seen: Option<Version>,
    ended: bool,
}

impl Watch {
    pub(crate) fn new(client: Client, id: TaskId) -> Self {
        Self { feed: Feed::new(client, path(id, "/events")), seen: None, ended: false }
    }

    /// The next status; `None` after the terminal one, or after an error.
    ///
    /// It can be dropped while it waits, and called again, without losing anything.
    pub async fn next(&mut self) -> Option<Result<Details, Error>> {
        while !self.ended {
            match self.feed.next().await {
                Ok(Some(Event::Changed(task))) => {
                    // After a reconnect the server may repeat itself.
                    if self.seen.is_some_and(|seen| task.version <= seen) {
                        continue;
                    }
                    self.seen = Some(task.version);
                    self.ended = task.is_terminal();
                    return Some(Ok(*task));
                }
                Ok(Some(Event::Gone { reason, .. })) => {
                    self.ended = true;
                    return Some(Err(gone(reason)));
                }
                Ok(Some(Event::Ready(_) | Event::Resync)) => {}
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// The same as a `Stream`.
    pub fn into_stream(self) -> impl Stream<Item = Result<Details, Error>> {
        futures_util::stream::unfold(self, |mut watch| async { watch.next().await.map(|item| (item, watch)) })
    }
}

/// Follows all tasks that match: what [`Client::events`] gives. It does not end by itself.
#[derive(Debug)]
pub struct Events {
    feed: Feed,
    failed: bool,
}

/// What happened to a task of the feed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// It is there, and this is its newest status.
    Changed(Box<Details>),
    /// It is there no more.
    Gone {
        /// Its id.
        id: TaskId,
        /// Why, where that is told.
        reason: Option<GoneReason>,
    },
    /// All tasks that there are have been told; what follows is what changes. So many there are in each state,
    /// whatever the filter.
    Ready(Counts),
    /// The reader fell behind, or the service was restarted: it begins anew, with all tasks that there are.
    /// What is not among them by the next [`Event::Ready`] is gone.
    Resync,
}

impl Events {
    pub(crate) fn new(client: Client, filter: &Filter) -> Self {
        Self { feed: Feed::new(client, filter.for_events("/v1/events")), failed: false }
    }

    /// The next event; `None` after an error.
    ///
    /// After a broken connection it goes on where it was, or begins anew with [`Event::Resync`].
    pub async fn next(&mut self) -> Option<Result<Event, Error>> {
        if self.failed {
            return None;
        }
        let next = self.feed.next().await;
        self.failed = !matches!(next, Ok(Some(_)));
        next.transpose()
    }

    /// The same as a `Stream`.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, Error>> {
        futures_util::stream::unfold(self, |mut events| async {
            events.next().await.map(|item| (item, events))
        })
    }
}

/// A stream of events over as many connections as it takes.
#[derive(Debug)]
struct Feed {
    client: Client,
    path: String,
    last_id: Option<String>,
    backoff: Backoff,
    connection: Option<Connection>,
    /// How long to wait before the next connect.
    pause: Option<Duration>,
}

#[derive(Debug)]
struct Connection {
    body: Incoming,
    parser: Parser,
    chunk: Bytes,
}

impl Feed {
    fn new(client: Client, path: String) -> Self {
        let backoff = client.transport.bounds.backoff();
        Self { client, path, last_id: None, backoff, connection: None, pause: None }
    }

    /// The next event, or none if the server says that there will be none.
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(pause) = self.pause {
                sleep(pause).await;
                self.pause = None;
            }
            let Some(connection) = &mut self.connection else {
                if !self.connect().await? {
                    return Ok(None);
                }
                continue;
            };
            let silence = self.client.transport.bounds.max_silence;
            let read = match timeout(silence, connection.next()).await {
                Ok(read) => read,
                Err(_) => Err(Error::timed_out(silence)),
            };
            if let Some(retry) = connection.parser.take_retry() {
                self.backoff.set_first(retry);
            }
            match read {
                Ok(Some(message)) => {
                    self.last_id = connection.parser.last_id().map(str::to_owned);
                    if let Some(event) = event(&message)? {
                        self.backoff.reset();
                        return Ok(Some(event));
                    }
                }
                Ok(None) => self.lost(Error::broken("the stream ended"))?,
                Err(error) if error.is_transient() => self.lost(error)?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Connects once. False if the server says that there is nothing more to come (204).
    async fn connect(&mut self) -> Result<bool, Error> {
        let mut call = Call::get(&*self.path).header(ACCEPT, "text/event-stream")?;
        if let Some(id) = &self.last_id {
            call = call.header(LAST_EVENT_ID, id)?;
        }
        match self.client.transport.open(&call).await {
            Ok(response) if response.status() == http::StatusCode::NO_CONTENT => Ok(false),
            Ok(response) => {
                let parser = Parser::new(self.client.transport.bounds.max_event);
                let body = response.into_body();
                self.connection = Some(Connection { body, parser, chunk: Bytes::new() });
                Ok(true)
            }
            Err(error) if error.is_transient() => self.lost(error).map(|()| true),
            Err(error) => Err(error),
        }
    }

    /// Notes that the connection is no more, and how long to wait for the next.
    fn lost(&mut self, error: Error) -> Result<(), Error> {
        self.connection = None;
        if self.backoff.tries() >= self.client.transport.bounds.reconnects {
            return Err(error);
        }
        self.pause = Some(self.backoff.next(error.retry_after()));
        Ok(())
    }
}

impl Connection {
    /// The next message, or none at the end of the body. Safe to drop: a chunk is kept once it has arrived.
    async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            let limit = self.parser.limit();
            let read = self.parser.feed(&mut self.chunk);
            if let Some(message) = read.map_err(|_| Error::too_large("an event", limit))? {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Error::broken(error)),
                None => return Ok(None),
            }
        }
    }
}

/// What a message says. One of a name that is not known says nothing.
fn event(message: &Message) -> Result<Option<Event>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Gone {
        task_id: String,
        #[serde(alias = "goneReason")]
        reason: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ready {
        by_state: Counts,
    }
    let malformed = |error: serde_json::Error| Error::malformed(format!("event {}: {error}", message.event));
    Ok(match message.event.as_str() {
        "message" | "status" | "task" => {
            Some(Event::Changed(serde_json::from_str(&message.data).map_err(malformed)?))
        }
        "gone" => {
            let gone: Gone = serde_json::from_str(&message.data).map_err(malformed)?;
            let id = gone.task_id.parse().map_err(|_| Error::malformed("the id of a task that is gone"))?;
            Some(Event::Gone { id, reason: gone.reason.as_deref().and_then(gone_reason) })
        }
        "ready" => {
            let ready: Ready = serde_json::from_str(&message.data).map_err(malformed)?;
            Some(Event::Ready(ready.by_state))
        }
        "resync" => Some(Event::Resync),
        _ => None,
    })
}

/// As a poll would have said it.
fn gone(reason: Option<GoneReason>) -> Error {
    let problem = crate::Problem { reason: reason.map(|reason| reason.to_string()), ..Default::default() };
    Error::refused(http::StatusCode::GONE, problem, None)
}
