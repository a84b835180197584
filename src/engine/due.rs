//! What is due at some time: leases, times to live, waits that time out, and tasks that retention lets go.
//!
//! Timers are on a heap. Tasks that ended are in a queue for each outcome. Both cost what is due, and a list
//! whose entries are mostly of no use any more is swept when it has doubled (I9).

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::engine::Engine;
use crate::engine::inbox::Inbox;
use crate::engine::upkeep::{SLACK, SLICE};
use crate::model::clock::{STAMP_BITS, Stamp};
use crate::model::id::{Address, TaskId};
use crate::model::retention::{Keep, OUTCOMES, outcome};
use crate::model::state::{GoneReason, State};
use crate::record::Record;
use crate::record::wait_list::{Registration, WakeList};

/// When what a panic interrupted is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What other threads leave for the keeper.
pub(crate) struct TimerInboxes {
    retired: Inbox<Retired>,
    timers: Inbox<Timer>,
}

/// The keeper's own lists of what will be due.
#[derive(Default)]
pub(crate) struct Dues {
    /// Terminal tasks by outcome, the longest ended first, or nearly: those of one tick may come with the next.
    /// And those that are past their age, but have a time to live of their own.
    retired: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    past_age: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    timers: Sweeping<BinaryHeap<Reverse<Timer>>>,
    /// The timer that is being fired, or the task that is being removed. It is still here after a panic.
    in_hand: Option<Timer>,
}

/// A list, and the length at which what is of no use is swept out of it: twice what was left the last
/// time, so that sweeping costs each entry about one look.
#[derive(Default)]
struct Sweeping<L> {
    list: L,
    sweep_at: usize,
}

/// Drops what is of no use if the list has doubled, and gives back room that it had at a peak. The two kinds of
/// list have the same methods, but no trait for them.
macro_rules! tidy {
    ($sweeping:expr, $is_wanted:expr) => {
        let Sweeping { list, sweep_at } = $sweeping;
        if list.len() > *sweep_at {
            list.retain($is_wanted);
            *sweep_at = 2 * list.len() + SLACK;
        }
        if list.capacity() > 4 * list.len() + SLACK {
            list.shrink_to(2 * list.len() + SLACK);
        }
    };
}

#[derive(Clone, Copy, Debug)]
struct Retired {
    address: Address,
    ended: Ended,
}

/// When and how a task ended, in one word: there may be millions of these.
#[derive(Clone, Copy, Debug)]
struct Ended(u64);

impl Ended {
    const HAS_TTL: u64 = 1 << STAMP_BITS;
    const OUTCOME_SHIFT: u32 = STAMP_BITS + 1;

    fn new(at: Stamp, outcome: usize, has_ttl: bool) -> Self {
        let has_ttl = if has_ttl { Self::HAS_TTL } else { 0 };
        Self(at.bits() | has_ttl | (outcome as u64) << Self::OUTCOME_SHIFT)
    }

    fn at(self) -> Stamp {
        Stamp::from_bits(self.0)
    }

    fn outcome(self) -> usize {
        (self.0 >> Self::OUTCOME_SHIFT) as usize
    }

    fn has_ttl(self) -> bool {
        self.0 & Self::HAS_TTL != 0
    }
}

/// Timers are ordered by when they are due.
struct Timer {
    due: Stamp,
    what: Due,
}

enum Due {
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

impl TimerInboxes {
    pub(crate) fn new() -> Self {
        Self { retired: Inbox::new(), timers: Inbox::new() }
    }
}

impl Engine {
    // ---- what is left to the keeper ---------------------------------------------------------------------

    /// Has the lease of a task looked at when it may have run out.
    pub(crate) fn watch_lease(&self, key: TaskId, deadline: Stamp) {
        self.watch(Timer { due: deadline, what: Due::Lease(key) });
    }

    /// Has a waiter woken when its time has run out.
    pub(crate) fn watch_waiter(&self, registration: Registration, deadline: Stamp) {
        self.watch(Timer { due: deadline, what: Due::Waiter(registration) });
    }

    fn watch(&self, timer: Timer) {
        self.upkeep.inboxes.timers.push(timer, |timer| self.is_wanted(timer));
    }

