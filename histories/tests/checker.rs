//! The checker itself: histories that it must accept, and histories that it must reject, by invariant.

#![allow(clippy::unwrap_used, reason = "a failed test panics, in its helpers, too")]

use std::time::Duration;

use inflight::{Absent, FailureReason, GoneReason, State, TaskId, Version};
use inflight_histories::{Call, Change, Ending, Event, History, NewCall, Reply, Seen, Verdict, check};

const ID: TaskId = TaskId::from_u128(77);
const NEW: NewCall = NewCall { id: Some(ID), total: None, leased: false, shared: true };
const PASS: Call = Call::Pass(Duration::from_secs(3600));

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn seen(state: State, done: u64, at: &str) -> Seen {
    let reason = (state == State::Failed).then_some(FailureReason::Error);
    Seen { state, reason, attempt: 1, done, total: None, cancel_requested: false, version: version(at) }
}

/// A history under construction: the calls follow each other, unless a span is given.
struct Story {
    now: u64,
    events: Vec<Event>,
    minted: bool,
}

impl Story {
    fn of_own_id() -> Self {
        Self { now: 0, events: Vec::new(), minted: false }
    }

    fn of_minted_id() -> Self {
        Self { minted: true, ..Self::of_own_id() }
    }

    /// A task that runs.
    fn running() -> Self {
        Self::of_own_id().then(Call::Create(NEW), Reply::Created(ID)).done(Call::Change(Change::Start))
    }

    fn then(self, call: Call, reply: Reply) -> Self {
        let began = self.now + 1;
        let story = self.during(began, began + 1, call, reply);
        Self { now: began + 1, ..story }
    }

    fn done(self, call: Call) -> Self {
        self.then(call, Reply::Done)
    }

    /// A call that overlaps others.
    fn during(mut self, began: u64, ended: u64, call: Call, reply: Reply) -> Self {
        let client = self.events.len();
        self.events.push(Event { client, began, ended, via: Some(1), call, reply, follows: false });
        self
    }

    /// The last call goes through this handle.
    fn via(mut self, handle: u64) -> Self {
        self.events.last_mut().unwrap().via = Some(handle);
        self
    }

    fn sees(self, what: Seen) -> Self {
        self.then(Call::Get, Reply::Seen(what))
    }

    fn misses(self, absent: Absent) -> Self {
        self.then(Call::Get, Reply::Absent(absent))
    }

    fn verdict(self) -> Verdict {
        let mut events = self.events;
        events.sort_by_key(|event| event.began);
        check(&History { id: ID, minted: self.minted, events })
    }

    #[track_caller]
    fn must_be_accepted(self) {
        assert_eq!(self.verdict(), Verdict::Linearizable);
    }

    #[track_caller]
    fn must_be_rejected(self) {
        assert!(matches!(self.verdict(), Verdict::NotLinearizable { .. }));
    }
}

const END: Call = Call::End(Ending::Succeeded, 5);

#[test]
fn a_life_is_accepted() {
    Story::of_own_id()
        .misses(Absent::Unknown)
        .then(Call::Create(NEW), Reply::Created(ID))
        .sees(seen(State::Pending, 0, "1-1-0"))
        .then(Call::Create(NEW), Reply::Duplicate)
        .via(2)
        .done(Call::Change(Change::Start))
        .done(Call::Advance(3))
        .sees(seen(State::Running, 3, "1-2-3"))
        .sees(seen(State::Running, 3, "1-2-3"))
        .then(END, Reply::Won)
        .then(Call::Advance(1), Reply::NotRunning)
        .then(Call::End(Ending::Failed, 6), Reply::Lost(seen(State::Succeeded, 3, "1-3-3")))
        .then(Call::Details, Reply::Detailed(seen(State::Succeeded, 3, "1-3-3"), None, Some("5".to_owned())))
        .then(Call::Remove, Reply::Seen(seen(State::Succeeded, 3, "1-3-3")))
        .misses(Absent::Unknown)
        .then(Call::Create(NEW), Reply::Created(ID))
        .via(2)
        .then(Call::Advance(1), Reply::Absent(Absent::Gone(None)))
        .sees(seen(State::Pending, 0, "2-1-0"))
        .must_be_accepted();
}

