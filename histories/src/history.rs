//! Histories: recording and printing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use inflight::{Absent, TaskId};

use crate::call::{Call, Reply};

/// One call in a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The number of the client that called, from 0.
    pub client: usize,
    /// When the call began.
    pub began: u64,
    /// When it was answered; `u64::MAX` if it was not.
    pub ended: u64,
    /// The handle: the number of the call that created it. `None` if the call was by the task's id.
    pub via: Option<u64>,
    /// The call.
    pub call: Call,
    /// The reply.
    pub reply: Reply,
    /// Whether this event comes after the event before it in the history: it is the second part of a call
    /// that does two things one after the other, a cancellation that then reads the status.
    pub follows: bool,
}

/// The events of one task, in the order in which the calls began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The task.
    pub id: TaskId,
    /// Whether the store minted the id.
    pub minted: bool,
    /// The calls. There are few clients, so few calls overlap.
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
    /// The seed of that history's plan. Threads interleave differently in each run, so the same plan need not
    /// fail again; the history itself can be checked again.
    pub seed: u64,
    /// What happened.
    pub history: History,
    /// The order that was found ends here: this event, and those that began before it, cannot be added to it.
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
/// It is a counter and not a clock: to other clients, a call has ended when they can learn of it, and they
/// learn of it through memory. By a clock, a call could have ended while the processor still holds its stores
/// in a buffer.
#[derive(Debug, Default)]
pub struct Stamps(AtomicU64);

impl Stamps {
    /// The next moment. Moments are never 0.
    pub fn next(&self) -> u64 {
        // SeqCst: this order is the order of the history, for all clients.
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The calls of one client so far.
#[derive(Debug, Default)]
pub struct Recorder {
    client: usize,
    events: Vec<(Subject, Event)>,
}

/// The task or tasks that an event concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Task(TaskId),
    Everyone,
}

impl Recorder {
    /// A recorder for this client.
    #[must_use]
    pub fn new(client: usize) -> Self {
        Self { client, events: Vec::new() }
    }

    /// Records a call about the task `id` with its reply. [`Call::Pass`] is recorded for all tasks.
    pub fn note(&mut self, id: TaskId, span: (u64, u64), via: Option<u64>, call: Call, reply: Reply) {
        let (began, ended) = span;
        let ended = if reply == Reply::Unclear { u64::MAX } else { ended };
        let event = Event { client: self.client, began, ended, via, call, reply, follows: false };
        match event {
            Event { call: Call::Pass(_), .. } => self.events.push((Subject::Everyone, event)),
            // A cancellation first requests, and then reads: these are two moments. A caller that finds the
            // task gone at the second may have cancelled it at the first.
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

    /// How many calls were recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.iter().filter(|(_, event)| !event.follows).count()
    }

    /// Whether no call was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The history of each task, from the records of all clients.
    #[must_use]
    pub fn histories(recorders: Vec<Recorder>) -> Vec<History> {
        let mut events: Vec<_> = recorders.into_iter().flat_map(|recorder| recorder.events).collect();
        events.sort_by_key(|(_, event)| event.began); // Stable: an event that follows another stays behind it.
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

/// A reply that says that there is no such task, apart from its reason.
pub(crate) fn is_plain_absence(absent: Absent) -> bool {
    matches!(absent, Absent::Unknown | Absent::Gone(None))
}
