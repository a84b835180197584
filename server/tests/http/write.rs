//! Writing: transitions, conditions, verbs, leases.

use std::time::Duration;

use hyper::Method;
use inflight::{NewTask, State};
use serde_json::{Value, json};

use crate::service::{Service, service};

/// A task in this state, by its path.
async fn task_in(service: &Service, state: State) -> String {
    let path = service.create(r#"{"kind":"index"}"#).await;
    if state == State::Pending {
        return path;
    }
    if state != State::Cancelled {
        assert_eq!(service.patch(&path, r#"{"status":"running"}"#).await.status, 200);
    }
    let (verb, body) = match state {
        State::Blocked => {
            assert_eq!(service.patch(&path, r#"{"status":"blocked"}"#).await.status, 200);
            return path;
        }
        State::Succeeded => ("succeed", "{}"),
        State::Failed => ("fail", "{}"),
        State::Cancelled => ("cancel", "{}"),
        _ => return path,
    };
    assert_eq!(service.post(&format!("{path}:{verb}"), body).await.status, 200);
    path
}

#[tokio::test]
async fn i3_every_write_in_every_state_is_made_or_refused_as_the_table_says() {
    use State::{Blocked, Cancelled, Failed, Pending, Running, Succeeded};
    let service = service().await;
    for from in State::ALL {
        for (write, body, allowed_from, to) in [
            ("start", r#"{"status":"running"}"#, vec![Pending, Blocked], Some(Running)),
            ("block", r#"{"status":"blocked"}"#, vec![Running], Some(Blocked)),
            ("progress", r#"{"progress":{"advance":1}}"#, vec![Running, Blocked], None),
            ("total", r#"{"progress":{"total":7}}"#, vec![Pending, Running, Blocked], None),
            ("message", r#"{"statusMessage":"x"}"#, vec![Pending, Running, Blocked], None),
            (":succeed", "{}", vec![Running, Blocked], Some(Succeeded)),
            (":fail", "{}", vec![Pending, Running, Blocked], Some(Failed)),
            (":cancel", r#"{"confirm":true}"#, vec![Pending, Running, Blocked], Some(Cancelled)),
            (":retry", "{}", vec![Running, Blocked], Some(Pending)),
        ] {
            let path = task_in(&service, from).await;
            let before = service.get(&path).await;
            let answer = match write.strip_prefix(':') {
                Some(verb) => service.post(&format!("{path}:{verb}"), body).await,
                None => service.patch(&path, body).await,
            };
            let after = service.get(&path).await;
            if allowed_from.contains(&from) {
                assert_eq!(answer.status, 200, "{from} {write}: {}", answer.json());
                assert_eq!(answer.json(), after.json(), "the answer is the task after that");
                assert_eq!(after.json()["status"], to.unwrap_or(from).as_str(), "{from} {write}");
            } else {
                let problem = answer.assert_problem(409, "refused");
                assert_eq!(problem["currentStatus"]["status"], from.as_str(), "{from} {write}");
                assert_eq!(after.json(), before.json(), "{from} {write}: nothing has changed");
            }
        }
    }
}

#[tokio::test]
async fn if_match_makes_a_write_conditional() {
    let service = service().await;
    let path = task_in(&service, State::Running).await;
    let old = service.get(&path).await.etag();
    let fresh = service.patch(&path, r#"{"progress":{"done":1}}"#).await.etag();
    let weak = format!("W/{fresh}");
    for stale in [old.as_str(), "\"x\"", weak.as_str()] {
        for (method, path) in [
            (Method::PATCH, path.clone()),
            (Method::POST, format!("{path}:succeed")),
            (Method::POST, format!("{path}:cancel")),
            (Method::POST, format!("{path}:retry")),
        ] {
            let answer = service.ask(method, &path, &[("if-match", stale)], Some("{}")).await;
            let problem = answer.assert_problem(412, "stale");
            assert_eq!(format!("\"{}\"", problem["currentStatus"]["version"].as_str().unwrap()), fresh);
        }
    }
    let body = Some(r#"{"progress":{"done":2}}"#);
    let made = service.ask(Method::PATCH, &path, &[("if-match", &fresh)], body).await;
    assert_eq!(made.status, 200);
    assert_eq!(service.ask(Method::PATCH, &path, &[("if-match", "*")], body).await.status, 200);
}

#[tokio::test]
async fn of_many_writes_on_one_version_one_is_made() {
    let service = service().await;
    let path = task_in(&service, State::Running).await;
    let seen = service.get(&path).await.etag();
    let writes = (0..20).map(|n| {
        let (path, seen, service) = (path.clone(), seen.clone(), &service);
        async move {
            let body = format!(r#"{{"progress":{{"advance":1}},"statusMessage":"{n}"}}"#);
            service.ask(Method::PATCH, &path, &[("if-match", &seen)], Some(&body)).await.status.as_u16()
        }
    });
    let codes = futures_util::future::join_all(writes).await;
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 412).count(), 19, "{codes:?}");
    assert_eq!(service.get(&path).await.json()["progress"]["done"], 1);
}

#[tokio::test]
async fn i3_of_many_ends_one_wins_and_the_others_learn_how_it_ended() {
    let service = service().await;
    let path = task_in(&service, State::Running).await;
    let ends = (0..20).map(|n| {
        let (path, service) = (path.clone(), &service);
        async move {
            match n % 3 {
                0 => service.post(&format!("{path}:succeed"), &format!(r#"{{"result":{n}}}"#)).await,
                1 => service.post(&format!("{path}:fail"), &format!(r#"{{"error":{n}}}"#)).await,
                _ => service.post(&format!("{path}:cancel"), r#"{"confirm":true}"#).await,
            }
        }
    });
    let answers = futures_util::future::join_all(ends).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(won.len(), 1);
    for answer in lost {
        let problem = answer.assert_problem(409, "refused");
        assert_eq!(problem["currentStatus"]["version"], won[0].json()["version"]);
    }
    let end = service.get(&path).await.json();
    assert_eq!(end, won[0].json());
    // I4: nothing changes any more.
    service.patch(&path, r#"{"progress":{"advance":1}}"#).await.assert_problem(409, "refused");
    assert_eq!(service.get(&path).await.json(), end);
}

#[tokio::test]
async fn a_patch_is_made_as_a_whole_or_not_at_all() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index"}"#).await;
    let all = r#"{"status":"running","progress":{"done":3,"total":10},"statusMessage":"x","attempt":1}"#;
    let task = service.patch(&path, all).await.json();
    assert_eq!((&task["status"], &task["statusMessage"]), (&"running".into(), &"x".into()));
    assert_eq!((&task["progress"]["done"], &task["progress"]["total"]), (&3.into(), &10.into()));
    let before = service.get(&path).await.json();
    let long =
        format!(r#"{{"status":"blocked","progress":{{"done":5}},"statusMessage":"{}"}}"#, "x".repeat(5000));
    for (body, status, slug) in [
        (r#"{"status":"running","statusMessage":"y"}"#, 409, "refused"),
        (r#"{"status":"blocked","progress":{"done":2}}"#, 409, "refused"),
        (r#"{"status":"blocked","progress":{"total":2}}"#, 409, "refused"),
        (r#"{"statusMessage":"y","progress":{"advance":8,"total":10}}"#, 409, "refused"),
        (r#"{"statusMessage":"y","attempt":2}"#, 409, "refused"),
        (r#"{"statusMessage":"y","progress":{"done":1152921504606846976}}"#, 400, "bad-request"),
        (r#"{"statusMessage":"y","progress":{"advance":18446744073709551615}}"#, 400, "bad-request"),
        (r#"{"statusMessage":"y","progress":{"done":4,"advance":1}}"#, 400, "bad-request"),
        (r#"{"status":"succeeded"}"#, 400, "bad-request"),
        (&long, 400, "bad-request"),
    ] {
        service.patch(&path, body).await.assert_problem(status, slug);
        assert_eq!(service.get(&path).await.json(), before, "{body}");
    }
    assert_eq!(service.patch(&path, "{}").await.json(), before, "nothing is nothing");
    let whole = service.patch(&path, r#"{"progress":{"done":4.0},"attempt":1.0}"#).await;
    assert_eq!(whole.json()["progress"]["done"], 4, "4.0 is whole");
    service.patch(&path, r#"{"progress":{"done":4.5}}"#).await.assert_problem(400, "bad-request");
}

#[tokio::test]
async fn a_retry_is_a_new_attempt_and_fences_the_old_one() {
    let service = service().await;
    let path = task_in(&service, State::Running).await;
    service.patch(&path, r#"{"progress":{"done":5}}"#).await;
    let retried = service.post(&format!("{path}:retry"), r#"{"attempt":1}"#).await.json();
    assert_eq!((&retried["status"], &retried["attempt"]), (&"pending".into(), &2.into()));
    assert_eq!(retried["progress"]["done"], 0);
    service.patch(&path, r#"{"status":"running","attempt":2}"#).await;
    for (verb, body) in
        [("succeed", r#"{"attempt":1}"#), ("fail", r#"{"attempt":1}"#), ("retry", r#"{"attempt":1}"#)]
    {
        let problem = service.post(&format!("{path}:{verb}"), body).await.assert_problem(409, "refused");
        assert_eq!(problem["currentStatus"]["attempt"], 2);
    }
    assert_eq!(service.post(&format!("{path}:succeed"), r#"{"attempt":2}"#).await.status, 200);
}

#[tokio::test]
async fn a_failure_has_its_reason_and_error() {
    let service = service().await;
    for reason in ["error", "panicked", "lost", "timed_out", "rejected"] {
        let path = task_in(&service, State::Running).await;
        let body = format!(r#"{{"reason":"{reason}","error":{{"code":7}}}}"#);
        let task = service.post(&format!("{path}:fail"), &body).await.json();
        assert_eq!((&task["failureReason"], &task["error"]["code"]), (&Value::from(reason), &7.into()));
        assert!(task["endedAt"].is_string());
    }
    let path = task_in(&service, State::Running).await;
    let task = service.ask(Method::POST, &format!("{path}:fail"), &[], None).await.json();
    assert_eq!((&task["failureReason"], &task["error"]), (&"error".into(), &Value::Null));
}

#[tokio::test]
async fn cancel_is_a_request_that_the_worker_agrees_to() {
    let service = service().await;
    let pending = task_in(&service, State::Pending).await;
    let cancelled = service.post(&format!("{pending}:cancel"), "{}").await.json();
    assert_eq!(cancelled["status"], "cancelled", "nobody works on it");

    let path = task_in(&service, State::Running).await;
    let asked = service.ask(Method::POST, &format!("{path}:cancel"), &[], None).await;
    assert_eq!((asked.status.as_u16(), &asked.json()["status"]), (200, &"running".into()));
    assert_eq!(asked.json()["cancelRequested"], true);
    let told = service.patch(&path, r#"{"progress":{"advance":1}}"#).await.json();
    assert_eq!(told["cancelRequested"], true, "the worker hears of it by any write");
    let agreed = service.post(&format!("{path}:cancel"), r#"{"confirm":true}"#).await.json();
    assert_eq!(agreed["status"], "cancelled");
    service.post(&format!("{path}:cancel"), "{}").await.assert_problem(409, "refused");
}

#[tokio::test]
async fn i10_a_lease_without_heartbeats_runs_out_and_fences_its_holder() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running","leaseMs":10000}"#).await;
    let pass = |seconds| {
        service.clock.advance(Duration::from_secs(seconds));
        service.store.tick();
    };
    for _ in 0..3 {
        pass(8);
        assert_eq!(service.ask(Method::POST, &format!("{path}:heartbeat"), &[], None).await.status, 200);
    }
    pass(8);
    assert_eq!(
        service.patch(&path, r#"{"progress":{"advance":1}}"#).await.status,
        200,
        "progress extends it, too"
    );
    pass(8);
    assert_eq!(service.get(&path).await.json()["status"], "running");
    pass(11);
    let lost = service.get(&path).await.json();
    assert_eq!((&lost["status"], &lost["failureReason"]), (&"failed".into(), &"lost".into()));
    for (method, path, body) in [
        (Method::POST, format!("{path}:heartbeat"), "{}"),
        (Method::PATCH, path.clone(), r#"{"progress":{"advance":1}}"#),
        (Method::POST, format!("{path}:succeed"), "{}"),
    ] {
        let problem = service.ask(method, &path, &[], Some(body)).await.assert_problem(409, "refused");
        assert_eq!(problem["currentStatus"]["failureReason"], "lost");
    }
    assert_eq!(service.get(&path).await.json(), lost, "I4");
    let without = task_in(&service, State::Running).await;
    service.post(&format!("{without}:heartbeat"), "{}").await.assert_problem(409, "refused");
}

#[tokio::test]
async fn the_hosts_own_tasks_are_read_and_cancelled_but_not_written_to() {
    let service = service().await;
    let mut task = service.store.create(NewTask::new("index")).unwrap();
    task.start().unwrap();
    let path = format!("/v1/tasks/{}", task.id());
    assert_eq!(service.get(&path).await.json()["status"], "running");
    for (method, path) in [
        (Method::PATCH, path.clone()),
        (Method::POST, format!("{path}:succeed")),
        (Method::POST, format!("{path}:retry")),
    ] {
        let problem = service.ask(method, &path, &[], Some("{}")).await;
        let problem = problem.assert_problem(409, "worker-in-process");
        assert_eq!(problem["currentStatus"]["status"], "running");
    }
    assert_eq!(service.post(&format!("{path}:cancel"), "{}").await.status, 200);
    assert!(task.cancel_requested());
}

#[tokio::test]
async fn a_payload_over_the_stores_limit_is_413_and_changes_nothing() {
    let service = service().await;
    let path = task_in(&service, State::Running).await;
    let body = json!({"result": "x".repeat((1 << 20) + 1)}).to_string();
    service.post(&format!("{path}:succeed"), &body).await.assert_problem(413, "too-large");
    assert_eq!(service.get(&path).await.json()["status"], "running");
    assert_eq!(service.post(&format!("{path}:succeed"), r#"{"result":"x"}"#).await.status, 200);
}

#[tokio::test]
async fn null_in_a_merge_patch_takes_a_message_back() {
    let service = service().await;
    let path = service.create(r#"{"kind":"index","status":"running","statusMessage":"embedding"}"#).await;
    let null = r#"{"statusMessage":null}"#;
    let plain = service.patch(&path, null).await;
    assert_eq!(plain.json()["statusMessage"], "embedding", "null says nothing elsewhere");
    let merge = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let merged = service.ask(Method::PATCH, &path, &merge, Some(null)).await;
    assert_eq!((merged.status.as_u16(), &merged.json()["statusMessage"]), (200, &Value::Null));
    assert_eq!(service.get(&path).await.json()["statusMessage"], Value::Null);
    let merged = service.ask(Method::PATCH, &path, &merge, Some(r#"{"progress":{"done":1}}"#)).await;
    assert_eq!(merged.json()["progress"]["done"], 1);
}

#[tokio::test]
async fn a_start_that_is_repeated_for_the_same_attempt_is_200() {
    let service = service().await;
    let path = task_in(&service, State::Pending).await;
    let start = r#"{"status":"running","attempt":1,"progress":{"done":3}}"#;
    let first = service.patch(&path, start).await;
    let again = service.patch(&path, start).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (200, 200));
    assert_eq!(again.json()["progress"]["done"], 3);
    // Of which attempt it is has to be said, and nothing counts twice.
    for other in [
        r#"{"status":"running"}"#,
        r#"{"status":"running","attempt":2}"#,
        r#"{"status":"running","attempt":1,"progress":{"advance":1}}"#,
    ] {
        service.patch(&path, other).await.assert_problem(409, "refused");
    }
    service.patch(&path, r#"{"status":"blocked"}"#).await;
    assert_eq!(service.patch(&path, start).await.json()["status"], "running", "it goes on");
    service.post(&format!("{path}:retry"), "{}").await;
    service.patch(&path, start).await.assert_problem(409, "refused");
}

#[tokio::test]
async fn a_retry_that_is_refused_says_who_can_be_retried() {
    let service = service().await;
    for state in [State::Pending, State::Succeeded, State::Failed, State::Cancelled] {
        let path = task_in(&service, state).await;
        let problem = service.post(&format!("{path}:retry"), "{}").await.assert_problem(409, "refused");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("running or blocked"), "{detail}");
    }
}
