//! The hub: the one reader of the store's change feed, and the log that all streams of all events read.
//!
//! The log is coalesced: a task that changes again moves to its end, so it is as long as there are
//! tasks that changed, not as there were changes. A reader has a position in it, and a slow one skips
//! what is outdated anyway.
//!
//! An id can be used again, and the feed may tell of the later task before it tells that the earlier one is
//! gone. The versions of the later one are greater. So a note that a task is gone replaces only what has
//! no greater version, and is a note of its own: whoever saw the earlier task is told, and only they.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, Once, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use inflight::{Change, ChangeKind, Changes, Details, Drained, Filter, Store, TaskId, Version};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::{App, Shared};
use crate::pacing::Pace;
use crate::view::{Extent, TaskView, Text};

#[derive(Debug)]
pub(crate) struct Hub {
    /// Tells this hub's positions from those of one before a restart.
    epoch: u64,
    limit: usize,
    log: Mutex<Log>,
    head: watch::Sender<u64>,
    started: Once,
    /// Cancelled when it is known whose all tasks are that were there before the hub.
    learnt: CancellationToken,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

#[derive(Debug, Default)]
struct Log {
    /// The number of the last note.
    last: u64,
    /// Notes up to this number may be missing.
    floor: u64,
    notes: BTreeMap<u64, Arc<Note>>,
    /// Where the note of each task that is there stands, and the version that it had.
    by_task: HashMap<TaskId, (u64, Version)>,
}

/// What is new about one task.
#[derive(Debug)]
pub(crate) struct Note {
    change: Change,
    /// Whose it was, of a task that is gone.
    pub(crate) tenant: Option<Arc<str>>,
    shown: OnceLock<Option<Shown>>,
}

/// A note as it is sent, made when the first reader wants it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) event: &'static str,
    pub(crate) json: Bytes,
    /// `None` of a task that is gone.
    pub(crate) details: Option<Details>,
}

/// What a reader finds after its position.
pub(crate) enum News {
    Notes(Vec<(u64, Arc<Note>)>),
    /// Some of it is not in the log any more.
    Behind,
}

