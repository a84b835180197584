//! Concurrent histories of a status store, and a checker that decides whether they are linearizable.
//!
//! A *history* contains the calls of several clients, the replies, and the order in which calls began and
//! ended. It is *linearizable* if each call can be assigned one moment between its beginning and its end so
//! that, one after the other in the order of these moments, the replies are those of the sequential
//! specification ([`Spec`]). Tasks are independent objects, so each task's history is checked on its own.
//!
//! The store under test is a [`Target`]. [`Local`] is the store in this process; a server, a journal or a
//! cluster can be checked in the same way by implementing the trait.
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
//! every change), I3 and I4 (one end, and nothing after it), I7 (a stale id or handle never reaches another
//! task), I9 (live tasks are never removed, due ones are), I10 (leases), I11 (unknown and gone).
//!
//! What it cannot check: the capacity (a refusal because the store is full is always believed), totals that
//! change, counts and parents' sums (they do not belong to one task), and orders that no client can
//! distinguish.

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
