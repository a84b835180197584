//! The binary `inflight`: the status service, ready to run.

mod cli;
mod demo;
mod environment;
mod files;
mod run;
mod secrets;
mod settings;
// The example's own files: the demo is the same work, and no copy of it.
#[allow(dead_code, reason = "the example also counts what the demo does not")]
#[path = "../../../../examples/hash_tree/tree.rs"]
mod tree;
#[allow(dead_code, reason = "the example also looks at why a file failed")]
#[path = "../../../../examples/hash_tree/work.rs"]
mod work;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::cli::{Cli, Command};
use crate::settings::Settings;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(flags) => Settings::load(&flags).and_then(run::serve),
        Command::Config(flags) => Settings::load(&flags).and_then(|settings| {
            print!("{}", settings.to_toml()?);
            Ok(())
        }),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "inflight", &mut std::io::stdout());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("inflight: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the program ends: a sentence for whoever started it.
type Failure = Box<dyn std::error::Error>;
