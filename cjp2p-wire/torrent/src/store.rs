//! `PieceStore`: where the pieces of a torrent are written to and read from.

/// What became of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The bytes are there.
    Found,
    /// They come from a slow disk: ask again, when the swarm is told by
    /// [`on_store`](crate::swarm::Swarm::on_store) that some came.
    Later,
    /// They are gone. The piece is not offered any more.
    Gone,
}

/// The bytes of one torrent. No method waits for a disk.
///
/// A piece that is being written is unverified, and nobody reads it. After [`check`](PieceStore::check), and as many other calls as
/// happen meanwhile, the owner calls [`Swarm::on_checked`](crate::swarm::Swarm::on_checked).
pub trait PieceStore {
    /// Takes in a block that came from a peer. A block of one piece can come a second time, with other bytes: the later one counts.
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]);

    /// All blocks of this piece were written: its hash is computed and compared, and then it is told.
    fn check(&mut self, piece: u32);

    /// This piece is not wanted any more before all of its blocks came: what is here of it may be dropped.
    fn forget(&mut self, piece: u32);

    /// Reads bytes of a piece that was right.
    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read;

    /// How many bytes of blocks may be under way to it now. While there are none, nothing is asked for.
    fn room(&self) -> u64;
}
