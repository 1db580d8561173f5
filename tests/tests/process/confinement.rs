//! Confined processes: what is refused to them from inside, and that the real programs are confined.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

mod denied;
#[cfg(target_arch = "x86_64")]
mod probes;
mod replaced;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use cjp2p_io::sandbox::Sandbox;
use cjp2p_tests::real::tool;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use tempfile::TempDir;

const TELLS_FOLDER: &str = "CJP2P_TEST_FOLDER";
const TELLS_PORT: &str = "CJP2P_TEST_PORT";
const TELLS_INTERFACES: &str = "CJP2P_TEST_INTERFACES";
const TELLS_TCP: &str = "CJP2P_TEST_TCP";
const TELLS_ACCEPTS: &str = "CJP2P_TEST_ACCEPTS";
const TELLS_RECREATES: &str = "CJP2P_TEST_RECREATES";

/// Two folders to use, and one that is none of the process's business.
fn folders() -> TempDir {
    let base = tempfile::tempdir().unwrap();
    for name in ["share", "state", "outside"] {
        fs::create_dir(base.path().join(name)).unwrap();
        fs::write(base.path().join(name).join("file"), name).unwrap();
    }
    base
}

fn is_refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Not a test by itself: it cannot be undone, so it is run in a process of its own by the next one.
#[test]
#[ignore = "run by another test"]
fn inside() {
    let Some(base) = env::var_os(TELLS_FOLDER).map(PathBuf::from) else { return };
    let listener: SocketAddr = env::var(TELLS_PORT).unwrap().parse().unwrap();
    let (share, state, outside) = (base.join("share"), base.join("state"), base.join("outside"));
    assert!(
        fs::read("/etc/passwd").is_ok() && TcpStream::connect(listener).is_ok(),
        "it is not confined yet"
    );
    assert!(Command::new("true").status().is_ok());

    let sees_interfaces = env::var(TELLS_INTERFACES).is_ok();
    let recreates = env::var(TELLS_RECREATES).is_ok();
    let sandbox = Sandbox::new().read(&share).read(base.join("missing"));
    let sandbox = if recreates { sandbox.recreate(&state) } else { sandbox.write(&state) };
    let connects = env::var(TELLS_TCP).is_ok();
    let sandbox = if connects { sandbox.connect_tcp() } else { sandbox };
    let accepts = env::var(TELLS_ACCEPTS).is_ok();
    let sandbox = if accepts { sandbox.accept_tcp() } else { sandbox };
    let listens = TcpListener::bind("127.0.0.1:0").unwrap();
    let _caller = TcpStream::connect(listens.local_addr().unwrap()).unwrap();
    let confinement = sandbox.see_interfaces(sees_interfaces).confine();
    let refused = confinement.refused();
    println!("refused: {refused:?}; {confinement}");
    // In a thread too: that is where the work is done.
    let seen_by_a_thread = thread::spawn(|| fs::read("/etc/passwd").map(drop)).join().unwrap();
    if refused.contains(&"files") {
        assert!(is_refused(seen_by_a_thread));
        assert!(is_refused(fs::read("/etc/passwd")));
        assert!(is_refused(fs::read(outside.join("file"))));
        assert!(is_refused(fs::read_dir(&outside)));
        assert!(is_refused(fs::write(outside.join("new"), "")));
        assert!(is_refused(fs::write(share.join("new"), "")));
        assert!(is_refused(fs::remove_file(share.join("file"))));
        assert!(is_refused(fs::OpenOptions::new().write(true).open(outside.join("file"))));
        assert!(fs::rename(state.join("file"), outside.join("stolen")).is_err());
        assert_eq!(is_refused(symlink("/etc/passwd", state.join("link"))), !recreates);
        assert!(is_refused(symlink("/etc/passwd", outside.join("link"))));
        assert!(!recreates || is_refused(fs::read(state.join("link"))), "a link gives no right");
    }
    if refused.contains(&"tcp") {
        assert!(is_refused(TcpStream::connect(listener)));
        assert!(is_refused(TcpListener::bind("127.0.0.1:0")));
    }
    if connects {
        assert!(TcpStream::connect(listener).is_ok() && !refused.contains(&"tcp"));
        assert!(confinement.missing().is_some() || is_refused(TcpListener::bind("127.0.0.1:0")));
    }
    if accepts || confinement.missing().is_none() {
        assert_eq!(is_refused(listens.accept()), !accepts);
    }
    if refused.contains(&"programs") {
        assert!(is_refused(Command::new("true").status()));
    }
    if confinement.missing().is_none() {
        assert!(UnixDatagram::unbound().is_err() && UnixStream::connect("/run/nothing").is_err());
        assert_eq!(nix::ifaddrs::getifaddrs().is_ok(), sees_interfaces);
        let other = SockProtocol::NetlinkUserSock;
        assert!(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), other).is_err());
        assert!(socket(AddressFamily::Inet, SockType::Raw, SockFlag::empty(), SockProtocol::Udp).is_err());
        let file = fs::File::open(share.join("file")).unwrap();
        let permissions = file.metadata().unwrap().permissions();
        assert_eq!(is_refused(file.set_permissions(permissions.clone())), !recreates);
        assert_eq!(is_refused(file.set_modified(std::time::SystemTime::now())), !recreates);
        assert!(is_refused(fs::set_permissions(outside.join("file"), permissions)), "by its name");
    }

    assert_eq!(fs::read(share.join("file")).unwrap(), b"share");
    assert_eq!(fs::read_dir(&share).unwrap().count(), 1);
    fs::create_dir_all(state.join("a/b")).unwrap();
    fs::write(state.join("a/new"), "new").unwrap();
    fs::rename(state.join("a/new"), state.join("a/b/file")).unwrap();
    fs::File::create(state.join("a/b/file")).unwrap().set_len(7).unwrap();
    fs::remove_file(state.join("a/b/file")).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"udp", socket.local_addr().unwrap()).unwrap();
    assert_eq!(socket.recv_from(&mut [0; 9]).unwrap().0, 3);
    println!("all of it was tried");
}

