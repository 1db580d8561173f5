//! The real programs while the world around them changes: interfaces and addresses that come and go, clocks that jump,
//! users without any rights.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_cli::args::AS_ROOT;
use cjp2p_tests::content;
use cjp2p_tests::lab::Namespace;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{binaries, end_of, tool};
use cjp2p_wire::peers::cookie::{CookieMint, PERIOD, Validation};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::table::PeerTable;
use cjp2p_wire::time::Time;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::TempDir;

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const GETTER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 3);
const PORT: u16 = 24254;

/// At the rate below this takes four seconds.
const LENGTH: usize = 12_000_000;
const RATE: [&str; 2] = ["--rate", "3M"];

/// A folder with something to share in `share`.
fn folder() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().expect("the disk takes it");
    let bytes = content::bytes(7, LENGTH);
    fs::create_dir(folder.path().join("share")).expect("the disk takes it");
    fs::write(folder.path().join("share/file"), &bytes).expect("the disk takes it");
    (folder, bytes)
}

/// A cjp2p-get that writes to `got` in its folder.
struct Get {
    child: Child,
    lines: BufReader<std::process::ChildStderr>,
    told: Vec<String>,
}

impl Get {
    fn command(folder: &Path, id: &str, peers: &[SocketAddr]) -> Command {
        let mut command = tool("cjp2p-get", &folder.join("get-state"));
        command.args([id, "--progress", "json", "-o"]).arg(folder.join("got"));
        for peer in peers {
            command.args(["--peer", &peer.to_string()]);
        }
        command
    }

    fn start(mut command: Command) -> Get {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("cjp2p-get starts");
        let lines = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        Get { child, lines, told: Vec::new() }
    }

    /// The next line that it says; `None` at its end.
    fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).expect("a line");
        self.told.push(line.clone());
        (length > 0).then(|| serde_json::from_str(&line).unwrap_or_default())
    }

    /// Waits until so many bytes are there.
    fn wait_for(&mut self, bytes: u64) {
        while let Some(line) = self.line() {
            if line["event"] == "progress" && line["bytes"].as_u64() >= Some(bytes) {
                return;
            }
        }
        panic!("it ended before: {:?}", self.told);
    }

    /// Waits for its end, which must be a good one.
    fn finish(mut self) -> Vec<String> {
        while self.line().is_some() {}
        let status = end_of(&mut self.child);
        assert!(status.success(), "{status}: {:?}", self.told);
        std::mem::take(&mut self.told)
    }
}

impl Drop for Get {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server and a getter at the ends of a wire.
struct Wire {
    folder: TempDir,
    bytes: Vec<u8>,
    ends: [Namespace; 2],
    server: Server,
    id: String,
}

impl Wire {
    /// `None`, with a word about it, where this cannot be had here.
    fn new() -> Option<Wire> {
        let ends = match Namespace::pair([SERVER, GETTER]) {
            Ok(ends) => ends,
            Err(why) => {
                eprintln!("skipped, since there can be no network of our own here: {why}");
                return None;
            }
        };
        let (folder, bytes) = folder();
        let command = tool("cjp2p-serve", &folder.path().join("state"));
        let share = folder.path().join("share");
        let listen = format!("0.0.0.0:{PORT}");
        let server = ends[0].run(move || Server::run(command, &listen, &share, &RATE)).expect("it starts");
        let [id, _] = server.ids("file");
        Some(Wire { folder, bytes, ends, server, id })
    }

    fn get(&self, peers: &[Ipv4Addr]) -> Get {
        let _ = fs::remove_file(self.folder.path().join("got"));
        let peers: Vec<SocketAddr> = peers.iter().map(|&ip| (ip, PORT).into()).collect();
        let command = Get::command(self.folder.path(), &self.id, &peers);
        self.ends[1].run(move || Get::start(command)).expect("it starts")
    }

    fn check(&mut self) {
        assert!(fs::read(self.folder.path().join("got")).expect("it was fetched") == self.bytes);
        assert!(Path::new(&format!("/proc/{}", self.server.pid())).exists(), "the server is gone");
    }

