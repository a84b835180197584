//! Histories: how they are recorded, and how they are shown.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use inflight::{Absent, TaskId};

use crate::call::{Call, Reply};

/// One call in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who called, from 0.
    pub client: usize,
    /// When the call began.
    pub began: u64,
    /// When it was answered; `u64::MAX` if it never was.
    pub ended: u64,
    /// Through which handle: the number of the call that created it. `None` if by the task's id.
    pub via: Option<u64>,
    /// The call.
    pub call: Call,
    /// What it was answered.
    pub reply: Reply,
    /// Whether this comes after the event before it in the history: the second part of a call that does two
    /// things one after the other, a cancellation that then reads the status.
    pub follows: bool,
}

/// What one task lived through, in the order in which the calls began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The task.
    pub id: TaskId,
    /// Whether the store minted the id.
    pub minted: bool,
    /// The calls. They are from few clients, so few of them overlap.
    pub events: Vec<Event>,
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "task {} ({})", self.id, if self.minted { "minted" } else { "a client's id" })?;
        for Event { client, began, ended, via, call, reply, follows } in &self.events {
            let then = if *follows { " then" } else { "" };
            let via = via.map_or(String::new(), |via| format!(" via {via}"));
            writeln!(f, "  client {client} [{began}..{ended}]{then}{via} {call:?} -> {reply:?}")?;
        }
        Ok(())
    }
}

/// A history that is not linearizable.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which history of the run, from 0.
    pub number: u64,
    /// The seed of that history's plan. Real threads interleave as they like, so the same plan need not
    /// fail again; the history itself can be checked again.
    pub seed: u64,
    /// What happened.
    pub history: History,
    /// How much of it can be put into an order: this event, and those that began before it, cannot.
    pub stuck_at: Option<usize>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "history {} (seed {}) is not linearizable", self.number, self.seed)?;
        if let Some(event) = self.stuck_at.and_then(|at| self.history.events.get(at)) {
            writeln!(f, "no order explains {:?} of {}..{}", event.call, event.began, event.ended)?;
        }
        write!(f, "{}", self.history)
    }
}

/// The one counter that orders the beginnings and ends of calls over all clients.
///
/// A counter and not a clock: a call has ended for others when they can learn of it, and what they learn
/// through is memory. A clock would call an answer late that its own processor still holds in a buffer.
#[derive(Debug, Default)]
pub struct Stamps(AtomicU64);

impl Stamps {
    /// The next moment. Moments are never 0.
    pub fn next(&self) -> u64 {
        // SeqCst: this order is the order of the history, for all clients.
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// What one client has called so far.
#[derive(Debug, Default)]
pub struct Recorder {
    client: usize,
    events: Vec<(Subject, Event)>,
}

/// Whom an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Task(TaskId),
    Everyone,
}

impl Recorder {
    /// A recorder of this client's.
    #[must_use]
    pub fn new(client: usize) -> Self {
        Self { client, events: Vec::new() }
    }

    /// Notes a call about the task `id` (about all, if it lets time pass) with its answer.
    pub fn note(&mut self, id: TaskId, span: (u64, u64), via: Option<u64>, call: Call, reply: Reply) {
        let (began, ended) = span;
        let ended = if reply == Reply::Unclear { u64::MAX } else { ended };
        let event = Event { client: self.client, began, ended, via, call, reply, follows: false };
        match event {
            Event { call: Call::Pass(_), .. } => self.events.push((Subject::Everyone, event)),
            // A cancellation asks, and then looks: two moments. Who finds the task gone at the second may
            // have cancelled it at the first.
            Event { call: Call::Cancel, reply: Reply::Seen(_) | Reply::Absent(_), .. } => {
                let asked = match event.reply {
                    Reply::Seen(_) => Reply::Done,
                    _ => Reply::Unclear,
                };
                self.events.push((Subject::Task(id), Event { reply: asked, ..event.clone() }));
                self.events.push((Subject::Task(id), Event { call: Call::Get, follows: true, ..event }));
            }
            event => self.events.push((Subject::Task(id), event)),
        }
    }

    /// How many calls were noted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.iter().filter(|(_, event)| !event.follows).count()
    }

    /// Whether none was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The history of each task, from what all clients have noted.
    #[must_use]
    pub fn histories(recorders: Vec<Recorder>) -> Vec<History> {
        let mut events: Vec<_> = recorders.into_iter().flat_map(|recorder| recorder.events).collect();
        events.sort_by_key(|(_, event)| event.began); // Stable: what follows stays behind.
        let mut histories = BTreeMap::new();
        for (subject, event) in &events {
            let Subject::Task(id) = *subject else { continue };
            let history =
                histories.entry(id).or_insert_with(|| History { id, minted: true, events: Vec::new() });
            if let Call::Create(new) = event.call {
                history.minted &= new.id.is_none();
            }
        }
        for (subject, event) in events {
            match subject {
                Subject::Everyone => {
                    histories.values_mut().for_each(|history| history.events.push(event.clone()));
                }
                Subject::Task(id) => {
                    if let Some(history) = histories.get_mut(&id) {
                        history.events.push(event);
                    }
                }
            }
        }
        histories.into_values().collect()
    }
}

/// The answer of a store that has no such task, whatever it knows beside.
pub(crate) fn is_plain_absence(absent: Absent) -> bool {
    matches!(absent, Absent::Unknown | Absent::Gone(None))
}
