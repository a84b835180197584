//! Whose tasks they are, where tokens are bound to tenants: for counts, and for tasks that are gone.
//!
//! The store can tell a task's tenant as long as the task is there, by its label. What it cannot tell is
//! how many tasks a tenant has, and whose a task was that is gone.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use inflight::{Details, State, TaskId, Version};

use crate::view::ByState;

/// Of how many tasks that are gone it is remembered whose they were.
const GONE: usize = 1 << 16;

/// Room for so many tasks is not worth giving back.
const SLACK: usize = 1 << 14;

#[derive(Debug)]
pub(crate) struct Tenants {
    label: String,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    tasks: HashMap<TaskId, Owned>,
    /// How many there have been, as far as `shrink` has seen since it last gave room back.
    most: usize,
    counts: HashMap<Arc<str>, [u64; State::ALL.len()]>,
    /// By the first version that was known of each, since an id can be used again.
    gone: BTreeMap<(TaskId, Version), Arc<str>>,
    gone_order: VecDeque<(TaskId, Version)>,
}

/// A task that is there.
#[derive(Debug)]
struct Owned {
    tenant: Arc<str>,
    state: State,
    /// The first and the last version that is known of it.
    first: Version,
    last: Version,
}

impl Tenants {
    pub(crate) fn new(label: String) -> Self {
        Self { label, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that is known of a task.
    pub(crate) fn note(&self, details: &Details) {
        if let Some(tenant) = details.label(&self.label) {
            let status = details.status();
            self.book().put(status.id(), status.version(), tenant, status.state());
        }
    }

    /// The task with this last version is gone; gives whose it was. A later one with its id is kept.
    pub(crate) fn forget(&self, id: TaskId, version: Version) -> Option<Arc<str>> {
        self.book().forget(id, version)
    }

    /// Gives back the room of many tasks that are no longer there.
    pub(crate) fn shrink(&self) {
        let mut book = self.book();
        let len = book.tasks.len();
        book.most = book.most.max(len);
        if book.most > 4 * len + SLACK {
            book.tasks.shrink_to_fit();
            book.most = len;
        }
    }

    /// All that was known of tasks that are there is to be told anew.
    pub(crate) fn clear(&self) {
        let mut book = self.book();
        book.tasks.clear();
        book.counts.clear();
    }

    /// Whether a task that is gone was this tenant's, as far as that is remembered.
    pub(crate) fn was_of(&self, id: TaskId, tenant: &str) -> bool {
        let book = self.book();
        let of = book.tasks.get(&id).map(|owned| &owned.tenant);
        of.or_else(|| book.last_gone(id)).is_some_and(|of| **of == *tenant)
    }

    pub(crate) fn counts(&self, tenant: &str) -> ByState {
        let counts = self.book().counts.get(tenant).copied().unwrap_or_default();
        ByState::new(|state| counts.get(state as usize).copied().unwrap_or(0))
    }
}

impl Book {
    fn put(&mut self, id: TaskId, version: Version, tenant: &str, state: State) {
        let tenant = match self.counts.get_key_value(tenant) {
            Some((tenant, _)) => Arc::clone(tenant),
            None => Arc::from(tenant),
        };
        let mut first = version;
        if self.tasks.get(&id).is_some_and(|before| before.last > version) {
            return;
        }
        if let Some(before) = self.tasks.remove(&id) {
            self.count(&before.tenant, before.state, -1);
            if before.tenant == tenant {
                first = before.first;
            } else {
                // Another task. That the one before is gone is yet to be told, to its tenant.
                self.bury(id, before.first, before.tenant);
            }
        }
        self.count(&tenant, state, 1);
        self.tasks.insert(id, Owned { tenant, state, first, last: version });
    }

    fn forget(&mut self, id: TaskId, version: Version) -> Option<Arc<str>> {
        match self.tasks.get(&id) {
            Some(owned) if owned.last <= version => {
                let Owned { tenant, state, first, .. } = self.tasks.remove(&id)?;
                self.count(&tenant, state, -1);
                self.bury(id, first, Arc::clone(&tenant));
                Some(tenant)
            }
            // It was an earlier task of the same tenant's, or of the one before.
            Some(owned) if owned.first <= version => Some(Arc::clone(&owned.tenant)),
            _ => self.gone_before(id, version).cloned(),
        }
    }

    fn last_gone(&self, id: TaskId) -> Option<&Arc<str>> {
        static GREATEST: LazyLock<Option<Version>> = LazyLock::new(|| {
            let most = u64::MAX;
            format!("{most:x}-{most:x}-{most:x}").parse().ok()
        });
        self.gone_before(id, (*GREATEST)?)
    }

    /// The last task with this id that is gone and began with no later version.
    fn gone_before(&self, id: TaskId, version: Version) -> Option<&Arc<str>> {
        let (_, tenant) = self.gone.range(..=(id, version)).next_back().filter(|((of, _), _)| *of == id)?;
        Some(tenant)
    }

    fn bury(&mut self, id: TaskId, first: Version, tenant: Arc<str>) {
        if self.gone.insert((id, first), tenant).is_none() {
            self.gone_order.push_back((id, first));
        }
        if self.gone_order.len() > GONE
            && let Some(oldest) = self.gone_order.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    fn count(&mut self, tenant: &Arc<str>, state: State, by: i64) {
        let counts = self.counts.entry(Arc::clone(tenant)).or_default();
        if let Some(count) = counts.get_mut(state as usize) {
            *count = count.saturating_add_signed(by);
        }
        if counts.iter().all(|count| *count == 0) {
            self.counts.remove(tenant);
        }
    }
}
