//! What many threads leave for one to fetch: a list for each stripe, so that those who leave something do
//! not stand in each other's way, and that are fetched whole.
//!
//! Its locks are the last that anyone takes: nothing is called under them.

use crossbeam_utils::CachePadded;

use crate::sync::{Mutex, STRIPES, lock, stripe};

pub(crate) struct Inbox<T> {
    stripes: Box<[CachePadded<Mutex<Vec<T>>>]>,
}

/// How many more a list keeps room for than twice what was last in it.
const SLACK: usize = 64;

impl<T> Inbox<T> {
    pub(crate) fn new() -> Self {
        // Counted, it has room from the start: that it grows now and then is no call's own allocation.
        let room = if cfg!(inflight_budget) { SLACK } else { 0 };
        let list = |_| CachePadded::new(Mutex::new(Vec::with_capacity(room)));
        Self { stripes: (0..STRIPES).map(list).collect() }
    }

    /// Leaves something.
    pub(crate) fn push(&self, item: T) {
        if let Some(stripe) = self.stripes.get(stripe()) {
            lock(stripe).push(item);
        }
    }

    /// Fetches all that was left; what one thread left, in its order.
    pub(crate) fn fetch(&self) -> Vec<T> {
        let mut all = Vec::new();
        for stripe in &self.stripes {
            let mut list = lock(stripe);
            let room = 2 * list.len() + SLACK;
            all.append(&mut list);
            // It will be about as long the next time.
            list.shrink_to(room);
        }
        all
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
                scope.spawn(move || (0..100).for_each(|n| inbox.push((thread, n))));
            }
        });
        let all = inbox.fetch();
        for thread in 0..threads {
            let of_it: Vec<u64> = all.iter().filter(|item| item.0 == thread).map(|item| item.1).collect();
            assert_eq!(of_it, (0..100).collect::<Vec<_>>());
        }
        assert!(inbox.fetch().is_empty());
    }
}
