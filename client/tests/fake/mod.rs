//! A server that misbehaves to order: HTTP/1.1 by hand, so that it can also break it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_client::{Client, ClientBuilder};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or(serde_json::Value::Null)
    }

    /// `PATCH /v1/tasks/…` as `PATCH`, `POST /v1/tasks/…:succeed` as `succeed`.
    pub(crate) fn verb(&self) -> &str {
        self.path.rsplit_once(':').map_or(&self.method, |(_, verb)| verb)
    }
}

/// What to do about a request.
pub(crate) enum Answer {
    /// Status, more headers (each with its line end), body.
    Reply(u16, String, String),
    /// Close the connection without a word.
    Drop,
    /// Say nothing, and keep the connection open.
    Hang,
    /// A stream of events: these bytes, then the end of the connection, or silence.
    Stream { bytes: Vec<u8>, hold: bool },
    /// A body without an end.
    Endless,
}

pub(crate) fn json(body: impl ToString) -> Answer {
    Answer::Reply(200, String::new(), body.to_string())
}

pub(crate) fn problem(status: u16, body: impl ToString) -> Answer {
    Answer::Reply(status, "content-type: application/problem+json\r\n".into(), body.to_string())
}

pub(crate) fn stream(text: &str) -> Answer {
    Answer::Stream { bytes: text.as_bytes().to_vec(), hold: false }
}

pub(crate) struct Fake {
    address: SocketAddr,
    seen: mpsc::UnboundedReceiver<Seen>,
}

type Script = Box<dyn FnMut(&Seen) -> Answer + Send>;

impl Fake {
    pub(crate) async fn new(script: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (tell, seen) = mpsc::unbounded_channel();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), tell.clone()));
            }
        });
        Self { address, seen }
    }

    /// A client of this server, that is quick to try again.
    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder(format!("http://{}", self.address))
            .timeout(Duration::from_secs(5))
            .max_backoff(Duration::from_millis(20))
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().expect("a good address")
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(Duration::from_secs(10), self.seen.recv()).await;
        next.expect("a request within ten seconds").expect("the server lives")
    }

    /// The next request of this verb.
    pub(crate) async fn next_of(&mut self, verb: &str) -> Seen {
        loop {
            let seen = self.next().await;
            if seen.verb() == verb {
                return seen;
            }
        }
    }

    /// The requests that have come and were not taken.
    pub(crate) fn rest(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>, tell: mpsc::UnboundedSender<Seen>) {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(seen) = request(&mut read).await {
        let answer = (script.lock().expect("no panic"))(&seen);
        let _ = tell.send(seen);
        match answer {
            Answer::Reply(status, headers, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n");
                if write.write_all((head + &body).as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Drop => return,
            Answer::Hang => {
                let _ = read.read(&mut [0]).await;
                return;
            }
            Answer::Stream { bytes, hold } => {
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
                let _ = write.write_all(head).await;
                let _ = write.write_all(&bytes).await;
                if hold {
                    let _ = read.read(&mut [0]).await;
                }
                return;
            }
            Answer::Endless => {
                let _ = write.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while write.write_all(&[b' '; 4096]).await.is_ok() {}
                return;
            }
        }
    }
}

async fn request(read: &mut BufReader<tokio::net::tcp::OwnedReadHalf>) -> Option<Seen> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        read.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    read.read_exact(&mut body).await.ok()?;
    Some(Seen { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

pub(crate) const ID: &str = "00000000-0000-8000-8000-000000000007";

/// A task as JSON, with a version and a state.
pub(crate) fn task(version: u32, state: &str) -> serde_json::Value {
    serde_json::json!({
        "taskId": ID, "kind": "index", "status": state, "version": format!("1-{version:x}-0"),
        "attempt": 1, "progress": { "done": 0 }
    })
}
