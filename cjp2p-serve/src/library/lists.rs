//! Reading the lists of published folders, and their trees.

use std::os::unix::fs::FileExt;

use cjp2p_io::in_memory;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::{Asker, Read};

use super::SharedLibrary;
use crate::file::FileNo;
use crate::publish::lists::Found;
use crate::readers::{Job, WINDOW};

/// The file of all lists, among the files that are brought into memory. No shared file has this number.
const LISTS: FileNo = FileNo { slot: u32::MAX, generation: u32::MAX };

impl SharedLibrary {
    pub(super) fn read_list(
        &mut self,
        asker: Asker,
        id: &ContentId,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Read {
        let Some(Found { file, range }) = self.lists.find(id) else { return Read::Absent };
        let eof = Some(range.end - range.start);
        let at = range.start.saturating_add(offset);
        let Some(left) = range.end.checked_sub(at).filter(|left| *left > 0) else {
            return Read::Found { eof };
        };
        let start = out.len();
        out.resize(start + (left.min(length as u64) as usize), 0);
        let end = at + (out.len() - start) as u64;
        if in_memory::read_exact_at(&file, &mut out[start..], at).is_ok() {
            return Read::Found { eof };
        }
        // It is not in memory, or that cannot be known.
        let windows = at / WINDOW..=end.saturating_sub(1) / WINDOW;
        for window in windows.clone() {
            if self.warmed.peek(&(LISTS, window)).is_none() {
                out.truncate(start);
                let _ = self.ask(asker, Job::Warm(LISTS, file, window));
                return Read::Later;
            }
        }
        // Once more, and then it is asked for again.
        windows.for_each(|window| _ = self.warmed.remove(&(LISTS, window)));
        if file.read_exact_at(&mut out[start..], at).is_ok() {
            return Read::Found { eof };
        }
        out.truncate(start);
        Read::Absent
    }
}