    /// Gives the interface at this end another address in place of its own.
    fn readdress(&self, end: usize, old: Ipv4Addr, new: Ipv4Addr) {
        self.ends[end].ip(&format!("address del {old}/24 dev wire")).expect("the kernel does it");
        self.ends[end].ip(&format!("address add {new}/24 dev wire")).expect("the kernel does it");
    }
}

#[test]
fn an_interface_that_goes_down_for_a_while_at_either_end_ends_neither_fetch_nor_server() {
    let Some(mut wire) = Wire::new() else { return };
    for end in [0, 1] {
        let mut get = wire.get(&[SERVER]);
        get.wait_for(1_000_000);
        wire.ends[end].ip("link set wire down").unwrap();
        thread::sleep(Duration::from_secs(3));
        wire.ends[end].ip("link set wire up").unwrap();
        get.finish();
        wire.check();
    }
}

#[test]
fn a_getter_whose_address_changes_goes_on_from_the_new_one() {
    let Some(mut wire) = Wire::new() else { return };
    let mut get = wire.get(&[SERVER]);
    get.wait_for(1_000_000);
    wire.readdress(1, GETTER, OTHER);
    get.finish();
    wire.check();
}

#[test]
fn a_server_whose_address_changes_is_found_at_the_new_one_where_that_is_known() {
    let Some(mut wire) = Wire::new() else { return };
    let mut get = wire.get(&[SERVER, OTHER]);
    get.wait_for(1_000_000);
    wire.readdress(0, SERVER, OTHER);
    get.finish();
    wire.check();
}

/// The library that lets a program see another time of day.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists())
}

/// Lets a program see the time of day that `clock` says, but the true monotonic one.
fn with_clock(mut command: Command, library: &Path, clock: &Path) -> Command {
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock).env("FAKETIME_NO_CACHE", "1");
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    // It reads the clock's file at any time.
    command.env("NO_FAKE_STAT", "1").env("CJP2P_NO_SANDBOX", "1");
    command
}

#[test]
fn a_time_of_day_that_jumps_by_years_ends_neither_fetch_nor_server() {
    let Some(library) = faketime() else {
        eprintln!("skipped, since libfaketime is not installed");
        return;
    };
    let (folder, bytes) = folder();
    let clock = folder.path().join("clock");
    let jump = |to: &str| {
        // A program never sees half of it.
        fs::write(folder.path().join("next"), to).unwrap();
        fs::rename(folder.path().join("next"), &clock).unwrap();
    };
    jump("+0");
    let command = with_clock(tool("cjp2p-serve", &folder.path().join("state")), &library, &clock);
    let server = Server::run(command, "127.0.0.1:0", &folder.path().join("share"), &RATE);
    let [id, _] = server.ids("file");
    let peers = [server.address];
    let mut get = Get::start(with_clock(Get::command(folder.path(), &id, &peers), &library, &clock));
    get.wait_for(1);
    let begun = Instant::now();
    for offset in ["+3650d", "-3650d", "+1d", "-1h", "-20000d", "+730d"] {
        jump(offset);
        thread::sleep(Duration::from_millis(300));
    }
    get.finish();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(fs::read(folder.path().join("got")).unwrap() == bytes);
    let table = fs::read_to_string(folder.path().join("get-state/peers.json")).unwrap();
    let table: Value = serde_json::from_str(&table).unwrap();
    let heard = PeerTable::parse(&table.to_string()).table;
    let peer = heard.get(server.address).expect("it was heard from");
    let year = Duration::from_secs(365 * 24 * 3600).as_millis() as u64;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    assert!(peer.last_heard_ms() > Some(now + year), "the clock that it saw did not jump: {peer:?}");
    // And years back again, with a table from the future.
    jump("-3650d");
    fs::remove_file(folder.path().join("got")).unwrap();
    let command = with_clock(Get::command(folder.path(), &id, &[]), &library, &clock);
    Get::start(command).finish();
    assert!(fs::read(folder.path().join("got")).unwrap() == bytes, "it asks whom it knows");
}

