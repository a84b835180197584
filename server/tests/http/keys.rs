//! Idempotency keys: a write that comes twice with one key is made once.

use hyper::Method;

use crate::service::{Answer, Service, service};

async fn keyed(service: &Service, method: Method, path: &str, key: &str, body: &str) -> Answer {
    service.ask(method, path, &[("idempotency-key", key)], Some(body)).await
}

#[tokio::test]
async fn a_patch_with_a_key_is_made_once() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running","progress":{"total":100}}"#).await;
    let first = keyed(&service, Method::PATCH, &path, "a", r#"{"progress":{"advance":10}}"#).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (200, None));
    service.patch(&path, r#"{"statusMessage":"meanwhile"}"#).await;
    let again = keyed(&service, Method::PATCH, &path, "a", r#"{ "progress": { "advance": 10 } }"#).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, Some("true")));
    assert_eq!((again.etag(), again.body), (first.etag(), first.body), "the answer as it was");
    assert_eq!(service.get(&path).await.json()["progress"]["done"], 10);

    // Another body, another condition, another task: another request.
    let other = keyed(&service, Method::PATCH, &path, "a", r#"{"progress":{"advance":11}}"#).await;
    other.assert_problem(422, "idempotency-key-reused");
    let headers = [("idempotency-key", "a"), ("if-match", "*")];
    let other = service.ask(Method::PATCH, &path, &headers, Some(r#"{"progress":{"advance":10}}"#)).await;
    other.assert_problem(422, "idempotency-key-reused");
    let second = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let other = keyed(&service, Method::PATCH, &second, "a", r#"{"progress":{"advance":10}}"#).await;
    other.assert_problem(422, "idempotency-key-reused");
    assert_eq!(service.get(&path).await.json()["progress"]["done"], 10);

    // A condition that held the first time need not hold the second.
    let tag = service.get(&path).await.etag();
    let headers = [("idempotency-key", "b"), ("if-match", &*tag)];
    for replayed in [None, Some("true")] {
        let body = r#"{"progress":{"advance":1}}"#;
        let answer = service.ask(Method::PATCH, &path, &headers, Some(body)).await;
        assert_eq!((answer.status.as_u16(), answer.header("idempotency-replayed")), (200, replayed));
    }
}

#[tokio::test]
async fn every_verb_with_a_key_is_answered_twice_and_made_once() {
    let service = service().await;
    for (verb, body, status) in [
        ("succeed", r#"{"result":{"pages":42}}"#, "succeeded"),
        ("fail", r#"{"error":"no","reason":"rejected"}"#, "failed"),
        ("cancel", r#"{"confirm":true}"#, "cancelled"),
        ("cancel", "{}", "running"),
        ("retry", "{}", "pending"),
        ("heartbeat", "{}", "running"),
    ] {
        let path = service.create(r#"{"kind":"index","status":"running","leaseMs":60000}"#).await;
        let (verb, key) = (format!("{path}:{verb}"), format!("{verb} {body}"));
        let first = keyed(&service, Method::POST, &verb, &key, body).await;
        assert_eq!((first.status.as_u16(), &first.json()["status"]), (200, &status.into()), "{verb}");
        let again = keyed(&service, Method::POST, &verb, &key, body).await;
        assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (200, Some("true")));
        assert_eq!(again.body, first.body, "{verb}");
        assert_eq!(service.get(&path).await.etag(), first.etag(), "nothing was done again: {verb}");
    }
}

#[tokio::test]
async fn a_write_that_was_refused_leaves_its_key_free() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let early = keyed(&service, Method::POST, &format!("{path}:succeed"), "a", "{}").await;
    early.assert_problem(409, "refused");
    service.patch(&path, r#"{"status":"running"}"#).await;
    let answer = keyed(&service, Method::POST, &format!("{path}:succeed"), "a", "{}").await;
    assert_eq!((answer.status.as_u16(), answer.header("idempotency-replayed")), (200, None));
}

#[tokio::test]
async fn the_address_of_a_replayed_create_is_as_this_caller_calls_the_service() {
    let service = service().await;
    let mut locations = Vec::new();
    for host in ["one.example", "two.example:81"] {
        let headers = [("idempotency-key", "a"), ("host", host)];
        let answer = service.post_with("/v1/tasks", &headers, r#"{"kind":"index"}"#).await;
        let location = answer.header("location").unwrap();
        assert_eq!(answer.header("operation-location"), Some(location));
        locations.push(location.strip_prefix(&format!("http://{host}/v1/tasks/")).unwrap().to_owned());
    }
    assert_eq!(locations[0], locations[1]);
}
