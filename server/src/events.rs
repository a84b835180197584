//! Server-sent events: of one task, and of all. A stream is asked for its next piece when the last one
//! has been taken, so a slow reader skips what is outdated, and holds its position and that one piece: events
//! of about 32 KiB, or a part of one that is larger.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State as Extracted};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use inflight::{Absent, Cursor, Details, Filter, State, Status, TaskId, Version, Watch};
use serde::Serialize;
use tokio::sync::watch;
use utoipa::ToSchema;

use crate::app::{Shared, parse_id};
use crate::auth::{Caller, Scope};
use crate::hub::{News, Note};
use crate::pieces::Pieces;
use crate::problem::{Kind, Problem};
use crate::query::Query;
use crate::view::{ByState, Extent, TaskView, Text};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// How many notes a stream takes from the log at a time, at the most; what does not go into its piece is
/// taken anew.
const NOTES: usize = 128;

/// How many tasks it takes from the store at a time: all that goes into one piece, as a rule.
const TASKS: usize = 32;

/// The longest that a stream of all events may ask to collect changes.
const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// Adds one event. `data` is JSON without a line break.
fn frame(pieces: &mut Pieces, event: &str, id: Option<&str>, data: &[u8]) {
    head(pieces, event, id);
    pieces.text(data);
    pieces.text(b"\n\n");
}

/// What goes before an event's data.
fn head(pieces: &mut Pieces, event: &str, id: Option<&str>) {
    pieces.text(b"event: ");
    pieces.text(event.as_bytes());
    if let Some(id) = id {
        pieces.text(b"\nid: ");
        pieces.text(id.as_bytes());
    }
    pieces.text(b"\ndata: ");
}

/// How soon to come back. It is said with the first event, since some readers pass over a block without data.
const RETRY: &[u8] = b"retry: 1000\n";
/// A comment. It also goes first, so that proxies pass the head on.
const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

fn answer(frames: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut is_first = true;
    let frames = frames.map(move |frame| {
        if !is_first || frame == KEEP_ALIVE {
            return frame;
        }
        is_first = false;
        [RETRY, &frame].concat().into()
    });
    let frames = stream::once(std::future::ready(KEEP_ALIVE)).chain(frames);
    let mut response = Response::new(Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

fn nothing_more() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty())
}

fn draining() -> Problem {
    Problem::new(Kind::Draining, "no more streams are begun")
}

// ---- one task ---------------------------------------------------------------------------------------

/// One task's events
///
/// Server-sent events: first the task as it is, then as it changes, to its end. The id of an event is
/// the task's version; with `Last-Event-ID` only what is newer comes, and after the end 204.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/events",
    params(
        ("id" = String, Path, format = Uuid, description = "The task's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen"),
    ),
    responses(
        (status = 200, description = "Events `status` with a Task, and `gone`", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The task has ended, and that was seen"),
    ),
    tag = "read"
)]
pub(crate) async fn of_task(
    Extracted(app): Extracted<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.must(Scope::Read)?;
    let id = parse_id(&id)?;
    // Register first: otherwise a later task with this id, perhaps another tenant's, could be watched.
    let watch = app.store.watch(id);
    let status = app.status(&caller, id)?;
    let seen: Option<Version> = last_event_id(&headers).and_then(|id| id.parse().ok());
    if status.is_terminal() && seen == Some(status.version()) {
        return Ok(nothing_more());
    }
    if app.options.shutdown.has_begun() {
        return Err(draining());
    }
    let one = OneTask { id, app, caller, watch, seen, over: false, pieces: Pieces::default() };
    Ok(answer(stream::unfold(one, OneTask::next)))
}

struct OneTask {
    id: TaskId,
    app: Shared,
    caller: Caller,
    watch: Watch,
    seen: Option<Version>,
    over: bool,
    pieces: Pieces,
}

