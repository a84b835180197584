//! What a panicking worker said.
//!
//! A handle that is dropped while its thread unwinds knows that there was a panic, but not its message.
//! So each store that is built sees to it that the process's panic hook is one of ours: it keeps the message
//! for the thread that panics, and calls the hook that was there before.
//!
//! There is one hook in a process, and it can only be taken out and put back. In between a panic of another
//! thread finds the default hook, and its message is not kept.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// How much of a message is kept, in bytes.
const KEPT: usize = 4096;

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync + 'static>;

/// A hook of ours that was installed.
struct Installed {
    address: usize,
    /// As long as it is there, no other hook has that address.
    hook: Weak<()>,
}

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Makes the process's panic hook keep the messages of panics, for tasks whose worker panics.
///
/// [`StoreBuilder::build`](crate::StoreBuilder::build) does this by itself, unless
/// [`StoreBuilder::panic_messages`](crate::StoreBuilder::panic_messages) is off. It is needed in a program
/// that sets a panic hook of its own after it has built the store, and whose hook does not call the one that
/// was there before: from then on tasks are `Failed(Panicked)` without the panic's message, outside
/// [`Task::scope`](crate::Task::scope).
///
/// The hook that is there goes on being called, once for each panic. If it is the store's already, nothing
/// changes. While the calling thread panics the hook cannot be changed, and the call does nothing. The hook
/// is taken out for a moment: a panic of another thread at that moment meets the default hook of the standard
/// library.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = inflight::Store::builder().capacity(16).build()?;
/// std::panic::set_hook(Box::new(|panic| eprintln!("my own: {panic}")));
/// inflight::keep_panic_messages();
/// # drop(store);
/// # Ok(())
/// # }
/// ```
pub fn keep_panic_messages() {
    static INSTALLED: Mutex<Vec<Installed>> = Mutex::new(Vec::new());
    if std::thread::panicking() {
        return;
    }
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    let before = panic::take_hook();
    panic::set_hook(add_to(before, &mut installed));
}

/// The hook itself if it is one of ours, or one of ours that calls it. Those of ours that are gone are
/// forgotten, so the list is no longer than the chain of hooks.
fn add_to(before: Hook, installed: &mut Vec<Installed>) -> Hook {
    installed.retain(|ours| ours.hook.strong_count() > 0);
    if installed.iter().any(|ours| ours.address == address(&before)) {
        return before;
    }
    let is_there = Arc::new(());
    let hook = Arc::downgrade(&is_there);
    let ours: Hook = Box::new(move |info| {
        let _ = &is_there;
        keep(info);
        before(info);
    });
    installed.push(Installed { address: address(&ours), hook });
    ours
}

fn address(hook: &Hook) -> usize {
    std::ptr::from_ref(&**hook).addr()
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
    fn i10_a_hook_of_ours_is_added_to_anothers_only() {
        let mut installed = Vec::new();
        let mut hook: Hook = Box::new(|_| {});
        for _ in 0..1_000 {
            hook = add_to(hook, &mut installed);
        }
        assert_eq!(installed.len(), 1);
        // A user puts another hook in its place, and later the first one back.
        for _ in 0..1_000 {
            let silent = add_to(Box::new(|_| {}), &mut installed);
            drop(add_to(silent, &mut installed));
            let address_before = address(&hook);
            hook = add_to(hook, &mut installed);
            assert_eq!((address(&hook), installed.len()), (address_before, 1));
        }
        // A user's hook that calls ours is another's.
        let users: Hook = Box::new(move |info| hook(info));
        let _hook = add_to(users, &mut installed);
        assert_eq!(installed.len(), 2);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(truncated("añb", 10), "añb");
        assert_eq!(truncated("añb", 3), "añ");
        assert_eq!(truncated("añb", 2), "a");
        assert_eq!(truncated("añb", 0), "");
    }
}
