//! Giving a finished file its name.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_io::partial_name::PART_SUFFIX;
use cjp2p_io::state_dir::{folder_of, sync_file, sync_folder};
use cjp2p_wire::range_set::RangeSet;
use rustix::fs::{Advice, CWD, RenameFlags, fadvise, renameat_with};
use rustix::io::Errno;

use super::excerpt;
use crate::place::Paths;

/// What to tell of a file that is in the way.
pub(crate) const SOMETHING_ELSE: &str = "is there already and something else";

/// What is left to do when all that is wanted is in a partial.
pub(crate) struct LastStep {
    /// The partial.
    pub(crate) file: Arc<File>,
    pub(crate) paths: Paths,
    /// Of the content.
    pub(crate) length: u64,
    pub(crate) force: bool,
    /// What was asked for, if not simply all.
    pub(crate) excerpt: Option<Excerpt>,
}

/// What a file is to hold of the content.
pub(crate) struct Excerpt {
    pub(crate) ranges: RangeSet,
    /// An interrupted fetch had more of the content than is asked for now, which shall not be lost.
    pub(crate) keeps_partial: bool,
}

impl LastStep {
    /// Does it.
    pub(crate) fn run(&self) -> Result<(), ToolError> {
        self.run_on(&Real)
    }

    fn run_on(&self, disk: &dyn Disk) -> Result<(), ToolError> {
        let done = match &self.excerpt {
            None => self.publish_whole(disk),
            Some(excerpt) if !self.force && fs::symlink_metadata(&self.paths.target).is_ok() => {
                self.compare(excerpt)
            }
            Some(excerpt) if excerpt.ranges.total() == self.length => self.publish_whole(disk),
            Some(excerpt) => self.publish_excerpt(disk, excerpt),
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

    fn publish_whole(&self, disk: &dyn Disk) -> io::Result<()> {
        if self.file.metadata()?.len() != self.length {
            self.file.set_len(self.length)?;
        }
        publish(disk, &self.file, &self.paths.partial, &self.paths.target, self.force)?;
        // Without the partial it is of no effect.
        let _ = fs::remove_file(&self.paths.record);
        on_disk(disk, &self.paths.target)
    }

    fn publish_excerpt(&self, disk: &dyn Disk, excerpt: &Excerpt) -> io::Result<()> {
        let mut temporary = OsString::from(&self.paths.partial);
        temporary.push(PART_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let written = excerpt::write(&self.file, &excerpt.ranges, &temporary)
            .and_then(|file| publish(disk, &file, &temporary, &self.paths.target, self.force));
        match written {
            Ok(()) => {
                self.remove_partial(excerpt);
                on_disk(disk, &self.paths.target)
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

/// What the last step does with the disk. In which order decides what is left when the power goes, so tests note it.
trait Disk {
    /// Brings what is in the file to the disk.
    fn sync(&self, file: &File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// The same, but fails where something is there already.
    fn rename_to_free_name(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Brings the names in the folder to the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

struct Real;

impl Disk for Real {
    fn sync(&self, file: &File) -> io::Result<()> {
        sync_file(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_to_free_name(&self, from: &Path, to: &Path) -> io::Result<()> {
        rename_to_free_name(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder)
    }
}

/// Brings `file`, which is `partial`, to the disk and renames it to `target`. What is there already is replaced only
/// with `force`; otherwise that is an error of the kind `AlreadyExists`.
fn publish(disk: &dyn Disk, file: &File, partial: &Path, target: &Path, force: bool) -> io::Result<()> {
    if let Err(error) = disk.sync(file) {
        // The kernel says so once, and then takes what it has in memory for written. Whoever goes on from here shall find what
        // is really on the disk; without this hint he may not.
        let _ = fadvise(file, 0, None, Advice::DontNeed);
        return Err(error);
    }
    if !force {
        return disk.rename_to_free_name(partial, target);
    }
    match fs::symlink_metadata(target) {
        Ok(found) if !found.is_file() => Err(io::Error::other("something that is no regular file appeared")),
        _ => disk.rename(partial, target),
    }
}

/// Brings the file's new name to the disk.
fn on_disk(disk: &dyn Disk, target: &Path) -> io::Result<()> {
    disk.sync_folder(folder_of(target)).map_err(|error| {
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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Does everything, and notes it. The first call that begins with `failing` fails.
    #[derive(Default)]
    struct Noted {
        calls: RefCell<Vec<String>>,
        failing: &'static str,
    }

    impl Noted {
        fn note(&self, call: String) -> io::Result<()> {
            let fails = !self.failing.is_empty() && call.starts_with(self.failing);
            self.calls.borrow_mut().push(call);
            if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    fn name(path: &Path) -> String {
        path.file_name().unwrap().to_str().unwrap().into()
    }

    impl Disk for Noted {
        fn sync(&self, file: &File) -> io::Result<()> {
            self.note(format!("sync {} bytes", file.metadata()?.len())).and_then(|()| Real.sync(file))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note(format!("replace {} by {}", name(to), name(from))).and_then(|()| Real.rename(from, to))
        }

        fn rename_to_free_name(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.note(format!("rename {} to {}", name(from), name(to)))
                .and_then(|()| Real.rename_to_free_name(from, to))
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.note(format!("sync folder {}", name(folder))).and_then(|()| Real.sync_folder(folder))
        }
    }

    fn step(folder: &Path, force: bool, excerpt: Option<RangeSet>) -> LastStep {
        let paths = Paths {
            target: folder.join("a"),
            partial: folder.join("a.part"),
            record: folder.join("a.record"),
            make_folders: false,
        };
        fs::write(&paths.partial, [7; 100]).unwrap();
        fs::write(&paths.record, "what is known").unwrap();
        let file = Arc::new(fs::OpenOptions::new().read(true).write(true).open(&paths.partial).unwrap());
        let excerpt = excerpt.map(|ranges| Excerpt { ranges, keeps_partial: false });
        LastStep { file, paths, length: 100, force, excerpt }
    }

    fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        fs::create_dir(&folder).unwrap();
        (parent, folder)
    }

    #[test]
    fn the_bytes_are_on_the_disk_before_the_name_and_the_name_before_it_is_done() {
        let part: RangeSet = std::iter::once(10..30).collect();
        for (force, excerpt, expected) in [
            (false, None, ["sync 100 bytes", "rename a.part to a", "sync folder folder"]),
            (true, None, ["sync 100 bytes", "replace a by a.part", "sync folder folder"]),
            (
                false,
                Some(part.clone()),
                ["sync 20 bytes", "rename a.part.cjp2p-part to a", "sync folder folder"],
            ),
            (true, Some(part), ["sync 20 bytes", "replace a by a.part.cjp2p-part", "sync folder folder"]),
        ] {
            let (_parent, folder) = folder();
            let disk = Noted::default();
            step(&folder, force, excerpt).run_on(&disk).unwrap();
            assert_eq!(disk.calls.into_inner(), expected);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_fails_is_told_and_what_was_fetched_is_kept() {
        for (failing, done, left) in [("sync 1", 1, 2), ("rename", 2, 2), ("sync folder", 3, 1)] {
            let (_parent, folder) = folder();
            let disk = Noted { failing, ..Noted::default() };
            let error = step(&folder, false, None).run_on(&disk).unwrap_err();
            assert_eq!(error.exit, Exit::Destination, "{error}");
            assert_eq!(disk.calls.into_inner().len(), done, "nothing is done after a failure");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), left);
        }
    }

    #[test]
    fn a_file_that_holds_these_ranges_already_is_left_as_it_is_and_any_other_is_not_replaced() {
        let part = || Some(std::iter::once(10..30).collect());
        for (there, is_same) in [(vec![7; 20], true), (vec![8; 20], false), (vec![7; 21], false)] {
            let (_parent, folder) = folder();
            let step = step(&folder, false, part());
            fs::write(&step.paths.target, &there).unwrap();
            let disk = Noted::default();
            let done = step.run_on(&disk);
            assert_eq!(done.as_ref().err().map(|error| error.exit), (!is_same).then_some(Exit::Destination));
            assert!(done.is_ok() || done.unwrap_err().message.contains(SOMETHING_ELSE));
            assert_eq!(step.paths.partial.exists(), !is_same);
            assert_eq!(fs::read(&step.paths.target).unwrap(), there);
            assert!(disk.calls.into_inner().is_empty());
            // With --force it is replaced, whatever it holds.
            let step = self::step(&folder, true, part());
            step.run_on(&Noted::default()).unwrap();
            assert_eq!(fs::read(&step.paths.target).unwrap(), [7; 20]);
        }
        let (_parent, folder) = folder();
        let step = step(&folder, false, part());
        symlink("/dev/zero", &step.paths.target).unwrap();
        assert!(step.run_on(&Noted::default()).unwrap_err().message.contains(SOMETHING_ELSE));
    }

    #[test]
    fn ranges_that_are_all_of_it_need_no_copy_and_the_file_is_as_long_as_the_content() {
        for partial in [99, 100, 150] {
            let (_parent, folder) = folder();
            let step = step(&folder, false, Some(std::iter::once(0..100).collect()));
            step.file.set_len(partial).unwrap();
            let disk = Noted::default();
            step.run_on(&disk).unwrap();
            assert_eq!(
                disk.calls.into_inner(),
                ["sync 100 bytes", "rename a.part to a", "sync folder folder"]
            );
            assert_eq!(fs::metadata(&step.paths.target).unwrap().len(), 100);
        }
    }

    #[test]
    fn only_a_file_is_ever_replaced() {
        let (_parent, folder) = folder();
        let step = step(&folder, true, None);
        symlink("/dev/null", &step.paths.target).unwrap();
        let disk = Noted::default();
        let error = step.run_on(&disk).unwrap_err();
        assert!(error.message.contains("no regular file appeared"), "{error}");
        assert_eq!(disk.calls.into_inner(), ["sync 100 bytes"]);
        assert!(step.paths.target.is_symlink() && step.paths.partial.exists());
    }
}
