//! The checks at the end, when all threads are done: the store's answers against the workers' results and the
//! pollers' observations.

use std::collections::HashMap;

use inflight::{FailureReason, State, Status, Store, TaskId};

use crate::poll::{Report, Target};
use crate::tree::{DIRECTORY, Entry};
use crate::work::Failure;

/// How many problems are described; the others are only counted.
const SPELLED_OUT: usize = 20;

/// The sums of the run, and the problems found.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// Files, whether or not they could be read.
    pub(crate) files: u64,
    /// Bytes of the files that were hashed.
    pub(crate) bytes: u64,
    pub(crate) unreadable_files: u64,
    pub(crate) unlisted_directories: u64,
    /// The system's errors, and how often each occurred.
    pub(crate) errors: HashMap<String, u64>,
    pub(crate) polls: u64,
    pub(crate) torn: u64,
    pub(crate) regressions: u64,
    /// Empty if every check passed.
    pub(crate) problems: Vec<String>,
    more_problems: u64,
}

impl Audit {
    pub(crate) fn new(
        store: &Store,
        parent: TaskId,
        targets: &[Target],
        entries: &[Entry],
        hashes: &[Result<String, Failure>],
        reports: &[Report],
    ) -> Self {
        let mut audit = Self::default();
        let mut sums = Sums::default();
        for ((target, entry), hash) in targets.iter().zip(entries).zip(hashes) {
            audit.count(entry, hash);
            let details = store.details(target.id);
            let told = details.as_ref().ok().and_then(|details| {
                let payload = if hash.is_ok() { details.result() } else { details.error() };
                payload.and_then(|payload| payload.as_text())
            });
            let status = details.as_ref().ok().map(inflight::Details::status);
            sums.add(status, entry);
            audit.expect(is_right(status, told, entry, hash), || {
                format!("{}: {hash:?}, but the store has {details:?}", entry.path.display())
            });
        }
        audit.expect(hashes.len() == entries.len() && targets.len() == entries.len() + 1, || {
            format!("{} entries, {} hashes, {} targets", entries.len(), hashes.len(), targets.len())
        });
        audit.compare_sums(store, parent, &sums);
        for report in reports {
            audit.take(report, targets, store);
        }
        if audit.more_problems > 0 {
            audit.problems.push(format!("and {} problems more", audit.more_problems));
        }
        audit
    }

    /// The last line of the output.
    pub(crate) fn summary(&self) -> String {
        let Self { files, bytes, polls, torn, regressions, .. } = self;
        format!("summary: files={files} bytes={bytes} polls={polls} torn={torn} regressions={regressions}")
    }

    fn expect(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if holds {
        } else if self.problems.len() < SPELLED_OUT {
            self.problems.push(problem());
        } else {
            self.more_problems += 1;
        }
    }

    /// Counts the result of one entry. Only an unreadable file may fail.
    fn count(&mut self, entry: &Entry, hash: &Result<String, Failure>) {
        let is_file = entry.kind != DIRECTORY;
        self.files += u64::from(is_file);
        match hash {
            Ok(_) => self.bytes += entry.size.as_ref().copied().unwrap_or(0),
            Err(Failure::Unreadable(why)) => {
                let count = if is_file { &mut self.unreadable_files } else { &mut self.unlisted_directories };
                *count += 1;
                *self.errors.entry(why.clone()).or_default() += 1;
            }
            Err(failure) => self.expect(false, || format!("{}: {failure}", entry.path.display())),
        }
    }

    /// The O(1) sums of the store against the sums over all tasks.
    fn compare_sums(&mut self, store: &Store, parent: TaskId, sums: &Sums) {
        let children = store.children(parent);
        self.expect(
            children.as_ref().is_ok_and(|children| {
                let states = (children.in_state(State::Succeeded), children.in_state(State::Failed));
                states == (sums.succeeded, sums.failed)
                    && (children.live(), children.done()) == (0, sums.done)
                    && children.total() == sums.total()
            }),
            || format!("the tasks add up to {sums:?}, but their parent says {children:?}"),
        );
        let counts = store.counts();
        self.expect(
            // The parent is one of the succeeded tasks.
            (counts.of(State::Succeeded), counts.of(State::Failed)) == (sums.succeeded + 1, sums.failed)
                && counts.live() == 0
                && counts.total() == sums.succeeded + sums.failed + 1,
            || format!("the tasks add up to {sums:?}, but the store counts {counts:?}"),
        );
    }

    /// Checks the report of one poller: it has no faults, and agrees with the end.
    fn take(&mut self, report: &Report, targets: &[Target], store: &Store) {
        self.polls += report.polls;
        self.torn += report.torn;
        // A change of a terminal status is a regression, too.
        self.regressions += report.regressions + report.terminal_changes;
        self.expect(report.faults() == 0, || {
            let Report { torn, regressions, terminal_changes, missing, .. } = report;
            let first = report.first.as_deref().unwrap_or_default();
            format!(
                "a poller saw {torn} torn statuses, {regressions} regressions, {terminal_changes} changes \
                 of terminal statuses, {missing} tasks missing; first {first}"
            )
        });
        for (target, last) in targets.iter().zip(&report.last) {
            let end = store.get(target.id);
            self.expect(end.is_some() && *last == end, || {
                format!("the last that a poller saw was {last:?}, but the end is {end:?}")
            });
        }
    }
}

