//! The hot line: one task's numbers, in one cache line of eight atomics. The protocol.
//!
//! `record/` and everything above use this folder. It uses `model/` and `sync/`.
//!
//! ```text
//!            63          48 47                                                0
//! word       see `word.rs`
//! stamp      the low half of the id of the tenant
//! progress   closed:1 │ done:63
//! total      known:1  │ total:63
//! created    id bits 112..128 │ when the task was created
//! started    id bits  64..80  │ when this attempt was first started
//! updated    ended:1    │ when the task last changed; of a terminal task, when it ended
//! frozen     done, at the terminal transition; until then, the count that observers were last told
//! ```
//!
//! The id bits in *stamp*, *created* and *started*, with the slot number that is the line's own place,
//! are all 128 bits of the tenant's id.
//!
//! # Writers of each field
//!
//! | field | writer |
//! | --- | --- |
//! | word | the holder of the record's lock, by exchange; its D flag any holder of the record |
//! | stamp, created | the thread that took the line from the free list, before the word says that there is a tenant |
//! | started, total, frozen | the holder of the record's lock, before the word that goes with it |
//! | progress | open: the exclusive handle by plain stores, or shared handles by addition. Opened and closed under the record's lock |
//! | updated | any thread that makes a change, by exchange, never back |
//!
//! The record's lock orders the transitions of one task among each other; no poll and no increment
//! takes it. A line goes back to the free list when nobody holds its record any more (`table.rs`).
//!
//! # Reading: one instant (I2), one task (I7)
//!
//! [`Cell::read`] loads the word, then the stamp and the fields, then the word again. Each field is
//! loaded with Acquire and stored with Release, so:
//!
//! * no field is older than the word: whoever changed the word stored the fields before it;
//! * no field is from after the word's time: had it been stored after the word changed, the second load
//!   of the word would see that change, and the sequence makes every change visible.
//!
//! With the two words equal, progress is what it was at a moment at which the word was just that. Only
//! fields that are stored *before* the word that goes with them could be early, and the word says when to
//! look at them: `frozen` counts in a terminal state only, progress and `started` not while pending. The
//! total and `updated` may be one change ahead of their version, for as long as a change takes; and the
//! time of progress is noted a moment after it.
//!
//! If the words differ, something changed within those nanoseconds, and the reader looks again: the
//! number of loads is bounded by the changes that land inside one read, each of which takes its writer
//! longer than the read takes.
//!
//! # Dangerous interleavings
//!
//! * *A late increment after the end (I4).* Progress is closed before it is frozen, and a terminal status
//!   reads `frozen` only, so an addition that slips in after the closing changes nothing that anyone can
//!   see in a terminal task, and its writer is told, since it finds the closed bit in what it added to.
//!   Between closing and the terminal word such an addition can be seen and then not be counted; the
//!   version still grows, because the transition does.
//! * *An addition past the end of the counter.* A small one does not look beforehand, since the load would
//!   fight for the line as the addition does. It finds what was there before it; a thread that finds it
//!   closed, or beyond [`ROOMY`], makes all later additions check. So does a large addition, beforehand
//!   (`handle.rs`). So each thread adds one more at the most, for which there is room.
//! * *A late time stamp after the end (I4).* `touch` exchanges `updated` only for the value that it
//!   loaded, and `end` marks `updated` as ended, which no time is later than. A touch that loaded an
//!   earlier value fails; one that loads the newer one sees the mark.
//! * *Progress that the keeper does not see (I6, I12).* See `engine/upkeep.rs`.
//! * *A plain store over somebody else's end.* The exclusive handle stores progress without asking, so
//!   nobody else may end its task while it is open: a cancel is a request, and a lease makes the handle
//!   use additions. A pending task can be cancelled by anyone, but its progress is closed, and the
//!   handle opens it under the record's lock.
//! * *Reuse under a reader (I7).* A new tenant's fields come after the word has been vacated, so a reader
//!   that sees one of them also sees that the word changed.

mod reading;
pub(crate) mod table;
mod word;

pub(crate) use reading::{Reading, ReadingWords};
pub use word::MAX_ATTEMPTS;
pub(crate) use word::{Refusal, Word};

use crate::model::clock::{STAMP_BITS, Stamp};
use crate::model::id::{Address, TaskId};
use crate::model::reason::GoneReason;
use crate::sync::{AtomicU64, Ordering};

