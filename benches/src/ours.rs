//! The store itself: by minted id, by a client's own id, by handle.

use std::time::{Duration, Instant};

use inflight::{KeeperMode, NewTask, Retention, State, Status, Store, Task, TaskId, Version};

use crate::keys::Random;
use crate::payload::Seen;
use crate::subject::{Built, Job, Role, Step, Subject, WRITTEN, tag_of};

/// A store that keeps everything and is ticked by its own thread, as in a service.
///
/// # Panics
///
/// When the system has no memory left.
#[must_use]
pub fn store(capacity: usize) -> Store {
    let built = Store::builder()
        .capacity(capacity)
        .retain(Retention::forever())
        .keeper(KeeperMode::default())
        .panic_messages(false)
        .build();
    built.expect("a store of that capacity")
}

#[inline(always)]
fn seen(status: &Status) -> Seen<Version> {
    Seen {
        running: status.state() == State::Running,
        attempt: u64::from(status.attempt()),
        done: status.done(),
        total: status.total().unwrap_or(0),
        version: status.version(),
    }
}

fn running(store: &Store, new: NewTask) -> Task {
    let mut task = store.create(new).expect("the store is not full");
    task.set_total(tag_of(task.id())).expect("it is pending");
    task.start().expect("it is pending");
    task
}

fn write(task: &mut Task, step: Step) {
    let written = match step {
        Step::Advance(count) => task.advance(count).is_ok(),
        Step::Retry => task.retry().and_then(|()| task.start()).is_ok(),
    };
    assert!(written, "the handle's task runs");
}

/// Ids of tasks that were in the store and are gone.
fn gone(store: &Store, count: usize) -> Vec<TaskId> {
    let cancelled = |_| {
        let mut task = store.create(NewTask::new("gone")).expect("the store is not full");
        task.cancel().expect("it is pending");
        task
    };
    let tasks: Vec<Task> = (0..count).map(cancelled).collect();
    tasks
        .into_iter()
        .map(|task| {
            let _last = store.remove(task.id()).expect("it has ended");
            task.id()
        })
        .collect()
}

/// Polls by the ids that the store mints. A miss is an id whose task is gone.
#[derive(Debug)]
pub struct ById {
    store: Store,
    _rest: Vec<Task>,
}

impl Subject for ById {
    type Key = TaskId;
    type Version = Version;
    type Hand = Task;
    const ROLE: Role = Role::Ours;
    const MODES: &'static [&'static str] = &["inflight"];

    fn build(tasks: usize) -> Built<Self> {
        let store = store(2 * tasks + 1);
        let absent = gone(&store, tasks.min(1 << 17));
        let mut hands: Vec<Task> = (0..tasks).map(|_| running(&store, NewTask::new("job"))).collect();
        let keys = hands.iter().map(Task::id).collect();
        let rest = hands.split_off(hands.len().min(WRITTEN));
        Built { store: Self { store, _rest: rest }, keys, absent, hands }
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        let store = &self.store;
        job.run(|id| store.get(id).map(|status| seen(&status)))
    }

    fn write(&self, hand: &mut Task, step: Step) {
        write(hand, step);
    }
}

/// Polls by UUIDs that the clients chose. A miss is a UUID that was never used.
#[derive(Debug)]
pub struct ByUuid {
    store: Store,
    _rest: Vec<Task>,
}

impl Subject for ByUuid {
    type Key = TaskId;
    type Version = Version;
    type Hand = Task;
    const ROLE: Role = Role::Ours;
    const MODES: &'static [&'static str] = &["inflight, client's UUID"];

    fn build(tasks: usize) -> Built<Self> {
        let store = store(tasks);
        let mut random = Random::new(0xC11E47);
        let mut uuid = || TaskId::from_u128(random.uuid());
        let mut hands: Vec<Task> =
            (0..tasks).map(|_| running(&store, NewTask::new("job").id(uuid()))).collect();
        let keys = hands.iter().map(Task::id).collect();
        let absent = (0..tasks.min(1 << 17)).map(|_| uuid()).collect();
        let rest = hands.split_off(hands.len().min(WRITTEN));
        Built { store: Self { store, _rest: rest }, keys, absent, hands }
    }

    #[inline(always)]
    fn tag(key: TaskId) -> u64 {
        tag_of(key)
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        let store = &self.store;
        job.run(|id| store.get(id).map(|status| seen(&status)))
    }

    fn write(&self, hand: &mut Task, step: Step) {
        write(hand, step);
    }
}

/// Polls by the handle; there is one handle per task.
#[derive(Debug)]
pub struct ByHandle {
    tasks: Vec<Task>,
    _store: Store,
}

impl Subject for ByHandle {
    type Key = usize;
    type Version = Version;
    type Hand = ();
    const ROLE: Role = Role::Ours;
    const MODES: &'static [&'static str] = &["inflight, by handle"];

    fn build(tasks: usize) -> Built<Self> {
        let store = store(tasks);
        let mut handles = Vec::with_capacity(tasks);
        for at in 0..tasks {
            let mut task = store.create(NewTask::new("job")).expect("the store is not full");
            task.set_total(Self::tag(at)).expect("it is pending");
            task.start().expect("it is pending");
            handles.push(task);
        }
        let keys = (0..tasks).collect();
        Built { store: Self { tasks: handles, _store: store }, keys, absent: Vec::new(), hands: Vec::new() }
    }

    #[inline(always)]
    fn tag(key: usize) -> u64 {
        key as u64
    }

    fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
        let tasks = &self.tasks;
        job.run(|at| tasks.get(at)?.status().map(|status| seen(&status)))
    }

    fn write(&self, (): &mut (), _: Step) {}
}

/// Pages of polls, and the same polls one by one.
#[derive(Debug)]
pub struct Pages {
    store: Store,
    ids: Vec<TaskId>,
    _tasks: Vec<Task>,
}

impl Pages {
    /// Polls in a page.
    pub const SIZE: usize = 100;

    /// A store with so many tasks, and pages of them at random.
    #[must_use]
    pub fn new(tasks: usize) -> Self {
        let store = store(tasks);
        let tasks: Vec<Task> = (0..tasks).map(|_| running(&store, NewTask::new("job"))).collect();
        let mut random = Random::new(0x9A6E5);
        let draw = |_| tasks.get(random.below(tasks.len())).map(Task::id);
        let ids = (0..10_000 * Self::SIZE).filter_map(draw).collect();
        Self { store, ids, _tasks: tasks }
    }

    /// The time of so many polls, in pages or one by one, from index `from` of the stream on.
    ///
    /// # Errors
    ///
    /// A task was not found, or a status belongs to another task.
    pub fn time(&self, at_once: bool, from: usize, polls: usize) -> Result<Duration, String> {
        let pages = polls / Self::SIZE;
        let mut wrong = 0;
        let begin = Instant::now();
        let stream = self.ids.chunks_exact(Self::SIZE).cycle().skip(from / Self::SIZE % 10_000);
        for page in stream.take(pages) {
            let check = |(id, status): (&TaskId, Option<Status>)| {
                let tag = status.map_or(0, |status| seen(&status).total);
                u64::from(tag != tag_of(*id))
            };
            wrong += if at_once {
                let statuses = self.store.get_many(page);
                page.iter().zip(statuses).map(check).sum::<u64>()
            } else {
                page.iter().map(|id| (id, self.store.get(*id))).map(check).sum::<u64>()
            };
        }
        let elapsed = begin.elapsed();
        if wrong == 0 { Ok(elapsed) } else { Err(format!("{wrong} of {polls} polls were wrong")) }
    }
}
