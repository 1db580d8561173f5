//! Looks at what is there, entry by entry, before anything is written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use cjp2p_io::walk::{self, Rules};
use rustix::fs::{FileType, Mode, OFlags, Stat, openat, readlinkat};

use super::in_parallel::in_parallel;
use super::judge::{There, Verdict, Wanted, judge, judge_hashed};
use super::options::Options;
use super::record::{Known, Remembered};
use super::removal::{self, Within};
use super::tree::{TOP, Tree, What};
use cjp2p_io::beneath::{self, Beneath, Stamp, kind, look, open_in};

/// All names, but those of unfinished things of ours.
const ALL: Rules = Rules { hidden: true, follow: false };
/// Files that are hashed side by side.
const HASHED_AT_ONCE: usize = 4;

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is there.
    New,
    Right,
    /// Something is, which may be replaced.
    Replace,
    /// It stays as it is, and so does what is below.
    Left,
}

/// What stood there when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) kind: FileType,
    pub(super) stamp: Stamp,
}

impl Seen {
    pub(super) fn of(stat: &Stat) -> Seen {
        Seen { kind: kind(stat), stamp: Stamp::of(stat) }
    }
}

/// Something that is not in the list.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    pub(super) folder: u32,
    pub(super) name: Vec<u8>,
    /// With what is in it.
    pub(super) entries: u64,
    /// What of it was written here and changed by others since: the first.
    pub(super) changed: Option<Vec<u8>>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) states: Vec<State>,
    /// Of files that are right.
    pub(super) stamps: BTreeMap<u32, Stamp>,
    /// What may be replaced.
    pub(super) seen: BTreeMap<u32, Seen>,
    /// What is right but for its mode or time.
    pub(super) to_set: Vec<u32>,
    /// Only looked for where they are to go.
    pub(super) extras: Vec<Extra>,
    /// All that is there, as far as it was looked for.
    pub(super) there: u64,
    /// Something could not be looked at.
    pub(super) has_failed: bool,
}

/// See the [module](self).
pub(super) struct Looker<'a> {
    pub(super) tree: &'a Tree,
    /// `None`: there is no folder yet.
    pub(super) beneath: Option<&'a Beneath>,
    pub(super) remembered: &'a Remembered,
    pub(super) options: &'a Options,
}

