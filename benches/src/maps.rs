//! Peers that are maps. All have the same keys, the same hasher, and the same payload behind an `Arc`.
//!
//! Readers read the payload in place, without cloning the `Arc`: this is the cheapest read that the map
//! offers. Writers hold the `Arc` and need no lookup, unless the map has no `Arc`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use inflight::TaskId;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::Hasher;
use crate::keys::Random;
use crate::payload::{Line, PeerVersion, Plain};
use crate::subject::{Built, Job, Role, Step, Subject, WRITTEN, tag_of};

/// The keys of a map with so many tasks, and other keys that are not in it.
#[must_use]
pub fn uuids(tasks: usize) -> (Vec<TaskId>, Vec<TaskId>) {
    let mut random = Random::new(0x7A5C);
    let mut draw = |count: usize| (0..count).map(|_| TaskId::from_u128(random.uuid())).collect();
    (draw(tasks), draw(tasks.min(1 << 17)))
}

fn lines(keys: &[TaskId]) -> Vec<Arc<Line>> {
    keys.iter().map(|key| Arc::new(Line::running(tag_of(*key)))).collect()
}

/// One step of work on a line that the writer holds.
pub(crate) fn step_on(line: &Line, step: Step) {
    match step {
        Step::Advance(count) => line.advance(count),
        Step::Retry => line.retry(),
    }
}

fn step_in(plain: &mut Plain, step: Step) {
    match step {
        Step::Advance(count) => plain.advance(count),
        Step::Retry => plain.retry(),
    }
}

/// A map of lines, filled by `insert`.
fn of_lines<S>(tasks: usize, store: S, mut insert: impl FnMut(&S, TaskId, Arc<Line>)) -> Built<S>
where
    S: Subject<Key = TaskId, Hand = Arc<Line>>,
{
    let (keys, absent) = uuids(tasks);
    let lines = lines(&keys);
    let hands = lines.iter().take(WRITTEN).cloned().collect();
    keys.iter().zip(lines).for_each(|(key, line)| insert(&store, *key, line));
    Built { store, keys, absent, hands }
}

/// `Mutex<HashMap<Uuid, Plain>>`: the usual first design. The struct is in the map itself, so a poll needs no
/// further line; a writer looks its task up under the lock.
#[derive(Debug)]
pub struct Locked(Mutex<HashMap<TaskId, Plain, Hasher>>);

impl Subject for Locked {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = TaskId;
    const ROLE: Role = Role::Mutex;
    const MODES: &'static [&'static str] = &["Mutex<HashMap>"];

    fn build(tasks: usize) -> Built<Self> {
        let (keys, absent) = uuids(tasks);
        let map = keys.iter().map(|key| (*key, Plain::running(tag_of(*key)))).collect();
        let hands = keys.iter().take(WRITTEN).copied().collect();
        Built { store: Self(Mutex::new(map)), keys, absent, hands }
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|id| {
            let map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            map.get(&id).map(Plain::read)
        })
    }

    fn write(&self, hand: &mut TaskId, step: Step) {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plain) = map.get_mut(hand) {
            step_in(plain, step);
        }
    }
}

/// `parking_lot::RwLock<HashMap<Uuid, Arc<Line>>>`.
#[derive(Debug)]
pub struct ReadLocked(RwLock<HashMap<TaskId, Arc<Line>, Hasher>>);

impl Subject for ReadLocked {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Map;
    const MODES: &'static [&'static str] = &["RwLock<HashMap>"];

    fn build(tasks: usize) -> Built<Self> {
        of_lines(tasks, Self(RwLock::default()), |store, key, line| {
            store.0.write().insert(key, line);
        })
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|id| self.0.read().get(&id).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}

/// `DashMap<Uuid, Arc<Line>>`.
#[derive(Debug)]
pub struct Dashed(DashMap<TaskId, Arc<Line>, Hasher>);

impl Subject for Dashed {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Map;
    const MODES: &'static [&'static str] = &["DashMap"];

    fn build(tasks: usize) -> Built<Self> {
        of_lines(tasks, Self(DashMap::default()), |store, key, line| {
            store.0.insert(key, line);
        })
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|id| self.0.get(&id).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}

