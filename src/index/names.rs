//! The clients' ids, written where a poll finds them without a lock.
//!
//! The registry's map of aliases is the book: what it says of a client's id is so. But to look into it takes
//! the lock of a shard, two writes to memory that all pollers share. So whoever claims an id there also
//! writes it down here, and a poll looks here first.
//!
//! A *name* is four words, and there are four places for names in a row. Which row an id belongs to is said by
//! its hash. The row's head has a tag for each place, so that a poll looks at the right one, or at none:
//!
//! ```text
//!            63      48 47      32 31      16 15       0
//! tags      ┌──────────┬──────────┬──────────┬──────────┐
//!           │ place 3  │ place 2  │ place 1  │ place 0  │   1 │ hash: 15 bits; 0 where the place is free
//!           └──────────┴──────────┴──────────┴──────────┘
//! crowd      how many ids of this row have found no place
//!
//! owner      slot │ generation
//! high, low  the id's halves
//! tenancy    which use of the id it is
//! ```
//!
//! Who claims an id, while nobody else can claim it, takes a free place by its tag and then writes the name,
//! the owner last. It stays until the task is removed: the tag is wiped after the line has been vacated. An
//! id for which there is no place is counted as long as it is in use.
//!
//! There are two books of such rows. Ids lie in a book as their hashes will, so in time all its memory has been
//! touched, however few are in use at once. So the *slim* one has half a megabyte, however large the store is;
//! the *full* one has two places for each line, and is written to only while more ids are in use than the slim
//! one has rows. In either then about one id in thirty finds no place, at the most.
//!
//! # Why what is found is so (I5, I7)
//!
//! A poll loads the owner, then the rest, then the line, between two looks at its word as always. It goes by
//! them only if the line's tenant is of the owner's generation. Whatever else it finds behind the tag, it
//! looks into the map. The interleavings to be afraid of:
//!
//! * *A name that is being written.* Whoever sees an owner sees the rest of that name, or of a later one.
//! * *A later name in the same place.* Its writer has seen the place free, and so the earlier task's line
//!   vacated. So who sees any of it does not find the earlier task on its line any more.
//! * *An id that is claimed again.* That takes a line that has been vacated. Who has seen the new task, here
//!   or through the map, has seen what came before it was claimed, and does not find the old one, either.
//!
//! # Why what is not found is not there
//!
//! From when an id has been claimed until its line is vacated its tag stays, or it is counted. Who has learned
//! of the claim, by whatever means that order the two, sees that. A poll that sees neither came before the
//! claim, or after the end; in the latter case it has seen that the line was vacated, and later ones do not
//! find the task again.

use std::hash::BuildHasher;

use crossbeam_utils::CachePadded;

use crate::model::id::{Address, TaskId};
use crate::sync::{AtomicU64, Hashing, Ordering, aligned, zeroed};

/// Places in a row.
const ROW: usize = if cfg!(inflight_loom) { 1 } else { 4 };

const TAG_BITS: u32 = 16;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const TAKEN: u64 = 1 << (TAG_BITS - 1);
/// The bits of the hash that say which place is likely: no row's, and no tag's.
const LIKELY_SHIFT: u32 = 40;
/// The lowest bit of each tag, and the highest.
const LOWEST: u64 = if cfg!(inflight_loom) { 1 } else { 0x0001_0001_0001_0001 };
const HIGHEST: u64 = LOWEST << (TAG_BITS - 1);

/// The words of a row's head.
const HEAD: usize = 2;
const TAGS: usize = 0;
const CROWD: usize = 1;

/// The words of a name.
const WORDS: usize = 4;
const OWNER: usize = 0;
const HIGH: usize = 1;
const LOW: usize = 2;
const TENANCY: usize = 3;

const _: () = assert!(LOWEST.count_ones() as usize == ROW);

type Head = [AtomicU64; HEAD];
type Name = [AtomicU64; WORDS];

