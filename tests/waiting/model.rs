//! Random histories of a few tasks, with waiters and readers that are created and polled at random moments,
//! compared with what should be reported to them.

use std::collections::HashMap;
use std::task::Poll;

use inflight::{
    ChangeKind, ChangedSince, Changes, Drained, FailureReason, Filter, ManualClock, NewTask, Status, Store,
    Task, TaskId, Version, Wait, Watch,
};
use proptest::prelude::*;

use crate::support::{Bell, builder, tick};

const TASKS: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Creates the task, if there is none at this index. The task at the first index has a client's id.
    Create(usize),
    /// Tries one of the changes that are reported at once.
    Change(usize, Change),
    Advance(usize),
    Tick,
    /// Creates waiters for the task, one of each kind; or polls them, or forgets them.
    Watch(usize),
    Look(usize),
    Forget(usize),
    /// Creates a reader of the feed; or drains it, or waits until there is a change.
    Read,
    Drain(usize),
    Sleep(usize),
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Start,
    Message,
    Total,
    Block,
    Resume,
    Retry,
    Cancel,
    Succeed,
    Fail,
    Vanish,
    Remove,
}

fn step() -> impl Strategy<Value = Step> {
    use Change::{Block, Cancel, Fail, Message, Remove, Resume, Retry, Start, Succeed, Total, Vanish};
    let change = prop_oneof![
        6 => Just(Start), 3 => Just(Message), 1 => Just(Total), 2 => Just(Block), 2 => Just(Resume),
        2 => Just(Retry), 1 => Just(Cancel), 1 => Just(Succeed), 1 => Just(Fail), 1 => Just(Vanish),
        3 => Just(Remove),
    ];
    prop_oneof![
        4 => (0..TASKS).prop_map(Step::Create),
        16 => (0..TASKS, change).prop_map(|(at, change)| Step::Change(at, change)),
        8 => (0..TASKS).prop_map(Step::Advance),
        6 => Just(Step::Tick),
        4 => (0..TASKS).prop_map(Step::Watch),
        12 => any::<usize>().prop_map(Step::Look),
        1 => any::<usize>().prop_map(Step::Forget),
        1 => Just(Step::Read),
        4 => any::<usize>().prop_map(Step::Drain),
        4 => any::<usize>().prop_map(Step::Sleep),
    ]
}

/// One task's waiters of every kind. Each of them may have been left pending, and then expects a wake-up.
struct Waiters {
    /// The number of the task: a client's id alone does not identify it.
    life: usize,
    watch: (Watch, Bell, Option<Status>),
    wait: (Wait, Bell, Option<Status>),
    change: (ChangedSince, Bell, Version),
    asleep: bool,
}

/// The change in a step, as far as waiters are told of it.
#[derive(Clone, Copy)]
enum Told {
    Nothing,
    Change(usize),
    Progress,
}

struct Reader {
    changes: Changes,
    mirror: HashMap<TaskId, Status>,
    bell: Bell,
    asleep: bool,
}

#[derive(Default)]
struct Place {
    task: Option<Task>,
    id: Option<TaskId>,
    life: usize,
}

struct World {
    store: Store,
    clock: ManualClock,
    places: Vec<Place>,
    /// The terminal status of each task that has ended.
    ends: HashMap<usize, Status>,
    lives: usize,
    waiters: Vec<Waiters>,
    readers: Vec<Reader>,
}

impl World {
    fn new(feed_limit: usize) -> Self {
        let clock = ManualClock::new();
        Self {
            store: builder(64, &clock).feed_limit(feed_limit).build().unwrap(),
            clock,
            places: (0..TASKS).map(|_| Place::default()).collect(),
            ends: HashMap::new(),
            lives: 0,
            waiters: Vec::new(),
            readers: Vec::new(),
        }
    }

