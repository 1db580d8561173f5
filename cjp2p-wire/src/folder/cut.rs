//! One list as it grows, cut into parts where it becomes long.
//!
//! Where a part ends depends on the entries around it, never on how many are before it. So a change of one entry changes one part,
//! or two, and the list of parts.

use super::entry::{Entry, Kind, ListRef};
use super::path::FolderPath;

/// The longest list in bytes; what is longer is cut into parts.
pub const MAX_LIST: usize = 64 << 10;
/// The longest list of a subfolder in bytes that is in the list of the folder above.
pub const MAX_INLINE: usize = 8 << 10;
/// A part ends no sooner, in bytes, but where the next entry has no room in it, and at the end.
pub const MIN_PART: usize = 8 << 10;
/// The longest part in bytes, unless it is a single entry.
pub const MAX_PART: usize = 32 << 10;

/// A part ends after an entry for whose path these bits, of the first byte of its BLAKE3 hash, are zero: one in 64.
const CUT_BITS: u8 = 0x3f;

/// A list while it is written.
#[derive(Default)]
pub(super) struct ListText {
    /// What no part was made of yet: all of the list until it is cut, and then the part that is being written.
    text: Vec<u8>,
    /// Where the part that is being written begins in it.
    start: usize,
    /// The path of its first entry.
    first: Option<FolderPath>,
    /// Where the parts before it end, and with which path each begins. Empty once the list is cut.
    ends: Vec<(usize, FolderPath)>,
    /// The list of parts, once there is one.
    parts: Option<Box<ListText>>,
}

impl ListText {
    /// How long the list is, as long as it is not cut.
    pub(super) fn uncut_len(&self) -> Option<usize> {
        self.parts.is_none().then_some(self.text.len())
    }

    /// Appends an entry, `line` in writing. What becomes a list meanwhile goes to `sink`.
    ///
    /// # Errors
    ///
    /// Those of `sink`.
    pub(super) fn add<E>(
        &mut self,
        path: &FolderPath,
        line: &[u8],
        sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>,
    ) -> Result<(), E> {
        if self.text.len() > self.start && self.text.len() - self.start + line.len() > MAX_PART {
            self.end_part(sink)?;
        }
        self.first.get_or_insert_with(|| path.clone());
        self.text.extend_from_slice(line);
        if self.text.len() - self.start >= MIN_PART && ends_part(path) {
            self.end_part(sink)?;
        }
        if self.parts.is_none() && self.text.len() > MAX_LIST {
            self.cut(sink)?;
        }
        Ok(())
    }

    /// Ends the part that is being written.
    fn end_part<E>(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>) -> Result<(), E> {
        let Some(first) = self.first.take() else { return Ok(()) };
        match &mut self.parts {
            None => {
                self.start = self.text.len();
                self.ends.push((self.start, first));
                Ok(())
            }
            Some(parts) => {
                let list = sink(&self.text)?;
                self.text.clear();
                parts.add_part(first, list, sink)
            }
        }
    }

    /// Makes lists of the parts so far.
    fn cut<E>(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>) -> Result<(), E> {
        let mut parts = Box::<ListText>::default();
        let mut start = 0;
        for (end, first) in std::mem::take(&mut self.ends) {
            let list = sink(&self.text[start..end])?;
            parts.add_part(first, list, sink)?;
            start = end;
        }
        self.text.drain(..start);
        self.start = 0;
        self.parts = Some(parts);
        Ok(())
    }

    fn add_part<E>(
        &mut self,
        first: FolderPath,
        list: ListRef,
        sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>,
    ) -> Result<(), E> {
        let entry = Entry { path: first, kind: Kind::Part(list), mtime: None };
        let mut line = Vec::new();
        entry.write(&mut line);
        self.add(&entry.path, &line, sink)
    }

    /// Ends the list.
    ///
    /// # Errors
    ///
    /// Those of `sink`.
    pub(super) fn finish<E>(
        mut self,
        sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>,
    ) -> Result<ListRef, E> {
        if self.parts.is_none() {
            return sink(&self.text);
        }
        self.end_part(sink)?;
        match self.parts {
            Some(parts) => parts.finish(sink),
            None => sink(&self.text),
        }
    }
}

/// Whether a part ends after the entry at `path`, if it is long enough.
fn ends_part(path: &FolderPath) -> bool {
    blake3::hash(path.as_bytes()).as_bytes()[0] & CUT_BITS == 0
}
