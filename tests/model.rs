//! The store against a plain map: the same operations have the same results.
//!
//! proptest generates sequences of all operations on a small store whose clock and keeper are driven by hand:
//! creation (with clients' ids, parents, leases, times to live), all writes of both kinds of handle,
//! cancellation, removal, dropped handles, ticks, the passing of time and steps of the wall clock.
//! `model/spec.rs` says what each operation must return; after each, the whole store is compared with it.
//!
//! * I3, I4: transitions, which one wins, and that a terminal task stays as it is, its times included.
//! * I5: the version grows if and only if something observable has changed, also from one task with a
//!   client's id to the next.
//! * I7: a handle that outlived its task does not affect the next task with the same id.
//! * I9: which tasks are removed, when and why; and that a creation is refused exactly when the store is
//!   full.
//! * I10: leases and dropped handles.
//! * I11: unknown and gone, with the reason unless the line may have been used again.
//! * I12: counts, and a parent's sums.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a failed test panics")]

mod common;
#[path = "model/driver.rs"]
mod driver;
#[path = "model/spec.rs"]
mod spec;

use proptest::prelude::*;

use driver::Pair;
use spec::{Act, New, Op};

const SECONDS: u64 = 1_000;

fn counts() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..10_u64,
        1 => Just(inflight::MAX_COUNT),
        1 => Just(inflight::MAX_COUNT - 3),
        1 => Just(inflight::MAX_COUNT + 1),
        1 => Just(u64::MAX),
    ]
}

fn new() -> impl Strategy<Value = New> {
    let sometimes = |span: u64| prop_oneof![3 => Just(None), 1 => (1..span).prop_map(Some)];
    (
        prop_oneof![3 => Just(None), 2 => (0..4_usize).prop_map(Some)],
        prop_oneof![2 => Just(None), 2 => (0..12_usize).prop_map(Some)],
        prop::option::of(counts()),
        sometimes(4 * SECONDS),
        sometimes(6 * SECONDS),
        0..3_usize,
        prop::option::of(0..3_usize),
    )
        .prop_map(|(client, parent, total, lease, ttl, kind, label)| New {
            client,
            parent,
            total,
            lease,
            ttl,
            kind,
            label,
        })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => Just(Act::Start),
        1 => Just(Act::Block),
        1 => Just(Act::Resume),
        1 => Just(Act::Retry),
        4 => counts().prop_map(Act::Advance),
        2 => [counts(), counts()].prop_map(Act::Counter),
        2 => counts().prop_map(Act::SetDone),
        2 => counts().prop_map(Act::SetTotal),
        1 => (0..12_usize).prop_map(Act::Message),
        2 => (0..12_usize).prop_map(Act::Succeed),
        1 => ((0..5_usize), (0..12_usize)).prop_map(|(reason, size)| Act::Fail(reason, size)),
        1 => Just(Act::Cancel),
        1 => Just(Act::Heartbeat),
        1 => Just(Act::Share),
        2 => Just(Act::Drop),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => new().prop_map(Op::Create),
        12 => (0..12_usize, act()).prop_map(|(task, act)| Op::Act(task, act)),
        2 => (0..12_usize).prop_map(Op::Cancel),
        2 => (0..12_usize).prop_map(Op::Remove),
        2 => (1..3 * SECONDS).prop_map(Op::Pass),
        3 => (1..3 * SECONDS).prop_map(Op::Tick),
        1 => (-100..100_i64).prop_map(Op::StepWall),
    ]
}

/// As many cases as take some seconds; `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = ProptestConfig::default();
    ProptestConfig { cases: asked.cases.max(384), failure_persistence: None, ..asked }
}

fn run(capacity: usize, ops: &[Op]) {
    let mut pair = Pair::new(capacity);
    for op in ops {
        pair.step(op);
    }
    pair.end();
}

proptest! {
    #![proptest_config(config())]

    /// The store is so small that creations are refused and lines used again all the time.
    #[test]
    fn i3_i4_i5_i7_i9_i10_i11_i12_a_crowded_store_is_a_map(ops in prop::collection::vec(op(), 1..120)) {
        run(4, &ops);
    }

    #[test]
    fn i3_i4_i5_i7_i9_i10_i11_i12_a_roomy_store_is_a_map(ops in prop::collection::vec(op(), 1..120)) {
        run(64, &ops);
    }
}
