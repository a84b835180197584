//! The specification of the store's results: a plain list of tasks, one thread, milliseconds since the clock
//! began.

use inflight::{
    Absent, CancelError, ChangeError, CreateError, FailureReason, FinishError, GoneReason, MAX_COUNT,
    Oversized, Payload, ProgressError, State, TaskId, TooLarge,
};

/// The greatest size of messages and payloads here.
pub(crate) const LIMIT: usize = 8;
pub(crate) const SUCCEEDED_FOR: u64 = 5_000;
pub(crate) const FAILED_FOR: u64 = 9_000;
pub(crate) const CANCELLED_FOR: u64 = 3_000;
/// How many succeeded and how many cancelled tasks are kept. (Any number of failed ones is kept: leases that
/// run out in one tick end at the same instant, so it is not defined which of them is the oldest.)
pub(crate) const AT_MOST: usize = 2;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create(New),
    /// By one of the open handles.
    Act(usize, Act),
    /// By id, like the next ones: on one of the latest tasks.
    Cancel(usize),
    Remove(usize),
    Pass(u64),
    Tick(u64),
    StepWall(i64),
}

#[derive(Clone, Debug)]
pub(crate) struct New {
    /// One of a few ids that clients use again and again.
    pub(crate) client: Option<usize>,
    /// One of the latest tasks.
    pub(crate) parent: Option<usize>,
    pub(crate) total: Option<u64>,
    pub(crate) lease: Option<u64>,
    pub(crate) ttl: Option<u64>,
    pub(crate) kind: usize,
    pub(crate) label: Option<usize>,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Start,
    Block,
    Resume,
    Retry,
    Advance(u64),
    /// By a counter, one after the other, if the handle is exclusive.
    Counter([u64; 2]),
    SetDone(u64),
    SetTotal(u64),
    Message(usize),
    Succeed(usize),
    Fail(usize, usize),
    Cancel,
    Heartbeat,
    Share,
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    None,
    /// A text of this size.
    Sized(usize),
    /// The store's message for a lost worker.
    Lost,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: TaskId,
    pub(crate) new: New,
    pub(crate) parent: Option<usize>,
    pub(crate) state: State,
    pub(crate) reason: Option<FailureReason>,
    pub(crate) attempt: u32,
    pub(crate) done: u64,
    pub(crate) total: Option<u64>,
    pub(crate) cancel_requested: bool,
    pub(crate) created: u64,
    pub(crate) started: Option<u64>,
    pub(crate) updated: u64,
    pub(crate) message: Option<usize>,
    pub(crate) outcome: Outcome,
    pub(crate) gone: Option<Gone>,
    pub(crate) is_held: bool,
    /// Grows with everything that a poll or a read of the details could show.
    pub(crate) changes: u64,
    deadline: u64,
    /// The attempt and the count when the keeper last took progress into account.
    sampled: (u32, u64),
    end: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Gone {
    pub(crate) reason: GoneReason,
    /// How many tasks had been created by then.
    pub(crate) creates: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Spec {
    pub(crate) capacity: usize,
    pub(crate) tasks: Vec<Entry>,
    pub(crate) now: u64,
    /// The times of all ticks so far, and the wall clock's offset at the last.
    ticks: Vec<u64>,
    pub(crate) shown_step: i64,
    pub(crate) step: i64,
    pub(crate) creates: u64,
    /// A child has made progress since the last tick.
    pub(crate) is_dirty: bool,
    ends: u64,
}

impl Entry {
    pub(crate) fn is_live(&self) -> bool {
        !self.state.is_terminal()
    }

    pub(crate) fn is_stored(&self) -> bool {
        self.gone.is_none()
    }

    fn is_counting(&self) -> bool {
        matches!(self.state, State::Running | State::Blocked)
    }

    fn touch(&mut self, time: u64) {
        self.updated = self.updated.max(time);
        self.changes += 1;
    }

    /// Whether the lease has run out, at a tick. If there is progress that is news, it may have been made
    /// until the tick after the one that it was noted at, and half a millisecond more.
    fn runs_out(&mut self, now: u64, ticks: &[u64]) -> bool {
        let Some(span) = self.new.lease.filter(|_| self.is_live()) else { return false };
        self.deadline = self.deadline.max(self.updated + span);
        if self.deadline <= now && self.done > 0 && self.sampled != (self.attempt, self.done) {
            self.sampled = (self.attempt, self.done);
            let next = ticks.iter().find(|tick| **tick > self.updated);
            let until = next.map_or(now, |tick| now.min(tick + 1));
            self.deadline = self.deadline.max(until + span);
        }
        self.deadline <= now
    }
}

impl Spec {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    /// The `back`th of the latest tasks.
    pub(crate) fn latest(&self, back: usize) -> Option<usize> {
        self.tasks.len().checked_sub(1 + back % self.tasks.len().max(1))
    }

    pub(crate) fn stored(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.tasks.iter().filter(|task| task.is_stored())
    }

    /// The stored task with this id.
    pub(crate) fn find(&self, id: TaskId) -> Option<usize> {
        self.tasks.iter().position(|task| task.id == id && task.is_stored())
    }

    pub(crate) fn children(&self, parent: usize) -> impl Iterator<Item = &Entry> {
        self.tasks.iter().filter(move |task| task.parent == Some(parent))
    }

    /// Whether `said` may be reported of a task that is gone: the reason may be forgotten only once a line
    /// has been used again.
    pub(crate) fn may_be_absent(&self, task: &Entry, said: Absent) -> bool {
        let Some(gone) = task.gone else { return false };
        match said {
            Absent::Unknown => task.new.client.is_some(),
            Absent::Gone(Some(reason)) => task.new.client.is_none() && reason == gone.reason,
            Absent::Gone(None) => task.new.client.is_none() && self.creates > gone.creates,
        }
    }

    // ---- creating -----------------------------------------------------------------------------------

    /// Why the task cannot be created; `id` is the client's, `parent` the parent that it names.
    pub(crate) fn refuses(
        &self,
        new: &New,
        id: Option<TaskId>,
        parent: Option<TaskId>,
    ) -> Option<CreateError> {
        if let Some(total) = new.total.filter(|total| *total > MAX_COUNT) {
            return Some(CreateError::TotalTooLarge { total, limit: MAX_COUNT });
        }
        if let Some(id) = id.filter(|id| self.find(*id).is_some()) {
            return Some(CreateError::DuplicateId(id));
        }
        if let Some(id) = parent.filter(|id| self.find(*id).is_none()) {
            return Some(CreateError::UnknownParent(id));
        }
        // The driver sees whether the parent has ended: the error carries its status.
        let in_use = self.tasks.iter().filter(|task| task.is_stored() || task.is_held).count();
        (in_use >= self.capacity).then_some(CreateError::Full { capacity: self.capacity })
    }

    pub(crate) fn create(&mut self, new: New, id: TaskId, parent: Option<usize>) {
        self.creates += 1;
        let (now, total) = (self.now, new.total);
        self.tasks.push(Entry {
            id,
            deadline: now + new.lease.unwrap_or(0),
            sampled: (1, 0),
            new,
            parent,
            state: State::Pending,
            reason: None,
            attempt: 1,
            done: 0,
            total,
            cancel_requested: false,
            created: now,
            started: None,
            updated: now,
            message: None,
            outcome: Outcome::None,
            gone: None,
            is_held: true,
            changes: 0,
            end: 0,
        });
    }

    // ---- writing ------------------------------------------------------------------------------------

    pub(crate) fn transition(
        &mut self,
        task: usize,
        only_from: &[State],
        to: State,
    ) -> Result<(), ChangeError> {
        let now = self.now;
        let task = &mut self.tasks[task];
        if task.gone.is_some() {
            return Err(ChangeError::Gone);
        }
        if !only_from.contains(&task.state) {
            return Err(ChangeError::NotAllowed { from: task.state, to });
        }
        task.touch(now);
        match (task.state, to) {
            (State::Pending, _) => (task.done, task.started) = (0, Some(now)),
            (_, State::Pending) => (task.done, task.started, task.attempt) = (0, None, task.attempt + 1),
            _ => {}
        }
        task.state = to;
        Ok(())
    }

    pub(crate) fn advance(&mut self, task: usize, count: u64) -> Result<(), ProgressError> {
        let done = self.tasks[task].done;
        if !self.tasks[task].is_counting() || self.tasks[task].gone.is_some() {
            return Err(ProgressError::NotRunning);
        }
        match done.checked_add(count).filter(|done| *done <= MAX_COUNT) {
            Some(done) => self.count(task, done),
            None => return Err(ProgressError::Overflow { done, limit: MAX_COUNT }),
        }
        Ok(())
    }

    pub(crate) fn set_done(&mut self, task: usize, to: u64) -> Result<(), ProgressError> {
        let done = self.tasks[task].done;
        if !self.tasks[task].is_counting() || self.tasks[task].gone.is_some() {
            Err(ProgressError::NotRunning)
        } else if to > MAX_COUNT {
            Err(ProgressError::Overflow { done, limit: MAX_COUNT })
        } else if to < done {
            Err(ProgressError::Backwards { done, to })
        } else {
            self.count(task, to);
            Ok(())
        }
    }

    fn count(&mut self, task: usize, done: u64) {
        let pulse = self.ticks.last().copied().unwrap_or(0);
        let task = &mut self.tasks[task];
        if done != task.done {
            task.done = done;
            task.touch(pulse);
            self.is_dirty |= task.parent.is_some();
        }
    }

    /// A change of the cold half of a live task.
    pub(crate) fn change(
        &mut self,
        task: usize,
        change: impl FnOnce(&mut Entry) -> Result<(), ChangeError>,
    ) -> Result<(), ChangeError> {
        let now = self.now;
        let task = &mut self.tasks[task];
        if task.gone.is_some() {
            return Err(ChangeError::Gone);
        }
        if !task.is_live() {
            return Err(ChangeError::Ended(task.state));
        }
        change(task)?;
        task.touch(now);
        Ok(())
    }

    pub(crate) fn set_total(&mut self, task: usize, total: u64) -> Result<(), ChangeError> {
        if total > MAX_COUNT {
            return Err(ChangeError::TotalTooLarge { total, limit: MAX_COUNT });
        }
        self.change(task, |task| {
            if total < task.done {
                return Err(ChangeError::TotalBelowDone { total, done: task.done });
            }
            task.total = Some(total);
            Ok(())
        })
    }

    pub(crate) fn set_message(&mut self, task: usize, size: usize) -> Result<(), ChangeError> {
        too_large(Oversized::Message, size)?;
        self.change(task, |task| {
            task.message = Some(size);
            Ok(())
        })
    }

    pub(crate) fn heartbeat(&mut self, task: usize) -> Result<(), ChangeError> {
        let now = self.now;
        let task = &mut self.tasks[task];
        if task.gone.is_some() {
            return Err(ChangeError::Gone);
        }
        if !task.is_live() {
            return Err(ChangeError::Ended(task.state));
        }
        task.deadline = now + task.new.lease.ok_or(ChangeError::NoLease)?;
        Ok(())
    }

    // ---- ending -------------------------------------------------------------------------------------

    /// Whether the caller ends the task; `size` is that of its payload.
    pub(crate) fn finish(
        &mut self,
        task: usize,
        state: State,
        reason: Option<FailureReason>,
        size: Option<usize>,
    ) -> Result<bool, FinishError> {
        if let Some(size) = size {
            let payload = Payload::from("x".repeat(size));
            too_large(Oversized::Payload, size)
                .map_err(|too_large| FinishError::TooLarge { too_large, payload })?;
        }
        let entry = &self.tasks[task];
        if entry.gone.is_some() {
            return Err(FinishError::Gone);
        }
        if !entry.is_live() {
            return Ok(false);
        }
        if entry.state == State::Pending && state == State::Succeeded {
            return Err(FinishError::NotAllowed { from: State::Pending, to: state });
        }
        self.end(task, state, reason, size.map_or(Outcome::None, Outcome::Sized));
        Ok(true)
    }

    fn end(&mut self, task: usize, state: State, reason: Option<FailureReason>, outcome: Outcome) {
        self.ends += 1;
        let (now, ends) = (self.now, self.ends);
        let task = &mut self.tasks[task];
        (task.state, task.reason, task.outcome, task.end) = (state, reason, outcome, ends);
        task.touch(now);
    }

    pub(crate) fn drop_handle(&mut self, task: usize) {
        self.tasks[task].is_held = false;
        if self.tasks[task].is_stored() && self.tasks[task].is_live() {
            self.end(task, State::Failed, Some(FailureReason::Lost), Outcome::Lost);
        }
    }

    /// `Err(None)` if it has ended.
    pub(crate) fn cancel(&mut self, task: usize) -> Result<(), Option<CancelError>> {
        let now = self.now;
        let entry = &mut self.tasks[task];
        match entry.state {
            State::Pending => self.end(task, State::Cancelled, None, Outcome::None),
            State::Running | State::Blocked => {
                if !entry.cancel_requested {
                    entry.cancel_requested = true;
                    entry.touch(now);
                }
            }
            _ => return Err(None),
        }
        Ok(())
    }

    pub(crate) fn let_go(&mut self, task: usize, reason: GoneReason) {
        self.tasks[task].gone = Some(Gone { reason, creates: self.creates });
    }

    // ---- time ---------------------------------------------------------------------------------------

    pub(crate) fn tick(&mut self) {
        self.ticks.push(self.now);
        self.shown_step = self.step;
        self.is_dirty = false;
        for at in 0..self.tasks.len() {
            let (now, ticks) = (self.now, &self.ticks);
            if self.tasks[at].is_stored() && self.tasks[at].runs_out(now, ticks) {
                self.end(at, State::Failed, Some(FailureReason::Lost), Outcome::Lost);
            }
        }
        for at in 0..self.tasks.len() {
            let task = &self.tasks[at];
            let age = match task.state {
                State::Succeeded => SUCCEEDED_FOR,
                State::Failed => FAILED_FOR,
                State::Cancelled => CANCELLED_FOR,
                _ => continue,
            };
            if task.is_stored() && task.updated + task.new.ttl.unwrap_or(age) <= self.now {
                self.let_go(at, GoneReason::Expired);
            }
        }
        for state in [State::Succeeded, State::Cancelled] {
            let mut ended: Vec<usize> = (0..self.tasks.len())
                .filter(|at| self.tasks[*at].is_stored() && self.tasks[*at].state == state)
                .collect();
            ended.sort_by_key(|at| self.tasks[*at].end);
            for at in ended.iter().take(ended.len().saturating_sub(AT_MOST)) {
                self.let_go(*at, GoneReason::Evicted);
            }
        }
    }
}

fn too_large(what: Oversized, size: usize) -> Result<(), TooLarge> {
    if size > LIMIT { Err(TooLarge { what, size, limit: LIMIT }) } else { Ok(()) }
}
