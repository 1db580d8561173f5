//! Making, finding and locking the folder, and writing files of it whole or not at all.

use super::*;
use crate::file_lock::FileLock;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

#[test]
fn the_flag_goes_before_the_variables_and_those_before_the_home() {
    let some = |text: &str| Some(OsString::from(text));
    let home = || Some(PathBuf::from("/home/me"));
    let all = locate(Some(Path::new("flag")), some("own"), some("/xdg"), home());
    assert_eq!(all, Some("flag".into()));
    assert_eq!(locate(None, some("own"), some("/xdg"), home()), Some("own".into()));
    assert_eq!(locate(None, None, some("/xdg"), home()), Some("/xdg/cjp2p".into()));
    let relative = locate(None, None, some("xdg"), home());
    assert_eq!(relative, Some("/home/me/.local/state/cjp2p".into()));
    assert_eq!(locate(None, None, None, None), None);
    let set_to_nothing = locate(None, some(""), some(""), home());
    assert_eq!(set_to_nothing, Some("/home/me/.local/state/cjp2p".into()));
    assert_eq!(locate(None, some(""), some(""), Some(PathBuf::new())), None);
}

#[test]
fn the_folder_is_made_for_its_user_only() {
    let parent = tempfile::tempdir().unwrap();
    let state = StateDir::open(Some(&parent.path().join("a/b"))).unwrap();
    assert_eq!(fs::metadata(state.path()).unwrap().permissions().mode() & 0o777, 0o700);
    StateDir::open(Some(state.path())).unwrap();
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let message = StateDir::open(Some(&file.join("state"))).unwrap_err().to_string();
    assert!(message.contains("file/state: "), "{message}");
}

#[test]
fn a_file_is_replaced_whole_and_nothing_stays_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    fs::write(folder.path().join(".table.json.tmp"), "left by a killed process, and longer").unwrap();
    atomic_replace(&path, b"one").unwrap();
    atomic_replace(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// A link would have the new bytes written, and an empty file made, where somebody else wants them; a pipe would be waited for.
#[test]
fn what_is_no_regular_file_in_the_place_of_one_of_ours_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("elsewhere");
    type Put<'a> = (&'a str, &'a dyn Fn(&Path));
    let put: [Put<'_>; 4] = [
        ("a symbolic link", &|path| symlink(&target, path).unwrap()),
        ("a symbolic link", &|path| symlink(path, path).unwrap()),
        ("a folder", &|path| fs::create_dir(path).unwrap()),
        ("a pipe or socket", &|path| mkfifo(path, Mode::S_IRWXU).unwrap()),
    ];
    for (nth, (what, put)) in put.into_iter().enumerate() {
        let path = folder.path().join(format!("{nth}.json"));
        let temporary = folder.path().join(format!(".{nth}.json.tmp"));
        put(&temporary);
        let told = atomic_replace(&path, b"new").unwrap_err().to_string();
        assert_eq!(told, format!("{}: {what} is in the place of a regular file", shown(&temporary)));
        assert!(!path.exists() && !target.exists());
        let told = FileLock::acquire_within(&temporary, Duration::ZERO).unwrap_err().to_string();
        assert!(told.contains(what), "{told}");
        assert!(open_to_append(&temporary).is_err() && !target.exists());
        if what != "a symbolic link" {
            let told = open_to_read(&temporary).unwrap_err().to_string();
            assert_eq!(told, format!("{what} is in the place of a regular file"));
        }
    }
}

#[test]
fn a_writer_that_holds_a_temporary_file_keeps_no_other_waiting_and_tries_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    let held: Vec<_> = (0..TEMPORARIES - 1).map(|_| open_temporary(&path, 0o600).unwrap()).collect();
    atomic_replace(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    let last = open_temporary(&path, 0o600).unwrap();
    let told = atomic_replace(&path, b"newer").unwrap_err().to_string();
    assert!(told.contains("temporary files of it are in use"), "{told}");
    drop((held, last));
    atomic_replace(&path, b"newer").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"newer");
}

