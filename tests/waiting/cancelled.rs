//! `cancelled`: the worker's side of a request to cancel.

use std::task::Poll;

use inflight::{FailureReason, NewTask, State, Store, TaskId};

use crate::support::{Bell, comes_to_an_end, pending, running, status, store, tick};

#[test]
fn i6_cancelled_resolves_at_once_when_it_is_requested_and_at_nothing_else() {
    let (store, clock) = store(16);
    let mut task = pending(&store);
    let bell = Bell::new();
    let mut cancelled = task.cancelled();
    assert_eq!(bell.poll(&mut cancelled), Poll::Pending);
    task.start().unwrap();
    task.advance(1).unwrap();
    task.set_message("at work").unwrap();
    task.set_total(10).unwrap();
    task.block().unwrap();
    task.resume().unwrap();
    tick(&store, &clock);
    assert_eq!(bell.rung(), 0);
    assert_eq!(bell.poll(&mut cancelled), Poll::Pending);

    let _ = store.cancel(task.id()).unwrap();
    assert_eq!(bell.rung(), 1);
    assert_eq!(bell.poll(&mut cancelled), Poll::Ready(()));
    assert_eq!(bell.poll(&mut task.cancelled()), Poll::Ready(()), "it stays requested");
    assert_eq!(status(&store, &task).state(), State::Running, "the worker decides");
    task.cancel().unwrap();
    assert_eq!(bell.poll(&mut task.cancelled()), Poll::Ready(()));
}

#[test]
fn i6_cancelled_resolves_when_the_task_ends() {
    let (store, clock) = store(16);
    let bell = Bell::new();

    let task = pending(&store);
    let mut cancelled = task.cancelled();
    assert_eq!(bell.poll(&mut cancelled), Poll::Pending);
    assert_eq!(store.cancel(task.id()).unwrap().state(), State::Cancelled);
    assert_eq!(bell.rung(), 1, "a pending task is cancelled at once");
    assert_eq!(bell.poll(&mut cancelled), Poll::Ready(()));

    let task = running(&store).share();
    let mut cancelled = task.cancelled();
    assert_eq!(bell.poll(&mut cancelled), Poll::Pending);
    task.clone().fail(FailureReason::Error, ()).unwrap();
    assert_eq!(bell.rung(), 1);
    assert_eq!(bell.poll(&mut cancelled), Poll::Ready(()));

    let task = store.create(NewTask::new("test").lease(std::time::Duration::from_millis(20))).unwrap();
    let mut cancelled = task.cancelled();
    assert_eq!(bell.poll(&mut cancelled), Poll::Pending);
    tick(&store, &clock);
    assert_eq!(bell.rung(), 1, "the lease has run out");
    assert_eq!(bell.poll(&mut cancelled), Poll::Ready(()));

    let task = running(&store);
    let mut cancelled = task.cancelled();
    assert_eq!(bell.poll(&mut cancelled), Poll::Pending);
    drop(task);
    assert_eq!(bell.rung(), 1, "the handle is gone");
    assert_eq!(bell.poll(&mut cancelled), Poll::Ready(()));
}

// At its first poll the future looked its task up by the id, and found whichever task had that id by then.
#[test]
fn i7_cancelled_is_about_its_own_task_even_if_the_clients_id_is_used_again() {
    let (store, _) = store(16);
    let id = TaskId::from_u128(0xABCD);
    let mut first = store.create(NewTask::new("test").id(id)).unwrap();
    let mut never_polled = first.cancelled();
    first.cancel().unwrap();
    let mut after_the_end = first.cancelled();
    let _ = store.remove(id).unwrap();
    let mut after_the_removal = first.cancelled();
    let mut second = store.create(NewTask::new("test").id(id)).unwrap();
    second.start().unwrap();
    let mut after_the_reuse = first.cancelled();
    let bell = Bell::new();
    for cancelled in [&mut never_polled, &mut after_the_end, &mut after_the_removal, &mut after_the_reuse] {
        assert_eq!(bell.poll(cancelled), Poll::Ready(()));
    }
    assert_eq!(bell.poll(&mut second.cancelled()), Poll::Pending);
    let _ = store.cancel(id).unwrap();
    assert!(second.cancel_requested() && !first.cancel_requested());
}

#[test]
fn i6_cancelled_does_not_keep_the_line() {
    let (store, _) = store(1);
    let mut task = running(&store);
    let kept = task.cancelled();
    let forgotten = task.cancelled();
    task.succeed(()).unwrap();
    std::mem::forget(forgotten);
    let _ = store.remove(task.id()).unwrap();
    assert!(store.create(NewTask::new("test")).is_err(), "the handle keeps it");
    drop(task);
    assert!(store.create(NewTask::new("test")).is_ok(), "the line is free");
    drop(kept);
}

#[tokio::test]
async fn i6_cancelled_in_a_select_ends_the_work_and_leaves_the_handle_usable() {
    let store = Store::builder().capacity(16).build().unwrap();
    let mut task = running(&store);
    let id = task.id();
    let worker = tokio::spawn(async move {
        let cancelled = task.cancelled();
        tokio::pin!(cancelled);
        loop {
            tokio::select! {
                () = &mut cancelled => break,
                () = tokio::task::yield_now() => task.advance(1).unwrap(),
            }
        }
        task.cancel().unwrap();
    });
    let wait = store.wait(id);
    assert_eq!(store.cancel(id).unwrap().state(), State::Running);
    assert_eq!(wait.await.unwrap().state(), State::Cancelled);
    worker.await.unwrap();
}

#[test]
fn i6_a_new_cancelled_in_each_round_of_a_loop_piles_nothing_up() {
    comes_to_an_end(|| {
        let (store, _) = store(16);
        let task = running(&store);
        let bell = Bell::new();
        for _ in 0..10_000 {
            let mut cancelled = task.cancelled();
            assert_eq!(bell.poll(&mut cancelled), Poll::Pending);
        }
        assert_eq!(bell.held(), 0);
        let _ = store.cancel(task.id()).unwrap();
        assert_eq!(bell.rung(), 0, "those were dropped");
    });
}
