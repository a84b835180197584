//! Clients' own ids, and lists.

use inflight::{Absent, CreateError, Filter, Finish, NewTask, State, TaskId};

use super::{Poller, World, join, start};

const OWN: TaskId = TaskId::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
/// A client's id that looks like a minted one.
const DISGUISED: TaskId = TaskId::from_u128(0x67e5_5044_10b1_826f_9247_bb68_0e5f_e0c8);

/// Two threads create the same id: one gets it. A poller of it sees nothing, and then the task.
pub(super) fn own_ids() {
    let world = World::new(3);
    let creator = || {
        start(&world, |world| match world.store.create(NewTask::new("own").id(OWN)) {
            Ok(task) => {
                assert!(world.store.get(OWN).is_some(), "it can be polled before create returns");
                Some(task)
            }
            Err(error) => {
                assert_eq!(error, CreateError::DuplicateId(OWN));
                assert!(world.store.get(OWN).is_some(), "the id is in use, but has no task");
                None
            }
        })
    };
    let creators = [creator(), creator()];
    let poller = start(&world, |world| {
        let mut was_there = false;
        for _ in 0..3 {
            match world.store.lookup(OWN) {
                Ok(_) => was_there = true,
                Err(absent) => assert_eq!((absent, was_there), (Absent::Unknown, false), "I11"),
            }
        }
    });
    let tasks = creators.map(join);
    join(poller);
    assert_eq!(tasks.iter().flatten().count(), 1);
    assert_eq!(world.store.counts().total(), 1, "I12");
}

/// Several threads create, remove and create again tasks with one id; versions go on growing.
pub(super) fn own_ids_again() {
    let world = World::new(12);
    let user = |id: TaskId| {
        start(&world, move |world| {
            for _ in 0..2 {
                let Ok(mut task) = world.store.create(NewTask::new("own").id(id)) else { continue };
                let seen = world.store.get(id).map(|status| status.version());
                assert!(seen.is_some(), "I7: no other thread ends this task");
                assert!(matches!(task.cancel(), Ok(Finish::Won)), "I7");
                assert!(world.store.get(id).map(|status| status.version()) > seen, "I5");
                assert!(world.store.remove(id).is_ok());
                // A task that is gone stays gone: its id is free for any thread.
                match world.store.create(NewTask::new("own").id(id)) {
                    Ok(mut task) => {
                        assert!(task.cancel().is_ok());
                        assert!(world.store.remove(id).is_ok());
                    }
                    Err(error) => assert_eq!(error, CreateError::DuplicateId(id)),
                }
            }
        })
    };
    let users = [user(OWN), user(OWN), user(DISGUISED)];
    let poller = start(&world, |world| {
        let mut last = None;
        for _ in 0..4 {
            if let Some(status) = world.store.get(OWN) {
                assert!(last <= Some(status.version()), "I5: back to an older version of a client's id");
                last = Some(status.version());
            }
        }
    });
    users.into_iter().for_each(join);
    join(poller);
    assert_eq!(world.store.lookup(OWN), Err(Absent::Unknown));
    assert_eq!(world.store.counts().total(), 0, "I12");
    assert!(world.store.create(NewTask::new("own").id(OWN)).is_ok(), "the id is free");
}

/// Once a poll has shown that a task is gone, its id is free, even if the removal has not returned yet.
pub(super) fn own_id_freed() {
    let world = World::new(2);
    let mut first = world.create(NewTask::new("first").id(OWN));
    assert!(first.cancel().is_ok());
    let remover = start(&world, |world| assert!(world.store.remove(OWN).is_ok()));
    let next = start(&world, |world| {
        (0..3).find(|_| world.store.get(OWN).is_none())?;
        Some(world.create(NewTask::new("second").id(OWN)))
    });
    join(remover);
    if let Some(second) = join(next) {
        assert_eq!(world.store.get(OWN), second.status(), "I7: the second task, by its id");
        assert!(second.status().is_some(), "I7");
        assert_eq!(
            world.store.create(NewTask::new("third").id(OWN)).err(),
            Some(CreateError::DuplicateId(OWN))
        );
    }
    drop(first);
}

/// Two threads use an id for a moment, one after the other: the later use has the greater versions, whichever
/// thread began first.
pub(super) fn own_id_overtaken() {
    let world = World::new(4);
    // Of std: only the thread with the id locks it, and shuttle must not schedule a thread because of it.
    let last = std::sync::Arc::new(std::sync::Mutex::new(None));
    let user = || {
        let last = std::sync::Arc::clone(&last);
        start(&world, move |world| {
            let Ok(mut task) = world.store.create(NewTask::new("own").id(OWN)) else { return };
            let version = task.status().map(|status| status.version());
            let before = last.lock().ok().and_then(|mut last| std::mem::replace(&mut *last, version));
            assert!(version > before, "I5: back to an older version of a client's id");
            assert!(task.cancel().is_ok());
            assert!(world.store.remove(OWN).is_ok());
        })
    };
    [user(), user()].into_iter().for_each(join);
}

/// A child whose id is known beforehand is cancelled while it is being created: the parent's sums count it
/// with its end.
pub(super) fn own_id_child() {
    let world = World::new(2);
    let parent = world.running(NewTask::new("parent"));
    let id = parent.id();
    let canceller = start(&world, |world| world.store.cancel(OWN).is_ok());
    let child = world.create(NewTask::new("child").id(OWN).total(3).parent(id));
    let was_cancelled = join(canceller);
    let children = world.store.children(id).unwrap_or_default();
    let state = if was_cancelled { State::Cancelled } else { State::Pending };
    assert_eq!((children.count(), children.in_state(state), children.total()), (1, 1, Some(3)), "I12");
    drop(child);
}

/// A task that is there all the time is on exactly one page, whatever is created and removed meanwhile.
pub(super) fn pages() {
    let world = World::new(8);
    let steady: Vec<_> = (0..3).map(|_| world.create(NewTask::new("steady"))).collect();
    let comer = start(&world, |world| {
        for _ in 0..2 {
            let mut task = world.create(NewTask::new("fleeting"));
            assert!(task.cancel().is_ok());
            assert!(world.store.remove(task.id()).is_ok());
        }
    });
    let mut seen = Vec::new();
    let mut filter = Filter::new().page_size(1);
    let mut pages = 0;
    while let Ok(page) = world.store.list(&filter) {
        pages += 1;
        assert!(pages < 20, "a list ends");
        seen.extend(page.tasks.iter().map(|details| details.status().id()));
        let Some(next) = page.next else { break };
        filter = filter.after(next);
    }
    join(comer);
    for task in &steady {
        let times = seen.iter().filter(|id| **id == task.id()).count();
        assert_eq!(times, 1, "a task that is there all the time is on exactly one page");
        let mut poller = Poller::new(task.id());
        assert!(poller.poll(&world.store).is_some());
    }
}
