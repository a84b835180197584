//! What an answer may hold: it has a budget, it is made while it is sent, and nothing that walks over the store
//! holds up the others.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use inflight::{NewTask, Payload, Store, TaskId};
use inflight_server::{Options, ServeOptions};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::service::{Service, everybody, service, service_with};

/// Tasks that have succeeded with results of this many bytes.
fn ended(store: &Store, count: usize, bytes: usize) -> Vec<TaskId> {
    let end = |_| {
        let mut task = store.create(NewTask::new("index")).unwrap();
        task.start().unwrap();
        let result = format!("\"{}\"", "x".repeat(bytes - 2));
        let _ = task.succeed(Payload::new("application/json", result)).unwrap();
        task.id()
    };
    (0..count).map(end).collect()
}

fn batch_of(ids: &[TaskId], view: &str) -> String {
    let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
    json!({ "taskIds": ids, "view": view }).to_string()
}

#[tokio::test]
async fn a_task_that_is_asked_for_many_times_in_a_batch_is_there_once() {
    let service = service().await;
    let one = ended(&service.store, 1, 100_000)[0];
    let other = TaskId::from_u128(7);
    let ids: Vec<_> = std::iter::repeat_n([one, other], 500).flatten().collect();
    let answer = service.post("/v1/tasks:batchGet", &batch_of(&ids, "full")).await;
    assert!(answer.body.len() < 110_000, "{}", answer.body.len());
    let got = answer.json();
    assert_eq!(got["tasks"].as_array().unwrap().len(), 2);
    assert_eq!((&got["tasks"][0]["taskId"], &got["tasks"][1]), (&json!(one.to_string()), &Value::Null));
    assert_eq!(got["absent"].as_array().unwrap().len(), 1);
}

async fn frugal() -> Service {
    let options = Options { answer_limit: 100_000, ..Options::default() };
    service_with(options, ServeOptions::default(), 1 << 10).await
}

