//! Tail latencies, and resident memory.

use std::env;
use std::process::Command;
use std::time::Duration;

use inflight_benches::harness::Repeats;
use inflight_benches::memory::{BALLAST, HOLDINGS, bytes_per_task, churned};
use inflight_benches::subject::Role;
use inflight_benches::tails::{BATCH, Background, LOADINGS, Latencies};

use crate::args::Thoroughness;
use crate::results::{Fact, Memory, Results, Tail, word};
use crate::scale::Scale;

/// Tails of polls next to writers, creations and expiry.
pub(crate) fn tails(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let (window, ended) = scale.pick((10, 1000), (100, 100_000), (400, 1_000_000));
    let repeats = scale.effort.repeats.min(5);
    for background in [Background::Quiet, Background::Steady, Background::MassExpiry] {
        // Without background work, only the store and a floor are of interest.
        let subjects: Vec<_> = LOADINGS
            .iter()
            .filter(|one| match (background, one.role) {
                (Background::Quiet, role) => matches!(role, Role::Floor | Role::Ours),
                (_, Role::Floor) => false,
                _ => {
                    scale.thoroughness == Thoroughness::Full || one.role != Role::Map || one.name == "DashMap"
                }
            })
            .collect();
        let mut found: Vec<Vec<Latencies>> = subjects.iter().map(|_| Vec::new()).collect();
        for _ in 0..repeats {
            for (subject, found) in subjects.iter().zip(&mut found) {
                let ended = if background == Background::MassExpiry { ended } else { 0 };
                let run = (subject.run)(background, Duration::from_millis(window), ended);
                found.push(run.map_err(|wrong| format!("{}: {wrong}", subject.name))?);
            }
        }
        for (subject, found) in subjects.iter().zip(&found) {
            results.tails.push(tail(background, subject.name, subject.role, found, ended));
        }
    }
    Ok(())
}

fn tail(background: Background, name: &str, role: Role, found: &[Latencies], ended: usize) -> Tail {
    // The median of the repeats for each figure; for the greatest latency, the maximum of all repeats.
    let repeats = |value: &dyn Fn(&Latencies) -> f64| {
        let mut repeats = Repeats::default();
        found.iter().for_each(|one| repeats.push(value(one)));
        repeats
    };
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^52")]
    let at = |quantile: f64| repeats(&|one| one.histogram.value_at_quantile(quantile) as f64);
    let scenario = match background {
        Background::MassExpiry => format!("expiry of {ended} at once"),
        _ => background.word().to_owned(),
    };
    Tail {
        scenario,
        subject: name.to_owned(),
        role: word(role).to_owned(),
        batch: BATCH,
        samples: found.iter().map(|one| one.histogram.len()).sum(),
        repeats: found.len(),
        p50: at(0.5).median(),
        p99: at(0.99).median(),
        p999: at(0.999).median(),
        p999_spread: at(0.999).spread(),
        max: found.iter().map(|one| one.histogram.max()).max().unwrap_or(0),
        background_seconds: repeats(&|one| one.background.as_secs_f64()).median(),
    }
}

/// Memory, each subject in a process of its own.
pub(crate) fn memory(scale: &Scale, results: &mut Results) -> Result<(), String> {
    let tasks = scale.pick(2000, 300_000, 1_000_000);
    for (at, holding) in HOLDINGS.iter().enumerate() {
        let tasks = if holding.scenario.starts_with("watched") { tasks.min(100_000) } else { tasks };
        let bytes = child(&format!("holding:{at}"), tasks)?;
        results.memory.push(Memory {
            scenario: holding.scenario.to_owned(),
            subject: holding.name.to_owned(),
            role: word(holding.role).to_owned(),
            tasks,
            bytes_per_task: bytes.first().copied().ok_or("the child printed nothing")?,
        });
    }
    for (what, name) in [("churn:ours", "inflight"), ("churn:dashmap", "DashMap")] {
        let sizes = child(what, tasks / 4)?;
        let base = sizes.first().copied().unwrap_or(0.0);
        for (at, size) in sizes.iter().enumerate().skip(1) {
            let when = if at % 2 == 1 { "filled" } else { "emptied" };
            let what = format!("{name}, {} tasks, {when} for the {}. time", tasks / 4, at.div_ceil(2));
            let value = (size - base).max(0.0) / (1 << 20) as f64;
            results.facts.push(Fact { group: "memory".to_owned(), what, value, unit: "MiB".to_owned() });
        }
    }
    Ok(())
}

/// Runs this program in a process of its own to measure one subject, and returns what it prints.
fn child(what: &str, tasks: usize) -> Result<Vec<f64>, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new(program).args(["--child", what, &tasks.to_string()]).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|word| word.parse().map_err(|_| format!("{what} printed {word}"))).collect()
}

/// The work of that process.
pub(crate) fn measure(what: &str, tasks: usize) -> Result<String, String> {
    match what.split_once(':') {
        Some(("holding", at)) => {
            let holding = at.parse().ok().and_then(|at: usize| HOLDINGS.get(at));
            let holding = holding.ok_or_else(|| format!("there is no holding {at}"))?;
            Ok(bytes_per_task(holding, tasks).to_string())
        }
        Some(("ballast", _)) => Ok(bytes_per_task(&BALLAST, tasks).to_string()),
        Some(("churn", of)) => {
            let sizes = churned(of == "ours", tasks, 5);
            Ok(sizes.iter().map(u64::to_string).collect::<Vec<_>>().join(" "))
        }
        _ => Err(format!("there is nothing called {what} to measure")),
    }
}
