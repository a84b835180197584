//! Server-sent events: of one task, of all, and reconnecting.

use std::collections::HashMap;
use std::time::Duration;

use hyper::Method;
use inflight::NewTask;
use inflight_server::{Options, ServeOptions};
use serde_json::Value;

use crate::service::{Event, Service, service, service_with};

fn id_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn one_tasks_events_begin_with_what_is_and_end_with_the_end() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","progress":{"total":3}}"#).await;
    let mut events = service.events(&format!("{path}/events"), &[]).await;
    let first = events.expect("status").await;
    assert_eq!(first.data, service.get(&path).await.json(), "first what is");
    assert_eq!(first.id, first.data["version"].as_str().unwrap());
    service.patch(&path, r#"{"status":"running"}"#).await;
    assert_eq!(events.expect("status").await.data["status"], "running");
    service.patch(&path, r#"{"progress":{"done":2}}"#).await;
    service.store.tick();
    assert_eq!(events.expect("status").await.data["progress"]["done"], 2);
    service.post(&format!("{path}:succeed"), r#"{"result":7}"#).await;
    let last = events.expect("status").await;
    assert_eq!((&last.data["status"], &last.data["result"]), (&"succeeded".into(), &7.into()));
    assert!(events.next().await.is_none(), "it ends after the end");

    // A reader that comes back and has seen the end is told not to come again.
    let again = service.get_with(&format!("{path}/events"), &[("last-event-id", &last.id)]).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (204, 0));
    // One that has not sees it.
    let mut events = service.events(&format!("{path}/events"), &[("last-event-id", &first.id)]).await;
    assert_eq!(events.expect("status").await.id, last.id);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_reader_that_reconnects_is_not_told_again_what_it_has_seen() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let seen = service.get(&path).await.json()["version"].as_str().unwrap().to_owned();
    let mut events = service.events(&format!("{path}/events"), &[("last-event-id", &seen)]).await;
    service.patch(&path, r#"{"statusMessage":"new"}"#).await;
    assert_eq!(events.expect("status").await.data["statusMessage"], "new");
    // An id that is no version of this task is as none.
    for junk in ["", "x", "0-0-0"] {
        let mut events = service.events(&format!("{path}/events"), &[("last-event-id", junk)]).await;
        assert_eq!(events.expect("status").await.data["statusMessage"], "new", "{junk:?}");
    }
}

#[tokio::test]
async fn a_watched_task_that_is_removed_is_reported_gone_or_ended() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let mut events = service.events(&format!("{path}/events"), &[]).await;
    events.expect("status").await;
    service.post(&format!("{path}:cancel"), "{}").await;
    service.ask(Method::DELETE, &path, &[], None).await;
    // The end is not lost, however soon the task went (I6).
    assert_eq!(events.expect("status").await.data["status"], "cancelled");
    assert!(events.next().await.is_none());
    service.get(&format!("{path}/events")).await.assert_problem(410, "gone");
}

#[tokio::test]
async fn a_stream_without_events_says_that_it_is_alive() {
    let options = Options { keep_alive: Duration::from_millis(5), ..Options::default() };
    let service = service_with(options, ServeOptions::default(), 16).await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    for path in [format!("{path}/events"), "/v1/events".to_owned()] {
        let mut text = raw_stream(&service, &path).await;
        text.until("\n\n:\n\n:\n\n").await;
        // How soon to come back is said with the first event: some readers pass over a block without data.
        let first = text.text.split("\n\n").find(|block| block.contains("retry:"));
        assert!(first.is_some_and(|block| block.contains("\ndata: ")), "{}", text.text);
    }
}

/// The text of a stream as it comes.
struct Raw {
    body: hyper::body::Incoming,
    text: String,
}

async fn raw_stream(service: &Service, path: &str) -> Raw {
    let request = hyper::Request::builder().uri(service.url(path));
    let response = service.send(request.body(http_body_util::Full::default()).unwrap()).await;
    Raw { body: response.into_body(), text: String::new() }
}

impl Raw {
    async fn until(&mut self, part: &str) {
        use http_body_util::BodyExt;
        while !self.text.contains(part) {
            let frame = tokio::time::timeout(crate::service::LONG, self.body.frame()).await;
            let frame = frame.expect("a piece in time").expect("no end").unwrap();
            self.text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn i8_all_events_begin_with_all_that_is_and_lose_no_end() {
    let service = service().await;
    let (a, b) = (service.create(r#"{"kind":"index"}"#).await, service.create(r#"{"kind":"other"}"#).await);
    let mut events = service.events("/v1/events", &[]).await;
    assert_eq!(events.expect("status").await.data["taskId"], id_of(&a));
    assert_eq!(events.expect("status").await.data["taskId"], id_of(&b));
    let ready = events.expect("ready").await;
    assert_eq!(ready.data["byState"]["pending"], 2);
    // From here on each change, coalesced; the end of each task is told.
    service.patch(&a, r#"{"status":"running"}"#).await;
    service.post(&format!("{a}:succeed"), "{}").await;
    service.post(&format!("{b}:cancel"), "{}").await;
    service.ask(Method::DELETE, &b, &[], None).await;
    let mut ends: HashMap<String, String> = HashMap::new();
    while ends.len() < 2 {
        let Event { name, data, .. } = events.next().await.unwrap();
        let id = data["taskId"].as_str().unwrap().to_owned();
        let status = data["status"].as_str().unwrap();
        if ["succeeded", "cancelled"].contains(&status) {
            ends.insert(id, format!("{name} {status}"));
        }
    }
    assert_eq!(ends[id_of(&a)], "status succeeded");
    assert!(ends[id_of(&b)].ends_with("cancelled"), "{ends:?}");
}

#[tokio::test]
async fn i8_a_reader_that_comes_back_goes_on_where_it_was() {
    let service = service().await;
    let a = service.create(r#"{"kind":"index"}"#).await;
    let mut events = service.events("/v1/events?snapshot=false", &[]).await;
    let ready = events.expect("ready").await;
    drop(events);
    service.patch(&a, r#"{"status":"running"}"#).await;
    service.patch(&a, r#"{"statusMessage":"x"}"#).await;
    let mut events = service.events("/v1/events?snapshot=false", &[("last-event-id", &ready.id)]).await;
    let mut last = events.expect("status").await;
    while last.data["statusMessage"] != "x" {
        last = events.expect("status").await;
    }
    // With the newest id nothing comes again: the next event is the next change.
    drop(events);
    let mut events = service.events("/v1/events", &[("last-event-id", &last.id)]).await;
    service.post(&format!("{a}:succeed"), "{}").await;
    assert_eq!(events.expect("status").await.data["status"], "succeeded");
}

#[tokio::test]
async fn i8_a_reader_that_is_too_far_behind_is_told_to_begin_anew() {
    let options = Options { event_log: 2, ..Options::default() };
    let service = service_with(options, ServeOptions::default(), 64).await;
    let mut events = service.events("/v1/events?snapshot=false", &[]).await;
    let ready = events.expect("ready").await;
    drop(events);
    for _ in 0..4 {
        service.create(r#"{"kind":"index"}"#).await;
    }
    // Once the log has all four, the oldest two are out of it.
    let mut probe = service.events("/v1/events", &[]).await;
    while probe.next().await.unwrap().name != "ready" {}
    service.create(r#"{"kind":"last"}"#).await;
    while probe.next().await.unwrap().data["kind"] != "last" {}

    for stale in [ready.id.as_str(), "junk", "ffff-1"] {
        let mut events = service.events("/v1/events", &[("last-event-id", stale)]).await;
        events.expect("resync").await;
        let mut count = 0;
        while events.next().await.unwrap().name == "status" {
            count += 1;
        }
        assert_eq!(count, 5, "all that is");
    }
    let mut events = service.events("/v1/events?snapshot=false", &[("last-event-id", &ready.id)]).await;
    events.expect("resync").await;
    events.expect("ready").await;
}

#[tokio::test]
async fn all_events_are_filtered() {
    let service = service().await;
    let parent = service.create(r#"{"kind":"batch"}"#).await;
    let path = format!("/v1/events?kind=index&label.tenant=acme&parent={}&state=running", id_of(&parent));
    let mut events = service.events(&path, &[]).await;
    events.expect("ready").await;
    let wanted = format!(
        r#"{{"kind":"index","status":"running","parentId":"{}","labels":{{"tenant":"acme"}}}}"#,
        id_of(&parent)
    );
    service.create(&wanted.replace("\"index\"", "\"other\"")).await;
    service.create(&wanted.replace("acme", "other")).await;
    service.create(&wanted.replace("running", "pending")).await;
    service.create(r#"{"kind":"index","status":"running","labels":{"tenant":"acme"}}"#).await;
    let mine = service.create(&wanted).await;
    // The one that is pending is told of as not among them, since it might have been.
    let mut event = events.next().await.unwrap();
    while event.name == "left" {
        assert_eq!(event.data["status"], "pending");
        event = events.next().await.unwrap();
    }
    assert_eq!((event.name.as_str(), &event.data["taskId"]), ("status", &id_of(&mine).into()));
    for bad in ["state=x", "kindd=x", "snapshot=maybe", "intervalMs=-1", "parent=x"] {
        service.get(&format!("/v1/events?{bad}")).await.assert_problem(400, "bad-request");
    }
}

#[tokio::test]
async fn progress_of_the_hosts_own_tasks_is_told_at_the_next_tick() {
    let service = service().await;
    let mut task = service.store.create(NewTask::new("index")).unwrap();
    task.start().unwrap();
    let mut events = service.events("/v1/events", &[]).await;
    while events.next().await.unwrap().name != "ready" {}
    for _ in 0..1000 {
        task.advance(1).unwrap();
    }
    let done = |event: &Event| event.data["progress"]["done"].as_u64();
    loop {
        service.clock.advance(Duration::from_millis(50));
        service.store.tick();
        let event = events.expect("status").await;
        if done(&event) == Some(1000) {
            break;
        }
    }
    task.succeed(()).unwrap();
    let mut last = Value::Null;
    while last["status"] != "succeeded" {
        last = events.expect("status").await.data;
    }
}

#[tokio::test]
async fn i8_a_filtered_stream_tells_when_a_task_is_not_among_its_own_any_more() {
    let service = service().await;
    let new = |kind: &str| format!(r#"{{"kind":"{kind}","status":"running"}}"#);
    let (mine, other) = (service.create(&new("index")).await, service.create(&new("other")).await);
    let path = "/v1/events?state=running&kind=index";
    let mut events = service.events(path, &[]).await;
    assert_eq!(events.expect("status").await.data["taskId"], id_of(&mine));
    let mut seen = events.expect("ready").await.id;
    for (change, left) in [("blocked", true), ("running", false), ("succeeded", true)] {
        for path in [&other, &mine] {
            let answer = match change {
                "succeeded" => service.post(&format!("{path}:succeed"), "{}").await,
                _ => service.patch(path, &format!(r#"{{"status":"{change}"}}"#)).await,
            };
            assert_eq!(answer.status, 200);
        }
        let wanted = if left { "left" } else { "status" };
        // A reader that comes back is told, too.
        let mut again = service.events(path, &[("last-event-id", &seen)]).await;
        for events in [&mut events, &mut again] {
            let mut event = events.next().await.unwrap();
            // Until the change is in the log, the one before may come again.
            while event.data["status"] != change {
                event = events.next().await.unwrap();
            }
            assert_eq!(event.name, wanted);
            assert_eq!(event.data["taskId"], id_of(&mine), "nothing is told of what it never was about");
            assert_eq!(event.data["version"], service.get(&mine).await.json()["version"]);
            seen = event.id;
        }
    }
}
