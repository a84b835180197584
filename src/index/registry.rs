//! The book of record: a DashMap whose entries own the tasks' lines, and the clients' ids beside it, which
//! are written down once more where a poll finds them without a lock (`names.rs`).
//!
//! Guards never leave this file, and nothing of a user's runs under one: entries are cloned or taken
//! out, and dropped by the caller.

use crate::index::names::{Named, Names, Sight};
use crate::model::id::TaskId;
use crate::record::Record;
use crate::sync::{Arc, AtomicU64, Ordering};

#[cfg(not(inflight_loom))]
use dashed::Map;
#[cfg(inflight_loom)]
use modelled::Map;

/// What a client's id stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alias {
    /// The minted id of the same task.
    pub(crate) key: TaskId,
    pub(crate) tenancy: u64,
}

/// What came of claiming a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It was free.
    New,
    /// It was another's, who was over.
    Inherited,
    /// It is another's.
    Taken,
}

pub(crate) struct Registry {
    tasks: Map<Arc<Record>>,
    aliases: Map<Alias>,
    names: Names,
    /// How many aliases have the form of a minted id. While there are none, a minted id that its line
    /// does not know need not be looked for.
    disguised: AtomicU64,
}

impl Registry {
    /// The books of a store with so many lines; `None` if there is no memory for them.
    pub(crate) fn new(lines: u32) -> Option<Self> {
        let names = Names::new(lines)?;
        Some(Self { tasks: Map::new(), aliases: Map::new(), names, disguised: AtomicU64::new(0) })
    }

    pub(crate) fn insert(&self, record: &Arc<Record>) {
        self.tasks.claim(record.key(), || Arc::clone(record), |_| false);
    }

    pub(crate) fn remove(&self, key: TaskId) -> Option<Arc<Record>> {
        self.tasks.remove_if(key, |_| true)
    }

    /// The record of the task with this minted id.
    pub(crate) fn find(&self, key: TaskId) -> Option<Arc<Record>> {
        self.tasks.get(key)
    }

    /// Gives `id` to the alias that is made while nobody else can claim it; `false` if it is taken, and
    /// not by one that `is_over`: gone, though who took it out of the store has not released the id yet.
    pub(crate) fn claim(
        &self,
        id: TaskId,
        alias: impl FnOnce() -> Alias,
        is_over: impl Fn(&Alias) -> bool,
    ) -> bool {
        if id.has_address_form() {
            // Relaxed: counted before the alias can be found. Who was told of the id after this, by
            // whatever means that order the two, sees the count.
            self.disguised.fetch_add(1, Ordering::Relaxed);
        }
        let written = || {
            let alias = alias();
            self.names.write(id, Named { address: alias.key.address(), tenancy: alias.tenancy });
            alias
        };
        let claim = self.aliases.claim(id, written, is_over);
        if claim != Claim::New {
            self.forget_disguise(id); // Not counted at all, or counted for the one before.
        }
        claim != Claim::Taken
    }

    /// Takes `id` back from the task `key`, if it is still that task's.
    pub(crate) fn release(&self, id: TaskId, key: TaskId) {
        self.names.wipe(id, key.address());
        if self.aliases.remove_if(id, |alias| alias.key == key).is_some() {
            self.forget_disguise(id);
        }
    }

    fn forget_disguise(&self, id: TaskId) {
        if id.has_address_form() {
            // Relaxed: after the alias is gone; a count that is too high costs a look-up, no more.
            self.disguised.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether `id` may be a client's. One of the form of a minted one is so only if there is any alias of
    /// that form: so a poll of a minted id that is gone hashes nothing (I1).
    #[inline]
    pub(crate) fn may_be_foreign(&self, id: TaskId) -> bool {
        // Relaxed: see `claim`.
        !id.has_address_form() || self.disguised.load(Ordering::Relaxed) != 0
    }

    /// What is written of the client's id `id`, without a look into the map.
    #[inline(always)]
    pub(crate) fn sight(&self, id: TaskId) -> Sight {
        self.names.find(id)
    }

    /// What the client's id `id` stands for.
    #[inline]
    pub(crate) fn alias(&self, id: TaskId) -> Option<Alias> {
        if self.may_be_foreign(id) { self.aliases.get(id) } else { None }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(not(inflight_loom))]
mod dashed {
    use super::Claim;
    use crate::model::id::TaskId;
    use crate::sync::{DashMap, Entry, dash_map};

    pub(super) struct Map<V>(DashMap<TaskId, V>);

    impl<V: Clone> Map<V> {
        pub(super) fn new() -> Self {
            Self(dash_map())
        }

        /// Inserts, unless the key is there and its value not over. Only plain values are replaced: nothing
        /// of a user's is dropped here.
        pub(super) fn claim(
            &self,
            key: TaskId,
            value: impl FnOnce() -> V,
            is_over: impl Fn(&V) -> bool,
        ) -> Claim {
            note();
            match self.0.entry(key) {
                Entry::Occupied(mut entry) if is_over(entry.get()) => {
                    entry.insert(value());
                    Claim::Inherited
                }
                Entry::Occupied(_) => Claim::Taken,
                Entry::Vacant(entry) => {
                    entry.insert(value());
                    Claim::New
                }
            }
        }

        pub(super) fn remove_if(&self, key: TaskId, condition: impl Fn(&V) -> bool) -> Option<V> {
            note();
            self.0.remove_if(&key, |_, value| condition(value)).map(|(_, value)| value)
        }

        pub(super) fn get(&self, key: TaskId) -> Option<V> {
            note();
            self.0.get(&key).map(|value| value.value().clone())
        }
    }

    /// One operation on a map, where they are counted.
    #[inline(always)]
    fn note() {
        #[cfg(inflight_budget)]
        crate::sync::budget::note(crate::sync::budget::Operation::Map);
    }
}

/// A lock around a map: what the model checker can see of a DashMap, with one shard.
#[cfg(inflight_loom)]
mod modelled {
    use std::collections::HashMap;

    use super::Claim;
    use crate::model::id::TaskId;
    use crate::sync::{Mutex, lock};

    pub(super) struct Map<V>(Mutex<HashMap<TaskId, V>>);

    impl<V: Clone> Map<V> {
        pub(super) fn new() -> Self {
            Self(Mutex::new(HashMap::new()))
        }

        pub(super) fn claim(
            &self,
            key: TaskId,
            value: impl FnOnce() -> V,
            is_over: impl Fn(&V) -> bool,
        ) -> Claim {
            let mut map = lock(&self.0);
            let claim = match map.get(&key) {
                Some(value) if is_over(value) => Claim::Inherited,
                Some(_) => return Claim::Taken,
                None => Claim::New,
            };
            map.insert(key, value());
            claim
        }

        pub(super) fn remove_if(&self, key: TaskId, condition: impl Fn(&V) -> bool) -> Option<V> {
            let mut map = lock(&self.0);
            if map.get(&key).is_some_and(condition) { map.remove(&key) } else { None }
        }

        pub(super) fn get(&self, key: TaskId) -> Option<V> {
            lock(&self.0).get(&key).cloned()
        }
    }
}