pub(crate) struct Names {
    hashing: Hashing,
    slim: Book,
    /// If the store has more lines than the slim one has rows.
    full: Option<Book>,
    /// How many ids are in use; counted only where that decides anything.
    ids: CachePadded<AtomicU64>,
    /// 1 once there is anything in the full book.
    is_full_used: AtomicU64,
}

struct Book {
    heads: Box<[AtomicU64]>,
    /// Which bits of a hash say which row.
    mask: u64,
    names: Box<[AtomicU64]>,
    /// How many words to skip for the first name to begin where names should: none lies across two cache lines.
    skip: usize,
}

/// How many rows the slim book has. In a model one, so that there is trouble enough.
const SLIM: u32 = if cfg!(any(inflight_loom, inflight_shuttle)) { 1 } else { 1 << 12 };

/// With fewer ids in use than this only the slim book is written to.
const MANY: u64 = if cfg!(any(inflight_loom, inflight_shuttle)) { 2 } else { SLIM as u64 };

/// What a client's id stands for, as it is written here.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    /// Whose it is, if that is still the tenant of the line.
    pub(crate) address: Address,
    pub(crate) tenancy: u64,
}

/// What a look for a client's id finds.
pub(crate) enum Sight {
    Named(Named),
    /// It is nobody's.
    Nobody,
    /// It may be somebody's: the map knows.
    Unclear,
}

/// Where an id belongs in a book.
struct Row<'a> {
    head: &'a Head,
    names: &'a [AtomicU64],
    /// Which of its places is taken first, if it is free.
    likely: usize,
    /// What the id is tagged with.
    tag: u64,
}

impl Names {
    /// Entries for the names of `lines` tasks; `None` if there is no memory for it. Like the lines, what is never
    /// used costs none.
    pub(crate) fn new(lines: u32) -> Option<Self> {
        let rows = lines.next_power_of_two();
        let full = if rows > SLIM { Some(Book::new(rows / 2)?) } else { None };
        Some(Self {
            hashing: Hashing::default(),
            slim: Book::new(rows.min(SLIM))?,
            full,
            ids: CachePadded::new(AtomicU64::new(0)),
            is_full_used: AtomicU64::new(0),
        })
    }

    /// What is written of `id`. Stores nothing.
    #[inline(always)]
    pub(crate) fn find(&self, id: TaskId) -> Sight {
        let hash = self.hashing.hash_one(id);
        let Some(row) = self.slim.row(hash) else { return Sight::Unclear };
        let same = row.same();
        if same != 0 {
            return row.read(same, id);
        }
        // Relaxed: set before the first id is written there; who has learned of its claim sees it.
        let Some(full) = self.full.as_ref().filter(|_| self.is_full_used.load(Ordering::Relaxed) != 0) else {
            return row.nobody();
        };
        let Some(row) = full.row(hash) else { return Sight::Unclear };
        let same = row.same();
        if same == 0 { row.nobody() } else { row.read(same, id) }
    }

    /// Writes down what `id` stands for. While it is being claimed, by who claims it.
    pub(crate) fn write(&self, id: TaskId, named: Named) {
        let [slim, full] = self.rows(id);
        // Relaxed: it decides where there is room, and nothing else.
        let are_many = full.is_some() && self.ids.fetch_add(1, Ordering::Relaxed) >= MANY;
        let mut is_written = slim.as_ref().is_some_and(|row| row.write(id, named));
        if !is_written && are_many {
            // Relaxed: see `find`.
            self.is_full_used.store(1, Ordering::Relaxed);
            is_written = full.as_ref().is_some_and(|row| row.write(id, named));
        }
        if !is_written {
            // In both, since it has to be counted in that which a poll looks at last.
            [slim, full].iter().flatten().for_each(|row| row.crowd(1));
        }
    }

