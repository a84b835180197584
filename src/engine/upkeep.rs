//! What the keeper does at each tick.
//!
//! A tick moves the pulse, samples the progress of tasks that somebody observes, and does what is due
//! (`due.rs`). It costs what has changed and what is due, and nothing for what is stored (I9).
//!
//! A tick is done in slices. A slice holds the lock of the keeper's lists, and then lets it go and calls the
//! wakers: it samples, fires and removes up to [`SLICE`] tasks each. So a million tasks that expire at once
//! delay a sample or a lease by a slice, and not by a tick. A new reader of the feed never waits for a slice.
//!
//! The keeper's lists hold addresses and no records: they keep no line from being used again. While the
//! keeper looks at a task, it holds its record for that moment, if the line shows that there is anything to
//! do.
//!
//! # No progress goes unseen (I6, I12)
//!
//! An increment wakes nobody and sets no flag. But when it finds that the pulse has moved, it notes the pulse
//! in the line's `updated`; and if the task is observed, it marks it as dirty, which puts it on the list of
//! those that are sampled. All later increments are silent until the pulse moves again.
//!
//! All that follows is by the rule of `pace.rs`: a store is visible when `SETTLE` of clock time has passed,
//! and two moves of the pulse are `INTERVAL` apart, twice `SETTLE`.
//!
//! *The last silent increment.* It stores the count, and then loads a pulse *p* that it has noted already. So
//! it was made at most `SETTLE` after the pulse moved on from *p*, and is visible `INTERVAL` after that:
//! before the pulse moves once more. A task stays on the list until `updated` is older than the pulse was
//! *before* its last move. By then the pulse has moved twice since *p*, and the task is sampled in that very
//! slice. Every other change that sets `updated` to some time also marks the task as dirty.
//!
//! *The mark that is taken away.* When the keeper drops a task from the list, it first takes the mark away
//! and then looks at `updated` once more. Both marks are exchanges of the same word. So either the keeper
//! sees the time that was noted before the mark, or the increment finds the mark gone, and puts the task
//! back.
//!
//! *A new watcher.* The worker notes the time, then loads the flag that says whether the task is observed. A
//! watcher sets the flag, and then has the task put on the list. The worker may miss the flag for `SETTLE`,
//! and the keeper may miss the time that the worker has noted for `SETTLE` after that. So a task is not
//! dropped before it has been observed for `INTERVAL`, counted from when the keeper first saw the flag. The
//! exchange that takes the mark away shows whether the flag was set in the last moment.
//!
//! *The first reader of the feed.* Tasks whose time was noted when nobody read the feed are not on the list.
//! The worker notes the time, then loads how many readers there are; the reader counts itself, and then has
//! the keeper look at all lines. Again each may miss the other for `SETTLE`. So the keeper looks at all lines
//! at each tick, until it has done so `INTERVAL` after the reader counted itself. It puts those on the list
//! whose `updated` is not older than the pulse was before its last move when the reader came. A task with an
//! older time makes no silent progress after that: the pulse had moved twice since that time, and so it notes
//! a new time first. A reader that comes while there is another finds all of that done, or under way.
//!
//! If the clock stands still, the pulse stands as well: nothing is dropped from the list, and each tick
//! samples all that is on it.
//!
//! # A tick that panics
//!
//! It ends in the middle of one task, line or timer. A task stays on its list, behind the others; a timer
//! waits for a second; a scan goes on with the next line, and is made once more. So the next tick goes on
//! with the others. A panic in the scan or in the samples does not keep timers and removals from their turn
//! in the same tick. Wakers that were taken out are called.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::cell::Cell;
use crate::engine::Engine;
use crate::engine::inbox::Inbox;
use crate::engine::keeper::Health;
use crate::engine::pace::{INTERVAL, Pace};
use crate::engine::retention::{Queues, Retired};
use crate::engine::sweeping::SLACK;
use crate::engine::timers::{Timer, Timers};
use crate::model::clock::Stamp;
use crate::model::id::Address;
use crate::record::Record;
use crate::record::family::Share;
use crate::record::wait_list::WakeList;
use crate::sync::{Mutex, lock};

/// How many tasks a slice samples, how many timers it fires, and how many tasks it removes, at the most.
pub(crate) const SLICE: usize = 1024;

/// How many lines a slice looks at for the first reader of the feed.
const LINES: u32 = 64 * SLICE as u32;

