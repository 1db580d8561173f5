//! What is told of a folder that is written: what is needed, what would be done, what was refused, and how it ended.

use std::path::PathBuf;

use cjp2p_cli::Exit;
use cjp2p_wire::content_id::Hash;

/// Content that is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// What the answer names.
    pub(crate) number: u32,
    /// Its BLAKE3.
    pub(crate) root: Hash,
    /// In bytes, as the list says. At least 1.
    pub(crate) length: u64,
    /// The first entry that has it, for messages.
    pub(crate) path: Vec<u8>,
    /// Where it is to be published if it does not come as bytes.
    pub(crate) staged: PathBuf,
}

/// What is done for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A file is fetched where nothing is.
    Fetch,
    /// Something else is replaced.
    Replace,
    /// A file whose content is here already under another name.
    Copy,
    MakeFolder,
    Link,
    /// Its mode or its time is set.
    Set,
    Delete,
}

impl Action {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Action::Fetch => "fetch",
            Action::Replace => "replace",
            Action::Copy => "copy",
            Action::MakeFolder => "make",
            Action::Link => "link",
            Action::Set => "set",
            Action::Delete => "delete",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Without `--dry-run` this would be done. `length` is that of a file in the list, else 0.
    Would { what: Action, path: Vec<u8>, length: u64 },
    /// This entry is left as it is.
    Refused { path: Vec<u8>, why: String },
    /// What is of another kind.
    Warning(String),
}

/// How far it is. Entries that were refused do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Files in the list.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Those whose content is here.
    pub(crate) files_here: u64,
    pub(crate) bytes_here: u64,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// `Destination` where something was refused or could not be done.
    pub(crate) exit: Exit,
    /// Files that were written, and those of them whose content was here already under another name.
    pub(crate) fetched: u64,
    pub(crate) copied: u64,
    /// Entries that were right.
    pub(crate) kept: u64,
    /// What was replaced by something else.
    pub(crate) replaced: u64,
    pub(crate) linked: u64,
    pub(crate) folders_made: u64,
    /// Entries that went, those in folders that went not counted.
    pub(crate) deleted: u64,
    pub(crate) refused: u64,
    /// Where unfinished content waits for the next time, if there is any.
    pub(crate) kept_in: Option<PathBuf>,
}

impl Default for Summary {
    fn default() -> Summary {
        Summary {
            exit: Exit::Done,
            fetched: 0,
            copied: 0,
            kept: 0,
            replaced: 0,
            linked: 0,
            folders_made: 0,
            deleted: 0,
            refused: 0,
            kept_in: None,
        }
    }
}
