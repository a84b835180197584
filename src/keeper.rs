//! Upkeep: what is done at each tick, and the thread that ticks.
//!
//! A tick moves the store's cached clock, samples the progress of tasks that somebody observes, expires
//! leases, and lets terminal tasks go. It does what is due, and costs nothing for what is stored (I9).
//!
//! # No progress goes unseen (I6, I12)
//!
//! An increment wakes nobody and sets no flag. But once per tick, when it finds that the time has moved
//! on, it notes the time in `updated`; and if the task is observed, it marks the task as stirred and puts
//! it on the list of those to be sampled. All later increments within that tick are silent.
//!
//! A silent increment is a plain store followed by a load of the time. The store may become visible only
//! after the keeper, which moved the time meanwhile, has sampled the task; and it may be the last. So a
//! task stays on the list until its `updated` is older than the tick before: an increment that was silent
//! in tick *n* belongs to a task that was noted in tick *n*, and is sampled at *n + 1* and at *n + 2*,
//! a whole tick after its load. Whatever else notes a time in `updated` stirs the task as well.
//!
//! A reader that subscribes to the feed finds tasks that have been noted in this tick and, as nobody
//! observed them, are not on the list. It moves the time on, so that from then on increments are noted
//! again; and at the next tick each line is looked at, once, for a time that is as late as the reader.
//!
//! When the keeper drops a task from the list it first takes the mark away, and then looks at `updated`
//! once more. Both marks are exchanges of the same word, so either the keeper sees the time that was noted
//! before the mark, or the increment finds the mark gone and puts the task back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::clock::{STAMP_BITS, Stamp};
use crate::engine::Engine;
use crate::family::Share;
use crate::id::{Address, TaskId};
use crate::record::Record;
use crate::retention::{Keep, OUTCOMES, Retention, outcome};
use crate::signal::{Waiters, Wakes};
use crate::state::{GoneReason, State};
use crate::sync::{Arc, Mutex, Queue, lock};
use crate::version::Version;

/// How many entries the keeper's lists may grow by before those that are of no use are swept out.
const SLACK: usize = 1024;

/// What is left to the keeper, and the keeper's own lists.
pub(crate) struct Upkeep {
    stirred: Queue<Arc<Record>>,
    retired: Queue<Retired>,
    timers: Queue<Timer>,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    /// Tasks that are sampled at each tick.
    active: Vec<Active>,
    /// Terminal tasks by outcome, the longest ended first; and those that are past their age, but have a
    /// time to live of their own.
    retired: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    past_age: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    timers: Sweeping<BinaryHeap<Reverse<Timer>>>,
    /// The feed has a new reader, and silent increments since this time are unknown to it.
    unread_since: Option<Stamp>,
}

struct Active {
    record: Arc<Record>,
    /// What the last sample found.
    seen: Option<Version>,
}

/// A list, and the length at which what is of no use is swept out of it: twice what was left the last
/// time, so that sweeping costs each entry about one look.
#[derive(Default)]
struct Sweeping<L> {
    list: L,
    sweep_at: usize,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    due: Stamp,
    key: TaskId,
    what: Due,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Lease,
    TimeToLive,
    /// The waiter at this seat waits no longer.
    Waiter(usize),
}

impl Upkeep {
    pub(crate) fn new() -> Self {
        Self {
            stirred: Queue::new(),
            retired: Queue::new(),
            timers: Queue::new(),
            lists: Mutex::new(Lists::default()),
        }
    }

    /// Has a task sampled at the coming ticks; the caller has set its mark.
    pub(crate) fn sample_soon(&self, record: Arc<Record>) {
        self.stirred.push(record);
    }

    pub(crate) fn watch_lease(&self, key: TaskId, deadline: Stamp) {
        self.timers.push(Timer { due: deadline, key, what: Due::Lease });
    }

    /// Has the waiter at `seat` of the task `key` woken when its time has run out.
    pub(crate) fn watch_waiter(&self, key: TaskId, seat: usize, deadline: Stamp) {
        self.timers.push(Timer { due: deadline, key, what: Due::Waiter(seat) });
    }

    /// Has a task that ended be let go in time.
    pub(crate) fn retire(&self, record: &Record, state: State, ended: Stamp, retention: &Retention) {
        let Some(outcome) = outcome(state) else { return };
        let ttl = record.ttl();
        if let Some(ttl) = ttl {
            self.timers.push(Timer { due: ended.plus(ttl), key: record.key(), what: Due::TimeToLive });
        }
        let keep = retention.keep(state);
        if keep.count.is_some() || (ttl.is_none() && keep.age.is_some()) {
            let ended = Ended::new(ended, outcome, ttl.is_some());
            self.retired.push(Retired { address: record.key().address(), ended });
        }
    }
}

