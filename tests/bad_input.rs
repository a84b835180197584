//! Bad input is refused with an error that names the value and the limit, or the state that was found. A
//! refusal changes nothing.
//!
//! * Creation: over capacity (I9), duplicate id, unknown or ended parent, oversized kind, unit, labels, label
//!   key or label value, a total out of range, a lease of zero duration.
//! * Writes: oversized message, media type or payload, a total out of range or below the count, a count that
//!   would overflow or decrease, `advance(0)`, writes before the start and after the end (I4).
//! * Reads: a filter that matches nothing, an empty page, a page that is too large, a cursor of another
//!   store, text that is not an id, cursor or version.
//! * Building: a capacity of zero, a capacity that is too large, a tick of zero duration.
//!
//! (Transitions outside the table are in `transitions.rs`, I3.)
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::time::{Duration, SystemTime};

use common::{builder, in_state, running, store, task};
use inflight::{
    BuildError, CancelError, ChangeError, Children, Counts, CreateError, Cursor, FailureReason, Filter,
    Finish, FinishError, KeeperMode, Limits, ListError, MAX_CAPACITY, MAX_COUNT, ManualClock, NewTask,
    Oversized, Payload, ProgressError, RemoveError, SharedTask, State, Status, Store, Task, TaskId, TooLarge,
    Version,
};

/// Everything that can be observed of a store.
#[derive(Debug, PartialEq)]
struct Seen {
    counts: Counts,
    tasks: Vec<(Status, Version, String)>,
    children: Vec<Children>,
}

fn seen(store: &Store) -> Seen {
    let tasks = store.list(&Filter::new().page_size(Filter::MAX_PAGE_SIZE)).unwrap().tasks;
    Seen {
        counts: store.counts(),
        children: tasks.iter().map(|task| store.children(task.status().id()).unwrap()).collect(),
        tasks: tasks
            .iter()
            .map(|task| {
                let labels: Vec<_> = task.labels().collect();
                let payloads =
                    [task.result(), task.error()].map(|payload| payload.map(|p| p.bytes().to_vec()));
                let cold = format!("{:?} {:?} {labels:?} {payloads:?}", task.message(), task.parent());
                (task.status(), task.status().version(), cold)
            })
            .collect(),
    }
}

/// The error of `refused`, which must change nothing.
#[track_caller]
fn unchanged<T>(store: &Store, refused: impl FnOnce() -> T) -> T {
    let before = seen(store);
    let answer = refused();
    assert_eq!(seen(store), before, "a refusal changes nothing");
    answer
}

fn limits() -> Limits {
    Limits {
        kind: 4,
        unit: 4,
        labels: 2,
        label_key: 4,
        label_value: 4,
        message: 4,
        media_type: 10,
        payload: 4,
    }
}

fn limited() -> Store {
    builder(8, &ManualClock::new()).limits(limits()).build().unwrap()
}

fn too_large(what: Oversized, size: usize, limit: usize) -> TooLarge {
    TooLarge { what, size, limit }
}

#[test]
fn i9_a_create_over_capacity() {
    let (store, _) = store(3);
    let mut tasks: Vec<Task> = (0..3).map(|_| task(&store)).collect();
    let full = Err(CreateError::Full { capacity: 3 });
    let create = || store.create(NewTask::new("test")).map(|task| task.id());
    assert_eq!(unchanged(&store, create), full);
    tasks[0].cancel().unwrap();
    assert_eq!(unchanged(&store, create), full, "an ended task still counts against the capacity");
    let _ = store.remove(tasks[0].id()).unwrap();
    assert_eq!(unchanged(&store, create), full, "and so does what is held");
    drop(tasks.remove(0));
    assert!(create().is_ok());
    assert!(CreateError::Full { capacity: 3 }.to_string().contains('3'));
}

#[test]
fn a_create_with_an_id_that_is_taken() {
    let (store, _) = store(4);
    let id = TaskId::from_u128(7);
    let mut client = store.create(NewTask::new("test").id(id)).unwrap();
    let minted = task(&store);
    let create = |id: TaskId| store.create(NewTask::new("test").id(id)).map(|task| task.id());
    for taken in [id, minted.id()] {
        assert_eq!(unchanged(&store, || create(taken)), Err(CreateError::DuplicateId(taken)));
        assert!(CreateError::DuplicateId(taken).to_string().contains(&taken.to_string()));
    }
    client.cancel().unwrap();
    assert_eq!(unchanged(&store, || create(id)), Err(CreateError::DuplicateId(id)), "it is still there");
    let gone = minted.id();
    drop(minted);
    let _ = store.remove(gone).unwrap();
    assert_eq!(unchanged(&store, || create(gone)), Err(CreateError::DuplicateId(gone)), "it was once minted");
    // Nothing leaked: the store takes as many tasks as before.
    let _ = store.remove(id).unwrap();
    drop(client);
    let again: Vec<Task> = (0..4).map(|_| task(&store)).collect();
    assert_eq!(again.len(), 4);
}