/// The greatest `done` and `total`: 2⁶⁰ − 1, an exabyte. The bits above are room for additions that
/// overtake each other's check.
///
/// ```
/// # use inflight::{MAX_COUNT, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// task.start()?;
/// task.advance(MAX_COUNT)?;
/// assert!(task.advance(1).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_COUNT: u64 = (1 << 60) - 1;

const CLOSED: u64 = 1 << 63;
const KNOWN: u64 = 1 << 63;
const ENDED: u64 = 1 << 63;
const COUNT_MASK: u64 = CLOSED - 1;

/// Additions from here on are exchanged one by one, so that those which overtake each other's check are
/// small: it would take 2²⁷ threads at once to reach the closed bit.
pub(crate) const LARGE: u64 = 1 << 32;

/// A count below this leaves room for additions without a look beforehand, for one by each of 2²⁷ threads.
pub(crate) const ROOMY: u64 = 1 << 59;

const ID_SHIFT: u32 = STAMP_BITS;
const ID_MASK: u64 = 0xFFFF;

/// How many words a line has: 64 bytes.
pub(crate) const WORDS: usize = 8;
const _: () = assert!(WORDS * size_of::<u64>() == 64 && STAMP_BITS + ID_MASK.count_ones() == 64);

/// The atomics of one line.
pub(crate) type Line = [AtomicU64; WORDS];

const WORD: usize = 0;
const STAMP: usize = 1;
const PROGRESS: usize = 2;
const TOTAL: usize = 3;
const CREATED: usize = 4;
const STARTED: usize = 5;
const UPDATED: usize = 6;
const FROZEN: usize = 7;

/// What one look at a line found.
struct Snapshot {
    stamp: u64,
    reading: Reading,
    /// Whether there was a tenant, and the word was the same before and after: only then do the fields
    /// belong together.
    is_stable: bool,
}

/// Why progress is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotCounted {
    /// The task is not running.
    Closed,
    /// `done` would exceed [`MAX_COUNT`].
    Overflow { done: u64 },
    /// `done` is already past what it was to be set to.
    Backwards { done: u64 },
}

/// One task's line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a>(&'a Line);

impl<'a> Cell<'a> {
    #[inline(always)]
    pub(crate) fn new(line: &'a Line) -> Self {
        Self(line)
    }

    // ---- reading ----------------------------------------------------------------------------------

    /// The status of the task `id`, if the line is that task's (I1, I2, I7). Stores nothing.
    #[inline(always)]
    pub(crate) fn read(self, id: TaskId) -> Option<Reading> {
        // Comes back as words, not as a `Reading`: so the usual one stays in registers.
        match self.try_read(id) {
            Some(reading) => Some(reading),
            None => Some(Reading::from_words(self.read_slow(id)?)),
        }
    }

    /// One look for the task `id`. `None` tells nothing: either the task is not there, or the word changed
    /// meanwhile; `read_slow` knows.
    #[inline(always)]
    pub(crate) fn try_read(self, id: TaskId) -> Option<Reading> {
        let Snapshot { stamp, reading, is_stable } = self.snapshot();
        (is_stable & is_tenant(id, stamp, reading.created, reading.started)).then_some(reading)
    }

    /// One look for the tenant at `address`, whose slot is this line's. `None` tells nothing, as in
    /// `try_read`.
    #[inline(always)]
    pub(crate) fn try_read_at(self, Address { slot, generation }: Address) -> Option<Reading> {
        let Snapshot { stamp, reading, is_stable } = self.snapshot();
        let tenant = tenant(slot, stamp, reading.created, reading.started);
        (is_stable & (tenant.generation() == generation)).then_some(reading)
    }

    /// Whether the line has a tenant and may be `id`'s. If not, the task is gone.
    #[inline(always)]
    pub(crate) fn may_be_of(self, id: TaskId) -> bool {
        !self.word().is_vacant() && self.is_stamped(id)
    }

    /// What there is to see of the task `id`, as often as that takes. Apart from the first look, so that
    /// that is straight code.
    #[cold]
    pub(crate) fn read_slow(self, id: TaskId) -> Option<ReadingWords> {
        loop {
            if !self.may_be_of(id) {
                return None;
            }
            if let Some(reading) = self.try_read(id) {
                return Some(reading.into_words());
            }
        }
    }

