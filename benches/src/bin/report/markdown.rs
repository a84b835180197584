//! The tables, as Markdown. All figures in them come from the results.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::model;
use crate::numbers::{figure, grouped};
use crate::results::{Memory, Results, Row, Tail};

const BEGIN: &str = "<!-- report: begin -->";
const END: &str = "<!-- report: end -->";

/// Writes the tables into a file: between the marks, if it has them.
pub(crate) fn save(results: &Results, path: &Path, plots: &[String]) -> Result<(), String> {
    let tables = tables(results, plots);
    let text = match fs::read_to_string(path) {
        Ok(before) => {
            let parts = before.split_once(BEGIN).and_then(|(head, rest)| {
                rest.split_once(END).map(|(_, tail)| format!("{head}{BEGIN}\n{tables}{END}{tail}"))
            });
            parts.unwrap_or(tables)
        }
        Err(_) => tables,
    };
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// All tables.
pub(crate) fn tables(results: &Results, plots: &[String]) -> String {
    let mut out = String::new();
    runs(results, &mut out);
    targets(results, &mut out);
    polls(results, &mut out);
    for plot in plots {
        let _ = writeln!(
            out,
            "![{}]({plot})\n",
            plot.rsplit('/').next().unwrap_or(plot).trim_end_matches(".svg")
        );
    }
    rest(results, &mut out);
    losses(results, &mut out);
    tails(&results.tails, &mut out);
    memory(&results.memory, &mut out);
    facts(results, &mut out);
    model::write(results, &mut out);
    every(results, &mut out);
    out
}

fn line(out: &mut String, cells: impl IntoIterator<Item = impl AsRef<str>>) {
    out.push('|');
    for cell in cells {
        let _ = write!(out, " {} |", cell.as_ref());
    }
    out.push('\n');
}

fn head(out: &mut String, title: &str, cells: &[&str]) {
    let _ = writeln!(out, "### {title}\n");
    line(out, cells);
    let rule = cells.iter().enumerate().map(|(at, _)| if at == 0 { "---" } else { "---:" });
    line(out, rule);
}

fn percent(value: f64) -> String {
    format!("{:.0} %", 100.0 * value)
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), figure)
}

fn runs(results: &Results, out: &mut String) {
    head(out, "The runs", &["group", "effort", "repeats", "took", "cores", "load before", "machine"]);
    for (group, run) in &results.runs {
        let machine =
            format!("{}; {}; huge pages {}; {}", run.processor, run.caches, run.huge_pages, run.rustc);
        let took = format!("{:.0} s", run.seconds);
        line(
            out,
            [
                group,
                &run.effort,
                &run.repeats.to_string(),
                &took,
                &run.cores.to_string(),
                &run.load_before,
                &machine,
            ],
        );
    }
    out.push_str(
        "\nThreads are not pinned. Times are medians; the spread is the greatest minus the least repeat, as \
         a fraction of the median.\n\n",
    );
}

fn targets(results: &Results, out: &mut String) {
    head(out, "Targets", &["what", "target", "worst", "worst case", "median case", "met", "in"]);
    for target in &results.targets {
        let met = match target.met {
            None => "not measured",
            Some(true) => "yes",
            Some(false) => "**no**",
        };
        let cases = format!("{} of {}", target.met_in, target.cases);
        let (worst, typical) = (ratio(target.worst), ratio(target.typical));
        line(out, [&target.what, &target.target, &worst, &target.worst_case, &typical, met, &cases]);
    }
    out.push('\n');
    let missed: Vec<_> = results.targets.iter().filter(|target| target.met == Some(false)).collect();
    if !missed.is_empty() {
        out.push_str("Missed, and what to try next:\n\n");
        for target in missed {
            let _ = writeln!(out, "- **{}**: {}", target.what, target.why);
        }
        out.push('\n');
    }
}