/// `papaya::HashMap<Uuid, Arc<Line>>`, pinned for each poll or once.
#[derive(Debug)]
pub struct Papaya(papaya::HashMap<TaskId, Arc<Line>, Hasher>);

impl Subject for Papaya {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Map;
    const MODES: &'static [&'static str] = &["papaya", "papaya, pinned once"];

    fn build(tasks: usize) -> Built<Self> {
        of_lines(tasks, Self(papaya::HashMap::default()), |store, key, line| {
            store.0.pin().insert(key, line);
        })
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, mode: usize, job: J) -> J::Out {
        if mode == 0 {
            return job.run(|id| self.0.pin().get(&id).map(|line| line.read()));
        }
        let pinned = self.0.pin();
        job.run(|id| pinned.get(&id).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}

/// `scc::HashIndex<Uuid, Arc<Line>>`, guarded for each poll or once.
pub struct Scc(scc::HashIndex<TaskId, Arc<Line>, Hasher>);

impl std::fmt::Debug for Scc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Scc").finish_non_exhaustive()
    }
}

impl Subject for Scc {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Map;
    const MODES: &'static [&'static str] = &["scc HashIndex", "scc HashIndex, guarded once"];

    fn build(tasks: usize) -> Built<Self> {
        of_lines(tasks, Self(scc::HashIndex::default()), |store, key, line| {
            let inserted = store.0.insert_sync(key, line);
            assert!(inserted.is_ok(), "the keys differ");
        })
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, mode: usize, job: J) -> J::Out {
        if mode == 0 {
            return job.run(|id| self.0.peek_with(&id, |_, line| line.read()));
        }
        let guard = scc::Guard::new();
        job.run(|id| self.0.peek(&id, &guard).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}

/// `ArcSwap<HashMap<Uuid, Arc<Line>>>`: each creation or removal would copy the whole map, so only its polls
/// are measured.
#[derive(Debug)]
pub struct Swapped(ArcSwap<HashMap<TaskId, Arc<Line>, Hasher>>);

impl Subject for Swapped {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = Arc<Line>;
    const ROLE: Role = Role::Other;
    const MODES: &'static [&'static str] = &["ArcSwap<HashMap>"];

    fn build(tasks: usize) -> Built<Self> {
        let (keys, absent) = uuids(tasks);
        let lines = lines(&keys);
        let hands = lines.iter().take(WRITTEN).cloned().collect();
        let map: HashMap<_, _, Hasher> = keys.iter().copied().zip(lines).collect();
        Built { store: Self(ArcSwap::from_pointee(map)), keys, absent, hands }
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|id| self.0.load().get(&id).map(|line| line.read()))
    }

    fn write(&self, hand: &mut Arc<Line>, step: Step) {
        step_on(hand, step);
    }
}

/// `DashMap<Uuid, watch::Receiver<Plain>>`: the usual design on tokio. The writer holds the sender.
#[derive(Debug)]
pub struct Watched {
    map: DashMap<TaskId, watch::Receiver<Plain>, Hasher>,
    _rest: Vec<watch::Sender<Plain>>,
}

impl Subject for Watched {
    type Key = TaskId;
    type Version = PeerVersion;
    type Hand = watch::Sender<Plain>;
    const ROLE: Role = Role::Other;
    const MODES: &'static [&'static str] = &["DashMap<watch>"];

    fn build(tasks: usize) -> Built<Self> {
        let (keys, absent) = uuids(tasks);
        let map = DashMap::default();
        let channel = |key: &TaskId| {
            let (sender, receiver) = watch::channel(Plain::running(tag_of(*key)));
            map.insert(*key, receiver);
            sender
        };
        let mut hands: Vec<_> = keys.iter().map(channel).collect();
        let rest = hands.split_off(hands.len().min(WRITTEN));
        Built { store: Self { map, _rest: rest }, keys, absent, hands }
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        job.run(|id| self.map.get(&id).map(|receiver| receiver.borrow().read()))
    }

    fn write(&self, hand: &mut watch::Sender<Plain>, step: Step) {
        hand.send_modify(|plain| step_in(plain, step));
    }
}
