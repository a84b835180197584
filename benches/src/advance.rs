//! Increments: one task that is advanced by one writer, or by several.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use indicatif::{ProgressBar, ProgressDrawTarget};
use inflight::{NewTask, SharedTask, Store, Task, TaskId};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::Hasher;
use crate::harness::{Gate, lap, race};
use crate::maps::uuids;
use crate::ours::store;
use crate::payload::{Compact, Line, Plain};
use crate::subject::Role;
use crate::waiting::Watcher;

/// How many other tasks are in the maps in which one is looked up.
const BYSTANDERS: usize = 1000;

/// One writer's handle to a counter.
pub trait Counter: Send {
    /// Adds 1, `times` times.
    fn count(&mut self, times: usize);
    /// The count of all its writers together.
    fn counted(&self) -> u64;
}

/// A kind of counter.
#[derive(Clone, Copy, Debug)]
pub struct Counting {
    /// Its name in the tables.
    pub name: &'static str,
    /// What kind of thing it is.
    pub role: Role,
    /// Creates so many handles: all to one counter, or each to a counter of its own.
    pub make: fn(usize, bool) -> Vec<Box<dyn Counter>>,
    /// Whether it can have several writers.
    pub is_shared: bool,
}

/// All kinds.
pub const COUNTINGS: &[Counting] = &[
    Counting { name: "inflight, Task", role: Role::Ours, make: tasks, is_shared: false },
    Counting { name: "inflight, Task, watched", role: Role::Ours, make: watched_tasks, is_shared: false },
    Counting { name: "inflight, SharedTask", role: Role::Ours, make: shared_tasks, is_shared: true },
    Counting { name: "plain store", role: Role::Floor, make: plain_stores, is_shared: false },
    Counting { name: "fetch_add", role: Role::Floor, make: additions, is_shared: true },
    Counting { name: "indicatif", role: Role::Other, make: bars, is_shared: true },
    Counting { name: "prodash", role: Role::Other, make: items, is_shared: true },
    Counting { name: "tokio watch", role: Role::Other, make: senders, is_shared: true },
    Counting { name: "DashMap, by id", role: Role::Map, make: dashed, is_shared: true },
    Counting { name: "RwLock<HashMap>, by id", role: Role::Map, make: read_locked, is_shared: true },
    Counting { name: "Mutex<HashMap>, by id", role: Role::Mutex, make: locked, is_shared: true },
];

/// Counts on one thread per handle, `times` times on each.
///
/// # Errors
///
/// An increment got lost.
pub fn count(holds: &mut [Box<dyn Counter>], one: bool, times: usize) -> Result<Duration, String> {
    let counted = |holds: &[Box<dyn Counter>]| -> u64 {
        let each = holds.iter().map(|hold| hold.counted());
        if one { each.take(1).sum() } else { each.sum() }
    };
    let before = counted(holds);
    let threads = holds.len();
    let cells: Vec<Mutex<&mut Box<dyn Counter>>> = holds.iter_mut().map(Mutex::new).collect();
    let body = |at: usize, gate: &Gate| {
        // Locked before the clock starts, and never contended.
        let mut hold = cells.get(at).map(|hold| hold.lock().unwrap_or_else(PoisonError::into_inner));
        lap(gate, || {
            if let Some(hold) = &mut hold {
                hold.count(times);
            }
        })
    };
    let (elapsed, _) = race(threads, body, None);
    drop(cells);
    let (found, expected) = (counted(holds) - before, (threads * times) as u64);
    if found == expected { Ok(elapsed) } else { Err(format!("{found} counted of {expected}")) }
}

fn boxed<C: Counter + 'static>(counter: C) -> Box<dyn Counter> {
    Box::new(counter)
}

/// So many clones of one counter, or so many counters.
fn holds<C: Counter + 'static>(
    count: usize,
    one: bool,
    mut make: impl FnMut(Option<&C>) -> C,
) -> Vec<Box<dyn Counter>> {
    let first = make(None);
    let rest: Vec<C> = (1..count).map(|_| make(one.then_some(&first))).collect();
    std::iter::once(first).chain(rest).map(boxed).collect()
}

