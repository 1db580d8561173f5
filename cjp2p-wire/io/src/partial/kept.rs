//! What is here of one content: a file that it is written to as it comes, verified or staged, and the record beside it, by which a later
//! process goes on.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::Resume;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::{PROOF_LEN, Parts, Read};
use cjp2p_wire::tree::{GROUP_LEN, GroupIndex, RUN_LEVELS, Run, TreeVerifier, Verified, VerifiedBlock};

use rustix::fs::{FallocateFlags, fallocate};

use super::behind::WriteBehind;
use super::group::Group;
use super::known_tree::{Content, KnownTree, NoTree};
use super::reading::read_exact_at;
use super::recheck::Checked;
use super::record::Record;
use super::sources::Sources;
use crate::event_loop::Waker;

/// See the [module](self).
pub struct Kept {
    id: ContentId,
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
    has_record: bool,
    /// Who sent some of it lately.
    sources: Sources,
    /// Length and times of the finished file: once it is changed, it is not this content any more.
    finished: Option<(u64, i64, i64)>,
    /// Everything is here and right.
    complete: bool,
}

impl Kept {
    /// Nothing of the content `id`, in this file, which nobody else writes to. What is known of it goes to `record`, if anywhere.
    pub fn new(id: &ContentId, file: Arc<File>, record: Option<PathBuf>, sources: Sources) -> Kept {
        Kept {
            id: id.clone(),
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
            has_record: record.is_some(),
            record: Record::new(record.unwrap_or_default()),
            sources,
            finished: None,
            complete: false,
        }
    }

    /// Goes on from what an interrupted download had. What is known of the length is true then; the record has yet to be
    /// [begun](Kept::begin_record).
    pub fn take_up(&mut self, resume: &Resume) {
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
    }

