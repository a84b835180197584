//! The sizes that a store accepts. Pure.

/// How many readers a store has at the most.
pub(crate) const MAX_READERS: usize = 1024;

/// The greatest sizes that a store accepts. Anything larger is refused with an error that names the size and
/// the limit. Sizes are in bytes, except for the number of labels.
///
/// ```
/// use inflight::{Limits, NewTask, Store};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let limits = Limits { message: 10, ..Limits::default() };
/// let store = Store::builder().capacity(16).limits(limits).build()?;
/// let mut task = store.create(NewTask::new("index"))?;
/// assert!(task.set_message("much too long for that").is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The kind of a task; 128 by default.
    pub kind: usize,
    /// The unit of its progress; 32 by default.
    pub unit: usize,
    /// How many labels a task may have; 32 by default.
    pub labels: usize,
    /// The key of a label; 128 by default.
    pub label_key: usize,
    /// The value of a label; 256 by default.
    pub label_value: usize,
    /// A message; 4 KiB by default.
    pub message: usize,
    /// The media type of a result or error; 128 by default.
    pub media_type: usize,
    /// A result or error; 1 MiB by default.
    pub payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            kind: 128,
            unit: 32,
            labels: 32,
            label_key: 128,
            label_value: 256,
            message: 4 << 10,
            media_type: 128,
            payload: 1 << 20,
        }
    }
}

/// Which part of a task is larger than the limit.
///
/// ```
/// # use inflight::{ChangeError, NewTask, Oversized, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// # let mut task = store.create(NewTask::new("index"))?;
/// let too_long = "x".repeat(1 << 20);
/// let Err(ChangeError::TooLarge(refused)) = task.set_message(too_long) else { panic!("it is") };
/// assert_eq!(refused.what, Oversized::Message);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Oversized {
    /// The kind, in bytes.
    Kind,
    /// The unit of progress, in bytes.
    Unit,
    /// The number of labels.
    Labels,
    /// The key of a label, in bytes.
    LabelKey,
    /// The value of a label, in bytes.
    LabelValue,
    /// The message, in bytes.
    Message,
    /// The media type of a payload, in bytes.
    MediaType,
    /// The payload, in bytes.
    Payload,
}

/// Something is larger than the store's [`Limits`] allow.
///
/// ```
/// # use inflight::{CreateError, NewTask, Store};
/// # let store = Store::builder().capacity(16).build()?;
/// let Err(CreateError::TooLarge(refused)) = store.create(NewTask::new("x".repeat(200))) else {
///     panic!("it is");
/// };
/// assert_eq!((refused.size, refused.limit), (200, 128));
/// assert_eq!(refused.to_string(), "the kind has 200 bytes; the limit is 128");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// Which part is too large.
    pub what: Oversized,
    /// Its size.
    pub size: usize,
    /// The greatest size that the store accepts.
    pub limit: usize,
}

impl TooLarge {
    pub(crate) fn check(what: Oversized, size: usize, limit: usize) -> Result<(), TooLarge> {
        if size > limit { Err(TooLarge { what, size, limit }) } else { Ok(()) }
    }
}

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.what {
            Oversized::Kind => "the kind has",
            Oversized::Unit => "the unit has",
            Oversized::Labels => "the number of labels is",
            Oversized::LabelKey => "the key of a label has",
            Oversized::LabelValue => "the value of a label has",
            Oversized::Message => "the message has",
            Oversized::MediaType => "the media type has",
            Oversized::Payload => "the payload has",
        };
        let unit = if self.what == Oversized::Labels { "" } else { " bytes" };
        write!(f, "{what} {}{unit}; the limit is {}", self.size, self.limit)
    }
}

impl std::error::Error for TooLarge {}
