//! Who is waiting for a task, and how they are told.
//!
//! Those who wait for one task sit in one room, its `WaitList`, which the task's record and each waiter share.
//! A seat has the waker that its owner has left. Whoever changes the task holds the record's lock, takes the
//! wakers out of the seats of those whom the change concerns, and wakes them when it has let go of every lock.
//! What a waiter must not miss, the last status or the removal, is told to the room once: all seats are
//! cleared, the record forgets the room, and the news stay in it for as long as somebody has yet to look.
//!
//! # No wake-up is lost (I6)
//!
//! A waiter takes its seat under the record's lock, when it is made, and finds the task live there. So the
//! end and the removal come later, and find the registration. When it is polled, it first leaves its waker, under the
//! room's lock, and then looks at the task: a change either finds the waker, or has looked for it before it
//! was left, and so has stored its word before the waiter's look.
//!
//! Conclusion are told and the seats are cleared under one hold of the room's lock. So who leaves a waker finds
//! its seat there, and will be called; or finds it gone, and the news with it. Who finds news without the
//! lock needs neither.
//!
//! # What a waiter can cost (I6)
//!
//! A waiter that is dropped gives up its registration, without the record's lock. If nobody is left, it then takes
//! that lock and has the record forget the room, unless somebody has come meanwhile: nobody can come while
//! the lock is held. A waiter that is forgotten keeps its seat until the task ends, and then the store has
//! nothing of it any more, its waker included.
//!
//! A seat that was given up is somebody else's next, and what was left behind still names it: a timer
//! (`keeper.rs`). So each entry has a serial number, which is compared.
//!
//! Wakers are code of a user's. They are cloned, called and dropped with no lock held, and a panic in one
//! of them ends there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use slab::Slab;

use crate::model::state::Absent;
use crate::model::version::Version;
use crate::record::status::Status;
use crate::sync::{Arc, Mutex, Once, lock};

/// Wakers to be called when all locks are let go. As a rule it is one, and that one needs no memory.
#[derive(Default)]
#[must_use = "the wakers are to be called"]
pub(crate) struct WakeList {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl WakeList {
    pub(crate) fn push(&mut self, waker: Waker) {
        match self.first {
            None => self.first = Some(waker),
            Some(_) => self.others.push(waker),
        }
    }

    /// Calls them all. The caller holds no lock.
    pub(crate) fn wake(self) {
        if self.first.is_none() {
            return;
        }
        let mut wakers = self.first.into_iter().chain(self.others);
        // One guard for all: who has panicked is past, and the next round goes on with who comes after.
        while !contained(|| wakers.by_ref().for_each(Waker::wake)) {}
    }
}

/// Runs code of a user's, and lets no panic out of it. Gives whether there was none.
fn contained(call: impl FnOnce()) -> bool {
    // Nothing of the store's is touched in there, and the panic hook has told of the panic.
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { return true };
    // What was thrown is the user's as well. If it throws when it is dropped, that is not dropped.
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(worse);
    }
    false
}

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// The end.
    End,
    /// Any change, progress included.
    Change,
    /// A request to cancel, or the end.
    Cancel,
}

/// What a waiter must not miss.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conclusion {
    Ended(Status),
    Gone(Absent),
}

/// Those who wait for one task.
pub(crate) struct WaitList {
    entries: Mutex<Entries>,
    /// Told once, under the room's lock, when the seats are cleared.
    conclusion: Once<Conclusion>,
}

struct Entries {
    slots: Slab<Entry>,
    /// How many want to know of any change, and how many of a request to cancel.
    for_change: u32,
    for_cancel: u32,
    /// The serial number of the next entry.
    next: u32,
}

struct Entry {
    waker: Option<Waker>,
    /// What a waiter for changes has seen.
    seen: Option<Version>,
    serial: u32,
    interest: Interest,
}

/// A waiter's registration, by which it can be reached; it may not be the waiter's any more.
#[derive(Clone)]
pub(crate) struct Registration {
    list: Arc<WaitList>,
    number: u32,
    /// It wraps around, and who has the same number by then would be woken in vain by an old timer.
    serial: u32,
}

impl Registration {
    /// Takes a registration. Under the record's lock, by which the record has these waiters.
    pub(crate) fn new(list: &Arc<WaitList>, interest: Interest) -> Self {
        let mut entries = lock(&list.entries);
        let serial = entries.next;
        entries.next = serial.wrapping_add(1);
        entries.for_change += u32::from(interest == Interest::Change);
        entries.for_cancel += u32::from(interest == Interest::Cancel);
        let number = entries.slots.insert(Entry { waker: None, seen: None, serial, interest });
        drop(entries);
        // There is no memory for 2^32 of them.
        Self { list: Arc::clone(list), number: number as u32, serial }
    }

