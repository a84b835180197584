#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod backoff;
mod batch;
mod builder;
mod client;
mod connect;
mod deadline;
mod details;
mod error;
mod feed;
mod json;
mod new_task;
mod poller;
mod query;
mod reporter;
mod reporters;
mod sse;
mod task_ref;
mod transport;
mod watch;
mod worker;
mod writes;

pub use builder::{BuildError, ClientBuilder};
pub use client::{Client, Finished};
pub use details::{Children, Counts, Details, Progress};
pub use error::{Error, Problem};
pub use feed::Event;
pub use inflight::{FailureReason, GoneReason, ParseVersionError, State, TaskId, Version};
pub use json::Json;
pub use new_task::{Created, NewTask};
pub use poller::{Poll, Poller};
pub use query::{Batch, Filter, Page};
pub use task_ref::TaskRef;
pub use watch::{Events, Watch};
pub use worker::{Standing, Unfinished, Worker, WorkerOptions};