    /// Has a task that ended be removed in time.
    pub(crate) fn retire(&self, record: &Record, state: State, ended: Stamp) {
        let Some(outcome) = outcome(state) else { return };
        let (ttl, address) = (record.ttl(), record.key().address());
        if let Some(ttl) = ttl {
            let what = Due::Removal(address, GoneReason::Expired);
            self.watch(Timer { due: ended.plus(ttl), what });
        }
        let keep = self.retention.keep(state);
        if keep.count.is_some() || (ttl.is_none() && keep.age.is_some()) {
            let retired = Retired { address, ended: Ended::new(ended, outcome, ttl.is_some()) };
            self.upkeep.inboxes.retired.push(retired, |retired| self.is_alive(retired.address));
        }
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

    /// Does a slice of what is due by `now`; gives whether there is more.
    pub(crate) fn do_what_is_due(&self, dues: &mut Dues, now: Stamp, wakes: &mut WakeList) -> bool {
        if let Some(timer) = dues.in_hand.take() {
            dues.timers.list.push(Reverse(Timer { due: now.plus(RETRY), ..timer }));
        }
        let is_more = self.fire_timers(dues, now, wakes);
        self.let_go(dues, now, wakes) || is_more
    }

    /// Expires leases and times to live that are due, and wakes waiters whose time has run out.
    fn fire_timers(&self, dues: &mut Dues, now: Stamp, wakes: &mut WakeList) -> bool {
        dues.timers.list.extend(self.upkeep.inboxes.timers.fetch().into_iter().map(Reverse));
        let is_due = |timers: &BinaryHeap<Reverse<Timer>>| {
            timers.peek().is_some_and(|Reverse(timer)| timer.due <= now)
        };
        for _ in 0..SLICE {
            if !is_due(&dues.timers.list) {
                break;
            }
            dues.in_hand = dues.timers.list.pop().map(|Reverse(timer)| timer);
            let again = dues.in_hand.as_ref().and_then(|timer| self.fire(timer, now, wakes));
            let fired = dues.in_hand.take();
            if let (Some(due), Some(timer)) = (again, fired) {
                dues.timers.list.push(Reverse(Timer { due, ..timer }));
            }
        }
        tidy!(&mut dues.timers, |Reverse(timer)| self.is_wanted(timer));
        is_due(&dues.timers.list)
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

    /// Removes terminal tasks that are past their age, and those that are too many.
    fn let_go(&self, dues: &mut Dues, now: Stamp, wakes: &mut WakeList) -> bool {
        let mut retired = self.upkeep.inboxes.retired.fetch();
        // Each stripe's are in order, or nearly, and a sort that finds that out merges them.
        retired.sort_by_key(|retired| retired.ended.at());
        for retired in retired {
            if let Some(list) = dues.retired.get_mut(retired.ended.outcome()) {
                list.list.push_back(retired);
            }
        }
        let mut left = SLICE;
        let terminal = [State::Succeeded, State::Failed, State::Cancelled];
        let Dues { retired, past_age, in_hand, .. } = dues;
        let lists = retired.iter_mut().zip(past_age);
        for ((state, keep), (list, past_age)) in terminal.into_iter().zip(self.retention.keeps()).zip(lists) {
            while left > 0
                && let Some((address, why)) =
                    self.next_to_go(state, *keep, &mut list.list, &mut past_age.list, now)
            {
                left -= 1;
                *in_hand = Some(Timer { due: now, what: Due::Removal(address, why) });
                self.drop_ended(address, why, wakes);
                *in_hand = None;
            }
            tidy!(list, |retired| self.is_alive(retired.address));
            tidy!(past_age, |retired| self.is_alive(retired.address));
        }
        left == 0
    }

    /// Takes the next task that has to go out of the lists of its outcome.
    fn next_to_go(
        &self,
        state: State,
        keep: Keep,
        list: &mut VecDeque<Retired>,
        past_age: &mut VecDeque<Retired>,
        now: Stamp,
    ) -> Option<(Address, GoneReason)> {
        let is_past = |oldest: &Retired| keep.age.is_some_and(|age| oldest.ended.at().plus(age) <= now);
        while list.front().is_some_and(is_past)
            && let Some(oldest) = list.pop_front()
        {
            if !oldest.ended.has_ttl() {
                return Some((oldest.address, GoneReason::Expired));
            }
            past_age.push_back(oldest);
        }
        if self.tally.of(state) <= keep.count? {
            return None;
        }
        let oldest = past_age.pop_front().or_else(|| list.pop_front())?;
        Some((oldest.address, GoneReason::Evicted))
    }

    /// Removes a terminal task; one that is gone already, or (impossibly) lives, is left alone.
    fn drop_ended(&self, address: Address, why: GoneReason, wakes: &mut WakeList) {
        self.upkeep.may_panic();
        if let Some(record) = self.tenant(address).and_then(|key| self.registry.find(key)) {
            let _ = self.remove(&record, why, wakes);
        }
    }
}

#[cfg(all(test, not(inflight_loom)))]
impl TimerInboxes {
    /// How many entries there are, and how many there is room for.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (retired, timers) = (self.retired.size(), self.timers.size());
        (retired.0 + timers.0, retired.1 + timers.1)
    }
}

#[cfg(all(test, not(inflight_loom)))]
impl Dues {
    /// How many entries there are, and how many there is room for.
    pub(crate) fn size(&self) -> (usize, usize) {
        let timers = &self.timers.list;
        let queues = self.retired.iter().chain(&self.past_age).map(|queue| &queue.list);
        queues.fold((timers.len(), timers.capacity()), |(len, room), queue| {
            (len + queue.len(), room + queue.capacity())
        })
    }
}
