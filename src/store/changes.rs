//! The change feed, as its readers see it.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Engine;
use crate::index::feed::Taken;
use crate::model::id::TaskId;
use crate::model::limits::MAX_READERS;
use crate::model::reason::GoneReason;
use crate::record::status::Status;
use crate::store::Store;
use crate::store::wait::block_on;

/// A reader of the change feed: what [`Store::changes`] gives.
///
/// Each drain gives every task that has changed since this reader's last drain (or since it
/// subscribed), once, with its newest status; however often it changed. That a task has ended, and that
/// it is gone, is never lost.
///
/// A reader keeps no list of its own, and costs the workers one note per transition, none per increment.
/// If it falls so far behind that changes had to be dropped
/// ([`StoreBuilder::feed_limit`](crate::StoreBuilder::feed_limit)), its next drain is one
/// [`Drained::Resync`]; after that, [`Store::list`] and the feed together miss nothing.
///
/// # Consistency
///
/// Transitions, messages and removals can be drained at once; progress at the first tick after it. A
/// reader that subscribes and then lists has seen everything that the feed does not go on to tell.
/// Changes of different tasks come in no particular order.
///
/// The status that a drain gives is read when it is drained, so it may be ahead of the change that it was
/// noted for; what came between the two is then told once more, with the same version. Whoever keeps a copy
/// of the store lets the greater version win. That also holds for a client's id that was used again within
/// one drain, which comes with both of its tasks.
///
/// ```
/// use inflight::{ChangeKind, Drained, NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut changes = store.changes()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// task.start()?;
/// task.succeed(())?;
///
/// let Drained::Changes(drained) = changes.try_drain() else { panic!("it did not fall behind") };
/// assert_eq!(drained.len(), 1, "three changes of one task");
/// assert_eq!((drained[0].kind, drained[0].is_new), (ChangeKind::Ended, true));
/// # Ok(())
/// # }
/// ```
pub struct Changes {
    store: Store,
    reader: usize,
    /// New tasks that were gone when they were drained, but of which the removal was not noted yet: that
    /// they are new is still to be told. By slot, so there are never more than lines.
    untold: HashMap<u32, TaskId>,
}

/// One task that has changed.
///
/// ```
/// # use inflight::{Change, ChangeKind, Drained, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut changes = store.changes()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// let Drained::Changes(drained) = changes.try_drain() else { panic!("it did not fall behind") };
/// let Change { status, kind, is_new } = drained[0];
/// assert_eq!((status.id(), kind, is_new), (task.id(), ChangeKind::New, true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The task's newest status; of a task that is gone, its last.
    pub status: Status,
    /// What became of it.
    pub kind: ChangeKind,
    /// Whether this is the first that the reader is told of it, since it was created after it subscribed.
    pub is_new: bool,
}

/// What became of a task since the last drain.
///
/// ```
/// # use inflight::{ChangeKind, Drained, GoneReason, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut changes = store.changes()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// task.cancel()?;
/// store.remove(task.id())?;
/// let Drained::Changes(drained) = changes.try_drain() else { panic!("it did not fall behind") };
/// assert_eq!(drained[0].kind, ChangeKind::Gone(GoneReason::Removed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It was created, and lives.
    New,
    /// It lives, and has changed.
    Changed,
    /// It has ended.
    Ended,
    /// It is gone. That it ended before that may be told by this alone: see its last status.
    Gone(GoneReason),
}

/// What a drain gives.
///
/// ```
/// # use inflight::{Drained, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut changes = store.changes()?;
/// match changes.try_drain() {
///     Drained::Changes(changes) => assert!(changes.is_empty(), "nothing has changed yet"),
///     Drained::Resync => unreachable!("it did not fall behind; it would list the tasks anew"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub enum Drained {
    /// The tasks that have changed, each once. From [`Changes::try_drain`] they may be none.
    Changes(Vec<Change>),
    /// The reader had fallen behind. It has to list the tasks anew; the next drain begins here.
    Resync,
}

/// There are as many readers of the feed as there may be.
///
/// ```
/// # use inflight::{Store, TooManyReaders};
/// # let store = Store::builder().capacity(16).build()?;
/// let readers = (0..1024).map(|_| store.changes()).collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(store.changes().err(), Some(TooManyReaders { limit: 1024 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooManyReaders {
    /// How many there may be.
    pub limit: usize,
}

impl fmt::Display for TooManyReaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the change feed has {} readers, which is the limit", self.limit)
    }
}

impl std::error::Error for TooManyReaders {}

