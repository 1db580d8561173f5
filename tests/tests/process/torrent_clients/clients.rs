//! Clients of others: how each is told to fetch or seed one torrent, and to speak with nobody but its peers.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::lab::Namespace;
use serde_json::json;

/// Where a client is, in its namespace,
pub(super) const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
/// and where it listens.
const PORT: u16 = 7001;
const DHT_PORT: u16 = 7002;
const RPC: &str = "127.0.0.1:7003";
/// Debian's, for which `python3-libtorrent` is installed.
const PYTHON: &str = "/usr/bin/python3";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Aria2,
    Transmission,
    Libtorrent,
}

/// One torrent, for a client.
#[derive(Clone, Debug)]
pub(super) struct Task {
    /// A `.torrent` file or a magnet link.
    pub(super) source: String,
    /// Where its files come to lie, or lie if all of it is there.
    pub(super) folder: PathBuf,
    pub(super) is_there: bool,
    /// A node of the DHT to join by, for aria2; the others do without.
    pub(super) dht: Option<String>,
    /// For what the client keeps.
    pub(super) state: PathBuf,
}

/// A running client. Killed when dropped.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Client {
    /// Why it cannot be run here, if that is so.
    pub(super) fn unavailable(self) -> Option<String> {
        let mut command = match self {
            Client::Aria2 => Command::new("aria2c"),
            Client::Transmission => Command::new("transmission-remote"),
            Client::Libtorrent => Command::new(PYTHON),
        };
        match self {
            Client::Aria2 | Client::Transmission => command.arg("--version"),
            Client::Libtorrent => command.args(["-c", "import libtorrent"]),
        };
        match command.stdin(Stdio::null()).output() {
            Ok(Output { status, .. }) if status.success() => None,
            Ok(output) => Some(format!("{self:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
            Err(error) => Some(format!("{self:?}: {error}")),
        }
    }

    /// Lets it fetch or seed, in this namespace.
    pub(super) fn run(self, namespace: &Namespace, task: &Task) -> Running {
        fs::create_dir_all(&task.folder).unwrap();
        fs::create_dir_all(&task.state).unwrap();
        match self {
            Client::Aria2 => start(namespace, aria2(task), task),
            Client::Transmission => {
                let running = start(namespace, transmission(task), task);
                add_to_transmission(namespace, task);
                running
            }
            Client::Libtorrent => start(namespace, libtorrent(task), task),
        }
    }
}

/// It ends with the namespace.
fn start(namespace: &Namespace, inner: Command, task: &Task) -> Running {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(inner.get_program()).args(inner.get_args());
    let log = fs::File::create(task.state.join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).env("HOME", &task.state);
    Running(namespace.spawn(command).unwrap())
}

fn aria2(task: &Task) -> Command {
    let mut command = Command::new("aria2c");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    command.args([
        "--no-conf",
        "--enable-dht6=false",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
    ]);
    command.args(["--file-allocation=none", "--show-console-readout=false", "--seed-ratio=0.0"]);
    command.arg(format!("--listen-port={PORT}")).arg(format!("--dir={}", path(&task.folder)));
    command.arg(format!("--check-integrity={}", task.is_there));
    // It asks trackers by UDP only with this; without an entry point it knows no node.
    command.arg("--enable-dht=true").arg(format!("--dht-listen-port={DHT_PORT}"));
    command.arg(format!("--dht-file-path={}", path(&task.state.join("dht.dat"))));
    command.args(task.dht.iter().map(|node| format!("--dht-entry-point={node}")));
    command.arg(&task.source);
    command
}

fn libtorrent(task: &Task) -> Command {
    let mut command = Command::new(PYTHON);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/process/torrent_clients/libtorrent_client.py");
    command.args([script, &task.source]).arg(&task.folder).arg(format!("{THEIRS}:{PORT}"));
    command
}

fn transmission(task: &Task) -> Command {
    let (address, port) = RPC.split_once(':').unwrap();
    let settings = json!({
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "utp-enabled": false,
        "port-forwarding-enabled": false,
        "peer-port": PORT,
        "rpc-enabled": true,
        "rpc-bind-address": address,
        "rpc-port": port.parse::<u16>().unwrap(),
        "download-dir": task.folder,
        "incomplete-dir-enabled": false,
        "start-added-torrents": true,
    });
    fs::write(task.state.join("settings.json"), settings.to_string()).unwrap();
    let mut command = Command::new("transmission-daemon");
    command.args(["--foreground", "--config-dir"]).arg(&task.state);
    command
}

/// As soon as it listens.
fn add_to_transmission(namespace: &Namespace, task: &Task) {
    let begun = Instant::now();
    loop {
        let source = task.source.clone();
        let add = move || Command::new("transmission-remote").args([RPC, "--add", &source]).output();
        let said = namespace.run(add).unwrap().unwrap();
        if said.status.success() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{said:?}");
        thread::sleep(Duration::from_millis(100));
    }
}
