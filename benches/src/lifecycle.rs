//! Create, and the whole life: create, ten updates, finish, expire.
//!
//! The peers are as good as they can be made by hand: a queue in the order of ends, so that expiry costs as
//! much as is due; ids from a counter that is mixed, not from the system. They check no status change, keep
//! no counts and notify no waiters.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use idr_ebr::{EbrGuard, Idr};
use inflight::{KeeperMode, ManualClock, NewTask, Retention, State, Store, Task, TaskId};
use parking_lot::RwLock;
use sharded_slab::Slab;

use crate::Hasher;
use crate::harness::{Gate, lap, race};
use crate::keys::Random;
use crate::payload::{Compact, Plain};
use crate::subject::Role;

/// A store in which tasks are created, end and are removed.
pub trait Turnstile: Sync + Send + Default {
    /// Finds a task.
    type Key: Copy + Send + Sync;
    /// The result of creating a task.
    type Hand: Send;

    /// Its name in the tables.
    const NAME: &'static str;
    /// What kind of thing it is.
    const ROLE: Role;

    /// Creates a task; `id` is for stores that do not mint ids.
    fn create(&self, id: TaskId) -> (Self::Key, Self::Hand);
    /// Makes an update by id, as a service does that keeps nothing else of a task.
    fn update(&self, key: Self::Key, hand: &mut Self::Hand);
    /// Reads the count, by id.
    fn poll(&self, key: Self::Key) -> Option<u64>;
    /// Ends the task.
    fn finish(&self, key: Self::Key, hand: Self::Hand, now: u64);
    /// Removes it.
    fn remove(&self, key: Self::Key);
    /// How many tasks there are.
    fn stored(&self) -> usize;
}

macro_rules! arc_map {
    ($(#[$doc:meta])* $name:ident, $map:ty, $line:literal, $role:expr, |$this:ident| insert($key:ident, $arc:ident) $insert:expr,
        get($get_key:ident, $f:ident) $get:expr, remove($remove_key:ident) $remove:expr, len $len:expr) => {
        $(#[$doc])*
        #[derive(Default)]
        pub struct $name($map);

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($line)
            }
        }

        impl Turnstile for $name {
            type Key = TaskId;
            type Hand = ();
            const NAME: &'static str = $line;
            const ROLE: Role = $role;

            fn create(&self, id: TaskId) -> (TaskId, ()) {
                let ($this, $key, $arc) = (&self.0, id, Arc::new(Compact::running(0)));
                let _ = $insert;
                (id, ())
            }

            fn update(&self, key: TaskId, (): &mut ()) {
                let ($this, $get_key, $f) = (&self.0, key, |line: &Arc<Compact>| line.add(1));
                let _ = $get;
            }

            fn poll(&self, key: TaskId) -> Option<u64> {
                let ($this, $get_key, $f) = (&self.0, key, |line: &Arc<Compact>| line.read().done);
                $get
            }

            fn finish(&self, key: TaskId, (): (), now: u64) {
                let ($this, $get_key, $f) = (&self.0, key, |line: &Arc<Compact>| line.succeed(now));
                let _ = $get;
            }

            fn remove(&self, key: TaskId) {
                let ($this, $remove_key) = (&self.0, key);
                let _ = $remove;
            }

            fn stored(&self) -> usize {
                let $this = &self.0;
                $len
            }
        }
    };
}

