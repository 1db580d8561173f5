//! Torrents between the tools and clients of others, in network namespaces that have no way out.
//!
//! Needs root, `ip`, aria2, transmission-daemon, transmission-cli and python3-libtorrent; without them each test says so and does
//! nothing. `CJP2P_TORRENT_MIB=256` makes the single file so long.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

mod clients;

use std::env;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::lab::Namespace;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use cjp2p_tests::real::tracker::Tracker;
use clients::{Client, THEIRS, Task};
use futures_lite::{StreamExt, future};
use mainline::async_dht::AsyncDht;
use mainline::{Dht, Id, Testnet};
use tempfile::TempDir;

const OURS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// Nodes of the DHT beside the clients.
const NODES: usize = 16;
/// A single file has so many MiB, unless the environment says another number.
const MIB: usize = 16;
const FILES: usize = 1000;
/// No transfer may take longer. Transmission asks the DHT late.
const LIMIT: Duration = Duration::from_secs(180);

/// How both find each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Http,
    Udp,
    Dht,
}

/// What is fetched, whether by magnet, and how they find each other.
const CASES: [(&str, bool, Found); 3] =
    [("single", false, Found::Http), ("many", true, Found::Udp), ("single", true, Found::Dht)];

struct Bench {
    // Before the namespaces: its nodes live there.
    dht: Testnet,
    node: AsyncDht,
    ours: Namespace,
    theirs: Namespace,
    folder: TempDir,
}

/// One torrent, and what helps to find who has it.
struct Torrent {
    magnet: String,
    metainfo: PathBuf,
    tracker: Option<Tracker>,
}

impl Torrent {
    fn source(&self, by_magnet: bool) -> String {
        match by_magnet {
            true => self.magnet.clone(),
            false => self.metainfo.to_str().unwrap().to_owned(),
        }
    }
}

