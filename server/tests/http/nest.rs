//! The router inside another service.

use axum::Router;
use axum::routing::get;
use inflight::{NewTask, Store};
use inflight_server::{MetricsText, Options, ServeOptions, Shutdown};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::service::everybody;

const NAME: &str = "status.test:81";

/// One request to a service of that name, and its answer, as head and body.
pub(crate) async fn ask(
    address: std::net::SocketAddr,
    name: &str,
    head: &str,
    body: &str,
) -> (String, String) {
    ask_as(address, name, &format!("{head} HTTP/1.1"), body).await
}

/// The same, with more of the head.
async fn ask_as(address: std::net::SocketAddr, name: &str, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: {name}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn it_nests_into_anyones_service_and_knows_its_address() {
    let store = Store::builder().capacity(64).build().unwrap();
    let metrics = MetricsText::new(|| "of the host\n".into());
    let options = Options { metrics: Some(metrics), ..Options::default() };
    let status = inflight_server::router(store.clone(), everybody(), options);
    let app = Router::new().route("/", get(async || "the host's own page")).nest("/ops/status", status);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = Shutdown::default();
    let served =
        tokio::spawn(inflight_server::serve(listener, app, ServeOptions::default(), shutdown.clone()));

    assert_eq!(ask(address, NAME, "GET /", "").await.1, "the host's own page");
    let (head, body) = ask(address, NAME, "POST /ops/status/v1/tasks", r#"{"kind":"index"}"#).await;
    let id = serde_json::from_str::<Value>(&body).unwrap()["taskId"].as_str().unwrap().to_owned();
    let location = format!("location: http://status.test:81/ops/status/v1/tasks/{id}");
    assert!(head.contains(&location), "{head}");
    let (head, body) = ask(address, NAME, &format!("GET /ops/status/v1/tasks/{id}"), "").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains(&id), "{head}");

    let mut own = store.create(NewTask::new("own")).unwrap();
    own.start().unwrap();
    let (_, body) = ask(address, NAME, &format!("GET /ops/status/v1/tasks/{}", own.id()), "").await;
    assert!(body.contains("\"status\":\"running\""), "{body}");

    let (_, body) = ask(address, NAME, "GET /ops/status/nothing", "").await;
    assert!(body.contains("\"instance\":\"/ops/status/nothing\""), "the address as it was asked for: {body}");
    assert_eq!(ask(address, NAME, "GET /ops/status/metrics", "").await.1, "of the host\n");
    let (head, page) = ask(address, NAME, "GET /ops/status", "").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(page.contains("<base href=\"/ops/status/\">"), "or what it refers to would not be found: {page}");
    assert!(ask(address, NAME, "GET /ops/status/docs", "").await.0.starts_with("HTTP/1.1 200"));
    let (_, described) = ask(address, NAME, "GET /ops/status/openapi.json", "").await;
    assert!(described.contains(r#""servers":[{"url":"/ops/status"}]"#));
    shutdown.begin();
    assert_eq!(served.await.unwrap().unwrap().cut, 0);
}

#[tokio::test]
async fn a_location_that_is_replayed_is_made_anew_for_whoever_asks() {
    let store = Store::builder().capacity(64).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = inflight_server::router(store, everybody(), Options::default());
    tokio::spawn(inflight_server::serve(listener, router, ServeOptions::default(), Shutdown::default()));
    for (name, is_replayed) in [("evil.example", false), ("status.test", true)] {
        let head = "POST /v1/tasks HTTP/1.1\r\nIdempotency-Key: k";
        let (answer, _) = ask_as(address, name, head, r#"{"kind":"index"}"#).await;
        assert_eq!(answer.contains("\r\nidempotency-replayed: true"), is_replayed, "{answer}");
        for header in ["location", "operation-location"] {
            let begin = format!("\r\n{header}: http://{name}/v1/tasks/");
            assert!(answer.contains(&begin), "{name}: {answer}");
        }
    }
}

/// A service behind a proxy that calls it by a name of its own.
async fn behind_a_proxy() -> std::net::SocketAddr {
    let store = Store::builder().capacity(64).build().unwrap();
    let public_url = Some("https://status.example/x/".parse().unwrap());
    let options = Options { public_url, ..Options::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = inflight_server::router(store, everybody(), options);
    tokio::spawn(inflight_server::serve(listener, router, ServeOptions::default(), Shutdown::default()));
    address
}

#[tokio::test]
async fn behind_a_proxy_pages_of_the_public_url_change_tasks_and_no_others() {
    let address = behind_a_proxy().await;
    for (origin, expected) in [
        ("https://status.example", "202"),
        ("http://backend.internal:7117", "202"),
        ("http://status.example", "403"),
        ("https://status.example:8443", "403"),
        ("https://status.example.evil.example", "403"),
        ("https://evil.example", "403"),
        ("null", "403"),
    ] {
        let head = format!("POST /v1/tasks HTTP/1.1\r\nOrigin: {origin}");
        let (answer, body) = ask_as(address, "backend.internal:7117", &head, r#"{"kind":"index"}"#).await;
        assert_eq!(answer.split(' ').nth(1), Some(expected), "{origin}: {body}");
    }
}

#[tokio::test]
async fn a_public_url_is_what_addresses_begin_with() {
    let address = behind_a_proxy().await;
    let (head, _) = ask(address, NAME, "POST /v1/tasks", r#"{"kind":"index"}"#).await;
    assert!(head.contains("\r\nlocation: https://status.example/x/v1/tasks/"), "{head}");
    let (head, _) = ask(address, NAME, "GET /metrics", "").await;
    assert!(head.starts_with("HTTP/1.1 404"), "no metrics where the host gives none: {head}");
}
