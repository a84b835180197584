//! When the pulse moves, and what its past moves tell. Pure: the caller brings the time and holds the lock.
//!
//! # What is visible by when
//!
//! C11 (7.17.3) and C++ ([atomics.order]) say that a store should become visible to other threads within a
//! reasonable amount of time, and that in a single thread a store comes before a later load. This module and
//! `upkeep.rs` take [`SETTLE`] of clock time for it: **a store that was made before the clock showed *t* is
//! seen by each load that is made after the clock has shown *t* + `SETTLE`.** Caches are coherent, so a store
//! waits in nothing but its own processor's store buffer, and that drains within microseconds. It also drains
//! when the thread is preempted: an interrupt or the exit of a virtual machine waits for it. The rest of
//! `SETTLE` is for what a processor reorders around the reading of the clock.
//!
//! Two such waits come one after the other wherever a thread stores A and then finds B unchanged, while
//! another stores B and later looks for A: the thread may miss B for `SETTLE`, and its A may be missed for
//! `SETTLE` after that. Twice `SETTLE` is [`INTERVAL`]: a thread that looks for A when the clock shows
//! `INTERVAL` more than after the store of B sees it. (A full fence between the store and the load would need
//! no time, but it would cost each increment many times what it costs now.)
//!
//! The pulse is such a B. So two moves of it are at least `INTERVAL` apart, from after the store of one to
//! before that of the next. A tick that comes sooner leaves the pulse where it is.

use std::time::Duration;

use crate::model::clock::Stamp;

/// After this time a store is visible to all threads.
pub(crate) const SETTLE: Duration = Duration::from_micros(500);

/// After this time a thread has either seen a store, or its own earlier store is visible.
pub(crate) const INTERVAL: Duration = Duration::from_millis(1);

const _: () = assert!(INTERVAL.as_micros() == 2 * SETTLE.as_micros());

/// How many of the last moves are all remembered. Of older ones, as they age, every second, every fourth, and
/// so on: at the age of *n* moves those that are kept are at most *n* / `RECENT` apart.
const RECENT: u64 = 64;

/// The moves of the pulse.
#[derive(Debug)]
pub(crate) struct Pace {
    now: Stamp,
    before: Stamp,
    moved: Stamp,
    /// In order. There are about `RECENT` for each doubling of their age.
    moves: Vec<Move>,
    /// The number of the last move.
    last: u64,
    /// At this length some are forgotten.
    thin_at: usize,
}

#[derive(Clone, Copy, Debug)]
struct Move {
    number: u64,
    /// Where the pulse moved to.
    to: Stamp,
    /// What the clock showed after that.
    moved: Stamp,
}

impl Pace {
    /// The pulse is at `now`, and the clock has shown `moved` since it was set.
    pub(crate) fn new(now: Stamp, moved: Stamp) -> Self {
        Self { now, before: now, moved, moves: Vec::new(), last: 0, thin_at: 4 * RECENT as usize }
    }

    /// Whether the pulse may move when the clock shows `due`.
    pub(crate) fn may_move(&self, due: Stamp) -> bool {
        due >= self.moved.plus(INTERVAL)
    }

    /// The pulse has moved to `to`; the clock has shown `moved` since.
    pub(crate) fn has_moved(&mut self, to: Stamp, moved: Stamp) {
        (self.before, self.now, self.moved) = (self.now, to, moved);
        self.last += 1;
        self.moves.push(Move { number: self.last, to, moved });
        if self.moves.len() >= self.thin_at {
            let last = self.last;
            self.moves.retain(|one| one.number.is_multiple_of(stride(last - one.number)));
            self.thin_at = 2 * self.moves.len();
        }
    }

    /// Where the pulse was before its last move.
    pub(crate) fn before(&self) -> Stamp {
        self.before
    }

    /// Progress that is silent because the task's time was at least `updated` was made by this time; `None`
    /// if it may be made still.
    ///
    /// It is silent only until the thread sees a later pulse, and it does so within `SETTLE` of the move.
    pub(crate) fn silent_until(&self, updated: Stamp) -> Option<Stamp> {
        let next = self.moves.partition_point(|one| one.to <= updated);
        self.moves.get(next).map(|one| one.moved.plus(SETTLE))
    }
}

/// At which distance moves of this age are kept: a power of two.
fn stride(age: u64) -> u64 {
    match age / RECENT {
        0 => 1,
        ratio => 1 << ratio.ilog2(),
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;

    const START: Stamp = Stamp::from_bits(1_000_000);

    fn after(millis: u64) -> Stamp {
        START.plus(Duration::from_millis(millis))
    }

    #[test]
    fn the_pulse_moves_only_when_stores_have_settled() {
        let mut pace = Pace::new(START, START.plus(SETTLE));
        assert!(!pace.may_move(after(1)), "counted from after the store");
        assert!(pace.may_move(after(2)));
        pace.has_moved(after(2), after(7));
        assert_eq!(pace.before(), START);
        assert!(!pace.may_move(after(7)), "the keeper was held up between the clock and the store");
        assert!(pace.may_move(after(8)));
        pace.has_moved(after(8), after(8));
        assert_eq!(pace.before(), after(2));
    }

    #[test]
    fn i10_progress_may_be_silent_until_the_next_move_has_settled() {
        let mut pace = Pace::new(START, START);
        assert_eq!(pace.silent_until(START), None);
        pace.has_moved(after(50), after(55));
        pace.has_moved(after(1_000), after(1_001));
        let until = |updated| pace.silent_until(updated);
        assert_eq!(until(START), Some(after(55).plus(SETTLE)));
        assert_eq!(until(after(49)), Some(after(55).plus(SETTLE)));
        assert_eq!(until(after(50)), Some(after(1_001).plus(SETTLE)));
        assert_eq!(until(after(52)), Some(after(1_001).plus(SETTLE)), "a change between clock and store");
        assert_eq!(until(after(1_000)), None);
    }

    #[test]
    fn i10_old_moves_are_forgotten_but_never_answer_too_early_nor_much_too_late() {
        let mut pace = Pace::new(START, START);
        for number in 1..=200_000_u64 {
            pace.has_moved(after(10 * number), after(10 * number));
            if number.is_multiple_of(9_973) {
                for age in (0..number).step_by(97) {
                    let exact = after(10 * (number - age)).plus(SETTLE);
                    let told = pace.silent_until(after(10 * (number - age) - 1)).unwrap();
                    assert!(told >= exact, "{age}");
                    let late = told.since(exact);
                    assert!(late <= Duration::from_millis(10 * age / RECENT), "{age}: {late:?}");
                }
            }
        }
        assert!(pace.moves.len() < 3_000, "{}", pace.moves.len());
    }
}
