//! As many connections to one seed of a torrent as it takes, and some more, that stay, ask now and then, and come and go.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use cjp2p_tests::lab::{Error, Programs, scratch};
use cjp2p_tests::real::server::{Server, descriptors, resident_memory};
use cjp2p_tests::{row, table};
use clap::Args;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::bench::{allow_descriptors, command};

/// The shortest piece that there is: one block.
const PIECE: u32 = 16 << 10;
/// How often all connections are looked at.
const PAUSE: Duration = Duration::from_millis(20);
/// How often memory and descriptors are.
const LOOK: Duration = Duration::from_secs(1);
/// A connection that is sent blocks asks for one so often,
const ASK: Duration = Duration::from_millis(500);
/// and one that is not says so often that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Somebody leaves, and another one comes, so often.
const CHANGE: Duration = Duration::from_millis(100);
/// Who comes is answered or turned away by then, or accepting has stopped.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// The longest message of a seed: a bitfield of 200,000 pieces, or a block.
const MAX_MESSAGE: usize = 64 << 10;
/// The marks.
const MOST_GROWTH: u64 = 4 << 20;
const MOST_MEMORY: u64 = 48 << 20;

/// See the help.
#[derive(Args)]
pub(crate) struct Connections {
    /// For how many seconds
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// How many at a time; a tenth more try to come
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// Pieces of the torrent, of 16 KiB each
    #[arg(long, default_value_t = 20_000)]
    pieces: u32,
}

/// One of them.
struct Peer {
    stream: TcpStream,
    /// What came and is no whole message.
    came: Vec<u8>,
    has_handshake: bool,
    is_unchoked: bool,
    began: Instant,
    said: Instant,
    blocks: u64,
}

/// What is asked of all, and counted.
struct Crowd {
    to: SocketAddrV4,
    info_hash: [u8; 20],
    pieces: u32,
    random: fastrand::Rng,
    nth: u32,
    peers: Vec<Peer>,
    blocks: u64,
    turned_away: u64,
    answered: u64,
    longest: Duration,
}

impl Crowd {
    /// Somebody comes, each time from another address of this machine.
    fn come(&mut self) -> Result<(), Error> {
        self.nth += 1;
        let [_, a, b, c] = self.nth.to_be_bytes();
        let from = Ipv4Addr::new(127, 1 + a % 200, b, 1 + c % 250);
        let descriptor = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&descriptor, &SocketAddrV4::new(from, 0))?;
        connect(&descriptor, &self.to)?;
        let mut stream = TcpStream::from(descriptor);
        let mut hello = b"\x13BitTorrent protocol\0\0\0\0\0\0\0\0".to_vec();
        hello.extend(self.info_hash);
        hello.extend(b"-CJload-");
        hello.extend(std::iter::repeat_with(|| self.random.alphanumeric() as u8).take(12));
        hello.extend([0, 0, 0, 1, 2]);
        stream.write_all(&hello)?;
        stream.set_nonblocking(true)?;
        let now = Instant::now();
        self.peers.push(Peer {
            stream,
            came: Vec::new(),
            has_handshake: false,
            is_unchoked: false,
            began: now,
            said: now,
            blocks: 0,
        });
        Ok(())
    }

    /// Takes what came and asks for more. Those that were turned away are gone.
    fn turn(&mut self) {
        let mut buffer = vec![0; 64 << 10];
        let peers = std::mem::take(&mut self.peers);
        for mut peer in peers {
            let is_here = peer.turn(self.pieces, &mut self.random, &mut buffer).unwrap_or(false);
            self.blocks += std::mem::take(&mut peer.blocks);
            if !peer.has_handshake {
                self.longest = self.longest.max(peer.began.elapsed());
            }
            match is_here {
                true => self.peers.push(peer),
                false if peer.has_handshake => self.answered += 1,
                false => self.turned_away += 1,
            }
        }
    }
}

