//! The last steps: what was staged gets its names, when all of it is on the disk. Nothing is removed before what replaces it is there.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cjp2p_cli::ToolError;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::Mtime;
use rustix::fs::{FileType, Mode, RenameFlags, Stat, mkdirat, renameat, renameat_with};
use rustix::io::Errno;

use super::backup::rename_to_free;
use super::look::{Seen, State, is_still};
use super::record::Known;
use super::removal::{Within, remove};
use super::staging::{set_time_of, sync_all};
use super::told::Told;
use super::tree::{TOP, Tree, What};
use super::work::{Have, Work};
use cjp2p_io::beneath::{Stamp, kind, look, open_in};

const NEW_FOLDER: Mode = Mode::from_raw_mode(0o777);
const CHANGED: &str = "was changed meanwhile";
/// Things that one name may stand for after interruptions: the newest.
const MOST_KNOWN: usize = 4;

/// How long a record is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Until all names are given.
    Placed,
    /// Until the next run.
    Later,
}

/// Why something is not deleted.
pub(super) const CHANGED_HERE: &str = "is not in the list, but was changed here since it was written: --force deletes it, --backup DIR \
                                       keeps it elsewhere";
const APPEARED: &str = "appeared meanwhile";

impl Work {
    /// Does all that is left to do. In this order, so that a crash at any instant leaves nothing wrong: bytes on the disk, the
    /// record of them, names, and at the end what goes.
    pub(super) fn publish(&mut self) -> Result<(), ToolError> {
        self.set_what_is_right().map_err(|error| self.broken(&error))?;
        if let Some(staging) = &self.staging {
            staging.sync().map_err(|error| self.broken(&error))?;
        }
        let is_new = !self.is_remembered();
        if is_new {
            self.write_record(Until::Placed);
        }
        self.place_all().map_err(|error| self.broken(&error))?;
        self.delete_extras();
        self.set_times_of_folders();
        self.tidy().map_err(|error| self.broken(&error))?;
        if is_new {
            self.write_record(Until::Later);
        }
        Ok(())
    }

    /// Sets modes and times of files that are right but for these.
    fn set_what_is_right(&mut self) -> io::Result<()> {
        let nodes = std::mem::take(&mut self.to_set);
        let tree = self.tree.clone();
        let mut opened: Option<(u32, OwnedFd)> = None;
        for node in nodes {
            let parent = tree.node(node).parent;
            if opened.as_ref().is_none_or(|(folder, _)| *folder != parent) {
                opened = Some((parent, self.beneath()?.folder(&tree.path(parent))?));
            }
            let Some((_, folder)) = &opened else { continue };
            if let Err(error) = self.set(folder, node) {
                self.fail(node, &error);
            }
        }
        Ok(())
    }

    fn set(&mut self, folder: &OwnedFd, node: u32) -> io::Result<()> {
        let tree = self.tree.clone();
        let (name, attributes) = (tree.name(node), self.attributes(node));
        let What::File { exec, .. } = tree.what(node) else {
            set_time_of(folder, name, attributes.mtime);
            return Ok(());
        };
        let stat = look(folder, name)?.ok_or(Errno::NOENT)?;
        if is_so(&stat, exec, tree.mtime(node)) {
            return Ok(());
        }
        let file = open_in(folder, name)?;
        let found = Stamp::of(&rustix::fs::fstat(&file)?);
        if self.stamps.get(&node) != Some(&found) {
            return Err(io::Error::other(CHANGED));
        }
        let stamp = self.staging()?.finish(&file, attributes)?;
        self.stamps.insert(node, stamp);
        Ok(())
    }

    /// Whether the mode or time of something is still to be set.
    pub(super) fn is_to_set(&self, node: u32) -> bool {
        let (tree, Some(beneath)) = (&self.tree, &self.place.beneath) else { return false };
        let What::File { exec, .. } = tree.what(node) else { return true };
        let folder = beneath.folder(&tree.path(tree.node(node).parent));
        let found = folder.and_then(|folder| look(folder, tree.name(node))).ok().flatten();
        found.is_some_and(|stat| !is_so(&stat, exec, tree.mtime(node)))
    }

