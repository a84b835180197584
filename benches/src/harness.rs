//! Threads, barrier, time and repeats.
//!
//! All threads of a run are started and warmed up before any of them is timed. They leave one spin barrier
//! together, and a run takes from the first start to the last end. The caller interleaves the repeats of
//! different subjects, so that other load on the machine affects all of them.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The barrier of the threads of one run.
#[derive(Debug)]
pub struct Gate {
    threads: usize,
    arrived: AtomicUsize,
    over: AtomicBool,
}

impl Gate {
    fn new(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0), over: AtomicBool::new(false) }
    }

    /// Waits until all threads are here. Spins, and yields if there are fewer cores than threads.
    pub fn pass(&self) {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        let mut rounds = 0u32;
        while self.arrived.load(Ordering::Acquire) < self.threads {
            rounds += 1;
            if rounds.is_multiple_of(1 << 12) {
                thread::yield_now();
            }
            spin_loop();
        }
    }

    /// Whether the timed threads are done, for the threads that accompany them.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// The lap of one thread: its beginning, its end, and its result.
#[derive(Debug)]
pub struct Lap<R> {
    begin: Instant,
    end: Instant,
    result: R,
}

/// Times `work`, which begins after the gate.
pub fn lap<R>(gate: &Gate, work: impl FnOnce() -> R) -> Lap<R> {
    gate.pass();
    let begin = Instant::now();
    let result = work();
    Lap { begin, end: Instant::now(), result }
}

/// Runs `body` on so many threads, and next to them `company`, which runs until [`Gate::is_over`]. Returns
/// the time from the first start to the last end, and the threads' results.
///
/// # Panics
///
/// When a thread panics.
pub fn race<R: Send>(
    threads: usize,
    body: impl Fn(usize, &Gate) -> Lap<R> + Sync,
    company: Option<&(dyn Fn(&Gate) + Sync)>,
) -> (Duration, Vec<R>) {
    let gate = Gate::new(threads + usize::from(company.is_some()));
    let laps: Vec<Lap<R>> = thread::scope(|scope| {
        let (gate, body) = (&gate, &body);
        let others = company.map(|company| scope.spawn(move || company(gate)));
        let timed: Vec<_> = (0..threads).map(|at| scope.spawn(move || body(at, gate))).collect();
        let laps = timed.into_iter().map(|thread| thread.join().expect("a timed thread panicked")).collect();
        gate.over.store(true, Ordering::Relaxed);
        if let Some(others) = others {
            others.join().expect("a writer panicked");
        }
        laps
    });
    let begin = laps.iter().map(|lap| lap.begin).min();
    let end = laps.iter().map(|lap| lap.end).max();
    let elapsed = begin.zip(end).map_or(Duration::ZERO, |(begin, end)| end - begin);
    (elapsed, laps.into_iter().map(|lap| lap.result).collect())
}

/// Nanoseconds per operation and thread.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a time per operation is rounded anyway")]
pub fn per_op(elapsed: Duration, ops: usize) -> f64 {
    elapsed.as_nanos() as f64 / ops.max(1) as f64
}

/// The repeats of one measurement.
#[derive(Clone, Debug, Default)]
pub struct Repeats(Vec<f64>);

impl Repeats {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle one; for an even number, the mean of the two in the middle.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |at: usize| sorted.get(at).copied().unwrap_or(f64::NAN);
        let half = sorted.len() / 2;
        if sorted.len() % 2 == 1 { at(half) } else { f64::midpoint(at(half.wrapping_sub(1)), at(half)) }
    }

    /// The least: the time without interruptions.
    #[must_use]
    pub fn least(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The difference between the greatest and the least, as a fraction of the median.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let greatest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (greatest - self.least()) / self.median()
    }
}

/// The thread counts to measure: 1 and 2, then doubled up to twice the cores where there are more than two
/// cores.
#[must_use]
pub fn thread_counts() -> Vec<usize> {
    let cores = cores();
    let most = if cores > 2 { 2 * cores } else { 2 };
    let mut counts: Vec<usize> =
        std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|count| *count <= most).collect();
    if cores > 2 && !counts.contains(&cores) {
        counts.push(cores);
        counts.sort_unstable();
    }
    counts
}

/// How many threads the machine runs at a time.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread() {
        let mut repeats = Repeats::default();
        [3.0, 1.0, 2.0].into_iter().for_each(|value| repeats.push(value));
        assert_eq!((repeats.median(), repeats.spread()), (2.0, 1.0));
        repeats.push(10.0);
        assert_eq!((repeats.len(), repeats.median()), (4, 2.5));
    }

    #[test]
    fn a_race_is_as_long_as_its_slowest_runner() {
        let pause = Duration::from_millis(20);
        let company = |gate: &Gate| {
            gate.pass();
            while !gate.is_over() {
                thread::yield_now();
            }
        };
        let body = |at: usize, gate: &Gate| {
            lap(gate, || {
                let begin = Instant::now();
                while at == 1 && begin.elapsed() < pause {
                    spin_loop();
                }
                at
            })
        };
        let (elapsed, results) = race(2, body, Some(&company));
        assert!(elapsed >= pause);
        assert_eq!(results, [0, 1]);
    }
}
