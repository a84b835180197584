//! The public interface: the store and its builder, lists, waiting, and readers of the feed.
//!
//! This is the top folder of the crate: no folder below uses it.

pub(crate) mod builder;
pub(crate) mod changes;
pub(crate) mod list;
#[cfg(all(test, not(inflight_loom)))]
mod tests;
pub(crate) mod wait;

use std::fmt;
use std::sync::Arc as StdArc;

use crate::engine::Engine;
use crate::engine::keeper::{KeeperHealth, KeeperMode};
use crate::index::counts::Counts;
use crate::model::id::TaskId;
use crate::model::reason::{Absent, GoneReason};
use crate::record::details::Details;
use crate::record::error::{BuildError, CancelError, CreateError, ListError, RemoveError};
use crate::record::family::Children;
use crate::record::new_task::NewTask;
use crate::record::status::Status;
use crate::record::wait_list::WakeList;
use crate::store::builder::StoreBuilder;
use crate::store::list::{Filter, Page};
use crate::task::Task;
use crate::task::handle::Handle;

/// The status store. Cheap to clone; all clones are the same store. The [guide](crate::guide) describes it.
///
/// ```
/// use inflight::{NewTask, State, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(1 << 16).build()?;
///
/// // A worker:
/// let mut task = store.create(NewTask::new("index").total(42).unit("pages"))?;
/// let id = task.id();
/// task.start()?;
/// task.advance(1)?;
///
/// // A poller that has the id:
/// let status = store.get(id).ok_or("gone")?;
/// assert_eq!((status.state(), status.done()), (State::Running, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) engine: StdArc<Engine>,
    #[cfg(not(inflight_loom))]
    keeper: Option<StdArc<crate::engine::keeper::Keeper>>,
}

