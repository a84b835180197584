//! Benchmarks of `inflight` and its peers: in one process, with the same hasher, the same payload and the
//! same fields read.
//!
//! The `report` binary runs the whole comparison; the criterion benches are for work on one part of it. The
//! method is described in `docs/PERFORMANCE.md`, and in the modules:
//!
//! * [`harness`]: threads, barrier, time, repeats.
//! * [`keys`]: the task of each poll.
//! * [`payload`]: the peers' data of a task.
//! * [`subject`]: the subjects of the measurements, and the checks that run during them.
//! * [`ours`], [`maps`], [`slabs`], [`floors`]: polls of the store and of its peers.
//! * [`advance`], [`lifecycle`]: increments, and whole lives.
//! * [`waiting`], [`upkeep`], [`tails`], [`memory`]: waiters, the keeper and the feed, tail latency, memory.
//! * [`measure`]: interleaved repeats.

pub mod advance;
pub mod floors;
pub mod harness;
pub mod keys;
pub mod lifecycle;
pub mod maps;
pub mod measure;
pub mod memory;
pub mod ours;
pub mod payload;
pub mod slabs;
pub mod subject;
pub mod tails;
pub mod upkeep;
pub mod waiting;

/// The hasher of every map here: the one that the store's own registry uses.
pub type Hasher = foldhash::quality::RandomState;

/// Whether a criterion bench was started only for a trial run (`--test`): then sizes are small.
#[must_use]
pub fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--test")
}