    /// Wipes out that `id` stands for the task at `address`, which is gone: once, by who removed it.
    pub(crate) fn wipe(&self, id: TaskId, address: Address) {
        let rows = self.rows(id);
        if self.full.is_some() {
            // Relaxed: see `write`.
            self.ids.fetch_sub(1, Ordering::Relaxed);
        }
        if !rows.iter().flatten().any(|row| row.wipe(address)) {
            rows.iter().flatten().for_each(|row| row.crowd(-1));
        }
    }

    /// Where the id belongs in each of the books.
    fn rows(&self, id: TaskId) -> [Option<Row<'_>>; 2] {
        let hash = self.hashing.hash_one(id);
        [self.slim.row(hash), self.full.as_ref().and_then(|full| full.row(hash))]
    }
}

impl Book {
    fn new(rows: u32) -> Option<Self> {
        let rows = rows as usize;
        let (names, skip) = aligned(rows * ROW, WORDS)?;
        Some(Self { heads: zeroed(rows * HEAD)?, mask: rows as u64 - 1, names, skip })
    }

    /// Where an id with this hash belongs.
    #[inline(always)]
    fn row(&self, hash: u64) -> Option<Row<'_>> {
        let row = (hash & self.mask) as usize;
        let head = self.heads.get(row * HEAD..row * HEAD + HEAD)?.first_chunk()?;
        let names = self.names.get(self.skip + row * ROW * WORDS..)?.get(..ROW * WORDS)?;
        let likely = (hash >> LIKELY_SHIFT) as usize % ROW;
        Some(Row { head, names, likely, tag: hash >> (u64::BITS - TAG_BITS) | TAKEN })
    }
}

impl Row<'_> {
    #[inline(always)]
    fn name(&self, place: usize) -> Option<&Name> {
        self.names.get(place * WORDS..place * WORDS + WORDS)?.first_chunk()
    }

    /// The places whose tags are the id's; 0 if there is none.
    #[inline(always)]
    fn same(&self) -> u64 {
        // Acquire: pairs with the Release in `wipe`: who does not find the task any more sees that its line
        // has been vacated, and will not find it again. Who has learned of the claim sees this, too.
        matches(self.head[TAGS].load(Ordering::Acquire), self.tag)
    }

    /// Nobody has the id, unless one of the crowd does.
    #[inline(always)]
    fn nobody(&self) -> Sight {
        // Acquire: pairs with the Release in `crowd`, as in `same`.
        if self.head[CROWD].load(Ordering::Acquire) == 0 { Sight::Nobody } else { Sight::Unclear }
    }

    /// What is written of `id`, which has these places' tags.
    ///
    /// Which place they say is not waited for, if it is the likely one: so the name is on its way while the
    /// tags are. It is gone by only if its tag says so: otherwise it may be an earlier name of the same id.
    #[inline(always)]
    fn read(&self, same: u64, id: TaskId) -> Sight {
        let at = |place| self.name(place).and_then(|name| read(name, id));
        let likely = at(self.likely).filter(|_| same >> shift(self.likely) & TAKEN != 0);
        let named = likely.or_else(|| at((same.trailing_zeros() / TAG_BITS) as usize));
        named.map_or(Sight::Unclear, Sight::Named)
    }

    /// Writes a name into a free place; `false` if there is none.
    fn write(&self, id: TaskId, Named { address, tenancy }: Named) -> bool {
        let Some(name) = self.take().and_then(|place| self.name(place)) else { return false };
        // Release, all of these: pairs with the Acquire loads in `read`.
        name[HIGH].store(id.place(), Ordering::Release);
        name[LOW].store(id.stamp(), Ordering::Release);
        name[TENANCY].store(tenancy, Ordering::Release);
        name[OWNER].store(owner(address), Ordering::Release);
        true
    }

    /// Frees the place of the task at `address`; `false` if it has none.
    fn wipe(&self, address: Address) -> bool {
        let is_its = |place: &usize| {
            // Relaxed: who removes the task knows what was written when its id was claimed, and nobody writes
            // there since.
            let found = self.name(*place).map(|name| name[OWNER].load(Ordering::Relaxed));
            found == Some(owner(address))
        };
        // The owner of a place that is free may be the one who left it, but that was not this one.
        let Some(place) = (0..ROW).find(is_its) else { return false };
        // Release: pairs with the Acquire in `take` and in `same`: who takes the place, or finds nobody, sees the
        // line vacated.
        self.head[TAGS].fetch_and(!(TAG_MASK << shift(place)), Ordering::Release);
        true
    }

    /// Counts an id that has found no place, or has gone.
    fn crowd(&self, by: i64) {
        // Release: pairs with the Acquire in `nobody`: who finds nobody sees the line vacated. Of one that comes it
        // publishes nothing; who looks for it looks into the map then.
        self.head[CROWD].fetch_add(by.cast_unsigned(), Ordering::Release);
    }

    /// Takes a free place, if there is one.
    fn take(&self) -> Option<usize> {
        // Relaxed: the exchange decides.
        let mut tags = self.head[TAGS].load(Ordering::Relaxed);
        loop {
            let mut places = (0..ROW).map(|place| place ^ self.likely);
            let place = places.find(|place| tags >> shift(*place) & TAG_MASK == 0)?;
            let taken = tags | self.tag << shift(place);
            // Acquire: pairs with the Release in `wipe`. Relaxed on failure: as above. Nothing is published: what
            // a poll goes by is the name.
            match self.head[TAGS].compare_exchange_weak(tags, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return Some(place),
                Err(found) => tags = found,
            }
        }
    }
}

