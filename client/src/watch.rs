//! Live events for a reader: of one task, or of all that match.

use futures_core::Stream;
use inflight::{GoneReason, TaskId, Version};

use crate::client::{Client, path};
use crate::details::Details;
use crate::error::Error;
use crate::feed::{Event, Feed};
use crate::query::Filter;

/// Follows one task: what [`Client::watch`] gives.
///
/// The first item is the task as it is, then one for each change, coalesced: a reader that is slow skips
/// versions, but never goes back, and never misses the end. After the terminal status comes `None`. If
/// the id is used again meanwhile, the watch continues with the later task, which has greater versions.
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
                // A late event about an earlier task with the same id.
                Ok(Some(Event::Gone { version, .. })) if version.is_some() && version < self.seen => {}
                Ok(Some(Event::Gone { reason, .. })) => {
                    self.ended = true;
                    return Some(Err(gone(reason)));
                }
                Ok(Some(Event::Left { .. } | Event::Ready(_) | Event::Resync)) => {}
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

impl Events {
    pub(crate) fn new(client: Client, filter: &Filter) -> Self {
        Self { feed: Feed::new(client, filter.for_events("/v1/events")), failed: false }
    }

    /// The next event; `None` after an error.
    ///
    /// After a broken connection it goes on where it was, or begins anew with [`Event::Resync`].
    ///
    /// It can be dropped while it waits, and called again, without losing anything.
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

/// As a poll would have said it.
fn gone(reason: Option<GoneReason>) -> Error {
    let problem = crate::Problem { reason: reason.map(|reason| reason.to_string()), ..Default::default() };
    Error::refused(http::StatusCode::GONE, problem, None)
}
