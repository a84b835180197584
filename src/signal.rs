//! Who is waiting for a task, and how they are told.
//!
//! Those who wait for one task sit in one room, its `Waiters`, which the task's record and each waiter share.
//! A seat has the waker that its owner has left. Whoever changes the task holds the record's lock, takes the
//! wakers out of the seats of those whom the change concerns, and wakes them when it has let go of every lock.
//! What a waiter must not miss, the last status or the removal, is told to the room once: all seats are
//! cleared, the record forgets the room, and the news stay in it for as long as somebody has yet to look.
//!
//! # No wake-up is lost (I6)
//!
//! A waiter takes its seat under the record's lock, when it is made, and finds the task live there. So the
//! end and the removal come later, and find the seat. When it is polled, it first leaves its waker, under the
//! room's lock, and then looks at the task: a change either finds the waker, or has looked for it before it
//! was left, and so has stored its word before the waiter's look.
//!
//! News are told and the seats are cleared under one hold of the room's lock. So who leaves a waker finds
//! its seat there, and will be called; or finds it gone, and the news with it. Who finds news without the
//! lock needs neither.
//!
//! # What a waiter can cost (I6)
//!
//! A waiter that is dropped gives up its seat, without the record's lock. If nobody is left, it then takes
//! that lock and has the record forget the room, unless somebody has come meanwhile: nobody can come while
//! the lock is held. A waiter that is forgotten keeps its seat until the task ends, and then the store has
//! nothing of it any more, its waker included.
//!
//! A seat that was given up is somebody else's next, and what was left behind still names it: a timer
//! (`keeper.rs`). So each sitting has a serial number, which is compared.
//!
//! Wakers are code of a user's. They are cloned, called and dropped with no lock held, and a panic in one
//! of them ends there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use slab::Slab;

use crate::state::Absent;
use crate::status::Status;
use crate::sync::{Arc, Mutex, Once, lock};
use crate::version::Version;

/// Wakers to be called when all locks are let go. As a rule it is one, and that one needs no memory.
#[derive(Default)]
#[must_use = "the wakers are to be called"]
pub(crate) struct Wakes {
    first: Option<Waker>,
    others: Vec<Waker>,
}

impl Wakes {
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
pub(crate) enum News {
    Ended(Status),
    Gone(Absent),
}

/// Those who wait for one task.
pub(crate) struct Waiters {
    room: Mutex<Room>,
    /// Told once, under the room's lock, when the seats are cleared.
    news: Once<News>,
}

struct Room {
    seats: Slab<Sitting>,
    /// How many want to know of any change, and how many of a request to cancel.
    watching: u32,
    obeying: u32,
    /// The serial number of the next sitting.
    next: u32,
}

struct Sitting {
    waker: Option<Waker>,
    /// What a waiter for changes has seen.
    seen: Option<Version>,
    serial: u32,
    interest: Interest,
}

/// A waiter's seat, by which it can be reached; it may not be the waiter's any more.
#[derive(Clone)]
pub(crate) struct Seat {
    waiters: Arc<Waiters>,
    number: u32,
    /// It wraps around, and who has the same number by then would be woken in vain by an old timer.
    serial: u32,
}

impl Seat {
    /// Takes a seat. Under the record's lock, by which the record has these waiters.
    pub(crate) fn take(waiters: &Arc<Waiters>, interest: Interest) -> Self {
        let mut room = lock(&waiters.room);
        let serial = room.next;
        room.next = serial.wrapping_add(1);
        room.watching += u32::from(interest == Interest::Change);
        room.obeying += u32::from(interest == Interest::Cancel);
        let number = room.seats.insert(Sitting { waker: None, seen: None, serial, interest });
        drop(room);
        // There is no memory for 2^32 of them.
        Self { waiters: Arc::clone(waiters), number: number as u32, serial }
    }

    /// Gives the news; if there are none, leaves a waker.
    pub(crate) fn leave(&self, waker: &Waker, seen: Option<Version>) -> Option<News> {
        let news = self.news();
        if news.is_some() {
            return news;
        }
        let mut replacement = Some(waker.clone());
        let mut room = lock(&self.waiters.room);
        let sitting = room.sitting(self);
        let is_here = sitting.is_some();
        if let Some(sitting) = sitting {
            std::mem::swap(&mut sitting.waker, &mut replacement);
            sitting.seen = seen;
        }
        drop(room);
        drop(replacement); // Outside the lock.
        if is_here { None } else { self.news() }
    }

