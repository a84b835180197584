//! A small model of the cost of a poll by tasks and by cores, fitted to the measurements.

use std::fmt::Write;

use crate::numbers::{figure, grouped};
use crate::results::{Results, Row};

/// `cost = base + slope × floor`, by least squares on the relative errors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fit {
    base: f64,
    slope: f64,
    /// The greatest relative error.
    error: f64,
}

fn fit(points: &[(f64, f64)]) -> Option<Fit> {
    if points.len() < 2 {
        return None;
    }
    // Weighted by 1 / y², so that small tasks count as much as large ones.
    let weighted = points.iter().map(|(x, y)| (x, y, 1.0 / (y * y)));
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y, weight) in weighted {
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let below = w * wxx - wx * wx;
    if below.abs() < 1e-12 {
        return None;
    }
    let slope = (w * wxy - wx * wy) / below;
    let base = (wy - slope * wx) / w;
    let error = points.iter().map(|(x, y)| ((base + slope * x) / y - 1.0).abs()).fold(0.0, f64::max);
    Some(Fit { base, slope, error })
}

/// Writes the model.
pub(crate) fn write(results: &Results, out: &mut String) {
    let subjects =
        ["inflight", "idr-ebr", "DashMap", "papaya", "scc HashIndex", "RwLock<HashMap>", "Mutex<HashMap>"];
    by_tasks(results, &subjects, out);
    by_cores(results, &subjects, out);
}

fn by_tasks(results: &Results, subjects: &[&str], out: &mut String) {
    out.push_str(
        "### Model: cost by tasks\n\nOne thread, uniform: ns per poll = base + lines × (ns of a bare line at \
         the same size). *base* is the cost of the instructions, *lines* is the rest of a poll's time, in \
         cache misses.\n\n| subject | base, ns | lines | greatest error | sizes |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    let rows = |subject: &str| {
        let is_here = |row: &&Row| row.threads == 1 && row.subject == subject;
        results.of("poll, uniform").filter(is_here).collect::<Vec<_>>()
    };
    let floor = rows("bare line");
    for subject in subjects {
        let points: Vec<(f64, f64)> = rows(subject)
            .iter()
            .filter_map(|row| {
                let floor = floor.iter().find(|floor| floor.tasks == row.tasks)?;
                Some((floor.ns_per_op, row.ns_per_op))
            })
            .collect();
        if let Some(Fit { base, slope, error }) = fit(&points) {
            let (base, slope) = (figure(base), figure(slope));
            let _ =
                writeln!(out, "| {subject} | {base} | {slope} | {:.0} % | {} |", 100.0 * error, points.len());
        }
    }
    out.push('\n');
}

/// The rate of polls by two threads, as a multiple of the rate by one.
fn by_cores(results: &Results, subjects: &[&str], out: &mut String) {
    out.push_str(
        "### Model: cost by cores\n\nPolls per second of the most threads divided by those of one. A \
         subject whose polls write no shared memory scales as the machine does (see the bare line); with *n* \
         cores its polls per second are *n* divided by its time, up to the limit of the memory's bandwidth. \
         The polls of a subject that change a shared word take turns: there are at most as many per second \
         as the word can move from core to core, however many cores there are.\n\n",
    );
    let scenarios = [("poll, hot", 1000), ("poll, uniform", 1000), ("poll, uniform", 1_000_000)];
    let _ = writeln!(
        out,
        "| subject | {} |\n| --- |{}",
        scenarios.map(|(scenario, tasks)| format!("{scenario}, {}", grouped(tasks))).join(" | "),
        " ---: |".repeat(scenarios.len())
    );
    for subject in std::iter::once(&"bare line").chain(subjects) {
        let cells = scenarios.map(|(scenario, tasks)| {
            let rows = results.of(scenario).filter(|row| row.subject == *subject && row.tasks == tasks);
            gain(&rows.collect::<Vec<_>>()).map_or_else(|| "–".to_owned(), figure)
        });
        let _ = writeln!(out, "| {subject} | {} |", cells.join(" | "));
    }
    out.push('\n');
}

#[expect(clippy::cast_precision_loss, reason = "numbers of threads are small")]
fn gain(rows: &[&Row]) -> Option<f64> {
    let one = rows.iter().find(|row| row.threads == 1)?;
    let most = rows.iter().max_by_key(|row| row.threads).filter(|row| row.threads > 1)?;
    Some(most.threads as f64 * one.ns_per_op / most.ns_per_op)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found() {
        let found = fit(&[(1.0, 5.0), (10.0, 23.0), (100.0, 203.0)]).unwrap();
        assert!((found.base - 3.0).abs() < 1e-6 && (found.slope - 2.0).abs() < 1e-6 && found.error < 1e-6);
        assert_eq!(fit(&[(1.0, 5.0)]), None);
        assert_eq!(fit(&[(1.0, 5.0), (1.0, 5.0)]), None);
    }
}