#[test]
fn i12_a_create_whose_parent_is_not_there_or_has_ended() {
    let (store, _) = store(4);
    let create = |parent: TaskId| store.create(NewTask::new("test").parent(parent)).map(|task| task.id());
    let unknown = TaskId::from_u128(7);
    assert_eq!(unchanged(&store, || create(unknown)), Err(CreateError::UnknownParent(unknown)));
    for state in [State::Succeeded, State::Failed, State::Cancelled] {
        let parent = in_state(&store, state);
        let status = parent.status().unwrap();
        assert_eq!(unchanged(&store, || create(parent.id())), Err(CreateError::ParentEnded(status)));
        let _ = store.remove(parent.id()).unwrap();
        assert_eq!(unchanged(&store, || create(parent.id())), Err(CreateError::UnknownParent(parent.id())));
    }
    assert!(CreateError::UnknownParent(unknown).to_string().contains(&unknown.to_string()));
}

#[test]
fn a_create_with_parts_that_are_too_large() {
    let store = limited();
    let cases = [
        (NewTask::new("12345"), Oversized::Kind, 5, 4),
        (NewTask::new("kind").unit("12345"), Oversized::Unit, 5, 4),
        (NewTask::new("kind").label("a", "").label("b", "").label("c", ""), Oversized::Labels, 3, 2),
        (NewTask::new("kind").label("12345", ""), Oversized::LabelKey, 5, 4),
        (NewTask::new("kind").label("key", "ää1"), Oversized::LabelValue, 5, 4),
    ];
    for (new, what, size, limit) in cases {
        let error = too_large(what, size, limit);
        let said = unchanged(&store, || store.create(new).map(|task| task.id()));
        assert_eq!(said, Err(CreateError::TooLarge(error)));
        let text = error.to_string();
        assert!(text.contains(&size.to_string()) && text.contains(&limit.to_string()), "{text}");
    }
    let most = NewTask::new("1234").unit("1234").label("1234", "1234").label("a", "").label("a", "ä2");
    let task = store.create(most).unwrap();
    let details = store.details(task.id()).unwrap();
    assert_eq!(details.labels().collect::<Vec<_>>(), [("1234", "1234"), ("a", "ä2")], "up to the limit");
    let biggest = |size: usize| NewTask::new("k".repeat(size));
    assert!(common::store(1).0.create(biggest(Limits::default().kind)).is_ok());
    assert!(common::store(1).0.create(biggest(Limits::default().kind + 1)).is_err());
}

#[test]
fn a_create_with_numbers_out_of_range() {
    let (store, _) = store(1);
    for total in [MAX_COUNT + 1, u64::MAX] {
        let said =
            unchanged(&store, || store.create(NewTask::new("test").total(total)).map(|task| task.id()));
        assert_eq!(said, Err(CreateError::TotalTooLarge { total, limit: MAX_COUNT }));
    }
    let no_time = NewTask::new("test").lease(Duration::ZERO);
    let said = unchanged(&store, || store.create(no_time).map(|task| task.id()));
    assert_eq!(said, Err(CreateError::ZeroLease));
    let task = store.create(NewTask::new("test").total(MAX_COUNT).lease(Duration::MAX).ttl(Duration::MAX));
    assert_eq!(task.unwrap().status().unwrap().total(), Some(MAX_COUNT));
}

#[test]
fn a_message_that_is_too_large() {
    let store = limited();
    let mut task = running(&store);
    task.set_message("1234").unwrap();
    let error = Err(ChangeError::TooLarge(too_large(Oversized::Message, 5, 4)));
    assert_eq!(unchanged(&store, || task.set_message("12345")), error);
    let shared = task.share();
    assert_eq!(unchanged(&store, || shared.set_message("äää")), {
        Err(ChangeError::TooLarge(too_large(Oversized::Message, 6, 4)))
    });
    shared.set_message("").unwrap();
    assert_eq!(store.details(shared.id()).unwrap().message(), Some(""));
}