    /// The status of this task, if it is in the store.
    fn now(&self, life: usize) -> Option<Status> {
        let place = self.places.iter().find(|place| place.life == life)?;
        self.store.get(place.id?)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Create(at) => self.create(at),
            Step::Change(at, change) => self.change(at, change),
            Step::Advance(at) => {
                let counted = self.places[at].task.as_mut().is_some_and(|task| task.advance(1).is_ok());
                let rung = self.rung();
                assert!(!counted || rung.is_empty(), "an increment woke a waiter");
            }
            Step::Tick => {
                tick(&self.store, &self.clock);
                self.settle(Told::Progress);
            }
            Step::Watch(at) => self.watch(at),
            Step::Look(which) => self.look(which),
            Step::Forget(which) => {
                if !self.waiters.is_empty() {
                    drop(self.waiters.swap_remove(which % self.waiters.len()));
                }
            }
            Step::Read => self.read(),
            Step::Drain(which) => self.drain(which, false),
            Step::Sleep(which) => self.drain(which, true),
        }
    }

    fn create(&mut self, at: usize) {
        if self.places[at].task.is_some() || self.places[at].id.is_some_and(|id| self.store.get(id).is_some())
        {
            return;
        }
        let new = NewTask::new("test");
        let new = if at == 0 { new.id(TaskId::from_u128(0xABCD)) } else { new };
        let task = self.store.create(new).unwrap();
        self.lives += 1;
        let id = Some(task.id());
        self.places[at] = Place { task: Some(task), id, life: self.lives };
        self.settle(Told::Nothing);
        self.readers_are_called();
    }

    fn change(&mut self, at: usize, change: Change) {
        let life = self.places[at].life;
        let Some(id) = self.places[at].id else { return };
        let before = self.store.get(id).map(|status| status.version());
        let place = &mut self.places[at];
        match (&mut place.task, change) {
            (_, Change::Remove) => drop(self.store.remove(id).map(drop)),
            (_, Change::Cancel) => drop(self.store.cancel(id).map(drop)),
            (Some(task), Change::Start) => drop(task.start()),
            (Some(task), Change::Message) => drop(task.set_message("at work")),
            (Some(task), Change::Total) => drop(task.set_total(1_000)),
            (Some(task), Change::Block) => drop(task.block()),
            (Some(task), Change::Resume) => drop(task.resume()),
            (Some(task), Change::Retry) => drop(task.retry()),
            (Some(task), Change::Succeed) => drop(task.succeed(())),
            (Some(task), Change::Fail) => drop(task.fail(FailureReason::Error, ())),
            (Some(_), Change::Vanish) => {}
            (None, _) => {}
        }
        if matches!(change, Change::Vanish | Change::Remove) {
            place.task = None;
        }
        let after = self.store.get(id);
        if let Some(status) = after.filter(|status| status.is_terminal()) {
            self.ends.entry(life).or_insert(status);
        }
        let has_changed = before != after.map(|status| status.version());
        self.settle(if has_changed { Told::Change(life) } else { Told::Nothing });
        if has_changed {
            self.readers_are_called();
        }
    }

    /// Which waiters were woken. Those expect no wake-up any more.
    fn rung(&mut self) -> Vec<usize> {
        let mut rung = Vec::new();
        for (number, waiters) in self.waiters.iter().enumerate() {
            for bell in [&waiters.watch.1, &waiters.wait.1, &waiters.change.1] {
                if bell.rung() > 0 {
                    rung.push(number);
                }
            }
        }
        rung
    }

    /// Checks that of the pending waiters exactly those were woken that this change concerns.
    fn settle(&mut self, told: Told) {
        for at in 0..self.waiters.len() {
            let waiters = &self.waiters[at];
            let calls = [&waiters.watch.1, &waiters.wait.1, &waiters.change.1].map(Bell::rung);
            if !waiters.asleep {
                continue;
            }
            let now = self.now(waiters.life).map(|status| status.version());
            let is_owed = match told {
                Told::Nothing => false,
                Told::Change(life) => waiters.life == life,
                Told::Progress => now.is_none_or(|now| now > waiters.change.2),
            };
            assert_eq!(calls[0] > 0, is_owed, "watch: {waiters:?} at {now:?}");
            assert_eq!(calls[2] > 0, is_owed, "changed_since: {waiters:?} at {now:?}");
            let has_ended = self.ends.contains_key(&waiters.life);
            assert_eq!(calls[1] > 0, has_ended, "wait: {waiters:?}");
            self.waiters[at].asleep = !is_owed;
        }
    }

    fn readers_are_called(&mut self) {
        for reader in &mut self.readers {
            if std::mem::take(&mut reader.asleep) {
                assert!(reader.bell.rung() > 0, "a reader slept through a change");
            }
        }
    }

    fn watch(&mut self, at: usize) {
        let Place { id: Some(id), life, .. } = self.places[at] else { return };
        let Some(now) = self.store.get(id) else { return };
        let waiters = Waiters {
            life,
            watch: (self.store.watch(id), Bell::new(), None),
            wait: (self.store.wait(id), Bell::new(), None),
            change: (self.store.changed_since(id, now.version()), Bell::new(), now.version()),
            asleep: false,
        };
        self.waiters.push(waiters);
    }

    /// Polls one of the waiters until nothing is left to read.
    fn look(&mut self, which: usize) {
        if self.waiters.is_empty() {
            return;
        }
        let at = which % self.waiters.len();
        let mut waiters = self.waiters.swap_remove(at);
        let now = self.now(waiters.life);
        let end = self.ends.get(&waiters.life).copied();
        let (watch, bell, seen) = &mut waiters.watch;
        loop {
            match bell.next(watch) {
                Poll::Ready(Some(status)) => {
                    assert!(seen.is_none_or(|seen| seen.version() < status.version()), "it went back");
                    assert!(Some(status) == now || Some(status) == end, "{status:?}, {now:?}, {end:?}");
                    *seen = Some(status);
                }
                Poll::Ready(None) => {
                    assert!(seen.is_some() && *seen == end, "the stream ended at {seen:?}, not {end:?}");
                    break;
                }
                Poll::Pending => {
                    assert_eq!(*seen, now, "there is something newer to see");
                    assert_eq!(end, None);
                    break;
                }
            }
        }
        match waiters.wait.1.poll(&mut waiters.wait.0) {
            Poll::Ready(waited) => assert_eq!(waited.ok(), end),
            Poll::Pending => assert_eq!(end, None),
        }
        let (change, bell, seen) = &mut waiters.change;
        match bell.poll(change) {
            Poll::Ready(Ok(status)) => {
                assert!(status.version() > *seen && (Some(status) == now || Some(status) == end));
            }
            Poll::Ready(Err(_)) => assert!(now.is_none() && end.is_some_and(|end| end.version() == *seen)),
            Poll::Pending => assert_eq!(now.map(|now| now.version()), Some(*seen)),
        }
        // A waiter that has seen everything waits for the next change; the others have nothing to wait for.
        if let (None, Some(now)) = (end, now) {
            let place = self.places.iter().find(|place| place.life == waiters.life);
            let id = place.and_then(|place| place.id).unwrap();
            waiters.change = (self.store.changed_since(id, now.version()), Bell::new(), now.version());
            assert!(waiters.change.1.poll(&mut waiters.change.0).is_pending());
            for bell in [&waiters.watch.1, &waiters.wait.1] {
                bell.rung();
            }
            waiters.asleep = true;
            self.waiters.push(waiters);
        }
    }

    fn list(&self) -> HashMap<TaskId, Status> {
        let tasks = self.store.list(&Filter::new()).unwrap().tasks;
        tasks.into_iter().map(|details| (details.status().id(), details.status())).collect()
    }

    fn read(&mut self) {
        if self.readers.len() < 3 {
            let changes = self.store.changes().unwrap();
            let mirror = self.list();
            self.readers.push(Reader { changes, mirror, bell: Bell::new(), asleep: false });
        }
    }

    /// Drains one of the readers; or reads what is reported at a tick, which is then all there is.
    fn drain(&mut self, which: usize, sleep: bool) {
        if self.readers.is_empty() {
            return;
        }
        if sleep {
            self.take(Step::Tick);
        }
        let list = self.list();
        let at = which % self.readers.len();
        let reader = &mut self.readers[at];
        match reader.changes.try_drain() {
            Drained::Resync => reader.mirror.clone_from(&list),
            Drained::Changes(all) => {
                let mut all = all;
                // A client's id may be there twice: the newer task has the greater version.
                all.sort_by_key(|change| change.status.version());
                for change in all {
                    let id = change.status.id();
                    let before = reader.mirror.get(&id).map(|status| status.version());
                    assert!(before.is_none_or(|before| before <= change.status.version()));
                    match change.kind {
                        ChangeKind::Gone(_) => drop(reader.mirror.remove(&id)),
                        _ => drop(reader.mirror.insert(id, change.status)),
                    }
                }
            }
        }
        if sleep {
            assert_eq!(reader.mirror, list, "the feed has missed something");
            let mut drain = reader.changes.drain();
            assert!(reader.bell.poll(&mut drain).is_pending(), "a change is reported twice");
            std::mem::forget(drain);
            reader.bell.rung();
            reader.asleep = true;
        }
    }
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("life", &self.life).field("seen", &self.change.2).finish()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i5_i6_i8_of_any_history_everyone_is_told_what_they_ought_to_be(
        steps in prop::collection::vec(step(), 1..80),
        feed_limit in prop_oneof![Just(1_usize), Just(1_000)],
    ) {
        let mut world = World::new(feed_limit);
        for step in steps {
            world.take(step);
        }
        // In the end all waiters are polled.
        while !world.waiters.is_empty() {
            for at in 0..TASKS {
                world.change(at, Change::Vanish);
                world.change(at, Change::Remove);
            }
            world.look(0);
        }
    }
}
