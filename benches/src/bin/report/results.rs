//! The measurements, as the JSON contains them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use inflight_benches::measure::Measured;
use inflight_benches::subject::Role;
use serde::{Deserialize, Serialize};

/// A whole report. Groups are measured one by one, possibly in several runs, into one file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The circumstances in which each group was measured.
    pub(crate) runs: BTreeMap<String, Run>,
    /// Times per operation.
    pub(crate) results: Vec<Row>,
    /// Tail latencies under an open loop.
    pub(crate) tails: Vec<Tail>,
    /// Resident memory.
    pub(crate) memory: Vec<Memory>,
    /// Single figures.
    pub(crate) facts: Vec<Fact>,
    /// The targets, with the measured values.
    pub(crate) targets: Vec<Verdict>,
}

/// The circumstances in which a group was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) effort: String,
    pub(crate) repeats: usize,
    pub(crate) seconds: f64,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) caches: String,
    pub(crate) huge_pages: String,
    pub(crate) load_before: String,
    pub(crate) rustc: String,
}

/// The times of one subject in one scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) group: String,
    pub(crate) scenario: String,
    pub(crate) subject: String,
    pub(crate) role: String,
    pub(crate) threads: usize,
    pub(crate) tasks: usize,
    /// Per operation and thread, the median of the repeats.
    pub(crate) ns_per_op: f64,
    /// Greatest minus least of the repeats, as a fraction of the median.
    pub(crate) spread: f64,
    /// The fastest of the repeats, per operation and thread: for comparisons on a machine with other load.
    pub(crate) least_ns_per_op: f64,
    pub(crate) repeats: usize,
    /// The best peer's time over this one's: 3 means three times as fast.
    pub(crate) ratio_to_best_peer: Option<f64>,
    /// This one's time over the floor's.
    pub(crate) ratio_to_floor: Option<f64>,
}

/// The latencies of one subject under an open loop, in nanoseconds from the intended start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tail {
    pub(crate) scenario: String,
    pub(crate) subject: String,
    pub(crate) role: String,
    /// Polls in one sample.
    pub(crate) batch: usize,
    pub(crate) samples: u64,
    pub(crate) repeats: usize,
    /// Percentiles: the medians of the repeats.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Greatest minus least of the repeats' p99.9, as a fraction of its median.
    pub(crate) p999_spread: f64,
    /// The greatest of all repeats.
    pub(crate) max: u64,
    /// How long the background work took that the scenario is named after.
    pub(crate) background_seconds: f64,
}

/// The resident memory of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) scenario: String,
    pub(crate) subject: String,
    pub(crate) role: String,
    pub(crate) tasks: usize,
    pub(crate) bytes_per_task: f64,
}

/// The result for a target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) what: String,
    pub(crate) target: String,
    /// The worst value, and its case.
    pub(crate) worst: Option<f64>,
    pub(crate) worst_case: String,
    /// The median of all cases.
    pub(crate) typical: Option<f64>,
    /// How many cases met it, and how many cases there are.
    pub(crate) met_in: usize,
    pub(crate) cases: usize,
    /// `None` if it was not measured.
    pub(crate) met: Option<bool>,
    /// If the target is missed: why, and what to try next.
    pub(crate) why: String,
}

/// A single figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) group: String,
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// The scenario and size of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) group: &'a str,
    pub(crate) scenario: &'a str,
    pub(crate) threads: usize,
    pub(crate) tasks: usize,
    /// The subject that is this scenario's floor, if it has one.
    pub(crate) floor: Option<&'a str>,
}

/// The word for a role in the JSON.
pub(crate) const fn word(role: Role) -> &'static str {
    match role {
        Role::Ours => "inflight",
        Role::Map => "map",
        Role::Slab => "slab",
        Role::Mutex => "mutex",
        Role::Other => "other",
        Role::Floor => "floor",
    }
}

/// Rows with their ratios, from the measurements of one scenario.
pub(crate) fn rows(place: Place<'_>, measured: &[Measured]) -> Vec<Row> {
    let peers = measured.iter().filter(|one| one.role.is_peer());
    let best = peers.map(|one| one.ns.median()).reduce(f64::min);
    let floor = place.floor.and_then(|floor| measured.iter().find(|one| one.subject == floor));
    let floor = floor.map(|one| one.ns.median());
    let row = |one: &Measured| {
        let ns = one.ns.median();
        Row {
            group: place.group.to_owned(),
            scenario: place.scenario.to_owned(),
            subject: one.subject.clone(),
            role: word(one.role).to_owned(),
            threads: place.threads,
            tasks: place.tasks,
            ns_per_op: ns,
            spread: one.ns.spread(),
            least_ns_per_op: one.ns.least(),
            repeats: one.ns.len(),
            ratio_to_best_peer: best.map(|best| best / ns),
            ratio_to_floor: floor.map(|floor| ns / floor),
        }
    };
    measured.iter().map(row).collect()
}

impl Results {
    /// The results of earlier runs in a file; none, if there is no file.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Writes the results, complete or not, to a second file first, so that the file itself is always whole.
    pub(crate) fn save(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let partial = path.with_extension("partial");
        let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
        written.map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Removes the results of a group that is about to be measured again.
    pub(crate) fn forget(&mut self, group: &str) {
        self.runs.remove(group);
        self.results.retain(|row| row.group != group);
        self.facts.retain(|fact| fact.group != group);
        match group {
            "tails" => self.tails.clear(),
            "memory" => self.memory.clear(),
            _ => {}
        }
    }

    /// The rows of one scenario.
    pub(crate) fn of<'a>(&'a self, scenario: &'a str) -> impl Iterator<Item = &'a Row> + 'a {
        self.results.iter().filter(move |row| row.scenario == scenario)
    }
}