#[tokio::test]
async fn a_page_has_a_budget_and_the_next_goes_on_where_it_ended() {
    let service = frugal().await;
    let mut wanted = ended(&service.store, 5, 40_000);
    wanted.extend(ended(&service.store, 1, 300_000));
    wanted.extend(ended(&service.store, 1, 10));
    let (mut found, mut token, mut pages) = (Vec::new(), String::new(), Vec::new());
    loop {
        let page = service.get(&format!("/v1/tasks?view=full&pageToken={token}")).await;
        let body = page.json();
        let tasks = body["tasks"].as_array().unwrap();
        pages.push(tasks.len());
        assert!(page.body.len() < 102_000 || tasks.len() == 1, "{}", page.body.len());
        found.extend(tasks.iter().map(|task| task["taskId"].as_str().unwrap().parse::<TaskId>().unwrap()));
        token = body["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(found, wanted, "each once, in order");
    assert_eq!(pages, [2, 2, 1, 1, 1], "the large one has a page of its own");
    let basic = service.get("/v1/tasks").await.json();
    assert_eq!(basic["tasks"].as_array().unwrap().len(), 7, "without results they have room on one");
}

#[tokio::test]
async fn a_batch_has_a_budget_and_says_what_it_left_out() {
    let service = frugal().await;
    let ids = ended(&service.store, 5, 40_000);
    let mut left = ids.clone();
    let mut found = Vec::new();
    while !left.is_empty() {
        let answer = service.post("/v1/tasks:batchGet", &batch_of(&left, "full")).await;
        assert!(answer.body.len() < 102_000, "{}", answer.body.len());
        let body = answer.json();
        assert_eq!(body["tasks"].as_array().unwrap().len(), left.len(), "one for each id");
        let tasks = body["tasks"].as_array().unwrap().iter().filter(|task| !task.is_null());
        found.extend(tasks.map(|task| task["taskId"].as_str().unwrap().to_owned()));
        let omitted = body["omitted"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse());
        left = omitted.collect::<Result<_, _>>().unwrap();
    }
    assert_eq!(found, ids.iter().map(ToString::to_string).collect::<Vec<_>>());
}

/// The router by itself, so that it is known what has been asked of a body.
async fn body_of(service: &Service, request: Request<Full<Bytes>>) -> axum::body::Body {
    let router = inflight_server::router(service.store.clone(), everybody(), Options::default());
    let response = router.oneshot(request.map(axum::body::Body::new)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

async fn rest_of(body: axum::body::Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn what_has_not_been_asked_for_yet_has_not_been_made() {
    let service = service().await;
    let mut ids = ended(&service.store, 300, 10_000);
    let mut last = service.store.create(NewTask::new("last")).unwrap();
    ids.push(last.id());
    let get = |path: &str| Request::get(path).body(Full::default()).unwrap();
    let batch = Request::builder().method(Method::POST).uri("/v1/tasks:batchGet");
    let batch = batch.header("content-type", "application/json");
    let batch = batch.body(Full::from(batch_of(&ids, "full"))).unwrap();
    for request in [batch, get("/v1/tasks?pageSize=500&view=full"), get("/v1/events")] {
        let uri = request.uri().clone();
        last.set_message("before").unwrap();
        let mut body = body_of(&service, request).await;
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.len() <= 64 << 10, "{}", first.len());
        last.set_message("after").unwrap();
        let rest = if uri.path() == "/v1/events" {
            let mut text = String::new();
            while !text.contains("event: ready") {
                let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
                assert!(piece.len() <= 64 << 10, "{}", piece.len());
                text.push_str(std::str::from_utf8(&piece).unwrap());
            }
            text
        } else {
            rest_of(body).await
        };
        assert!(rest.contains("\"after\"") && !rest.contains("\"before\""), "{uri}");
    }
}

#[tokio::test]
async fn an_unread_stream_of_all_events_holds_no_page_of_them() {
    let service = service().await;
    let mut tasks: Vec<_> = (0..128).map(|_| service.store.create(NewTask::new("index")).unwrap()).collect();
    let request = Request::get("/v1/events").body(Full::default()).unwrap();
    let mut body = body_of(&service, request).await;
    let mut text = String::new();
    while !text.contains("data:") {
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    tasks[100].set_message("after").unwrap();
    while !text.contains("event: ready") {
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    assert!(text.contains("\"after\""), "it was looked at when its turn came");
}

#[tokio::test]
async fn a_result_of_several_lines_is_one_event() {
    let service = service().await;
    for size in [1, 10_000] {
        let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
        let mut events = service.events(&format!("{path}/events"), &[]).await;
        events.expect("status").await;
        let result = format!("{{\n\"result\":\n[\r\n{}1\n]}}", "1,\n".repeat(size));
        assert_eq!(service.post(&format!("{path}:succeed"), &result).await.status, 200);
        let event = events.expect("status").await;
        assert_eq!(event.data["result"].as_array().unwrap().len(), size + 1);
    }
}

/// The runtime has one thread, so whoever does not let go of it holds up all.
#[tokio::test]
async fn streams_that_walk_over_everything_hold_up_nobody() {
    let service = service_with(Options::default(), ServeOptions::default(), 1 << 18).await;
    let _tasks: Vec<_> = (0..200_000).map(|_| service.store.create(NewTask::new("index")).unwrap()).collect();
    let ready = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let router = inflight_server::router(service.store.clone(), everybody(), Options::default());
        let ready = std::sync::Arc::clone(&ready);
        streams.spawn(async move {
            let request = Request::get("/v1/events?kind=none").body(axum::body::Body::empty()).unwrap();
            let mut body = router.oneshot(request).await.unwrap().into_body();
            while let Some(Ok(piece)) = body.frame().await {
                if piece.data_ref().is_some_and(|piece| piece.starts_with(b"retry:")) {
                    ready.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        });
    }
    // All of them have begun before this.
    assert_eq!(service.get("/healthz").await.status, 200);
    let ready = ready.load(std::sync::atomic::Ordering::Relaxed);
    assert!(ready < 64, "it was answered while they walked");
    streams.shutdown().await;
}

#[tokio::test]
async fn json_that_breaks_its_readers_is_refused_at_the_door() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (value, limit) in [
        (deep(200_000), "60 deep"),
        (deep(60), "60 deep"),
        ("7".repeat(900_000), "the limit is 64"),
        ("[1e999]".into(), "range of a double"),
        (r#""\ud800""#.into(), "half of a character"),
        (r#"{"\udc00":1}"#.into(), "half of a character"),
    ] {
        for (verb, field) in [("succeed", "result"), ("fail", "error")] {
            let body = format!(r#"{{"{field}":{value}}}"#);
            let problem =
                service.post(&format!("{path}:{verb}"), &body).await.assert_problem(400, "bad-request");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(limit), "{detail}");
        }
    }
    assert_eq!(service.get(&path).await.json()["status"], "running");
    let result = format!("[{},{}]", deep(58), "7".repeat(64));
    let body = format!(r#"{{"result":{result}}}"#);
    assert_eq!(service.post(&format!("{path}:succeed"), &body).await.status, 200);
    assert_eq!(service.get(&format!("{path}/result")).await.body, result);
}

#[tokio::test]
async fn a_result_of_the_hosts_own_that_breaks_readers_is_shown_as_bytes() {
    let service = service().await;
    let mut ids = Vec::new();
    for result in ["[".repeat(500) + &"]".repeat(500), "[1e999]".into(), "\"\\ud800\"".into()] {
        let mut task = service.store.create(NewTask::new("index")).unwrap();
        task.start().unwrap();
        let _ = task.succeed(Payload::new("application/json", result)).unwrap();
        ids.push(task.id());
    }
    let page = service.get("/v1/tasks?view=full").await.json();
    for task in page["tasks"].as_array().unwrap() {
        assert!(task["result"]["base64"].is_string(), "{task}");
    }
    assert_eq!(service.get(&format!("/v1/tasks/{}/result", ids[1])).await.body, "[1e999]");
}
