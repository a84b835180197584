//! Reads of one task, of several, and of all that match.
//!
//! * get, lookup, get_many and details report the same of the same task.
//! * Each condition of a filter, alone and combined.
//! * Pages are in the order of creation. A task that is there all the time is on exactly one of them,
//!   whatever is created and removed meanwhile, and a cursor stays valid. Sizes are bounded, and a page with
//!   few matches ends early, with a cursor.
//! * I12: counts by state.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{in_state, running, store, task};
use inflight::{Absent, Cursor, Filter, NewTask, Page, Payload, State, Store, Task, TaskId};

const SECOND: Duration = Duration::from_secs(1);

fn ids(page: &Page) -> Vec<TaskId> {
    page.tasks.iter().map(|task| task.status().id()).collect()
}

/// All that match, by pages of `size`.
fn walk(store: &Store, filter: &Filter, size: usize) -> Vec<TaskId> {
    let mut all = Vec::new();
    let mut filter = filter.clone().page_size(size);
    loop {
        let page = store.list(&filter).unwrap();
        assert!(page.tasks.len() <= size);
        all.extend(ids(&page));
        let Some(next) = page.next else { return all };
        let token = next.to_string();
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric()), "safe in a URL: {token}");
        filter = filter.after(token.parse().unwrap());
    }
}

#[test]
fn every_way_to_read_a_task_tells_the_same() {
    let (store, _) = store(16);
    let mut tasks: Vec<Task> = State::ALL.iter().map(|state| in_state(&store, *state)).collect();
    let client = store.create(NewTask::new("test").id(TaskId::from_u128(7))).unwrap();
    tasks.push(client);
    let gone = task(&store).id();
    let _ = store.remove(gone).unwrap();
    let mut all: Vec<TaskId> = tasks.iter().map(Task::id).collect();
    all.extend([gone, TaskId::from_u128(8), all[0], all[6]]);
    let many = store.get_many(&all);
    assert_eq!(many.len(), all.len());
    for (id, status) in all.iter().zip(many) {
        assert_eq!((store.get(*id), store.lookup(*id).ok()), (status, status));
        assert_eq!(store.details(*id).ok().map(|details| details.status()), status);
        let absent = store.lookup(*id).err();
        assert_eq!(store.details(*id).map(|_| ()).err(), absent);
        assert_eq!(store.children(*id).map(|_| ()).err(), absent);
    }
    assert_eq!(store.get_many(&[]), []);
    let page: Vec<TaskId> = all.iter().cycle().take(1_000).copied().collect();
    let statuses = store.get_many(&page);
    assert!(page.iter().zip(&statuses).all(|(id, status)| store.get(*id) == *status), "longer than a chunk");
}

#[test]
fn details_have_all_that_was_given() {
    let (store, _) = store(2);
    let parent = running(&store);
    let new = NewTask::new("index").unit("pages").total(3).parent(parent.id()).ttl(SECOND);
    let new = new.label("tenant", "acme").label("a", "1").label("tenant", "other").label("", "");
    let mut task = store.create(new).unwrap();
    let details = store.details(task.id()).unwrap();
    assert_eq!((details.kind(), details.unit(), details.ttl()), ("index", Some("pages"), Some(SECOND)));
    assert_eq!(details.parent(), Some(parent.id()));
    let labels: Vec<_> = details.labels().collect();
    assert_eq!(labels, [("", ""), ("a", "1"), ("tenant", "other")], "by key; the last of a key counts");
    assert_eq!((details.label("tenant"), details.label("none")), (Some("other"), None));
    assert_eq!((details.message(), details.result(), details.error()), (None, None, None));
    task.start().unwrap();
    task.set_message("one").unwrap();
    task.set_message("two").unwrap();
    assert_eq!(store.details(task.id()).unwrap().message(), Some("two"));
    let json = Payload::new("application/json", "{}");
    task.succeed(json.clone()).unwrap();
    let details = store.details(task.id()).unwrap();
    assert_eq!((details.message(), details.result(), details.error()), (Some("two"), Some(&json), None));
    let bare = store.details(parent.id()).unwrap();
    assert_eq!((bare.unit(), bare.parent(), bare.ttl(), bare.labels().count()), (None, None, None, 0));
}

#[test]
fn an_error_is_no_result_and_nothing_is_neither() {
    let (store, _) = store(3);
    let [mut failed, mut none, mut empty] = [running(&store), running(&store), running(&store)];
    failed.fail(inflight::FailureReason::Error, vec![1, 2, 3]).unwrap();
    none.succeed(()).unwrap();
    empty.succeed("").unwrap();
    let read = |task: &Task| {
        let details = store.details(task.id()).unwrap();
        let bytes = |payload: Option<&Payload>| payload.map(|payload| payload.bytes().to_vec());
        (bytes(details.result()), bytes(details.error()))
    };
    assert_eq!(read(&failed), (None, Some(vec![1, 2, 3])));
    assert_eq!(read(&none), (None, None));
    assert_eq!(read(&empty), (Some(vec![]), None));
}

