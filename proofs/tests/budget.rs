//! The operation budget of every hot public call: how many atomic loads, stores, exchanges and fences it
//! does, how many locks it takes, and how often it uses a map. Built with
//! `RUSTFLAGS="--cfg inflight_budget"`; see `ci/budget.sh`.
//!
//! The budgets are *exact*: a call that needs less than its budget fails the test, too, so the table states
//! what is true, and a saving is kept. They are in `budgets.txt`, which `ci/budget.sh record` writes.
//!
//! Not counted are clones of plain counted references that do not come from `sync.rs` (the engine in a
//! handle, labels, texts), and the operations inside maps.
#![cfg(inflight_budget)]
#![allow(clippy::unwrap_used, reason = "a failed test panics, in its helpers, too")]

use std::time::Duration;

use allocation_counter::measure as count_allocations;
use inflight::budget::{Operations, measure};
use inflight::{FailureReason, KeeperMode, ManualClock, NewTask, SharedTask, Store, Task, TaskId};

const OWN: TaskId = TaskId::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);

/// One line of the table: the call, loads, stores, exchanges, locks, map operations, allocations.
type Row = (String, [u64; 6]);

/// Fences have no column: they are 0 everywhere.
const COLUMNS: [&str; 6] = ["loads", "stores", "exchanges", "locks", "map", "allocations"];
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/budgets.txt");

fn budgets() -> Vec<Row> {
    let row = |line: &str| {
        let (name, numbers) = line.split_at_checked(40)?;
        let numbers: Result<Vec<u64>, _> = numbers.split_whitespace().map(str::parse).collect();
        Some((name.trim().to_owned(), numbers.ok()?.try_into().ok()?))
    };
    include_str!("../budgets.txt").lines().skip(1).map(|line| row(line).unwrap()).collect()
}

fn table(rows: &[Row]) -> String {
    let line = |name: &str, columns: [String; 6]| {
        columns.iter().fold(format!("{name:40}"), |line, column| format!("{line}{column:>12}")) + "\n"
    };
    let lines = rows.iter().map(|(name, row)| line(name, row.map(|number| number.to_string())));
    line("call", COLUMNS.map(str::to_owned)) + &lines.collect::<String>()
}

struct Bench {
    store: Store,
    clock: ManualClock,
    rows: Vec<Row>,
}

impl Bench {
    fn new() -> Self {
        let clock = ManualClock::new();
        let store = Store::builder()
            .capacity(1 << 10)
            .clock(clock.clone())
            .keeper(KeeperMode::Manual)
            .panic_messages(false)
            .build()
            .unwrap();
        Self { store, clock, rows: Vec::new() }
    }

    fn task(&self) -> Task {
        self.store.create(NewTask::new("task").total(1 << 20)).unwrap()
    }

    fn running(&self) -> Task {
        let mut task = self.task();
        task.start().unwrap();
        task.advance(1).unwrap();
        task
    }

    /// Measures `call`, which has been called before, so that one-time work is done.
    fn count<T>(&mut self, name: &'static str, call: impl FnOnce() -> T) -> T {
        let mut result = None;
        let mut done = Operations::default();
        let allocated = count_allocations(|| {
            let (value, operations) = measure(call);
            (result, done) = (Some(value), operations);
        });
        assert_eq!(done.fences, 0, "{name}: a fence");
        let Operations { loads, stores, exchanges, locks, map, .. } = done;
        self.rows.push((name.to_owned(), [loads, stores, exchanges, locks, map, allocated.count_total]));
        result.unwrap()
    }

    fn polls(&mut self) {
        let task = self.running();
        let (id, store) = (task.id(), self.store.clone());
        assert!(self.count("get: hit", || store.get(id)).is_some());
        assert!(self.count("lookup: hit", || store.lookup(id)).is_ok());
        assert!(self.count("Task::status", || task.status()).is_some());
        self.count("Task::cancel_requested", || task.cancel_requested());
        let mut ended = self.running();
        ended.succeed(()).unwrap();
        assert!(self.count("get: hit, terminal", || store.get(ended.id())).is_some());
        let gone = ended.id();
        let _ = store.remove(gone).unwrap();
        assert!(self.count("get: miss, minted and gone", || store.get(gone)).is_none());
        assert!(self.count("lookup: miss, minted and gone", || store.lookup(gone)).is_err());
        assert!(self.count("get: miss, a stranger's id", || store.get(OWN)).is_none());
        let own = store.create(NewTask::new("own").id(OWN)).unwrap();
        assert!(self.count("get: hit, a client's id", || store.get(OWN)).is_some());
        let hundred: Vec<Task> = (0..100).map(|_| self.running()).collect();
        let ids: Vec<TaskId> = hundred.iter().map(Task::id).collect();
        assert_eq!(self.count("get_many: 100 ids", || store.get_many(&ids)).len(), 100);
        assert_eq!(self.count("get_many: no id", || store.get_many(&[])).len(), 0);
        assert!(self.count("details", || store.details(id)).is_ok());
        assert!(self.count("counts", || store.counts()).total() > 100);
        assert!(self.count("children", || store.children(id)).is_ok());
        drop((own, hundred));
    }