/// What is left to the keeper, and the keeper's own lists.
pub(crate) struct Upkeep {
    dirty: Inbox<Address>,
    pub(crate) timers: Inbox<Timer>,
    pub(crate) retired: Inbox<Retired>,
    lists: Mutex<Lists>,
    /// A lock of its own, which nobody holds for long: a new reader of the feed does not wait for the keeper.
    shared: Mutex<Shared>,
    pub(crate) health: Health,
    #[cfg(all(test, not(inflight_loom)))]
    fuse: std::sync::Mutex<Option<usize>>,
    #[cfg(all(test, not(inflight_loom)))]
    cursed: std::sync::Mutex<Option<Address>>,
}

/// What the keeper shares with new readers of the feed, and with the check of leases.
struct Shared {
    pace: Pace,
    unread: Option<Unread>,
}

/// The feed has a first reader, which has missed progress noted before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unread {
    /// Tasks whose time is older make no silent progress.
    since: Stamp,
    /// What the clock showed after the reader had counted itself.
    subscribed: Stamp,
}

#[derive(Default)]
struct Lists {
    /// Tasks that are sampled at each tick, and how many of them have yet to be sampled in this one.
    active: VecDeque<Active>,
    unsampled: usize,
    scan: Option<Scan>,
    timers: Timers,
    queues: Queues,
}

/// A task that is sampled.
#[derive(Clone, Copy, Debug)]
struct Active {
    address: Address,
    /// Since when the keeper has seen it observed; `None` if it was not when the keeper last looked.
    observed_since: Option<Stamp>,
}

/// A look at all lines, for a new reader of the feed.
#[derive(Clone, Copy, Debug)]
struct Scan {
    unread: Unread,
    /// What the clock showed before it began.
    begun: Stamp,
    /// The next line to look at.
    next: u32,
    /// A line is being looked at; it is still said here after a panic.
    is_looking: bool,
    /// A line was left out because of a panic, so all are looked at once more.
    is_partial: bool,
}

/// The times that a slice goes by.
#[derive(Clone, Copy)]
struct Times {
    /// What the clock showed when the slice began: what is due by it is due.
    due: Stamp,
    /// Where the pulse was before its last move.
    before: Stamp,
}

impl Upkeep {
    pub(crate) fn new(pace: Pace) -> Self {
        Self {
            dirty: Inbox::new(),
            timers: Inbox::new(),
            retired: Inbox::new(),
            lists: Mutex::new(Lists::default()),
            shared: Mutex::new(Shared { pace, unread: None }),
            health: Health::default(),
            #[cfg(all(test, not(inflight_loom)))]
            fuse: std::sync::Mutex::new(None),
            #[cfg(all(test, not(inflight_loom)))]
            cursed: std::sync::Mutex::new(None),
        }
    }

    /// Where a test has the keeper panic.
    #[inline(always)]
    pub(crate) fn may_panic(&self) {
        #[cfg(all(test, not(inflight_loom)))]
        self.burn();
    }

    /// The same, at the sample of a task.
    #[inline(always)]
    fn may_panic_at(&self, _address: Address) {
        #[cfg(all(test, not(inflight_loom)))]
        {
            let cursed = *self.cursed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            assert!(cursed != Some(_address), "a test has the keeper panic");
            self.burn();
        }
    }

    /// Has a task sampled at the coming ticks; the caller has set its mark.
    pub(crate) fn sample_soon(&self, address: Address, is_wanted: impl Fn(&Address) -> bool) {
        self.dirty.push(address, is_wanted);
    }
}

impl Engine {
    /// One tick: slices, until nothing more is due.
    pub(crate) fn tick(&self) {
        let mut is_more = self.slice(true);
        while is_more {
            is_more = self.slice(false);
        }
    }

    /// One slice: the first of a tick, or a further one. Gives whether there is more to do in this tick.
    pub(crate) fn slice(&self, is_first: bool) -> bool {
        let mut wakes = WakeList::default();
        let slice = || self.slice_locked(is_first, &mut wakes);
        // What a panic leaves behind is whole: see the head of this file.
        let done = catch_unwind(AssertUnwindSafe(slice));
        wakes.wake();
        match done {
            Ok(is_more) => {
                self.upkeep.health.has_ticked();
                is_more
            }
            Err(panic) => {
                let now = self.clock.now().wall(self.pulse.skew_micros());
                self.upkeep.health.has_panicked(&*panic, now);
                resume_unwind(panic)
            }
        }
    }

