//! Ids of earlier runs while a walk takes; and which errors may pass by themselves.

use std::io;

use cjp2p_io::identity::Identity;
use rustix::io::Errno;

use crate::file::Ids;
use crate::hash_store::{HashStore, Remembered};

/// Ids of earlier runs, loaded when first needed and only for as long as a walk takes.
#[derive(Default)]
pub(super) struct Memory(pub(super) Option<Remembered>);

impl Memory {
    pub(super) fn ids(&mut self, identity: &Identity, hashes: &HashStore) -> Option<(Ids, bool)> {
        let remembered = self.0.get_or_insert_with(|| {
            hashes.load().unwrap_or_else(|error| {
                log::warn!("ids of earlier runs: {error}; all files are hashed again");
                Remembered::default()
            })
        });
        remembered.find(identity)
    }
}

/// Whether the system may have room again in a while, so that another try is worth it.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR))
}
