//! Counts the instructions of the hot calls with callgrind, and compares them with the recorded baseline:
//!
//! ```text
//! instructions PROBES            compares; fails if a call takes over 10 % more than its baseline
//! instructions PROBES record     writes the baseline
//! ```
//!
//! `PROBES` is the binary of that name, built with the release profile. The counts depend on the compiler and
//! the processor's instruction set, not on the machine's load. The hash of a map's keys is random, so the
//! counts of calls that use a map vary a little.

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// How much more than its baseline a call may take, in percent.
const SLACK: f64 = 10.0;

/// The instructions of one call of this probe.
fn count(probes: &str, name: &str, calls: f64) -> Result<f64, String> {
    let out = std::env::temp_dir().join(format!("callgrind.{}.{name}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=probes::probe_{name}*"))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .args([probes, name])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let written = std::fs::read_to_string(&out).unwrap_or_default();
    let _ = std::fs::remove_file(&out);
    if !run.status.success() {
        return Err(String::from_utf8_lossy(&run.stderr).into_owned());
    }
    let total = written.lines().find_map(|line| line.strip_prefix("summary: ")?.trim().parse::<f64>().ok());
    match total {
        // Less than one instruction a call means that callgrind did not see the probe.
        Some(total) if total > calls => Ok(total / calls),
        found => Err(format!("{name}: callgrind counted {found:?}")),
    }
}

fn all(probes: &str) -> Result<Vec<(String, f64)>, String> {
    let list = Command::new(probes).output().map_err(|error| format!("{probes}: {error}"))?;
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let probe = |line: &str| {
        let (name, calls) = line.split_once(' ').ok_or("a probe without a number")?;
        let calls = calls.parse().map_err(|error| format!("{name}: {error}"))?;
        Ok((name.to_owned(), count(probes, name, calls)?))
    };
    list.lines().map(probe).collect()
}

/// Prints each call with its baseline; returns whether all are within the limit.
fn compare(counts: &[(String, f64)]) -> bool {
    let recorded = std::fs::read_to_string(FILE).unwrap_or_default();
    let baseline = |name: &str| {
        let line = recorded.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.trim().parse::<f64>().ok())
    };
    let mut is_kept = true;
    for (name, now) in counts {
        let (before, verdict) = match baseline(name) {
            None => (f64::NAN, "FAILED: no baseline"),
            Some(before) if *now > before * (1.0 + SLACK / 100.0) => (before, "FAILED: over the ceiling"),
            Some(before) if *now < before * (1.0 - SLACK / 100.0) => (before, "ok; record it, to keep it"),
            Some(before) => (before, "ok"),
        };
        is_kept &= verdict.starts_with("ok");
        println!("{name:16} {now:8.1} instructions, baseline {before:8.1}: {verdict}");
    }
    // A baseline whose probe is gone is a failure.
    let is_whole = recorded.lines().count() == counts.len();
    if !is_whole {
        println!(
            "FAILED: the baseline has {} calls, and {} were counted",
            recorded.lines().count(),
            counts.len()
        );
    }
    is_kept && is_whole
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (probes, record) = match arguments.as_slice() {
        [probes] => (probes, false),
        [probes, record] if record == "record" => (probes, true),
        _ => {
            eprintln!("usage: instructions PROBES [record]");
            return ExitCode::from(2);
        }
    };
    let counts = match all(probes) {
        Ok(counts) => counts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if record {
        let lines = counts.iter().fold(String::new(), |mut lines, (name, count)| {
            let _ = writeln!(lines, "{name} {count:.1}");
            lines
        });
        print!("{lines}");
        return match std::fs::write(FILE, lines) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{FILE}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if compare(&counts) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
