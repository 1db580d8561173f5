//! `Frames`: where messages begin and end in what arrives.

use super::message::{BLOCK_HEADER, Message, WireError};
use crate::pieces::BLOCK;

/// Messages of extensions, and bitfields while it is not known how long those are, have so many bytes at the most.
const MOST: usize = 64 << 10;
/// Bytes of the length before a message.
const LENGTH: usize = 4;
/// Kind, piece and begin of a block.
const KIND_AND_PLACE: usize = BLOCK_HEADER - LENGTH;
/// The kind of a message with a block.
const PIECE: u8 = 7;

/// Bytes of the longest message, length not included, in a torrent of so many pieces.
#[must_use]
pub fn most_bytes(pieces: u32) -> usize {
    (pieces.div_ceil(8) as usize + 1).max(MOST)
}

/// Where a whole message is.
enum Place {
    /// At the beginning of the input, with so many bytes behind its length.
    Input(usize),
    /// In what was left over.
    Partial,
}

/// Cuts what arrives into messages. A message that is here in one piece is not copied.
#[derive(Debug)]
pub struct Frames {
    /// The beginning of a message, length included, whose end has not arrived.
    // Invariant: shorter than that message, but for one that was just handed out; so at most `most` bytes and its length.
    partial: Vec<u8>,
    /// The message in `partial` was handed out.
    is_handed_out: bool,
    /// So many bytes of a block that nobody wants are still to come.
    skip: usize,
    most: usize,
}

impl Frames {
    /// Nothing arrived yet. Messages have at most `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Frames {
        Frames { partial: Vec::new(), is_handed_out: false, skip: 0, most }
    }

    /// From now on messages have at most so many bytes.
    pub fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// The next message, from what is left over and from `input`, of which it takes what it uses. `None` where more must arrive.
    /// Blocks are passed over while none is `expected`, so that nobody fills memory with what was not asked for.
    ///
    /// # Errors
    ///
    /// Where a message is too long, or has another length than its kind.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        expected: bool,
    ) -> Result<Option<Message<'a>>, WireError> {
        if std::mem::take(&mut self.is_handed_out) {
            self.partial.clear();
            // A block now and then is no reason to keep memory for each of many connections.
            if input.is_empty() {
                self.partial = Vec::new();
            }
        }
        let payload = match self.find(input, expected)? {
            None => return Ok(None),
            Some(Place::Input(length)) => {
                let (message, rest) = input.split_at(LENGTH + length);
                *input = rest;
                &message[LENGTH..]
            }
            Some(Place::Partial) => {
                self.is_handed_out = true;
                &self.partial[LENGTH..]
            }
        };
        Message::read(payload).map(Some)
    }

    /// Where the next message is, once all of it is here.
    fn find(&mut self, input: &mut &[u8], expected: bool) -> Result<Option<Place>, WireError> {
        loop {
            let skipped = self.skip.min(input.len());
            *input = &input[skipped..];
            self.skip -= skipped;
            if self.skip > 0 || input.is_empty() {
                return Ok(None);
            }
            let is_unwanted =
                |kind: Option<&u8>, length| !expected && kind == Some(&PIECE) && length >= KIND_AND_PLACE;
            // Where nothing is left over, look at the input itself.
            if self.partial.is_empty()
                && let Some((length, rest)) = input.split_first_chunk()
            {
                let length = self.checked(u32::from_be_bytes(*length))?;
                if is_unwanted(rest.first(), length) {
                    self.skip = LENGTH + length;
                    continue;
                }
                if rest.len() >= length {
                    return Ok(Some(Place::Input(length)));
                }
            }
            if !self.fill(LENGTH, input) {
                return Ok(None);
            }
            let length = self.partial.first_chunk().map_or(0, |length| u32::from_be_bytes(*length));
            let length = self.checked(length)?;
            if length == 0 {
                return Ok(Some(Place::Partial));
            }
            if !self.fill(LENGTH + 1, input) {
                return Ok(None);
            }
            if is_unwanted(self.partial.get(LENGTH), length) {
                // What of it is here already, because it was expected then, goes too.
                self.skip = LENGTH + length - self.partial.len();
                self.partial = Vec::new();
                continue;
            }
            return Ok(self.fill(LENGTH + length, input).then_some(Place::Partial));
        }
    }

    fn checked(&self, length: u32) -> Result<usize, WireError> {
        let most = self.most.max(BLOCK as usize + KIND_AND_PLACE);
        match usize::try_from(length) {
            Ok(fits) if fits <= most => Ok(fits),
            _ => Err(WireError::TooLong(length)),
        }
    }

    /// Moves bytes of the input until so many are left over. Returns whether they are.
    fn fill(&mut self, until: usize, input: &mut &[u8]) -> bool {
        let count = until.saturating_sub(self.partial.len()).min(input.len());
        let (now, rest) = input.split_at(count);
        self.partial.extend_from_slice(now);
        *input = rest;
        self.partial.len() >= until
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pieces::Block;

    fn written(messages: &[Message<'_>]) -> Vec<u8> {
        let mut out = Vec::new();
        messages.iter().for_each(|message| message.write(&mut out));
        out
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_are_cut(
            kinds in prop::collection::vec((0u8..6, 0usize..40), 0..12),
            cuts in prop::collection::vec(1usize..30, 1..60),
            expected in any::<bool>(),
        ) {
            let data = [7; 64];
            let messages: Vec<Message<'_>> = kinds.iter().map(|&(kind, size)| match kind {
                0 => Message::KeepAlive,
                1 => Message::Choke,
                2 => Message::Bitfield(&data[..size]),
                3 => Message::Piece(1, 2, &data[..size]),
                4 => Message::Request(Block { piece: 1, begin: 2, len: 3 }),
                _ => Message::Extended(0, &data[..size]),
            }).collect();
            let bytes = written(&messages);
            let mut frames = Frames::new(1000);
            let (mut got, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (mut now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = later;
                while let Some(message) = frames.next(&mut now, expected).unwrap() {
                    got.push(format!("{message:?}"));
                }
                prop_assert!(now.is_empty());
            }
            let wanted: Vec<String> = messages
                .iter()
                .filter(|message| expected || !matches!(message, Message::Piece(..)))
                .map(|message| format!("{message:?}"))
                .collect();
            prop_assert_eq!(got, wanted);
        }
    }

    #[test]
    fn a_message_longer_than_any_is_refused_before_its_bytes_come() {
        let mut frames = Frames::new(100);
        assert_eq!(frames.next(&mut &[0xff; 4][..], true), Err(WireError::TooLong(u32::MAX)));
        let mut frames = Frames::new(100);
        assert_eq!(frames.next(&mut &[0][..], true), Ok(None));
        assert!(frames.next(&mut &[1, 0, 0][..], true).is_err());
    }

    #[test]
    fn a_block_that_nobody_asked_for_takes_no_memory() {
        let mut frames = Frames::new(100);
        let mut block = written(&[Message::Piece(0, 0, &[1; BLOCK as usize])]);
        block.extend(written(&[Message::Have(3)]));
        let mut seen = Vec::new();
        for part in block.chunks(1000) {
            let mut part = part;
            while let Some(message) = frames.next(&mut part, false).unwrap() {
                seen.push(format!("{message:?}"));
            }
            assert!(frames.partial.len() < 20);
        }
        assert_eq!(seen, ["Have(3)"]);
    }
}
