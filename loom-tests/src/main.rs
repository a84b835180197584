//! Models of the store's races, explored by loom over the real code of `inflight`.
//!
//! A model builds a small store, starts two or more threads that use it, and asserts what an invariant
//! promises. loom runs it once for each way in which the threads can interleave and in which each load can
//! return what the memory model lets it return. `ci/loom.sh` runs the models; `weaken.py` checks that they
//! would fail if an ordering in the store were weaker, or if the protocol were changed.

#![cfg_attr(
    inflight_loom,
    allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a model fails by a panic")
)]

#[cfg(inflight_loom)]
mod model;
#[cfg(inflight_loom)]
mod models;
#[cfg(inflight_loom)]
mod run;
#[cfg(inflight_loom)]
mod scene;

#[cfg(inflight_loom)]
fn main() -> std::process::ExitCode {
    run::main(&models::all().collect::<Vec<_>>())
}

#[cfg(not(inflight_loom))]
fn main() -> std::process::ExitCode {
    eprintln!("the models need RUSTFLAGS=\"--cfg inflight_loom\"; ci/loom.sh sets it");
    std::process::ExitCode::FAILURE
}
