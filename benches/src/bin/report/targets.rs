//! The targets, with the measured values.

use crate::results::{Results, Row, Tail, Verdict};

/// In which direction a figure should differ from its target.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtLeast(least) => value >= least,
            Bound::AtMost(most) => value <= most,
        }
    }

    /// Of two figures, the one that is further from the target.
    fn worse(self, one: f64, other: f64) -> bool {
        match self {
            Bound::AtLeast(_) => one < other,
            Bound::AtMost(_) => one > other,
        }
    }
}

/// A figure and its case.
type Case = (String, f64);

fn verdict(what: &str, bound: Bound, unit: &str, cases: Vec<Case>, why: &str) -> Verdict {
    let target = match bound {
        Bound::AtLeast(least) => format!("≥ {least}{unit}"),
        Bound::AtMost(most) => format!("≤ {most}{unit}"),
    };
    let worst = cases.iter().reduce(|a, b| if bound.worse(b.1, a.1) { b } else { a });
    let met_in = cases.iter().filter(|(_, value)| bound.holds(*value)).count();
    let mut sorted: Vec<f64> = cases.iter().map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let met = (!cases.is_empty()).then_some(met_in == cases.len());
    Verdict {
        what: what.to_owned(),
        target,
        worst: worst.map(|(_, value)| *value),
        worst_case: worst.map(|(case, _)| case.clone()).unwrap_or_default(),
        typical: sorted.get(sorted.len() / 2).copied(),
        met_in,
        cases: cases.len(),
        met,
        why: if met == Some(false) { why.to_owned() } else { String::new() },
    }
}

const MAPS: [&str; 6] = [
    "DashMap",
    "papaya",
    "papaya, pinned once",
    "scc HashIndex",
    "scc HashIndex, guarded once",
    "RwLock<HashMap>",
];
const SLABS: [&str; 3] = ["idr-ebr", "idr-ebr, guarded once", "sharded-slab"];
const MUTEX: [&str; 1] = ["Mutex<HashMap>"];
const LINE: [&str; 1] = ["bare line"];

impl Results {
    /// For each case in which `subject` was measured: the fastest of `peers` divided by it.
    fn speedups(&self, subject: &str, peers: &[&str], is_in: impl Fn(&Row) -> bool) -> Vec<Case> {
        self.times(subject, peers, is_in, |ours, peer| peer / ours)
    }

    /// For each case in which `subject` was measured: it divided by the fastest of `floors`.
    fn over(&self, subject: &str, floors: &[&str], is_in: impl Fn(&Row) -> bool) -> Vec<Case> {
        self.times(subject, floors, is_in, |ours, floor| ours / floor)
    }

    fn times(
        &self,
        subject: &str,
        others: &[&str],
        is_in: impl Fn(&Row) -> bool,
        ratio: fn(f64, f64) -> f64,
    ) -> Vec<Case> {
        let ours = self.results.iter().filter(|row| row.subject == subject && is_in(row));
        let case = |row: &Row| {
            let same = |other: &&Row| {
                (&other.scenario, other.threads, other.tasks) == (&row.scenario, row.threads, row.tasks)
                    && others.contains(&other.subject.as_str())
            };
            let best = self.results.iter().filter(same).map(|other| other.ns_per_op).reduce(f64::min)?;
            let case = format!("{}, {} tasks, ×{}", row.scenario, row.tasks, row.threads);
            Some((case, ratio(row.ns_per_op, best)))
        };
        ours.filter_map(case).collect()
    }

    fn ns(&self, subject: &str, is_in: impl Fn(&Row) -> bool) -> Vec<Case> {
        let rows = self.results.iter().filter(|row| row.subject == subject && is_in(row));
        rows.map(|row| (format!("{}, ×{}", row.scenario, row.threads), row.ns_per_op)).collect()
    }