    /// Whether nothing has to be written down.
    fn is_remembered(&self) -> bool {
        let is_known = |node| self.known(node, Until::Later).iter().eq(self.remembered.of(node));
        self.remembered.is_there && self.remembered.strays.is_empty() && self.tree.entries().all(is_known)
    }

    /// Writes down what is ours. Before it gets its names it is known by its inode and time, and what it replaces is still known
    /// too: whichever is there after an interruption, the next run tells it from what others did.
    fn write_record(&self, until: Until) {
        let tree = &self.tree;
        let written = self.place.record.write(|writer| {
            for folder in std::iter::once(TOP).chain(tree.entries()) {
                let mut is_named = false;
                for &child in tree.children(folder) {
                    for known in self.known(child, until) {
                        if !std::mem::replace(&mut is_named, true) {
                            writer.folder(&tree.path(folder))?;
                        }
                        writer.entry(tree.name(child), &known)?;
                    }
                }
            }
            for (path, known) in &self.remembered.strays {
                let at = path.iter().rposition(|byte| *byte == b'/');
                let (folder, name) = (&path[..at.unwrap_or(0)], &path[at.map_or(0, |at| at + 1)..]);
                if until == Until::Placed || self.is_there(folder, name) {
                    writer.folder(folder)?;
                    known.iter().try_for_each(|known| writer.entry(name, known))?;
                }
            }
            Ok(())
        });
        if let Err(error) = written {
            self.tell(Told::Warning(format!("what was written is not remembered: {error}")));
        }
    }

    /// What is to be remembered of a node.
    fn known(&self, node: u32, until: Until) -> Vec<Known> {
        let state = self.states[node as usize];
        let new = match self.tree.what(node) {
            // What stays as it is may still be what was written before.
            _ if state == State::Left => None,
            What::Folder | What::Refused => None,
            What::Link { .. } => {
                Some(Known::Link { target: *blake3::hash(self.tree.target(node)).as_bytes() })
            }
            What::File { content, .. } => {
                let is_here = state == State::Right || self.have[content as usize] == Have::Staged;
                let stamp = self.stamps.get(&node).filter(|_| is_here);
                stamp.map(|stamp| Known::File { stamp: *stamp, root: self.tree.content(content).root })
            }
        };
        let is_old_of_use = match state {
            State::Left => true,
            State::Right => false,
            State::New | State::Replace => until == Until::Placed || new.is_none(),
        };
        let old = self.remembered.of(node).filter(|known| is_old_of_use && Some(**known) != new);
        new.into_iter().chain(old.copied()).take(MOST_KNOWN).collect()
    }

    fn is_there(&self, folder: &[u8], name: &[u8]) -> bool {
        let Some(beneath) = &self.place.beneath else { return false };
        let found = beneath.folder(folder).and_then(|folder| look(folder, name));
        found.is_ok_and(|found| found.is_some())
    }

    /// Gives names to all that was staged, folder by folder, each after the one it is in. Ends where the top cannot be opened.
    fn place_all(&mut self) -> io::Result<()> {
        let tree = self.tree.clone();
        for folder in std::iter::once(TOP).chain(tree.entries()) {
            let children = tree.children(folder);
            let is_left = self.states[folder as usize] == State::Left;
            if is_left || !children.iter().any(|child| self.is_to_write(*child)) {
                continue;
            }
            let path = tree.path(folder);
            match self.beneath().and_then(|beneath| Ok(beneath.folder(&path)?)) {
                Ok(opened) => {
                    for &child in children {
                        if self.is_to_write(child)
                            && let Err(error) = self.place_node(&tree, &opened, child)
                        {
                            self.has_failed |= !is_refusal(&error);
                            self.refuse(child, error.to_string());
                        }
                    }
                }
                Err(error) if folder == TOP => return Err(error),
                Err(error) => self.fail(folder, &error),
            }
            for &node in children.iter().chain([&folder]) {
                if tree.what(node) == What::Folder && self.states[node as usize] == State::Left {
                    self.leave_below(&tree, node);
                }
            }
        }
        Ok(())
    }

