//! The table at the end of the output.

use std::fmt;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use inflight::{Counts, State};

use crate::audit::Audit;
use crate::tree::Tree;

pub(crate) struct Table<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) audit: &'a Audit,
    pub(crate) counts: Counts,
    pub(crate) elapsed: Duration,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tree, audit, counts, elapsed } = self;
        let count = |f: &mut fmt::Formatter<'_>, name: &str, count: u64| {
            writeln!(f, "{name:<24} {:>15}", HumanCount(count).to_string())
        };
        let per_second = |count: u64| (count as f64 / elapsed.as_secs_f64().max(1e-9)) as u64;
        count(f, "files", audit.files)?;
        for (name, some) in [
            ("  unreadable", audit.unreadable_files),
            ("unlisted directories", audit.unlisted_directories),
            ("symbolic links, skipped", tree.links),
            ("special files, skipped", tree.special),
        ] {
            if some > 0 {
                count(f, name, some)?;
            }
        }
        let mut errors: Vec<_> = audit.errors.iter().collect();
        errors.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        for (error, times) in errors {
            writeln!(f, "    {} × {error}", HumanCount(*times))?;
        }
        writeln!(f, "{:<24} {:>15}", "bytes", HumanBytes(audit.bytes).to_string())?;
        writeln!(f, "{:<24} {:>15}", "bytes per second", HumanBytes(per_second(audit.bytes)).to_string())?;
        writeln!(f, "{:<24} {:>15}", "time", format!("{:.2} s", elapsed.as_secs_f64()))?;
        count(f, "polls", audit.polls)?;
        count(f, "polls per second", per_second(audit.polls))?;
        for state in State::ALL.into_iter().filter(|state| counts.of(*state) > 0) {
            count(f, &format!("tasks {state}"), counts.of(state))?;
        }
        Ok(())
    }
}