impl OneTask {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let keep_alive = self.app.options.keep_alive;
        loop {
            if let Some(piece) = self.pieces.next() {
                return Some((piece, self));
            }
            if self.over {
                return None;
            }
            let status = tokio::select! {
                status = self.watch.next() => status,
                () = tokio::time::sleep(keep_alive) => return Some((KEEP_ALIVE, self)),
                () = self.app.options.shutdown.begun() => return None,
            };
            let Some(status) = status else {
                let absent = self.watch.absent()?;
                self.over = true;
                self.gone(absent);
                continue;
            };
            let (status, details) = self.look(status);
            self.over = status.is_terminal();
            // A reader that comes back has seen this already; but one that reconnects to a later task
            // of the same id has not, as its versions are greater.
            if self.seen.is_some_and(|seen| seen >= status.version()) && !self.over {
                continue;
            }
            self.show(&status, details.as_ref());
        }
    }

    /// The details of the task whose status woke the stream, and the status that is theirs. They may be
    /// newer than what woke it; then they are what is told. `None` if it ended and went before it could be
    /// looked at: what is left is its last status.
    fn look(&mut self, mut status: Status) -> (Status, Option<Details>) {
        let mut rounds = 4;
        loop {
            let details = self.app.details(&self.caller, self.id).ok();
            if status.is_terminal() {
                // An end is final, so another version is a later task's.
                return (status, details.filter(|details| details.status().version() == status.version()));
            }
            let details = details.filter(|details| details.status().version() >= status.version());
            rounds -= 1;
            // If the task has not ended by now, its id was not another's when the details were read.
            match self.watch.next().now_or_never() {
                Some(Some(newer)) if newer.is_terminal() || rounds > 0 => status = newer,
                Some(None) => return (status, None),
                _ => return (details.as_ref().map_or(status, Details::status), details),
            }
        }
    }

    fn show(&mut self, status: &Status, details: Option<&Details>) {
        let pace = self.app.pace;
        head(&mut self.pieces, "status", Some(&status.version().to_string()));
        match details {
            Some(details) => self.pieces.task_on_a_line(details, status, pace, Extent::Full),
            None => self.pieces.text(&TaskView::of_status(status, None, pace).render()),
        }
        self.pieces.text(b"\n\n");
    }

    fn gone(&mut self, absent: Absent) {
        let reason = match absent {
            Absent::Gone(Some(reason)) => Some(reason.as_str()),
            _ => None,
        };
        let event = TaskGone { task_id: Text(self.id), gone_reason: reason };
        frame(&mut self.pieces, "gone", None, &serde_json::to_vec(&event).unwrap_or_default());
    }
}

/// A task went while its events were read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TaskGone {
    #[schema(value_type = String, format = Uuid)]
    task_id: Text<TaskId>,
    gone_reason: Option<&'static str>,
}

// ---- all tasks --------------------------------------------------------------------------------------

/// What every reader of all events is told when it is up to date, or has to begin anew.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ready {
    by_state: ByState,
}

/// A task is not in any of the states that the stream is filtered for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LeftEvent)]
pub(crate) struct Left {
    #[schema(value_type = String, format = Uuid)]
    task_id: Text<TaskId>,
    /// The state that it is in.
    #[schema(value_type = crate::view::StateName)]
    status: &'static str,
    #[schema(value_type = String)]
    version: Text<Version>,
}

impl Left {
    fn new(status: &Status) -> Self {
        let version = Text(status.version());
        Self { task_id: Text(status.id()), status: status.state().as_str(), version }
    }
}