    #[inline]
    pub(crate) fn news(&self) -> Option<News> {
        self.waiters.news.get()
    }

    /// Gives the seat up. Gives the waker, which is to be dropped with no lock held, and whether nobody is
    /// left: then the record is to forget the room.
    pub(crate) fn rise(&self) -> (Option<Waker>, bool) {
        if self.news().is_some() {
            return (None, false);
        }
        let mut room = lock(&self.waiters.room);
        if room.sitting(self).is_none() {
            return (None, false);
        }
        let Sitting { waker, interest, .. } = room.seats.remove(self.number as usize);
        room.watching -= u32::from(interest == Interest::Change);
        room.obeying -= u32::from(interest == Interest::Cancel);
        (waker, room.seats.is_empty())
    }

    /// Whether its owner still waits.
    pub(crate) fn is_taken(&self) -> bool {
        lock(&self.waiters.room).sitting(self).is_some()
    }

    /// Whether it is in this room.
    pub(crate) fn is_among(&self, waiters: &Arc<Waiters>) -> bool {
        Arc::ptr_eq(&self.waiters, waiters)
    }

    /// Takes the waker.
    pub(crate) fn call(&self, wakes: &mut Wakes) {
        let waker = lock(&self.waiters.room).sitting(self).and_then(|sitting| sitting.waker.take());
        if let Some(waker) = waker {
            wakes.push(waker);
        }
    }
}

impl Room {
    /// Who took that seat, if they still sit there.
    fn sitting(&mut self, seat: &Seat) -> Option<&mut Sitting> {
        self.seats.get_mut(seat.number as usize).filter(|sitting| sitting.serial == seat.serial)
    }

    /// Takes the wakers of those whom it concerns.
    fn call(&mut self, wakes: &mut Wakes, is_concerned: impl Fn(&Sitting) -> bool) {
        let concerned = self.seats.iter_mut().filter(|(_, sitting)| is_concerned(sitting));
        concerned.filter_map(|(_, sitting)| sitting.waker.take()).for_each(|waker| wakes.push(waker));
    }
}

impl Waiters {
    /// With room for one: most tasks that are waited for have one waiter.
    pub(crate) fn new() -> Self {
        let room = Room { seats: Slab::with_capacity(1), watching: 0, obeying: 0, next: 0 };
        Self { room: Mutex::new(room), news: Once::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.room).seats.is_empty()
    }

    /// How many sit there.
    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn seats(&self) -> usize {
        lock(&self.room).seats.len()
    }

    /// Whether anybody wants to know of progress.
    pub(crate) fn want_progress(&self) -> bool {
        lock(&self.room).watching > 0
    }

    /// A transition that is not the end, a message, a total, a request to cancel, or progress: the task
    /// is at `version` now.
    pub(crate) fn tell_change(&self, version: Version, wakes: &mut Wakes) {
        let mut room = lock(&self.room);
        if room.watching > 0 {
            let is_new = |sitting: &Sitting| sitting.seen < Some(version);
            room.call(wakes, |sitting| sitting.interest == Interest::Change && is_new(sitting));
        }
    }

    pub(crate) fn tell_cancel(&self, wakes: &mut Wakes) {
        let mut room = lock(&self.room);
        if room.obeying > 0 {
            room.call(wakes, |sitting| sitting.interest == Interest::Cancel);
        }
    }

    /// The end, or the removal: everybody is told, and nobody needs a seat any more. Under the record's lock,
    /// by which the record has forgotten these waiters: so nobody comes, and it is told once.
    pub(crate) fn tell_all(&self, news: News, wakes: &mut Wakes) {
        let mut room = lock(&self.room);
        self.news.set(news);
        let seats = std::mem::take(&mut room.seats);
        (room.watching, room.obeying) = (0, 0);
        drop(room);
        wakes.others.reserve(seats.len().saturating_sub(1));
        seats.into_iter().filter_map(|(_, sitting)| sitting.waker).for_each(|waker| wakes.push(waker));
    }
}
