//! Where a stream comes from: standard input, or a file that grows.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cjp2p_cli::stdin;
use cjp2p_io::state_dir::{folder_of, open_to_read};
use cjp2p_io::stream_files::Source;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// A file is looked at so often, for where it lies on another machine nothing tells of what that one writes.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same where the kernel tells of nothing at all.
const LOOK_EVERY_UNTOLD: Duration = Duration::from_millis(100);
/// What happens to a file that grows, and in its folder when another one takes its name.
const OF_FILE: WatchFlags = WatchFlags::MODIFY.union(WatchFlags::ATTRIB).union(WatchFlags::MOVE_SELF);
const OF_FOLDER: WatchFlags = WatchFlags::CREATE.union(WatchFlags::MOVED_TO).union(WatchFlags::ONLYDIR);

/// What comes of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// So many bytes.
    Bytes(usize),
    /// Nothing came in the time that there was.
    Pause,
    /// What comes next begins anew: a file was cut, or another one has taken its name.
    NewPart(&'static str),
    /// Nothing will come any more.
    End,
    /// It is to stop.
    Stop,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) enum Input {
    Pipe(File),
    File(Follower),
}

impl Input {
    /// Standard input.
    ///
    /// # Errors
    ///
    /// It is closed, or a terminal.
    pub(super) fn standard() -> io::Result<Input> {
        stdin::open()?;
        if io::stdin().is_terminal() {
            return Err(io::Error::other(
                "standard input is a terminal: a stream comes through a pipe, or from a file",
            ));
        }
        Ok(Input::Pipe(File::from(io::stdin().as_fd().try_clone_to_owned()?)))
    }

    /// A file, from its beginning on.
    ///
    /// # Errors
    ///
    /// It cannot be opened, or is no regular file. The message does not name it.
    pub(super) fn file(path: &Path) -> io::Result<Input> {
        Ok(Input::File(Follower::open(path)?))
    }

    /// Where what comes next lies in a file.
    pub(super) fn source(&self) -> Option<Source> {
        match self {
            Input::Pipe(_) => None,
            Input::File(follower) => Some(follower.source()),
        }
    }

    /// The folder with the file in it: what takes its name is looked for there.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        match self {
            Input::Pipe(_) => None,
            Input::File(follower) => Some(follower.folder().to_path_buf()),
        }
    }

    /// Goes on in the file where a part that began there is `length` bytes long, if it is that file still, and the bytes before are `last`.
    pub(super) fn resume(&mut self, source: Source, length: u64, last: &[u8]) -> bool {
        match self {
            Input::Pipe(_) => false,
            Input::File(follower) => follower.resume(source, length, last),
        }
    }

    /// Reads what there is. Waits for `wait` at the most, or until `stop` can be read.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn read(
        &mut self,
        buffer: &mut [u8],
        wait: Duration,
        stop: BorrowedFd<'_>,
    ) -> io::Result<Got> {
        match self {
            Input::Pipe(pipe) => read_pipe(pipe, buffer, wait, stop),
            Input::File(follower) => follower.read(buffer, wait, stop),
        }
    }
}

fn read_pipe(pipe: &File, buffer: &mut [u8], wait: Duration, stop: BorrowedFd<'_>) -> io::Result<Got> {
    let mut wanted = [PollFd::new(stop, PollFlags::POLLIN), PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
    match poll(&mut wanted, timeout(wait)) {
        Err(nix::errno::Errno::EINTR) | Ok(0) => return Ok(Got::Pause),
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    if wanted[0].any().unwrap_or(true) {
        return Ok(Got::Stop);
    }
    match rustix::io::read(pipe, buffer) {
        Ok(0) => Ok(Got::End),
        Ok(read) => Ok(Got::Bytes(read)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Got::Pause),
        Err(errno) => Err(errno.into()),
    }
}

/// To the next millisecond: none would be a loop without a pause.
fn timeout(wait: Duration) -> PollTimeout {
    PollTimeout::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX)
}

/// A file that grows.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    file: File,
    /// What was read of it.
    at: u64,
    /// What has taken its name: what is left in the old one comes first.
    next: Option<File>,
    /// `None` where the kernel has no more of it.
    inotify: Option<OwnedFd>,
    /// The file is watched, which comes after the folder.
    is_watched: bool,
}

