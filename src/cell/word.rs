//! The status word: everything about a task that changes in one step, in 64 bits. Pure.
//!
//! ```text
//!  63                                    25 24        10 9 8 7 6 5    3 2    0
//! ┌────────────────────────────────────────┬────────────┬─┬─┬─┬─┬──────┬──────┐
//! │ sequence: 39 bits                      │ attempt: 15│-│D│O│C│reason│ state│
//! └────────────────────────────────────────┴────────────┴─┴─┴─┴─┴──────┴──────┘
//! ```
//!
//! * *state*: 0 is vacant, 1–6 are the [`State`]s. *reason*: of a failure, or why the line was vacated.
//! * *C*: cancellation was requested. *O*: observed, a parent, a watcher or a feed reader wants to know the
//!   task's progress. *D*: dirty, the task is on the keeper's list of tasks to be sampled. O and D are no
//!   part of what a poller observes.
//! * *sequence* grows with every observable change except progress, and keeps growing from one tenant of
//!   the line to the next. So, apart from O and S, no earlier value of the word returns (I5, I7).

use crate::model::reason::{FailureReason, GoneReason};
use crate::model::state::State;

const STATE_MASK: u64 = 0b111;
const REASON_SHIFT: u32 = 3;
const REASON_MASK: u64 = 0b111 << REASON_SHIFT;
const CANCEL_REQUESTED: u64 = 1 << 6;
const UNSEEN: u64 = Word::OBSERVED | Word::DIRTY;
const ATTEMPT_SHIFT: u32 = 10;
const ATTEMPT_BITS: u32 = 15;
const ATTEMPT_MASK: u64 = ((1 << ATTEMPT_BITS) - 1) << ATTEMPT_SHIFT;
const SEQUENCE_SHIFT: u32 = ATTEMPT_SHIFT + ATTEMPT_BITS;
const SEQUENCE_ONE: u64 = 1 << SEQUENCE_SHIFT;

/// From this sequence number on, a task can only end.
const SEQUENCE_LAST: u64 = (u64::MAX >> SEQUENCE_SHIFT) - 16;

/// From this sequence number on, a line takes no further tenant.
const SEQUENCE_TENANCY: u64 = SEQUENCE_LAST / 2;

const _: () = assert!(SEQUENCE_SHIFT == 25 && STATE_MASK >= State::ALL.len() as u64);
const _: () = assert!(FailureReason::ALL.len() < 8);

/// The greatest number of attempts of a task, the first one included.
///
/// ```
/// # use inflight::MAX_ATTEMPTS;
/// assert_eq!(MAX_ATTEMPTS, 32_767);
/// ```
pub const MAX_ATTEMPTS: u32 = (1 << ATTEMPT_BITS) - 1;

/// A value of the status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word(u64);

/// Why a word cannot be changed as requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The line has no tenant (any more).
    Vacant,
    /// The table of transitions does not contain the transition.
    Transition { from: State },
    /// [`MAX_ATTEMPTS`] have been made.
    Attempts,
    /// The sequence is used up.
    Sequence,
}

impl Word {
    pub(crate) const OBSERVED: u64 = 1 << 7;
    pub(crate) const DIRTY: u64 = 1 << 8;

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn is_vacant(self) -> bool {
        self.0 & STATE_MASK == 0
    }

    /// `None` if the line is vacant.
    #[inline(always)]
    pub(crate) const fn state(self) -> Option<State> {
        Some(match self.0 & STATE_MASK {
            1 => State::Pending,
            2 => State::Running,
            3 => State::Blocked,
            4 => State::Succeeded,
            5 => State::Failed,
            6 => State::Cancelled,
            _ => return None,
        })
    }

    #[inline(always)]
    pub(crate) const fn is_pending(self) -> bool {
        self.0 & STATE_MASK == 1
    }

    #[inline(always)]
    pub(crate) const fn is_terminal(self) -> bool {
        self.0 & STATE_MASK >= 4
    }

    const fn reason_code(self) -> u64 {
        (self.0 & REASON_MASK) >> REASON_SHIFT
    }

    pub(crate) const fn failure_reason(self) -> Option<FailureReason> {
        if self.0 & STATE_MASK != code(State::Failed) {
            return None;
        }
        Some(match self.reason_code() {
            1 => FailureReason::Error,
            2 => FailureReason::Panicked,
            3 => FailureReason::Lost,
            4 => FailureReason::TimedOut,
            5 => FailureReason::Rejected,
            _ => return None,
        })
    }