/// The highest bit of the first of the tags that is this one, and above it perhaps of others; 0 if none is.
#[inline(always)]
fn matches(tags: u64, tag: u64) -> u64 {
    let apart = tags ^ (tag * LOWEST);
    apart.wrapping_sub(LOWEST) & !apart & HIGHEST
}

/// What `name` says, if it is of `id`.
#[inline(always)]
fn read(name: &Name, id: TaskId) -> Option<Named> {
    // Acquire, all of these: pairs with the Release stores in `write`. Whoever sees the owner sees the rest;
    // and if any is a later name's, sees that the owner's line has been vacated.
    let owner = name[OWNER].load(Ordering::Acquire);
    let high = name[HIGH].load(Ordering::Acquire);
    let low = name[LOW].load(Ordering::Acquire);
    let tenancy = name[TENANCY].load(Ordering::Acquire);
    let address = Address { slot: (owner >> 32) as u32, generation: owner as u32 };
    ((high ^ id.place()) | (low ^ id.stamp()) == 0).then_some(Named { address, tenancy })
}

fn shift(place: usize) -> u32 {
    place as u32 * TAG_BITS
}

fn owner(Address { slot, generation }: Address) -> u64 {
    u64::from(slot) << 32 | u64::from(generation)
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(inflight_loom, inflight_shuttle))))]
mod tests {
    use super::*;

    fn named(slot: u32) -> Named {
        Named { address: Address { slot, generation: slot + 1 }, tenancy: u64::from(slot) + 7 }
    }

    /// So many ids of one row of the slim book, which share a row of the full one, if there is one.
    fn row_of(names: &Names, count: usize) -> Vec<TaskId> {
        let is_first = |id: &TaskId| {
            let hash = names.hashing.hash_one(*id);
            hash & (names.slim.mask | names.full.as_ref().map_or(0, |full| full.mask)) == 0
        };
        (0..).map(TaskId::from_u128).filter(is_first).take(count).collect()
    }

    #[test]
    fn i7_a_name_is_of_one_id() {
        let names = Names::new(1).unwrap();
        let id = TaskId::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        names.write(id, named(0));
        let row = names.slim.row(names.hashing.hash_one(id)).unwrap();
        let name = row.name(row.likely).unwrap();
        let found = read(name, id).unwrap();
        assert_eq!((found.address, found.tenancy), (named(0).address, named(0).tenancy));
        for bit in 0..128 {
            assert!(read(name, TaskId::from_u128(id.as_u128() ^ (1 << bit))).is_none(), "bit {bit}");
        }
    }