impl Engine {
    /// One tick.
    pub(crate) fn tick(&self) {
        let mut wakes = Wakes::default();
        let mut lists = lock(&self.upkeep.lists);
        let (before, now) = self.pulse.beat(&self.clock);
        if let Some(since) = lists.unread_since.take() {
            self.note_silent(since, &mut wakes);
        }
        self.sample(&mut lists.active, before, &mut wakes);
        self.fire_timers(&mut lists.timers, now, &mut wakes);
        self.let_go(&mut lists, now, &mut wakes);
        drop(lists);
        wakes.wake();
    }

    /// Samples the active tasks, and drops those that were quiet for a whole tick.
    fn sample(&self, active: &mut Vec<Active>, before: Stamp, wakes: &mut Wakes) {
        while let Some(record) = self.upkeep.stirred.pop() {
            active.push(Active { record, seen: None });
        }
        active.retain_mut(|Active { record, seen }| {
            let Some(cell) = self.cell(record) else { return false };
            if !self.sample_one(record, seen, wakes) {
                return false;
            }
            if cell.updated() >= before {
                return true;
            }
            cell.settle();
            cell.updated() >= before && cell.stir()
        });
        if active.capacity() > 4 * active.len() + SLACK {
            active.shrink_to(2 * active.len() + SLACK);
        }
    }

    /// Brings the sums of the task's parent up to date, and tells who observes the task if it has made
    /// progress. Gives whether it lives.
    fn sample_one(&self, record: &Record, seen: &mut Option<Version>, wakes: &mut Wakes) -> bool {
        let mut cold = record.lock();
        let live = self.status(record).filter(|status| !status.is_terminal());
        let Some(status) = live else {
            return false; // Its end was told by who ended it.
        };
        let version = status.version();
        if seen.replace(version) != Some(version) {
            cold.roll_up(|share| Share { done: status.done(), ..share });
            if let Some(waiters) = cold.waiters() {
                waiters.tell_change(version, wakes);
            }
            self.note_change(record, wakes);
        }
        let is_observed = cold.has_parent() || cold.waiters().is_some_and(Waiters::want_progress);
        if !is_observed && let Some(cell) = self.cell(record) {
            cell.ignore();
        }
        true
    }

    // ---- a new reader of the feed ---------------------------------------------------------------------

    /// A new reader: what is silent in the present tick, because nobody read the feed when it was noted,
    /// is noted for it at the next.
    pub(crate) fn subscribe(&self) -> Option<usize> {
        let mut lists = lock(&self.upkeep.lists);
        let reader = self.feed.subscribe()?;
        let (before, _) = self.pulse.beat(&self.clock);
        lists.unread_since.get_or_insert(before);
        Some(reader)
    }

    /// Notes all live tasks that made progress since then: once for each new reader, a look at each line.
    fn note_silent(&self, since: Stamp, wakes: &mut Wakes) {
        for slot in 0..self.table.used() {
            let Some(cell) = self.table.cell(slot) else { return };
            let word = cell.word();
            if word.is_vacant() || word.is_terminal() || cell.updated() < since {
                continue;
            }
            if let Some(record) = self.registry.find(cell.tenant(slot)) {
                let _cold = record.lock();
                // One that is being created under a client's id has no versions yet, and is noted as new.
                if record.is_claimed() && self.status(&record).is_some() {
                    self.note_change(&record, wakes);
                }
            }
        }
    }

    // ---- what is due ------------------------------------------------------------------------------------

    /// Expires leases and times to live that are due, and wakes waiters whose time has run out.
    fn fire_timers(&self, timers: &mut Sweeping<BinaryHeap<Reverse<Timer>>>, now: Stamp, wakes: &mut Wakes) {
        while let Some(timer) = self.upkeep.timers.pop() {
            timers.list.push(Reverse(timer));
        }
        let due = |timers: &BinaryHeap<Reverse<Timer>>| {
            timers.peek().map(|Reverse(timer)| *timer).filter(|timer| timer.due <= now)
        };
        while let Some(timer) = due(&timers.list) {
            timers.list.pop();
            let Some(record) = self.registry.find(timer.key) else { continue };
            match timer.what {
                Due::Lease => {
                    if let Some(due) = self.expire_lease(&record, now, wakes) {
                        timers.list.push(Reverse(Timer { due, ..timer }));
                    }
                }
                Due::TimeToLive => self.drop_ended(timer.key.address(), GoneReason::Expired, wakes),
                Due::Waiter(seat) => {
                    if let Some(waiters) = record.lock().waiters() {
                        waiters.tell_time(seat, wakes);
                    }
                }
            }
        }
        if timers.list.len() > timers.sweep_at {
            timers.list.retain(|Reverse(timer)| self.is_wanted(timer));
            timers.sweep_at = 2 * timers.list.len() + SLACK;
        }
    }

    /// Whether there is still anyone whom the timer is for.
    fn is_wanted(&self, timer: &Timer) -> bool {
        let Due::Waiter(seat) = timer.what else { return self.is_alive(timer.key.address()) };
        let record = self.registry.find(timer.key);
        record.is_some_and(|record| record.lock().waiters().is_some_and(|waiters| waiters.is_taken(seat)))
    }