    /// Each target with its measured values.
    pub(crate) fn judge(&mut self) {
        let mut targets = self.polls_by_minted_id();
        targets.extend(self.other_polls());
        targets.extend(self.writes());
        targets.extend(self.lives());
        targets.extend(self.waits());
        self.targets = targets;
    }

    fn polls_by_minted_id(&self) -> Vec<Verdict> {
        let large = |row: &Row| is_read(row) && row.tasks >= 1_000_000;
        let hot = |row: &Row| row.scenario == "poll, hot+writer" && row.threads == 2;
        vec![
            verdict(
                "poll by minted id, beside the fastest map peer",
                Bound::AtLeast(3.0),
                "×",
                self.speedups("inflight", &MAPS, is_read),
                "If all tasks fit in the nearest cache, a map's poll costs little more than hashing and one \
                 probe, so only instructions can be saved. Next: a poll that reads and checks only the \
                 fields that the caller asks for, for example state and progress.",
            ),
            verdict(
                "poll by minted id, beside idr-ebr and sharded-slab",
                Bound::AtLeast(2.0),
                "×",
                self.speedups("inflight", &SLABS, is_read),
                "The slabs find their line as directly; their extra cost is the guard. If it is taken once \
                 for many polls, and all tasks are in the nearest cache, little of this cost is left. Next: \
                 as above.",
            ),
            verdict(
                "poll by minted id, beside Mutex<HashMap>",
                Bound::AtLeast(5.0),
                "×",
                self.speedups("inflight", &MUTEX, is_read),
                "On one thread the mutex is never contended, and its map has the struct in place: two atomic \
                 operations and one or two lines. Next: as above.",
            ),
            verdict(
                "poll by minted id, over a bare line, from 1 M tasks on",
                Bound::AtMost(1.5),
                "×",
                self.over("inflight", &LINE, large),
                "The bare line is three loads; a poll checks the line's tenant, reads all fields, and reads \
                 the word again. With more instructions per poll, fewer cache misses overlap. Huge pages \
                 were tried, almost without effect (DESIGN.md). Next: as in the first row.",
            ),
            verdict(
                "poll of a hot task, 2 readers and a writer, beside the fastest peer",
                Bound::AtLeast(3.0),
                "×",
                self.speedups("inflight", &[&MAPS[..], &SLABS, &MUTEX].concat(), hot),
                "Peers that are pinned or guarded once share no line that readers write, either; with one \
                 task, they only hash and probe. Next: as in the first row.",
            ),
        ]
    }

    fn other_polls(&self) -> Vec<Verdict> {
        let held = |row: &Row| row.scenario == "poll, hot" || (is_read(row) && row.tasks <= 1000);
        let page = |row: &Row| row.scenario == "poll, pages of 100";
        vec![
            verdict(
                "poll by a client's UUID, beside a plain DashMap",
                Bound::AtLeast(1.0),
                "×",
                self.speedups("inflight, client's UUID", &["DashMap"], is_read),
                "One poll takes more instructions than a look-up in a map, since it checks the alias, the \
                 line and its tenant, so fewer cache misses overlap. It takes no lock, and is faster if \
                 threads share a shard. Next: fewer instructions between the bucket and the line.",
            ),
            verdict(
                "poll by handle, over a bare line",
                Bound::AtMost(1.3),
                "×",
                self.over("inflight, by handle", &LINE, held),
                "The handle has the line's address, but the whole line is read and checked, while the bare \
                 line is three loads. Next: as in the first row.",
            ),
            verdict(
                "get_many of 100 ids at 1 M tasks, over 100 polls",
                Bound::AtMost(0.6),
                "×",
                self.over("inflight, get_many of 100", &["inflight, 100 polls"], page),
                "Single polls in a loop are independent of each other, too, and the processor overlaps as \
                 many of their misses as its window holds. Next: a first pass over more ids at a time.",
            ),
        ]
    }

