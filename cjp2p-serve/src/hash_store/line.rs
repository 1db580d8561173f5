//! The lines of the store: how each is written, and read again where it is wanted.

use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;

use cjp2p_io::identity::{Identity, Stamp};
use cjp2p_wire::content_id::Hash;
use data_encoding::HEXLOWER;

use crate::file::Ids;

/// Read at once where single lines are read again.
pub(super) const WINDOW_LEN: usize = 64 << 10;

/// What is remembered of one state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) identity: Identity,
    pub(super) ids: Ids,
    pub(super) day: u32,
}

/// Reads lines that are wanted in about the order in which they are in the file.
#[derive(Debug)]
pub(super) struct LineReader {
    file: File,
    /// What was read last, and where it is from.
    window: Vec<u8>,
    start: u64,
}

impl LineReader {
    pub(super) fn new(file: File) -> LineReader {
        LineReader { file, window: Vec::new(), start: 0 }
    }

    /// The line at this offset. `None` where it can no longer be read.
    pub(super) fn line_at(&mut self, offset: u64) -> Option<Line> {
        let line = match self.in_window(offset) {
            Some(line) => line,
            None => {
                self.window.resize(WINDOW_LEN, 0);
                let length = self.file.read_at(&mut self.window, offset).unwrap_or(0);
                self.window.truncate(length);
                self.start = offset;
                // The last line may have no end.
                self.in_window(offset).unwrap_or(&self.window)
            }
        };
        Line::parse(std::str::from_utf8(line).ok()?)
    }

    fn in_window(&self, offset: u64) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.window.get(at..)?.split_inclusive(|byte| *byte == b'\n').next()?.strip_suffix(b"\n")
    }
}

impl Line {
    pub(super) fn append_to(&self, text: &mut String) {
        let Identity { device, inode, size, modified, changed } = self.identity;
        let mut line = format!(
            " {device} {inode} {size} {}.{:09} {}.{:09} {} ",
            modified.seconds, modified.nanos, changed.seconds, changed.nanos, self.day
        );
        HEXLOWER.encode_append(&self.ids.blake3, &mut line);
        line.push(' ');
        HEXLOWER.encode_append(&self.ids.sha256, &mut line);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:016x}{line}", checksum(&line));
    }

    pub(super) fn parse(text: &str) -> Option<Line> {
        let (check, rest) = text.split_at_checked(16)?;
        if u64::from_str_radix(check, 16).ok()? != checksum(rest) {
            return None;
        }
        let mut fields = rest.strip_prefix(' ')?.split(' ');
        let mut number = || fields.next()?.parse::<u64>().ok();
        let (device, inode, size) = (number()?, number()?, number()?);
        let (modified, changed) = (stamp(fields.next()?)?, stamp(fields.next()?)?);
        let day = fields.next()?.parse().ok()?;
        let (blake3, sha256) = (hash(fields.next()?)?, hash(fields.next()?)?);
        let identity = Identity { device, inode, size, modified, changed };
        let line = Line { identity, ids: Ids { blake3, sha256 }, day };
        fields.next().is_none().then_some(line)
    }
}

fn checksum(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    let (first, _) = hash.as_bytes().split_first_chunk().expect("32 bytes are more than 8");
    u64::from_be_bytes(*first)
}

fn stamp(text: &str) -> Option<Stamp> {
    let (seconds, nanos) = text.split_once('.')?;
    Some(Stamp { seconds: seconds.parse().ok()?, nanos: nanos.parse().ok()? })
}

fn hash(text: &str) -> Option<Hash> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
