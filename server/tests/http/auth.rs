//! Who may do what: tokens, scopes, tenants, and pages of others.

use hyper::Method;
use inflight_server::{Access, Options, ServeOptions, Tokens};
use serde_json::json;

use crate::service::{Answer, Service, service_for};

const TOKENS: &str = "
    reader  read        -     reader-0123456789
    writer  write       -     writer-0123456789
    lister  list        -     lister-0123456789
    boss    admin       -     bosses-0123456789
    acme    read,write,list  acme  acme01-0123456789
    chief   admin            acme  chiefs-0123456789
    other   read,write,list  other other1-0123456789
";

async fn guarded() -> Service {
    let access = Access::tokens(Tokens::parse(TOKENS).unwrap());
    service_for(access, Options::default(), ServeOptions::default(), 1 << 10).await
}

/// The token that begins with this.
fn bearer(name: &str) -> String {
    format!("Bearer {name}-0123456789")
}

async fn ask(service: &Service, who: &str, method: Method, path: &str, body: Option<&str>) -> Answer {
    service.ask(method, path, &[("authorization", &bearer(who))], body).await
}

async fn create(service: &Service, who: &str, body: &str) -> String {
    let answer = ask(service, who, Method::POST, "/v1/tasks", Some(body)).await;
    assert_eq!(answer.status, 202, "{}", answer.json());
    answer.json()["taskId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_right_token_all_but_the_pages_is_401() {
    let service = guarded().await;
    for headers in [
        vec![],
        vec![("authorization", "Bearer wrong-00123456789")],
        vec![("authorization", "Bearer reader-012345678")],
        vec![("authorization", "Bearer reader-01234567890")],
        vec![("authorization", "Basic reader-0123456789")],
        vec![("authorization", "reader-0123456789")],
        vec![("authorization", "Bearer")],
    ] {
        for path in ["/v1/tasks", "/v1/counts", "/v1/events", "/v1/tasks/x", "/metrics"] {
            let answer = service.get_with(path, &headers).await;
            answer.assert_problem(401, "unauthenticated");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.starts_with("Bearer"));
            // Who sent a token is told that it is not a good one; who sent none, that one is needed.
            let is_sent = headers.iter().any(|(_, value)| value.starts_with("Bearer"));
            assert_eq!(challenge.contains("error=\"invalid_token\""), is_sent, "{headers:?}");
        }
    }
    let create = service.post("/v1/tasks", r#"{"kind":"index"}"#).await;
    create.assert_problem(401, "unauthenticated");
    for path in ["/", "/healthz", "/readyz", "/openapi.json", "/docs"] {
        assert_eq!(service.get(path).await.status, 200, "{path} shows nothing of any task");
    }
}

#[tokio::test]
async fn a_scope_allows_its_own_and_no_more() {
    let service = guarded().await;
    let id = create(&service, "writer", r#"{"kind":"index"}"#).await;
    let (task, parts) = (format!("/v1/tasks/{id}"), format!("/v1/tasks/{id}/children"));
    let (verb, batch) = (format!("{task}:heartbeat"), json!({"taskIds":[id]}).to_string());
    for (method, path, body, scope) in [
        (Method::GET, task.as_str(), None, "reader"),
        (Method::GET, &parts, None, "reader"),
        (Method::POST, "/v1/tasks:batchGet", Some(batch.as_str()), "reader"),
        (Method::POST, "/v1/tasks", Some(r#"{"kind":"index"}"#), "writer"),
        (Method::PATCH, &task, Some("{}"), "writer"),
        (Method::POST, &verb, Some("{}"), "writer"),
        (Method::DELETE, &task, None, "writer"),
        (Method::GET, "/v1/tasks", None, "lister"),
        (Method::GET, "/v1/counts", None, "lister"),
        (Method::GET, "/metrics", None, "bosses"),
    ] {
        for who in ["reader", "writer", "lister", "bosses"] {
            let answer = ask(&service, who, method.clone(), path, body).await;
            if who == scope || who == "bosses" {
                assert_ne!(answer.status, 403, "{who} {method} {path}");
            } else {
                answer.assert_problem(403, "forbidden");
            }
        }
    }
    let refused = ask(&service, "reader", Method::GET, "/v1/events", None).await;
    refused.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn another_tenants_task_is_as_if_it_were_not_there() {
    let service = guarded().await;
    let mine = create(&service, "acme01", r#"{"kind":"index","labels":{"tenant":"acme"}}"#).await;
    let theirs = create(&service, "other1", r#"{"kind":"index","status":"running"}"#).await;
    let nobodys = create(&service, "writer", r#"{"kind":"index"}"#).await;
    let label = ask(&service, "acme01", Method::GET, &format!("/v1/tasks/{mine}"), None).await.json();
    assert_eq!(label["labels"]["tenant"], "acme");

    let forged = ask(
        &service,
        "acme01",
        Method::POST,
        "/v1/tasks",
        Some(r#"{"kind":"index","labels":{"tenant":"other"}}"#),
    );
    forged.await.assert_problem(403, "forbidden");
    for id in [&theirs, &nobodys] {
        for (method, path, body) in [
            (Method::GET, format!("/v1/tasks/{id}"), None),
            (Method::GET, format!("/v1/tasks/{id}/events"), None),
            (Method::GET, format!("/v1/tasks/{id}/children"), None),
            (Method::GET, format!("/v1/tasks/{id}/result"), None),
            (Method::PATCH, format!("/v1/tasks/{id}"), Some(r#"{"statusMessage":"x"}"#)),
            (Method::POST, format!("/v1/tasks/{id}:cancel"), Some("{}")),
            (Method::POST, format!("/v1/tasks/{id}:succeed"), Some("{}")),
            (Method::DELETE, format!("/v1/tasks/{id}"), None),
        ] {
            ask(&service, "acme01", method, &path, body).await.assert_problem(404, "unknown-task");
        }
        let child = json!({"kind":"page","parentId":id}).to_string();
        let answer = ask(&service, "acme01", Method::POST, "/v1/tasks", Some(&child)).await;
        answer.assert_problem(409, "unknown-parent");
    }
    let list = ask(&service, "acme01", Method::GET, "/v1/tasks", None).await.json();
    assert_eq!(list["tasks"].as_array().unwrap().len(), 1);
    let sneaky = ask(&service, "acme01", Method::GET, "/v1/tasks?label.tenant=other", None).await.json();
    assert_eq!(sneaky["tasks"], json!([]));
    let batch = json!({"taskIds":[mine, theirs]}).to_string();
    let batch = ask(&service, "acme01", Method::POST, "/v1/tasks:batchGet", Some(&batch)).await.json();
    assert_eq!((&batch["tasks"][1], &batch["absent"][0]["status"]), (&json!(null), &404.into()));
    let all = ask(&service, "bosses", Method::GET, "/v1/tasks", None).await.json();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn counts_and_events_are_a_tenants_own_and_gone_is_told_only_of_its_tasks() {
    let service = guarded().await;
    let header = bearer("acme01");
    let headers = [("authorization", header.as_str())];
    let mut events = service.events("/v1/events", &headers).await;
    assert_eq!(events.expect("ready").await.data["byState"]["pending"], 0);
    let theirs = create(&service, "other1", r#"{"kind":"index"}"#).await;
    let mine = create(&service, "acme01", r#"{"kind":"index"}"#).await;
    for (who, id) in [("other1", &theirs), ("acme01", &mine)] {
        ask(&service, who, Method::POST, &format!("/v1/tasks/{id}:cancel"), Some("{}")).await;
        let gone = ask(&service, who, Method::DELETE, &format!("/v1/tasks/{id}"), None).await;
        assert_eq!(gone.status, 200);
    }
    loop {
        let event = events.next().await.unwrap();
        assert_eq!(event.data["taskId"], mine, "nothing of others: {event:?}");
        if event.name == "gone" {
            break;
        }
    }
    let path = |id: &str| format!("/v1/tasks/{id}");
    ask(&service, "acme01", Method::GET, &path(&mine), None).await.assert_problem(410, "gone");
    ask(&service, "acme01", Method::GET, &path(&theirs), None).await.assert_problem(404, "unknown-task");
    create(&service, "acme01", r#"{"kind":"index"}"#).await;
    let counts = ask(&service, "acme01", Method::GET, "/v1/counts", None).await.json();
    assert_eq!(counts["byState"]["pending"], 1);
    assert_eq!(counts["byState"]["cancelled"], 0);
}

#[tokio::test]
async fn the_figures_are_of_all_tenants_and_not_for_one() {
    let service = guarded().await;
    let refused = ask(&service, "chiefs", Method::GET, "/metrics", None).await;
    refused.assert_problem(403, "forbidden");
    // The host gives none here; but that is told only to those who may know.
    ask(&service, "bosses", Method::GET, "/metrics", None).await.assert_problem(404, "no-route");
    assert_eq!(ask(&service, "chiefs", Method::GET, "/v1/counts", None).await.status, 200);
}

#[tokio::test]
async fn an_id_that_another_tenant_uses_tells_nothing_of_its_task() {
    let service = guarded().await;
    let id = "7476cf8a-4baa-4dc0-87b3-41d690d7a28a";
    let body = |kind: &str| json!({"kind": kind, "taskId": id}).to_string();
    assert_eq!(ask(&service, "acme01", Method::POST, "/v1/tasks", Some(&body("index"))).await.status, 202);
    let mut told = Vec::new();
    for kind in ["index", "another"] {
        let answer = ask(&service, "other1", Method::POST, "/v1/tasks", Some(&body(kind))).await;
        let mut problem = answer.assert_problem(409, "conflict");
        problem["requestId"] = json!(null);
        told.push((problem, answer.headers.len()));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(ask(&service, "acme01", Method::POST, "/v1/tasks", Some(&body("index"))).await.status, 200);
}

#[tokio::test]
async fn idempotency_keys_are_each_tenants_own() {
    let service = guarded().await;
    let mut ids = std::collections::HashSet::new();
    for who in ["acme01", "other1", "acme01"] {
        let headers = [("authorization", &*bearer(who)), ("idempotency-key", "a")];
        let answer = service.post_with("/v1/tasks", &headers, r#"{"kind":"index"}"#).await;
        assert_eq!(answer.status, 202);
        ids.insert(answer.json()["taskId"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing_and_an_open_service_has_its_names() {
    let options = Options { allowed_hosts: Some(vec!["127.0.0.1".into()]), ..Options::default() };
    let access = Access::open_on_loopback();
    let service = service_for(access, options, ServeOptions::default(), 16).await;
    let own = format!("http://{}", service.address);
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1"] {
        let answer = service.post_with("/v1/tasks", &[("origin", origin)], r#"{"kind":"a"}"#).await;
        answer.assert_problem(403, "forbidden");
    }
    assert_eq!(service.post_with("/v1/tasks", &[("origin", &own)], r#"{"kind":"a"}"#).await.status, 202);
    for name in ["evil.example", "evil.example:7117", "127.0.0.1.evil.example", ""] {
        let answer = service.get_with("/v1/counts", &[("host", name)]).await;
        answer.assert_problem(421, "misdirected");
    }
    assert_eq!(service.get_with("/v1/counts", &[("host", "127.0.0.1:9")]).await.status, 200);
}