    /// The status of the line's tenant, and its id: for who holds the tenancy, so that there is no other
    /// while this looks. The line is line `slot`. `None` if the task is gone.
    #[inline]
    pub(crate) fn read_tenant(self, slot: u32) -> Option<(TaskId, Reading)> {
        loop {
            let Snapshot { stamp, reading, is_stable } = self.snapshot();
            if is_stable {
                return Some((tenant(slot, stamp, reading.created, reading.started), reading));
            }
            if reading.word.is_vacant() {
                return None;
            }
        }
    }

    /// One look at the whole line.
    #[inline(always)]
    fn snapshot(self) -> Snapshot {
        let word = self.word();
        // Relaxed: it has to be the tenant's own, whose store came before the id was known to anyone, and
        // tells nothing but that.
        let stamp = self.0[STAMP].load(Ordering::Relaxed);
        // Acquire, all of these: each keeps the second load of the word, below, behind it. They pair with
        // the Release stores in `occupy`; started also with `open`, total with `set_total`, updated with
        // `touch`, `touch_locked` and `end`.
        let created = self.0[CREATED].load(Ordering::Acquire);
        let started = self.0[STARTED].load(Ordering::Acquire);
        let total = self.0[TOTAL].load(Ordering::Acquire);
        let updated = self.0[UPDATED].load(Ordering::Acquire);
        let progress = if word.is_terminal() {
            // Acquire: as above; pairs with the Release store in `freeze`.
            self.0[FROZEN].load(Ordering::Acquire)
        } else {
            // Acquire: as above; pairs with the Release of `publish`, `add`, `add_checked`,
            // `exchange_progress` and `open`.
            self.0[PROGRESS].load(Ordering::Acquire)
        };
        let is_stable = word.looks_like(self.word()) & !word.is_vacant();
        Snapshot { stamp, reading: Reading { word, progress, total, created, started, updated }, is_stable }
    }

    /// The word as it is now.
    #[inline(always)]
    pub(crate) fn word(self) -> Word {
        // Acquire: pairs with the Release half of `update` and with the store in `occupy`: what goes
        // with this word is seen. In the second load of `snapshot` it is the next round's first.
        Word::from_bits(self.0[WORD].load(Ordering::Acquire))
    }

    /// Whether the line's present or, if it is vacant, last tenant is `id`.
    #[inline]
    pub(crate) fn is_stamped(self, id: TaskId) -> bool {
        // Relaxed, all of these: only the id's bits matter, and the caller has loaded the word of
        // that tenant, or got its id from there, so it sees no bits of an earlier tenant.
        let stamp = self.0[STAMP].load(Ordering::Relaxed);
        let created = self.0[CREATED].load(Ordering::Relaxed);
        let started = self.0[STARTED].load(Ordering::Relaxed);
        is_tenant(id, stamp, created, started)
    }

    /// The id of the present or last tenant of the line, which is line `slot`.
    pub(crate) fn tenant(self, slot: u32) -> TaskId {
        // Relaxed, all of these: only the id's bits matter, and the caller has loaded the word of
        // that tenant, or got its id from there, so it sees no bits of an earlier tenant.
        let stamp = self.0[STAMP].load(Ordering::Relaxed);
        let created = self.0[CREATED].load(Ordering::Relaxed);
        let started = self.0[STARTED].load(Ordering::Relaxed);
        tenant(slot, stamp, created, started)
    }

    /// A load that brings the line into the cache, for `get_many`; what it returns is nothing to go by.
    #[inline(always)]
    pub(crate) fn warm(self) -> u64 {
        // Relaxed: only the cache cares.
        self.0[WORD].load(Ordering::Relaxed)
    }

    // ---- tenancy: only the thread that took the line from the free list
    // ------------------------------------------

