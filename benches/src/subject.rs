//! The subjects of the measurements, and the checks that run during them.
//!
//! A [`Subject`] is a store of tasks of any kind: the real one, a map under a lock, a slab, or plain lines.
//! Its polls are compiled into one loop per subject and [mode](Subject::MODES), so there is no dynamic
//! dispatch while the clock runs.
//!
//! # The checks
//!
//! A task's total is derived from its key, and a writer keeps the low six bits of `done` and `attempt` equal.
//! So *every* poll of every subject is checked: it must be of the right task, and not torn. Every sixteenth
//! poll is compared with the last version of the same task that this thread has seen, if its table of 1,024
//! versions still has it. A run in which a check fails has no time, only a [`Violation`].

use std::fmt;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inflight::{MAX_COUNT, TaskId};

use crate::harness::{Gate, lap, race};
use crate::payload::Seen;

/// The kind of a subject; it decides which ratios the subject counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The store.
    Ours,
    /// A concurrent map, or a map under a readers-writer lock.
    Map,
    /// A slab: a peer whose key is an address, as the store's is.
    Slab,
    /// `Mutex<HashMap>`.
    Mutex,
    /// Another peer.
    Other,
    /// The least work possible.
    Floor,
}

impl Role {
    /// Whether it is a peer.
    #[must_use]
    pub const fn is_peer(self) -> bool {
        matches!(self, Role::Map | Role::Slab | Role::Mutex | Role::Other)
    }
}

/// A store of tasks.
pub trait Subject: Sized + Sync + Send + 'static {
    /// The key of a task.
    type Key: Copy + Send + Sync;
    /// Orders the observations of one task.
    type Version: Copy + Ord + Send;
    /// A writer's handle to a task.
    type Hand: Send;

    /// What kind of thing it is.
    const ROLE: Role;
    /// The ways in which it can be polled: each has a line in the tables.
    const MODES: &'static [&'static str];

    /// Creates one with so many tasks, all of them running.
    fn build(tasks: usize) -> Built<Self>;

    /// The total of the task with this key.
    fn tag(key: Self::Key) -> u64;

    /// Runs `job`, with polls in the way `mode`.
    fn poll<J: Job<Self>>(&self, mode: usize, job: J) -> J::Out;

    /// Does one step of work on a task.
    fn write(&self, hand: &mut Self::Hand, step: Step);
}

/// The total of a task whose key is an id: as many of the id's low bits as a total can have. With 32 of them,
/// about a hundred pairs among a million tasks would share a tag, and the checks would take one task for the
/// other.
#[inline(always)]
#[must_use]
pub const fn tag_of(id: TaskId) -> u64 {
    id.as_u128() as u64 & MAX_COUNT
}

/// A loop of polls; it gets a closure that polls.
pub trait Job<S: Subject> {
    /// Its result.
    type Out;
    /// Runs the loop.
    fn run(self, read: impl Fn(S::Key) -> Option<Seen<S::Version>>) -> Self::Out;
}

/// A subject with its tasks.
#[derive(Debug)]
pub struct Built<S: Subject> {
    /// The subject.
    pub store: S,
    /// The tasks' keys.
    pub keys: Vec<S::Key>,
    /// Keys of no task.
    pub absent: Vec<S::Key>,
    /// Writers' handles to the first tasks, [`WRITTEN`] of them or all.
    pub hands: Vec<S::Hand>,
}

/// The greatest number of tasks that a writer works on, in turn.
pub const WRITTEN: usize = 1024;

/// One step of work on a task.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Progress.
    Advance(u64),
    /// The next attempt.
    Retry,
}

/// The state of a writer's work on one task; the low six bits of `done` and `attempt` agree.
#[derive(Clone, Copy, Debug)]
struct Pace {
    attempt: u64,
    steps: u32,
}

/// The number of steps in an attempt.
const STEPS_PER_ATTEMPT: u32 = 4096;

impl Pace {
    const START: Self = Self { attempt: 1, steps: 0 };

