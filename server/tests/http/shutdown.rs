//! The end: streams are ended, waits and requests answered, and there is a deadline.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::Method;
use inflight_server::{Options, ServeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{LONG, service, service_with};

#[tokio::test]
async fn streams_end_waits_are_answered_and_no_connection_is_cut() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let mut of_task = service.events(&format!("{path}/events"), &[]).await;
    of_task.expect("status").await;
    let mut of_all = service.events("/v1/events", &[]).await;
    while of_all.next().await.unwrap().name != "ready" {}
    let mut waiting = TcpStream::connect(service.address).await.unwrap();
    let wait = format!("GET {path} HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\n\r\n");
    waiting.write_all(wait.as_bytes()).await.unwrap();
    service.shutdown.begin();
    let mut waited = String::new();
    tokio::time::timeout(LONG, waiting.read_to_string(&mut waited)).await.unwrap().unwrap();
    assert!(waited.starts_with("HTTP/1.1 200") && waited.contains("\"status\":\"pending\""), "{waited}");
    assert!(of_task.next().await.is_none());
    // What the log heard of the task only after the list showed it may come once more.
    while let Some(event) = of_all.next().await {
        assert_eq!(event.name, "status");
    }
    let served = tokio::time::timeout(LONG, service.served).await.expect("it ends").unwrap().unwrap();
    assert_eq!(served.cut, 0);
    assert!(TcpStream::connect(service.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_does_not_end_by_itself_is_cut_at_the_deadline() {
    let serve = ServeOptions { shutdown_deadline: Duration::from_millis(50), ..ServeOptions::default() };
    let service = service_with(Options::default(), serve, 16).await;
    let mut stuck = TcpStream::connect(service.address).await.unwrap();
    let head = b"POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stuck.write_all(head).await.unwrap();
    // Once another request is through, this one has been accepted, too.
    assert_eq!(service.get("/healthz").await.status, 200);
    service.shutdown.begin();
    let served = tokio::time::timeout(LONG, service.served).await.expect("it ends").unwrap().unwrap();
    assert_eq!(served.cut, 1);
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(LONG, stuck.read_to_end(&mut rest)).await.expect("it is closed");
}

#[tokio::test]
async fn a_service_that_ends_says_that_it_is_not_ready_and_takes_no_more() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    assert_eq!(service.get("/readyz").await.status, 200);
    // A connection that is in, with its request still on its way.
    let ask = |request: String| async move {
        let mut stream = TcpStream::connect(service.address).await.unwrap();
        stream.write_all(&request.as_bytes()[..10]).await.unwrap();
        (stream, request)
    };
    let head = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    let body = r#"{"kind":"index"}"#;
    let mut begun = Vec::new();
    for (request, expected) in [
        (format!("GET /readyz {head}\r\n"), "503"),
        (format!("GET {path} {head}\r\n"), "200"),
        (format!("GET {path}/events {head}\r\n"), "503"),
        (format!("GET /v1/events {head}\r\n"), "503"),
        (
            format!(
                "POST /v1/tasks {head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            "503",
        ),
        (
            format!(
                "PATCH {path} {head}Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{{\"status\":\"running\"}}"
            ),
            "200",
        ),
    ] {
        begun.push((ask(request).await, expected));
    }
    assert_eq!(service.ask(Method::GET, "/healthz", &[], None).await.status, 200);
    service.shutdown.begin();
    for ((mut stream, request), expected) in begun {
        stream.write_all(&request.as_bytes()[10..]).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LONG, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{request}: {answer}");
    }
}

/// `kill -TERM` of the binary under load: every request that was accepted is answered, or the connection
/// is closed before any of the answer, so that the caller knows to ask somebody else.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_answers_or_refuses_cleanly() {
    let mut child = crate::config::Started::serve(&["--shutdown-deadline", "5s"], &[]);
    let address = child.address();
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..16)
        .map(|n| {
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let request = if n % 2 == 0 {
                    "GET /v1/counts HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned()
                } else {
                    let body = r#"{"kind":"index"}"#;
                    format!("POST /v1/tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                };
                loop {
                    match one_connection(address, &request, &answered).await {
                        Ended::Refused => return None,
                        Ended::Closed => {}
                        Ended::Torn(answer) => return Some(answer),
                    }
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 500 {
        tokio::task::yield_now().await;
    }
    child.terminate();
    for client in clients {
        let torn = tokio::time::timeout(LONG, client).await.expect("every client comes to an end").unwrap();
        assert_eq!(torn, None, "an answer that was begun is finished");
    }
    assert!(child.wait().success(), "it ends in order");
}

enum Ended {
    /// Nobody listens any more.
    Refused,
    /// Closed between an answer and the next one.
    Closed,
    /// Closed within an answer.
    Torn(String),
}

async fn one_connection(address: std::net::SocketAddr, request: &str, answered: &AtomicU64) -> Ended {
    let Ok(mut stream) = TcpStream::connect(address).await else { return Ended::Refused };
    let mut buffer = Vec::new();
    loop {
        if stream.write_all(request.as_bytes()).await.is_err() {
            return Ended::Closed;
        }
        buffer.clear();
        while !is_whole(&buffer) {
            match stream.read_buf(&mut buffer).await {
                Ok(0) | Err(_) if buffer.is_empty() => return Ended::Closed,
                Ok(0) | Err(_) => return Ended::Torn(String::from_utf8_lossy(&buffer).into_owned()),
                Ok(_) => {}
            }
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether it is an answer with all of its body.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|length| body.len() >= length)
}