    /// Writes the ids' names and wipes them out, in rounds, each with tasks of its own.
    fn check_rounds(names: &Names, ids: &[TaskId], places: usize) {
        static GENERATION: AtomicU64 = AtomicU64::new(2);
        let is_nobodys = |id: &TaskId| matches!(names.find(*id), Sight::Nobody);
        let before = names.ids.load(Ordering::Relaxed);
        for round in 0..3 {
            assert!(ids.iter().all(is_nobodys), "round {round}: not there yet");
            let generation = GENERATION.fetch_add(1, Ordering::Relaxed) as u32;
            let of = |slot| Named { address: Address { slot, generation }, tenancy: u64::from(slot) };
            for (slot, id) in (0..).zip(ids) {
                names.write(*id, of(slot));
                assert!(!is_nobodys(id), "round {round}: it is somebody's");
            }
            for (slot, id) in (0..).zip(ids) {
                match names.find(*id) {
                    Sight::Named(found) => assert_eq!(found.address, of(slot).address),
                    Sight::Unclear => assert!(slot as usize >= places, "round {round}: it has a place"),
                    Sight::Nobody => panic!("round {round}: it is somebody's"),
                }
            }
            // The crowded ones last, and then first: what is wiped is what was written, either way.
            let mut order: Vec<_> = (0..).zip(ids).collect();
            order.rotate_right(round % 2);
            for (slot, id) in order {
                names.wipe(*id, of(slot).address);
            }
            assert!(ids.iter().all(is_nobodys), "round {round}: gone");
        }
        assert_eq!(names.ids.load(Ordering::Relaxed), before);
    }

    #[test]
    fn a_row_takes_what_it_has_room_for_and_counts_the_rest() {
        let names = Names::new(64).unwrap();
        check_rounds(&names, &row_of(&names, ROW + 2), ROW);
    }

    #[test]
    fn the_full_book_is_written_to_only_while_many_ids_are_in_use() {
        let names = Names::new(4 * SLIM).unwrap();
        let ids = row_of(&names, 2 * ROW + 2);
        check_rounds(&names, &ids, ROW);
        assert_eq!(names.is_full_used.load(Ordering::Relaxed), 0);
        // Others, whose names are not in this row.
        let is_elsewhere = |id: &TaskId| names.hashing.hash_one(*id) & names.slim.mask != 0;
        let others = (1 << 64..).map(TaskId::from_u128).filter(is_elsewhere);
        let others: Vec<_> = (1_000..).zip(others.take(MANY as usize)).collect();
        others.iter().for_each(|(slot, id)| names.write(*id, named(*slot)));
        check_rounds(&names, &ids, 2 * ROW);
        assert_eq!(names.is_full_used.load(Ordering::Relaxed), 1);
        others.iter().for_each(|(slot, id)| names.wipe(*id, named(*slot).address));
        check_rounds(&names, &ids, ROW);
    }

    #[test]
    fn an_earlier_name_of_the_same_id_is_not_gone_by() {
        let names = Names::new(1).unwrap();
        let id = TaskId::from_u128(7);
        names.write(id, named(0));
        names.write(id, named(1)); // Inherited, before the first was wiped.
        names.wipe(id, named(0).address);
        assert!(matches!(names.find(id), Sight::Named(found) if found.address == named(1).address));
        names.wipe(id, named(1).address);
        assert!(matches!(names.find(id), Sight::Nobody));
    }

    #[test]
    fn no_name_lies_across_two_cache_lines() {
        for rows in [1, 2, 1_024, 1 << 17] {
            let book = Book::new(rows).unwrap();
            for hash in [0, 1, u64::from(rows) - 1] {
                let begin = book.row(hash).unwrap().names.as_ptr().addr();
                assert_eq!(begin % (WORDS * size_of::<u64>()), 0);
            }
        }
    }
}
