//! The tool as a service: what systemd, its journal, Prometheus and a person who asks are told.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{self, UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A test that waits for longer fails.
const LIMIT: Duration = Duration::from_secs(60);

struct Bench {
    base: TempDir,
}

impl Bench {
    /// With a state folder whose path is too long for a socket.
    fn new() -> Bench {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("share")).unwrap();
        fs::write(base.path().join("share/hello.txt"), "hello world\n").unwrap();
        Bench { base }
    }

    fn state(&self) -> PathBuf {
        self.base.path().join("long".repeat(40))
    }

    fn command(&self, args: &[&str]) -> Command {
        // Signals do what they do by default, also where these tests run in the background of a shell.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_cjp2p-serve")])
            .env("CJP2P_BOOTSTRAP", "")
            .env("CJP2P_NO_LAN", "1")
            .env("CJP2P_STATE_DIR", self.state())
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_PID")
            .env_remove("JOURNAL_STREAM")
            .current_dir(self.base.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .args(args);
        command
    }

    fn serve(&self, args: &[&str]) -> Command {
        self.command(&[&["--listen", "127.0.0.1:0"], args, &["share"]].concat())
    }

    fn ask(&self, args: &[&str]) -> Output {
        let mut command = self.command(&[&["--status"], args].concat());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// What the server says, once `is_so` of it.
    fn status(&self, is_so: impl Fn(&Value) -> bool) -> Value {
        until("it says so", || {
            let said = self.ask(&["--json"]);
            let status: Value = serde_json::from_slice(&said.stdout).ok()?;
            is_so(&status).then_some(status)
        })
    }

    fn sockets(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.state()).unwrap().map(|entry| entry.unwrap());
        entries.filter(|entry| entry.file_type().unwrap().is_socket()).map(|entry| entry.path()).collect()
    }
}

/// Killed when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// The signal by which it ends.
    fn end(&mut self) -> Option<i32> {
        until("it ends", || self.0.try_wait().unwrap()).signal()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asks for the file as a peer that returns its cookie, so that it is one.
fn fetch(server: SocketAddr, id: &str) {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.connect(server).unwrap();
    peer.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let request = json!({"PleaseSendContent": {"id": id, "offset": 0, "length": 4096}});
    let mut cookie = Value::Null;
    until("content", || {
        let said = match &cookie {
            Value::Null => json!([{"PleaseSendPeers": {}}, {"PleaseAlwaysReturnThisMessage": "ours"}]),
            cookie => json!([{"AlwaysReturned": cookie}, request]),
        };
        peer.send(said.to_string().as_bytes()).unwrap();
        let mut buffer = [0; 65536];
        let length = peer.recv(&mut buffer).ok()?;
        let heard: Vec<Value> = serde_json::from_slice(&buffer[..length]).unwrap();
        let of_kind = |kind: &str| heard.iter().find_map(|one| one.get(kind).cloned());
        cookie = of_kind("PleaseAlwaysReturnThisMessage").unwrap_or(cookie.clone());
        of_kind("Content").or_else(|| of_kind("MaybeTheyHaveSome"))
    });
}

/// What comes to be told, by an abstract name and by a path.
fn supervisors(base: &Path) -> [(UnixDatagram, String); 2] {
    let name = format!("cjp2p-test-{}-{}", std::process::id(), base.file_name().unwrap().display());
    let address = net::SocketAddr::from_abstract_name(&name).unwrap();
    let abstract_one = UnixDatagram::bind_addr(&address).unwrap();
    let path = base.join("notify");
    let by_path = UnixDatagram::bind(&path).unwrap();
    [(abstract_one, format!("@{name}")), (by_path, path.to_str().unwrap().to_owned())]
}

#[test]
fn who_started_it_is_told_that_it_is_ready_how_it_goes_that_it_lives_and_that_it_ends() {
    let bench = Bench::new();
    for (socket, name) in supervisors(bench.base.path()) {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let hear = |wanted: &str| {
            let start = Instant::now();
            let mut others = Vec::new();
            while start.elapsed() < LIMIT {
                let mut buffer = [0; 4096];
                let length =
                    socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{wanted}: {error}: {others:?}"));
                let text = String::from_utf8(buffer[..length].to_vec()).unwrap();
                if text.starts_with(wanted) {
                    return (text, others);
                }
                others.push(text);
            }
            panic!("{wanted} never comes: {others:?}")
        };
        let mut command = bench.serve(&["--quiet"]);
        let mut server = Running::start(command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "400000"));
        assert_eq!(hear("READY=1").1, [""; 0], "the first thing");
        // It is served at once: the socket is open.
        bench.status(|status| status["files"] == 1);
        hear("WATCHDOG=1");
        hear("STATUS=shares 1 file, 12 B; ");
        // Its loop is stopped, and so is what says that it goes round.
        server.signal(Signal::SIGSTOP);
        socket.set_nonblocking(true).unwrap();
        thread::sleep(Duration::from_millis(100));
        while socket.recv(&mut [0; 4096]).is_ok() {}
        thread::sleep(Duration::from_secs(1));
        assert!(socket.recv(&mut [0; 4096]).is_err(), "a stopped process says that it lives");
        socket.set_nonblocking(false).unwrap();
        server.signal(Signal::SIGCONT);
        hear("WATCHDOG=1");
        server.signal(Signal::SIGHUP);
        assert!(hear("RELOADING=1\nMONOTONIC_USEC=").0.len() > "RELOADING=1\nMONOTONIC_USEC=".len());
        hear("READY=1");
        server.signal(Signal::SIGTERM);
        hear("STOPPING=1");
        assert_eq!(server.end(), Some(Signal::SIGTERM as i32));
    }
}

