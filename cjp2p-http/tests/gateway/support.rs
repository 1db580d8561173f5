//! A gateway with a peer, and a client that is a socket.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cjp2p_tests::faults::full;
use cjp2p_tests::real::host::Host;
use cjp2p_tests::real::{end_of, line_of};
use cjp2p_tests::sim::Peer;
use tempfile::TempDir;

/// A test that waits longer than this fails.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A peer that shares these contents.
pub(crate) fn sharing(contents: &[Vec<u8>]) -> Host {
    let contents = contents.to_vec();
    Host::start(move || {
        let mut peer = Peer::new(7);
        for bytes in contents {
            peer.store.share(bytes, None);
        }
        peer
    })
}

/// A gateway, ended when dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: String,
    folder: TempDir,
}

impl Gateway {
    /// With a cache of its own.
    pub(crate) fn start(peer: &Host, arguments: &[&str]) -> Gateway {
        Gateway::start_in(tempfile::tempdir().unwrap(), peer, arguments)
    }

    /// With what is in this folder from before.
    pub(crate) fn start_in(folder: TempDir, peer: &Host, arguments: &[&str]) -> Gateway {
        Gateway::run(Command::new(env!("CARGO_BIN_EXE_cjp2p-http")), folder, peer, arguments)
    }

    /// With a cache on a disk of its own that has so many bytes; `None` where none can be mounted.
    pub(crate) fn start_on_disk(bytes: usize, peer: &Host, arguments: &[&str]) -> Option<Gateway> {
        if let Some(why) = full::unavailable() {
            eprintln!("skipped: no small disk can be mounted: {why}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("cache")).unwrap();
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=$2 tmpfs \"$1\"; shift 2; exec \"$@\"";
        command.args(["-rm", "sh", "-ec", script, "sh"]).arg(folder.path().join("cache"));
        command.arg(bytes.to_string()).arg(env!("CARGO_BIN_EXE_cjp2p-http"));
        Some(Gateway::run(command, folder, peer, arguments))
    }

    /// By this command, which runs cjp2p-http.
    pub(crate) fn run(mut command: Command, folder: TempDir, peer: &Host, arguments: &[&str]) -> Gateway {
        command
            .env("CJP2P_BOOTSTRAP", "")
            .env("CJP2P_NO_LAN", "1")
            .env_remove("RUST_LOG")
            .args(["--listen", "0", "--udp", "127.0.0.1:0", "--timeout", "2s"])
            .args(["--peer", &peer.address.to_string()])
            .arg("--state")
            .arg(folder.path().join("state"))
            .arg("--cache-dir")
            .arg(folder.path().join("cache"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let line = line_of(&mut lines).unwrap();
        let address = line.trim().strip_prefix("http://").and_then(|rest| rest.strip_suffix('/'));
        let address = address.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Gateway { child, address, folder }
    }

    /// The folder of the cache.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// Ends it, and gives the folder in which another may go on.
    pub(crate) fn end(mut self) -> TempDir {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        end_of(&mut self.child);
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// The same without a warning.
    pub(crate) fn kill(mut self) -> TempDir {
        self.child.kill().unwrap();
        end_of(&mut self.child);
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    /// A connection.
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Client { stream, rest: Vec::new() }
    }

    /// Asks for a path, with these fields.
    pub(crate) fn get(&self, path: &str, fields: &str) -> Answer {
        let mut client = self.connect();
        client.send(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
        client.answer(false)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that sends what it is told.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    rest: Vec<u8>,
}

/// What came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// All of the body came.
    pub(crate) is_whole: bool,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

impl Client {
    pub(crate) fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads some more. Returns whether there was any.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 65_536];
        match self.stream.read(&mut buffer) {
            Ok(count) => {
                self.rest.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing comes: {error}"),
        }
    }

    /// Reads one answer, slowly, and looks at something meanwhile.
    pub(crate) fn answer_while(&mut self, mut look: impl FnMut()) -> Answer {
        let begun = Instant::now();
        while self.rest.len() < 95 << 20 && self.more() {
            // About 20 MiB in a second.
            std::thread::sleep(Duration::from_millis(2));
            look();
            assert!(begun.elapsed() < LIMIT, "{} bytes came", self.rest.len());
        }
        self.answer(false)
    }

    /// Reads one answer.
    pub(crate) fn answer(&mut self, is_head: bool) -> Answer {
        let end = loop {
            if let Some(at) = self.rest.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more(), "it ended within a head: {:?}", String::from_utf8_lossy(&self.rest));
        };
        let head: Vec<u8> = self.rest.drain(..end).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|text| text.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("{head:?}"));
        let fields: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{head:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let has_body = !is_head && !matches!(status, 204 | 304);
        let length = fields.get("content-length").map_or(0, |text| text.parse().unwrap());
        let length = if has_body { length } else { 0 };
        let mut is_whole = true;
        while self.rest.len() < length && is_whole {
            is_whole = self.more();
        }
        let body = self.rest.drain(..length.min(self.rest.len())).collect();
        Answer { status, fields, body, is_whole }
    }

    /// What came of a body until the connection ended; `None` where not even a head did.
    pub(crate) fn body_so_far(&mut self) -> Option<Vec<u8>> {
        while self.more() {}
        let end = self.rest.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        Some(self.rest.split_off(end))
    }

    /// Whether nothing more comes, ever.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest.is_empty() && !self.more()
    }
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Room that the files below this folder take, in bytes.
pub(crate) fn room(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = std::fs::read_dir(folder).unwrap().filter_map(Result::ok);
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * 512)).sum()
}