#[test]
fn a_result_or_error_that_is_too_large_comes_back() {
    let store = limited();
    let large = Payload::new("text/plain", "12345");
    let exotic = Payload::new("text/plain+", "1234");
    for (payload, what, size, limit) in
        [(large, Oversized::Payload, 5, 4), (exotic, Oversized::MediaType, 11, 10)]
    {
        let mut task = running(&store);
        let refused = || {
            let too_large = too_large(what, size, limit);
            Err(FinishError::TooLarge { too_large, payload: payload.clone() })
        };
        assert_eq!(unchanged(&store, || task.succeed(payload.clone())), refused());
        let said = unchanged(&store, || task.fail(FailureReason::Error, payload.clone()));
        assert_eq!(said, refused());
        let Err(FinishError::TooLarge { payload: back, .. }) = task.succeed(payload.clone()) else {
            panic!("it is too large");
        };
        assert_eq!(back, payload);
        assert_eq!(task.succeed(Payload::new("text/plain", "1234")), Ok(Finish::Won), "it can still end");
    }
}

/// Regression: a limit for media types below that of texts kept a task from failing when its handle was
/// dropped, so the task ran for ever. The store's own texts are truncated to the limit, and never refused.
#[test]
fn i10_what_the_store_says_of_a_worker_fits_any_limit() {
    let clock = ManualClock::new();
    let limits = Limits { payload: 3, media_type: 0, ..Limits::default() };
    let store = builder(3, &clock).limits(limits).build().unwrap();
    let (lost, leased) =
        (running(&store).id(), store.create(NewTask::new("test").lease(Duration::from_secs(1))));
    let panicked = running(&store);
    let id = panicked.id();
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _task = panicked;
        panic!("on purpose");
    }));
    clock.advance(Duration::from_secs(1));
    store.tick();
    for id in [lost, leased.unwrap().id(), id] {
        assert_eq!(store.get(id).unwrap().state(), State::Failed);
    }
}

#[test]
fn a_total_out_of_range_or_below_what_is_done() {
    let (store, _) = store(2);
    let mut task = running(&store);
    task.set_done(10).unwrap();
    for total in [MAX_COUNT + 1, u64::MAX] {
        let said = unchanged(&store, || task.set_total(total));
        assert_eq!(said, Err(ChangeError::TotalTooLarge { total, limit: MAX_COUNT }));
    }
    let below = Err(ChangeError::TotalBelowDone { total: 9, done: 10 });
    assert_eq!(unchanged(&store, || task.set_total(9)), below);
    task.set_total(10).unwrap();
    let shared = task.share();
    assert_eq!(unchanged(&store, || shared.set_total(9)), below);
    shared.set_total(MAX_COUNT).unwrap();
    assert_eq!(shared.status().unwrap().total(), Some(MAX_COUNT));
}

/// Each way of counting: an exclusive handle, a handle with a lease, its counter, and a shared handle.
macro_rules! for_each_counting {
    ($store:ident, $task:ident, $check:block) => {
        for lease in [None, Some(Duration::from_secs(60))] {
            let new = NewTask::new("test");
            let new = lease.map_or(new.clone(), |lease| new.lease(lease));
            #[allow(unused_mut, reason = "not all uses need it")]
            let mut $task = $store.create(new.clone()).unwrap();
            $check
            let $task = $store.create(new).unwrap().share();
            $check
        }
    };
}

#[test]
fn counters_that_would_overflow_or_go_back() {
    let (store, _) = store(4);
    for_each_counting!(store, task, {
        task.start().unwrap();
        task.set_done(MAX_COUNT - 2).unwrap();
        let overflow = |done| Err(ProgressError::Overflow { done, limit: MAX_COUNT });
        for count in [3, 1 << 40, MAX_COUNT, u64::MAX - 1, u64::MAX] {
            assert_eq!(unchanged(&store, || task.advance(count)), overflow(MAX_COUNT - 2), "{count}");
        }
        for done in [MAX_COUNT + 1, u64::MAX] {
            assert_eq!(unchanged(&store, || task.set_done(done)), overflow(MAX_COUNT - 2));
        }
        let backwards = Err(ProgressError::Backwards { done: MAX_COUNT - 2, to: 7 });
        assert_eq!(unchanged(&store, || task.set_done(7)), backwards);
        task.advance(2).unwrap();
        assert_eq!(unchanged(&store, || task.advance(1)), overflow(MAX_COUNT));
        task.advance(0).unwrap();
        task.set_done(MAX_COUNT).unwrap();
        assert_eq!(task.status().unwrap().done(), MAX_COUNT);
        assert_eq!(task.succeed(()), Ok(Finish::Won));
        assert_eq!(store.get(task.id()).unwrap().done(), MAX_COUNT);
    });
}

