//! Ids: their form, their origin, and what a lookup reports for an id without a task.
//!
//! * Ids print and parse as UUIDs in all their forms; minted ids are of version 8.
//! * Clients' UUIDs of any version work in every call as minted ids do, and can be used again.
//! * I7: no id is minted twice, and no stale id leads to the line's next task.
//! * I11: the store knows of every id that it ever minted that it is gone, and why, until its line is used
//!   again. It says this of no other id: not of a forged one, one of another store, or a client's own.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;

use std::collections::HashSet;
use std::time::Duration;

use common::{builder, running, store, task};
use inflight::{
    Absent, CancelError, Filter, GoneReason, ManualClock, NewTask, Retention, State, Store, TaskId,
};
use uuid::Uuid;

/// One UUID of each version, and some without a version.
const CLIENTS: [u128; 12] = [
    0,
    u128::MAX,
    0xC232_AB00_9414_11EC_B3C8_9F6B_DECE_D846,
    0x0000_03E8_9414_21EC_B300_3250_96B3_9F47,
    0x5DF4_1881_3AED_3515_88A7_2F4A_814C_F09E,
    0x9191_08F7_52D1_4320_9BAC_F847_DB41_48A8,
    0x2ED6_657D_E927_568B_95E1_2665_A8AE_A6A2,
    0x1EC9_414C_232A_6B00_B3C8_9F6B_DECE_D846,
    0x017F_22E2_79B0_7CC3_98C4_DC0C_0C07_398F,
    // The form of a minted id: slot 0 with its first tenant, and a slot that does not exist.
    0x0000_0000_0000_8001_8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_8FFF_BFFF_FFFF_FFFF_FFFF,
    7,
];

fn end(store: &Store, id: TaskId) {
    assert!(store.get(id).unwrap().is_terminal());
    let _ = store.remove(id).unwrap();
}

#[test]
fn ids_print_and_parse_as_uuids() {
    let (store, _) = store(1);
    let minted = task(&store).id();
    for bits in CLIENTS.into_iter().chain([minted.as_u128()]) {
        let (id, uuid) = (TaskId::from_u128(bits), Uuid::from_u128(bits));
        assert_eq!((TaskId::from(uuid), Uuid::from(id), id.as_u128()), (id, uuid, bits));
        assert_eq!(id.to_string(), uuid.to_string());
        let forms = [
            uuid.to_string(),
            uuid.to_string().to_uppercase(),
            uuid.simple().to_string(),
            uuid.braced().to_string(),
            uuid.urn().to_string(),
        ];
        for form in forms {
            assert_eq!(form.parse(), Ok(id), "{form}");
        }
        assert!(format!("{id:?}").contains(&id.to_string()));
    }
    let uuid = Uuid::from(minted);
    assert_eq!((uuid.get_version_num(), uuid.get_variant()), (8, uuid::Variant::RFC4122));
    assert_eq!(store.get(uuid).map(|status| status.id()), Some(minted), "a UUID will do");
}

#[test]
fn i7_i11_a_clients_id_of_any_version_is_as_good() {
    let (store, _) = store(2 * CLIENTS.len());
    for bits in CLIENTS {
        let id = TaskId::from_u128(bits);
        assert_eq!((store.get(id), store.lookup(id)), (None, Err(Absent::Unknown)), "{id}");
        let mut last = None;
        for _ in 0..2 {
            let mut task = store.create(NewTask::new("test").id(id).label("bits", id.to_string())).unwrap();
            assert_eq!(task.id(), id);
            task.start().unwrap();
            task.advance(3).unwrap();
            let status = store.get(id).unwrap();
            assert_eq!((status.id(), status.state(), status.done()), (id, State::Running, 3));
            assert_eq!((store.lookup(id), store.get_many(&[id])), (Ok(status), vec![Some(status)]));
            assert_eq!(task.status(), Some(status));
            assert!(last.is_none_or(|last| status.version() > last), "I5: it is another task");
            let listed = store.list(&Filter::new().label("bits", id.to_string())).unwrap().tasks;
            assert_eq!(listed.iter().map(|task| task.status()).collect::<Vec<_>>(), [status]);
            let child = store.create(NewTask::new("test").parent(id)).unwrap();
            assert_eq!(store.details(child.id()).unwrap().parent(), Some(id));
            assert_eq!(store.children(id).unwrap().count(), 1);
            let orphan = child.id();
            drop(child);
            end(&store, orphan);
            assert!(store.cancel(id).unwrap().cancel_requested());
            assert!(task.cancel_requested());
            task.cancel().unwrap();
            assert_eq!(store.cancel(id), Err(CancelError::Ended(store.get(id).unwrap())));
            end(&store, id);
            assert_eq!(store.lookup(id), Err(Absent::Unknown), "nothing is kept of clients' ids");
            assert_eq!(task.status(), None);
            last = Some(status.version());
        }
    }
    assert_eq!(store.counts().total(), 0);
}

