//! What the two kinds of handle have in common: the writes that go through the record, and the end of a task
//! whose last handle is dropped.

use std::sync::Arc as StdArc;

use crate::cell::table::Place;
use crate::cell::{Cell, LARGE, ROOMY};
use crate::engine::Engine;
use crate::engine::lifecycle::{Ending, Finish};
use crate::model::id::TaskId;
use crate::model::reason::FailureReason;
use crate::model::state::State;
use crate::record::Record;
use crate::record::error::{ChangeError, FinishError, ProgressError};
use crate::record::status::Status;
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::task::cancelled::Cancelled;
use crate::task::panics;

/// A handle of one task. Dropping it ends the task, unless it has ended.
pub(crate) struct Handle {
    pub(crate) engine: StdArc<Engine>,
    pub(crate) record: Arc<Record>,
    /// Where the line is.
    place: Place,
    /// Whether the task is known by the id on its line, so that its status is all there.
    is_minted: bool,
    /// 1 once additions have to check first: the count may be near its maximum, or counting was found closed.
    must_check: AtomicU64,
}

impl Handle {
    pub(crate) fn new(engine: StdArc<Engine>, record: Arc<Record>) -> Self {
        let place = engine.table.place(record.key().slot());
        let is_minted = record.foreign().is_none();
        Self { engine, record, place, is_minted, must_check: AtomicU64::new(0) }
    }

    /// The task's line. No other task gets it while this handle exists, even if the task is gone.
    #[inline(always)]
    pub(crate) fn cell(&self) -> Option<Cell<'_>> {
        self.engine.table.cell_at(self.place)
    }

    pub(crate) fn id(&self) -> TaskId {
        self.record.id()
    }

    #[inline]
    pub(crate) fn status(&self) -> Option<Status> {
        if self.is_minted { self.engine.poll_held(self.place) } else { self.engine.status(&self.record) }
    }

    pub(crate) fn start(&self) -> Result<(), ChangeError> {
        panics::forget();
        self.engine.start(&self.record)
    }

    pub(crate) fn block(&self) -> Result<(), ChangeError> {
        self.engine.block(&self.record)
    }

    pub(crate) fn resume(&self) -> Result<(), ChangeError> {
        self.engine.resume(&self.record)
    }

    pub(crate) fn retry(&self) -> Result<(), ChangeError> {
        self.engine.retry(&self.record)
    }

    pub(crate) fn set_total(&self, total: u64) -> Result<(), ChangeError> {
        self.engine.set_total(&self.record, total)
    }

    pub(crate) fn set_message(&self, message: &str) -> Result<(), ChangeError> {
        self.engine.set_message(&self.record, message)
    }

    pub(crate) fn heartbeat(&self) -> Result<(), ChangeError> {
        self.engine.heartbeat(&self.record)
    }

    pub(crate) fn finish(&self, ending: Ending) -> Result<Finish, FinishError> {
        self.engine.finish(&self.record, ending)
    }

    pub(crate) fn cancel_requested(&self) -> bool {
        self.cell().is_some_and(|cell| cell.word().cancel_requested())
    }

    pub(crate) fn cancelled(&self) -> Cancelled {
        Cancelled::new(&self.engine, &self.record)
    }

    /// Adds to `done`, as one of possibly several writers.
    #[inline]
    pub(crate) fn add(&self, count: u64) -> Result<(), ProgressError> {
        let cell = self.cell().ok_or(ProgressError::NotRunning)?;
        let seen = cell.updated();
        cell.add_checked(count).map_err(|why| ProgressError::not_counted(why, 0))?;
        let pulse = self.engine.pulse.now();
        if seen < pulse && count > 0 {
            self.engine.note_progress(&self.record, pulse);
        }
        Ok(())
    }

    /// The same, but the caller notes the time. It touches only the progress word, since other writers may be
    /// using the line.
    #[inline]
    pub(crate) fn add_unnoted(&self, count: u64) -> Result<(), ProgressError> {
        // Relaxed: a thread that is ordered after the store sees it. One that is not adds concurrently, for
        // which there is room (`ROOMY`).
        if count < LARGE && self.must_check.load(Ordering::Relaxed) == 0 {
            let cell = self.cell().ok_or(ProgressError::NotRunning)?;
            let added = cell.add(count);
            if added == Ok(true) {
                return Ok(());
            }
            self.check_from_now_on();
            return added.map(|_| ()).map_err(|why| ProgressError::not_counted(why, 0));
        }
        self.add_checked(count)
    }

    #[cold]
    fn add_checked(&self, count: u64) -> Result<(), ProgressError> {
        self.check_from_now_on();
        let cell = self.cell().ok_or(ProgressError::NotRunning)?;
        cell.add_checked(count).map_err(|why| ProgressError::not_counted(why, 0))
    }

    /// Makes all later additions check first. Called before the count can come near its maximum.
    fn check_from_now_on(&self) {
        // Relaxed: see `add_unnoted`.
        self.must_check.store(1, Ordering::Relaxed);
    }

    /// Whether additions check first.
    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn checks_first(&self) -> bool {
        // Relaxed: see `add_unnoted`.
        self.must_check.load(Ordering::Relaxed) == 1
    }

    /// Makes this the handle of several writers, which must check if the count is already high.
    pub(crate) fn shared(self) -> Self {
        if self.cell().is_none_or(|cell| cell.counted() >= ROOMY) {
            self.check_from_now_on();
        }
        self
    }

    /// Raises `done` to `target`, as one of possibly several writers.
    pub(crate) fn raise(&self, target: u64) -> Result<(), ProgressError> {
        if target >= ROOMY {
            self.check_from_now_on();
        }
        let cell = self.cell().ok_or(ProgressError::NotRunning)?;
        let before = cell.raise(target).map_err(|why| ProgressError::not_counted(why, target))?;
        let pulse = self.engine.pulse.now();
        if before < target && cell.updated() < pulse {
            self.engine.note_progress(&self.record, pulse);
        }
        Ok(())
    }

    /// Ends the task as failed, with as much of `message` as the limit allows.
    pub(crate) fn fail_anyhow(&self, reason: FailureReason, message: &str) {
        let message = panics::truncated(message, self.engine.limits.payload).to_owned();
        // It may have ended, or be gone, in which case there is nothing to do.
        let _ = self.engine.finish_unmeasured(&self.record, Ending::failed(reason, message));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(status) = self.status().filter(|status| !status.is_terminal()) else { return };
        let is_pending = status.state() == State::Pending;
        if std::thread::panicking() && is_pending {
            // Whatever the thread was at, it was not this task.
            self.fail_anyhow(
                FailureReason::Lost,
                "the handle was dropped by a panic before the task was started",
            );
        } else if std::thread::panicking() {
            let message = panics::last_message();
            self.fail_anyhow(FailureReason::Panicked, message.as_deref().unwrap_or("the worker panicked"));
        } else {
            self.fail_anyhow(FailureReason::Lost, "the handle was dropped before the task had ended");
        }
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Handle").field(&self.status()).finish()
    }
}