arc_map!(
    /// `DashMap<Uuid, Arc<_>>`.
    Dashed, DashMap<TaskId, Arc<Compact>, Hasher>, "DashMap", Role::Map,
    |map| insert(key, arc) map.insert(key, arc),
    get(key, f) map.get(&key).map(|line| f(&line)),
    remove(key) map.remove(&key),
    len map.len()
);
arc_map!(
    /// `papaya::HashMap<Uuid, Arc<_>>`.
    Papaya, papaya::HashMap<TaskId, Arc<Compact>, Hasher>, "papaya", Role::Map,
    |map| insert(key, arc) map.pin().insert(key, arc).is_none(),
    get(key, f) map.pin().get(&key).map(f),
    remove(key) map.pin().remove(&key).is_some(),
    len map.len()
);
arc_map!(
    /// `scc::HashIndex<Uuid, Arc<_>>`.
    Scc, scc::HashIndex<TaskId, Arc<Compact>, Hasher>, "scc HashIndex", Role::Map,
    |map| insert(key, arc) map.insert_sync(key, arc),
    get(key, f) map.peek_with(&key, |_, line| f(line)),
    remove(key) map.remove_sync(&key),
    len map.len()
);
arc_map!(
    /// `parking_lot::RwLock<HashMap<Uuid, Arc<_>>>`.
    ReadLocked, RwLock<HashMap<TaskId, Arc<Compact>, Hasher>>, "RwLock<HashMap>", Role::Map,
    |map| insert(key, arc) map.write().insert(key, arc),
    get(key, f) map.read().get(&key).map(f),
    remove(key) map.write().remove(&key),
    len map.read().len()
);

/// `DashMap<Uuid, Arc<_>>` again, but the worker keeps the `Arc` and counts without the map, with a plain
/// atomic store: a handle built by hand.
#[derive(Debug, Default)]
pub struct Kept(DashMap<TaskId, Arc<Compact>, Hasher>);

impl Turnstile for Kept {
    type Key = TaskId;
    type Hand = Arc<Compact>;
    const NAME: &'static str = "DashMap, Arc kept";
    const ROLE: Role = Role::Other;

    fn create(&self, id: TaskId) -> (TaskId, Arc<Compact>) {
        let line = Arc::new(Compact::running(0));
        self.0.insert(id, Arc::clone(&line));
        (id, line)
    }

    fn update(&self, _: TaskId, hand: &mut Arc<Compact>) {
        hand.advance(1);
    }

    fn poll(&self, key: TaskId) -> Option<u64> {
        self.0.get(&key).map(|line| line.read().done)
    }

    fn finish(&self, _: TaskId, hand: Arc<Compact>, now: u64) {
        hand.succeed(now);
    }

    fn remove(&self, key: TaskId) {
        self.0.remove(&key);
    }

    fn stored(&self) -> usize {
        self.0.len()
    }
}

/// `Mutex<HashMap<Uuid, Plain>>`.
#[derive(Debug, Default)]
pub struct Locked(Mutex<HashMap<TaskId, Plain, Hasher>>);

impl Locked {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<TaskId, Plain, Hasher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turnstile for Locked {
    type Key = TaskId;
    type Hand = ();
    const NAME: &'static str = "Mutex<HashMap>";
    const ROLE: Role = Role::Mutex;

    fn create(&self, id: TaskId) -> (TaskId, ()) {
        self.map().insert(id, Plain::running(0));
        (id, ())
    }

    fn update(&self, key: TaskId, (): &mut ()) {
        if let Some(plain) = self.map().get_mut(&key) {
            plain.advance(1);
        }
    }

    fn poll(&self, key: TaskId) -> Option<u64> {
        self.map().get(&key).map(|plain| plain.read().done)
    }

    fn finish(&self, key: TaskId, (): (), now: u64) {
        if let Some(plain) = self.map().get_mut(&key) {
            plain.succeed(now);
        }
    }

    fn remove(&self, key: TaskId) {
        self.map().remove(&key);
    }

    fn stored(&self) -> usize {
        self.map().len()
    }
}

/// `idr_ebr::Idr<Arc<_>>`.
#[derive(Default)]
pub struct Resolver(Idr<Arc<Compact>>, AtomicU64);

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("idr-ebr")
    }
}

impl Turnstile for Resolver {
    type Key = idr_ebr::Key;
    type Hand = ();
    const NAME: &'static str = "idr-ebr";
    const ROLE: Role = Role::Slab;

