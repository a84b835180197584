//! The binary for ThreadSanitizer: threads that poll, count, create and end tasks, synchronised by nothing
//! but the store itself.
//!
//! The standard library is not built for the sanitizer, so the sanitizer does not see the order that locks
//! and the last drop of a counted reference establish, and would report races. So here each `Mutex` of the
//! store is used by one thread only: a task is created, changed, ended and removed by one thread, and one
//! thread ticks. The threads share the store's atomics, the DashMap and the locks.
//!
//! `races [SECONDS]`, by default 5; `ci/tsan.sh` builds it.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::spawn;
use std::time::{Duration, Instant};

use inflight::{
    Finish, KeeperMode, ManualClock, NewTask, Retention, SharedTask, Status, Store, Task, TaskId,
};

/// An id that one thread publishes to others. They may read half of one id and half of another, which is an
/// id without a task.
#[derive(Default)]
struct Board {
    high: AtomicU64,
    low: AtomicU64,
}

impl Board {
    fn show(&self, id: TaskId) {
        // Relaxed: polls must be safe without an order between the id and its task.
        self.high.store((id.as_u128() >> 64) as u64, Ordering::Relaxed);
        self.low.store(id.as_u128() as u64, Ordering::Relaxed);
    }

    fn look(&self) -> TaskId {
        let [high, low] = [&self.high, &self.low].map(|half| u128::from(half.load(Ordering::Relaxed)));
        TaskId::from_u128(high << 64 | low)
    }
}

#[derive(Default)]
struct Stage {
    boards: [Board; 4],
    stop: AtomicBool,
    polls: AtomicU64,
    lives: AtomicU64,
    counted: AtomicU64,
}

impl Stage {
    fn goes_on(&self) -> bool {
        // Relaxed: only the value counts.
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Polls the published ids, and checks what no poller may ever see.
fn poll(store: &Store, stage: &Stage) {
    let mut last: [Option<Status>; 4] = [None; 4];
    while stage.goes_on() {
        let ids: Vec<TaskId> = stage.boards.iter().map(Board::look).collect();
        let statuses = store.get_many(&ids);
        for ((status, last), id) in statuses.into_iter().zip(&mut last).zip(ids) {
            let Some(status) = status else { continue };
            assert_eq!(status.id(), id, "I7");
            if let Some(before) = last.replace(status).filter(|before| before.id() == id) {
                assert!(status.version() >= before.version(), "I5: {before:?}, and then {status:?}");
            }
        }
        stage.polls.fetch_add(4, Ordering::Relaxed);
    }
}

/// Creates and ends tasks, one after the other: with minted ids, or with one client's id.
fn live(store: &Store, stage: &Stage, board: &Board, own: Option<TaskId>) {
    while stage.goes_on() {
        let new = NewTask::new("task").total(3).label("a", "b");
        let Ok(mut task) = store.create(if let Some(id) = own { new.id(id) } else { new }) else { continue };
        let id = task.id();
        board.show(id);
        let _ = task.start();
        for _ in 0..3 {
            let _ = task.advance(1);
        }
        let _ = task.set_message("on its way");
        assert_eq!(task.succeed("done"), Ok(Finish::Won), "I3");
        assert!(store.remove(id).is_ok());
        stage.lives.fetch_add(1, Ordering::Relaxed);
    }
}

fn count(task: &SharedTask, stage: &Stage) {
    while stage.goes_on() {
        if task.advance(1).is_ok() {
            stage.counted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn count_alone(task: &mut Task, stage: &Stage) {
    while stage.goes_on() {
        let _ = task.advance(1);
        let mut counter = task.counter();
        for _ in 0..10 {
            let _ = counter.advance(1);
        }
    }
}

#[expect(clippy::unwrap_used, reason = "the setup cannot fail")]
fn main() -> ExitCode {
    let seconds = std::env::args().nth(1).map_or(5, |seconds| seconds.parse().unwrap());
    let clock = ManualClock::new();
    let store = Store::builder()
        .capacity(16)
        .clock(clock.clone())
        .keeper(KeeperMode::Manual)
        .retain(Retention::forever())
        .panic_messages(false)
        .build()
        .unwrap();
    let running = || {
        let mut task = store.create(NewTask::new("steady")).unwrap();
        task.start().unwrap();
        task
    };
    let (shared, mut alone) = (running().share(), running());
    // Leaked, and not lent by `thread::scope`: that itself ends with the last drop of a counted reference.
    let stage: &'static Stage = Box::leak(Box::default());
    let store: &'static Store = Box::leak(Box::new(store));
    let shared: &'static SharedTask = Box::leak(Box::new(shared));
    let [first, second, third, fourth] = &stage.boards;
    first.show(shared.id());
    second.show(alone.id());
    let threads = [
        spawn(|| poll(store, stage)),
        spawn(|| poll(store, stage)),
        spawn(|| count(shared, stage)),
        spawn(|| count(shared, stage)),
        spawn(move || count_alone(&mut alone, stage)),
        spawn(|| live(store, stage, third, None)),
        spawn(|| live(store, stage, fourth, Some(TaskId::from_u128(4 << 76 | 7)))),
        spawn(move || {
            while stage.goes_on() {
                clock.advance(Duration::from_millis(50));
                store.tick();
                std::thread::yield_now();
            }
        }),
    ];
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        std::thread::yield_now();
    }
    stage.stop.store(true, Ordering::Relaxed);
    let whole = threads.into_iter().map(|thread| thread.join().is_ok()).fold(true, |a, b| a & b);
    let counted = stage.counted.load(Ordering::Relaxed);
    assert_eq!(shared.status().map(|status| status.done()), Some(counted), "an increment is lost");
    let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (polls, lives) = (read(&stage.polls), read(&stage.lives));
    println!("summary: polls={polls} lives={lives} counted={counted} seconds={seconds}");
    // A run in which some thread did nothing has checked nothing.
    if whole && polls > 1_000 && lives > 100 && counted > 1_000 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
