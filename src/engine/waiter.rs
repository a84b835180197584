//! The waiter: the common part of all futures and streams that wait for a task.
//!
//! A waiter registers when it is created, not when it is first polled. Between the two the task may end and
//! be removed, and a client's id may belong to another task. `wait_list.rs` says how waiters are told.

use std::fmt;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use crate::engine::Engine;
use crate::index::feed::Subject;
use crate::model::id::TaskId;
use crate::model::reason::Absent;
use crate::model::version::Version;
use crate::record::Record;
use crate::record::status::Status;
use crate::record::wait_list::{Conclusion, Interest, Registration, WaitList};
use crate::sync::Arc;

/// Waits for a task. From its creation on it misses neither the task's end nor its removal.
pub(crate) struct Waiter {
    engine: StdArc<Engine>,
    state: WaiterState,
}

enum WaiterState {
    /// There is nothing to wait for: the task had ended, or there was none. Boxed, since it is large and
    /// rare.
    Concluded(Box<Conclusion>),
    Registered(Registration, Subject),
}

impl Waiter {
    /// A waiter for the task `id`. If its end is what was `seen`, it waits for the removal.
    pub(crate) fn new(
        engine: &StdArc<Engine>,
        id: TaskId,
        interest: Interest,
        seen: Option<Version>,
    ) -> Self {
        match engine.poll(id) {
            Some(status) if is_unseen_end(&status, seen) => {
                Self::concluded(engine, Conclusion::Ended(status))
            }
            Some(_) => match engine.find(id) {
                Some(record) => Self::registered(engine, &record, interest, seen),
                None => Self::concluded(engine, Conclusion::Gone(engine.absent(id))),
            },
            None => Self::concluded(engine, Conclusion::Gone(engine.absent(id))),
        }
    }

    fn concluded(engine: &StdArc<Engine>, news: Conclusion) -> Self {
        Self { engine: StdArc::clone(engine), state: WaiterState::Concluded(Box::new(news)) }
    }

    /// A waiter for the task of this record.
    pub(crate) fn registered(
        engine: &StdArc<Engine>,
        record: &Arc<Record>,
        interest: Interest,
        seen: Option<Version>,
    ) -> Self {
        let subject = engine.subject(record);
        let mut cold = record.lock();
        // Under the lock nothing changes but progress; for that see `upkeep.rs`.
        match engine.poll_line(subject) {
            Some(status) if is_unseen_end(&status, seen) => {
                return Self::concluded(engine, Conclusion::Ended(status));
            }
            Some(_) => {}
            None => {
                drop(cold);
                return Self::concluded(engine, Conclusion::Gone(engine.absent(subject.key)));
            }
        }
        let waiters = cold.rare().waiters.get_or_insert_with(|| Arc::new(WaitList::new()));
        let registration = Registration::new(waiters, interest);
        if interest == Interest::Change
            && let Some(cell) = engine.cell(record)
        {
            cell.set_observed();
        }
        drop(cold);
        if interest == Interest::Change {
            engine.mark_dirty(record);
        }
        Self { engine: StdArc::clone(engine), state: WaiterState::Registered(registration, subject) }
    }

    /// The first status that `is_awaited`; the last one, if the task has ended; or why there is none.
    /// `seen` is what a waiter for changes has seen.
    pub(crate) fn poll(
        &self,
        context: &Context<'_>,
        seen: Option<Version>,
        is_awaited: impl Fn(&Status) -> bool,
    ) -> Poll<Result<Status, Absent>> {
        let (registration, subject) = match &self.state {
            WaiterState::Concluded(news) => return Poll::Ready(read(**news)),
            WaiterState::Registered(registration, subject) => (registration, *subject),
        };
        // First the waker, then the poll: see `wait_list.rs`.
        if let Some(news) = registration.set_waker(context.waker(), seen) {
            return Poll::Ready(read(news));
        }
        match self.engine.poll_line(subject) {
            Some(status) if is_awaited(&status) => Poll::Ready(Ok(status)),
            Some(_) => Poll::Pending,
            // It was removed between the two, and that is the list's conclusion.
            None => Poll::Ready(
                registration.conclusion().map_or_else(|| Err(self.engine.absent(subject.key)), read),
            ),
        }
    }

    /// Its registration and its task, unless there is nothing to wait for.
    pub(crate) fn registration(&self) -> Option<(&Registration, Subject)> {
        match &self.state {
            WaiterState::Concluded(_) => None,
            WaiterState::Registered(registration, subject) => Some((registration, *subject)),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Whether the task has ended, and the holder of `seen` has not seen this end: it has seen an earlier
/// version, or one that was never this task's.
fn is_unseen_end(status: &Status, seen: Option<Version>) -> bool {
    status.is_terminal() && seen != Some(status.version())
}

fn read(news: Conclusion) -> Result<Status, Absent> {
    match news {
        Conclusion::Ended(status) => Ok(status),
        Conclusion::Gone(absent) => Err(absent),
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let WaiterState::Registered(registration, subject) = &self.state else { return };
        // What is dropped with it at the end may be the last of a waker: no lock is held then.
        let (_waker, is_last) = registration.deregister();
        if !is_last {
            return;
        }
        let Some(record) = self.engine.registry.find(subject.key) else { return };
        let mut cold = record.lock();
        // Nothing registers while the lock is held. The list may be a later one than this waiter's: if that
        // is empty, its last waiter has left, too, and is about to do the same.
        if cold.waiters().is_some_and(|waiters| waiters.is_empty()) {
            cold.rare().waiters = None;
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            WaiterState::Concluded(news) => f.debug_tuple("Concluded").field(news).finish(),
            WaiterState::Registered(_, subject) => f.debug_tuple("Registered").field(&subject.id).finish(),
        }
    }
}
