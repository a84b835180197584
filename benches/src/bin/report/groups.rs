//! The measurements of each group, and their sizes.

use std::time::{Duration, Instant};

use inflight_benches::advance::{COUNTINGS, count};
use inflight_benches::harness::thread_counts;
use inflight_benches::lifecycle::{CHURNINGS, CREATINGS, Churn, KEPT_ROUNDS, ROUND};
use inflight_benches::measure::{Effort, Entry, Measured, interleaved};
use inflight_benches::subject::Role;
use inflight_benches::upkeep::{Stored, coalesce};
use inflight_benches::waiting::{Across, Channel, Ours, Until, time};

use crate::results::{Fact, Place, Results, Row, rows};
use crate::scale::Scale;

const NO_BOUND: usize = usize::MAX >> 8;

/// Increments of one task: by its only writer, and by several.
pub(crate) fn update(scale: &Scale, results: &mut Results) -> Result<(), String> {
    for threads in thread_counts() {
        for one in [false, true] {
            if one && threads == 1 {
                continue;
            }
            let countings = COUNTINGS.iter().filter(|counting| counting.is_shared || !one);
            let mut holds: Vec<_> = countings.map(|one_of| (one_of, (one_of.make)(threads, one))).collect();
            let mut entries: Vec<Entry<'_>> = holds
                .iter_mut()
                .map(|(counting, holds)| {
                    Entry::new(counting.name, counting.role, move |ops| count(holds, one, ops))
                })
                .collect();
            let measured = interleaved(&mut entries, scale.effort, 1 << 10, NO_BOUND)?;
            let (scenario, floor) =
                if one { ("advance, one task", "fetch_add") } else { ("advance, own task", "plain store") };
            let place = Place { group: "update", scenario, threads, tasks: 1, floor: Some(floor) };
            results.results.extend(rows(place, &measured));
        }
    }
    Ok(())
}

/// Creations, whole lives, and expiry next to a growing number of live tasks.
pub(crate) fn lifecycle(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let count = scale.pick(500, 50_000, 200_000);
    for threads in thread_counts() {
        let mut entries: Vec<Entry<'_>> = CREATINGS
            .iter()
            .map(|creating| Entry::new(creating.name, creating.role, move |ops| (creating.run)(threads, ops)))
            .collect();
        let measured = interleaved(&mut entries, scale.effort, count, count)?;
        let place = Place { group: "lifecycle", scenario: "create", threads, tasks: count, floor: None };
        results.results.extend(rows(place, &measured));
    }
    for threads in thread_counts() {
        let mut churns: Vec<_> = CHURNINGS.iter().map(|one_of| (one_of, (one_of.make)(threads))).collect();
        let mut entries: Vec<Entry<'_>> = churns
            .iter_mut()
            .map(|(churning, churn)| {
                Entry::new(churning.name, churning.role, move |lives| churned(&mut **churn, lives))
            })
            .collect();
        let measured = interleaved(&mut entries, scale.effort, 2 * ROUND * KEPT_ROUNDS, NO_BOUND)?;
        let tasks = threads * ROUND * KEPT_ROUNDS;
        let place = Place { group: "lifecycle", scenario: "churn", threads, tasks, floor: None };
        results.results.extend(rows(place, &measured));
    }
    expiry(scale, results)
}

fn churned(churn: &mut dyn Churn, lives: usize) -> Result<Duration, String> {
    let rounds = lives.div_ceil(ROUND);
    #[expect(clippy::cast_precision_loss, reason = "numbers of lives are far below 2^52")]
    let part = lives as f64 / (rounds * ROUND) as f64;
    churn.rounds(rounds).map(|elapsed| elapsed.mul_f64(part))
}

