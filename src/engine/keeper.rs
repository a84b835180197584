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
//! The first reader of the feed finds tasks that have been noted in this tick and, as nobody observed
//! them, are not on the list. It moves the time on, so that from then on increments are noted again; and
//! at the next tick each line is looked at, once, and a task whose time is as late as that is put on the
//! list. Its own moving of the time is no tick: what is quiet is told by the ticks alone. Whoever subscribes
//! while there is a reader finds all of that done, or about to be.
//!
//! When the keeper drops a task from the list it first takes the mark away, and then looks at `updated`
//! once more. Both marks are exchanges of the same word, so either the keeper sees the time that was noted
//! before the mark, or the increment finds the mark gone and puts the task back.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::cell::Cell;
use crate::engine::Engine;
use crate::engine::inbox::Inbox;
use crate::model::clock::{STAMP_BITS, Stamp};
use crate::model::id::{Address, TaskId};
use crate::model::retention::{Keep, OUTCOMES, Retention, outcome};
use crate::model::state::{GoneReason, State};
use crate::record::Record;
use crate::record::family::Share;
use crate::record::wait_list::{Registration, WakeList};
use crate::sync::{Arc, Mutex, lock};

/// How many entries the keeper's lists may grow by before those that are of no use are swept out.
const SLACK: usize = 1024;

/// What is left to the keeper, and the keeper's own lists.
pub(crate) struct Upkeep {
    dirty: Inbox<Arc<Record>>,
    retired: Inbox<Retired>,
    timers: Inbox<Timer>,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    /// Tasks that are sampled at each tick.
    active: Vec<Arc<Record>>,
    /// Terminal tasks by outcome, the longest ended first, or nearly: those of one tick may come with the next.
    /// And those that are past their age, but have a time to live of their own.
    retired: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    past_age: [Sweeping<VecDeque<Retired>>; OUTCOMES],
    timers: Sweeping<BinaryHeap<Reverse<Timer>>>,
    /// The time of the last tick.
    ticked: Stamp,
    /// The feed has a new reader, and silent increments since this time are unknown to it.
    unread_since: Option<Stamp>,
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

/// Timers are ordered by when they are due.
struct Timer {
    due: Stamp,
    what: Due,
}

enum Due {
    Lease(TaskId),
    TimeToLive(Address),
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

impl Upkeep {
    pub(crate) fn new() -> Self {
        Self {
            dirty: Inbox::new(),
            retired: Inbox::new(),
            timers: Inbox::new(),
            lists: Mutex::new(Lists::default()),
        }
    }

    /// Has a task sampled at the coming ticks; the caller has set its mark.
    pub(crate) fn sample_soon(&self, record: Arc<Record>) {
        self.dirty.push(record);
    }

    pub(crate) fn watch_lease(&self, key: TaskId, deadline: Stamp) {
        self.timers.push(Timer { due: deadline, what: Due::Lease(key) });
    }

    /// Has a waiter woken when its time has run out.
    pub(crate) fn watch_waiter(&self, registration: Registration, deadline: Stamp) {
        self.timers.push(Timer { due: deadline, what: Due::Waiter(registration) });
    }

