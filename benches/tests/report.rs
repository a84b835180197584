//! The report as a whole, at its smallest size: it runs, and its output has the form that readers rely on.

#![cfg(not(debug_assertions))] // Without optimisation it takes minutes, and checks nothing more.
#![expect(clippy::unwrap_used, reason = "a failed test panics, in its helpers, too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("inflight-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn report(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_report"));
        command.args(args).args(["--json", "report.json"]).current_dir(&self.0).output().unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.0.join("report.json")).unwrap()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn array<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json[name].as_array().unwrap_or_else(|| panic!("{name} is an array"))
}

fn is_picture(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"<svg")
}

#[test]
fn a_whole_report_has_all_that_its_readers_rely_on() {
    let scratch = Scratch::new("whole");
    let output = scratch.report(&["--smoke"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = scratch.json();

    let results = array(&json, "results");
    for row in results {
        for name in ["scenario", "subject"] {
            assert!(row[name].as_str().is_some_and(|text| !text.is_empty()), "{name} of {row}");
        }
        for name in ["threads", "tasks"] {
            assert!(row[name].is_u64(), "{name} of {row}");
        }
        assert!(row["ns_per_op"].as_f64().is_some_and(|ns| ns > 0.0), "{row}");
        assert!(row["spread"].as_f64().is_some_and(|spread| spread >= 0.0), "{row}");
        for name in ["ratio_to_best_peer", "ratio_to_floor"] {
            assert!(row[name].is_null() || row[name].as_f64().is_some_and(|ratio| ratio > 0.0), "{row}");
        }
    }
    let of = |scenario: &'static str| results.iter().filter(move |row| row["scenario"] == scenario);
    let subjects: BTreeSet<&str> = of("poll, uniform").filter_map(|row| row["subject"].as_str()).collect();
    for subject in
        ["inflight", "bare line", "DashMap", "papaya", "scc HashIndex", "idr-ebr", "Mutex<HashMap>"]
    {
        assert!(subjects.contains(subject), "{subject} in {subjects:?}");
    }
    // Ratios are the peer's time over ours, and ours over the floor's.
    let ours = of("poll, uniform").find(|row| row["subject"] == "inflight").unwrap();
    let same = of("poll, uniform").filter(|row| row["threads"] == ours["threads"]);
    let time = |row: &Value| row["ns_per_op"].as_f64().unwrap();
    let peers = same.clone().filter(|row| row["role"] != "inflight" && row["role"] != "floor");
    let best = peers.map(time).reduce(f64::min).unwrap();
    assert!((ours["ratio_to_best_peer"].as_f64().unwrap() / (best / time(ours)) - 1.0).abs() < 1e-9);
    let floor = same.clone().find(|row| row["subject"] == "bare line").map(time).unwrap();
    assert!((ours["ratio_to_floor"].as_f64().unwrap() / (time(ours) / floor) - 1.0).abs() < 1e-9);

    let targets = array(&json, "targets");
    // Only for one target the smallest sizes are too small.
    let open: Vec<_> = targets.iter().filter(|target| !target["met"].is_boolean()).collect();
    assert!(open.len() == 1 && open[0]["what"].as_str().unwrap().contains("from 1 M tasks on"), "{open:#?}");
    assert!(targets.iter().all(|target| target["met"] != false || target["why"] != ""), "or has its reason");
    assert!(!array(&json, "tails").is_empty() && !array(&json, "memory").is_empty());

    for plot in ["tails-steady.svg", "tails-expiry.png"] {
        assert!(is_picture(&scratch.0.join("report-plots").join(plot)), "{plot}");
    }
    let text = fs::read_to_string(scratch.0.join("report.md")).unwrap();
    assert!(text.contains("### Targets") && text.contains("report-plots/tails-steady.svg"));
}

#[test]
fn a_report_goes_on_where_it_was_left() {
    let scratch = Scratch::new("pieces");
    assert!(scratch.report(&["--smoke", "--only", "update"]).status.success());
    let first = scratch.json();
    assert_eq!(first["runs"].as_object().map(serde_json::Map::len), Some(1));
    assert!(scratch.report(&["--smoke", "--only", "update,feed", "--resume"]).status.success());
    let both = scratch.json();
    assert_eq!(both["runs"].as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(both["runs"]["update"], first["runs"]["update"], "it was not measured anew");
    let groups: BTreeSet<_> =
        array(&both, "results").iter().filter_map(|row| row["group"].as_str()).collect();
    assert_eq!(groups, BTreeSet::from(["update", "feed"]));
    // A group that is measured again replaces its old results.
    assert!(scratch.report(&["--smoke", "--only", "feed"]).status.success());
    assert_eq!(array(&scratch.json(), "results").len(), array(&both, "results").len());
}

#[test]
fn wrong_arguments_are_refused() {
    let scratch = Scratch::new("wrong");
    for args in [&["--fast"][..], &["--only", "pol"], &["--plots"]] {
        assert_eq!(scratch.report(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn memory_that_is_held_is_seen() {
    let output = Scratch::new("memory").report(&["--child", "ballast:", "1000000"]);
    let bytes: f64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    assert!((98.0..110.0).contains(&bytes), "{bytes} bytes of a hundred");
}
