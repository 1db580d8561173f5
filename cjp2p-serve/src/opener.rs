//! Opening what took the place of a named file or folder.
//!
//! The rights of a confined process are to the files and folders that had their names at the start (Landlock), not to the names.
//! So a process of its own opens what has a name now, and passes the handle: `open_for_server`. It was started before the server was
//! confined, knows the arguments of the command line, and opens what is at or below these; it reads nothing that came from a
//! network.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use cjp2p_io::identity::Identity;
use cjp2p_io::walk::Rules;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::open::with_identity;

/// Bytes of a question before the path: the number of the source, and what is to be opened.
const HEAD: usize = 5;
/// Longest path in bytes.
const MAX_PATH: usize = (64 << 10) - HEAD;

/// What is to be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file, to be read.
    File,
    /// A folder, to be listed.
    Folder,
}

/// Asks the helper. It ends when this is dropped.
#[derive(Debug)]
pub struct Opener {
    /// One question at a time. `None` once the helper has ended.
    socket: Mutex<Option<OwnedFd>>,
    helper: Child,
}

impl Opener {
    /// Starts the helper of `tool` for these arguments. To be called before this process is confined: then it may not.
    ///
    /// # Errors
    ///
    /// Where the program of this process cannot be started once more.
    pub(crate) fn start<'a>(
        tool: &str,
        arguments: impl Iterator<Item = &'a Path>,
        rules: Rules,
    ) -> io::Result<Opener> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        let mut command = Command::new(env::current_exe()?);
        command.arg0(tool).arg("--open-for-server");
        if rules.hidden {
            command.arg("--hidden");
        }
        command.arg("--").args(arguments);
        command
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Ok(Opener { helper: command.spawn()?, socket: Mutex::new(Some(ours)) })
    }

    /// Opens the regular file that is now at `relative` below the source of this number, or is the source.
    ///
    /// # Errors
    ///
    /// What the helper was told; [`io::ErrorKind::PermissionDenied`] where it has ended.
    pub(crate) fn open_file(&self, source: u32, relative: &Path) -> io::Result<(File, Identity)> {
        with_identity(self.ask(source, Kind::File, relative)?)
    }

    /// The same for a folder.
    ///
    /// # Errors
    ///
    /// As for files.
    pub(crate) fn open_folder(&self, source: u32, relative: &Path) -> io::Result<OwnedFd> {
        self.ask(source, Kind::Folder, relative)
    }

    fn ask(&self, source: u32, kind: Kind, relative: &Path) -> io::Result<OwnedFd> {
        // Cut short, it would be the path of something else.
        if relative.as_os_str().len() > MAX_PATH {
            return Err(rustix::io::Errno::NAMETOOLONG.into());
        }
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = &*socket else {
            return Err(io::ErrorKind::PermissionDenied.into());
        };
        let answer = send_question(open, source, kind, relative).and_then(|()| receive_answer(open));
        answer.unwrap_or_else(|error| {
            log::warn!(
                "the process that opens what takes the place of a named file or folder has ended ({error}): \
                 what is replaced from now on is shared at the next start"
            );
            *socket = None;
            Err(io::ErrorKind::PermissionDenied.into())
        })
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        // It sees that, and ends; we do not wait for a disk that it may wait for.
        self.socket.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.helper.try_wait();
    }
}

fn send_question(socket: &OwnedFd, source: u32, kind: Kind, relative: &Path) -> io::Result<()> {
    let head = [&source.to_le_bytes()[..], &[u8::from(kind == Kind::Folder)]].concat();
    let parts = [IoSlice::new(&head), IoSlice::new(relative.as_os_str().as_bytes())];
    sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?;
    Ok(())
}

/// `None` at the end of questions.
pub(crate) fn receive_question(socket: BorrowedFd<'_>) -> io::Result<Option<(u32, Kind, PathBuf)>> {
    let mut bytes = vec![0; HEAD + MAX_PATH];
    let length = loop {
        match rustix::net::recv(socket, &mut bytes[..], RecvFlags::empty()) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?.0,
        }
    };
    let Some((source, rest)) = bytes[..length].split_first_chunk() else {
        return Ok(None);
    };
    let Some((kind, path)) = rest.split_first() else {
        return Ok(None);
    };
    let kind = if *kind == 0 { Kind::File } else { Kind::Folder };
    Ok(Some((u32::from_le_bytes(*source), kind, OsString::from_vec(path.to_vec()).into())))
}

/// An answer is the number of an error, 0 for none, and then the handle goes with it.
pub(crate) fn send_answer(socket: BorrowedFd<'_>, opened: &io::Result<OwnedFd>) -> io::Result<()> {
    let errno = match opened {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error()),
    };
    let handles: Vec<BorrowedFd<'_>> = opened.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() {
        with.push(SendAncillaryMessage::ScmRights(&handles));
    }
    sendmsg(socket, &[IoSlice::new(&errno.to_le_bytes())], &mut with, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The inner error is what the helper was told when it tried to open.
fn receive_answer(socket: &OwnedFd) -> io::Result<io::Result<OwnedFd>> {
    let mut bytes = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut bytes)];
        match recvmsg(socket, &mut into, &mut with, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            received => break received?,
        }
    };
    if received.bytes != bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let handle = with.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
        _ => None,
    });
    Ok(match (i32::from_le_bytes(bytes), handle) {
        (0, Some(handle)) => Ok(handle),
        // It could not be passed: this process has too many.
        (0, None) => Err(rustix::io::Errno::MFILE.into()),
        (errno, _) => Err(io::Error::from_raw_os_error(errno)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_asked_for_whole_or_not_at_all() {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let helper = Command::new("true").spawn().unwrap();
        let opener = Opener { socket: Mutex::new(Some(ours)), helper };
        let path = |length: usize| PathBuf::from("a".repeat(length));
        let too_long = opener.open_folder(3, &path(MAX_PATH + 1)).unwrap_err();
        assert_eq!(too_long.raw_os_error(), Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()));
        assert!(receive_question(theirs.as_fd()).is_err(), "nothing was asked");
        // Nobody answers that.
        assert!(opener.open_folder(3, &path(MAX_PATH)).is_err());
        let asked = receive_question(theirs.as_fd()).unwrap();
        assert_eq!(asked, Some((3, Kind::Folder, path(MAX_PATH))));
    }
}
