//! The program that `instructions` runs under callgrind: `probes NAME` sets a store up and calls the probe of
//! that name, whose body alone is counted; `probes` lists the names.
//!
//! Each probe makes [`CALLS`] calls in a function of its own, which is not inlined and has no closure:
//! callgrind finds it by its name.

use std::hint::black_box;
use std::process::ExitCode;

use inflight::{Finish, KeeperMode, ManualClock, NewTask, SharedTask, Store, Task, TaskId};

const CALLS: usize = 1_000;

struct World {
    store: Store,
    tasks: Vec<Task>,
    shared: Vec<SharedTask>,
    ids: Vec<TaskId>,
    gone: Vec<TaskId>,
    own: Vec<TaskId>,
    new: Vec<NewTask>,
    made: Vec<Task>,
}

#[expect(clippy::unwrap_used, reason = "the setup of a probe cannot fail")]
impl World {
    fn new() -> Self {
        let store = Store::builder()
            .capacity(8 * CALLS)
            .clock(ManualClock::new())
            .keeper(KeeperMode::Manual)
            .panic_messages(false)
            .build()
            .unwrap();
        let running = |_| {
            let mut task = store.create(NewTask::new("task").total(1 << 20)).unwrap();
            task.start().unwrap();
            task.advance(1).unwrap();
            task
        };
        let tasks: Vec<Task> = (0..CALLS).map(running).collect();
        // Each counter has already recorded progress in this tick.
        let shared = (0..CALLS).map(running).map(Task::share).inspect(|task| task.advance(1).unwrap());
        let shared: Vec<SharedTask> = shared.collect();
        let gone = (0..CALLS).map(running).map(|mut task| {
            assert_eq!(task.succeed(()), Ok(Finish::Won));
            store.remove(task.id()).unwrap().id()
        });
        let gone = gone.collect();
        let own: Vec<TaskId> =
            (1..=CALLS as u128).map(|n| TaskId::from_u128(n << 80 | 4 << 76 | n)).collect();
        let mut made: Vec<Task> =
            own.iter().map(|id| store.create(NewTask::new("own").id(*id)).unwrap()).collect();
        made.reserve(CALLS);
        let ids = tasks.iter().map(Task::id).collect();
        let new = (0..CALLS).map(|_| NewTask::new("new").total(7)).collect();
        Self { store, tasks, shared, ids, gone, own, new, made }
    }
}

#[inline(never)]
fn probe_get_hit(world: &mut World) {
    for id in &world.ids {
        black_box(world.store.get(black_box(*id)));
    }
}

#[inline(never)]
fn probe_get_gone(world: &mut World) {
    for id in &world.gone {
        black_box(world.store.get(black_box(*id)));
    }
}

#[inline(never)]
fn probe_get_own_id(world: &mut World) {
    for id in &world.own {
        black_box(world.store.get(black_box(*id)));
    }
}

#[inline(never)]
fn probe_get_unknown(world: &mut World) {
    for n in 0..CALLS as u128 {
        black_box(world.store.get(black_box(TaskId::from_u128(n << 90))));
    }
}

/// A thousand ids in one call: the figure is per id.
#[inline(never)]
fn probe_get_many_id(world: &mut World) {
    black_box(world.store.get_many(black_box(&world.ids)));
}

#[inline(never)]
fn probe_task_advance(world: &mut World) {
    for task in &mut world.tasks {
        let _ = black_box(task.advance(black_box(1)));
    }
}

#[inline(never)]
fn probe_counter_advance(world: &mut World) {
    if let Some(task) = world.tasks.first_mut() {
        let mut counter = task.counter();
        for _ in 0..CALLS {
            let _ = black_box(counter.advance(black_box(1)));
        }
    }
}

#[inline(never)]
fn probe_shared_advance(world: &mut World) {
    for task in &world.shared {
        let _ = black_box(task.advance(black_box(1)));
    }
}

#[inline(never)]
fn probe_set_message(world: &mut World) {
    for task in &mut world.tasks {
        let _ = black_box(task.set_message(black_box("half of it is done")));
    }
}

#[inline(never)]
fn probe_succeed(world: &mut World) {
    for task in &mut world.tasks {
        let _ = black_box(task.succeed(()));
    }
}

#[inline(never)]
fn probe_create(world: &mut World) {
    while let Some(new) = world.new.pop() {
        world.made.extend(world.store.create(new));
    }
}

type Probe = (&'static str, fn(&mut World));

const PROBES: [Probe; 11] = [
    ("get_hit", probe_get_hit),
    ("get_gone", probe_get_gone),
    ("get_own_id", probe_get_own_id),
    ("get_unknown", probe_get_unknown),
    ("get_many_id", probe_get_many_id),
    ("task_advance", probe_task_advance),
    ("counter_advance", probe_counter_advance),
    ("shared_advance", probe_shared_advance),
    ("set_message", probe_set_message),
    ("succeed", probe_succeed),
    ("create", probe_create),
];

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        PROBES.iter().for_each(|(name, _)| println!("{name} {CALLS}"));
        return ExitCode::SUCCESS;
    };
    let Some((_, probe)) = PROBES.iter().find(|(known, _)| *known == name) else {
        eprintln!("there is no probe {name}");
        return ExitCode::from(2);
    };
    probe(&mut World::new());
    ExitCode::SUCCESS
}
