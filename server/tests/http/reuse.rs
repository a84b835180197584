//! Ids that are used again: what was said of the earlier task is never taken for the later one (I5, I7).

use std::collections::HashMap;
use std::time::Duration;

use hyper::Method;
use inflight::{NewTask, TaskId};
use inflight_server::{Access, Options, ServeOptions, Tokens};
use serde_json::Value;

use crate::service::{Answer, Events, Service, everybody, service, service_for};

const TOKENS: &str = "
    acme   read,write,list  acme   acme01-0123456789
    other  read,write,list  other  other1-0123456789
    boss   admin            -      bosses-0123456789
";

/// A service that collects changes for so long that a task can go and its id be used again in between.
async fn collecting(tokens: bool) -> Service {
    let access = if tokens { Access::tokens(Tokens::parse(TOKENS).unwrap()) } else { everybody() };
    let options = Options { event_interval: Duration::from_millis(300), ..Options::default() };
    service_for(access, options, ServeOptions::default(), 1 << 10).await
}

fn own_id(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

async fn ask(service: &Service, who: Option<&str>, method: Method, path: &str, body: Option<&str>) -> Answer {
    let bearer = who.map(|who| format!("Bearer {who}-0123456789"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    let answer = service.ask(method, path, &headers, body).await;
    assert!(answer.status.is_success(), "{path}: {}", String::from_utf8_lossy(&answer.body));
    answer
}

/// Creates a task with this id, and ends and removes it.
async fn come_and_go(service: &Service, who: Option<&str>, id: &str) {
    let new = format!(r#"{{"kind":"first","taskId":"{id}"}}"#);
    ask(service, who, Method::POST, "/v1/tasks", Some(&new)).await;
    ask(service, who, Method::POST, &format!("/v1/tasks/{id}:cancel"), Some("{}")).await;
    ask(service, who, Method::DELETE, &format!("/v1/tasks/{id}"), None).await;
}

async fn come_and_stay(service: &Service, who: Option<&str>, id: &str, kind: &str) {
    let new = format!(r#"{{"kind":"{kind}","taskId":"{id}","status":"running"}}"#);
    ask(service, who, Method::POST, "/v1/tasks", Some(&new)).await;
}

/// What was said last of each task, up to the task `last`.
async fn told(events: &mut Events, last: &str) -> HashMap<String, Vec<(String, Value)>> {
    let mut told: HashMap<String, Vec<(String, Value)>> = HashMap::new();
    loop {
        let event = events.next().await.expect("the stream goes on");
        let Some(id) = event.data["taskId"].as_str().map(str::to_owned) else { continue };
        if id == last {
            return told;
        }
        told.entry(id).or_default().push((event.name, event.data));
    }
}

async fn events_of(service: &Service, who: Option<&str>) -> Events {
    let bearer = who.map(|who| format!("Bearer {who}-0123456789"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    let mut events = service.events("/v1/events?snapshot=false", &headers).await;
    events.expect("ready").await;
    events
}

#[tokio::test]
async fn i5_a_live_task_is_not_declared_gone_for_an_earlier_one_with_its_id() {
    let service = collecting(false).await;
    let mut events = events_of(&service, None).await;
    for number in 0..50 {
        let id = own_id(number);
        come_and_go(&service, None, &id).await;
        come_and_stay(&service, None, &id, "second").await;
    }
    collected(&service, None).await;
    let last = own_id(99);
    come_and_stay(&service, None, &last, "last").await;
    let told = told(&mut events, &last).await;
    for number in 0..50 {
        let said = &told[&own_id(number)];
        let (name, data) = said.last().unwrap();
        assert_eq!((name.as_str(), &data["status"]), ("status", &"running".into()), "{said:?}");
    }
}

/// Waits until all that has happened is in the log; what happens after that comes behind it.
async fn collected(service: &Service, who: Option<&str>) {
    let mut probe = events_of(service, who).await;
    let id = own_id(96);
    come_and_stay(service, who, &id, "probe").await;
    told(&mut probe, &id).await;
}

#[tokio::test]
async fn i7_the_end_of_one_tenants_task_reaches_that_tenant_and_no_other() {
    let service = collecting(true).await;
    let mut of_acme = events_of(&service, Some("acme01")).await;
    let mut of_other = events_of(&service, Some("other1")).await;
    for number in 0..50 {
        let id = own_id(number);
        come_and_go(&service, Some("acme01"), &id).await;
        come_and_stay(&service, Some("other1"), &id, "second").await;
    }
    collected(&service, Some("bosses")).await;
    let counts = |answer: Answer| answer.json()["byState"].clone();
    for (who, last) in [("acme01", 97), ("other1", 98)] {
        come_and_stay(&service, Some(who), &own_id(last), "last").await;
    }
    for (events, last) in [(&mut of_acme, 97), (&mut of_other, 98)] {
        let told = told(events, &own_id(last)).await;
        for number in 0..50 {
            let said = told.get(&own_id(number)).map(Vec::as_slice).unwrap_or_default();
            let gone: Vec<_> = said.iter().filter(|(name, _)| name == "gone").collect();
            if last == 97 {
                assert_eq!(gone.len(), 1, "acme is told once that its task is gone: {said:?}");
                assert!(said.iter().all(|(_, data)| data["kind"] != "second"), "{said:?}");
            } else {
                assert_eq!(gone.len(), 0, "nothing of acme's is told to another: {said:?}");
                assert_eq!(said.last().unwrap().1["kind"], "second");
            }
        }
    }
    let of = ask(&service, Some("other1"), Method::GET, "/v1/counts", None).await;
    assert_eq!(counts(of)["running"], 51);
    let of = ask(&service, Some("acme01"), Method::GET, "/v1/counts", None).await;
    assert_eq!(
        counts(of),
        serde_json::json!({
            "pending": 0, "running": 1, "blocked": 0, "succeeded": 0, "failed": 0, "cancelled": 0,
        })
    );
}

#[tokio::test]
async fn i7_a_stream_of_one_task_never_goes_on_with_a_later_one_of_its_id() {
    let service = service().await;
    let id: TaskId = own_id(1).parse().unwrap();
    let mut first = service.store.create(NewTask::new("first").id(id)).unwrap();
    first.start().unwrap();
    let mut events = service.events(&format!("/v1/tasks/{id}/events"), &[]).await;
    assert_eq!(events.expect("status").await.data["kind"], "first");
    // All at once, so that the stream looks when the id is the second's already.
    first.cancel().unwrap();
    let end = first.status().unwrap();
    let _ = service.store.remove(id).unwrap();
    let mut second = service.store.create(NewTask::new("second").id(id)).unwrap();
    second.start().unwrap();
    let last = events.expect("status").await;
    assert_eq!((&last.data["status"], last.id), (&"cancelled".into(), end.version().to_string()));
    assert!(events.next().await.is_none(), "it ends with its task");
}
