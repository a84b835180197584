//! Who is waiting for a task, and how they are told.
//!
//! A waiter has a *letterbox*, which it shares with the task's record. Whoever changes the task holds the
//! record's lock, takes the wakers out of the letterboxes of those whom the change concerns, and wakes
//! them when it has let go of every lock. What a waiter must not miss, the last status or the removal, is
//! put into its letterbox, so that it gets it however late it looks, and need not keep the record.
//!
//! # No wake-up is lost (I6)
//!
//! A waiter takes its seat under the record's lock and looks at the task once more before it lets go. A
//! change comes before, and is seen by that look, or after, and finds the letterbox. A waiter that has a
//! seat first leaves its waker, under the letterbox's lock, and then looks: a change either finds the
//! waker, or has looked for it before it was left, and so has stored its word before the waiter's look.
//!
//! Wakers are code of a user's. They are cloned, called and dropped with no lock held, and a panic in one
//! of them ends there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use slab::Slab;

use crate::state::Absent;
use crate::status::Status;
use crate::sync::{Arc, Mutex, lock};
use crate::version::Version;

/// Wakers to be called when all locks are let go.
#[derive(Default)]
#[must_use = "the wakers are to be called"]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(crate) fn push(&mut self, waker: Waker) {
        self.0.push(waker);
    }

    /// Calls them all. The caller holds no lock.
    pub(crate) fn wake(self) {
        for waker in self.0 {
            // Nothing of the store's is touched in there, and the panic hook has told of the panic.
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
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

/// Where a waiter can be reached.
pub(crate) struct Letterbox(Mutex<Letter>);

struct Letter {
    waker: Option<Waker>,
    /// What a waiter for changes has seen.
    seen: Option<Version>,
    news: Option<News>,
}

impl Letterbox {
    pub(crate) fn new(waker: Waker, seen: Option<Version>) -> Self {
        Self(Mutex::new(Letter { waker: Some(waker), seen, news: None }))
    }

    /// Leaves a waker, and gives the news if there are any. Wakers are cloned and dropped outside the lock.
    pub(crate) fn leave(&self, waker: &Waker, seen: Option<Version>) -> Option<News> {
        let mut replacement = Some(waker.clone());
        let mut letter = lock(&self.0);
        std::mem::swap(&mut letter.waker, &mut replacement);
        letter.seen = seen;
        let news = letter.news;
        drop(letter);
        drop(replacement);
        news
    }

    pub(crate) fn news(&self) -> Option<News> {
        lock(&self.0).news
    }

    /// Takes the waker, unless its owner has seen `version` already.
    fn call(&self, version: Option<Version>, wakes: &mut Wakes) {
        let mut letter = lock(&self.0);
        if version.is_none() || letter.seen < version {
            wakes.0.extend(letter.waker.take());
        }
    }

    /// Puts news in, and takes the waker.
    fn deliver(&self, news: News, wakes: &mut Wakes) {
        let mut letter = lock(&self.0);
        letter.news = Some(news);
        wakes.0.extend(letter.waker.take());
    }
}

/// The waiters of one task. Guarded by its record's lock.
#[derive(Default)]
pub(crate) struct Waiters(Slab<(Interest, Arc<Letterbox>)>);

impl Waiters {
    /// Takes a seat; gives its number.
    pub(crate) fn seat(&mut self, interest: Interest, letterbox: Arc<Letterbox>) -> usize {
        self.0.insert((interest, letterbox))
    }

    /// Gives the seat up, if it is still that letterbox's. What comes back is to be dropped outside the lock.
    pub(crate) fn rise(&mut self, seat: usize, letterbox: &Arc<Letterbox>) -> Option<Arc<Letterbox>> {
        self.0.get(seat).filter(|(_, sitting)| Arc::ptr_eq(sitting, letterbox))?;
        self.0.try_remove(seat).map(|(_, letterbox)| letterbox)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anybody wants to know of progress.
    pub(crate) fn want_progress(&self) -> bool {
        self.0.iter().any(|(_, (interest, _))| *interest == Interest::Change)
    }

    fn of(&self, wanted: Interest) -> impl Iterator<Item = &Letterbox> {
        self.0
            .iter()
            .filter(move |(_, (interest, _))| *interest == wanted)
            .map(|(_, (_, letterbox))| &**letterbox)
    }

    /// A transition that is not the end, a message, a total, a request to cancel, or progress: the task
    /// is at `version` now.
    pub(crate) fn tell_change(&self, version: Version, wakes: &mut Wakes) {
        self.of(Interest::Change).for_each(|letterbox| letterbox.call(Some(version), wakes));
    }

    pub(crate) fn tell_cancel(&self, wakes: &mut Wakes) {
        self.of(Interest::Cancel).for_each(|letterbox| letterbox.call(None, wakes));
    }

    /// The timer of whoever sits at `seat` has run down.
    pub(crate) fn tell_time(&self, seat: usize, wakes: &mut Wakes) {
        if let Some((_, letterbox)) = self.0.get(seat) {
            letterbox.call(None, wakes);
        }
    }

    /// The end, or the removal: everybody is told, and nobody needs a seat any more.
    pub(crate) fn tell_all(&mut self, news: News, wakes: &mut Wakes) {
        for (_, letterbox) in self.0.drain() {
            letterbox.deliver(news, wakes);
        }
    }

    /// Whether `seat` is taken.
    pub(crate) fn is_taken(&self, seat: usize) -> bool {
        self.0.contains(seat)
    }
}
