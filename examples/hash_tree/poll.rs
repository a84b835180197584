//! The pollers: they poll random tasks without pause, and check what they see against the rules.

use std::sync::atomic::{AtomicBool, Ordering};

use inflight::{FailureReason, State, Status, Store, TaskId};

use crate::work::CHUNK;

/// A task that is polled, and what is known of it in advance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) id: TaskId,
    pub(crate) total: Option<u64>,
}

/// A rule that a status breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its fields cannot be from one instant of one task.
    Torn(&'static str),
    /// Its version is below one that this poller has seen.
    Regression,
    /// It differs from the terminal status that this poller has seen.
    TerminalChanged,
    /// There is no task, although nothing removes one here.
    Missing,
}

/// The report of a poller.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) polls: u64,
    pub(crate) torn: u64,
    pub(crate) regressions: u64,
    pub(crate) terminal_changes: u64,
    pub(crate) missing: u64,
    /// The first fault found, with the statuses.
    pub(crate) first: Option<String>,
    /// The last status seen of each target.
    pub(crate) last: Vec<Option<Status>>,
}

impl Report {
    pub(crate) fn faults(&self) -> u64 {
        self.torn + self.regressions + self.terminal_changes + self.missing
    }

    fn note(&mut self, fault: Fault, before: Option<Status>, now: Option<Status>) {
        match fault {
            Fault::Torn(_) => self.torn += 1,
            Fault::Regression => self.regressions += 1,
            Fault::TerminalChanged => self.terminal_changes += 1,
            Fault::Missing => self.missing += 1,
        }
        self.first.get_or_insert_with(|| format!("{fault:?}: after {before:?} came {now:?}"));
    }
}

/// Polls until `stop` is set, and then each target once more.
pub(crate) fn poll(store: &Store, targets: &[Target], stop: &AtomicBool, seed: u64) -> Report {
    let mut report = Report { last: vec![None; targets.len()], ..Report::default() };
    let mut random = Random::new(seed);
    // Relaxed: it only has to be seen at some time; the last round sees everything.
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..256 {
            look(store, targets, random.below(targets.len()), &mut report);
        }
    }
    for at in 0..targets.len() {
        look(store, targets, at, &mut report);
    }
    report
}

fn look(store: &Store, targets: &[Target], at: usize, report: &mut Report) {
    let Some(target) = targets.get(at) else { return };
    let now = store.get(target.id);
    report.polls += 1;
    let before = report.last.get(at).copied().flatten();
    if let Some(fault) = fault(target, before, now) {
        report.note(fault, before, now);
    }
    if let Some(last) = report.last.get_mut(at) {
        *last = now.or(before);
    }
}

/// The rule that `now` breaks, for a poller that has seen `before`.
pub(crate) fn fault(target: &Target, before: Option<Status>, now: Option<Status>) -> Option<Fault> {
    let Some(now) = now else { return Some(Fault::Missing) };
    if let Some(before) = before {
        if now.version() < before.version() {
            return Some(Fault::Regression);
        }
        if before.is_terminal() && now != before {
            return Some(Fault::TerminalChanged);
        }
        let observed =
            |status: Status| (status.state(), status.failure_reason(), status.attempt(), status.done());
        if now.version() == before.version() && observed(now) != observed(before) {
            return Some(Fault::Torn("one version, two contents"));
        }
    }
    torn(target, &now).map(Fault::Torn)
}

/// Values that cannot occur together in one status of a task of this program.
fn torn(target: &Target, now: &Status) -> Option<&'static str> {
    let (state, done) = (now.state(), now.done());
    let is_whole = |total| done == total || done % CHUNK as u64 == 0;
    let is_started = now.started_at().is_some();
    let rules = [
        ("another task's id", now.id() == target.id),
        ("another task's total", now.total() == target.total),
        ("a count between two pieces", now.total().is_none_or(is_whole)),
        ("the count exceeds the total", now.total().is_none_or(|total| done <= total)),
        ("a second attempt", now.attempt() == 1),
        ("a pending task with progress", state != State::Pending || (done == 0 && !is_started)),
        ("a running task without a start", state != State::Running || is_started),
        (
            "success before the end",
            state != State::Succeeded || now.total().is_none_or(|total| done == total),
        ),
        ("no failure but a reason", (state == State::Failed) == now.failure_reason().is_some()),
        (
            "a failure that was not reported",
            now.failure_reason().is_none_or(|why| why == FailureReason::Error),
        ),
        ("a time of the end that does not match the state", now.is_terminal() == now.ended_at().is_some()),
        ("a state that was never set", !matches!(state, State::Blocked | State::Cancelled)),
    ];
    rules.into_iter().find(|(_, holds)| !holds).map(|(what, _)| what)
}

