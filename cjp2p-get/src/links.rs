//! Where a name leads that is a link. A link is never replaced: what it leads to is written, as what that is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use cjp2p_cli::stdout;
use cjp2p_io::state_dir::folder_of;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// As many as the kernel follows.
const MAX_LINKS: usize = 40;

/// Where a name leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// To a descriptor with this number, which the process was started with: as /dev/stdout or /dev/fd/3.
    Own(i32),
    /// To one that another process has.
    Foreign,
    /// To this name, which is no link. There may be nothing.
    To(PathBuf),
}

/// Follows `path` to the end.
///
/// # Errors
///
/// A link cannot be read, or they go round in a circle.
pub(crate) fn follow(path: &Path) -> io::Result<Leads> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(descriptor) = descriptor(&path) {
            return Ok(descriptor);
        }
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => path = folder_of(&path).join(fs::read_link(&path)?),
            _ => return Ok(Leads::To(path)),
        }
    }
    Err(Errno::LOOP.into())
}

/// Whether this is one of the links by which /proc shows descriptors. These cannot be followed by reading them: what they lead to
/// may have no name.
fn descriptor(path: &Path) -> Option<Leads> {
    let name = path.file_name()?.to_str()?;
    let number = name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok())??;
    let folder = fs::canonicalize(folder_of(path)).ok()?;
    let parts: Vec<&str> =
        folder.strip_prefix("/proc").ok()?.iter().filter_map(|part| part.to_str()).collect();
    let ([process, "fd"] | [process, "task", _, "fd"]) = parts[..] else { return None };
    let own = fs::read_link("/proc/self").ok()?;
    Some(if own == Path::new(process) { Leads::Own(number) } else { Leads::Foreign })
}

/// The descriptor of this number, as it was given to us: where it stands in its file, and whether it only appends, stays that of
/// whoever else has it.
///
/// # Errors
///
/// There is none, or it is not for writing.
pub(crate) fn open_own(number: i32) -> io::Result<File> {
    let file = match number {
        0 => io::stdin().as_fd().try_clone_to_owned()?.into(),
        1 => {
            stdout::check_open().map_err(|_| Errno::BADF)?;
            io::stdout().as_fd().try_clone_to_owned()?.into()
        }
        2 => io::stderr().as_fd().try_clone_to_owned()?.into(),
        _ if !told(number)?.is_inherited => return Err(Errno::BADF.into()),
        _ => {
            let duplicated = pidfd_open(getpid(), PidfdFlags::empty())
                .and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()));
            match duplicated {
                Ok(descriptor) => descriptor.into(),
                // Old kernels have no such call, and some containers refuse it.
                Err(Errno::NOSYS | Errno::PERM) => open_again(number)?,
                Err(error) => return Err(error.into()),
            }
        }
    };
    match fcntl_getfl(&file)? & OFlags::RWMODE {
        OFlags::RDONLY => Err(Errno::BADF.into()),
        _ => Ok(file),
    }
}

/// What the kernel tells of a descriptor.
struct Told {
    position: u64,
    appends: bool,
    /// Not opened by this process: what that opens ends with it.
    is_inherited: bool,
}

fn told(number: i32) -> io::Result<Told> {
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).map_err(|_| Errno::BADF)?;
    let field =
        |name| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let flags = OFlags::from_bits_retain(u32::from_str_radix(field("flags:"), 8).unwrap_or(0));
    Ok(Told {
        position: field("pos:").parse().unwrap_or(0),
        appends: flags.contains(OFlags::APPEND),
        is_inherited: !flags.contains(OFlags::CLOEXEC),
    })
}

/// The same file once more, from where the descriptor stands.
fn open_again(number: i32) -> io::Result<File> {
    let told = told(number)?;
    let mut options = OpenOptions::new();
    options.write(true).append(told.appends).custom_flags(OFlags::NOCTTY.bits() as i32);
    let mut file = options.open(format!("/proc/self/fd/{number}"))?;
    // A pipe stands nowhere.
    let _ = file.seek(SeekFrom::Start(told.position));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;

    use rustix::io::{FdFlags, fcntl_setfd};

    use super::*;

    #[test]
    fn links_are_followed_to_their_end_and_in_no_circle() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        symlink("sub/b", at("a")).unwrap();
        symlink("../c", at("sub/b")).unwrap();
        symlink("x", at("y")).unwrap();
        symlink("y", at("x")).unwrap();
        symlink("/dev/stdout", at("out")).unwrap();
        assert_eq!(follow(&at("c")).unwrap(), Leads::To(at("c")));
        assert_eq!(follow(&at("a")).unwrap(), Leads::To(at("sub/../c")));
        fs::write(at("c"), "").unwrap();
        assert_eq!(follow(&at("a")).unwrap(), Leads::To(at("sub/../c")));
        assert_eq!(follow(&at("x")).unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        let own = format!("/proc/{}/fd/1", std::process::id());
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", &own] {
            assert_eq!(follow(Path::new(name)).unwrap(), Leads::Own(1), "{name}");
        }
        assert_eq!(follow(&at("out")).unwrap(), Leads::Own(1));
        assert_eq!(follow(Path::new("/proc/1/fd/1")).unwrap(), Leads::Foreign);
        assert_eq!(follow(Path::new("/dev/null")).unwrap(), Leads::To("/dev/null".into()));
    }

    #[test]
    fn a_descriptor_is_written_where_it_stands_and_as_it_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for open in [open_own, open_again] {
            for appends in [false, true] {
                fs::write(&path, "0123456789").unwrap();
                let mut file = OpenOptions::new().write(true).append(appends).open(&path).unwrap();
                file.seek(SeekFrom::Start(4)).unwrap();
                // As it is with those that a process is started with.
                fcntl_setfd(&file, FdFlags::empty()).unwrap();
                open(file.as_raw_fd()).unwrap().write_all(b"xy").unwrap();
                fcntl_setfd(&file, FdFlags::CLOEXEC).unwrap();
                let expected = if appends { "0123456789xy" } else { "0123xy6789" };
                assert_eq!(fs::read_to_string(&path).unwrap(), expected);
            }
        }
        let own = File::create(&path).unwrap();
        assert_eq!(open_own(own.as_raw_fd()).unwrap_err().raw_os_error(), Some(9), "nobody gave it to us");
        let unwritable = File::open(&path).unwrap();
        fcntl_setfd(&unwritable, FdFlags::empty()).unwrap();
        assert_eq!(open_own(unwritable.as_raw_fd()).unwrap_err().raw_os_error(), Some(9));
        assert_eq!(open_own(1_000_000).unwrap_err().raw_os_error(), Some(9));
    }
}
