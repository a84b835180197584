//! The index of clients' ids: from a UUID that a client brought to the line of its task.
//!
//! A claim and a release take the lock of their stripe. A poll takes none. It goes from the id's hash to a
//! *bucket*, one cache line of tags and places; from the place that has the id's tag to the task's address;
//! and with the address to what is *bound* to the slot and to the line, whose cache misses overlap:
//!
//! ```text
//!          63    56 55    48 47    40 39    32 31    24 23    16 15     8 7      0
//!          ┌────────┬────────┬────────┬────────┬────────┬────────┬────────┬────────┐
//! tags     │ over-  │ tag of │ place 5│ place 4│ place 3│ place 2│ place 1│ place 0│   0: the place is free
//!          │ flowed │ place 6│        │        │        │        │        │        │
//!          └────────┴────────┴────────┴────────┴────────┴────────┴────────┴────────┘
//! place    slot │ generation                              seven of these
//!
//! bound    id, high half │ id, low half │ tenancy         three of these, and one unused, for each slot
//! ```
//!
//! A tag is only a hint. A task is found by what is bound to its slot, which must be the whole id, and by its
//! line, which must show the generation. A claim that finds no free place in its bucket goes into the
//! stripe's map, behind the lock, and the bucket counts it in `overflowed`. In a store full of clients' ids
//! that is one claim in fifty while it fills, and one in sixteen once tasks come and go.
//!
//! # What is found is right (I5, I7)
//!
//! Only the claimer writes to what is bound to a slot: it owns the slot's tenancy, so the line of the tenant
//! before was vacated earlier. A poll loads the place, then what is bound, and the line last. Whoever sees
//! the address sees what was bound for it, or for a later claim; and whoever sees a word of a later claim
//! sees the line vacated, which then does not show the generation.
//!
//! # What is not found is not there
//!
//! A claimed id has its tag, or is counted, until its line has been vacated. A poll that was told of the
//! claim sees that. A poll that finds neither ran before the claim, or it sees the line vacated, and so does
//! whatever its thread reads later.
//!
//! An id may be claimed again before its last use is released. Both have an entry then. The earlier one leads
//! to a vacated line, which every reader passes over.

use std::collections::HashMap;
use std::hash::BuildHasher;

use crossbeam_utils::CachePadded;

use crate::model::id::{Address, TaskId};
use crate::sync::{AtomicU64, Mutex, Ordering, aligned, lock};

/// How clients' ids are hashed: with a random seed, because clients choose them. Of the better quality, because the
/// bucket and the tag take different bits: with the faster one, some seeds gave six tags to 256 ids in sequence.
#[cfg(not(any(inflight_loom, inflight_shuttle)))]
type Hashing = foldhash::quality::RandomState;
/// The same with a fixed seed, because an execution of a checker must be repeatable.
#[cfg(any(inflight_loom, inflight_shuttle))]
type Hashing = foldhash::quality::FixedState;

const IS_MODELLED: bool = cfg!(any(inflight_loom, inflight_shuttle));

/// The places of a bucket. In a model one, so that buckets overflow.
const PLACES: usize = if IS_MODELLED { 1 } else { 7 };
/// The words of a bucket: the tags, and the places.
const BUCKET: usize = 1 + PLACES;
/// At most so many lines for each bucket.
const LINES: u32 = 4;
/// The locks for claims (a power of two).
const STRIPES: usize = if IS_MODELLED { 1 } else { 64 };

const TAG_BITS: usize = 8;
/// The bits of a hash that make the tag. In a model none, so that all ids have one tag.
const TAG_MASK: u64 = if IS_MODELLED { 0 } else { (1 << TAG_BITS) - 1 };
/// The lowest bit of the tag of each place, and the highest.
const LOWEST: u64 = if IS_MODELLED { 1 } else { 0x0001_0101_0101_0101 };
const HIGHEST: u64 = LOWEST << (TAG_BITS - 1);
/// One in the count of those that overflowed.
const OVERFLOWED: u64 = 1 << OVERFLOW_SHIFT;
const OVERFLOW_SHIFT: u32 = 56;

