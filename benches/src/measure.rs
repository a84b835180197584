//! Interleaved measurements: each subject once, then each once more, and so on, so that other load on the
//! machine affects all of them.

use std::time::Duration;

use crate::harness::{Repeats, per_op};
use crate::subject::Role;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// How often each subject is timed: at least five times for reliable figures.
    pub repeats: usize,
    /// About how long one timing takes.
    pub slice: Duration,
}

/// Times so many operations on each thread. An error is a check that failed.
pub type Timed<'a> = Box<dyn FnMut(usize) -> Result<Duration, String> + 'a>;

/// One of the compared subjects.
pub struct Entry<'a> {
    /// Its name in the tables.
    pub subject: String,
    /// What kind of thing it is.
    pub role: Role,
    /// Times it.
    pub run: Timed<'a>,
}

impl<'a> Entry<'a> {
    /// One of the compared subjects.
    pub fn new(
        subject: impl Into<String>,
        role: Role,
        run: impl FnMut(usize) -> Result<Duration, String> + 'a,
    ) -> Self {
        Self { subject: subject.into(), role, run: Box::new(run) }
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry")
            .field("subject", &self.subject)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

/// The measurements of one subject.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name in the tables.
    pub subject: String,
    /// What kind of thing it is.
    pub role: Role,
    /// Nanoseconds per operation and thread.
    pub ns: Repeats,
}

/// Measures all of them, interleaved. `least` and `most` bound the number of operations in one timing.
///
/// # Errors
///
/// A check of one of them failed; then there is no result.
pub fn interleaved(
    entries: &mut [Entry<'_>],
    effort: Effort,
    least: usize,
    most: usize,
) -> Result<Vec<Measured>, String> {
    let mut ops = Vec::with_capacity(entries.len());
    for entry in &mut *entries {
        ops.push(calibrate(entry, effort.slice, least, most)?);
    }
    let mut measured: Vec<Measured> = entries
        .iter()
        .map(|entry| Measured { subject: entry.subject.clone(), role: entry.role, ns: Repeats::default() })
        .collect();
    for repeat in 0..effort.repeats {
        for turn in 0..entries.len() {
            // Each repeat begins with another subject.
            let at = (turn + repeat) % entries.len();
            if let (Some(entry), Some(ops), Some(measured)) =
                (entries.get_mut(at), ops.get(at), measured.get_mut(at))
            {
                measured.ns.push(per_op(run(entry, *ops)?, *ops));
            }
        }
    }
    Ok(measured)
}

fn run(entry: &mut Entry<'_>, ops: usize) -> Result<Duration, String> {
    (entry.run)(ops).map_err(|wrong| format!("{}: {wrong}", entry.subject))
}

/// How many operations fill the slice. The trial runs warm the subject up.
fn calibrate(entry: &mut Entry<'_>, slice: Duration, least: usize, most: usize) -> Result<usize, String> {
    let mut ops = least.max(1);
    loop {
        let elapsed = run(entry, ops)?;
        if elapsed * 8 >= slice || ops >= most {
            let scale = slice.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
            #[expect(
                clippy::cast_sign_loss,
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                reason = "a number of operations is positive, and rounded anyway"
            )]
            let scaled = (ops as f64 * scale) as usize;
            return Ok(scaled.clamp(least, most));
        }
        ops = ops.saturating_mul(8).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFORT: Effort = Effort { repeats: 5, slice: Duration::from_micros(800) };

    #[test]
    fn subjects_take_turns_and_each_begins_once() {
        let order = std::cell::RefCell::new(Vec::new());
        let entry = |name: &'static str, ns: u64| {
            let order = &order;
            Entry::new(name, Role::Other, move |ops| {
                order.borrow_mut().push((name, ops));
                Ok(Duration::from_nanos(ns * ops as u64))
            })
        };
        let mut entries = [entry("a", 1), entry("b", 10)];
        let measured = interleaved(&mut entries, EFFORT, 1, 1 << 20).unwrap();
        assert_eq!((measured[0].ns.median(), measured[1].ns.median()), (1.0, 10.0));
        assert_eq!(measured[0].ns.len(), 5);
        drop(entries);
        let timed: Vec<_> = order.into_inner().into_iter().rev().take(10).collect();
        assert!(timed.iter().all(|turn| *turn == ("a", 800_000) || *turn == ("b", 80_000)), "{timed:?}");
        let begins: Vec<_> = timed.iter().rev().step_by(2).map(|(name, _)| *name).collect();
        assert_eq!(begins, ["a", "b", "a", "b", "a"]);
    }

    #[test]
    fn a_failed_check_is_no_measurement() {
        let mut entries = [Entry::new("wrong", Role::Other, |_| Err("torn".to_owned()))];
        assert_eq!(interleaved(&mut entries, EFFORT, 1, 10).err(), Some("wrong: torn".to_owned()));
    }
}
