//! What is known of a folder that is being written, and how entries of it are refused.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names::shown;
use cjp2p_io::partial_name::STAGING_FOLDER;

use super::backup::Backup;
use super::look::{Extra, Seen, State};
use super::options::Options;
use super::record::{Record, Remembered};
use super::shared::Shared;
use super::staging::{Attributes, Staging};
use super::told::{Summary, Told};
use super::tree::{Tree, What};
use cjp2p_io::beneath::{Beneath, Stamp};

/// How far a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Have {
    /// No entry waits for it.
    Unneeded,
    Needed,
    /// It is in the staging folder, once for each of its files.
    Staged,
    /// It could not be had.
    Failed,
}

/// Where the work is done.
pub(super) struct Place {
    /// As the user named it.
    pub(super) destination: PathBuf,
    /// `None`: there is none, as nothing is to be done.
    pub(super) beneath: Option<Arc<Beneath>>,
    pub(super) record: Record,
    pub(super) backup: Option<Backup>,
    pub(super) options: Options,
}

/// See the [module](self).
pub(super) struct Work {
    pub(super) place: Place,
    pub(super) tree: Arc<Tree>,
    pub(super) remembered: Remembered,
    /// Of each node.
    pub(super) states: Vec<State>,
    /// Of files that are right, or staged.
    pub(super) stamps: BTreeMap<u32, Stamp>,
    pub(super) seen: BTreeMap<u32, Seen>,
    pub(super) to_set: Vec<u32>,
    pub(super) extras: Vec<Extra>,
    /// All that is in the folder, where it was looked for.
    pub(super) entries_there: u64,
    pub(super) staging: Option<Staging>,
    /// Of each content.
    pub(super) have: Vec<Have>,
    /// Of files that are not the first to hold their content: which they are.
    pub(super) nths: BTreeMap<u32, u32>,
    /// Not all that could be done was: so nothing goes.
    pub(super) has_failed: bool,
    pub(super) summary: Summary,
    pub(super) shared: Arc<Shared>,
    pub(super) told: SyncSender<Told>,
}

/// Has something told. Waits where much is to be told already.
pub(super) fn tell(told: &SyncSender<Told>, shared: &Shared, what: Told) {
    // Woken first as well: who reads it may have to make room.
    if let Err(std::sync::mpsc::TrySendError::Full(what)) = told.try_send(what) {
        shared.wake();
        let _ = told.send(what);
    }
    shared.wake();
}

impl Work {
    pub(super) fn tell(&self, what: Told) {
        tell(&self.told, &self.shared, what);
    }

    /// Leaves this entry as it is, and what is below it.
    pub(super) fn refuse(&mut self, node: u32, why: impl Into<String>) {
        if let Some(state) = self.states.get_mut(node as usize) {
            *state = State::Left;
        }
        let path = self.tree.path(node);
        self.refuse_path(path, why);
    }

    /// The same where there is no such node.
    pub(super) fn refuse_path(&mut self, path: Vec<u8>, why: impl Into<String>) {
        self.summary.refused += 1;
        self.summary.exit = Exit::Destination;
        self.tell(Told::Refused { path, why: why.into() });
    }

    /// Something did not work that should have.
    pub(super) fn fail(&mut self, node: u32, error: &io::Error) {
        self.has_failed = true;
        self.refuse(node, error.to_string());
    }

    /// Ends all of it: what came is kept.
    pub(super) fn broken(&self, error: &io::Error) -> ToolError {
        let destination = &self.place.destination;
        let mut message = format!("{}: {error}", shown(destination));
        if self.staging.is_some() {
            let kept = destination.join(STAGING_FOLDER);
            message +=
                &format!("; what came is kept in {}, and the same command goes on from there", shown(&kept));
        }
        ToolError::new(Exit::Destination, message)
    }

    /// The folder; there is one wherever something is written.
    pub(super) fn beneath(&self) -> io::Result<Arc<Beneath>> {
        self.place.beneath.clone().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The folder in which files wait.
    pub(super) fn staging(&mut self) -> io::Result<&mut Staging> {
        self.staging.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether something is to be put in the place of this node.
    pub(super) fn is_to_write(&self, node: u32) -> bool {
        matches!(self.states[node as usize], State::New | State::Replace)
    }

    /// How a file is to be.
    pub(super) fn attributes(&self, node: u32) -> Attributes {
        let exec = matches!(self.tree.what(node), What::File { exec: true, .. });
        Attributes { exec, mtime: self.tree.mtime(node) }
    }

    /// What the file for this one is called while it waits.
    pub(super) fn staged_name(&self, node: u32, content: u32) -> Vec<u8> {
        let nth = self.nths.get(&node).copied().unwrap_or(0);
        Staging::name(&self.tree.content(content).root, nth)
    }

    /// The files that wait for this content.
    pub(super) fn waiting_for(&self, content: u32) -> Vec<u32> {
        self.tree.users(content).filter(|node| self.is_file_to_write(*node)).collect()
    }

    fn is_file_to_write(&self, node: u32) -> bool {
        matches!(self.tree.what(node), What::File { .. }) && self.is_to_write(node)
    }
}
