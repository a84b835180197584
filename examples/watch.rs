//! Follows a piece of real work in the terminal without polling: a worker hashes the files below a directory,
//! and `Store::watch` reports its progress.
//!
//! ```sh
//! cargo run --release --example watch -- [DIR]
//! ```

#[path = "watch/hash.rs"]
mod hash;
#[path = "watch/screen.rs"]
mod screen;
#[path = "hash_tree/tree.rs"]
mod tree;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use futures_util::StreamExt;
use inflight::{Limits, NewTask, State, Store, TaskId, Version};

use crate::hash::Sums;
use crate::screen::Screen;
use crate::tree::Tree;

const USAGE: &str = "\
Hashes the files below a directory, and shows how far it is.

    cargo run --release --example watch -- [DIR]

DIR is the current directory if it is not given. Symbolic links are not followed. In a terminal there is
one line that changes; otherwise there is a line for each tenth of the work.

Exits with 0 if the work came to its end, whether or not every file could be read; with 1 if it did not,
and with 2 if its arguments are wrong.";

/// The longest path that is shown as the task's message, in bytes.
const LONGEST_PATH: usize = 64 << 10;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let dir = match (arguments.next(), arguments.next()) {
        (Some(help), None) if help == "--help" || help == "-h" => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        (dir, None) => dir.map_or_else(|| PathBuf::from("."), PathBuf::from),
        (_, Some(more)) => {
            eprintln!("watch: one directory at a time: {} is too many\n\n{USAGE}", more.display());
            return ExitCode::from(2);
        }
    };
    let tree = match Tree::below(&dir) {
        Ok(tree) => tree,
        Err(why) => {
            eprintln!("watch: {}: {why}", dir.display());
            return ExitCode::from(2);
        }
    };
    match run(&tree) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("watch: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work and follows it. Returns whether it came to its end.
fn run(tree: &Tree) -> Result<bool, Box<dyn Error>> {
    let limits = Limits { message: LONGEST_PATH, ..Limits::default() };
    let store = Store::builder().capacity(1).limits(limits).build()?;
    let task = store.create(NewTask::new("hash").total(tree.bytes()).unit("bytes"))?;
    let id = task.id();
    thread::scope(|scope| {
        let worker = scope.spawn(|| hash::all(task, tree));
        let mut screen = Screen::new();
        let seen = smol::block_on(follow(&store, id, &mut screen))?;
        let sums = worker.join().map_err(|_| "the worker panicked")??;
        screen.finish(&summary(tree, &sums, &seen));
        Ok(seen.last == Some(State::Succeeded))
    })
}

/// The result of following the stream.
#[derive(Debug, Default)]
struct Seen {
    statuses: u64,
    last: Option<State>,
}

/// Shows each status of the stream, until the stream ends with the task.
async fn follow(store: &Store, id: TaskId, screen: &mut Screen) -> Result<Seen, String> {
    let (mut seen, mut version) = (Seen::default(), None::<Version>);
    let mut watch = store.watch(id);
    while let Some(status) = watch.next().await {
        if version.replace(status.version()).is_some_and(|before| before >= status.version()) {
            return Err(format!("the stream went back to {status:?}"));
        }
        seen = Seen { statuses: seen.statuses + 1, last: Some(status.state()) };
        screen.show(&status, || {
            let details = store.details(id).ok()?;
            details.message().map(str::to_owned)
        });
    }
    Ok(seen)
}

fn summary(tree: &Tree, sums: &Sums, seen: &Seen) -> String {
    let state = seen.last.map_or_else(|| "unknown".into(), |state| state.to_string());
    format!(
        "summary: state={state} files={} bytes={} unreadable={} unlisted={} links={} special={} statuses={}",
        sums.files, sums.bytes, sums.unreadable, sums.unlisted, tree.links, tree.special, seen.statuses
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_followed_to_its_end() {
        let dir = std::env::temp_dir().join(format!("inflight-watch-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("below")).unwrap();
        std::fs::write(dir.join("empty"), "").unwrap();
        std::fs::write(dir.join("below/long"), vec![7; 300_000]).unwrap();
        let tree = Tree::below(&dir).unwrap();
        let followed = run(&tree);
        std::fs::remove_dir_all(dir).unwrap();
        assert!(followed.unwrap());
        // A file from the walk that is gone is counted, and no more.
        assert!(run(&tree).unwrap());
        assert!(run(&Tree::default()).unwrap(), "nothing to do is done at once");
    }
}
