//! The store in this process, as a target.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight::{
    Absent, CancelError, ChangeError, Changes, CreateError, Details, FailureReason, Finish, FinishError,
    KeeperMode, ManualClock, NewTask, Payload, ProgressError, RemoveError, Retention, SharedTask, Store,
    Task, TaskId,
};

use crate::call::{Call, Change, Ending, NewCall, Reply};
use crate::drive::{Client, Features, Target};

/// How long a lease is.
const LEASE: Duration = Duration::from_secs(60);
/// How long ended tasks are kept: longer than a lease, less than the span by which time passes.
const KEPT: Duration = Duration::from_secs(100);
/// What is added to a span that passes: progress counts as made until the next tick, so the lease of a task that
/// made some runs out at the tick after that. What ends at the first of the two ticks is kept at the second.
const REST: Duration = Duration::from_secs(80);

/// A store with a clock that is set by hand, and a small capacity, so that its lines are often used again.
#[derive(Debug)]
pub struct Local {
    store: Store,
    clock: ManualClock,
    shared: Mutex<HashMap<u64, SharedTask>>,
    /// A reader of the change feed, drained when time passes, so that the code that feeds it runs, too.
    feed: Mutex<Option<Changes>>,
}

impl Local {
    /// A store with a capacity of eight tasks, whose feed has no reader.
    #[must_use]
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let retention = Retention::forever().succeeded_for(KEPT).failed_for(KEPT).cancelled_for(KEPT);
        let store = Store::builder()
            .capacity(8)
            .clock(clock.clone())
            .keeper(KeeperMode::Manual)
            .retain(retention)
            .panic_messages(false)
            .build();
        let store = store.unwrap_or_else(|error| panic!("{error}"));
        Self { store, clock, shared: Mutex::default(), feed: Mutex::default() }
    }

    /// The same, with a reader of its feed.
    #[must_use]
    pub fn with_feed() -> Self {
        let local = Self::new();
        *guard(&local.feed) = local.store.changes().ok();
        local
    }

    fn pass(&self, span: Duration) {
        for span in [span, REST] {
            self.clock.advance(span);
            self.store.tick();
        }
        if let Some(feed) = &mut *guard(&self.feed) {
            drop(feed.try_drain());
        }
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Target for Local {
    fn features(&self) -> Features {
        Features::all()
    }

    fn client(&self, _: usize) -> Box<dyn Client + '_> {
        Box::new(Worker { local: self, own: HashMap::new(), shared: HashMap::new() })
    }

    fn clear(&self) {
        guard(&self.shared).clear();
        self.pass(2 * KEPT);
    }
}

/// A client with its handles. It keeps clones of shared handles, so that no lock synchronises the calls.
struct Worker<'a> {
    local: &'a Local,
    own: HashMap<u64, Task>,
    shared: HashMap<u64, SharedTask>,
}

impl Client for Worker<'_> {
    fn call(&mut self, id: Option<TaskId>, via: u64, call: &Call) -> Reply {
        let store = &self.local.store;
        match (*call, id) {
            (Call::Create(new), _) => self.create(new, via),
            (Call::Pass(span), _) => {
                self.local.pass(span);
                Reply::Done
            }
            (_, None) => Reply::Absent(Absent::Unknown),
            (Call::Get, Some(id)) => {
                store.lookup(id).map_or_else(Reply::Absent, |status| Reply::Seen(status.into()))
            }
            (Call::Details, Some(id)) => store.details(id).map_or_else(Reply::Absent, |all| detailed(&all)),
            (Call::Cancel, Some(id)) => match store.cancel(id) {
                Ok(status) => Reply::Seen(status.into()),
                Err(CancelError::Ended(status)) => Reply::Refused(status.into()),
                Err(CancelError::Absent(absent)) => Reply::Absent(absent),
                Err(other) => surprised(&other),
            },
            (Call::Remove, Some(id)) => match store.remove(id) {
                Ok(status) => Reply::Seen(status.into()),
                Err(RemoveError::Live(status)) => Reply::Refused(status.into()),
                Err(RemoveError::Absent(absent)) => Reply::Absent(absent),
                Err(other) => surprised(&other),
            },
            (Call::Abandon, _) => {
                drop(self.own.remove(&via));
                Reply::Done
            }
            (work, _) => self.work(via, work),
        }
    }
}