impl Store {
    /// Subscribes to the coalesced feed of all changes. See the guide on [the feed](crate::guide::feed).
    ///
    /// The reader is told of all that changes from now on. The first one after a time without costs the
    /// keeper a look at every line at the next tick.
    ///
    /// # Errors
    ///
    /// [`TooManyReaders`] if there are 1024 already.
    ///
    /// ```
    /// # use inflight::{Drained, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// let mut changes = store.changes()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert!(matches!(changes.try_drain(), Drained::Changes(changes) if changes.len() == 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn changes(&self) -> Result<Changes, TooManyReaders> {
        let reader = self.engine.subscribe().ok_or(TooManyReaders { limit: MAX_READERS })?;
        Ok(Changes { store: self.clone(), reader, untold: HashMap::new() })
    }
}

impl Changes {
    /// What has changed, now.
    ///
    /// ```
    /// # use inflight::{Drained, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut changes = store.changes()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// let Drained::Changes(drained) = changes.try_drain() else { panic!("it did not fall behind") };
    /// assert_eq!(drained.len(), 1);
    /// let Drained::Changes(drained) = changes.try_drain() else { panic!("it did not fall behind") };
    /// assert!(drained.is_empty(), "nothing since then");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_drain(&mut self) -> Drained {
        let engine = &self.store.engine;
        let mut untold = std::mem::take(&mut self.untold);
        let Ok(taken) = engine.feed.take(self.reader) else { return Drained::Resync };
        let mut changes = Vec::with_capacity(taken.len());
        for mut taken in taken {
            let key = taken.subject.key;
            if untold.get(&key.slot()) == Some(&key) {
                untold.remove(&key.slot());
                taken.is_new = true;
            }
            match engine.read_change(&taken) {
                Some(change) => changes.push(change),
                None if taken.is_new => drop(self.untold.insert(key.slot(), key)),
                None => {}
            }
        }
        for (slot, key) in untold {
            self.untold.entry(slot).or_insert(key);
        }
        Drained::Changes(changes)
    }

    /// Waits until there is something to drain, and drains it. May be dropped at any time, without loss.
    ///
    /// ```
    /// # use inflight::{Drained, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut changes = store.changes()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// let Drained::Changes(drained) = smol::block_on(changes.drain()) else { panic!("not behind") };
    /// assert_eq!(drained.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain(&mut self) -> Drain<'_> {
        Drain { changes: self }
    }

    /// Blocks the calling thread until there is something to drain, and drains it.
    ///
    /// The wait has no end while nothing changes; to end it from another thread, change something, for
    /// example create a task.
    ///
    /// ```
    /// # use inflight::{Drained, NewTask, Store};
    /// # let store = Store::builder().capacity(16).build()?;
    /// # let mut changes = store.changes()?;
    /// let task = store.create(NewTask::new("index"))?;
    /// assert!(matches!(changes.drain_blocking(), Drained::Changes(drained) if drained.len() == 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn drain_blocking(&mut self) -> Drained {
        block_on(self.drain())
    }
}

impl Engine {
    /// What has become of a task that was taken out of the feed. `None` if it is gone by now: that has
    /// been noted as well, or is about to be, and comes with a later drain.
    fn read_change(&self, taken: &Taken) -> Option<Change> {
        let is_new = taken.is_new;
        if let Some((reason, status)) = taken.gone {
            return Some(Change { status, kind: ChangeKind::Gone(reason), is_new });
        }
        let status = self.poll_line(taken.subject)?;
        let kind = match (status.is_terminal(), is_new) {
            (true, _) => ChangeKind::Ended,
            (false, true) => ChangeKind::New,
            (false, false) => ChangeKind::Changed,
        };
        Some(Change { status, kind, is_new })
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.store.engine.feed.unsubscribe(self.reader);
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("reader", &self.reader).finish_non_exhaustive()
    }
}

/// Waits for changes: what [`Changes::drain`] gives.
///
/// ```
/// # use inflight::{Drained, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut changes = store.changes()?;
/// let task = store.create(NewTask::new("index"))?;
/// let drain = changes.drain();
/// assert!(matches!(smol::block_on(drain), Drained::Changes(drained) if drained.len() == 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Drain<'a> {
    changes: &'a mut Changes,
}

impl Future for Drain<'_> {
    type Output = Drained;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Drained> {
        let changes = &mut *self.changes;
        let (feed, reader) = (&changes.store.engine.feed, changes.reader);
        // First the waker, then the look: see `feed.rs`.
        feed.sleep(reader, context.waker());
        if !feed.has_news(reader) {
            return Poll::Pending;
        }
        drop(feed.rest(reader));
        match changes.try_drain() {
            // All that had changed is gone by now, and that is noted and wakes anew; or somebody woke.
            Drained::Changes(drained) if drained.is_empty() => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            drained => Poll::Ready(drained),
        }
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        let Changes { store, reader, .. } = &self.changes;
        drop(store.engine.feed.rest(*reader));
    }
}
