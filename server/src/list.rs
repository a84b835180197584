//! Finding tasks: lists, the batch read, and counts.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{RawQuery, Request, State as Extracted};
use axum::response::Response;
use futures_util::StreamExt;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use inflight::{Absent, Cursor, Filter, ListError, Page, State, TaskId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::{App, Shared, json};
use crate::auth::{Caller, Scope};
use crate::body;
use crate::pieces::{self, Pieces, Source};
use crate::problem::Problem;
use crate::query::{Query, parse_extent};
use crate::view::{ByState, Extent, TaskView, Text};

/// A page of tasks, in the order of their creation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskList<'a> {
    tasks: Vec<TaskView<'a>>,
    /// Where the next page begins. Empty, and only then, there is none.
    next_page_token: String,
}

/// How many tasks are taken from the store at a time where their results are left out.
const BATCH: usize = 64;

/// Which tasks to read.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BatchGet {
    #[schema(max_items = 1000, value_type = Vec<Uuid>)]
    task_ids: Vec<String>,
    #[serde(default)]
    view: ViewName,
}

/// How much of each task is shown: `full` has result and error, too.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum ViewName {
    #[default]
    Basic,
    Full,
}

/// The tasks that were asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchGot<'a> {
    /// In the order of the ids, each once; `null` where there is none.
    tasks: Vec<Option<TaskView<'a>>>,
    /// Why, for each that is not there.
    absent: Vec<AbsentTask>,
    /// Those that the answer had no room for, which are the last of the ids: to be asked for again.
    #[schema(value_type = Vec<Uuid>)]
    omitted: Vec<Text<TaskId>>,
}

/// A task that is not there.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AbsentTask {
    #[schema(value_type = String, format = Uuid)]
    task_id: Text<TaskId>,
    /// 404 or 410, as for a read.
    status: u16,
    /// Why it is gone, where that is still known.
    gone_reason: Option<&'static str>,
}

/// How many tasks there are.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Counts)]
pub(crate) struct CountsView {
    by_state: ByState,
    /// How many tasks there is room for.
    capacity: u64,
}

/// Lists tasks
///
/// In the order of their creation. Pages are stable while tasks come and go; one ends early when it is as
/// long as an answer may be, or when a great many tasks were looked at for it. A task with the label `k` =
/// `v` is found by `label.k=v`.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    params(
        ("state" = Option<Vec<crate::view::StateName>>, Query, style = Form, explode, description = "Only tasks in one of these states"),
        ("kind" = Option<String>, Query, description = "Only tasks of this kind"),
        ("parent" = Option<String>, Query, format = Uuid, description = "Only children of this task"),
        ("changedSince" = Option<String>, Query, format = DateTime, description = "Only tasks that have changed at or after this time"),
        ("pageSize" = Option<u64>, Query, description = "How many on a page: 100 by default, 1000 at the most"),
        ("pageToken" = Option<String>, Query, description = "Where the page before ended"),
        ("view" = Option<crate::view::ViewParam>, Query, description = "full: with result and error"),
    ),
    responses((status = 200, description = "A page", body = TaskList)),
    tag = "find"
)]
pub(crate) async fn list(
    Extracted(app): Extracted<Shared>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.must(Scope::List)?;
    let mut query = Query::parse(query.as_deref().unwrap_or_default());
    let extent = parse_extent(query.take("view"))?;
    let mut filter = app.for_caller(Filter::new(), &caller);
    for state in query.take_states()? {
        filter = filter.state(state);
    }
    for (key, value) in query.take_labels()? {
        filter = filter.label(key, value);
    }
    if let Some(kind) = query.take("kind") {
        filter = filter.kind(kind);
    }
    if let Some(parent) = query.take_id("parent")? {
        filter = filter.parent(parent);
    }
    if let Some(text) = query.take("changedSince") {
        let time = crate::time::parse(&text);
        let bad =
            || Problem::bad(format!("changedSince is {text:?}, not a time such as 2030-01-01T00:00:00Z"));
        filter = filter.changed_since(time.ok_or_else(bad)?);
    }
    let size = query.take_number("pageSize")?.filter(|size| *size > 0);
    let size = size.map_or(Filter::DEFAULT_PAGE_SIZE, |size| usize::try_from(size).unwrap_or(usize::MAX));
    if let Some(token) = query.take("pageToken").filter(|token| !token.is_empty()) {
        let cursor = token.parse::<Cursor>();
        filter = filter.after(cursor.map_err(|_| Problem::from(ListError::StaleCursor))?);
    }
    query.finish()?;
    let size = size.min(Filter::MAX_PAGE_SIZE);
    let listing =
        Listing { app, filter, extent, size, sent: 0, token: String::new(), pieces: Pieces::default() };
    listing.answer().await
}

