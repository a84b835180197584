//! A service under test, and a small client.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use inflight::{KeeperMode, ManualClock, Retention, Store};
use inflight_server::{Access, Options, Principal, Scope, ServeOptions, Served, Shutdown};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long anything may take that is expected to happen at all.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    pub(crate) store: Store,
    pub(crate) clock: ManualClock,
    pub(crate) shutdown: Shutdown,
    pub(crate) served: JoinHandle<std::io::Result<Served>>,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A service whose clock stands still and whose store nobody ticks.
pub(crate) async fn service() -> Service {
    service_with(Options::default(), ServeOptions::default(), 1 << 12).await
}

pub(crate) async fn service_with(options: Options, serve: ServeOptions, capacity: usize) -> Service {
    service_for(everybody(), options, serve, capacity).await
}

/// Everybody may do everything, under any name of the service: for what is not about who may.
pub(crate) fn everybody() -> Access {
    Access::from_request(|_| Principal::new("anyone").scope(Scope::Admin))
}

pub(crate) async fn service_for(
    access: Access,
    options: Options,
    serve: ServeOptions,
    capacity: usize,
) -> Service {
    let clock = ManualClock::new();
    let store = Store::builder()
        .capacity(capacity)
        .clock(clock.clone())
        .keeper(KeeperMode::Manual)
        .retain(Retention::default())
        .build()
        .unwrap();
    let shutdown = options.shutdown.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = inflight_server::router(store.clone(), access, options);
    let served = tokio::spawn(inflight_server::serve(listener, router, serve, shutdown.clone()));
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
    Service { address, store, clock, shutdown, served, client }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn etag(&self) -> String {
        self.header("etag").expect("there is an ETag").to_owned()
    }

    /// That it is this error, and properly described.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, slug: &str) -> Value {
        let body = self.json();
        assert_eq!(self.status.as_u16(), status, "{body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(body["type"], format!("urn:inflight:problem:{slug}"), "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"));
        for field in ["title", "detail", "instance"] {
            assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
        }
        body
    }
}

impl Service {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let answered = tokio::time::timeout(LONG, self.client.request(request)).await;
        answered.expect("an answer in time").expect("an answer")
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(self.url(path));
        if body.is_some() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::from(body.unwrap_or_default().to_owned());
        let (parts, body) = self.send(request.body(body).unwrap()).await.into_parts();
        let body = tokio::time::timeout(LONG, body.collect()).await.expect("a body in time").unwrap();
        Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.ask(Method::GET, path, headers, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask(Method::POST, path, headers, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &str) -> Answer {
        self.ask(Method::PATCH, path, &[], Some(body)).await
    }

    /// Creates a task and gives its path.
    pub(crate) async fn create(&self, body: &str) -> String {
        let answer = self.post("/v1/tasks", body).await;
        assert_eq!(answer.status, 202, "{}", answer.json());
        format!("/v1/tasks/{}", answer.json()["taskId"].as_str().unwrap())
    }

    /// A stream of events, as a foreign parser reads it.
    pub(crate) async fn events(&self, path: &str, headers: &[(&str, &str)]) -> Events {
        let mut request = Request::builder().uri(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request.body(Full::default()).unwrap()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().get(CONTENT_TYPE).unwrap(), "text/event-stream");
        let body = http_body_util::BodyDataStream::new(response.into_body());
        Events(Box::pin(eventsource_stream::EventStream::new(body)))
    }
}

type Parsed = eventsource_stream::EventStream<http_body_util::BodyDataStream<Incoming>>;

pub(crate) struct Events(std::pin::Pin<Box<Parsed>>);

#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Events {
    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        use futures_util::StreamExt;
        let event = tokio::time::timeout(LONG, self.0.next()).await.expect("an event, or the end")?;
        let event = event.expect("an event as it should be");
        let data = serde_json::from_str(&event.data).unwrap();
        Some(Event { name: event.event, id: event.id, data })
    }

    /// The next event, which has this name.
    pub(crate) async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.expect("an event");
        assert_eq!(event.name, name, "{event:?}");
        event
    }
}
