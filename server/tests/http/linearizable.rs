//! I2–I5, I7, I9–I11 through HTTP: concurrent histories of real requests, each checked for being
//! linearizable (`inflight-histories`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use inflight::{Absent, KeeperMode, ManualClock, Retention, State, Store, TaskId};
use inflight_histories::{Call, Change, Client, Ending, Features, NewCall, Plan, Reply, Seen, Target};
use inflight_server::{Access, Options, ServeOptions, Shutdown};
use serde_json::{Value, json};

/// How long a lease is.
const LEASE: Duration = Duration::from_secs(60);
/// How long ended tasks are kept: longer than a lease, less than the span by which time passes.
const KEPT: Duration = Duration::from_secs(100);
/// What is added to a span that passes: progress counts as made until the next tick, so the lease of a task that
/// made some runs out at the tick after that. What ends at the first of the two ticks is kept at the second.
const REST: Duration = Duration::from_secs(80);

/// The service, on a runtime of its own; the clients are threads with a connection each.
struct Http {
    _runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    store: Store,
    clock: ManualClock,
}

impl Http {
    fn new() -> Self {
        let clock = ManualClock::new();
        let retention = Retention::forever().succeeded_for(KEPT).failed_for(KEPT).cancelled_for(KEPT);
        let builder = Store::builder().capacity(64).clock(clock.clone()).keeper(KeeperMode::Manual);
        let store = builder.retain(retention).build().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let served = store.clone();
        let address = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let router = inflight_server::router(served, Access::open_on_loopback(), Options::default());
            tokio::spawn(inflight_server::serve(
                listener,
                router,
                ServeOptions::default(),
                Shutdown::default(),
            ));
            address
        });
        Self { _runtime: runtime, address, store, clock }
    }

    fn pass(&self, span: Duration) {
        for span in [span, REST] {
            self.clock.advance(span);
            self.store.tick();
        }
    }
}

impl Target for Http {
    /// Workers write by id, so there are no handles. `Pass` is not a request: it goes to the store's clock.
    fn features(&self) -> Features {
        Features { handles: false, own_ids: true, time: true, leases: true, details: true }
    }

    fn client(&self, _: usize) -> Box<dyn Client + '_> {
        Box::new(Caller { http: self, stream: TcpStream::connect(self.address).unwrap() })
    }

    /// What has not ended is ended, and then let go of.
    fn clear(&self) {
        let mut caller = Caller { http: self, stream: TcpStream::connect(self.address).unwrap() };
        let live = caller.ask("GET", "/v1/tasks?state=pending,running,blocked", None).1;
        for task in live["tasks"].as_array().unwrap() {
            let path = format!("/v1/tasks/{}:cancel", task["taskId"].as_str().unwrap());
            caller.ask("POST", &path, Some(json!({"confirm":true})));
        }
        self.pass(2 * KEPT);
    }
}

struct Caller<'a> {
    http: &'a Http,
    stream: TcpStream,
}

impl Client for Caller<'_> {
    fn call(&mut self, id: Option<TaskId>, _: u64, call: &Call) -> Reply {
        let path = id.map(|id| format!("/v1/tasks/{id}")).unwrap_or_default();
        match *call {
            Call::Create(new) => self.create(new),
            Call::Pass(span) => {
                self.http.pass(span);
                Reply::Done
            }
            Call::Get => match self.ask("GET", &path, None) {
                (200, task) => Reply::Seen(seen(&task)),
                (status, problem) => absent(status, &problem),
            },
            Call::Details => match self.ask("GET", &path, None) {
                (200, task) => {
                    let text = |value: &Value| value.as_str().map(str::to_owned);
                    let outcome = text(&task["result"]).or_else(|| text(&task["error"]));
                    Reply::Detailed(seen(&task), text(&task["statusMessage"]), outcome)
                }
                (status, problem) => absent(status, &problem),
            },
            Call::Cancel => match self.ask("POST", &format!("{path}:cancel"), None) {
                (200, task) => Reply::Seen(seen(&task)),
                (409, problem) => current(&problem).map_or(GONE, Reply::Refused),
                (status, problem) => absent(status, &problem),
            },
            Call::Remove => match self.ask("DELETE", &path, None) {
                (200, task) => Reply::Seen(seen(&task)),
                (409, problem) => current(&problem).map_or(GONE, Reply::Refused),
                (status, problem) => absent(status, &problem),
            },
            Call::Change(change) => self.change(&path, change),
            Call::Advance(count) => {
                match self.ask("PATCH", &path, Some(json!({"progress":{"advance":count}}))) {
                    (200 | 204, _) => Reply::Done,
                    (409, _) => Reply::NotRunning,
                    (status, problem) => absent(status, &problem),
                }
            }
            Call::Heartbeat => match self.ask("POST", &format!("{path}:heartbeat"), None) {
                (200 | 204, _) => Reply::Done,
                (409, problem) => refused(&problem),
                (status, problem) => absent(status, &problem),
            },
            Call::End(ending, text) => self.end(&path, ending, text),
            Call::Abandon => panic!("there are no handles to abandon"),
        }
    }
}

