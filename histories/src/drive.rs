//! Clients that make random calls at the same time, and the trait of the stores that they call.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight::TaskId;

use crate::call::{Call, Change, Ending, NewCall, Reply};
use crate::check::{Verdict, check};
use crate::history::{Failure, Recorder, Stamps};

/// A store under test.
pub trait Target: Sync {
    /// What the store supports.
    fn features(&self) -> Features;

    /// A client of it, for one thread and one history.
    fn client(&self, number: usize) -> Box<dyn Client + '_>;

    /// Called between two histories, when no client is left: removes the tasks of the last one, so that the
    /// store has capacity for the next. A store with enough capacity needs to do nothing.
    fn clear(&self);
}

/// One client of a [`Target`].
pub trait Client {
    /// Makes one call, and returns the reply.
    ///
    /// `id` is the task's; it is `None` for a [`Call::Create`] for which the store mints an id, and for
    /// [`Call::Pass`].
    ///
    /// `via` is the number of the handle for the call. With [`Call::Create`] it is the number that the new
    /// task's handle gets, unique in the history. A target without handles ([`Features::handles`]) ignores
    /// it.
    fn call(&mut self, id: Option<TaskId>, via: u64, call: &Call) -> Reply;
}

/// What a [`Target`] supports. The driver does not make calls that need anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the features are independent")]
pub struct Features {
    /// Workers write through handles: a handle whose task is gone does not reach the next task with the same
    /// id. Without handles, workers write by id, and any client may write to any task.
    pub handles: bool,
    /// Clients can bring their own ids.
    pub own_ids: bool,
    /// [`Call::Pass`] moves the store's clock and does its upkeep before it is answered.
    pub time: bool,
    /// Tasks can have leases. Ignored unless `time` is set.
    pub leases: bool,
    /// [`Call::Details`] returns status, message and outcome from one instant.
    pub details: bool,
}

impl Features {
    /// Everything.
    #[must_use]
    pub const fn all() -> Self {
        Self { handles: true, own_ids: true, time: true, leases: true, details: true }
    }
}

/// How histories are generated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many.
    pub histories: u64,
    /// How many clients each history has; each client is a thread.
    pub clients: usize,
    /// How many ids each history has; half of them are minted, if clients can bring their own.
    pub ids: usize,
    /// How many calls each client makes.
    pub calls: usize,
    /// The seed for the choice of calls. The history's number is added to it.
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

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many histories were recorded and checked.
    pub histories: u64,
    /// How many calls they have in all.
    pub calls: u64,
    /// How many histories of single tasks they contain.
    pub tasks: u64,
    /// How many calls of one task overlapped another client's call of the same task.
    pub overlapping: u64,
    /// How many of those are linearizable only with loose edges of attempts ([`Verdict::LooseEdges`]).
    pub loose: u64,
    /// The histories that are not linearizable, or that the checker could not decide.
    pub failures: Vec<Failure>,
}

impl Plan {
    /// Records histories and checks them.
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

    /// Records one history: all clients call at the same time.
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
                    // The handles are dropped with the client, which must be after all calls.
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

/// A barrier at which the clients meet again and again, so that they call at the same time. Without it, the
/// clients of a short history would run one after the other.
#[derive(Default)]
struct Gate {
    arrived: AtomicUsize,
    passed: AtomicUsize,
    broken: AtomicBool,
}

impl Gate {
    fn pass(&self, clients: usize) {
        // SeqCst for all of these: it is simple, and its cost does not matter here.
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

/// When a client panics, the others still run to their end.
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
        // Sorted by their beginnings, so the neighbours suffice, except for very long calls.
        let near = events.get(at.saturating_sub(8)..(at + 9).min(events.len())).unwrap_or_default();
        u64::from(near.iter().any(|other| {
            other.client != event.client && other.began < event.ended && event.began < other.ended
        }))
    };
    events.iter().enumerate().map(overlaps).sum()
}

/// One id of a history, and what the clients share about it.
struct Key {
    /// The client's own id; otherwise the store mints one.
    own: Option<TaskId>,
    leased: bool,
    shared: bool,
    known: Mutex<Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    id: Option<TaskId>,
    /// The newest handle, and the client that owns it if it is exclusive.
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

/// A running client.
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
    /// Makes one call, and records it.
    fn call(&mut self) {
        // Sometimes the other clients run first, or a little ahead, so that few processors produce many
        // orders.
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
            // The id is minted and not known yet, so the client that owns it creates the task.
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

/// SplitMix64: small, and the same on every platform.
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

    /// A UUID of version 4; every other one is of version 8 and looks like a minted id.
    fn id(&mut self) -> TaskId {
        let bits = u128::from(self.next()) << 64 | u128::from(self.next());
        let version = if self.below(2) == 0 { 4 } else { 8 };
        TaskId::from_u128(bits & !(0xF << 76) & !(0b11 << 62) | version << 76 | 0b10 << 62)
    }
}
