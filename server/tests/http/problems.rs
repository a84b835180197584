//! Errors: each is problem details, with the right status and a hint at what would have been right.

use hyper::Method;

use crate::service::service;

#[tokio::test]
async fn methods_that_do_not_fit_are_405_with_those_that_do() {
    let service = service().await;
    let task = "/v1/tasks/00000000-0000-0000-0000-000000000001";
    for (method, path, allowed) in [
        (Method::PUT, "/v1/tasks", "GET, HEAD, POST"),
        (Method::DELETE, "/v1/counts", "GET, HEAD"),
        (Method::GET, "/v1/tasks:batchGet", "POST"),
        (Method::PUT, task, "GET, HEAD, PATCH, DELETE"),
        (Method::POST, task, "GET, HEAD, PATCH, DELETE"),
        (Method::GET, "/v1/tasks/00000000-0000-0000-0000-000000000001:succeed", "POST"),
        (Method::PUT, "/v1/tasks/00000000-0000-0000-0000-000000000001:cancel", "POST"),
        (Method::POST, "/v1/events", "GET, HEAD"),
        (Method::POST, "/healthz", "GET, HEAD"),
        (Method::POST, "/", "GET, HEAD"),
        (Method::OPTIONS, "/v1/tasks", "GET, HEAD, POST"),
    ] {
        let answer = service.ask(method, path, &[], Some("{}")).await;
        answer.assert_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{path}");
    }
}

#[tokio::test]
async fn addresses_that_lead_nowhere_are_404_whatever_they_try() {
    let service = service().await;
    for path in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v2/tasks",
        "/v1/tasks/",
        "/index.html/..",
        "/../Cargo.toml",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/assets/..\\..\\x",
        "/%00",
        "/%ff",
    ] {
        let answer = service.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        answer.assert_problem(404, "no-route");
    }
    let id = "00000000-0000-0000-0000-000000000001";
    for path in
        [format!("/v1/tasks/{id}:explode"), format!("/v1/tasks/{id}:"), format!("/v1/tasks/{id}:succeed:x")]
    {
        service.post(&path, "{}").await.assert_problem(404, "no-route");
    }
    for path in ["/v1/tasks/x:succeed", "/v1/tasks/:succeed", "/v1/tasks/%ff:cancel"] {
        let answer = service.post(path, "{}").await;
        assert!([400, 404].contains(&answer.status.as_u16()), "{path}: {}", answer.status);
    }
}

#[tokio::test]
async fn bodies_that_are_not_json_are_400_or_415() {
    let service = service().await;
    for body in ["{", "", "null", "\"x\"", "[]", "{\"kind\":\"\\ud800\"}", "{\"kind\":1}", "nul"] {
        service.post("/v1/tasks", body).await.assert_problem(400, "bad-request");
    }
    let deep = format!("{{\"kind\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    service.post("/v1/tasks", &deep).await.assert_problem(400, "bad-request");
    let twice = service.post("/v1/tasks", r#"{"kind":"a","kind":"b"}"#).await;
    twice.assert_problem(400, "bad-request");
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let answer = service.post_with("/v1/tasks", &[("content-type", media_type)], r#"{"kind":"a"}"#).await;
        answer.assert_problem(415, "media-type");
    }
    for media_type in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/merge-patch+json"]
    {
        let answer = service.post_with("/v1/tasks", &[("content-type", media_type)], r#"{"kind":"a"}"#).await;
        assert_eq!(answer.status, 202, "{media_type}");
    }
}

#[tokio::test]
async fn a_request_has_an_id_its_own_or_a_new_one() {
    let service = service().await;
    let own = service.get_with("/healthz", &[("x-request-id", "abc-1")]).await;
    assert_eq!(own.header("x-request-id"), Some("abc-1"));
    let long = "x".repeat(65);
    let mut seen = std::collections::HashSet::new();
    for unfit in ["a b", "<script>", "a\"b", long.as_str()] {
        let answer = service.get_with("/nothing", &[("x-request-id", unfit)]).await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert!(id != unfit && seen.insert(id), "{unfit}");
    }
}

#[tokio::test]
async fn the_pages_come_from_here_alone() {
    let service = service().await;
    for (path, media_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs.css", "text/css; charset=utf-8"),
        ("/openapi.json", "application/json"),
    ] {
        let page = service.get(path).await;
        assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some(media_type)), "{path}");
        if path != "/openapi.json" {
            let policy = page.header("content-security-policy").unwrap();
            assert!(policy.starts_with("default-src 'none'") && !policy.contains("http"), "{policy}");
            assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        }
    }
    let page = service.get("/").await;
    let known = service.get_with("/", &[("if-none-match", &page.etag())]).await;
    assert_eq!((known.status.as_u16(), known.body.len()), (304, 0));
    let described = service.get("/openapi.json").await.json();
    assert_eq!((&described["openapi"], &described["servers"][0]["url"]), (&"3.1.0".into(), &"/".into()));
}

#[tokio::test]
async fn a_compressed_body_is_415_and_not_called_malformed() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running"}"#).await;
    for (method, path) in [(Method::POST, "/v1/tasks"), (Method::PATCH, &*path)] {
        for encoding in ["gzip", "br", "identity, gzip"] {
            let headers = [("content-encoding", encoding)];
            let answer = service.ask(method.clone(), path, &headers, Some(r#"{"kind":"index"}"#)).await;
            answer.assert_problem(415, "media-type");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
    }
    let headers = [("content-encoding", "identity")];
    let answer = service.ask(Method::POST, "/v1/tasks", &headers, Some(r#"{"kind":"index"}"#)).await;
    assert_eq!(answer.status, 202);
}

#[tokio::test]
async fn a_missing_result_is_another_problem_than_a_wrong_address() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    for part in ["result", "error"] {
        let problem = service.get(&format!("{path}/{part}")).await.assert_problem(404, "no-payload");
        assert_eq!(problem["detail"], format!("the pending task has no {part}"));
    }
    service.get(&format!("{path}/results")).await.assert_problem(404, "no-route");
}

#[tokio::test]
async fn a_header_that_says_two_things_is_400() {
    let service = service().await;
    for (name, value, path) in
        [("host", "other.example", "/v1/counts"), ("idempotency-key", "b", "/v1/tasks")]
    {
        let mut request = hyper::Request::builder().uri(service.url(path)).method(Method::POST);
        request = request.header(name, "a").header(name, value).header("content-type", "application/json");
        let body = http_body_util::Full::from(r#"{"kind":"index"}"#);
        let response = service.send(request.body(body).unwrap()).await;
        assert_eq!(response.status(), 400, "{name}");
    }
    assert_eq!(service.store.counts().total(), 0);
}
