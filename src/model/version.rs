//! The version of a task: an ordered token of what was observed. Pure.

use std::fmt;
use std::str::FromStr;

/// An ordered token that says which part of a task's history a [`Status`](crate::Status) shows.
///
/// Of two versions of one task, the greater one is the later one, and every observable change results in a
/// greater version. The order of versions of different tasks has no meaning. A task that reuses the id of an
/// earlier one, before or after a restart, starts above all versions of the earlier one. So the token serves
/// as an ETag, as the id of an SSE event and as a cursor to wait from.
///
/// It prints and parses as a token of hexadecimal digits and hyphens.
///
/// ```
/// use inflight::{NewTask, Store, Version};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::builder().capacity(16).build()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// let before = store.get(task.id()).ok_or("gone")?.version();
/// task.start()?;
/// let after = store.get(task.id()).ok_or("gone")?.version();
/// assert!(after > before);
/// assert_eq!(after.to_string().parse::<Version>()?, after);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The incarnation of the store; for a client's id, plus the tenancy of that id.
    epoch: u64,
    /// Grows with transitions and cold changes.
    sequence: u64,
    /// The progress, which grows while the sequence stays the same.
    done: u64,
}

impl Version {
    pub(crate) const fn new(epoch: u64, sequence: u64, done: u64) -> Self {
        Self { epoch, sequence, done }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.epoch, self.sequence, self.done)
    }
}

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-').map(|part| {
            // `from_str_radix` accepts a sign, capitals and leading zeros, too: other spellings of one token.
            let canonical = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
                && (part == "0" || !part.starts_with('0'));
            u64::from_str_radix(part, 16).ok().filter(|_| canonical)
        });
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(epoch)), Some(Some(sequence)), Some(Some(done)), None) => {
                Ok(Self::new(epoch, sequence, done))
            }
            _ => Err(ParseVersionError(())),
        }
    }
}

/// The parsed text is not a [`Version`] as a store prints it.
///
/// ```
/// # use inflight::Version;
/// assert!("not a version".parse::<Version>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseVersionError(());

impl fmt::Display for ParseVersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a version is three hexadecimal numbers separated by hyphens, as the store prints it")
    }
}

impl std::error::Error for ParseVersionError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i5_epoch_then_sequence_then_progress() {
        let v = Version::new;
        assert!(v(2, 0, 0) > v(1, 9, 9));
        assert!(v(1, 2, 0) > v(1, 1, 9));
        assert!(v(1, 1, 2) > v(1, 1, 1));
    }

    #[test]
    fn one_version_has_one_spelling() {
        let v = Version::new(u64::MAX, 0x1f, 0);
        assert_eq!(v.to_string(), "ffffffffffffffff-1f-0");
        assert_eq!(v.to_string().parse(), Ok(v));
        for bad in ["", "1-2", "1-2-3-4", "+1-2-3", "01-2-3", "A-2-3", "1--3", "1ffffffffffffffff-0-0"] {
            assert_eq!(bad.parse::<Version>(), Err(ParseVersionError(())), "{bad:?}");
        }
    }
}