    /// Has a task that ended be let go in time.
    pub(crate) fn retire(&self, record: &Record, state: State, ended: Stamp, retention: &Retention) {
        let Some(outcome) = outcome(state) else { return };
        let ttl = record.ttl();
        if let Some(ttl) = ttl {
            self.timers.push(Timer { due: ended.plus(ttl), what: Due::TimeToLive(record.key().address()) });
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
        let mut wakes = WakeList::default();
        let mut lists = lock(&self.upkeep.lists);
        let tick = self.pulse.tick(&self.clock);
        let before = std::mem::replace(&mut lists.ticked, tick.now);
        if let Some(since) = lists.unread_since.take() {
            self.mark_silent_dirty(since);
        }
        self.sample(&mut lists.active, before, &mut wakes);
        self.fire_timers(&mut lists.timers, tick.due, &mut wakes);
        self.let_go(&mut lists, tick.due, &mut wakes);
        drop(lists);
        wakes.wake();
    }

    /// Samples the active tasks, and drops those that were quiet for a whole tick.
    fn sample(&self, active: &mut Vec<Arc<Record>>, before: Stamp, wakes: &mut WakeList) {
        active.extend(self.upkeep.dirty.fetch());
        active.retain(|record| {
            let Some(cell) = self.cell(record) else { return false };
            if !self.sample_one(record, cell, wakes) {
                return false;
            }
            if cell.updated() >= before {
                return true;
            }
            cell.clear_dirty();
            cell.updated() >= before && cell.mark_dirty()
        });
        if active.capacity() > 4 * active.len() + SLACK {
            active.shrink_to(2 * active.len() + SLACK);
        }
    }

    /// Brings the sums of the task's parent up to date, and tells who observes the task if it has made
    /// progress that they have not been told of. Gives whether it lives.
    fn sample_one(&self, record: &Record, cell: Cell<'_>, wakes: &mut WakeList) -> bool {
        let mut cold = record.lock();
        let live = self.status(record).filter(|status| !status.is_terminal());
        let Some(status) = live else {
            return false; // Its end was told by who ended it.
        };
        let done = status.done();
        cold.roll_up(|share| Share { done, ..share });
        // Who changes the word tells of what is done by then (`Engine::announce`).
        if cell.report(done) {
            if let Some(waiters) = cold.waiters() {
                waiters.notify_change(status.version(), wakes);
            }
            self.note_change(record, wakes);
        }
        let is_observed = cold.has_parent() || cold.waiters().is_some_and(|waiters| waiters.want_progress());
        if !is_observed {
            cell.clear_observed();
        }
        true
    }

    // ---- a new reader of the feed ---------------------------------------------------------------------

    /// A new reader. If there was none, what is silent in the present tick, because nobody read the feed
    /// when it was noted, is sampled from the next tick on.
    pub(crate) fn subscribe(&self) -> Option<usize> {
        let mut lists = lock(&self.upkeep.lists);
        let (reader, is_first) = self.feed.subscribe()?;
        if is_first {
            let before = self.pulse.tick(&self.clock).before;
            lists.unread_since.get_or_insert(before);
        }
        Some(reader)
    }

    /// Has all live tasks sampled that made progress since then: a look at each line, once for the first
    /// reader after a time without one.
    fn mark_silent_dirty(&self, since: Stamp) {
        for slot in 0..self.table.used() {
            let Some(cell) = self.table.cell(slot) else { return };
            let word = cell.word();
            if word.is_vacant() || word.is_terminal() || cell.updated() < since {
                continue;
            }
            if let Some(record) = self.registry.find(cell.tenant(slot)) {
                self.mark_dirty(&record);
            }
        }
    }

    // ---- what is due ------------------------------------------------------------------------------------

    /// Expires leases and times to live that are due, and wakes waiters whose time has run out.
    fn fire_timers(
        &self,
        timers: &mut Sweeping<BinaryHeap<Reverse<Timer>>>,
        now: Stamp,
        wakes: &mut WakeList,
    ) {
        timers.list.extend(self.upkeep.timers.fetch().into_iter().map(Reverse));
        while timers.list.peek().is_some_and(|Reverse(timer)| timer.due <= now) {
            let Some(Reverse(timer)) = timers.list.pop() else { break };
            match timer.what {
                Due::Lease(key) => {
                    let Some(record) = self.registry.find(key) else { continue };
                    if let Some(due) = self.expire_lease(&record, now, wakes) {
                        timers.list.push(Reverse(Timer { due, what: Due::Lease(key) }));
                    }
                }
                Due::TimeToLive(address) => self.drop_ended(address, GoneReason::Expired, wakes),
                Due::Waiter(registration) => registration.call(wakes),
            }
        }
        if timers.list.len() > timers.sweep_at {
            timers.list.retain(|Reverse(timer)| self.is_wanted(timer));
            timers.sweep_at = 2 * timers.list.len() + SLACK;
        }
    }

    /// Whether there is still anyone whom the timer is for.
    fn is_wanted(&self, timer: &Timer) -> bool {
        match &timer.what {
            Due::Lease(key) => self.is_alive(key.address()),
            Due::TimeToLive(address) => self.is_alive(*address),
            Due::Waiter(registration) => registration.is_registered(),
        }
    }

    /// Lets go of terminal tasks that are past their age, and of those that are too many.
    fn let_go(&self, lists: &mut Lists, now: Stamp, wakes: &mut WakeList) {
        let mut retired = self.upkeep.retired.fetch();
        // Each stripe's are in order, or nearly, and a sort that finds that out merges them.
        retired.sort_by_key(|retired| retired.ended.at());
        for retired in retired {
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
        wakes: &mut WakeList,
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
        wakes: &mut WakeList,
    ) {
        let Some(count) = keep.count else { return };
        while self.tally.of(state) > count {
            let Some(oldest) = past_age.pop_front().or_else(|| list.pop_front()) else { break };
            self.drop_ended(oldest.address, GoneReason::Evicted, wakes);
        }
    }

    /// Removes a terminal task; one that is gone already, or (impossibly) lives, is left alone.
    fn drop_ended(&self, address: Address, why: GoneReason, wakes: &mut WakeList) {
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

#[cfg(all(test, not(inflight_loom)))]
#[allow(clippy::unwrap_used, reason = "what tests share fails as they do")]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Waker};

    use super::*;
    use crate::model::clock::ManualClock;
    use crate::record::new_task::NewTask;
    use crate::store::Store;

    fn store() -> (Store, ManualClock) {
        let clock = ManualClock::new();
        let builder = Store::builder().capacity(4096).clock(clock.clone()).keeper(KeeperMode::Manual);
        (builder.retain(Retention::forever()).build().unwrap(), clock)
    }

    #[test]
    fn i8_only_the_first_reader_costs_a_look_at_every_line() {
        let (store, _) = store();
        let mut task = store.create(NewTask::new("test")).unwrap();
        task.start().unwrap();
        task.advance(1).unwrap();
        let is_due = || lock(&store.engine.upkeep.lists).unread_since.is_some();
        let active = || lock(&store.engine.upkeep.lists).active.len();
        let first = store.changes().unwrap();
        assert!(is_due());
        store.tick();
        assert_eq!(active(), 1, "what was noted when nobody read is sampled");
        let second = store.changes().unwrap();
        assert!(!is_due());
        drop((first, second));
        let _again = store.changes().unwrap();
        assert!(is_due(), "for a while nobody has read");
    }

    // A timer named the seat of its waiter, and was taken for whoever sat there later.
    #[test]
    fn i6_the_timers_of_waiters_who_have_gone_are_swept_out() {
        let (store, _) = store();
        let task = store.create(NewTask::new("test")).unwrap();
        let timers = || lock(&store.engine.upkeep.lists).timers.list.len();
        let mut waits: Vec<_> = (0..10).map(|_| store.wait_timeout(task.id(), Duration::MAX)).collect();
        for round in 0..100 {
            for wait in &mut waits {
                let mut context = Context::from_waker(Waker::noop());
                assert!(Pin::new(&mut *wait).poll(&mut context).is_pending());
            }
            store.tick();
            assert!(timers() <= 2 * SLACK, "round {round}: {}", timers());
            waits = (0..100).map(|_| store.wait_timeout(task.id(), Duration::MAX)).collect();
        }
    }

    #[test]
    fn i6_the_keeper_looks_at_what_changes_and_not_at_what_is_watched() {
        let (store, clock) = store();
        let mut tasks: Vec<_> = (0..1_000).map(|_| store.create(NewTask::new("test")).unwrap()).collect();
        tasks.iter_mut().for_each(|task| task.start().unwrap());
        let _watches: Vec<_> = tasks.iter().map(|task| store.watch(task.id())).collect();
        let tick = || {
            clock.advance(Duration::from_millis(50));
            store.tick();
            lock(&store.engine.upkeep.lists).active.len()
        };
        for _ in 0..3 {
            tick();
        }
        assert_eq!(tick(), 0, "all are quiet");
        for task in tasks.iter_mut().take(7) {
            task.advance(1).unwrap();
        }
        assert_eq!(tick(), 7);
        for _ in 0..2 {
            tick();
        }
        assert_eq!(tick(), 0);
    }
}
