//! The transitions of a task, and its cold changes. Each holds the record's lock for a few stores
//! (`cell/mod.rs` says in which order, and why), so the transitions of one task come one after the other.

use std::sync::Arc as StdArc;

use crate::cell::{Cell, MAX_COUNT, Word};
use crate::engine::Engine;
use crate::index::feed::Event;
use crate::model::clock::Stamp;
use crate::model::limits::{Oversized, TooLarge};
use crate::model::payload::Payload;
use crate::model::reason::{Absent, FailureReason};
use crate::model::state::State;
use crate::record::error::{CancelError, ChangeError, FinishError};
use crate::record::family::Share;
use crate::record::status::Status;
use crate::record::wait_list::{Conclusion, WakeList};
use crate::record::{Cold, Record};
use crate::sync::{Arc, MutexGuard};

/// Who ended a task (I3).
///
/// ```
/// use inflight::{Finish, NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// task.start()?;
/// let shared = task.share();
/// assert_eq!(shared.succeed("done")?, Finish::Won);
/// match shared.succeed("me too")? {
///     Finish::Won => unreachable!("a task ends once"),
///     Finish::Lost(status) => assert!(status.is_terminal()),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The caller did.
    Won,
    /// It had ended before; this is how.
    Lost(Status),
}

/// How a task is to end.
pub(crate) struct Ending {
    pub(crate) state: State,
    pub(crate) reason: Option<FailureReason>,
    pub(crate) payload: Payload,
}

impl Ending {
    pub(crate) fn succeeded(payload: impl Into<Payload>) -> Self {
        Self { state: State::Succeeded, reason: None, payload: payload.into() }
    }

    pub(crate) fn failed(reason: FailureReason, payload: impl Into<Payload>) -> Self {
        Self { state: State::Failed, reason: Some(reason), payload: payload.into() }
    }

    pub(crate) fn cancelled() -> Self {
        Self { state: State::Cancelled, reason: None, payload: Payload::none() }
    }
}

impl Engine {
    /// `Pending → Running`: begins to count.
    pub(crate) fn start(&self, record: &Arc<Record>) -> Result<(), ChangeError> {
        self.transition(record, State::Pending, State::Running, |cell, now| cell.open(now))
    }

    /// `Running → Blocked`.
    pub(crate) fn block(&self, record: &Arc<Record>) -> Result<(), ChangeError> {
        self.transition(record, State::Running, State::Blocked, |_, _| {})
    }

    /// `Blocked → Running`.
    pub(crate) fn resume(&self, record: &Arc<Record>) -> Result<(), ChangeError> {
        self.transition(record, State::Blocked, State::Running, |_, _| {})
    }

