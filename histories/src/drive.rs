//! Clients that call at random, at the same time, and the trait of what they call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight::TaskId;

use crate::call::{Call, Change, Ending, NewCall, Reply};
use crate::check::{Verdict, check};
use crate::history::{Failure, Recorder, Stamps};

/// A store that is put through the checker.
pub trait Target: Sync {
    /// What it can do.
    fn features(&self) -> Features;

    /// A client of it, for one thread and one history.
    fn client(&self, number: usize) -> Box<dyn Client + '_>;

    /// Between two histories, when no client is left: lets go of the tasks of the last one, so that there
    /// is room for the next. Nothing needs to be done where there is room enough.
    fn clear(&self);
}

/// One client of a [`Target`].
pub trait Client {
    /// Makes one call, and gives the answer.
    ///
    /// `id` is the task's; `None` for a [`Call::Create`] that has an id minted, and for [`Call::Pass`].
    ///
    /// `via` is the number of the handle that the call goes through. With [`Call::Create`] it is the number
    /// that the new task's handle is to have, unique in the history. A target without handles
    /// ([`Features::handles`]) ignores it.
    fn call(&mut self, id: Option<TaskId>, via: u64, call: &Call) -> Reply;
}

/// What a [`Target`] can do. What it cannot is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent abilities")]
pub struct Features {
    /// Workers write through handles: a handle whose task is gone does not reach the next of the same id.
    /// Without, workers write by id, and any client may write any task.
    pub handles: bool,
    /// Clients can bring their own ids.
    pub own_ids: bool,
    /// [`Call::Pass`] moves the store's clock and does its upkeep before it is answered.
    pub time: bool,
    /// Tasks can be leased. Only looked at if `time` is there.
    pub leases: bool,
    /// [`Call::Details`] gives status, message and outcome from one instant.
    pub details: bool,
}

impl Features {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { handles: true, own_ids: true, time: true, leases: true, details: true }
    }
}

/// How histories are made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many.
    pub histories: u64,
    /// How many clients each has, as threads of their own.
    pub clients: usize,
    /// How many ids each is about; half of them minted, if clients can bring their own.
    pub ids: usize,
    /// How many calls each client makes.
    pub calls: usize,
    /// What the choice of calls is drawn from. The history number is added to it.
    pub seed: u64,
    /// How much time passes in one [`Call::Pass`].
    pub span: Duration,
    /// After how many failures to stop.
    pub patience: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            histories: 1_000,
            clients: 3,
            ids: 6,
            calls: 40,
            seed: 1,
            span: Duration::from_secs(3_600),
            patience: 1,
        }
    }
}

/// What a run has found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many histories were recorded and checked.
    pub histories: u64,
    /// How many calls they have in all.
    pub calls: u64,
    /// How many histories of single tasks those are.
    pub tasks: u64,
    /// How many calls of one task overlapped another client's call of the same task.
    pub overlapping: u64,
    /// How many of those are linearizable only but for increments at the edges ([`Verdict::LooseEdges`]).
    pub loose: u64,
    /// Those that are not linearizable, or that the checker could not decide.
    pub failures: Vec<Failure>,
}

impl Plan {
    /// Records and checks.
    pub fn run(&self, target: &dyn Target) -> Report {
        let mut report = Report::default();
        for number in 0..self.histories {
            let seed = self.seed.wrapping_add(number);
            let recorders = self.record(target, seed);
            target.clear();
            report.histories += 1;
            report.calls += recorders.iter().map(|recorder| recorder.len() as u64).sum::<u64>();
            for history in Recorder::histories(recorders) {
                report.tasks += 1;
                report.overlapping += overlapping(&history.events);
                let stuck_at = match check(&history) {
                    Verdict::Linearizable => continue,
                    Verdict::LooseEdges => {
                        report.loose += 1;
                        continue;
                    }
                    Verdict::NotLinearizable { stuck_at } => Some(stuck_at),
                    Verdict::Undecided => None,
                };
                report.failures.push(Failure { number, seed, history, stuck_at });
            }
            if report.failures.len() >= self.patience {
                break;
            }
        }
        report
    }

