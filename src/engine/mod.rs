//! What all clones of a store share: the table, the indexes, and how a task is created, found and removed.
//!
//! `task/` and `store/` use it. It uses `index/` and what lies below.
//!
//! # In which order locks are taken
//!
//! 1. the keeper's lists;
//! 2. the lock of one record: no thread holds two;
//! 3. what the keeper shares with new readers of the feed (`upkeep.rs`);
//! 4. one of: a shard of the registry or a stripe of its aliases, a stripe of the roster, a lane of the feed
//!    or its list of sleeping readers, the wait list of the record, an inbox of the keeper;
//! 5. a free list of the table.
//!
//! A thread that holds a lock takes only those with a greater number. Under the lock of an inbox, the lock of
//! a wait list may be taken: whether a timer's waiter still waits. Otherwise, what is called under a lock of
//! the fourth kind looks at lines only: whether an alias is over, or which entries of the roster are swept.

mod inbox;
pub(crate) mod keeper;
mod lease;
pub(crate) mod lifecycle;
mod pace;
mod retention;
mod sweeping;
mod timers;
mod upkeep;
pub(crate) mod waiter;

use std::sync::Arc as StdArc;

use crossbeam_utils::CachePadded;

use crate::cell::table::{Place, Table};
use crate::cell::{Cell, Reading, ReadingWords};
use crate::engine::pace::Pace;
use crate::engine::upkeep::Upkeep;
use crate::index::aliases::{Alias, Peek};
use crate::index::counts::Tally;
use crate::index::feed::{Event, Feed, Subject};
use crate::index::registry::Registry;
use crate::index::roster::Roster;
use crate::model::clock::{Clock, Pulse, Stamp};
use crate::model::id::{Address, Mint, TaskId};
use crate::model::limits::Limits;
use crate::model::reason::{Absent, GoneReason};
use crate::model::retention::Retention;
use crate::model::state::State;
use crate::record::details::Details;
use crate::record::error::{CreateError, RemoveError};
use crate::record::family::{Children, Family, Share};
use crate::record::new_task::NewTask;
use crate::record::status::Status;
use crate::record::wait_list::{Conclusion, WakeList};
use crate::record::{ForeignId, Kin, Parent, Record};
use crate::sync::{Arc, AtomicU64, Ordering, keep_order};

/// The result of a poll on the slow path.
struct Found {
    epoch: u64,
    words: ReadingWords,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) table: Table,
    pub(crate) pulse: CachePadded<Pulse>,
    /// What all versions of this store begin with; greater after each restart.
    pub(crate) incarnation: u64,
    pub(crate) registry: Registry,
    pub(crate) roster: Roster,
    pub(crate) tally: Tally,
    pub(crate) upkeep: Upkeep,
    pub(crate) feed: Feed,
    pub(crate) clock: Clock,
    pub(crate) limits: Limits,
    pub(crate) retention: Retention,
    mint: Mint,
    /// How often a client's id has been taken into use.
    tenancies: AtomicU64,
}

impl Engine {
    /// `None` if there is no memory for its indexes.
    pub(crate) fn new(
        table: Table,
        mint: Mint,
        incarnation: u64,
        clock: Clock,
        limits: Limits,
        retention: Retention,
        feed: Feed,
    ) -> Option<Self> {
        let pulse = Pulse::new(&clock);
        Some(Self {
            registry: Registry::new(table.lines())?,
            table,
            upkeep: Upkeep::new(Pace::new(pulse.now(), clock.now())),
            pulse: CachePadded::new(pulse),
            incarnation,
            roster: Roster::new(),
            tally: Tally::new(),
            feed,
            clock,
            limits,
            retention,
            mint,
            tenancies: AtomicU64::new(1),
        })
    }

    // ---- finding -------------------------------------------------------------------------------------

    /// The poll (I1): from the id to the line, and nothing else. What does not stand there is looked for
    /// further.
    #[inline]
    pub(crate) fn poll(&self, id: TaskId) -> Option<Status> {
        let (epoch, reading) = match self.try_read(id) {
            Some(reading) => (self.incarnation, reading),
            // Comes back as words, not as a `Status`: so the usual one stays in registers.
            None => {
                let Found { epoch, words } = self.poll_slow(id)?;
                (epoch, Reading::from_words(words))
            }
        };
        Some(Status::new(id, epoch, reading, self.pulse.skew_micros()))
    }

