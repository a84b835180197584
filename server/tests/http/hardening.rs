//! Bad callers: slow ones, half-closed ones, large ones, too many of them. Each is answered with the
//! right status, and none harms the others.

use std::time::Duration;

use inflight_server::{Options, ServeOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{LONG, Service, everybody, service, service_with};

async fn connect(service: &Service) -> TcpStream {
    TcpStream::connect(service.address).await.unwrap()
}

/// What comes until the service closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(LONG, stream.read_to_end(&mut text)).await;
    let _ = read.expect("the service closes the connection");
    String::from_utf8(text).unwrap()
}

/// What comes back for these bytes, with the sending side left open.
async fn raw(service: &Service, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(service).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    rest(&mut stream).await
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_else(|| panic!("an answer: {answer:?}"))
}

async fn impatient() -> Service {
    let options =
        Options { body_timeout: Duration::from_millis(300), body_limit: 4096, ..Options::default() };
    let serve = ServeOptions { header_timeout: Duration::from_millis(500), ..ServeOptions::default() };
    service_with(options, serve, 64).await
}

#[tokio::test]
async fn a_slow_head_is_408_and_polls_go_on_meanwhile() {
    let service = impatient().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = connect(&service).await;
        stream.write_all(b"GET /v1/tasks HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(service.get(&path).await.status, 200);
    }
    for mut stream in slow {
        let answer = rest(&mut stream).await;
        assert_eq!(status(&answer), "408", "{answer}");
        assert!(answer.contains("application/problem+json"));
    }
    // Nothing at all is not a request: the connection is closed without a word.
    assert_eq!(rest(&mut connect(&service).await).await, "");
}

#[tokio::test]
async fn a_slow_body_is_408() {
    let service = impatient().await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let head = format!(
            "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        );
        let answer = raw(&service, head).await;
        assert_eq!(status(&answer), "408", "{answer}");
        assert!(answer.contains("urn:inflight:problem:body-timeout"));
    }
}

#[tokio::test]
async fn a_half_closed_connection_is_answered() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let mut stream = connect(&service).await;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("\"kind\":\"index\""));
    // Also when the answer takes its time, so that the service sees first that nothing more will come.
    let mut stream = connect(&service).await;
    let wait = format!("GET {path} HTTP/1.1\r\nHost: x\r\nPrefer: wait=30\r\n\r\n");
    stream.write_all(wait.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    for _ in 0..20 {
        assert_eq!(service.get(&path).await.status, 200);
    }
    service.post(&format!("{path}:cancel"), "{}").await;
    assert!(rest(&mut stream).await.contains("\"status\":\"cancelled\""));
    // In the middle of a head or a body, there is nothing to answer, and nothing is kept either.
    for part in ["GET /v1/ta", "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"] {
        let mut stream = connect(&service).await;
        stream.write_all(part.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || status(&answer) == "400", "{answer}");
    }
    assert_eq!(service.store.counts().total(), 1);
}

