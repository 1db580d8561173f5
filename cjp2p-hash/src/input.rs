//! What is hashed: a file or a stream.

use std::fs::{File, Metadata};
use std::io::{self, Read};

use cjp2p_wire::tree::GROUP_LEN;

/// Bytes read at once: what the tree counts as one group.
pub(crate) const BLOCK_LEN: usize = GROUP_LEN as usize;

/// Bytes that a thread reads before it hashes them. With what they were copied from they fit in the cache of every core, also where
/// two threads share it.
pub(crate) const PIECE_LEN: usize = 128 << 10;

/// Where the bytes come from.
pub(crate) enum Input {
    /// Read from where it stands to its end.
    Stream(Box<dyn Read>),
    /// A regular file, which can be read at several places at once.
    File(RegularFile),
}

/// An open regular file, and what it was when it was opened.
pub(crate) struct RegularFile {
    file: File,
    /// Where the content to hash begins.
    start: u64,
    found: Metadata,
}

impl RegularFile {
    /// `found` is the file's metadata; it is read from byte `start` on, where it must stand.
    pub(crate) fn new(file: File, start: u64, found: Metadata) -> RegularFile {
        RegularFile { file, start, found }
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Where the content to hash begins.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// How many bytes there are to hash, unless the file changes. Many files of the kernel say 0, whatever they hold.
    pub(crate) fn expected(&self) -> u64 {
        self.found.len().saturating_sub(self.start)
    }

    /// Fails where the file changed since it was opened: what was read then mixes two states, and is no content of anything.
    pub(crate) fn check_unchanged(&self) -> io::Result<()> {
        let now = self.file.metadata()?;
        if now.len() != self.found.len() || now.modified().ok() != self.found.modified().ok() {
            return Err(changed());
        }
        Ok(())
    }
}

/// The error for a file that changed while it was read.
pub(crate) fn changed() -> io::Error {
    io::Error::other("it changed while it was read")
}

/// Fills `block`, or less of it where the input ends before. Returns how many bytes it read.
pub(crate) fn read_full(reader: &mut dyn Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match reader.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
