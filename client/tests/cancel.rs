//! What is dropped while it waits, as the losing branch of a `select!` is, loses nothing (I6, I10): each future
//! here is polled once and dropped, over and over.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod fake;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake::{Answer, Fake, ID, json, problem, stream, task};
use futures_util::FutureExt as _;
use inflight_client::{Details, Error, Event, Filter, State, TaskId, Watch, WorkerOptions};

fn id() -> TaskId {
    ID.parse().expect("an id")
}

fn sse(version: u32, state: &str) -> String {
    format!("event: status\nid: 1-{version:x}-0\ndata: {}\n\n", task(version, state))
}

/// Calls `once` until it gives something. What never does is a failure, not a test without an end.
async fn until<T>(mut once: impl FnMut() -> Option<T>) -> T {
    let all = async {
        loop {
            if let Some(got) = once() {
                return got;
            }
            // Not to wait for anything: to let the others run.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("within ten seconds")
}

async fn next(watch: &mut Watch) -> Option<Result<Details, Error>> {
    until(|| watch.next().now_or_never()).await
}

#[tokio::test]
async fn i6_a_watch_that_is_dropped_at_each_wait_connects_and_connects_again() {
    let mut calls = 0;
    let fake = Fake::new(move |_| {
        calls += 1;
        match calls {
            // Cut in the middle of the second event.
            1 => stream(&format!("{}{}", sse(1, "pending"), &sse(2, "running")[..40])),
            2 => Answer::Drop,
            3 => Answer::Reply(503, "retry-after: 1\r\n".into(), String::new()),
            // Silent from here on.
            4 => Answer::Stream { bytes: sse(2, "running").into_bytes(), hold: true },
            _ => stream(&sse(3, "succeeded")),
        }
    })
    .await;
    let client = fake.builder().max_silence(Duration::from_millis(100)).build().expect("good");
    let mut watch = client.watch(id());
    let mut states = Vec::new();
    while let Some(task) = next(&mut watch).await {
        states.push(task.expect("no fault reaches the reader").state);
    }
    assert_eq!(states, [State::Pending, State::Running, State::Succeeded]);
}

#[tokio::test]
async fn i8_a_feed_that_is_dropped_at_each_wait_loses_no_event() {
    let mut calls = 0;
    let fake = Fake::new(move |_| {
        calls += 1;
        let hold = calls > 1;
        Answer::Stream { bytes: sse(calls, "running").into_bytes(), hold }
    })
    .await;
    let mut events = fake.client().events(&Filter::new());
    for version in ["1-1-0", "1-2-0"] {
        let event = until(|| events.next().now_or_never()).await.expect("an event").expect("no fault");
        assert!(matches!(event, Event::Changed(task) if task.version.to_string() == version));
    }
}

/// A service with one running task, that says what is wrong with a second block, and with a long message.
struct Service {
    state: &'static str,
}

impl Service {
    async fn start() -> (Arc<Mutex<Self>>, Fake) {
        let service = Arc::new(Mutex::new(Self { state: "running" }));
        let shared = Arc::clone(&service);
        let fake = Fake::new(move |seen| {
            let mut service = shared.lock().expect("no panic");
            let body = seen.json();
            match (seen.verb(), body["status"].as_str()) {
                ("PATCH", Some("blocked")) if service.state == "blocked" => {
                    let current = serde_json::json!({ "currentStatus": task(9, "blocked") });
                    return problem(409, current);
                }
                ("PATCH", Some("blocked")) => service.state = "blocked",
                ("PATCH", _) if body["statusMessage"].is_string() => {
                    return problem(400, r#"{"detail":"too many bytes"}"#);
                }
                ("succeed", _) => service.state = "succeeded",
                ("fail", _) => service.state = "failed",
                _ => {}
            }
            json(task(1, service.state))
        })
        .await;
        (service, fake)
    }
}

#[tokio::test]
async fn a_refusal_that_a_dropped_flush_did_not_hear_is_told_to_the_next() {
    let (_service, mut fake) = Service::start().await;
    let worker = fake.client().work(id(), WorkerOptions::default()).await.expect("started");
    fake.next().await;
    worker.set_message("a long one");
    assert!(worker.flush().now_or_never().is_none());
    fake.next_of("PATCH").await;
    let error = worker.flush().await.expect_err("it was refused");
    assert!(error.to_string().contains("too many bytes"), "{error}");
    worker.flush().await.expect("told once");
}

#[tokio::test]
async fn a_block_that_was_dropped_is_not_refused_for_having_been_made() {
    let (service, mut fake) = Service::start().await;
    let worker = fake.client().work(id(), WorkerOptions::default()).await.expect("started");
    fake.next().await;
    assert!(worker.block().now_or_never().is_none());
    fake.next_of("PATCH").await;
    assert_eq!(service.lock().expect("no panic").state, "blocked");
    worker.block().await.expect("it is blocked, as was asked for");
    assert!(worker.block().await.expect_err("it was blocked before").is_conflict());
}

#[tokio::test]
async fn i10_an_end_that_was_dropped_is_made_all_the_same() {
    let (service, mut fake) = Service::start().await;
    let worker = fake.client().work(id(), WorkerOptions::default()).await.expect("started");
    worker.set_message("to be flushed");
    // What was dropped before may still be in the way.
    for _ in 0..3 {
        assert!(worker.flush().now_or_never().is_none());
    }
    assert!(worker.succeed("all").now_or_never().is_none());
    let end = loop {
        let seen = fake.next().await;
        if matches!(seen.verb(), "succeed" | "fail") {
            break seen;
        }
    };
    assert_eq!(end.verb(), "succeed");
    assert_eq!(service.lock().expect("no panic").state, "succeeded");
}

#[tokio::test]
async fn i10_a_start_that_was_dropped_leaves_no_task_without_a_worker() {
    let (_service, mut fake) = Service::start().await;
    let client = fake.client();
    assert!(client.work(id(), WorkerOptions::default()).now_or_never().is_none());
    let verbs = [fake.next().await, fake.next().await].map(|seen| seen.verb().to_owned());
    assert_eq!(verbs, ["PATCH", "fail"], "started, and given up");
}
