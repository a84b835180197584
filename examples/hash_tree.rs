//! The store's main use on real input: hashes every file below a directory, one task per file, while other
//! threads poll the tasks and check all the while that every status obeys the rules.
//!
//! ```sh
//! cargo run --release --example hash_tree -- [DIR]
//! ```

#[path = "hash_tree/audit.rs"]
mod audit;
#[path = "hash_tree/bar.rs"]
mod bar;
#[path = "hash_tree/options.rs"]
mod options;
#[path = "hash_tree/poll.rs"]
mod poll;
#[path = "hash_tree/sums.rs"]
mod sums;
#[path = "hash_tree/table.rs"]
mod table;
#[path = "hash_tree/tree.rs"]
mod tree;
#[path = "hash_tree/work.rs"]
mod work;

use std::error::Error;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Instant;

use inflight::{Limits, NewTask, Retention, Store, Task};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator};

use crate::audit::Audit;
use crate::options::{Options, USAGE};
use crate::poll::{Report, Target};
use crate::table::Table;
use crate::tree::{Entry, Tree};
use crate::work::{CHUNK, Failure};

/// The longest path that is used as a label, in bytes.
const LONGEST_PATH: usize = 64 << 10;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("hash_tree: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let tree = match Tree::below(&options.dir) {
        Ok(tree) => tree,
        Err(why) => {
            eprintln!("hash_tree: {}: {why}", options.dir.display());
            return ExitCode::from(2);
        }
    };
    match run(&options, &tree) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("hash_tree: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Does the job. Returns whether every check passed.
fn run(options: &Options, tree: &Tree) -> Result<bool, Box<dyn Error>> {
    let store = Store::builder()
        // One more: the parent.
        .capacity(tree.entries.len() + 1)
        // A removed task cannot be checked, so none is removed, however long the job takes.
        .retain(Retention::forever())
        .limits(Limits { label_value: LONGEST_PATH, ..Limits::default() })
        .build()?;
    let mut parent = store.create(NewTask::new("hash_tree").label("path", options.dir.to_string_lossy()))?;
    parent.start()?;
    let tasks = create(&store, &parent, tree)?;
    let mut targets: Vec<Target> = tasks
        .iter()
        .zip(&tree.entries)
        .map(|(task, entry)| Target { id: task.id(), total: entry.size.clone().ok() })
        .collect();
    targets.push(Target { id: parent.id(), total: None });

    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads.map_or(0, std::num::NonZeroUsize::get))
        .build()?;
    let stop = AtomicBool::new(false);
    let since = Instant::now();
    let (hashes, reports) = thread::scope(|scope| {
        let (store, targets, stop) = (&store, targets.as_slice(), &stop);
        let pollers: Vec<ScopedJoinHandle<'_, Report>> = (0..options.pollers.get())
            .map(|seed| scope.spawn(move || poll::poll(store, targets, stop, seed as u64)))
            .collect();
        let (working, done) = mpsc::channel();
        let workers = scope.spawn(|| {
            let hashes = pool.install(|| hash_all(tasks, &tree.entries));
            drop(working);
            hashes
        });
        let stop_pollers = Stop(stop);
        bar::draw(store, parent.id(), tree.bytes(), &done);
        let hashes = join(workers);
        let finished = parent.succeed(());
        drop(stop_pollers);
        let reports: Vec<Report> = pollers.into_iter().map(join).collect();
        finished.map(|_| (hashes, reports))
    })?;
    let elapsed = since.elapsed();

    if let Some(path) = &options.sums {
        sums::write(path, &tree.entries, &hashes).map_err(|why| format!("{}: {why}", path.display()))?;
    }
    let audit = Audit::new(&store, parent.id(), &targets, &tree.entries, &hashes, &reports);
    for problem in &audit.problems {
        eprintln!("hash_tree: {problem}");
    }
    print!("{}", Table { tree, audit: &audit, counts: store.counts(), elapsed });
    println!("{}", audit.summary());
    Ok(audit.problems.is_empty())
}

/// Creates one task per file, all under one parent.
fn create(store: &Store, parent: &Task, tree: &Tree) -> Result<Vec<Task>, String> {
    let task = |entry: &Entry| {
        let new = NewTask::new(entry.kind)
            .parent(parent.id())
            .unit("bytes")
            .label("path", entry.path.to_string_lossy());
        let new = match entry.size {
            Ok(size) => new.total(size),
            Err(_) => new,
        };
        store.create(new).map_err(|why| format!("{}: {why}", entry.path.display()))
    };
    tree.entries.iter().map(task).collect()
}

fn hash_all(tasks: Vec<Task>, entries: &[Entry]) -> Vec<Result<String, Failure>> {
    tasks
        .into_par_iter()
        .zip(entries.par_iter())
        .map_init(|| vec![0; CHUNK], |buffer, (task, entry)| work::hash(task, entry, buffer))
        .collect()
}

/// Stops the pollers when it is dropped, also when a worker's panic is resumed here. Otherwise the scope
/// would wait for the pollers for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        // Relaxed: joining the pollers orders everything.
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The result of a thread; its panic is resumed here.
fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
