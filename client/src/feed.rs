//! The stream of events of every watch. It reconnects by itself, and continues where it was.
//!
//! The reader can drop a read at any wait and start another (I6). So a read holds no state: the request for a
//! connection, the received part of an event, and every deadline are fields of the feed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use inflight::{GoneReason, TaskId, Version};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::backoff::Backoff;
use crate::client::Client;
use crate::deadline::later;
use crate::details::{Counts, Details};
use crate::error::{Error, gone_reason};
use crate::sse::{Message, Parser};
use crate::transport::Call;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What happened to a task of the feed.
///
/// An id can be used again, and an event of an earlier task may come after an event of the later task. The
/// later task has greater versions. So in a copy of the tasks the greater version wins:
///
/// ```no_run
/// use std::collections::HashMap;
/// use inflight_client::{Details, Event, TaskId};
///
/// fn apply(tasks: &mut HashMap<TaskId, Details>, event: Event) {
///     match event {
///         Event::Changed(task) => {
///             if tasks.get(&task.id).is_none_or(|known| known.version < task.version) {
///                 tasks.insert(task.id, *task);
///             }
///         }
///         Event::Gone { id, version, .. } | Event::Left { id, version } => {
///             let is_newer = |known: &Details| version.is_some_and(|version| known.version > version);
///             if !tasks.get(&id).is_some_and(is_newer) {
///                 tasks.remove(&id);
///             }
///         }
///         _ => {}
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// It is there, and this is its newest status.
    Changed(Box<Details>),
    /// It is there no more.
    Gone {
        /// Its id.
        id: TaskId,
        /// The version that it had at last, where that is told.
        version: Option<Version>,
        /// Why, where that is told.
        reason: Option<GoneReason>,
    },
    /// It exists, but does not match the filter any more. (Or it never did: a stream does not know.)
    Left {
        /// Its id.
        id: TaskId,
        /// The version at which it did not match, where that is told.
        version: Option<Version>,
    },
    /// All tasks that there are have been told; what follows is what changes. So many there are in each
    /// state, whatever the filter.
    Ready(Counts),
    /// The reader fell behind, or the service was restarted: it begins anew, with all tasks that there are.
    /// What is not among them by the next [`Event::Ready`] is gone.
    Resync,
}

/// A stream of events over as many connections as it takes.
#[derive(Debug)]
pub(crate) struct Feed {
    client: Client,
    path: String,
    last_id: Option<String>,
    backoff: Backoff,
    link: Link,
}

/// How the feed is connected.
enum Link {
    /// Not; it will be tried then.
    Down(Instant),
    Connecting(Connecting),
    Up(Box<Connection<Incoming>>),
}

type Connecting = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send + Sync>>;

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Link::Down(until) => f.debug_tuple("Down").field(until).finish(),
            Link::Connecting(_) => f.write_str("Connecting"),
            Link::Up(connection) => f.debug_tuple("Up").field(connection).finish(),
        }
    }
}

#[derive(Debug)]
struct Connection<B> {
    body: B,
    parser: Parser,
    chunk: Bytes,
    max_silence: Duration,
    /// When it is taken for dead, if nothing comes until then.
    dead_at: Instant,
}

impl Feed {
    pub(crate) fn new(client: Client, path: String) -> Self {
        let backoff = client.transport.bounds.backoff();
        Self { client, path, last_id: None, backoff, link: Link::Down(Instant::now()) }
    }

