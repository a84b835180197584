//! The process's panic hook, and messages of panics (I10). A binary of its own, since the hook is the
//! process's; its tests take turns.
//!
//! * A store that is built looks after the hook, also where another store was built before.
//! * A hook that is set later takes the messages away, until the next store is built or
//!   `keep_panic_messages` is called.
//! * The hook that was there before is called once for each panic.
#![allow(clippy::unwrap_used, reason = "a test fails where it is surprised")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::running;
use inflight::{Store, keep_panic_messages};

/// How often the hook of the user was called.
static CALLED: AtomicUsize = AtomicUsize::new(0);

/// Has the hook for itself.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A hook of a user's that does not call the one before it.
fn set_users_hook() {
    set_hook(Box::new(|panic| {
        CALLED.fetch_add(1, Ordering::SeqCst);
        eprintln!("{panic}");
    }));
}

fn build() -> Store {
    Store::builder().capacity(128).build().unwrap()
}

/// What a task says whose worker panics with `message`, and how often the user's hook was called for it.
fn panics(store: &Store, message: &'static str) -> (String, usize) {
    let task = running(store);
    let id = task.id();
    let before = CALLED.load(Ordering::SeqCst);
    let caught = catch_unwind(AssertUnwindSafe(move || {
        let _task = task;
        panic!("{message}");
    }));
    assert!(caught.is_err());
    let details = store.details(id).unwrap();
    let text = details.error().and_then(|error| error.as_text()).unwrap().to_owned();
    (text, CALLED.load(Ordering::SeqCst) - before)
}

#[test]
fn i10_a_hook_that_is_set_after_the_store_is_added_to_on_request() {
    let _turn = turn();
    let store = build();
    set_users_hook();
    assert_eq!(panics(&store, "unheard"), ("the worker panicked".to_owned(), 1), "as documented");
    keep_panic_messages();
    assert_eq!(panics(&store, "heard"), ("heard".to_owned(), 1));
    drop(take_hook());
}

#[test]
fn i10_a_second_store_adds_to_a_hook_that_was_set_after_the_first() {
    let _turn = turn();
    let first = build();
    set_users_hook();
    let second = build();
    assert_eq!(panics(&second, "in the second"), ("in the second".to_owned(), 1));
    assert_eq!(panics(&first, "in the first"), ("in the first".to_owned(), 1));
    drop(take_hook());
}

/// A hook in whose place another one was allocated was taken for it, by its address.
#[test]
fn i10_a_hook_that_was_dropped_is_not_taken_for_one_that_is_there() {
    let _turn = turn();
    let store = build();
    for _ in 0..100 {
        drop(take_hook());
        set_users_hook();
        keep_panic_messages();
        assert_eq!(panics(&store, "heard"), ("heard".to_owned(), 1));
    }
    drop(take_hook());
}

#[test]
fn i10_a_users_hook_is_called_once_however_many_stores_there_are() {
    let _turn = turn();
    set_users_hook();
    let stores: Vec<Store> = (0..100).map(|_| build()).collect();
    assert_eq!(panics(stores.last().unwrap(), "heard"), ("heard".to_owned(), 1));
    // The user silences panics for a while, and a store is built meanwhile.
    for _ in 0..100 {
        let before = take_hook();
        set_hook(Box::new(|_| {}));
        let quiet = build();
        assert_eq!(panics(&quiet, "heard"), ("heard".to_owned(), 0));
        set_hook(before);
        assert_eq!(panics(&build(), "heard"), ("heard".to_owned(), 1));
    }
    drop(take_hook());
}

/// What is asked for while a panic unwinds is not possible then, and does no harm.
#[test]
fn i10_a_store_that_is_built_while_the_thread_panics() {
    struct Builds;
    impl Drop for Builds {
        fn drop(&mut self) {
            keep_panic_messages();
            let _store = build();
        }
    }
    let _turn = turn();
    drop(take_hook());
    set_users_hook();
    let caught = catch_unwind(|| {
        let _builds = Builds;
        panic!("unwinds");
    });
    assert!(caught.is_err());
    assert_eq!(panics(&build(), "heard"), ("heard".to_owned(), 1));
    drop(take_hook());
}
