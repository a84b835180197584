//! The table of lines, and its free list.
//!
//! Lines are *type-stable*: they exist as long as the table and are never anything but lines. A new tenant
//! only brings a new stamp. So a reader needs no guard: every slot number in range denotes a line, and the
//! stamp identifies its tenant.
//!
//! The lines lie in one flat array, each on one cache line. The system commits the memory when it is first
//! written to, so a line that was never used costs only address space.

use std::collections::VecDeque;
use std::fmt;

use crossbeam_utils::CachePadded;

use crate::cell::{Cell, WORDS};
use crate::model::id::{Mint, TaskId};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, STRIPES, aligned, lock, stripe};

/// The greatest capacity of a store: 2²⁸ tasks, 16 GiB of lines.
///
/// ```
/// # use inflight::{MAX_CAPACITY, Store};
/// assert!(Store::builder().capacity(MAX_CAPACITY + 1).build().is_err());
/// ```
pub const MAX_CAPACITY: usize = 1 << 28;

/// Where a line begins: the index of its first word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(u32);

const _: () = assert!(MAX_CAPACITY * WORDS + WORDS <= u32::MAX as usize);

pub(crate) struct Table {
    words: Box<[AtomicU64]>,
    /// How many words come before the first line, so that it begins a cache line.
    skip: u8,
    lines: u32,
    /// The slot of the next line that was never taken. It is `lines` or more once all have been taken.
    fresh: CachePadded<AtomicU64>,
    /// The free list of each stripe. A line returns to the stripe that took it, so threads that create tasks
    /// do not contend.
    free: Box<[Arc<FreeList>]>,
}

impl Table {
    /// A table of `lines` lines; `None` if there is no memory for it.
    pub(crate) fn new(lines: u32) -> Option<Self> {
        let (words, skip) = aligned(lines as usize, WORDS)?;
        Some(Self {
            words,
            skip: u8::try_from(skip).ok()?,
            lines,
            fresh: CachePadded::new(AtomicU64::new(0)),
            free: (0..STRIPES).map(|_| Arc::new(FreeList::default())).collect(),
        })
    }

    pub(crate) fn lines(&self) -> u32 {
        self.lines
    }

    /// How many lines have ever been taken.
    pub(crate) fn used(&self) -> u32 {
        // Relaxed: a bound for a loop over the lines. A caller that needs a certain line has learned of it by
        // other means.
        u32::try_from(self.fresh.load(Ordering::Relaxed)).map_or(self.lines, |used| used.min(self.lines))
    }

    /// The line of `slot`, if there is one.
    #[inline(always)]
    pub(crate) fn cell(&self, slot: u32) -> Option<Cell<'_>> {
        // With a smaller `usize`, `first` could wrap around.
        if usize::BITS < u64::BITS && slot >= self.lines {
            return None;
        }
        self.line(self.first(slot))
    }

    /// Where the line of `slot` begins, for callers that use it often.
    pub(crate) fn place(&self, slot: u32) -> Place {
        // All lines begin below `u32::MAX` (see the assertion above), and there is no line at that place.
        Place(u32::try_from(self.first(slot)).unwrap_or(u32::MAX))
    }

    /// The slot of the line at `place`.
    #[inline(always)]
    pub(crate) fn slot(&self, Place(first): Place) -> u32 {
        first.saturating_sub(u32::from(self.skip)) / WORDS as u32
    }

    /// The line at `place`.
    #[inline(always)]
    pub(crate) fn cell_at(&self, Place(first): Place) -> Option<Cell<'_>> {
        self.line(first as usize)
    }

    #[inline(always)]
    fn first(&self, slot: u32) -> usize {
        usize::from(self.skip) + slot as usize * WORDS
    }

    #[inline(always)]
    fn line(&self, first: usize) -> Option<Cell<'_>> {
        let line = self.words.get(first..first + WORDS)?;
        line.first_chunk::<WORDS>().map(Cell::new)
    }

    /// Takes a free line and mints the id of its next tenant. `None` if all are taken.
    ///
    /// A line whose generations or sequence numbers are used up (after four billion tenants) is retired.
    pub(crate) fn take(&self, mint: &Mint) -> Option<Tenancy> {
        let home = self.free.get(stripe())?;
        loop {
            let slot = home.pop().or_else(|| self.take_fresh()).or_else(|| self.take_from_any())?;
            let cell = self.cell(slot)?;
            let generation = if cell.word().bits() == 0 { 0 } else { cell.tenant(slot).generation() };
            if let Some(next) = generation.checked_add(1).filter(|_| cell.word().can_be_tenanted()) {
                return Some(Tenancy { key: mint.mint(slot, next), home: Arc::clone(home) });
            }
        }
    }

    /// Takes a free line from any stripe that has one. It locks all lists at once, so `None` means that there
    /// was a moment at which no line was free.
    #[cold]
    fn take_from_any(&self) -> Option<u32> {
        let mut lists: Vec<_> = self.free.iter().map(|list| lock(&list.0)).collect();
        lists.iter_mut().find_map(|list| list.pop_front())
    }

    fn take_fresh(&self) -> Option<u32> {
        // Relaxed, both: the counter assigns numbers and publishes nothing with them. The first load keeps it
        // from growing without bound while the table is full.
        if self.fresh.load(Ordering::Relaxed) >= u64::from(self.lines) {
            return None;
        }
        let slot = self.fresh.fetch_add(1, Ordering::Relaxed);
        u32::try_from(slot).ok().filter(|slot| *slot < self.lines)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("lines", &self.lines).finish_non_exhaustive()
    }
}