    /// All of the content is in the file, and right: it was judged as a whole.
    pub fn take_up_whole(&mut self, length: u64) {
        self.done = std::iter::once(0..length).filter(|range| !range.is_empty()).collect();
        self.resumed = self.done.clone();
        if let Some(tree) = &mut self.tree {
            tree.prove(length);
        }
        self.on_complete(length);
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// The length of the content: proven, or where content is staged, the one tried.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// What is here, verified or staged.
    pub fn done(&self) -> &RangeSet {
        &self.done
    }

    /// What an interrupted download wrote and is still being verified.
    pub fn unchecked(&self) -> &RangeSet {
        &self.unchecked
    }

    /// What of all that is here an interrupted download had.
    pub fn resumed(&self) -> &RangeSet {
        &self.resumed
    }

    /// The tree, once its length is proven.
    pub fn tree(&self) -> Option<&TreeVerifier> {
        self.tree.as_ref()?.proven()
    }

    /// Who sent some of it lately, an earlier fetch included.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Whether everything is here and right.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// What the record is to say: nothing in it is believed, so it can tell also what is not verified yet.
    fn recorded(&self) -> RangeSet {
        self.done.iter().chain(self.unchecked.iter()).collect()
    }

    /// Writes the record from the start, once the length is known.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn begin_record(&mut self) -> io::Result<()> {
        let Some(length) = self.length.filter(|_| self.has_record) else { return Ok(()) };
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

    /// Takes note of a block that was given to be written; `proves_length`: of what length it shows that the content is. Returns
    /// that where it is new.
    fn note_block(&mut self, proves_length: Option<u64>) -> io::Result<Option<u64>> {
        let mut proven = None;
        if let (None, Some(length), Some(tree)) = (self.length, proves_length, &mut self.tree) {
            tree.prove(length);
            self.length = Some(length);
            proven = Some(length);
        }
        self.note_written()?;
        Ok(proven)
    }

    /// Takes note of all that was written since, and returns it.
    ///
    /// # Errors
    ///
    /// The record cannot be written.
    pub fn note_written(&mut self) -> io::Result<Vec<Range<u64>>> {
        let written = self.behind.take_written();
        for range in &written {
            self.note(range.clone())?;
        }
        Ok(written)
    }

    /// Waits until everything is written, and notes it.
    ///
    /// # Errors
    ///
    /// Some of it could not be.
    pub fn settle(&mut self) -> io::Result<Vec<Range<u64>>> {
        let finished = self.behind.finish();
        let written = self.note_written()?;
        finished.map(|()| written)
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub fn settle_some(&mut self) -> io::Result<()> {
        let looked = self.behind.look();
        self.note_written()?;
        looked
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
        let unchanged = self.finished.is_none() || self.identity().ok() == self.finished;
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

    /// One whose file has a writing thread from the next block on: for tests.
    #[doc(hidden)]
    pub fn write_to(&mut self, file: File) {
        self.behind = WriteBehind::grown_up(file);
    }
}

impl Content for Kept {
    fn has(&self, range: Range<u64>) -> bool {
        self.done.contains(range)
    }

    fn bytes(&self, range: Range<u64>) -> Option<Vec<u8>> {
        self.read_range(range, false).ok()
    }
}

/// Writing.
impl Kept {
    /// Writes a verified block, now or soon. Returns the length of the content where that is proven by it for the first time.
    ///
    /// # Errors
    ///
    /// It cannot be written, or another before it.
    pub fn write(&mut self, block: Verified<'_>) -> io::Result<Option<u64>> {
        self.behind.write(block.offset(), block.bytes())?;
        self.note_block(block.proves_length())
    }

    /// The same with the memory that it is in. Returns also memory that is free.
    ///
    /// # Errors
    ///
    /// As for [`Kept::write`].
    pub fn write_block(&mut self, block: VerifiedBlock) -> io::Result<(Option<u64>, Vec<u8>)> {
        let (offset, proves_length) = (block.as_verified().offset(), block.as_verified().proves_length());
        let spare = self.behind.write_memory(offset, block.into_memory())?;
        Ok((self.note_block(proves_length)?, spare))
    }

    /// Stages bytes that are not verified yet. Returns what was written since the last time.
    ///
    /// # Errors
    ///
    /// As for [`Kept::write`].
    pub fn stage(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Vec<Range<u64>>> {
        self.behind.write(offset, bytes)?;
        self.note_written()
    }

    /// Forgets what was staged.
    ///
    /// # Errors
    ///
    /// The file cannot be emptied.
    pub fn restage(&mut self) -> io::Result<()> {
        // What still waits must not be written over what comes next.
        self.settle()?;
        self.done = RangeSet::new();
        self.length = None;
        self.remove_record();
        self.behind.empty()
    }

    /// Whether so much waits to be written that nothing more should be given.
    pub fn is_busy(&self) -> bool {
        self.behind.is_busy()
    }

    /// Whom to wake when it is busy no more.
    pub fn wake_by(&mut self, waker: Waker) {
        self.behind.wake_by(waker);
    }

    /// Whom to wake also whenever something is written: somebody waits for it.
    pub fn wake_for_each(&mut self, waker: Waker) {
        self.behind.wake_by(waker);
        self.behind.wake_for_each();
    }

    /// Notes the length under which bytes are staged from now on. Where there is a tree, that proves it.
    pub fn on_length(&mut self, length: u64) {
        if self.tree.is_none() {
            self.length = Some(length);
        }
    }

    /// Keeps a verified run of the tree over content of this length, which may still be a claim.
    pub fn keep_run(&mut self, length: u64, run: Run, bytes: &[u8]) {
        let Some(tree) = &mut self.tree else { return };
        if tree.keep(length, run, bytes) && self.record.is_begun() {
            self.record.run(run, bytes);
        }
    }

    /// What was staged is right, and this is the known part of its tree.
    pub fn keep_tree(&mut self, tree: TreeVerifier) {
        let length = tree.geometry().length();
        let mut known = KnownTree::resumed(tree);
        known.prove(length);
        self.tree = Some(known);
    }

    /// Of what an interrupted download wrote, this piece is verified now.
    pub fn on_checked(&mut self, checked: &Checked) {
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

    /// Notes who sends some of the content at `now_ms`, for a later fetch that goes on.
    pub fn note_sources(&mut self, sending: &[SocketAddr], now_ms: u64) {
        if self.sources.note(sending, now_ms) && self.record.is_begun() {
            self.record.sources(&self.sources);
        }
    }

    /// Such a source is not to be asked again.
    pub fn forget_source(&mut self, address: SocketAddr) {
        if self.sources.forget(address) && self.record.is_begun() {
            self.record.sources(&self.sources);
        }
    }

    /// Writes down what a later process needs to go on.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub fn save(&mut self) -> io::Result<()> {
        // What was written before a failure is noted nevertheless.
        let settled = self.settle();
        if self.record.is_begun() {
            // When they were last seen has changed.
            self.record.sources(&self.sources);
        }
        self.record.flush().and(settled.map(drop))
    }

    /// Gives up what is here of these ranges, as far as it is whole groups, and gives its room back to the disk; but for the end, which
    /// proves the length. Only of content with a tree. Whoever fetches it has to begin anew. Returns how many bytes that is.
    ///
    /// # Errors
    ///
    /// The file system cannot do that, or the record cannot be written.
    pub fn forget(&mut self, ranges: &RangeSet) -> io::Result<u64> {
        let (Some(length), Some(_)) = (self.length, self.tree()) else { return Ok(0) };
        let end = length.saturating_sub(PROOF_LEN) / GROUP_LEN * GROUP_LEN;
        let mut forgotten = 0;
        for range in ranges.within(0..end) {
            let whole = range.start.next_multiple_of(GROUP_LEN)..range.end / GROUP_LEN * GROUP_LEN;
            let parts: Vec<Range<u64>> = self.done.within(whole).collect();
            for part in parts {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                fallocate(&self.file, flags, part.start, part.end - part.start)?;
                self.done.remove(part.clone());
                self.resumed.remove(part.clone());
                forgotten += part.end - part.start;
            }
        }
        if forgotten > 0 {
            self.complete = false;
            self.begin_record()?;
        }
        Ok(forgotten)
    }

    /// Everything is here and right, and the content is this long.
    pub fn on_complete(&mut self, length: u64) {
        self.complete = true;
        self.length = Some(length);
    }

    /// The file is finished: once it changes, it is not this content any more.
    pub fn on_finished(&mut self) {
        self.finished = self.identity().ok();
    }

    /// Removes the record.
    pub fn remove_record(&mut self) {
        if self.has_record {
            self.record.remove();
        }
    }
}

/// Reading, for others.
impl Kept {
    /// Appends verified bytes to `out`. Unless it `may_wait` for a disk, what is not in memory is [`Read::Later`].
    pub fn read(&mut self, offset: u64, length: usize, may_wait: bool, out: &mut Vec<u8>) -> Read {
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

    /// Which parts [`Kept::read`] gives now, from byte `from` on, in at most `most` ranges.
    pub fn parts(&self, from: u64, most: usize) -> Option<Parts> {
        let length = self.length.filter(|_| self.may_share())?;
        Some(Parts::of(&self.done, length, from, most))
    }

    /// What is to be read before [`Kept::read`] gives what is in a [window](super::group::WINDOW).
    pub fn window(&self, window: u64) -> Option<Group> {
        Some(Group::of_window(&self.file, window, self.length?))
    }

    /// Appends bytes of the tree to `out`; of what has to be computed for it, `at_once` bytes of content are hashed at the most.
    /// Returns how long the tree is.
    ///
    /// # Errors
    ///
    /// They are not known, or something has to be computed first.
    pub fn read_tree(
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

    /// What is to be hashed for the leaves of a group that [`Kept::read_tree`] needs.
    pub fn group(&self, group: GroupIndex) -> Option<Group> {
        let range = self.tree.as_ref().filter(|_| self.may_share())?.group_range(group)?;
        self.has(range.clone()).then(|| Group { file: self.file.clone(), range })
    }

    /// These are its leaves, where they could be computed.
    pub fn take_leaves(&mut self, group: GroupIndex, leaves: Option<Vec<Hash>>) {
        // The file may have been changed since.
        let leaves = leaves.filter(|_| self.may_share());
        if let Some(tree) = &mut self.tree {
            tree.take_leaves(group, leaves);
        }
    }
}

const _: () = assert!(RUN_LEVELS == 7, "what is forgotten of the tree are the leaves of one group");

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "sets of one range")]
mod tests {
    use cjp2p_wire::tree::TreeBuilder;

    use super::*;

    #[test]
    fn what_is_given_up_takes_no_room_and_the_end_stays() {
        let length = 8 * GROUP_LEN + 100_000;
        let bytes: Vec<u8> = (0..length).map(|n| (n ^ (n >> 9)) as u8 | 1).collect();
        let mut builder = TreeBuilder::new();
        builder.update(&bytes);
        let root = *builder.finish().root();
        let folder = tempfile::tempdir().unwrap();
        let file = Arc::new(tempfile::tempfile_in(folder.path()).unwrap());
        std::os::unix::fs::FileExt::write_all_at(&*file, &bytes, 0).unwrap();
        let record = folder.path().join("record");
        let id = ContentId::Blake3(root);
        let mut kept = Kept::new(&id, file.clone(), Some(record.clone()), Sources::default());
        kept.take_up_whole(length);
        let before = file.metadata().unwrap().blocks();
        let behind: RangeSet = [5..3 * GROUP_LEN + 5, 7 * GROUP_LEN - 1..length].into_iter().collect();
        assert_eq!(kept.forget(&behind).unwrap(), 3 * GROUP_LEN);
        assert_eq!(kept.forget(&behind).unwrap(), 0);
        let gone: RangeSet = [GROUP_LEN..3 * GROUP_LEN, 7 * GROUP_LEN..8 * GROUP_LEN].into_iter().collect();
        let mut left: RangeSet = [0..length].into_iter().collect();
        gone.iter().for_each(|range| _ = left.remove(range));
        assert!(kept.done() == &left && !kept.is_complete());
        let found = super::super::record::read(&record, &id).unwrap().unwrap();
        assert_eq!((found.length, found.done), (length, left));
        assert_eq!(kept.read(GROUP_LEN, 10, true, &mut Vec::new()), Read::Absent);
        let after = file.metadata().unwrap().blocks();
        // Not every file system has holes.
        assert!(
            after < before || after == before && fallocate(&file, FallocateFlags::PUNCH_HOLE, 0, 1).is_err()
        );
    }
}
