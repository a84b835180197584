//! What every request passes first and last: its id, who asks, the form of errors, figures and the log.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{OriginalUri, Request};
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, Stream, StreamExt};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{Method, StatusCode};
use inflight::TaskId;
use tower::{Layer, Service};

use crate::access::is_local_name;
use crate::app::{Shared, parse_id};
use crate::auth::Caller;
use crate::connection::Connection;
use crate::hub::Hub;
use crate::meters::Route;
use crate::problem::{Kind, Problem};
use crate::public_url::PublicUrl;
use crate::quota::{Charge, Limit};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a caller.
const MAX_REQUEST_ID: usize = 64;

#[derive(Clone)]
pub(crate) struct FrontLayer {
    app: Shared,
}

impl FrontLayer {
    pub(crate) fn new(app: Shared) -> Self {
        Self { app }
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front { inner, app: Arc::clone(&self.app) }
    }
}

#[derive(Clone)]
pub(crate) struct Front<S> {
    inner: S,
    app: Shared,
}

impl<S> Service<Request> for Front<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        Hub::start(&self.app);
        let visit = Visit::begin(&self.app, &request);
        let caller = match admit(&self.app, &mut request) {
            Ok(caller) => caller,
            Err(problem) => {
                let response = problem.into_response();
                return Box::pin(std::future::ready(Ok(visit.end(response, &Caller::ANYONE))));
            }
        };
        let stream = visit.route.is_stream().then(|| self.app.quotas.take(&caller, Limit::Streams, 1));
        let charge = match stream.transpose() {
            Ok(charge) => charge,
            Err(problem) => {
                let response = problem.into_response();
                return Box::pin(std::future::ready(Ok(visit.end(response, &caller))));
            }
        };
        let inner = self.inner.call(request);
        Box::pin(async move {
            let answered = AssertUnwindSafe(inner).catch_unwind().await;
            let response = answered.unwrap_or_else(|_| {
                let problem = Problem::new(Kind::Internal, "the request met a defect; its id is in the log");
                Ok(problem.into_response())
            });
            let response = response.map(|response| visit.end(response, &caller));
            response.map(|response| match charge {
                Some(charge) => bounded(response, &caller, charge),
                None => response,
            })
        })
    }
}

/// A request that is sent to two hosts, of which others may look at another one (RFC 9112 §3.2).
fn check_form(request: &Request) -> Result<(), Problem> {
    match request.headers().get_all(HOST).iter().count() {
        0 | 1 => Ok(()),
        count => Err(Problem::bad(format!("the request has {count} Host headers; it must have one"))),
    }
}

/// A stream counts for as long as it goes on, and ends when its caller is not known any more; whoever is,
/// comes back.
fn bounded(response: Response, caller: &Caller, charge: Charge) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let withdrawn = caller.withdrawn();
    response.map(|body| {
        let frames = body.into_data_stream();
        let frames = match withdrawn {
            Some(withdrawn) => frames.take_until(Box::pin(withdrawn)).left_stream(),
            None => frames.right_stream(),
        };
        Body::from_stream(Charged { frames, _charge: charge })
    })
}

/// A stream, and what its caller is charged for it.
struct Charged<S> {
    frames: S,
    _charge: Charge,
}

impl<S: Stream + Unpin> Stream for Charged<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.frames.poll_next_unpin(context)
    }
}

/// Whether the request may come in, and from whom it is.
fn admit(app: &Shared, request: &mut Request) -> Result<Caller, Problem> {
    check_form(request)?;
    check_host(app, request)?;
    if Route::of(request.uri().path()).is_public() {
        return Ok(Caller::ANYONE);
    }
    let caller = app.access.identify(request)?;
    app.quotas.pass(&caller)?;
    if let Some(connection) = request.extensions().get::<Connection>() {
        connection.enter(&app.quotas, &caller)?;
    }
    Ok(caller)
}