/// A page on its way to the caller.
struct Listing {
    app: Shared,
    /// What is listed, from where the page has got to.
    filter: Filter,
    extent: Extent,
    /// How many tasks the page may still have.
    size: usize,
    /// How many bytes it has had.
    sent: usize,
    /// Where the next page begins.
    token: String,
    pieces: Pieces,
}

impl Listing {
    async fn answer(mut self) -> Result<Response, Problem> {
        self.pieces.text(b"{\"tasks\":[");
        // What is wrong with the request shows with the first tasks.
        if self.take().await? {
            return Ok(json_of(Body::from_stream(pieces::stream(self).map(Ok::<_, Infallible>))));
        }
        Ok(json_of(self.pieces.into_body()))
    }

    /// Takes some tasks from the store; gives whether there is more to come.
    async fn take(&mut self) -> Result<bool, Problem> {
        // Results may be large, so what is to come is known only one by one.
        let count = if self.extent == Extent::Full { 1 } else { BATCH }.min(self.size);
        let Page { tasks, next } = self.app.walk(self.filter.clone().page_size(count)).await?;
        let mut found = Pieces::default();
        for (at, details) in tasks.iter().enumerate() {
            if self.sent > 0 || at > 0 {
                found.text(b",");
            }
            found.task(details, self.app.pace, self.extent);
        }
        let length = found.len();
        if self.sent > 0 && self.sent + length > self.app.options.answer_limit {
            return Ok(self.end());
        }
        self.sent += length;
        self.pieces.append(found);
        self.size -= tasks.len().min(self.size);
        self.token = next.map(|cursor| cursor.to_string()).unwrap_or_default();
        let Some(next) = next.filter(|_| self.size > 0 && tasks.len() == count) else {
            return Ok(self.end());
        };
        // Many were looked at for few; that is enough for one answer.
        self.filter = self.filter.clone().after(next);
        Ok(true)
    }

    fn end(&mut self) -> bool {
        let token = serde_json::to_vec(&self.token).unwrap_or_default();
        self.pieces.text(b"],\"nextPageToken\":");
        self.pieces.text(&token);
        self.pieces.text(b"}");
        false
    }
}

impl Source for Listing {
    fn pieces(&mut self) -> &mut Pieces {
        &mut self.pieces
    }

    async fn more(&mut self) -> bool {
        if self.size == 0 {
            return false;
        }
        let more = match self.take().await {
            Ok(more) => more,
            // The head has been sent; the page ends where it has got to.
            Err(_) => self.end(),
        };
        if !more {
            self.size = 0;
        }
        true
    }
}

