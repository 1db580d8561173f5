//! A file: fetched into a partial beside it, which can be gone on with after any interruption.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::Resume;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::{PROOF_LEN, Parts, Read};
use cjp2p_wire::tree::{
    GROUP_LEN, GroupIndex, LEAF_LEN, RUN_LEVELS, Run, TreeVerifier, Verified, VerifiedBlock,
};

use super::behind::WriteBehind;
use super::destination::{Destination, Group, Publication, unwritable};
use super::known_tree::{Content, KnownTree, NoTree};
use super::publish::{Excerpt, LastStep, SOMETHING_ELSE};
use super::reading::read_exact_at;
use super::recheck::Checked;
use super::record::Record;
use super::sources::Sources;
use crate::place::Paths;
use crate::ranges::Ranges;

/// See the [module](self).
pub(crate) struct Partial {
    id: ContentId,
    ranges: Ranges,
    paths: Paths,
    force: bool,
    // Locked as long as it is open: no other process fetches into it.
    file: Arc<File>,
    behind: WriteBehind,
    /// Where content is verified by its tree; of what was staged, once all is right.
    tree: Option<KnownTree>,
    /// Of the whole content: proven, or where content is staged, the one tried.
    length: Option<u64>,
    done: RangeSet,
    /// What an interrupted fetch wrote and is still being verified.
    unchecked: RangeSet,
    /// What of `done` and `unchecked` an interrupted fetch had.
    resumed: RangeSet,
    /// Some of it was wrong, and the record says otherwise.
    record_is_wrong: bool,
    record: Record,
    /// Who sent some of it lately.
    sources: Sources,
    /// Length and times of the finished file: once it is changed, it is not this content any more.
    published: Option<(u64, i64, i64)>,
    /// Everything is here and right.
    complete: bool,
}

impl Partial {
    /// Nothing of the content `id`, in a file that is locked.
    pub(super) fn new(
        id: &ContentId,
        ranges: Ranges,
        paths: Paths,
        force: bool,
        file: Arc<File>,
        sources: Sources,
    ) -> Partial {
        Partial {
            id: id.clone(),
            ranges,
            force,
            behind: WriteBehind::new(file.clone()),
            file,
            tree: match id {
                ContentId::Blake3(root) => Some(KnownTree::new(*root)),
                _ => None,
            },
            length: None,
            done: RangeSet::new(),
            unchecked: RangeSet::new(),
            resumed: RangeSet::new(),
            record_is_wrong: false,
            record: Record::new(paths.record.clone()),
            sources,
            published: None,
            complete: false,
            paths,
        }
    }

    /// Who sent some of it lately, an earlier fetch included.
    pub(crate) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Goes on from what an interrupted download had, and begins its record anew: without what turned out wrong.
    pub(super) fn take_up(&mut self, resume: &Resume) -> io::Result<()> {
        self.done = resume.done.clone();
        self.unchecked = resume.unchecked.clone();
        self.resumed = self.recorded();
        let end = resume.length.saturating_sub(1);
        match &resume.verifier {
            None => self.length = Some(resume.length),
            Some(tree) => {
                let mut tree = KnownTree::resumed(tree.clone());
                // The last leaf comes first of all, so it can be missing only where the partial was damaged.
                if resume.done.contains(end..resume.length) {
                    tree.prove(resume.length);
                    self.length = Some(resume.length);
                }
                self.tree = Some(tree);
            }
        }
        let Some(length) = self.length else { return Ok(()) };
        self.check_target(length)?;
        self.begin_record()
    }

    /// Of ranges it is known only now how long their file is. If another is there, there is no need to go on.
    fn check_target(&self, length: u64) -> io::Result<()> {
        if self.force || self.ranges.is_empty() {
            return Ok(());
        }
        match fs::metadata(&self.paths.target) {
            Ok(found) if found.len() != self.ranges.set(length).total() => {
                Err(io::Error::other(format!("{SOMETHING_ELSE}; --force replaces it")))
            }
            _ => Ok(()),
        }
    }

    /// What the file is to hold of content of this length, if not simply all.
    fn excerpt(&self, length: u64) -> Option<Excerpt> {
        if self.ranges.is_empty() {
            return None;
        }
        let ranges = self.ranges.set(length);
        let mut more = self.resumed.clone();
        more.remove(length.saturating_sub(PROOF_LEN)..length);
        for range in ranges.iter() {
            more.remove(range.start / LEAF_LEN * LEAF_LEN..range.end.next_multiple_of(LEAF_LEN));
        }
        Some(Excerpt { ranges, keeps_partial: !more.is_empty() })
    }

    /// What the record is to say: nothing in it is believed, so it can tell also what is not verified yet.
    fn recorded(&self) -> RangeSet {
        self.done.iter().chain(self.unchecked.iter()).collect()
    }

