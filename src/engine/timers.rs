//! Timers: leases, times to live, and waits that time out. They are on a heap, and cost what is due (I9).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::sweeping::{Sweeping, tidy};
use crate::engine::upkeep::SLICE;
use crate::model::clock::Stamp;
use crate::model::id::{Address, TaskId};
use crate::model::reason::GoneReason;
use crate::record::wait_list::{Registration, WakeList};

/// When what a panic interrupted is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The keeper's timers.
#[derive(Default)]
pub(crate) struct Timers {
    heap: Sweeping<BinaryHeap<Reverse<Timer>>>,
    /// The timer that is being fired, or the task that is being removed. It is still here after a panic.
    in_hand: Option<Timer>,
}

/// Timers are ordered by when they are due.
pub(crate) struct Timer {
    pub(crate) due: Stamp,
    pub(crate) what: Due,
}

pub(crate) enum Due {
    Lease(TaskId),
    /// A terminal task is removed.
    Removal(Address, GoneReason),
    /// A waiter waits no longer.
    Waiter(Registration),
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Timer {}

impl Timers {
    /// Notes what is being done, in case it panics.
    pub(crate) fn begin(&mut self, timer: Timer) {
        self.in_hand = Some(timer);
    }

    /// It is done.
    pub(crate) fn finish(&mut self) {
        self.in_hand = None;
    }

    /// Has what a panic interrupted tried again later.
    pub(crate) fn retry_interrupted(&mut self, now: Stamp) {
        if let Some(timer) = self.in_hand.take() {
            self.heap.list.push(Reverse(Timer { due: now.plus(RETRY), ..timer }));
        }
    }
}

impl Engine {
    // ---- what is left to the keeper ---------------------------------------------------------------------

    /// Has a waiter woken when its time has run out.
    pub(crate) fn watch_waiter(&self, registration: Registration, deadline: Stamp) {
        self.watch(Timer { due: deadline, what: Due::Waiter(registration) });
    }

    pub(crate) fn watch(&self, timer: Timer) {
        self.upkeep.timers.push(timer, |timer| self.is_wanted(timer));
    }

    /// Whether the timer is still of use to anyone.
    fn is_wanted(&self, timer: &Timer) -> bool {
        match &timer.what {
            Due::Lease(key) => self.is_live(key.address()),
            Due::Removal(address, _) => self.is_alive(*address),
            Due::Waiter(registration) => registration.is_registered(),
        }
    }

    // ---- what the keeper does -----------------------------------------------------------------------------

    /// Expires leases and times to live that are due, and wakes waiters whose time has run out.
    pub(crate) fn fire_timers(&self, timers: &mut Timers, now: Stamp, wakes: &mut WakeList) -> bool {
        timers.heap.list.extend(self.upkeep.timers.fetch().into_iter().map(Reverse));
        let is_due =
            |heap: &BinaryHeap<Reverse<Timer>>| heap.peek().is_some_and(|Reverse(timer)| timer.due <= now);
        for _ in 0..SLICE {
            if !is_due(&timers.heap.list) {
                break;
            }
            timers.in_hand = timers.heap.list.pop().map(|Reverse(timer)| timer);
            let again = timers.in_hand.as_ref().and_then(|timer| self.fire(timer, now, wakes));
            let fired = timers.in_hand.take();
            if let (Some(due), Some(timer)) = (again, fired) {
                timers.heap.list.push(Reverse(Timer { due, ..timer }));
            }
        }
        tidy!(&mut timers.heap, |Reverse(timer)| self.is_wanted(timer));
        is_due(&timers.heap.list)
    }

    /// Does what the timer is for. Gives when to do so again.
    fn fire(&self, timer: &Timer, now: Stamp, wakes: &mut WakeList) -> Option<Stamp> {
        self.upkeep.may_panic();
        match &timer.what {
            Due::Lease(key) => {
                let record = self.registry.find(*key)?;
                return self.expire_lease(&record, now, wakes);
            }
            Due::Removal(address, why) => self.drop_ended(*address, *why, wakes),
            Due::Waiter(registration) => registration.call(wakes),
        }
        None
    }
}

#[cfg(all(test, not(inflight_loom)))]
impl Timers {
    /// How many timers there are, and how many there is room for.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.heap.list.len(), self.heap.list.capacity())
    }
}
