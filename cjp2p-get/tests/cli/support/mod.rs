//! Peers of the simulation on real sockets of this machine, and the tool run against them.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cjp2p_cli::args::AS_ROOT;
use cjp2p_tests::sim::peer::config;
use cjp2p_tests::sim::{HostBehaviour, Outbox, Peer};
use cjp2p_wire::time::Time;

/// A host on a socket of the loopback interface, until dropped.
pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// Starts what `make` makes.
    pub(crate) fn start<C: HostBehaviour>(make: impl FnOnce() -> C + Send + 'static) -> Host {
        Host::start_at(([127, 0, 0, 1], 0).into(), make)
    }

    /// The same at this address.
    pub(crate) fn start_at<C: HostBehaviour>(
        address: SocketAddr,
        make: impl FnOnce() -> C + Send + 'static,
    ) -> Host {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || drive(&socket, make(), &stopped));
        Host { address, stop, thread: Some(thread) }
    }

    /// A peer that shares these contents.
    pub(crate) fn sharing(contents: &[&[u8]]) -> Host {
        Host::limited(contents, None)
    }

    /// One that sends at most so many bytes in a second.
    pub(crate) fn limited(contents: &[&[u8]], upload_rate: Option<u64>) -> Host {
        let contents: Vec<Vec<u8>> = contents.iter().map(|bytes| bytes.to_vec()).collect();
        Host::start(move || {
            let mut config = config(7);
            config.upload_rate = upload_rate;
            let mut peer = Peer::with_config(config);
            for (n, bytes) in contents.into_iter().enumerate() {
                peer.store.share(bytes, Some(&format!("file-{n}")));
            }
            peer
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn drive(socket: &UdpSocket, mut host: impl HostBehaviour, stopped: &AtomicBool) {
    let epoch = Instant::now();
    let mut buffer = vec![0; 65_536];
    while !stopped.load(Ordering::Relaxed) {
        let now = Time::ZERO + epoch.elapsed();
        let mut out = Outbox::new();
        let wait = host.next_timeout().since(now).min(Duration::from_millis(50));
        if wait.is_zero() {
            host.handle_timeout(now, &mut out);
        } else {
            socket.set_read_timeout(Some(wait)).unwrap();
            match socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let now = Time::ZERO + epoch.elapsed();
                    host.handle_datagram(now, from, &buffer[..length], &mut out);
                }
                Err(error) => assert!(
                    // The last is what an ICMP answer to an earlier datagram brings.
                    matches!(
                        error.kind(),
                        ErrorKind::WouldBlock
                            | ErrorKind::TimedOut
                            | ErrorKind::Interrupted
                            | ErrorKind::ConnectionRefused
                    ),
                    "{error}"
                ),
            }
        }
        for (to, bytes) in out {
            let _ = socket.send_to(&bytes, to);
        }
    }
}

/// A folder to work in, with a state folder of its own.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// The names of all files below the folder, but for the state.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(self.folder.path()).unwrap();
                    files.push(name.to_str().unwrap().to_owned());
                } else if path.is_dir() && path != self.path("state") {
                    // What is neither was renamed since it was listed.
                    folders.push(path);
                }
            }
        }
        files.sort();
        files
    }

    /// The tool in the folder, with nobody in its table and nobody to start with.
    pub(crate) fn tool(&self) -> Command {
        // Signals do what they do by default, also where these tests run in the background of a shell.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_cjp2p-get")]);
        self.adapt(&mut command);
        command
    }

    /// The tool, run by a shell script in which `$GET` is its path.
    pub(crate) fn script(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.env("GET", env!("CARGO_BIN_EXE_cjp2p-get")).args(["-c", script, "sh"]).args(arguments);
        self.adapt(&mut command);
        command
    }

    fn adapt(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env("CJP2P_STATE_DIR", self.path("state"))
            .env("CJP2P_BOOTSTRAP", "")
            .env("CJP2P_NO_LAN", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
    }

    /// Runs the tool with these arguments and sources.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, hosts: &[&Host], arguments: &[S]) -> Ended {
        Ended::of(self.command(hosts, arguments).output().unwrap())
    }

    /// The same, begun and not waited for.
    pub(crate) fn begin<S: AsRef<OsStr>>(&self, hosts: &[&Host], arguments: &[S]) -> Child {
        let mut command = self.command(hosts, arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn command<S: AsRef<OsStr>>(&self, hosts: &[&Host], arguments: &[S]) -> Command {
        let mut command = self.tool();
        command.args(["--listen", "127.0.0.1:0"]);
        // On a busy machine a line of progress may be due.
        if !arguments.iter().any(|argument| argument.as_ref() == "--progress") {
            command.args(["--progress", "never"]);
        }
        for host in hosts {
            command.args(["--peer", &host.address.to_string()]);
        }
        command.args(arguments);
        command
    }
}

/// What a run of the tool left.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Ended {
        use std::os::unix::process::ExitStatusExt;
        Ended {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: output.stdout,
            stderr: without_the_hint(&String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// It ended well and had nothing to say.
    pub(crate) fn done(self) -> Ended {
        assert_eq!((self.code, &*self.stderr), (Some(0), ""));
        self
    }

    /// It ended with this code and one line in which these words are.
    pub(crate) fn failed(self, code: i32, told: &str) -> Ended {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "{}", self.stderr);
        assert!(self.stderr.starts_with("cjp2p-get: ") && self.stderr.contains(told), "{}", self.stderr);
        self
    }

    /// The JSON objects on standard output.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        let lines = self.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

/// What was told, but for what root is told: the tests are run by root and by others.
fn without_the_hint(told: &str) -> String {
    told.split_inclusive('\n').filter(|line| !line.contains(AS_ROOT)).collect()
}

/// Waits until something holds.
pub(crate) fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether two files, or a file and some bytes, are the same; printing megabytes helps nobody.
pub(crate) fn assert_content(path: &Path, bytes: &[u8]) {
    assert!(fs::read(path).unwrap() == bytes, "{} is not what was shared", path.display());
}

/// How many bytes of a file, which need not be there, are those of the content: counted in whole leaves.
pub(crate) fn written(bench: &Bench, name: &str, content: &[u8]) -> u64 {
    let found = fs::read(bench.path(name)).unwrap_or_default();
    let pairs = found.chunks(4096).zip(content.chunks(4096));
    pairs.filter(|(found, content)| found == content).map(|(found, _)| found.len() as u64).sum()
}