    fn exclusive(&mut self) {
        let mut task = self.running();
        self.count("Task::advance", || task.advance(1)).unwrap();
        let mut counter = task.counter();
        counter.advance(1).unwrap();
        self.count("Counter::advance", || counter.advance(1)).unwrap();
        self.count("Task::set_done", || task.set_done(10)).unwrap();
        self.clock.advance(Duration::from_secs(1));
        self.store.tick();
        self.count("Task::advance: first in a tick", || task.advance(1)).unwrap();
        task.set_message("one").unwrap();
        self.count("Task::set_message", || task.set_message("two")).unwrap();
        self.count("Task::set_total", || task.set_total(1 << 21)).unwrap();
        self.count("Task::block", || task.block()).unwrap();
        self.count("Task::resume", || task.resume()).unwrap();
        self.count("Task::retry", || task.retry()).unwrap();
        self.count("Task::start", || task.start()).unwrap();
        self.count("Task::succeed: no result", || task.succeed(())).unwrap();
        let mut task = self.running();
        self.count("Task::succeed: a text", || task.succeed("done")).unwrap();
        let mut task = self.running();
        self.count("Task::fail", || task.fail(FailureReason::Error, "bad")).unwrap();
        let task = self.running();
        let (store, id) = (self.store.clone(), task.id());
        let _ = self.count("cancel: running", || store.cancel(id)).unwrap();
        let pending = self.task();
        let _ = self.count("cancel: pending", || store.cancel(pending.id())).unwrap();
        drop(task);
        let _ = self.count("remove", || store.remove(id)).unwrap();
    }

    fn shared(&mut self) {
        let task: SharedTask = self.running().share();
        task.advance(1).unwrap();
        self.count("SharedTask::advance", || task.advance(1)).unwrap();
        self.count("SharedTask::set_done", || task.set_done(10)).unwrap();
        let mut leased = self.store.create(NewTask::new("leased").lease(Duration::from_secs(60))).unwrap();
        leased.start().unwrap();
        leased.advance(1).unwrap();
        self.count("Task::advance: leased", || leased.advance(1)).unwrap();
        self.count("Task::heartbeat", || leased.heartbeat()).unwrap();
    }

    fn creates(&mut self) {
        let store = self.store.clone();
        let new = NewTask::new("plain");
        let plain = self.count("create: on a fresh line", || store.create(new)).unwrap();
        let parent = plain.id();
        let mut child = store.create(NewTask::new("child").parent(parent)).unwrap();
        child.cancel().unwrap();
        let new = NewTask::new("child").parent(parent);
        let child = self.count("create: of a parent", || store.create(new)).unwrap();
        drop(child);
        let id = TaskId::from_u128(OWN.as_u128() + 1);
        let new = NewTask::new("own").id(id);
        let own = self.count("create: a client's id", || store.create(new)).unwrap();
        self.count("drop of a live Task", || drop(own));
        let mut used = self.running();
        used.succeed(()).unwrap();
        let _ = store.remove(used.id()).unwrap();
        drop(used);
        let new = NewTask::new("plain");
        drop(self.count("create: on a used line", || store.create(new)).unwrap());
    }
}

#[test]
fn i1_every_hot_call_keeps_to_its_budget() {
    let mut bench = Bench::new();
    // A first run for one-time work: thread-locals, the first growth of lists and maps.
    bench.polls();
    bench.exclusive();
    bench.shared();
    bench.creates();
    let mut bench = Bench { rows: Vec::new(), ..Bench::new() };
    bench.polls();
    bench.exclusive();
    bench.shared();
    bench.creates();
    if std::env::var_os("INFLIGHT_RECORD").is_some() {
        std::fs::write(FILE, table(&bench.rows)).unwrap();
        return;
    }
    let budgets = budgets();
    assert!(
        bench.rows == budgets,
        "measured:\n{}\nbudgeted:\n{}\nDiffering calls: {:?}",
        table(&bench.rows),
        table(&budgets),
        bench.rows.iter().filter(|row| !budgets.contains(row)).map(|(name, _)| name).collect::<Vec<_>>()
    );
}

/// The promises that hold whatever the table says, so an edit of the table cannot drop them.
#[test]
fn i1_a_poll_writes_nothing_and_an_increment_exchanges_nothing() {
    let budgets = budgets();
    let row = |name: &str| budgets.iter().find(|(budgeted, _)| budgeted == name).unwrap().1;
    for name in ["get: hit", "get: hit, terminal", "get: miss, minted and gone", "lookup: hit"] {
        let [loads, rest @ ..] = row(name);
        assert!(loads <= 10, "{name}: {loads} loads");
        assert_eq!(rest, [0; 5], "{name}: it stores, exchanges, locks, looks up or allocates");
    }
    let [loads, stores, exchanges, locks, map, allocations] = row("get_many: 100 ids");
    assert!(loads <= 11 * 100, "the poll's own, and one to fetch the line");
    assert_eq!([stores, exchanges, locks, map, allocations], [0, 0, 0, 0, 1]);
    for name in ["Task::advance", "Counter::advance"] {
        assert_eq!(row(name), [1, 1, 0, 0, 0, 0], "{name}: a store, and a load of the time");
    }
    let [_, stores, exchanges, rest @ ..] = row("SharedTask::advance");
    assert_eq!((stores, exchanges, rest), (0, 1, [0; 3]));
}
