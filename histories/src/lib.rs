//! Concurrent histories of a status store, and a checker that tells whether they are linearizable.
//!
//! A *history* is what several clients called, what they were answered, and in which order calls began
//! and ended. It is *linearizable* if each call can be given one moment between its beginning and its end
//! so that, one after the other in the order of those moments, the answers are those of the sequential
//! specification ([`Spec`]). Tasks are independent objects, so each task's history is checked on its own.
//!
//! The store under test is a [`Target`]: [`Local`] is the store in this process; a server, a journal or
//! a cluster is put through the same checker by implementing the trait.
//!
//! ```
//! use inflight_histories::{Local, Plan};
//!
//! let target = Local::new();
//! let report = Plan { histories: 20, ..Plan::default() }.run(&target);
//! assert!(report.failures.is_empty(), "{}", report.failures[0]);
//! assert_eq!(report.histories, 20);
//! ```
//!
//! What it checks, by invariant: I2 and I5 (each status is one that the task had, and versions grow with
//! every change), I3 and I4 (one end, and nothing after it), I7 (a stale id or handle touches nobody
//! else's task), I9 (what is live is never let go, what is due is), I10 (leases), I11 (unknown and gone).
//!
//! What it cannot see: the capacity (a refusal for want of room is always believed), totals that change,
//! counts and parents' sums (they are not one task's), and orders that no client can tell apart.

mod call;
mod check;
mod drive;
mod history;
mod local;
mod spec;

pub use call::{Call, Change, Ending, NewCall, Reply, Seen};
pub use check::{Verdict, check};
pub use drive::{Client, Features, Plan, Report, Target};
pub use history::{Event, Failure, History, Recorder, Stamps};
pub use local::Local;
pub use spec::Spec;