    fn create(&self, _: TaskId) -> (idr_ebr::Key, ()) {
        self.1.fetch_add(1, Ordering::Relaxed);
        (self.0.insert(Arc::new(Compact::running(0))).expect("the slab is not full"), ())
    }

    fn update(&self, key: idr_ebr::Key, (): &mut ()) {
        if let Some(line) = self.0.get(key, &EbrGuard::new()) {
            line.add(1);
        }
    }

    fn poll(&self, key: idr_ebr::Key) -> Option<u64> {
        self.0.get(key, &EbrGuard::new()).map(|line| line.read().done)
    }

    fn finish(&self, key: idr_ebr::Key, (): (), now: u64) {
        if let Some(line) = self.0.get(key, &EbrGuard::new()) {
            line.succeed(now);
        }
    }

    fn remove(&self, key: idr_ebr::Key) {
        if self.0.remove(key) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn stored(&self) -> usize {
        self.1.load(Ordering::Relaxed) as usize
    }
}

/// `sharded_slab::Slab<Arc<_>>`.
#[derive(Debug, Default)]
pub struct Sharded(Slab<Arc<Compact>>, AtomicU64);

impl Turnstile for Sharded {
    type Key = usize;
    type Hand = ();
    const NAME: &'static str = "sharded-slab";
    const ROLE: Role = Role::Slab;

    fn create(&self, _: TaskId) -> (usize, ()) {
        self.1.fetch_add(1, Ordering::Relaxed);
        (self.0.insert(Arc::new(Compact::running(0))).expect("the slab is not full"), ())
    }

    fn update(&self, key: usize, (): &mut ()) {
        if let Some(line) = self.0.get(key) {
            line.add(1);
        }
    }

    fn poll(&self, key: usize) -> Option<u64> {
        self.0.get(key).map(|line| line.read().done)
    }

    fn finish(&self, key: usize, (): (), now: u64) {
        if let Some(line) = self.0.get(key) {
            line.succeed(now);
        }
    }