/// Marsaglia's xorshift: fast, and random enough to spread polls.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        // Any seed but 0 will do; this constant separates the pollers' seeds.
        Self(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The high half of the product with a 64-bit fraction is below `bound`.
        ((u128::from(self.0) * bound as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use inflight::{NewTask, Payload};

    use super::*;

    /// The life of one task, as a poller may see it: one status after each change.
    fn life(total: u64, steps: &[u64], fails: bool) -> (Target, Vec<Status>) {
        let store = Store::builder().capacity(1).build().unwrap();
        let mut task = store.create(NewTask::new("file").total(total)).unwrap();
        let target = Target { id: task.id(), total: Some(total) };
        let mut seen = vec![task.status().unwrap()];
        task.start().unwrap();
        seen.push(task.status().unwrap());
        for step in steps {
            task.advance(*step).unwrap();
            seen.push(task.status().unwrap());
        }
        if fails {
            task.fail(FailureReason::Error, Payload::none()).unwrap();
        } else {
            task.succeed(()).unwrap();
        }
        seen.push(task.status().unwrap());
        (target, seen)
    }

    const PIECE: u64 = CHUNK as u64;

    #[test]
    fn a_life_as_it_should_be_breaks_no_rule() {
        for (total, steps, fails) in [
            (PIECE + 5, &[PIECE, 5][..], false),
            (0, &[], false),
            (9, &[], true),
            (2 * PIECE, &[PIECE], true),
        ] {
            let (target, seen) = life(total, steps, fails);
            let mut before = None;
            for status in seen {
                assert_eq!(fault(&target, before, Some(status)), None);
                assert_eq!(fault(&target, Some(status), Some(status)), None);
                before = Some(status);
            }
        }
    }

    #[test]
    fn each_rule_can_be_broken() {
        let (target, seen) = life(PIECE + 5, &[PIECE, 5], false);
        for pair in seen.windows(2) {
            let [earlier, later] = pair else { unreachable!() };
            assert_eq!(fault(&target, Some(*later), Some(*earlier)), Some(Fault::Regression));
        }
        assert_eq!(fault(&target, seen.last().copied(), None), Some(Fault::Missing));

        let torn = |target: &Target, status: &Status| match fault(target, None, Some(*status)) {
            Some(Fault::Torn(what)) => what,
            other => panic!("{other:?}"),
        };
        let (other, _) = life(PIECE + 5, &[], true);
        assert_eq!(torn(&other, &seen[0]), "another task's id");
        assert_eq!(torn(&Target { total: Some(1), ..target }, &seen[0]), "another task's total");

        let (target, seen) = life(PIECE + 5, &[7], false);
        assert_eq!(torn(&target, &seen[2]), "a count between two pieces");
        let (target, seen) = life(5, &[PIECE], false);
        assert_eq!(torn(&target, &seen[2]), "the count exceeds the total");
        let (target, seen) = life(PIECE, &[], false);
        assert_eq!(torn(&target, &seen[2]), "success before the end");
    }

    #[test]
    fn i4_a_terminal_status_that_changes_is_found() {
        let (target, first) = life(9, &[9], false);
        // The end of another task, later than this one's, which the poller takes for the same task.
        let (_, second) = life(9, &[9], true);
        let found = fault(&target, first.last().copied(), second.last().copied());
        assert_eq!(found, Some(Fault::TerminalChanged));
    }

    #[test]
    fn random_numbers_stay_below_and_reach_all() {
        let mut random = Random::new(0);
        let mut hit = [false; 7];
        for _ in 0..1000 {
            hit[random.below(7)] = true;
        }
        assert!(hit.iter().all(|hit| *hit));
    }
}