    /// One look at the line that `id` names. A client's id is as good as never the address of a line, and if
    /// it is, not the id of the line's tenant.
    #[inline(always)]
    fn try_read(&self, id: TaskId) -> Option<Reading> {
        self.table.cell(id.slot())?.try_read(id)
    }

    /// The poll of an id whose line did not show its task in one read.
    #[inline(never)]
    fn poll_slow(&self, id: TaskId) -> Option<Found> {
        if id.has_address_form() { self.poll_minted_slow(id) } else { self.poll_foreign(id) }
    }

    /// The poll of an id that has the form of a minted one: its task is gone, or its word has just changed,
    /// or it is a client's all the same.
    #[inline(never)]
    fn poll_minted_slow(&self, id: TaskId) -> Option<Found> {
        if let Some(cell) = self.table.cell(id.slot()).filter(|cell| cell.may_be_of(id))
            && let Some(words) = cell.read_slow(id)
        {
            return Some(Found { epoch: self.incarnation, words });
        }
        if self.registry.may_be_foreign(id) { self.poll_foreign(id) } else { None }
    }

    /// The poll of a client's id: by the index to another line.
    #[inline(never)]
    fn poll_foreign(&self, id: TaskId) -> Option<Found> {
        match self.registry.peek_alias(id) {
            Peek::Nobody => None,
            Peek::Unclear => self.poll_foreign_slow(id),
            Peek::Alias(Alias { address, tenancy }) => {
                match self.table.cell(address.slot).and_then(|cell| cell.try_read_at(address)) {
                    Some(reading) => Some(Found { epoch: self.epoch(tenancy), words: reading.into_words() }),
                    None => self.poll_foreign_slow(id),
                }
            }
        }
    }

    /// The poll of a client's id that one look has not found.
    #[cold]
    fn poll_foreign_slow(&self, id: TaskId) -> Option<Found> {
        self.registry.find_alias(id, |Alias { address, tenancy }| {
            let words = self.table.cell(address.slot)?.read_slow(self.tenant(address)?)?;
            Some(Found { epoch: self.epoch(tenancy), words })
        })
    }

    /// The poll of a task whose line is known.
    #[inline]
    pub(crate) fn poll_line(&self, Subject { key, id, epoch }: Subject) -> Option<Status> {
        let reading = self.table.cell(key.slot())?.read(key)?;
        Some(Status::new(id, epoch, reading, self.pulse.skew_micros()))
    }

    /// The poll of a task with a minted id for the holder of its record. The line cannot have another
    /// tenant meanwhile, so its own id is right.
    #[inline]
    pub(crate) fn poll_held(&self, place: Place) -> Option<Status> {
        let (id, reading) = self.table.cell_at(place)?.read_tenant(self.table.slot(place))?;
        Some(Status::new(id, self.incarnation, reading, self.pulse.skew_micros()))
    }

    /// What the versions of a task begin with, by the tenancy of its id.
    fn epoch(&self, tenancy: u64) -> u64 {
        self.incarnation.wrapping_add(tenancy)
    }

    /// Where the task of this record is found, and what it is known by.
    pub(crate) fn subject(&self, record: &Record) -> Subject {
        Subject { key: record.key(), id: record.id(), epoch: self.epoch(record.tenancy()) }
    }

