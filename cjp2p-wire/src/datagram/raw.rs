//! Raw content: a datagram that is a JSON array followed by bytes.
//!
//! ```text
//! [{"BytesFollow":{"as":"k3J9x0aQ7_Z","offset":  4096,"length":1396}}]…
//! ```
//!
//! Everything before the offset lies at fixed places, so no JSON parser is needed to read what our own nodes write. Datagrams that leave
//! together are made equally long by spaces before the offset.

use super::numbers::{MAX_DIGITS, digits_of, read_number, write_number};
use crate::message::{HANDLE_LEN, Handle, MAX_HANDLE_LEN, RawBlock};

const OPEN: &[u8] = br#"[{"BytesFollow":{"as":""#;
const OFFSET: &[u8] = br#"","offset":"#;
const LENGTH: &[u8] = br#","length":"#;
const EOF: &[u8] = br#","eof":"#;
const CLOSE: &[u8] = b"}}]";
/// The digits of the length of the longest datagram.
const LENGTH_DIGITS: usize = 5;

/// What stands around the bytes, and how it is written: the handle and how many digits offsets take.
#[derive(Clone, Copy, Debug)]
pub struct RawHeader {
    /// The name under which they were asked for.
    pub handle: Handle,
    /// Each offset takes so many places at least, with spaces before it.
    pub places: usize,
}

/// The number of bytes of content whose datagram fills `room` bytes at most, under a handle of ours, with `eof` or without. No offset or
/// eof exceeds `largest`.
pub fn raw_that_fits(room: usize, largest: u64, with_eof: bool) -> usize {
    let digits = digits_of(largest);
    let length = LENGTH.len() + digits_of(room as u64);
    let frame = OPEN.len() + HANDLE_LEN + OFFSET.len() + digits + length + CLOSE.len();
    room.saturating_sub(frame + if with_eof { EOF.len() + digits } else { 0 })
}

impl RawHeader {
    /// How long a header is at most, in bytes.
    pub const MAX_LEN: usize = OPEN.len()
        + MAX_HANDLE_LEN
        + OFFSET.len()
        + MAX_DIGITS
        + LENGTH.len()
        + LENGTH_DIGITS
        + EOF.len()
        + MAX_DIGITS
        + CLOSE.len();

    /// Appends a datagram with these bytes of content.
    pub fn write(&self, offset: u64, data: &[u8], eof: Option<u64>, out: &mut Vec<u8>) {
        out.extend_from_slice(OPEN);
        out.extend_from_slice(self.handle.as_bytes());
        out.extend_from_slice(OFFSET);
        let spaces = self.places.saturating_sub(digits_of(offset)).min(MAX_DIGITS);
        out.extend_from_slice(&[b' '; MAX_DIGITS][..spaces]);
        write_number(offset, out);
        out.extend_from_slice(LENGTH);
        write_number(data.len() as u64, out);
        if let Some(eof) = eof {
            out.extend_from_slice(EOF);
            write_number(eof, out);
        }
        out.extend_from_slice(CLOSE);
        out.extend_from_slice(data);
    }
}