/// The distinct values, in the order of their first occurrence.
fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for value in values {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// Each scenario of polls: subjects by sizes and threads.
fn polls(results: &Results, out: &mut String) {
    let rows: Vec<&Row> = results.results.iter().filter(|row| row.group == "poll").collect();
    for scenario in distinct(rows.iter().map(|row| &row.scenario)) {
        let rows: Vec<&&Row> = rows.iter().filter(|row| row.scenario == *scenario).collect();
        let columns: BTreeSet<(usize, usize)> = rows.iter().map(|row| (row.tasks, row.threads)).collect();
        let names: Vec<String> =
            columns.iter().map(|(tasks, threads)| format!("{} ×{threads}", grouped(*tasks))).collect();
        let mut cells = vec!["ns per poll and thread"];
        cells.extend(names.iter().map(String::as_str));
        head(out, scenario, &cells);
        for subject in distinct(rows.iter().map(|row| &row.subject)) {
            let cell = |(tasks, threads): &(usize, usize)| {
                let is_here =
                    |row: &&&&Row| row.subject == *subject && row.tasks == *tasks && row.threads == *threads;
                let row = rows.iter().find(is_here);
                row.map_or_else(String::new, |row| {
                    format!("{} ±{}", figure(row.ns_per_op), percent(row.spread / 2.0))
                })
            };
            line(out, std::iter::once(subject.clone()).chain(columns.iter().map(cell)));
        }
        out.push('\n');
    }
}

/// The scenarios of the other groups.
fn rest(results: &Results, out: &mut String) {
    let rows: Vec<&Row> = results.results.iter().filter(|row| row.group != "poll").collect();
    for scenario in distinct(rows.iter().map(|row| &row.scenario)) {
        head(
            out,
            scenario,
            &["subject", "tasks", "threads", "ns", "spread", "best peer over it", "it over the floor"],
        );
        for row in rows.iter().filter(|row| row.scenario == *scenario) {
            every_row(row, out);
        }
        out.push('\n');
    }
}

fn every_row(row: &Row, out: &mut String) {
    let cells = [
        row.subject.clone(),
        grouped(row.tasks),
        row.threads.to_string(),
        figure(row.ns_per_op),
        percent(row.spread),
        ratio(row.ratio_to_best_peer),
        ratio(row.ratio_to_floor),
    ];
    line(out, cells);
}

/// All cases in which a peer is faster than the store in the same scenario.
fn losses(results: &Results, out: &mut String) {
    head(
        out,
        "Where it loses",
        &["scenario", "tasks", "threads", "subject", "ns", "fastest peer", "its ns", "peer over it"],
    );
    let mut lost = 0;
    for ours in results.results.iter().filter(|row| row.role == "inflight") {
        let same = |row: &&Row| {
            (&row.scenario, row.tasks, row.threads) == (&ours.scenario, ours.tasks, ours.threads)
                && row.role != "inflight"
                && row.role != "floor"
        };
        let best = results.results.iter().filter(same).min_by(|a, b| a.ns_per_op.total_cmp(&b.ns_per_op));
        let Some(best) = best.filter(|best| best.ns_per_op < ours.ns_per_op) else { continue };
        lost += 1;
        let cells = [
            ours.scenario.clone(),
            grouped(ours.tasks),
            ours.threads.to_string(),
            ours.subject.clone(),
            figure(ours.ns_per_op),
            best.subject.clone(),
            figure(best.ns_per_op),
            figure(best.ns_per_op / ours.ns_per_op),
        ];
        line(out, cells);
    }
    let all = results.results.iter().filter(|row| row.role == "inflight").count();
    let _ = writeln!(out, "\n{lost} of {all} of the store's rows; memory is in a table of its own.\n");
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^52")]
fn tails(tails: &[Tail], out: &mut String) {
    for scenario in distinct(tails.iter().map(|tail| &tail.scenario)) {
        let title = format!("Tail of polls, {scenario}");
        let cells =
            ["µs per batch", "p50", "p99", "p99.9", "spread of p99.9", "max", "samples", "background"];
        head(out, &title, &cells);
        for tail in tails.iter().filter(|tail| tail.scenario == *scenario) {
            let micros = |nanos: f64| figure(nanos / 1000.0);
            let cells = [
                format!("{} ({} polls)", tail.subject, tail.batch),
                micros(tail.p50),
                micros(tail.p99),
                micros(tail.p999),
                percent(tail.p999_spread),
                micros(tail.max as f64),
                grouped(usize::try_from(tail.samples).unwrap_or(usize::MAX)),
                format!("{} s", figure(tail.background_seconds)),
            ];
            line(out, cells);
        }
        out.push('\n');
    }
}

fn memory(memory: &[Memory], out: &mut String) {
    if memory.is_empty() {
        return;
    }
    head(out, "Memory", &["subject", "what a task has", "tasks", "resident bytes per task"]);
    for one in memory {
        line(out, [&one.subject, &one.scenario, &grouped(one.tasks), &format!("{:.0}", one.bytes_per_task)]);
    }
    out.push('\n');
}

fn facts(results: &Results, out: &mut String) {
    if results.facts.is_empty() {
        return;
    }
    head(out, "Single figures", &["what", "value"]);
    for fact in &results.facts {
        line(out, [fact.what.clone(), format!("{} {}", figure(fact.value), fact.unit)]);
    }
    out.push('\n');
}

/// Every figure of the polls with its ratios.
fn every(results: &Results, out: &mut String) {
    out.push_str("<details><summary>Every poll with its ratios</summary>\n\n");
    let cells =
        ["scenario", "subject", "tasks", "threads", "ns", "spread", "best peer over it", "it over the floor"];
    line(out, cells);
    line(out, cells.map(|_| "---"));
    for row in results.results.iter().filter(|row| row.group == "poll") {
        let _ = write!(out, "| {} ", row.scenario);
        every_row(row, out);
    }
    out.push_str("\n</details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let path = std::env::temp_dir().join(format!("inflight-report-{}.md", std::process::id()));
        fs::write(&path, format!("above\n{BEGIN}\nold\n{END}\nbelow\n")).unwrap();
        save(&Results::default(), &path, &[]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(text.starts_with("above\n") && text.ends_with("\nbelow\n") && !text.contains("old"));
        assert!(text.contains("### Targets"));
    }
}
