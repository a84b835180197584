//! A store with something to show, served on loopback.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use inflight::{FailureReason, KeeperMode, ManualClock, NewTask, Payload, Store, Task, TaskId};
use inflight_server::{Access, Options, ServeOptions, Shutdown, router, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A store that is served.
#[derive(Debug)]
pub struct Service {
    /// The store itself: the test creates tasks in it, as workers in the process do.
    pub store: Store,
    /// Its address.
    pub address: SocketAddr,
    shutdown: Shutdown,
    serving: JoinHandle<()>,
}

impl Service {
    /// Serves `store` on a free port.
    pub async fn start(store: Store, options: Options) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(nowhere, store, Access::open_on_loopback(), options).await
    }

    /// Serves `store` on a free port, for those who may.
    pub async fn start_for(store: Store, access: Access) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(nowhere, store, access, Options::default()).await
    }

    /// Serves `store` at `address`.
    pub async fn start_at(address: SocketAddr, store: Store, access: Access, options: Options) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shutdown = Shutdown::default();
        let options = Options { shutdown: shutdown.clone(), ..options };
        let (app, ending) = (router(store.clone(), access, options), shutdown.clone());
        let serving = tokio::spawn(async move {
            let _ = serve(listener, app, ServeOptions::default(), ending).await;
        });
        Self { store, address, shutdown, serving }
    }

    /// The dashboard's address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Stops the service, and waits until its port is free.
    pub async fn stop(self) {
        self.shutdown.begin();
        self.serving.await.expect("it ends");
    }
}

/// The tasks of a service in use: in all states, with an hour's history.
#[derive(Debug)]
pub struct Scene {
    /// The store.
    pub store: Store,
    /// A running task, with children, progress and a message.
    pub running: TaskId,
    /// A parent of many tasks.
    pub parent: TaskId,
    /// A task that has ended with a result in JSON.
    pub succeeded: TaskId,
    /// A failed task.
    pub failed: TaskId,
    clock: ManualClock,
    live: Vec<(Task, u64)>,
    kept: Vec<Task>,
}

const KINDS: [&str; 5] = ["thumbnail", "send-mail", "index", "transcode", "report"];
const TENANTS: [&str; 4] = ["acme", "globex", "initech", "umbrella"];

