//! The handles of tasks whose workers are elsewhere: the service holds them in the workers' stead.
//!
//! A handle is let go of as soon as its task has ended, however that came about: the request that ends
//! the task does it, and for all other ends the hub, which hears of each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use inflight::{CreateError, NewTask, Store, Task, TaskId, Version};

use crate::idempotency::Fingerprint;

/// Room for so many handles is not worth giving back.
const SLACK: usize = 1 << 14;

#[derive(Debug, Default)]
pub(crate) struct Remotes {
    by_id: DashMap<TaskId, Arc<Remote>>,
    /// How many there have been, as far as `shrink` has seen since it last gave room back.
    most: AtomicUsize,
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
            self.gone(id, version);
        }
    }

    /// The task is gone. A later one with the same id, which has greater versions, is left alone.
    pub(crate) fn gone(&self, id: TaskId, version: Version) {
        let removed = self.by_id.remove_if(&id, |_, remote| remote.born <= version);
        drop(removed);
    }

    /// Lets go of whatever has ended; for when that was not told one by one.
    pub(crate) fn sweep(&self, store: &Store) {
        let ids: Vec<TaskId> = self.by_id.iter().map(|entry| *entry.key()).collect();
        for id in ids {
            match (store.get(id), self.find(id)) {
                (Some(status), _) if status.is_terminal() => self.ended(id, status.version()),
                (None, Some(remote)) => self.gone(id, remote.born),
                _ => {}
            }
        }
    }

    /// Gives back the room of many handles that are no longer there. (A map's own word for its room leaves out the
    /// places of what was removed, so it is counted here how many there were.)
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

    /// The handle, for as long as the lock is held; `None` if the task has ended.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Task>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
