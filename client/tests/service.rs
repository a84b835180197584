//! The client against the service itself, on loopback: what both understand under the same words.

use std::time::Duration;

use inflight::{KeeperMode, ManualClock, Payload, Store};
use inflight_client::{
    Client, Details, Event, FailureReason, Filter, Finished, GoneReason, Json, NewTask, Standing, State,
    TaskId, WorkerOptions,
};
use inflight_server::{Access, Options, ServeOptions, Shutdown, Tokens, router, serve};
use serde_json::json;
use tokio::net::TcpListener;

/// Serves `store`; gives a client of it.
async fn service(store: &Store, options: Options) -> Client {
    let base = serving(store, Access::open_on_loopback(), options).await;
    Client::new(base).expect("a good address")
}

/// Serves `store`; gives the address.
async fn serving(store: &Store, access: Access, options: Options) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let app = router(store.clone(), access, options);
    tokio::spawn(async move {
        let _ = serve(listener, app, ServeOptions::default(), Shutdown::default()).await;
    });
    base
}

fn store() -> Store {
    Store::builder().capacity(1 << 12).build().expect("a store")
}

async fn started() -> (Store, Client) {
    let store = store();
    let client = service(&store, Options::default()).await;
    (store, client)
}

/// The text of a task's result.
fn text(task: &Details) -> Option<&str> {
    task.result.as_ref().map(Json::as_str)
}

const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_creation_is_made_once_whatever_is_repeated() {
    let (store, client) = started().await;
    let new = || {
        let new = NewTask::new("index").total(42).unit("pages").label("tenant", "acme");
        new.ttl(Duration::from_secs(60)).idempotency_key("order 1017")
    };
    let first = client.create(new()).await.expect("created");
    let again = client.create(new()).await.expect("the same");
    assert_eq!(first.task.id, again.task.id);
    assert_eq!((store.counts().total(), first.task.state), (1, State::Pending));
    let error = client.create(new().total(43)).await.expect_err("another payload");
    assert_eq!(error.status(), Some(422), "{error}");

    let own = TaskId::from_u128(0xC0FFEE);
    let mine = || NewTask::new("index").id(own);
    assert_eq!(client.create(mine()).await.expect("created").task.id, own);
    assert_eq!(client.create(mine()).await.expect("the same").task.id, own);
    assert!(client.create(mine().total(1)).await.expect_err("another body").is_conflict());

    let seen = client.get(first.task.id).await.expect("there");
    assert_eq!(
        (seen.kind.as_str(), seen.progress.total, seen.progress.unit.as_deref()),
        ("index", Some(42), Some("pages"))
    );
    assert_eq!(
        (seen.labels.get("tenant").map(String::as_str), seen.ttl),
        (Some("acme"), Some(Duration::from_secs(60)))
    );
    assert!(seen.created_at.is_some() && seen.started_at.is_none() && seen.progress.rate.is_none());
}

#[tokio::test]
async fn verbs_lead_from_state_to_state_and_are_refused_with_the_state() {
    let (_store, client) = started().await;
    let id = client.create(NewTask::new("index")).await.expect("created").task.id;
    let task = || client.task(id);
    let error = task().succeed("too soon").await.expect_err("it has to start first");
    assert!(error.is_conflict() && error.current().is_some_and(|task| task.state == State::Pending));
    let before = client.get(id).await.expect("there").version;
    assert_eq!(task().start().await.expect("started").state, State::Running);
    let error = task().if_match(before).set_message("late").await.expect_err("it has changed");
    assert!(error.is_precondition_failed() && error.current().is_some_and(|task| task.version > before));
    assert_eq!(task().block().await.expect("blocked").state, State::Blocked);
    assert_eq!(task().resume().await.expect("running").state, State::Running);
    assert_eq!(task().set_done(5).await.expect("counted").progress.done, 5);
    assert!(task().set_done(4).await.expect_err("backwards").is_conflict());
    assert_eq!(task().set_total(10).await.expect("set").progress.fraction, Some(0.5));
    let retried = task().retry().await.expect("again");
    assert_eq!((retried.state, retried.attempt, retried.progress.done), (State::Pending, 2, 0));
    let second = task().start().await.expect("started");
    assert!(task().in_attempt(1).set_done(6).await.expect_err("an attempt before").is_conflict());
    let asked = task().if_match(second.version).cancel().await.expect("asked");
    assert!(asked.cancel_requested && asked.state == State::Running);
    assert!(task().agree_to_cancel().await.expect("agreed").is_won());
    match task().fail(FailureReason::Rejected, json!({ "late": true })).await.expect("it has ended") {
        Finished::Lost(task) => assert_eq!(task.state, State::Cancelled),
        won @ Finished::Won(_) => panic!("{won:?}"),
    }
    assert!(client.cancel(id).await.expect_err("it has ended").is_conflict());
}

