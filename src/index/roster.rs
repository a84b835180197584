//! Tasks in the order of their creation. A list's cursor is a position in this order, so it stays valid while
//! tasks are created and removed.
//!
//! Each stripe has its own lock. A serial number is drawn under it, so the numbers of a stripe ascend. A list
//! first reads the next number, and then takes each lock once. By then every lower number has been entered.
//!
//! Removing a task leaves its entry. A stripe is swept when it has doubled since the last sweep, so the cost
//! is spread over the creates, and there are at most about twice as many dead entries as live ones.

use std::collections::VecDeque;

use crossbeam_utils::CachePadded;

use crate::model::id::Address;
use crate::sync::{AtomicU64, Mutex, Ordering, STRIPES, lock, stripe};

/// Entries are kept in blocks, so that growth neither copies nor over-allocates.
const BLOCK: usize = 256;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) serial: u64,
    pub(crate) address: Address,
}

pub(crate) struct Roster {
    next: CachePadded<AtomicU64>,
    stripes: Box<[CachePadded<Mutex<Stripe>>]>,
}

struct Stripe {
    blocks: VecDeque<Vec<Entry>>,
    len: usize,
    sweep_at: usize,
}

impl Roster {
    pub(crate) fn new() -> Self {
        let empty = || Stripe { blocks: VecDeque::new(), len: 0, sweep_at: 4 * BLOCK };
        Self {
            next: CachePadded::new(AtomicU64::new(1)),
            stripes: (0..STRIPES).map(|_| CachePadded::new(Mutex::new(empty()))).collect(),
        }
    }

    /// Enters a new task. `is_alive` says whether an address still has its task.
    pub(crate) fn enter(&self, address: Address, is_alive: impl Fn(Address) -> bool) {
        let Some(stripe) = self.stripes.get(stripe()) else { return };
        let mut stripe = lock(stripe);
        // Relaxed: the lock orders the numbers of a stripe, and publishes the entry to lists.
        let serial = self.next.fetch_add(1, Ordering::Relaxed);
        stripe.push(Entry { serial, address });
        if stripe.len >= stripe.sweep_at {
            stripe.sweep(is_alive);
        }
    }

    /// The next serial number. A list that begins now ends before it.
    pub(crate) fn horizon(&self) -> u64 {
        // Each lock is taken once before the load, so a task that was entered earlier is below the horizon. A
        // new reader of the feed relies on this (`feed.rs`): a create that entered its task before may have
        // missed the reader, and has not noted the task in the feed.
        for stripe in &self.stripes {
            drop(lock(stripe));
        }
        // Relaxed: the locks that the list takes next order it against the entries. The thread that drew a
        // number which this load sees still holds the stripe's lock, or has added the entry.
        self.next.load(Ordering::Relaxed)
    }

    /// The first `count` entries, in order, with a serial number above `after` and below `horizon`.
    pub(crate) fn page(&self, after: u64, horizon: u64, count: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        for stripe in &self.stripes {
            let stripe = lock(stripe);
            entries.extend(stripe.after(after).take_while(|entry| entry.serial < horizon).take(count));
        }
        entries.sort_unstable_by_key(|entry| entry.serial);
        entries.truncate(count);
        entries
    }
}

impl Stripe {
    fn push(&mut self, entry: Entry) {
        match self.blocks.back_mut() {
            Some(block) if block.len() < BLOCK => block.push(entry),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(entry);
                self.blocks.push_back(block);
            }
        }
        self.len += 1;
    }

    fn sweep(&mut self, is_alive: impl Fn(Address) -> bool) {
        let before = std::mem::take(&mut self.blocks);
        self.len = 0;
        for entry in before.into_iter().flatten().filter(|entry| is_alive(entry.address)) {
            self.push(entry);
        }
        self.sweep_at = (2 * self.len).max(4 * BLOCK);
    }

    fn after(&self, serial: u64) -> impl Iterator<Item = Entry> + '_ {
        let block =
            self.blocks.partition_point(|block| block.last().is_some_and(|entry| entry.serial <= serial));
        self.blocks.iter().skip(block).flatten().copied().skip_while(move |entry| entry.serial <= serial)
    }
}

impl std::fmt::Debug for Roster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roster").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;

    fn address(n: u64) -> Address {
        Address { slot: n as u32, generation: 1 }
    }

    fn serials(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.serial).collect()
    }

    #[test]
    fn pages_are_in_order_over_all_stripes() {
        let roster = Roster::new();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|n| roster.enter(address(n), |_| true)));
            }
        });
        let horizon = roster.horizon();
        assert_eq!(horizon, 20_001);
        let (mut after, mut seen) = (0, Vec::new());
        loop {
            let page = roster.page(after, horizon, 333);
            let Some(last) = page.last() else { break };
            after = last.serial;
            seen.extend(serials(&page));
        }
        assert_eq!(seen, (1..=20_000).collect::<Vec<_>>());
        assert_eq!(serials(&roster.page(5, 8, 100)), [6, 7]);
    }

    #[test]
    fn i9_sweeping_costs_each_create_a_few_looks() {
        let roster = Roster::new();
        let looks = std::cell::Cell::new(0_u64);
        for n in 0..100_000 {
            roster.enter(address(n), |_| {
                looks.set(looks.get() + 1);
                true
            });
        }
        assert!(looks.get() < 300_000, "{}", looks.get());
    }

    #[test]
    fn the_dead_are_swept_and_the_living_kept() {
        let roster = Roster::new();
        let is_alive = |address: Address| address.slot.is_multiple_of(1000);
        for n in 0..100_000 {
            roster.enter(address(n), is_alive);
        }
        let len: usize = roster.stripes.iter().map(|stripe| lock(stripe).len).sum();
        assert!(len < 2_000, "{len}");
        let living = roster.page(0, roster.horizon(), usize::MAX);
        let living = living.iter().filter(|entry| is_alive(entry.address)).count();
        assert_eq!(living, 100);
    }
}
