//! Faults of the network and of the server: what a client makes of them. I5 and I6 as seen from afar: a watch
//! never goes back, and never misses the end.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod fake;

use std::time::{Duration, Instant};

use fake::{Answer, Fake, ID, json, problem, stream, task};
use inflight_client::{Event, Filter, GoneReason, Json, NewTask, State, TaskId};

fn id() -> TaskId {
    ID.parse().expect("an id")
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_repeated_with_the_same_key() {
    let mut calls = 0;
    let mut fake = Fake::new(move |_| {
        calls += 1;
        if calls < 3 {
            Answer::Drop
        } else {
            Answer::Reply(202, "retry-after: 2\r\n".into(), task(1, "pending").to_string())
        }
    })
    .await;
    let created = fake.client().create(NewTask::new("index").total(3)).await.expect("the third try");
    assert_eq!((created.task.id, created.retry_after), (id(), Some(Duration::from_secs(2))));
    let keys: Vec<_> =
        fake.rest().iter().map(|seen| seen.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| key.is_some() && *key == keys[0]), "{keys:?}");
    fake.client().create(NewTask::new("index")).await.expect("another one");
    let another = fake.next().await;
    assert_ne!(another.header("idempotency-key"), keys[0].as_deref(), "another creation, another key");
}

/// The key of all of these requests, which are one request and its repeats.
fn key(sent: &[fake::Seen]) -> Option<String> {
    let keys: Vec<_> = sent.iter().map(|seen| seen.header("idempotency-key").map(str::to_owned)).collect();
    assert!(keys.len() == 4 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    keys[0].clone()
}

#[tokio::test]
async fn what_may_have_been_carried_out_is_repeated_only_with_a_key_or_if_it_is_idempotent() {
    // A gateway that does not know what became of a request, and a connection that broke.
    for status in [Some(502), Some(503), Some(504), None] {
        let answer = move |_: &fake::Seen| match status {
            Some(status) => Answer::Reply(status, String::new(), String::new()),
            None => Answer::Drop,
        };
        let mut fake = Fake::new(answer).await;
        let client = fake.client();
        let task = || client.task(id()).in_attempt(1);
        let version = "1-1-0".parse().expect("a version");
        let mut keys = Vec::new();
        for repeated in [
            client.create(NewTask::new("index")).await.map(drop),
            task().start().await.map(drop),
            task().block().await.map(drop),
            task().retry().await.map(drop),
            task().cancel().await.map(drop),
            task().if_match(version).set_message("x").await.map(drop),
        ] {
            let error = repeated.expect_err("no answer of the service's");
            assert!(error.is_transient() && !error.is_connect() && error.status() == status, "{error}");
        }
        for sent in fake.rest().chunks(4) {
            keys.push(key(sent).expect("a key"));
        }
        assert_eq!(keys.len(), 6);
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 6, "each call has its own");
        for repeated in [
            client.get(id()).await.map(drop),
            task().set_done(3).await.map(drop),
            task().heartbeat().await.map(drop),
            task().succeed("x").await.map(drop),
            task().remove().await,
        ] {
            assert!(repeated.expect_err("no answer of the service's").is_transient());
        }
        assert!(fake.rest().chunks(4).all(|sent| key(sent).is_none()), "these need none");
    }
}

#[tokio::test]
async fn a_write_whose_task_has_gone_since_is_told_as_that() {
    let fake = Fake::new(|_| Answer::Reply(204, String::new(), String::new())).await;
    let error = fake.client().task(id()).set_done(3).await.expect_err("there is nothing to show");
    assert!(error.is_gone() && error.to_string().contains("the write was made"), "{error}");
}