#[test]
fn what_overlaps_may_come_in_either_order() {
    for state in [(State::Pending, "1-1-0"), (State::Running, "1-2-0")] {
        Story::of_own_id()
            .then(Call::Create(NEW), Reply::Created(ID))
            .during(10, 20, Call::Change(Change::Start), Reply::Done)
            .during(11, 12, Call::Get, Reply::Seen(seen(state.0, 0, state.1)))
            .must_be_accepted();
    }
}

#[test]
fn i2_a_count_that_the_task_never_had_is_rejected() {
    Story::running().done(Call::Advance(2)).sees(seen(State::Running, 1, "1-2-1")).must_be_rejected();
}

#[test]
fn i2_a_state_and_a_count_of_different_moments_are_rejected() {
    Story::running()
        .done(Call::Advance(2))
        .done(Call::Change(Change::Retry))
        .sees(Seen { attempt: 2, ..seen(State::Pending, 2, "1-3-0") })
        .must_be_rejected();
}

#[test]
fn a_poll_from_before_a_change_that_has_ended_is_rejected() {
    Story::running().sees(seen(State::Pending, 0, "1-1-0")).must_be_rejected();
}

#[test]
fn two_polls_that_see_a_change_in_the_wrong_order_are_rejected() {
    Story::of_own_id()
        .then(Call::Create(NEW), Reply::Created(ID))
        .during(10, 20, Call::Change(Change::Start), Reply::Done)
        .during(11, 12, Call::Get, Reply::Seen(seen(State::Running, 0, "1-2-0")))
        .during(13, 14, Call::Get, Reply::Seen(seen(State::Pending, 0, "1-1-0")))
        .must_be_rejected();
}

#[test]
fn i3_two_winners_are_rejected() {
    Story::running()
        .during(10, 20, END, Reply::Won)
        .during(11, 21, Call::End(Ending::Failed, 6), Reply::Won)
        .must_be_rejected();
}

#[test]
fn i3_a_loser_that_is_told_of_another_end_is_rejected() {
    Story::running()
        .then(END, Reply::Won)
        .then(Call::End(Ending::Failed, 6), Reply::Lost(seen(State::Failed, 0, "1-3-0")))
        .must_be_rejected();
}

#[test]
fn i3_a_transition_outside_the_table_is_rejected() {
    Story::running().done(Call::Change(Change::Resume)).must_be_rejected();
    Story::running().then(Call::Change(Change::Start), Reply::NotAllowed(State::Blocked)).must_be_rejected();
}

#[test]
fn i4_progress_after_the_end_is_rejected() {
    Story::running().then(END, Reply::Won).done(Call::Advance(1)).must_be_rejected();
    Story::running()
        .then(END, Reply::Won)
        .sees(seen(State::Succeeded, 0, "1-3-0"))
        .sees(seen(State::Succeeded, 1, "1-3-1"))
        .must_be_rejected();
}

#[test]
fn i4_a_result_that_is_not_there_yet_is_rejected() {
    Story::running()
        .then(END, Reply::Won)
        .then(Call::Details, Reply::Detailed(seen(State::Succeeded, 0, "1-3-0"), None, None))
        .must_be_rejected();
}

#[test]
fn i5_a_version_that_goes_back_or_stays_is_rejected() {
    let running = || Story::running().sees(seen(State::Running, 0, "1-2-0")).done(Call::Advance(1));
    running().sees(seen(State::Running, 1, "1-2-1")).must_be_accepted();
    running().sees(seen(State::Running, 1, "1-2-0")).must_be_rejected();
    running().sees(seen(State::Running, 1, "1-1-9")).must_be_rejected();
    Story::running()
        .sees(seen(State::Running, 0, "1-2-0"))
        .sees(seen(State::Running, 0, "1-3-0"))
        .must_be_rejected();
}

