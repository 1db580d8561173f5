//! Fills the staging folder: with what an interrupted run left there, what is in the folder under other names, and what comes.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::sync::atomic::Ordering;

use cjp2p_wire::content_id::Hash;
use rustix::fs::renameat;

use super::in_parallel::in_parallel;
use super::look::State;
use super::record::Known;
use super::removal::{Within, remove};
use super::staging::{Leftover, Staging};
use super::tree::{TOP, What};
use super::work::{Have, Work};
use cjp2p_io::beneath::{Stamp, hash, look};

/// Files that are read or copied side by side.
const AT_ONCE: usize = 4;

impl Work {
    /// Says of each content whether anything waits for it.
    pub(super) fn find_needed(&mut self) {
        let tree = self.tree.clone();
        self.have = vec![Have::Unneeded; tree.contents().len()];
        for content in 0..tree.contents().len() as u32 {
            let waiting = self.waiting_for(content);
            if !waiting.is_empty() {
                self.have[content as usize] = Have::Needed;
            }
            for (nth, node) in (0..).zip(waiting).skip(1) {
                self.nths.insert(node, nth);
            }
        }
    }

    /// Opens the staging folder. Names that are one file here are refused.
    pub(super) fn open_staging(&mut self) -> io::Result<()> {
        let beneath = self.beneath()?;
        let staging = Staging::open(&beneath, &self.place.destination)?;
        self.shared.has_staged.store(true, Ordering::SeqCst);
        let folds = staging.folds;
        self.staging = Some(staging);
        if folds { self.refuse_twins() } else { Ok(()) }
    }

    fn refuse_twins(&mut self) -> io::Result<()> {
        let (tree, beneath) = (self.tree.clone(), self.beneath()?);
        let folders = std::iter::once(TOP).chain(tree.entries());
        for folder in folders.filter(|node| tree.what(*node) == What::Folder) {
            let children = tree.children(folder);
            if self.states[folder as usize] == State::Left
                || !children.iter().any(|node| self.is_to_write(*node))
            {
                continue;
            }
            let names: Vec<&[u8]> = children.iter().map(|child| tree.name(*child)).collect();
            for (nth, why) in self.staging()?.twins(&names)? {
                if self.is_to_write(children[nth]) {
                    self.refuse(children[nth], why);
                }
            }
            if self.states[folder as usize] != State::Right {
                continue;
            }
            // Nothing of this name was in the folder, and yet something answers to it.
            let opened = beneath.folder(&tree.path(folder))?;
            for &child in children {
                let is_new = self.states[child as usize] == State::New;
                if is_new && look(&opened, tree.name(child))?.is_some() {
                    self.refuse(child, "is there already, in another spelling");
                }
            }
        }
        Ok(())
    }

    /// Takes what an interrupted run left, as far as it is right and wanted. The rest goes.
    pub(super) fn take_leftovers(&mut self) -> io::Result<()> {
        let tree = self.tree.clone();
        let by_root = self.needed_by_root();
        let staging = self.staging()?;
        let leftovers = staging.leftovers()?;
        let is_wanted = |leftover: &Leftover| leftover.root.and_then(|root| by_root.get(&root).copied());
        let checked = in_parallel(AT_ONCE, &leftovers, |leftover| {
            let Some(content) = is_wanted(leftover) else { return false };
            let content = tree.content(content);
            leftover.is_partial || is_content(staging, &leftover.name, &content.root, content.length)
        });
        let mut there: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for (leftover, is_right) in leftovers.into_iter().zip(checked) {
            match is_wanted(&leftover) {
                Some(_) if leftover.is_partial => {}
                Some(content) if is_right => there.entry(content).or_default().push(leftover.name),
                _ => remove(staging.folder(), &leftover.name, Within::All)?,
            }
        }
        for (content, names) in there {
            let staging = self.staging()?;
            let first = Staging::name(&tree.content(content).root, 0);
            // They come in the order of their names.
            if names[0] != first {
                renameat(staging.folder(), &*names[0], staging.folder(), &*first)?;
            }
            self.on_staged(content)?;
        }
        Ok(())
    }

    fn needed_by_root(&self) -> HashMap<Hash, u32> {
        let contents = (0..).zip(self.tree.contents());
        let needed = contents.filter(|(number, _)| self.have[*number as usize] == Have::Needed);
        needed.map(|(number, content)| (content.root, number)).collect()
    }

    /// Copies what is in the folder already, as another file, and what is empty.
    pub(super) fn take_what_is_here(&mut self) -> io::Result<()> {
        let (tree, beneath) = (self.tree.clone(), self.beneath()?);
        for (number, content) in (0..).zip(tree.contents()) {
            if content.length == 0 && self.have[number as usize] == Have::Needed {
                match content.root == *blake3::hash(&[]).as_bytes() {
                    true => self.on_bytes(number, &[])?,
                    false => self.on_failed(number, "cannot be empty and have this id"),
                }
            }
        }
        let sources = self.sources();
        let staging = self.staging()?;
        let copied = in_parallel(AT_ONCE, &sources, |(number, path, _)| {
            let content = tree.content(*number);
            let name = Staging::name(&content.root, 0);
            let copy = || -> io::Result<bool> {
                let from = beneath.file(path)?;
                staging.copy(&from, content.length, &name, Default::default())?;
                // It was right when it was last looked at. Now it is certain.
                Ok(is_content(staging, &name, &content.root, content.length))
            };
            match copy() {
                Ok(true) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(error),
                _ => remove(staging.folder(), &name, Within::All).map(|()| false),
            }
        });
        for ((number, ..), copied) in sources.into_iter().zip(copied) {
            if copied? {
                self.summary.copied += self.waiting_for(number).len() as u64;
                self.on_staged(number)?;
            }
        }
        Ok(())
    }

