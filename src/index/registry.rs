//! The index by id: a DashMap whose entries own the tasks' lines, and the index of the clients' ids beside it
//! (`aliases.rs`).
//!
//! Guards never leave this file, and nothing of a user's runs under one: entries are cloned or taken
//! out, and dropped by the caller.

use crate::index::aliases::{Alias, Aliases, Peek};
use crate::model::id::{Address, TaskId};
use crate::record::Record;
use crate::sync::{Arc, AtomicU64, Ordering};

#[cfg(not(inflight_loom))]
use dashed::Map;
#[cfg(inflight_loom)]
use modelled::Map;

pub(crate) struct Registry {
    tasks: Map<Arc<Record>>,
    aliases: Aliases,
    /// How many aliases have the form of a minted id. While there are none, a minted id that its line
    /// does not know need not be looked for.
    disguised: AtomicU64,
}

impl Registry {
    /// The index of a store with so many lines; `None` if there is no memory for it.
    pub(crate) fn new(lines: u32) -> Option<Self> {
        Some(Self { tasks: Map::new(), aliases: Aliases::new(lines)?, disguised: AtomicU64::new(0) })
    }

    pub(crate) fn insert(&self, record: &Arc<Record>) {
        self.tasks.insert(record.key(), Arc::clone(record));
    }

    pub(crate) fn remove(&self, key: TaskId) -> Option<Arc<Record>> {
        self.tasks.remove(key)
    }

    /// The record of the task with this minted id.
    pub(crate) fn find(&self, key: TaskId) -> Option<Arc<Record>> {
        self.tasks.get(key)
    }

    /// Gives the client's id `id` to the tenant at `address`, as [`Aliases::claim`] does.
    pub(crate) fn claim(
        &self,
        id: TaskId,
        address: Address,
        draw: impl FnOnce() -> u64,
        is_over: impl Fn(Address) -> bool,
    ) -> bool {
        if id.has_address_form() {
            // Relaxed: counted before the alias can be found. A thread that
            // learns of the id after this sees the count.
            self.disguised.fetch_add(1, Ordering::Relaxed);
        }
        let is_claimed = self.aliases.claim(id, address, draw, is_over);
        if !is_claimed {
            self.forget_disguise(id);
        }
        is_claimed
    }

    /// Takes `id` back from the tenant at `address`, once, as [`Aliases::release`] does.
    pub(crate) fn release(&self, id: TaskId, address: Address) {
        self.aliases.release(id, address);
        self.forget_disguise(id);
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

    /// One look for what the client's id `id` stands for.
    #[inline(always)]
    pub(crate) fn peek_alias(&self, id: TaskId) -> Peek {
        self.aliases.peek(id)
    }

    /// What `look` finds at what the client's id `id` stands for, as [`Aliases::find`] does.
    pub(crate) fn find_alias<T>(&self, id: TaskId, look: impl Fn(Alias) -> Option<T>) -> Option<T> {
        self.aliases.find(id, look)
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

#[cfg(not(inflight_loom))]
mod dashed {
    use crate::model::id::TaskId;
    use crate::sync::{DashMap, dash_map};

    pub(super) struct Map<V>(DashMap<TaskId, V>);

    impl<V: Clone> Map<V> {
        pub(super) fn new() -> Self {
            Self(dash_map())
        }

        /// Inserts; the key is new.
        pub(super) fn insert(&self, key: TaskId, value: V) {
            note();
            self.0.insert(key, value);
        }

        pub(super) fn remove(&self, key: TaskId) -> Option<V> {
            note();
            self.0.remove(&key).map(|(_, value)| value)
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

    use crate::model::id::TaskId;
    use crate::sync::{Mutex, lock};

    pub(super) struct Map<V>(Mutex<HashMap<TaskId, V>>);

    impl<V: Clone> Map<V> {
        pub(super) fn new() -> Self {
            Self(Mutex::new(HashMap::new()))
        }

        pub(super) fn insert(&self, key: TaskId, value: V) {
            lock(&self.0).insert(key, value);
        }

        pub(super) fn remove(&self, key: TaskId) -> Option<V> {
            lock(&self.0).remove(&key)
        }

        pub(super) fn get(&self, key: TaskId) -> Option<V> {
            lock(&self.0).get(&key).cloned()
        }
    }
}