    /// One history: all clients call at the same time.
    fn record(&self, target: &dyn Target, seed: u64) -> Vec<Recorder> {
        let mut random = Random::new(seed);
        let features = target.features();
        let ids: Vec<Key> = (0..self.ids).map(|at| Key::new(at, features, &mut random)).collect();
        let stamps = Stamps::default();
        let gate = Gate::default();
        std::thread::scope(|scope| {
            let start = |number: usize| {
                let random =
                    Random::new(random.state ^ (number as u64 + 1).wrapping_mul(0xA24B_AED4_963E_E407));
                let (ids, stamps, gate) = (&ids, &stamps, &gate);
                scope.spawn(move || {
                    let _broken = BreakOnPanic(gate);
                    let mut caller = Caller {
                        plan: self,
                        features,
                        number,
                        client: target.client(number),
                        ids,
                        stamps,
                        random,
                        recorder: Recorder::new(number),
                        created: 0,
                    };
                    for call in 0..self.calls {
                        if call % BURST == 0 {
                            gate.pass(self.clients);
                        }
                        caller.call();
                    }
                    // The handles go with the client, and that must be after all calls.
                    gate.pass(self.clients);
                    caller.recorder
                })
            };
            let threads: Vec<_> = (0..self.clients).map(start).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, Recorder>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            threads.into_iter().map(join).collect()
        })
    }
}

/// How many calls the clients make between two gates.
const BURST: usize = 5;

/// Where clients wait for each other, again and again, so that they call at the same time: left to
/// themselves, short histories would run one after the other.
#[derive(Default)]
struct Gate {
    arrived: AtomicUsize,
    passed: AtomicUsize,
    broken: AtomicBool,
}

impl Gate {
    fn pass(&self, clients: usize) {
        // SeqCst, all of these: simple, and no part of what is measured.
        let round = self.passed.load(Ordering::SeqCst);
        if self.arrived.fetch_add(1, Ordering::SeqCst) + 1 == clients {
            self.arrived.store(0, Ordering::SeqCst);
            self.passed.fetch_add(1, Ordering::SeqCst);
        }
        let mut looks = 0_u32;
        while self.passed.load(Ordering::SeqCst) == round && !self.broken.load(Ordering::SeqCst) {
            looks += 1;
            if looks.is_multiple_of(1024) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}

/// A client that panics lets the others go on to their end.
struct BreakOnPanic<'a>(&'a Gate);

impl Drop for BreakOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::SeqCst);
        }
    }
}

/// How many of these overlap another client's.
fn overlapping(events: &[crate::history::Event]) -> u64 {
    let overlaps = |(at, event): (usize, &crate::history::Event)| {
        // Sorted by their beginnings, so the neighbours tell, but for very long calls.
        let near = events.get(at.saturating_sub(8)..(at + 9).min(events.len())).unwrap_or_default();
        u64::from(near.iter().any(|other| {
            other.client != event.client && other.began < event.ended && event.began < other.ended
        }))
    };
    events.iter().enumerate().map(overlaps).sum()
}

/// One id of a history, and what the clients have let each other know of it.
struct Key {
    /// The client's own; otherwise the store mints it.
    own: Option<TaskId>,
    leased: bool,
    shared: bool,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    id: Option<TaskId>,
    /// The newest handle, and the client that has it to itself.
    via: Option<u64>,
    holder: Option<usize>,
}

