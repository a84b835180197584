//! The listener: connections, their bounds, and their end.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connection::Connection;
use crate::ledger::{Due, IN_FLIGHT, Ledger, Room, Watched, room};
use crate::options::Shutdown;
use crate::peers::{Peers, Place};
use crate::reserve;
use crate::tls::Tls;
use crate::wire::Wire;

/// Marks requests that came over TLS of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Secure;

/// How connections are served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// How long the head of a request may take, and how long a connection may be idle; 15 s by default.
    /// A head that is late is answered with 408. From 1 ms to 1 h.
    pub header_timeout: Duration,
    /// How long an answer may stand still because its reader does not take it; 30 s by default. Then the
    /// connection is closed. From 1 ms to 1 h.
    pub progress_timeout: Duration,
    /// How many connections there may be; 16,384 by default. Those above are answered with 503, but for
    /// `/healthz` and `/readyz`. From 1 to 1,048,576.
    pub connections: usize,
    /// How many connections one peer may have, which is an IPv4 address or a network of 2⁶⁴ IPv6 addresses.
    /// `None`: three quarters of all. From 1 to 1,048,576.
    pub peer_connections: Option<usize>,
    /// How long requests that are under way at the shutdown may take; 10 s by default. From 0 to 1 day.
    pub shutdown_deadline: Duration,
    /// TLS; `None`: plain HTTP.
    pub tls: Option<Tls>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(15),
            progress_timeout: Duration::from_secs(30),
            connections: 16_384,
            peer_connections: None,
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

/// How many connections above the cap are answered at a time, and only about the service's health; those
/// above that are dropped.
const RESERVE: usize = 64;

/// How long one of those may take.
const RESERVE_TIME: Duration = Duration::from_secs(2);

/// How many requests one HTTP/2 connection may have under way, and how many bytes of each answer it takes
/// before they are sent.
const STREAMS: u32 = 100;
const SEND_BUFFER: usize = 64 << 10;

/// How long a connection from which nothing has come yet is waited for at the shutdown.
const GRACE: Duration = Duration::from_millis(250);

