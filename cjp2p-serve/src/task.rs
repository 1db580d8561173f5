//! What the keeper is asked or told to do.

use crate::file::FileNo;
use crate::hasher::Outcome;
use crate::watch::Notice;

/// What the keeper is asked or told to do.
#[derive(Debug)]
pub enum Task {
    /// Look at everything again.
    Rescan,
    /// Something happened below a shared folder.
    Notice(Notice),
    /// This file is not what it was when it was read.
    Doubt(FileNo),
    /// The kept part of this file's tree is missing.
    TreeLost(FileNo),
    /// A file was hashed. If `lasting`, its identity can be recognised in another run.
    Hashed {
        /// Which.
        no: FileNo,
        /// How it ended.
        outcome: Outcome,
        /// Whether its time stamps can be relied upon.
        lasting: bool,
    },
    /// End.
    Stop,
}
