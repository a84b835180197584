//! Lists of work that many threads leave for the keeper: one list for each stripe, so that these threads do
//! not contend. The keeper fetches them whole.
//!
//! An entry whose task is gone is of no use. A stripe that has doubled drops such entries itself, so that
//! without a keeper nothing grows with the number of tasks that ever were.
//!
//! Nothing of a user's runs under the locks of an inbox, and of the other locks only that of a wait list is
//! taken under them.

use crossbeam_utils::CachePadded;

use crate::sync::{Mutex, STRIPES, lock, stripe};

pub(crate) struct Inbox<T> {
    stripes: Box<[CachePadded<Mutex<Stripe<T>>>]>,
}

struct Stripe<T> {
    entries: Vec<T>,
    /// At this length the stripe drops what is of no use.
    sweep_at: usize,
}

/// How much more a list has room for than twice what it last held.
const SLACK: usize = 64;

/// A stripe with fewer entries than this is not swept.
const LEAST: usize = 1024;

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        // Counted, it has room from the start: that it grows now and then is no call's own allocation.
        let room = if cfg!(inflight_budget) { SLACK } else { 0 };
        let stripe = |_| {
            let stripe = Stripe { entries: Vec::with_capacity(room), sweep_at: LEAST };
            CachePadded::new(Mutex::new(stripe))
        };
        Self { stripes: (0..STRIPES).map(stripe).collect() }
    }

    /// Leaves something. `is_wanted` tells whether an entry is still of use.
    pub(crate) fn push(&self, entry: T, is_wanted: impl Fn(&T) -> bool) {
        let Some(stripe) = self.stripes.get(stripe()) else { return };
        let mut stripe = lock(stripe);
        stripe.entries.push(entry);
        let is_due = stripe.entries.len() >= stripe.sweep_at;
        let unwanted = if is_due { stripe.sweep(is_wanted) } else { Vec::new() };
        drop(stripe);
        drop(unwanted); // Outside the lock.
    }

    /// Fetches all that was left; what one thread left, in its order.
    pub(crate) fn fetch(&self) -> Vec<T> {
        let mut all = Vec::new();
        for stripe in &self.stripes {
            let mut stripe = lock(stripe);
            let len = stripe.entries.len();
            all.append(&mut stripe.entries);
            // It will be about as long the next time.
            stripe.entries.shrink_to(2 * len + SLACK);
            stripe.sweep_at = LEAST;
        }
        all
    }

    /// How many entries it holds, and how many it has room for.
    #[cfg(all(test, not(inflight_loom)))]
    pub(crate) fn size(&self) -> (usize, usize) {
        let sizes = self.stripes.iter().map(|stripe| {
            let stripe = lock(stripe);
            (stripe.entries.len(), stripe.entries.capacity())
        });
        sizes.fold((0, 0), |(len, room), (more, more_room)| (len + more, room + more_room))
    }
}

impl<T> Stripe<T> {
    /// Takes out the entries that are of no use.
    fn sweep(&mut self, is_wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let (wanted, unwanted) = std::mem::take(&mut self.entries).into_iter().partition(is_wanted);
        self.entries = wanted;
        self.sweep_at = (2 * self.entries.len()).max(LEAST);
        unwanted
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_and_each_thread_keeps_its_order() {
        let inbox = Inbox::new();
        let threads = 3 * STRIPES as u64;
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let inbox = &inbox;
                scope.spawn(move || (0..100).for_each(|n| inbox.push((thread, n), |_| true)));
            }
        });
        let all = inbox.fetch();
        for thread in 0..threads {
            let of_it: Vec<u64> = all.iter().filter(|item| item.0 == thread).map(|item| item.1).collect();
            assert_eq!(of_it, (0..100).collect::<Vec<_>>());
        }
        assert!(inbox.fetch().is_empty());
    }

    #[test]
    fn what_is_of_no_use_is_swept_and_the_rest_kept() {
        let inbox = Inbox::new();
        let is_wanted = |n: &usize| n.is_multiple_of(1_000);
        for n in 0..100_000 {
            inbox.push(n, is_wanted);
            assert!(inbox.size().0 <= LEAST, "{:?} after {n}", inbox.size());
        }
        let kept: Vec<usize> = inbox.fetch().into_iter().filter(is_wanted).collect();
        assert_eq!(kept, (0..100_000).step_by(1_000).collect::<Vec<_>>());
    }

    #[test]
    fn it_shrinks_after_a_peak() {
        let inbox = Inbox::new();
        (0..1_000_000).for_each(|n| inbox.push(n, |_| true));
        assert_eq!(inbox.fetch().len(), 1_000_000);
        inbox.push(1, |_| true);
        assert_eq!(inbox.fetch(), [1]);
        assert!(inbox.size().1 <= STRIPES * (SLACK + 2), "{:?}", inbox.size());
    }
}