/// Lines that were used and are free again. First in, first out, so that the reason why a task is gone stays
/// known for as long as possible (I11). Its lock is a leaf: no lock of another kind is taken under it, and
/// only `take_from_any` takes several, in the order of the stripes.
#[derive(Default)]
struct FreeList(CachePadded<Mutex<VecDeque<u32>>>);

impl FreeList {
    fn push(&self, slot: u32) {
        lock(&self.0).push_back(slot);
    }

    fn pop(&self) -> Option<u32> {
        lock(&self.0).pop_front()
    }
}

/// The ownership of a line. Dropping it frees the line for the next tenant.
///
/// The record owns it, and the registry's entry and the task's handles share the record. So the line is free
/// once the entry and all handles are dropped, and not before (I7).
pub(crate) struct Tenancy {
    key: TaskId,
    home: Arc<FreeList>,
}

impl Tenancy {
    /// The id that was minted for it, which is the address of the line.
    #[inline(always)]
    pub(crate) fn key(&self) -> TaskId {
        self.key
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        self.home.push(self.key.slot());
    }
}

#[cfg(all(test, not(inflight_loom)))]
mod tests {
    use super::*;
    use crate::model::clock::Stamp;
    use crate::model::reason::GoneReason;

    const NOW: Stamp = Stamp::from_bits(1);

    #[test]
    fn each_line_is_one_cache_line() {
        let table = Table::new(9).unwrap();
        assert_eq!((table.words.as_ptr().addr() + usize::from(table.skip) * 8) % 64, 0);
        assert!(table.cell(8).is_some());
        assert!(table.cell(9).is_none());
        assert!(table.cell(u32::MAX).is_none());
    }

    #[test]
    fn i7_a_line_is_free_only_when_its_tenancy_is_dropped() {
        let table = Table::new(1).unwrap();
        let mint = Mint::new(&[7; 16]);
        let tenancy = table.take(&mint).unwrap();
        let first = tenancy.key();
        table.cell(0).unwrap().occupy(first, None, NOW, false);
        assert!(table.take(&mint).is_none(), "taken");
        table.cell(0).unwrap().vacate(GoneReason::Removed);
        assert!(table.take(&mint).is_none(), "vacated, but still owned");
        drop(tenancy);
        let tenancy = table.take(&mint).unwrap();
        let second = tenancy.key();
        assert_eq!((second.slot(), second.generation()), (first.slot(), first.generation() + 1));
        table.cell(0).unwrap().occupy(second, None, NOW, false);
        assert!(table.cell(0).unwrap().read(first).is_none());
        assert!(table.cell(0).unwrap().read(second).is_some());
        drop(tenancy);
    }

    #[test]
    fn a_line_goes_home_and_nobody_goes_without_while_one_is_free() {
        let table = Table::new(3).unwrap();
        let mint = Mint::new(&[7; 16]);
        let elsewhere = |take: usize| -> (usize, Vec<Tenancy>) {
            std::thread::scope(|scope| {
                let taking = || (stripe(), (0..take).map_while(|_| table.take(&mint)).collect());
                scope.spawn(taking).join().unwrap()
            })
        };
        let home = |stripe: usize| lock(&table.free.get(stripe).unwrap().0).len();
        let (first, taken) = elsewhere(4);
        assert_eq!((taken.len(), home(first)), (3, 0));
        drop(taken);
        assert_eq!(home(first), 3, "returned to the stripe that took them");
        let others: Vec<_> = (0..4).map(|_| elsewhere(1)).collect();
        assert_eq!(others.iter().map(|(_, taken)| taken.len()).collect::<Vec<_>>(), [1, 1, 1, 0]);
        for (stripe, taken) in others {
            let before = home(stripe);
            let count = taken.len();
            drop(taken);
            assert_eq!(home(stripe), before + count, "also a line that another stripe had before");
        }
    }
}
