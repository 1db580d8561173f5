//! Standard error. Nobody may be reading it: what is told waits for a moment at the most, and what only shows progress not at
//! all. Where it is the journal of systemd, each line says how urgent it is.

use std::borrow::Cow;
use std::env;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::{Errno, write};
use rustix::net::{SendFlags, send};

/// How long a message waits for a reader. After one that waited in vain the others do not, until there is room again.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes written at once: a pipe takes so many whole, or none.
const AT_ONCE: usize = 4096;

static IS_STUCK: AtomicBool = AtomicBool::new(false);
static WAY: OnceLock<Way> = OnceLock::new();

/// How urgent a line is, by the numbers of syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Something failed.
    Error = 3,
    /// Something may fail, or is not as it was meant.
    Warning = 4,
    /// What goes on.
    Info = 6,
    /// Details.
    Debug = 7,
}

/// Whether standard error is the journal.
static IS_JOURNAL: OnceLock<bool> = OnceLock::new();

/// How to write without being held up. Others have the same standard error, so whether that blocks is not changed for them.
#[derive(Debug)]
enum Way {
    /// A pipe or terminal that was opened once more, for us alone.
    Own(File),
    Socket,
    /// A file, which takes everything. Or what we may not open: there is room for something, if not for all.
    Plain,
}

impl Way {
    fn find() -> Way {
        let stderr = io::stderr();
        let kind = fstat(&stderr).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind {
            Ok(FileType::Socket) => Way::Socket,
            Ok(FileType::Fifo) => Way::own(),
            Ok(FileType::CharacterDevice) if stderr.is_terminal() => Way::own(),
            _ => Way::Plain,
        }
    }

    fn own() -> Way {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        let opened = OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/2");
        opened.map_or(Way::Plain, Way::Own)
    }

    fn write(&self, part: &[u8]) -> Result<usize, Errno> {
        match self {
            Way::Own(file) => write(file, part),
            Way::Socket => send(io::stderr(), part, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Way::Plain => write(io::stderr(), part),
        }
    }
}

/// Finds out what standard error is. To be called before the process is confined.
pub(super) fn prepare() {
    WAY.get_or_init(Way::find);
    is_journal();
}

/// Whether standard error is what `JOURNAL_STREAM` says: the journal reads what is written there, line by line.
pub(super) fn is_journal() -> bool {
    *IS_JOURNAL.get_or_init(|| {
        let stream = env::var("JOURNAL_STREAM").ok();
        let stat = fstat(io::stderr()).ok();
        stream.zip(stat).is_some_and(|(stream, stat)| names_stream(&stream, stat.st_dev, stat.st_ino))
    })
}

/// Whether this variable, `DEVICE:INODE`, names a file.
fn names_stream(variable: &str, device: u64, inode: u64) -> bool {
    let numbers = variable.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    numbers == Some((Ok(device), Ok(inode)))
}

/// A text as it is written: for the journal, each line with its priority before it.
pub(super) fn marked(priority: Priority, text: &str) -> Cow<'_, str> {
    if is_journal() { Cow::Owned(with_priority(priority, text)) } else { Cow::Borrowed(text) }
}

fn with_priority(priority: Priority, text: &str) -> String {
    text.split_inclusive('\n').map(|line| format!("<{}>{line}", priority as u8)).collect()
}

/// Writes a message, whole lines, as far as that is taken. Where it is not, nothing can be done.
pub fn tell(priority: Priority, message: &str) {
    tell_marked(marked(priority, message).as_bytes());
}

/// The same for what is [marked] already.
pub(super) fn tell_marked(message: &[u8]) {
    let limit = if IS_STUCK.load(Ordering::Relaxed) { Duration::ZERO } else { MESSAGE_TIMEOUT };
    let is_told = write_within(message, limit);
    IS_STUCK.store(!is_told, Ordering::Relaxed);
}

/// Writes what is out of date in a moment, if that is taken at once.
pub(super) fn show(text: &[u8]) {
    write_within(text, Duration::ZERO);
}

/// Returns whether all of it was written.
fn write_within(mut text: &[u8], limit: Duration) -> bool {
    let way = WAY.get_or_init(Way::find);
    let (stderr, start) = (io::stderr(), Instant::now());
    while !text.is_empty() {
        let left = limit.saturating_sub(start.elapsed());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)], timeout) {
            Ok(0) => return false,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return false,
        }
        match way.write(&text[..text.len().min(AT_ONCE)]) {
            Ok(count) => text = &text[count..],
            // Others who write there were quicker.
            Err(Errno::AGAIN | Errno::INTR) if !left.is_zero() => {}
            Err(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_has_its_priority() {
        assert_eq!(with_priority(Priority::Warning, "a\nb\n"), "<4>a\n<4>b\n");
        assert_eq!(with_priority(Priority::Error, "a"), "<3>a");
        assert_eq!(with_priority(Priority::Info, ""), "");
    }

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert!(names_stream("8:1234", 8, 1234));
        for other in ["8:1235", "9:1234", "8", "", ":", "8:1234:1", "x:1234"] {
            assert!(!names_stream(other, 8, 1234), "{other:?}");
        }
    }
}