const _: () = assert!(LOWEST.count_ones() as usize == PLACES);

/// The words that are bound to a slot. They take the room of four, so that none lie across two cache lines.
const BOUND: usize = 4;
const HIGH: usize = 0;
const LOW: usize = 1;
const TENANCY: usize = 2;

/// What a client's id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    /// Where the task is, if that tenant is still there.
    pub(crate) address: Address,
    /// Which use of the id it is.
    pub(crate) tenancy: u64,
}

/// What one look for a client's id finds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peek {
    /// The alias, if its tenant is still there; otherwise [`Aliases::find`] knows.
    Alias(Alias),
    /// It is nobody's.
    Nobody,
    /// It may be somebody's: [`Aliases::find`] knows.
    Unclear,
}

pub(crate) struct Aliases {
    hashing: Hashing,
    buckets: Box<[AtomicU64]>,
    /// How many words to skip for the first bucket to begin a cache line.
    skip: usize,
    /// Which bits of a hash say which bucket.
    mask: u64,
    bound: Box<[AtomicU64]>,
    bound_skip: usize,
    stripes: Box<[Stripe]>,
}

/// The aliases that found no free place. Its lock is for claims and releases, and for polls of these.
type Overflow = HashMap<TaskId, Alias, Hashing>;
type Stripe = CachePadded<Mutex<Overflow>>;

/// Where an id belongs.
struct Bucket<'a> {
    tags: &'a AtomicU64,
    places: &'a [AtomicU64; PLACES],
    /// The tag of this id: not 0.
    tag: u64,
    stripe: &'a Stripe,
}

impl Aliases {
    /// An index for the clients' ids of `lines` tasks; `None` if there is no memory for it. What is never
    /// used costs none.
    pub(crate) fn new(lines: u32) -> Option<Self> {
        let count = if IS_MODELLED { 1 } else { lines.div_ceil(LINES).next_power_of_two() };
        let (buckets, skip) = aligned(count as usize, BUCKET)?;
        let (bound, bound_skip) = aligned(lines as usize, BOUND)?;
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        let mask = u64::from(count) - 1;
        Some(Self { hashing: Hashing::default(), buckets, skip, mask, bound, bound_skip, stripes })
    }

    /// One look for `id`, without a lock: what is behind the first of its tags.
    #[inline(always)]
    pub(crate) fn peek(&self, id: TaskId) -> Peek {
        let Some(bucket) = self.bucket(id) else { return Peek::Nobody };
        let tags = bucket.tags();
        let same = matches(tags, bucket.tag);
        if same == 0 {
            return if tags >> OVERFLOW_SHIFT == 0 { Peek::Nobody } else { Peek::Unclear };
        }
        let place = same.trailing_zeros() as usize / TAG_BITS;
        self.alias(&bucket, place, id).map_or(Peek::Unclear, Peek::Alias)
    }

    /// What `look` finds at the alias that `id` is. It is called for each that may be this id's, the ended
    /// uses of the id included, until it finds something. No lock is held meanwhile.
    pub(crate) fn find<T>(&self, id: TaskId, look: impl Fn(Alias) -> Option<T>) -> Option<T> {
        let bucket = self.bucket(id)?;
        let tags = bucket.tags();
        let found = bucket.tagged(tags).filter_map(|place| self.alias(&bucket, place, id)).find_map(&look);
        if found.is_some() || tags >> OVERFLOW_SHIFT == 0 {
            return found;
        }
        let overflowed = lock(bucket.stripe).get(&id).copied();
        overflowed.and_then(look)
    }