impl Store {
    /// A builder with the defaults: a capacity of 2²⁰ tasks, default retention and limits, a keeper's thread.
    ///
    /// ```
    /// # use inflight::Store;
    /// let store = Store::builder().capacity(1_000).build()?;
    /// assert_eq!(store.capacity(), 1_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> StoreBuilder {
        StoreBuilder::new()
    }

    #[cfg(not(inflight_loom))]
    pub(crate) fn start(engine: StdArc<Engine>, mode: KeeperMode) -> Result<Self, BuildError> {
        let keeper = match mode {
            KeeperMode::Manual => None,
            KeeperMode::Thread { tick } => {
                let keeper = crate::engine::keeper::Keeper::start(StdArc::clone(&engine), tick);
                Some(StdArc::new(keeper.map_err(|error| BuildError::NoThread(error.to_string()))?))
            }
        };
        Ok(Self { engine, keeper })
    }

    /// A model has no keeper's thread: it calls `tick` itself.
    #[cfg(inflight_loom)]
    pub(crate) fn start(engine: StdArc<Engine>, _: KeeperMode) -> Result<Self, BuildError> {
        Ok(Self { engine })
    }

    /// Creates a task in state `Pending` and returns the handle that works on it.
    ///
    /// # Errors
    ///
    /// [`CreateError`] names what was refused and the limit. Then the store has not changed.
    ///
    /// # Consistency
    ///
    /// The id can be polled before this returns.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").total(42))?;
    /// assert_eq!(store.get(task.id()).and_then(|status| status.total()), Some(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(&self, new: NewTask) -> Result<Task, CreateError> {
        let record = self.engine.create(new)?;
        Ok(Task::new(Handle::new(StdArc::clone(&self.engine), record)))
    }

    /// The status of a task, if it is in the store: the poll.
    ///
    /// # Consistency
    ///
    /// All of it is from one instant. If one poll happens before another, the later one never shows an older
    /// version. A poll of a minted id takes no lock, writes nothing and hashes nothing. A poll of a client's
    /// own id hashes the id. In rare cases it takes the read lock of one shard of the registry: at the moment
    /// of a transition, while the id is claimed or released, or if the id is one of the few that the index of
    /// clients' ids cannot hold. See the guide on [consistency](crate::guide::consistency).
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store, TaskId};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.get(task.id()).map(|status| status.state()), Some(State::Pending));
    /// assert_eq!(store.get(TaskId::from_u128(7)), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, id: impl Into<TaskId>) -> Option<Status> {
        self.engine.poll(id.into())
    }

    /// The status of a task, or why there is none. See the guide on [ids](crate::guide::ids).
    ///
    /// # Errors
    ///
    /// [`Absent::Unknown`] for an id that the store never minted, [`Absent::Gone`] for one that it did.
    ///
    /// ```
    /// # use inflight::{Absent, Store, TaskId};
    /// # let store = Store::builder().capacity(16).build()?;
    /// assert_eq!(store.lookup(TaskId::from_u128(7)), Err(Absent::Unknown));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lookup(&self, id: impl Into<TaskId>) -> Result<Status, Absent> {
        let id = id.into();
        self.engine.poll(id).ok_or_else(|| self.engine.absent(id))
    }

    /// A page of polls: the status of each of these tasks, in their order, `None` where there is none.
    ///
    /// # Consistency
    ///
    /// As [`Store::get`], for each status on its own. The statuses are not from one common instant.
    ///
    /// ```
    /// use inflight::{NewTask, Store, TaskId};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// let statuses = store.get_many(&[task.id(), TaskId::from_u128(7)]);
    /// assert!(statuses[0].is_some() && statuses[1].is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn get_many(&self, ids: &[TaskId]) -> Vec<Option<Status>> {
        self.engine.poll_many(ids)
    }

    /// The status of a task together with its kind, labels, message, and result or error.
    ///
    /// # Errors
    ///
    /// As [`Store::lookup`].
    ///
    /// # Consistency
    ///
    /// Status and record are from one instant. The call takes the task's own lock for a moment.
    ///
    /// ```
    /// # use inflight::{NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index").label("tenant", "acme"))?;
    /// assert_eq!(store.details(task.id())?.label("tenant"), Some("acme"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn details(&self, id: impl Into<TaskId>) -> Result<Details, Absent> {
        let id = id.into();
        let record = self.engine.find(id);
        record.and_then(|record| self.engine.details(&record)).ok_or_else(|| self.engine.absent(id))
    }

    /// The sums over the task's children, in O(1).
    ///
    /// # Errors
    ///
    /// As [`Store::lookup`]. A task without children has an empty sum.
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let parent = store.create(NewTask::new("batch"))?;
    /// let child = store.create(NewTask::new("page").parent(parent.id()))?;
    /// assert_eq!(store.children(parent.id())?.in_state(State::Pending), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn children(&self, id: impl Into<TaskId>) -> Result<Children, Absent> {
        let id = id.into();
        let record = self.engine.find(id).filter(|record| self.engine.status(record).is_some());
        record.map(|record| self.engine.children(&record)).ok_or_else(|| self.engine.absent(id))
    }

    /// Requests cancellation of a task; returns its status after that.
    ///
    /// A pending task is cancelled at once. The worker of any other task sees the request in
    /// [`Task::cancel_requested`], and the state changes when the worker agrees.
    /// See the guide on [cancellation](crate::guide::cancellation).
    ///
    /// # Errors
    ///
    /// [`CancelError::Ended`] with the status if the task has ended, [`CancelError::Absent`] if there is
    /// none.
    ///
    /// ```
    /// use inflight::{NewTask, State, Store};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = Store::builder().capacity(16).build()?;
    /// let mut task = store.create(NewTask::new("index"))?;
    /// task.start()?;
    /// let status = store.cancel(task.id())?;
    /// assert_eq!(status.state(), State::Running);
    /// if task.cancel_requested() {
    ///     task.cancel()?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&self, id: impl Into<TaskId>) -> Result<Status, CancelError> {
        let id = id.into();
        let absent = || CancelError::Absent(self.engine.absent(id));
        let record = self.engine.find(id).ok_or_else(absent)?;
        self.engine.request_cancel(&record).map_err(|error| match error {
            CancelError::Absent(_) => absent(),
            error @ CancelError::Ended(_) => error,
        })
    }

    /// Removes a terminal task before its retention is over; returns its last status.
    ///
    /// # Errors
    ///
    /// [`RemoveError::Live`] with the status if the task has not ended, [`RemoveError::Absent`] if there
    /// is none. If several callers remove the same task, one succeeds.
    ///
    /// ```
    /// # use inflight::{NewTask, RemoveError, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let mut task = store.create(NewTask::new("index"))?;
    /// assert!(matches!(store.remove(task.id()), Err(RemoveError::Live(_))));
    /// task.cancel()?;
    /// let last = store.remove(task.id())?;
    /// assert_eq!((last.state(), store.get(task.id())), (State::Cancelled, None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(&self, id: impl Into<TaskId>) -> Result<Status, RemoveError> {
        let id = id.into();
        let absent = || RemoveError::Absent(self.engine.absent(id));
        let record = self.engine.find(id).ok_or_else(absent)?;
        let mut wakes = WakeList::default();
        let removed = self.engine.remove(&record, GoneReason::Removed, &mut wakes);
        wakes.wake();
        removed.map_err(|error| match error {
            RemoveError::Absent(_) => absent(),
            error @ RemoveError::Live(_) => error,
        })
    }

    /// A page of the tasks that match, in the order of their creation.
    ///
    /// # Errors
    ///
    /// [`ListError::StaleCursor`] for another store's cursor, [`ListError::EmptyPage`] for a page of 0.
    ///
    /// # Consistency
    ///
    /// A task that is in the store from before the first page until after the last, and matches all the
    /// time, is on exactly one page. The time for a page grows with the number of tasks that it examines. It
    /// examines 65,536 at most, so it may end early, with a cursor.
    ///
    /// ```
    /// # use inflight::{Filter, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// let page = store.list(&Filter::new().kind("index"))?;
    /// assert_eq!(page.tasks[0].status().id(), task.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn list(&self, filter: &Filter) -> Result<Page, ListError> {
        self.engine.list(filter)
    }

    /// How many tasks are in each state, in O(1).
    ///
    /// ```
    /// # use inflight::{NewTask, State, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert_eq!(store.counts().of(State::Pending), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.engine.tally.read()
    }

    /// How many tasks the store can hold.
    ///
    /// ```
    /// # use inflight::Store;
    /// assert_eq!(Store::builder().capacity(7).build()?.capacity(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.engine.table.lines() as usize
    }

    /// Does what the keeper does at each tick: updates the cached time, samples progress for its observers,
    /// expires leases, and removes tasks whose retention is over.
    ///
    /// Only needed with [`KeeperMode::Manual`]; harmless otherwise. The cached time moves by a millisecond at
    /// least: a tick that comes sooner after another leaves it as it is.
    ///
    /// # Panics
    ///
    /// If there is an error in this crate. The store is whole all the same, and
    /// [`Store::keeper_health`] tells of it.
    ///
    /// ```
    /// # use inflight::{KeeperMode, NewTask, Store};
    /// let store = Store::builder().capacity(16).keeper(KeeperMode::Manual).build()?;
    /// let parent = store.create(NewTask::new("batch"))?;
    /// let mut child = store.create(NewTask::new("page").parent(parent.id()))?;
    /// child.start()?;
    /// child.advance(3)?;
    /// store.tick();
    /// assert_eq!(store.children(parent.id())?.done(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tick(&self) {
        self.engine.tick();
    }

    /// Who ticks, and whether a tick has panicked: then leases, samples and retention may be late.
    ///
    /// ```
    /// # use inflight::Store;
    /// # let store = Store::builder().capacity(16).build()?;
    /// assert!(!store.keeper_health().is_failing);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn keeper_health(&self) -> KeeperHealth {
        #[cfg(not(inflight_loom))]
        let mode = self.keeper.as_ref().map_or(KeeperMode::Manual, |keeper| keeper.mode());
        #[cfg(inflight_loom)]
        let mode = KeeperMode::Manual;
        self.engine.upkeep.health.read(mode)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("capacity", &self.capacity()).field("counts", &self.counts()).finish()
    }
}
