//! Reading: entity tags, 304, waiting, and tasks that are not there.

use std::time::Duration;

use hyper::Method;
use inflight::NewTask;
use inflight_server::{Options, ServeOptions};

use crate::service::{LONG, service, service_with};

#[tokio::test]
async fn a_poll_that_has_seen_the_version_is_304_until_anything_changes() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","progress":{"total":10}}"#).await;
    let mut seen = service.get(&path).await.etag();
    for change in [
        r#"{"status":"running"}"#,
        r#"{"progress":{"done":1}}"#,
        r#"{"progress":{"total":11}}"#,
        r#"{"statusMessage":"x"}"#,
        r#"{"status":"blocked"}"#,
    ] {
        let unchanged = service.get_with(&path, &[("if-none-match", &seen)]).await;
        assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
        assert_eq!(unchanged.etag(), seen);
        assert_eq!(service.patch(&path, change).await.status, 200);
        let changed = service.get_with(&path, &[("if-none-match", &seen)]).await;
        assert_eq!(changed.status, 200, "{change}");
        assert_ne!(changed.etag(), seen, "{change} is observable (I5)");
        seen = changed.etag();
    }
    let list = format!("\"0-0-0\", W/{seen}");
    assert_eq!(service.get_with(&path, &[("if-none-match", &list)]).await.status, 304);
    assert_eq!(service.get_with(&path, &[("if-none-match", "*")]).await.status, 304);
    assert_eq!(service.get_with(&path, &[("if-none-match", "\"0-0-0\"")]).await.status, 200);
    service.get_with(&path, &[("if-none-match", "0-0-0")]).await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let (get, head) = (service.get(&path).await, service.ask(Method::HEAD, &path, &[], None).await);
    assert_eq!((head.status, head.etag(), head.body.len()), (get.status, get.etag(), 0));
    assert_eq!(head.header("content-length"), get.header("content-length"));
}

#[tokio::test]
async fn how_soon_to_ask_again_follows_the_tasks_rate_and_ends_with_it() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running","progress":{"total":100}}"#).await;
    let seconds =
        |answer: &crate::service::Answer| answer.header("retry-after").map(|s| s.parse::<u64>().unwrap());
    assert_eq!(seconds(&service.get(&path).await), Some(1));
    // One unit in ten seconds, a hundred to go: looking every second shows nothing new.
    service.clock.advance(Duration::from_secs(10));
    service.store.tick();
    service.patch(&path, r#"{"progress":{"done":1}}"#).await;
    let slow = service.get(&path).await;
    assert_eq!((seconds(&slow), &slow.json()["pollIntervalMs"]), (Some(30), &30_000.into()));
    assert_eq!(slow.json()["progress"]["rate"], 0.1);
    assert_eq!(slow.json()["progress"]["etaMs"], 990_000);
    service.post(&format!("{path}:succeed"), "{}").await;
    let ended = service.get(&path).await;
    assert_eq!((seconds(&ended), &ended.json()["pollIntervalMs"]), (None, &serde_json::Value::Null));
}

#[tokio::test]
async fn i6_a_wait_ends_with_the_task() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let prefer = [("prefer", "wait=30")];
    let (waited, _) = tokio::join!(service.get_with(&path, &prefer), async {
        // Progress does not end a wait for the end.
        service.patch(&path, r#"{"progress":{"done":5}}"#).await;
        service.store.tick();
        service.post(&format!("{path}:succeed"), r#"{"result":{"pages":5}}"#).await
    });
    assert_eq!((waited.status.as_u16(), waited.header("preference-applied")), (200, Some("wait=30")));
    let task = waited.json();
    assert_eq!((&task["status"], &task["result"]["pages"]), (&"succeeded".into(), &5.into()));
}

#[tokio::test]
async fn i6_a_wait_with_a_version_ends_with_any_change() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let seen = service.get(&path).await.etag();
    let headers = [("prefer", "wait=30"), ("if-none-match", seen.as_str())];
    let (waited, _) = tokio::join!(service.get_with(&path, &headers), async {
        service.patch(&path, r#"{"statusMessage":"new"}"#).await
    });
    assert_eq!((waited.status.as_u16(), &waited.json()["statusMessage"]), (200, &"new".into()));
    // What has changed already is not waited for.
    let at_once = tokio::time::timeout(LONG, service.get_with(&path, &headers)).await.unwrap();
    assert_eq!(at_once.status, 200);
}

#[tokio::test]
async fn a_wait_is_capped_and_then_says_what_there_is() {
    let options = Options { wait_limit: Duration::from_millis(20), ..Options::default() };
    let service = service_with(options, ServeOptions::default(), 16).await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let waited = service.get_with(&path, &[("prefer", "wait=3600")]).await;
    assert_eq!((waited.status.as_u16(), &waited.json()["status"]), (200, &"pending".into()));
    assert_eq!(waited.header("preference-applied"), Some("wait=0"), "what was waited at the most");
    let seen = waited.etag();
    let unchanged = service.get_with(&path, &[("prefer", "wait=3600"), ("if-none-match", &seen)]).await;
    assert_eq!(unchanged.status, 304);
    let ignored = service.get_with(&path, &[("prefer", "wait=soon")]).await;
    assert_eq!((ignored.status.as_u16(), ignored.header("preference-applied")), (200, None));
}

#[tokio::test]
async fn a_wait_ends_when_the_task_goes() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    service.post(&format!("{path}:succeed"), "{}").await;
    let seen = service.get(&path).await.etag();
    // It has ended, so nothing will change but that it goes: there is nothing to wait for.
    let headers = [("prefer", "wait=30"), ("if-none-match", seen.as_str())];
    assert_eq!(service.get_with(&path, &headers).await.status, 304);
}

