//! Tells by its first bytes what a stream is.

use super::ts::{PACKET_LEN, SYNC};

/// So many packets in a row begin as MPEG-TS does.
const PACKETS: usize = 3;
/// With so many bytes it is decided.
const ENOUGH: usize = (PACKETS - 1) * PACKET_LEN + 1;

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Ts,
    Text,
    Other,
}

/// Collects the first bytes, [`ENOUGH`] at the most and what came with the last of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Detector {
    head: Vec<u8>,
}

impl Detector {
    /// Takes bytes; gives what the stream is once that shows, and all the bytes so far.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<(Found, Vec<u8>)> {
        self.head.extend_from_slice(bytes);
        let head = &self.head;
        let could_be_ts = head.iter().step_by(PACKET_LEN).take(PACKETS).all(|byte| *byte == SYNC);
        if head.is_empty() || could_be_ts && head.len() < ENOUGH {
            return None;
        }
        let found = match could_be_ts {
            true => Found::Ts,
            false if is_text(head) => Found::Text,
            false => Found::Other,
        };
        Some((found, std::mem::take(&mut self.head)))
    }
}

/// Whether this is text, in ASCII or UTF-8, though its last character may be cut off.
fn is_text(bytes: &[u8]) -> bool {
    let is_utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    is_utf8 && bytes.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b | 0x20..=0x7e | 0x80..))
}