    fn writes(&self) -> Vec<Verdict> {
        let own = |row: &Row| row.scenario == "advance, own task" && row.threads == 1;
        let shared = |row: &Row| row.scenario == "advance, one task" && row.threads == 2;
        let why = "The handle keeps the count in memory: each call loads what the last one stored, and in a \
                   loop this is the time of a step. `Task::counter` keeps it in a register: see its row. \
                   Next: a smaller handle that the compiler can keep in registers.";
        vec![
            verdict("Task::advance", Bound::AtMost(1.0), " ns", self.ns("inflight, Task", own), why),
            verdict(
                "Task::advance, a fetch_add over it",
                Bound::AtLeast(5.0),
                "×",
                self.speedups("inflight, Task", &["fetch_add"], own),
                why,
            ),
            verdict(
                "Task::advance, indicatif's inc over it",
                Bound::AtLeast(20.0),
                "×",
                self.speedups("inflight, Task", &["indicatif"], own),
                why,
            ),
            verdict(
                "SharedTask::advance, 2 threads on one task, over a fetch_add",
                Bound::AtMost(1.1),
                "×",
                self.over("inflight, SharedTask", &["fetch_add"], shared),
                "Two cores exchange a line, and the spread is that of the exchange. Besides the addition \
                 there are two loads: of the tick, and of the clone's own copy of it.",
            ),
            verdict(
                "Task::advance with a watcher, over one without",
                Bound::AtMost(1.1),
                "×",
                self.over("inflight, Task, watched", &["inflight, Task"], own),
                "More than noise: see the spread in the table.",
            ),
        ]
    }

    fn lives(&self) -> Vec<Verdict> {
        let create = |row: &Row| row.scenario == "create";
        let churn = |row: &Row| row.scenario == "churn";
        let per_task = self.of("expire").map(|row| (row.tasks, row.ns_per_op)).collect::<Vec<_>>();
        let least = per_task.iter().min_by_key(|(tasks, _)| *tasks);
        let most = per_task.iter().max_by_key(|(tasks, _)| *tasks);
        let flat = least
            .zip(most)
            .map(|(least, most)| (format!("{} live tasks over {}", most.0, least.0), most.1 / least.1));
        let memory =
            self.memory.iter().filter(|one| one.role == "inflight" && one.scenario == "numbers only");
        let memory = memory.map(|one| (one.subject.clone(), one.bytes_per_task)).collect();
        vec![
            verdict(
                "create, over a bare DashMap insert of an Arc",
                Bound::AtMost(1.3),
                "×",
                self.over("inflight", &["DashMap"], create),
                "A creation also takes a line, mints an id, fills the line, counts the task, adds it to the \
                 roster, and creates a handle: ten atomic exchanges, while the peer has three. Next: \
                 counters per thread, and serial numbers drawn in batches.",
            ),
            verdict(
                "churn, beside the best map peer that looks its tasks up",
                Bound::AtLeast(1.5),
                "×",
                self.speedups("inflight", &[&MAPS[..], &MUTEX].concat(), churn),
                "Ten updates cost a map peer ten look-ups, but its creation and its end do nothing else. \
                 Here each task is in a DashMap as well, and on the roster, counted by state, and passed to \
                 the keeper. Next: as for create.",
            ),
            verdict(
                "expiry per due task, 1 M live tasks over 10 k",
                Bound::AtMost(2.0),
                "×",
                flat.into_iter().collect(),
                "No list is scanned, but the line, the map's entry and the record of a due task miss the \
                 caches one after the other. Next: look-ups of a batch that overlap.",
            ),
            verdict(
                "memory per task without strings",
                Bound::AtMost(256.0),
                " B",
                memory,
                "The task itself is within the target; its worker's handle exceeds it. Next: a smaller \
                 record.",
            ),
            verdict(
                "poll's p99.9 while a million tasks expire, over its p99.9 in steady work",
                Bound::AtMost(1.5),
                "×",
                self.mass_expiry(),
                "The expiry takes a part of the memory's bandwidth and of the caches. Next: smaller batches \
                 per tick.",
            ),
        ]
    }

