//! The exclusive handle's counter for tight loops: progress whose count stays in a register.

use crate::cell::{Cell, MAX_COUNT};
use crate::model::clock::{Pulse, Stamp};
use crate::record::error::ProgressError;
use crate::task::handle::Handle;

/// A counter of progress for tight loops. [`Task::counter`](crate::Task::counter) returns it.
///
/// It does what [`Task::advance`](crate::Task::advance) does, and polls see each step just as soon. But it
/// holds the task's line and the count itself, so the compiler can keep both in registers. A step is one
/// plain store and one load.
///
/// ```
/// use inflight::{NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("sum").total(1_000))?;
/// task.start()?;
/// let mut counter = task.counter();
/// let mut sum = 0;
/// for number in 0..1_000_u64 {
///     sum += number;
///     counter.advance(1)?;
/// }
/// task.succeed(sum.to_string())?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Counter<'a> {
    handle: &'a Handle,
    cell: Option<Cell<'a>>,
    pulse: &'a Pulse,
    /// How much can still be added by plain stores, as in `Task`.
    room: u64,
    /// The time of the last tick in which progress was noted.
    noted: Stamp,
}

impl<'a> Counter<'a> {
    /// A counter that adds up to `room` by plain stores. If `room` is 0, additions are atomic.
    #[inline]
    pub(crate) fn new(handle: &'a Handle, room: u64) -> Self {
        let engine = &*handle.engine;
        let cell = handle.cell();
        Self { handle, cell, pulse: &engine.pulse, room, noted: Stamp::default() }
    }

    /// Adds `count` to what is done. Adding 0 changes nothing.
    ///
    /// # Errors
    ///
    /// As [`Task::advance`](crate::Task::advance).
    ///
    /// # Consistency
    ///
    /// As [`Task::advance`](crate::Task::advance).
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut task = store.create(NewTask::new("index"))?;
    /// # task.start()?;
    /// let mut counter = task.counter();
    /// counter.advance(3)?;
    /// counter.advance(4)?;
    /// assert_eq!(store.lookup(task.id())?.done(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn advance(&mut self, count: u64) -> Result<(), ProgressError> {
        // 0 wraps around and takes the slow path.
        if count.wrapping_sub(1) >= self.room {
            return slowly(self.handle, self.room, count);
        }
        self.room -= count;
        if let Some(cell) = self.cell {
            cell.publish(MAX_COUNT - self.room);
        }
        let pulse = self.pulse.now();
        if pulse != self.noted {
            self.noted = pulse;
            self.handle.engine.note_progress(&self.handle.record, pulse);
        }
        Ok(())
    }
}

/// Takes its arguments by value. If the counter were passed by reference, it could not stay in registers.
#[cold]
fn slowly(handle: &Handle, room: u64, count: u64) -> Result<(), ProgressError> {
    match (room, count) {
        // There is no other writer. Either there is nothing to add, or it would exceed the limit.
        (1.., 0) => Ok(()),
        (1.., _) => Err(ProgressError::Overflow { done: MAX_COUNT - room, limit: MAX_COUNT }),
        // Counting is not open, this is not the only writer, or the limit is reached. `add` counts it, or
        // returns the right error.
        (0, _) => handle.add(count),
    }
}
