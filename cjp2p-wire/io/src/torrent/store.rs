//! `Store`: what a swarm writes to and reads from, with threads that do the work.

use std::io;
use std::sync::Arc;

use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::store::{PieceStore, Read};

use super::disk::{Disk, MAX_WAITING};
use super::files::Files;
use crate::event_loop::Waker;

/// See the [module](self). The threads end when it is dropped.
pub struct Store {
    files: Arc<Files>,
    disk: Arc<Disk>,
}

impl Store {
    /// Starts the threads. `waker` is woken whenever there is something to take, or room again.
    ///
    /// # Errors
    ///
    /// The system has no room for them.
    pub fn start(files: Files, waker: Waker) -> io::Result<Store> {
        let files = Arc::new(files);
        Ok(Store { disk: Disk::start(files.clone(), waker)?, files })
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// Has pieces hashed that were there before.
    pub fn recheck(&self, pieces: &PieceSet) {
        self.disk.recheck(pieces.iter());
    }

    /// The pieces that were hashed, and whether each is right.
    #[must_use]
    pub fn take_checked(&mut self) -> Vec<(u32, bool)> {
        self.disk.take_checked()
    }

    /// Whether something came for which a swarm was told to wait.
    #[must_use]
    pub fn take_read(&mut self) -> bool {
        self.disk.take_read()
    }

    /// Why nothing more can be written, where that is so.
    #[must_use]
    pub fn take_problem(&mut self) -> Option<io::Error> {
        self.disk.take_problem()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.disk.end();
    }
}

impl PieceStore for Store {
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]) {
        self.disk.write(piece, begin, block);
    }

    fn check(&mut self, piece: u32) {
        self.disk.check(piece);
    }

    fn forget(&mut self, piece: u32) {
        self.disk.forget(piece);
    }

    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read {
        let offset = self.files.info().pieces().range(piece).start + u64::from(begin);
        match self.files.read(offset, into, false) {
            Ok(()) => Read::Found,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.disk.read_later(offset, u32::try_from(into.len()).unwrap_or(u32::MAX));
                Read::Later
            }
            Err(_) => Read::Gone,
        }
    }

    fn room(&self) -> u64 {
        MAX_WAITING.saturating_sub(self.disk.waiting()) as u64
    }
}

#[cfg(test)]
mod tests;
