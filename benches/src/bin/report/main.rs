//! `report`: measures `inflight` and its peers, and writes JSON, Markdown and plots.

mod args;
mod groups;
mod machine;
mod markdown;
mod model;
mod numbers;
mod plots;
mod polls;
mod resources;
mod results;
mod scale;
mod targets;

use std::path::Path;
use std::process::{ExitCode, Stdio};

use args::{Args, Command, USAGE};
use results::Results;
use scale::Scale;

fn main() -> ExitCode {
    let command = args::parse(std::env::args().skip(1));
    let done = match command {
        Ok(Command::Help) => {
            print!("{USAGE}");
            Ok(())
        }
        Ok(Command::Child { what, tasks }) => {
            resources::measure(&what, tasks).map(|found| println!("{found}"))
        }
        Ok(Command::Report(args)) => report(&args),
        Err(wrong) => {
            eprintln!("report: {wrong}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("report: {wrong}");
            ExitCode::FAILURE
        }
    }
}

fn report(args: &Args) -> Result<(), String> {
    let mut results = Results::load(&args.json)?;
    let scale = Scale::of(args.thoroughness);
    for group in &args.groups {
        if args.resume && results.runs.contains_key(group) {
            eprintln!("{group}: there already");
            continue;
        }
        if args.groups.len() > 1 {
            apart(group)?;
            results = Results::load(&args.json)?;
        } else {
            eprint!("{group}: ");
            results.forget(group);
            let mut run = machine::describe(&scale);
            run.seconds = groups::run(group, &scale, &mut results)?.as_secs_f64();
            eprintln!("{:.1} s", run.seconds);
            results.runs.insert(group.clone(), run);
        }
    }
    results.judge();
    results.save(&args.json)?;
    let plots = plots::save(&results, &args.plots)?;
    let plots: Vec<String> = plots.iter().map(|file| link(&args.markdown, &args.plots, file)).collect();
    markdown::save(&results, &args.markdown, &plots)?;
    println!("{}", markdown::tables(&results, &plots));
    if args.groups.len() != 1 {
        eprintln!("{}, {}, {}", args.json.display(), args.markdown.display(), args.plots.display());
    }
    Ok(())
}

/// Measures a group in a process of its own, so that its heap is not the one that another group has left.
fn apart(group: &str) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find myself: {error}"))?;
    let status = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .args(["--only", group])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| format!("{group} cannot be run: {error}"))?;
    // The process has printed the cause.
    if status.success() { Ok(()) } else { Err(format!("{group} has failed ({status})")) }
}

/// The address of a plot as seen from the Markdown file.
fn link(markdown: &Path, plots: &Path, file: &str) -> String {
    let beside = markdown.parent().unwrap_or(Path::new(""));
    let relative = plots.strip_prefix(beside).unwrap_or(plots);
    format!("{}/{file}", relative.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plots_are_linked_from_where_the_tables_are() {
        assert_eq!(link(Path::new("docs/P.md"), Path::new("docs/plots"), "a.svg"), "plots/a.svg");
        assert_eq!(link(Path::new("report.md"), Path::new("report-plots"), "a.svg"), "report-plots/a.svg");
    }
}
