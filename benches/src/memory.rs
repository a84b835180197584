//! Resident memory. Each figure is measured in a process of its own, which holds nothing else: otherwise
//! memory that was freed before would be used again, and would not be counted.

use std::any::Any;
use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use inflight::{NewTask, Payload, Store, Task, TaskId};
use tokio::sync::watch;

use crate::Hasher;
use crate::keys::Random;
use crate::ours::store;
use crate::payload::{Compact, Plain};
use crate::subject::Role;
use crate::waiting::{Bell, Watcher};

/// A kind of store whose memory is measured.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// What a task contains.
    pub scenario: &'static str,
    /// Its name in the tables.
    pub name: &'static str,
    /// What kind of thing it is.
    pub role: Role,
    /// Creates one with so many tasks.
    pub make: fn(usize) -> Box<dyn Any>,
}

const NUMBERS: &str = "numbers only";
const NAMED: &str = "numbers only, clients' UUIDs";
const DETAILS: &str = "with details";
const WATCHED: &str = "watched: bytes per watcher";

/// All of them.
pub const HOLDINGS: &[Holding] = &[
    Holding { scenario: NUMBERS, name: "inflight, running, with handle", role: Role::Ours, make: running },
    Holding { scenario: NUMBERS, name: "inflight, ended", role: Role::Ours, make: ended },
    Holding { scenario: NUMBERS, name: "Mutex<HashMap>", role: Role::Mutex, make: locked },
    Holding { scenario: NUMBERS, name: "DashMap", role: Role::Map, make: dashed },
    Holding { scenario: NUMBERS, name: "papaya", role: Role::Map, make: papaya },
    Holding { scenario: NUMBERS, name: "scc HashIndex", role: Role::Map, make: scc },
    Holding { scenario: NUMBERS, name: "DashMap<watch>", role: Role::Other, make: channels },
    Holding { scenario: NAMED, name: "inflight, ended", role: Role::Ours, make: named },
    Holding { scenario: DETAILS, name: "inflight, ended", role: Role::Ours, make: detailed },
    Holding { scenario: DETAILS, name: "DashMap", role: Role::Map, make: dashed_details },
    Holding { scenario: WATCHED, name: "inflight, Watch", role: Role::Ours, make: watchers },
    Holding { scenario: WATCHED, name: "tokio watch, Receiver", role: Role::Other, make: receivers },
];

/// A hundred bytes a task, to test the measurement itself.
pub const BALLAST: Holding = Holding {
    scenario: NUMBERS,
    name: "a hundred bytes",
    role: Role::Other,
    make: |tasks| Box::new(vec![1u8; 100 * tasks]),
};

/// How many bytes of the process are in memory.
///
/// # Panics
///
/// Where there is no `/proc`.
#[must_use]
pub fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/smaps_rollup").expect("Linux's /proc");
    let line = text.lines().find(|line| line.starts_with("Rss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a line with the resident size") * 1024
}

/// How many bytes `holding` takes for each of so many tasks, in this process.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "bytes per task are rounded anyway")]
pub fn bytes_per_task(holding: &Holding, tasks: usize) -> f64 {
    mark();
    let held = (holding.make)(tasks);
    let taken = resident().saturating_sub(BASE.with(std::cell::Cell::get));
    drop(held);
    taken as f64 / tasks as f64
}

