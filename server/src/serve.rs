//! The listener: connections, their bounds, and their end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::options::Shutdown;
use crate::peer::Peer;
use crate::tls::Tls;
use crate::wire::{Traffic, Wire};

/// Marks requests that came over TLS of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secure;

/// How connections are served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How long the head of a request may take, and how long a connection may be idle; 15 s by default.
    /// A head that is late is answered with 408.
    pub header_timeout: Duration,
    /// How many connections there may be; 16,384 by default. Those above are answered with 503.
    pub connections: usize,
    /// How long requests that are under way at the shutdown may take; 10 s by default.
    pub shutdown_deadline: Duration,
    /// TLS; `None`: plain HTTP.
    pub tls: Option<Tls>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(15),
            connections: 16_384,
            shutdown_deadline: Duration::from_secs(10),
            tls: None,
        }
    }
}

/// How serving came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// How many connections had to be cut at the deadline.
    pub cut: usize,
}

/// The largest head of a request; a larger one is answered with 431.
const MAX_HEAD: usize = 64 << 10;

/// How many connections above the cap are told so at a time; those above that are dropped.
const TURNED_AWAY: usize = 64;

/// How long a connection from which nothing has come yet is waited for at the shutdown.
const GRACE: Duration = Duration::from_millis(250);

/// What an HTTP/2 connection begins with, in bytes.
const PREFACE: u64 = 24;

/// Serves `router` until `shutdown` begins and the requests under way are answered, or the deadline has
/// passed. Then no connection is left.
///
/// # Errors
///
/// What the system says of the listener at the end. A connection that cannot be accepted is logged, and
/// the next one is.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
) -> io::Result<Served> {
    let router = if options.tls.is_some() { router.layer(Extension(Secure)) } else { router };
    let host = Arc::new(Host {
        router,
        permits: Arc::new(Semaphore::new(options.connections)),
        turned_away: Arc::new(Semaphore::new(TURNED_AWAY)),
        tracker: TaskTracker::new(),
        cut: CancellationToken::new(),
        options,
        shutdown,
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => host.take(stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    // Mostly there are no descriptors left; trying at once would only burn a core.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
            () = host.shutdown.begun() => break,
        }
    }
    // Whoever has connected already is served, too.
    let listener = listener.into_std()?;
    while let Ok((stream, peer)) = listener.accept() {
        stream.set_nonblocking(true)?;
        host.take(TcpStream::from_std(stream)?, peer);
    }
    drop(listener);
    host.tracker.close();
    let in_time = tokio::time::timeout(host.options.shutdown_deadline, host.tracker.wait()).await;
    let cut = if in_time.is_ok() { 0 } else { host.tracker.len() };
    host.cut.cancel();
    host.tracker.wait().await;
    Ok(Served { cut })
}

/// What all connections share.
struct Host {
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
    permits: Arc<Semaphore>,
    turned_away: Arc<Semaphore>,
    tracker: TaskTracker,
    /// Ends whatever is left at the deadline.
    cut: CancellationToken,
}

impl Host {
    fn take(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let host = Arc::clone(self);
        if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
            self.tracker.spawn(async move {
                tokio::select! {
                    () = host.connection(stream, peer) => {}
                    () = host.cut.cancelled() => {}
                }
                drop(permit);
            });
        } else if let Ok(permit) = Arc::clone(&self.turned_away).try_acquire_owned()
            && self.options.tls.is_none()
        {
            self.tracker.spawn(async move {
                let _ = tokio::time::timeout(Duration::from_secs(1), turn_away(stream)).await;
                drop(permit);
            });
        }
    }

    async fn connection(&self, stream: TcpStream, peer: SocketAddr) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a socket's options cannot be set");
        }
        let Some(tls) = &self.options.tls else { return self.http(stream, peer, false).await };
        let shaken = tls.acceptor().accept(stream);
        match tokio::time::timeout(self.options.header_timeout, shaken).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::pin(self.http(stream, peer, is_http2)).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "no TLS session"),
            Err(_) => tracing::debug!("the TLS handshake took too long"),
        }
    }

    /// The protocol is known, so nothing has to be guessed from the first bytes, which may never come.
    fn builder(&self, is_http2: bool) -> auto::Builder<TokioExecutor> {
        let builder = auto::Builder::new(TokioExecutor::new());
        let mut builder = if is_http2 { builder.http2_only() } else { builder.http1_only() };
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.header_timeout)
            .max_buf_size(MAX_HEAD)
            // Who sends a request and closes its side still reads the answer.
            .half_close(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(Duration::from_secs(10))
            .max_concurrent_streams(256)
            .max_header_list_size(MAX_HEAD as u32);
        builder
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (wire, traffic) = Wire::new(stream);
        let builder = self.builder(is_http2);
        let peer = Peer::new(peer);
        let service = self.router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer.clone());
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection(TokioIo::new(wire), service);
        let mut connection = std::pin::pin!(connection);
        let silence = self.silence(&traffic, is_http2);
        let ended = tokio::select! {
            // First, so that what has come is read before an idle connection is closed.
            biased;
            ended = connection.as_mut() => Some(ended),
            () = silence => return,
            () = self.shutdown.begun() => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                // It would be closed at once if nothing has come; but perhaps it is on its way.
                tokio::select! {
                    biased;
                    _ = connection.as_mut() => return,
                    () = traffic.first() => {}
                    () = tokio::time::sleep(GRACE) => {}
                }
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        if let Err(error) = ended {
            let error = error.downcast_ref::<hyper::Error>();
            if error.is_some_and(hyper::Error::is_timeout) {
                traffic.was_too_slow();
            }
            tracing::debug!(?error, "a connection ended early");
        }
    }

    /// Resolves when an HTTP/2 connection has not even begun in time. (HTTP/1 is hyper's to watch.)
    async fn silence(&self, traffic: &Traffic, is_http2: bool) {
        if is_http2 {
            tokio::time::sleep(self.options.header_timeout).await;
        }
        if !is_http2 || traffic.received() >= PREFACE {
            std::future::pending().await
        }
    }
}

/// Small answers go at once, and a peer that has vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
    #[cfg(any(target_os = "android", target_os = "fuchsia", target_os = "linux"))]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(90)))?;
    Ok(())
}

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\n\
    retry-after: 1\r\n\
    connection: close\r\n\
    content-length: 128\r\n\r\n\
    {\"type\":\"urn:inflight:problem:connections\",\"title\":\"The service is busy\",\"status\":503,\
    \"detail\":\"there are too many connections\"}";

/// Says that there are too many connections. The request is read, but not looked at: closing with bytes
/// unread would take the answer back.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    let mut unread = [0; 4096];
    let _ = stream.read(&mut unread).await?;
    stream.write_all(TOO_MANY).await?;
    stream.shutdown().await?;
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_as_long_as_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