    pub(crate) const fn gone_reason(self) -> Option<GoneReason> {
        if !self.is_vacant() {
            return None;
        }
        Some(match self.reason_code() {
            1 => GoneReason::Expired,
            2 => GoneReason::Evicted,
            3 => GoneReason::Removed,
            _ => return None,
        })
    }

    pub(crate) const fn attempt(self) -> u32 {
        ((self.0 & ATTEMPT_MASK) >> ATTEMPT_SHIFT) as u32
    }

    pub(crate) const fn sequence(self) -> u64 {
        self.0 >> SEQUENCE_SHIFT
    }

    pub(crate) const fn cancel_requested(self) -> bool {
        self.0 & CANCEL_REQUESTED != 0
    }

    pub(crate) const fn is_observed(self) -> bool {
        self.0 & Self::OBSERVED != 0
    }

    pub(crate) const fn is_dirty(self) -> bool {
        self.0 & Self::DIRTY != 0
    }

    /// Whether a poller observes the two words as the same.
    #[inline(always)]
    pub(crate) const fn looks_like(self, other: Word) -> bool {
        (self.0 ^ other.0) & !UNSEEN == 0
    }

    /// The word as a poller observes it.
    #[inline(always)]
    pub(crate) const fn seen(self) -> Word {
        Word(self.0 & !UNSEEN)
    }

    pub(crate) const fn observed(self) -> Word {
        Word(self.0 | Self::OBSERVED)
    }

    /// The word with the next sequence number, and with the same state, reason, attempt and flags.
    const fn next(self) -> Word {
        Word(self.0.wrapping_add(SEQUENCE_ONE))
    }

    const fn with_state(self, state: u64, reason: u64) -> Word {
        Word(self.0 & !(STATE_MASK | REASON_MASK) | state | reason << REASON_SHIFT)
    }

    /// The word of a new task on this vacant line.
    pub(crate) const fn tenanted(self) -> Word {
        let fresh = Word(self.0 >> SEQUENCE_SHIFT << SEQUENCE_SHIFT | 1 << ATTEMPT_SHIFT);
        fresh.with_state(code(State::Pending), 0).next()
    }

    /// Whether the line can take another tenant.
    pub(crate) const fn can_be_tenanted(self) -> bool {
        self.is_vacant() && self.sequence() < SEQUENCE_TENANCY
    }

    /// The word of the line once its task is gone.
    pub(crate) const fn vacated(self, reason: GoneReason) -> Word {
        let reason = match reason {
            GoneReason::Expired => 1,
            GoneReason::Evicted => 2,
            GoneReason::Removed => 3,
        };
        Word(self.0 & !UNSEEN).with_state(0, reason).next()
    }

    /// The word after a cold change: a message, a new total.
    pub(crate) const fn changed(self) -> Result<Word, Refusal> {
        match self.state() {
            None => Err(Refusal::Vacant),
            Some(from) if from.is_terminal() => Err(Refusal::Transition { from }),
            Some(_) if self.sequence() >= SEQUENCE_LAST => Err(Refusal::Sequence),
            Some(_) => Ok(self.next()),
        }
    }

    /// The word after cancellation was requested; the same word if it had been requested before.
    pub(crate) const fn with_cancel_requested(self) -> Result<Word, Refusal> {
        match self.changed() {
            Ok(_) if self.cancel_requested() => Ok(self),
            Ok(changed) => Ok(Word(changed.0 | CANCEL_REQUESTED)),
            refused => refused,
        }
    }

    /// The word after a transition to `to`, if the table contains it. A transition to `Pending` is a retry.
    /// A `reason` is given only with `Failed`.
    pub(crate) fn transition_to(self, to: State, reason: Option<FailureReason>) -> Result<Word, Refusal> {
        let from = self.state().ok_or(Refusal::Vacant)?;
        if !from.allows(to) {
            return Err(Refusal::Transition { from });
        }
        if !to.is_terminal() && self.sequence() >= SEQUENCE_LAST {
            return Err(Refusal::Sequence);
        }
        let reason = match reason {
            None => 0,
            Some(FailureReason::Error) => 1,
            Some(FailureReason::Panicked) => 2,
            Some(FailureReason::Lost) => 3,
            Some(FailureReason::TimedOut) => 4,
            Some(FailureReason::Rejected) => 5,
        };
        let word = self.with_state(code(to), reason).next();
        if to != State::Pending {
            return Ok(word);
        }
        if self.attempt() >= MAX_ATTEMPTS {
            return Err(Refusal::Attempts);
        }
        Ok(Word(word.0 + (1 << ATTEMPT_SHIFT)))
    }
}