/// Serves `router` until `shutdown` begins and the requests under way are answered, or the deadline has
/// passed. Then no connection is left.
///
/// # Errors
///
/// A setting that is outside of its range ([`ServeOptions::check`]), and what the system says of the listener
/// at the end. A connection that cannot be accepted is logged, and the next one is.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServeOptions,
    shutdown: Shutdown,
) -> io::Result<Served> {
    options.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let router = if options.tls.is_some() { router.layer(Extension(Secure)) } else { router };
    let host = Arc::new(Host {
        router,
        permits: Arc::new(Semaphore::new(options.connections)),
        reserve: Arc::new(Semaphore::new(RESERVE)),
        peers: Arc::default(),
        room: room(IN_FLIGHT.into_iter().max().unwrap_or_default()),
        tracker: TaskTracker::new(),
        cut: CancellationToken::new(),
        options,
        shutdown,
    });
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => host.take(stream, address),
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
    while let Ok((stream, address)) = listener.accept() {
        stream.set_nonblocking(true)?;
        host.take(TcpStream::from_std(stream)?, address);
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
    /// For those above the cap.
    reserve: Arc<Semaphore>,
    peers: Arc<Peers>,
    /// For what is in memory of all answers.
    room: Room,
    tracker: TaskTracker,
    /// Ends whatever is left at the deadline.
    cut: CancellationToken,
}

impl Host {
    fn take(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let host = Arc::clone(self);
        let all = self.options.connections;
        let of_peer = self.options.peer_connections.unwrap_or(all - all / 4);
        let permit = || Arc::clone(&self.permits).try_acquire_owned().ok();
        if let Some((place, permit)) = self.peers.enter(address.ip(), of_peer).zip(permit()) {
            self.tracker.spawn(async move {
                tokio::select! {
                    () = host.connection(stream, address, &place) => {}
                    () = host.cut.cancelled() => {}
                }
                drop((permit, place));
            });
            return;
        }
        let permit = || Arc::clone(&self.reserve).try_acquire_owned().ok();
        if let Some((place, permit)) = self.peers.enter_reserve(address.ip()).zip(permit()) {
            self.tracker.spawn(async move {
                let _ = tokio::time::timeout(RESERVE_TIME, host.health(stream)).await;
                drop((permit, place));
            });
        }
    }

    /// Tells one above the cap of the service's health, and that there is no more.
    async fn health(&self, stream: TcpStream) {
        let Some(tls) = &self.options.tls else {
            return reserve::serve(stream, self.router.clone()).await;
        };
        if let Ok(stream) = tls.acceptor().accept(stream).await
            && stream.get_ref().1.alpn_protocol() != Some(b"h2")
        {
            reserve::serve(stream, self.router.clone()).await;
        }
    }

    async fn connection(&self, stream: TcpStream, address: SocketAddr, place: &Place) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a socket's options cannot be set");
        }
        let Some(tls) = &self.options.tls else { return self.http(stream, address, false, place).await };
        let shaken = tls.acceptor().accept(stream);
        match tokio::time::timeout(self.options.header_timeout, shaken).await {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                Box::pin(self.http(stream, address, is_http2, place)).await;
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
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD as u32);
        builder
    }

    async fn http<S>(&self, stream: S, address: SocketAddr, is_http2: bool, place: &Place)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (wire, traffic) = Wire::new(stream);
        let builder = self.builder(is_http2);
        let ledger = Ledger::new(Arc::clone(&place.room), Arc::clone(&self.room));
        let service = Service {
            inner: TowerToHyperService::new(self.router.clone()),
            ledger: Arc::clone(&ledger),
            connection: Connection::new(address),
        };
        let connection = builder.serve_connection(TokioIo::new(wire), service);
        let mut connection = std::pin::pin!(connection);
        // An idle HTTP/1 connection is hyper's to end, which has a word for one whose head is late; but for
        // one that does not take its last answer.
        let idle = self.options.header_timeout.saturating_mul(if is_http2 { 1 } else { 2 });
        let ended = tokio::select! {
            // First, so that what has come is read before an idle connection is closed.
            biased;
            ended = connection.as_mut() => Some(ended),
            due = ledger.due(idle, self.options.progress_timeout) => {
                tracing::debug!(?due, "a connection is closed");
                if due == Due::Idle {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(GRACE, connection).await;
                }
                return;
            }
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
}