/// One subject at several sizes. Each size is measured in turn, and has a row of its own.
fn at_sizes<'a>(
    scale: &Scale,
    place: Place<'_>,
    subject: &str,
    sizes: &[usize],
    ops: usize,
    mut time: impl FnMut(usize) -> Box<dyn FnMut(usize) -> Result<Duration, String> + 'a>,
) -> Result<Vec<Row>, String> {
    let mut entries: Vec<Entry<'a>> =
        sizes.iter().map(|size| Entry::new(subject, Role::Ours, time(*size))).collect();
    let measured = interleaved(&mut entries, scale.effort, ops, ops)?;
    let row = |(size, one): (&usize, &Measured)| {
        let place = Place { tasks: *size, ..place };
        rows(place, std::slice::from_ref(one))
    };
    Ok(sizes.iter().zip(&measured).flat_map(row).collect())
}

fn expiry(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let sizes: &[usize] = scale.pick(&[100, 1000], &[10_000, 1_000_000], &[10_000, 100_000, 1_000_000]);
    let due = scale.pick(100, 10_000, 10_000);
    let place = Place { group: "lifecycle", scenario: "expire", threads: 1, tasks: 0, floor: None };
    let found = at_sizes(scale, place, "inflight", sizes, due, |live| {
        let mut stored = Stored::new(live, 2 * due);
        Box::new(move |due| stored.time_expiry(due))
    })?;
    results.results.extend(found);
    Ok(())
}

/// From the end of a task to its waiters; ticks of a store with many watchers.
pub(crate) fn waiting(scale: &Scale, results: &mut Results) -> Result<(), String> {
    for waiters in [1, 1000] {
        let ends = scale.pick(16, 1 << 10, 1 << 12) / if waiters > 1 { 8 } else { 1 };
        for (until, word) in [(Until::Woken, "end to woken"), (Until::Read, "end to read")] {
            let ours = Ours::new(4096);
            let mut entries = [
                Entry::new("inflight", Role::Ours, |ends| time(&ours, waiters, until, ends)),
                Entry::new("tokio watch", Role::Other, |ends| time(&Channel, waiters, until, ends)),
            ];
            let measured = interleaved(&mut entries, scale.effort, ends, ends)?;
            results.results.extend(rows(waiting_place(word, waiters), &measured));
        }
        // The time between two threads differs from one end to the next, and from one second to another. So a
        // timing is the median of few ends, and there are many timings, in turn.
        let effort = Effort { repeats: scale.pick(1, 10, 20) * scale.effort.repeats, ..scale.effort };
        let times = scale.pick(2, 10, 10);
        let (ours, across) = (Ours::new(4096), Across::new());
        let mut entries = [
            Entry::new("inflight", Role::Ours, |times| median_of(times, || across.time(&ours, waiters))),
            Entry::new("tokio watch", Role::Other, |times| {
                median_of(times, || across.time(&Channel, waiters))
            }),
        ];
        let measured = interleaved(&mut entries, effort, times, times)?;
        results.results.extend(rows(waiting_place("end to read, across threads", waiters), &measured));
    }
    watched(scale, results)
}

/// The number of waiters is in the place of the number of tasks.
const fn waiting_place(scenario: &str, waiters: usize) -> Place<'_> {
    Place { group: "waiting", scenario, threads: 1, tasks: waiters, floor: None }
}

/// `times` times the median of `times` runs: a mean would depend on the scheduler's outliers.
fn median_of(times: usize, mut time: impl FnMut() -> Result<Duration, String>) -> Result<Duration, String> {
    let mut all = (0..times).map(|_| time()).collect::<Result<Vec<_>, _>>()?;
    all.sort_unstable();
    let median = all.get(times / 2).copied().unwrap_or_default();
    Ok(median * u32::try_from(times).unwrap_or(u32::MAX))
}