#[test]
fn each_condition_of_a_filter() {
    let (store, clock) = store(64);
    let parent = task(&store);
    let mut made = Vec::new();
    for (number, state) in State::ALL.iter().cycle().take(24).enumerate() {
        let mut new =
            NewTask::new(["index", "parse"][number % 2]).label("tenant", ["a", "b", "c"][number % 3]);
        if number % 4 == 0 {
            new = new.label("urgent", "").parent(parent.id());
        }
        let mut task = store.create(new).unwrap();
        common::bring(&mut task, *state);
        made.push((task, *state));
        clock.advance(SECOND);
    }
    let matching = |has: &dyn Fn(usize, State) -> bool| -> Vec<TaskId> {
        let all = made.iter().enumerate();
        all.filter(|(at, (_, state))| has(*at, *state)).map(|(_, (task, _))| task.id()).collect()
    };
    let listed = |filter: Filter| {
        let pages = [1, 2, 7, 100].map(|size| walk(&store, &filter, size));
        assert!(pages.iter().all(|page| *page == pages[0]), "however large the pages: {filter:?}");
        pages[0].clone()
    };
    let mut all = matching(&|_, _| true);
    all.insert(0, parent.id());
    assert_eq!(listed(Filter::new()), all);
    for state in State::ALL {
        let mut expected = matching(&|_, other| other == state);
        if state == State::Pending {
            expected.insert(0, parent.id());
        }
        assert_eq!(listed(Filter::new().state(state)), expected);
    }
    let either = Filter::new().state(State::Running).state(State::Failed).state(State::Running);
    let is_either = |_, state| matches!(state, State::Running | State::Failed);
    assert_eq!(listed(either.clone()), matching(&is_either));
    assert_eq!(listed(Filter::new().kind("parse")), matching(&|at, _| at % 2 == 1));
    assert_eq!(listed(Filter::new().label("tenant", "b")), matching(&|at, _| at % 3 == 1));
    assert_eq!(listed(Filter::new().label("urgent", "")), matching(&|at, _| at % 4 == 0));
    let both = Filter::new().label("tenant", "a").label("urgent", "");
    assert_eq!(listed(both), matching(&|at, _| at % 12 == 0));
    assert_eq!(listed(Filter::new().parent(parent.id())), matching(&|at, _| at % 4 == 0));
    let since = made[10].0.status().unwrap().updated_at();
    assert_eq!(listed(Filter::new().changed_since(since)), matching(&|at, _| at >= 10));
    let all_of_it = either.kind("index").label("tenant", "b").parent(parent.id()).changed_since(since);
    assert_eq!(
        listed(all_of_it),
        matching(&|at, state| {
            is_either(at, state) && at % 2 == 0 && at % 3 == 1 && at % 4 == 0 && at >= 10
        })
    );
    assert!(!matching(&|at, state| is_either(at, state) && at % 12 == 4 && at >= 10).is_empty());
}

#[test]
fn what_changes_moves_in_and_out_of_a_filter() {
    let (store, clock) = store(1);
    let mut task = running(&store);
    let running = Filter::new().state(State::Running);
    assert_eq!(walk(&store, &running, 10), [task.id()]);
    task.block().unwrap();
    assert_eq!(walk(&store, &running, 10), []);
    task.resume().unwrap();
    assert_eq!(walk(&store, &running, 10), [task.id()]);
    clock.advance(SECOND);
    store.tick();
    let recent = Filter::new().changed_since(task.status().unwrap().updated_at() + SECOND);
    assert_eq!(walk(&store, &recent, 10), []);
    task.advance(1).unwrap();
    assert_eq!(walk(&store, &recent, 10), [task.id()], "progress is a change");
}

#[test]
fn pages_have_their_limits() {
    let (store, _) = store(2_500);
    let tasks: Vec<Task> = (0..2_500).map(|_| task(&store)).collect();
    let len = |filter: Filter| store.list(&filter).unwrap().tasks.len();
    assert_eq!(len(Filter::new()), Filter::DEFAULT_PAGE_SIZE);
    assert_eq!(len(Filter::new().page_size(1_001)), Filter::MAX_PAGE_SIZE);
    assert_eq!(len(Filter::new().page_size(usize::MAX)), Filter::MAX_PAGE_SIZE);
    let created: Vec<TaskId> = tasks.iter().map(Task::id).collect();
    for size in [1, 255, 256, 257, 999, 1_000] {
        assert_eq!(walk(&store, &Filter::new(), size), created);
    }
    let exact = store.list(&Filter::new().page_size(500)).unwrap();
    let fifth = (0..4)
        .fold(exact, |page, _| store.list(&Filter::new().page_size(500).after(page.next.unwrap())).unwrap());
    assert_eq!((fifth.tasks.len(), fifth.next), (500, None), "the end is seen when it is reached");
}