    fn begin_record(&mut self) -> io::Result<()> {
        let Some(length) = self.length else { return Ok(()) };
        let done = self.recorded();
        let tree = self.tree.as_ref().and_then(KnownTree::proven);
        let runs = tree.into_iter().flat_map(|tree| tree.runs());
        self.record.begin(
            &self.id,
            length,
            runs.map(|(run, entries)| (run, entries.as_flattened())),
            &done,
            &self.sources,
        )
    }

    /// Notes a block that was given to be written; `proves_length`: of what length it shows that the content is.
    fn note_block(&mut self, proves_length: Option<u64>) -> io::Result<()> {
        if let (None, Some(length), Some(tree)) = (self.length, proves_length, &mut self.tree) {
            tree.prove(length);
            self.length = Some(length);
            self.check_target(length)?;
        }
        self.note_written()?;
        Ok(())
    }

    /// Notes all that was written lately, and returns it.
    fn note_written(&mut self) -> io::Result<Vec<Range<u64>>> {
        let written = self.behind.take_written();
        for range in &written {
            self.note(range.clone())?;
        }
        Ok(written)
    }

    /// Waits until everything is written, and notes it.
    fn settle(&mut self) -> io::Result<()> {
        let finished = self.behind.finish();
        self.note_written()?;
        finished
    }

    /// Notes that `range` was written.
    fn note(&mut self, range: Range<u64>) -> io::Result<()> {
        self.done.insert(range.clone());
        // A small content is complete at once, or begun anew; and a name may stand for something else next time.
        let is_name = matches!(self.id, ContentId::Name(_));
        let Some(length) = self.length.filter(|length| *length > PROOF_LEN && !is_name) else {
            return Ok(());
        };
        self.forget_leaves(GroupIndex::holding(range.start), length);
        if self.record.is_begun() && !self.record.is_bloated() {
            self.record.done(range)
        } else {
            self.begin_record()
        }
    }

    /// The leaves of a group that is done can be computed from it.
    fn forget_leaves(&mut self, group: GroupIndex, length: u64) {
        let whole = group.offset()..group.next().offset().min(length);
        if let Some(tree) = self.tree.as_mut().filter(|_| self.done.contains(whole)) {
            tree.forget_leaves(group);
        }
    }

    /// Whether what is in `done` may be given to others.
    fn may_share(&self) -> bool {
        let unchanged = self.published.is_none() || self.identity().ok() == self.published;
        unchanged && (self.complete || self.tree.as_ref().is_some_and(|tree| tree.proven().is_some()))
    }

    fn read_range(&self, range: Range<u64>, may_wait: bool) -> io::Result<Vec<u8>> {
        let length = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        read_exact_at(&self.file, &mut bytes, range.start, may_wait)?;
        Ok(bytes)
    }

    fn identity(&self) -> io::Result<(u64, i64, i64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    }
}

impl Content for Partial {
    fn has(&self, range: Range<u64>) -> bool {
        self.done.contains(range)
    }

    fn bytes(&self, range: Range<u64>) -> Option<Vec<u8>> {
        self.read_range(range, false).ok()
    }
}