#[tokio::test]
async fn i11_unknown_is_404_and_gone_is_410_with_the_reason() {
    let service = service().await;
    for path in ["/v1/tasks/00000000-0000-0000-0000-000000000001", "/v1/tasks/x", "/v1/tasks/..%2f"] {
        service.get(path).await.assert_problem(404, "unknown-task");
    }
    let removed = service.create(r#"{"kind":"index"}"#).await;
    service.post(&format!("{removed}:cancel"), "{}").await;
    assert_eq!(service.ask(Method::DELETE, &removed, &[], None).await.status, 200);
    let problem = service.get(&removed).await.assert_problem(410, "gone");
    assert_eq!(problem["goneReason"], "removed");
    service.ask(Method::DELETE, &removed, &[], None).await.assert_problem(410, "gone");

    let expired = service.create(r#"{"kind":"index","ttlMs":1000}"#).await;
    service.post(&format!("{expired}:cancel"), "{}").await;
    service.clock.advance(Duration::from_secs(2));
    service.store.tick();
    for path in [
        expired.clone(),
        format!("{expired}/events"),
        format!("{expired}/children"),
        format!("{expired}/result"),
    ] {
        let problem = service.get(&path).await.assert_problem(410, "gone");
        assert_eq!(problem["goneReason"], "expired");
    }
    service.patch(&expired, r#"{"statusMessage":"x"}"#).await.assert_problem(410, "gone");
    service.post(&format!("{expired}:succeed"), "{}").await.assert_problem(410, "gone");
}

#[tokio::test]
async fn a_live_task_is_not_removed() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let problem = service.ask(Method::DELETE, &path, &[], None).await.assert_problem(409, "refused");
    assert_eq!(problem["currentStatus"]["status"], "pending");
    service.post(&format!("{path}:cancel"), "{}").await;
    let stale = service.ask(Method::DELETE, &path, &[("if-match", "\"0-0-0\"")], None).await;
    stale.assert_problem(412, "stale");
    let etag = service.get(&path).await.etag();
    assert_eq!(service.ask(Method::DELETE, &path, &[("if-match", &etag)], None).await.status, 200);
}

#[tokio::test]
async fn results_are_shown_as_what_they_are() {
    let service = service().await;
    let json = inflight::Payload::new("application/problem+json", br#"{"a":[1]}"#.to_vec());
    let broken = inflight::Payload::new("application/json", b"{".to_vec());
    let bytes = inflight::Payload::from(vec![0xFF, 0x00]);
    for (payload, shown) in [
        (json, serde_json::json!({"a":[1]})),
        (inflight::Payload::from("text"), serde_json::json!("text")),
        (bytes, serde_json::json!({"mediaType":"application/octet-stream","base64":"/wA="})),
        (broken, serde_json::json!({"mediaType":"application/json","base64":"ew=="})),
    ] {
        let mut task = service.store.create(NewTask::new("index")).unwrap();
        task.start().unwrap();
        task.succeed(payload.clone()).unwrap();
        let path = format!("/v1/tasks/{}", task.id());
        assert_eq!(service.get(&path).await.json()["result"], shown);
        let raw = service.get(&format!("{path}/result")).await;
        assert_eq!((&*raw.body, raw.header("content-type")), (payload.bytes(), Some(payload.media_type())));
        assert_eq!(raw.header("content-disposition"), Some("attachment"), "no page of this service");
        service.get(&format!("{path}/error")).await.assert_problem(404, "no-payload");
        service.get(&format!("{path}/other")).await.assert_problem(404, "no-route");
    }
}
