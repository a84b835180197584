//! Creating: ids, idempotency, and what is refused.

use std::collections::HashSet;

use inflight::State;
use inflight_server::{Options, ServeOptions};

use crate::service::{service, service_with};

const OWN: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

#[tokio::test]
async fn a_create_is_202_with_its_address_and_the_id_resolves() {
    let service = service().await;
    let body = r#"{"kind":"index","progress":{"total":42,"unit":"pages"},"labels":{"tenant":"acme"},
                   "statusMessage":"queued","ttlMs":60000}"#;
    let answer = service.post("/v1/tasks", body).await;
    assert_eq!(answer.status, 202);
    let task = answer.json();
    let id = task["taskId"].as_str().unwrap();
    let url = service.url(&format!("/v1/tasks/{id}"));
    assert_eq!(answer.header("location"), Some(url.as_str()));
    assert_eq!(answer.header("operation-location"), Some(url.as_str()));
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(answer.etag(), format!("\"{}\"", task["version"].as_str().unwrap()));
    assert_eq!((&task["kind"], &task["status"]), (&"index".into(), &"pending".into()));
    assert_eq!(task["progress"]["total"], 42);
    assert_eq!(task["progress"]["unit"], "pages");
    assert_eq!(task["labels"]["tenant"], "acme");
    assert_eq!((&task["statusMessage"], &task["ttlMs"]), (&"queued".into(), &60_000.into()));
    for unknown in ["failureReason", "startedAt", "endedAt", "parentId", "result", "error"] {
        assert!(task[unknown].is_null(), "{unknown} is unknown, so null: {task}");
    }
    let read = service.get(&format!("/v1/tasks/{id}")).await;
    assert_eq!((read.status.as_u16(), read.json()), (200, task.clone()));
}

#[tokio::test]
async fn a_task_can_begin_as_running() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    assert_eq!(service.get(&path).await.json()["status"], "running");
}