    #[inline]
    fn next(&mut self) -> Step {
        self.steps += 1;
        // The greatest number of attempts that every subject supports.
        if self.steps > STEPS_PER_ATTEMPT && self.attempt < 0xFFFE {
            *self = Self { attempt: self.attempt + 1, steps: 0 };
            return Step::Retry;
        }
        let low = self.attempt & 63;
        Step::Advance(if self.steps == 1 && low > 0 { low } else { 64 })
    }
}

/// The load by the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// There is no writer.
    None,
    /// One update per microsecond on average; the writer sleeps in between, so it takes little of a core.
    Paced,
    /// One update after the other.
    Tight,
}

impl Writer {
    /// The word for it in the name of a scenario; empty without a writer.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Writer::None => "",
            Writer::Paced => "+writer",
            Writer::Tight => "+tight writer",
        }
    }
}

/// A run of polls.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether the tasks are there.
    pub hits: bool,
    /// The writer during the run.
    pub writer: Writer,
    /// How many tasks are written to, from the first on; at most [`WRITTEN`].
    pub written: usize,
    /// How many polls each thread makes.
    pub ops: usize,
    /// Where in the stream to begin.
    pub from: usize,
}

/// A check failed: the subject is wrong, so its time is meaningless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Polls that did not find a task that is there, or found one that is not.
    pub missed: u64,
    /// Polls that were torn, or returned another task.
    pub torn: u64,
    /// Polls that saw a version go back.
    pub regressed: u64,
}

impl Violation {
    fn found(&self) -> bool {
        self.missed > 0 || self.torn > 0 || self.regressed > 0
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} polls missed, {} torn or of another task, {} saw a version go back",
            self.missed, self.torn, self.regressed
        )
    }
}

impl std::error::Error for Violation {}

/// A subject in one of its modes, with its type erased.
pub trait Contender: Send {
    /// Its name in the tables.
    fn name(&self) -> &'static str;
    /// What kind of thing it is.
    fn role(&self) -> Role;
    /// Whether it has keys without a task, so that misses can be measured.
    fn can_miss(&self) -> bool;
    /// Whether it has writers.
    fn can_write(&self) -> bool;
    /// Prepares the keys of these streams.
    fn prepare(&mut self, streams: &[Vec<u32>], hits: bool);
    /// Runs and times the plan.
    ///
    /// # Errors
    ///
    /// A check failed.
    fn run(&self, plan: &Plan) -> Result<Duration, Violation>;
}

/// A subject in all of its modes; they share its tasks.
#[must_use]
pub fn contenders<S: Subject>(tasks: usize) -> Vec<Box<dyn Contender>> {
    let Built { store, keys, absent, hands } = S::build(tasks);
    let hands = hands.into_iter().map(|hand| (hand, Pace::START)).collect();
    let shared = std::sync::Arc::new(Shared::<S> { store, keys, absent, hands: Mutex::new(hands) });
    let contender = |mode| {
        let shared = std::sync::Arc::clone(&shared);
        Box::new(InMode { shared, mode, streams: Vec::new() }) as Box<dyn Contender>
    };
    (0..S::MODES.len()).map(contender).collect()
}

struct Shared<S: Subject> {
    store: S,
    keys: Vec<S::Key>,
    absent: Vec<S::Key>,
    hands: Mutex<Vec<(S::Hand, Pace)>>,
}

struct InMode<S: Subject> {
    shared: std::sync::Arc<Shared<S>>,
    mode: usize,
    streams: Vec<Vec<S::Key>>,
}

