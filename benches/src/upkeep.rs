//! The work of the store at a tick, and of the feed's readers: the costs of due tasks, of changed ones, and
//! of those that are merely stored or watched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inflight::{Change, Changes, Drained, KeeperMode, ManualClock, NewTask, Retention, Store, Task};

use crate::harness::per_op;
use crate::keys::{Random, permutation};
use crate::waiting::{Bell, Watcher};

/// A store that is ticked by hand, with live tasks in it.
#[derive(Debug)]
pub struct Stored {
    store: Store,
    clock: ManualClock,
    tasks: Vec<Task>,
    /// The order in which they change, and the next one's index.
    order: Vec<u32>,
    next: usize,
}

impl Stored {
    /// A store with so many live tasks, and capacity for others.
    ///
    /// # Panics
    ///
    /// When the system has no memory left.
    #[must_use]
    pub fn new(live: usize, room: usize) -> Self {
        let clock = ManualClock::new();
        let store = Store::builder()
            .capacity(live + room)
            .clock(clock.clone())
            .keeper(KeeperMode::Manual)
            .retain(Retention::forever().succeeded_for(Duration::from_secs(60)))
            .panic_messages(false)
            .build()
            .expect("a store of that capacity");
        let tasks = (0..live).map(|_| running(&store)).collect();
        let order = permutation(live, &mut Random::new(0x0DD5));
        Self { store, clock, tasks, order, next: 0 }
    }

    /// The time of a tick at which so many tasks are due to expire, and nothing else.
    ///
    /// # Errors
    ///
    /// Other tasks are gone, or some of the due ones are not.
    pub fn time_expiry(&mut self, due: usize) -> Result<Duration, String> {
        for _ in 0..due {
            let mut task = running(&self.store);
            assert!(task.succeed(()).is_ok(), "it runs");
        }
        // This puts them on the keeper's list, as the ticks between end and expiry do.
        self.store.tick();
        let before = self.store.counts().total();
        self.clock.advance(Duration::from_secs(61));
        let begin = Instant::now();
        self.store.tick();
        let elapsed = begin.elapsed();
        let gone = before - self.store.counts().total();
        if gone == due as u64 { Ok(elapsed) } else { Err(format!("{gone} tasks expired of {due}")) }
    }

    /// A reader of the feed that has read everything so far.
    ///
    /// # Panics
    ///
    /// If there are too many readers.
    #[must_use]
    pub fn reader(&self) -> Changes {
        let mut reader = self.store.changes().expect("a reader");
        // These ticks contain the reads of each line that a new reader causes, and the quiet tick after which
        // a task leaves the keeper's list.
        (0..3).for_each(|_| self.tick());
        let _ = reader.try_drain();
        reader
    }

    /// Advances the clock, and ticks.
    pub fn tick(&self) {
        self.clock.advance(Duration::from_millis(50));
        self.store.tick();
    }

    /// So many tasks make progress: other ones each time, and in random order, so that a change costs the
    /// same however many there are. In the order of creation, many neighbours would be cheaper than a few
    /// that are far apart, because the processor prefetches the next line.
    fn advance(&mut self, changed: usize) {
        for turn in self.next..self.next + changed {
            let at = self.order.get(turn % self.order.len().max(1)).map_or(0, |at| *at as usize);
            let Some(task) = self.tasks.get_mut(at) else { return };
            assert!(task.advance(1).is_ok(), "it runs");
        }
        self.next += changed;
    }

    /// The time of a drain for which so many tasks have changed.
    ///
    /// # Errors
    ///
    /// The drain does not contain each of them once, and nothing else.
    pub fn time_drain(&mut self, reader: &mut Changes, changed: usize) -> Result<Duration, String> {
        self.advance(changed);
        self.tick();
        let begin = Instant::now();
        let drained = reader.try_drain();
        let elapsed = begin.elapsed();
        let found = once(&drained)?;
        if found != changed {
            return Err(format!("{found} tasks drained of {changed}"));
        }
        // So that the changed tasks have left the keeper's list before the next drain.
        (0..3).for_each(|_| self.tick());
        Ok(elapsed)
    }

    /// Watches all tasks.
    #[must_use]
    pub fn watch(&self) -> (Vec<Watcher>, Arc<Bell>) {
        let bell = Arc::new(Bell::default());
        let watch = |task: &Task| Watcher::new(&self.store, task.id(), &bell);
        let watchers = self.tasks.iter().map(watch).collect();
        (0..3).for_each(|_| self.tick());
        (watchers, bell)
    }

    /// The time of a tick at which so many watched tasks have made progress: upkeep and wake-ups.
    ///
    /// # Errors
    ///
    /// Others were woken, or not all of them.
    pub fn time_tick(
        &mut self,
        watchers: &mut [Watcher],
        bell: &Bell,
        changed: usize,
    ) -> Result<Duration, String> {
        // Those that were woken read, and wait again.
        for watcher in &mut *watchers {
            watcher.read();
        }
        (0..3).for_each(|_| self.tick());
        let before = bell.rung();
        self.advance(changed);
        self.clock.advance(Duration::from_millis(50));
        let begin = Instant::now();
        self.store.tick();
        let elapsed = begin.elapsed();
        let woken = bell.rung() - before;
        if woken == changed { Ok(elapsed) } else { Err(format!("{woken} watchers woken of {changed}")) }
    }
}