impl Key {
    fn new(at: usize, features: Features, random: &mut Random) -> Self {
        let own = (features.own_ids && at % 2 == 1).then(|| random.id());
        let leased = features.time && features.leases && random.below(4) == 0;
        let shared = !features.handles || random.below(2) == 0;
        let known = Known { id: own, ..Known::default() };
        Self { own, leased, shared, known: Mutex::new(known) }
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client at work.
struct Caller<'a> {
    plan: &'a Plan,
    features: Features,
    number: usize,
    client: Box<dyn Client + 'a>,
    ids: &'a [Key],
    stamps: &'a Stamps,
    random: Random,
    recorder: Recorder,
    created: u64,
}

impl Caller<'_> {
    /// Makes one call, and notes it.
    fn call(&mut self) {
        // Now and then the others go first, or a little ahead: so that few processors give many orders.
        match self.random.below(16) {
            0 | 1 => std::thread::yield_now(),
            2..6 => (0..self.random.below(64)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
        let at = self.random.below(self.ids.len() as u64) as usize;
        let Some(key) = self.ids.get(at) else { return };
        let known = key.known();
        let is_mine = at % self.plan.clients == self.number;
        let Some(id) = known.id else {
            // Minted, and nobody knows it yet: its creator is the one to make it.
            if is_mine {
                self.create(key);
            }
            return;
        };
        let may_work = known.via.is_some() && known.holder.is_none_or(|holder| holder == self.number);
        let call = match self.random.below(100) {
            0..30 => Call::Get,
            30..40 if self.features.details => Call::Details,
            40..45 => Call::Cancel,
            45..52 => Call::Remove,
            52..54 if self.features.time => Call::Pass(self.plan.span),
            54..60 if key.own.is_some() => return self.create(key),
            _ if may_work => self.work(key),
            _ if key.own.is_some() && is_mine => return self.create(key),
            _ => Call::Get,
        };
        let via = known.via.unwrap_or_default();
        let reply = self.make(Some(id), via, call);
        if call == Call::Abandon {
            let mut known = key.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.via == Some(via) {
                (known.via, known.holder) = (None, None);
            }
        }
        drop(reply);
    }

    fn create(&mut self, key: &Key) {
        self.created += 1;
        let via = (self.number as u64) << 32 | self.created;
        let total = (self.random.below(2) == 0).then_some(1 << 20);
        let new = NewCall { id: key.own, total, leased: key.leased, shared: key.shared };
        if let Reply::Created(id) = self.make(key.own, via, Call::Create(new)) {
            let holder = (!key.shared).then_some(self.number);
            let known = Known { id: Some(id), via: Some(via), holder };
            *key.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        }
    }

    fn work(&mut self, key: &Key) -> Call {
        let text = self.random.below(1_000) as u32;
        match self.random.below(40) {
            0..9 => Call::Change(Change::Start),
            9..21 => Call::Advance(1 + self.random.below(3)),
            21..24 => Call::Change(Change::Message(text)),
            24..26 => Call::Change(Change::Block),
            26..28 => Call::Change(Change::Resume),
            28..30 => Call::Change(Change::Retry),
            30..33 => Call::End(Ending::Succeeded, text),
            33..35 => Call::End(Ending::Failed, text),
            35 => Call::End(Ending::Cancelled, text),
            36 if !key.shared && self.features.handles => Call::Abandon,
            _ if key.leased => Call::Heartbeat,
            _ => Call::Advance(1),
        }
    }

    fn make(&mut self, id: Option<TaskId>, via: u64, call: Call) -> Reply {
        let began = self.stamps.next();
        let reply = self.client.call(id, via, &call);
        let ended = self.stamps.next();
        let subject = match reply {
            Reply::Created(id) => Some(id),
            _ => id,
        };
        let works = !matches!(call, Call::Get | Call::Details | Call::Cancel | Call::Remove | Call::Pass(_));
        let via = (self.features.handles && works).then_some(via);
        if let Some(id) = subject {
            self.recorder.note(id, (began, ended), via, call, reply.clone());
        }
        reply
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random {
    state: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut random = Self { state: seed };
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A UUID of version 4; every other one of version 8, which looks like one that a store minted.
    fn id(&mut self) -> TaskId {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let version = if self.below(2) == 0 { 4 } else { 8 };
        TaskId::from_u128(bits & !(0xF << 76) & !(0b11 << 62) | version << 76 | 0b10 << 62)
    }
}