fn json_of(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl App {
    /// How many tasks of those that the caller may see are in each state.
    pub(crate) async fn counts(&self, caller: &Caller) -> ByState {
        match (caller.tenant(), &self.tenants) {
            (Some(tenant), Some(tenants)) => {
                self.hub.learnt().await;
                tenants.counts(tenant)
            }
            (Some(_), None) => ByState::default(),
            (None, _) => {
                let counts = self.store.counts();
                ByState::new(|state: State| counts.of(state))
            }
        }
    }

    /// Only what the caller may see.
    pub(crate) fn for_caller(&self, filter: Filter, caller: &Caller) -> Filter {
        match caller.tenant() {
            Some(tenant) => filter.label(self.options.tenant_label.clone(), tenant.to_string()),
            None => filter,
        }
    }
}

/// Reads many tasks at once
///
/// In the order of the ids, each once. Reads only, so no idempotency key is needed. What the answer has no
/// room for is `omitted`.
#[utoipa::path(
    post,
    path = "/v1/tasks:batchGet",
    request_body(content = BatchGet),
    responses((status = 200, description = "The tasks, and which are not there", body = BatchGot)),
    tag = "read"
)]
pub(crate) async fn batch_get(
    Extracted(app): Extracted<Shared>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    caller.must(Scope::Read)?;
    let BatchGet { task_ids, view } = body::required_json(request, &app.options).await?;
    let limit = app.options.batch_limit;
    if task_ids.len() > limit {
        return Err(Problem::bad(format!("{} ids are asked for; the limit is {limit}", task_ids.len())));
    }
    let parse = |text: &String| {
        text.parse::<TaskId>().map_err(|error| Problem::bad(format!("{text:?} is not a task id: {error}")))
    };
    let ids = task_ids.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    let ids: VecDeque<_> = ids.into_iter().filter(|id| seen.insert(*id)).collect();
    let extent = match view {
        ViewName::Basic => Extent::Basic,
        ViewName::Full => Extent::Full,
    };
    let mut pieces = Pieces::default();
    pieces.text(b"{\"tasks\":[");
    let (absent, omitted) = (Vec::new(), Vec::new());
    let batch = Batch { app, caller, ids, extent, sent: 0, absent, omitted, is_over: false, pieces };
    Ok(json_of(Body::from_stream(pieces::stream(batch).map(Ok::<_, Infallible>))))
}

/// A batch on its way to the caller: each task is looked at when its turn has come.
struct Batch {
    app: Shared,
    caller: Caller,
    ids: VecDeque<TaskId>,
    extent: Extent,
    /// How many bytes the tasks have had.
    sent: usize,
    absent: Vec<AbsentTask>,
    omitted: Vec<Text<TaskId>>,
    is_over: bool,
    pieces: Pieces,
}

impl Batch {
    fn take(&mut self, id: TaskId) {
        if self.sent > 0 {
            self.pieces.text(b",");
        }
        self.sent += 1;
        let details = match self.app.store.details(id) {
            _ if !self.omitted.is_empty() => return self.omit(id),
            Ok(details) if self.app.may_see(&self.caller, &details) => details,
            Ok(_) => return self.miss(id, Absent::Unknown),
            Err(absent) => return self.miss(id, self.app.absent(&self.caller, id, absent)),
        };
        let mut found = Pieces::default();
        found.task(&details, self.app.pace, self.extent);
        let length = found.len();
        if self.sent > 1 && self.sent + length > self.app.options.answer_limit {
            return self.omit(id);
        }
        self.sent += length;
        self.pieces.append(found);
    }

    fn omit(&mut self, id: TaskId) {
        self.pieces.text(b"null");
        self.omitted.push(Text(id));
    }

    fn miss(&mut self, id: TaskId, absent: Absent) {
        self.pieces.text(b"null");
        let (status, reason) = match absent {
            Absent::Unknown => (404, None),
            Absent::Gone(reason) => (410, reason),
        };
        let gone_reason = reason.map(|reason| reason.as_str());
        self.absent.push(AbsentTask { task_id: Text(id), status, gone_reason });
    }

    fn end(&mut self) {
        let absent = serde_json::to_vec(&self.absent).unwrap_or_default();
        let omitted = serde_json::to_vec(&self.omitted).unwrap_or_default();
        for text in [b"],\"absent\":".as_slice(), &absent, b",\"omitted\":", &omitted, b"}"] {
            self.pieces.text(text);
        }
        self.is_over = true;
    }
}

impl Source for Batch {
    fn pieces(&mut self) -> &mut Pieces {
        &mut self.pieces
    }

    async fn more(&mut self) -> bool {
        if self.is_over {
            return false;
        }
        match self.ids.pop_front() {
            Some(id) => self.take(id),
            None => self.end(),
        }
        true
    }
}

/// How many tasks there are in each state
///
/// Costs the same for any number of tasks.
#[utoipa::path(
    get,
    path = "/v1/counts",
    responses((status = 200, description = "The counts", body = CountsView)),
    tag = "find"
)]
pub(crate) async fn counts(Extracted(app): Extracted<Shared>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::List)?;
    let by_state = app.counts(&caller).await;
    json(&CountsView { by_state, capacity: app.store.capacity() as u64 })
}
