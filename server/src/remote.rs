//! The handles of tasks whose workers are elsewhere: the service holds them in the workers' stead.
//!
//! A handle is let go of as soon as its task has ended, however that came about: the request that ends
//! the task does it, and for all other ends the hub, which hears of each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use inflight::{CreateError, NewTask, Store, Task, TaskId, Version};

use crate::app::App;
use crate::auth::Caller;
use crate::idempotency::Fingerprint;
use crate::problem::Problem;
use crate::quota::{Charge, Limit};

/// Room for so many handles is not worth giving back.
const SLACK: usize = 1 << 14;

#[derive(Debug, Default)]
pub(crate) struct Remotes {
    by_id: DashMap<TaskId, Arc<Remote>>,
    /// What tasks are charged for that are there, ended or not.
    charges: DashMap<TaskId, Charged>,
    /// How many there have been, as far as `shrink` has seen since it last gave room back.
    most: AtomicUsize,
}

/// What a task is charged for.
#[derive(Debug, Default)]
struct Charged {
    /// The task's first version.
    since: Option<Version>,
    charges: Vec<Charge>,
}

/// A task that was created over HTTP.
#[derive(Debug)]
pub(crate) struct Remote {
    /// Also orders the writes of all requests to the task, so that `If-Match` can be checked first.
    task: Mutex<Option<Task>>,
    /// What it was created with, if the client brought the id.
    fingerprint: Option<Fingerprint>,
    /// Its first version: an id can be used again.
    born: Version,
}

/// What became of a create.
pub(crate) enum Created {
    New(Arc<Remote>, TaskId),
    /// The same create was made before.
    Before,
}

impl Remotes {
    /// Creates a task, or finds the one that the same request has created.
    pub(crate) fn create(
        &self,
        store: &Store,
        new: NewTask,
        own_id: Option<(TaskId, Fingerprint)>,
    ) -> Result<Created, CreateError> {
        let Some((id, fingerprint)) = own_id else {
            let task = store.create(new)?;
            let id = task.id();
            let remote = Arc::new(Remote::new(task, None));
            self.by_id.insert(id, Arc::clone(&remote));
            return Ok(Created::New(remote, id));
        };
        // The entry is held meanwhile, so that of two equal creates at a time the second finds the first's.
        let entry = self.by_id.entry(id);
        match store.create(new.id(id)) {
            Ok(task) => {
                let remote = Arc::new(Remote::new(task, Some(fingerprint)));
                // What was there is of an earlier task with this id.
                let before = entry.insert(Arc::clone(&remote));
                drop(before);
                Ok(Created::New(remote, id))
            }
            Err(CreateError::DuplicateId(id)) => match entry {
                Entry::Occupied(entry) if entry.get().fingerprint == Some(fingerprint) => Ok(Created::Before),
                _ => Err(CreateError::DuplicateId(id)),
            },
            Err(error) => Err(error),
        }
    }

    pub(crate) fn find(&self, id: TaskId) -> Option<Arc<Remote>> {
        self.by_id.get(&id).map(|remote| Arc::clone(&remote))
    }

    /// The task has ended: its handle is of no use any more.
    pub(crate) fn ended(&self, id: TaskId, version: Version) {
        let Some(remote) = self.find(id).filter(|remote| remote.born <= version) else { return };
        drop(remote.lock().take());
        if remote.fingerprint.is_none() {
            self.let_go(id, version);
        }
    }

    /// Keeps what the task that began with this version is charged for, until it is gone. What an earlier one
    /// with its id was charged for is given back.
    pub(crate) fn charge(&self, store: &Store, id: TaskId, born: Version, charge: Charge) {
        let mut charged = self.charges.entry(id).or_default();
        if charged.since != Some(born) {
            *charged = Charged { since: Some(born), charges: Vec::new() };
        }
        charged.charges.push(charge);
        drop(charged);
        // If it has gone meanwhile, that was told before there was anything to give back.
        if store.get(id).is_none() {
            let given_back = self.charges.remove_if(&id, |_, charged| charged.since == Some(born));
            drop(given_back);
        }
    }

    /// The first version of the task whose handle is here.
    pub(crate) fn born(&self, id: TaskId) -> Option<Version> {
        self.by_id.get(&id).map(|remote| remote.born)
    }

    /// The task is gone. A later one with the same id, which has greater versions, is left alone.
    pub(crate) fn gone(&self, id: TaskId, version: Version) {
        self.let_go(id, version);
        if !self.charges.is_empty() {
            let is_of_it = |_: &TaskId, charged: &Charged| charged.since.is_none_or(|since| since <= version);
            let given_back = self.charges.remove_if(&id, is_of_it);
            drop(given_back);
        }
    }