impl Scene {
    /// Creates it. Its clock ends at the present.
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let store =
            Store::builder().capacity(1 << 12).clock(clock.clone()).keeper(KeeperMode::Manual).build();
        let store = store.expect("a store");
        let nobody = TaskId::from_u128(0);
        let (live, kept) = (Vec::new(), Vec::new());
        let mut scene = Self {
            store,
            running: nobody,
            parent: nobody,
            succeeded: nobody,
            failed: nobody,
            clock,
            live,
            kept,
        };
        scene.play();
        scene.come_to_the_present();
        scene
    }

    /// Steps the wall clock, so that the last task was created just now.
    fn come_to_the_present(&self) {
        let last = self.kept.last().and_then(Task::status).map(|status| status.created_at());
        let ahead = last.and_then(|last| last.duration_since(SystemTime::now()).ok()).unwrap_or_default();
        self.clock.step_wall(-i64::try_from(ahead.as_secs()).unwrap_or(0));
        self.store.tick();
    }

    fn wait(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(Duration::from_secs(1));
            self.store.tick();
        }
    }

    fn task(&self, new: NewTask) -> Task {
        self.store.create(new).expect("the store is not full")
    }

    fn begin(&self, new: NewTask) -> Task {
        let mut task = self.task(new);
        self.wait(1);
        task.start().expect("pending");
        task
    }

    fn play(&mut self) {
        let (mut tenants, mut kinds) = (TENANTS.iter().cycle(), KINDS.iter().cycle());
        for round in 0..90_u64 {
            let (Some(&tenant), Some(&kind)) = (tenants.next(), kinds.next()) else { return };
            let mut task = self.begin(NewTask::new(kind).total(40).unit("items").label("tenant", tenant));
            self.wait(3 + round % 7);
            let _ = task.advance(40);
            let finish = match round % 11 {
                3 => {
                    task.fail(FailureReason::Error, Payload::from("connection refused by upstream (3 tries)"))
                }
                7 => task.fail(FailureReason::TimedOut, ()),
                9 => task.cancel(),
                _ => task.succeed("ok"),
            };
            finish.expect("it ends");
        }
        self.outcomes();
        self.family();
        self.works();
    }

    fn outcomes(&mut self) {
        let new =
            NewTask::new("report").total(12).unit("pages").label("tenant", "acme").label("region", "eu-west");
        let mut report = self.begin(new);
        report.set_message("rendering page 12").expect("short");
        self.wait(9);
        let _ = report.advance(12);
        self.succeeded = report.id();
        let result =
            br#"{"url":"https://files.example.com/report-2041.pdf","pages":12,"bytes":483201,"warnings":[]}"#;
        report.succeed(Payload::new("application/json", result.to_vec())).expect("it ends");

        let new = NewTask::new("import-ledger").total(180_000).unit("rows").label("tenant", "initech");
        let mut import = self.begin(new);
        self.wait(20);
        let _ = import.advance(61_204);
        import.set_message("row 61204: checking currency").expect("short");
        self.failed = import.id();
        let error = br#"{"code":"BAD_CURRENCY","row":61204,"value":"XBT","hint":"ISO 4217 code expected"}"#;
        let error = Payload::new("application/json", error.to_vec());
        import.fail(FailureReason::Error, error).expect("it ends");
        let lost = self.begin(NewTask::new("crawl").unit("pages").label("tenant", "globex"));
        drop(lost);
    }

    fn family(&mut self) {
        let new = NewTask::new("nightly-index")
            .total(1_200_000)
            .unit("docs")
            .label("tenant", "acme")
            .label("run", "2041");
        let mut parent = self.begin(new);
        parent.set_message("embedding shard 15 of 24").expect("short");
        self.parent = parent.id();
        for shard in 0..24_u64 {
            let new = NewTask::new("index-shard").total(50_000).unit("docs").parent(parent.id());
            let mut child = self.task(new.label("shard", shard.to_string()).label("run", "2041"));
            if shard < 18 {
                child.start().expect("pending");
                self.wait(6);
                let docs = 50_000 - if shard < 14 { 0 } else { 9_000 * (shard - 13) };
                let _ = child.advance(docs);
                let _ = parent.advance(docs);
            }
            match shard {
                0..14 => drop(child.succeed(()).expect("it ends")),
                14..18 => self.live.push((child, 410 - 60 * (shard - 14))),
                _ => self.kept.push(child),
            }
        }
        self.live.push((parent, 1_280));
    }

    fn works(&mut self) {
        let mut works = vec![
            ("transcode", 8_400, "frames", 92, "pass 2 of 2, 1080p", "umbrella"),
            ("backup", 120 << 30, "bytes", 180 << 20, "streaming volume db-3", "globex"),
            ("train-ranker", 24_000, "steps", 310, "step 13950: loss 0.0873", "acme"),
            ("crawl", 0, "pages", 37, "https://docs.example.com/guide/", "initech"),
            ("import-ledger", 180_000, "rows", 2_350, "row 96321", "initech"),
        ];
        works.reverse();
        for (kind, total, unit, pace, message, tenant) in works {
            let mut new = NewTask::new(kind).unit(unit).label("tenant", tenant);
            if total > 0 {
                new = new.total(total);
            }
            let mut task = self.begin(new.label("region", "eu-west"));
            task.set_message(message).expect("short");
            self.running = task.id();
            for _ in 0..45 {
                self.wait(1);
                let _ = task.advance(pace);
            }
            self.live.push((task, pace));
        }
        let mut blocked =
            self.begin(NewTask::new("deploy").total(5).unit("steps").label("tenant", "umbrella"));
        let _ = blocked.advance(3);
        blocked.set_message("waiting for approval by the on-call engineer").expect("short");
        blocked.block().expect("running");
        let mut retried = self.begin(NewTask::new("webhook").label("tenant", "globex"));
        retried.retry().expect("running");
        for _ in 0..6 {
            let new = NewTask::new("send-mail").total(1).label("tenant", "acme");
            let pending = self.task(new);
            self.kept.push(pending);
        }
        self.kept.extend([blocked, retried]);
    }

    /// Lets time pass in real time, and the work with it, until the runtime ends.
    pub fn go_on(self) {
        let Self { store, clock, mut live, kept, .. } = self;
        tokio::spawn(async move {
            let _kept = kept;
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            let mut count = 0_u64;
            loop {
                ticks.tick().await;
                count += 1;
                clock.advance(Duration::from_millis(100));
                for (task, pace) in &mut live {
                    let step = *pace / 10 + u64::from(count % 10 < *pace % 10);
                    if task.status().is_some_and(|status| {
                        status.total().is_none_or(|total| status.done() + step <= total)
                    }) {
                        let _ = task.advance(step);
                    }
                    if task.cancel_requested() {
                        let _ = task.cancel();
                    }
                }
                store.tick();
            }
        });
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}
