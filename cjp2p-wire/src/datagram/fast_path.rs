//! Datagrams with content as our own nodes write them, read without a JSON parser: nearly all that a fetch receives.
//!
//! The fast path reads what it recognises exactly as [`decode`](super::decode::decode) does, and leaves everything else to that.

use std::borrow::Cow;

use super::numbers::read_number as number;
use crate::message::{ContentBlock, MAX_ID_LEN, MAX_RETURNED_LEN, Message, append_base64};

const RETURNED: &[u8] = br#"{"AlwaysReturned":"#;
const COOKIE: &[u8] = br#"{"cookie":""#;
const CONTENT: &[u8] = br#"{"Content":{"id":""#;
const OFFSET: &[u8] = br#","offset":"#;
const BASE64: &[u8] = br#","base64":""#;
const EOF: &[u8] = br#"","eof":"#;

/// The messages of a datagram that is `[{"AlwaysReturned":{"cookie":"…"}},{"Content":{…}}]`, or has the second of them only,
/// exactly as we write it; `None` of any other. The content's bytes go to `room`.
pub(super) fn decode<'a>(bytes: &'a [u8], room: &'a mut Vec<u8>) -> Option<Vec<Message<'a>>> {
    let rest = bytes.strip_prefix(b"[")?;
    let mut messages = Vec::with_capacity(2);
    let rest = match rest.strip_prefix(RETURNED) {
        Some(value) => {
            let (_, after) = text(value.strip_prefix(COOKIE)?)?;
            let after = after.strip_prefix(b"}")?;
            let value = &value[..value.len() - after.len()];
            if value.len() > MAX_RETURNED_LEN {
                return None;
            }
            messages.push(Message::AlwaysReturned(str::from_utf8(value).ok()?));
            after.strip_prefix(b"},")?
        }
        None => rest,
    };
    let (id, rest) = text(rest.strip_prefix(CONTENT)?)?;
    if id.len() > MAX_ID_LEN {
        return None;
    }
    let (offset, rest) = number(rest.strip_prefix(OFFSET)?)?;
    let rest = rest.strip_prefix(BASE64)?;
    // The base64 is long, so its end is found from behind. A quote or an escape in it is no base64.
    let padding = rest.iter().rev().take_while(|&&byte| byte == b' ').count();
    let rest = rest[..rest.len() - padding].strip_suffix(b"}}]")?;
    let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, last) = rest.split_at(rest.len() - digits);
    let (base64, eof) = match before.strip_suffix(EOF) {
        Some(base64) => {
            let (eof, []) = number(last)? else { return None };
            (base64, Some(eof))
        }
        None => (rest.strip_suffix(b"\"")?, None),
    };
    room.clear();
    if !append_base64(base64, room) {
        return None;
    }
    let (id, data) = (Cow::Borrowed(id), Cow::Borrowed(&room[..]));
    messages.push(Message::Content(ContentBlock { id, offset, data, eof }));
    Some(messages)
}

/// The text up to the closing quote, and the rest. `None` if a character in it is escaped.
fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (text, after) = bytes.split_at(memchr::memchr(b'"', bytes)?);
    let stand_for_themselves = text.iter().fold(true, |all, &byte| all & (byte >= b' ') & (byte != b'\\'));
    let text = str::from_utf8(text).ok().filter(|_| stand_for_themselves)?;
    Some((text, &after[1..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::datagram::testing::{edit, edits};
    use crate::datagram::{self, Encoder, Padding};
    use crate::message::MAX_NUMBER;

    /// Checks that both ways agree if the fast path reads at all. Returns whether it does.
    fn agree(bytes: &[u8]) -> bool {
        let mut room = vec![1, 2, 3];
        let Some(quick) = decode(bytes, &mut room) else { return false };
        let slow = datagram::decode(bytes)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(bytes)));
        assert_eq!(format!("{quick:?}"), format!("{slow:?}"));
        true
    }

    fn ours(
        cookie: Option<&str>,
        id: &str,
        offset: u64,
        data: &[u8],
        eof: Option<u64>,
        pad: usize,
    ) -> Vec<u8> {
        let mut encoder = Encoder::new();
        if let Some(cookie) = cookie {
            encoder.cookie("AlwaysReturned", cookie);
        }
        encoder.content(id, offset, data, eof, Padding::Padded);
        encoder.finish(pad)
    }

    proptest! {
        #[test]
        fn what_we_write_is_read_quickly_and_as_serde_reads_it(
            cookie in proptest::option::of("[A-Za-z0-9_-]{0,40}"),
            id in "[a-z0-9/]{0,80}",
            offset in 0..=MAX_NUMBER,
            data in proptest::collection::vec(any::<u8>(), 0..300),
            eof in proptest::option::of(0..=MAX_NUMBER),
            pad in 0usize..700,
        ) {
            prop_assert!(agree(&ours(cookie.as_deref(), &id, offset, &data, eof, pad)));
        }

        #[test]
        fn what_somebody_changed_is_read_as_serde_reads_it_or_left_to_it(
            mut bytes in (any::<bool>(), 0..=MAX_NUMBER, proptest::collection::vec(any::<u8>(), 0..150), any::<bool>())
                .prop_map(|(cookie, offset, data, eof)| {
                    ours(cookie.then_some("abcdefghijklmnopqrstuv"), "blake3/00ff", offset, &data, eof.then_some(7), 0)
                }),
            edits in edits(),
        ) {
            edit(&mut bytes, edits);
            agree(&bytes);
        }
    }

    #[test]
    fn letters_beyond_ascii_are_read_as_serde_reads_them() {
        assert!(agree(
            "[{\"Content\":{\"id\":\"grüße/\u{7f}.txt\",\"offset\":0,\"base64\":\"\"}}]".as_bytes()
        ));
        assert!(!agree(b"[{\"Content\":{\"id\":\"\xff\",\"offset\":0,\"base64\":\"\"}}]"));
    }

    #[test]
    fn what_is_not_our_spelling_is_left_to_serde() {
        let long_cookie = "c".repeat(MAX_RETURNED_LEN);
        let others = [
            String::from("[]"),
            String::from(r#"[{"Content":{"id":"x","offset":0,"base64":"","eof":1}}]]"#),
            String::from(r#"[{"Content":{"id":"x","offset":00,"base64":""}}]"#),
            String::from(r#"[{"Content":{"id":"x","offset":1.0,"base64":""}}]"#),
            String::from(r#"[{"Content":{"id":"x","offset":9007199254740993,"base64":""}}]"#),
            String::from(r#"[{"Content":{"id":"x","offset":99999999999999999999999,"base64":""}}]"#),
            String::from(r#"[{"Content":{"id":"\u0078","offset":0,"base64":""}}]"#),
            String::from(r#"[ {"Content":{"id":"x","offset":0,"base64":""}}]"#),
            String::from(r#"[{"Content":{"offset":0,"id":"x","base64":""}}]"#),
            format!(r#"[{{"Content":{{"id":"{}","offset":0,"base64":""}}}}]"#, "x".repeat(MAX_ID_LEN + 1)),
            format!(
                r#"[{{"AlwaysReturned":{{"cookie":"{long_cookie}"}}}},{{"Content":{{"id":"x","offset":0,"base64":""}}}}]"#
            ),
        ];
        for other in others {
            assert!(decode(other.as_bytes(), &mut Vec::new()).is_none(), "{other}");
        }
    }
}
