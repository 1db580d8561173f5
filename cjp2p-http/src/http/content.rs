//! The answer about content that is there or on its way: what of it is wanted, and whether at all.

use std::collections::VecDeque;
use std::ops::Range;

use super::conditions::{self, Outcome};
use super::ranges::{self, Selected};
use super::request::Request;
use super::response::{Answer, Body, Head, Piece};

/// What is known of the content.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    /// Its entity tag, in quotes.
    pub tag: &'a str,
    /// What it is.
    pub content_type: &'a str,
    /// Its length in bytes.
    pub length: u64,
    /// What separates the parts of an answer: nothing that is in the content.
    pub boundary: &'a str,
}

/// Which ranges a request asks for, if they count. What is asked for without one is all.
pub fn wanted(request: &Request, tag: &str) -> Option<Vec<ranges::Spec>> {
    let value = request.range.as_deref()?;
    // Ranges are defined for GET alone (RFC 9110, section 14.2).
    if request.is_head() || !conditions::ranges_count(request, Some(tag)) {
        return None;
    }
    ranges::parse(value)
}

/// The answer that needs nothing of the content: the client has it already, or does not want this one.
pub fn without_content(request: &Request, tag: &str) -> Option<Answer> {
    let status = match conditions::judge(request, Some(tag)) {
        Outcome::Proceed => return None,
        Outcome::NotModified => 304,
        Outcome::Failed => 412,
    };
    let head = Head::new(status).with("ETag", tag);
    let none = if status == 304 { Body::None } else { Body::Pieces(VecDeque::new()) };
    Some(Answer { head, body: none })
}

/// Answers a request for content, conditions aside. `fields` are those that every answer with some of it has.
pub fn answer(request: &Request, described: &Described<'_>, fields: &[(&'static str, String)]) -> Answer {
    let Described { tag, content_type, length, boundary } = *described;
    let selected = match wanted(request, tag) {
        Some(specs) => ranges::select(&specs, length),
        None => Selected::Whole,
    };
    let head = |status: u16, content_type: &str| {
        let mut head = Head::new(status).with("Content-Type", content_type);
        for (name, value) in fields {
            head = head.with(name, value.clone());
        }
        head.with("ETag", tag).with("Accept-Ranges", "bytes")
    };
    let body = |pieces: Vec<Piece>| Body::Pieces(pieces.into());
    match selected {
        Selected::Whole => {
            Answer { head: head(200, content_type), body: body(vec![Piece::Content(0..length)]) }
        }
        Selected::One(range) => Answer {
            head: head(206, content_type).with("Content-Range", content_range(&range, length)),
            body: body(vec![Piece::Content(range)]),
        },
        Selected::Several(ranges) => {
            let mut pieces = Vec::new();
            for range in ranges {
                let part = format!(
                    "\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {}\r\n\r\n",
                    content_range(&range, length)
                );
                pieces.push(Piece::Bytes(part.into_bytes()));
                pieces.push(Piece::Content(range));
            }
            pieces.push(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into_bytes()));
            let content_type = format!("multipart/byteranges; boundary={boundary}");
            Answer { head: head(206, &content_type), body: body(pieces) }
        }
        Selected::Nothing => {
            let mut answer = Answer::of_line(416, "nothing is there: the content ends before");
            answer.head = answer.head.with("Content-Range", format!("bytes */{length}"));
            answer
        }
    }
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "\"t\"";

    fn answered(request: &Request, length: u64) -> Answer {
        let described = Described { tag: TAG, content_type: "text/plain", length, boundary: "B" };
        answer(request, &described, &[("X-Own", "1".into())])
    }

    fn get(range: Option<&str>) -> Request {
        Request { range: range.map(str::to_owned), is_modern: true, ..Request::default() }
    }

    #[test]
    fn one_range_is_sent_by_itself_and_several_with_what_separates_them() {
        let one = answered(&get(Some("bytes=2-3")), 10);
        assert_eq!((one.head.status(), one.head.field("content-range")), (206, Some("bytes 2-3/10")));
        assert_eq!(one.body, Body::Pieces([Piece::Content(2..4)].into()));
        let several = answered(&get(Some("bytes=0-0,-1")), 10);
        assert_eq!(several.head.field("content-type"), Some("multipart/byteranges; boundary=B"));
        assert_eq!(several.head.field("content-range"), None);
        let mut text = String::new();
        let Body::Pieces(pieces) = several.body else { panic!("its length is known") };
        for piece in pieces {
            match piece {
                Piece::Bytes(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
                Piece::Content(range) => {
                    text.push_str(&"0123456789"[range.start as usize..range.end as usize])
                }
            }
        }
        let part = |range, byte| {
            format!("\r\n--B\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{byte}")
        };
        assert_eq!(text, format!("{}{}\r\n--B--\r\n", part("0-0", '0'), part("9-9", '9')));
    }

    #[test]
    fn without_ranges_that_count_all_is_sent_and_past_the_end_nothing() {
        for request in [
            get(None),
            get(Some("bytes=x")),
            Request { method: super::super::Method::Head, ..get(Some("bytes=0-1")) },
            Request { if_range: Some("\"other\"".into()), ..get(Some("bytes=0-1")) },
        ] {
            let all = answered(&request, 10);
            assert_eq!(
                (all.head.status(), all.body.len(), all.head.field("x-own")),
                (200, Some(10), Some("1"))
            );
        }
        let nothing = answered(&get(Some("bytes=10-")), 10);
        assert_eq!((nothing.head.status(), nothing.head.field("content-range")), (416, Some("bytes */10")));
        let there = Request { if_none_match: Some(TAG.into()), ..get(None) };
        assert_eq!(
            without_content(&there, TAG).map(|answer| (answer.head.status(), answer.body)),
            Some((304, Body::None))
        );
        assert_eq!(without_content(&get(None), TAG), None);
    }
}