/// A filter with few matches makes its pages end early, instead of scanning on.
#[test]
fn a_page_that_matches_little_ends_early_with_a_cursor() {
    const TASKS: usize = 150_000;
    let (store, _) = store(TASKS + 2);
    let first = store.create(NewTask::new("rare")).unwrap();
    let tasks: Vec<Task> = (0..TASKS).map(|_| task(&store)).collect();
    let last = store.create(NewTask::new("rare")).unwrap();
    let mut filter = Filter::new().kind("rare");
    let (mut found, mut pages) = (Vec::new(), 0);
    loop {
        let page = store.list(&filter).unwrap();
        found.extend(ids(&page));
        pages += 1;
        let Some(next) = page.next else { break };
        filter = filter.after(next);
    }
    assert_eq!(found, [first.id(), last.id()]);
    assert!((2..10).contains(&pages), "{pages} pages");
    drop(tasks);
}

#[test]
fn a_cursor_stays_good_while_tasks_come_and_go() {
    let (store, _) = store(100);
    let mut tasks: Vec<Task> = (0..30).map(|_| task(&store)).collect();
    let page = store.list(&Filter::new().page_size(10)).unwrap();
    let created: Vec<TaskId> = tasks.iter().map(Task::id).collect();
    assert_eq!(ids(&page), created[..10]);
    let cursor: Cursor = page.next.unwrap();
    // The task at the cursor is removed, and one before it, and two after it; others are created on their
    // lines.
    for at in [9, 3, 12, 19] {
        tasks[at].cancel().unwrap();
        let _ = store.remove(created[at]).unwrap();
        tasks[at] = task(&store);
    }
    let late: Vec<TaskId> = [9, 3, 12, 19].iter().map(|at| tasks[*at].id()).collect();
    let rest = walk(&store, &Filter::new().after(cursor), 7);
    let expected: Vec<TaskId> = (10..30).filter(|at| ![12, 19].contains(at)).map(|at| created[at]).collect();
    assert_eq!(rest[..18], expected, "each task that was there all the time, once");
    assert_eq!(rest[18..], late, "and new tasks after them");
    assert_eq!(walk(&store, &Filter::new().after(cursor), 7), rest, "a cursor can be used again");
    tasks.clear();
    for task in store.list(&Filter::new()).unwrap().tasks {
        let _ = store.remove(task.status().id()).unwrap();
    }
    assert_eq!(walk(&store, &Filter::new().after(cursor), 7), [], "the store is empty");
    let next = running(&store);
    assert_eq!(walk(&store, &Filter::new().after(cursor), 7), [next.id()]);
}

/// The same by several threads.
#[test]
fn what_is_there_all_the_time_is_on_exactly_one_page() {
    let (store, _) = store(400);
    let kept: Vec<Task> = (0..200).map(|_| store.create(NewTask::new("kept")).unwrap()).collect();
    let created: Vec<TaskId> = kept.iter().map(Task::id).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    let mut task = store.create(NewTask::new("passing")).unwrap();
                    task.cancel().unwrap();
                    let _ = store.remove(task.id()).unwrap();
                }
            });
        }
        let listed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..25 {
                let all = walk(&store, &Filter::new(), 1 + round % 40);
                assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "no task is listed twice");
                let of_kept: Vec<TaskId> = all.into_iter().filter(|id| created.contains(id)).collect();
                assert_eq!(of_kept, created, "in their order");
                assert_eq!(walk(&store, &Filter::new().kind("kept"), 1 + round), created);
            }
        }));
        over.store(true, Ordering::Release);
        listed.unwrap();
    });
}

#[test]
fn i12_counts_are_by_state() {
    let (store, _) = store(64);
    assert_eq!((store.counts().total(), store.counts().live()), (0, 0));
    let mut tasks = Vec::new();
    for (at, state) in State::ALL.iter().enumerate() {
        tasks.extend((0..=at).map(|_| in_state(&store, *state)));
    }
    let counts = store.counts();
    assert_eq!(State::ALL.map(|state| counts.of(state)), [1, 2, 3, 4, 5, 6]);
    assert_eq!((counts.total(), counts.live()), (21, 6));
    for task in &tasks {
        if task.status().unwrap().is_terminal() {
            let _ = store.remove(task.id()).unwrap();
        }
    }
    assert_eq!((store.counts().total(), store.counts().live()), (6, 6));
    tasks.clear();
    assert_eq!(State::ALL.map(|state| store.counts().of(state)), [0, 0, 0, 0, 6, 0]);
}

#[test]
fn a_debug_print_of_a_store_does_not_need_its_tasks() {
    let (store, _) = store(3);
    let _task = running(&store);
    let text = format!("{store:?}");
    assert!(text.contains("capacity: 3"), "{text}");
    assert_eq!(store.lookup(TaskId::from_u128(1)), Err(Absent::Unknown));
}