#[tokio::test]
async fn the_same_id_and_body_is_the_same_task_and_another_body_409() {
    let service = service().await;
    let body = format!(r#"{{"kind":"index","taskId":"{OWN}"}}"#);
    assert_eq!(service.post("/v1/tasks", &body).await.status, 202);
    let path = format!("/v1/tasks/{OWN}");
    service.patch(&path, r#"{"status":"running"}"#).await;

    let spaced = format!(r#"{{ "taskId": "{OWN}", "kind": "index" }}"#);
    let again = service.post("/v1/tasks", &spaced).await;
    assert_eq!((again.status.as_u16(), &again.json()["status"]), (200, &"running".into()));
    let by_header = service.post_with("/v1/tasks", &[("operation-id", OWN)], r#"{"kind":"index"}"#).await;
    assert_eq!(by_header.status, 200, "the header says the same as the body");
    assert_eq!(service.store.counts().total(), 1);

    let other = format!(r#"{{"kind":"other","taskId":"{OWN}"}}"#);
    service.post("/v1/tasks", &other).await.assert_problem(409, "conflict");
    let differs = service.post_with(
        "/v1/tasks",
        &[("operation-id", OWN)],
        r#"{"kind":"a","taskId":"00000000-0000-0000-0000-000000000001"}"#,
    );
    differs.await.assert_problem(400, "bad-request");

    // Also when it has ended; and when it is gone the id is free again (I7).
    service.post(&format!("{path}:succeed"), "{}").await;
    assert_eq!(service.post("/v1/tasks", &body).await.json()["status"], "succeeded");
    let old = service.get(&path).await.etag();
    assert_eq!(service.ask(hyper::Method::DELETE, &path, &[], None).await.status, 200);
    let anew = service.post("/v1/tasks", &other).await;
    assert_eq!((anew.status.as_u16(), &anew.json()["status"]), (202, &"pending".into()));
    assert_ne!(anew.etag(), old, "an old ETag never matches a new task (I5)");
    // The handle of the new task is not let go of for the old one's end.
    assert_eq!(service.patch(&path, r#"{"status":"running"}"#).await.status, 200);
}

#[tokio::test]
async fn i10_a_task_is_begun_in_one_request_by_the_worker_that_claims_it() {
    let service = service().await;
    let body = |claim: &str| {
        format!(r#"{{"kind":"index","taskId":"{OWN}","status":"running","leaseMs":60000,"claim":"{claim}"}}"#)
    };
    let first = service.post("/v1/tasks", &body("mine")).await;
    assert_eq!((first.status.as_u16(), &first.json()["status"]), (202, &"running".into()));
    let again = service.post("/v1/tasks", &body("mine")).await;
    assert_eq!((again.status.as_u16(), again.etag()), (200, first.etag()), "its own repeat");
    service.post("/v1/tasks", &body("theirs")).await.assert_problem(409, "conflict");

    let key = [("idempotency-key", "order 1017")];
    let body = |claim: &str| format!(r#"{{"kind":"index","status":"running","claim":"{claim}"}}"#);
    let first = service.post_with("/v1/tasks", &key, &body("mine")).await;
    let again = service.post_with("/v1/tasks", &key, &body("mine")).await;
    assert_eq!((again.status.as_u16(), &again.body), (202, &first.body), "its own repeat");
    let theirs = service.post_with("/v1/tasks", &key, &body("theirs")).await;
    theirs.assert_problem(422, "idempotency-key-reused");
    assert_eq!(service.store.counts().of(State::Running), 2);
}

#[tokio::test]
async fn equal_creates_at_a_time_make_one_task() {
    let service = service().await;
    let body = format!(r#"{{"kind":"index","taskId":"{OWN}"}}"#);
    let answers = futures_util::future::join_all((0..20).map(|_| service.post("/v1/tasks", &body))).await;
    let codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 202).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 19, "{codes:?}");
    assert_eq!(service.store.counts().total(), 1);
}

#[tokio::test]
async fn an_id_that_the_host_uses_or_the_store_has_minted_is_409() {
    let service = service().await;
    let id: inflight::TaskId = OWN.parse().unwrap();
    let hosts = service.store.create(inflight::NewTask::new("index").id(id)).unwrap();
    let minted = service.store.create(inflight::NewTask::new("index")).unwrap();
    for id in [hosts.id(), minted.id()] {
        let body = format!(r#"{{"kind":"index","taskId":"{id}"}}"#);
        service.post("/v1/tasks", &body).await.assert_problem(409, "conflict");
    }
}

#[tokio::test]
async fn an_idempotency_key_replays_the_answer_and_422s_another_request() {
    let service = service().await;
    let key = [("idempotency-key", "\"a-1\"")];
    let first = service.post_with("/v1/tasks", &key, r#"{"kind":"index"}"#).await;
    assert_eq!((first.status.as_u16(), first.header("idempotency-replayed")), (202, None));
    let path = format!("/v1/tasks/{}", first.json()["taskId"].as_str().unwrap());
    service.patch(&path, r#"{"status":"running"}"#).await;

    let bare = [("idempotency-key", "a-1")];
    let again = service.post_with("/v1/tasks", &bare, r#"{ "kind" : "index" }"#).await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (202, Some("true")));
    assert_eq!(again.body, first.body, "the answer as it was");
    assert_eq!((again.etag(), again.header("location")), (first.etag(), first.header("location")));
    assert_eq!(service.store.counts().total(), 1);

    let other = service.post_with("/v1/tasks", &key, r#"{"kind":"other"}"#).await;
    other.assert_problem(422, "idempotency-key-reused");
    for bad in ["", "\"\"", &"x".repeat(256)] {
        let answer = service.post_with("/v1/tasks", &[("idempotency-key", bad)], r#"{"kind":"index"}"#).await;
        answer.assert_problem(400, "bad-request");
    }
    // A request that was refused leaves the key free.
    let refused = service.post_with("/v1/tasks", &[("idempotency-key", "b")], r#"{"kind":""}"#).await;
    refused.assert_problem(400, "bad-request");
    let retried = service.post_with("/v1/tasks", &[("idempotency-key", "b")], r#"{"kind":"index"}"#).await;
    assert_eq!(retried.status, 202);
}

#[tokio::test]
async fn bad_creates_name_what_is_wrong_and_leave_nothing() {
    let service = service().await;
    let long = "x".repeat(5000);
    for (body, names) in [
        (r#"{}"#.to_owned(), "kind"),
        (r#"{"kind":""}"#.to_owned(), "kind"),
        (r#"{"kind":"a","kindd":1}"#.to_owned(), "kindd"),
        (r#"{"kind":"a","taskId":"x"}"#.to_owned(), "\"x\""),
        (r#"{"kind":"a","parentId":"x"}"#.to_owned(), "\"x\""),
        (r#"{"kind":"a","progress":{"total":-1}}"#.to_owned(), "-1"),
        (r#"{"kind":"a","progress":{"total":1.5}}"#.to_owned(), "1.5"),
        (r#"{"kind":"a","progress":{"total":1152921504606846976}}"#.to_owned(), "1152921504606846975"),
        (r#"{"kind":"a","leaseMs":0}"#.to_owned(), "lease"),
        (r#"{"kind":"a","claim":""}"#.to_owned(), "64"),
        (format!(r#"{{"kind":"a","claim":"{}"}}"#, "x".repeat(65)), "65"),
        (format!(r#"{{"kind":"{long}"}}"#), "128"),
        (format!(r#"{{"kind":"a","labels":{{"k":"{long}"}}}}"#), "256"),
        (format!(r#"{{"kind":"a","statusMessage":"{long}"}}"#), "4096"),
        (r#"{"kind":"a","status":"succeeded"}"#.to_owned(), "succeeded"),
        (r#"["kind"]"#.to_owned(), "object"),
        (r#"{"kind":"a","progress":[1,null]}"#.to_owned(), "sequence"),
    ] {
        let answer = service.post("/v1/tasks", &body).await;
        let problem = answer.assert_problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().contains(names), "{body}: {problem}");
    }
    assert_eq!(service.store.counts().total(), 0, "nothing was made");
    let orphan = format!(r#"{{"kind":"a","parentId":"{OWN}"}}"#);
    service.post("/v1/tasks", &orphan).await.assert_problem(409, "unknown-parent");
    assert_eq!(service.store.counts().total(), 0);
    service.ask(hyper::Method::POST, "/v1/tasks", &[], None).await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn a_child_of_a_task_that_ended_is_refused() {
    let service = service().await;
    let parent = service.create(r#"{"kind":"index","status":"running"}"#).await;
    let child = format!(r#"{{"kind":"page","parentId":"{}"}}"#, parent.rsplit('/').next().unwrap());
    service.create(&child).await;
    let sums = service.get(&format!("{parent}/children")).await.json();
    assert_eq!((&sums["count"], &sums["byState"]["pending"]), (&1.into(), &1.into()));
    service.post(&format!("{parent}:succeed"), "{}").await;
    service.post("/v1/tasks", &child).await.assert_problem(409, "refused");
}

#[tokio::test]
async fn a_full_store_answers_503_and_goes_on_serving_polls() {
    let service = service_with(Options::default(), ServeOptions::default(), 3).await;
    let mut paths = HashSet::new();
    for _ in 0..3 {
        paths.insert(service.create(r#"{"kind":"index"}"#).await);
    }
    let refused = service.post("/v1/tasks", r#"{"kind":"index"}"#).await;
    let problem = refused.assert_problem(503, "full");
    assert!(problem["detail"].as_str().unwrap().contains('3'), "{problem}");
    assert!(refused.header("retry-after").is_some());
    for path in &paths {
        assert_eq!(service.get(path).await.status, 200);
    }
    // Room is made by what ends and goes: no handle is left in the way.
    let path = paths.iter().next().unwrap();
    service.post(&format!("{path}:cancel"), "{}").await;
    service.ask(hyper::Method::DELETE, path, &[], None).await;
    assert_eq!(service.post("/v1/tasks", r#"{"kind":"index"}"#).await.status, 202);
    assert_eq!(service.store.counts().of(State::Pending), 3);
}
