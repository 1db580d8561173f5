//! Streams on disk and in memory: the blocks that an origin made, or a relay or viewer was sent, and what an origin must remember so as
//! never to sign two things at one place.
//!
//! A stream has a folder below the state folder, named by a hash of its id. In it are [blocks], in files of 4 MiB, each block with its
//! signature beside; a [record]; and a lock. Killed at any instant, what is there is read again: a block that was half written counts
//! as none, for each is verified when it is read.

pub mod blocks;
pub mod cursor;
pub mod keep;
pub mod record;
pub mod shelf;
pub mod store;
pub mod viewed;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use cjp2p_wire::stream::StreamId;

pub use blocks::BlockFiles;
pub use keep::Keep;
pub use record::{Record, Source};
pub use shelf::Shelf;
pub use store::{Floor, StreamStore};
pub use viewed::Viewed;

use crate::file_lock::FileLock;
use crate::state_dir::{StateDir, about, sync_folder};

/// The folder of all streams, below the state folder.
const FOLDER: &str = "streams";

/// The folder of one stream, and the lock that keeps other processes from it.
#[derive(Debug)]
pub struct StreamFolder {
    path: PathBuf,
    id: StreamId,
    _lock: Option<FileLock>,
}

impl StreamFolder {
    /// Opens it, and makes it where it is missing. `None` where another process has it.
    ///
    /// # Errors
    ///
    /// Where it cannot be made. The message names it.
    pub fn open(state: &StateDir, id: &StreamId) -> io::Result<Option<StreamFolder>> {
        let all = state.file(FOLDER);
        let name = blake3::hash(id.to_string().as_bytes()).to_hex();
        let path = all.join(&name[..32]);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| about(&path, error))?;
        sync_folder(&all)?;
        let lock = FileLock::try_acquire(&path.join("lock"))?;
        Ok(lock.map(|lock| StreamFolder { path, id: id.clone(), _lock: Some(lock) }))
    }

    /// Of which stream it is.
    pub fn id(&self) -> &StreamId {
        &self.id
    }

    /// The blocks in it.
    pub fn blocks(&self) -> BlockFiles {
        BlockFiles::new(self.path.clone(), self.id.clone())
    }

    /// Where a relay keeps the last statement of the origin.
    pub fn statement_path(&self) -> PathBuf {
        self.path.join("statement.json")
    }

    /// Where the record is.
    pub fn record_path(&self) -> PathBuf {
        self.path.join("record.json")
    }
}
