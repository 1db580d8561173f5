//! Tells the program that started and watches this one, such as systemd, how it goes: the protocol of `sd_notify`.
//!
//! The socket is connected before the process is confined, and kept: no Unix socket can be opened later. The crates for this
//! protocol open one for each message.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::time::{ClockId, clock_gettime};

/// How long a message that must not be lost waits for room, in milliseconds. The others do not wait.
const PATIENCE_MS: u16 = 1000;
/// Bytes of a status line that are sent.
const MAX_STATUS: usize = 400;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Supervisor {
    /// `None` where nobody wants to be told.
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// The last status line.
    status: String,
}

impl Supervisor {
    /// The one that the environment names: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. To be called before the process is confined.
    ///
    /// # Errors
    ///
    /// Where one is named that cannot be reached.
    pub fn from_environment() -> io::Result<Supervisor> {
        let Some(name) = env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Supervisor::default());
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(&name)?)?;
        socket.set_nonblocking(true)?;
        let variable = |name| env::var(name).ok();
        let watchdog = watchdog(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), std::process::id());
        Ok(Supervisor { socket: Some(socket), watchdog, status: String::new() })
    }

    /// Whether anybody is told.
    pub fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// How often [`Supervisor::is_alive`] is to be called: twice in the time after which this process would be ended.
    /// `None` where nobody waits for it.
    pub fn every(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service does what it is for.
    pub fn is_ready(&self) {
        self.tell_surely("READY=1");
    }

    /// It ends, as it was asked to.
    pub fn is_stopping(&self) {
        self.tell_surely("STOPPING=1");
    }

    /// It began to look at its configuration again.
    pub fn is_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000;
        self.tell_surely(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// Its loop goes round.
    pub fn is_alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// One line for people, sent where it is another than the last one.
    pub fn set_status(&mut self, line: &str) {
        if self.socket.is_none() || line == self.status {
            return;
        }
        line.clone_into(&mut self.status);
        let mut told: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        while told.len() > MAX_STATUS {
            told.pop();
        }
        self.tell(&format!("STATUS={told}"));
    }

    fn tell_surely(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // Where there is no room even then, nothing can be done.
            let wanted = PollFd::new(socket.as_fd(), PollFlags::POLLOUT);
            let _ = poll(&mut [wanted], PollTimeout::from(PATIENCE_MS));
        }
        self.tell(message);
    }

    fn tell(&self, message: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(message.as_bytes())) {
            log::debug!("NOTIFY_SOCKET: {error}");
        }
    }
}

/// A path, or after an `@` an abstract name.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(name),
    }
}

/// Half of the time after which `process` would be ended.
fn watchdog(microseconds: Option<String>, of: Option<String>, process: u32) -> Option<Duration> {
    if of.is_some_and(|of| of.parse() != Ok(process)) {
        return None;
    }
    let time = microseconds?.parse().ok().filter(|time| *time > 0)?;
    Some(Duration::from_micros(time) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let time = |text: &str| Some(text.to_owned());
        assert_eq!(watchdog(time("3000000"), None, 7), Some(Duration::from_millis(1500)));
        assert_eq!(watchdog(time("3000000"), time("7"), 7), Some(Duration::from_millis(1500)));
        assert_eq!(watchdog(time("3000000"), time("8"), 7), None);
        for wrong in ["0", "", "-1", "soon"] {
            assert_eq!(watchdog(time(wrong), None, 7), None, "{wrong:?}");
        }
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn a_status_is_sent_once_and_is_one_line() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut supervisor = Supervisor { socket: Some(ours), ..Supervisor::default() };
        theirs.set_nonblocking(true).unwrap();
        let heard = || {
            let mut buffer = [0; 1000];
            let length = theirs.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        };
        supervisor.set_status("a\nREADY=1");
        supervisor.set_status("a\nREADY=1");
        assert_eq!(heard().as_deref(), Some("STATUS=a READY=1"));
        assert_eq!(heard(), None);
        supervisor.set_status(&"é".repeat(1000));
        assert!(heard().is_some_and(|text| text.len() <= "STATUS=".len() + MAX_STATUS));
        supervisor.is_reloading();
        assert!(heard().is_some_and(|text| text.starts_with("RELOADING=1\nMONOTONIC_USEC=")));
    }

    #[test]
    fn a_name_with_an_at_sign_is_abstract() {
        assert_eq!(address(OsStr::new("@a")).unwrap().as_abstract_name(), Some(&b"a"[..]));
        assert!(address(OsStr::new("/run/a")).unwrap().as_pathname().is_some());
        assert!(address(OsStr::new(&"/a".repeat(100))).is_err());
    }
}