impl<S: Subject> Contender for InMode<S> {
    fn name(&self) -> &'static str {
        S::MODES.get(self.mode).copied().unwrap_or("?")
    }

    fn role(&self) -> Role {
        S::ROLE
    }

    fn can_miss(&self) -> bool {
        !self.shared.absent.is_empty()
    }

    fn can_write(&self) -> bool {
        !self.shared.hands.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn prepare(&mut self, streams: &[Vec<u32>], hits: bool) {
        let keys = if hits { &self.shared.keys } else { &self.shared.absent };
        let key = |at: &u32| keys.get(*at as usize % keys.len().max(1)).copied();
        self.streams = streams.iter().map(|stream| stream.iter().filter_map(key).collect()).collect();
    }

    fn run(&self, plan: &Plan) -> Result<Duration, Violation> {
        let shared = &*self.shared;
        let body = |at: usize, gate: &Gate| {
            let keys = self.streams.get(at).map_or(&[][..], Vec::as_slice);
            shared.store.poll(self.mode, Polling { keys, plan, gate })
        };
        let company = |gate: &Gate| shared.keep_writing(plan, gate);
        let company: Option<&(dyn Fn(&Gate) + Sync)> =
            if plan.writer == Writer::None { None } else { Some(&company) };
        let (elapsed, found) = race(self.streams.len(), body, company);
        // A floor does not read the word again, so with a writer some of its reads are torn: it leaves this
        // check out.
        let is_excused = S::ROLE == Role::Floor && plan.writer != Writer::None;
        match found.into_iter().find(Violation::found).filter(|_| !is_excused) {
            Some(violation) => Err(violation),
            None => Ok(elapsed),
        }
    }
}

