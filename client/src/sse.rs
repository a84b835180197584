//! The event stream format (WHATWG), as a parser that is fed bytes and has a bound. Pure.

use std::time::Duration;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its name; `message` if the stream gave none.
    pub(crate) event: String,
    pub(crate) data: String,
}

/// Reads a stream chunk by chunk, wherever the chunks are cut.
///
/// It holds one event at the most, of `limit` bytes at the most.
#[derive(Debug)]
pub(crate) struct Parser {
    limit: usize,
    line: Vec<u8>,
    event: String,
    data: String,
    has_data: bool,
    /// The id of the event that is being read; it counts once the event is complete.
    id: Option<String>,
    last_id: Option<String>,
    retry: Option<Duration>,
    after_return: bool,
    at_start: bool,
}

/// An event has more bytes than it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            event: String::new(),
            data: String::new(),
            has_data: false,
            id: None,
            last_id: None,
            retry: None,
            after_return: false,
            at_start: true,
        }
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The id of the last complete event: where to go on after a break.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server wants a client to wait before it connects again.
    pub(crate) fn take_retry(&mut self) -> Option<Duration> {
        self.retry.take()
    }

    /// Takes bytes from the front of `chunk` until an event is complete, or the chunk is used up.
    pub(crate) fn feed(&mut self, chunk: &mut impl bytes::Buf) -> Result<Option<Message>, TooLong> {
        while chunk.has_remaining() {
            let bytes = chunk.chunk();
            if self.after_return {
                self.after_return = false;
                if bytes.first() == Some(&b'\n') {
                    chunk.advance(1);
                    continue;
                }
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            if self.line.len() + self.data.len() + part.len() > self.limit {
                return Err(TooLong);
            }
            self.line.extend_from_slice(part);
            let taken = part.len();
            let Some(end) = end else {
                chunk.advance(taken);
                continue;
            };
            self.after_return = bytes.get(end) == Some(&b'\r');
            chunk.advance(taken + 1);
            if let Some(message) = self.end_of_line() {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    fn end_of_line(&mut self) -> Option<Message> {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let text = if std::mem::take(&mut self.at_start) {
            text.strip_prefix('\u{feff}').unwrap_or(&text)
        } else {
            &text
        };
        if text.is_empty() {
            return self.end_of_event();
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event = value.to_owned(),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis);
            }
            // A comment, whose field is empty, or what the format does not know.
            _ => {}
        }
        None
    }

    fn end_of_event(&mut self) -> Option<Message> {
        let (event, data) = (std::mem::take(&mut self.event), std::mem::take(&mut self.data));
        if let Some(id) = self.id.take() {
            self.last_id = Some(id).filter(|id| !id.is_empty());
        }
        std::mem::take(&mut self.has_data)
            .then(|| Message { event: if event.is_empty() { "message".to_owned() } else { event }, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parser: &mut Parser, mut chunk: &[u8]) -> Vec<(String, String)> {
        let mut messages = Vec::new();
        while let Some(message) = parser.feed(&mut chunk).expect("within the limit") {
            messages.push((message.event, message.data));
        }
        messages
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(event, data)| ((*event).to_owned(), (*data).to_owned())).collect()
    }

    #[test]
    fn the_format_is_read_wherever_it_is_cut() {
        let stream = "\u{feff}: hello\nid: 1\nevent: task\ndata: one\ndata:  two\n\nretry: 250\rdata\r\rid:2\r\ndata: ü\r\n\r\n\
                      nonsense: x\n\ndata: cut off";
        let expected = owned(&[("task", "one\n two"), ("message", ""), ("message", "ü")]);
        for size in 1..stream.len() {
            let mut parser = Parser::new(1000);
            let all: Vec<_> =
                stream.as_bytes().chunks(size).flat_map(|chunk| read(&mut parser, chunk)).collect();
            assert_eq!(all, expected, "in chunks of {size}");
            assert_eq!(parser.last_id(), Some("2"));
            assert_eq!(parser.take_retry(), Some(Duration::from_millis(250)));
        }
    }

    #[test]
    fn an_id_counts_only_when_its_event_is_complete() {
        let mut parser = Parser::new(100);
        assert_eq!(read(&mut parser, b"id: 1\ndata: a\n\nid: 2\ndata: b\n").len(), 1);
        assert_eq!(parser.last_id(), Some("1"));
        assert_eq!(read(&mut parser, b"\nid: x\0y\ndata: c\n\n").len(), 2);
        assert_eq!(parser.last_id(), Some("2"), "an id with a NUL is ignored");
        read(&mut parser, b"id\n\n");
        assert_eq!(parser.last_id(), None, "an empty id takes it back");
    }

    #[test]
    fn a_giant_line_and_a_giant_event_are_refused_before_they_are_stored() {
        let mut parser = Parser::new(64);
        let giant = [b'x'; 65];
        assert_eq!(parser.feed(&mut &giant[..]), Err(TooLong));
        assert!(parser.line.capacity() <= 64);
        let mut parser = Parser::new(64);
        let mut lines: &[u8] = &b"data: 0123456789\n".repeat(7);
        assert_eq!(parser.feed(&mut lines), Err(TooLong), "many short lines of one event");
        let mut parser = Parser::new(64);
        let many = b"data: 0123456789\n\n".repeat(100);
        assert_eq!(read(&mut parser, &many).len(), 100, "many events are fine");
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let mut parser = Parser::new(64);
        assert_eq!(read(&mut parser, b"data: \xff\xfe\n\n"), owned(&[("message", "\u{fffd}\u{fffd}")]));
    }
}