    fn slice_locked(&self, is_first: bool, wakes: &mut WakeList) -> bool {
        let mut lists = lock(&self.upkeep.lists);
        let lists = &mut *lists;
        let due = self.clock.now();
        if is_first {
            self.pulse.follow_wall(&self.clock);
        }
        let (times, has_moved) = self.move_pulse(due, lists, is_first);
        // A task that panics whenever it is sampled keeps no lease, time-out or removal from its turn.
        let looked = catch_unwind(AssertUnwindSafe(|| {
            let is_scanned = self.scan(&mut lists.scan);
            // In a long tick the samples begin anew when all have been taken and the pulse has moved.
            if is_first || is_scanned || (has_moved && lists.unsampled == 0) {
                let dirty = self.upkeep.dirty.fetch().into_iter();
                lists.active.extend(dirty.map(|address| Active { address, observed_since: None }));
                lists.unsampled = lists.active.len();
            }
            self.sample(lists, times, wakes);
        }));
        let is_more_due = self.do_what_is_due(lists, due, wakes);
        if let Err(panic) = looked {
            resume_unwind(panic);
        }
        is_more_due || lists.unsampled > 0 || lists.scan.is_some()
    }

    /// Does a slice of what is due by `now`. Returns whether there is more.
    fn do_what_is_due(&self, lists: &mut Lists, now: Stamp, wakes: &mut WakeList) -> bool {
        lists.timers.retry_interrupted(now);
        let is_more = self.fire_timers(&mut lists.timers, now, wakes);
        self.let_go(&mut lists.queues, &mut lists.timers, now, wakes) || is_more
    }

    /// Moves the pulse, if it may move, and sees whether a new reader has come. Gives whether the pulse
    /// moved.
    fn move_pulse(&self, due: Stamp, lists: &mut Lists, is_first: bool) -> (Times, bool) {
        let mut shared = lock(&self.upkeep.shared);
        let may_move = shared.pace.may_move(due);
        if may_move {
            self.pulse.move_to(due);
            // Read after the store: how long this thread was held up in between does not matter.
            shared.pace.has_moved(due, self.clock.now());
        }
        if is_first && lists.scan.is_none() {
            lists.scan = shared.unread.map(|unread| Scan {
                unread,
                begun: due,
                next: 0,
                is_looking: false,
                is_partial: false,
            });
        }
        (Times { due, before: shared.pace.before() }, may_move)
    }

    /// By when progress was made that is silent since `updated`. By `now`, if the pulse has not moved since.
    pub(crate) fn silent_until(&self, updated: Stamp, now: Stamp) -> Stamp {
        let until = lock(&self.upkeep.shared).pace.silent_until(updated);
        until.map_or(now, |until| until.min(now))
    }

    // ---- samples ----------------------------------------------------------------------------------------

    /// Samples active tasks, and drops those that are quiet.
    fn sample(&self, lists: &mut Lists, times: Times, wakes: &mut WakeList) {
        let Lists { active, unsampled, .. } = lists;
        for _ in 0..(*unsampled).min(SLICE) {
            *unsampled -= 1;
            // First behind the others: so it stays on the list in case of a panic.
            active.rotate_left(usize::from(!active.is_empty()));
            let Some(task) = active.back_mut() else { break };
            if !self.sample_one(task, times, wakes) {
                active.pop_back();
            }
        }
        if active.capacity() > 4 * active.len() + SLACK {
            active.shrink_to(2 * active.len() + SLACK);
        }
    }

    /// Tells of the task's progress, if there is any to tell of. Gives whether the task stays on the list.
    fn sample_one(&self, task: &mut Active, times: Times, wakes: &mut WakeList) -> bool {
        self.upkeep.may_panic_at(task.address);
        let Some(cell) = self.table.cell(task.address.slot) else { return false };
        let Some(key) = self.tenant(task.address) else { return false };
        if cell.word().is_terminal() {
            return false; // The thread that ended it has announced the end.
        }
        let mut record = None;
        if cell.has_unreported() {
            let Some(found) = self.registry.find(key) else { return false };
            match self.tell_progress(&found, cell, wakes) {
                None => return false,
                Some(true) => {}
                Some(false) => task.observed_since = None,
            }
            record = Some(found);
        }
        task.observed_since = match (cell.word().is_observed(), task.observed_since) {
            (false, _) => None,
            (true, None) => Some(self.clock.now()),
            (true, since) => since,
        };
        let is_recent = |since: Stamp| since.plus(INTERVAL) > times.due;
        if cell.updated() >= times.before || task.observed_since.is_some_and(is_recent) {
            return true;
        }
        // From here on the line must stay this task's. Holding the record ensures that.
        let Some(_record) = record.or_else(|| self.registry.find(key)) else { return false };
        let was = cell.clear_dirty();
        let has_watcher = was.is_observed() && task.observed_since.is_none();
        (cell.updated() >= times.before || has_watcher) && cell.mark_dirty()
    }

