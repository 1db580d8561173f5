//! `Answer`: a status, fields, and what comes after them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::ops::Range;

/// What is sent in answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What comes first.
    pub head: Head,
    /// What comes after it.
    pub body: Body,
}

/// A status and fields, without those that say how long the answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    status: u16,
    fields: Vec<(&'static str, String)>,
}

/// What comes after the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Nothing, and no length is told: as of 304 and 204.
    None,
    /// These, one after another.
    Pieces(VecDeque<Piece>),
    /// Bytes that are told later, until their end. How many there will be is not known.
    Stream,
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes of the content that the answer is about.
    Content(Range<u64>),
}

impl Piece {
    /// How many bytes it is.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Content(range) => range.end - range.start,
        }
    }

    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Body {
    /// Its length in bytes, where it is known.
    pub fn len(&self) -> Option<u64> {
        match self {
            Body::None => Some(0),
            Body::Pieces(pieces) => Some(pieces.iter().map(Piece::len).sum()),
            Body::Stream => None,
        }
    }

    /// Whether there is nothing of it, as far as that is known.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

impl Answer {
    /// An answer of this text, and its type.
    pub fn of_text(status: u16, content_type: &'static str, text: impl Into<Vec<u8>>) -> Answer {
        let head = Head::new(status).with("Content-Type", content_type);
        Answer { head, body: Body::Pieces(VecDeque::from([Piece::Bytes(text.into())])) }
    }

    /// An answer of one plain line.
    pub fn of_line(status: u16, line: &str) -> Answer {
        let mut answer = Answer::of_text(status, "text/plain; charset=utf-8", format!("{line}\n"));
        answer.head = answer.head.with("Cache-Control", "no-store");
        answer
    }
}

impl Head {
    /// No fields yet.
    pub fn new(status: u16) -> Head {
        Head { status, fields: Vec::new() }
    }

    /// One more field. What would end it, or is no printable ASCII, is left out of its value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Head {
        let mut value = value.into();
        value.retain(|character| character == ' ' || character.is_ascii_graphic());
        self.fields.push((name, value));
        self
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The value of a field that it has.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| &**value)
    }

    /// What is sent: with these lines more, each with its end.
    pub(super) fn encode(&self, more: &str) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.fields {
            // Writing to memory cannot fail.
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str(more);
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// What a status is called.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_end_its_field() {
        let head = Head::new(404).with("X-A", "a\r\nX-B: b\u{e9}\0").with("X-C", "");
        assert_eq!(
            head.encode("X-D: d\r\n"),
            b"HTTP/1.1 404 Not Found\r\nX-A: aX-B: b\r\nX-C: \r\nX-D: d\r\n\r\n"
        );
        assert_eq!(head.field("x-a"), Some("aX-B: b"));
    }
}
