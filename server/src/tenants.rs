//! Whose tasks they are, where tokens are bound to tenants: for counts, and for tasks that are gone.
//!
//! The store can tell a task's tenant as long as the task is there, by its label. What it cannot tell is
//! how many tasks a tenant has, and whose a task was that is gone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inflight::{Details, State, TaskId};

use crate::view::ByState;

/// Of how many tasks that are gone it is remembered whose they were.
const GONE: usize = 1 << 16;

#[derive(Debug)]
pub(crate) struct Tenants {
    label: String,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    tasks: HashMap<TaskId, (Arc<str>, State)>,
    counts: HashMap<Arc<str>, [u64; State::ALL.len()]>,
    gone: HashMap<TaskId, Arc<str>>,
    gone_order: VecDeque<TaskId>,
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
            self.book().put(status.id(), tenant, status.state());
        }
    }

    pub(crate) fn forget(&self, id: TaskId) {
        self.book().forget(id);
    }

    /// All that was known of tasks that are there is to be told anew.
    pub(crate) fn clear(&self) {
        let mut book = self.book();
        book.tasks.clear();
        book.counts.clear();
    }

    pub(crate) fn of(&self, id: TaskId) -> Option<Arc<str>> {
        let book = self.book();
        book.tasks.get(&id).map(|(tenant, _)| tenant).or_else(|| book.gone.get(&id)).cloned()
    }

    /// Whether a task that is gone was this tenant's, as far as that is remembered.
    pub(crate) fn was_of(&self, id: TaskId, tenant: &str) -> bool {
        self.of(id).is_some_and(|of| &*of == tenant)
    }

    pub(crate) fn counts(&self, tenant: &str) -> ByState {
        let counts = self.book().counts.get(tenant).copied().unwrap_or_default();
        ByState::new(|state| counts.get(state as usize).copied().unwrap_or(0))
    }
}

impl Book {
    fn put(&mut self, id: TaskId, tenant: &str, state: State) {
        let tenant = match self.counts.get_key_value(tenant) {
            Some((tenant, _)) => Arc::clone(tenant),
            None => Arc::from(tenant),
        };
        let before = self.tasks.insert(id, (Arc::clone(&tenant), state));
        if let Some((tenant, state)) = before {
            self.count(&tenant, state, -1);
        }
        self.count(&tenant, state, 1);
    }

    fn forget(&mut self, id: TaskId) {
        let Some((tenant, state)) = self.tasks.remove(&id) else { return };
        self.count(&tenant, state, -1);
        if self.gone.insert(id, tenant).is_none() {
            self.gone_order.push_back(id);
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