    /// Gives `id` to the tenant at `address`, which the caller owns, with the tenancy that `draw` gives while
    /// nobody else can claim it (I5). `false` if the id is a tenant's that is not over.
    pub(crate) fn claim(
        &self,
        id: TaskId,
        address: Address,
        draw: impl FnOnce() -> u64,
        is_over: impl Fn(Address) -> bool,
    ) -> bool {
        let Some(bucket) = self.bucket(id) else { return false };
        let mut overflow = lock(bucket.stripe);
        let tags = bucket.tags();
        let has_it = |alias: Alias| !is_over(alias.address);
        let is_taken = bucket.tagged(tags).filter_map(|place| self.alias(&bucket, place, id)).any(has_it);
        if is_taken || overflow.get(&id).copied().is_some_and(has_it) {
            return false;
        }
        let alias = Alias { address, tenancy: draw() };
        let free = (0..PLACES).find(|place| tag_at(tags, *place) == 0);
        if let Some((place, word)) = free.and_then(|place| Some((place, bucket.places.get(place)?))) {
            self.bind(id, alias);
            // Release: pairs with the Acquire load in `alias`. Whoever sees the address sees what is bound.
            word.store(packed(address), Ordering::Release);
            bucket.set_tags(tags | bucket.tag << (place * TAG_BITS));
        } else if overflow.insert(id, alias).is_none() && tags >> OVERFLOW_SHIFT != u64::MAX >> OVERFLOW_SHIFT
        {
            bucket.set_tags(tags + OVERFLOWED);
        }
        true
    }

    /// Takes `id` back from the tenant at `address`, which has claimed it, whose line is vacated, and whose
    /// tenancy the caller still owns: so there is no later claim for this slot.
    pub(crate) fn release(&self, id: TaskId, address: Address) {
        let Some(bucket) = self.bucket(id) else { return };
        let mut overflow = lock(bucket.stripe);
        let tags = bucket.tags();
        // Relaxed: places are stored under the lock.
        let is_its = |place: &usize| {
            bucket.places.get(*place).is_some_and(|word| word.load(Ordering::Relaxed) == packed(address))
        };
        if let Some(place) = bucket.tagged(tags).find(is_its) {
            bucket.set_tags(tags & !(tag_at(u64::MAX, 0) << (place * TAG_BITS)));
        } else if overflow.get(&id).is_some_and(|alias| alias.address == address) {
            overflow.remove(&id);
            // A count that has reached its end stays there: then the map is always asked.
            if tags >> OVERFLOW_SHIFT != u64::MAX >> OVERFLOW_SHIFT {
                bucket.set_tags(tags - OVERFLOWED);
            }
        }
    }

    #[inline(always)]
    fn bucket(&self, id: TaskId) -> Option<Bucket<'_>> {
        let hash = self.hashing.hash_one(id);
        let bucket = (hash & self.mask) as usize;
        let words: &[AtomicU64; BUCKET] = self.buckets.get(self.skip + bucket * BUCKET..)?.first_chunk()?;
        let (tags, places) = words.split_first()?;
        let stripe = self.stripes.get(bucket % STRIPES)?;
        Some(Bucket {
            tags,
            places: places.first_chunk()?,
            tag: (hash >> OVERFLOW_SHIFT & TAG_MASK).max(1),
            stripe,
        })
    }

    #[inline(always)]
    fn bound(&self, slot: u32) -> Option<&[AtomicU64; BOUND]> {
        self.bound.get(self.bound_skip + slot as usize * BOUND..)?.first_chunk()
    }

    /// The alias at this place of the bucket, if it is `id`.
    #[inline(always)]
    fn alias(&self, bucket: &Bucket<'_>, place: usize, id: TaskId) -> Option<Alias> {
        // Acquire: pairs with the Release store in `claim`.
        let place = bucket.places.get(place)?.load(Ordering::Acquire);
        let address = Address { slot: (place >> 32) as u32, generation: place as u32 };
        let words = self.bound(address.slot)?;
        // Acquire, all of these: pairs with the Release stores in `bind`. A thread that sees a word of a
        // later claim sees that the line was vacated.
        let high = words[HIGH].load(Ordering::Acquire);
        let low = words[LOW].load(Ordering::Acquire);
        let tenancy = words[TENANCY].load(Ordering::Acquire);
        ((high ^ id.place()) | (low ^ id.stamp()) == 0).then_some(Alias { address, tenancy })
    }

    /// Binds `id` to a slot.
    fn bind(&self, id: TaskId, alias: Alias) {
        let Some(words) = self.bound(alias.address.slot) else { return };
        // Release, all of these: pairs with the Acquire loads in `alias`.
        words[HIGH].store(id.place(), Ordering::Release);
        words[LOW].store(id.stamp(), Ordering::Release);
        words[TENANCY].store(alias.tenancy, Ordering::Release);
    }
}

