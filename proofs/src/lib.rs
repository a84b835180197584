//! Checks of the store besides its models: see `README.md`.

#[cfg(inflight_shuttle)]
pub mod scenarios;
