//! Who is waiting for a task, and how they are told.
//!
//! A waiter has a *letterbox*, which it shares with the task's record. Whoever changes the task holds the
//! record's lock, takes the wakers out of the letterboxes of those whom the change concerns, and wakes
//! them when it has let go of every lock. What a waiter must not miss, the last status or the removal, is
//! put into its letterbox, so that it gets it however late it looks, and need not keep the record.
//!
//! # No wake-up is lost (I6)
//!
//! A waiter takes its seat under the record's lock, when it is made, and finds the task live there. So the
//! end and the removal come later, and find the letterbox. When it is polled, it first leaves its waker,
//! under the letterbox's lock, and then looks at the task: a change either finds the waker, or has looked
//! for it before it was left, and so has stored its word before the waiter's look.
//!
//! # What a waiter can cost (I6)
//!
//! A waiter that is dropped gives up its seat. One that is forgotten keeps it until the task ends, and then
//! the store has nothing of it any more, its waker included. A timer holds a letterbox, but no seat, and is
//! swept out when the letterbox is of no use (`keeper.rs`).
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
            contained(|| waker.wake());
        }
    }
}

/// Runs code of a user's, and lets no panic out of it.
fn contained(call: impl FnOnce()) {
    // Nothing of the store's is touched in there, and the panic hook has told of the panic.
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { return };
    // What was thrown is the user's as well. If it throws when it is dropped, that is not dropped.
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(worse);
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
    /// Its owner has gone.
    shut: bool,
}

impl Letterbox {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Letter { waker: None, seen: None, news: None, shut: false }))
    }

    /// Gives the news; if there are none, leaves a waker. Wakers are cloned and dropped outside the lock.
    pub(crate) fn leave(&self, waker: &Waker, seen: Option<Version>) -> Option<News> {
        let mut replacement = Some(waker.clone());
        let mut letter = lock(&self.0);
        let news = letter.news;
        if news.is_none() {
            std::mem::swap(&mut letter.waker, &mut replacement);
            letter.seen = seen;
        }
        drop(letter);
        drop(replacement);
        news
    }

    pub(crate) fn news(&self) -> Option<News> {
        lock(&self.0).news
    }

    /// Shuts it: its owner waits no longer. Gives the waker, which is to be dropped with no lock held.
    pub(crate) fn shut(&self) -> Option<Waker> {
        let mut letter = lock(&self.0);
        letter.shut = true;
        letter.waker.take()
    }

    /// Whether its owner still waits for news.
    pub(crate) fn is_open(&self) -> bool {
        let letter = lock(&self.0);
        !letter.shut && letter.news.is_none()
    }

    /// Takes the waker.
    pub(crate) fn call(&self, wakes: &mut Wakes) {
        wakes.0.extend(lock(&self.0).waker.take());
    }

    /// Takes the waker, unless its owner has seen `version` already.
    fn call_for(&self, version: Version, wakes: &mut Wakes) {
        let mut letter = lock(&self.0);
        if letter.seen < Some(version) {
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
pub(crate) struct Waiters(Slab<(Interest, Arc<Letterbox>)>);

impl Waiters {
    /// Room for one: most tasks that are waited for have one waiter.
    pub(crate) fn new() -> Self {
        Self(Slab::with_capacity(1))
    }

    /// Takes a seat; gives its number.
    pub(crate) fn seat(&mut self, interest: Interest, letterbox: Arc<Letterbox>) -> usize {
        self.0.insert((interest, letterbox))
    }

    /// Gives the seat up, if it is still that letterbox's, of which the caller holds another share.
    pub(crate) fn rise(&mut self, seat: usize, letterbox: &Arc<Letterbox>) {
        if self.0.get(seat).is_some_and(|(_, sitting)| Arc::ptr_eq(sitting, letterbox)) {
            self.0.remove(seat);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many sit there.
    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn seats(&self) -> usize {
        self.0.len()
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
        self.of(Interest::Change).for_each(|letterbox| letterbox.call_for(version, wakes));
    }

    pub(crate) fn tell_cancel(&self, wakes: &mut Wakes) {
        self.of(Interest::Cancel).for_each(|letterbox| letterbox.call(wakes));
    }

    /// The end, or the removal: everybody is told, and nobody needs a seat any more.
    pub(crate) fn tell_all(&mut self, news: News, wakes: &mut Wakes) {
        for (_, letterbox) in self.0.drain() {
            letterbox.deliver(news, wakes);
        }
    }
}