    /// Polls by the page. A first pass loads each line's word, and the cache misses of a chunk overlap;
    /// the second pass then reads lines that are on their way, and the third looks for what has none.
    /// (With the second and third in one, each status would be put together in one place and copied to
    /// another.)
    pub(crate) fn poll_many(&self, ids: &[TaskId]) -> Vec<Option<Status>> {
        const CHUNK: usize = 128;
        let mut statuses = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let warm = |id: &TaskId| self.table.cell(id.slot()).map_or(0, Cell::warm);
            std::hint::black_box(chunk.iter().map(warm).fold(0, |all, word| all ^ word));
            let try_status = |id: &TaskId| {
                let reading = self.try_read(*id)?;
                Some(Status::new(*id, self.incarnation, reading, self.pulse.skew_micros()))
            };
            statuses.extend(chunk.iter().map(try_status));
        }
        for (status, id) in statuses.iter_mut().zip(ids) {
            if status.is_none() {
                *status = self.poll(*id);
            }
        }
        statuses
    }

    /// The line of the task of this record. Always there: the record was made with it.
    #[inline]
    pub(crate) fn cell(&self, record: &Record) -> Option<Cell<'_>> {
        self.table.cell(record.key().slot())
    }

    /// The status of the task of this record, unless it is gone.
    #[inline]
    pub(crate) fn status(&self, record: &Record) -> Option<Status> {
        self.poll_line(self.subject(record))
    }

    /// The record of a task that is in the store.
    pub(crate) fn find(&self, id: TaskId) -> Option<Arc<Record>> {
        if let Some(record) = self.find_minted(id) {
            return Some(record);
        }
        self.foreign_key(id).and_then(|key| self.registry.find(key))
    }

    fn find_minted(&self, id: TaskId) -> Option<Arc<Record>> {
        let record = id.has_address_form().then(|| self.registry.find(id)).flatten();
        record.filter(|record| record.foreign().is_none())
    }

    /// The minted id of the task that has the client's id `id`.
    fn foreign_key(&self, id: TaskId) -> Option<TaskId> {
        let key = || self.registry.find_alias(id, |alias| self.tenant(alias.address));
        if self.registry.may_be_foreign(id) { key() } else { None }
    }

    /// Why a poll of `id` found nothing (I11).
    ///
    /// An id whose tag verifies was minted here: nobody else can make one. So if it has no task it is
    /// gone, and nothing needs to be remembered of it.
    pub(crate) fn absent(&self, id: TaskId) -> Absent {
        if !self.mint.verifies(id) {
            // Never here, or a client's, of which nothing is kept.
            return Absent::Unknown;
        }
        let Some(cell) = self.table.cell(id.slot()) else { return Absent::Gone(None) };
        let word = cell.word();
        if !cell.is_stamped(id) {
            return Absent::Gone(None);
        }
        // The caller knows the id from its task, so this is the last word of that tenancy or a later word.
        // With a later word the stamp is a later one, too.
        Absent::Gone(word.gone_reason())
    }

    pub(crate) fn details(&self, record: &Record) -> Option<Details> {
        let cold = record.lock();
        // Under the lock no transition and no message comes in between.
        let status = self.status(record)?;
        Some(Details {
            status,
            kind: record.kind.clone(),
            traits: record.traits.clone(),
            message: cold.message.clone(),
            outcome: cold.outcome().filter(|_| status.is_terminal()).cloned(),
        })
    }

    pub(crate) fn children(&self, record: &Record) -> Children {
        record.lock().family().map_or_else(Children::default, Family::read)
    }

    /// The id of the tenant at `address`, if it is still in the store.
    pub(crate) fn tenant(&self, address: Address) -> Option<TaskId> {
        let cell = self.table.cell(address.slot).filter(|cell| !cell.word().is_vacant())?;
        Some(cell.tenant(address.slot)).filter(|key| key.generation() == address.generation)
    }

    /// Whether the tenant at `address` is still in the store.
    pub(crate) fn is_alive(&self, address: Address) -> bool {
        self.tenant(address).is_some()
    }

    /// Whether the tenant at `address` is still in the store, and has not ended.
    pub(crate) fn is_live(&self, address: Address) -> bool {
        let has_ended = |cell: Cell<'_>| cell.word().is_terminal();
        self.is_alive(address) && !self.table.cell(address.slot).is_none_or(has_ended)
    }

    // ---- coming and going ------------------------------------------------------------------------------

    /// Makes a task. If it cannot be made, nothing has changed.
    pub(crate) fn create(&self, mut new: NewTask) -> Result<Arc<Record>, CreateError> {
        new.check(&self.limits)?;
        if let Some(id) = new.id
            && (self.mint.verifies(id) || self.foreign_key(id).is_some())
        {
            return Err(CreateError::DuplicateId(id));
        }
        let (parent, family) = new.parent.map(|parent| self.family(parent)).transpose()?.unzip();
        let full = || CreateError::Full { capacity: self.table.lines() as usize };
        let tenancy = self.table.take(&self.mint).ok_or_else(full)?;

        let (key, now) = (tenancy.key(), self.clock.now());
        let kin = family.map(|family| Kin { family, share: Share::default() });
        let deadline = new.lease.map(|span| now.plus(span));
        let observed = kin.is_some();
        let traits = new.traits(new.id.map(ForeignId::new), parent).map(StdArc::new);
        let record = Arc::new(Record::new(tenancy, new.kind, traits, kin, deadline));
        let mut wakes = WakeList::default();
        // Before anyone can find the record, and until the task is counted, listed and noted as new: whoever
        // finds it meanwhile, by an id that was known beforehand or on a list, changes it after that (I8,
        // I12).
        let mut cold = record.lock();
        if let Some(cell) = self.cell(&record) {
            cell.occupy(key, new.total, now, observed);
        }
        self.registry.insert(&record);
        if let Some(foreign) = record.foreign()
            && !self.claim(foreign, key)
        {
            self.withdraw(&record);
            return Err(CreateError::DuplicateId(foreign.id));
        }
        cold.roll_up(|_| Share { state: Some(State::Pending), done: 0, total: new.total });
        self.tally.shift(None, Some(State::Pending));
        self.roster.enter(key.address(), |address| self.is_alive(address));
        if self.feed.is_read() {
            self.feed.note(self.subject(&record), Event::Created, &mut wakes);
        }
        drop(cold);
        if let Some(deadline) = deadline {
            self.watch_lease(key, deadline);
        }
        wakes.wake();
        Ok(record)
    }

    /// The task that `parent` names, and the sums that a child of it adds to.
    fn family(&self, parent: TaskId) -> Result<(Parent, StdArc<Family>), CreateError> {
        let record = self.find(parent).ok_or(CreateError::UnknownParent(parent))?;
        let mut cold = record.lock();
        match self.status(&record) {
            None => Err(CreateError::UnknownParent(parent)),
            Some(status) if status.is_terminal() => Err(CreateError::ParentEnded(status)),
            Some(_) => {
                let family = cold.rare().family.get_or_insert_with(|| StdArc::new(Family::new()));
                Ok((Parent { id: parent, key: record.key() }, StdArc::clone(family)))
            }
        }
    }

    /// Takes a client's id into use, for the task `key`. Its tenancy is drawn while nobody else can claim the
    /// id: so who comes later has the greater one, and the greater versions (I5). An id whose task is gone,
    /// so that no poll finds it, is free, though who removes it may not have released the id yet.
    fn claim(&self, foreign: &ForeignId, key: TaskId) -> bool {
        let draw = || {
            // Relaxed: it hands out numbers that only have to grow, and the lock of the claims orders who
            // draws them.
            let tenancy = self.tenancies.fetch_add(1, Ordering::Relaxed);
            foreign.claimed(tenancy);
            tenancy
        };
        self.registry.claim(foreign.id, key.address(), draw, |address| !self.is_alive(address))
    }

    /// Takes back a task whose id nobody has been told, because its own id was taken in the meantime. The
    /// caller holds the record's lock.
    fn withdraw(&self, record: &Record) {
        if let Some(cell) = self.cell(record) {
            cell.vacate(GoneReason::Removed);
        }
        drop(self.registry.remove(record.key()));
    }

    /// Takes a terminal task out of the store. If several threads try, one succeeds and the others find it
    /// gone. The caller calls the wakers.
    pub(crate) fn remove(
        &self,
        record: &Record,
        why: GoneReason,
        wakes: &mut WakeList,
    ) -> Result<Status, RemoveError> {
        let mut cold = record.lock();
        let status = self.status(record).ok_or(RemoveError::Absent(Absent::Gone(None)))?;
        if !status.is_terminal() {
            return Err(RemoveError::Live(status));
        }
        if let Some(cell) = self.cell(record) {
            cell.vacate(why);
        }
        cold.notify_all(Conclusion::Gone(Absent::Gone(Some(why))), wakes);
        if self.feed.is_read() {
            self.feed.note(self.subject(record), Event::Gone(why, status), wakes);
        }
        drop(cold);
        // The entry lets go of the line; the line is free when the handles have, and the caller, too (I7):
        // until then nobody else can claim an id for its slot.
        drop(self.registry.remove(record.key()));
        if let Some(foreign) = record.foreign() {
            self.registry.release(foreign.id, record.key().address());
        }
        self.tally.shift(Some(status.state()), None);
        Ok(status)
    }

    /// Marks a task as worth sampling at the coming ticks.
    pub(crate) fn mark_dirty(&self, record: &Arc<Record>) {
        if self.cell(record).is_some_and(|cell| cell.mark_dirty()) {
            self.upkeep.sample_soon(record.key().address(), |address| self.is_live(*address));
        }
    }

    /// Notes that progress was made, at the time of the pulse, and has it sampled if anyone observes the
    /// task. Once per task and move of the pulse.
    #[cold]
    pub(crate) fn note_progress(&self, record: &Arc<Record>, pulse: Stamp) {
        if let Some(cell) = self.cell(record) {
            cell.touch(pulse);
            keep_order(); // The flags after the time: see `upkeep.rs`.
            if cell.word().is_observed() || self.feed.is_read() {
                self.mark_dirty(record);
            }
        }
    }
}
