//! The change feed.

use std::collections::{HashMap, HashSet};

use inflight::{Change, ChangeKind, Changes, Drained, Filter, Finish, NewTask, Status, Store, TaskId};

use super::{World, join, seen, start};

/// A reader's view of the tasks.
#[derive(Default)]
struct Known(HashMap<TaskId, (Status, Option<ChangeKind>)>);

impl Known {
    /// Applies one drain: each task is in it once, and never with an older status than before.
    fn take(&mut self, changes: Vec<Change>) {
        let mut once = HashSet::new();
        for Change { status, kind, .. } in changes {
            assert!(once.insert(status.id()), "I8: a task twice in one drain");
            if let Some((before, _)) = self.0.insert(status.id(), (status, Some(kind))) {
                assert!(status.version() >= before.version(), "I8: back to an older status");
            }
        }
    }

    fn list(&mut self, store: &Store) {
        let page = store.list(&Filter::new());
        for details in page.into_iter().flat_map(|page| page.tasks) {
            let status = details.status();
            let known = self.0.entry(status.id()).or_insert((status, None));
            if status.version() > known.0.version() {
                *known = (status, None);
            }
        }
    }

    /// Asserts that the view agrees with the store.
    fn is_complete(&self, store: &Store, ids: &[TaskId]) {
        for id in ids {
            let known = self.0.get(id);
            let now = store.get(*id);
            match known {
                Some((_, Some(ChangeKind::Gone(_)))) => assert!(now.is_none(), "I8: gone, and still there"),
                known => {
                    let seen = known.map(|(status, _)| (status.version(), seen(*status)));
                    assert_eq!(
                        seen,
                        now.map(|now| (now.version(), self::seen(now))),
                        "I8: a change is missing"
                    );
                }
            }
        }
    }
}

fn drain(reader: &mut Changes, known: &mut Known) -> bool {
    match reader.try_drain() {
        Drained::Changes(changes) => {
            known.take(changes);
            true
        }
        Drained::Resync => false,
    }
}

/// A task from its creation to its end.
fn live(world: &World, removed: bool) -> TaskId {
    let mut task = world.running(NewTask::new("task"));
    assert_eq!(task.advance(1), Ok(()));
    assert_eq!(task.set_message("half"), Ok(()));
    assert!(matches!(task.succeed(()), Ok(Finish::Won)));
    let id = task.id();
    if removed {
        assert!(world.store.remove(id).is_ok());
    }
    id
}

/// A reader drains while tasks are created and end: each task is reported, and its end.
pub(super) fn feed() {
    let world = World::new(3);
    let Ok(mut reader) = world.store.changes() else { panic!("one reader is not too many") };
    let workers = [false, true].map(|removed| start(&world, move |world| live(&world, removed)));
    let ticker = start(&world, |world| world.tick());
    let mut known = Known::default();
    let mut new = HashMap::new();
    let mut take = |reader: &mut Changes, known: &mut Known| {
        let Drained::Changes(changes) = reader.try_drain() else {
            panic!("I8: the reader has not fallen behind")
        };
        for change in &changes {
            *new.entry(change.status.id()).or_insert(0) += u32::from(change.is_new);
        }
        known.take(changes);
    };
    (0..3).for_each(|_| take(&mut reader, &mut known));
    let ids = workers.map(join);
    join(ticker);
    take(&mut reader, &mut known);
    known.is_complete(&world.store, &ids);
    for id in ids {
        assert_eq!(new.get(&id), Some(&1), "I8: new once");
        let (status, _) = known.0.get(&id).copied().unzip();
        assert!(status.is_some_and(|status| status.is_terminal()), "I8: the end was reported");
    }
}

/// A reader that subscribes in the middle and then lists: the list and the feed together miss nothing.
pub(super) fn feed_and_list() {
    let world = World::new(3);
    let mut early = world.running(NewTask::new("early"));
    let ids = [early.id()];
    let worker = start(&world, move |_| {
        assert_eq!(early.advance(1), Ok(()));
        assert_eq!(early.set_message("on"), Ok(()));
        assert_eq!(early.advance(1), Ok(()));
        early
    });
    let creator = start(&world, |world| live(&world, false));
    let ticker = start(&world, |world| world.tick());
    let Ok(mut reader) = world.store.changes() else { panic!("one reader is not too many") };
    let mut known = Known::default();
    known.list(&world.store);
    drain(&mut reader, &mut known);
    let early = join(worker);
    let late = join(creator);
    join(ticker);
    // Progress may come with the second tick after it (`engine/upkeep.rs`).
    world.tick();
    world.tick();
    drain(&mut reader, &mut known);
    known.is_complete(&world.store, &[ids[0], late]);
    drop(early);
}

/// A reader that falls behind is told so, and a list brings it up to date.
pub(super) fn feed_resync() {
    let world = World::with(6, |builder| builder.feed_limit(1));
    let Ok(mut reader) = world.store.changes() else { panic!("one reader is not too many") };
    let workers = [(), ()].map(|()| start(&world, |world| [live(&world, false), live(&world, false)]));
    let mut known = Known::default();
    for _ in 0..2 {
        if !drain(&mut reader, &mut known) {
            known.list(&world.store);
        }
    }
    let ids: Vec<_> = workers.into_iter().flat_map(join).collect();
    if !drain(&mut reader, &mut known) {
        known.list(&world.store);
    }
    known.is_complete(&world.store, &ids);
}
