//! Records histories of the store in this process and checks them: `histories [HISTORIES] [SEED]`.
//!
//! Ends with one line of figures, and fails if a history is not linearizable.

use std::process::ExitCode;
use std::time::Instant;

use inflight_histories::{Local, Plan, Report, Target};

/// The parts of the run: name, clients, ids, calls, and whether the feed is read.
const SHARES: [(&str, usize, usize, usize, bool); 4] = [
    ("two clients, two ids", 2, 2, 60, false),
    ("three clients, five ids", 3, 5, 40, false),
    ("three clients, with a reader of the feed", 3, 2, 40, true),
    ("four clients, two ids", 4, 2, 30, false),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>());
    let (Ok(histories), Ok(seed)) =
        (arguments.next().unwrap_or(Ok(2_000)), arguments.next().unwrap_or(Ok(1)))
    else {
        eprintln!("usage: histories [HISTORIES] [SEED]");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let mut all = Report::default();
    for (what, clients, ids, calls, feed) in SHARES {
        let local = || if feed { Local::with_feed() } else { Local::new() };
        let plan = Plan { histories: histories / 4, clients, ids, calls, seed, ..Plan::default() };
        let report = run(&plan, local);
        println!(
            "{what}: {} histories, {} calls, {} tasks, {} calls overlapped another client's",
            report.histories, report.calls, report.tasks, report.overlapping
        );
        all.histories += report.histories;
        all.calls += report.calls;
        all.tasks += report.tasks;
        all.overlapping += report.overlapping;
        all.loose += report.loose;
        all.failures.extend(report.failures);
    }
    for failure in &all.failures {
        println!("{failure}");
    }
    println!(
        "summary: histories={} calls={} tasks={} overlapping={} loose={} failures={} seed={seed} seconds={:.1}",
        all.histories,
        all.calls,
        all.tasks,
        all.overlapping,
        all.loose,
        all.failures.len(),
        began.elapsed().as_secs_f64()
    );
    // A run without overlapping calls checks no more than a plain test.
    let is_concurrent = all.overlapping * 500 > all.calls;
    if !is_concurrent {
        println!("too few calls overlapped: this is no check of concurrency");
    }
    if all.failures.is_empty() && is_concurrent { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the plan in batches, each on a store of its own.
fn run<T: Target>(plan: &Plan, target: impl Fn() -> T) -> Report {
    const BATCH: u64 = 100;
    let mut all = Report::default();
    let mut left = plan.histories;
    while left > 0 && all.failures.is_empty() {
        let batch = Plan {
            histories: left.min(BATCH),
            seed: plan.seed.wrapping_add(plan.histories - left),
            ..plan.clone()
        };
        let report = batch.run(&target());
        left -= batch.histories;
        all.histories += report.histories;
        all.calls += report.calls;
        all.tasks += report.tasks;
        all.overlapping += report.overlapping;
        all.loose += report.loose;
        all.failures.extend(report.failures);
    }
    all
}
