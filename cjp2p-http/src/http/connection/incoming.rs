//! The body of a request: how long it is, and what came of it.

use super::super::limits::MAX_QUEUED;
use super::super::request::Request;

/// Bytes of a line that says how long a chunk is, and of a trailer.
const MAX_LINE: usize = 4096;

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Incoming {
    /// There is no body, or it is over.
    None,
    /// How much comes cannot be known; so many bytes came.
    Unknown,
    /// One of known length.
    Length { left: u64, body: Vec<u8>, discarded: u64 },
    /// One in chunks.
    Chunks { at: Chunk, body: Vec<u8>, discarded: u64 },
    /// It is malformed.
    Broken,
}

/// Where in a body of chunks the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// At the beginning of a line that says how long the next is.
    Size,
    /// So many bytes before the end of one.
    Data(u64),
    /// At the line end after one.
    End,
    /// At the beginning of a line after the last one.
    Trailer,
    /// Behind it all.
    Over,
}

impl Incoming {
    pub(super) fn of(request: &Request) -> Incoming {
        match (request.is_chunked, request.content_length) {
            (true, _) => Incoming::Chunks { at: Chunk::Size, body: Vec::new(), discarded: 0 },
            (false, Some(left)) if left > 0 => Incoming::Length { left, body: Vec::new(), discarded: 0 },
            _ => Incoming::None,
        }
    }

    /// Whether all of it came and was taken.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Incoming::None => true,
            Incoming::Length { left, body, .. } => *left == 0 && body.is_empty(),
            Incoming::Chunks { at, body, .. } => *at == Chunk::Over && body.is_empty(),
            Incoming::Unknown | Incoming::Broken => false,
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        matches!(self, Incoming::Broken)
    }

    /// Whether more may come before some is taken.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Incoming::Length { body, .. } | Incoming::Chunks { body, .. } => body.len() < MAX_QUEUED,
            Incoming::None | Incoming::Unknown | Incoming::Broken => true,
        }
    }

    /// Counts bytes that nobody wants. Returns how many there were.
    pub(super) fn discard(&mut self, count: u64) -> u64 {
        match self {
            Incoming::Length { discarded, .. } | Incoming::Chunks { discarded, .. } => {
                *discarded = discarded.saturating_add(count);
                *discarded
            }
            Incoming::None | Incoming::Unknown | Incoming::Broken => {
                *self = Incoming::Chunks { at: Chunk::Size, body: Vec::new(), discarded: count };
                count
            }
        }
    }

    /// Takes what came.
    pub(super) fn take(&mut self) -> Vec<u8> {
        match self {
            Incoming::Length { body, .. } | Incoming::Chunks { body, .. } => std::mem::take(body),
            Incoming::None | Incoming::Unknown | Incoming::Broken => Vec::new(),
        }
    }

    /// Reads as much of `input` as belongs to it and there is room for. Returns how much.
    pub(super) fn take_in(&mut self, input: &[u8]) -> usize {
        match self {
            Incoming::Length { left, body, .. } => {
                let room = MAX_QUEUED.saturating_sub(body.len());
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len()).min(room);
                body.extend_from_slice(&input[..count]);
                *left -= count as u64;
                count
            }
            Incoming::Chunks { at, body, .. } => match read_chunks(at, body, input) {
                Some(count) => count,
                None => {
                    *self = Incoming::Broken;
                    0
                }
            },
            Incoming::None | Incoming::Unknown | Incoming::Broken => 0,
        }
    }
}

/// Reads as far as possible; `None` where that is no chunk.
fn read_chunks(at: &mut Chunk, body: &mut Vec<u8>, input: &[u8]) -> Option<usize> {
    let mut taken = 0;
    loop {
        let rest = &input[taken..];
        match *at {
            Chunk::Over => return Some(taken),
            Chunk::Data(left) => {
                let room = MAX_QUEUED.saturating_sub(body.len());
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len()).min(room);
                body.extend_from_slice(&rest[..count]);
                taken += count;
                let left = left - count as u64;
                *at = if left == 0 { Chunk::End } else { Chunk::Data(left) };
                if left > 0 {
                    return Some(taken);
                }
            }
            Chunk::Size | Chunk::End | Chunk::Trailer => {
                let Some(end) = rest.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
                    return (rest.len() < MAX_LINE).then_some(taken);
                };
                let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
                *at = match (*at, line) {
                    (Chunk::End, b"") => Chunk::Size,
                    (Chunk::End, _) => return None,
                    (Chunk::Trailer, b"") => Chunk::Over,
                    (Chunk::Trailer, _) => Chunk::Trailer,
                    (_, line) => match size(line)? {
                        0 => Chunk::Trailer,
                        size => Chunk::Data(size),
                    },
                };
                taken += end + 1;
            }
        }
    }
}

/// How long a chunk is: digits, and what may follow and does not matter.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii_end();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