    /// What is in a folder that was refused just now is not tried.
    fn leave_below(&mut self, tree: &Tree, folder: u32) {
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for &below in tree.children(folder) {
                self.states[below as usize] = State::Left;
                folders.extend((tree.what(below) == What::Folder).then_some(below));
            }
        }
    }

    fn place_node(&mut self, tree: &Tree, folder: &OwnedFd, node: u32) -> io::Result<()> {
        let name = tree.name(node);
        let replaces = self.states[node as usize] == State::Replace;
        match tree.what(node) {
            What::Folder if !replaces => {
                match mkdirat(folder, name, NEW_FOLDER) {
                    Err(Errno::EXIST) => {
                        let found = look(folder, name)?;
                        if !found.is_some_and(|stat| kind(&stat) == FileType::Directory) {
                            return Err(io::Error::other(APPEARED));
                        }
                    }
                    made => made?,
                }
                self.summary.folders_made += 1;
            }
            What::Folder => {
                let staged = self.staging()?.new_folder()?;
                self.put(folder, node, &staged)?;
                self.summary.folders_made += 1;
            }
            What::File { content, .. } => {
                if self.have[content as usize] != Have::Staged {
                    return Ok(());
                }
                let staged = self.staged_name(node, content);
                self.put(folder, node, &staged)?;
                self.summary.fetched += 1;
            }
            What::Link { .. } => {
                let mtime = tree.mtime(node);
                let staged = self.staging()?.link(tree.target(node), mtime)?;
                self.put(folder, node, &staged)?;
                self.summary.linked += 1;
            }
            What::Refused => return Ok(()),
        }
        self.summary.replaced += u64::from(replaces);
        Ok(())
    }

    /// Gives something that is staged the name of a node.
    fn put(&mut self, folder: &OwnedFd, node: u32, staged: &[u8]) -> io::Result<()> {
        let tree = self.tree.clone();
        let name = tree.name(node);
        let seen = self.seen.get(&node).copied();
        let seen = seen.filter(|_| self.states[node as usize] == State::Replace);
        let options = &self.place.options;
        let Some(seen) = seen else { return self.put_where_nothing_is(folder, name, staged) };
        if !is_still(folder, name, &seen)? {
            if look(folder, name)?.is_none() {
                return self.put_where_nothing_is(folder, name, staged);
            }
            if !options.may_replace_theirs() {
                return Err(io::Error::other(CHANGED));
            }
        }
        let stat = look(folder, name)?.ok_or(Errno::NOENT)?;
        let is_folder = Seen::of(&stat).kind == FileType::Directory;
        let becomes_folder = tree.what(node) == What::Folder;
        let path = tree.path(node);
        match &self.place.backup {
            None if is_folder || becomes_folder => self.exchange(folder, name, staged),
            None => Ok(renameat(self.staging()?.folder(), staged, folder, name)?),
            // Only one who takes it away can keep a folder, or have one in its place.
            Some(backup) if is_folder || becomes_folder => {
                backup.take(folder, name, &path)?;
                self.put_where_nothing_is(folder, name, staged)
            }
            Some(backup) => {
                backup.keep(folder, name, &path)?;
                Ok(renameat(self.staging()?.folder(), staged, folder, name)?)
            }
        }
    }

    fn put_where_nothing_is(&mut self, folder: &OwnedFd, name: &[u8], staged: &[u8]) -> io::Result<()> {
        match rename_to_free(self.staging()?.folder(), staged, folder, name) {
            Err(Errno::EXIST) => Err(io::Error::other(APPEARED)),
            renamed => Ok(renamed?),
        }
    }

    /// Puts something in the place of a folder, or a folder in the place of something, and removes what was there.
    fn exchange(&mut self, folder: &OwnedFd, name: &[u8], staged: &[u8]) -> io::Result<()> {
        let staging = self.staging()?;
        let old = match renameat_with(staging.folder(), staged, folder, name, RenameFlags::EXCHANGE) {
            Ok(()) => staged.to_vec(),
            // Not every file system can: then nothing has the name for a moment.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let old = staging.other_name();
                rename_to_free(folder, name, staging.folder(), &old)?;
                rename_to_free(staging.folder(), staged, folder, name)?;
                old
            }
            Err(error) => return Err(error.into()),
        };
        remove(staging.folder(), &old, Within::All)
    }

    /// Removes what is not in the list, unless something went wrong.
    fn delete_extras(&mut self) {
        let extras = std::mem::take(&mut self.extras);
        if extras.is_empty() {
            return;
        }
        if self.has_failed {
            let what = "nothing is deleted, as not everything could be done";
            return self.tell(Told::Warning(what.into()));
        }
        let tree = self.tree.clone();
        let mut opened: Option<(u32, OwnedFd)> = None;
        for extra in extras {
            if self.states[extra.folder as usize] != State::Right {
                continue;
            }
            let folder_path = tree.path(extra.folder);
            let path = if folder_path.is_empty() {
                extra.name.clone()
            } else {
                [&*folder_path, &*extra.name].join(&b'/')
            };
            if let Some(changed) = extra.changed {
                self.refuse_path(changed, CHANGED_HERE);
                continue;
            }
            if opened.as_ref().is_none_or(|(folder, _)| *folder != extra.folder) {
                opened = match self.beneath().and_then(|beneath| Ok(beneath.folder(&folder_path)?)) {
                    Ok(folder) => Some((extra.folder, folder)),
                    Err(error) => {
                        self.refuse_path(path, error.to_string());
                        continue;
                    }
                };
            }
            let Some((_, folder)) = &opened else { continue };
            let gone = match &self.place.backup {
                Some(backup) => backup.take(folder, &extra.name, &path),
                None => remove(folder, &extra.name, Within::Finished),
            };
            match gone {
                Ok(()) => self.summary.deleted += 1,
                Err(error) => self.refuse_path(path, error.to_string()),
            }
        }
    }

    /// The last of all, and those that are in others first: anything that changes in a folder changes its time.
    fn set_times_of_folders(&mut self) {
        let tree = self.tree.clone();
        let Some(beneath) = self.place.beneath.clone().filter(|_| tree.has_times()) else { return };
        let entries: Vec<u32> = tree.entries().collect();
        for &node in entries.iter().rev() {
            let Some(mtime) = tree.mtime(node).filter(|_| tree.what(node) == What::Folder) else { continue };
            if self.states[node as usize] == State::Left {
                continue;
            }
            let Ok(folder) = beneath.folder(&tree.path(tree.node(node).parent)) else { continue };
            let found = look(&folder, tree.name(node)).ok().flatten();
            let stamp = found.filter(|stat| kind(stat) == FileType::Directory).map(|stat| Stamp::of(&stat));
            if stamp.is_some_and(|stamp| (stamp.seconds, stamp.nanos) != (mtime.seconds(), mtime.nanos())) {
                set_time_of(&folder, tree.name(node), Some(mtime));
            }
        }
    }

    /// Brings the names to the disk, and removes the folder in which files waited.
    fn tidy(&mut self) -> io::Result<()> {
        let beneath: Option<Arc<_>> = self.place.beneath.clone();
        let (Some(staging), Some(beneath)) = (&self.staging, beneath) else { return Ok(()) };
        let path = staging.path().to_owned();
        let failed = (0..)
            .zip(self.tree.contents())
            .filter(|(number, _)| self.have.get(*number as usize) == Some(&Have::Failed));
        let failed: BTreeSet<Hash> = failed.map(|(_, content): (u32, _)| content.root).collect();
        if !staging.remove(&beneath, |root| failed.contains(root))? {
            self.summary.kept_in = Some(path);
        }
        if let Some(backup) = &self.place.backup {
            sync_all(backup.folder())?;
        }
        sync_all(beneath.top())
    }
}

/// Whether a file is as the list has it.
fn is_so(stat: &Stat, exec: bool, mtime: Option<Mtime>) -> bool {
    let stamp = Stamp::of(stat);
    let has_time = mtime.is_none_or(|mtime| (mtime.seconds(), mtime.nanos()) == (stamp.seconds, stamp.nanos));
    Mode::from_raw_mode(stat.st_mode as _).contains(Mode::XUSR) == exec && has_time
}

/// Whether somebody else's doing is left as it is, and nothing is wrong with the disk.
fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| matches!(inner.to_string().as_str(), CHANGED | APPEARED))
}