#[test]
fn in_the_journal_each_line_has_its_priority_and_elsewhere_none() {
    let bench = Bench::new();
    fs::create_dir(bench.base.path().join("share/closed")).unwrap();
    let path = bench.base.path().join("said");
    for (is_journal, arguments) in [(true, &["-vv", "--progress", "always"][..]), (false, &["-vv"])] {
        let file = File::create(&path).unwrap();
        let there = file.metadata().unwrap();
        let inode = if is_journal { there.ino() } else { there.ino() + 1 };
        let mut command = bench.serve(arguments);
        let command = command.env("JOURNAL_STREAM", format!("{}:{inode}", there.dev())).stderr(file);
        let mut server = Running::start(command);
        let said = || fs::read_to_string(&path).unwrap();
        until("what is shared", || said().contains("sharing 1 file").then_some(()));
        server.signal(Signal::SIGTERM);
        server.end();
        for line in said().lines() {
            let priority = ["<3>", "<4>", "<6>", "<7>"].iter().find(|priority| line.starts_with(**priority));
            assert_eq!(priority.is_some(), is_journal, "{line:?}");
            assert!(!line.contains(['\r', '\x1b']), "{line:?}");
        }
        if is_journal {
            for wanted in ["<6>cjp2p-serve: sharing 1 file", "<6>cjp2p-serve: sandbox: "] {
                assert!(said().contains(wanted), "{wanted}: {}", said());
            }
        }
    }
    // The error by which a tool ends.
    let file = File::create(&path).unwrap();
    let there = file.metadata().unwrap();
    let mut command = bench.command(&["--status"]);
    let command = command.env("JOURNAL_STREAM", format!("{}:{}", there.dev(), there.ino())).stderr(file);
    assert_eq!(command.status().unwrap().code(), Some(3));
    assert!(fs::read_to_string(&path).unwrap().starts_with("<3>cjp2p-serve: no server runs"));
}