impl Peer {
    /// Returns whether the connection is still there.
    fn turn(&mut self, pieces: u32, random: &mut fastrand::Rng, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => self.came.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut at = 0;
        if !self.has_handshake && self.came.len() >= 68 {
            (self.has_handshake, at) = (true, 68);
        }
        while self.has_handshake {
            let Some(length) = self.came[at..].first_chunk::<4>() else { break };
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_MESSAGE {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(message) = self.came.get(at + 4..at + 4 + length) else { break };
            match message.first() {
                Some(0) => self.is_unchoked = false,
                Some(1) => self.is_unchoked = true,
                Some(7) => self.blocks += 1,
                _ => {}
            }
            at += 4 + length;
        }
        self.came.drain(..at);
        let pause = if self.is_unchoked { ASK } else { KEEP_ALIVE };
        if self.has_handshake && self.said.elapsed() >= pause {
            self.said = Instant::now();
            let mut message = Vec::new();
            if self.is_unchoked {
                message.extend([0, 0, 0, 13, 6]);
                message.extend(random.u32(..pieces).to_be_bytes());
                message.extend([0; 4]);
                message.extend(PIECE.to_be_bytes());
            } else {
                message.extend([0; 4]);
            }
            self.stream.write_all(&message)?;
        }
        Ok(true)
    }
}

/// What the seed holds.
#[derive(Clone, Copy)]
struct Look {
    after: Duration,
    memory: u64,
    descriptors: usize,
    peers: usize,
}

impl Connections {
    pub(crate) fn run(&self) -> Result<bool, Error> {
        let programs = Programs::beside_this()?;
        let folder = scratch::folder(&std::env::temp_dir(), "cjp2p-load-")?;
        let share = folder.path().join("share");
        std::fs::create_dir(&share)?;
        // A file of zeros takes no place.
        let file = std::fs::File::create(share.join("file"))?;
        file.set_len(u64::from(self.pieces) * u64::from(PIECE))?;
        let torrent = folder.path().join("file.torrent");
        let mut hash = command(&programs, folder.path(), "cjp2p-hash");
        hash.arg("--write-torrent").arg(&torrent).arg(share.join("file")).args(["--piece-length", "16K"]);
        let made = hash.stderr(Stdio::inherit()).output()?;
        let magnet = String::from_utf8(made.stdout)?;
        let info_hash = magnet.split("btih:").nth(1).and_then(|rest| rest.get(..40));
        let info_hash = info_hash.ok_or("no magnet link")?.to_lowercase();
        let info_hash = data_encoding::HEXLOWER.decode(info_hash.as_bytes())?;
        let serve = command(&programs, folder.path(), "cjp2p-serve");
        let torrent = torrent.to_str().ok_or("a path that is no text")?;
        let mut server = Server::run(serve, "127.0.0.1:0", &share, &["--torrent", torrent]);
        let seeds = |event: &serde_json::Value| event["event"] == "torrent";
        if !server.events.iter().any(seeds) {
            server.wait_for("torrent");
        }
        let address = server.events[0]["torrent_address"].as_str().ok_or("no address for torrents")?;
        let SocketAddr::V4(to) = address.parse()? else { return Err("an address of IPv6".into()) };
        // Now, and not before: the server asks for its own.
        allow_descriptors(self.connections + self.connections / 10 + 100)?;

        let mut crowd = Crowd {
            to,
            info_hash: info_hash.try_into().map_err(|_| "no info hash")?,
            pieces: self.pieces,
            random: fastrand::Rng::with_seed(1),
            nth: 0,
            peers: Vec::new(),
            blocks: 0,
            turned_away: 0,
            answered: 0,
            longest: Duration::ZERO,
        };
        let pid = server.pid();
        let begun = Instant::now();
        let look = |peers: usize| Look {
            after: begun.elapsed(),
            memory: resident_memory(pid),
            descriptors: descriptors(pid),
            peers,
        };
        let before = look(0);
        let mut looks = Vec::new();
        let (mut changed, mut looked) = (begun, begun);
        let most = self.connections + self.connections / 10;
        while begun.elapsed().as_secs() < self.seconds {
            for _ in 0..20 {
                if crowd.peers.len() < most {
                    crowd.come()?;
                }
            }
            crowd.turn();
            if changed.elapsed() >= CHANGE && crowd.peers.len() + 10 > self.connections {
                changed = Instant::now();
                let nth = crowd.random.usize(..crowd.peers.len());
                crowd.peers.swap_remove(nth);
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let here = crowd.peers.iter().filter(|peer| peer.has_handshake).count();
                looks.push(look(here));
            }
            std::thread::sleep(PAUSE);
        }
        crowd.peers.clear();
        std::thread::sleep(Duration::from_secs(3));
        Ok(self.report(before, &looks, look(0), &crowd))
    }

    fn report(&self, before: Look, looks: &[Look], after: Look, crowd: &Crowd) -> bool {
        let mib = |bytes: u64| format!("{:.1}", bytes as f64 / (1 << 20) as f64);
        let warm = Duration::from_secs((self.seconds / 5).min(300));
        let warmed: Vec<&Look> = looks.iter().filter(|look| look.after >= warm).collect();
        let Some(first) = warmed.first() else { return false };
        let most = warmed.iter().map(|look| look.memory).max().unwrap_or(0);
        let peak = looks.iter().map(|look| look.memory).max().unwrap_or(0);
        let grown = most.saturating_sub(first.memory);
        let leaked = after.descriptors.saturating_sub(before.descriptors);
        let peers = warmed.iter().map(|look| look.peers);
        let (fewest, highest) = (peers.clone().min().unwrap_or(0), peers.max().unwrap_or(0));
        println!("{}", table::head(&["what", "promised", "measured"]));
        println!("{}", row!["seconds; pieces", "", format!("{}; {}", self.seconds, self.pieces)]);
        println!(
            "{}",
            row!["connections at a time, from fewest to most", "", format!("{fewest} to {highest}")]
        );
        println!(
            "{}",
            row![
                "blocks taken; who left or was sent away; who was turned away unanswered",
                "",
                format!("{}; {}; {}", crowd.blocks, crowd.answered, crowd.turned_away)
            ]
        );
        println!(
            "{}",
            row!["the longest until somebody was answered or turned away, ms", "", crowd.longest.as_millis()]
        );
        println!("{}", row!["memory before, MiB", "", mib(before.memory)]);
        println!("{}", row![format!("memory after {} s, MiB", warm.as_secs()), "", mib(first.memory)]);
        println!("{}", row!["the most it grew after that, MiB", "≤ 4", mib(grown)]);
        println!("{}", row!["the most it ever was, MiB", "≤ 48", mib(peak)]);
        let held = looks.iter().map(|look| look.descriptors).max().unwrap_or(0);
        println!(
            "{}",
            row![
                "descriptors before, at the most, and more at the end",
                "0 more",
                format!("{}, {held}, {leaked}", before.descriptors)
            ]
        );
        grown <= MOST_GROWTH
            && peak <= MOST_MEMORY
            && leaked == 0
            && crowd.longest <= LONGEST_ANSWER
            && crowd.blocks > 0
            && after.memory > 0
    }
}