/// Clones do not check the count while it cannot be near its limit. Whichever call brings it there, on any
/// handle, the next call checks.
#[test]
fn no_clone_counts_past_the_end_whoever_came_near_it() {
    let full = |done| Err(ProgressError::Overflow { done, limit: MAX_COUNT });
    let near = MAX_COUNT - 3;
    let by_the_owner = |task: &mut Task| task.advance(near).unwrap();
    let by_a_clone = |task: &SharedTask| task.advance(near - task.status().unwrap().done()).unwrap();
    let by_raising = |task: &SharedTask| task.set_done(near).unwrap();
    let (store, _) = store(4);
    for way in 0..3 {
        let mut task = task(&store);
        task.start().unwrap();
        if way == 0 {
            by_the_owner(&mut task);
        }
        let one = task.share();
        let other = one.clone();
        if way > 0 {
            other.advance(1).unwrap();
            one.advance(1).unwrap();
            if way == 1 { by_a_clone(&one) } else { by_raising(&one) }
        }
        assert_eq!(other.advance(4), full(near), "way {way}");
        assert_eq!(other.status().unwrap().done(), near, "nothing was counted");
        assert_eq!((other.advance(3), one.advance(0)), (Ok(()), Ok(())));
        assert_eq!((one.advance(1), other.advance(u64::MAX)), (full(MAX_COUNT), full(MAX_COUNT)));
    }
    let pending = task(&store).share();
    for _ in 0..5 {
        // Repeating this addition would reach the bit that says that counting is closed.
        assert_eq!(pending.advance(u64::from(u32::MAX)), Err(ProgressError::NotRunning));
    }
    pending.start().unwrap();
    assert_eq!((pending.advance(2), pending.status().unwrap().done()), (Ok(()), 2));
}

#[test]
fn i5_advancing_by_nothing_changes_nothing() {
    let (store, clock) = store(4);
    for_each_counting!(store, task, {
        assert_eq!(unchanged(&store, || task.advance(0)), Err(ProgressError::NotRunning), "not started");
        task.start().unwrap();
        task.advance(3).unwrap();
        clock.advance(Duration::from_secs(1));
        store.tick();
        assert_eq!(unchanged(&store, || task.advance(0)), Ok(()));
        assert_eq!(unchanged(&store, || task.set_done(3)), Ok(()));
    });
}

#[test]
fn i4_writes_before_the_start_and_after_the_end() {
    let (store, _) = store(16);
    let not_running = Err(ProgressError::NotRunning);
    for_each_counting!(store, task, {
        assert_eq!(unchanged(&store, || task.advance(1)), not_running);
        assert_eq!(unchanged(&store, || task.set_done(1)), not_running);
        task.start().unwrap();
        task.advance(1).unwrap();
        task.retry().unwrap();
        assert_eq!(unchanged(&store, || task.advance(1)), not_running, "put back");
        task.cancel().unwrap();
        let lost = Ok(Finish::Lost(task.status().unwrap()));
        let ended = Err(ChangeError::Ended(State::Cancelled));
        assert_eq!(unchanged(&store, || task.advance(1)), not_running);
        assert_eq!(unchanged(&store, || task.set_done(u64::MAX)), not_running);
        assert_eq!(unchanged(&store, || task.set_total(7)), ended);
        assert_eq!(unchanged(&store, || task.set_message("late")), ended);
        assert_eq!(unchanged(&store, || task.heartbeat()), ended);
        assert_eq!(unchanged(&store, || task.succeed("late")), lost);
        assert_eq!(unchanged(&store, || task.fail(FailureReason::Error, "late")), lost);
        assert_eq!(unchanged(&store, || task.cancel()), lost);
    });
}

#[test]
fn a_heartbeat_without_a_lease() {
    let (store, _) = store(1);
    let mut task = running(&store);
    assert_eq!(unchanged(&store, || task.heartbeat()), Err(ChangeError::NoLease));
    let shared = task.share();
    assert_eq!(unchanged(&store, || shared.heartbeat()), Err(ChangeError::NoLease));
}

