//! Finding: lists, filters, pages, the batch read, counts.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::service::{Answer, Service, service};

fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.json());
    let tasks = answer.json()["tasks"].as_array().unwrap().clone();
    tasks.iter().map(|task| task["taskId"].as_str().unwrap().to_owned()).collect()
}

fn id_of(path: &str) -> String {
    path.rsplit('/').next().unwrap().to_owned()
}

async fn create_many(service: &Service, count: usize) -> Vec<String> {
    let mut created = Vec::new();
    for _ in 0..count {
        created.push(id_of(&service.create(r#"{"kind":"index"}"#).await));
    }
    created
}

#[tokio::test]
async fn pages_are_in_order_and_stable_while_tasks_come_and_go() {
    let service = service().await;
    let created = create_many(&service, 25).await;
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = service.get(&format!("/v1/tasks?pageSize=10&pageToken={token}")).await;
        seen.extend(ids(&page));
        token = page.json()["nextPageToken"].as_str().unwrap().to_owned();
        if token.is_empty() {
            break;
        }
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "safe in an address: {token}");
        // A write, a removal of what was seen, and a newcomer.
        service.patch(&format!("/v1/tasks/{}", created[20]), r#"{"statusMessage":"x"}"#).await;
        let gone = seen.iter().find(|id| *id != &created[20]).unwrap();
        service.post(&format!("/v1/tasks/{gone}:cancel"), "{}").await;
        service.ask(hyper::Method::DELETE, &format!("/v1/tasks/{gone}"), &[], None).await;
        service.create(r#"{"kind":"later"}"#).await;
    }
    assert_eq!(seen.get(..25), Some(created.as_slice()), "each once, in order of creation");
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len());
}

#[tokio::test]
async fn filters_select_and_combine() {
    let service = service().await;
    let parent = id_of(&service.create(r#"{"kind":"batch"}"#).await);
    let a = id_of(&service.create(r#"{"kind":"index","labels":{"tenant":"acme","a.b":"x y"}}"#).await);
    let b = id_of(
        &service.create(&json!({"kind":"index","parentId":parent,"status":"running"}).to_string()).await,
    );
    let c = id_of(&service.create(r#"{"kind":"other","labels":{"tenant":"acme"}}"#).await);
    service.post(&format!("/v1/tasks/{c}:cancel"), "{}").await;
    for (query, expected) in [
        ("", vec![&parent, &a, &b, &c]),
        ("kind=index", vec![&a, &b]),
        ("label.tenant=acme", vec![&a, &c]),
        ("label.tenant=acme&kind=index", vec![&a]),
        ("label.a.b=x%20y", vec![&a]),
        ("state=running", vec![&b]),
        ("state=running,cancelled", vec![&b, &c]),
        ("state=running&state=cancelled", vec![&b, &c]),
        (&format!("parent={parent}"), vec![&b]),
        ("kind=none", vec![]),
        ("changedSince=2029-12-31T23:59:59Z", vec![&parent, &a, &b, &c]),
        ("changedSince=2031-01-01T00:00:00%2B01:00", vec![]),
    ] {
        let found = service.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(ids(&found).iter().collect::<Vec<_>>(), expected, "{query}");
        assert_eq!(found.json()["nextPageToken"], "", "an empty token is the end");
    }
}

#[tokio::test]
async fn too_large_a_page_is_coerced_and_nonsense_refused() {
    let service = service().await;
    create_many(&service, 3).await;
    for size in ["1001", "99999999999999999999", "0"] {
        assert_eq!(ids(&service.get(&format!("/v1/tasks?pageSize={size}")).await).len(), 3, "{size}");
    }
    for query in [
        "pageSize=-1",
        "pageSize=ten",
        "pageToken=zzz",
        "pageToken=00000000000000001",
        "state=done",
        "state=",
        "parent=x",
        "changedSince=yesterday",
        "view=all",
        "label.=x",
        "page=1",
        "kind=a&kind=b",
    ] {
        service.get(&format!("/v1/tasks?{query}")).await.assert_problem(400, "bad-request");
    }
}

#[tokio::test]
async fn results_are_in_the_full_view_only() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    service.post(&format!("{path}:succeed"), r#"{"result":{"pages":1}}"#).await;
    let of = |answer: Answer| answer.json()["tasks"][0]["result"].clone();
    assert_eq!(of(service.get("/v1/tasks").await), Value::Null);
    assert_eq!(of(service.get("/v1/tasks?view=full").await), json!({"pages":1}));
    let batch = json!({"taskIds":[id_of(&path)],"view":"full"}).to_string();
    assert_eq!(of(service.post("/v1/tasks:batchGet", &batch).await), json!({"pages":1}));
}

#[tokio::test]
async fn a_batch_read_keeps_the_order_and_says_what_is_not_there() {
    let service = service().await;
    let created = create_many(&service, 3).await;
    service.post(&format!("/v1/tasks/{}:cancel", created[1]), "{}").await;
    service.ask(hyper::Method::DELETE, &format!("/v1/tasks/{}", created[1]), &[], None).await;
    let unknown = "00000000-0000-0000-0000-000000000001";
    let asked = json!({"taskIds":[created[2], unknown, created[1], created[0], created[2]]}).to_string();
    let batch = service.post("/v1/tasks:batchGet", &asked).await.json();
    let shown: Vec<_> =
        batch["tasks"].as_array().unwrap().iter().map(|task| task["taskId"].as_str()).collect();
    assert_eq!(shown, [Some(&*created[2]), None, None, Some(&*created[0])], "each id once");
    let absent = json!([
        {"taskId":unknown,"status":404,"goneReason":null},
        {"taskId":created[1],"status":410,"goneReason":"removed"},
    ]);
    assert_eq!(batch["absent"], absent);
    let empty = service.post("/v1/tasks:batchGet", r#"{"taskIds":[]}"#).await;
    assert_eq!(empty.json(), json!({"tasks":[],"absent":[],"omitted":[]}));
    let many = json!({"taskIds": vec![unknown; 1001]}).to_string();
    service.post("/v1/tasks:batchGet", &many).await.assert_problem(400, "bad-request");
    service.post("/v1/tasks:batchGet", r#"{"taskIds":["x"]}"#).await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn i12_counts_and_a_parents_sums_follow() {
    let service = service().await;
    let parent = service.create(r#"{"kind":"batch","status":"running"}"#).await;
    let child = json!({"kind":"page","parentId":id_of(&parent),"progress":{"total":10}}).to_string();
    let (first, _second) = (service.create(&child).await, service.create(&child).await);
    service.patch(&first, r#"{"status":"running","progress":{"done":4}}"#).await;
    service.store.tick();
    let counts = service.get("/v1/counts").await.json();
    assert_eq!(
        counts["byState"],
        json!({"pending":1,"running":2,"blocked":0,"succeeded":0,"failed":0,"cancelled":0})
    );
    assert_eq!(counts["capacity"], 4096);
    let sums = service.get(&format!("{parent}/children")).await.json();
    assert_eq!(
        (&sums["count"], &sums["live"], &sums["done"], &sums["total"]),
        (&2.into(), &2.into(), &4.into(), &20.into())
    );
    assert_eq!(sums["fraction"], 0.2);
    let none = service.get(&format!("{first}/children")).await.json();
    assert_eq!((&none["count"], &none["total"]), (&0.into(), &Value::Null));
}
