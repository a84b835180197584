//! What a task ends with: a result or an error. Pure.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A result or an error: bytes with a media type. Cheap to clone.
///
/// ```
/// use inflight::Payload;
///
/// let text = Payload::from("42 pages");
/// assert_eq!(text.media_type(), "text/plain; charset=utf-8");
/// assert_eq!(text.as_text(), Some("42 pages"));
///
/// let json = Payload::new("application/json", br#"{"pages":42}"#.to_vec());
/// assert_eq!(json.bytes().len(), 12);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    media_type: Cow<'static, str>,
    bytes: Bytes,
}

#[derive(Clone, PartialEq, Eq)]
enum Bytes {
    Static(&'static [u8]),
    Shared(Arc<[u8]>),
}

impl Payload {
    /// A payload of `bytes`, with this media type.
    ///
    /// ```
    /// # use inflight::Payload;
    /// let json = Payload::new("application/json", "{}");
    /// assert_eq!((json.media_type(), json.bytes()), ("application/json", &b"{}"[..]));
    /// ```
    pub fn new(media_type: impl Into<Cow<'static, str>>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { media_type: media_type.into(), bytes: Bytes::Shared(bytes.into().into()) }
    }

    /// The payload that means "none"; `()` converts to it. A task that ends with it has no result or error.
    ///
    /// ```
    /// # use inflight::Payload;
    /// assert_eq!(Payload::none(), Payload::from(()));
    /// ```
    #[must_use]
    pub const fn none() -> Self {
        Self { media_type: Cow::Borrowed(""), bytes: Bytes::Static(&[]) }
    }

    /// Whether this is [`Payload::none`]. (An empty text is not, because it has a media type.)
    ///
    /// ```
    /// # use inflight::Payload;
    /// assert!(Payload::from(()).is_none() && !Payload::from("").is_none());
    /// ```
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.media_type.is_empty() && self.bytes().is_empty()
    }

    /// The media type, as in a `Content-Type` header.
    ///
    /// ```
    /// # use inflight::Payload;
    /// assert_eq!(Payload::from(vec![0]).media_type(), "application/octet-stream");
    /// ```
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The bytes.
    ///
    /// ```
    /// # use inflight::Payload;
    /// assert_eq!(Payload::from("abc").bytes(), b"abc");
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.bytes {
            Bytes::Static(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }

    /// The bytes as text, if they are UTF-8.
    ///
    /// ```
    /// # use inflight::Payload;
    /// assert_eq!(Payload::from("abc").as_text(), Some("abc"));
    /// assert_eq!(Payload::from(vec![0xFF]).as_text(), None);
    /// ```
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()).ok()
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.media_type, self.bytes().len())
    }
}

const TEXT: Cow<'static, str> = Cow::Borrowed("text/plain; charset=utf-8");
const BINARY: Cow<'static, str> = Cow::Borrowed("application/octet-stream");

impl From<()> for Payload {
    fn from((): ()) -> Self {
        Self::none()
    }
}

impl From<&'static str> for Payload {
    fn from(text: &'static str) -> Self {
        Self { media_type: TEXT, bytes: Bytes::Static(text.as_bytes()) }
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Self {
        Self::new(TEXT, text)
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(BINARY, bytes)
    }
}