    fn remove(&self, key: usize) {
        if self.0.remove(key) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn stored(&self) -> usize {
        self.1.load(Ordering::Relaxed) as usize
    }
}

// ---- create -----------------------------------------------------------------------------------------

/// A store whose creations can be timed.
#[derive(Clone, Copy, Debug)]
pub struct Creating {
    /// Its name in the tables.
    pub name: &'static str,
    /// What kind of thing it is.
    pub role: Role,
    /// Times so many creations on each of so many threads, into an empty store.
    pub run: fn(usize, usize) -> Result<Duration, String>,
}

/// All of them.
pub const CREATINGS: &[Creating] = &[
    Creating { name: "inflight", role: Role::Ours, run: create_ours },
    Creating { name: Dashed::NAME, role: Role::Map, run: create::<Dashed> },
    Creating { name: Papaya::NAME, role: Role::Map, run: create::<Papaya> },
    Creating { name: Scc::NAME, role: Role::Map, run: create::<Scc> },
    Creating { name: ReadLocked::NAME, role: Role::Map, run: create::<ReadLocked> },
    Creating { name: Locked::NAME, role: Role::Mutex, run: create::<Locked> },
    Creating { name: Resolver::NAME, role: Role::Slab, run: create::<Resolver> },
    Creating { name: Sharded::NAME, role: Role::Slab, run: create::<Sharded> },
];

fn create_ours(threads: usize, count: usize) -> Result<Duration, String> {
    let store = manual(threads * count, &ManualClock::new());
    let body = |_: usize, gate: &Gate| {
        let mut handles: Vec<Task> = Vec::with_capacity(count);
        lap(gate, || {
            handles.extend((0..count).filter_map(|_| store.create(NewTask::new("job")).ok()));
            handles
        })
    };
    let (elapsed, handles) = race(threads, body, None);
    let made = handles.iter().map(Vec::len).sum::<usize>();
    stored_is(made, threads * count).map(|()| elapsed)
}

fn create<T: Turnstile>(threads: usize, count: usize) -> Result<Duration, String> {
    let store = T::default();
    let body = |at: usize, gate: &Gate| {
        let mut random = Random::new(at as u64);
        let mut hands = Vec::with_capacity(count);
        lap(gate, || {
            hands.extend((0..count).map(|_| store.create(TaskId::from_u128(random.uuid()))));
            hands
        })
    };
    let (elapsed, hands) = race(threads, body, None);
    drop(hands);
    stored_is(store.stored(), threads * count).map(|()| elapsed)
}

fn stored_is(found: usize, expected: usize) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{found} tasks stored of {expected}")) }
}

/// A store that is ticked by hand and keeps what succeeded for [`KEPT_ROUNDS`] milliseconds.
fn manual(capacity: usize, clock: &ManualClock) -> Store {
    let built = Store::builder()
        .capacity(capacity)
        .clock(clock.clone())
        .keeper(KeeperMode::Manual)
        .retain(Retention::forever().succeeded_for(Duration::from_millis(KEPT_ROUNDS as u64)))
        .panic_messages(false)
        .build();
    built.expect("a store of that capacity")
}

// ---- the whole life ---------------------------------------------------------------------------------

/// The number of lives in a round. A round takes a millisecond by the clock for expiry.
pub const ROUND: usize = 256;

/// Tasks are kept for this many rounds after their end.
pub const KEPT_ROUNDS: usize = 16;

/// Updates in a life.
pub const UPDATES: usize = 10;

/// A store in which whole lives are timed, on so many threads.
pub trait Churn: Send {
    /// Runs so many rounds of lives on each thread; returns the time.
    ///
    /// # Errors
    ///
    /// More tasks are left than are kept.
    fn rounds(&mut self, rounds: usize) -> Result<Duration, String>;
}

/// A kind of store in which whole lives are timed.
#[derive(Clone, Copy, Debug)]
pub struct Churning {
    /// Its name in the tables.
    pub name: &'static str,
    /// What kind of thing it is.
    pub role: Role,
    /// Creates one for so many threads.
    pub make: fn(usize) -> Box<dyn Churn>,
}

/// All of them.
pub const CHURNINGS: &[Churning] = &[
    Churning { name: "inflight", role: Role::Ours, make: |threads| Box::new(Ours::new(threads)) },
    Churning { name: Dashed::NAME, role: Role::Map, make: peer::<Dashed> },
    Churning { name: Papaya::NAME, role: Role::Map, make: peer::<Papaya> },
    Churning { name: Scc::NAME, role: Role::Map, make: peer::<Scc> },
    Churning { name: ReadLocked::NAME, role: Role::Map, make: peer::<ReadLocked> },
    Churning { name: Kept::NAME, role: Role::Other, make: peer::<Kept> },
    Churning { name: Locked::NAME, role: Role::Mutex, make: peer::<Locked> },
    Churning { name: Resolver::NAME, role: Role::Slab, make: peer::<Resolver> },
    Churning { name: Sharded::NAME, role: Role::Slab, make: peer::<Sharded> },
];

struct Ours {
    store: Store,
    clock: ManualClock,
    threads: usize,
}

impl Ours {
    fn new(threads: usize) -> Self {
        let clock = ManualClock::new();
        let store = manual(threads * ROUND * (2 * KEPT_ROUNDS + 8), &clock);
        Self { store, clock, threads }
    }