#[test]
fn a_cookie_is_good_for_its_time_only_whichever_way_a_clock_jumps() {
    let mint = CookieMint::new([3; 32]);
    let from: SocketAddr = "192.0.2.1:5".parse().unwrap();
    let hour = Duration::from_secs(3600);
    let now = Time::ZERO + hour;
    let cookie = mint.mint(now, from);
    for (at, validation) in [
        (now, Validation::Current),
        (now + PERIOD, Validation::Previous),
        (now + PERIOD * 2, Validation::None),
        (now + hour * 1_000_000, Validation::None),
        (Time::ZERO, Validation::None),
        (Time::NEVER, Validation::None),
        (now, Validation::Current),
    ] {
        assert_eq!(mint.check(at, from, &cookie), validation, "{at:?}");
    }
}

fn any_instant() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just((1 << 53) + 1),
        0..5_000_000_000_000u64,
        1_700_000_000_000..1_800_000_000_000u64
    ]
}

proptest! {
    #[test]
    fn a_peer_table_whose_clock_jumps_keeps_its_peers_and_reads_back(
        heard in prop::collection::vec((1u16..20, any_instant()), 1..60),
        now in any_instant(),
    ) {
        let mut table = PeerTable::new();
        for &(port, at) in &heard {
            table.heard(([10, 0, 0, 1], port).into(), at, None, Origin::Incoming);
        }
        let ports: std::collections::BTreeSet<u16> = heard.iter().map(|&(port, _)| port).collect();
        prop_assert_eq!(table.len(), ports.len());
        prop_assert_eq!(table.best(100, now).len(), ports.len());
        prop_assert!(table.heard_within(u64::MAX, now).count() == ports.len());
        let read = PeerTable::parse(&table.to_json());
        prop_assert!(read.problems.is_empty(), "{:?}", read.problems);
        prop_assert_eq!(read.table.to_json(), table.to_json());
        prop_assert_eq!(read.table.best(100, now), table.best(100, now));
    }
}

const NOBODY: u32 = 65_534;

/// The tool as user nobody, of a copy that anybody may read.
fn as_nobody(name: &str, folder: &Path, state: &str) -> Command {
    let copy = folder.join(name);
    if !copy.exists() {
        fs::copy(binaries().join(name), &copy).expect("the disk takes it");
    }
    let plain = tool(name, &folder.join(state));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all"]).arg(copy);
    for (key, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.stdin(Stdio::null()).current_dir("/");
    command
}

#[test]
fn an_ordinary_user_can_do_all_and_root_is_told_once() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped, since all tests run as an ordinary user here");
        return;
    }
    let (folder, bytes) = folder();
    let path = folder.path();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["state", "get-state", "out"] {
        fs::create_dir(path.join(name)).unwrap();
        chown(path.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let serve = as_nobody("cjp2p-serve", path, "state");
    let server = Server::run(serve, "127.0.0.1:0", &path.join("share"), &[]);
    let [id, _] = server.ids("file");
    let run = |mut command: Command, arguments: &[&str]| {
        let ended = command.args(arguments).output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{command:?}: {told}");
        (ended.stdout, told)
    };
    let out = path.join("out/file");
    let (peer, out_name) = (server.address.to_string(), out.to_str().unwrap());
    let get = [&id, "--peer", &peer, "--progress", "never", "-o", out_name];
    let (_, told) = run(as_nobody("cjp2p-get", path, "get-state"), &get);
    assert!(!told.contains(AS_ROOT), "{told}");
    assert!(fs::read(&out).unwrap() == bytes);
    let (printed, _) = run(as_nobody("cjp2p-peers", path, "get-state"), &[]);
    assert!(String::from_utf8_lossy(&printed).contains(&peer));
    run(as_nobody("cjp2p-hash", path, "get-state"), &[out_name]);
    let as_root = [&id, "--peer", &peer, "--progress", "never", "--force", "-o", out_name];
    let (_, told) = run(tool("cjp2p-get", &path.join("root-state")), &as_root);
    assert_eq!(told.matches(AS_ROOT).count(), 1, "{told}");
}