fn started() -> (Store, Task) {
    let store = store(BYSTANDERS);
    let mut task = store.create(NewTask::new("count")).expect("the store is not full");
    task.start().expect("it is pending");
    (store, task)
}

impl Counter for (Store, Task) {
    fn count(&mut self, times: usize) {
        advance(&mut self.1, times);
    }

    fn counted(&self) -> u64 {
        self.1.status().map_or(0, |status| status.done())
    }
}

/// The loop of a worker that owns the handle. It is a function of its own, so that the compiler knows no more
/// of the handle than in any worker.
#[inline(never)]
fn advance(task: &mut Task, times: usize) {
    for _ in 0..times {
        let advanced = task.advance(black_box(1));
        debug_assert!(advanced.is_ok());
    }
}

fn tasks(count: usize, _: bool) -> Vec<Box<dyn Counter>> {
    (0..count).map(|_| boxed(started())).collect()
}

/// A task with a watcher.
struct Watched {
    task: (Store, Task),
    _watcher: Watcher,
}

impl Counter for Watched {
    fn count(&mut self, times: usize) {
        advance(&mut self.task.1, times);
    }

    fn counted(&self) -> u64 {
        self.task.counted()
    }
}

fn watched_tasks(count: usize, _: bool) -> Vec<Box<dyn Counter>> {
    let watched = |_| {
        let (store, task) = started();
        let watcher = Watcher::new(&store, task.id(), &Arc::default());
        boxed(Watched { task: (store, task), _watcher: watcher })
    };
    (0..count).map(watched).collect()
}

struct Sharing(Store, SharedTask);

impl Counter for Sharing {
    fn count(&mut self, times: usize) {
        let task = &self.1;
        for _ in 0..times {
            let advanced = task.advance(black_box(1));
            debug_assert!(advanced.is_ok());
        }
    }

    fn counted(&self) -> u64 {
        self.1.status().map_or(0, |status| status.done())
    }
}

fn shared_tasks(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    holds(count, one, |first: Option<&Sharing>| match first {
        Some(Sharing(store, task)) => Sharing(store.clone(), task.clone()),
        None => {
            let (store, task) = started();
            Sharing(store, task.share())
        }
    })
}

struct PlainStore(Arc<Line>);

impl Counter for PlainStore {
    fn count(&mut self, times: usize) {
        let line = &*self.0;
        for _ in 0..times {
            line.advance(black_box(1));
        }
    }

    fn counted(&self) -> u64 {
        self.0.read().done
    }
}

fn plain_stores(count: usize, _: bool) -> Vec<Box<dyn Counter>> {
    (0..count).map(|_| boxed(PlainStore(Arc::new(Line::running(0))))).collect()
}

#[derive(Clone, Default)]
struct Addition(Arc<Padded>);

/// A counter in a cache line of its own, so that two of them do not disturb each other.
#[derive(Default)]
#[repr(align(128))]
struct Padded(AtomicU64);

impl Counter for Addition {
    fn count(&mut self, times: usize) {
        let counter = &self.0.0;
        for _ in 0..times {
            counter.fetch_add(black_box(1), Ordering::Relaxed);
        }
    }