#[test]
fn cancelling_and_removing_what_cannot_be() {
    let (store, _) = store(6);
    let nobody = TaskId::from_u128(7);
    let unknown = store.lookup(nobody).unwrap_err();
    assert_eq!(unchanged(&store, || store.cancel(nobody)), Err(CancelError::Absent(unknown)));
    assert_eq!(unchanged(&store, || store.remove(nobody)), Err(RemoveError::Absent(unknown)));
    for state in State::ALL {
        let task = in_state(&store, state);
        let status = task.status().unwrap();
        if state.is_terminal() {
            assert_eq!(unchanged(&store, || store.cancel(task.id())), Err(CancelError::Ended(status)));
        } else {
            assert_eq!(unchanged(&store, || store.remove(task.id())), Err(RemoveError::Live(status)));
        }
        std::mem::forget(task);
    }
}

#[test]
fn filters_that_match_nothing() {
    let (store, _) = store(4);
    let parent = running(&store);
    let new = NewTask::new("index").label("tenant", "acme").parent(parent.id());
    let _child = store.create(new).unwrap();
    let filters = [
        Filter::new().label("tenant", "other"),
        Filter::new().label("tenant", ""),
        Filter::new().label("Tenant", "acme"),
        Filter::new().label("tenant", "acme").label("nobody", "acme"),
        Filter::new().label("tenant", "acme").label("tenant", "other"),
        Filter::new().kind("inde"),
        Filter::new().kind(""),
        Filter::new().state(State::Blocked),
        Filter::new().parent(TaskId::from_u128(7)),
        Filter::new().changed_since(SystemTime::now() + Duration::from_secs(400 * 365 * 86_400)),
    ];
    for filter in filters {
        let page = unchanged(&store, || store.list(&filter)).unwrap();
        assert!(page.tasks.is_empty() && page.next.is_none(), "{filter:?}");
    }
}

#[test]
fn pages_and_cursors_that_cannot_be() {
    let (store, _) = store(4);
    let _tasks = [task(&store), task(&store)];
    let said = unchanged(&store, || store.list(&Filter::new().page_size(0)).map(|_| ()));
    assert_eq!(said, Err(ListError::EmptyPage));
    let page = store.list(&Filter::new().page_size(usize::MAX)).unwrap();
    assert_eq!(page.tasks.len(), 2, "a page too large is taken for the largest");
    let cursor = store.list(&Filter::new().page_size(1)).unwrap().next.unwrap();
    let (other, _) = common::store(4);
    let stale = |cursor: Cursor| other.list(&Filter::new().after(cursor)).map(|_| ());
    assert_eq!(unchanged(&other, || stale(cursor)), Err(ListError::StaleCursor));
    for junk in ["", "0", "nonsense", "0123456789abcdef", "+123456789abcdef1"] {
        assert!(junk.parse::<Cursor>().is_err(), "{junk:?}");
    }
    // A well-formed cursor that was made up counts as another store's, too.
    let made_up: Cursor = "0123456789abcdef7".parse().unwrap();
    let said = unchanged(&store, || store.list(&Filter::new().after(made_up)).map(|_| ()));
    assert_eq!(said, Err(ListError::StaleCursor));
}

#[test]
fn text_that_is_no_id_or_version() {
    for junk in
        ["", "7", "not-an-id", "67e55044-10b1-426f-9247-bb680e5fe0c", "67e55044-10b1-426f-9247-bb680e5fe0cg"]
    {
        assert!(junk.parse::<TaskId>().is_err(), "{junk:?}");
    }
    for junk in ["", "1", "1-2", "1-2-3-4", "x-2-3", "1-2-ffffffffffffffff0", "W/\"1-2-3\"", "-1-2-3"] {
        assert!(junk.parse::<Version>().is_err(), "{junk:?}");
    }
    for junk in ["", "RUNNING", "running ", "done"] {
        assert!(junk.parse::<State>().is_err(), "{junk:?}");
    }
}

#[test]
fn stores_that_cannot_be_built() {
    for capacity in [0, MAX_CAPACITY + 1, usize::MAX] {
        let error = Store::builder().capacity(capacity).build().err();
        assert_eq!(error, Some(BuildError::Capacity { capacity, limit: MAX_CAPACITY }));
        let text = error.unwrap().to_string();
        assert!(text.contains(&capacity.to_string()) && text.contains(&MAX_CAPACITY.to_string()), "{text}");
    }
    let tick = KeeperMode::Thread { tick: Duration::ZERO };
    assert_eq!(Store::builder().capacity(1).keeper(tick).build().err(), Some(BuildError::ZeroTick));
}