impl Destination for Partial {
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        self.behind.write(block.offset(), block.bytes())?;
        self.note_block(block.proves_length())
    }

    fn write_block(&mut self, block: VerifiedBlock) -> io::Result<Vec<u8>> {
        let (offset, proves_length) = (block.as_verified().offset(), block.as_verified().proves_length());
        let spare = self.behind.write_memory(offset, block.into_memory())?;
        self.note_block(proves_length)?;
        Ok(spare)
    }

    fn stage(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Vec<Range<u64>>> {
        self.behind.write(offset, bytes)?;
        self.note_written()
    }

    fn is_busy(&self) -> bool {
        self.behind.is_busy()
    }

    fn wake_by(&mut self, waker: Waker) {
        self.behind.wake_by(waker);
    }

    fn settle_staged(&mut self) -> io::Result<Vec<Range<u64>>> {
        self.behind.finish()?;
        self.note_written()
    }

    fn restage(&mut self) -> io::Result<()> {
        // What still waits must not be written over what comes next.
        self.settle()?;
        self.done = RangeSet::new();
        self.length = None;
        self.record.remove();
        self.behind.empty()
    }

    fn staged(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn on_length(&mut self, length: u64) {
        if self.tree.is_none() {
            self.length = Some(length);
        }
    }

    fn keep_run(&mut self, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        let Some(tree) = &mut self.tree else { return Ok(()) };
        if tree.keep(length, run, bytes) && self.record.is_begun() {
            self.record.run(run, bytes);
        }
        Ok(())
    }

    fn keep_tree(&mut self, tree: TreeVerifier) -> bool {
        let length = tree.geometry().length();
        let mut known = KnownTree::resumed(tree);
        known.prove(length);
        self.tree = Some(known);
        true
    }

    fn on_checked(&mut self, checked: &Checked) {
        let Some(length) = self.length else { return };
        let parts: Vec<Range<u64>> = self.unchecked.within(checked.range.clone()).collect();
        for part in parts {
            self.unchecked.remove(part.clone());
            for right in checked.right.within(part.clone()) {
                self.done.insert(right);
            }
            for wrong in checked.right.gaps(part) {
                self.resumed.remove(wrong);
                self.record_is_wrong = true;
            }
        }
        for group in checked.range.start / GROUP_LEN..checked.range.end.min(length).div_ceil(GROUP_LEN) {
            self.forget_leaves(GroupIndex(group), length);
        }
        if self.record_is_wrong && self.unchecked.is_empty() {
            self.record_is_wrong = false;
            // What cannot be written now is with the next content.
            let _ = self.begin_record();
        }
    }

    fn window(&self, window: u64) -> Option<Group> {
        Some(Group::of_window(&self.file, window, self.length?))
    }

    fn read(&mut self, offset: u64, length: usize, may_wait: bool, out: &mut Vec<u8>) -> Read {
        let Some(total) = self.length.filter(|_| self.may_share()) else { return Read::Absent };
        let end = offset.saturating_add(length as u64).min(total);
        let start = offset.min(end);
        let known = self.done.first_gap(start..end).map_or(end, |gap| gap.start);
        if known == start && start < end {
            return Read::Absent;
        }
        match self.read_range(start..known, may_wait) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Later,
            Err(_) => return Read::Absent,
            Ok(bytes) => out.extend_from_slice(&bytes),
        }
        Read::Found { eof: Some(total) }
    }

    fn parts(&self, from: u64, most: usize) -> Option<Parts> {
        let length = self.length.filter(|_| self.may_share())?;
        Some(Parts::of(&self.done, length, from, most))
    }

    fn read_tree(
        &mut self,
        offset: u64,
        length: usize,
        at_once: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, NoTree> {
        if !self.may_share() {
            return Err(NoTree::Unknown);
        }
        let mut tree = self.tree.take().ok_or(NoTree::Unknown)?;
        let range = offset..offset.saturating_add(length as u64);
        let read = tree.read(range, &*self, at_once, out);
        self.tree = Some(tree);
        read
    }

    fn group(&mut self, group: GroupIndex) -> Option<Group> {
        let range = self.tree.as_ref().filter(|_| self.may_share())?.group_range(group)?;
        self.has(range.clone()).then(|| Group { file: self.file.clone(), range })
    }

    fn take_leaves(&mut self, group: GroupIndex, leaves: Option<Vec<Hash>>) {
        // The file may have been changed since.
        let leaves = leaves.filter(|_| self.may_share());
        if let Some(tree) = &mut self.tree {
            tree.take_leaves(group, leaves);
        }
    }

    fn note_sources(&mut self, sending: &[SocketAddr], now_ms: u64) {
        if self.sources.note(sending, now_ms) && self.record.is_begun() {
            self.record.sources(&self.sources);
        }
    }

    fn forget_source(&mut self, address: SocketAddr) {
        if self.sources.forget(address) && self.record.is_begun() {
            self.record.sources(&self.sources);
        }
    }

    fn save(&mut self) -> io::Result<()> {
        // What was written before a failure is noted nevertheless.
        let settled = self.settle();
        if self.record.is_begun() {
            // When they were last seen has changed.
            self.record.sources(&self.sources);
        }
        self.record.flush().and(settled)
    }

    fn publish(&mut self, length: u64) -> Publication {
        self.complete = true;
        self.length = Some(length);
        // What was written is in the record for the case that the last step fails.
        let recorded = self.save();
        let last_step = LastStep {
            file: self.file.clone(),
            paths: self.paths.clone(),
            length,
            force: self.force,
            excerpt: self.excerpt(length),
        };
        Box::new(move || {
            recorded.map_err(|error| unwritable(&last_step.paths.target, &error))?;
            last_step.run()
        })
    }

    fn on_published(&mut self) {
        self.published = self.identity().ok();
    }

    fn abandon(&mut self) -> Option<String> {
        // Nothing can be done where this fails too.
        let _ = self.save();
        if self.complete {
            return None;
        }
        // More than what proves the length came only where there is a record.
        if self.done.total() + self.unchecked.total() > PROOF_LEN && !matches!(self.id, ContentId::Name(_)) {
            return Some(names::shown(&self.paths.partial));
        }
        let _ = fs::remove_file(&self.paths.partial);
        self.record.remove();
        None
    }

    fn failure(&self, error: io::Error) -> ToolError {
        unwritable(&self.paths.target, &error)
    }
}

const _: () = assert!(RUN_LEVELS == 7, "what is forgotten of the tree are the leaves of one group");

#[cfg(test)]
mod tests;
