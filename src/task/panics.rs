//! What a panicking worker said.
//!
//! A handle that is dropped while its thread unwinds knows that there was a panic, but not its message.
//! So the first store that is built adds to the process's panic hook: the message is kept for the thread
//! that panics, and the hook that was there before is called as ever.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::Once;

/// How much of a message is kept, in bytes.
const KEPT: usize = 4096;

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Adds to the process's panic hook, once.
pub(crate) fn install_hook() {
    static INSTALLED: Once = Once::new();
    if std::thread::panicking() {
        return; // The hook cannot be changed now; the next store will.
    }
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            keep(info);
            before(info);
        }));
    });
}

fn keep(info: &PanicHookInfo<'_>) {
    let message = message(info.payload());
    // A panic while the thread goes away, or within this very function, is not worth a second panic.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            last.clear();
            last.push_str(truncated(message, KEPT));
        }
    });
}

/// Forgets what was kept for the calling thread: if it does not unwind, that panic is over. So one which is
/// resumed later, of which the hook hears nothing, is not told with the message of another.
pub(crate) fn forget() {
    if !std::thread::panicking() {
        let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| last.clear()));
    }
}

/// The message of the panic that the calling thread unwinds for, if the hook heard it.
pub(crate) fn last_message() -> Option<String> {
    let last = LAST.try_with(|last| last.try_borrow().map(|last| last.clone()).ok()).ok()??;
    (!last.is_empty()).then_some(last)
}

/// The message in a panic's payload.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "the worker panicked"
    }
}

/// `text`, cut to at most `limit` bytes between two characters.
pub(crate) fn truncated(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(truncated("añb", 10), "añb");
        assert_eq!(truncated("añb", 3), "añ");
        assert_eq!(truncated("añb", 2), "a");
        assert_eq!(truncated("añb", 0), "");
    }
}