#[test]
fn what_is_said_to_be_refused_is_refused_from_inside_and_the_rest_works() {
    let needs = [TELLS_INTERFACES, TELLS_TCP, TELLS_ACCEPTS, TELLS_RECREATES];
    for need in needs.map(Some).into_iter().chain([None]) {
        let connects = need == Some(TELLS_TCP);
        let base = folders();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut inside = Command::new(env::current_exe().unwrap());
        inside.envs(need.map(|need| (need, "1")));
        let output = inside
            .args(["confinement::inside", "--exact", "--ignored", "--nocapture"])
            .env(TELLS_FOLDER, base.path())
            .env(TELLS_PORT, listener.local_addr().unwrap().to_string())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
        assert!(told.contains("all of it was tried"), "{told}");
        assert_eq!(fs::read(base.path().join("outside/file")).unwrap(), b"outside");
        // What this kernel has must be used: a sandbox that silently does nothing would pass the above.
        if fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").is_ok() {
            assert!(told.contains(r#""programs""#) && told.contains(r#""tcp""#) != connects, "{told}");
        }
    }
}

/// The values of a field of the status of each thread of a process.
fn of_threads(pid: u32, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let statuses = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(field).map(str::trim).map(str::to_owned));
        line.unwrap()
    };
    statuses.map(value).collect()
}