#[test]
fn a_server_says_how_it_goes_to_its_user_alone_and_one_that_was_killed_is_not_in_the_way() {
    let bench = Bench::new();
    let nobody = bench.ask(&[]);
    assert_eq!(nobody.status.code(), Some(3));
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(said.starts_with("cjp2p-serve: no server runs with the state folder "), "{said}");
    assert_eq!(said.lines().count(), 1);

    let server = Running::start(&mut bench.serve(&["--quiet"]));
    let status = bench.status(|status| status["files"] == 1);
    assert_eq!(status["pid"], server.0.id());
    assert_eq!((&status["bytes"], &status["sent"]), (&json!(12), &json!(0)));
    let address: SocketAddr = status["address"].as_str().unwrap().parse().unwrap();
    fetch(address, "hello.txt");
    fetch(address, "nothing-of-that-name");
    let status = bench.status(|status| status["sent"] != 0 && status["absent"] != 0);
    assert_eq!(status["by_id"][0], json!({"id": "hello.txt", "sent": status["by_id"][0]["sent"]}));
    assert_eq!(status["by_peer"][0]["host"], "127.0.0.1");
    assert!(status["by_id"][0]["sent"].as_u64().unwrap() >= 12, "{status}");
    assert!(status["reads"].as_u64().unwrap() >= 1 && status["peers_known"].as_u64().unwrap() >= 1);
    let text = String::from_utf8(bench.ask(&[]).stdout).unwrap();
    for wanted in ["shares    1 file, 12 B\n", "most sent of\n", "  hello.txt\n", "  127.0.0.1\n"] {
        assert!(text.contains(wanted), "{wanted:?}: {text}");
    }

    let sockets = bench.sockets();
    assert_eq!(sockets.len(), 1);
    let mode = fs::metadata(&sockets[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nobody who connects and stays, or says something, is in the way of the others. By a path short enough for a socket.
    let short = bench.base.path().join("s");
    std::os::unix::fs::symlink(bench.state(), &short).unwrap();
    let path = short.join(sockets[0].file_name().unwrap());
    let idle: Vec<UnixStream> = (0..40).map_while(|_| UnixStream::connect(&path).ok()).collect();
    assert!(!idle.is_empty());
    bench.status(|status| status["files"] == 1);
    drop(idle);

    // Killed: its socket stays, and nobody listens there. The next server takes its place.
    server.signal(Signal::SIGKILL);
    drop(server);
    assert_eq!(bench.sockets(), sockets);
    assert_eq!(bench.ask(&[]).status.code(), Some(3));
    let mut server = Running::start(&mut bench.serve(&["--quiet"]));
    assert_eq!(bench.status(|_| true)["pid"], server.0.id());
    // A second one of the same job does not take it over.
    let mut second = Running::start(&mut bench.serve(&["--quiet", "--for", "1s"]));
    until("the end of the second", || second.0.try_wait().unwrap());
    assert_eq!(bench.status(|_| true)["pid"], server.0.id());
    server.signal(Signal::SIGTERM);
    server.end();
    assert_eq!(bench.sockets(), [""; 0].map(PathBuf::from));
}

#[test]
fn numbers_for_prometheus_are_kept_in_a_file_that_others_may_read() {
    let bench = Bench::new();
    let missing = bench.serve(&["--metrics", "nowhere/file.prom"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("--metrics: nowhere/file.prom: "));

    let folder = bench.base.path().join("textfile");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let path = folder.join("cjp2p.prom");
    let mut server = Running::start(&mut bench.serve(&["--quiet", "--metrics", path.to_str().unwrap()]));
    let text = until("a file", || fs::read_to_string(&path).ok());
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0o044 & !umask(), "others may read it");
    assert!(
        text.contains("\n# TYPE cjp2p_serve_sent_bytes_total counter\ncjp2p_serve_sent_bytes_total 0\n"),
        "{text}"
    );
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("cjp2p_serve_") && value.parse::<u64>().is_ok(), "{line:?}");
    }
    // It is replaced, whole.
    let first = fs::metadata(&path).unwrap().ino();
    until("another file", || (fs::metadata(&path).ok()?.ino() != first).then_some(()));
    assert!(fs::read_to_string(&path).unwrap().ends_with('\n'));
    server.signal(Signal::SIGTERM);
    server.end();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
}

/// That of this process.
fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}