impl Bench {
    /// `None` where this machine does not let us.
    fn new(client: Client) -> Option<Bench> {
        let pair = Namespace::pair([OURS, THEIRS]).map_err(|error| error.to_string());
        let pair = client.unavailable().map_or(pair, Err);
        let [ours, theirs] = match pair {
            Ok(pair) => pair,
            Err(why) => {
                eprintln!("skipped, since it cannot be run here: {why}");
                return None;
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let many = folder.path().join("share/many");
        for n in 0..FILES {
            let file = many.join(format!("{}/{n}", n % 7));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            // Transmission makes no file that has no bytes.
            fs::write(file, content::bytes(n as u64, 1 + n * 37 % 20_000)).unwrap();
        }
        let mib = env::var("CJP2P_TORRENT_MIB").map_or(MIB, |mib| mib.parse().unwrap());
        fs::write(folder.path().join("share/single"), content::bytes(1, mib << 20)).unwrap();
        let make = || {
            let dht = Testnet::builder(NODES).bind_address(OURS).build().unwrap();
            let node = Dht::builder().bind_address(OURS).bootstrap(&dht.bootstrap).build();
            (dht, node.unwrap().as_async())
        };
        let (dht, node) = ours.run(make).unwrap();
        Some(Bench { dht, node, ours, theirs, folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes the metainfo of what has this name in the share, as `NAME-nth.torrent`.
    fn torrent(&self, name: &str, found: Found, nth: usize) -> Torrent {
        let metainfo = self.path(&format!("{name}-{nth}.torrent"));
        let tracker = (found != Found::Dht).then(|| self.ours.run(|| Tracker::start(OURS)).unwrap().unwrap());
        let mut hash = tool("cjp2p-hash", &self.path("hash-state"));
        // Another piece length is another torrent: nobody remembers it.
        hash.arg("--write-torrent").arg(&metainfo).args(["--piece-length", &format!("{}K", 32 << (nth % 4))]);
        if let Some(tracker) = &tracker {
            hash.arg("--tracker").arg(if found == Found::Http { tracker.http() } else { tracker.udp() });
        }
        let made = hash.arg(self.path("share").join(name)).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        Torrent { magnet: String::from_utf8(made.stdout).unwrap().trim().to_owned(), metainfo, tracker }
    }

    /// Waits until somebody says that it has all of it.
    fn wait_for_a_seed(&self, torrent: &Torrent) {
        if let Some(tracker) = &torrent.tracker {
            return tracker.wait_for("left=0");
        }
        let hash: String = torrent.magnet.split("btih:").nth(1).unwrap().chars().take(40).collect();
        let id: Id = hash.parse().unwrap();
        let begun = Instant::now();
        while future::block_on(self.node.get_peers(id).next()).is_none_or(|peers| peers.is_empty()) {
            assert!(begun.elapsed() < LIMIT, "nobody is announced in the DHT");
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn our_tool(&self, name: &str, state: &str, found: Found) -> Command {
        let mut command = tool(name, &self.path(state));
        command.env("CJP2P_DHT_BOOTSTRAP", self.dht.bootstrap[..3].join(",")).arg("--allow-private");
        if found == Found::Dht {
            command.arg("--dht");
        }
        command
    }

    fn their_dht(&self, found: Found) -> Option<String> {
        self.dht.bootstrap.first().filter(|_| found == Found::Dht).cloned()
    }

    /// It fetches from `cjp2p-serve`.
    fn they_fetch(&self, client: Client, nth: usize) {
        let (name, by_magnet, found) = CASES[nth];
        let torrent = self.torrent(name, found, nth);
        let serve = self.our_tool("cjp2p-serve", &format!("serve-{nth}"), found);
        let (metainfo, share) = (torrent.metainfo.clone(), self.path("share"));
        let start = move || {
            let arguments = ["--torrent", metainfo.to_str().unwrap()];
            Server::run(serve, &format!("{OURS}:0"), &share, &arguments)
        };
        let _server = self.ours.run(start).unwrap();
        self.wait_for_a_seed(&torrent);
        let (folder, state) =
            (self.path(&format!("theirs-{nth}")), self.path(&format!("theirs-{nth}-state")));
        let dht = self.their_dht(found);
        let task = Task { source: torrent.source(by_magnet), folder, is_there: false, dht, state };
        let begun = Instant::now();
        let running = client.run(&self.theirs, &task);
        let (right, theirs) = (self.path("share").join(name), task.folder.join(name));
        while !is_same(&right, &theirs) {
            let log = || fs::read_to_string(task.state.join("log")).unwrap();
            assert!(begun.elapsed() < LIMIT, "{client:?} does not get {:?}:\n{}", CASES[nth], log());
            thread::sleep(Duration::from_millis(100));
        }
        eprintln!("{client:?} fetched {:?} in {:?}", CASES[nth], begun.elapsed());
        drop(running);
        fs::remove_dir_all(task.folder).unwrap();
    }

    /// `cjp2p-get` fetches from it.
    fn we_fetch(&self, client: Client, nth: usize) {
        let (name, by_magnet, found) = CASES[nth];
        // Beside those that they fetched.
        let torrent = self.torrent(name, found, nth + CASES.len() + 1);
        let (folder, state) = (self.path("share"), self.path(&format!("seed-{nth}-state")));
        let source = torrent.source(false);
        let task = Task { source, folder, is_there: true, dht: self.their_dht(found), state };
        let _running = client.run(&self.theirs, &task);
        self.wait_for_a_seed(&torrent);
        let out = self.path(&format!("ours-{nth}"));
        let mut get = self.our_tool("cjp2p-get", &format!("get-{nth}"), found);
        get.args(["--quiet", "--listen", &format!("{OURS}:0"), "--timeout", "100s"]).arg("-o").arg(&out);
        get.arg(torrent.source(by_magnet));
        let begun = Instant::now();
        let said = self.ours.run(move || get.output().unwrap()).unwrap();
        let log = fs::read_to_string(task.state.join("log")).unwrap();
        assert!(said.status.success(), "{client:?}, {:?}: {said:?}\n{log}", CASES[nth]);
        assert!(is_same(&self.path("share").join(name), &out.join(name)), "{client:?}, {:?}", CASES[nth]);
        eprintln!("{client:?} gave {:?} in {:?}", CASES[nth], begun.elapsed());
        fs::remove_dir_all(out).unwrap();
    }
}

/// Whether two files, or all files of two folders, are equal.
fn is_same(right: &Path, other: &Path) -> bool {
    if !right.is_dir() {
        return match (fs::metadata(right), fs::metadata(other)) {
            (Ok(right_is), Ok(other_is)) if right_is.len() == other_is.len() => {
                fs::read(right).unwrap() == fs::read(other).unwrap()
            }
            _ => false,
        };
    }
    fs::read_dir(right).unwrap().all(|entry| {
        let name = entry.unwrap().file_name();
        is_same(&right.join(&name), &other.join(&name))
    })
}

fn exchange_with(client: Client) {
    let Some(bench) = Bench::new(client) else { return };
    // Only aria2 joins this DHT: libtorrent finds no node of it, and Transmission did not in time.
    let shown = |nth: &usize| client == Client::Aria2 || CASES[*nth].2 != Found::Dht;
    for nth in (0..CASES.len()).filter(shown) {
        bench.they_fetch(client, nth);
        bench.we_fetch(client, nth);
    }
}

#[test]
fn aria2_fetches_from_us_and_we_from_it() {
    exchange_with(Client::Aria2);
}

#[test]
fn transmission_fetches_from_us_and_we_from_it() {
    exchange_with(Client::Transmission);
}

#[test]
fn libtorrent_fetches_from_us_and_we_from_it() {
    exchange_with(Client::Libtorrent);
}
