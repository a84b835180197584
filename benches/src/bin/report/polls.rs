//! The matrix of polls: sizes, threads, distribution of the keys, hits and misses, writers.

use inflight_benches::harness::thread_counts;
use inflight_benches::keys::{Spread, stream_length, streams};
use inflight_benches::measure::{Entry, interleaved};
use inflight_benches::ours::{self, Pages};
use inflight_benches::subject::{Contender, Plan, Role, WRITTEN, Writer, contenders};
use inflight_benches::{floors, maps, slabs};

use crate::args::Thoroughness;
use crate::results::{Place, Results, rows};
use crate::scale::Scale;

/// One scenario.
#[derive(Clone, Copy, Debug)]
struct Case {
    spread: Spread,
    threads: usize,
    hits: bool,
    writer: Writer,
}

impl Case {
    const fn new(spread: Spread, threads: usize) -> Self {
        Self { spread, threads, hits: true, writer: Writer::None }
    }

    const fn with(self, writer: Writer) -> Self {
        Self { writer, ..self }
    }

    fn name(&self) -> String {
        let what = if self.hits { "poll" } else { "poll, miss" };
        format!("{what}, {}{}", self.spread.word(), self.writer.word())
    }
}

/// All subjects; at the largest size only those that the targets name, since all are in memory at once.
fn all(tasks: usize) -> Vec<Box<dyn Contender>> {
    let mut all = vec![
        contenders::<ours::ById>(tasks),
        contenders::<ours::ByUuid>(tasks),
        contenders::<floors::BareLine>(tasks),
        contenders::<slabs::Resolver>(tasks),
        contenders::<slabs::Sharded>(tasks),
        contenders::<maps::Dashed>(tasks),
        contenders::<maps::Papaya>(tasks),
        contenders::<maps::Scc>(tasks),
        contenders::<maps::ReadLocked>(tasks),
        contenders::<maps::Locked>(tasks),
    ];
    if tasks <= 1_000_000 {
        all.push(contenders::<ours::ByHandle>(tasks));
        all.push(contenders::<maps::Swapped>(tasks));
        all.push(contenders::<maps::Watched>(tasks));
        all.push(contenders::<floors::BareMap>(tasks));
    }
    all.into_iter().flatten().collect()
}

fn cases(scale: &Scale, tasks: usize) -> Vec<Case> {
    let full = scale.thoroughness == Thoroughness::Full;
    let mut cases = Vec::new();
    for threads in thread_counts() {
        cases.push(Case::new(Spread::Uniform, threads));
        if full || (tasks > 1000) == (threads > 1) {
            cases.push(Case::new(Spread::Zipf, threads));
        }
        if tasks <= 1000 {
            let hot = Case::new(Spread::Hot, threads);
            cases.extend([hot, hot.with(Writer::Paced)]);
        }
    }
    let uniform = Case::new(Spread::Uniform, 1);
    if tasks <= 1000 {
        cases.push(Case::new(Spread::Hot, 1).with(Writer::Tight));
    } else if tasks <= 1_000_000 {
        cases.push(Case { hits: false, ..uniform });
        if full {
            cases.push(Case::new(Spread::Uniform, 2).with(Writer::Paced));
            cases.push(uniform.with(Writer::Tight));
        }
    }
    cases
}

/// Polls in all sizes and ways.
pub(crate) fn run(scale: &Scale, results: &mut Results) -> Result<(), String> {
    // This comes first, since a page is a vector from the allocator: after millions of small allocations and
    // frees, glibc's allocator may take a hundred microseconds to find space for one.
    pages(scale, results)?;
    let sizes: &[usize] = scale.pick(&[200], &[1000, 1_000_000], &[1000, 100_000, 1_000_000, 4_000_000]);
    for tasks in sizes {
        let mut contenders = all(*tasks);
        for case in cases(scale, *tasks) {
            one(scale, *tasks, case, &mut contenders, results)?;
        }
    }
    Ok(())
}

fn one(
    scale: &Scale,
    tasks: usize,
    case: Case,
    contenders: &mut [Box<dyn Contender>],
    results: &mut Results,
) -> Result<(), String> {
    let streams = streams(case.spread, tasks, stream_length(tasks), case.threads);
    let can = |one: &dyn Contender| {
        (case.hits || one.can_miss()) && (case.writer == Writer::None || one.can_write())
    };
    let mut entries: Vec<Entry<'_>> = contenders
        .iter_mut()
        .filter(|one| can(&***one))
        .map(|contender| {
            contender.prepare(&streams, case.hits);
            let (name, role, mut from) = (contender.name(), contender.role(), 0);
            Entry::new(name, role, move |ops| {
                let written = if case.spread == Spread::Hot { 1 } else { WRITTEN.min(tasks) };
                let plan = Plan { hits: case.hits, writer: case.writer, written, ops, from };
                // The next repeat continues where this one ends, warm-up included.
                from += ops + ops / 4;
                contender.run(&plan).map_err(|wrong| wrong.to_string())
            })
        })
        .collect();
    let scenario = case.name();
    // Whole chunks of polls, at most as many as take a minute.
    let measured = interleaved(&mut entries, scale.effort, 1 << 12, 1 << 32)
        .map_err(|wrong| format!("{scenario}, {tasks} tasks, {} threads: {wrong}", case.threads))?;
    let floor = Some("bare line");
    let place = Place { group: "poll", scenario: &scenario, threads: case.threads, tasks, floor };
    results.results.extend(rows(place, &measured));
    Ok(())
}

/// Pages of polls next to single ones.
fn pages(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let tasks = scale.pick(500, 1_000_000, 1_000_000);
    let pages = Pages::new(tasks);
    let entry = |name, at_once| {
        let (pages, mut from) = (&pages, 0);
        Entry::new(name, Role::Ours, move |polls| {
            from += polls;
            pages.time(at_once, from, polls).map(|elapsed| {
                // Only whole pages are polled.
                let polled = polls / Pages::SIZE * Pages::SIZE;
                elapsed.mul_f64(f64::from(u32::try_from(polls).unwrap_or(u32::MAX)) / polled.max(1) as f64)
            })
        })
    };
    let mut entries = [entry("inflight, get_many of 100", true), entry("inflight, 100 polls", false)];
    let measured = interleaved(&mut entries, scale.effort, 10_000, 1 << 24)?;
    let floor = Some("inflight, 100 polls");
    let place = Place { group: "poll", scenario: "poll, pages of 100", threads: 1, tasks, floor };
    results.results.extend(rows(place, &measured));
    Ok(())
}
