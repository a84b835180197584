//! Figures of the service, through the `metrics` facade. Their number is fixed: a label is a route's
//! name or a class of status codes, never anything that a caller sends.

use std::time::Duration;

use hyper::StatusCode;
use inflight::{State, Store};
use metrics::{Counter, Histogram, Unit};

use crate::app::App;

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Collection,
    Task,
    TaskEvents,
    TaskPart,
    Verb,
    BatchGet,
    Counts,
    Events,
    Ops,
    Page,
    Other,
}

impl Route {
    const ALL: [Route; 11] = [
        Route::Collection,
        Route::Task,
        Route::TaskEvents,
        Route::TaskPart,
        Route::Verb,
        Route::BatchGet,
        Route::Counts,
        Route::Events,
        Route::Ops,
        Route::Page,
        Route::Other,
    ];

    /// By the path below where the router is nested.
    pub(crate) fn of(path: &str) -> Self {
        let Some(api) = path.strip_prefix("/v1/") else {
            return match path {
                "/healthz" | "/readyz" => Route::Ops,
                "/metrics" => Route::Other,
                _ => Route::Page,
            };
        };
        match api {
            "tasks" => Route::Collection,
            "tasks:batchGet" => Route::BatchGet,
            "counts" => Route::Counts,
            "events" => Route::Events,
            _ => match api.strip_prefix("tasks/") {
                Some(task) => match task.split_once('/') {
                    Some((_, "events")) => Route::TaskEvents,
                    Some(_) => Route::TaskPart,
                    None if task.contains(':') => Route::Verb,
                    None => Route::Task,
                },
                None => Route::Other,
            },
        }
    }

    /// Whether it shows nothing of any task, so that no token is needed.
    pub(crate) fn is_public(self) -> bool {
        matches!(self, Route::Ops | Route::Page)
    }

    /// Whether the answer goes on for as long as its caller listens.
    pub(crate) fn is_stream(self) -> bool {
        matches!(self, Route::Events | Route::TaskEvents)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Route::Collection => "tasks",
            Route::Task => "task",
            Route::TaskEvents => "task_events",
            Route::TaskPart => "task_part",
            Route::Verb => "task_verb",
            Route::BatchGet => "batch_get",
            Route::Counts => "counts",
            Route::Events => "events",
            Route::Ops => "ops",
            Route::Page => "page",
            Route::Other => "other",
        }
    }
}

const CLASSES: [&str; 5] = ["2xx", "3xx", "4xx", "5xx", "other"];

/// One counter per route and class, and one histogram per route, asked for once.
#[derive(Debug)]
pub(crate) struct Meters {
    answered: Vec<[Counter; CLASSES.len()]>,
    latency: Vec<Histogram>,
}

impl Meters {
    pub(crate) fn new() -> Self {
        describe();
        let counter = |route: Route, class: &'static str| metrics::counter!("inflight_http_requests_total", "route" => route.name(), "status" => class);
        let histogram = |route: Route| metrics::histogram!("inflight_http_request_duration_seconds", "route" => route.name());
        Self {
            answered: Route::ALL.iter().map(|route| CLASSES.map(|class| counter(*route, class))).collect(),
            latency: Route::ALL.iter().map(|route| histogram(*route)).collect(),
        }
    }

    pub(crate) fn record(&self, route: Route, status: StatusCode, took: Duration) {
        let class = match status.as_u16() {
            200..=299 => 0,
            300..=399 => 1,
            400..=499 => 2,
            500..=599 => 3,
            _ => 4,
        };
        if let Some(counter) = self.answered.get(route as usize).and_then(|classes| classes.get(class)) {
            counter.increment(1);
        }
        if let Some(histogram) = self.latency.get(route as usize) {
            histogram.record(took);
        }
    }
}

fn describe() {
    metrics::describe_counter!("inflight_http_requests_total", "Answers by route and class of status.");
    metrics::describe_histogram!(
        "inflight_http_request_duration_seconds",
        Unit::Seconds,
        "From the head of a request to the head of its answer."
    );
    metrics::describe_gauge!("inflight_http_requests_in_flight", "Requests under way, waits left out.");
    metrics::describe_gauge!("inflight_tasks", "Tasks in the store, by state.");
    metrics::describe_gauge!("inflight_capacity", "How many tasks the store has room for.");
    metrics::describe_gauge!("inflight_remote_tasks", "Tasks whose handles the service holds.");
    metrics::describe_gauge!("inflight_event_log_tasks", "Tasks in the log that event streams read.");
    metrics::describe_gauge!(
        "inflight_idempotency_bytes",
        Unit::Bytes,
        "What the answers take that are kept for idempotency keys."
    );
}

/// Brings the gauges up to date: they are read when someone asks, and cost nothing in between.
pub(crate) fn set_gauges(app: &App) {
    set_store_gauges(&app.store);
    metrics::gauge!("inflight_http_requests_in_flight").set(app.gate.inside() as f64);
    metrics::gauge!("inflight_remote_tasks").set(app.remotes.len() as f64);
    metrics::gauge!("inflight_event_log_tasks").set(app.hub.len() as f64);
    metrics::gauge!("inflight_idempotency_bytes").set(app.replays.bytes() as f64);
}

fn set_store_gauges(store: &Store) {
    let counts = store.counts();
    for state in State::ALL {
        metrics::gauge!("inflight_tasks", "state" => state.as_str()).set(counts.of(state) as f64);
    }
    metrics::gauge!("inflight_capacity").set(store.capacity() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_told_apart_by_path() {
        for (path, route) in [
            ("/v1/tasks", Route::Collection),
            ("/v1/tasks/0", Route::Task),
            ("/v1/tasks/0/events", Route::TaskEvents),
            ("/v1/tasks/0/children", Route::TaskPart),
            ("/v1/tasks/0:succeed", Route::Verb),
            ("/v1/tasks:batchGet", Route::BatchGet),
            ("/v1/counts", Route::Counts),
            ("/v1/events", Route::Events),
            ("/v1/what", Route::Other),
            ("/metrics", Route::Other),
            ("/healthz", Route::Ops),
            ("/", Route::Page),
            ("/app.js", Route::Page),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
        let names: std::collections::HashSet<_> = Route::ALL.iter().map(|route| route.name()).collect();
        assert_eq!(names.len(), Route::ALL.len());
        assert!(Route::ALL.iter().enumerate().all(|(at, route)| *route as usize == at));
    }
}