    fn mass_expiry(&self) -> Vec<Case> {
        let ours = |scenario: fn(&str) -> bool| {
            self.tails.iter().find(|tail: &&Tail| tail.role == "inflight" && scenario(&tail.scenario))
        };
        let mass = ours(|scenario| scenario.starts_with("expiry"));
        let steady = ours(|scenario| scenario.starts_with("steady"));
        mass.zip(steady)
            .map(|(mass, steady)| (mass.scenario.clone(), mass.p999 / steady.p999))
            .into_iter()
            .collect()
    }

    fn waits(&self) -> Vec<Verdict> {
        let woken = |row: &Row| row.scenario == "end to woken" || row.scenario == "end to read";
        let across = |row: &Row| row.scenario == "end to read, across threads";
        let channel = ["tokio watch"];
        let drains: Vec<&Row> =
            self.results.iter().filter(|row| row.scenario.starts_with("drain of")).collect();
        let ticks: Vec<&Row> =
            self.results.iter().filter(|row| row.scenario.starts_with("tick with all watched")).collect();
        vec![
            verdict(
                "terminal transition to woken waiter, over tokio's watch",
                Bound::AtMost(1.2),
                "×",
                self.over("inflight", &channel, woken),
                "The transition itself does more than a store into a channel: it freezes the count, keeps \
                 the result, counts by state, and passes the task to the keeper. Next: fewer of these steps \
                 under the record's lock.",
            ),
            verdict(
                "the same across threads, under a runtime",
                Bound::AtMost(1.2),
                "×",
                self.over("inflight", &channel, across),
                "Mostly the scheduler's time: see the spread.",
            ),
            verdict(
                "drain of few changed, per changed task, over one of many: what is stored costs nothing",
                Bound::AtMost(2.0),
                "×",
                per_change(&drains, false),
                "A part of a drain does not depend on the changes: it reads each lane. Next: a flag for \
                 lanes with changes.",
            ),
            verdict(
                "drain of many changed, per changed task, over one of few: proportional, but for the caches",
                Bound::AtMost(4.0),
                "×",
                per_change(&drains, true),
                "A thousand entries and lines fit into the caches, a hundred thousand do not. Next: take \
                 entries out in the order of their lines.",
            ),
            verdict(
                "tick of few changed, per changed task, over one of many: quiet watchers cost nothing",
                Bound::AtMost(2.0),
                "×",
                per_change(&ticks, false),
                "A tick without changes costs almost nothing, as the table shows, so quiet watchers are not \
                 the cause: a few changed tasks are further apart than many. Next: a first pass over the \
                 lines and records of a chunk, as in `get_many`, so that their misses overlap.",
            ),
        ]
    }
}

/// Polls of tasks that are there (all of them, or mostly a few), without a writer.
fn is_read(row: &Row) -> bool {
    row.scenario == "poll, uniform" || row.scenario == "poll, zipf"
}

/// Cost per changed task at the most changes divided by that at the fewest, or the other way round. The rows
/// have the number of changed tasks in place of the number of tasks, and the time of all of them.
#[expect(clippy::cast_precision_loss, reason = "numbers of tasks are far below 2^52")]
fn per_change(rows: &[&Row], most_over_least: bool) -> Vec<Case> {
    let changed = || rows.iter().filter(|row| row.tasks > 0);
    let least = changed().min_by_key(|row| row.tasks);
    let most = changed().max_by_key(|row| row.tasks);
    let each = |row: &Row| row.ns_per_op / row.tasks as f64;
    let case = |(least, most): (&&Row, &&Row)| {
        let (above, below) = if most_over_least { (most, least) } else { (least, most) };
        (format!("{} changed over {}", above.tasks, below.tasks), each(above) / each(below))
    };
    least.zip(most).map(case).into_iter().collect()
}