fn watched(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let watched = scale.pick(500, 100_000, 100_000);
    let changes: &[usize] =
        scale.pick(&[0, 50, 500], &[0, 1000, 10_000, 100_000], &[0, 1000, 10_000, 100_000]);
    let mut stored = Stored::new(watched, 16);
    let (mut watchers, bell) = stored.watch();
    let cell = std::cell::RefCell::new((&mut stored, &mut watchers));
    let place = Place {
        group: "waiting",
        scenario: "tick with all watched, by changed",
        threads: 1,
        tasks: 0,
        floor: None,
    };
    let found = at_sizes(scale, place, "inflight", changes, 1, |changed| {
        let (cell, bell) = (&cell, &bell);
        Box::new(move |_| {
            let (stored, watchers) = &mut *cell.borrow_mut();
            stored.time_tick(watchers, bell, changed)
        })
    })?;
    for row in &found {
        let value = 20.0 * row.ns_per_op / 1e9;
        let what = format!(
            "processor time of the keeper at 20 ticks a second, {watched} watched, {} changing",
            row.tasks
        );
        results.facts.push(fact("waiting", what, 100.0 * value, "% of a core"));
    }
    results.results.extend(found);
    Ok(())
}

fn fact(group: &str, what: String, value: f64, unit: &str) -> Fact {
    Fact { group: group.to_owned(), what, value, unit: unit.to_owned() }
}

/// The change feed: its cost for the workers, its coalescing, the cost of a drain.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(crate) fn feed(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let (tasks, updates) = scale.pick((100, 10_000), (10_000, 10_000_000), (10_000, 10_000_000));
    let mut last = None;
    let run = |is_read: bool| coalesce(tasks, updates, is_read);
    let timed = |ns: f64| Duration::from_secs_f64(ns * updates as f64 / 1e9);
    let mut entries = [
        Entry::new("inflight, no reader", Role::Ours, |_| run(false).map(|found| timed(found.ns_per_update))),
        Entry::new("inflight, one reader", Role::Ours, |_| {
            run(true).map(|found| {
                last = Some(found);
                timed(found.ns_per_update)
            })
        }),
    ];
    let measured = interleaved(&mut entries, scale.effort, updates, updates)?;
    drop(entries);
    let place = Place { group: "feed", scenario: "advance, round and round", threads: 1, tasks, floor: None };
    results.results.extend(rows(place, &measured));
    if let Some(found) = last {
        let per_drain = found.records as f64 / found.drains.max(1) as f64;
        let what = |what: &str| format!("{updates} updates over {tasks} tasks: {what}");
        results.facts.push(fact("feed", what("drains"), found.drains as f64, ""));
        results.facts.push(fact("feed", what("records"), found.records as f64, ""));
        results.facts.push(fact(
            "feed",
            what("records of one task in one drain, at most"),
            found.most as f64,
            "",
        ));
        results.facts.push(fact("feed", what("records in a drain"), per_drain, ""));
    }
    drains(scale, results)
}

fn drains(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let stored = scale.pick(1000, 1_000_000, 1_000_000);
    let changes: &[usize] = scale.pick(&[10, 100], &[1000, 10_000, 100_000], &[1000, 10_000, 100_000]);
    let mut store = Stored::new(stored, 16);
    let mut reader = store.reader();
    let cell = std::cell::RefCell::new((&mut store, &mut reader));
    let scenario = format!("drain of {stored} stored, by changed");
    let place = Place { group: "feed", scenario: &scenario, threads: 1, tasks: 0, floor: None };
    let found = at_sizes(scale, place, "inflight", changes, 1, |changed| {
        let cell = &cell;
        Box::new(move |_| {
            let (store, reader) = &mut *cell.borrow_mut();
            store.time_drain(reader, changed)
        })
    })?;
    results.results.extend(found);
    Ok(())
}

/// Runs one group; returns how long it took.
pub(crate) fn run(group: &str, scale: &Scale, results: &mut Results) -> Result<Duration, String> {
    let begin = Instant::now();
    match group {
        "poll" => crate::polls::run(scale, results),
        "update" => update(scale, results),
        "lifecycle" => lifecycle(scale, results),
        "waiting" => waiting(scale, results),
        "feed" => feed(scale, results),
        "tails" => crate::resources::tails(scale, results),
        "memory" => crate::resources::memory(scale, results),
        _ => Err(format!("there is no group {group}")),
    }?;
    Ok(begin.elapsed())
}
