//! Tests of a whole store that look at what is inside.
#![allow(clippy::unwrap_used, reason = "what tests share fails as they do")]

mod counting;
mod engine;
mod keeper;
mod keeper_panics;

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::engine::keeper::KeeperMode;
use crate::model::clock::ManualClock;
use crate::model::retention::Retention;
use crate::record::new_task::NewTask;
use crate::store::Store;
use crate::task::Task;

const TICK: Duration = Duration::from_millis(50);

fn store() -> (Store, ManualClock) {
    store_with(4096, Retention::forever())
}

fn store_with(capacity: usize, retention: Retention) -> (Store, ManualClock) {
    let clock = ManualClock::new();
    let builder = Store::builder().capacity(capacity).clock(clock.clone()).keeper(KeeperMode::Manual);
    (builder.retain(retention).build().unwrap(), clock)
}

fn running(store: &Store) -> Task {
    let mut task = store.create(NewTask::new("test")).unwrap();
    task.start().unwrap();
    task
}

fn tick(store: &Store, clock: &ManualClock) {
    clock.advance(TICK);
    store.tick();
}

/// Remembers whether it was called.
#[derive(Default)]
struct Bell(Mutex<bool>);

impl Bell {
    fn rang(&self) -> bool {
        *self.0.lock().unwrap()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock().unwrap() = true;
    }
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(waker)).is_ready()
}
