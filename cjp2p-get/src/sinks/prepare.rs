//! Before a file is fetched: what is there already, its lock, and what an interrupted fetch left.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_io::state_dir::{folder_of, in_the_place, knows_no_locks, not_regular};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::Resume;
use rustix::fs::OFlags;

use super::destination::{Destination, unwritable};
use super::partial::Partial;
use super::publish::SOMETHING_ELSE;
use crate::place::Paths;
use crate::ranges::Ranges;
use cjp2p_io::partial::reading::judge;
use cjp2p_io::partial::recheck::Recheck;
use cjp2p_io::partial::resume;

/// How often a partial is opened anew whose name others take away just then.
const TRIES: usize = 100;

/// What a look at the files of a download brought.
pub(crate) enum Prepared {
    /// The file is there and right: this many bytes.
    There(u64),
    /// Another process fetches it.
    Busy,
    /// Ready to fetch, or to go on.
    Ready(Box<Ready>),
}

/// See [`Prepared::Ready`].
pub(crate) struct Ready {
    /// The destination.
    pub(crate) partial: Partial,
    /// What an interrupted fetch had.
    pub(crate) resume: Option<Resume>,
    /// What of it is to be verified meanwhile.
    pub(crate) recheck: Option<Recheck>,
}

/// Looks at what is there, takes the lock, and loads what an interrupted download had.
pub(crate) fn prepare(
    id: &ContentId,
    ranges: Ranges,
    paths: Paths,
    force: bool,
) -> Result<Prepared, ToolError> {
    if let Some(there) = look(id, &ranges, &paths, force)? {
        if fs::symlink_metadata(&paths.partial).is_err() {
            // A fetch that was killed at its very end, or whose disk failed, may have left it.
            let _ = fs::remove_file(&paths.record);
        }
        return Ok(Prepared::There(there));
    }
    let failed = |path: &Path, error: io::Error| unwritable(path, &error);
    if paths.make_folders {
        for path in [&paths.target, &paths.partial] {
            let folder = folder_of(path);
            fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        }
    }
    let Some((file, is_new)) = open_locked(&paths.partial).map_err(|error| failed(&paths.partial, error))?
    else {
        return Ok(Prepared::Busy);
    };
    // Another process may have finished it since.
    match look(id, &ranges, &paths, force) {
        Ok(None) => {}
        other => {
            if is_new {
                let _ = fs::remove_file(&paths.partial);
            }
            return other.map(|there| Prepared::There(there.unwrap_or(0)));
        }
    }
    let file = Arc::new(file);
    let loaded = resume::load(&file, &paths.record, id).map_err(|error| failed(&paths.record, error))?;
    let (resume, mut recheck) = (loaded.resume, loaded.recheck);
    if resume.is_none() {
        file.set_len(0).map_err(|error| failed(&paths.partial, error))?;
        let _ = fs::remove_file(&paths.record);
    }
    if let (Some(recheck), Some(resume)) = (&mut recheck, &resume) {
        recheck.prefer(ranges.set(resume.length));
    }
    let mut partial = Partial::new(id, ranges, paths, force, file, loaded.sources);
    if let Some(resume) = &resume {
        partial.take_up(resume).map_err(|error| partial.failure(error))?;
    }
    Ok(Prepared::Ready(Box::new(Ready { partial, resume, recheck })))
}

