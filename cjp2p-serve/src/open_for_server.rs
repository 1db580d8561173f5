//! The process that opens what has the name of an argument now, and what is below it. See `opener`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::sandbox::Sandbox;
use cjp2p_io::walk::Rules;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};

use crate::open::Patience;
use crate::opener::{Kind, receive_question, send_answer};
use crate::place::Source;

/// How much memory it may take, in bytes.
const MAX_MEMORY: u64 = 64 << 20;

/// Answers questions about these arguments of the server, by standard input, which is a socket, until that is closed.
pub(crate) fn run(arguments: &[PathBuf], rules: Rules) -> Result<Exit, ToolError> {
    let failed = |error: io::Error| ToolError::failure(error.to_string());
    // Signals meant for the server come here too, from a terminal for one. The end is when the server has ended.
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(|error| failed(error.into()))?;
    setrlimit(Resource::RLIMIT_DATA, MAX_MEMORY, MAX_MEMORY).map_err(|error| failed(error.into()))?;
    // What will have the names tomorrow may be anywhere. Nothing can be written, run or sent.
    Sandbox::new().read("/").offline().confine();

    let socket = io::stdin();
    while let Some((number, kind, relative)) = receive_question(socket.as_fd()).map_err(failed)? {
        let opened = open(arguments, rules, number, kind, &relative);
        send_answer(socket.as_fd(), &opened).map_err(failed)?;
    }
    Ok(Exit::Done)
}

/// The server is believed no more than that it may read what its arguments name: neither what lies beside a file that was named,
/// nor what is passed over.
fn open(
    arguments: &[PathBuf],
    rules: Rules,
    number: u32,
    kind: Kind,
    relative: &Path,
) -> io::Result<OwnedFd> {
    let refused = || Err(io::ErrorKind::PermissionDenied.into());
    let Some(argument) = arguments.get(number as usize) else {
        return refused();
    };
    let source = Source::open(number, argument)?;
    let is_allowed = match &source.only {
        Some(only) => kind == Kind::File && relative.as_os_str() == only.as_os_str(),
        None => relative.iter().all(|name| rules.allow(name)),
    };
    if !is_allowed {
        return refused();
    }
    match kind {
        Kind::File => Ok(source.root.open_file(relative, Patience::Wait)?.0.into()),
        Kind::Folder => source.root.open_folder(relative),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nothing_is_opened_but_what_the_arguments_name_and_what_is_shared_below_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["alone", "beside", "share/a", "share/sub/b", "share/.git/c"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        std::os::unix::fs::symlink("../beside", folder.path().join("share/link")).unwrap();
        let arguments = [folder.path().join("share"), folder.path().join("alone")];
        let open = |number, kind, relative: &str| {
            open(&arguments, Rules::default(), number, kind, Path::new(relative)).is_ok()
        };
        assert!(open(0, Kind::Folder, "") && open(0, Kind::Folder, "sub"));
        assert!(open(0, Kind::File, "a") && open(0, Kind::File, "sub/b"));
        assert!(open(1, Kind::File, "alone"));
        for relative in [".git/c", "link", "../beside", "sub/../a", "", "/etc/passwd", "missing", "sub"] {
            assert!(!open(0, Kind::File, relative), "{relative:?}");
        }
        for relative in [".git", "..", "sub/..", "/", "a"] {
            assert!(!open(0, Kind::Folder, relative), "{relative:?}");
        }
        for relative in ["beside", "", "share/a", "./alone"] {
            assert!(!open(1, Kind::File, relative), "{relative:?}");
        }
        assert!(!open(1, Kind::Folder, "") && !open(1, Kind::Folder, "share"));
        assert!(!open(2, Kind::Folder, "") && !open(u32::MAX, Kind::File, "a"));
    }
}