const fn code(state: State) -> u64 {
    match state {
        State::Pending => 1,
        State::Running => 2,
        State::Blocked => 3,
        State::Succeeded => 4,
        State::Failed => 5,
        State::Cancelled => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_state(state: State) -> Word {
        let reason = (state == State::Failed).then_some(FailureReason::Error);
        let pending = Word::from_bits(0).tenanted();
        match state {
            State::Pending => pending,
            State::Running => pending.transition_to(State::Running, None).unwrap(),
            _ => in_state(State::Running).transition_to(state, reason).unwrap(),
        }
    }

    #[test]
    fn i3_i5_every_pair_of_states() {
        for from in State::ALL {
            let word = in_state(from);
            assert_eq!(word.state(), Some(from));
            for to in State::ALL {
                match word.transition_to(to, None) {
                    Ok(next) => {
                        assert!(from.allows(to));
                        assert_eq!(next.state(), Some(to));
                        assert_eq!(next.sequence(), word.sequence() + 1);
                        assert_eq!(next.attempt(), word.attempt() + u32::from(to == State::Pending));
                    }
                    Err(refusal) => {
                        assert!(!from.allows(to));
                        assert_eq!(refusal, Refusal::Transition { from });
                    }
                }
            }
        }
    }

    #[test]
    fn flags_do_not_disturb_the_rest() {
        for state in State::ALL {
            let word = in_state(state);
            let flagged = Word(word.0 | Word::OBSERVED | Word::DIRTY);
            assert!(flagged.is_observed() && flagged.is_dirty() && flagged.looks_like(word));
            assert_eq!(flagged.seen(), word);
            assert_eq!(
                (flagged.state(), flagged.attempt(), flagged.sequence()),
                (word.state(), word.attempt(), word.sequence())
            );
        }
    }

    #[test]
    fn a_request_to_cancel_changes_a_live_word_once() {
        for state in State::ALL {
            let word = in_state(state);
            match word.with_cancel_requested() {
                Ok(next) => {
                    assert!(next.cancel_requested() && next.sequence() == word.sequence() + 1);
                    assert_eq!(next.with_cancel_requested(), Ok(next));
                    assert_eq!(next.state(), Some(state));
                }
                Err(refusal) => {
                    assert!(state.is_terminal());
                    assert_eq!(refusal, Refusal::Transition { from: state });
                }
            }
        }
    }

    #[test]
    fn every_failure_reason_is_kept() {
        for reason in FailureReason::ALL {
            let word = in_state(State::Running).transition_to(State::Failed, Some(reason)).unwrap();
            assert_eq!(word.failure_reason(), Some(reason));
            assert_eq!(word.gone_reason(), None);
        }
    }

    #[test]
    fn i5_i7_a_word_never_comes_back_when_a_line_is_used_again() {
        let ended = Word(in_state(State::Failed).0 | Word::OBSERVED | Word::DIRTY);
        for reason in [GoneReason::Expired, GoneReason::Evicted, GoneReason::Removed] {
            let vacant = ended.vacated(reason);
            assert!(vacant.is_vacant() && !vacant.is_observed() && !vacant.is_dirty());
            assert_eq!(vacant.gone_reason(), Some(reason));
            assert_eq!(vacant.changed(), Err(Refusal::Vacant));
            let next = vacant.tenanted();
            assert_eq!(
                (next.state(), next.attempt(), next.failure_reason()),
                (Some(State::Pending), 1, None)
            );
            assert!(next.sequence() > vacant.sequence() && vacant.sequence() > ended.sequence());
        }
    }

    #[test]
    fn attempts_are_bounded() {
        let mut word = in_state(State::Running);
        for attempt in 2..=MAX_ATTEMPTS {
            word = word.transition_to(State::Pending, None).unwrap();
            assert_eq!(word.attempt(), attempt);
            word = word.transition_to(State::Running, None).unwrap();
        }
        assert_eq!(word.transition_to(State::Pending, None), Err(Refusal::Attempts));
    }

    #[test]
    fn a_used_up_sequence_refuses_all_but_the_end() {
        let running = in_state(State::Running);
        let word = Word(running.0 & !(u64::MAX << SEQUENCE_SHIFT) | SEQUENCE_LAST << SEQUENCE_SHIFT);
        assert_eq!(word.changed(), Err(Refusal::Sequence));
        assert_eq!(word.with_cancel_requested(), Err(Refusal::Sequence));
        assert_eq!(word.transition_to(State::Blocked, None), Err(Refusal::Sequence));
        let ended = word.transition_to(State::Succeeded, None).unwrap();
        let vacant = ended.vacated(GoneReason::Expired);
        assert!(vacant.sequence() > ended.sequence() && !vacant.can_be_tenanted());
    }
}
