//! A file: fetched into a partial beside it, which can be gone on with after any interruption.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::Resume;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::{PROOF_LEN, Parts, Read};
use cjp2p_wire::tree::{GroupIndex, LEAF_LEN, Run, TreeVerifier, Verified, VerifiedBlock};

use super::destination::{Destination, Publication, unwritable};
use super::publish::{Excerpt, LastStep, SOMETHING_ELSE};
use crate::place::Paths;
use crate::ranges::Ranges;
use cjp2p_io::partial::group::Group;
use cjp2p_io::partial::kept::Kept;
use cjp2p_io::partial::known_tree::NoTree;
use cjp2p_io::partial::recheck::Checked;
use cjp2p_io::partial::sources::Sources;

/// See the [module](self).
pub(crate) struct Partial {
    id: ContentId,
    ranges: Ranges,
    paths: Paths,
    force: bool,
    // Its file is locked as long as it is open: no other process fetches into it.
    kept: Kept,
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
        let kept = Kept::new(id, file, Some(paths.record.clone()), sources);
        Partial { id: id.clone(), ranges, paths, force, kept }
    }

    /// Who sent some of it lately, an earlier fetch included.
    pub(crate) fn sources(&self) -> &Sources {
        self.kept.sources()
    }

    /// Goes on from what an interrupted download had, and begins its record anew: without what turned out wrong.
    pub(super) fn take_up(&mut self, resume: &Resume) -> io::Result<()> {
        self.kept.take_up(resume);
        let Some(length) = self.kept.length() else { return Ok(()) };
        self.check_target(length)?;
        self.kept.begin_record()
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
        self.excerpt_beside(self.kept.resumed(), length)
    }

    /// The same where an interrupted fetch had `resumed`.
    fn excerpt_beside(&self, resumed: &RangeSet, length: u64) -> Option<Excerpt> {
        if self.ranges.is_empty() {
            return None;
        }
        let ranges = self.ranges.set(length);
        let mut more = resumed.clone();
        more.remove(length.saturating_sub(PROOF_LEN)..length);
        for range in ranges.iter() {
            more.remove(range.start / LEAF_LEN * LEAF_LEN..range.end.next_multiple_of(LEAF_LEN));
        }
        Some(Excerpt { ranges, keeps_partial: !more.is_empty() })
    }
}

impl Destination for Partial {
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        let proven = self.kept.write(block)?;
        proven.map_or(Ok(()), |length| self.check_target(length))
    }

    fn write_block(&mut self, block: VerifiedBlock) -> io::Result<Vec<u8>> {
        let (proven, spare) = self.kept.write_block(block)?;
        proven.map_or(Ok(()), |length| self.check_target(length))?;
        Ok(spare)
    }

    fn stage(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Vec<Range<u64>>> {
        self.kept.stage(offset, bytes)
    }

    fn is_busy(&self) -> bool {
        self.kept.is_busy()
    }

    fn wake_by(&mut self, waker: Waker) {
        self.kept.wake_by(waker);
    }

    fn settle_staged(&mut self) -> io::Result<Vec<Range<u64>>> {
        self.kept.settle()
    }

    fn restage(&mut self) -> io::Result<()> {
        self.kept.restage()
    }

    fn staged(&self) -> io::Result<File> {
        self.kept.file().try_clone()
    }

    fn on_length(&mut self, length: u64) {
        self.kept.on_length(length);
    }

    fn keep_run(&mut self, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        self.kept.keep_run(length, run, bytes);
        Ok(())
    }

    fn keep_tree(&mut self, tree: TreeVerifier) -> bool {
        self.kept.keep_tree(tree);
        true
    }

    fn on_checked(&mut self, checked: &Checked) {
        self.kept.on_checked(checked);
    }

    fn window(&self, window: u64) -> Option<Group> {
        self.kept.window(window)
    }

    fn read(&mut self, offset: u64, length: usize, may_wait: bool, out: &mut Vec<u8>) -> Read {
        self.kept.read(offset, length, may_wait, out)
    }

    fn parts(&self, from: u64, most: usize) -> Option<Parts> {
        self.kept.parts(from, most)
    }

    fn read_tree(
        &mut self,
        offset: u64,
        length: usize,
        at_once: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, NoTree> {
        self.kept.read_tree(offset, length, at_once, out)
    }

    fn group(&mut self, group: GroupIndex) -> Option<Group> {
        self.kept.group(group)
    }

    fn take_leaves(&mut self, group: GroupIndex, leaves: Option<Vec<Hash>>) {
        self.kept.take_leaves(group, leaves);
    }

    fn note_sources(&mut self, sending: &[SocketAddr], now_ms: u64) {
        self.kept.note_sources(sending, now_ms);
    }

    fn forget_source(&mut self, address: SocketAddr) {
        self.kept.forget_source(address);
    }

    fn save(&mut self) -> io::Result<()> {
        self.kept.save()
    }

    fn publish(&mut self, length: u64) -> Publication {
        self.kept.on_complete(length);
        // What was written is in the record for the case that the last step fails.
        let recorded = self.save();
        let last_step = LastStep {
            file: self.kept.file().clone(),
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
        self.kept.on_finished();
    }

    fn abandon(&mut self) -> Option<String> {
        // Nothing can be done where this fails too.
        let _ = self.save();
        if self.kept.is_complete() {
            return None;
        }
        // More than what proves the length came only where there is a record.
        let came = self.kept.done().total() + self.kept.unchecked().total();
        if came > PROOF_LEN && !matches!(self.id, ContentId::Name(_)) {
            return Some(names::shown(&self.paths.partial));
        }
        let _ = fs::remove_file(&self.paths.partial);
        self.kept.remove_record();
        None
    }

    fn failure(&self, error: io::Error) -> ToolError {
        unwritable(&self.paths.target, &error)
    }
}

#[cfg(test)]
mod tests;