impl Follower {
    fn open(path: &Path) -> io::Result<Follower> {
        // Where a link leads is followed once: what takes the place of that is found there.
        let path = fs::canonicalize(path)?;
        let file = open_to_read(&path)?;
        Ok(Follower { path, file, at: 0, next: None, inotify: None, is_watched: false })
    }

    /// The folder with the file in it.
    fn folder(&self) -> &Path {
        folder_of(&self.path)
    }

    fn source(&self) -> Source {
        let found = self.file.metadata().ok();
        let (device, inode) = found.map_or((0, 0), |found| (found.dev(), found.ino()));
        Source { device, inode, at: self.at }
    }

    fn resume(&mut self, source: Source, length: u64, last: &[u8]) -> bool {
        let here = self.source();
        let (Some(at), Ok(found)) = (source.at.checked_add(length), self.file.metadata()) else {
            return false;
        };
        if (here.device, here.inode) != (source.device, source.inode) || found.len() < at {
            return false;
        }
        let mut before = vec![0; last.len()];
        let start = at.checked_sub(last.len() as u64);
        let is_same = start.is_some_and(|start| self.file.read_exact_at(&mut before, start).is_ok());
        if is_same && before == last {
            self.at = at;
        }
        is_same && before == last
    }

    fn read(&mut self, buffer: &mut [u8], wait: Duration, stop: BorrowedFd<'_>) -> io::Result<Got> {
        if !self.is_watched {
            self.is_watched = true;
            self.watch();
        }
        for has_waited in [false, true, true] {
            match self.file.read_at(buffer, self.at) {
                Ok(0) => {
                    if let Some(next) = self.next.take() {
                        (self.file, self.at) = (next, 0);
                        self.watch();
                        return Ok(Got::NewPart("rotated"));
                    }
                }
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(Got::Bytes(read));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Got::Pause),
                Err(error) => return Err(error),
            }
            if self.is_cut()? {
                self.at = 0;
                return Ok(Got::NewPart("truncated"));
            }
            self.next = self.successor()?;
            if self.next.is_some() {
                continue;
            }
            if has_waited {
                break;
            }
            let most = if self.inotify.is_some() { LOOK_EVERY } else { LOOK_EVERY_UNTOLD };
            let mut wanted = vec![PollFd::new(stop, PollFlags::POLLIN)];
            wanted.extend(self.inotify.iter().map(|inotify| PollFd::new(inotify.as_fd(), PollFlags::POLLIN)));
            match poll(&mut wanted, timeout(wait.min(most))) {
                Err(nix::errno::Errno::EINTR) => return Ok(Got::Pause),
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            if wanted[0].any().unwrap_or(true) {
                return Ok(Got::Stop);
            }
            self.drain();
        }
        Ok(Got::Pause)
    }