fn all_are(pid: u32, field: &str, value: &str) -> bool {
    let values = of_threads(pid, field);
    !values.is_empty() && values.iter().all(|found| found == value)
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program, and what it says on both ways out, line by line.
fn start(command: &mut Command) -> (Running, Inbound) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let errors = sender.clone();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::spawn(move || {
        BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    thread::spawn(move || {
        BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| errors.send(line))
    });
    (Running(child), Inbound { lines, seen: Vec::new() })
}

fn serve(state: &Path) -> Command {
    let mut command = tool("cjp2p-serve", state);
    command.args(["--json", "-v", "--listen", "127.0.0.1:0"]);
    command
}

/// What a program says, on two ways: one may overtake the other.
struct Inbound {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Inbound {
    /// Takes out the first line with these words in it.
    fn wait_for(&mut self, words: &str) -> String {
        loop {
            if let Some(at) = self.seen.iter().position(|line| line.contains(words)) {
                return self.seen.remove(at);
            }
            let line = self.lines.recv_timeout(Duration::from_secs(60));
            self.seen.push(line.unwrap_or_else(|_| panic!("{words:?} was not said: {:?}", self.seen)));
        }
    }
}

/// Another file takes the place of the only one that is shared.
fn replace(file: &Path) {
    let other = file.with_extension("other");
    fs::write(&other, "another file").unwrap();
    fs::rename(&other, file).unwrap();
}

#[test]
fn a_server_is_confined_with_all_its_threads_and_to_what_it_says() {
    let base = folders();
    let (file, state) = (base.path().join("share/file"), base.path().join("state"));
    let (server, mut said) = start(serve(&state).arg(&file));
    let told = said.wait_for("sandbox: ");
    let listening: serde_json::Value = serde_json::from_str(&said.wait_for("listening")).unwrap();
    said.wait_for("ready");
    let refused = listening["refused"].as_array().unwrap();
    if told.contains("seccomp") {
        assert!(all_are(server.0.id(), "Seccomp:", "2") && all_are(server.0.id(), "NoNewPrivs:", "1"));
        assert!(of_threads(server.0.id(), "Seccomp:").len() > 3, "the threads were not looked at");
        assert!(refused.contains(&"tcp".into()) && refused.contains(&"programs".into()), "{listening}");
    }
    assert_eq!(told.contains("Landlock"), refused.contains(&"files".into()), "{told} {listening}");
    if refused.contains(&"files".into()) {
        assert!(told.contains(&format!("reads {file:?}; reads and writes {state:?}")), "{told}");
    }
}

#[test]
fn a_server_that_has_a_router_asked_is_confined_the_same_and_so_is_who_asks() {
    let base = folders();
    // Nobody is there to be asked.
    let mut command = serve(&base.path().join("state"));
    let (server, mut said) = start(command.arg("--map-port=127.0.0.1").arg(base.path().join("share")));
    let told = said.wait_for("sandbox: ");
    let listening = said.wait_for("listening");
    // By then the helper waits for what it is to do, or has begun, and so is confined.
    said.wait_for("the router gives no port");
    let children =
        fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.0.id())).unwrap_or_default();
    let helpers: Vec<u32> = children.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    if helpers.is_empty() {
        eprintln!("skipped, since this kernel does not tell which processes another has started");
        return;
    }
    if told.contains("seccomp") {
        assert!(listening.contains(r#""tcp","programs""#), "{listening}");
        for &pid in helpers.iter().chain([&server.0.id()]) {
            assert!(all_are(pid, "Seccomp:", "2") && all_are(pid, "NoNewPrivs:", "1"));
        }
    }
    // Nothing of the server stays open in them but the ends of what leads to it.
    for helper in helpers {
        let open = fs::read_dir(format!("/proc/{helper}/fd")).unwrap();
        let open = open.map(|entry| fs::read_link(entry.unwrap().path()));
        let files: Vec<PathBuf> =
            open.filter_map(Result::ok).filter(|path| path.starts_with(base.path())).collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

#[test]
fn without_a_sandbox_nothing_is_given_up() {
    for by_variable in [false, true] {
        let base = folders();
        let (file, state) = (base.path().join("share/file"), base.path().join("state"));
        let (server, mut said) = if by_variable {
            start(serve(&state).env("CJP2P_NO_SANDBOX", "1").arg(&file))
        } else {
            start(serve(&state).arg("--no-sandbox").arg(&file))
        };
        said.wait_for("sandbox: none");
        assert!(said.wait_for("listening").contains(r#""refused":[]"#));
        said.wait_for(r#""event":"shared""#);
        said.wait_for("ready");
        // What the test itself runs under is inherited.
        let seccomp = &of_threads(std::process::id(), "Seccomp:")[0];
        assert!(all_are(server.0.id(), "Seccomp:", seccomp));
        replace(&file);
        said.wait_for(r#""event":"shared""#);
    }
}

#[test]
fn a_getter_and_cjp2p_peers_are_confined_too() {
    let base = folders();
    let state = base.path().join("state");
    // Somebody who never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let peer = silent.local_addr().unwrap().to_string();
    let id = format!("blake3/{}", "ab".repeat(32));
    let output = base.path().join("out/file");
    fs::create_dir(base.path().join("out")).unwrap();
    let mut get = tool("cjp2p-get", &state);
    get.args(["-v", "--peer", &peer, &id, "-o"]).arg(&output);
    let mut ping = tool("cjp2p-peers", &state);
    ping.args(["-v", "ping", &peer]);
    for (mut command, writes) in
        [(get, format!("{:?}, {state:?}", output.parent().unwrap())), (ping, format!("{state:?}"))]
    {
        let (process, mut said) = start(&mut command);
        let told = said.wait_for("sandbox: ");
        silent.recv_from(&mut [0; 2000]).unwrap();
        if told.contains("seccomp") {
            assert!(all_are(process.0.id(), "Seccomp:", "2") && all_are(process.0.id(), "NoNewPrivs:", "1"));
        }
        assert!(
            told.contains("files are not confined") || told.contains(&format!("reads and writes {writes}")),
            "{told}"
        );
    }
}
