//! The remote worker against a fake service: coalescing, outages, leases and fencing (I10), and who won (I3).

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod fake;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake::{Answer, Fake, ID, Seen, json, problem};
use inflight_client::{FailureReason, Finished, Standing, State, Worker, WorkerOptions};
use serde_json::{Value, json as value};

/// A service with one task, as far as a worker can tell.
#[derive(Default)]
struct Service {
    state: &'static str,
    done: u64,
    version: u32,
    attempt: u32,
    message: Option<String>,
    cancel_requested: bool,
    result: Value,
    heartbeats: u32,
    /// How many requests are to be dropped before and after they are carried out.
    drop_before: u32,
    drop_after: u32,
    hang: bool,
}

impl Service {
    fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { state: "pending", attempt: 1, ..Self::default() }))
    }

    fn task(&self) -> Value {
        value!({
            "taskId": ID, "status": self.state, "version": format!("1-{:x}-{:x}", self.version, self.done),
            "attempt": self.attempt, "progress": { "done": self.done }, "statusMessage": self.message,
            "cancelRequested": self.cancel_requested, "result": self.result,
            "failureReason": if self.state == "failed" { value!("lost") } else { Value::Null },
        })
    }

    fn answer(&mut self, seen: &Seen) -> Answer {
        if self.hang {
            return Answer::Hang;
        }
        if self.drop_before > 0 {
            self.drop_before -= 1;
            return Answer::Drop;
        }
        let answer = self.carry_out(seen);
        if self.drop_after > 0 {
            self.drop_after -= 1;
            return Answer::Drop;
        }
        answer
    }

    fn carry_out(&mut self, seen: &Seen) -> Answer {
        let body = seen.json();
        let over = matches!(self.state, "succeeded" | "failed" | "cancelled");
        if over && seen.method != "GET" {
            return problem(409, value!({ "detail": "it has ended", "currentStatus": self.task() }));
        }
        if body["attempt"].as_u64().is_some_and(|attempt| attempt != u64::from(self.attempt)) {
            return problem(409, value!({ "detail": "another attempt", "currentStatus": self.task() }));
        }
        self.version += 1;
        match seen.verb() {
            "heartbeat" => self.heartbeats += 1,
            "succeed" if body["result"].as_str().is_some_and(|result| result.len() > 100) => {
                return problem(413, value!({ "detail": "the body has too many bytes" }));
            }
            "succeed" => (self.state, self.result) = ("succeeded", body["result"].clone()),
            "fail" => self.state = "failed",
            "cancel" if body["confirm"] == true => self.state = "cancelled",
            "PATCH" => {
                if body["statusMessage"].as_str().is_some_and(|message| message.len() > 100) {
                    return problem(400, value!({ "detail": "the message has too many bytes" }));
                }
                match body["status"].as_str() {
                    Some("running") => self.state = "running",
                    Some("blocked") => self.state = "blocked",
                    _ => {}
                }
                self.done = body["progress"]["done"].as_u64().unwrap_or(self.done);
                if let Some(message) = body["statusMessage"].as_str() {
                    self.message = Some(message.to_owned());
                }
            }
            _ => {}
        }
        json(self.task())
    }
}

async fn worker(service: &Arc<Mutex<Service>>, options: WorkerOptions) -> (Fake, Worker) {
    let shared = Arc::clone(service);
    let mut fake = Fake::new(move |seen| shared.lock().expect("no panic").answer(seen)).await;
    let worker = fake.client().work(ID.parse::<inflight_client::TaskId>().expect("an id"), options).await;
    let start = fake.next().await;
    assert_eq!((start.verb(), start.json()["status"].as_str()), ("PATCH", Some("running")));
    (fake, worker.expect("it starts"))
}

/// A worker that is never told to stop is a failure, not a test without an end.
async fn stopped(worker: &Worker) -> Standing {
    tokio::time::timeout(Duration::from_secs(10), worker.stopped()).await.expect("told within ten seconds")
}