/// The sums over the statuses of all children.
#[derive(Debug, Default)]
struct Sums {
    succeeded: u64,
    failed: u64,
    done: u64,
    total: u64,
    tasks: u64,
    without_total: u64,
}

impl Sums {
    fn add(&mut self, status: Option<Status>, entry: &Entry) {
        self.tasks += 1;
        if let Ok(size) = entry.size {
            self.total += size;
        } else {
            self.without_total += 1;
        }
        if let Some(status) = status {
            self.succeeded += u64::from(status.state() == State::Succeeded);
            self.failed += u64::from(status.state() == State::Failed);
            self.done += status.done();
        }
    }

    /// Unknown if any child's total is unknown, or if there are no children: as in the store.
    fn total(&self) -> Option<u64> {
        (self.tasks > 0 && self.without_total == 0).then_some(self.total)
    }
}

/// Whether the task agrees with its worker's result: it has ended, and it is a success with the whole file
/// done and the hash as its result, or a failure with the same error.
fn is_right(
    status: Option<Status>,
    told: Option<&str>,
    entry: &Entry,
    hash: &Result<String, Failure>,
) -> bool {
    let Some(status) = status else { return false };
    match hash {
        Ok(hash) => {
            status.state() == State::Succeeded
                && Ok(status.done()) == entry.size.as_ref().copied()
                && told == Some(hash)
        }
        Err(failure) => {
            status.state() == State::Failed
                && status.failure_reason() == Some(FailureReason::Error)
                && told == Some(failure.to_string().as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use inflight::NewTask;

    use super::*;
    use crate::poll;
    use crate::tree::FILE;

    /// A store in which one file of 3 bytes was hashed, and another could not be read. `tell` may change what
    /// the audit is told of them.
    fn audit_of(tell: impl FnOnce(&mut Vec<Entry>, &mut Vec<Result<String, Failure>>, &mut Report)) -> Audit {
        let store = Store::builder().capacity(3).build().unwrap();
        let mut parent = store.create(NewTask::new("hash_tree")).unwrap();
        parent.start().unwrap();
        let mut good = store.create(NewTask::new(FILE).parent(parent.id()).total(3)).unwrap();
        let mut bad = store.create(NewTask::new(FILE).parent(parent.id()).total(5)).unwrap();
        let targets = [(good.id(), Some(3)), (bad.id(), Some(5)), (parent.id(), None)]
            .map(|(id, total)| Target { id, total });
        good.start().unwrap();
        good.advance(3).unwrap();
        good.succeed("00ff").unwrap();
        bad.start().unwrap();
        bad.fail(FailureReason::Error, "not allowed").unwrap();
        parent.succeed(()).unwrap();

        let entry = |size| Entry { path: "x".into(), kind: FILE, size: Ok(size) };
        let mut entries = vec![entry(3), entry(5)];
        let mut hashes = vec![Ok("00ff".into()), Err(Failure::Unreadable("not allowed".into()))];
        let mut report = poll::poll(&store, &targets, &true.into(), 0);
        tell(&mut entries, &mut hashes, &mut report);
        Audit::new(&store, parent.id(), &targets, &entries, &hashes, &[report])
    }

    #[test]
    fn a_run_as_it_should_be_has_no_problem_and_unreadable_files_are_counted() {
        let audit = audit_of(|_, _, _| {});
        assert_eq!(audit.problems, Vec::<String>::new());
        assert_eq!((audit.unreadable_files, audit.errors["not allowed"]), (1, 1));
        assert_eq!(audit.summary(), "summary: files=2 bytes=3 polls=3 torn=0 regressions=0");
    }

    #[test]
    fn each_thing_that_does_not_fit_is_a_problem() {
        let problems = |audit: Audit| audit.problems.join("\n");
        let other_hash = problems(audit_of(|_, hashes, _| hashes[0] = Ok("0000".into())));
        assert!(other_hash.contains("0000"), "{other_hash}");
        let other_size = problems(audit_of(|entries, _, _| entries[0].size = Ok(4)));
        assert!(other_size.contains("the store has"), "{other_size}");
        assert!(other_size.contains("their parent says"), "{other_size}");
        let not_counted = problems(audit_of(|_, hashes, _| {
            hashes[1] = Err(Failure::Changed { listed: 5, read: 0 });
        }));
        assert!(not_counted.contains("has another size"), "{not_counted}");
        let fault = audit_of(|_, _, report| report.terminal_changes = 1);
        assert_eq!(fault.regressions, 1);
        assert!(problems(fault).contains("1 changes of terminal statuses"));
        let last = problems(audit_of(|_, _, report| report.last[0] = None));
        assert!(last.contains("the last that a poller saw"), "{last}");
        let lost = problems(audit_of(|entries, hashes, _| {
            entries.pop();
            hashes.pop();
        }));
        assert!(lost.contains("1 entries"), "{lost}");
    }
}
