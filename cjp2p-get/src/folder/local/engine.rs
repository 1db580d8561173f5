//! The work from its beginning to its end, on a thread of its own.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names::shown;

use super::look::{Looker, State};
use super::record::Remembered;
use super::shared::{Shared, Wanted};
use super::staging::Staging;
use super::told::{Action, Summary, Told};
use super::tree::{TOP, Tree, TreeBuilder, What, read_tree};
use super::work::{Have, Place, Work, tell};

/// What became of content that was needed.
pub(super) enum Came {
    Bytes(u32, Vec<u8>),
    Staged(u32),
    Failed(u32, String),
}

/// Does it all.
///
/// # Errors
///
/// What stops it: nothing more was done.
pub(super) fn run(
    place: Place,
    entries: &File,
    shared: &Arc<Shared>,
    came: &Receiver<Came>,
    told: &SyncSender<Told>,
) -> Result<Summary, ToolError> {
    let mut summary = Summary::default();
    let builder = TreeBuilder::new(place.options.any_links);
    let tree = read_tree(entries, builder, |path, why| {
        summary.refused += 1;
        summary.exit = Exit::Destination;
        tell(told, shared, Told::Refused { path, why });
    })?;
    let remembered =
        place.record.load(&tree).map_err(|error| ToolError::failure(format!("state: {error}")))?;
    let mut work = look(place, tree, remembered, summary, shared, told)?;
    work.check_deletions()?;
    if work.place.options.dry_run {
        work.tell_what_would_be();
        return Ok(work.summary);
    }
    work.prepare().map_err(|error| work.broken(&error))?;
    work.receive(came).map_err(|error| work.broken(&error))?;
    work.publish()?;
    Ok(work.summary)
}

/// Looks at what is there, and says how much that is.
fn look(
    place: Place,
    tree: Tree,
    remembered: Remembered,
    summary: Summary,
    shared: &Arc<Shared>,
    told: &SyncSender<Told>,
) -> Result<Work, ToolError> {
    let mut refused = Vec::new();
    let looker = Looker {
        tree: &tree,
        beneath: place.beneath.as_deref(),
        remembered: &remembered,
        options: &place.options,
    };
    let found = looker.look(&mut |node, why| refused.push((node, why)));
    if found.states[TOP as usize] == State::Left {
        let why = refused.pop().map(|(_, why)| why).unwrap_or_default();
        return Err(ToolError::new(Exit::Destination, format!("{}: {why}", shown(&place.destination))));
    }
    let mut work = Work {
        place,
        tree: Arc::new(tree),
        remembered,
        states: found.states,
        stamps: found.stamps,
        seen: found.seen,
        to_set: found.to_set,
        extras: found.extras,
        entries_there: found.there,
        staging: None,
        have: Vec::new(),
        nths: Default::default(),
        has_failed: found.has_failed,
        summary,
        shared: shared.clone(),
        told: told.clone(),
    };
    for (node, why) in refused {
        work.refuse(node, why);
    }
    let tree = work.tree.clone();
    for node in tree.entries() {
        let state = work.states[node as usize];
        work.summary.kept += u64::from(state == State::Right);
        if let (What::File { content, .. }, true) = (tree.what(node), state != State::Left) {
            let length = tree.content(content).length;
            shared.count_file(length);
            if state == State::Right {
                shared.count_here(length);
            }
        }
    }
    Ok(work)
}

impl Work {
    /// Whether as much may go as would.
    fn check_deletions(&self) -> Result<(), ToolError> {
        let going: u64 = self.extras.iter().map(|extra| extra.entries).sum();
        if going == 0 || self.place.options.force {
            return Ok(());
        }
        let destination = shown(&self.place.destination);
        let there = self.entries_there;
        let message = if !self.remembered.is_there {
            format!(
                "{destination}: is not empty, and was not fetched to before: --delete would delete {going} of {there} entries; \
                 --force does, --dry-run tells which"
            )
        } else if going * 2 > there {
            format!(
                "{destination}: --delete would delete {going} of {there} entries, more than half; --force does, --dry-run tells which"
            )
        } else {
            return Ok(());
        };
        if self.place.options.dry_run {
            // That is told beside all that would be done otherwise.
            self.tell(Told::Warning(message));
            return Ok(());
        }
        Err(ToolError::new(Exit::Destination, message))
    }

    /// Tells what would be done, in the order of the list.
    fn tell_what_would_be(&mut self) {
        self.find_needed();
        let here: Vec<u32> = self.sources().into_iter().map(|(content, ..)| content).collect();
        let tree = self.tree.clone();
        let to_set = std::mem::take(&mut self.to_set);
        for node in tree.entries() {
            let length = match tree.what(node) {
                What::File { content, .. } => tree.content(content).length,
                _ => 0,
            };
            let what = match (self.states[node as usize], tree.what(node)) {
                (State::Left, _) | (_, What::Refused) => continue,
                (State::Right, _) if to_set.binary_search(&node).is_ok() && self.is_to_set(node) => {
                    Action::Set
                }
                (State::Right, _) => continue,
                (State::Replace, _) => Action::Replace,
                (State::New, What::Folder) => Action::MakeFolder,
                (State::New, What::Link { .. }) => Action::Link,
                (State::New, What::File { content, .. }) if here.binary_search(&content).is_ok() => {
                    Action::Copy
                }
                (State::New, What::File { .. }) => Action::Fetch,
            };
            self.tell(Told::Would { what, path: tree.path(node), length });
        }
        for extra in std::mem::take(&mut self.extras) {
            let path = match tree.path(extra.folder) {
                folder if folder.is_empty() => extra.name,
                folder => [&*folder, &*extra.name].join(&b'/'),
            };
            match extra.changed {
                Some(changed) => self.refuse_path(changed, super::place::CHANGED_HERE),
                None => self.tell(Told::Would { what: Action::Delete, path, length: 0 }),
            }
        }
    }

    /// Takes what is here already, and says what else is needed.
    fn prepare(&mut self) -> io::Result<()> {
        let tree = self.tree.clone();
        let left_behind = self.place.beneath.as_deref().is_some_and(Staging::is_in);
        if left_behind || !self.to_set.is_empty() || tree.entries().any(|node| self.is_to_write(node)) {
            self.open_staging()?;
        }
        self.find_needed();
        if self.staging.is_some() {
            self.take_leftovers()?;
            self.take_what_is_here()?;
        }
        let needed =
            (0..tree.contents().len() as u32).filter(|number| self.have[*number as usize] == Have::Needed);
        let contents: Vec<u32> = needed.collect();
        let _ = self.shared.wanted.set(Wanted { tree, contents });
        self.shared.wake();
        Ok(())
    }

    /// Takes what comes, until nothing is needed any more.
    fn receive(&mut self, came: &Receiver<Came>) -> io::Result<()> {
        let mut needed = self.have.iter().filter(|have| **have == Have::Needed).count();
        while needed > 0 {
            let Ok(next) = came.recv() else { return Err(io::ErrorKind::Interrupted.into()) };
            if self.shared.is_abandoned.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let number = match &next {
                Came::Bytes(number, _) | Came::Staged(number) | Came::Failed(number, _) => *number,
            };
            needed -= usize::from(self.have.get(number as usize) == Some(&Have::Needed));
            match next {
                Came::Bytes(number, bytes) => {
                    self.on_bytes(number, &bytes)?;
                    self.shared.on_written(bytes.len());
                }
                Came::Staged(number) => self.on_staged(number)?,
                Came::Failed(number, why) => self.on_failed(number, &why),
            }
        }
        Ok(())
    }
}