    /// Makes the line the task `id`'s. The caller has taken it from the free list.
    pub(crate) fn occupy(self, id: TaskId, total: Option<u64>, now: Stamp, observed: bool) {
        let place = id.place();
        let vacant = self.word();
        // Relaxed: the word below publishes it, and a reader that sees it earlier finds a foreign id.
        self.0[STAMP].store(id.stamp(), Ordering::Relaxed);
        // Release, all of these: pairs with the Acquire loads in `snapshot`. A reader that sees one of them
        // also sees that the word was vacated, which happened before the line came off the free list.
        self.0[PROGRESS].store(CLOSED, Ordering::Release);
        self.0[TOTAL].store(total.map_or(0, |total| total | KNOWN), Ordering::Release);
        self.0[CREATED].store(place >> ID_SHIFT << ID_SHIFT | now.bits(), Ordering::Release);
        self.0[STARTED].store((place & ID_MASK) << ID_SHIFT, Ordering::Release);
        self.0[UPDATED].store(now.bits(), Ordering::Release);
        self.0[FROZEN].store(0, Ordering::Release);
        let tenanted = vacant.tenanted();
        let word = if observed { tenanted.observed() } else { tenanted };
        // Release: pairs with the Acquire in `word`. A plain store does: nobody else writes a vacant word.
        self.0[WORD].store(word.bits(), Ordering::Release);
    }

    // ---- under the record's lock -------------------------------------------------------------------

