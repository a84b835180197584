// Of two definitions of a link the first one counts. README.md has those for readers of the repository.
#![doc = include_str!("guide/links.md")]
#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

mod cell;
mod engine;
pub mod guide;
mod index;
mod model;
mod record;
mod store;
mod sync;
mod task;

pub use cell::table::MAX_CAPACITY;
pub use cell::{MAX_ATTEMPTS, MAX_COUNT};
pub use engine::keeper::{KeeperHealth, KeeperMode, KeeperPanic};
pub use engine::lifecycle::Finish;
pub use index::counts::Counts;
pub use model::clock::ManualClock;
pub use model::id::{ParseIdError, TaskId};
pub use model::limits::{Limits, Oversized, TooLarge};
pub use model::payload::Payload;
pub use model::reason::{Absent, FailureReason, GoneReason};
pub use model::retention::Retention;
pub use model::state::{ParseStateError, State};
pub use model::version::{ParseVersionError, Version};
pub use record::details::Details;
pub use record::error::{
    BuildError, CancelError, ChangeError, CreateError, FinishError, ListError, ProgressError, RemoveError,
};
pub use record::family::Children;
pub use record::new_task::NewTask;
pub use record::status::Status;
pub use store::Store;
pub use store::builder::StoreBuilder;
pub use store::changes::{Change, ChangeKind, Changes, Drain, Drained, TooManyReaders};
pub use store::list::{Cursor, Filter, Page, ParseCursorError};
pub use store::wait::{ChangedSince, Wait, WaitError, WaitTimeout, Watch};
#[cfg(inflight_budget)]
pub use sync::budget;
pub use task::cancelled::Cancelled;
pub use task::counter::Counter;
pub use task::panics::keep_panic_messages;
pub use task::shared::SharedTask;
pub use task::{ScopeError, Task};
