//! The sequential specification of one task: what each call does, and what it may reply, if nothing else
//! happens meanwhile. Pure.

use inflight::{Absent, FailureReason, GoneReason, State, Version};

use crate::call::{Call, Change, Ending, NewCall, Reply, Seen};
use crate::history::{Event, is_plain_absence};

/// The specification's state of one id, with or without a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    minted: bool,
    place: Place,
    /// The last version observed, and whether anything has changed since.
    seen: Option<Version>,
    changed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Never,
    Here(Task),
    Gone(GoneReason),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Task {
    /// The number of the handle that was created with the task.
    creator: Option<u64>,
    state: State,
    reason: Option<FailureReason>,
    attempt: u32,
    done: u64,
    /// The count of an attempt whose start is not visible yet.
    early: u64,
    total: Option<u64>,
    cancel_requested: bool,
    message: Option<u32>,
    outcome: Outcome,
    leased: bool,
    /// No sign of life was later than this moment.
    touched: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Outcome {
    None,
    Text(u32),
    /// A text of the store's own.
    Any,
}

/// The states that a call may lead to: none, if the reply is wrong; two, if the specification leaves it open.
pub(crate) type Next = [Option<Spec>; 2];

const WRONG: Next = [None, None];

impl Spec {
    /// An id that no task has had yet.
    #[must_use]
    pub fn new(minted: bool) -> Self {
        Self { minted, place: Place::Never, seen: None, changed: true }
    }

    /// The state after this call, if its reply is right.
    ///
    /// `loose` is how much of the progress that was counted or refused at the edge of an attempt may be on
    /// the other side of that edge, as in [`Verdict::LooseEdges`].
    ///
    /// [`Verdict::LooseEdges`]: crate::Verdict::LooseEdges
    pub(crate) fn step(&self, event: &Event, loose: u64) -> Next {
        if event.reply == Reply::Unclear {
            return [self.taking_effect(event), Some(self.clone())];
        }
        match event.call {
            Call::Create(new) => one(self.create(new, event)),
            Call::Pass(_) => self.pass(event),
            Call::Get | Call::Details => one(self.look(event).or_else(|| self.look_ahead(event, loose))),
            Call::Cancel => one(self.cancel(event)),
            Call::Remove => one(self.remove(event)),
            Call::Abandon => one(Some(self.abandoned(event))),
            Call::Advance(_) if loose > 0 && event.reply == Reply::NotRunning => one(Some(self.clone())),
            Call::Advance(count) if loose > 0 => one(self.work(event).or_else(|| self.counted_early(count))),
            Call::Change(_) | Call::End(..) | Call::Advance(_) | Call::Heartbeat => one(self.work(event)),
        }
    }

    /// The state after the call if it takes effect, whatever the reply would have been.
    fn taking_effect(&self, event: &Event) -> Option<Spec> {
        let with = |reply| self.step(&Event { reply, ..event.clone() }, 0);
        match event.call {
            Call::Create(NewCall { id, .. }) => with(Reply::Created(id?))[0].clone(),
            Call::End(..) => with(Reply::Won)[0].clone(),
            Call::Remove => match &self.place {
                Place::Here(task) if task.state.is_terminal() => Some(self.gone(GoneReason::Removed)),
                _ => None,
            },
            _ => with(Reply::Done)[0].clone(),
        }
    }

    fn create(&self, new: NewCall, event: &Event) -> Option<Spec> {
        match (&event.reply, &self.place) {
            (Reply::Full, _) => Some(self.clone()),
            (Reply::Duplicate, Place::Here(_)) => Some(self.clone()),
            (Reply::Created(_), Place::Never | Place::Gone(_)) => {
                if self.minted && self.place != Place::Never {
                    return None; // No id is minted twice (I7).
                }
                let task = Task {
                    creator: event.via,
                    state: State::Pending,
                    reason: None,
                    attempt: 1,
                    done: 0,
                    early: 0,
                    total: new.total,
                    cancel_requested: false,
                    message: None,
                    outcome: Outcome::None,
                    leased: new.leased,
                    touched: event.ended,
                };
                Some(Spec { place: Place::Here(task), changed: true, ..self.clone() })
            }
            _ => None,
        }
    }

    /// The task that a worker's call concerns.
    fn held(&self, event: &Event) -> Option<&Task> {
        match &self.place {
            Place::Here(task) if event.via.is_none() || event.via == task.creator => Some(task),
            _ => None,
        }
    }

    fn work(&self, event: &Event) -> Option<Spec> {
        let Some(task) = self.held(event) else {
            let told = match event.reply {
                Reply::Absent(absent) if event.via.is_some() => is_plain_absence(absent),
                Reply::Absent(absent) => self.may_say(absent),
                Reply::NotRunning => matches!(event.call, Call::Advance(_)) && event.via.is_some(),
                _ => false,
            };
            return told.then(|| self.clone());
        };
        match (event.call, &event.reply) {
            (Call::Change(change), Reply::Done) => {
                let task = task.changed(change)?;
                Some(self.with(task, event))
            }
            (Call::Change(change), Reply::NotAllowed(found)) => {
                (*found == task.state && task.changed(change).is_none()).then(|| self.clone())
            }
            (Call::Advance(count), Reply::Done) if task.is_open() => {
                let done = task.done + count;
                let after = self.with(Task { done, ..task.clone() }, event);
                Some(if count == 0 { Spec { changed: self.changed, ..after } } else { after })
            }
            (Call::Advance(_), Reply::NotRunning) if !task.is_open() => Some(self.clone()),
            (Call::End(ending, text), Reply::Won) => {
                let task = task.ended(ending, text)?;
                Some(self.with(task, event))
            }
            (Call::End(..), Reply::Lost(seen)) if task.state.is_terminal() => self.observe(*seen),
            (Call::End(ending, text), Reply::NotAllowed(found)) => {
                let refused = !task.state.is_terminal() && task.ended(ending, text).is_none();
                (*found == task.state && refused).then(|| self.clone())
            }
            (Call::Heartbeat, Reply::Done) if task.leased && !task.state.is_terminal() => {
                Some(Spec { changed: self.changed, ..self.with(task.clone(), event) })
            }
            (Call::Heartbeat, Reply::NotAllowed(found)) => {
                (*found == task.state && task.state.is_terminal()).then(|| self.clone())
            }
            (Call::Heartbeat, Reply::NoLease) => {
                (!task.leased && !task.state.is_terminal()).then(|| self.clone())
            }
            _ => None,
        }
    }

    fn abandoned(&self, event: &Event) -> Spec {
        match self.held(event) {
            Some(task) if !task.state.is_terminal() => self.with(task.lost(), event),
            _ => self.clone(),
        }
    }

    fn cancel(&self, event: &Event) -> Option<Spec> {
        let Place::Here(task) = &self.place else { return None };
        match &event.reply {
            Reply::Refused(seen) if task.state.is_terminal() => self.observe(*seen),
            Reply::Done if task.state == State::Pending => {
                Some(self.with(Task { state: State::Cancelled, ..task.clone() }, event))
            }
            Reply::Done if task.state.is_terminal() => None,
            Reply::Done if task.cancel_requested => Some(self.clone()),
            Reply::Done => Some(self.with(Task { cancel_requested: true, ..task.clone() }, event)),
            _ => None,
        }
    }

    fn remove(&self, event: &Event) -> Option<Spec> {
        match (&event.reply, &self.place) {
            (Reply::Seen(seen), Place::Here(task)) if task.state.is_terminal() => {
                Some(self.observe(*seen)?.gone(GoneReason::Removed))
            }
            (Reply::Refused(seen), Place::Here(task)) if !task.state.is_terminal() => self.observe(*seen),
            (Reply::Absent(absent), _) => self.may_say(*absent).then(|| self.clone()),
            _ => None,
        }
    }

    /// Time passes: enough for leases to run out and for ended tasks to expire. A task with a sign of life
    /// since the call began may have had it before or after the clock moved.
    fn pass(&self, event: &Event) -> Next {
        let Place::Here(task) = &self.place else { return one(Some(self.clone())) };
        let due = if task.state.is_terminal() {
            self.gone(GoneReason::Expired)
        } else if task.leased {
            self.with(task.lost(), event)
        } else {
            return one(Some(self.clone()));
        };
        if task.touched < event.began { one(Some(due)) } else { [Some(due), Some(self.clone())] }
    }

    fn look(&self, event: &Event) -> Option<Spec> {
        match &event.reply {
            Reply::Absent(absent) => self.may_say(*absent).then(|| self.clone()),
            Reply::Seen(seen) if event.call == Call::Get || event.call == Call::Cancel => self.observe(*seen),
            Reply::Detailed(seen, message, outcome) => {
                let Place::Here(task) = &self.place else { return None };
                let text = |number: u32| Some(number.to_string());
                let said = *message == task.message.and_then(text);
                let left = match task.outcome {
                    Outcome::None => outcome.is_none(),
                    Outcome::Text(number) => *outcome == text(number),
                    Outcome::Any => true,
                };
                self.observe(*seen).filter(|_| said && left)
            }
            _ => None,
        }
    }

    /// Progress that was counted just before the start that allows it showed.
    fn counted_early(&self, count: u64) -> Option<Spec> {
        let Place::Here(task) = &self.place else { return None };
        let early = task.early + count;
        let is_pending = task.state == State::Pending;
        is_pending.then(|| Spec { place: Place::Here(Task { early, ..task.clone() }), ..self.clone() })
    }

    /// A poll that saw progress which was then refused.
    fn look_ahead(&self, event: &Event, loose: u64) -> Option<Spec> {
        let (Reply::Seen(seen) | Reply::Detailed(seen, ..)) = &event.reply else { return None };
        let Place::Here(task) = &self.place else { return None };
        let ahead = seen.done.checked_sub(task.done).filter(|ahead| (1..=loose).contains(ahead))?;
        let is_right = task.is_open() && task.looks_like(Seen { done: seen.done - ahead, ..*seen });
        let is_newer = self.seen.is_none_or(|before| seen.version >= before);
        (is_right && is_newer).then(|| Spec { seen: Some(seen.version), changed: false, ..self.clone() })
    }

    /// A poll that returned this: every field as it is, and the version as it must be (I2, I5).
    fn observe(&self, seen: Seen) -> Option<Spec> {
        let Place::Here(task) = &self.place else { return None };
        let is_right = if self.changed {
            self.seen.is_none_or(|before| seen.version > before)
        } else {
            self.seen == Some(seen.version)
        };
        (is_right && task.looks_like(seen)).then(|| Spec {
            seen: Some(seen.version),
            changed: false,
            ..self.clone()
        })
    }

    /// Whether a poll that finds no task may say this (I11). The store remembers nothing of a client's id.
    fn may_say(&self, absent: Absent) -> bool {
        match (&self.place, absent) {
            (Place::Here(_), _) => false,
            (Place::Never, absent) => absent == Absent::Unknown,
            (Place::Gone(_), Absent::Unknown) => !self.minted,
            (Place::Gone(why), Absent::Gone(told)) => told.is_none_or(|told| told == *why),
        }
    }

    fn with(&self, mut task: Task, event: &Event) -> Spec {
        task.touched = task.touched.max(event.ended);
        Spec { place: Place::Here(task), changed: true, ..self.clone() }
    }

    fn gone(&self, why: GoneReason) -> Spec {
        Spec { place: Place::Gone(why), changed: true, ..self.clone() }
    }
}

fn one(spec: Option<Spec>) -> Next {
    match spec {
        None => WRONG,
        some => [some, None],
    }
}

impl Task {
    /// Whether progress is counted.
    fn is_open(&self) -> bool {
        matches!(self.state, State::Running | State::Blocked)
    }

    fn changed(&self, change: Change) -> Option<Task> {
        let task = self.clone();
        Some(match (change, self.state) {
            (Change::Start, State::Pending) => {
                Task { state: State::Running, done: task.early, early: 0, ..task }
            }
            (Change::Block, State::Running) => Task { state: State::Blocked, ..task },
            (Change::Resume, State::Blocked) => Task { state: State::Running, ..task },
            (Change::Retry, State::Running | State::Blocked) => {
                Task { state: State::Pending, attempt: task.attempt + 1, done: 0, ..task }
            }
            (Change::Message(text), state) if !state.is_terminal() => Task { message: Some(text), ..task },
            _ => return None,
        })
    }

    fn ended(&self, ending: Ending, text: u32) -> Option<Task> {
        let (state, reason, outcome) = match ending {
            Ending::Succeeded if self.is_open() => (State::Succeeded, None, Outcome::Text(text)),
            Ending::Succeeded => return None,
            Ending::Failed => (State::Failed, Some(FailureReason::Error), Outcome::Text(text)),
            Ending::Cancelled => (State::Cancelled, None, Outcome::None),
        };
        (!self.state.is_terminal()).then(|| Task { state, reason, outcome, ..self.clone() })
    }

    /// The task after the loss of its worker (I10).
    fn lost(&self) -> Task {
        let reason = Some(FailureReason::Lost);
        Task { state: State::Failed, reason, outcome: Outcome::Any, ..self.clone() }
    }

    fn looks_like(&self, seen: Seen) -> bool {
        let Seen { state, reason, attempt, done, total, cancel_requested, version: _ } = seen;
        (state, reason, attempt, done) == (self.state, self.reason, self.attempt, self.done)
            && (total, cancel_requested) == (self.total, self.cancel_requested)
    }
}