    /// Brings the sums of the task's parent up to date, and tells those who observe the task if it has made
    /// progress that they have not been told of. Gives whether anybody observes it; `None` if it has ended.
    fn tell_progress(&self, record: &Record, cell: Cell<'_>, wakes: &mut WakeList) -> Option<bool> {
        let mut cold = record.lock();
        let status = self.status(record).filter(|status| !status.is_terminal())?;
        let done = status.done();
        cold.roll_up(|share| Share { done, ..share });
        // A change of the word tells of what is done by then (`Engine::announce`).
        if cell.reported() != done {
            if let Some(waiters) = cold.waiters() {
                waiters.notify_change(status.version(), wakes);
            }
            self.upkeep.may_panic();
            self.note_change(record, wakes);
            // Last, so that a panic loses nothing.
            cell.report(done);
        }
        let is_observed = cold.has_parent() || cold.waiters().is_some_and(|waiters| waiters.want_progress());
        if !is_observed {
            cell.clear_observed();
        }
        Some(is_observed)
    }

    // ---- a new reader of the feed ---------------------------------------------------------------------

    /// A new reader. If there was none, the keeper looks for tasks that make silent progress.
    pub(crate) fn subscribe(&self) -> Option<usize> {
        // Held until the keeper knows of the reader, so a second reader finds the first one registered.
        let mut shared = lock(&self.upkeep.shared);
        let (reader, is_first) = self.feed.subscribe()?;
        if is_first {
            let before = shared.pace.before();
            let since = shared.unread.map_or(before, |unread| unread.since.min(before));
            shared.unread = Some(Unread { since, subscribed: self.clock.now() });
        }
        Some(reader)
    }

    /// Looks at lines, and puts tasks on the list that make silent progress. Gives whether it has now looked
    /// at all of them.
    fn scan(&self, scan: &mut Option<Scan>) -> bool {
        let Some(Scan { unread, begun, next, is_looking, is_partial }) = scan else { return false };
        *is_partial |= std::mem::take(is_looking);
        let used = self.table.used();
        let end = next.saturating_add(LINES).min(used);
        while *next < end {
            let slot = *next;
            // Before the look, so that the scan goes on with the next line after a panic.
            *next += 1;
            let Some(cell) = self.table.cell(slot) else { continue };
            let word = cell.word();
            if word.is_vacant() || word.is_terminal() || cell.updated() < unread.since {
                continue;
            }
            *is_looking = true;
            self.upkeep.may_panic();
            if let Some(record) = self.registry.find(cell.tenant(slot)) {
                self.mark_dirty(&record);
            }
            *is_looking = false;
        }
        if *next < used {
            return false;
        }
        if !*is_partial && *begun >= unread.subscribed.plus(INTERVAL) {
            let mut shared = lock(&self.upkeep.shared);
            // Unless another reader has come since.
            shared.unread.take_if(|pending| pending == unread);
        }
        *scan = None;
        true
    }
}

/// How much the keeper's lists hold, for tests.
#[cfg(all(test, not(inflight_loom)))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) active: usize,
    pub(crate) dirty: usize,
    pub(crate) dues: usize,
    /// How many entries all of them together have room for.
    pub(crate) room: usize,
    pub(crate) has_unread: bool,
}

#[cfg(all(test, not(inflight_loom)))]
impl Upkeep {
    pub(crate) fn sizes(&self) -> Sizes {
        let lists = lock(&self.lists);
        let (dirty, dirty_room) = self.dirty.size();
        let sizes = [lists.timers.size(), lists.queues.size(), self.timers.size(), self.retired.size()];
        let (dues, dues_room) = sizes.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        Sizes {
            active: lists.active.len(),
            dirty,
            dues,
            room: lists.active.capacity() + dirty_room + dues_room,
            has_unread: lock(&self.shared).unread.is_some(),
        }
    }

    /// Has the keeper panic at the `nth` place where it may; it does so once.
    pub(crate) fn panic_at(&self, nth: usize) {
        *self.fuse.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(nth);
    }

    /// Has the keeper panic whenever it samples this task.
    pub(crate) fn panic_at_each_sample_of(&self, address: Address) {
        *self.cursed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(address);
    }

    fn burn(&self) {
        let mut fuse = self.fuse.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = fuse.take();
        assert!(left != Some(0), "a test has the keeper panic");
        *fuse = left.map(|left| left - 1);
    }

    /// Runs `body` while the keeper's lists are locked, as they are during a slice.
    pub(crate) fn while_locked<T>(&self, body: impl FnOnce() -> T) -> T {
        let _lists = lock(&self.lists);
        body()
    }
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upkeep").finish_non_exhaustive()
    }
}