impl Caller<'_> {
    fn create(&mut self, new: NewCall) -> Reply {
        let mut body = json!({"kind":"history","progress":{}});
        if let Some(id) = new.id {
            body["taskId"] = id.to_string().into();
        }
        if let Some(total) = new.total {
            body["progress"]["total"] = total.into();
        }
        if new.leased {
            body["leaseMs"] = (LEASE.as_millis() as u64).into();
        }
        match self.ask("POST", "/v1/tasks", Some(body)) {
            (202, task) => Reply::Created(task["taskId"].as_str().unwrap().parse().unwrap()),
            // 200: the same create again, which finds the task that there is.
            (200 | 409, _) => Reply::Duplicate,
            (503, _) => Reply::Full,
            (410, _) => Reply::Unclear, // It went before the answer was made.
            (status, problem) => panic!("{status} {problem}"),
        }
    }

    fn change(&mut self, path: &str, change: Change) -> Reply {
        // `running` starts what is pending and goes on with what is blocked: which of the two the caller
        // means, it says by the version.
        if matches!(change, Change::Start | Change::Resume) {
            return self.run(path, if change == Change::Start { State::Pending } else { State::Blocked });
        }
        let answer = match change {
            Change::Retry => self.ask("POST", &format!("{path}:retry"), None),
            Change::Message(text) => self.ask("PATCH", path, Some(json!({"statusMessage":text.to_string()}))),
            _ => self.ask("PATCH", path, Some(json!({"status":"blocked"}))),
        };
        match answer {
            (200 | 204, _) => Reply::Done,
            (409, problem) => refused(&problem),
            (status, problem) => absent(status, &problem),
        }
    }

    fn run(&mut self, path: &str, from: State) -> Reply {
        loop {
            let now = match self.ask("GET", path, None) {
                (200, task) => seen(&task),
                (status, problem) => return absent(status, &problem),
            };
            if now.state != from {
                return Reply::NotAllowed(now.state);
            }
            let condition = format!("If-Match: \"{}\"\r\n", now.version);
            match self.ask_if("PATCH", path, &condition, Some(json!({"status":"running"}))) {
                (200 | 204, _) => return Reply::Done,
                (412, _) => {}
                (409, problem) => return refused(&problem),
                (status, problem) => return absent(status, &problem),
            }
        }
    }

    fn end(&mut self, path: &str, ending: Ending, text: u32) -> Reply {
        let text = text.to_string();
        let (verb, body) = match ending {
            Ending::Succeeded => ("succeed", json!({"result":text})),
            Ending::Failed => ("fail", json!({"error":text})),
            Ending::Cancelled => ("cancel", json!({"confirm":true})),
        };
        match self.ask("POST", &format!("{path}:{verb}"), Some(body)) {
            (200 | 204, _) => Reply::Won,
            (409, problem) => {
                let Some(found) = current(&problem) else { return GONE };
                if found.state.is_terminal() { Reply::Lost(found) } else { Reply::NotAllowed(found.state) }
            }
            (status, problem) => absent(status, &problem),
        }
    }

    fn ask(&mut self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        self.ask_if(method, path, "", body)
    }

    fn ask_if(&mut self, method: &str, path: &str, headers: &str, body: Option<Value>) -> (u16, Value) {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}");
        let request =
            format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let (head, length) = loop {
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).unwrap();
            assert!(count > 0, "the connection was closed");
            answer.extend_from_slice(&piece[..count]);
            let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = String::from_utf8(answer[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            if answer.len() >= end + 4 + length {
                break (head, length);
            }
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = serde_json::from_slice(&answer[answer.len() - length..]).unwrap_or_default();
        (status, body)
    }
}

fn seen(task: &Value) -> Seen {
    let reason = task["failureReason"].as_str();
    Seen {
        state: task["status"].as_str().unwrap_or_else(|| panic!("a task: {task}")).parse().unwrap(),
        reason: inflight::FailureReason::ALL.into_iter().find(|known| Some(known.as_str()) == reason),
        attempt: task["attempt"].as_u64().unwrap() as u32,
        done: task["progress"]["done"].as_u64().unwrap(),
        total: task["progress"]["total"].as_u64(),
        cancel_requested: task["cancelRequested"].as_bool().unwrap(),
        version: task["version"].as_str().unwrap().parse().unwrap(),
    }
}

fn absent(status: u16, problem: &Value) -> Reply {
    let reason = problem["goneReason"].as_str();
    let known = [inflight::GoneReason::Expired, inflight::GoneReason::Evicted, inflight::GoneReason::Removed];
    match status {
        404 => Reply::Absent(Absent::Unknown),
        204 => GONE, // Done, and gone since.
        410 => Reply::Absent(Absent::Gone(known.into_iter().find(|known| Some(known.as_str()) == reason))),
        _ => panic!("{status} {problem}"),
    }
}

fn refused(problem: &Value) -> Reply {
    if problem["detail"].as_str().is_some_and(|detail| detail.contains("without a lease")) {
        return Reply::NoLease;
    }
    current(problem).map_or(GONE, |found| Reply::NotAllowed(found.state))
}

/// What a refusal shows of the task; nothing, if it is gone by the time that it could be shown.
fn current(problem: &Value) -> Option<Seen> {
    problem.get("currentStatus").map(seen)
}

const GONE: Reply = Reply::Absent(Absent::Gone(None));

/// How many histories; more of them than by default where `HISTORIES` says so.
fn histories() -> u64 {
    let asked = std::env::var("HISTORIES");
    asked.map_or(60, |count| count.parse().expect("HISTORIES is a number"))
}

#[test]
fn histories_through_http_are_linearizable() {
    let http = Http::new();
    let plan = Plan { histories: histories(), calls: 30, ..Plan::default() };
    let report = plan.run(&http);
    if let Some(failure) = report.failures.first() {
        panic!("{failure}");
    }
    assert_eq!(report.histories, plan.histories);
    assert!(report.overlapping > report.calls / 20, "clients call at the same time: {report:?}");
}