/// By then more than one bucket of the alias index is full, so some of these ids are found in another way.
#[test]
fn i5_i7_a_store_full_of_clients_ids_finds_each() {
    const TASKS: u128 = 4_095;
    let (store, _) = store(TASKS as usize + 1); // The handle of a task that is gone still holds its line.
    let id = |n: u128| TaskId::from_u128((n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C834));
    let create = |n| store.create(NewTask::new("test").id(id(n)).total(n as u64)).unwrap();
    let seen = |n| store.get(id(n)).map(|status| (status.id(), status.total()));
    let mut tasks: Vec<_> = (0..TASKS).map(create).collect();
    for round in 0..3 {
        assert!((0..TASKS).all(|n| seen(n) == Some((id(n), Some(n as u64)))), "round {round}");
        assert!((TASKS..2 * TASKS).all(|n| store.get(id(n)).is_none()));
        let versions: Vec<_> = (0..TASKS).map(|n| store.get(id(n)).unwrap().version()).collect();
        for n in (round..TASKS).step_by(3) {
            tasks[n as usize].cancel().unwrap();
            end(&store, id(n));
            assert_eq!(store.get(id(n)), None);
            // On the line that has been free for longest, which belonged to another task.
            tasks[n as usize] = create(n);
            assert!(store.get(id(n)).unwrap().version() > versions[n as usize]);
        }
    }
    for (n, task) in tasks.iter_mut().enumerate() {
        task.cancel().unwrap();
        end(&store, id(n as u128));
    }
    assert!((0..2 * TASKS).all(|n| store.get(id(n)).is_none()));
}

#[test]
fn i7_no_id_is_minted_twice_and_none_leads_to_the_next_task() {
    const ROUNDS: usize = 5_000; // More than 12 bits, the lowest part of a generation.
    let (store, _) = store(1);
    let mut ids = Vec::new();
    for _ in 0..ROUNDS {
        let mut task = task(&store);
        task.cancel().unwrap();
        end(&store, task.id());
        ids.push(task.id());
    }
    let last = task(&store);
    for id in &ids {
        assert_eq!((store.get(*id), store.lookup(*id)), (None, Err(Absent::Gone(None))));
        assert!(store.details(*id).is_err() && store.cancel(*id).is_err() && store.remove(*id).is_err());
    }
    assert_eq!(last.status().unwrap().state(), State::Pending, "it was not cancelled");
    ids.push(last.id());
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ROUNDS + 1);
}

#[test]
fn i11_gone_says_why_until_the_line_is_used_again() {
    let clock = ManualClock::new();
    let second = Duration::from_secs(1);
    let retention = Retention::forever().succeeded_for(second).at_most_failed(0);
    let store = builder(3, &clock).retain(retention).build().unwrap();
    let [mut expired, mut evicted, mut removed] = [running(&store), running(&store), running(&store)];
    let ids = [expired.id(), evicted.id(), removed.id()];
    expired.succeed(()).unwrap();
    evicted.fail(inflight::FailureReason::Error, ()).unwrap();
    removed.cancel().unwrap();
    clock.advance(second);
    store.tick();
    end(&store, ids[2]);
    let reasons = [GoneReason::Expired, GoneReason::Evicted, GoneReason::Removed];
    let gone = |reasons: [Option<GoneReason>; 3]| {
        for (id, reason) in ids.into_iter().zip(reasons) {
            assert_eq!(store.lookup(id), Err(Absent::Gone(reason)));
            assert_eq!(store.details(id).map(|_| ()), Err(Absent::Gone(reason)));
            assert_eq!(store.children(id), Err(Absent::Gone(reason)));
            assert_eq!(store.get(id), None);
        }
    };
    gone(reasons.map(Some));
    drop((expired, evicted, removed));
    gone(reasons.map(Some));
    let again = [task(&store), task(&store), task(&store)];
    gone([None; 3]);
    drop(again);
    for _ in 0..3 {
        assert_eq!(store.lookup(ids[0]), Err(Absent::Gone(None)), "for good");
        store.tick();
        drop(task(&store));
    }
}