    fn counted(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

fn additions(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    holds(count, one, |first: Option<&Addition>| first.cloned().unwrap_or_default())
}

impl Counter for ProgressBar {
    fn count(&mut self, times: usize) {
        for _ in 0..times {
            self.inc(black_box(1));
        }
    }

    fn counted(&self) -> u64 {
        self.position()
    }
}

fn bars(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    holds(count, one, |first: Option<&ProgressBar>| {
        let bar = || ProgressBar::with_draw_target(Some(u64::MAX), ProgressDrawTarget::hidden());
        first.cloned().unwrap_or_else(bar)
    })
}

#[derive(Clone)]
struct Item(Arc<prodash::tree::Item>);

impl Counter for Item {
    fn count(&mut self, times: usize) {
        for _ in 0..times {
            self.0.inc_by(black_box(1));
        }
    }

    fn counted(&self) -> u64 {
        self.0.step().unwrap_or(0) as u64
    }
}

fn items(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    let root = prodash::tree::Root::new();
    holds(count, one, |first: Option<&Item>| {
        first.cloned().unwrap_or_else(|| {
            let item = root.add_child("count");
            item.init(None, None);
            Item(Arc::new(item))
        })
    })
}

#[derive(Clone)]
struct Sender(Arc<watch::Sender<Plain>>);

impl Counter for Sender {
    fn count(&mut self, times: usize) {
        for _ in 0..times {
            self.0.send_modify(|plain| plain.advance(black_box(1)));
        }
    }

    fn counted(&self) -> u64 {
        self.0.borrow().read().done
    }
}

fn senders(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    let sender = || Sender(Arc::new(watch::channel(Plain::running(0)).0));
    holds(count, one, |first: Option<&Sender>| first.cloned().unwrap_or_else(sender))
}

/// A map and the key of one task in it.
struct InMap<M> {
    map: Arc<M>,
    key: TaskId,
}

fn in_map<M>(count: usize, one: bool, map: M, keys: &[TaskId]) -> Vec<Box<dyn Counter>>
where
    InMap<M>: Counter + 'static,
{
    let map = Arc::new(map);
    let of = |key: &TaskId| boxed(InMap { map: Arc::clone(&map), key: *key });
    if one {
        keys.iter().take(1).cycle().take(count).map(of).collect()
    } else {
        keys.iter().take(count).map(of).collect()
    }
}

impl Counter for InMap<DashMap<TaskId, Arc<Compact>, Hasher>> {
    fn count(&mut self, times: usize) {
        for _ in 0..times {
            if let Some(line) = self.map.get(&black_box(self.key)) {
                line.add(black_box(1));
            }
        }
    }

    fn counted(&self) -> u64 {
        self.map.get(&self.key).map_or(0, |line| line.read().done)
    }
}

fn dashed(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    let (keys, _) = uuids(BYSTANDERS);
    let map: DashMap<_, _, Hasher> = keys.iter().map(|key| (*key, Arc::new(Compact::running(0)))).collect();
    in_map(count, one, map, &keys)
}

impl Counter for InMap<RwLock<HashMap<TaskId, Arc<Compact>, Hasher>>> {
    fn count(&mut self, times: usize) {
        for _ in 0..times {
            if let Some(line) = self.map.read().get(&black_box(self.key)) {
                line.add(black_box(1));
            }
        }
    }

    fn counted(&self) -> u64 {
        self.map.read().get(&self.key).map_or(0, |line| line.read().done)
    }
}

fn read_locked(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    let (keys, _) = uuids(BYSTANDERS);
    let map = keys.iter().map(|key| (*key, Arc::new(Compact::running(0)))).collect();
    in_map(count, one, RwLock::<HashMap<_, _, Hasher>>::new(map), &keys)
}

impl Counter for InMap<Mutex<HashMap<TaskId, Plain, Hasher>>> {
    fn count(&mut self, times: usize) {
        for _ in 0..times {
            let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(plain) = map.get_mut(&black_box(self.key)) {
                plain.advance(black_box(1));
            }
        }
    }

    fn counted(&self) -> u64 {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        map.get(&self.key).map_or(0, |plain| plain.read().done)
    }
}

fn locked(count: usize, one: bool) -> Vec<Box<dyn Counter>> {
    let (keys, _) = uuids(BYSTANDERS);
    let map = keys.iter().map(|key| (*key, Plain::running(0))).collect();
    in_map(count, one, Mutex::<HashMap<_, _, Hasher>>::new(map), &keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_count_and_lose_nothing() {
        for counting in COUNTINGS {
            for one in [false, true] {
                if one && !counting.is_shared {
                    continue;
                }
                let mut holds = (counting.make)(2, one);
                assert_eq!(holds.len(), 2);
                assert!(count(&mut holds, one, 1000).is_ok(), "{}", counting.name);
            }
        }
    }

    /// Loses one increment in each run.
    struct Lossy(u64);

    impl Counter for Lossy {
        fn count(&mut self, times: usize) {
            self.0 += times as u64 - 1;
        }

        fn counted(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_lost_increment_is_an_error() {
        let mut holds = vec![boxed(Lossy(0))];
        assert_eq!(count(&mut holds, false, 10), Err("9 counted of 10".to_owned()));
    }
}