/// The length of the file, where it is there and right. Of ranges that cannot be told before they are here too.
fn look(id: &ContentId, ranges: &Ranges, paths: &Paths, force: bool) -> Result<Option<u64>, ToolError> {
    let path = &paths.target;
    let shown = names::shown(path);
    let refused = |what: &str| Err(ToolError::new(Exit::Destination, format!("{shown}: {what}")));
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unwritable(path, &error)),
        Ok(found) if found.is_dir() => return refused("is a folder"),
        // One that was named is followed before; this is one below a folder.
        Ok(found) if found.is_symlink() && force => return refused("is a link, which is not replaced"),
        Ok(found) if found.is_file() && force => return Ok(None),
        Ok(_) => {}
    }
    match fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return refused("is there already and no regular file"),
        Err(error) => return Err(unwritable(path, &error)),
    }
    if let ContentId::Name(_) = id {
        return refused("is there already; --force replaces it");
    }
    let right = File::open(path).and_then(|file| {
        let length = file.metadata()?.len();
        let may_be_all = ranges.is_empty() || ranges.are_all(length);
        Ok((may_be_all && judge(id, &file, length)?).then_some(length))
    });
    match right {
        Ok(Some(length)) => Ok(Some(length)),
        Ok(None) if !ranges.is_empty() => Ok(None),
        Ok(None) => refused(&format!("{SOMETHING_ELSE}; --force replaces it")),
        Err(error) => Err(unwritable(path, &error)),
    }
}

/// Opens a partial and takes its lock. Gives also whether it is new; `None` where another process has the lock.
///
/// Where the file system knows no locks, the partial is always a new one: another process may have the one that is there.
fn open_locked(path: &Path) -> io::Result<Option<(File, bool)>> {
    open_locked_by(path, File::try_lock)
}