fn quick() -> WorkerOptions {
    let tens = Duration::from_millis(10);
    WorkerOptions { report_every: tens, check_every: tens, ..WorkerOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_million_advances_are_a_few_requests_and_not_one_is_lost() {
    let service = Service::new();
    let (mut fake, worker) = worker(&service, WorkerOptions::default()).await;
    let begun = Instant::now();
    let worker = Arc::new(worker);
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let worker = Arc::clone(&worker);
            tokio::task::spawn_blocking(move || (0..5_000_000).for_each(|_| worker.advance(1)))
        })
        .collect();
    for thread in threads {
        thread.await.expect("no panic");
    }
    let worker = Arc::into_inner(worker).expect("the threads are done");
    assert!(worker.succeed("all").await.expect("it ends").is_won());
    let (elapsed, requests) = (begun.elapsed(), fake.rest().len());
    assert_eq!(service.lock().expect("no panic").done, 10_000_000);
    // Four a second, the last report, and the end.
    let most = elapsed.as_millis() / 250 + 3;
    assert!(requests as u128 <= most, "{requests} requests in {elapsed:?}");
}

#[tokio::test]
async fn of_many_messages_the_last_one_is_sent() {
    let service = Service::new();
    let (mut fake, worker) = worker(&service, WorkerOptions::default()).await;
    for page in 0..1000 {
        worker.set_message(format!("page {page}"));
    }
    worker.set_total(1000);
    worker.advance(7);
    worker.flush().await.expect("reported");
    let seen = fake.rest();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].json(),
        value!({ "statusMessage": "page 999", "progress": { "done": 7, "total": 1000 }, "attempt": 1 })
    );
    worker.flush().await.expect("nothing to report");
    assert!(fake.rest().is_empty(), "and so no request");
}

#[tokio::test]
async fn an_outage_costs_nothing_but_time() {
    let service = Service::new();
    let (_fake, worker) = worker(&service, quick()).await;
    service.lock().expect("no panic").drop_before = 30;
    for _ in 0..1000 {
        worker.advance(1);
        worker.set_message("on");
        tokio::task::yield_now().await;
    }
    // Thirty drops are more than one report's retries: the end goes on trying, and the count with it.
    assert!(worker.succeed(()).await.expect("it ends").is_won());
    let service = service.lock().expect("no panic");
    assert_eq!((service.done, service.state, service.message.as_deref()), (1000, "succeeded", Some("on")));
    assert_eq!(service.drop_before, 0);
}

#[tokio::test]
async fn what_is_refused_is_told_once_and_does_not_stop_the_count() {
    let service = Service::new();
    let (_fake, worker) = worker(&service, WorkerOptions::default()).await;
    worker.set_message("x".repeat(101));
    worker.advance(5);
    let error = worker.flush().await.expect_err("too long a message");
    assert!(error.status() == Some(400) && error.to_string().contains("too many bytes"), "{error}");
    worker.flush().await.expect("the count is good");
    assert_eq!(service.lock().expect("no panic").done, 5);
}