impl Looker<'_> {
    /// Looks at everything. What has to stay is told to `refuse`.
    pub(super) fn look(&self, refuse: &mut dyn FnMut(u32, String)) -> Findings {
        let mut found = Findings {
            states: vec![State::Left; self.tree.len()],
            stamps: BTreeMap::new(),
            seen: BTreeMap::new(),
            to_set: Vec::new(),
            extras: Vec::new(),
            there: 0,
            has_failed: false,
        };
        let mut to_hash = Vec::new();
        found.states[TOP as usize] = State::Right;
        let mut folders = vec![TOP];
        while let Some(folder) = folders.pop() {
            match self.look_in(folder, &mut found, &mut to_hash, refuse) {
                Ok(()) => {
                    let below = self.tree.children(folder).iter();
                    let goes_on = |child: &&u32| {
                        self.tree.what(**child) == What::Folder
                            && found.states[**child as usize] != State::Left
                    };
                    folders.extend(below.filter(goes_on));
                }
                Err(error) => {
                    found.has_failed = true;
                    found.states[folder as usize] = State::Left;
                    refuse(folder, error.to_string());
                }
            }
        }
        to_hash.sort_unstable();
        self.hash(&to_hash, &mut found, refuse);
        found.to_set.sort_unstable();
        found
    }

    fn look_in(
        &self,
        folder: u32,
        found: &mut Findings,
        to_hash: &mut Vec<u32>,
        refuse: &mut dyn FnMut(u32, String),
    ) -> io::Result<()> {
        let children = self.tree.children(folder);
        let (true, Some(beneath)) = (found.states[folder as usize] == State::Right, self.beneath) else {
            // Nothing can be in what is not there yet.
            for child in children.iter().filter(|child| self.tree.what(**child) != What::Refused) {
                found.states[*child as usize] = State::New;
            }
            return Ok(());
        };
        let mut path = self.tree.path(folder);
        let opened = beneath.listed(&path)?;
        let names = walk::names(&opened, ALL)?;
        let mut names = names.iter().map(|name| name.as_bytes()).peekable();
        for &child in children {
            let name = self.tree.name(child);
            while let Some(extra) = names.next_if(|there| *there < name) {
                self.extra(folder, &opened, extra, &mut path, found)?;
            }
            let is_there = names.next_if_eq(&name).is_some();
            found.there += u64::from(is_there);
            if self.tree.what(child) != What::Refused {
                self.look_at(child, is_there.then_some(&opened), &mut path, found, to_hash, refuse);
            }
        }
        names.try_for_each(|extra| self.extra(folder, &opened, extra, &mut path, found))
    }

    /// `folder` is that which has something of this name.
    fn look_at(
        &self,
        node: u32,
        folder: Option<&OwnedFd>,
        path: &mut Vec<u8>,
        found: &mut Findings,
        to_hash: &mut Vec<u32>,
        refuse: &mut dyn FnMut(u32, String),
    ) {
        let judged = self.judge(node, folder, path, found);
        let (verdict, stat) = judged.unwrap_or_else(|error| {
            found.has_failed = true;
            refuse(node, error.to_string());
            (None, None)
        });
        let state = match verdict {
            None => State::Left,
            Some(Verdict::New) => State::New,
            Some(Verdict::Right) => State::Right,
            Some(Verdict::Replace) => State::Replace,
            Some(Verdict::Hash) => {
                to_hash.push(node);
                State::Left
            }
            Some(Verdict::Refuse(why)) => {
                refuse(node, why.into());
                State::Left
            }
        };
        found.states[node as usize] = state;
        let Some(stat) = stat else { return };
        match state {
            State::Right => self.is_right(node, &stat, found),
            // What is hashed may turn out to be replaced.
            _ => drop(found.seen.insert(node, Seen::of(&stat))),
        }
    }

    fn judge(
        &self,
        node: u32,
        folder: Option<&OwnedFd>,
        path: &mut Vec<u8>,
        found: &mut Findings,
    ) -> io::Result<(Option<Verdict>, Option<Stat>)> {
        let wanted = match self.tree.what(node) {
            What::Folder => Wanted::Folder,
            What::Link { .. } => Wanted::Link { target: self.tree.target(node) },
            What::File { content, .. } => {
                let content = self.tree.content(content);
                Wanted::File { root: &content.root, length: content.length }
            }
            What::Refused => return Ok((None, None)),
        };
        let name = self.tree.name(node);
        let stat = match folder {
            Some(folder) => look(folder, name)?,
            None => None,
        };
        let (Some(folder), Some(stat)) = (folder, stat) else { return Ok((Some(Verdict::New), None)) };
        let target;
        let there = match kind(&stat) {
            FileType::RegularFile => There::File(Stamp::of(&stat)),
            FileType::Directory if wanted_is_folder(&wanted) => There::Folder { may_go: false },
            FileType::Directory => {
                let survey = self.survey(folder, name, path)?;
                found.there += survey.entries;
                let is_of_no_use = survey.entries == 0 || (self.options.delete && survey.changed.is_none());
                let may_go = is_of_no_use && !survey.is_in_progress;
                There::Folder { may_go }
            }
            FileType::Symlink => {
                target = readlinkat(folder, name, Vec::new())?;
                There::Link { target: target.as_bytes() }
            }
            _ => There::Other,
        };
        let known = self.remembered.of(node);
        let mut verdict = judge(wanted, there, known.clone(), self.options);
        if verdict == Verdict::Hash && !matches!(wanted, Wanted::File { .. }) {
            // This is rare, and what is below a folder has to be judged next.
            let hashed = beneath::hash(&mut open_in(folder, name)?)?;
            let found = hashed.map_or([0; 32], |(hash, _)| hash);
            verdict = judge_hashed(None, &found, known, self.options);
        }
        Ok((Some(verdict), Some(stat)))
    }

    fn is_right(&self, node: u32, stat: &Stat, found: &mut Findings) {
        let stamp = Stamp::of(stat);
        let mtime = self.tree.mtime(node);
        let has_time =
            mtime.is_none_or(|mtime| (mtime.seconds(), mtime.nanos()) == (stamp.seconds, stamp.nanos));
        match self.tree.what(node) {
            What::File { exec, .. } => {
                found.stamps.insert(node, stamp);
                let is_executable = Mode::from_raw_mode(stat.st_mode as _).contains(Mode::XUSR);
                if is_executable != exec || !has_time {
                    found.to_set.push(node);
                }
            }
            What::Link { .. } if !has_time => found.to_set.push(node),
            // Times of folders are set at the end, when nothing changes in them any more.
            _ => {}
        }
    }

    fn hash(&self, nodes: &[u32], found: &mut Findings, refuse: &mut dyn FnMut(u32, String)) {
        let Some(beneath) = self.beneath else { return };
        let hashed = in_parallel(HASHED_AT_ONCE, nodes, |node| beneath.hash(&self.tree.path(*node)));
        for (&node, hashed) in nodes.iter().zip(hashed) {
            let What::File { content, .. } = self.tree.what(node) else { continue };
            let seen = found.seen.get(&node).copied();
            let (hash, stamp) = match hashed {
                Ok(Some((hash, stamp))) if seen.is_some_and(|seen| seen.stamp == stamp) => (hash, stamp),
                Ok(_) => {
                    refuse(node, "was changed while it was read".into());
                    continue;
                }
                Err(error) => {
                    found.has_failed = true;
                    refuse(node, error.to_string());
                    continue;
                }
            };
            let root = Some(&self.tree.content(content).root);
            match judge_hashed(root, &hash, self.remembered.of(node), self.options) {
                Verdict::Right => {
                    found.states[node as usize] = State::Right;
                    found.seen.remove(&node);
                    found.stamps.insert(node, stamp);
                    // Whether it is set as it should be is looked at when it is set.
                    found.to_set.push(node);
                }
                Verdict::Refuse(why) => refuse(node, why.into()),
                _ => found.states[node as usize] = State::Replace,
            }
        }
    }

    fn extra(
        &self,
        folder: u32,
        opened: &OwnedFd,
        name: &[u8],
        path: &mut Vec<u8>,
        found: &mut Findings,
    ) -> io::Result<()> {
        if !self.options.delete {
            return Ok(());
        }
        let survey = self.survey(opened, name, path)?;
        let entries = survey.entries + 1;
        found.there += entries;
        found.extras.push(Extra { folder, name: name.to_vec(), entries, changed: survey.changed });
        Ok(())
    }

    /// Counts what is in something that is not in the list. `path` is that of the folder it is in.
    fn survey(&self, folder: &OwnedFd, name: &[u8], path: &mut Vec<u8>) -> io::Result<Survey> {
        let mut survey = Survey::default();
        let result = self.survey_into(folder, name, path, &mut survey);
        result.map(|()| survey)
    }

    fn survey_into(
        &self,
        folder: &OwnedFd,
        name: &[u8],
        path: &mut Vec<u8>,
        survey: &mut Survey,
    ) -> io::Result<()> {
        let Some(stat) = look(folder, name)? else { return Ok(()) };
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let result = match kind(&stat) {
            FileType::Directory => self.survey_folder(folder, name, path, survey),
            _ => {
                if survey.changed.is_none() && self.was_changed(folder, name, path, &stat)? {
                    survey.changed = Some(path.clone());
                }
                Ok(())
            }
        };
        path.truncate(length);
        result
    }

    fn survey_folder(
        &self,
        folder: &OwnedFd,
        name: &[u8],
        path: &mut Vec<u8>,
        survey: &mut Survey,
    ) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(folder, name, flags, Mode::empty())?;
        let names: Vec<OsString> = walk::names(&opened, ALL)?;
        survey.entries += names.len() as u64;
        survey.is_in_progress |= removal::names(&opened, Within::All)?.len() > names.len();
        names.iter().try_for_each(|name| self.survey_into(&opened, name.as_bytes(), path, survey))
    }

    /// Whether this was written here and is something else now.
    fn was_changed(&self, folder: &OwnedFd, name: &[u8], path: &[u8], stat: &Stat) -> io::Result<bool> {
        if self.options.may_replace_theirs() {
            return Ok(false);
        }
        let Some(known) = self.remembered.strays.get(path) else { return Ok(false) };
        match kind(stat) {
            FileType::RegularFile => {
                let there = Stamp::of(stat);
                if known.iter().any(|known| matches!(known, Known::File { stamp, .. } if *stamp == there)) {
                    return Ok(false);
                }
                let hashed = beneath::hash(&mut open_in(folder, name)?)?;
                let is_that = |known: &Known| match (known, &hashed) {
                    (Known::File { root, .. }, Some((hash, _))) => root == hash,
                    _ => false,
                };
                Ok(!known.iter().any(is_that))
            }
            FileType::Symlink => {
                let target = readlinkat(folder, name, Vec::new())?;
                let found = blake3::hash(target.as_bytes());
                let is_that =
                    |known: &Known| matches!(known, Known::Link { target } if found.as_bytes() == target);
                Ok(!known.iter().any(is_that))
            }
            _ => Ok(true),
        }
    }
}

/// What is in something.
#[derive(Debug, Default)]
struct Survey {
    entries: u64,
    changed: Option<Vec<u8>>,
    /// Downloads are, which are none of the entries.
    is_in_progress: bool,
}

fn wanted_is_folder(wanted: &Wanted<'_>) -> bool {
    matches!(wanted, Wanted::Folder)
}

/// Whether something is at a name and the same as when it was looked at.
pub(super) fn is_still(folder: impl AsFd, name: &[u8], seen: &Seen) -> io::Result<bool> {
    Ok(look(folder, name)?.is_some_and(|stat| match seen.kind {
        // What is in it may have changed.
        FileType::Directory => kind(&stat) == seen.kind && Stamp::of(&stat).inode == seen.stamp.inode,
        _ => Seen::of(&stat) == *seen,
    }))
}