/// The same where `lock` is what the file system makes of locking.
fn open_locked_by(
    path: &Path,
    mut lock: impl FnMut(&File) -> Result<(), TryLockError>,
) -> io::Result<Option<(File, bool)>> {
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        // Somebody else may have put a link or a pipe there.
        options.read(true).write(true).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        let (file, is_new) = match options.clone().create_new(true).open(path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match options.open(path) {
                Ok(file) => (file, false),
                // Finished, and so renamed, just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(in_the_place(error)),
            },
            Err(error) => return Err(error),
        };
        // Whoever held the lock until now may have renamed the file.
        let ours = file.metadata()?;
        if !ours.is_file() {
            return Err(not_regular("something else"));
        }
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) if knows_no_locks(&error) => {
                if is_new {
                    let shown = names::shown(path);
                    log::warn!("{shown}: {error}: another fetch of it is not kept away");
                } else {
                    fs::remove_file(path)?;
                    continue;
                }
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match fs::symlink_metadata(path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
                return Ok(Some((file, is_new)));
            }
            _ => {}
        }
    }
    Err(io::Error::other("others take it away again and again"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    use rustix::io::Errno;

    use super::*;
    use crate::ranges::RangeArg;

    fn paths(folder: &Path) -> Paths {
        Paths {
            target: folder.join("a"),
            partial: folder.join("a.part"),
            record: folder.join("a.record"),
            make_folders: false,
        }
    }

    /// What is found of content that is `right`, or what is refused.
    fn looked(folder: &Path, ranges: &[&str], force: bool) -> Result<Option<u64>, String> {
        let id = ContentId::Blake3(*blake3::hash(b"right").as_bytes());
        let ranges = Ranges::new(ranges.iter().map(|text| RangeArg::parse(text).unwrap()).collect());
        look(&id, &ranges, &paths(folder), force).map_err(|error| error.message)
    }

    #[test]
    fn only_what_is_there_and_right_is_done_and_only_a_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, target) = (folder.path(), folder.path().join("a"));
        let refused = |looked: Result<Option<u64>, String>, why: &str| {
            let message = looked.unwrap_err();
            assert!(message.ends_with(why), "{message}");
        };
        assert_eq!(looked(folder, &[], false), Ok(None));
        fs::write(&target, "right").unwrap();
        assert_eq!(looked(folder, &[], false), Ok(Some(5)));
        assert_eq!(looked(folder, &["0-"], false), Ok(Some(5)), "all of it");
        assert_eq!(looked(folder, &["0-4"], false), Ok(Some(5)), "all of it");
        assert_eq!(looked(folder, &["1-4"], false), Ok(None), "that cannot be told yet");
        assert_eq!(looked(folder, &[], true), Ok(None));
        let name = ContentId::parse("a").unwrap();
        let by_name = look(&name, &Ranges::default(), &paths(folder), false).map_err(|error| error.message);
        refused(by_name, "is there already; --force replaces it");
        fs::write(&target, "wrong").unwrap();
        refused(looked(folder, &[], false), "something else; --force replaces it");
        assert_eq!(looked(folder, &["1-4"], false), Ok(None));
        assert_eq!(looked(folder, &[], true), Ok(None));
        // Where something is no folder, nothing can be below it.
        refused(looked(&target, &[], false), "(os error 20)");

        fs::rename(&target, folder.join("b")).unwrap();
        symlink("b", &target).unwrap();
        refused(looked(folder, &[], true), "is a link, which is not replaced");
        refused(looked(folder, &[], false), "something else; --force replaces it");
        fs::write(folder.join("b"), "right").unwrap();
        assert_eq!(looked(folder, &[], false), Ok(Some(5)));
        fs::remove_file(folder.join("b")).unwrap();
        refused(looked(folder, &[], false), "(os error 2)");
        fs::remove_file(&target).unwrap();
        symlink("/dev/null", &target).unwrap();
        refused(looked(folder, &[], false), "is there already and no regular file");
        fs::remove_file(&target).unwrap();
        fs::create_dir(&target).unwrap();
        refused(looked(folder, &[], false), "is a folder");
        refused(looked(folder, &[], true), "is a folder");
    }

    #[test]
    fn a_partial_that_cannot_be_had_is_an_error_that_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let error = open_locked(&folder.path().join("missing/a.part")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let (path, elsewhere) = (folder.path().join("a.part"), folder.path().join("b"));
        fs::write(&elsewhere, "theirs").unwrap();
        symlink(&elsewhere, &path).unwrap();
        let error = open_locked(&path).unwrap_err();
        assert_eq!(error.to_string(), "a symbolic link is in the place of a regular file");
    }

    #[test]
    fn where_there_are_no_locks_a_partial_is_always_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.part");
        let no_locks = |_: &File| Err(TryLockError::Error(Errno::NOLCK.into()));
        let (mut theirs, is_new) = open_locked_by(&path, no_locks).unwrap().unwrap();
        assert!(is_new);
        let (_ours, is_new) = open_locked_by(&path, no_locks).unwrap().unwrap();
        assert!(is_new);
        theirs.write_all(b"another process goes on").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        let broken = |_: &File| Err(TryLockError::Error(Errno::IO.into()));
        let error = open_locked_by(&path, broken).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::IO.raw_os_error()));
    }

    #[test]
    fn a_partial_that_another_process_finished_before_it_was_locked_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (path, done) = (folder.path().join("a.part"), folder.path().join("a"));
        fs::write(&path, "all of it").unwrap();
        let mut times = 0;
        let (mut file, is_new) = open_locked_by(&path, |file| {
            times += 1;
            if times == 1 {
                fs::rename(&path, &done).unwrap();
            }
            file.try_lock()
        })
        .unwrap()
        .unwrap();
        assert!(is_new && times == 2);
        file.write_all(b"another").unwrap();
        assert_eq!(fs::read_to_string(&done).unwrap(), "all of it");
        assert_eq!(fs::read_to_string(&path).unwrap(), "another");
    }

    #[test]
    fn a_partial_that_was_replaced_before_it_was_locked_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a.part"), folder.path().join("b"));
        fs::write(&path, "old").unwrap();
        fs::write(&other, "new").unwrap();
        let mut times = 0;
        let (mut file, is_new) = open_locked_by(&path, |file| {
            times += 1;
            if times == 1 {
                fs::rename(&other, &path).unwrap();
            }
            file.try_lock()
        })
        .unwrap()
        .unwrap();
        let mut found = String::new();
        file.read_to_string(&mut found).unwrap();
        assert_eq!((&*found, is_new, times), ("new", false, 2));
        assert!(open_locked(&path).unwrap().is_none(), "it is locked");
    }
}