impl Bucket<'_> {
    #[inline(always)]
    fn tags(&self) -> u64 {
        // Acquire: pairs with the Release store in `set_tags`.
        self.tags.load(Ordering::Acquire)
    }

    /// Under the lock.
    fn set_tags(&self, tags: u64) {
        // Release: pairs with the Acquire load in `tags`. A poll that does not find a task any more sees its
        // line vacated. Of a claim it publishes nothing: a poll goes by what is bound.
        self.tags.store(tags, Ordering::Release);
    }

    /// The places with the id's tag.
    fn tagged(&self, tags: u64) -> impl Iterator<Item = usize> {
        (0..PLACES).filter(move |place| tag_at(tags, *place) == self.tag)
    }
}

/// The tag of a place.
fn tag_at(tags: u64, place: usize) -> u64 {
    tags >> (place * TAG_BITS) & (u64::MAX >> OVERFLOW_SHIFT)
}

/// The highest bit of the first place with this tag, and above it perhaps of others; 0 if there is none.
#[inline(always)]
fn matches(tags: u64, tag: u64) -> u64 {
    let apart = tags ^ (tag * LOWEST);
    apart.wrapping_sub(LOWEST) & !apart & HIGHEST
}

fn packed(Address { slot, generation }: Address) -> u64 {
    u64::from(slot) << 32 | u64::from(generation)
}

impl std::fmt::Debug for Aliases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aliases").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(inflight_loom, inflight_shuttle))))]
mod tests {
    use super::*;

    fn address(slot: u32) -> Address {
        Address { slot, generation: slot + 1 }
    }

    /// So many ids of the first bucket.
    fn ids_of_a_bucket(aliases: &Aliases, count: usize) -> Vec<TaskId> {
        let is_first = |id: &TaskId| aliases.hashing.hash_one(*id) & aliases.mask == 0;
        (0..).map(TaskId::from_u128).filter(is_first).take(count).collect()
    }

    fn find(aliases: &Aliases, id: TaskId) -> Option<u64> {
        aliases.find(id, |alias| Some(alias.tenancy))
    }

    /// The tenancy of the alias at this slot, if `id` is found there.
    fn find_at(aliases: &Aliases, id: TaskId, slot: u32) -> Option<u64> {
        aliases.find(id, |alias| (alias.address == address(slot)).then_some(alias.tenancy))
    }

    fn overflowed(aliases: &Aliases, id: TaskId) -> u64 {
        aliases.bucket(id).map_or(u64::MAX, |bucket| bucket.tags() >> OVERFLOW_SHIFT)
    }

    #[test]
    fn the_first_match_is_right_and_ids_of_a_bucket_have_many_tags() {
        for (tags, tag, first) in [
            (0x0000_0000_0000_2201, 0x22, Some(1)),
            (0x0000_2200_0000_2201, 0x22, Some(1)),
            (0x0022_0000_0000_0000, 0x22, Some(6)),
            (0x0023_2120_a202_2322, 0x21, Some(5)),
            (0xff00_0000_0000_0000, 0xff, None),
            (0x0023_2321_20a2_0202, 0x22, None),
        ] {
            let matched = matches(tags, tag);
            let place = (matched != 0).then(|| matched.trailing_zeros() as usize / TAG_BITS);
            assert_eq!(place, first, "{tags:x}");
        }
        let aliases = Aliases::new(64).unwrap();
        let tags: std::collections::BTreeSet<u64> =
            ids_of_a_bucket(&aliases, 256).iter().map(|id| aliases.bucket(*id).unwrap().tag).collect();
        assert!(tags.len() > 100 && !tags.contains(&0), "{}", tags.len());
    }

