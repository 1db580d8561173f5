//! A local socket in the state folder, at which a running tool says how it goes, to whoever connects.
//!
//! Only the same user can connect, and root: the socket has mode 0600 from the beginning. Nothing that somebody sends is read. A text
//! is written at once, as far as the socket takes it, and the connection is closed: none is kept, so none has to be bounded.

use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, send,
    socket_with,
};

use super::state_dir::{StateDir, about};

/// Bytes of an answer: a socket takes so many at once.
pub const MAX_ANSWER: usize = 64 << 10;
/// Connections that are answered in a row.
const AT_ONCE: usize = 4;
/// Connections that wait for it.
const BACKLOG: i32 = 16;
/// What a name ends in.
const SUFFIX: &str = ".socket";
/// Sockets in one folder that are asked.
const MAX_ASKED: usize = 64;
/// How long one is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the [module](self). Its file is removed with it.
#[derive(Debug)]
pub struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl StatusSocket {
    /// Listens in this folder at `NAME.socket`. To be called before the process is confined, and by one process at a time for each
    /// name: a socket that is there was left by a killed one, and is replaced.
    ///
    /// # Errors
    ///
    /// Where there can be no socket, or something else has its name.
    pub fn listen(state: &StateDir, name: &str) -> io::Result<StatusSocket> {
        let name = format!("{name}{SUFFIX}");
        let path = state.file(&name);
        Self::listen_at(state, &name)
            .map_err(|error| about(&path, error))
            .map(|listener| StatusSocket { listener, path })
    }

    fn listen_at(state: &StateDir, name: &str) -> io::Result<UnixListener> {
        let socket = socket_with(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        // Its file is made with this mode.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        let place = Place::of(state, name)?;
        match bind(&socket, &place.address) {
            Err(Errno::ADDRINUSE) => {
                remove_socket(&state.file(name))?;
                bind(&socket, &place.address)?;
            }
            bound => bound?,
        }
        listen(&socket, BACKLOG)?;
        Ok(UnixListener::from(socket))
    }

    /// Its descriptor: the one at which a confined process may take connections.
    pub fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Gives what `text` makes to those who connected, some of them: whoever is left makes the socket readable again. Does not wait.
    ///
    /// # Errors
    ///
    /// Where somebody connected and the system has no descriptor for that. The socket stays readable.
    pub fn answer(&self, text: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let (mut callers, mut refused) = (Vec::new(), Ok(()));
        for _ in 0..AT_ONCE {
            match self.listener.accept() {
                Ok((caller, _)) => callers.push(caller),
                Err(error) => {
                    let is_gone = matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionAborted
                    );
                    refused = if is_gone { Ok(()) } else { Err(error) };
                    break;
                }
            }
        }
        if callers.is_empty() {
            return refused;
        }
        let text = text();
        for caller in callers {
            // Of a caller that gets only a part, the end tells it: it is no whole object.
            let sent = send(&caller, &text, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            if sent != Ok(text.len()) {
                log::info!("status: {} bytes had no room", text.len());
            }
        }
        refused
    }
}

impl AsFd for StatusSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("{}: {error}", self.path.display());
        }
    }
}

/// What those say that run with this state folder and listen at names that begin so. A socket at which nobody listens is left out.
///
/// # Errors
///
/// Where the folder cannot be read, or a socket refuses, or says nothing for ten seconds.
pub fn ask_all(state: &StateDir, prefix: &str) -> io::Result<Vec<Vec<u8>>> {
    let entries = fs::read_dir(state.path()).map_err(|error| about(state.path(), error))?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(prefix) && name.ends_with(SUFFIX)).take(MAX_ASKED).collect();
    names.sort();
    let mut said = Vec::new();
    for name in names {
        said.extend(ask(state, &name).map_err(|error| about(&state.file(&name), error))?);
    }
    Ok(said)
}

fn ask(state: &StateDir, name: &str) -> io::Result<Option<Vec<u8>>> {
    let place = Place::of(state, name)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Where too many wait already, connecting waits.
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    match connect(&socket, &place.address) {
        Err(Errno::CONNREFUSED | Errno::NOENT) => return Ok(None),
        connected => connected?,
    }
    let (mut stream, start) = (UnixStream::from(socket), Instant::now());
    let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
    while text.len() <= MAX_ANSWER {
        let left = PATIENCE.saturating_sub(start.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => text.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
            }
            // It ended in between.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    // Of one that ended before it answered, there is nothing.
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Where a socket is. By the descriptor of its folder: a path of more than 107 bytes is none for a socket.
struct Place {
    address: SocketAddrUnix,
    _folder: rustix::fd::OwnedFd,
}

impl Place {
    fn of(state: &StateDir, name: &str) -> io::Result<Place> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(state.path(), flags, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
        let path = if short.exists() { short.join(name) } else { state.file(name) };
        let address = SocketAddrUnix::new(&path).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "too long for a socket, and /proc is not there")
        })?;
        Ok(Place { address, _folder: folder })
    }
}

/// Removes a socket, and nothing else.
fn remove_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::other("something else is in the place of a socket"));
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    /// A folder whose path is too long for a socket.
    fn deep() -> (tempfile::TempDir, StateDir) {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::open(Some(&folder.path().join("long".repeat(50)))).unwrap();
        (folder, state)
    }

    #[test]
    fn what_is_said_is_heard_by_whoever_asks_and_a_socket_of_a_killed_process_is_replaced() {
        let (_folder, state) = deep();
        // Left by a killed process: nobody listens.
        let left = StatusSocket::listen(&state, "a-1").unwrap();
        let path = left.path.clone();
        let moved = state.file("kept");
        fs::rename(&path, &moved).unwrap();
        drop(left);
        fs::rename(&moved, &path).unwrap();
        assert_eq!(ask_all(&state, "a-").unwrap(), Vec::<Vec<u8>>::new(), "nobody listens");

        let socket = StatusSocket::listen(&state, "a-1").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = vec![b'x'; MAX_ANSWER];
        socket.answer(|| panic!("nobody asks")).unwrap();
        let asking = thread::spawn({
            let state = state.clone();
            move || ask_all(&state, "a-")
        });
        while !asking.is_finished() {
            socket.answer(|| text.clone()).unwrap();
            thread::sleep(Duration::from_millis(1));
        }
        let said = asking.join().unwrap().unwrap();
        assert!(said == [text], "another text was heard");
        drop(socket);
        assert!(!path.exists());
        assert_eq!(ask_all(&state, "a-").unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn a_file_in_the_place_of_the_socket_stays() {
        let (_folder, state) = deep();
        fs::write(state.file("a.socket"), "mine").unwrap();
        let error = StatusSocket::listen(&state, "a").unwrap_err().to_string();
        assert!(error.contains("in the place of a socket"), "{error}");
        assert_eq!(fs::read(state.file("a.socket")).unwrap(), b"mine");
    }
}
