//! Tail latencies from an open loop: polls are due at fixed times, and each is timed from when it was due. So
//! a poller that is held up does not leave out the samples of that time.
//!
//! A poll is cheaper than reading the clock, so a sample is a batch of polls.

use std::collections::VecDeque;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use inflight::{KeeperMode, ManualClock, NewTask, Retention, Store, Task, TaskId};

use crate::keys::{Random, Spread, streams};
use crate::lifecycle::{Dashed, Locked, Papaya, ReadLocked, Scc, Turnstile};
use crate::payload::Line;
use crate::subject::Role;

/// Polls in a sample.
pub const BATCH: usize = 32;

/// The time between two samples.
pub const INTERVAL: Duration = Duration::from_micros(20);

/// Live tasks that are polled.
pub const LIVE: usize = 100_000;

/// The work next to the polls, on one other thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// Nothing.
    Quiet,
    /// One update per microsecond; 20,000 tasks a second are created and ended, and expire later; upkeep runs
    /// every 50 ms.
    Steady,
    /// All ended tasks expire at once.
    MassExpiry,
}

impl Background {
    /// The word for it in the name of a scenario.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Background::Quiet => "quiet",
            Background::Steady => "steady writers, creates and expiry",
            Background::MassExpiry => "mass expiry",
        }
    }
}

/// A store under load.
trait Loaded: Sync {
    /// Creates one with [`LIVE`] live tasks, and so many ended ones.
    fn build(ended: usize) -> Self
    where
        Self: Sized;
    /// Polls a live task; returns whether it is there.
    fn poll(&self, at: usize) -> bool;
    /// Makes progress on a live task.
    fn update(&self, at: usize);
    /// Creates a task and ends it.
    fn life(&self, random: &mut Random);
    /// Removes the ended tasks; returns how many.
    fn expire(&self) -> usize;
}

/// A kind of store under load.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// Its name in the tables.
    pub name: &'static str,
    /// What kind of thing it is.
    pub role: Role,
    /// Measures it: with which background, for how long at least, and with how many ended tasks.
    pub run: fn(Background, Duration, usize) -> Result<Latencies, String>,
}

/// All of them.
pub const LOADINGS: &[Loading] = &[
    Loading { name: "inflight", role: Role::Ours, run: run::<Ours> },
    Loading { name: Dashed::NAME, role: Role::Map, run: run::<Peer<Dashed>> },
    Loading { name: Papaya::NAME, role: Role::Map, run: run::<Peer<Papaya>> },
    Loading { name: Scc::NAME, role: Role::Map, run: run::<Peer<Scc>> },
    Loading { name: ReadLocked::NAME, role: Role::Map, run: run::<Peer<ReadLocked>> },
    Loading { name: Locked::NAME, role: Role::Mutex, run: run::<Peer<Locked>> },
    Loading { name: "bare line", role: Role::Floor, run: run::<Bare> },
];

/// The measurements.
#[derive(Debug)]
pub struct Latencies {
    /// Nanoseconds from the time when a sample was due to its end.
    pub histogram: Histogram<u64>,
    /// How long the background took.
    pub background: Duration,
}

fn run<L: Loaded>(background: Background, window: Duration, ended: usize) -> Result<Latencies, String> {
    let loaded = L::build(ended);
    let stream = streams(Spread::Uniform, LIVE, 1 << 18, 1).pop().unwrap_or_default();
    let over = AtomicBool::new(false);
    let started = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            while !started.load(Ordering::Acquire) {
                spin_loop();
            }
            let begin = Instant::now();
            let done = accompany(&loaded, background, window, ended);
            let took = begin.elapsed();
            over.store(true, Ordering::Release);
            done.map(|()| took)
        });
        let histogram = open_loop(&loaded, &stream, &started, &over);
        let background = beside.join().map_err(|_| "the background panicked".to_owned())??;
        Ok(Latencies { histogram: histogram?, background })
    })
}