/// The longest free line is used first, so the reasons last.
#[test]
fn i11_reasons_last_as_long_as_there_is_room() {
    let (store, _) = store(100);
    let tasks: Vec<_> = (0..100).map(|_| task(&store)).collect();
    let gone: Vec<TaskId> = tasks.iter().map(|task| task.id()).collect();
    drop(tasks);
    gone.iter().for_each(|id| end(&store, *id));
    let _others: Vec<_> = (0..50).map(|_| task(&store)).collect();
    for (at, id) in gone.iter().enumerate() {
        let reason = (at >= 50).then_some(GoneReason::Removed);
        assert_eq!(store.lookup(*id), Err(Absent::Gone(reason)), "the {at}th to go");
    }
}

#[test]
fn i11_a_forged_id_is_unknown() {
    let (store, _) = store(2);
    let live = running(&store);
    let gone = task(&store).id();
    end(&store, gone);
    for id in [live.id(), gone] {
        for bit in 0..128 {
            let forged = TaskId::from_u128(id.as_u128() ^ 1 << bit);
            assert_eq!(store.lookup(forged), Err(Absent::Unknown), "bit {bit}");
            assert_eq!(store.get_many(&[forged]), [None]);
            assert_eq!(store.cancel(forged), Err(CancelError::Absent(Absent::Unknown)));
        }
    }
    assert!(!live.cancel_requested());
}

#[test]
fn i11_another_stores_ids_are_unknown() {
    let [(one, _), (other, _)] = [store(1), store(1)];
    let (here, there) = (running(&one), running(&other));
    assert_eq!(one.lookup(there.id()), Err(Absent::Unknown), "same slot, same generation, other key");
    assert_eq!(other.lookup(here.id()), Err(Absent::Unknown));
    // So the other store takes it as a client's id: a task that moves keeps its id.
    drop(here);
    let old = one.list(&Filter::new()).unwrap().tasks[0].status().id();
    end(&one, old);
    let moved = one.create(NewTask::new("test").id(there.id())).unwrap();
    assert_eq!(one.lookup(there.id()), Ok(moved.status().unwrap()));
}

/// No proof, but a tag that does not depend on a secret would fail here.
#[test]
fn ids_cannot_be_guessed_from_each_other() {
    const IDS: usize = 4_096;
    const TAG: u32 = 58;
    let (store, _) = store(IDS);
    let tasks: Vec<_> = (0..IDS).map(|_| task(&store)).collect();
    let tags: Vec<u64> = tasks.iter().map(|task| task.id().as_u128() as u64 & ((1 << TAG) - 1)).collect();
    assert_eq!(tags.iter().collect::<HashSet<_>>().len(), IDS);
    for bit in 0..TAG {
        let set = tags.iter().filter(|tag| **tag >> bit & 1 == 1).count();
        assert!((IDS * 2 / 5..IDS * 3 / 5).contains(&set), "bit {bit} is set in {set} of {IDS}");
    }
    let far: u32 = tags.windows(2).map(|pair| (pair[0] ^ pair[1]).count_ones()).sum();
    let mean = f64::from(far) / (IDS - 1) as f64;
    assert!((27.0..31.0).contains(&mean), "neighbours differ in {mean} of {TAG} bits");
    let steps: HashSet<u64> = tags.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert_eq!(steps.len(), IDS - 1, "and no step occurs twice");
    let other = common::store(IDS).0;
    let theirs: HashSet<u64> =
        (0..IDS).map(|_| task(&other).id().as_u128() as u64 & ((1 << TAG) - 1)).collect();
    assert!(tags.iter().all(|tag| !theirs.contains(tag)), "another store, another key");
}