/// A page of somebody else's must not reach an open service through the browser of who runs it: not by
/// a name of its own for this address, and not by a form or script that it sends here.
fn check_host(app: &Shared, request: &Request) -> Result<(), Problem> {
    let authority = authority(request);
    let name = authority.map(without_port).unwrap_or_default();
    let is_ours = match &app.options.allowed_hosts {
        Some(allowed) => allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)),
        None => {
            let public = app.options.public_url.as_ref().map(PublicUrl::host);
            !app.access.is_open()
                || is_local_name(name)
                || public.is_some_and(|public| public.eq_ignore_ascii_case(name))
        }
    };
    if !is_ours {
        return Err(Problem::new(Kind::Misdirected, format!("the service is not called {name:?}")));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let Some(origin) = request.headers().get(ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let is_public = app.options.public_url.as_ref().is_some_and(|url| url.origin() == origin);
    let host = origin.split_once("://").map(|(_, host)| host);
    if is_public || (host.is_some() && host == authority) {
        return Ok(());
    }
    Err(Problem::new(Kind::Forbidden, "a page of another origin may not change anything here"))
}

/// The host and port that the request was sent to.
pub(crate) fn authority(request: &Request) -> Option<&str> {
    let of_header = || request.headers().get(HOST)?.to_str().ok();
    request.uri().authority().map(|authority| authority.as_str()).or_else(of_header)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// One request on its way.
struct Visit {
    app: Shared,
    route: Route,
    method: Method,
    path: OriginalPath,
    id: HeaderValue,
    has_token: bool,
    since: Instant,
}

/// The path, as the caller wrote it; only cloned, not copied.
struct OriginalPath(hyper::Uri);

impl OriginalPath {
    fn as_str(&self) -> &str {
        self.0.path()
    }

    /// The task that it leads to, if that is what it says. Without its hyphens, an id looks like a token.
    fn task(&self) -> Option<TaskId> {
        let (_, rest) = self.as_str().rsplit_once("/tasks/")?;
        let id = rest.split(['/', ':']).next().filter(|id| id.contains('-'))?;
        parse_id(id).ok()
    }
}

impl Visit {
    fn begin(app: &Shared, request: &Request) -> Self {
        app.gate.enter();
        let uri = request.extensions().get::<OriginalUri>().map_or(request.uri(), |uri| &uri.0);
        Self {
            app: Arc::clone(app),
            route: Route::of(request.uri().path()),
            method: request.method().clone(),
            path: OriginalPath(uri.clone()),
            id: request_id(request),
            has_token: has_token(request),
            since: Instant::now(),
        }
    }

    fn end(self, mut response: Response, caller: &Caller) -> Response {
        let request_id = self.id.to_str().unwrap_or_default();
        let problem = response.extensions_mut().remove::<Problem>();
        if let Some(problem) = problem {
            self.log_problem(&problem, request_id, caller);
            let problem = if self.has_token { problem.of_token_sent() } else { problem };
            let rendered = problem.render(self.path.as_str(), request_id);
            let (parts, body) = rendered.into_parts();
            *response.status_mut() = parts.status;
            response.headers_mut().extend(parts.headers);
            *response.body_mut() = body;
        }
        let status = response.status();
        let took = self.since.elapsed();
        self.app.meters.record(self.route, status, took);
        tracing::debug!(
            request_id,
            method = %self.method,
            route = self.route.name(),
            task = self.path.task().map(tracing::field::display),
            status = status.as_u16(),
            micros = took.as_micros() as u64,
            caller = caller.name(),
            "answered"
        );
        response.headers_mut().insert(REQUEST_ID, self.id.clone());
        response
    }

    /// What a caller has written goes back to the caller alone: there may be a token in a path or a query,
    /// and so in what is wrong with it. The log says where the request went, and of what kind the problem is.
    fn log_problem(&self, problem: &Problem, request_id: &str, caller: &Caller) {
        let (route, task) = (self.route.name(), self.path.task().map(tracing::field::display));
        let (method, caller) = (&self.method, caller.name());
        let (status, slug) = (problem.status().as_u16(), problem.slug());
        if problem.status().is_server_error() {
            let detail = problem.detail();
            tracing::warn!(request_id, %method, route, task, status, caller, problem = slug, detail, "not served");
        } else {
            tracing::info!(request_id, %method, route, task, status, caller, problem = slug, "refused");
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.app.gate.leave();
    }
}

/// Whether the request came with a token at all, right or wrong.
fn has_token(request: &Request) -> bool {
    let value = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let scheme = value.and_then(|value| value.split(|byte| *byte == b' ').next());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

/// The caller's own id for the request if it is fit to be logged, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    let is_fit = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        (1..=MAX_REQUEST_ID).contains(&bytes.len()) && bytes.iter().all(is_plain)
    };
    request.headers().get(REQUEST_ID).filter(is_fit).cloned().unwrap_or_else(new_request_id)
}

pub(crate) fn new_request_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Relaxed: it only has to be another number each time.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut id = String::with_capacity(32);
    let _ = write!(id, "{:016x}-{number:x}", *PROCESS);
    HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"))
}
