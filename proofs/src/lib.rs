//! What can be checked of the store beside its models: see `README.md`.

#[cfg(inflight_shuttle)]
pub mod scenarios;
