//! How much one caller, and all together, may use: each limit has its own problem, and one caller at a limit
//! slows no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::Method;
use inflight_server::{Access, Options, Principal, Quota, Scope, ServeOptions, Tokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::service::{Answer, Events, LONG, Service, service_for};

const TOKENS: &str = "
    acme   admin acme  acme-0123456789abcdef
    acme   admin acme  acm2-0123456789abcdef
    other  admin other othr-0123456789abcdef
    large  admin -     larg-0123456789abcdef tasks=1000,bytes=1000,streams=1000,connections=1000,rate=1000000
";

async fn service(quota: Quota, total: Quota) -> Service {
    let access = Access::tokens(Tokens::parse(TOKENS).unwrap());
    // A stream whose reader has gone is noticed when something is sent.
    let keep_alive = Duration::from_millis(10);
    let options = Options { quota, total, keep_alive, ..Options::default() };
    service_for(access, options, ServeOptions::default(), 1 << 10).await
}

async fn each(quota: Quota) -> Service {
    service(quota, Quota::default()).await
}

fn bearer(name: &str) -> String {
    format!("Bearer {name}-0123456789abcdef")
}

async fn ask(service: &Service, who: &str, method: Method, path: &str, body: Option<&str>) -> Answer {
    service.ask(method, path, &[("authorization", &bearer(who))], body).await
}

async fn create(service: &Service, who: &str) -> Answer {
    let body = r#"{"kind":"index","status":"running"}"#;
    ask(service, who, Method::POST, "/v1/tasks", Some(body)).await
}

fn path(created: &Answer) -> String {
    assert_eq!(created.status, 202, "{}", created.json());
    format!("/v1/tasks/{}", created.json()["taskId"].as_str().unwrap())
}

#[track_caller]
fn assert_over(answer: &Answer, status: u16, slug: &str) {
    answer.assert_problem(status, slug);
    let seconds: u64 = answer.header("retry-after").expect("when to ask again").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn tasks_are_counted_until_they_are_gone_by_name_and_tenant() {
    let service = each(Quota { tasks: Some(3), ..Quota::default() }).await;
    let first = path(&create(&service, "acme").await);
    let own = r#"{"kind":"a","taskId":"7476cf8a-4baa-4dc0-87b3-41d690d7a28a"}"#;
    assert_eq!(ask(&service, "acm2", Method::POST, "/v1/tasks", Some(own)).await.status, 202);
    create(&service, "acm2").await;
    for who in ["acme", "acm2"] {
        assert_over(&create(&service, who).await, 429, "quota-tasks");
    }
    // What is there already is no further task.
    assert_eq!(ask(&service, "acme", Method::POST, "/v1/tasks", Some(own)).await.status, 200);
    for who in ["othr", "larg"] {
        assert_eq!(create(&service, who).await.status, 202, "{who}");
    }
    // One that has ended is still kept; one that is gone is not.
    ask(&service, "acme", Method::POST, &format!("{first}:succeed"), Some("{}")).await;
    assert_over(&create(&service, "acme").await, 429, "quota-tasks");
    assert_eq!(ask(&service, "acme", Method::DELETE, &first, None).await.status, 200);
    until_created(&service).await;
    assert_over(&create(&service, "acme").await, 429, "quota-tasks");
}

/// Asks again and again until the answer is not this any more, as it soon will not be.
async fn until_not(
    service: &Service,
    who: &str,
    status: u16,
    method: Method,
    path: &str,
    body: &str,
) -> Answer {
    let asked = async {
        loop {
            let answer = ask(service, who, method.clone(), path, Some(body)).await;
            if answer.status != status {
                return answer;
            }
        }
    };
    tokio::time::timeout(LONG, asked).await.expect("what was used is given back")
}

/// Creates a task as soon as the one that has gone is given back.
async fn until_created(service: &Service) -> String {
    path(&until_not(service, "acme", 429, Method::POST, "/v1/tasks", r#"{"kind":"a"}"#).await)
}

#[tokio::test]
async fn a_create_that_is_refused_is_not_counted() {
    let service = each(Quota { tasks: Some(1), ..Quota::default() }).await;
    let long = format!(r#"{{"kind":"a","statusMessage":"{}"}}"#, "x".repeat(100_000));
    for body in [&*long, r#"{"kind":""}"#, r#"{"kind":"a","leaseMs":0}"#] {
        let refused = ask(&service, "acme", Method::POST, "/v1/tasks", Some(body)).await;
        assert_eq!(refused.status, 400, "{}", refused.json());
    }
    let task = path(&create(&service, "acme").await);
    // An id that is used again: the one before is given back once, and no more.
    ask(&service, "acme", Method::POST, &format!("{task}:cancel"), Some(r#"{"confirm":true}"#)).await;
    ask(&service, "acme", Method::DELETE, &task, None).await;
    until_created(&service).await;
    assert_over(&create(&service, "acme").await, 429, "quota-tasks");
}

#[tokio::test]
async fn payloads_are_counted_until_their_tasks_are_gone() {
    let service = each(Quota { payload_bytes: Some(100), ..Quota::default() }).await;
    let result = format!(r#"{{"result":"{}"}}"#, "x".repeat(58));
    let mut tasks = Vec::new();
    for who in ["acme", "acme", "othr"] {
        tasks.push(path(&create(&service, who).await));
    }
    let succeed = |at: usize| format!("{}:succeed", tasks[at]);
    assert_eq!(ask(&service, "acme", Method::POST, &succeed(0), Some(&result)).await.status, 200);
    let refused = ask(&service, "acme", Method::POST, &succeed(1), Some(&result)).await;
    assert_over(&refused, 429, "quota-payload-bytes");
    let still = ask(&service, "acme", Method::GET, &tasks[1], None).await;
    assert_eq!(still.json()["status"], "running", "the refused end has changed nothing");
    assert_eq!(ask(&service, "othr", Method::POST, &succeed(2), Some(&result)).await.status, 200);
    // One that has ended says so, whatever there is room for.
    let late = ask(&service, "acme", Method::POST, &succeed(0), Some(&result)).await;
    late.assert_problem(409, "refused");
    ask(&service, "acme", Method::DELETE, &tasks[0], None).await;
    let ended = until_not(&service, "acme", 429, Method::POST, &succeed(1), &result).await;
    assert_eq!(ended.status, 200);
}

async fn stream(service: &Service, who: &str) -> Events {
    let mut events = service.events("/v1/events", &[("authorization", &bearer(who))]).await;
    events.expect("ready").await;
    events
}

#[tokio::test]
async fn streams_are_counted_while_they_go_on() {
    let quota = Quota { streams: Some(2), ..Quota::default() };
    let service = service(quota, Quota { streams: Some(3), ..Quota::default() }).await;
    let (first, _second) = (stream(&service, "acme").await, stream(&service, "acm2").await);
    let refused = ask(&service, "acme", Method::GET, "/v1/events", None).await;
    assert_over(&refused, 429, "quota-streams");
    let _third = stream(&service, "othr").await;
    let refused = ask(&service, "larg", Method::GET, "/v1/events", None).await;
    assert_over(&refused, 503, "limit-streams");
    // What is no stream in the end counts for nothing.
    let none = ask(&service, "acme", Method::GET, "/v1/events?state=what", None).await;
    assert_eq!(none.status, 429);
    drop(first);
    let answer = until_not(&service, "larg", 503, Method::GET, "/v1/events?state=what", "").await;
    assert_eq!(answer.status, 400);
    let _again = stream(&service, "acme").await;
}

/// One request on a connection, whose answer has no body; its status.
async fn ask_on(stream: &mut TcpStream, who: &str) -> String {
    let head = format!("HEAD /v1/counts HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\n\r\n", bearer(who));
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 16 << 10];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn connections_are_counted_by_who_uses_them() {
    let service = each(Quota { connections: Some(2), ..Quota::default() }).await;
    let connect = || TcpStream::connect(service.address);
    let mut held = [connect().await.unwrap(), connect().await.unwrap()];
    for stream in &mut held {
        assert_eq!(ask_on(stream, "acme").await, "200");
        assert_eq!(ask_on(stream, "acm2").await, "200", "the same caller on the same connection");
    }
    let mut third = connect().await.unwrap();
    assert_eq!(ask_on(&mut third, "acme").await, "429");
    let mut rest = Vec::new();
    third.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty(), "it is closed");
    let mut others = connect().await.unwrap();
    assert_eq!(ask_on(&mut others, "othr").await, "200");
    let refused = ask(&service, "acme", Method::GET, "/v1/counts", None).await;
    assert_over(&refused, 429, "quota-connections");
    drop(held);
    assert_eq!(until_not(&service, "acme", 429, Method::GET, "/v1/counts", "").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_the_second() {
    // So few that none comes back while the test runs.
    let service = each(Quota { requests_per_second: Some(1), ..Quota::default() }).await;
    let mut refused = 0;
    for _ in 0..50 {
        let answer = ask(&service, "acme", Method::GET, "/v1/counts", None).await;
        if answer.status != 200 {
            assert_over(&answer, 429, "quota-requests");
            refused += 1;
        }
    }
    assert!(refused > 0, "50 requests take less than 50 seconds");
    assert_eq!(ask(&service, "othr", Method::GET, "/v1/counts", None).await.status, 200);
    assert_eq!(service.get("/healthz").await.status, 200, "what is open is not counted");
}

#[tokio::test]
async fn an_open_service_has_the_limits_of_all_and_no_others() {
    let quota = Quota { tasks: Some(0), ..Quota::default() };
    let total = Quota { tasks: Some(1), streams: Some(0), payload_bytes: Some(1), ..Quota::default() };
    let options = Options { quota, total, ..Options::default() };
    let open = service_for(Access::open_on_loopback(), options, ServeOptions::default(), 16).await;
    let task = open.create(r#"{"kind":"a","status":"running"}"#).await;
    assert_over(&open.post("/v1/tasks", r#"{"kind":"a"}"#).await, 503, "limit-tasks");
    assert_over(&open.get("/v1/events").await, 503, "limit-streams");
    let ended = open.post(&format!("{task}:fail"), r#"{"error":"much"}"#).await;
    assert_over(&ended, 503, "limit-payload-bytes");
}

#[tokio::test]
async fn whom_a_host_identifies_is_counted_by_name_and_tenant() {
    let access = Access::from_request(|parts| {
        let user = parts.headers.get("x-user")?.to_str().ok()?;
        let principal = Principal::new(user).scope(Scope::Write);
        Some(if user == "large" {
            principal.quota(Quota { tasks: Some(2), ..Quota::default() })
        } else {
            principal
        })
    });
    let quota = Quota { tasks: Some(1), ..Quota::default() };
    let options = Options { quota, ..Options::default() };
    let service = service_for(access, options, ServeOptions::default(), 16).await;
    for (user, status) in
        [("ann", 202), ("ann", 429), ("bob", 202), ("large", 202), ("large", 202), ("large", 429)]
    {
        let answer = service.post_with("/v1/tasks", &[("x-user", user)], r#"{"kind":"a"}"#).await;
        assert_eq!(answer.status, status, "{user}: {}", answer.json());
    }
}

#[tokio::test]
async fn what_a_caller_uses_goes_on_to_be_counted_when_tokens_are_replaced() {
    let tokens = Tokens::parse(TOKENS).unwrap();
    let quota = Quota { tasks: Some(1), ..Quota::default() };
    let options = Options { quota, ..Options::default() };
    let service = service_for(Access::tokens(tokens.clone()), options, ServeOptions::default(), 16).await;
    create(&service, "acme").await;
    tokens.replace(&Tokens::parse("acme write acme newt-0123456789abcdef").unwrap());
    assert_over(&create(&service, "newt").await, 429, "quota-tasks");
    tokens.replace(&Tokens::parse("acme write acme newt-0123456789abcdef tasks=2").unwrap());
    assert_eq!(create(&service, "newt").await.status, 202);
    assert_over(&create(&service, "newt").await, 429, "quota-tasks");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_caller_at_its_limits_slows_no_other() {
    let quota = Quota { requests_per_second: Some(50), tasks: Some(5), streams: Some(2), ..Quota::default() };
    let service = Arc::new(each(quota).await);
    let task = path(&create(&service, "larg").await);
    let (done, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood: Vec<_> = (0..8)
        .map(|number| {
            let (service, done, refused) = (Arc::clone(&service), Arc::clone(&done), Arc::clone(&refused));
            tokio::spawn(async move {
                // Relaxed, all of them: a flag, and a count that is read when all have ended.
                while !done.load(Ordering::Relaxed) {
                    let answer = match number % 3 {
                        0 => create(&service, "acme").await,
                        1 => ask(&service, "acme", Method::GET, "/v1/tasks?state=what", None).await,
                        _ => ask(&service, "acm2", Method::GET, "/v1/counts", None).await,
                    };
                    refused.fetch_add(usize::from(answer.status == 429), Ordering::Relaxed);
                }
            })
        })
        .collect();
    // In the thick of it, the other works as if it were alone.
    while refused.load(Ordering::Relaxed) < 100 {
        tokio::task::yield_now().await;
    }
    for done in 1..=60 {
        let body = r#"{"progress":{"advance":1}}"#;
        assert_eq!(ask(&service, "larg", Method::PATCH, &task, Some(body)).await.status, 200);
        let seen = ask(&service, "larg", Method::GET, &task, None).await;
        assert_eq!(seen.json()["progress"]["done"], done);
        assert_eq!(create(&service, "larg").await.status, 202);
    }
    done.store(true, Ordering::Relaxed);
    for flooding in flood {
        flooding.await.unwrap();
    }
    assert!(refused.load(Ordering::Relaxed) >= 100);
    let tasks = ask(&service, "acme", Method::GET, "/v1/counts", None).await;
    let shown = tasks.status == 429 || tasks.json()["byState"]["running"].as_u64().unwrap() <= 5;
    assert!(shown, "{}", tasks.json());
}
