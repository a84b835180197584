//! Runs models, counts the executions, and reports whether all were explored.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use loom::model::Builder;

use crate::model::Model;

/// The runner's options.
struct Options {
    /// Explore the large models less far.
    share: bool,
    /// Stop at the first failure, on one thread, so that the last model begun is the one that failed.
    first: bool,
    list: bool,
    /// A model that takes longer is truncated, and fails.
    limit: Duration,
    threads: usize,
    names: Vec<String>,
}

enum Outcome {
    Complete,
    /// Loom stopped before all was explored.
    Truncated,
    /// The model's threads never interleaved: it checks nothing.
    Single,
    Failed(String),
}

struct Explored {
    model: Model,
    preemptions: usize,
    executions: usize,
    took: Duration,
    outcome: Outcome,
}

const USAGE: &str = "\
usage: inflight-loom-tests [--share] [--first] [--list] [--limit SECONDS] [--threads N] [NAME…]
A NAME selects the models whose names contain it.";

pub(crate) fn main(all: &[Model]) -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(what) => {
            eprintln!("{what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let models = options.selected(all);
    if options.list {
        models.iter().for_each(|model| println!("{}", model.name));
        return ExitCode::SUCCESS;
    }
    if models.is_empty() {
        eprintln!("there is no model with such a name");
        return ExitCode::from(2);
    }
    // A failed model panics, and is reported below; models that expect a panic are silent.
    std::panic::set_hook(Box::new(|_| {}));
    let explored = run_all(models, &options);
    report(&explored)
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let limit = Duration::from_secs(900);
        let mut options = Self { share: false, first: false, list: false, limit, threads, names: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<u32>().ok());
                value.filter(|value| *value > 0).ok_or_else(|| format!("{argument} needs a number from 1 on"))
            };
            match argument.as_str() {
                "--share" => options.share = true,
                "--first" => (options.first, options.threads) = (true, 1),
                "--list" => options.list = true,
                "--limit" => options.limit = Duration::from_secs(number()?.into()),
                "--threads" => options.threads = number()? as usize,
                name if !name.starts_with('-') => options.names.push(argument),
                _ => return Err(format!("what is {argument}?")),
            }
        }
        Ok(options)
    }

    /// The models to run, in the order of the given names.
    fn selected(&self, all: &[Model]) -> Vec<Model> {
        if self.names.is_empty() {
            return all.to_vec();
        }
        let mut selected: Vec<Model> = Vec::new();
        for name in &self.names {
            for model in all.iter().filter(|model| model.name.contains(name.as_str())) {
                if !selected.iter().any(|have| have.name == model.name) {
                    selected.push(*model);
                }
            }
        }
        selected
    }
}

fn run_all(models: Vec<Model>, options: &Options) -> Vec<Explored> {
    let waiting = Mutex::new(VecDeque::from(models));
    let explored = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(model) = next else { return };
                    if options.first {
                        println!("begin {}", model.name);
                    }
                    let one = explore(model, options);
                    println!("{one}");
                    if options.first && matches!(one.outcome, Outcome::Failed(_)) {
                        // What a failed model leaves behind may not be safe to drop.
                        std::process::exit(1);
                    }
                    explored.lock().unwrap_or_else(PoisonError::into_inner).push(one);
                }
            });
        }
    });
    explored.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn explore(model: Model, options: &Options) -> Explored {
    let mut builder = Builder::new();
    let preemptions = if options.share && model.large { 2 } else { model.preemptions };
    builder.preemption_bound = Some(preemptions);
    builder.max_threads = 4;
    builder.max_branches = 2_000;
    builder.max_permutations = None;
    builder.max_duration = Some(options.limit);
    // How many executions loom makes between checks of the time.
    builder.checkpoint_interval = 500;
    let executions = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let run = {
        let executions = Arc::clone(&executions);
        move || {
            // Relaxed: a model is explored by one thread.
            executions.fetch_add(1, Ordering::Relaxed);
            (model.run)();
        }
    };
    let checked = catch_unwind(AssertUnwindSafe(|| builder.check(run)));
    let took = begun.elapsed();
    let executions = executions.load(Ordering::Relaxed); // Relaxed: as above.
    let outcome = match checked {
        Err(panic) => Outcome::Failed(message(&*panic)),
        // Loom returns silently in this case; a model that was just in time is called truncated, too.
        Ok(()) if took >= options.limit => Outcome::Truncated,
        Ok(()) if executions <= 1 => Outcome::Single,
        Ok(()) => Outcome::Complete,
    };
    Explored { model, preemptions, executions, took, outcome }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&'static str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

fn report(explored: &[Explored]) -> ExitCode {
    let total: usize = explored.iter().map(|one| one.executions).sum();
    let complete = explored.iter().filter(|one| matches!(one.outcome, Outcome::Complete)).count();
    for one in explored.iter().filter(|one| one.preemptions < 3 && one.model.preemptions < 3) {
        println!("{} at {} preemptions, because {}", one.model.name, one.preemptions, one.model.because);
    }
    println!("total: {complete} complete of {} models, {total} executions", explored.len());
    if complete == explored.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl std::fmt::Display for Explored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let outcome = match &self.outcome {
            Outcome::Complete => "complete",
            Outcome::Truncated => "TRUNCATED",
            Outcome::Single => "SINGLE EXECUTION",
            Outcome::Failed(why) => &format!("FAILED: {why}"),
        };
        let (name, took) = (self.model.name, self.took.as_secs_f64());
        write!(
            f,
            "{name:<58} {:>9} executions {:>2} preemptions {took:>7.1} s  {outcome}",
            self.executions, self.preemptions
        )
    }
}
