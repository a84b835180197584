//! The feed: the changed tasks in the order of their last change. One entry per task, not per change (I8).
//!
//! An entry is a task that changed since the slowest reader last drained. All entries of a lane are linked
//! in the order of their tasks' last change. A further change moves the entry to the young end, in O(1);
//! a reader has a cursor, the number of the last change that it has seen, and walks from the young end
//! until it meets it. So a drain costs what has changed, and no reader keeps a list of its own.
//!
//! When all readers have passed an entry it is dropped. When there are more than fit, the oldest goes,
//! and each reader that had not seen it is told to resync.
//!
//! With lanes, workers that end different tasks do not contend. The slot of a task decides its lane.
//!
//! # Nothing is missed between a list and the feed
//!
//! Changes are noted only while there is a reader, and whether there is one is looked at under the
//! record's lock, after the change. A reader that subscribes and then looks at a task under its lock
//! either sees the change, or has let go of the lock before the change took it, and then whoever makes the
//! change sees the reader. For a new task the roster's lock does the same.
//!
//! A new task is noted before anyone can change it: its record is locked from before it can be found. So the
//! first that a reader is told of a task that was created after it subscribed is that the task is new.

use std::collections::HashMap;
use std::task::Waker;

use crossbeam_utils::CachePadded;
use slab::Slab;

use crate::model::id::TaskId;
use crate::model::limits::MAX_READERS;
use crate::model::reason::GoneReason;
use crate::record::status::Status;
use crate::record::wait_list::WakeList;
use crate::sync::{AtomicU64, Mutex, Ordering, STRIPES, lock};

const LANES: usize = STRIPES;
const NOBODY: usize = usize::MAX;

pub(crate) struct Feed {
    lanes: Box<[CachePadded<Mutex<Lane>>]>,
    /// How many entries a lane has at the most.
    limit: usize,
    readers: AtomicU64,
    /// Readers that sleep until there is something to drain. How many there are, and who.
    sleeping: AtomicU64,
    sleepers: Mutex<Slab<Option<Waker>>>,
}

struct Lane {
    entries: Slab<Entry>,
    index: HashMap<TaskId, usize, foldhash::fast::RandomState>,
    oldest: usize,
    youngest: usize,
    /// The number of the last change.
    last: u64,
    cursors: HashMap<usize, Cursor, foldhash::fast::RandomState>,
}

struct Entry {
    key: TaskId,
    /// The id that the task is known by, and the epoch of its versions.
    id: TaskId,
    epoch: u64,
    older: usize,
    younger: usize,
    /// The number of its last change; of its creation, if that was noted.
    changed: u64,
    created: u64,
    gone: Option<Box<(GoneReason, Status)>>,
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    seen: u64,
    lagged: bool,
}

/// What happened to a task.
pub(crate) enum Event {
    Created,
    Changed,
    Gone(GoneReason, Status),
}

/// The task that it happened to.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) key: TaskId,
    pub(crate) id: TaskId,
    pub(crate) epoch: u64,
}

/// What a reader takes out of a lane.
pub(crate) struct Taken {
    pub(crate) subject: Subject,
    pub(crate) is_new: bool,
    pub(crate) gone: Option<(GoneReason, Status)>,
}

/// A reader fell behind: entries that it had not seen were dropped.
pub(crate) struct Lagged;