    #[test]
    fn i7_what_is_bound_is_of_one_id() {
        let aliases = Aliases::new(1).unwrap();
        let id = TaskId::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
        assert!(aliases.claim(id, address(0), || 9, |_| false));
        let bucket = aliases.bucket(id).unwrap();
        let place = bucket.tagged(bucket.tags()).next().unwrap();
        assert_eq!(aliases.alias(&bucket, place, id), Some(Alias { address: address(0), tenancy: 9 }));
        for bit in 0..128 {
            assert_eq!(
                aliases.alias(&bucket, place, TaskId::from_u128(id.as_u128() ^ (1 << bit))),
                None,
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_bucket_takes_what_it_has_places_for_and_counts_the_rest() {
        let aliases = Aliases::new(256).unwrap();
        let ids = ids_of_a_bucket(&aliases, PLACES + 3);
        for round in 0..4 {
            assert!(ids.iter().all(|id| find(&aliases, *id).is_none()), "round {round}: not there yet");
            for (slot, id) in (0..).zip(&ids) {
                let tenancy = u64::from(slot) + round;
                assert!(aliases.claim(*id, address(slot), || tenancy, |_| false));
                assert_eq!(find(&aliases, *id), Some(tenancy), "round {round}");
                let mut draws = 0;
                assert!(
                    !aliases.claim(
                        *id,
                        address(99),
                        || {
                            draws += 1;
                            0
                        },
                        |_| false
                    ),
                    "it is taken"
                );
                assert_eq!(draws, 0);
            }
            assert_eq!(overflowed(&aliases, ids[0]), 3);
            // Those that overflowed last, and then first.
            let mut order: Vec<_> = (0..).zip(&ids).collect();
            order.rotate_right(round as usize);
            for (slot, id) in order {
                aliases.release(*id, address(slot));
                assert_eq!(find(&aliases, *id), None, "round {round}");
            }
            assert_eq!(overflowed(&aliases, ids[0]), 0);
        }
    }

    /// An id is claimed again before its earlier use is released, wherever the two find a place.
    #[test]
    fn i7_a_late_release_takes_only_its_own() {
        for taken in [PLACES - 2, PLACES - 1, PLACES] {
            for is_gap in [false, true] {
                let aliases = Aliases::new(256).unwrap();
                let ids = ids_of_a_bucket(&aliases, PLACES + 1);
                let id = ids[PLACES];
                let claim =
                    |id, slot| aliases.claim(id, address(slot), || u64::from(slot), |at| at == address(50));
                (0..).zip(&ids[..taken]).for_each(|(slot, id)| assert!(claim(*id, slot)));
                assert!(claim(id, 50));
                if is_gap {
                    aliases.release(ids[0], address(0));
                }
                assert!(claim(id, 51), "its task is over");
                assert!(!claim(id, 52), "its task is not over");
                assert_eq!(find_at(&aliases, id, 51), Some(51), "{taken} {is_gap}");
                aliases.release(id, address(50));
                assert_eq!(find_at(&aliases, id, 51), Some(51), "{taken} {is_gap}: released");
                aliases.release(id, address(51));
                assert_eq!((find(&aliases, id), overflowed(&aliases, id)), (None, 0), "{taken} {is_gap}");
            }
        }
    }

    #[test]
    fn each_bucket_is_one_cache_line_and_no_bound_words_lie_across_two() {
        for lines in [1, 3, 1_000, 1 << 17] {
            let aliases = Aliases::new(lines).unwrap();
            for bits in 0..100 {
                let bucket = aliases.bucket(TaskId::from_u128(bits)).unwrap();
                assert_eq!(std::ptr::from_ref(bucket.tags).addr() % 64, 0);
            }
            for slot in [0, lines / 2, lines - 1] {
                let words = aliases.bound(slot).unwrap();
                assert_eq!(words.as_ptr().addr() % (BOUND * size_of::<u64>()), 0);
            }
        }
    }
}
