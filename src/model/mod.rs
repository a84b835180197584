//! The vocabulary: states, ids, versions, times, payloads, limits and the arithmetic of retention. Nothing
//! here knows a task, a lock or a map; the one exception is `clock.rs`, whose cached time is an atomic.
//!
//! Every folder above may use it. It uses `sync/` only.

pub(crate) mod clock;
pub(crate) mod id;
pub(crate) mod limits;
pub(crate) mod payload;
pub(crate) mod reason;
pub(crate) mod retention;
pub(crate) mod state;
pub(crate) mod version;
