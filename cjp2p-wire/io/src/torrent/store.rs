//! `Store`: what a swarm writes to and reads from, with threads that do the work.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::store::{PieceStore, Read};

use super::disk::{Disk, MAX_WAITING, Shared};
use super::files::Files;

/// See the [module](self).
pub struct Store {
    shared: Arc<Shared>,
    disk: Disk,
}

impl Store {
    /// The store of a torrent in `files`, with threads that others may use too.
    #[must_use]
    pub fn new(files: Files, disk: Disk) -> Store {
        Store { shared: Shared::new(Arc::new(files)), disk }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Arc<Files> {
        &self.shared.files
    }

    /// Has pieces hashed that were there before.
    pub fn recheck(&self, pieces: &PieceSet) {
        self.disk.recheck(&self.shared, pieces.runs());
    }

    /// The pieces that were hashed, and whether each is right.
    #[must_use]
    pub fn take_checked(&mut self) -> Vec<(u32, bool)> {
        self.shared.take_checked()
    }

    /// Whether something came for which a swarm was told to wait.
    #[must_use]
    pub fn take_read(&mut self) -> bool {
        self.shared.take_read()
    }

    /// Why nothing more can be written, where that is so.
    #[must_use]
    pub fn take_problem(&mut self) -> Option<io::Error> {
        self.shared.take_problem()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.has_ended.store(true, Ordering::Relaxed);
    }
}

impl PieceStore for Store {
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]) {
        self.disk.write(&self.shared, piece, begin, block);
    }

    fn check(&mut self, piece: u32) {
        self.disk.check(&self.shared, piece);
    }

    fn forget(&mut self, piece: u32) {
        self.disk.forget(&self.shared, piece);
    }

    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read {
        let files = &self.shared.files;
        let offset = files.info().pieces().range(piece).start + u64::from(begin);
        match files.read(offset, into, false) {
            Ok(()) => Read::Found,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let len = u32::try_from(into.len()).unwrap_or(u32::MAX);
                self.disk.read_later(&self.shared, offset, len);
                Read::Later
            }
            Err(_) => Read::Gone,
        }
    }

    fn room(&self) -> u64 {
        MAX_WAITING.saturating_sub(self.shared.waiting()) as u64
    }
}

#[cfg(test)]
mod tests;