#[tokio::test]
async fn large_bodies_are_413_announced_or_not() {
    let service = impatient().await;
    let body = format!(r#"{{"kind":"index","statusMessage":"{}"}}"#, "x".repeat(5000));
    service.post("/v1/tasks", &body).await.assert_problem(413, "too-large");
    let head =
        "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let announced = raw(&service, format!("{head}Content-Length: 99999999999\r\n\r\n")).await;
    assert_eq!(status(&announced), "413", "before any of it has come");
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    let chunked =
        raw(&service, format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n")).await;
    assert_eq!(status(&chunked), "413");
    assert_eq!(service.store.counts().total(), 0);
}

#[tokio::test]
async fn malformed_requests_are_400_and_large_heads_431() {
    let service = impatient().await;
    let large = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n\r\n", "x".repeat(300_000));
    for (request, expected) in [
        ("NONSENSE\r\n\r\n", "400"),
        ("GET / HTTP/9.9\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1} a TLS hello, as it were\r\n\r\n", "400"),
        (large.as_str(), "431"),
    ] {
        let answer = raw(&service, request).await;
        assert_eq!(status(&answer), expected, "{:?}", request.get(..40));
    }
    let smuggled = "POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = raw(&service, smuggled).await;
    assert!(["400", "415"].contains(&status(&answer)), "{answer}");
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_400_in_bodies_headers_and_addresses() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let close = "Host: x\r\nConnection: close\r\n";
    let mut body = format!(
        "POST /v1/tasks HTTP/1.1\r\n{close}Content-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    )
    .into_bytes();
    body.extend_from_slice(b"{\"kind\":\"\xff\xfe\"}");
    assert_eq!(status(&raw(&service, body).await), "400");
    for name in ["If-None-Match", "Prefer"] {
        let mut request = format!("GET {path} HTTP/1.1\r\n{close}{name}: \"").into_bytes();
        request.extend_from_slice(b"\xff\"\r\n\r\n");
        let answer = raw(&service, request).await;
        let expected = if name == "Prefer" { "200" } else { "400" };
        assert_eq!(status(&answer), expected, "{name}: preferences that are not understood are passed over");
    }
    let mut key = format!("POST /v1/tasks HTTP/1.1\r\n{close}Content-Type: application/json\r\nContent-Length: 12\r\nIdempotency-Key: ").into_bytes();
    key.extend_from_slice(b"\xff\r\n\r\n{\"kind\":\"a\"}");
    assert_eq!(status(&raw(&service, key).await), "400");
    let answer = service.get("/v1/tasks?label.a=%ff%fe").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["tasks"]), (200, &serde_json::json!([])));
    assert_eq!(service.get("/v1/tasks/%ff%fe").await.status, 400);
}

#[tokio::test]
async fn connections_over_the_cap_are_503_and_the_others_go_on() {
    let serve = ServeOptions { connections: 3, ..ServeOptions::default() };
    let service = service_with(Options::default(), serve, 16).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = connect(&service).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        held.push(stream);
    }
    for (request, expected) in [
        ("GET /v1/counts HTTP/1.1\r\nHost: x\r\n\r\n", "503"),
        ("POST /v1/tasks HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\"a\":", "503"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
        ("GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
    ] {
        let mut extra = connect(&service).await;
        extra.write_all(request.as_bytes()).await.unwrap();
        extra.shutdown().await.unwrap();
        let answer = rest(&mut extra).await;
        assert_eq!(status(&answer), expected, "{request}");
        if expected == "503" {
            assert!(answer.contains("retry-after: 1") && answer.contains("problem+json"), "{answer}");
            assert!(answer.contains("urn:inflight:problem:connections"), "{answer}");
        }
    }
    // Those that are in go on, and one that leaves makes room.
    let mut last = held.pop().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut last).await.contains("HTTP/1.1 200"));
    loop {
        let mut next = connect(&service).await;
        next.write_all(b"GET /v1/counts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        if status(&rest(&mut next).await) == "200" {
            break; // The place is free only once the service has seen the other one go.
        }
    }
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let mut deaf = connect(&service).await;
    deaf.write_all(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut events = service.events("/v1/events?snapshot=false", &[]).await;
    events.expect("ready").await;
    let message = "x".repeat(4000);
    for n in 0..300 {
        let body = format!(r#"{{"statusMessage":"{n} {message}"}}"#);
        assert_eq!(service.patch(&path, &body).await.status, 200);
    }
    let mut last = events.expect("status").await;
    while !last.data["statusMessage"].as_str().unwrap().starts_with("299 ") {
        last = events.expect("status").await;
    }
}

#[tokio::test]
async fn settings_near_the_end_of_their_types_are_refused_by_name_and_panic_nowhere() {
    let store = inflight::Store::builder().capacity(16).build().unwrap();
    let most = Duration::MAX;
    for (serve, name) in [
        (ServeOptions { connections: usize::MAX, ..ServeOptions::default() }, "connections"),
        (ServeOptions { header_timeout: most, ..ServeOptions::default() }, "header_timeout"),
        (ServeOptions { shutdown_deadline: most, ..ServeOptions::default() }, "shutdown_deadline"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let router = inflight_server::router(store.clone(), everybody(), Options::default());
        let served = inflight_server::serve(listener, router, serve, inflight_server::Shutdown::default());
        let refused = tokio::time::timeout(LONG, served).await.expect("it does not begin").unwrap_err();
        assert!(refused.to_string().starts_with(name), "{refused}");
    }
    let options = Options {
        poll_interval: (most, most),
        body_timeout: most,
        wait_limit: most,
        event_interval: most,
        keep_alive: most,
        idempotency_ttl: most,
        idempotency_bytes: usize::MAX,
        busy_at: usize::MAX,
        event_log: usize::MAX,
        ..Options::default()
    };
    assert!(options.check().is_err());
    let service = service_with(options, ServeOptions::default(), 16).await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    assert_eq!(service.get(&path).await.status, 200);
}

#[tokio::test]
async fn one_peer_does_not_take_all_connections() {
    let serve = ServeOptions { connections: 8, ..ServeOptions::default() };
    let service = service_with(Options::default(), serve, 16).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut held = Vec::new();
    for _ in 0..6 {
        let mut stream = connect(&service).await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        held.push(stream);
    }
    // It has three quarters of them, and no more; but it is still told that the service lives.
    assert_eq!(status(&raw(&service, get("/v1/counts")).await), "503");
    assert_eq!(status(&raw(&service, get("/healthz")).await), "200");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(service.address).await.unwrap();
    other.write_all(get("/v1/counts").as_bytes()).await.unwrap();
    assert_eq!(status(&rest(&mut other).await), "200", "another peer has its own");
}
