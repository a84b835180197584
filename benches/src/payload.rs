//! The peers' data of a task: the same fields as a `Status`, in one cache line of atomics, or as a plain
//! struct if a lock is held anyway.

use std::sync::atomic::{AtomicU64, Ordering};

/// The result of a poll: the fields that every subject has to read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<V> {
    /// Whether the task runs.
    pub running: bool,
    /// The attempt.
    pub attempt: u64,
    /// The count.
    pub done: u64,
    /// The total; here it is the task's [tag](crate::subject::Subject::tag).
    pub total: u64,
    /// Orders this observation among those of the same task.
    pub version: V,
}

/// A version of a peer: the sequence of transitions, then progress.
pub type PeerVersion = (u64, u64);

const PENDING: u64 = 0;
const RUNNING: u64 = 1;
const SUCCEEDED: u64 = 3;
const STATE_MASK: u64 = 0xFF;
const ATTEMPT_SHIFT: u32 = 8;
const ATTEMPT: u64 = 1 << ATTEMPT_SHIFT;
const ATTEMPT_MASK: u64 = 0xFFFF;
const SEQUENCE_SHIFT: u32 = 24;
const SEQUENCE: u64 = 1 << SEQUENCE_SHIFT;

/// One task of a peer: atomics that are read from one instant in the same way as the store's (a packed word
/// before and after the fields), written by one thread at a time.
#[derive(Debug, Default)]
pub struct Compact {
    word: AtomicU64,
    progress: AtomicU64,
    total: AtomicU64,
    _created: AtomicU64,
    _started: AtomicU64,
    updated: AtomicU64,
}

/// The same in a cache line of its own, so that a poll reads exactly one line besides the map's.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Line(Compact);

impl Line {
    /// A task that runs, in its first attempt.
    #[must_use]
    pub fn running(total: u64) -> Self {
        Self(Compact::running(total))
    }
}

impl std::ops::Deref for Line {
    type Target = Compact;

    #[inline(always)]
    fn deref(&self) -> &Compact {
        &self.0
    }
}

impl Compact {
    /// A task that runs, in its first attempt.
    #[must_use]
    pub fn running(total: u64) -> Self {
        Self {
            word: AtomicU64::new(RUNNING | ATTEMPT | SEQUENCE),
            total: AtomicU64::new(total),
            ..Self::default()
        }
    }

    /// All fields, from one instant.
    #[inline(always)]
    pub fn read(&self) -> Seen<PeerVersion> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let progress = self.progress.load(Ordering::Acquire);
            let total = self.total.load(Ordering::Acquire);
            let again = self.word.load(Ordering::Acquire);
            if again == word {
                return seen(word, progress, total);
            }
            word = again;
        }
    }

    /// All fields, without reading the word again: the least that a read can do. For the floors.
    #[inline(always)]
    pub fn glance(&self) -> Seen<PeerVersion> {
        let word = self.word.load(Ordering::Relaxed);
        let progress = self.progress.load(Ordering::Relaxed);
        seen(word, progress, self.total.load(Ordering::Relaxed))
    }

    /// Adds to the count, as the only writer.
    #[inline(always)]
    pub fn advance(&self, count: u64) {
        let done = self.progress.load(Ordering::Relaxed);
        self.progress.store(done + count, Ordering::Release);
    }

    /// Adds to the count, as one of several writers.
    #[inline(always)]
    pub fn add(&self, count: u64) {
        self.progress.fetch_add(count, Ordering::Relaxed);
    }

    /// Ends this attempt and starts the next one, as the only writer.
    pub fn retry(&self) {
        let word = self.word.load(Ordering::Relaxed);
        let pending = (word & !STATE_MASK) + SEQUENCE + ATTEMPT;
        // The exchange keeps the store of progress behind it, for a reader that saw the word before.
        self.word.swap(pending, Ordering::AcqRel);
        self.progress.store(0, Ordering::Release);
        self.word.store(pending + SEQUENCE + RUNNING, Ordering::Release);
    }

    /// Ends the task.
    pub fn succeed(&self, now: u64) {
        let word = self.word.load(Ordering::Relaxed);
        self.updated.store(now, Ordering::Relaxed);
        self.word.store((word & !STATE_MASK) + SEQUENCE + SUCCEEDED, Ordering::Release);
    }
}

#[inline(always)]
fn seen(word: u64, progress: u64, total: u64) -> Seen<PeerVersion> {
    let running = word & STATE_MASK == RUNNING;
    let done = if word & STATE_MASK == PENDING { 0 } else { progress };
    let attempt = word >> ATTEMPT_SHIFT & ATTEMPT_MASK;
    Seen { running, attempt, done, total, version: (word >> SEQUENCE_SHIFT, done) }
}

/// One task as a plain struct, for a map under a lock or a watch channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain {
    word: u64,
    progress: u64,
    total: u64,
    _created: u64,
    _started: u64,
    updated: u64,
}

impl Plain {
    /// A task that runs, in its first attempt.
    #[must_use]
    pub fn running(total: u64) -> Self {
        Self { word: RUNNING | ATTEMPT | SEQUENCE, total, ..Self::default() }
    }

    /// All fields.
    #[inline(always)]
    #[must_use]
    pub fn read(&self) -> Seen<PeerVersion> {
        seen(self.word, self.progress, self.total)
    }

    /// Adds to the count.
    #[inline(always)]
    pub fn advance(&mut self, count: u64) {
        self.progress += count;
    }

    /// Ends this attempt and starts the next one.
    pub fn retry(&mut self) {
        self.word = (self.word & !STATE_MASK) + 2 * SEQUENCE + ATTEMPT + RUNNING;
        self.progress = 0;
    }

    /// Ends the task.
    pub fn succeed(&mut self, now: u64) {
        self.updated = now;
        self.word = (self.word & !STATE_MASK) + SEQUENCE + SUCCEEDED;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_and_plain_tell_the_same_story() {
        let (line, mut plain) = (Line::running(7), Plain::running(7));
        let same = |line: &Line, plain: &Plain| {
            let (a, b) = (line.read(), plain.read());
            assert_eq!((a.running, a.attempt, a.done, a.total), (b.running, b.attempt, b.done, b.total));
            assert_eq!(a.version, b.version);
            assert_eq!(line.glance().version, a.version);
        };
        same(&line, &plain);
        line.advance(5);
        plain.advance(5);
        same(&line, &plain);
        line.retry();
        plain.retry();
        same(&line, &plain);
        assert_eq!((line.read().attempt, line.read().done), (2, 0));
        line.succeed(1);
        plain.succeed(1);
        same(&line, &plain);
        assert!(!line.read().running);
    }

    #[test]
    fn a_line_is_a_line() {
        assert_eq!((size_of::<Line>(), align_of::<Line>()), (64, 64));
        assert_eq!((size_of::<Compact>(), size_of::<Plain>()), (48, 48));
    }
}