/// The reply for an error that the specification does not have.
fn surprised(what: &dyn std::error::Error) -> Reply {
    panic!("the specification has no such answer: {what}")
}

fn detailed(details: &Details) -> Reply {
    let text = |payload: &Payload| payload.as_text().unwrap_or("not a text").to_owned();
    let outcome = details.result().or(details.error()).map(text);
    Reply::Detailed(details.status().into(), details.message().map(str::to_owned), outcome)
}

impl Worker<'_> {
    fn create(&mut self, new: NewCall, via: u64) -> Reply {
        let mut task = NewTask::new("history");
        if let Some(id) = new.id {
            task = task.id(id);
        }
        if let Some(total) = new.total {
            task = task.total(total);
        }
        if new.leased {
            task = task.lease(LEASE);
        }
        match self.local.store.create(task) {
            Ok(task) => {
                let id = task.id();
                if new.shared {
                    guard(&self.local.shared).insert(via, task.share());
                } else {
                    self.own.insert(via, task);
                }
                Reply::Created(id)
            }
            Err(CreateError::DuplicateId(_)) => Reply::Duplicate,
            Err(CreateError::Full { .. }) => Reply::Full,
            Err(other) => surprised(&other),
        }
    }

    fn work(&mut self, via: u64, call: Call) -> Reply {
        if let Some(task) = self.own.get_mut(&via) {
            return match call {
                Call::Change(Change::Start) => changed(task.start()),
                Call::Change(Change::Block) => changed(task.block()),
                Call::Change(Change::Resume) => changed(task.resume()),
                Call::Change(Change::Retry) => changed(task.retry()),
                Call::Change(Change::Message(text)) => changed(task.set_message(text.to_string())),
                Call::Advance(count) => counted(task.advance(count)),
                Call::End(Ending::Succeeded, text) => finished(task.succeed(text.to_string())),
                Call::End(Ending::Failed, text) => {
                    finished(task.fail(FailureReason::Error, text.to_string()))
                }
                Call::End(Ending::Cancelled, _) => finished(task.cancel()),
                _ => changed(task.heartbeat()),
            };
        }
        if !self.shared.contains_key(&via)
            && let Some(task) = guard(&self.local.shared).get(&via)
        {
            self.shared.insert(via, task.clone());
        }
        let Some(task) = self.shared.get(&via) else { return Reply::Absent(Absent::Gone(None)) };
        match call {
            Call::Change(Change::Start) => changed(task.start()),
            Call::Change(Change::Block) => changed(task.block()),
            Call::Change(Change::Resume) => changed(task.resume()),
            Call::Change(Change::Retry) => changed(task.retry()),
            Call::Change(Change::Message(text)) => changed(task.set_message(text.to_string())),
            Call::Advance(count) => counted(task.advance(count)),
            Call::End(Ending::Succeeded, text) => finished(task.succeed(text.to_string())),
            Call::End(Ending::Failed, text) => finished(task.fail(FailureReason::Error, text.to_string())),
            Call::End(Ending::Cancelled, _) => finished(task.cancel()),
            _ => changed(task.heartbeat()),
        }
    }
}

fn changed(result: Result<(), ChangeError>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(ChangeError::NotAllowed { from, .. } | ChangeError::Ended(from)) => Reply::NotAllowed(from),
        Err(ChangeError::Gone) => Reply::Absent(Absent::Gone(None)),
        Err(ChangeError::NoLease) => Reply::NoLease,
        Err(other) => surprised(&other),
    }
}

fn counted(result: Result<(), ProgressError>) -> Reply {
    match result {
        Ok(()) => Reply::Done,
        Err(ProgressError::NotRunning) => Reply::NotRunning,
        Err(other) => surprised(&other),
    }
}

fn finished(result: Result<Finish, FinishError>) -> Reply {
    match result {
        Ok(Finish::Won) => Reply::Won,
        Ok(Finish::Lost(status)) => Reply::Lost(status.into()),
        Err(FinishError::NotAllowed { from, .. }) => Reply::NotAllowed(from),
        Err(FinishError::Gone) => Reply::Absent(Absent::Gone(None)),
        Err(other) => surprised(&other),
    }
}
