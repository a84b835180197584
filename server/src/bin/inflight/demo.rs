//! The workload of `examples/hash_tree.rs`, run inside the service again and again: one task a file, and
//! one that is their parent. It is slowed down so that there is something to watch.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use inflight::{CreateError, NewTask, Payload, SharedTask, Store, Task};
use inflight_server::Shutdown;

use crate::Failure;
use crate::tree::{Entry, Tree};
use crate::work::{CHUNK, hash};

const WORKERS: usize = 2;

/// How many files one round hashes at the most.
const MAX_FILES: usize = 10_000;

/// How long a round takes at the least, and the pause between two.
const ROUND: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(5);

/// The longest pause between two files of one worker.
const MAX_GAP: Duration = Duration::from_secs(1);

/// Begins to hash what is below `dir`, on threads of its own, until the service ends.
pub(crate) fn begin(store: Store, dir: PathBuf, shutdown: Shutdown) -> Result<(), Failure> {
    let listed = std::fs::read_dir(&dir);
    let _ = listed.map_err(|error| format!("{} cannot be listed: {error}", dir.display()))?;
    std::thread::Builder::new().name("demo".into()).spawn(move || {
        while !shutdown.has_begun() {
            match Tree::below(&dir) {
                Ok(tree) => {
                    if let Err(error) = round(&store, &dir, &tree, &shutdown) {
                        tracing::warn!(%error, "the demo stands still for a round");
                    }
                }
                Err(error) => tracing::warn!(%error, "the demo's directory cannot be listed"),
            }
            pause(PAUSE, &shutdown);
        }
    })?;
    Ok(())
}

fn pause(span: Duration, shutdown: &Shutdown) {
    let until = Instant::now() + span;
    while !shutdown.has_begun()
        && let Some(left) = until.checked_duration_since(Instant::now())
    {
        std::thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// All files once.
fn round(store: &Store, dir: &Path, tree: &Tree, shutdown: &Shutdown) -> Result<(), CreateError> {
    let entries = tree.entries.get(..MAX_FILES).unwrap_or(&tree.entries);
    let label = short(dir);
    let new = NewTask::new("hash_tree").total(entries.len() as u64).unit("files").label("dir", label);
    let mut parent = store.create(new)?;
    // Cancelled already, or it starts.
    if parent.start().is_err() {
        return Ok(());
    }
    let parent = parent.share();
    let mut queue = VecDeque::with_capacity(entries.len());
    for entry in entries {
        let name = short(entry.path.strip_prefix(dir).unwrap_or(&entry.path));
        let mut new = NewTask::new(entry.kind).unit("bytes").label("path", name).parent(parent.id());
        if let Ok(size) = &entry.size {
            new = new.total(*size);
        }
        queue.push_back((store.create(new)?, entry));
    }
    let gap = (ROUND * WORKERS as u32 / (entries.len().max(1) as u32)).min(MAX_GAP);
    let queue = Mutex::new(queue);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&queue, &parent, gap, shutdown));
        }
    });
    let left = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if left.is_empty() {
        let summary = format!("{{\"files\":{}}}", entries.len());
        let _ = parent.succeed(Payload::new("application/json", summary));
    } else {
        for (mut task, _) in left {
            let _ = task.cancel();
        }
        let _ = parent.cancel();
    }
    Ok(())
}

/// Hashes until there is no more, or somebody asks to stop.
fn work(queue: &Mutex<VecDeque<(Task, &Entry)>>, parent: &SharedTask, gap: Duration, shutdown: &Shutdown) {
    let mut buffer = vec![0; CHUNK];
    while !shutdown.has_begun() && !parent.cancel_requested() {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some((task, entry)) = next else { return };
        // What comes of it, the task says itself.
        let _ = hash(task, entry, &mut buffer);
        let _ = parent.advance(1);
        pause(gap, shutdown);
    }
}

/// A path that is not too long for a label.
fn short(path: &Path) -> String {
    const LONGEST: usize = 200;
    let text = path.display().to_string();
    match text.char_indices().rev().find(|(at, _)| text.len() - at >= LONGEST) {
        Some((at, _)) => format!("…{}", text.get(at..).unwrap_or_default()),
        None => text,
    }
}