    /// Exchanges the word for what `change` makes of it; gives the word before and after. It is a loop
    /// because the O and D flags may be set meanwhile.
    pub(crate) fn update<E>(
        self,
        mut change: impl FnMut(Word) -> Result<Word, E>,
    ) -> Result<(Word, Word), E> {
        let mut before = self.word();
        loop {
            let after = change(before)?;
            if after == before {
                return Ok((before, before));
            }
            // Release: pairs with the Acquire in `word`, so that a thread that sees the new word sees what
            // was stored for it. Relaxed on failure: only a flag can have changed, and flags publish nothing.
            match self.0[WORD].compare_exchange_weak(
                before.bits(),
                after.bits(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok((before, after)),
                Err(found) => before = Word::from_bits(found),
            }
        }
    }

    /// Leaves the line: from here on polls of its task find nothing.
    pub(crate) fn vacate(self, reason: GoneReason) {
        let vacated: Result<_, std::convert::Infallible> =
            self.update(|word| Ok(if word.is_vacant() { word } else { word.vacated(reason) }));
        match vacated {
            Ok(_) => {}
        }
    }

    /// Starts counting from 0. Before the word that says `Running`.
    pub(crate) fn open(self, now: Stamp) {
        // Relaxed: the id bits never change while the line has a tenant, and the caller holds its record.
        let id_bits = self.0[STARTED].load(Ordering::Relaxed) >> ID_SHIFT << ID_SHIFT;
        // Release: pairs with the Acquire in `snapshot`, as all fields do.
        self.0[STARTED].store(id_bits | now.bits(), Ordering::Release);
        self.0[PROGRESS].store(0, Ordering::Release);
    }

    /// Takes the time of an earlier attempt's start away from a pending task, which nobody reads while it
    /// is pending. Before the word that ends the task without a start.
    pub(crate) fn clear_started(self) {
        // Relaxed, Release: as in `open`.
        let id_bits = self.0[STARTED].load(Ordering::Relaxed) >> ID_SHIFT << ID_SHIFT;
        self.0[STARTED].store(id_bits, Ordering::Release);
    }

    /// Stops counting, and gives what was counted. Before the word that says that the attempt is over.
    pub(crate) fn close(self) -> u64 {
        // Acquire: pairs with the Release of the additions, so that what was done before them is seen by
        // whoever sees the end. Nothing new is published: an exchange passes on what the count publishes.
        self.0[PROGRESS].fetch_or(CLOSED, Ordering::Acquire) & COUNT_MASK
    }

    /// Fixes `done` for good. Before the terminal word.
    pub(crate) fn freeze(self, done: u64) {
        // Release: pairs with the Acquire in `snapshot`.
        self.0[FROZEN].store(done, Ordering::Release);
    }

    /// Notes that those who observe the task have been told of `done`. Not after the end.
    pub(crate) fn report(self, done: u64) {
        if self.reported() != done {
            // Release: pairs with the Acquire in `snapshot`, as all fields do: a reader that takes this for
            // an earlier tenant's count sees that the word was vacated.
            self.0[FROZEN].store(done, Ordering::Release);
        }
    }

    /// What those who observe the task have been told of. Not after the end.
    pub(crate) fn reported(self) -> u64 {
        // Relaxed: until the end nobody writes this but whoever holds the record's lock. Without the lock it
        // is a first look: what is not visible yet is found at a later tick (`engine/upkeep.rs`).
        self.0[FROZEN].load(Ordering::Relaxed)
    }

    /// Whether there may be progress that has not been reported, by a look without the record's lock.
    pub(crate) fn has_unreported(self) -> bool {
        // Relaxed: as in `reported`. Whoever changes that one later reports the progress of that time.
        let done = self.0[PROGRESS].load(Ordering::Relaxed) & COUNT_MASK;
        self.reported() != if self.word().is_pending() { 0 } else { done }
    }

    /// Sets `updated` to the time of the end, and marks it, so that a `touch` under way fails.
    pub(crate) fn end(self, now: Stamp) {
        // Release: pairs with the Acquire in `snapshot`, as all fields do. Relaxed before it: `touch` and
        // this need the value alone.
        let _ = self.0[UPDATED].fetch_update(Ordering::Release, Ordering::Relaxed, |updated| {
            Some(now.bits().max(updated) | ENDED)
        });
    }

    /// Notes the time of a change that is not the end.
    pub(crate) fn touch_locked(self, now: Stamp) {
        // Release: pairs with the Acquire in `snapshot`.
        self.0[UPDATED].fetch_max(now.bits(), Ordering::Release);
    }

    /// Sets the total. Before the word's next sequence number.
    pub(crate) fn set_total(self, total: Option<u64>) {
        // Release: pairs with the Acquire in `snapshot`.
        self.0[TOTAL].store(total.map_or(0, |total| total | KNOWN), Ordering::Release);
    }

    // ---- progress ----------------------------------------------------------------------------------

    /// Publishes `done`: the exclusive handle's plain store.
    #[inline(always)]
    pub(crate) fn publish(self, done: u64) {
        // Release: pairs with the Acquire in `snapshot`; it also keeps this count from being seen by a
        // reader that does not see an earlier transition of this same worker.
        self.0[PROGRESS].store(done, Ordering::Release);
    }

    /// What the exclusive handle has counted: read by the handle itself, the only writer.
    #[inline]
    pub(crate) fn counted(self) -> u64 {
        // Relaxed: a thread sees its own stores, and a handle that moved to another thread took them along.
        self.0[PROGRESS].load(Ordering::Relaxed) & COUNT_MASK
    }

    /// Adds `count`, less than [`LARGE`], without a look beforehand; gives whether there is room for more
    /// such. Only for handles that need not check. A handle that finds no room, or that counting is closed,
    /// or that is about to add more, has told the others to look.
    #[inline(always)]
    pub(crate) fn add(self, count: u64) -> Result<bool, NotCounted> {
        // Release: pairs with the Acquire in `snapshot` and in `close`.
        let before = self.0[PROGRESS].fetch_add(count, Ordering::Release);
        if before & CLOSED == 0 { Ok(before < ROOMY) } else { Err(NotCounted::Closed) }
    }

    /// Adds to `done`, for handles of which there may be several.
    #[inline]
    pub(crate) fn add_checked(self, count: u64) -> Result<(), NotCounted> {
        // Relaxed: a first look, which decides nothing but an early refusal.
        check(self.0[PROGRESS].load(Ordering::Relaxed), count)?;
        if count < LARGE {
            // Release: pairs with the Acquire in `snapshot` and in `close`.
            let before = self.0[PROGRESS].fetch_add(count, Ordering::Release);
            return if before & CLOSED == 0 { Ok(()) } else { Err(NotCounted::Closed) };
        }
        self.exchange_progress(|done| Ok(done.saturating_add(count))).map(|_| ())
    }

    /// Raises `done` to `target`, for handles of which there may be several; gives what it was before.
    pub(crate) fn raise(self, target: u64) -> Result<u64, NotCounted> {
        self.exchange_progress(
            |done| {
                if target < done { Err(NotCounted::Backwards { done }) } else { Ok(target) }
            },
        )
    }

    fn exchange_progress(
        self,
        mut change: impl FnMut(u64) -> Result<u64, NotCounted>,
    ) -> Result<u64, NotCounted> {
        // Relaxed: the exchange below decides.
        let mut before = self.0[PROGRESS].load(Ordering::Relaxed);
        loop {
            check(before, 0)?;
            let after = change(before)?;
            if after > MAX_COUNT {
                return Err(NotCounted::Overflow { done: before });
            }
            // Release: pairs with the Acquire in `snapshot` and in `close`. Relaxed on failure: only the
            // value is used, for the next try.
            match self.0[PROGRESS].compare_exchange_weak(before, after, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => return Ok(before),
                Err(found) => before = found,
            }
        }
    }

    /// When the task last changed.
    #[inline(always)]
    pub(crate) fn updated(self) -> Stamp {
        // Relaxed: a time and no more. After `clear_dirty` it is not older than what was noted before the
        // `mark_dirty` that was undone: `clear_dirty` orders that.
        Stamp::from_bits(self.0[UPDATED].load(Ordering::Relaxed))
    }

    /// Notes that progress was made at `now`, unless the attempt is over by then.
    pub(crate) fn touch(self, now: Stamp) {
        // Relaxed: the exchange decides, and the end is marked in what it exchanges.
        let mut updated = self.0[UPDATED].load(Ordering::Relaxed);
        loop {
            // Relaxed: a first look. Between attempts a time that is noted late contradicts nothing.
            let closed = self.0[PROGRESS].load(Ordering::Relaxed) & CLOSED != 0;
            if closed || updated >= now.bits() {
                return;
            }
            // Release: pairs with the Acquire in `snapshot`. Relaxed on failure: as above.
            match self.0[UPDATED].compare_exchange_weak(
                updated,
                now.bits(),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(found) => updated = found,
            }
        }
    }

    // ---- flags: O under the record's lock, D by any holder of the record
    // ----------------------------------------------------------

    /// Marks the task as observed from now on.
    pub(crate) fn set_observed(self) {
        // Relaxed: an exchange passes on what the word publishes, and the flag publishes nothing itself: who
        // misses it is sampled all the same, because the caller that sets it also marks the task dirty.
        self.0[WORD].fetch_or(Word::OBSERVED, Ordering::Relaxed);
    }

    /// Takes that mark away: nobody observes the task any more.
    pub(crate) fn clear_observed(self) {
        // Relaxed: as in `set_observed`.
        self.0[WORD].fetch_and(!Word::OBSERVED, Ordering::Relaxed);
    }

    /// Marks the task dirty. Returns whether it was clean, so that the caller must put it on the keeper's
    /// list.
    ///
    /// Always an exchange, even if the mark is there: either it comes before the keeper's `clear_dirty`,
    /// which then sees what was noted before it, or it finds the mark gone.
    pub(crate) fn mark_dirty(self) -> bool {
        // Release: pairs with the Acquire of `clear_dirty`.
        let before = self.0[WORD].fetch_or(Word::DIRTY, Ordering::Release);
        !Word::from_bits(before).is_dirty()
    }

    /// Takes the mark away, and gives the word as it was before. What was noted before a `mark_dirty` that
    /// this undoes is seen afterwards.
    pub(crate) fn clear_dirty(self) -> Word {
        // Acquire: pairs with the Release of `mark_dirty`.
        Word::from_bits(self.0[WORD].fetch_and(!Word::DIRTY, Ordering::Acquire))
    }
}

/// The id whose bits these fields of line `slot` have.
#[inline(always)]
fn tenant(slot: u32, stamp: u64, created: u64, started: u64) -> TaskId {
    let place = created >> ID_SHIFT << ID_SHIFT | u64::from(slot) << 16 | started >> ID_SHIFT;
    TaskId::from_halves(place, stamp)
}

#[inline(always)]
fn is_tenant(id: TaskId, stamp: u64, created: u64, started: u64) -> bool {
    let place = id.place();
    let high = (created ^ place) >> ID_SHIFT;
    let low = (started >> ID_SHIFT) ^ (place & ID_MASK);
    (stamp ^ id.stamp()) | high | low == 0
}

/// Whether `count` can be added to `progress`.
#[inline(always)]
fn check(progress: u64, count: u64) -> Result<(), NotCounted> {
    if progress & CLOSED != 0 {
        Err(NotCounted::Closed)
    } else if count > MAX_COUNT.saturating_sub(progress) {
        Err(NotCounted::Overflow { done: progress })
    } else {
        Ok(())
    }
}
