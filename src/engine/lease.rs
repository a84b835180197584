//! Leases: how long a worker may give no sign of life.

use crate::engine::Engine;
use crate::engine::lifecycle::Ending;
use crate::engine::timers::{Due, Timer};
use crate::model::clock::Stamp;
use crate::model::id::TaskId;
use crate::model::reason::FailureReason;
use crate::record::Record;
use crate::record::error::ChangeError;
use crate::record::wait_list::WakeList;
use crate::sync::Arc;

impl Engine {
    /// Has the lease of a task looked at when it may have run out.
    pub(crate) fn watch_lease(&self, key: TaskId, deadline: Stamp) {
        self.watch(Timer { due: deadline, what: Due::Lease(key) });
    }

    /// Extends the lease.
    pub(crate) fn heartbeat(&self, record: &Record) -> Result<(), ChangeError> {
        let mut cold = record.lock();
        let status = self.status(record).ok_or(ChangeError::Gone)?;
        if status.is_terminal() {
            return Err(ChangeError::Ended(status.state()));
        }
        let span = record.lease().ok_or(ChangeError::NoLease)?;
        let lease = cold.lease().ok_or(ChangeError::NoLease)?;
        lease.deadline = lease.deadline.max(self.clock.now().plus(span));
        Ok(())
    }

    /// Ends the task of a leased handle that was silent for the span of its lease: no heartbeat, no other
    /// change and no progress. Otherwise gives the time at which to look again.
    ///
    /// A change notes its time, and so does the first increment after each move of the pulse. The increments
    /// after that are silent. So if there is progress since the keeper last looked, the last of it may have
    /// been made until the pulse moved again, however long that took: the lease counts from there. A call
    /// that is held up between its count and the note of the time is as silent as one that is held up before
    /// its count.
    pub(crate) fn expire_lease(
        &self,
        record: &Arc<Record>,
        now: Stamp,
        wakes: &mut WakeList,
    ) -> Option<Stamp> {
        let mut cold = record.lock();
        let status = self.status(record).filter(|status| !status.is_terminal())?;
        let span = record.lease()?;
        let updated = self.cell(record)?.updated();
        let lease = cold.lease()?;
        lease.deadline = lease.deadline.max(updated.plus(span));
        let progress = (status.attempt(), status.done());
        let is_news = status.done() > 0 && progress != (lease.attempt, lease.done);
        if lease.deadline <= now && is_news {
            (lease.attempt, lease.done) = progress;
            lease.deadline = lease.deadline.max(self.silent_until(updated, now).plus(span));
        }
        if lease.deadline > now {
            return Some(lease.deadline);
        }
        let ending = Ending::failed(FailureReason::Lost, "the lease ran out without a heartbeat");
        self.end(record, cold, status.state(), ending, wakes);
        None
    }
}