    fn life(&self) -> bool {
        let Ok(mut task) = self.store.create(NewTask::new("job")) else { return false };
        task.start().is_ok() && (0..UPDATES).all(|_| task.advance(1).is_ok()) && task.succeed(()).is_ok()
    }
}

impl Churn for Ours {
    fn rounds(&mut self, rounds: usize) -> Result<Duration, String> {
        let this = &*self;
        let body = |at: usize, gate: &Gate| {
            lap(gate, || {
                let mut lived = 0;
                for round in 0..rounds {
                    lived += (0..ROUND).filter(|_| this.life()).count();
                    // The threads do the keeper's work in turn.
                    if round % this.threads == at {
                        this.clock.advance(Duration::from_millis(1));
                        this.store.tick();
                    }
                }
                lived
            })
        };
        let (elapsed, lived) = race(self.threads, body, None);
        stored_is(lived.iter().sum(), self.threads * rounds * ROUND)?;
        let kept = self.store.counts().of(State::Succeeded) as usize;
        kept_is(kept, self.threads, rounds).map(|()| elapsed)
    }
}

fn kept_is(found: usize, threads: usize, rounds: usize) -> Result<(), String> {
    // Twice as many, since the slower one of two threads is alone at the end, and does only every second
    // turn.
    let most = threads * ROUND * (2 * KEPT_ROUNDS + 4);
    let least = ROUND * (KEPT_ROUNDS - 4).min(rounds / 2);
    let is_kept = (least..=most).contains(&found);
    if is_kept { Ok(()) } else { Err(format!("{found} tasks kept, not {least} to {most}")) }
}

struct Peer<T: Turnstile> {
    store: T,
    lanes: Vec<Mutex<Lane<T>>>,
}

struct Lane<T: Turnstile> {
    random: Random,
    now: u64,
    ended: VecDeque<(u64, T::Key)>,
}

fn peer<T: Turnstile + 'static>(threads: usize) -> Box<dyn Churn> {
    let lane = |at| Mutex::new(Lane { random: Random::new(at), now: 0, ended: VecDeque::new() });
    Box::new(Peer { store: T::default(), lanes: (0..threads as u64).map(lane).collect() })
}

impl<T: Turnstile> Peer<T> {
    fn round(&self, lane: &mut Lane<T>) {
        for _ in 0..ROUND {
            let (key, mut hand) = self.store.create(TaskId::from_u128(lane.random.uuid()));
            (0..UPDATES).for_each(|_| self.store.update(key, &mut hand));
            self.store.finish(key, hand, lane.now);
            lane.ended.push_back((lane.now, key));
        }
        lane.now += 1;
        while let Some((ended, key)) = lane.ended.front().copied() {
            if ended + KEPT_ROUNDS as u64 > lane.now {
                break;
            }
            lane.ended.pop_front();
            self.store.remove(key);
        }
    }
}

impl<T: Turnstile> Churn for Peer<T> {
    fn rounds(&mut self, rounds: usize) -> Result<Duration, String> {
        let this = &*self;
        let body = |at: usize, gate: &Gate| {
            let mut lane = this.lanes.get(at).map(|lane| lane.lock().unwrap_or_else(PoisonError::into_inner));
            lap(gate, || {
                if let Some(lane) = &mut lane {
                    (0..rounds).for_each(|_| this.round(lane));
                }
            })
        };
        let (elapsed, _) = race(self.lanes.len(), body, None);
        kept_is(self.store.stored(), self.lanes.len(), rounds).map(|()| elapsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_create() {
        for creating in CREATINGS {
            for threads in [1, 2] {
                assert!((creating.run)(threads, 500).is_ok(), "{}", creating.name);
            }
        }
    }

    #[test]
    fn lives_end_and_what_is_due_goes() {
        for churning in CHURNINGS {
            for threads in [1, 2] {
                let mut churn = (churning.make)(threads);
                for rounds in [40, 40] {
                    let led = churn.rounds(rounds);
                    assert!(led.is_ok(), "{} on {threads}: {led:?}", churning.name);
                }
            }
        }
    }

    #[test]
    fn a_peer_that_keeps_everything_is_refused() {
        assert!(kept_is(3 * ROUND * KEPT_ROUNDS, 1, 100).is_err());
        assert!(kept_is(0, 1, 100).is_err());
    }
}