    fn transition(
        &self,
        record: &Arc<Record>,
        only_from: State,
        to: State,
        prepare: impl FnOnce(Cell<'_>, Stamp),
    ) -> Result<(), ChangeError> {
        self.change(record, Some(to), |cell, cold, now| {
            let from = cell.word().state().ok_or(ChangeError::Gone)?;
            if from != only_from {
                return Err(ChangeError::NotAllowed { from, to });
            }
            prepare(cell, now);
            cold.roll_up(|share| Share { state: Some(to), ..share });
            self.tally.shift(Some(from), Some(to));
            Ok(())
        })
    }

    /// `Running | Blocked → Pending`: the next attempt, whose progress starts at 0.
    pub(crate) fn retry(&self, record: &Arc<Record>) -> Result<(), ChangeError> {
        self.change(record, Some(State::Pending), |cell, cold, _| {
            cell.close();
            cold.roll_up(|share| Share { state: Some(State::Pending), ..share });
            self.tally.shift(cell.word().state(), Some(State::Pending));
            Ok(())
        })
    }

    pub(crate) fn set_message(&self, record: &Arc<Record>, message: &str) -> Result<(), ChangeError> {
        TooLarge::check(Oversized::Message, message.len(), self.limits.message)?;
        let message = StdArc::from(message);
        let before = self.change(record, None, |_, cold, _| Ok(cold.message.replace(message)))?;
        drop(before);
        Ok(())
    }

    pub(crate) fn set_total(&self, record: &Arc<Record>, total: u64) -> Result<(), ChangeError> {
        if total > MAX_COUNT {
            return Err(ChangeError::TotalTooLarge { total, limit: MAX_COUNT });
        }
        self.change(record, None, |cell, cold, _| {
            let done = cell.read(record.key()).ok_or(ChangeError::Gone)?.done();
            if total < done {
                return Err(ChangeError::TotalBelowDone { total, done });
            }
            cell.set_total(Some(total));
            cold.roll_up(|share| Share { total: Some(total), ..share });
            Ok(())
        })
    }

    /// Changes a live task: checks that the word can change (to `to`, or to its next sequence number),
    /// lets `prepare` store what goes with it, and exchanges the word.
    fn change<T>(
        &self,
        record: &Arc<Record>,
        to: Option<State>,
        prepare: impl FnOnce(Cell<'_>, &mut Cold, Stamp) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let next = |word: Word| match to {
            Some(to) => word.transition_to(to, None),
            None => word.changed(),
        };
        let cell = self.cell(record).ok_or(ChangeError::Gone)?;
        let mut cold = record.lock();
        let now = self.clock.now();
        next(cell.word()).map_err(|refusal| ChangeError::refused(refusal, to))?;
        let prepared = prepare(cell, &mut cold, now)?;
        cell.touch_locked(now);
        // Under the lock only flags can have changed since the check above, so this is not refused.
        let (_, after) = cell.update(next).map_err(|refusal| ChangeError::refused(refusal, to))?;
        self.announce(record, cold, after);
        Ok(prepared)
    }

    /// Ends a task, if it has not ended yet (I3).
    pub(crate) fn finish(&self, record: &Arc<Record>, ending: Ending) -> Result<Finish, FinishError> {
        let (limits, payload) = (&self.limits, &ending.payload);
        TooLarge::check(Oversized::Payload, payload.bytes().len(), limits.payload)
            .and_then(|()| {
                TooLarge::check(Oversized::MediaType, payload.media_type().len(), limits.media_type)
            })
            .map_err(|too_large| FinishError::TooLarge { too_large, payload: payload.clone() })?;
        self.finish_unmeasured(record, ending)
    }

    /// The same with the store's own payload, to which no limit applies (I10).
    pub(crate) fn finish_unmeasured(
        &self,
        record: &Arc<Record>,
        ending: Ending,
    ) -> Result<Finish, FinishError> {
        let cold = record.lock();
        let status = self.status(record).ok_or(FinishError::Gone)?;
        if status.is_terminal() {
            return Ok(Finish::Lost(status));
        }
        let (from, to) = (status.state(), ending.state);
        if !from.allows(to) {
            return Err(FinishError::NotAllowed { from, to });
        }
        let mut wakes = WakeList::default();
        self.end(record, cold, from, ending, &mut wakes);
        wakes.wake();
        Ok(Finish::Won)
    }

    /// Requests cancellation; a pending task is cancelled at once.
    pub(crate) fn request_cancel(&self, record: &Arc<Record>) -> Result<Status, CancelError> {
        const GONE: CancelError = CancelError::Absent(Absent::Gone(None));
        let cell = self.cell(record).ok_or(GONE)?;
        let cold = record.lock();
        let status = self.status(record).ok_or(GONE)?;
        if status.is_terminal() {
            return Err(CancelError::Ended(status));
        }
        if status.state() == State::Pending {
            let mut wakes = WakeList::default();
            self.end(record, cold, State::Pending, Ending::cancelled(), &mut wakes);
            wakes.wake();
        } else if !status.cancel_requested() {
            cell.touch_locked(self.clock.now());
            // A sequence that is used up leaves the request unmade, and the status says so.
            if let Ok((_, after)) = cell.update(Word::with_cancel_requested) {
                self.announce(record, cold, after);
            }
        } else {
            drop(cold);
        }
        self.status(record).ok_or(GONE)
    }

    /// The terminal transition. The caller holds the lock and has found the task in state `from`, from
    /// which the ending is allowed; it calls the wakers. The order of these stores is the
    /// protocol's (`cell/mod.rs`).
    pub(crate) fn end(
        &self,
        record: &Record,
        mut cold: MutexGuard<'_, Cold>,
        from: State,
        ending: Ending,
        wakes: &mut WakeList,
    ) {
        let Some(cell) = self.cell(record) else { return };
        let now = self.clock.now();
        let Ending { state, reason, payload } = ending;
        let done = if from == State::Pending {
            cell.clear_started();
            0
        } else {
            cell.close()
        };
        cell.freeze(done);
        cell.end(now);
        if !payload.is_none() {
            cold.rare().outcome = Some(payload);
        }
        cold.roll_up(|share| Share { state: Some(state), done, ..share });
        self.tally.shift(Some(from), Some(state));
        // From `from` the ending is allowed, and under the lock nobody leaves it: this is not refused.
        let _ = cell.update(|word| word.transition_to(state, reason));
        if let Some(status) = self.status(record) {
            cold.notify_all(Conclusion::Ended(status), wakes);
        }
        self.note_change(record, wakes);
        drop(cold);
        self.retire(record, state, cell.updated());
    }

    /// Tells those whom a change concerns that is not the end. Under the lock, which it lets go of before
    /// it wakes anyone.
    fn announce(&self, record: &Arc<Record>, mut cold: MutexGuard<'_, Cold>, after: Word) {
        let mut wakes = WakeList::default();
        if let (Some(cell), Some(status)) = (self.cell(record), self.status(record)) {
            // The progress that this tells of the keeper need not tell again: neither to those who wait, nor
            // to the parent.
            cell.report(status.done());
            cold.roll_up(|share| Share { done: status.done(), ..share });
            if let Some(waiters) = cold.waiters() {
                waiters.notify_change(status.version(), &mut wakes);
                if after.cancel_requested() {
                    waiters.notify_cancel(&mut wakes);
                }
            }
        }
        self.note_change(record, &mut wakes);
        drop(cold);
        // A change notes its time, and so must have the task sampled: see `upkeep.rs`.
        if after.is_observed() || self.feed.is_read() {
            self.mark_dirty(record);
        }
        wakes.wake();
    }

    /// Notes a change for the feed. Under the record's lock, after the change (`feed.rs`).
    pub(crate) fn note_change(&self, record: &Record, wakes: &mut WakeList) {
        if self.feed.is_read() {
            self.feed.note(self.subject(record), Event::Changed, wakes);
        }
    }
}
