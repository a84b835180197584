//! The command line.

use std::path::PathBuf;

/// The groups of measurements, in the order of a run.
pub(crate) const GROUPS: [&str; 7] = ["poll", "update", "lifecycle", "waiting", "feed", "tails", "memory"];

pub(crate) const USAGE: &str = "\
report: measures inflight and its peers, and writes JSON, Markdown and plots.

    report [--quick | --smoke] [--only GROUP,…] [--resume] [--render]
           [--json FILE] [--markdown FILE] [--plots DIR]

    --quick      smaller sizes and shorter timings: about a minute instead of about twelve
    --smoke      the smallest sizes: a test that it runs; its figures are meaningless
    --only       only these groups, of: poll update lifecycle waiting feed tails memory;
                 the results of the other groups stay in the JSON
    --resume     skips the groups that are already in the JSON
    --render     measures nothing; writes targets, Markdown and plots again from the JSON
    --json       the file of the results, read and written; by default report.json
    --markdown   the file of the tables; by default next to the JSON. If it has the lines
                 `<!-- report: begin -->` and `<!-- report: end -->`, only the text between them is replaced
    --plots      the directory of the plots; by default next to the JSON

The exit status is 1 if a check failed during a measurement, and 2 for a wrong argument.
";

/// How thorough a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thoroughness {
    Smoke,
    Quick,
    Full,
}

impl Thoroughness {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Thoroughness::Smoke => "smoke",
            Thoroughness::Quick => "quick",
            Thoroughness::Full => "full",
        }
    }
}

#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Report(Args),
    /// In a process of its own: measures the memory of one subject, and prints it.
    Child {
        what: String,
        tasks: usize,
    },
}

#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) thoroughness: Thoroughness,
    pub(crate) groups: Vec<String>,
    pub(crate) resume: bool,
    pub(crate) json: PathBuf,
    pub(crate) markdown: PathBuf,
    pub(crate) plots: PathBuf,
}

pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut thoroughness = Thoroughness::Full;
    let mut groups: Vec<String> = GROUPS.map(str::to_owned).into();
    let (mut resume, mut json, mut markdown, mut plots) = (false, PathBuf::from("report.json"), None, None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--quick" => thoroughness = Thoroughness::Quick,
            "--smoke" => thoroughness = Thoroughness::Smoke,
            "--resume" => resume = true,
            "--render" => groups.clear(),
            "--json" => json = value()?.into(),
            "--markdown" => markdown = Some(value()?.into()),
            "--plots" => plots = Some(value()?.into()),
            "--only" => {
                groups = value()?.split(',').map(str::to_owned).collect();
                if let Some(unknown) = groups.iter().find(|group| !GROUPS.contains(&group.as_str())) {
                    return Err(format!("there is no group {unknown}; there are {}", GROUPS.join(", ")));
                }
            }
            "--child" => {
                let what = value()?;
                let tasks = value()?.parse().map_err(|_| "--child needs a number of tasks".to_owned())?;
                return Ok(Command::Child { what, tasks });
            }
            _ => return Err(format!("unknown argument {word}; --help lists them")),
        }
    }
    let stem = json.file_stem().map_or_else(|| "report".into(), |stem| stem.to_string_lossy().into_owned());
    let markdown = markdown.unwrap_or_else(|| json.with_extension("md"));
    let plots = plots.unwrap_or_else(|| json.with_file_name(format!("{stem}-plots")));
    Ok(Command::Report(Args { thoroughness, groups, resume, json, markdown, plots }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_of_the_readme() {
        let Ok(Command::Report(args)) = parsed("--quick --json out/r.json") else { panic!("a report") };
        assert_eq!((args.thoroughness, args.groups.len()), (Thoroughness::Quick, GROUPS.len()));
        assert_eq!(args.markdown, PathBuf::from("out/r.md"));
        assert_eq!(args.plots, PathBuf::from("out/r-plots"));
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        for line in ["--fast", "--only pol", "--json", "--child memory", "--child memory many"] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }
}
