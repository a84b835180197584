//! What is kept for those above the cap: they are told of the service's health, and else that it is busy. So
//! no number of connections keeps whoever runs the service from seeing that it lives.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, header::HeaderValue};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tower::ServiceExt;

use crate::front::{REQUEST_ID, new_request_id};
use crate::problem::{Kind, Problem};

/// Answers one request.
pub(crate) async fn serve<S>(stream: S, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(router.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let Ok(parts) = connection.without_shutdown().await else { return };
    let mut stream = parts.io.into_inner();
    // Closing with bytes unread would take the answer back.
    let mut unread = [0; 4096];
    let _ = stream.shutdown().await;
    while stream.read(&mut unread).await.is_ok_and(|count| count > 0) {}
}

async fn answer(router: Router, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    // Wherever the router is nested.
    let mut response = if path.ends_with("/healthz") || path.ends_with("/readyz") {
        router.oneshot(request.map(Body::new)).await?
    } else {
        let id = new_request_id();
        let problem = Problem::new(Kind::Connections, "there are too many connections");
        let mut response = problem.render(path, id.to_str().unwrap_or_default());
        response.headers_mut().insert(REQUEST_ID, id);
        response
    };
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}