    /// Where content that is needed is, as far as is known: its number, a path, and what the file there was like.
    pub(super) fn sources(&self) -> Vec<(u32, Vec<u8>, Stamp)> {
        let by_root = self.needed_by_root();
        let mut sources: BTreeMap<u32, (Vec<u8>, Stamp)> = BTreeMap::new();
        if by_root.is_empty() {
            return Vec::new();
        }
        for node in self.tree.entries() {
            let What::File { content, .. } = self.tree.what(node) else { continue };
            if self.states[node as usize] == State::Right {
                if let (Have::Needed, Some(stamp)) = (self.have[content as usize], self.stamps.get(&node)) {
                    sources.entry(content).or_insert_with(|| (self.tree.path(node), *stamp));
                }
                continue;
            }
            // What it held before may be wanted elsewhere.
            for known in self.remembered.of(node) {
                let Known::File { stamp, root } = known else { continue };
                let is_there = self.seen.get(&node).is_some_and(|seen| seen.stamp == *stamp);
                if let (true, Some(content)) = (is_there, by_root.get(root)) {
                    sources.entry(*content).or_insert_with(|| (self.tree.path(node), *stamp));
                }
            }
        }
        let Some(beneath) = &self.place.beneath else { return Vec::new() };
        let strays = self.remembered.strays.iter();
        for (path, known) in strays.flat_map(|(path, known)| known.iter().map(move |known| (path, known))) {
            let Known::File { stamp, root } = known else { continue };
            let Some(content) = by_root.get(root).filter(|content| !sources.contains_key(content)) else {
                continue;
            };
            let is_there = |file: File| rustix::fs::fstat(&file).is_ok_and(|stat| Stamp::of(&stat) == *stamp);
            if beneath.file(path).is_ok_and(is_there) {
                sources.insert(*content, (path.clone(), *stamp));
            }
        }
        sources.into_iter().map(|(content, (path, stamp))| (content, path, stamp)).collect()
    }

    /// Content came as bytes, which are right.
    pub(super) fn on_bytes(&mut self, number: u32, bytes: &[u8]) -> io::Result<()> {
        if self.have.get(number as usize) != Some(&Have::Needed) {
            return Ok(());
        }
        if bytes.len() as u64 != self.tree.content(number).length {
            self.on_failed(number, "has another length than the list says");
            return Ok(());
        }
        for node in self.waiting_for(number) {
            let (name, attributes) = (self.staged_name(node, number), self.attributes(node));
            let stamp = self.staging()?.write(&name, bytes, attributes)?;
            self.stamps.insert(node, stamp);
        }
        self.count(number);
        Ok(())
    }

    /// Content came as the first file of its name in the staging folder, and is right.
    pub(super) fn on_staged(&mut self, number: u32) -> io::Result<()> {
        if self.have.get(number as usize) != Some(&Have::Needed) {
            return Ok(());
        }
        let content = *self.tree.content(number);
        let file = self.staging()?.open_file(&Staging::name(&content.root, 0))?;
        if file.metadata()?.len() != content.length {
            self.on_failed(number, "has another length than the list says");
            return Ok(());
        }
        for node in self.waiting_for(number) {
            let (name, attributes) = (self.staged_name(node, number), self.attributes(node));
            let is_another = self.nths.contains_key(&node);
            let staging = self.staging()?;
            let stamp = match is_another {
                true => staging.copy(&file, content.length, &name, attributes)?,
                false => staging.finish(&file, attributes)?,
            };
            self.stamps.insert(node, stamp);
        }
        self.count(number);
        Ok(())
    }

    fn count(&mut self, number: u32) {
        self.have[number as usize] = Have::Staged;
        let length = self.tree.content(number).length;
        self.waiting_for(number).iter().for_each(|_| self.shared.count_here(length));
    }

    /// Content cannot be had.
    pub(super) fn on_failed(&mut self, number: u32, why: &str) {
        if self.have.get(number as usize) != Some(&Have::Needed) {
            return;
        }
        self.have[number as usize] = Have::Failed;
        self.has_failed = true;
        for node in self.waiting_for(number) {
            self.refuse(node, why);
        }
    }
}

/// Whether a file of the staging folder holds this.
fn is_content(staging: &Staging, name: &[u8], root: &Hash, length: u64) -> bool {
    let Ok(mut file) = staging.open_file(name) else { return false };
    let has_length = file.metadata().is_ok_and(|found| found.len() == length);
    has_length && matches!(hash(&mut file), Ok(Some((found, _))) if found == *root)
}