/// Reads a datagram of raw content as we write it. `None` of any other, which is not to say that it is none.
pub fn read(bytes: &[u8]) -> Option<RawBlock<'_>> {
    let rest = bytes.strip_prefix(OPEN)?;
    let end = rest.iter().take(MAX_HANDLE_LEN + 1).position(|&byte| byte == b'"')?;
    let handle = Handle::parse(&rest[..end])?;
    let rest = rest[end..].strip_prefix(OFFSET)?;
    let spaces = rest.iter().take(MAX_DIGITS).take_while(|&&byte| byte == b' ').count();
    let (offset, rest) = read_number(&rest[spaces..])?;
    let (length, rest) = read_number(rest.strip_prefix(LENGTH)?)?;
    let (eof, rest) = match rest.strip_prefix(EOF) {
        Some(rest) => {
            let (eof, rest) = read_number(rest)?;
            (Some(eof), rest)
        }
        None => (None, rest),
    };
    let data = rest.strip_prefix(CLOSE)?;
    (data.len() as u64 == length).then_some(RawBlock { handle, offset, length, data, eof })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::datagram;
    use crate::datagram::testing::{edit, edits};
    use crate::message::{MAX_NUMBER, Message};

    /// What a JSON parser makes of it.
    fn slowly(bytes: &[u8]) -> Option<RawBlock<'_>> {
        let messages = datagram::decode(bytes).ok()?;
        messages.into_iter().find_map(|message| match message {
            Message::BytesFollow(block) => Some(block),
            _ => None,
        })
    }

    fn written(handle: &str, places: usize, offset: u64, data: &[u8], eof: Option<u64>) -> Vec<u8> {
        let header = RawHeader { handle: Handle::parse(handle.as_bytes()).unwrap(), places };
        let mut bytes = Vec::new();
        header.write(offset, data, eof, &mut bytes);
        assert!(bytes.len() <= RawHeader::MAX_LEN + data.len());
        bytes
    }

    proptest! {
        #[test]
        fn what_we_write_is_read_quickly_and_as_a_json_parser_reads_it(
            handle in "[A-Za-z0-9_-]{1,16}",
            places in 0usize..17,
            offset in 0..=MAX_NUMBER,
            data in proptest::collection::vec(any::<u8>(), 0..300),
            eof in proptest::option::of(0..=MAX_NUMBER),
        ) {
            let bytes = written(&handle, places, offset, &data, eof);
            let quick = read(&bytes);
            prop_assert_eq!(quick, slowly(&bytes));
            let block = quick.unwrap();
            prop_assert_eq!(block.handle.as_str(), handle);
            prop_assert_eq!((block.offset, block.data, block.eof), (offset, &data[..], eof));
        }

        #[test]
        fn what_somebody_changed_is_read_as_a_json_parser_reads_it_or_left_to_it(
            offset in 0..=MAX_NUMBER,
            data in proptest::collection::vec(proptest::sample::select(&b" []{}\"0,:a\xff"[..]), 0..20),
            edits in edits(),
        ) {
            let mut bytes = written("k3J9x0aQ7_Z", 9, offset, &data, None);
            edit(&mut bytes, edits);
            if let Some(quick) = read(&bytes) {
                prop_assert_eq!(Some(quick), slowly(&bytes));
            }
        }
    }

    #[test]
    fn bytes_must_be_as_many_as_it_says_and_follow_the_array_at_once() {
        let bytes = written("k3J9x0aQ7_Z", 12, 4096, b"hello", Some(5000));
        assert!(read(&bytes).is_some());
        assert_eq!((read(&bytes[..bytes.len() - 1]), slowly(&bytes[..bytes.len() - 1])), (None, None));
        let longer = [&bytes[..], b"\0"].concat();
        assert_eq!((read(&longer), slowly(&longer)), (None, None));
        let spaced = [&bytes[..bytes.len() - 5], b" hello"].concat();
        assert_eq!((read(&spaced), slowly(&spaced)), (None, None));
        let two = br#"[{"BytesFollow":{"as":"a","offset":0,"length":1}},{"BytesFollow":{"as":"a","offset":1,"length":1}}]x"#;
        assert!(datagram::decode(two).is_err());
    }

    #[test]
    fn another_spelling_and_other_messages_beside_it_are_read_too() {
        let bytes = b"[ {\"BytesFollow\" : {\"length\":2, \"x\":[1], \"offset\":7,\"as\":\"q\"}}, {\"PleaseSendPeers\":{}} ]\xff]";
        let messages = datagram::decode(bytes).unwrap();
        let [Message::BytesFollow(block), Message::PleaseSendPeers] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!((block.handle.as_str(), block.offset, block.data), ("q", 7, &b"\xff]"[..]));
        // Spaces may be content.
        let bytes = b"[{\"BytesFollow\":{\"length\":2,\"offset\":7,\"as\":\"q\"}}]  ";
        assert_eq!(slowly(bytes).unwrap().data, b"  ");
        assert!(datagram::decode(b"[{\"PleaseSendPeers\":{}}]x").is_err());
    }

    #[test]
    fn of_a_packet_of_1500_bytes_1380_are_content() {
        for (room, largest) in [(1472, MAX_NUMBER), (1452, 9_999_999_999)] {
            let fits = raw_that_fits(room, largest, false);
            assert!(fits >= 1380, "{fits}");
            let bytes = written("k3J9x0aQ7_Z", digits_of(largest), largest, &vec![7; fits], None);
            assert!(bytes.len() <= room && bytes.len() + 2 > room, "{}", bytes.len());
            let fits = raw_that_fits(room, largest, true);
            let bytes = written("k3J9x0aQ7_Z", 0, largest, &vec![7; fits], Some(largest));
            assert!(bytes.len() <= room, "{}", bytes.len());
        }
    }
}
