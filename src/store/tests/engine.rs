//! Aliases and waiters, as the engine keeps them.
#![allow(clippy::unwrap_used, reason = "what tests share fails as they do")]

use crate::model::id::TaskId;
use crate::record::new_task::NewTask;
use crate::store::Store;

// A create that had read the alias just before its task was removed called the id a duplicate.
#[test]
fn i7_a_tenant_is_gone_also_when_its_line_has_the_next_one() {
    let store = Store::builder().capacity(1).build().unwrap();
    let id = TaskId::from_u128(7);
    let mut task = store.create(NewTask::new("first").id(id)).unwrap();
    let alias = store.engine.registry.find_alias(id, Some).unwrap();
    let is_alive = || store.engine.is_alive(alias.address);
    assert!(is_alive());
    task.cancel().unwrap();
    assert!(is_alive(), "it has ended, but is there");
    let _ = store.remove(id).unwrap();
    assert!(!is_alive());
    drop(task);
    let _next = store.create(NewTask::new("next")).unwrap();
    assert!(!is_alive());
}

#[test]
fn i6_a_waiter_that_is_dropped_deregisters() {
    let store = Store::builder().capacity(16).build().unwrap();
    let task = store.create(NewTask::new("test")).unwrap();
    let record = store.engine.find(task.id()).unwrap();
    let (first, last) = (store.wait(task.id()), store.watch(task.id()));
    for _ in 0..100 {
        drop((store.wait(task.id()), store.watch(task.id()), task.cancelled()));
    }
    let registered = || record.lock().waiters().map(|waiters| (waiters.len(), waiters.want_progress()));
    assert_eq!(registered(), Some((2, true)));
    drop(last);
    assert_eq!(registered(), Some((1, false)), "each has its own");
    drop(first);
    assert_eq!(registered(), None);
}

#[test]
fn i7_a_removed_task_leaves_nothing_in_the_index_of_clients_ids() {
    let store = Store::builder().capacity(1).build().unwrap();
    let registry = &store.engine.registry;
    let minted_form = |n: u128| TaskId::from_u128(n << 80 | 8 << 76 | 2 << 62);
    assert!(minted_form(1).has_address_form());
    for n in 1..100 {
        for id in [minted_form(n), TaskId::from_u128(n)] {
            drop(store.create(NewTask::new("test").id(id)).unwrap());
            assert!(registry.find_alias(id, Some).is_some());
            assert!(registry.may_be_foreign(minted_form(200)) == id.has_address_form());
            let _ = store.remove(id).unwrap();
            assert!(registry.find_alias(id, Some).is_none());
            assert!(!registry.may_be_foreign(minted_form(200)), "a poll of a minted id hashes nothing (I1)");
        }
    }
}
