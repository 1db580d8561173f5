//! Requests forged with raw sockets, in the name of real programs on another host.
//!
//! Needs root and `ip`; without them each test says so and does nothing. `CJP2P_FORGED` says how many datagrams there are for each
//! victim; a million take a quarter of an hour each.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::lab::Namespace;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{end_of, tool};
use cjp2p_tests::reflection::{Forger, Victim};
use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
use tempfile::TempDir;

const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 78, 9, 1), 24254);
const VICTIM: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 78, 9, 2), 5555);
/// What the server shares, in bytes, and how much of it leaves in a second.
const LENGTH: usize = 6 << 20;
const RATE: &str = "2M";
/// Datagrams for each victim.
const FORGED: u64 = 3000;
/// What a victim that does nothing is sent all the same: greetings, and what they are answered with.
const IDLE: u64 = 64 << 10;

/// An IPv4 packet with a UDP datagram that seems to come from `from`.
fn packet(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let length = 28 + payload.len() as u16;
    // The kernel puts in the checksum of the header; the datagram has none.
    let mut packet = vec![0x45, 0, (length >> 8) as u8, length as u8, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.ip().octets());
    packet.extend(to.ip().octets());
    for word in [from.port(), to.port(), length - 20, 0] {
        packet.extend(word.to_be_bytes());
    }
    packet.extend(payload);
    packet
}

/// Bytes of UDP payload that reached the host of this thread, as far as datagrams came whole.
fn received() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/dev").expect("interfaces");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("wire:")).expect("the interface");
    let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().expect("a number"));
    let (bytes, packets) = (numbers.next().expect("bytes"), numbers.next().expect("packets"));
    bytes.saturating_sub(packets * (14 + 28))
}

struct Bench {
    folder: TempDir,
    hosts: [Namespace; 2],
    raw: OwnedFd,
    _server: Server,
    ids: Vec<String>,
}

impl Bench {
    /// `None` where this machine does not let us.
    fn new() -> Option<Bench> {
        let skip =
            |why: &dyn std::fmt::Display| eprintln!("skipped, since there can be no hosts here: {why}");
        let hosts = Namespace::pair([*SERVER.ip(), *VICTIM.ip()]).inspect_err(|why| skip(why)).ok()?;
        let open = || socket(AddressFamily::INET, SocketType::RAW, Some(ipproto::RAW));
        let raw = hosts[0].run(open).expect("a host").inspect_err(|why| skip(why)).ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["share", "other"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let bytes = content::bytes(9, LENGTH);
        fs::write(folder.path().join("share/f"), &bytes).expect("a file");
        fs::write(folder.path().join("other/g"), b"what the victim shares").expect("a file");
        let blake3 = content::blake3_id(&bytes).to_string();
        let ids = vec![
            blake3.replace("blake3/", "blake3_tree_v2/"),
            content::sha256_id(&bytes).to_string(),
            "f".to_owned(),
            "nothing of this name".to_owned(),
            blake3,
        ];
        let (command, share) =
            (tool("cjp2p-serve", &folder.path().join("server")), folder.path().join("share"));
        let start = move || Server::run(command, &SERVER.to_string(), &share, &["--rate", RATE]);
        let server = hosts[0].run(start).expect("a server");
        Some(Bench { folder, hosts, raw, _server: server, ids })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A victim that shares, and greets the server or does not.
    fn serve(&self, name: &str, greets: bool) -> Server {
        let (command, share) = (tool("cjp2p-serve", &self.path(name)), self.path("other"));
        let start = move || {
            let peer = SERVER.to_string();
            let arguments: &[&str] = if greets { &["--peer", &peer] } else { &[] };
            Server::run(command, &VICTIM.to_string(), &share, arguments)
        };
        self.hosts[1].run(start).expect("a victim")
    }

    /// Forges requests in the name of the victim. Returns the bytes sent, and those that reached it meanwhile.
    fn forge(&self, victim: Victim) -> (u64, u64) {
        let count = std::env::var("CJP2P_FORGED").ok().and_then(|text| text.parse().ok()).unwrap_or(FORGED);
        let mut forger = Forger::new(victim, self.ids.clone(), 1);
        let before = self.hosts[1].run(received).expect("a host");
        let mut sent = 0;
        for n in 0..count {
            let datagram = forger.datagram();
            // What does not fit a packet would need fragments.
            let datagram = &datagram[..datagram.len().min(1400)];
            let packet = packet(VICTIM, SERVER, datagram);
            sendto(&self.raw, &packet, SendFlags::empty(), &SERVER).expect("a raw packet leaves");
            sent += datagram.len() as u64;
            if n % 4 == 3 {
                std::thread::sleep(Duration::from_millis(4));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        (sent, self.hosts[1].run(received).expect("a host") - before)
    }

    /// Has the victim fetch what the server shares, and does something meanwhile. Returns what that gave, and the bytes that reached
    /// the victim from its start until a second after its end.
    fn fetch<R>(&self, name: &str, meanwhile: impl FnOnce(&Bench) -> R) -> (R, u64) {
        let mut command = tool("cjp2p-get", &self.path(name).with_extension("state"));
        command.args(["--quiet", "--listen", &VICTIM.to_string(), "--peer", &SERVER.to_string(), "-o"]);
        command.arg(self.path(name)).arg(&self.ids[4]);
        let before = self.hosts[1].run(received).expect("a host");
        let mut getter = self.hosts[1].spawn(command).expect("cjp2p-get starts");
        let result = meanwhile(self);
        assert!(end_of(&mut getter).success(), "it did not get through");
        std::thread::sleep(Duration::from_secs(1));
        let reached = self.hosts[1].run(received).expect("a host") - before;
        assert!(fs::read(self.path(name)).expect("the file") == content::bytes(9, LENGTH));
        (result, reached)
    }

    fn check(&self, victim: Victim) {
        let (sent, reached) = self.forge(victim);
        eprintln!("{victim:?}: {reached} bytes for {sent}");
        assert!(reached <= IDLE + 2 * sent, "{victim:?} was sent {reached} bytes for {sent}");
        assert!(reached > sent / 10, "{victim:?}: the forged requests were not answered at all");
    }
}

#[test]
fn forged_packets_bring_a_server_of_ours_at_most_twice_their_bytes() {
    let Some(bench) = Bench::new() else { return };
    {
        let _victim = bench.serve("fresh", false);
        bench.check(Victim::Fresh);
    }
    let _victim = bench.serve("known", true);
    bench.check(Victim::Serving);
}

#[test]
fn forged_packets_bring_a_getter_of_ours_at_most_twice_their_bytes_beside_what_it_asks_for() {
    let Some(bench) = Bench::new() else { return };
    let (_, alone) = bench.fetch("alone", |_| (0, 0));
    let ((sent, reached_meanwhile), reached) = bench.fetch("attacked", |bench| bench.forge(Victim::Fetching));
    eprintln!(
        "fetching: {reached} bytes, {reached_meanwhile} of them meanwhile, for {sent}; {alone} without them"
    );
    // What is lost among what is forged is asked for again.
    let most = alone + alone / 10 + 2 * sent;
    assert!(reached <= most, "a getter was sent {reached} bytes for {sent}, and {alone} without them");
}
