//! The indexes of a store: by id, by age, by change, and the number of tasks by state. Each is a structure of
//! its own; what keeps them in step is in `engine/`.
//!
//! `engine/` and `store/` use it. It uses `record/` and what lies below.

pub(crate) mod aliases;
pub(crate) mod counts;
pub(crate) mod feed;
pub(crate) mod registry;
pub(crate) mod roster;