    /// Lets go of terminal tasks that are past their age, and of those that are too many.
    fn let_go(&self, lists: &mut Lists, now: Stamp, wakes: &mut Wakes) {
        while let Some(retired) = self.upkeep.retired.pop() {
            if let Some(list) = lists.retired.get_mut(retired.ended.outcome()) {
                list.list.push_back(retired);
            }
        }
        let terminal = [State::Succeeded, State::Failed, State::Cancelled];
        let lists = lists.retired.iter_mut().zip(&mut lists.past_age);
        for ((state, keep), (list, past_age)) in terminal.into_iter().zip(self.retention.keeps()).zip(lists) {
            self.let_go_by_age(*keep, &mut list.list, &mut past_age.list, now, wakes);
            self.let_go_by_count(state, *keep, &mut list.list, &mut past_age.list, wakes);
            for Sweeping { list, sweep_at } in [list, past_age] {
                if list.len() > *sweep_at {
                    list.retain(|retired| self.is_alive(retired.address));
                    *sweep_at = 2 * list.len() + SLACK;
                }
            }
        }
    }

    fn let_go_by_age(
        &self,
        keep: Keep,
        list: &mut VecDeque<Retired>,
        past_age: &mut VecDeque<Retired>,
        now: Stamp,
        wakes: &mut Wakes,
    ) {
        let Some(age) = keep.age else { return };
        while let Some(oldest) = list.front().copied().filter(|oldest| oldest.ended.at().plus(age) <= now) {
            list.pop_front();
            if oldest.ended.has_ttl() {
                past_age.push_back(oldest);
            } else {
                self.drop_ended(oldest.address, GoneReason::Expired, wakes);
            }
        }
    }

    fn let_go_by_count(
        &self,
        state: State,
        keep: Keep,
        list: &mut VecDeque<Retired>,
        past_age: &mut VecDeque<Retired>,
        wakes: &mut Wakes,
    ) {
        let Some(count) = keep.count else { return };
        while self.tally.of(state) > count {
            let Some(oldest) = past_age.pop_front().or_else(|| list.pop_front()) else { break };
            self.drop_ended(oldest.address, GoneReason::Evicted, wakes);
        }
    }

    /// Removes a terminal task; one that is gone already, or (impossibly) lives, is left alone.
    fn drop_ended(&self, address: Address, why: GoneReason, wakes: &mut Wakes) {
        if let Some(record) = self.tenant(address).and_then(|key| self.registry.find(key)) {
            let _ = self.remove(&record, why, wakes);
        }
    }
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upkeep").finish_non_exhaustive()
    }
}

/// Who ticks.
///
/// ```
/// use std::time::Duration;
/// use inflight::{KeeperMode, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder()
///     .capacity(16)
///     .keeper(KeeperMode::Thread { tick: Duration::from_millis(20) })
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperMode {
    /// A thread of the store's, at this interval, until the last clone of the store is gone. The default,
    /// at 50 ms.
    Thread {
        /// The interval: how exact the times of progress are, how soon progress is sampled for parents
        /// and watchers, and how late at most a lease or a task expires.
        tick: Duration,
    },
    /// Nobody: [`Store::tick`](crate::Store::tick) is called by hand.
    Manual,
}

impl Default for KeeperMode {
    fn default() -> Self {
        KeeperMode::Thread { tick: Duration::from_millis(50) }
    }
}

#[cfg(not(inflight_loom))]
pub(crate) use thread::Keeper;

#[cfg(not(inflight_loom))]
mod thread {
    use std::sync::{Arc, Condvar, Mutex, PoisonError};
    use std::time::Duration;

    use crate::engine::Engine;

    /// The thread that ticks; it ends when this is dropped.
    #[derive(Debug)]
    pub(crate) struct Keeper(Arc<Stop>);

    #[derive(Debug, Default)]
    struct Stop {
        stopped: Mutex<bool>,
        changed: Condvar,
    }

    impl Keeper {
        pub(crate) fn start(engine: Arc<Engine>, tick: Duration) -> std::io::Result<Self> {
            let stop = Arc::new(Stop::default());
            let keeper = Self(Arc::clone(&stop));
            std::thread::Builder::new().name("inflight-keeper".into()).spawn(move || {
                while !stop.wait(tick) {
                    engine.tick();
                }
            })?;
            Ok(keeper)
        }
    }

    impl Stop {
        /// Waits for `span`, or until stopped; gives whether it was stopped.
        fn wait(&self, span: Duration) -> bool {
            let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.changed.wait_timeout_while(stopped, span, |stopped| !*stopped);
            *waited.unwrap_or_else(PoisonError::into_inner).0
        }
    }

    impl Drop for Keeper {
        fn drop(&mut self) {
            *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.0.changed.notify_all();
        }
    }
}
