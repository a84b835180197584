//! The worker: hashes one file, and reports its progress.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};

use inflight::{Finish, ScopeError, Task};
use sha2::{Digest, Sha256};

use crate::tree::Entry;

/// The size of a read. Only the last piece of a file is shorter, so a poller knows which counts are possible.
pub(crate) const CHUNK: usize = 64 << 10;

/// Why a file has no hash.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The system cannot read it. Such files are only counted.
    Unreadable(String),
    /// Its size is not the one from the walk, so it is not known which content was hashed.
    Changed { listed: u64, read: u64 },
    /// The store refused a call that it must not refuse.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Unreadable(why) | Failure::Refused(why) => f.write_str(why),
            Failure::Changed { listed, read } => {
                write!(f, "has another size than was listed: {listed} bytes, and {read} were read")
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Unreadable(error.to_string())
    }
}

/// Does the work of one task from start to end. The hash is also the task's result, or the failure its error.
pub(crate) fn hash(task: Task, entry: &Entry, buffer: &mut [u8]) -> Result<String, Failure> {
    let worked = task.scope(|task| {
        let size = entry.size.clone().map_err(Failure::Unreadable)?;
        let hash = read_through(task, File::open(&entry.path)?, size, buffer)?;
        match task.succeed(hash.clone()) {
            Ok(Finish::Won) => Ok(hash),
            Ok(Finish::Lost(status)) => Err(Failure::Refused(format!("it had been ended: {status:?}"))),
            Err(why) => Err(Failure::Refused(why.to_string())),
        }
    });
    worked.map_err(|error| match error {
        ScopeError::Work(failure) => failure,
        ScopeError::NotStarted(why) => Failure::Refused(why.to_string()),
    })
}

fn read_through(task: &mut Task, mut file: File, size: u64, buffer: &mut [u8]) -> Result<String, Failure> {
    let mut hasher = Sha256::new();
    let mut read = 0;
    loop {
        let piece = fill(&mut file, buffer)?;
        read += piece.len() as u64;
        // Checked before it is counted, so that the count never exceeds the total.
        let is_last = piece.len() < CHUNK;
        if read > size || (is_last && read < size) {
            return Err(Failure::Changed { listed: size, read });
        }
        hasher.update(piece);
        task.advance(piece.len() as u64).map_err(|why| Failure::Refused(why.to_string()))?;
        if is_last {
            break;
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Reads until the buffer is full or the file has ended.
fn fill<'a>(file: &mut impl Read, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use inflight::{FailureReason, NewTask, State, Store};

    use super::*;
    use crate::tree::FILE;

    /// A file of `content`, listed as one of `size` bytes, hashed under a task.
    fn hash_of(name: &str, content: &[u8], size: u64) -> (Result<String, Failure>, inflight::Details) {
        let path = std::env::temp_dir().join(format!("inflight-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        let outcome = hash_entry(Entry { path: path.clone(), kind: FILE, size: Ok(size) });
        std::fs::remove_file(path).unwrap();
        outcome
    }

    fn hash_entry(entry: Entry) -> (Result<String, Failure>, inflight::Details) {
        let store = Store::builder().capacity(1).build().unwrap();
        let task = store.create(NewTask::new(FILE)).unwrap();
        let id = task.id();
        let hash = hash(task, &entry, &mut vec![0; CHUNK]);
        (hash, store.details(id).unwrap())
    }

    #[test]
    fn a_file_is_hashed_and_its_task_says_so() {
        let (hash, details) = hash_of("abc", b"abc", 3);
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.unwrap(), known);
        assert_eq!((details.status().state(), details.status().done()), (State::Succeeded, 3));
        assert_eq!(details.result().and_then(|result| result.as_text()), Some(known));
        let long = vec![7; 2 * CHUNK];
        let (hash, details) = hash_of("long", &long, long.len() as u64);
        assert!(hash.is_ok());
        assert_eq!(details.status().done(), long.len() as u64);
    }

    #[test]
    fn a_file_of_another_size_than_listed_fails() {
        for (name, listed) in [("grown", 2), ("shrunk", 4)] {
            let (hash, details) = hash_of(name, b"abc", listed);
            assert!(matches!(hash, Err(Failure::Changed { read: 3, .. })), "{hash:?}");
            let status = details.status();
            assert_eq!((status.failure_reason(), status.done()), (Some(FailureReason::Error), 0));
        }
    }

    #[test]
    fn an_unreadable_file_fails_with_the_systems_error() {
        let path = PathBuf::from("/nonexistent/inflight");
        let expected = File::open(&path).unwrap_err().to_string();
        let (hash, details) = hash_entry(Entry { path, kind: FILE, size: Ok(3) });
        assert!(matches!(hash, Err(Failure::Unreadable(_))), "{hash:?}");
        assert_eq!(details.error().and_then(|error| error.as_text()), Some(expected.as_str()));
    }
}
