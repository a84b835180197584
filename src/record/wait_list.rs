//! The wait list of a task: who is told of its changes, and how.
//!
//! All waiters of one task share its `WaitList`, which is owned by the task's record and by each waiter. A
//! waiter has a registration in the list, with the waker that it left there. Whoever changes the task holds
//! the record's lock, takes the wakers of the waiters that the change concerns, and calls them after
//! releasing every lock. The two things that no waiter may miss, the terminal status and the removal, are the
//! list's *conclusion*. It is set once: all registrations are cleared, the record drops the list, and the
//! conclusion stays in it until the last waiter has read it.
//!
//! # No wake-up is lost (I6)
//!
//! A waiter registers under the record's lock, when it is created, and finds the task live there. So the end
//! and the removal come later, and find the registration. When it is polled, it first leaves its waker, under
//! the list's lock, and then reads the task. A change either finds the waker, or looked for it before it was
//! left; in the second case the change has stored its word before the waiter reads it.
//!
//! The conclusion is set and the registrations are cleared under one hold of the list's lock. So a waiter
//! that leaves a waker either finds its registration, and will be called, or finds the conclusion. A waiter
//! that finds the conclusion without the lock needs neither.
//!
//! # What a waiter can cost (I6)
//!
//! A waiter that is dropped deregisters without the record's lock. If the list is empty then, it takes that
//! lock and has the record drop the list, unless another waiter has registered meanwhile; none can register
//! while the lock is held. A waiter that is leaked (`mem::forget`) stays registered until the task ends.
//! After that the store keeps nothing of it, its waker included.
//!
//! The place of a registration is used again, and a timer may still name its former owner (`engine/`). So
//! each registration has a serial number, which is compared.
//!
//! Wakers are user code. They are cloned, called and dropped with no lock held, and a panic in one of them is
//! contained.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use slab::Slab;

use crate::model::reason::Absent;
use crate::model::version::Version;
use crate::record::status::Status;
use crate::sync::{Arc, Mutex, Once, lock};

/// Wakers to call once all locks are released. Usually there is one, which needs no allocation.
#[derive(Default)]
#[must_use = "the wakers must be called"]
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
        // One guard for all: after a panic the next round goes on with the wakers that follow.
        while !contained(|| wakers.by_ref().for_each(Waker::wake)) {}
    }
}

/// Runs user code and contains its panics. Returns whether there was none.
fn contained(call: impl FnOnce()) -> bool {
    // The call touches nothing of the store, and the panic hook has reported the panic.
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { return true };
    // The payload is the user's as well. If its drop panics, that second payload is leaked.
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

/// What a waiter must not miss: how its wait ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conclusion {
    Ended(Status),
    Gone(Absent),
}

/// The waiters of one task.
pub(crate) struct WaitList {
    entries: Mutex<Entries>,
    /// Set once, under the list's lock, when the registrations are cleared.
    conclusion: Once<Conclusion>,
}

struct Entries {
    slots: Slab<Entry>,
    /// How many wait for any change, and how many for a request to cancel.
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

/// A waiter's registration. Its place may have another owner by now: the serial number tells.
#[derive(Clone)]
pub(crate) struct Registration {
    list: Arc<WaitList>,
    number: u32,
    /// It wraps around. A waiter with the same number by then would be woken once in vain by an old timer.
    serial: u32,
}

impl Registration {
    /// Registers a waiter. Under the record's lock, and the record holds this list.
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

    /// Returns the conclusion; if there is none, leaves a waker.
    pub(crate) fn set_waker(&self, waker: &Waker, seen: Option<Version>) -> Option<Conclusion> {
        let conclusion = self.conclusion();
        if conclusion.is_some() {
            return conclusion;
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

    /// Deregisters. Returns the waker, which must be dropped with no lock held, and whether the list is empty
    /// now, in which case the record should drop it.
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

    /// Takes the waker.
    pub(crate) fn call(&self, wakes: &mut WakeList) {
        let waker = lock(&self.list.entries).entry(self).and_then(|entry| entry.waker.take());
        if let Some(waker) = waker {
            wakes.push(waker);
        }
    }
}

impl Entries {
    /// The entry of this registration, if it is still the same waiter's.
    fn entry(&mut self, registration: &Registration) -> Option<&mut Entry> {
        self.slots.get_mut(registration.number as usize).filter(|entry| entry.serial == registration.serial)
    }

    /// Takes the wakers of the entries that the change concerns.
    fn call(&mut self, wakes: &mut WakeList, is_concerned: impl Fn(&Entry) -> bool) {
        let concerned = self.slots.iter_mut().filter(|(_, entry)| is_concerned(entry));
        concerned.filter_map(|(_, entry)| entry.waker.take()).for_each(|waker| wakes.push(waker));
    }
}

impl WaitList {
    /// With a capacity of one: most tasks that have waiters have one.
    pub(crate) fn new() -> Self {
        let entries = Entries { slots: Slab::with_capacity(1), for_change: 0, for_cancel: 0, next: 0 };
        Self { entries: Mutex::new(entries), conclusion: Once::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.entries).slots.is_empty()
    }

    /// How many waiters there are.
    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn len(&self) -> usize {
        lock(&self.entries).slots.len()
    }

    /// Whether a waiter wants to be told of progress.
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

    /// The end, or the removal: every waiter is told, and all registrations are cleared. Under the record's
    /// lock, and the record has dropped this list, so no waiter registers later and this happens once.
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