/// The timed loop, which runs until the background is done.
fn open_loop<L: Loaded>(
    loaded: &L,
    stream: &[u32],
    started: &AtomicBool,
    over: &AtomicBool,
) -> Result<Histogram<u64>, String> {
    let mut histogram =
        Histogram::new_with_bounds(1, 100_000_000_000, 3).map_err(|error| error.to_string())?;
    let poll = |batch: &[u32]| batch.iter().filter(|at| loaded.poll(**at as usize)).count();
    // Warm-up.
    black_box(poll(stream));
    let mut batches = stream.chunks_exact(BATCH).cycle();
    started.store(true, Ordering::Release);
    let mut due = Instant::now();
    while !over.load(Ordering::Relaxed) {
        due += INTERVAL;
        while Instant::now() < due {
            spin_loop();
        }
        let found = batches.next().map_or(0, poll);
        let late = due.elapsed();
        if found != BATCH {
            return Err(format!("{found} of {BATCH} live tasks found"));
        }
        histogram.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(histogram)
}

fn accompany<L: Loaded>(loaded: &L, what: Background, window: Duration, ended: usize) -> Result<(), String> {
    let begin = Instant::now();
    match what {
        Background::Quiet => thread::sleep(window),
        Background::MassExpiry => {
            let gone = loaded.expire();
            if gone != ended {
                return Err(format!("{gone} of {ended} tasks expired"));
            }
        }
        Background::Steady => {
            let mut random = Random::new(0xBEEF);
            let (mut updates, mut lives, mut ticks) = (0, 0, 0);
            while begin.elapsed() < window {
                let micros = usize::try_from(begin.elapsed().as_micros()).unwrap_or(usize::MAX);
                while updates < micros {
                    loaded.update(random.below(LIVE));
                    updates += 1;
                }
                while lives < micros / 50 {
                    loaded.life(&mut random);
                    lives += 1;
                }
                if ticks < micros / 50_000 {
                    ticks += 1;
                    loaded.expire();
                }
                thread::sleep(Duration::from_micros(20));
            }
        }
    }
    Ok(())
}

/// The store, ticked by the background.
struct Ours {
    store: Store,
    clock: ManualClock,
    ids: Vec<TaskId>,
    tasks: Mutex<Vec<Task>>,
}

impl Loaded for Ours {
    fn build(ended: usize) -> Self {
        let clock = ManualClock::new();
        let store = Store::builder()
            .capacity(LIVE + ended + 100_000)
            .clock(clock.clone())
            .keeper(KeeperMode::Manual)
            .retain(Retention::forever().succeeded_for(Duration::from_millis(1)))
            .panic_messages(false)
            .build()
            .expect("a store of that capacity");
        let running = |_| {
            let mut task = store.create(NewTask::new("job")).expect("the store is not full");
            task.start().expect("it is pending");
            task
        };
        let tasks: Vec<Task> = (0..LIVE).map(running).collect();
        let ids = tasks.iter().map(Task::id).collect();
        let ours = Self { store, clock, ids, tasks: Mutex::new(tasks) };
        (0..ended).for_each(|_| ours.life(&mut Random::new(0)));
        ours
    }

    fn poll(&self, at: usize) -> bool {
        let status = self.ids.get(at).and_then(|id| self.store.get(*id));
        status.is_some_and(|status| black_box(status.done()) < u64::MAX)
    }

    fn update(&self, at: usize) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let advanced = tasks.get_mut(at).map(|task| task.advance(1));
        assert!(matches!(advanced, Some(Ok(()))), "it runs");
    }

    fn life(&self, _: &mut Random) {
        let mut task = self.store.create(NewTask::new("job")).expect("the store is not full");
        task.start().expect("it is pending");
        assert!(task.succeed(()).is_ok(), "it runs");
    }

    fn expire(&self) -> usize {
        let before = self.store.counts().total();
        self.clock.advance(Duration::from_millis(2));
        self.store.tick();
        usize::try_from(before - self.store.counts().total()).unwrap_or(usize::MAX)
    }
}

