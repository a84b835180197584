//! What the figures of docs/PERFORMANCE.md for the service are measured with; `ci/load.sh` runs it.
//!
//!     load serve                  the service, and beside it a bare axum route; prints their addresses
//!     load idle ADDRESS N         holds N streams of events, and says when they are open
//!     load mixed ADDRESS N SECS   polls, updates and N busy streams at a time; prints latencies

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use inflight::{NewTask, Store};
use inflight_server::{Access, Options, ServeOptions, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How many polls and updates a second the mixed load has, and on how many connections.
const POLLS: u64 = 1000;
const UPDATES: u64 = 200;
const CONNECTIONS: u64 = 16;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    match words.as_slice() {
        ["serve"] => serve().await,
        ["idle", address, count] => idle(address.parse()?, count.parse()?).await,
        ["mixed", address, count, secs] => mixed(address.parse()?, count.parse()?, secs.parse()?).await,
        _ => Err("load serve | idle ADDRESS N | mixed ADDRESS N SECS".into()),
    }
}

// ---- what is measured -------------------------------------------------------------------------------

async fn serve() -> Result<(), Failure> {
    let store = Store::builder().build()?;
    // As it is in a service that is in use: many tasks, of which one is polled.
    let others: Vec<_> = (0..100_000).filter_map(|_| store.create(NewTask::new("other")).ok()).collect();
    let mut task = store.create(NewTask::new("index").total(1000).unit("pages"))?;
    task.start()?;
    task.advance(10)?;
    let path = format!("/v1/tasks/{}", task.id());
    let service =
        listen(inflight_server::router(store, Access::open_on_loopback(), Options::default())).await?;

    let mut caller = Caller::connect(service).await?;
    let body = caller.ask("GET", &path, "").await?.body;
    let length = body.len();
    let constant = move || {
        let body = body.clone();
        std::future::ready(([(CONTENT_TYPE, "application/json")], body))
    };
    let bare = listen(Router::new().route("/v1/tasks/{id}", get(constant))).await?;
    println!("service http://{service}");
    println!("bare http://{bare}");
    println!("path {path}");
    println!("bytes {length}");
    println!("pid {}", std::process::id());
    // Until whoever started it closes the other end.
    tokio::task::spawn_blocking(|| io::stdin().lock().lines().count()).await?;
    drop((task, others));
    Ok(())
}

/// Both are served by the same code, so that only what answers is different.
async fn listen(router: Router) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(inflight_server::serve(listener, router, ServeOptions::default(), Shutdown::default()));
    Ok(address)
}

// ---- what measures ------------------------------------------------------------------------------------

/// One connection, one request at a time.
struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    body: String,
}

impl Caller {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    async fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
        let length = body.len();
        let head = "HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n";
        let request = format!("{method} {path} {head}Content-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed".into());
            }
            let text = std::str::from_utf8(&self.buffer)?;
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(Ok(0), str::parse)? {
                let status = head.split(' ').nth(1).unwrap_or_default().parse()?;
                return Ok(Answer { status, body: body.to_owned() });
            }
        }
    }
}

/// Opens a stream of events, and reads it up to where it is in use.
async fn open_stream(address: SocketAddr, path: &str) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("\ndata: ") {
        if stream.read_buf(&mut read).await? == 0 {
            return Err("the stream ended".into());
        }
    }
    Ok(stream)
}

async fn idle(address: SocketAddr, count: usize) -> Result<(), Failure> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let some = (0..100).map(|_| open_stream(address, "/v1/events?snapshot=false"));
        for opened in futures_util::future::join_all(some).await {
            streams.push(opened?);
        }
    }
    println!("open {}", streams.len());
    io::stdout().flush()?;
    tokio::task::spawn_blocking(|| io::stdin().lock().lines().count()).await?;
    Ok(())
}

async fn mixed(address: SocketAddr, count: u64, secs: u64) -> Result<(), Failure> {
    let mut caller = Caller::connect(address).await?;
    let mut paths = Vec::new();
    for _ in 0..count {
        let answer = caller.ask("POST", "/v1/tasks", r#"{"kind":"load","status":"running"}"#).await?;
        let id = answer.body.split('"').nth(3).unwrap_or_default();
        paths.push(format!("/v1/tasks/{id}"));
    }
    let events = Arc::new(AtomicU64::new(0));
    for path in &paths {
        let mut stream = open_stream(address, &format!("{path}/events")).await?;
        let events = Arc::clone(&events);
        tokio::spawn(async move {
            let mut piece = vec![0; 4096];
            while let Ok(length) = stream.read(&mut piece).await
                && length > 0
            {
                let piece = piece.get(..length).unwrap_or_default();
                let begun = piece.windows(6).filter(|six| six == b"\ndata:").count();
                // Relaxed: a count that is read when all is over.
                events.fetch_add(begun as u64, Ordering::Relaxed);
            }
        });
    }
    let paths = Arc::new(paths);
    let until = Instant::now() + Duration::from_secs(secs);
    let polls = (0..CONNECTIONS).map(|at| {
        let paths = Arc::clone(&paths);
        open_loop(address, at, POLLS, until, move |n| ("GET", path(&paths, n), ""))
    });
    let updates = (0..CONNECTIONS).map(|at| {
        let paths = Arc::clone(&paths);
        open_loop(address, at, UPDATES, until, move |n| {
            ("PATCH", path(&paths, n), r#"{"progress":{"advance":1}}"#)
        })
    });
    let (polls, updates) =
        tokio::join!(futures_util::future::join_all(polls), futures_util::future::join_all(updates));
    report("polls", polls, secs)?;
    report("updates", updates, secs)?;
    println!("events {} in {secs} s to {count} streams", events.load(Ordering::Relaxed));
    Ok(())
}

fn path(paths: &[String], n: u64) -> String {
    let scattered = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    paths.get((scattered % paths.len() as u64) as usize).cloned().unwrap_or_default()
}

/// Calls by a fixed schedule, whether or not the last answer was in time, and counts from when the call
/// was due: so a stall shows in all calls that it delays.
async fn open_loop(
    address: SocketAddr,
    at: u64,
    per_second: u64,
    until: Instant,
    call: impl Fn(u64) -> (&'static str, String, &'static str),
) -> Result<Vec<Duration>, Failure> {
    let mut caller = Caller::connect(address).await?;
    let gap = Duration::from_secs(CONNECTIONS) / u32::try_from(per_second)?;
    let mut due = Instant::now() + gap.mul_f64(at as f64 / CONNECTIONS as f64);
    let (mut took, mut n) = (Vec::new(), at);
    while due < until {
        tokio::time::sleep_until(due.into()).await;
        let (method, path, body) = call(n);
        let answer = caller.ask(method, &path, body).await?;
        if answer.status != 200 {
            return Err(format!("{} {}", answer.status, answer.body).into());
        }
        took.push(due.elapsed());
        due += gap;
        n += CONNECTIONS;
    }
    Ok(took)
}

fn report(what: &str, took: Vec<Result<Vec<Duration>, Failure>>, secs: u64) -> Result<(), Failure> {
    let mut all = took.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    all.sort_unstable();
    let at = |share: f64| all.get((all.len() as f64 * share) as usize).copied().unwrap_or_default();
    let rate = all.len() as u64 / secs;
    let last = all.last().copied().unwrap_or_default();
    println!("{what} {rate}/s p50 {:?} p99 {:?} p99.9 {:?} max {last:?}", at(0.5), at(0.99), at(0.999));
    Ok(())
}