/// The router, whose answers are watched.
struct Service {
    inner: TowerToHyperService<Router>,
    ledger: Arc<Ledger>,
    connection: Connection,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.connection.clone());
        let open = self.ledger.open();
        let answered = self.inner.call(request);
        Box::pin(async move { Ok(answered.await?.map(|body| Body::new(Watched::new(body, open)))) })
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Empty};
    use hyper::StatusCode;
    use hyper::client::conn::http2;
    use inflight::{NewTask, Payload, Store};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::task::JoinHandle;

    const RESULT: usize = 1 << 20;

    fn everybody() -> crate::Access {
        crate::Access::from_request(|_| crate::Principal::new("anyone").scope(crate::Scope::Admin))
    }

    fn host(store: &Store) -> Arc<Host> {
        Arc::new(Host {
            router: crate::router(store.clone(), everybody(), crate::Options::default()),
            permits: Arc::new(Semaphore::new(1)),
            reserve: Arc::new(Semaphore::new(1)),
            peers: Arc::default(),
            room: room(IN_FLIGHT[2]),
            tracker: TaskTracker::new(),
            cut: CancellationToken::new(),
            options: ServeOptions::default(),
            shutdown: Shutdown::default(),
        })
    }

    /// A service with a large result, a connection to it, and its end.
    fn connect(host: &Arc<Host>, is_http2: bool, buffer: usize) -> (DuplexStream, JoinHandle<Duration>) {
        let (near, far) = tokio::io::duplex(buffer);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let place = host.peers.enter(address.ip(), 9).unwrap();
        let host = Arc::clone(host);
        let served = tokio::spawn(async move {
            let since = tokio::time::Instant::now();
            host.http(far, address, is_http2, &place).await;
            since.elapsed()
        });
        (near, served)
    }

    fn with_result() -> (Store, String) {
        let store = Store::builder().capacity(16).build().unwrap();
        let mut task = store.create(NewTask::new("index")).unwrap();
        task.start().unwrap();
        let _ = task.succeed(Payload::from(vec![7; RESULT])).unwrap();
        let path = format!("http://x/v1/tasks/{}/result", task.id());
        (store, path)
    }

    type Sender = http2::SendRequest<Empty<Bytes>>;

    async fn http2(io: DuplexStream, window: u32) -> (Sender, JoinHandle<()>) {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
        let connection = tokio::spawn(async move { drop(connection.await) });
        (sender, connection)
    }

    async fn ask(sender: &mut Sender, path: &str) -> Response<Incoming> {
        sender.ready().await.unwrap();
        let request = Request::get(path).body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response
    }

    /// The clock stands still while anything moves, so this is over at once, or never.
    async fn ended(served: JoinHandle<Duration>) -> u64 {
        let ended = tokio::time::timeout(Duration::from_secs(3600), served).await;
        ended.expect("the connection is closed").unwrap().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn an_http2_reader_that_takes_nothing_holds_little_and_is_let_go_of() {
        let (store, path) = with_result();
        for (window, path) in
            [(0, &*path), (1, &*path), (0, "http://x/healthz"), (0, "http://x/openapi.json")]
        {
            let host = host(&store);
            let (near, served) = connect(&host, true, 1 << 16);
            let (mut sender, _connection) = http2(near, window).await;
            let mut answers = Vec::new();
            for _ in 0..STREAMS {
                answers.push(ask(&mut sender, path).await);
            }
            let in_memory = IN_FLIGHT[2] - host.room.available_permits();
            assert!(in_memory <= IN_FLIGHT[0], "{in_memory}");
            assert_eq!(ended(served).await, ServeOptions::default().progress_timeout.as_secs());
            drop(answers);
            // The streams are tasks of their own, which have yet to hear of it.
            let all = u32::try_from(IN_FLIGHT[2]).unwrap();
            let given_back =
                tokio::time::timeout(Duration::from_secs(3600), host.room.acquire_many(all)).await;
            assert!(given_back.is_ok(), "all of it is given back");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_http1_reader_that_takes_nothing_is_let_go_of() {
        let (store, path) = with_result();
        let host = host(&store);
        for path in [path.as_str(), "/openapi.json", "/healthz"] {
            let (mut near, served) = connect(&host, false, 64);
            let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", path.trim_start_matches("http://x"));
            near.write_all(request.as_bytes()).await.unwrap();
            let seconds = ended(served).await;
            assert!((15..=30).contains(&seconds), "{path}: {seconds}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_http2_connection_is_ended_and_a_busy_one_is_not() {
        let (store, path) = with_result();
        let host = host(&store);
        let timeout = ServeOptions::default().header_timeout;
        // One that never begins, one that never asks, one that has been answered.
        let (near, served) = connect(&host, true, 1 << 16);
        assert_eq!(ended(served).await, timeout.as_secs());
        drop(near);
        let (near, served) = connect(&host, true, 1 << 16);
        let client = http2(near, 1 << 16).await;
        assert_eq!(ended(served).await, timeout.as_secs());
        drop(client);
        let (near, served) = connect(&host, true, 1 << 16);
        let (mut sender, _connection) = http2(near, 1 << 16).await;
        let whole = ask(&mut sender, &path).await.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), RESULT);
        // A stream of events is under way, however little there is to tell.
        let mut events = ask(&mut sender, "http://x/v1/events").await.into_body();
        let hour = tokio::time::Instant::now() + Duration::from_secs(3600);
        while tokio::time::Instant::now() < hour {
            assert!(events.frame().await.unwrap().is_ok());
        }
        drop(events);
        assert!(ended(served).await >= 3600);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_that_reads_is_served() {
        let (store, path) = with_result();
        let host = host(&store);
        let (mut near, served) = connect(&host, false, 4096);
        let path = path.trim_start_matches("http://x");
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        near.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        let mut part = [0; 4096];
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            match near.read(&mut part).await.unwrap() {
                0 => break,
                count => read.extend_from_slice(&part[..count]),
            }
        }
        assert!(read.len() > RESULT);
        assert!(ended(served).await > 60, "longer than any time limit by itself");
    }
}
