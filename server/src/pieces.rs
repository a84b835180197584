//! Bodies that are made piece by piece, when there is room to send them. Payloads are shared with the store,
//! not copied, so what an answer holds does not grow with what it shows.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, stream};
use hyper::body::{Frame, SizeHint};
use inflight::{Details, Payload, Status};

use crate::pacing::Pace;
use crate::view::{Extent, Form, TaskView, form};

/// How many bytes a piece has at the most, and those that are gathered to one about that.
pub(crate) const PIECE: usize = 32 << 10;

/// Payloads up to this size are copied into the text around them.
pub(crate) const SMALL: usize = 4 << 10;

/// What a body is made of.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    parts: VecDeque<Part>,
    /// Text that is not a part yet, so that small texts are sent as one piece.
    text: Vec<u8>,
}

#[derive(Debug)]
enum Part {
    Text(Bytes),
    Payload { shared: Bytes, how: How },
}

/// How the bytes of a payload are written.
#[derive(Clone, Copy, Debug)]
enum How {
    AsIs,
    /// JSON on one line: a line break in it is only ever a blank between two tokens.
    OneLine,
    /// Inside of the quotes of a JSON string.
    Escaped,
    Base64,
}

struct Shared(Payload);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Pieces {
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    /// The bytes of a payload as they are.
    pub(crate) fn payload(payload: &Payload) -> Self {
        let mut pieces = Self::default();
        pieces.push(payload, How::AsIs);
        pieces
    }

    /// A task as JSON.
    pub(crate) fn task(&mut self, details: &Details, pace: Pace, extent: Extent) {
        self.task_at(details, &details.status(), pace, extent, false);
    }

    /// The same without a line break.
    pub(crate) fn task_on_a_line(&mut self, details: &Details, status: &Status, pace: Pace, extent: Extent) {
        self.task_at(details, status, pace, extent, true);
    }

    fn task_at(&mut self, details: &Details, status: &Status, pace: Pace, extent: Extent, one_line: bool) {
        let outcome = details.result().or(details.error());
        let large = outcome.filter(|payload| extent == Extent::Full && payload.bytes().len() > SMALL);
        let Some(payload) = large else {
            let start = self.text.len();
            TaskView::at(details, status, pace, extent).write(&mut self.text);
            if one_line {
                self.text.iter_mut().skip(start).for_each(without_break);
            }
            return;
        };
        TaskView::at(details, status, pace, Extent::Basic).write(&mut self.text);
        // The two are the last of a task's fields.
        let tail: &[u8] = if details.result().is_some() { b"null,\"error\":null}" } else { b"null}" };
        let rest = self.text.strip_suffix(tail).map_or(self.text.len(), <[u8]>::len);
        self.text.truncate(rest);
        match form(payload) {
            Form::Json => self.push(payload, if one_line { How::OneLine } else { How::AsIs }),
            Form::Text => {
                self.text(b"\"");
                self.push(payload, How::Escaped);
                self.text(b"\"");
            }
            Form::Binary => {
                self.text(b"{\"mediaType\":");
                let media_type = serde_json::to_vec(payload.media_type()).unwrap_or_default();
                self.text(&media_type);
                self.text(b",\"base64\":\"");
                self.push(payload, How::Base64);
                self.text(b"\"}");
            }
        }
        self.text(tail.strip_prefix(b"null").unwrap_or_default());
    }

    fn push(&mut self, payload: &Payload, how: How) {
        self.gather();
        self.parts.push_back(Part::Payload { shared: Bytes::from_owner(Shared(payload.clone())), how });
    }

    /// These pieces behind what is there.
    pub(crate) fn append(&mut self, mut others: Self) {
        if !others.parts.is_empty() {
            self.gather();
            self.parts.append(&mut others.parts);
        }
        self.text.append(&mut others.text);
    }

    fn gather(&mut self) {
        if !self.text.is_empty() {
            self.parts.push_back(Part::Text(std::mem::take(&mut self.text).into()));
        }
    }

