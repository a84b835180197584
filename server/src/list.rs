//! Finding tasks: lists, the batch read, and counts.

use axum::extract::{RawQuery, Request, State as Extracted};
use axum::response::Response;
use inflight::{Cursor, Filter, ListError, State, TaskId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::{App, Shared, json};
use crate::auth::{Caller, Scope};
use crate::body;
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
    /// In the order of the ids; `null` where there is none.
    tasks: Vec<Option<TaskView<'a>>>,
    /// Why, for each that is not there.
    absent: Vec<AbsentTask>,
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
/// In the order of their creation. Pages are stable while tasks come and go. A task with the label
/// `k` = `v` is found by `label.k=v`.
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
    if let Some(size) = query.take_number("pageSize")?.filter(|size| *size > 0) {
        filter = filter.page_size(usize::try_from(size).unwrap_or(usize::MAX));
    }
    if let Some(token) = query.take("pageToken").filter(|token| !token.is_empty()) {
        let cursor = token.parse::<Cursor>();
        filter = filter.after(cursor.map_err(|_| Problem::from(ListError::StaleCursor))?);
    }
    query.finish()?;
    let page = app.store.list(&filter)?;
    let tasks = page.tasks.iter().map(|details| TaskView::new(details, app.pace, extent));
    let next_page_token = page.next.map(|cursor| cursor.to_string()).unwrap_or_default();
    json(&TaskList { tasks: tasks.collect(), next_page_token })
}

impl App {
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
/// In the order of the ids. Reads only, so no idempotency key is needed.
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
    let found: Vec<_> = ids
        .iter()
        .map(|id| match app.store.details(*id) {
            Ok(details) if app.may_see(&caller, &details) => Ok(details),
            Ok(_) => Err(inflight::Absent::Unknown),
            Err(absent) => Err(app.absent(&caller, *id, absent)),
        })
        .collect();
    let extent = match view {
        ViewName::Basic => Extent::Basic,
        ViewName::Full => Extent::Full,
    };
    let shown = found.iter().map(|found| found.as_ref().ok());
    let tasks =
        shown.map(|details| details.map(|details| TaskView::new(details, app.pace, extent))).collect();
    let absent = ids.iter().zip(&found).filter_map(|(id, found)| {
        let absent = *found.as_ref().err()?;
        let (status, reason) = match absent {
            inflight::Absent::Unknown => (404, None),
            inflight::Absent::Gone(reason) => (410, reason),
        };
        Some(AbsentTask { task_id: Text(*id), status, gone_reason: reason.map(|reason| reason.as_str()) })
    });
    json(&BatchGot { tasks, absent: absent.collect() })
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
    let by_state = match (caller.tenant(), &app.tenants) {
        (Some(tenant), Some(tenants)) => tenants.counts(tenant),
        (Some(_), None) => ByState::default(),
        (None, _) => {
            let counts = app.store.counts();
            ByState::new(|state: State| counts.of(state))
        }
    };
    json(&CountsView { by_state, capacity: app.store.capacity() as u64 })
}