#[tokio::test]
async fn unknown_and_gone_are_told_apart() {
    let (_store, client) = started().await;
    assert!(client.get(TaskId::from_u128(7)).await.expect_err("never").is_unknown());
    let id = client.create(NewTask::new("index")).await.expect("created").task.id;
    assert!(client.task(id).remove().await.expect_err("it lives").is_conflict());
    client.cancel(id).await.expect("a pending one at once");
    client.task(id).remove().await.expect("removed");
    let error = client.get(id).await.expect_err("gone");
    assert!(error.is_gone() && error.gone_reason() == Some(GoneReason::Removed), "{error}");
    assert!(client.watch(id).next().await.expect("an error").expect_err("gone").is_gone());
}

#[tokio::test]
async fn i6_waits_polls_and_watches_see_the_change_and_the_end() {
    let (_store, client) = started().await;
    let id = client.create(NewTask::new("index").total(3)).await.expect("created").task.id;
    let mut poller = client.poller(id);
    let seen = poller.poll().await.expect("there");
    assert!(seen.changed && !poller.poll().await.expect("there").changed, "a 304 the second time");
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.wait(id, SOON).await }
    });
    let changing = tokio::spawn({
        let (client, version) = (client.clone(), seen.task.version);
        async move { client.changed_since(id, version, SOON).await }
    });
    let mut watch = client.watch(id);
    assert_eq!(watch.next().await.expect("the first").expect("no fault").state, State::Pending);
    client.task(id).start().await.expect("started");
    assert!(changing.await.expect("no panic").expect("it changed").version > seen.task.version);
    assert_eq!(watch.next().await.expect("a change").expect("no fault").state, State::Running);
    client.task(id).set_message("on").await.expect("set");
    client.task(id).succeed(json!({ "pages": 3 })).await.expect("ended");
    let mut last = None;
    while let Some(task) = watch.next().await {
        let task = task.expect("no fault");
        assert!(last.is_none_or(|(version, _)| task.version > version), "never back (I5)");
        last = Some((task.version, task.state));
    }
    let ended = waiting.await.expect("no panic").expect("it ended");
    assert_eq!((ended.state, text(&ended)), (State::Succeeded, Some(r#"{"pages":3}"#)));
    assert_eq!(last, Some((ended.version, State::Succeeded)));
    assert_eq!(client.wait(id, SOON).await.expect("at once").version, ended.version);
}

#[tokio::test]
async fn lists_batches_counts_and_families_add_up() {
    let (_store, client) = started().await;
    let parent = client.create(NewTask::new("batch").label("no", "parent")).await.expect("created").task.id;
    let mut ids = Vec::new();
    for page in 0..25 {
        let label = if page % 2 == 0 { "even & odd=?" } else { "odd" };
        let new = NewTask::new("page").parent(parent).total(2).label("a/b", label);
        ids.push(client.create(new).await.expect("created").task.id);
    }
    for id in &ids[..5] {
        client.task(*id).start().await.expect("started");
        client.task(*id).set_done(2).await.expect("counted");
        client.task(*id).succeed("x").await.expect("ended");
    }
    let mut filter = Filter::new().parent(parent).page_size(10);
    let mut listed = Vec::new();
    loop {
        let page = client.list(&filter).await.expect("a page");
        listed.extend(page.tasks.iter().map(|task| task.id));
        let Some(next) = page.next else { break };
        filter = filter.after(next);
    }
    assert_eq!(listed, ids, "each once, in the order of creation");
    let even = client.list(&Filter::new().label("a/b", "even & odd=?").state(State::Succeeded).full()).await;
    let even = even.expect("a page").tasks;
    assert_eq!(even.len(), 3);
    assert!(even.iter().all(|task| text(task) == Some(r#""x""#)), "in full");
    let since = even[0].updated_at.expect("it has changed");
    assert!(client.list(&Filter::new().changed_since(since)).await.is_ok());
    assert_eq!(
        client.list(&Filter::new().after("nonsense")).await.expect_err("no token").status(),
        Some(400)
    );

    let nobody = TaskId::from_u128(7);
    let batch = client.batch(&[ids[3], nobody, ids[0], ids[3]]).await.expect("read");
    assert_eq!(batch.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), [ids[3], ids[0]]);
    assert_eq!(batch.absent, [nobody]);
    let counts = client.counts().await.expect("counted");
    assert_eq!((counts.succeeded, counts.pending, counts.total(), counts.live()), (5, 21, 26, 21));
    let children = client.children(parent).await.expect("a parent");
    assert_eq!((children.count, children.by_state.succeeded, children.total), (25, 5, Some(50)));
}

#[tokio::test]
async fn i8_the_feed_begins_with_what_there_is_and_goes_on_with_what_changes() {
    let (_store, client) = started().await;
    let old = client.create(NewTask::new("old")).await.expect("created").task.id;
    client.create(NewTask::new("other")).await.expect("created");
    let mut events = client.events(&Filter::new().kind("old"));
    let mut next = async || tokio::time::timeout(SOON, events.next()).await.expect("soon").expect("an event");
    assert!(matches!(next().await.expect("no fault"), Event::Changed(task) if task.id == old));
    assert!(matches!(next().await.expect("no fault"), Event::Ready(counts) if counts.pending == 2));
    client.cancel(old).await.expect("at once");
    let last = match next().await.expect("no fault") {
        Event::Changed(task) => (task.state == State::Cancelled).then_some(task.version),
        _ => None,
    };
    client.task(old).remove().await.expect("removed");
    let gone = next().await.expect("no fault");
    let last = last.expect("it ended");
    assert_eq!(gone, Event::Gone { id: old, version: Some(last), reason: Some(GoneReason::Removed) });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remote_worker_counts_ten_million_and_loses_none() {
    let (store, client) = started().await;
    let worker = client.create_and_work(NewTask::new("rows").total(10_000_000)).await.expect("started");
    let id = worker.id();
    let counted = tokio::task::spawn_blocking(move || {
        for row in 0..10_000_000_u32 {
            worker.advance(1);
            if row.is_multiple_of(1_000_000) {
                worker.set_message(format!("row {row}"));
            }
        }
        worker
    });
    let worker = counted.await.expect("no panic");
    assert!(worker.succeed(json!({ "rows": 10_000_000 })).await.expect("it ends").is_won());
    let details = store.details(id).expect("there");
    assert_eq!((details.status().done(), details.status().fraction()), (10_000_000, Some(1.0)));
    assert_eq!(details.message(), Some("row 9000000"));
    // Versions count changes: so few were the reports, however many the calls.
    let versions = details.status().version().to_string();
    let changes = versions.split('-').nth(1).and_then(|part| u32::from_str_radix(part, 16).ok());
    assert!(changes.is_some_and(|changes| changes < 300), "{versions}");
}

#[tokio::test]
async fn i10_heartbeats_keep_a_lease_and_without_them_the_worker_is_fenced() {
    let clock = ManualClock::new();
    let builder = Store::builder().capacity(64).clock(clock.clone()).keeper(KeeperMode::Manual);
    let store = builder.build().expect("a store");
    let client = service(&store, Options::default()).await;
    let lease = Duration::from_secs(3);
    let created = client.create(NewTask::new("index").lease(lease)).await.expect("created");
    let options = WorkerOptions {
        lease: created.lease,
        report_every: Duration::from_millis(10),
        ..WorkerOptions::default()
    };
    let worker = client.work(created.task.id, options).await.expect("started");
    worker.advance(5);
    worker.flush().await.expect("reported");
    assert_eq!(worker.standing(), Standing::Holds);
    // The service's clock says that the lease is over, though to the worker it has hardly begun. Progress counts
    // as made until the next tick, so the lease counts from there.
    for span in [Duration::from_millis(10), Duration::from_secs(4)] {
        clock.advance(span);
        store.tick();
    }
    worker.advance(1);
    assert_eq!(tokio::time::timeout(SOON, worker.stopped()).await, Ok(Standing::Fenced));
    match worker.succeed("late").await.expect("how it ended is known") {
        Finished::Lost(task) => {
            assert_eq!(
                (task.state, task.failure_reason, task.progress.done),
                (State::Failed, Some(FailureReason::Lost), 5)
            );
        }
        won @ Finished::Won(_) => panic!("{won:?}"),
    }
}

#[tokio::test]
async fn i10_a_worker_that_lets_go_is_seen_at_once() {
    let (_store, client) = started().await;
    let worker = client.create_and_work(NewTask::new("index")).await.expect("started");
    let id = worker.id();
    worker.advance(3);
    drop(worker);
    let ended = client.wait(id, SOON).await.expect("it ends");
    assert_eq!((ended.failure_reason, ended.progress.done), (Some(FailureReason::Lost), 3));
}

#[tokio::test]
async fn a_request_to_cancel_reaches_the_worker_and_it_agrees() {
    let (_store, client) = started().await;
    let worker = client.create_and_work(NewTask::new("index")).await.expect("started");
    client.cancel(worker.id()).await.expect("asked");
    assert_eq!(tokio::time::timeout(SOON, worker.stopped()).await, Ok(Standing::CancelRequested));
    let id = worker.id();
    assert!(worker.agree_to_cancel().await.expect("it ends").is_won());
    assert_eq!(client.get(id).await.expect("there").state, State::Cancelled);
}

#[tokio::test]
async fn tokens_decide_who_may() {
    let tokens = "ci read,write acme aaaaaaaaaaaaaaaa\nlook list - bbbbbbbbbbbbbbbb";
    let access = Access::tokens(Tokens::parse(tokens).expect("good"));
    let store = store();
    let base = serving(&store, access, Options::default()).await;
    let open = Client::new(base.as_str()).expect("a good address");
    assert!(open.counts().await.expect_err("no token").is_unauthorized());
    let with = |token: &str| Client::builder(base.as_str()).token(token).build().expect("good");
    let (ci, look) = (with("aaaaaaaaaaaaaaaa"), with("bbbbbbbbbbbbbbbb"));
    let created = ci.create(NewTask::new("index").label("tenant", "acme")).await.expect("may write");
    assert!(ci.counts().await.expect_err("may not list").is_forbidden());
    assert_eq!(look.counts().await.expect("may list").pending, 1);
    assert!(look.cancel(created.task.id).await.expect_err("may not write").is_forbidden());
}

#[tokio::test]
async fn i10_work_is_begun_in_one_request_with_a_lease_and_by_one_worker() {
    let clock = ManualClock::new();
    let builder = Store::builder().capacity(64).clock(clock.clone()).keeper(KeeperMode::Manual);
    let store = builder.build().expect("a store");
    let client = service(&store, Options::default()).await;
    let own = TaskId::from_u128(0xC0FFEE);
    let worker = client.create_and_work(NewTask::new("index").id(own)).await.expect("started");
    assert_eq!((worker.id(), worker.standing()), (own, Standing::Holds));
    let error = client.create_and_work(NewTask::new("index").id(own)).await.expect_err("it has a worker");
    assert!(error.is_conflict(), "{error}");
    let named = || NewTask::new("index").idempotency_key("order 1017");
    let _first = client.create_and_work(named()).await.expect("started");
    let error = client.create_and_work(named()).await.expect_err("it has a worker");
    assert_eq!(error.status(), Some(422), "{error}");
    assert_eq!(store.counts().of(State::Running), 2);
    // Nobody has asked for a lease, and there is one.
    clock.advance(Duration::from_secs(3600));
    store.tick();
    let ended = client.get(own).await.expect("there");
    assert_eq!((ended.state, ended.failure_reason), (State::Failed, Some(FailureReason::Lost)));
}

/// A task of the host's that has ended with this text as its result.
fn ended(store: &Store, result: String) -> TaskId {
    let mut task = store.create(inflight::NewTask::new("host")).expect("room");
    task.start().expect("pending");
    task.succeed(Payload::new("text/plain", result.into_bytes())).expect("it fits");
    task.id()
}

#[tokio::test]
async fn what_is_more_than_one_answer_is_read_in_several() {
    let store = store();
    let base = serving(&store, Access::open_on_loopback(), Options::default()).await;
    let client = Client::builder(base).max_body(100_000).build().expect("good");
    let mut ids: Vec<TaskId> = (0..7).map(|_| ended(&store, "x".repeat(40_000))).collect();
    let listed = async || {
        let (mut filter, mut listed) = (Filter::new().full(), Vec::new());
        loop {
            let page = client.list(&filter).await?;
            listed.extend(page.tasks.iter().map(|task| task.id));
            let Some(next) = page.next else { return Ok::<_, inflight_client::Error>(listed) };
            filter = filter.after(next);
        }
    };
    assert_eq!(listed().await.expect("page by page"), ids);
    let large = ended(&store, "x".repeat(100_000));
    ids.insert(3, large);
    let batch = client.batch(&ids).await.expect("part by part");
    assert_eq!((batch.too_large, batch.absent), (vec![large], vec![]));
    ids.retain(|id| *id != large);
    assert_eq!(batch.tasks.iter().map(|task| task.id).collect::<Vec<_>>(), ids);
    assert!(listed().await.expect_err("one alone is too large").is_too_large());
}

#[tokio::test]
async fn a_result_over_the_limit_is_refused_and_the_worker_goes_on() {
    let (_store, client) = started().await;
    let worker = client.create_and_work(NewTask::new("index")).await.expect("started");
    let id = worker.id();
    let unfinished = worker.succeed("x".repeat(8 << 20)).await.expect_err("too large");
    let (worker, error) = unfinished.into_parts();
    assert!(error.is_too_large(), "{error}");
    worker.advance(7);
    assert!(worker.succeed("a short one").await.expect("it ends").is_won());
    let task = client.get(id).await.expect("there");
    assert_eq!(
        (task.state, task.progress.done, text(&task)),
        (State::Succeeded, 7, Some(r#""a short one""#))
    );
}