thread_local! {
    /// Where counting begins.
    static BASE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Begins counting here; called again if something that was just created is not to be counted.
fn mark() {
    BASE.with(|base| base.set(resident()));
}

fn ids(tasks: usize) -> impl Iterator<Item = TaskId> {
    let mut random = Random::new(3);
    (0..tasks).map(move |_| TaskId::from_u128(random.uuid()))
}

fn run(store: &Store, new: NewTask) -> Task {
    let mut task = store.create(new).expect("the store is not full");
    task.start().expect("it is pending");
    task
}

fn running(tasks: usize) -> Box<dyn Any> {
    let store = store(tasks);
    let handles: Vec<Task> = (0..tasks).map(|_| run(&store, NewTask::new("job").total(100))).collect();
    Box::new((store, handles))
}

fn ended(tasks: usize) -> Box<dyn Any> {
    let store = store(tasks);
    (0..tasks).for_each(|_| end(run(&store, NewTask::new("job").total(100))));
    Box::new(store)
}

fn named(tasks: usize) -> Box<dyn Any> {
    let store = store(tasks);
    ids(tasks).for_each(|id| end(run(&store, NewTask::new("job").total(100).id(id))));
    Box::new(store)
}

fn end(mut task: Task) {
    assert!(task.succeed(()).is_ok(), "it runs");
}

fn locked(tasks: usize) -> Box<dyn Any> {
    let mut map: HashMap<TaskId, Plain, Hasher> = HashMap::default();
    map.extend(ids(tasks).map(|id| (id, Plain::running(100))));
    Box::new(Mutex::new(map))
}

fn dashed(tasks: usize) -> Box<dyn Any> {
    let map: DashMap<TaskId, Arc<Compact>, Hasher> = DashMap::default();
    ids(tasks).for_each(|id| drop(map.insert(id, Arc::new(Compact::running(100)))));
    Box::new(map)
}

fn papaya(tasks: usize) -> Box<dyn Any> {
    let map: papaya::HashMap<TaskId, Arc<Compact>, Hasher> = papaya::HashMap::default();
    ids(tasks).for_each(|id| assert!(map.pin().insert(id, Arc::new(Compact::running(100))).is_none()));
    Box::new(map)
}

fn scc(tasks: usize) -> Box<dyn Any> {
    let map: scc::HashIndex<TaskId, Arc<Compact>, Hasher> = scc::HashIndex::default();
    ids(tasks).for_each(|id| assert!(map.insert_sync(id, Arc::new(Compact::running(100))).is_ok()));
    Box::new(map)
}

fn channels(tasks: usize) -> Box<dyn Any> {
    let map: DashMap<TaskId, watch::Receiver<Plain>, Hasher> = DashMap::default();
    let senders: Vec<_> = ids(tasks)
        .map(|id| {
            let (sender, receiver) = watch::channel(Plain::running(100));
            map.insert(id, receiver);
            sender
        })
        .collect();
    Box::new((map, senders))
}

// ---- with details: a kind, two labels, a message, a result of 64 bytes --------------------------------

const KIND: &str = "index";
const LABELS: [(&str, &str); 2] = [("tenant", "acme"), ("region", "eu-central")];
const MESSAGE: &str = "embedding page 17 of 42";
const RESULT: [u8; 64] = [b'x'; 64];

fn detailed(tasks: usize) -> Box<dyn Any> {
    let store = store(tasks);
    for _ in 0..tasks {
        let new = NewTask::new(KIND.to_owned()).total(100);
        let mut task = run(&store, LABELS.iter().fold(new, |new, (key, value)| new.label(*key, *value)));
        task.set_message(MESSAGE).expect("it runs");
        let result = Payload::new("application/octet-stream", RESULT.to_vec());
        assert!(task.succeed(result).is_ok(), "it runs");
    }
    Box::new(store)
}

/// What a service would write by hand for the same data.
#[derive(Debug)]
struct Entry {
    _numbers: Plain,
    _kind: String,
    _labels: Vec<(String, String)>,
    _message: Option<String>,
    _result: Option<Vec<u8>>,
}

fn dashed_details(tasks: usize) -> Box<dyn Any> {
    let map: DashMap<TaskId, Arc<Mutex<Entry>>, Hasher> = DashMap::default();
    for id in ids(tasks) {
        let labels = LABELS.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let entry = Entry {
            _numbers: Plain::running(100),
            _kind: KIND.to_owned(),
            _labels: labels.into(),
            _message: Some(MESSAGE.to_owned()),
            _result: Some(RESULT.to_vec()),
        };
        map.insert(id, Arc::new(Mutex::new(entry)));
    }
    Box::new(map)
}

// ---- watched ------------------------------------------------------------------------------------------

fn watchers(tasks: usize) -> Box<dyn Any> {
    let store = store(tasks);
    let handles: Vec<Task> = (0..tasks).map(|_| run(&store, NewTask::new("job").total(100))).collect();
    let bell = Arc::new(Bell::default());
    mark();
    let watchers: Vec<Watcher> = handles.iter().map(|task| Watcher::new(&store, task.id(), &bell)).collect();
    Box::new((store, handles, watchers))
}

fn receivers(tasks: usize) -> Box<dyn Any> {
    let senders: Vec<_> = (0..tasks).map(|_| watch::channel(Plain::running(100)).0).collect();
    mark();
    let bell = std::task::Waker::from(Arc::new(Bell::default()));
    let mut context = std::task::Context::from_waker(&bell);
    let waiting: Vec<_> = senders
        .iter()
        .map(|sender| {
            let mut receiver = sender.subscribe();
            let mut changed = Box::pin(async move {
                let _ = receiver.changed().await;
            });
            assert!(changed.as_mut().poll(&mut context).is_pending(), "nothing has changed");
            changed
        })
        .collect();
    Box::new((senders, waiting))
}

// ---- growth and shrink ----------------------------------------------------------------------------------

/// Fills and empties a store of so many tasks, so many times; returns the resident bytes before, and after
/// each filling and each emptying.
#[must_use]
pub fn churned(is_ours: bool, tasks: usize, times: usize) -> Vec<u64> {
    let mut sizes = vec![resident()];
    if is_ours {
        let store = store(tasks);
        for _ in 0..times {
            let ids: Vec<TaskId> = (0..tasks)
                .map(|_| {
                    let mut task = run(&store, NewTask::new("job"));
                    assert!(task.succeed(()).is_ok(), "it runs");
                    task.id()
                })
                .collect();
            sizes.push(resident());
            for id in ids {
                let _last = store.remove(id).expect("it has ended");
            }
            store.tick();
            sizes.push(resident());
        }
    } else {
        let map: DashMap<TaskId, Arc<Compact>, Hasher> = DashMap::default();
        for _ in 0..times {
            let ids: Vec<TaskId> = ids(tasks).collect();
            ids.iter().for_each(|id| drop(map.insert(*id, Arc::new(Compact::running(1)))));
            sizes.push(resident());
            ids.iter().for_each(|id| drop(map.remove(id)));
            sizes.push(resident());
        }
    }
    sizes
}