impl Feed {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            lanes: (0..LANES).map(|_| CachePadded::new(Mutex::new(Lane::new()))).collect(),
            limit: limit.div_ceil(LANES).max(1),
            readers: AtomicU64::new(0),
            sleeping: AtomicU64::new(0),
            sleepers: Mutex::new(Slab::new()),
        }
    }

    /// Whether anybody reads. To note a change: under the record's lock, after the change; for a new task
    /// after the roster's. To have a task sampled it is asked without a lock, and may miss the first reader
    /// for a moment: `engine/upkeep.rs` says why that loses nothing.
    #[inline]
    pub(crate) fn is_read(&self) -> bool {
        // Relaxed: the record's lock (the roster's, for a new task) orders it against the reader's look
        // at the task.
        self.readers.load(Ordering::Relaxed) > 0
    }

    /// Notes what happened to a task.
    pub(crate) fn note(&self, subject: Subject, event: Event, wakes: &mut WakeList) {
        let Some(lane) = self.lanes.get(subject.key.slot() as usize % LANES) else { return };
        lock(lane).note(subject, event, self.limit);
        // Relaxed: a sleeper counts itself, and then looks at each lane under its lock. If it looked
        // before this change took the lock, the lock orders the count before this load.
        if self.sleeping.load(Ordering::Relaxed) > 0 {
            for (_, waker) in lock(&self.sleepers).iter_mut() {
                if let Some(waker) = self.take_waker(waker) {
                    wakes.push(waker);
                }
            }
        }
    }

    /// A new reader, that has seen everything up to now; gives its number, and whether there was no other.
    /// `None` if there are too many.
    pub(crate) fn subscribe(&self) -> Option<(usize, bool)> {
        let mut sleepers = lock(&self.sleepers);
        if sleepers.len() >= MAX_READERS {
            return None;
        }
        let reader = sleepers.insert(None);
        drop(sleepers);
        for lane in &self.lanes {
            let mut lane = lock(lane);
            let seen = lane.last;
            lane.cursors.insert(reader, Cursor { seen, lagged: false });
        }
        // Relaxed: see `is_read`. The cursors may come before or after: a change that is made meanwhile,
        // noted or not, is seen by the reader when it looks at the task, which it does later.
        let is_first = self.readers.fetch_add(1, Ordering::Relaxed) == 0;
        Some((reader, is_first))
    }

    pub(crate) fn unsubscribe(&self, reader: usize) {
        for lane in &self.lanes {
            let mut lane = lock(lane);
            lane.cursors.remove(&reader);
            lane.forget_seen();
        }
        // Relaxed: a change that is noted for nobody is forgotten with the next.
        self.readers.fetch_sub(1, Ordering::Relaxed);
        let waker = self.rest(reader);
        let gone = lock(&self.sleepers).try_remove(reader);
        drop((waker, gone)); // Outside the lock.
    }

    /// Takes all that the reader has not seen. Once it has lagged in any lane, it has in all.
    pub(crate) fn take(&self, reader: usize) -> Result<Vec<Taken>, Lagged> {
        let mut taken = Vec::new();
        let mut lagged = false;
        for lane in &self.lanes {
            lagged |= lock(lane).take(reader, &mut taken).is_err();
        }
        if lagged { Err(Lagged) } else { Ok(taken) }
    }

    /// Whether there is anything for the reader to take.
    pub(crate) fn has_news(&self, reader: usize) -> bool {
        self.lanes.iter().any(|lane| lock(lane).has_news(reader))
    }

    /// Has the reader woken by the next change. The caller then looks whether there is one already.
    pub(crate) fn sleep(&self, reader: usize, waker: &Waker) {
        let mut replacement = Some(waker.clone());
        let mut sleepers = lock(&self.sleepers);
        if let Some(place) = sleepers.get_mut(reader) {
            std::mem::swap(place, &mut replacement);
            if replacement.is_none() {
                // Relaxed: see `note`.
                self.sleeping.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(sleepers);
        drop(replacement); // Outside the lock.
    }

    /// Does not have the reader woken any more.
    pub(crate) fn rest(&self, reader: usize) -> Option<Waker> {
        self.take_waker(lock(&self.sleepers).get_mut(reader)?)
    }

    /// Takes a waker out of its place. The caller holds the sleepers' lock.
    fn take_waker(&self, place: &mut Option<Waker>) -> Option<Waker> {
        let waker = place.take()?;
        // Relaxed: see `note`.
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        Some(waker)
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            entries: Slab::new(),
            index: HashMap::default(),
            oldest: NOBODY,
            youngest: NOBODY,
            last: 0,
            cursors: HashMap::default(),
        }
    }

    fn note(&mut self, subject: Subject, event: Event, limit: usize) {
        if self.cursors.is_empty() {
            return;
        }
        self.last += 1;
        let changed = self.last;
        let at = match self.index.get(&subject.key) {
            Some(at) => {
                let at = *at;
                self.unlink(at);
                at
            }
            None => {
                let Subject { key, id, epoch } = subject;
                let entry =
                    Entry { key, id, epoch, older: NOBODY, younger: NOBODY, changed, created: 0, gone: None };
                let at = self.entries.insert(entry);
                self.index.insert(key, at);
                at
            }
        };
        if let Some(entry) = self.entries.get_mut(at) {
            entry.changed = changed;
            match event {
                Event::Created => entry.created = changed,
                Event::Changed => {}
                Event::Gone(reason, status) => entry.gone = Some(Box::new((reason, status))),
            }
        }
        self.link(at);
        while self.entries.len() > limit {
            self.drop_oldest();
        }
    }

    /// Puts an entry at the young end.
    fn link(&mut self, at: usize) {
        let older = std::mem::replace(&mut self.youngest, at);
        match self.entries.get_mut(older) {
            Some(entry) => entry.younger = at,
            None => self.oldest = at,
        }
        if let Some(entry) = self.entries.get_mut(at) {
            (entry.older, entry.younger) = (older, NOBODY);
        }
    }

    fn unlink(&mut self, at: usize) {
        let Some((older, younger)) = self.entries.get(at).map(|entry| (entry.older, entry.younger)) else {
            return;
        };
        match self.entries.get_mut(older) {
            Some(entry) => entry.younger = younger,
            None => self.oldest = younger,
        }
        match self.entries.get_mut(younger) {
            Some(entry) => entry.older = older,
            None => self.youngest = older,
        }
    }

    fn remove_oldest(&mut self) -> Option<Entry> {
        let at = self.oldest;
        self.unlink(at);
        let entry = self.entries.try_remove(at)?;
        self.index.remove(&entry.key);
        Some(entry)
    }

    /// Drops the oldest entry because the lane is full. Each reader that has not seen it lags.
    fn drop_oldest(&mut self) {
        let Some(entry) = self.remove_oldest() else { return };
        for cursor in self.cursors.values_mut().filter(|cursor| cursor.seen < entry.changed) {
            cursor.lagged = true;
        }
        self.forget_seen();
    }

    /// Drops the entries that all readers have seen, except lagging ones.
    fn forget_seen(&mut self) {
        let waiting = self.cursors.values().filter(|cursor| !cursor.lagged);
        let slowest = waiting.map(|cursor| cursor.seen).min().unwrap_or(self.last);
        while self.entries.get(self.oldest).is_some_and(|entry| entry.changed <= slowest) {
            self.remove_oldest();
        }
    }

    fn has_news(&self, reader: usize) -> bool {
        self.cursors.get(&reader).is_some_and(|cursor| cursor.lagged || cursor.seen < self.last)
    }

    fn take(&mut self, reader: usize, taken: &mut Vec<Taken>) -> Result<(), Lagged> {
        let Some(cursor) = self.cursors.get_mut(&reader) else { return Ok(()) };
        let before = std::mem::replace(cursor, Cursor { seen: self.last, lagged: false });
        if !before.lagged {
            let mut at = self.youngest;
            while let Some(entry) = self.entries.get(at).filter(|entry| entry.changed > before.seen) {
                taken.push(Taken {
                    subject: Subject { key: entry.key, id: entry.id, epoch: entry.epoch },
                    is_new: entry.created > before.seen,
                    gone: entry.gone.as_deref().copied(),
                });
                at = entry.older;
            }
        }
        self.forget_seen();
        if before.lagged { Err(Lagged) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("limit", &self.limit.saturating_mul(LANES)).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;
    use crate::model::id::Mint;

    const LIMIT: usize = 64 * LANES;

    fn subjects() -> impl Iterator<Item = Subject> {
        let mint = Mint::new(&[7; 16]);
        (0..10_000).map(move |slot| {
            let key = mint.mint(slot, 1);
            Subject { key, id: key, epoch: 1 }
        })
    }

    fn subscribe(feed: &Feed) -> usize {
        feed.subscribe().expect("there is room").0
    }

    fn note(feed: &Feed, subject: Subject) {
        feed.note(subject, Event::Changed, &mut WakeList::default());
    }

    fn entries(feed: &Feed) -> usize {
        feed.lanes.iter().map(|lane| lock(lane).entries.len()).sum()
    }

    #[test]
    fn i8_a_reader_that_never_drains_costs_no_more_than_the_limit() {
        let feed = Feed::new(LIMIT);
        let lazy = subscribe(&feed);
        for subject in subjects() {
            note(&feed, subject);
            assert!(entries(&feed) <= LIMIT);
        }
        assert!(feed.take(lazy).is_err());
        assert_eq!((entries(&feed), feed.take(lazy).map(|taken| taken.len()).ok()), (0, Some(0)));
        let capacity: usize = feed.lanes.iter().map(|lane| lock(lane).entries.capacity()).sum();
        assert!(capacity <= 2 * LIMIT, "{capacity}");
    }

    #[test]
    fn i8_an_entry_is_kept_for_the_slowest_reader_and_no_longer() {
        let feed = Feed::new(LIMIT);
        let subject = subjects().next().unwrap();
        note(&feed, subject);
        assert_eq!(entries(&feed), 0, "nobody reads");
        let (quick, slow) = (subscribe(&feed), subscribe(&feed));
        let len = |taken: Result<Vec<Taken>, Lagged>| taken.map(|taken| taken.len()).ok();
        for _ in 0..1_000 {
            note(&feed, subject);
            assert_eq!(len(feed.take(quick)), Some(1));
            assert_eq!(entries(&feed), 1, "one entry a task, not one a change");
        }
        assert_eq!(len(feed.take(slow)), Some(1));
        assert_eq!(entries(&feed), 0);
        note(&feed, subject);
        feed.unsubscribe(slow);
        assert_eq!(entries(&feed), 1, "the quick one has not seen it");
        feed.unsubscribe(quick);
        assert_eq!(entries(&feed), 0);
        assert!(!feed.is_read());
    }

    #[test]
    fn i8_a_drain_takes_what_has_changed_and_not_what_others_have_yet_to_see() {
        let feed = Feed::new(1 << 20);
        let (quick, _slow) = (subscribe(&feed), subscribe(&feed));
        subjects().for_each(|subject| note(&feed, subject));
        assert_eq!(feed.take(quick).map(|taken| taken.len()).ok(), Some(10_000));
        let changed: Vec<Subject> = subjects().step_by(100).collect();
        changed.iter().for_each(|subject| note(&feed, *subject));
        let taken = feed.take(quick).map_err(|_| "lagged").unwrap();
        let mut taken: Vec<TaskId> = taken.iter().map(|taken| taken.subject.key).collect();
        let mut changed: Vec<TaskId> = changed.iter().map(|subject| subject.key).collect();
        taken.sort_unstable();
        changed.sort_unstable();
        assert_eq!(taken, changed);
    }
}
