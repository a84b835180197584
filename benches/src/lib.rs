//! Benchmarks of `inflight`, beside the peers that it is measured against: in one process, with the same
//! hasher, the same payload and the same fields read.
//!
//! The `report` binary runs the whole comparison; the criterion benches are for work on one part of it.
//! How it is measured is said in `docs/PERFORMANCE.md`, and beside the code that does it:
//!
//! * [`harness`]: threads, barrier, time, repeats.
//! * [`keys`]: which task each poll asks for.
//! * [`payload`]: what the peers store.
//! * [`subject`]: what is measured, and the checks that run during it.
//! * [`ours`], [`maps`], [`slabs`], [`floors`]: polls of the store and of its peers.
//! * [`advance`], [`lifecycle`]: increments, and whole lives.
//! * [`waiting`], [`upkeep`], [`tails`], [`memory`]: those who wait, the keeper and the feed, tail latency, memory.
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

/// Whether a criterion bench was asked for a trial run only (`--test`): then sizes are small.
#[must_use]
pub fn is_smoke() -> bool {
    std::env::args().any(|argument| argument == "--test")
}
