//! Which address leads where.

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use hyper::header::{ALLOW, HeaderValue};
use inflight::Store;

use crate::access::Access;
use crate::app::App;
use crate::front::FrontLayer;
use crate::options::Options;
use crate::problem::{Kind, Problem};
use crate::{assets, create, docs, events, list, openapi, ops, read, write};

pub(crate) const TASK_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PATCH, DELETE");

/// The service as a router, to be served as it is or nested into another.
///
/// Tasks of the store that the host itself created are read, listed, watched and cancelled like all
/// others; only their workers write to them. Tasks that are created over HTTP are written to over HTTP:
/// the service holds their handles, and if the router is dropped, those that have not ended are lost.
///
/// `access` says who may do that: it is the host's decision, and none is made for it.
///
/// ```
/// use axum::Router;
/// use inflight::Store;
/// use inflight_server::{Access, Options, Tokens, router};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(1 << 16).build()?;
/// let access = Access::tokens(Tokens::parse("ops admin - c3VwZXJzZWNyZXQtdHdv")?);
/// let app: Router = Router::new().nest("/status", router(store, access, Options::default()));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
///
/// It has to be called on a Tokio runtime's thread only when it serves, not when it is made.
pub fn router(store: Store, access: Access, options: Options) -> Router {
    let app = App::new(store, access, options);
    Router::new()
        .route("/v1/tasks", get(list::list).post(create::create))
        .route("/v1/tasks:batchGet", post(list::batch_get))
        .route("/v1/tasks/{id}", get(read::read).patch(write::patch).post(write::verb).delete(read::remove))
        .route("/v1/tasks/{id}/events", get(events::of_task))
        .route("/v1/tasks/{id}/children", get(read::children))
        .route("/v1/tasks/{id}/{part}", get(read::payload))
        .route("/v1/counts", get(list::counts))
        .route("/v1/events", get(events::of_all))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/openapi.json", get(openapi::serve))
        .route("/docs", get(docs::serve))
        .route("/docs.css", get(docs::style))
        .fallback(assets::serve)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(FrontLayer::new(app.clone()))
        .with_state(app)
}

/// The router adds which methods there are.
async fn method_not_allowed(request: Request) -> Problem {
    let problem = Problem::new(
        Kind::MethodNotAllowed,
        format!("{} is not a method of {:?}", request.method(), request.uri().path()),
    );
    match allowed(request.uri().path()) {
        Some(methods) => problem.with_header(ALLOW, HeaderValue::from_static(methods)),
        None => problem,
    }
}

fn allowed(path: &str) -> Option<&'static str> {
    let api = path.strip_prefix("/v1/");
    Some(match api {
        Some("tasks") => "GET, HEAD, POST",
        Some("tasks:batchGet") => "POST",
        Some(api) => match api.strip_prefix("tasks/") {
            Some(task) if task.contains('/') => "GET, HEAD",
            Some(task) if task.contains(':') => "POST",
            Some(_) => "GET, HEAD, PATCH, DELETE",
            None => "GET, HEAD",
        },
        _ => "GET, HEAD",
    })
}