    /// How many bytes there are to come.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum::<usize>() + self.text.len()
    }

    /// Whether a piece is worth sending.
    pub(crate) fn is_full(&self) -> bool {
        !self.parts.is_empty() || self.text.len() >= PIECE
    }

    /// The next piece; `None` if there is none now.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(part) = self.parts.front_mut() else {
                if self.text.is_empty() {
                    return None;
                }
                self.gather();
                continue;
            };
            let piece = part.next();
            if part.is_done() {
                self.parts.pop_front();
            }
            if piece.is_some() {
                return piece;
            }
        }
    }

    /// As the body of an answer, whose length is known.
    pub(crate) fn into_body(mut self) -> Body {
        self.gather();
        if self.parts.len() == 1
            && let Some(Part::Text(text)) = self.parts.front()
        {
            return Body::from(text.clone());
        }
        let left = self.len() as u64;
        Body::new(Whole { pieces: self, left })
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Part::Text(text) => text.len(),
            Part::Payload { shared, how } => match how {
                How::AsIs | How::OneLine => shared.len(),
                How::Base64 => shared.len().div_ceil(3) * 4,
                How::Escaped => shared.iter().map(|byte| escaped_len(*byte)).sum(),
            },
        }
    }

    fn is_done(&self) -> bool {
        let (Part::Text(left) | Part::Payload { shared: left, .. }) = self;
        left.is_empty()
    }

    fn next(&mut self) -> Option<Bytes> {
        let (shared, how) = match self {
            Part::Text(text) => (text, How::AsIs),
            Part::Payload { shared, how } => (shared, *how),
        };
        if shared.is_empty() {
            return None;
        }
        let most = match how {
            How::AsIs | How::OneLine => PIECE,
            How::Base64 => PIECE / 4 * 3,
            How::Escaped => PIECE / 6,
        };
        let mut end = most.min(shared.len());
        if matches!(how, How::Escaped) {
            // Not in the middle of a character.
            while shared.get(end).is_some_and(|byte| byte & 0xC0 == 0x80) {
                end -= 1;
            }
        }
        let piece = shared.split_to(end);
        Some(match how {
            How::AsIs => piece,
            How::OneLine if !piece.contains(&b'\n') && !piece.contains(&b'\r') => piece,
            How::OneLine => {
                let mut line = piece.to_vec();
                line.iter_mut().for_each(without_break);
                line.into()
            }
            How::Base64 => STANDARD.encode(&piece).into(),
            How::Escaped => escape(&piece).into(),
        })
    }
}

fn without_break(byte: &mut u8) {
    if matches!(byte, b'\n' | b'\r') {
        *byte = b' ';
    }
}

/// Text as it stands between the quotes of a JSON string.
fn escape(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let quoted = serde_json::to_vec(&Cow::as_ref(&text)).unwrap_or_default();
    quoted.get(1..quoted.len().saturating_sub(1)).map(<[u8]>::to_vec).unwrap_or_default()
}

fn escaped_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

/// A body of pieces whose number of bytes is known.
struct Whole {
    pieces: Pieces,
    left: u64,
}

impl hyper::body::Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.next();
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64).min(self.left);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// A body that is made while it is sent.
pub(crate) trait Source: Send + 'static {
    fn pieces(&mut self) -> &mut Pieces;

    /// Adds to the pieces; gives whether there was anything more to add.
    fn more(&mut self) -> impl Future<Output = bool> + Send;
}

/// The body that comes from `source`: it makes the next piece when the last one has been taken.
pub(crate) fn stream(source: impl Source) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Some(source), |source| async move {
        let mut source = source?;
        while !source.pieces().is_full() {
            if !source.more().await {
                return source
                    .pieces()
                    .next()
                    .map(|piece| (piece, (source.pieces().len() > 0).then_some(source)));
            }
        }
        source.pieces().next().map(|piece| (piece, Some(source)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use inflight::{FailureReason, NewTask, Store};
    use std::time::Duration;

    const PACE: Pace = Pace { least: Duration::from_millis(500), most: Duration::from_secs(30) };

    fn all(mut pieces: Pieces) -> Vec<u8> {
        let expected = pieces.len();
        let mut all = Vec::new();
        while let Some(piece) = pieces.next() {
            assert!(piece.len() <= PIECE, "{}", piece.len());
            all.extend_from_slice(&piece);
        }
        assert_eq!(all.len(), expected, "it is as long as it says");
        all
    }

    #[test]
    fn a_task_in_pieces_is_the_task_in_one() {
        let store = Store::builder().capacity(16).build().unwrap();
        let text = "a\"\\\n\r\t\u{8}\u{c}\u{1}\u{7f}ä€😀".repeat(9_000);
        let json = format!("[\n{}\r\n1]", "\"\\n\u{2028}\", ".repeat(9_000));
        for payload in [
            Payload::from(text.clone()),
            Payload::new("application/json", json.clone()),
            Payload::new("application/json", "{broken".repeat(9_000)),
            Payload::from(vec![0xFF; 100_001]),
            Payload::from("small"),
        ] {
            for fails in [false, true] {
                let mut task = store.create(NewTask::new("index")).unwrap();
                task.start().unwrap();
                let _ = if fails {
                    task.fail(FailureReason::Error, payload.clone())
                } else {
                    task.succeed(payload.clone())
                };
                let details = store.details(task.id()).unwrap();
                let whole = TaskView::new(&details, PACE, Extent::Full).render();
                let mut pieces = Pieces::default();
                pieces.task(&details, PACE, Extent::Full);
                assert!(all(pieces) == whole);
                let mut line = Pieces::default();
                line.task_on_a_line(&details, &details.status(), PACE, Extent::Full);
                let line = all(line);
                assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
                let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
                assert_eq!(value(&line), value(&whole));
                let _ = store.remove(task.id());
            }
        }
    }

    #[test]
    fn a_payload_is_shared_and_not_copied() {
        let payload = Payload::new("application/json", vec![b'1'; 100_000]);
        let mut pieces = Pieces::payload(&payload);
        let first = pieces.next().unwrap();
        assert_eq!(first.as_ptr(), payload.bytes().as_ptr());
    }
}