#[test]
fn i5_a_version_that_goes_back_when_an_id_is_used_again_is_rejected() {
    Story::of_own_id()
        .then(Call::Create(NEW), Reply::Created(ID))
        .then(Call::Cancel, Reply::Done)
        .then(Call::Remove, Reply::Seen(seen(State::Cancelled, 0, "7-2-0")))
        .then(Call::Create(NEW), Reply::Created(ID))
        .sees(seen(State::Pending, 0, "6-1-0"))
        .must_be_rejected();
}

#[test]
fn i7_an_old_handle_that_writes_into_the_next_task_is_rejected() {
    Story::of_own_id()
        .then(Call::Create(NEW), Reply::Created(ID))
        .then(Call::Cancel, Reply::Done)
        .then(Call::Remove, Reply::Seen(seen(State::Cancelled, 0, "1-2-0")))
        .then(Call::Create(NEW), Reply::Created(ID))
        .via(2)
        .done(Call::Change(Change::Start))
        .must_be_rejected();
}

#[test]
fn i7_an_id_that_is_minted_twice_is_rejected() {
    Story::of_minted_id()
        .then(Call::Create(NewCall { id: None, ..NEW }), Reply::Created(ID))
        .then(Call::Cancel, Reply::Done)
        .then(Call::Remove, Reply::Seen(seen(State::Cancelled, 0, "1-2-0")))
        .then(Call::Create(NewCall { id: None, ..NEW }), Reply::Created(ID))
        .must_be_rejected();
}

#[test]
fn i9_a_live_task_that_is_let_go_of_is_rejected() {
    Story::running().done(PASS).misses(Absent::Unknown).must_be_rejected();
    Story::running().then(Call::Remove, Reply::Seen(seen(State::Running, 0, "1-2-0"))).must_be_rejected();
}

#[test]
fn i9_a_task_that_is_due_and_stays_is_rejected() {
    let ended = || Story::running().then(END, Reply::Won);
    ended().done(PASS).misses(Absent::Unknown).must_be_accepted();
    ended().done(PASS).sees(seen(State::Succeeded, 0, "1-3-0")).must_be_rejected();
    // A task that ends while time passes may have ended after the clock moved.
    Story::running()
        .during(10, 20, END, Reply::Won)
        .during(11, 21, PASS, Reply::Done)
        .during(22, 23, Call::Get, Reply::Seen(seen(State::Succeeded, 0, "1-3-0")))
        .must_be_accepted();
}

#[test]
fn i10_a_lease_that_outlives_its_time_is_rejected() {
    let leased = || {
        Story::of_own_id()
            .then(Call::Create(NewCall { leased: true, ..NEW }), Reply::Created(ID))
            .done(Call::Change(Change::Start))
            .done(PASS)
    };
    let lost = Seen { reason: Some(FailureReason::Lost), ..seen(State::Failed, 0, "1-3-0") };
    leased().sees(lost).must_be_accepted();
    leased().done(Call::Heartbeat).must_be_rejected();
    leased().sees(seen(State::Running, 0, "1-2-0")).must_be_rejected();
}

#[test]
fn i11_gone_and_unknown_are_told_apart() {
    Story::of_own_id().misses(Absent::Gone(None)).must_be_rejected();
    let removed = || {
        Story::of_minted_id()
            .then(Call::Create(NewCall { id: None, ..NEW }), Reply::Created(ID))
            .then(Call::Cancel, Reply::Done)
            .then(Call::Remove, Reply::Seen(seen(State::Cancelled, 0, "1-2-0")))
    };
    removed().misses(Absent::Gone(Some(GoneReason::Removed))).must_be_accepted();
    removed().misses(Absent::Gone(None)).must_be_accepted();
    removed().misses(Absent::Unknown).must_be_rejected();
    removed().misses(Absent::Gone(Some(GoneReason::Expired))).must_be_rejected();
}