    /// The next event, or none if the server says that there will be none.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            match &mut self.link {
                Link::Down(until) => {
                    sleep_until(*until).await;
                    self.link = Link::Connecting(self.connect()?);
                }
                Link::Connecting(connecting) => {
                    let connected = connecting.await;
                    self.link = Link::Down(Instant::now());
                    match connected {
                        Ok(response) if response.status() == StatusCode::NO_CONTENT => return Ok(None),
                        Ok(response) => self.link = Link::Up(Box::new(self.connection(response))),
                        Err(error) => self.lost(error)?,
                    }
                }
                Link::Up(connection) => {
                    let read = connection.next().await;
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
                        Err(error) => self.lost(error)?,
                    }
                }
            }
        }
    }

    /// The request for one connection.
    fn connect(&self) -> Result<Connecting, Error> {
        let mut call = Call::get(&*self.path).header(ACCEPT, "text/event-stream")?;
        if let Some(id) = &self.last_id {
            call = call.header(LAST_EVENT_ID, id)?;
        }
        Ok(Box::pin(self.client.transport.clone().open(call)))
    }

    fn connection(&self, response: Response<Incoming>) -> Connection<Incoming> {
        let bounds = &self.client.transport.bounds;
        Connection::new(response.into_body(), bounds.max_event, bounds.max_silence)
    }

    /// Notes that the connection is lost, and when to try the next. Returns an error that a new connection
    /// cannot solve, and the last error of too many.
    fn lost(&mut self, error: Error) -> Result<(), Error> {
        self.link = Link::Down(Instant::now());
        if !error.is_transient() || self.backoff.tries() >= self.client.transport.bounds.reconnects {
            return Err(error);
        }
        self.link = Link::Down(later(Instant::now(), self.backoff.next(error.retry_after())));
        Ok(())
    }
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn new(body: B, max_event: usize, max_silence: Duration) -> Self {
        let dead_at = later(Instant::now(), max_silence);
        Self { body, parser: Parser::new(max_event), chunk: Bytes::new(), max_silence, dead_at }
    }

    /// The next message, or none at the end of the body. It can be dropped: a chunk that has arrived is kept,
    /// and so is the deadline, which only a new chunk moves. A comment is a chunk, too.
    async fn next(&mut self) -> Result<Option<Message>, Error> {
        loop {
            let limit = self.parser.limit();
            let read = self.parser.feed(&mut self.chunk);
            if let Some(message) = read.map_err(|_| Error::too_large("an event", limit))? {
                return Ok(Some(message));
            }
            let frame = timeout_at(self.dead_at, self.body.frame()).await;
            match frame.map_err(|_| Error::timed_out(self.max_silence))? {
                Some(Ok(frame)) => self.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Error::broken(error)),
                None => return Ok(None),
            }
            self.dead_at = later(Instant::now(), self.max_silence);
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
        version: Option<String>,
    }
    impl Gone {
        fn read(data: &str) -> Result<(TaskId, Option<Version>, Option<GoneReason>), String> {
            let gone: Gone = serde_json::from_str(data).map_err(|error| error.to_string())?;
            let id = gone.task_id.parse().map_err(|_| format!("taskId is {:?}", gone.task_id))?;
            let version = gone.version.map(|text| text.parse().map_err(|_| format!("version is {text:?}")));
            Ok((id, version.transpose()?, gone.reason.as_deref().and_then(gone_reason)))
        }
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Ready {
        by_state: Counts,
    }
    let malformed = |error: String| Error::malformed(format!("event {}: {error}", message.event));
    Ok(match message.event.as_str() {
        "message" | "status" | "task" => {
            let task = serde_json::from_str(&message.data);
            Some(Event::Changed(task.map_err(|error| malformed(error.to_string()))?))
        }
        "gone" => {
            let (id, version, reason) = Gone::read(&message.data).map_err(malformed)?;
            Some(Event::Gone { id, version, reason })
        }
        "left" => {
            let (id, version, _) = Gone::read(&message.data).map_err(malformed)?;
            Some(Event::Left { id, version })
        }
        "ready" => {
            let ready: Result<Ready, _> = serde_json::from_str(&message.data);
            let ready = ready.map_err(|error| malformed(error.to_string()))?;
            Some(Event::Ready(ready.by_state))
        }
        "resync" => Some(Event::Resync),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tokio::time::sleep;

    use super::*;

    /// A comment every ten seconds, as from a server without news; then an event, and silence.
    fn quiet(comments: u32) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let frames = stream::unfold(0, move |sent| async move {
            if sent > comments {
                std::future::pending::<()>().await;
            }
            sleep(Duration::from_secs(10)).await;
            let text = if sent < comments { ":\n\n" } else { "data: x\n\n" };
            Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), sent + 1))
        });
        StreamBody::new(Box::pin(frames))
    }

    #[tokio::test(start_paused = true)]
    async fn i6_comments_are_signs_of_life_and_silence_ends_though_every_read_is_dropped() {
        let mut connection = Connection::new(quiet(10), 100, Duration::from_secs(45));
        let message = connection.next().await.expect("it lives").expect("an event");
        assert_eq!(message.data, "x");
        let mut seconds = 0;
        let error = loop {
            if let Some(read) = connection.next().now_or_never() {
                break read.expect_err("silence");
            }
            assert!(seconds < 60, "each read that is dropped begins the silence anew");
            sleep(Duration::from_secs(1)).await;
            seconds += 1;
        };
        assert!(error.is_timeout() && seconds >= 45, "after {seconds} s: {error}");
    }
}
