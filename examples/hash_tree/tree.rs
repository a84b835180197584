//! The input: the files below a directory.

use std::io;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// The entries found below the directory.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) entries: Vec<Entry>,
    /// Symbolic links, which are not followed.
    pub(crate) links: u64,
    /// Pipes, sockets and devices, which have no end to read to.
    pub(crate) special: u64,
}

/// One piece of work: a file, or a directory that cannot be listed.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) path: PathBuf,
    pub(crate) kind: &'static str,
    /// The size of the file in bytes, or the system's error.
    pub(crate) size: Result<u64, String>,
}

pub(crate) const FILE: &str = "file";
pub(crate) const DIRECTORY: &str = "directory";

impl Tree {
    /// Walks the tree. Only a directory that itself cannot be listed is an error.
    pub(crate) fn below(dir: &Path) -> io::Result<Self> {
        // Reports why there is nothing to walk; the walk itself would also accept a file.
        std::fs::read_dir(dir)?;
        let mut tree = Self::default();
        for found in WalkDir::new(dir).follow_links(false).sort_by_file_name() {
            match found {
                Ok(entry) => tree.take(entry),
                Err(error) => tree.entries.push(unlisted(error)),
            }
        }
        Ok(tree)
    }

    fn take(&mut self, entry: DirEntry) {
        let file_type = entry.file_type();
        if file_type.is_file() {
            // The error without the path, which is the task's label anyway.
            let size = entry.metadata().map(|metadata| metadata.len()).map_err(|error| reason(&error));
            self.entries.push(Entry { path: entry.into_path(), kind: FILE, size });
        } else if file_type.is_symlink() {
            self.links += 1;
        } else if !file_type.is_dir() {
            self.special += 1;
        }
    }

    /// The size of all files together, as far as it is known.
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().filter_map(|entry| entry.size.as_ref().ok()).sum()
    }
}

fn unlisted(error: walkdir::Error) -> Entry {
    let path = error.path().map(Path::to_path_buf).unwrap_or_default();
    Entry { path, kind: DIRECTORY, size: Err(reason(&error)) }
}

fn reason(error: &walkdir::Error) -> String {
    error.io_error().map_or_else(|| error.to_string(), ToString::to_string)
}
