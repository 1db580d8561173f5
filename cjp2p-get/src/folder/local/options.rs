//! What the command line says about a folder that is written.

use std::path::PathBuf;

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// What is not in the list goes.
    pub(crate) delete: bool,
    /// What is replaced or goes is kept below this folder.
    pub(crate) backup: Option<PathBuf>,
    /// What others changed or put there is replaced too, and however much may go.
    pub(crate) force: bool,
    /// Nothing is done: it is told what would be.
    pub(crate) dry_run: bool,
    /// Files that are there are hashed, whatever is remembered of them.
    pub(crate) checksum: bool,
    /// Links may lead anywhere.
    pub(crate) any_links: bool,
}

impl Options {
    /// Whether something that others changed or put there may be replaced: it is kept, or they said that it may be lost.
    pub(super) fn may_replace_theirs(&self) -> bool {
        self.force || self.backup.is_some()
    }
}