    /// Gives the news; if there are none, leaves a waker.
    pub(crate) fn set_waker(&self, waker: &Waker, seen: Option<Version>) -> Option<Conclusion> {
        let news = self.conclusion();
        if news.is_some() {
            return news;
        }
        let mut replacement = Some(waker.clone());
        let mut entries = lock(&self.list.entries);
        let entry = entries.entry(self);
        let is_here = entry.is_some();
        if let Some(entry) = entry {
            std::mem::swap(&mut entry.waker, &mut replacement);
            entry.seen = seen;
        }
        drop(entries);
        drop(replacement); // Outside the lock.
        if is_here { None } else { self.conclusion() }
    }

    #[inline]
    pub(crate) fn conclusion(&self) -> Option<Conclusion> {
        self.list.conclusion.get()
    }

    /// Gives the seat up. Gives the waker, which is to be dropped with no lock held, and whether nobody is
    /// left: then the record is to forget the room.
    pub(crate) fn deregister(&self) -> (Option<Waker>, bool) {
        if self.conclusion().is_some() {
            return (None, false);
        }
        let mut entries = lock(&self.list.entries);
        if entries.entry(self).is_none() {
            return (None, false);
        }
        let Entry { waker, interest, .. } = entries.slots.remove(self.number as usize);
        entries.for_change -= u32::from(interest == Interest::Change);
        entries.for_cancel -= u32::from(interest == Interest::Cancel);
        (waker, entries.slots.is_empty())
    }

    /// Whether its owner still waits.
    pub(crate) fn is_registered(&self) -> bool {
        lock(&self.list.entries).entry(self).is_some()
    }

    /// Whether it is in this room.
    pub(crate) fn is_in(&self, list: &Arc<WaitList>) -> bool {
        Arc::ptr_eq(&self.list, list)
    }

    /// Takes the waker.
    pub(crate) fn call(&self, wakes: &mut WakeList) {
        let waker = lock(&self.list.entries).entry(self).and_then(|entry| entry.waker.take());
        if let Some(waker) = waker {
            wakes.push(waker);
        }
    }
}

impl Entries {
    /// Who took that registration, if they still sit there.
    fn entry(&mut self, registration: &Registration) -> Option<&mut Entry> {
        self.slots.get_mut(registration.number as usize).filter(|entry| entry.serial == registration.serial)
    }

    /// Takes the wakers of those whom it concerns.
    fn call(&mut self, wakes: &mut WakeList, is_concerned: impl Fn(&Entry) -> bool) {
        let concerned = self.slots.iter_mut().filter(|(_, entry)| is_concerned(entry));
        concerned.filter_map(|(_, entry)| entry.waker.take()).for_each(|waker| wakes.push(waker));
    }
}

impl WaitList {
    /// With room for one: most tasks that are waited for have one waiter.
    pub(crate) fn new() -> Self {
        let entries = Entries { slots: Slab::with_capacity(1), for_change: 0, for_cancel: 0, next: 0 };
        Self { entries: Mutex::new(entries), conclusion: Once::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.entries).slots.is_empty()
    }

    /// How many sit there.
    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn len(&self) -> usize {
        lock(&self.entries).slots.len()
    }

    /// Whether anybody wants to know of progress.
    pub(crate) fn want_progress(&self) -> bool {
        lock(&self.entries).for_change > 0
    }

    /// A transition that is not the end, a message, a total, a request to cancel, or progress: the task
    /// is at `version` now.
    pub(crate) fn notify_change(&self, version: Version, wakes: &mut WakeList) {
        let mut entries = lock(&self.entries);
        if entries.for_change > 0 {
            let is_new = |entry: &Entry| entry.seen < Some(version);
            entries.call(wakes, |entry| entry.interest == Interest::Change && is_new(entry));
        }
    }

    pub(crate) fn notify_cancel(&self, wakes: &mut WakeList) {
        let mut entries = lock(&self.entries);
        if entries.for_cancel > 0 {
            entries.call(wakes, |entry| entry.interest == Interest::Cancel);
        }
    }

    /// The end, or the removal: everybody is told, and nobody needs a seat any more. Under the record's lock,
    /// by which the record has forgotten these waiters: so nobody comes, and it is told once.
    pub(crate) fn notify_all(&self, conclusion: Conclusion, wakes: &mut WakeList) {
        let mut entries = lock(&self.entries);
        self.conclusion.set(conclusion);
        let slots = std::mem::take(&mut entries.slots);
        (entries.for_change, entries.for_cancel) = (0, 0);
        drop(entries);
        wakes.others.reserve(slots.len().saturating_sub(1));
        slots.into_iter().filter_map(|(_, entry)| entry.waker).for_each(|waker| wakes.push(waker));
    }
}
