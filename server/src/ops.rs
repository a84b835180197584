//! For those who run the service: is it alive, does it take requests, its figures.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use inflight::KeeperHealth;

use crate::app::Shared;
use crate::auth::{Caller, Scope};
use crate::meters::set_gauges;
use crate::problem::{Kind, Problem};

/// Whether the process answers
#[utoipa::path(
    get,
    path = "/healthz",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
    tag = "operate"
)]
pub(crate) async fn healthz() -> Response {
    text("ok\n", "text/plain; charset=utf-8")
}

/// Whether the service takes requests, and will for some time
///
/// 503 once it is shutting down, and while its store is not in order.
#[utoipa::path(
    get,
    path = "/readyz",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain")),
    tag = "operate"
)]
pub(crate) async fn readyz(State(app): State<Shared>) -> Result<Response, Problem> {
    if app.options.shutdown.has_begun() {
        return Err(Problem::new(Kind::Draining, "the service is shutting down"));
    }
    in_order(&app.store.keeper_health())?;
    Ok(text("ready\n", "text/plain; charset=utf-8"))
}

/// Whether the store's keeper does its work.
fn in_order(keeper: &KeeperHealth) -> Result<(), Problem> {
    if !keeper.is_failing {
        return Ok(());
    }
    let said = keeper.last_panic.as_ref().map_or("", |panic| &panic.message);
    Err(Problem::new(Kind::Unhealthy, format!("the keeper panicked, {} times by now: {said}", keeper.panics)))
}

/// The service's figures
///
/// In the Prometheus exposition format. With tokens, it needs the scope admin, and a token
/// that is bound to no tenant: the figures are of all tenants.
#[utoipa::path(
    get,
    path = "/metrics",
    responses((status = 200, description = "The figures", body = String, content_type = "text/plain")),
    tag = "operate"
)]
pub(crate) async fn metrics(State(app): State<Shared>, caller: Caller) -> Result<Response, Problem> {
    caller.must(Scope::Admin)?;
    caller.must_be_of_no_tenant()?;
    let Some(metrics) = &app.options.metrics else {
        return Err(Problem::new(Kind::NoRoute, "the host of this service shows no metrics here"));
    };
    set_gauges(&app);
    Ok(text(metrics.render(), "text/plain; version=0.0.4; charset=utf-8"))
}

fn text(body: impl Into<Body>, media_type: &'static str) -> Response {
    let mut response = Response::new(body.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_keeper_that_fails_makes_the_service_not_ready() {
        let mut keeper = KeeperHealth::default();
        assert!(in_order(&keeper).is_ok());
        keeper.panics = 3;
        assert!(in_order(&keeper).is_ok(), "it has recovered");
        keeper.is_failing = true;
        let problem = in_order(&keeper).unwrap_err();
        assert_eq!(problem.into_response().status(), 503);
    }
}