    fn let_go(&self, id: TaskId, version: Version) {
        let removed = self.by_id.remove_if(&id, |_, remote| remote.born <= version);
        drop(removed);
    }

    /// Lets go of whatever has ended; for when that was not told one by one.
    pub(crate) fn sweep(&self, store: &Store) {
        self.charges.retain(|id, _| store.get(*id).is_some());
        let ids: Vec<TaskId> = self.by_id.iter().map(|entry| *entry.key()).collect();
        for id in ids {
            match (store.get(id), self.find(id)) {
                (Some(status), _) if status.is_terminal() => self.ended(id, status.version()),
                (None, Some(remote)) => self.gone(id, remote.born),
                _ => {}
            }
        }
    }

    /// Gives back the room of many handles that are no longer there. (A map's own word for its room leaves
    /// out the places of what was removed, so it is counted here how many there were.)
    pub(crate) fn shrink(&self) {
        let len = self.by_id.len();
        // Relaxed, both: a figure that only the one who calls this looks at.
        let most = self.most.fetch_max(len, Ordering::Relaxed).max(len);
        if most > 4 * len + SLACK {
            self.by_id.shrink_to_fit();
            self.most.store(len, Ordering::Relaxed);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }
}

impl Remote {
    fn new(task: Task, fingerprint: Option<Fingerprint>) -> Self {
        // Just created; if it is cancelled and gone already, nothing of it is older than this.
        let born = task.status().map(|status| status.version());
        let born = born.unwrap_or_else(Self::least);
        Self { task: Mutex::new(Some(task)), fingerprint, born }
    }

    fn least() -> Version {
        "0-0-0".parse().unwrap_or_else(|_| unreachable!("it is a version"))
    }

    pub(crate) fn born(&self) -> Version {
        self.born
    }

    /// The handle, for as long as the lock is held; `None` if the task has ended.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    /// Makes a write that leaves so many bytes with a task, if the caller may leave them.
    pub(crate) fn with_payload(
        &self,
        caller: &Caller,
        task: &mut Task,
        bytes: usize,
        write: impl FnOnce(&mut Task) -> Result<(), Problem>,
    ) -> Result<(), Problem> {
        let (id, has_ended) = (task.id(), task.status().is_none_or(|status| status.is_terminal()));
        if bytes == 0 || has_ended || !self.quotas.limits(caller, Limit::PayloadBytes) {
            return write(task);
        }
        let charge = self.quotas.take(caller, Limit::PayloadBytes, bytes as u64)?;
        let born = self.remotes.born(id);
        write(task)?;
        if let Some(born) = born {
            self.remotes.charge(&self.store, id, born, charge);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Quota, Quotas};
    use inflight::KeeperMode;

    #[test]
    fn an_id_that_is_used_again_is_charged_once_for_each_task() {
        let store = Store::builder().capacity(4).keeper(KeeperMode::Manual).build().unwrap();
        let total = Quota { tasks: Some(2), ..Quota::default() };
        let (remotes, quotas) = (Remotes::default(), Quotas::new(Quota::default(), total));
        let take = || quotas.take(&Caller::ANYONE, Limit::Tasks, 1);
        let id = TaskId::from_u128(7);
        let mut last = Vec::new();
        for charge in [take(), take()] {
            let mut task = store.create(NewTask::new("a").id(id)).unwrap();
            remotes.charge(&store, id, task.status().unwrap().version(), charge.unwrap());
            let _ = task.cancel().unwrap();
            last.push(task.status().unwrap().version());
            if last.len() == 1 {
                let _ = store.remove(id).unwrap();
            }
        }
        // The first was given back when the second took its place, and is not given back again.
        assert!(take().is_ok_and(|_free| take().is_err()));
        remotes.gone(id, last[0]);
        assert!(take().is_ok_and(|_free| take().is_err()));
        let _ = store.remove(id).unwrap();
        remotes.gone(id, last[1]);
        assert!(take().is_ok_and(|_free| take().is_ok()));
        // One that had gone before it was charged is not charged for ever.
        remotes.charge(&store, id, last[1], take().unwrap());
        assert!(take().is_ok_and(|_free| take().is_ok()));
    }

    #[test]
    fn the_room_of_handles_that_are_gone_is_given_back() {
        let store = Store::builder().capacity(1 << 17).build().unwrap();
        let remotes = Remotes::default();
        let mut ids = Vec::new();
        for _ in 0..100_000 {
            let Ok(Created::New(remote, id)) = remotes.create(&store, NewTask::new("index"), None) else {
                panic!("it is new")
            };
            ids.push((id, remote.born));
        }
        remotes.shrink();
        assert!(remotes.by_id.capacity() > 100_000, "not while they are there");
        for (id, born) in ids {
            remotes.gone(id, born);
        }
        remotes.shrink();
        assert_eq!(remotes.by_id.capacity(), 0);
    }
}
