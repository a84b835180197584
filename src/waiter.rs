//! One who waits for a task: below all futures and streams that do.
//!
//! Each takes a seat when it is made, not when it is first polled: between the two the task may end and be
//! let go, and a client's id may come to stand for another task. How the seats are told is in `signal.rs`.

use std::fmt;
use std::sync::Arc as StdArc;
use std::task::{Context, Poll};

use crate::engine::Engine;
use crate::feed::Subject;
use crate::id::TaskId;
use crate::record::Record;
use crate::signal::{Interest, News, Seat, Waiters};
use crate::state::Absent;
use crate::status::Status;
use crate::sync::Arc;
use crate::version::Version;

/// One who waits for a task, and from when it is made misses neither its end nor its removal.
pub(crate) struct Waiter {
    engine: StdArc<Engine>,
    standing: Standing,
}

enum Standing {
    /// There is nothing to wait for: the task had ended, or there was none. In a box, since it is large and
    /// rare.
    Settled(Box<News>),
    Seated(Seat, Subject),
}

impl Waiter {
    /// One who waits for the task `id`. Who has `seen` its end waits for its removal.
    pub(crate) fn new(
        engine: &StdArc<Engine>,
        id: TaskId,
        interest: Interest,
        seen: Option<Version>,
    ) -> Self {
        match engine.poll(id) {
            Some(status) if is_unseen_end(&status, seen) => Self::settled(engine, News::Ended(status)),
            Some(_) => match engine.find(id) {
                Some(record) => Self::seated(engine, &record, interest, seen),
                None => Self::settled(engine, News::Gone(engine.absent(id))),
            },
            None => Self::settled(engine, News::Gone(engine.absent(id))),
        }
    }

    fn settled(engine: &StdArc<Engine>, news: News) -> Self {
        Self { engine: StdArc::clone(engine), standing: Standing::Settled(Box::new(news)) }
    }

    /// One who waits for the task of this record.
    pub(crate) fn seated(
        engine: &StdArc<Engine>,
        record: &Arc<Record>,
        interest: Interest,
        seen: Option<Version>,
    ) -> Self {
        let subject = engine.subject(record);
        let mut cold = record.lock();
        // Under the lock nothing changes but progress; for that see `keeper.rs`.
        match engine.poll_line(subject) {
            Some(status) if is_unseen_end(&status, seen) => {
                return Self::settled(engine, News::Ended(status));
            }
            Some(_) => {}
            None => {
                drop(cold);
                return Self::settled(engine, News::Gone(engine.absent(subject.key)));
            }
        }
        let waiters = cold.rare().waiters.get_or_insert_with(|| Arc::new(Waiters::new()));
        let seat = Seat::take(waiters, interest);
        if interest == Interest::Change
            && let Some(cell) = engine.cell(record)
        {
            cell.observe();
        }
        drop(cold);
        if interest == Interest::Change {
            engine.stir(record);
        }
        Self { engine: StdArc::clone(engine), standing: Standing::Seated(seat, subject) }
    }

    /// The first status that `is_awaited`; the last one, if the task has ended; or why there is none.
    /// `seen` is what a waiter for changes has seen.
    pub(crate) fn poll(
        &self,
        context: &Context<'_>,
        seen: Option<Version>,
        is_awaited: impl Fn(&Status) -> bool,
    ) -> Poll<Result<Status, Absent>> {
        let (seat, subject) = match &self.standing {
            Standing::Settled(news) => return Poll::Ready(read(**news)),
            Standing::Seated(seat, subject) => (seat, *subject),
        };
        // First the waker, then the look: see `signal.rs`.
        if let Some(news) = seat.leave(context.waker(), seen) {
            return Poll::Ready(read(news));
        }
        match self.engine.poll_line(subject) {
            Some(status) if is_awaited(&status) => Poll::Ready(Ok(status)),
            Some(_) => Poll::Pending,
            // It went between the two looks, and left word of it.
            None => Poll::Ready(seat.news().map_or_else(|| Err(self.engine.absent(subject.key)), read)),
        }
    }

    /// Where it sits and whom it waits for, unless there is nothing to wait for.
    pub(crate) fn seat(&self) -> Option<(&Seat, Subject)> {
        match &self.standing {
            Standing::Settled(_) => None,
            Standing::Seated(seat, subject) => Some((seat, *subject)),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

/// Whether the task has ended, and that is news to who has seen `seen`: unless it is this very end, they
/// have seen an earlier version, or one that was never this task's.
fn is_unseen_end(status: &Status, seen: Option<Version>) -> bool {
    status.is_terminal() && seen != Some(status.version())
}

fn read(news: News) -> Result<Status, Absent> {
    match news {
        News::Ended(status) => Ok(status),
        News::Gone(absent) => Err(absent),
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let Standing::Seated(seat, subject) = &self.standing else { return };
        // What is dropped with it at the end may be the last of a waker: no lock is held then.
        let (_waker, is_last) = seat.rise();
        if !is_last {
            return;
        }
        let Some(record) = self.engine.registry.find(subject.key) else { return };
        let mut cold = record.lock();
        // Under the lock nobody comes.
        if cold.waiters().is_some_and(|waiters| seat.is_among(waiters) && waiters.is_empty()) {
            cold.rare().waiters = None;
        }
    }
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.standing {
            Standing::Settled(news) => f.debug_tuple("Settled").field(news).finish(),
            Standing::Seated(_, subject) => f.debug_tuple("Seated").field(&subject.id).finish(),
        }
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use crate::new_task::NewTask;
    use crate::store::Store;

    #[test]
    fn i6_a_waiter_that_is_dropped_gives_up_its_seat() {
        let store = Store::builder().capacity(16).build().unwrap();
        let task = store.create(NewTask::new("test")).unwrap();
        let record = store.engine.find(task.id()).unwrap();
        let (first, last) = (store.wait(task.id()), store.watch(task.id()));
        for _ in 0..100 {
            drop((store.wait(task.id()), store.watch(task.id()), task.cancelled()));
        }
        let seats = || record.lock().waiters().map(|waiters| (waiters.seats(), waiters.want_progress()));
        assert_eq!(seats(), Some((2, true)));
        drop(last);
        assert_eq!(seats(), Some((1, false)), "each has its own");
        drop(first);
        assert_eq!(seats(), None);
    }
}