impl<S: Subject> Shared<S> {
    fn keep_writing(&self, plan: &Plan, gate: &Gate) {
        let mut hands = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        let mut step = |at: usize| {
            let at = at % plan.written.clamp(1, WRITTEN);
            if let Some((hand, pace)) = hands.get_mut(at) {
                self.store.write(hand, pace.next());
            }
        };
        gate.pass();
        let begin = Instant::now();
        let mut written = 0;
        while !gate.is_over() {
            if plan.writer == Writer::Tight {
                // Checks the gate only once in 64 steps.
                (written..written + 64).for_each(&mut step);
                written += 64;
                continue;
            }
            let due = usize::try_from(begin.elapsed().as_micros()).unwrap_or(usize::MAX);
            (written..due).for_each(&mut step);
            written = due.max(written);
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

/// How many versions a reader remembers.
const REMEMBERED: usize = 1024;

/// The loop that is timed.
struct Polling<'a, K> {
    keys: &'a [K],
    plan: &'a Plan,
    gate: &'a Gate,
}

/// How often a poll is compared with an earlier one: once in this many.
const COMPARED: usize = 16;

impl<S: Subject> Job<S> for Polling<'_, S::Key> {
    type Out = crate::harness::Lap<Violation>;

    fn run(self, read: impl Fn(S::Key) -> Option<Seen<S::Version>>) -> Self::Out {
        let Polling { keys, plan, gate } = self;
        let mut remembered: Vec<Option<(u64, S::Version)>> = vec![None; REMEMBERED];
        let length = keys.len().max(1);
        let from = plan.from / COMPARED * COMPARED % length;
        // Warm-up: caches, branch predictors and page tables, with polls that the timed ones follow.
        let warm = (plan.ops / 4).max(COMPARED);
        let _ = black_box(polls::<S>(keys, from, warm, plan.hits, &mut remembered, &read));
        let from = (from + warm) / COMPARED * COMPARED % length;
        lap(gate, || polls::<S>(keys, from, plan.ops, plan.hits, &mut remembered, &read))
    }
}

#[inline(never)]
fn polls<S: Subject>(
    keys: &[S::Key],
    from: usize,
    ops: usize,
    hits: bool,
    remembered: &mut [Option<(u64, S::Version)>],
    read: &impl Fn(S::Key) -> Option<Seen<S::Version>>,
) -> Violation {
    let (mut sum, mut hit, mut torn, mut regressed) = (0u64, 0u64, 0u64, 0u64);
    let (mut left, mut at) = (ops / COMPARED, from);
    while left > 0 {
        let rest = keys.get(at..).unwrap_or_default();
        let mut done = 0;
        for chunk in rest.chunks_exact(COMPARED).take(left) {
            done += 1;
            let mut last = None;
            for key in chunk {
                let key = *key;
                if let Some(seen) = read(key) {
                    hit += 1;
                    let mixed = (seen.done ^ seen.attempt) & 63;
                    let mixed = if seen.done == 0 { 0 } else { mixed };
                    torn += u64::from((seen.total ^ S::tag(key)) | mixed != 0);
                    sum = sum.wrapping_add(seen.done ^ u64::from(seen.running));
                    last = Some((S::tag(key), seen.version));
                }
            }
            if let Some((tag, version)) = last
                && let Some(place) = remembered.get_mut(tag as usize % REMEMBERED)
            {
                let back = matches!(place, Some((of, before)) if *of == tag && *before > version);
                regressed += u64::from(back);
                *place = Some((tag, version));
            }
        }
        left -= done;
        at = 0;
        if done == 0 && rest.len() == keys.len() {
            break; // A stream shorter than a chunk: counted as missed, below.
        }
    }
    black_box(sum);
    let expected = if hits { (ops / COMPARED * COMPARED) as u64 } else { 0 };
    Violation { missed: hit.abs_diff(expected), torn, regressed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Line, PeerVersion};

    /// A subject that can be wrong in each of the ways that the checks look for.
    struct Wrong {
        line: Line,
        how: How,
        polls: std::sync::atomic::AtomicU64,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum How {
        Not,
        Missing,
        Another,
        Torn,
        Back,
    }

    thread_local! {
        static HOW: std::cell::Cell<How> = const { std::cell::Cell::new(How::Not) };
    }

    impl Subject for Wrong {
        type Key = u64;
        type Version = PeerVersion;
        type Hand = ();
        const ROLE: Role = Role::Other;
        const MODES: &'static [&'static str] = &["wrong"];

        fn build(_: usize) -> Built<Self> {
            let line = Line::running(9);
            line.advance(1);
            let store = Self { line, how: HOW.get(), polls: 0.into() };
            Built { store, keys: vec![9], absent: vec![8], hands: vec![()] }
        }

        fn tag(key: u64) -> u64 {
            key
        }

        fn poll<J: Job<Self>>(&self, _: usize, job: J) -> J::Out {
            job.run(|_| {
                let mut seen = self.line.read();
                let polls = self.polls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                match self.how {
                    How::Not => {}
                    How::Missing => return (!polls.is_multiple_of(100)).then_some(seen),
                    How::Another => seen.total += u64::from(polls.is_multiple_of(100)),
                    How::Torn => seen.done += u64::from(polls.is_multiple_of(100)),
                    How::Back => seen.version.0 += u64::from(polls < 2048),
                }
                Some(seen)
            })
        }

        fn write(&self, (): &mut (), step: Step) {
            match step {
                Step::Advance(count) => self.line.advance(count),
                Step::Retry => self.line.retry(),
            }
        }
    }

    fn run(how: How, hits: bool) -> Result<Duration, Violation> {
        HOW.set(how);
        let mut contender = contenders::<Wrong>(1).remove(0);
        let streams = vec![vec![0; 64]];
        contender.prepare(&streams, hits);
        contender.run(&Plan { hits, writer: Writer::None, written: 1, ops: 4096, from: 0 })
    }

    #[test]
    fn each_check_finds_what_it_is_for() {
        assert!(run(How::Not, true).is_ok());
        assert!(run(How::Missing, true).is_err_and(|found| found.missed > 0 && found.torn == 0));
        assert!(run(How::Not, false).is_err_and(|found| found.missed > 0));
        assert!(run(How::Another, true).is_err_and(|found| found.torn > 0 && found.missed == 0));
        assert!(run(How::Torn, true).is_err_and(|found| found.torn > 0 && found.regressed == 0));
        assert!(run(How::Back, true).is_err_and(|found| found.regressed > 0 && found.torn == 0));
    }

    #[test]
    fn tags_tell_four_million_tasks_apart() {
        let mut random = crate::keys::Random::new(0xC11E47);
        let mut tags: Vec<u64> = (0..4_000_000).map(|_| tag_of(TaskId::from_u128(random.uuid()))).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), 4_000_000);
    }

    #[test]
    fn done_and_attempt_agree_in_their_low_bits() {
        let (mut pace, line) = (Pace::START, Line::running(0));
        for _ in 0..10 * STEPS_PER_ATTEMPT {
            match pace.next() {
                Step::Advance(count) => line.advance(count),
                Step::Retry => line.retry(),
            }
            let seen = line.read();
            assert!(seen.done == 0 || (seen.done ^ seen.attempt) & 63 == 0, "{seen:?}");
        }
        assert!(line.read().attempt > 5);
    }
}