#[tokio::test]
async fn what_the_service_has_no_room_for_in_a_batch_is_asked_for_again() {
    let mut fake = Fake::new(|seen| {
        let asked = seen.json()["taskIds"].clone();
        let ids = asked.as_array().expect("ids");
        let mut tasks = vec![serde_json::Value::Null; ids.len()];
        let has_room = ids[0] != ID;
        if has_room {
            tasks[0] = task(1, "running");
            tasks[0]["taskId"] = ids[0].clone();
        }
        let omitted = &ids[usize::from(has_room)..];
        json(serde_json::json!({ "tasks": tasks, "absent": [], "omitted": omitted }))
    })
    .await;
    let ids = [1, 2, 7, 3].map(TaskId::from_u128);
    let ids = ids.map(|other| if other == TaskId::from_u128(7) { id() } else { other });
    let batch = fake.client().batch(&ids).await.expect("read");
    let found: Vec<TaskId> = batch.tasks.iter().map(|task| task.id).collect();
    assert_eq!(found, [ids[0], ids[1], ids[3]]);
    assert_eq!((batch.absent, batch.too_large), (vec![], vec![id()]), "no room for it even alone");
    assert_eq!(fake.rest().len(), 5, "the one that is too large is asked for twice, the others once");
}

/// JSON that is well-formed, and more than a reader of numbers and trees takes.
fn strange() -> Vec<String> {
    vec!["1e999".into(), format!("{}{}", "[".repeat(200), "]".repeat(200)), r#""\ud800""#.into()]
}

#[tokio::test]
async fn a_result_that_readers_of_json_refuse_is_carried_as_it_is_and_breaks_no_read() {
    for result in strange() {
        let text = task(1, "succeeded").to_string();
        let text = format!("{},\"result\":{result}}}", text.strip_suffix('}').expect("an object"));
        let fake = Fake::new(move |seen| match seen.path.as_str() {
            "/v1/tasks:batchGet" | "/v1/tasks?view=full" => {
                json(format!(r#"{{"tasks":[{text}],"absent":[]}}"#))
            }
            path if path.ends_with("/events") => stream(&format!("event: status\ndata: {text}\n\n")),
            _ => json(&text),
        })
        .await;
        let client = fake.client();
        let mut read = vec![client.get(id()).await.expect("it is there")];
        read.extend(client.batch(&[id()]).await.expect("it is there").tasks);
        read.extend(client.list(&Filter::new().full()).await.expect("it is there").tasks);
        read.push(client.watch(id()).next().await.expect("it is there").expect("no fault"));
        let texts: Vec<_> = read.iter().map(|task| task.result.as_ref().map(Json::as_str)).collect();
        assert_eq!(texts, [Some(result.as_str()); 4]);
    }
}

#[tokio::test]
async fn i3_an_end_that_was_turned_away_did_not_make_the_one_that_is_found() {
    let ended =
        serde_json::json!({ "taskId": ID, "status": "succeeded", "version": "1-2-0", "result": "mine" });
    for (first, won) in [(429, false), (502, true)] {
        let (mut calls, ended) = (0, ended.clone());
        let fake = Fake::new(move |_| {
            calls += 1;
            match calls {
                1 => Answer::Reply(first, String::new(), String::new()),
                _ => problem(409, serde_json::json!({ "currentStatus": ended })),
            }
        })
        .await;
        let finished = fake.client().task(id()).succeed("mine").await.expect("it has ended");
        assert_eq!(finished.is_won(), won, "after a {first}");
    }
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_is_repeated_and_made() {
    let mut calls = 0;
    let mut fake = Fake::new(move |_| {
        calls += 1;
        if calls == 1 { Answer::Drop } else { problem(410, r#"{"goneReason":"removed"}"#) }
    })
    .await;
    fake.client().task(id()).remove().await.expect("the first try did it");
    assert_eq!(fake.rest().len(), 2);
    assert!(fake.client().task(id()).remove().await.expect_err("it was gone before").is_gone());
}

#[tokio::test]
async fn a_busy_server_is_given_the_time_it_asks_for() {
    let mut calls = 0;
    let fake = Fake::new(move |_| {
        calls += 1;
        match calls {
            1 => Answer::Reply(503, "retry-after: 1\r\n".into(), "busy".into()),
            _ => json(task(1, "running")),
        }
    })
    .await;
    let patient = fake.builder().max_backoff(Duration::from_secs(5)).build().expect("good");
    let begun = Instant::now();
    assert_eq!(patient.get(id()).await.expect("the second try").state, State::Running);
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    let mut fake = Fake::new(|_| Answer::Reply(503, "retry-after: 3600\r\n".into(), String::new())).await;
    let error = fake.client().get(id()).await.expect_err("never");
    assert_eq!((error.status(), error.retry_after()), (Some(503), Some(Duration::from_secs(3600))));
    assert_eq!(fake.rest().len(), 4, "the waits are bounded, whatever the server asks for");
}

#[tokio::test]
async fn no_answer_is_too_slow_or_too_large_to_survive() {
    let fake = Fake::new(|_| Answer::Hang).await;
    let client = fake.builder().timeout(Duration::from_millis(50)).retries(0).build().expect("good");
    assert!(client.get(id()).await.expect_err("silence").is_timeout());

    let fake = Fake::new(|_| Answer::Endless).await;
    let client = fake.builder().max_body(100_000).build().expect("good");
    let error = client.get(id()).await.expect_err("endless");
    assert!(error.to_string().contains("100000 bytes") && !error.is_transient(), "{error}");

    let nobody = inflight_client::Client::builder("http://127.0.0.1:1").retries(0).build().expect("good");
    assert!(nobody.get(id()).await.expect_err("nobody").is_connect());
}

#[tokio::test]
async fn refusals_are_typed() {
    let mut answers = vec![
        problem(404, r#"{"title":"There is no such task","detail":"no task has this id"}"#),
        problem(410, r#"{"title":"The task is gone","goneReason":"expired"}"#),
        problem(409, format!(r#"{{"detail":"the task has ended","currentStatus":{}}}"#, task(9, "failed"))),
        problem(412, "{}"),
        problem(401, "not even JSON"),
        problem(403, "[]"),
        Answer::Reply(302, "location: http://elsewhere/\r\n".into(), String::new()),
        json("{\"taskId\":1}"),
    ]
    .into_iter();
    let fake = Fake::new(move |_| answers.next().unwrap_or(Answer::Drop)).await;
    let client = fake.client();
    let mut errors = Vec::new();
    for _ in 0..8 {
        errors.push(client.task(id()).cancel().await.expect_err("refused"));
    }
    let [unknown, gone, conflict, stale, unauthorized, forbidden, moved, malformed] = &errors[..] else {
        panic!("eight answers")
    };
    assert!(unknown.is_unknown() && unknown.to_string().contains("no task has this id"), "{unknown}");
    assert!(gone.is_gone() && gone.gone_reason() == Some(GoneReason::Expired));
    let current = conflict.current().expect("sent along");
    assert!(
        conflict.is_conflict()
            && current.state == State::Failed
            && current.version == "1-9-0".parse().expect("ok")
    );
    assert!(stale.is_precondition_failed() && unauthorized.is_unauthorized() && forbidden.is_forbidden());
    assert!(moved.to_string().contains("redirection") && moved.status().is_none(), "{moved}");
    assert!(malformed.to_string().contains("one of the service's"), "{malformed}");
    assert!(errors.iter().all(|error| !error.is_transient()));
}

#[tokio::test]
async fn a_poll_of_what_has_not_changed_has_no_body_and_keeps_the_pace() {
    let fake = Fake::new(|seen| match seen.header("if-none-match") {
        Some("\"1-1-0\"") => Answer::Reply(304, "retry-after: 7\r\n".into(), String::new()),
        None => json(task(1, "running")),
        other => panic!("{other:?}"),
    })
    .await;
    let mut poller = fake.client().poller(id());
    let first = poller.poll().await.expect("there");
    let second = poller.poll().await.expect("there");
    assert_eq!((first.changed, second.changed, &first.task), (true, false, &second.task));
    // The client's bound is 20 ms, so the server's 7 s are not waited for.
    let begun = Instant::now();
    poller.pause().await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_wait_survives_early_answers_and_broken_connections() {
    let mut calls = 0;
    let mut fake = Fake::new(move |_| {
        calls += 1;
        match calls {
            1 | 3 => json(task(calls, "running")),
            2 => Answer::Drop,
            4 => Answer::Reply(503, String::new(), String::new()),
            _ => json(task(calls, "succeeded")),
        }
    })
    .await;
    let ended = fake.client().wait(id(), Duration::from_secs(10)).await.expect("it ends");
    assert_eq!(ended.state, State::Succeeded);
    let seen = fake.rest();
    assert!(seen.iter().all(|seen| seen.header("prefer").is_some_and(|prefer| prefer.starts_with("wait="))));
    assert!(seen.iter().all(|seen| seen.header("if-none-match").is_none()), "alone it waits for the end");

    let fake = Fake::new(|_| json(task(1, "running"))).await;
    let error = fake.client().wait(id(), Duration::from_millis(200)).await.expect_err("it never ends");
    assert!(error.is_timeout());
}

#[tokio::test]
async fn a_wait_without_end_is_no_panic() {
    let fake = Fake::new(|_| json(task(1, "succeeded"))).await;
    let ended = fake.client().wait(id(), Duration::MAX).await.expect("it has ended");
    assert!(ended.is_terminal());
}

#[tokio::test]
async fn a_wait_for_a_change_names_the_version_that_was_seen() {
    let mut fake = Fake::new(|seen| {
        if seen.header("if-none-match") == Some("\"1-1-0\"") {
            json(task(2, "running"))
        } else {
            Answer::Drop
        }
    })
    .await;
    let seen = "1-1-0".parse().expect("a version");
    let changed = fake.client().changed_since(id(), seen, Duration::from_secs(5)).await.expect("it changes");
    assert!(changed.version > seen);
    assert_eq!(
        fake.next().await.header("prefer"),
        Some("wait=4"),
        "whole seconds, and no more than are left"
    );
}

fn sse(version: u32, state: &str) -> String {
    format!("event: status\nid: 1-{version:x}-0\ndata: {}\n\n", task(version, state))
}

#[tokio::test]
async fn i5_i6_a_watch_goes_on_after_a_break_and_never_back() {
    let mut calls = 0;
    let mut fake = Fake::new(move |_| {
        calls += 1;
        let first = sse(1, "pending");
        match calls {
            // Cut in the middle of the second event.
            1 => stream(&format!(": hello\n\n{first}{}", &sse(2, "running")[..40])),
            2 => Answer::Drop,
            3 => Answer::Reply(503, "retry-after: 1\r\n".into(), String::new()),
            // The server repeats itself, and sends what this client does not know.
            4 => {
                stream(&format!("event: news\ndata: ?\n\n{first}{}{}", sse(3, "running"), sse(2, "running")))
            }
            _ => stream(&sse(4, "succeeded")),
        }
    })
    .await;
    let mut watch = fake.client().watch(id());
    let mut seen = Vec::new();
    while let Some(task) = watch.next().await {
        let task = task.expect("no fault reaches the reader");
        seen.push((task.version.to_string(), task.state));
    }
    let expected = [("1-1-0", State::Pending), ("1-3-0", State::Running), ("1-4-0", State::Succeeded)];
    assert_eq!(seen, expected.map(|(version, state)| (version.to_owned(), state)));
    let last_ids: Vec<_> =
        fake.rest().iter().map(|seen| seen.header("last-event-id").map(str::to_owned)).collect();
    let one = Some("1-1-0".to_owned());
    assert_eq!(last_ids, [None, one.clone(), one.clone(), one, Some("1-2-0".to_owned())]);
}

#[tokio::test]
async fn i7_a_late_word_that_an_earlier_task_of_the_id_is_gone_does_not_end_the_watch() {
    let gone = |version: &str| {
        format!(
            "event: gone\ndata: {{\"taskId\":\"{ID}\",\"goneReason\":\"removed\",\"version\":\"{version}\"}}\n\n"
        )
    };
    let text = [sse(3, "running"), gone("1-2-0"), sse(4, "running"), gone("1-4-0")].concat();
    let fake = Fake::new(move |_| Answer::Stream { bytes: text.clone().into_bytes(), hold: true }).await;
    let mut watch = fake.client().watch(id());
    for version in ["1-3-0", "1-4-0"] {
        let task = watch.next().await.expect("an event").expect("it is there");
        assert_eq!(task.version.to_string(), version);
    }
    let error = watch.next().await.expect("an error").expect_err("it is gone");
    assert!(error.is_gone() && error.gone_reason() == Some(GoneReason::Removed), "{error}");
}

#[tokio::test]
async fn a_watch_of_a_task_that_ended_before_ends() {
    let mut calls = 0;
    let fake = Fake::new(move |_| {
        calls += 1;
        if calls == 1 { stream(&sse(1, "running")) } else { Answer::Reply(204, String::new(), String::new()) }
    })
    .await;
    let mut watch = fake.client().watch(id());
    assert!(watch.next().await.expect("an event").is_ok());
    assert!(watch.next().await.is_none(), "204: nothing more to come");

    let fake = Fake::new(|_| problem(410, r#"{"goneReason":"removed"}"#)).await;
    let mut watch = fake.client().watch(id());
    let error = watch.next().await.expect("an error").expect_err("gone");
    assert!(error.is_gone() && watch.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_connected_again() {
    let mut calls = 0;
    let fake = Fake::new(move |_| {
        calls += 1;
        let text = sse(calls, if calls == 1 { "running" } else { "succeeded" });
        Answer::Stream { bytes: text.into_bytes(), hold: true }
    })
    .await;
    let client = fake.builder().max_silence(Duration::from_millis(100)).build().expect("good");
    let mut watch = client.watch(id());
    assert!(watch.next().await.expect("an event").is_ok());
    let ended = watch.next().await.expect("after the silence").expect("no fault");
    assert!(ended.is_terminal() && watch.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_makes_no_sense_or_has_no_end_is_an_error_and_not_a_leak() {
    for (bytes, what) in [
        ("data: {\"taskId\":\n\n".to_owned(), "answer is not"),
        (format!("data: {}", "x".repeat(70_000)), "65536 bytes"),
        ("data: 0123456789\n".repeat(6_000), "65536 bytes"),
    ] {
        let bytes = bytes.into_bytes();
        let fake = Fake::new(move |_| Answer::Stream { bytes: bytes.clone(), hold: true }).await;
        let client = fake.builder().max_event(1 << 16).build().expect("good");
        let mut watch = client.watch(id());
        let error = watch.next().await.expect("an error").expect_err("nonsense");
        assert!(error.to_string().contains(what), "{error}");
        assert!(watch.next().await.is_none());
    }
}

#[tokio::test]
async fn a_server_that_only_ever_drops_is_given_up_on() {
    let mut fake = Fake::new(|_| Answer::Drop).await;
    let client = fake.builder().max_backoff(Duration::from_millis(1)).reconnects(10).build().expect("good");
    assert!(client.watch(id()).next().await.expect("an error").is_err());
    assert_eq!(fake.rest().len(), 11, "once, and ten times more");
}

#[tokio::test]
async fn the_feed_tells_changes_goners_and_gaps() {
    let text = format!(
        "{}event: left\ndata: {{\"taskId\":\"{ID}\",\"version\":\"1-6-0\"}}\n\nevent: gone\ndata: {{\"taskId\":\"{ID}\",\"goneReason\":\"evicted\"}}\n\nevent: resync\ndata: {{}}\n\nevent: ready\ndata: {{\"byState\":{{\"failed\":2}}}}\n\n",
        sse(5, "failed")
    );
    let mut fake = Fake::new(move |_| Answer::Stream { bytes: text.clone().into_bytes(), hold: true }).await;
    let mut events = fake.client().events(&Filter::new().kind("a b").label("tenant", "acme"));
    let mut next = async || events.next().await.expect("an event").expect("no fault");
    assert!(matches!(next().await, Event::Changed(task) if task.state == State::Failed));
    assert_eq!(next().await, Event::Left { id: id(), version: "1-6-0".parse().ok() });
    assert_eq!(next().await, Event::Gone { id: id(), version: None, reason: Some(GoneReason::Evicted) });
    assert_eq!(next().await, Event::Resync);
    assert!(matches!(next().await, Event::Ready(counts) if counts.failed == 2 && counts.total() == 2));
    assert_eq!(fake.next().await.path, "/v1/events?kind=a%20b&label.tenant=acme");
}