impl Hub {
    pub(crate) fn new(limit: usize) -> Self {
        let epoch = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_micros() as u64);
        let stop = CancellationToken::new();
        Self {
            epoch,
            limit: limit.max(1),
            log: Mutex::default(),
            head: watch::Sender::new(0),
            started: Once::new(),
            learnt: CancellationToken::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Has the hub read the feed from now on, for as long as there is the app. Cheap when it does.
    pub(crate) fn start(app: &Shared) {
        app.hub.started.call_once(|| match app.store.changes() {
            Ok(changes) => {
                let (stop, interval) = (app.hub.stop.clone(), app.options.event_interval);
                tokio::spawn(pump(Arc::downgrade(app), changes, stop, interval));
            }
            Err(error) => {
                tracing::error!(%error, "no events: the feed cannot be read");
                app.hub.learnt.cancel();
            }
        });
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when it is known whose all tasks are.
    pub(crate) async fn learnt(&self) {
        self.learnt.cancelled().await;
    }

    /// Where the log ends now.
    pub(crate) fn position(&self) -> u64 {
        self.log().last
    }

    /// Tells when the log has grown.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// How many tasks there are in the log.
    pub(crate) fn len(&self) -> usize {
        self.log().notes.len()
    }

    /// Up to `count` notes after `position`.
    pub(crate) fn after(&self, position: u64, count: usize) -> News {
        let log = self.log();
        if position < log.floor {
            return News::Behind;
        }
        let notes = log.notes.range(position + 1..).take(count);
        News::Notes(notes.map(|(at, note)| (*at, Arc::clone(note))).collect())
    }

    /// A position as the id of an event.
    pub(crate) fn event_id(&self, position: u64) -> String {
        format!("{:x}-{position:x}", self.epoch)
    }

    /// The position that an event's id tells, if it is this hub's.
    pub(crate) fn parse_event_id(&self, id: &str) -> Option<u64> {
        let (epoch, position) = id.split_once('-')?;
        let epoch = u64::from_str_radix(epoch, 16).ok()?;
        let position = u64::from_str_radix(position, 16).ok()?;
        (epoch == self.epoch && position <= self.position()).then_some(position)
    }

    fn append(&self, notes: impl Iterator<Item = Note>) {
        let mut log = self.log();
        let mut outdated = Vec::new();
        for note in notes {
            outdated.extend(log.append(note, self.limit));
        }
        let last = log.last;
        drop(log);
        drop(outdated);
        self.head.send_replace(last);
    }

    /// All readers have to look anew.
    fn reset(&self) {
        let mut log = self.log();
        log.last += 1;
        log.floor = log.last;
        let outdated = (std::mem::take(&mut log.notes), std::mem::take(&mut log.by_task));
        let last = log.last;
        drop(log);
        drop(outdated);
        self.head.send_replace(last);
    }
}

impl Log {
    /// Gives what has to make room.
    fn append(&mut self, note: Note, limit: usize) -> Option<Arc<Note>> {
        let (id, version) = (note.change.status.id(), note.change.status.version());
        let before = self.by_task.get(&id).copied();
        let is_outdated = before.is_some_and(|(_, before)| before > version);
        let is_gone = note.is_gone();
        if is_outdated && !is_gone {
            return None;
        }
        self.last += 1;
        let mut outdated = None;
        if !is_outdated {
            outdated = before.and_then(|(at, _)| self.notes.remove(&at));
            if is_gone {
                self.by_task.remove(&id);
            } else {
                self.by_task.insert(id, (self.last, version));
            }
        }
        self.notes.insert(self.last, Arc::new(note));
        if self.notes.len() <= limit {
            return outdated;
        }
        let (at, oldest) = self.notes.pop_first()?;
        let oldest_id = oldest.change.status.id();
        if self.by_task.get(&oldest_id).is_some_and(|(noted, _)| *noted == at) {
            self.by_task.remove(&oldest_id);
        }
        self.floor = at;
        Some(oldest)
    }
}

impl Note {
    fn is_gone(&self) -> bool {
        matches!(self.change.kind, ChangeKind::Gone(_))
    }

    /// The last version of a task that is gone, and its id.
    pub(crate) fn gone(&self) -> Option<(TaskId, Version)> {
        self.is_gone().then(|| (self.change.status.id(), self.change.status.version()))
    }

    /// The note as it is sent; `None` if the task is gone by now, which another note tells.
    pub(crate) fn show(&self, store: &Store, pace: Pace) -> Option<&Shown> {
        let show = || {
            let status = self.change.status;
            if let ChangeKind::Gone(reason) = self.change.kind {
                let gone = GoneEvent {
                    task_id: Text(status.id()),
                    gone_reason: reason.as_str(),
                    status: status.state().as_str(),
                    version: Text(status.version()),
                };
                let json = serde_json::to_vec(&gone).ok()?.into();
                return Some(Shown { event: "gone", json, details: None });
            }
            let details = store.details(status.id()).ok()?;
            let json = TaskView::new(&details, pace, Extent::Basic).render().into();
            Some(Shown { event: "status", json, details: Some(details) })
        };
        self.shown.get_or_init(show).as_ref()
    }
}

/// What is told of a task that is gone.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GoneEvent {
    #[schema(value_type = String, format = Uuid)]
    task_id: Text<TaskId>,
    /// `expired`, `evicted` or `removed`.
    gone_reason: &'static str,
    /// The state that it was in.
    #[schema(value_type = crate::view::StateName)]
    status: &'static str,
    #[schema(value_type = String)]
    version: Text<inflight::Version>,
}

/// Reads the feed until the app is gone.
async fn pump(app: Weak<App>, mut changes: Changes, stop: CancellationToken, interval: Duration) {
    // Whoever needs to know whose all tasks are waits for that; nobody else does.
    let Some(learner) = app.upgrade() else { return };
    let learnt = learner.hub.learnt.clone();
    let _ = tokio::task::spawn_blocking(move || learner.learn_all()).await;
    learnt.cancel();
    loop {
        let drained = tokio::select! {
            drained = changes.drain() => drained,
            () = stop.cancelled() => return,
        };
        let began = Instant::now();
        let Some(app) = app.upgrade() else { return };
        // It may be much, and must not hold up those who answer requests.
        let _ = tokio::task::spawn_blocking(move || app.take_in(drained)).await;
        // What comes meanwhile is coalesced; at most a third of a core goes into this.
        let pause = interval.max(began.elapsed() * 2);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

impl App {
    fn take_in(&self, drained: Drained) {
        let Drained::Changes(changes) = drained else {
            self.hub.reset();
            self.remotes.sweep(&self.store);
            self.learn_all();
            return;
        };
        let note = |change: Change| {
            let (id, version) = (change.status.id(), change.status.version());
            let mut tenant = None;
            match change.kind {
                ChangeKind::Gone(_) => {
                    self.remotes.gone(id, version);
                    tenant = self.tenants.as_ref().and_then(|tenants| tenants.forget(id, version));
                }
                kind => {
                    if kind == ChangeKind::Ended {
                        self.remotes.ended(id, version);
                    }
                    if let Some(tenants) = &self.tenants
                        && let Ok(details) = self.store.details(id)
                    {
                        tenants.note(&details);
                    }
                }
            }
            Note { change, tenant, shown: OnceLock::new() }
        };
        self.hub.append(changes.into_iter().map(note));
        self.remotes.shrink();
        if let Some(tenants) = &self.tenants {
            tenants.shrink();
        }
    }

    /// Whose all tasks are, when that could not be learnt one by one.
    fn learn_all(&self) {
        let Some(tenants) = &self.tenants else { return };
        tenants.clear();
        let mut filter = Filter::new().page_size(Filter::MAX_PAGE_SIZE);
        while let Ok(page) = self.store.list(&filter) {
            page.tasks.iter().for_each(|details| tenants.note(details));
            let Some(next) = page.next else { return };
            filter = filter.after(next);
        }
    }
}
