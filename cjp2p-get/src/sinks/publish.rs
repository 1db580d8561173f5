//! Giving a finished file its name.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_wire::io::partial_name::PART_SUFFIX;
use cjp2p_wire::io::state_dir::{folder_of, sync_folder};
use cjp2p_wire::tool::{Exit, ToolError, names};
use cjp2p_wire::transfer::ranges::RangeSet;
use rustix::fs::{Advice, CWD, RenameFlags, fadvise, renameat_with};
use rustix::io::Errno;

use super::excerpt;
use crate::place::Paths;

/// What to tell of a file that is in the way.
pub(super) const SOMETHING_ELSE: &str = "is there already and something else";

/// What is left to do when all that is wanted is in a partial.
pub(super) struct LastStep {
    /// The partial.
    pub(super) file: Arc<File>,
    pub(super) paths: Paths,
    /// Of the content.
    pub(super) length: u64,
    pub(super) force: bool,
    /// What was asked for, if not simply all.
    pub(super) excerpt: Option<Excerpt>,
}

/// What a file is to hold of the content.
pub(super) struct Excerpt {
    pub(super) ranges: RangeSet,
    /// An interrupted fetch had more of the content than is asked for now, which shall not be lost.
    pub(super) keeps_partial: bool,
}

impl LastStep {
    /// Does it.
    pub(super) fn run(&self) -> Result<(), ToolError> {
        let done = match &self.excerpt {
            None => self.publish_whole(),
            Some(excerpt) if !self.force && fs::symlink_metadata(&self.paths.target).is_ok() => {
                self.compare(excerpt)
            }
            Some(excerpt) if excerpt.ranges.total() == self.length => self.publish_whole(),
            Some(excerpt) => self.publish_excerpt(excerpt),
        };
        let error = match done {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let shown = names::shown(&self.paths.target);
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(ToolError::new(Exit::Destination, format!("{shown}: {error}")));
        }
        let what = if self.excerpt.is_some() { SOMETHING_ELSE } else { "appeared meanwhile" };
        let partial = names::shown(&self.paths.partial);
        let message = format!("{shown}: {what}; what was fetched is in {partial}, and --force replaces it");
        Err(ToolError::new(Exit::Destination, message))
    }

    fn publish_whole(&self) -> io::Result<()> {
        if self.file.metadata()?.len() != self.length {
            self.file.set_len(self.length)?;
        }
        publish(&self.file, &self.paths.partial, &self.paths.target, self.force)?;
        // Without the partial it is of no effect.
        let _ = fs::remove_file(&self.paths.record);
        on_disk(&self.paths.target)
    }

    fn publish_excerpt(&self, excerpt: &Excerpt) -> io::Result<()> {
        let mut temporary = OsString::from(&self.paths.partial);
        temporary.push(PART_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let written = excerpt::write(&self.file, &excerpt.ranges, &temporary)
            .and_then(|file| publish(&file, &temporary, &self.paths.target, self.force));
        match written {
            Ok(()) => {
                self.remove_partial(excerpt);
                on_disk(&self.paths.target)
            }
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                Err(error)
            }
        }
    }

    /// A file was there before. By the id nobody can tell whether it holds these ranges, but now they are here.
    fn compare(&self, excerpt: &Excerpt) -> io::Result<()> {
        let found = fs::metadata(&self.paths.target)?;
        if !found.is_file()
            || !excerpt::is_same(&self.file, &excerpt.ranges, &File::open(&self.paths.target)?)?
        {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.remove_partial(excerpt);
        Ok(())
    }

    fn remove_partial(&self, excerpt: &Excerpt) {
        if excerpt.keeps_partial {
            log::info!("{}: kept, for what else it has", names::shown(&self.paths.partial));
            return;
        }
        // What stays behind is of no harm.
        let _ = fs::remove_file(&self.paths.partial);
        let _ = fs::remove_file(&self.paths.record);
    }
}

/// Brings `file`, which is `partial`, to the disk and renames it to `target`. What is there already is replaced only
/// with `force`; otherwise that is an error of the kind `AlreadyExists`.
fn publish(file: &File, partial: &Path, target: &Path, force: bool) -> io::Result<()> {
    if let Err(error) = file.sync_all() {
        // The kernel says so once, and then takes what it has in memory for written. Whoever goes on from here shall find what
        // is really on the disk; without this hint he may not.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        return Err(error);
    }
    if force { fs::rename(partial, target) } else { rename_to_free_name(partial, target) }
}

/// Brings the file's new name to the disk.
fn on_disk(target: &Path) -> io::Result<()> {
    sync_folder(folder_of(target)).map_err(|error| {
        io::Error::new(error.kind(), format!("complete and right, but may not be on the disk: {error}"))
    })
}

fn rename_to_free_name(partial: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, partial, CWD, target, RenameFlags::NOREPLACE) {
        // Some file systems cannot do that in one step.
        Err(Errno::INVAL | Errno::NOSYS) => {
            if fs::symlink_metadata(target).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(partial, target)
        }
        renamed => renamed.map_err(io::Error::from),
    }
}