fn running(store: &Store) -> Task {
    let mut task = store.create(NewTask::new("job")).expect("the store is not full");
    task.start().expect("it is pending");
    task
}

/// How many changes a drain has; no two of them may be of the same task.
fn once(drained: &Drained) -> Result<usize, String> {
    let Drained::Changes(changes) = drained else { return Err("the reader fell behind".to_owned()) };
    match most_of_one(changes) {
        0 | 1 => Ok(changes.len()),
        most => Err(format!("{most} records of one task in one drain")),
    }
}

/// The greatest number of changes of one task in a drain.
fn most_of_one(changes: &[Change]) -> usize {
    let mut ids: Vec<_> = changes.iter().map(|change| change.status.id()).collect();
    ids.sort_unstable();
    ids.chunk_by(PartialEq::eq).map(<[_]>::len).max().unwrap_or(0)
}

/// The result of many updates with a reader.
#[derive(Clone, Copy, Debug)]
pub struct Coalesced {
    /// Nanoseconds per update.
    pub ns_per_update: f64,
    /// How often the reader drained.
    pub drains: usize,
    /// How many changes it got.
    pub records: usize,
    /// The greatest number of changes of one task in one drain.
    pub most: usize,
}

/// Makes so many updates over so many tasks, in turn, with or without a reader of the feed that drains on
/// another thread; the keeper's thread ticks.
///
/// # Errors
///
/// A drain had a task twice, or did not contain the last status of a task.
pub fn coalesce(tasks: usize, updates: usize, is_read: bool) -> Result<Coalesced, String> {
    let store = crate::ours::store(tasks);
    let mut handles: Vec<Task> = (0..tasks).map(|_| running(&store)).collect();
    let over = AtomicBool::new(false);
    let mut reader = if is_read { Some(store.changes().map_err(|error| error.to_string())?) } else { None };
    std::thread::scope(|scope| {
        let draining = reader.as_mut().map(|reader| {
            let over = &over;
            scope.spawn(move || drain_until(reader, over))
        });
        let begin = Instant::now();
        for _ in 0..updates / tasks {
            for task in &mut handles {
                assert!(task.advance(1).is_ok(), "it runs");
            }
        }
        let ns_per_update = per_op(begin.elapsed(), updates / tasks * tasks);
        // The last progress is sampled at the second tick from now at the latest.
        store.tick();
        store.tick();
        over.store(true, Ordering::Release);
        // A change to end the reader's wait.
        handles.truncate(tasks - 1);
        let last = (updates / tasks) as u64;
        let Followed { drains, records, most, newest } = match draining {
            Some(draining) => draining.join().map_err(|_| "the reader panicked".to_owned())??,
            None => Followed { newest: last, ..Followed::default() },
        };
        if most > 1 {
            Err(format!("{most} records of one task in one drain"))
        } else if newest < last {
            Err(format!("the last drain has {newest} done of {last}"))
        } else {
            Ok(Coalesced { ns_per_update, drains, records, most })
        }
    })
}

/// The reader's result.
#[derive(Default)]
struct Followed {
    drains: usize,
    records: usize,
    most: usize,
    /// The greatest `done`.
    newest: u64,
}

/// Drains until `over` is set.
fn drain_until(reader: &mut Changes, over: &AtomicBool) -> Result<Followed, String> {
    let mut followed = Followed::default();
    loop {
        let is_last = over.load(Ordering::Acquire);
        let drained = if is_last { reader.try_drain() } else { reader.drain_blocking() };
        let Drained::Changes(changes) = drained else { return Err("the reader fell behind".to_owned()) };
        followed.drains += usize::from(!changes.is_empty());
        followed.records += changes.len();
        followed.most = followed.most.max(most_of_one(&changes));
        followed.newest = changes.iter().map(|change| change.status.done()).fold(followed.newest, u64::max);
        if is_last {
            return Ok(followed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_and_nothing_else() {
        let mut stored = Stored::new(1000, 100);
        assert!(stored.time_expiry(100).is_ok());
        let mut reader = stored.reader();
        for changed in [1, 10, 1000] {
            assert_eq!(stored.time_drain(&mut reader, changed).map(|_| ()), Ok(()));
        }
        let (mut watchers, bell) = stored.watch();
        for changed in [0, 10, 1000] {
            assert_eq!(stored.time_tick(&mut watchers, &bell, changed).map(|_| ()), Ok(()));
        }
    }

    #[test]
    fn updates_are_coalesced() {
        let coalesced = coalesce(100, 100_000, true).unwrap();
        assert!(coalesced.records <= coalesced.drains * 100 && coalesced.records >= 100, "{coalesced:?}");
        assert_eq!(coalesced.most, 1);
        assert_eq!(coalesce(100, 1000, false).unwrap().drains, 0);
    }
}