#[tokio::test]
async fn i3_an_end_whose_answer_was_lost_has_won_and_another_ones_end_has_not() {
    let service = Service::new();
    let (_fake, first) = worker(&service, WorkerOptions::default()).await;
    service.lock().expect("no panic").drop_after = 1;
    let finished = first.succeed("mine").await.expect("it ends");
    assert!(finished.is_won(), "{finished:?}");

    let service = Service::new();
    let (_fake, second) = worker(&service, WorkerOptions::default()).await;
    {
        let mut service = service.lock().expect("no panic");
        (service.state, service.result) = ("succeeded", value!("theirs"));
        service.drop_before = 1;
    }
    match second.succeed("mine").await.expect("it has ended") {
        Finished::Lost(task) => assert_eq!(task.result.expect("one").as_str(), r#""theirs""#),
        won @ Finished::Won(_) => panic!("{won:?}"),
    }
}

#[tokio::test]
async fn i3_an_end_that_was_refused_gives_the_worker_back_and_not_a_lost_task() {
    let service = Service::new();
    let (mut fake, worker) = worker(&service, WorkerOptions::default()).await;
    worker.advance(3);
    let unfinished = worker.succeed("x".repeat(101)).await.expect_err("too large");
    assert!(unfinished.error().is_too_large() && unfinished.to_string().contains("too many bytes"));
    let (worker, _) = unfinished.into_parts();
    let unfinished = worker.succeed(HashMap::from([((1, 2), 3)])).await.expect_err("not JSON");
    assert!(unfinished.to_string().contains("cannot be sent"), "{unfinished}");
    let (worker, _) = unfinished.into_parts();
    assert_eq!((worker.standing(), service.lock().expect("no panic").state), (Standing::Holds, "running"));
    worker.advance(4);
    assert!(worker.succeed("short").await.expect("it ends").is_won());
    assert!(fake.rest().iter().all(|seen| seen.verb() != "fail"), "at no time was it given up");
    assert_eq!(service.lock().expect("no panic").done, 7);
}

#[tokio::test]
async fn i3_an_end_that_is_asked_for_again_after_all_its_answers_were_lost_has_won() {
    let service = Service::new();
    let shared = Arc::clone(&service);
    let fake = Fake::new(move |seen| shared.lock().expect("no panic").answer(seen)).await;
    let client = fake.builder().retries(0).build().expect("good");
    let options = WorkerOptions { finish_patience: Duration::ZERO, ..WorkerOptions::default() };
    let id: inflight_client::TaskId = ID.parse().expect("an id");
    let worker = client.work(id, options).await.expect("started");
    service.lock().expect("no panic").drop_after = 1;
    let (worker, error) = worker.succeed("mine").await.expect_err("no answer").into_parts();
    assert!(error.is_transient(), "{error}");
    assert!(worker.succeed("mine").await.expect("it has ended so").is_won());
}

#[tokio::test]
async fn a_lease_and_a_patience_without_end_are_no_panic() {
    let service = Service::new();
    let (lease, finish_patience) = (Some(Duration::MAX), Duration::MAX);
    let report_every = Duration::MAX;
    let options = WorkerOptions { lease, finish_patience, report_every, ..WorkerOptions::default() };
    let (_fake, worker) = worker(&service, options).await;
    worker.advance(1);
    worker.flush().await.expect("reported");
    assert!(worker.succeed(()).await.expect("it ends").is_won());
}

#[tokio::test]
async fn i10_a_fenced_worker_is_told_and_sends_nothing_more() {
    let service = Service::new();
    let (mut fake, worker) = worker(&service, quick()).await;
    assert_eq!(worker.standing(), Standing::Holds);
    service.lock().expect("no panic").state = "failed";
    worker.advance(1);
    assert_eq!(stopped(&worker).await, Standing::Fenced);
    fake.rest();
    worker.advance(1);
    worker.set_message("still here");
    assert!(worker.flush().await.expect_err("fenced").is_fenced());
    match worker.succeed("late").await.expect("how it ended is known") {
        Finished::Lost(task) => assert_eq!(task.failure_reason, Some(FailureReason::Lost)),
        won @ Finished::Won(_) => panic!("{won:?}"),
    }
    assert!(fake.rest().is_empty());
}

#[tokio::test]
async fn i10_another_attempt_fences_the_worker_of_the_one_before() {
    let service = Service::new();
    let (_fake, worker) = worker(&service, quick()).await;
    service.lock().expect("no panic").attempt = 2;
    assert_eq!(stopped(&worker).await, Standing::Fenced);
    let unfinished = worker.succeed("late").await.expect_err("it goes on without this worker");
    let error = unfinished.error();
    assert!(error.is_fenced() && error.current().is_some_and(|task| task.attempt == 2), "{error}");
}

#[tokio::test]
async fn i10_a_lease_is_kept_alive_and_its_end_is_noticed_without_an_answer() {
    let service = Service::new();
    let check_every = Duration::from_secs(60);
    let options = WorkerOptions { lease: Some(Duration::from_millis(300)), check_every, ..quick() };
    let (mut fake, worker) = worker(&service, options).await;
    let begun = Instant::now();
    for _ in 0..6 {
        fake.next_of("heartbeat").await;
    }
    assert!(begun.elapsed() >= Duration::from_millis(500), "a third of the lease: {:?}", begun.elapsed());
    assert_eq!(worker.standing(), Standing::Holds);
    service.lock().expect("no panic").hang = true;
    let hung = Instant::now();
    assert_eq!(stopped(&worker).await, Standing::Fenced);
    assert!(hung.elapsed() < Duration::from_secs(3), "not the request's deadline: {:?}", hung.elapsed());
    assert!(worker.succeed(()).await.expect_err("fenced").error().is_fenced());
}

#[tokio::test]
async fn progress_is_as_good_as_a_heartbeat() {
    let service = Service::new();
    let lease = Some(Duration::from_millis(900));
    let check_every = Duration::from_secs(60);
    let (mut fake, worker) = worker(&service, WorkerOptions { lease, check_every, ..quick() }).await;
    let end = Instant::now() + Duration::from_millis(900);
    while Instant::now() < end {
        worker.advance(1);
        fake.next().await;
    }
    assert!(fake.rest().iter().all(|seen| seen.verb() != "heartbeat"));
    assert!(worker.succeed(()).await.expect("it ends").is_won());
}

#[tokio::test]
async fn a_request_to_cancel_reaches_an_idle_worker() {
    let service = Service::new();
    let (_fake, worker) = worker(&service, quick()).await;
    {
        let mut service = service.lock().expect("no panic");
        service.cancel_requested = true;
        service.version += 1;
    }
    assert_eq!(stopped(&worker).await, Standing::CancelRequested);
    assert!(worker.cancel_requested());
    let finished = worker.agree_to_cancel().await.expect("it ends");
    assert!(finished.is_won() && finished.task().state == State::Cancelled);
}

#[tokio::test]
async fn i10_a_worker_that_is_dropped_says_so() {
    let service = Service::new();
    let (mut fake, worker) = worker(&service, WorkerOptions::default()).await;
    worker.advance(3);
    drop(worker);
    let fail = fake.next_of("fail").await;
    assert_eq!(fail.json()["reason"], "lost");
    assert_eq!(service.lock().expect("no panic").done, 3, "what was counted is not lost");
}

#[tokio::test]
async fn block_and_resume_are_in_order_with_the_count() {
    let service = Service::new();
    let (mut fake, worker) = worker(&service, WorkerOptions::default()).await;
    worker.advance(2);
    worker.block().await.expect("blocked");
    worker.resume().await.expect("running");
    let bodies: Vec<Value> = fake.rest().iter().map(Seen::json).collect();
    assert_eq!(
        bodies,
        [
            value!({ "progress": { "done": 2 }, "attempt": 1 }),
            value!({ "status": "blocked", "attempt": 1 }),
            value!({ "status": "running", "attempt": 1 })
        ]
    );
    worker.retry().await.expect("given up");
    assert_eq!(fake.next().await.verb(), "retry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i10_a_loop_without_an_await_keeps_its_lease() {
    let service = Service::new();
    let shared = Arc::clone(&service);
    let mut fake = Fake::new(move |seen| shared.lock().expect("no panic").answer(seen)).await;
    let client = fake.client();
    let heartbeats = Arc::clone(&service);
    let busy = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let options = WorkerOptions { lease: Some(Duration::from_secs(3)), ..WorkerOptions::default() };
            let worker = client.work(ID.parse::<inflight_client::TaskId>().expect("an id"), options).await;
            let worker = worker.expect("started");
            let begun = Instant::now();
            // Work that never gives the thread back. What never sends a heartbeat is a failure, not a test
            // without an end.
            while heartbeats.lock().expect("no panic").heartbeats < 3 && begun.elapsed().as_secs() < 20 {
                std::thread::yield_now();
            }
            let heard = heartbeats.lock().expect("no panic").heartbeats;
            assert_eq!((worker.standing(), heard), (Standing::Holds, 3));
        });
    });
    busy.await.expect("no panic");
    assert_eq!(fake.next_of("fail").await.json()["reason"], "lost", "told, though its runtime is no more");
}