/// All tasks' events
///
/// Server-sent events, coalesced: first each task as it is (unless `snapshot=false`), then `ready`, then
/// each task that changes with its newest status; with `state`, `left` for one that changes and is in none of
/// these states. The id of an event is a place in the log of changes;
/// with `Last-Event-ID` it goes on from there, or says `resync` if that is too long ago. Labels as for
/// the list.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(
        ("state" = Option<Vec<crate::view::StateName>>, Query, style = Form, explode, description = "Only tasks that are in one of these states"),
        ("kind" = Option<String>, Query, description = "Only tasks of this kind"),
        ("parent" = Option<String>, Query, format = Uuid, description = "Only children of this task"),
        ("snapshot" = Option<bool>, Query, description = "Whether to begin with the tasks as they are"),
        ("intervalMs" = Option<u64>, Query, description = "How long to collect changes, 60000 at the most"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen"),
    ),
    responses((status = 200, description = "Events `status`, `left`, `gone`, `ready` and `resync`", body = String, content_type = "text/event-stream")),
    tag = "find"
)]
pub(crate) async fn of_all(
    Extracted(app): Extracted<Shared>,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.must(Scope::List)?;
    let mut query = Query::parse(query.as_deref().unwrap_or_default());
    let wanted = Wanted {
        states: query.take_states()?,
        kind: query.take("kind"),
        labels: query.take_labels()?,
        parent: query.take_id("parent")?,
    };
    let snapshot = query.take_flag("snapshot")?.unwrap_or(true);
    let interval = query.take_number("intervalMs")?.map_or(Duration::ZERO, Duration::from_millis);
    query.finish()?;
    if app.options.shutdown.has_begun() {
        return Err(draining());
    }
    let resumed = last_event_id(&headers).map(|id| app.hub.parse_event_id(id));
    let head = app.hub.subscribe();
    let phase = match resumed {
        Some(Some(position)) => Phase::Live(position),
        _ => Phase::first(snapshot),
    };
    let interval = interval.min(MAX_INTERVAL);
    let pieces = Pieces::default();
    let mut all = AllTasks { app, caller, wanted, snapshot, interval, head, phase, pieces };
    if resumed == Some(None) {
        all.resync();
    }
    Ok(answer(stream::unfold(all, AllTasks::next)))
}

/// Which tasks a stream is about.
struct Wanted {
    states: Vec<State>,
    kind: Option<String>,
    labels: Vec<(String, String)>,
    parent: Option<TaskId>,
}

impl Wanted {
    fn filter(&self) -> Filter {
        let mut filter = Filter::new().page_size(TASKS);
        filter = self.states.iter().fold(filter, |filter, state| filter.state(*state));
        filter = self.labels.iter().fold(filter, |filter, (key, value)| filter.label(key, value));
        if let Some(kind) = &self.kind {
            filter = filter.kind(kind);
        }
        if let Some(parent) = self.parent {
            filter = filter.parent(parent);
        }
        filter
    }

    /// Whether the task is one of those that the stream is about.
    fn has(&self, details: &Details) -> bool {
        self.is_about(details) && (self.states.is_empty() || self.states.contains(&details.status().state()))
    }

    /// Whether it is, but for its state: the rest of what is filtered for never changes.
    fn is_about(&self, details: &Details) -> bool {
        self.kind.as_ref().is_none_or(|kind| details.kind() == kind)
            && self.labels.iter().all(|(key, value)| details.label(key) == Some(value))
            && self.parent.is_none_or(|parent| details.parent() == Some(parent))
    }
}

enum Phase {
    /// The tasks that there are, page by page; and where the log ended before the first.
    Snapshot { from: Option<u64>, after: Option<Cursor> },
    /// Up to date but for this: to be told so.
    Ready(Option<u64>),
    /// What has changed since this position.
    Live(u64),
}

impl Phase {
    fn first(snapshot: bool) -> Self {
        if snapshot { Phase::Snapshot { from: None, after: None } } else { Phase::Ready(None) }
    }
}

struct AllTasks {
    app: Shared,
    caller: Caller,
    wanted: Wanted,
    snapshot: bool,
    interval: Duration,
    head: watch::Receiver<u64>,
    phase: Phase,
    pieces: Pieces,
}

