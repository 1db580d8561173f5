//! What waits to be sent on a connection: heads, bytes, and places in content, in order.

use std::collections::VecDeque;
use std::ops::Range;

use super::response::Piece;

/// What is to be sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSend<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes of the content that the answer is about, as far as they are here.
    Content(Range<u64>),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that are sent. Of content the range itself gets shorter.
    sent: usize,
    // Invariant: the bytes of pieces in memory, less those that are sent.
    in_memory: usize,
}

impl Outgoing {
    pub(super) fn push(&mut self, piece: Piece) {
        if piece.is_empty() {
            return;
        }
        if let Piece::Bytes(bytes) = &piece {
            self.in_memory += bytes.len();
            // Many small pieces would cost more than what they hold.
            if let Some(Piece::Bytes(last)) = self.pieces.back_mut()
                && last.len() + bytes.len() <= 16 << 10
            {
                return last.extend_from_slice(bytes);
            }
        }
        self.pieces.push_back(piece);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Bytes that are kept here.
    pub(super) fn in_memory(&self) -> usize {
        self.in_memory
    }

    pub(super) fn next(&self) -> Option<ToSend<'_>> {
        match self.pieces.front()? {
            Piece::Bytes(bytes) => Some(ToSend::Bytes(&bytes[self.sent..])),
            Piece::Content(range) => Some(ToSend::Content(range.clone())),
        }
    }

    /// All content that is still to be sent, in order.
    pub(super) fn content(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Bytes(_) => None,
            Piece::Content(range) => Some(range.clone()),
        })
    }

    /// So many bytes of what came [next](Outgoing::next) were sent.
    pub(super) fn on_sent(&mut self, count: u64) {
        let is_done = match self.pieces.front_mut() {
            Some(Piece::Bytes(bytes)) => {
                let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len() - self.sent);
                self.sent += count;
                self.in_memory -= count;
                self.sent == bytes.len()
            }
            Some(Piece::Content(range)) => {
                range.start = range.start.saturating_add(count).min(range.end);
                range.is_empty()
            }
            None => false,
        };
        if is_done {
            self.pieces.pop_front();
            self.sent = 0;
        }
    }

    /// Nothing more is sent.
    pub(super) fn clear(&mut self) {
        *self = Outgoing::default();
    }
}
