//! Which parts of some content a peer has: the request, and the answer.

use std::borrow::Cow;
use std::ops::Range;

use super::fields::{IdText, Number};
use super::limits::MAX_PARTS;

/// The payload of [`Message::PleaseSayWhichParts`](super::Message::PleaseSayWhichParts).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartsRequest<'a> {
    /// The content.
    pub id: Cow<'a, str>,
    /// The first byte of interest: the answer may leave out what lies before it.
    pub offset: u64,
}

/// The payload of [`Message::IHaveTheseParts`](super::Message::IHaveTheseParts). It is a claim, and proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheseParts<'a> {
    /// The content.
    pub id: Cow<'a, str>,
    /// Where the answer begins.
    pub offset: u64,
    /// Where it ends; not before `offset`. It says nothing of what follows.
    pub until: u64,
    // Invariant: in order, none empty, apart from each other, and within `offset..until`.
    /// Which bytes in between the sender has and gives.
    pub parts: Vec<Range<u64>>,
    /// The length of the whole content in bytes, as the sender says; not less than `until`.
    pub eof: Option<u64>,
    /// The sender has no free upload slot. Ask it for nothing yet: peers that it serves may pass the content on.
    pub busy: bool,
}

/// Reads the payload of a `PleaseSayWhichParts`.
pub(super) fn read_request(json: &str) -> Option<PartsRequest<'_>> {
    let RequestFields { id, offset } = serde_json::from_str(json).ok()?;
    Some(PartsRequest { id: id.0, offset: offset.0 })
}

/// Reads the payload of an `IHaveTheseParts`. One that contradicts itself says nothing.
pub(super) fn read(json: &str) -> Option<TheseParts<'_>> {
    let PartsFields { id, offset, until, parts, eof, busy } = serde_json::from_str(json).ok()?;
    let (offset, until, eof) = (offset.0, until.0, eof.map(|n| n.0));
    if parts.len() > MAX_PARTS || until < offset || eof.is_some_and(|eof| until > eof) {
        return None;
    }
    let mut end_before = offset;
    for (Number(start), Number(end)) in &parts {
        if *start < end_before || end <= start || *end > until {
            return None;
        }
        end_before = *end;
    }
    let parts = parts.into_iter().map(|(start, end)| start.0..end.0).collect();
    Some(TheseParts { id: id.0, offset, until, parts, eof, busy })
}

#[derive(serde::Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    #[serde(default)]
    offset: Number,
}

#[derive(serde::Deserialize)]
struct PartsFields<'a> {
    #[serde(borrow)]
    id: IdText<'a>,
    offset: Number,
    until: Number,
    parts: Vec<(Number, Number)>,
    #[serde(default)]
    eof: Option<Number>,
    #[serde(default)]
    busy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_they_are_written() {
        let have = read(r#"{"eof":9,"id":"a","parts":[[0,3],[3,4],[6,8]],"until":8,"offset":0}"#).unwrap();
        assert_eq!(have.parts, [0..3, 3..4, 6..8]);
        assert_eq!((have.offset, have.until, have.eof), (0, 8, Some(9)));
        let nothing = read(r#"{"id":"a","offset":0,"until":0,"parts":[]}"#).unwrap();
        assert_eq!((nothing.parts, nothing.eof, nothing.busy), (vec![], None, false));
        assert_eq!(read_request(r#"{"id":"a"}"#).unwrap().offset, 0);
        assert_eq!(read_request(r#"{"id":"a","offset":7}"#).unwrap().offset, 7);
    }

    #[test]
    fn parts_that_contradict_each_other_are_passed_over() {
        for (offset, until, parts, eof) in [
            (0, 8, "[[3,3]]", "9"),
            (0, 8, "[[4,3]]", "9"),
            (0, 8, "[[3,6],[5,7]]", "9"),
            (0, 8, "[[5,7],[1,2]]", "9"),
            (2, 8, "[[1,4]]", "9"),
            (0, 8, "[[1,9]]", "9"),
            (0, 8, "[[1,4]]", "7"),
            (8, 7, "[]", "9"),
            (0, 8, "[[1,2,3]]", "9"),
            (0, 8, "[[-1,2]]", "9"),
            (0, 8, "[[1,2.5]]", "9"),
            (0, 8, "{}", "9"),
            (0, 1u64 << 54, "[]", "null"),
        ] {
            let json =
                format!(r#"{{"id":"a","offset":{offset},"until":{until},"parts":{parts},"eof":{eof}}}"#);
            assert_eq!(read(&json), None, "{json}");
        }
        let many = vec!["[1,2]"; 100_000].join(",");
        assert_eq!(read(&format!(r#"{{"id":"a","offset":0,"until":9,"parts":[{many}]}}"#)), None);
    }
}
