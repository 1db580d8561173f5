//! What all destinations of content have in common.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_io::partial::group::Group;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::store::{Parts, Read};
use cjp2p_wire::tree::{GroupIndex, Run, TreeVerifier, Verified, VerifiedBlock};

use cjp2p_io::partial::known_tree::NoTree;
use cjp2p_io::partial::recheck::Checked;

/// The last step, which may take long and is done on another thread.
pub(crate) type Publication = Box<dyn FnOnce() -> Result<(), ToolError> + Send>;

/// Where one content goes. Each kind takes verified blocks, or stages what can be verified only as a whole; it
/// refuses the other.
pub(crate) trait Destination: Send {
    /// Takes a verified block.
    fn write(&mut self, block: Verified<'_>) -> io::Result<()> {
        let _ = block;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The same with the memory that it is in. Returns memory that is free.
    fn write_block(&mut self, block: VerifiedBlock) -> io::Result<Vec<u8>> {
        self.write(block.as_verified())?;
        Ok(block.into_memory())
    }

    /// Keeps bytes that are not verified yet where nothing is read from until they are. Returns what is there since the last
    /// time, to be hashed: these bytes, or others before them.
    fn stage(&mut self, offset: u64, bytes: &[u8]) -> io::Result<Vec<Range<u64>>> {
        let _ = (offset, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Waits until everything that was staged is there. Returns what is since the last time.
    fn settle_staged(&mut self) -> io::Result<Vec<Range<u64>>> {
        Ok(Vec::new())
    }

    /// Forgets what was staged.
    fn restage(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What is staged, to be hashed.
    fn staged(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Notes the length under which bytes are staged from now on.
    fn on_length(&mut self, length: u64) {
        let _ = length;
    }

    /// Keeps a verified run of the tree over content of this length, which may still be a claim.
    fn keep_run(&mut self, length: u64, run: Run, bytes: &[u8]) -> io::Result<()> {
        let _ = (length, run, bytes);
        Ok(())
    }

    /// What was staged is right, and this is the known part of its tree. Returns whether it can be given to others from now
    /// on.
    fn keep_tree(&mut self, tree: TreeVerifier) -> bool {
        let _ = tree;
        false
    }

    /// Of what an interrupted fetch wrote, this piece is verified now.
    fn on_checked(&mut self, checked: &Checked) {
        let _ = checked;
    }

    /// Whether it takes nothing just now, since what it was given is still being written.
    fn is_busy(&self) -> bool {
        false
    }

    /// Whom to wake when it is busy no more.
    fn wake_by(&mut self, waker: Waker) {
        let _ = waker;
    }

    /// How much it takes at present, counted along what is wanted.
    fn room(&self) -> u64 {
        u64::MAX
    }

    /// Answers another peer's request for content, from what is verified. Unless it `may_wait` for a disk, what is not in memory is
    /// [`Read::Later`].
    fn read(&mut self, offset: u64, length: usize, may_wait: bool, out: &mut Vec<u8>) -> Read {
        let _ = (offset, length, may_wait, out);
        Read::Absent
    }

    /// What is to be read before [`Destination::read`] gives what is in a [window](WINDOW).
    fn window(&self, window: u64) -> Option<Group> {
        let _ = window;
        None
    }

    /// Which parts of the content [`Destination::read`] gives now, from byte `from` on, in at most `most` ranges.
    fn parts(&self, from: u64, most: usize) -> Option<Parts> {
        let _ = (from, most);
        None
    }

    /// Answers another peer's request for the content's tree; of what has to be computed for it, `at_once` bytes of content are hashed
    /// at the most. Returns how long the tree is.
    fn read_tree(
        &mut self,
        offset: u64,
        length: usize,
        at_once: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, NoTree> {
        let _ = (offset, length, at_once, out);
        Err(NoTree::Unknown)
    }

    /// What is to be hashed for the leaves of a group that [`Destination::read_tree`] needs.
    fn group(&mut self, group: GroupIndex) -> Option<Group> {
        let _ = group;
        None
    }

    /// These are its leaves, where they could be computed.
    fn take_leaves(&mut self, group: GroupIndex, leaves: Option<Vec<Hash>>) {
        let _ = (group, leaves);
    }

    /// Notes who sends some of the content at `now_ms`, for a later fetch that goes on.
    fn note_sources(&mut self, sending: &[SocketAddr], now_ms: u64) {
        let _ = (sending, now_ms);
    }

    /// Such a source is not to be asked again.
    fn forget_source(&mut self, address: SocketAddr) {
        let _ = address;
    }

    /// Writes down what an interrupted fetch needs to go on.
    fn save(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Why nothing more can be written, where that is known without writing.
    fn problem(&mut self) -> Option<io::Error> {
        None
    }

    /// Everything is here and right, in memory: gives it.
    fn take_bytes(&mut self, length: u64) -> Option<Vec<u8>> {
        let _ = length;
        None
    }

    /// Everything is here and right: what is left to do.
    fn publish(&mut self, length: u64) -> Publication;

    /// The last step was done.
    fn on_published(&mut self) {}

    /// The fetch ended in vain. Returns where the part that came is kept, if anything is.
    fn abandon(&mut self) -> Option<String> {
        None
    }

    /// What to tell where writing fails.
    fn failure(&self, error: io::Error) -> ToolError;
}

/// Why nothing can be written at `path`.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> ToolError {
    ToolError::new(Exit::Destination, format!("{}: {error}", names::shown(path)))
}