/// A peer whose tasks expire from a queue, one removal after the other: this disturbs its pollers less than a
/// scan of the map under its locks.
struct Peer<T: Turnstile> {
    store: T,
    live: Vec<T::Key>,
    hands: Mutex<Vec<T::Hand>>,
    ended: Mutex<VecDeque<T::Key>>,
}

impl<T: Turnstile> Loaded for Peer<T> {
    fn build(ended: usize) -> Self {
        let mut random = Random::new(7);
        let store = T::default();
        let create = |_| store.create(TaskId::from_u128(random.uuid()));
        let (live, hands): (Vec<_>, Vec<_>) = (0..LIVE).map(create).unzip();
        let peer = Self { store, live, hands: Mutex::new(hands), ended: Mutex::default() };
        (0..ended).for_each(|_| peer.life(&mut random));
        peer
    }

    fn poll(&self, at: usize) -> bool {
        let done = self.live.get(at).and_then(|key| self.store.poll(*key));
        done.is_some_and(|done| black_box(done) < u64::MAX)
    }

    fn update(&self, at: usize) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(key), Some(hand)) = (self.live.get(at), hands.get_mut(at)) {
            self.store.update(*key, hand);
        }
    }

    fn life(&self, random: &mut Random) {
        let (key, hand) = self.store.create(TaskId::from_u128(random.uuid()));
        self.store.finish(key, hand, 1);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push_back(key);
    }

    fn expire(&self) -> usize {
        let ended = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
        let count = ended.len();
        ended.into_iter().for_each(|key| self.store.remove(key));
        count
    }
}

/// An array of lines without any background work: the machine's own share of a tail.
struct Bare(Box<[Line]>);

impl Loaded for Bare {
    fn build(_: usize) -> Self {
        Self((0..LIVE as u64).map(Line::running).collect())
    }

    fn poll(&self, at: usize) -> bool {
        self.0.get(at).is_some_and(|line| black_box(line.glance().done) < u64::MAX)
    }

    fn update(&self, at: usize) {
        if let Some(line) = self.0.get(at) {
            line.advance(1);
        }
    }

    fn life(&self, _: &mut Random) {}

    fn expire(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_polls_are_counted_from_when_they_were_due() {
        struct Stuck(AtomicBool);
        impl Loaded for Stuck {
            fn build(_: usize) -> Self {
                Self(AtomicBool::new(true))
            }
            fn poll(&self, at: usize) -> bool {
                // The first poll of the loop (the warm-up reads the whole stream) takes 30 ms.
                if at == LIVE && self.0.swap(false, Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(30));
                }
                true
            }
            fn update(&self, _: usize) {}
            fn life(&self, _: &mut Random) {}
            fn expire(&self) -> usize {
                0
            }
        }
        let stuck = Stuck::build(0);
        stuck.0.store(false, Ordering::Relaxed);
        let (started, over) = (AtomicBool::new(false), AtomicBool::new(false));
        let stream = vec![LIVE as u32; 1 << 12];
        thread::scope(|scope| {
            scope.spawn(|| {
                while !started.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                stuck.0.store(true, Ordering::Relaxed);
                while stuck.0.load(Ordering::Relaxed) {
                    thread::yield_now();
                }
                // Until the loop has made up for the samples that were due during the hold-up.
                thread::sleep(Duration::from_millis(60));
                over.store(true, Ordering::Release);
            });
            let histogram = open_loop(&stuck, &stream, &started, &over).unwrap();
            // One sample was held up, but a thousand were late.
            assert!(histogram.max() >= 30_000_000, "{}", histogram.max());
            let late = histogram.len() - histogram.count_between(0, 5_000_000);
            assert!(late > 500, "{late} of {}", histogram.len());
        });
    }

    #[test]
    fn all_live_tasks_stay_while_others_expire() {
        for loading in LOADINGS {
            for what in [Background::Steady, Background::MassExpiry] {
                let ended = if loading.role == Role::Floor { 0 } else { 2000 };
                let latencies = (loading.run)(what, Duration::from_millis(60), ended);
                assert!(latencies.is_ok(), "{}: {latencies:?}", loading.name);
            }
        }
    }
}
