//! The progress bar: drawn from the parent's aggregate, never from the tasks.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use inflight::{State, Store, TaskId};

const STYLE: &str = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} ETA {eta} {msg}";

/// The time between two updates of the bar. The aggregate itself is updated at the store's tick.
const INTERVAL: Duration = Duration::from_millis(100);

/// Draws until the other end of `done` is dropped.
pub(crate) fn draw(store: &Store, parent: TaskId, bytes: u64, done: &Receiver<()>) {
    let bar = ProgressBar::new(bytes);
    // The template is a constant, and a test checks it.
    bar.set_style(style().unwrap_or_else(|_| ProgressStyle::default_bar()));
    while done.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
        // The parent is there for as long as its children are worked on.
        let Ok(children) = store.children(parent) else { break };
        let (ended, failed) = (children.count() - children.live(), children.in_state(State::Failed));
        bar.set_message(format!("{ended}/{} files, {failed} failed", children.count()));
        bar.set_position(children.done());
    }
    bar.finish_and_clear();
}

fn style() -> Result<ProgressStyle, indicatif::style::TemplateError> {
    ProgressStyle::with_template(STYLE)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_right() {
        assert!(super::style().is_ok());
    }
}