    fn is_cut(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() < self.at)
    }

    /// The file that has taken the name of the one that is open, if any. While that is moved away nothing may have it.
    fn successor(&self) -> io::Result<Option<File>> {
        let found = self.file.metadata()?;
        let is_another = |other: &fs::Metadata| {
            other.is_file() && (other.dev(), other.ino()) != (found.dev(), found.ino())
        };
        if !fs::symlink_metadata(&self.path).is_ok_and(|other| is_another(&other)) {
            return Ok(None);
        }
        let opened = open_to_read(&self.path);
        Ok(opened.inspect_err(|error| log::debug!("the file that has taken the name: {error}")).ok())
    }

    /// Watches the file that is open, and the folder.
    fn watch(&mut self) {
        let watch = || -> io::Result<OwnedFd> {
            let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            inotify::add_watch(&inotify, self.folder(), OF_FOLDER)?;
            inotify::add_watch(&inotify, &self.path, OF_FILE)?;
            Ok(inotify)
        };
        self.inotify = watch()
            .inspect_err(|error| log::info!("a file that grows is looked at instead of watched: {error}"))
            .ok();
    }

    fn drain(&self) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader: Reader<'_, _> = Reader::new(inotify, &mut buffer);
        // What happened does not matter, only that something did.
        while reader.next().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);

    fn stop() -> EventFd {
        EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()
    }

    /// Reads until something else than a pause comes.
    fn next(input: &mut Input, stop: &EventFd) -> (Got, Vec<u8>) {
        let mut buffer = [0; 1000];
        loop {
            match input.read(&mut buffer, LONG, stop.as_fd()).unwrap() {
                Got::Pause => {}
                Got::Bytes(read) => return (Got::Bytes(read), buffer[..read].to_vec()),
                other => return (other, Vec::new()),
            }
        }
    }

    fn bytes(text: &str) -> (Got, Vec<u8>) {
        (Got::Bytes(text.len()), text.into())
    }

    #[test]
    fn a_file_is_followed_as_it_grows_is_cut_and_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "one\n").unwrap();
        let (mut input, stop) = (Input::file(&path).unwrap(), stop());
        assert_eq!(next(&mut input, &stop), bytes("one\n"));
        assert_eq!(input.read(&mut [0; 9], Duration::from_millis(1), stop.as_fd()).unwrap(), Got::Pause);
        let (from, to) = (path.clone(), folder.path().join("log.1"));
        let writer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            OpenOptions::new().append(true).open(&from).unwrap().write_all(b"two\n").unwrap();
        });
        assert_eq!(next(&mut input, &stop), bytes("two\n"));
        writer.join().unwrap();
        let writer = thread::spawn({
            let path = path.clone();
            move || {
                thread::sleep(Duration::from_millis(20));
                OpenOptions::new().append(true).open(&path).unwrap().write_all(b"three\n").unwrap();
                fs::rename(&path, &to).unwrap();
                OpenOptions::new().append(true).open(&to).unwrap().write_all(b"late\n").unwrap();
                fs::write(&path, "new\n").unwrap();
            }
        });
        let mut all = Vec::new();
        loop {
            match next(&mut input, &stop) {
                (Got::Bytes(_), bytes) => all.extend(bytes),
                (got, _) => {
                    assert_eq!(got, Got::NewPart("rotated"));
                    break;
                }
            }
        }
        assert_eq!(String::from_utf8(all).unwrap(), "three\nlate\n");
        writer.join().unwrap();
        assert_eq!(next(&mut input, &stop), bytes("new\n"));
        fs::write(&path, "x").unwrap();
        assert_eq!(next(&mut input, &stop).0, Got::NewPart("truncated"));
        assert_eq!(next(&mut input, &stop), bytes("x"));
        stop.write(1).unwrap();
        assert_eq!(next(&mut input, &stop).0, Got::Stop);
    }

    #[test]
    fn a_file_is_gone_on_with_only_where_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "0123456789").unwrap();
        let mut input = Input::file(&path).unwrap();
        let source = input.source().unwrap();
        let stop = stop();
        assert!(!input.resume(source, 11, b"9"), "it is shorter");
        assert!(!input.resume(source, 4, b"2"), "something else is there");
        assert!(!input.resume(Source { inode: source.inode + 1, ..source }, 4, b"3"));
        assert!(!input.resume(source, 2, b"3456"));
        assert!(input.resume(Source { at: 1, ..source }, 3, b"123"));
        assert_eq!(next(&mut input, &stop), bytes("456789"));
    }

    #[test]
    fn a_pipe_pauses_and_ends() {
        let (reader, mut writer) = io::pipe().unwrap();
        let (mut input, stop) = (Input::Pipe(File::from(OwnedFd::from(reader))), stop());
        assert_eq!(input.read(&mut [0; 9], Duration::from_millis(1), stop.as_fd()).unwrap(), Got::Pause);
        writer.write_all(b"abc").unwrap();
        assert_eq!(next(&mut input, &stop), bytes("abc"));
        drop(writer);
        assert_eq!(next(&mut input, &stop).0, Got::End);
    }
}