#[test]
fn an_id_in_use_is_refused_and_a_free_one_is_not() {
    Story::of_own_id().then(Call::Create(NEW), Reply::Duplicate).must_be_rejected();
    Story::of_own_id()
        .then(Call::Create(NEW), Reply::Created(ID))
        .then(Call::Create(NEW), Reply::Created(ID))
        .via(2)
        .must_be_rejected();
}

#[test]
fn an_unclear_call_may_take_effect_late_or_never_but_not_twice() {
    let unclear = || {
        let story = Story::running().sees(seen(State::Running, 0, "1-2-0"));
        let began = story.now + 1;
        let story = story.during(began, u64::MAX, Call::Advance(1), Reply::Unclear);
        Story { now: began, ..story }
    };
    unclear().sees(seen(State::Running, 0, "1-2-0")).must_be_accepted();
    unclear().sees(seen(State::Running, 1, "1-2-1")).must_be_accepted();
    let late = unclear().sees(seen(State::Running, 0, "1-2-0"));
    late.sees(seen(State::Running, 1, "1-2-1")).must_be_accepted();
    let twice = unclear().sees(seen(State::Running, 1, "1-2-1"));
    twice.sees(seen(State::Running, 2, "1-2-2")).must_be_rejected();
}

#[test]
fn the_second_part_of_a_cancellation_does_not_come_before_the_first() {
    let asked = |first: Seen| {
        let story = Story::running().during(10, 20, Call::Cancel, Reply::Done);
        let mut story = story.during(10, 20, Call::Get, Reply::Seen(first));
        story.events.last_mut().unwrap().follows = true;
        story
    };
    let requested = Seen { cancel_requested: true, ..seen(State::Running, 0, "1-3-0") };
    asked(requested).must_be_accepted();
    asked(seen(State::Running, 0, "1-2-0")).must_be_rejected();
}

#[test]
fn progress_that_an_end_refuses_may_be_seen_before_it_and_never_after() {
    let story = |poll: (u64, u64), state: State, done: u64, at: &str| {
        Story::running()
            .done(Call::Advance(2))
            .during(10, 20, END, Reply::Won)
            .during(11, 15, Call::Advance(5), Reply::NotRunning)
            .during(poll.0, poll.1, Call::Get, Reply::Seen(seen(state, done, at)))
    };
    assert_eq!(story((16, 17), State::Running, 7, "1-2-7").verdict(), Verdict::LooseEdges);
    assert_eq!(story((16, 17), State::Running, 2, "1-2-2").verdict(), Verdict::LooseEdges);
    story((16, 17), State::Running, 8, "1-2-8").must_be_rejected();
    story((16, 17), State::Succeeded, 7, "1-3-7").must_be_rejected();
    story((21, 22), State::Running, 7, "1-2-7").must_be_rejected();
}

#[test]
fn progress_may_count_before_its_start_shows_and_is_in_the_count_then() {
    let story = |done: u64, at: &str| {
        Story::of_own_id()
            .then(Call::Create(NEW), Reply::Created(ID))
            .during(10, 20, Call::Change(Change::Start), Reply::Done)
            .during(11, 12, Call::Advance(5), Reply::Done)
            .during(13, 14, Call::Get, Reply::Seen(seen(State::Pending, 0, "1-1-0")))
            .during(21, 22, Call::Get, Reply::Seen(seen(State::Running, done, at)))
    };
    assert_eq!(story(5, "1-2-5").verdict(), Verdict::LooseEdges);
    story(0, "1-2-0").must_be_rejected();
    // Without a concurrent start it is refused.
    let pending = || Story::of_own_id().then(Call::Create(NEW), Reply::Created(ID));
    pending().done(Call::Advance(5)).done(Call::Change(Change::Start)).must_be_rejected();
}
