//! What the two kinds of handle have in common: the writes that go through the record, and what becomes
//! of a task whose last handle goes away.

use std::sync::Arc as StdArc;

use crate::cell::Cell;
use crate::engine::Engine;
use crate::error::{ChangeError, FinishError, ProgressError};
use crate::id::TaskId;
use crate::lifecycle::{Ending, Finish};
use crate::panics;
use crate::record::Record;
use crate::state::FailureReason;
use crate::status::Status;
use crate::sync::Arc;
use crate::table::Place;
use crate::watch::Cancelled;

/// A hold on one task. Dropping it ends the task, if nobody has.
pub(crate) struct Handle {
    pub(crate) engine: StdArc<Engine>,
    pub(crate) record: Arc<Record>,
    /// Where the line is, at hand.
    place: Place,
    /// Whether the task is known by the id on its line, so that its status is all there.
    is_minted: bool,
}

impl Handle {
    pub(crate) fn new(engine: StdArc<Engine>, record: Arc<Record>) -> Self {
        let place = engine.table.place(record.key().slot());
        let is_minted = record.foreign().is_none();
        Self { engine, record, place, is_minted }
    }

    /// The task's line. It is the task's for as long as there is this handle, though the task may be gone.
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
        cell.add(count).map_err(|why| ProgressError::not_counted(why, 0))?;
        let pulse = self.engine.pulse.now();
        if seen < pulse && count > 0 {
            self.engine.note_progress(&self.record, pulse);
        }
        Ok(())
    }

    /// Raises `done` to `target`, as one of possibly several writers.
    pub(crate) fn raise(&self, target: u64) -> Result<(), ProgressError> {
        let cell = self.cell().ok_or(ProgressError::NotRunning)?;
        let before = cell.raise(target).map_err(|why| ProgressError::not_counted(why, target))?;
        let pulse = self.engine.pulse.now();
        if before < target && cell.updated() < pulse {
            self.engine.note_progress(&self.record, pulse);
        }
        Ok(())
    }

    /// Ends the task as failed, with as much of `message` as the store takes.
    pub(crate) fn fail_anyhow(&self, reason: FailureReason, message: &str) {
        let message = panics::truncated(message, self.engine.limits.payload).to_owned();
        // It may have ended, or be gone, in which case there is nothing to do.
        let _ = self.engine.finish_unmeasured(&self.record, Ending::failed(reason, message));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let live = self.status().is_some_and(|status| !status.is_terminal());
        if !live {
            return;
        }
        if std::thread::panicking() {
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