impl AllTasks {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(piece) = self.pieces.next() {
                return Some((piece, self));
            }
            if self.app.options.shutdown.has_begun() {
                return None;
            }
            match self.phase {
                Phase::Snapshot { from, after } => self.list(from, after).await,
                Phase::Ready(from) => self.ready(from).await,
                Phase::Live(position) => {
                    if !self.follow(position) && !self.rest(position).await {
                        return Some((KEEP_ALIVE, self));
                    }
                    // Much may have happened that this stream is not about: others have their turn.
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Has the reader begin anew.
    fn resync(&mut self) {
        frame(&mut self.pieces, "resync", None, b"{}");
        self.phase = Phase::first(self.snapshot);
    }

    /// One page of the tasks that there are.
    async fn list(&mut self, from: Option<u64>, after: Option<Cursor>) {
        // What changes from here on is in the log; what changed before, the list shows.
        let from = from.unwrap_or_else(|| self.app.hub.position());
        let mut filter = self.app.for_caller(self.wanted.filter(), &self.caller);
        if let Some(cursor) = after {
            filter = filter.after(cursor);
        }
        let Ok(page) = self.app.walk(filter).await else {
            self.phase = Phase::Ready(Some(from));
            return;
        };
        for details in &page.tasks {
            head(&mut self.pieces, "status", None);
            self.pieces.task_on_a_line(details, &details.status(), self.app.pace, Extent::Basic);
            self.pieces.text(b"\n\n");
        }
        self.phase = match page.next {
            Some(cursor) => Phase::Snapshot { from: Some(from), after: Some(cursor) },
            None => Phase::Ready(Some(from)),
        };
    }

    async fn ready(&mut self, from: Option<u64>) {
        let position = from.unwrap_or_else(|| self.app.hub.position());
        let by_state = self.app.counts(&self.caller).await;
        let json = serde_json::to_vec(&Ready { by_state }).unwrap_or_default();
        frame(&mut self.pieces, "ready", Some(&self.app.hub.event_id(position)), &json);
        self.phase = Phase::Live(position);
    }

    /// Takes what is new from the log; gives whether there was anything.
    fn follow(&mut self, position: u64) -> bool {
        let notes = match self.app.hub.after(position, NOTES) {
            News::Notes(notes) => notes,
            News::Behind => {
                self.resync();
                return true;
            }
        };
        for (position, note) in &notes {
            self.show(*position, note);
            self.phase = Phase::Live(*position);
            if self.pieces.is_full() {
                break;
            }
        }
        !notes.is_empty()
    }

    fn show(&mut self, position: u64, note: &Note) {
        let Some(shown) = note.show(&self.app.store, self.app.pace) else { return };
        let event_id = self.app.hub.event_id(position);
        let Some(details) = &shown.details else {
            // What it was is not known any more; who never heard of it can pass over it.
            let is_theirs = self.caller.tenant().is_none_or(|tenant| note.tenant.as_ref() == Some(tenant));
            if is_theirs && !self.sees_later(note) {
                frame(&mut self.pieces, shown.event, Some(&event_id), &shown.json);
            }
            return;
        };
        if !self.app.may_see(&self.caller, details) || !self.wanted.is_about(details) {
            return;
        }
        if self.wanted.has(details) {
            frame(&mut self.pieces, shown.event, Some(&event_id), &shown.json);
            return;
        }
        // It may have been in one of the states that are asked for; who never heard of it can pass over it.
        let left = serde_json::to_vec(&Left::new(&details.status())).unwrap_or_default();
        frame(&mut self.pieces, "left", Some(&event_id), &left);
    }

    /// Whether this stream tells of a later task with the id of one that is gone. Then that is the news of
    /// the id, and this is outdated.
    fn sees_later(&self, note: &Note) -> bool {
        let Some((id, version)) = note.gone() else { return false };
        self.app
            .details(&self.caller, id)
            .is_ok_and(|details| details.status().version() > version && self.wanted.has(&details))
    }

    /// Waits until there is something new; gives whether there is, or it was only time to say that the
    /// stream is alive. (Ends at once when the service does; the caller looks.)
    async fn rest(&mut self, position: u64) -> bool {
        let keep_alive = self.app.options.keep_alive;
        let (head, interval) = (&mut self.head, self.interval);
        let news = async {
            tokio::time::sleep(interval).await;
            // The hub lives as long as the app.
            let _ = head.wait_for(|last| *last > position).await;
        };
        tokio::select! {
            () = news => true,
            () = tokio::time::sleep(keep_alive.max(interval)) => false,
            () = self.app.options.shutdown.begun() => true,
        }
    }
}
