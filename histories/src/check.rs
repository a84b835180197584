//! The checker: a search for an order of one task's calls that explains all replies.
//!
//! The search is depth first over the calls that may come next: those that began before the end of every
//! other call that is not placed yet. Each combination of the calls placed and the task's state after them is
//! visited once. Few calls overlap at a time, so the search is close to linear in the length of the history.

use std::collections::HashSet;

use crate::call::{Call, Change, Reply};
use crate::history::{Event, History};
use crate::spec::Spec;

/// How many situations are visited before the search is given up.
const PATIENCE: usize = 4_000_000;

/// What the checker has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains all replies.
    Linearizable,
    /// There is one, if increments through shared handles need not keep to the edges of an attempt: an
    /// increment may be counted just before the start that allows it is visible, and one may be refused just
    /// before the end is visible, in which case a poll of the running task may see it. Final counts are exact
    /// all the same.
    ///
    /// An increment is one operation on the count, and the count is opened and closed a few stores before the
    /// state says so.
    LooseEdges,
    /// There is none. In the longest order found, this event was the first that could not be placed.
    NotLinearizable {
        /// The index of the event.
        stuck_at: usize,
    },
    /// The history is too long and too concurrent to decide. Counts as a failure.
    Undecided,
}

/// The calls that have been placed: all below `low`, and those in `beyond`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Placed {
    low: usize,
    /// Ascending, all above `low`.
    beyond: Vec<usize>,
}

impl Placed {
    fn has(&self, at: usize) -> bool {
        at < self.low || self.beyond.binary_search(&at).is_ok()
    }

    fn and(&self, at: usize) -> Self {
        let mut placed = self.clone();
        if let Err(place) = placed.beyond.binary_search(&at) {
            placed.beyond.insert(place, at);
        }
        while placed.beyond.first() == Some(&placed.low) {
            placed.beyond.remove(0);
            placed.low += 1;
        }
        placed
    }

    fn count(&self) -> usize {
        self.low + self.beyond.len()
    }
}

/// Checks one task's history against the specification.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let strictly = search(history, |_| 0);
    if !matches!(strictly, Verdict::NotLinearizable { .. }) {
        return strictly;
    }
    match search(history, |event| loose(&history.events, event)) {
        Verdict::Linearizable => Verdict::LooseEdges,
        _ => strictly,
    }
}

/// How much progress was counted or refused at an edge of an attempt that overlaps this poll or increment.
fn loose(events: &[Event], at: &Event) -> u64 {
    let overlap = |a: &Event, b: &Event| a.began < b.ended && b.began < a.ended;
    let is_edge = |call| match call {
        Call::Change(change) => matches!(change, Change::Start | Change::Retry),
        call => matches!(call, Call::End(..) | Call::Pass(_) | Call::Abandon),
    };
    let edges: Vec<_> = events.iter().filter(|event| is_edge(event.call) && overlap(event, at)).collect();
    let counts = events.iter().map(|event| match (event.call, &event.reply) {
        (Call::Advance(count), Reply::NotRunning | Reply::Done)
            if edges.iter().any(|edge| overlap(edge, event)) =>
        {
            count
        }
        _ => 0,
    });
    counts.sum()
}

fn search(history: &History, loose: impl Fn(&Event) -> u64) -> Verdict {
    let events = &history.events;
    let is_told = |at: usize| events.get(at).is_some_and(|event| event.reply != Reply::Unclear);
    let mut furthest = (0, 0);
    let mut visited = HashSet::new();
    let start = (Placed { low: 0, beyond: Vec::new() }, Spec::new(history.minted));
    let mut open = vec![start];
    while let Some((placed, spec)) = open.pop() {
        let left = (placed.low..events.len()).find(|at| !placed.has(*at) && is_told(*at));
        let Some(left) = left else { return Verdict::Linearizable };
        furthest = furthest.max((placed.count(), left));
        if visited.len() >= PATIENCE {
            return Verdict::Undecided;
        }
        let mut first_end = u64::MAX;
        for (at, event) in events.iter().enumerate().skip(placed.low) {
            if event.began > first_end {
                break;
            }
            if placed.has(at) {
                continue;
            }
            first_end = first_end.min(event.ended);
            if event.follows && !placed.has(at - 1) {
                continue;
            }
            for next in spec.step(event, loose(event)).into_iter().flatten() {
                let node = (placed.and(at), next);
                if visited.insert(node.clone()) {
                    open.push(node);
                }
            }
        }
    }
    Verdict::NotLinearizable { stuck_at: furthest.1 }
}