#[test]
fn a_failed_replacement_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    // A folder of the file's name: the rename at the very end fails.
    fs::create_dir(&path).unwrap();
    fs::write(path.join("inside"), "kept").unwrap();
    assert!(atomic_replace(&path, b"new").is_err());
    assert_eq!(fs::read(path.join("inside")).unwrap(), b"kept");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_disk_says_is_told_but_not_that_it_knows_no_such_thing_as_bringing_to_it() {
    // Not open for anything.
    let unusable = OpenOptions::new().read(true).custom_flags(OFlags::PATH.bits().cast_signed()).open("/");
    assert_eq!(sync_file(&unusable.unwrap()).unwrap_err().raw_os_error(), Some(Errno::EBADF as i32));
    sync_file(&File::open("/dev/null").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    sync_folder(folder.path()).unwrap();
    let missing = folder.path().join("missing");
    let error = sync_folder(&missing).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with(&shown(&missing).to_string()), "{error}");
    // There are no disks behind it.
    sync_folder(Path::new("/proc/self")).unwrap();
    for errno in [Errno::EINVAL, Errno::EOPNOTSUPP] {
        assert!(cannot_sync(&errno.into()), "{errno}");
    }
    assert!(!cannot_sync(&Errno::EIO.into()));
}

#[test]
fn a_bare_name_is_in_the_folder_in_which_the_program_runs() {
    assert_eq!(folder_of(Path::new("a")), Path::new("."));
    assert_eq!(folder_of(Path::new("a/b")), Path::new("a"));
    assert_eq!(folder_of(Path::new("/a")), Path::new("/"));
}

#[test]
fn where_there_are_no_locks_a_temporary_file_is_of_who_made_it_until_it_is_old() {
    for errno in [Errno::ENOLCK, Errno::ENOSYS, Errno::EOPNOTSUPP, Errno::EINVAL] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".a.tmp");
        let no_locks = |_: &File| Err(TryLockError::Error(errno.into()));
        assert!(take_temporary_by(&path, 0o600, no_locks).unwrap().is_some(), "made");
        assert!(take_temporary_by(&path, 0o600, no_locks).unwrap().is_none(), "another process may write it");
        let old = std::time::SystemTime::now() - 2 * ABANDONED;
        OpenOptions::new().write(true).open(&path).unwrap().set_modified(old).unwrap();
        fs::hard_link(&path, folder.path().join("old")).unwrap();
        let taken = take_temporary_by(&path, 0o600, no_locks).unwrap().expect("nobody writes the old one");
        assert_ne!(
            taken.metadata().unwrap().ino(),
            fs::metadata(folder.path().join("old")).unwrap().ino(),
            "whoever has it open all the same does not write into the new one"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let broken = |_: &File| Err(TryLockError::Error(Errno::EIO.into()));
    let error = take_temporary_by(&folder.path().join(".a.tmp"), 0o600, broken).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::EIO as i32));
}

#[test]
fn a_temporary_file_that_was_renamed_before_it_was_locked_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let (path, done) = (folder.path().join(".a.tmp"), folder.path().join("a"));
    fs::write(&path, "all of it").unwrap();
    let mut times = 0;
    let taken = take_temporary_by(&path, 0o600, |file| {
        times += 1;
        if times == 1 {
            fs::rename(&path, &done).unwrap();
        }
        file.try_lock()
    });
    let taken = taken.unwrap().unwrap();
    assert_eq!(times, 2);
    assert_eq!(taken.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
    assert_eq!(fs::read_to_string(&done).unwrap(), "all of it");
}

#[test]
fn a_device_in_the_place_of_a_file_is_named_and_what_is_refused_of_an_open_one_is_not_that_it_is_missing() {
    let told = open_to_read(Path::new("/dev/null")).unwrap_err().to_string();
    assert_eq!(told, "a device is in the place of a regular file");
    assert_eq!(of_an_open_file(Errno::ENOENT.into()).kind(), io::ErrorKind::Other);
    assert_eq!(of_an_open_file(Errno::EACCES.into()).kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn writers_at_once_never_mix_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.json");
    thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..20 {
                    atomic_replace(path, &vec![writer; 10_000 + usize::from(writer)]).unwrap();
                    let read = fs::read(path).unwrap();
                    assert!(read.iter().all(|byte| *byte == read[0]));
                    assert_eq!(read.len(), 10_000 + usize::from(read[0]));
                }
            });
        }
    });
}
