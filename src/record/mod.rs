//! The cold record: everything about a task that a poll does not need. It owns the task's line.
//!
//! Immutable parts are plain fields. Mutable parts are behind the record's lock, which also orders the task's
//! transitions (`cell/mod.rs`). No user code runs under it.
//!
//! The folder holds what a record consists of, how a task is described when it is created, and what is shown
//! of it afterwards. `index/` and everything above use it. It uses `cell/` and what lies below.

pub(crate) mod details;
pub(crate) mod error;
pub(crate) mod family;
pub(crate) mod new_task;
pub(crate) mod status;
pub(crate) mod wait_list;

use std::borrow::Cow;
use std::sync::Arc as StdArc;
use std::time::Duration;

use crate::cell::table::Tenancy;
use crate::model::clock::Stamp;
use crate::model::id::TaskId;
use crate::model::payload::Payload;
use crate::record::family::{Family, Share};
use crate::record::wait_list::{Conclusion, WaitList, WakeList};
use crate::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, lock};

/// Immutable parts that most tasks do not have.
#[derive(Debug, Default)]
pub(crate) struct Traits {
    pub(crate) foreign: Option<ForeignId>,
    pub(crate) unit: Option<Box<str>>,
    /// Sorted by key.
    pub(crate) labels: Box<[(Box<str>, Box<str>)]>,
    pub(crate) parent: Option<Parent>,
    pub(crate) ttl: Option<Duration>,
    /// How long the worker may go without a heartbeat or progress.
    pub(crate) lease: Option<Duration>,
}

/// The parent's id as the child named it, and its minted id. The former may belong to another task later.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent {
    pub(crate) id: TaskId,
    pub(crate) key: TaskId,
}

/// An id that a client chose, and its tenancy, a number that grows with each use of the id. It is 0 until the
/// id is claimed.
#[derive(Debug)]
pub(crate) struct ForeignId {
    pub(crate) id: TaskId,
    tenancy: AtomicU64,
}

impl ForeignId {
    pub(crate) fn new(id: TaskId) -> Self {
        Self { id, tenancy: AtomicU64::new(0) }
    }

    /// Sets its tenancy. Called by the claiming create, while the id is being claimed.
    pub(crate) fn claimed(&self, tenancy: u64) {
        // Relaxed: a thread that finds the record by the id finds it through the map, whose lock orders this
        // store before. A thread that has the record otherwise may find that the id is not claimed yet.
        self.tenancy.store(tenancy, Ordering::Relaxed);
    }
}

pub(crate) struct Record {
    pub(crate) kind: Cow<'static, str>,
    pub(crate) traits: Option<StdArc<Traits>>,
    cold: Mutex<Cold>,
    tenancy: Tenancy,
}

/// The mutable parts.
#[derive(Default)]
pub(crate) struct Cold {
    pub(crate) message: Option<StdArc<str>>,
    rare: Option<Box<Rare>>,
}

/// Mutable parts that most tasks never have. Those tasks pay for a pointer only.
#[derive(Default)]
pub(crate) struct Rare {
    /// The result or the error. Set before the terminal transition, never again (I4).
    pub(crate) outcome: Option<Payload>,
    /// The sums over this task's children, once it has any.
    pub(crate) family: Option<StdArc<Family>>,
    /// This task's share of its parent's sums.
    pub(crate) kin: Option<Kin>,
    pub(crate) lease: Option<Lease>,
    pub(crate) waiters: Option<Arc<WaitList>>,
}

/// What the keeper knows of the worker of a leased task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease {
    /// When the lease runs out, if the worker makes no change from now on.
    pub(crate) deadline: Stamp,
    /// The attempt, and how much it had done, when the keeper last took progress into account. All progress
    /// up to that is no longer news.
    pub(crate) attempt: u32,
    pub(crate) done: u64,
}

pub(crate) struct Kin {
    pub(crate) family: StdArc<Family>,
    pub(crate) share: Share,
}

impl Record {
    pub(crate) fn new(
        tenancy: Tenancy,
        kind: Cow<'static, str>,
        traits: Option<StdArc<Traits>>,
        kin: Option<Kin>,
        deadline: Option<Stamp>,
    ) -> Self {
        let mut cold = Cold::default();
        if kin.is_some() || deadline.is_some() {
            let lease = deadline.map(|deadline| Lease { deadline, attempt: 1, done: 0 });
            cold.rare = Some(Box::new(Rare { kin, lease, ..Rare::default() }));
        }
        Self { kind, traits, cold: Mutex::new(cold), tenancy }
    }

    /// The minted id: the address of the line.
    #[inline(always)]
    pub(crate) fn key(&self) -> TaskId {
        self.tenancy.key()
    }

    pub(crate) fn foreign(&self) -> Option<&ForeignId> {
        self.traits.as_ref().and_then(|traits| traits.foreign.as_ref())
    }

    /// The id by which the task is known: the client's own, if it chose one.
    pub(crate) fn id(&self) -> TaskId {
        self.foreign().map_or(self.key(), |foreign| foreign.id)
    }

    /// The part of this task's epoch that is added to the store's incarnation.
    pub(crate) fn tenancy(&self) -> u64 {
        // Relaxed: see `claimed`.
        self.foreign().map_or(0, |foreign| foreign.tenancy.load(Ordering::Relaxed))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Cold> {
        lock(&self.cold)
    }

    pub(crate) fn ttl(&self) -> Option<Duration> {
        self.traits.as_ref().and_then(|traits| traits.ttl)
    }

    pub(crate) fn lease(&self) -> Option<Duration> {
        self.traits.as_ref().and_then(|traits| traits.lease)
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        let labels = &self.traits.as_ref()?.labels;
        let at = labels.binary_search_by(|(have, _)| (**have).cmp(key)).ok()?;
        labels.get(at).map(|(_, value)| &**value)
    }

    pub(crate) fn parent(&self) -> Option<Parent> {
        self.traits.as_ref().and_then(|traits| traits.parent)
    }
}

impl Cold {
    /// The rare parts, allocated on first use.
    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn outcome(&self) -> Option<&Payload> {
        self.rare.as_ref()?.outcome.as_ref()
    }

    pub(crate) fn family(&self) -> Option<&Family> {
        self.rare.as_ref()?.family.as_deref()
    }

    pub(crate) fn has_parent(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.kin.is_some())
    }

    pub(crate) fn lease(&mut self) -> Option<&mut Lease> {
        self.rare.as_mut()?.lease.as_mut()
    }

    pub(crate) fn waiters(&self) -> Option<&Arc<WaitList>> {
        self.rare.as_ref()?.waiters.as_ref()
    }

    /// Notifies all waiters of the end or the removal, and drops the wait list.
    pub(crate) fn notify_all(&mut self, conclusion: Conclusion, wakes: &mut WakeList) {
        if let Some(waiters) = self.rare.as_mut().and_then(|rare| rare.waiters.take()) {
            waiters.notify_all(conclusion, wakes);
        }
    }

    /// Updates the parent's sums to this task's new share, if it has a parent.
    pub(crate) fn roll_up(&mut self, share: impl FnOnce(Share) -> Share) {
        if let Some(kin) = self.rare.as_mut().and_then(|rare| rare.kin.as_mut()) {
            let new = share(kin.share);
            kin.family.exchange(kin.share, new);
            kin.share = new;
        }
    }
}

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record").field("key", &self.key()).field("kind", &self.kind).finish_non_exhaustive()
    }
}
