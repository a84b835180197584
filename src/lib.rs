#![doc = include_str!("../README.md")]
#![warn(missing_docs)]

#[cfg(inflight_budget)]
pub mod budget;
mod builder;
mod cancelled;
mod cell;
mod changes;
mod clock;
mod counter;
mod counts;
mod details;
mod engine;
mod error;
mod family;
mod feed;
mod handle;
mod id;
mod inbox;
mod keeper;
mod lifecycle;
mod limits;
mod names;
mod new_task;
mod panics;
mod payload;
mod query;
mod record;
mod registry;
mod retention;
mod roster;
mod shared_task;
mod signal;
mod state;
mod status;
mod store;
mod sync;
mod table;
mod task;
mod version;
mod waiter;
mod watch;

pub use builder::StoreBuilder;
pub use cancelled::Cancelled;
pub use cell::{MAX_ATTEMPTS, MAX_COUNT};
pub use changes::{Change, ChangeKind, Changes, Drain, Drained, TooManyReaders};
pub use clock::ManualClock;
pub use counter::Counter;
pub use counts::Counts;
pub use details::Details;
pub use error::{
    BuildError, CancelError, ChangeError, CreateError, FinishError, ListError, ProgressError, RemoveError,
};
pub use family::Children;
pub use id::{ParseIdError, TaskId};
pub use keeper::KeeperMode;
pub use lifecycle::Finish;
pub use limits::{Limits, Oversized, TooLarge};
pub use new_task::NewTask;
pub use payload::Payload;
pub use query::{Cursor, Filter, Page, ParseCursorError};
pub use retention::Retention;
pub use shared_task::SharedTask;
pub use state::{Absent, FailureReason, GoneReason, ParseStateError, State};
pub use status::Status;
pub use store::Store;
pub use table::MAX_CAPACITY;
pub use task::{ScopeError, Task};
pub use version::{ParseVersionError, Version};
pub use watch::{ChangedSince, Wait, WaitError, WaitTimeout, Watch};
