//! The worker: one task for all the files.

use std::fs::File;
use std::io::{self, Read};

use inflight::{ScopeError, Task};
use sha2::{Digest, Sha256};

use crate::tree::{DIRECTORY, Entry, Tree};

/// The size of a read.
const CHUNK: usize = 64 << 10;

/// The worker's results.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// Files that were hashed, and their bytes.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that could not be read, and directories that could not be listed.
    pub(crate) unreadable: u64,
    pub(crate) unlisted: u64,
}

/// Hashes every file of the tree, under one task whose message is the current file. The sums are also the
/// task's result.
pub(crate) fn all(task: Task, tree: &Tree) -> Result<Sums, String> {
    let worked = task.scope(|task| {
        let (mut sums, mut buffer) = (Sums::default(), vec![0; CHUNK]);
        let mut all = Sha256::new();
        for entry in &tree.entries {
            task.set_message(entry.path.to_string_lossy()).map_err(|why| why.to_string())?;
            match hash(task, entry, &mut buffer, &mut all) {
                Ok(bytes) => {
                    sums.files += 1;
                    sums.bytes += bytes;
                }
                Err(_) if entry.kind == DIRECTORY => sums.unlisted += 1,
                Err(_) => sums.unreadable += 1,
            }
        }
        let digest: String = all.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        task.succeed(format!("{} files, {digest}", sums.files)).map_err(|why| why.to_string())?;
        Ok(sums)
    });
    worked.map_err(|error: ScopeError<String>| error.to_string())
}

fn hash(task: &mut Task, entry: &Entry, buffer: &mut [u8], all: &mut Sha256) -> io::Result<u64> {
    if let Err(why) = &entry.size {
        return Err(io::Error::other(why.clone()));
    }
    let mut file = File::open(&entry.path)?;
    let mut bytes = 0;
    loop {
        let count = match file.read(buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        all.update(buffer.get(..count).unwrap_or_default());
        bytes += count as u64;
        // A plain store: the watcher bears the cost of watching.
        task.advance(count as u64).map_err(io::Error::other)?;
    }
}
