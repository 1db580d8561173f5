//! Swarms over byte pipes with rates and delays, under a virtual clock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::pieces::Pieces;
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::store::{PieceStore, Read};
use cjp2p_torrent::swarm::{Config, ConnId, Event, Output, Swarm, Torrent};
use cjp2p_wire::time::Time;

/// What leaves a host at once: others have their turn between.
const CHUNK: usize = 16 << 10;
/// A hash takes so long.
const HASHING: Duration = Duration::from_millis(2);

/// A torrent, and its bytes.
pub(crate) struct Content {
    pub(crate) torrent: Torrent,
    pub(crate) bytes: Vec<u8>,
}

/// Random bytes in pieces.
pub(crate) fn content(length: usize, piece: u32) -> Arc<Content> {
    let mut random = fastrand::Rng::with_seed(length as u64);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    let info: Arc<[u8]> = format!("d6:lengthi{length}e12:piece lengthi{piece}ee").into_bytes().into();
    let pieces = Pieces::new(length as u64, piece).unwrap();
    let torrent = Torrent { info_hash: InfoHash::of(&info), pieces, info, is_private: false };
    Arc::new(Content { torrent, bytes })
}

/// What a host does with what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Honesty {
    Honest,
    /// A byte of each block is wrong.
    Corrupts,
}

/// Keeps no bytes: it knows which are right.
pub(crate) struct Memory {
    content: Arc<Content>,
    honesty: Honesty,
    /// Blocks that came wrong.
    wrong: BTreeSet<(u32, u32)>,
    came: BTreeMap<u32, u64>,
    checks: VecDeque<(u32, bool)>,
    pub(crate) written: u64,
}

impl PieceStore for Memory {
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]) {
        let start = self.content.torrent.pieces.range(piece).start as usize + begin as usize;
        let is_right = self.content.bytes[start..start + block.len()] == *block;
        match is_right {
            true => _ = self.wrong.remove(&(piece, begin)),
            false => _ = self.wrong.insert((piece, begin)),
        }
        *self.came.entry(piece).or_default() += block.len() as u64;
        self.written += block.len() as u64;
    }

    fn check(&mut self, piece: u32) {
        let came = self.came.remove(&piece).unwrap_or(0);
        assert!(came >= u64::from(self.content.torrent.pieces.len_of(piece)), "a piece with a hole");
        let is_right = self.wrong.range((piece, 0)..(piece + 1, 0)).next().is_none();
        self.checks.push_back((piece, is_right));
    }

    fn forget(&mut self, piece: u32) {
        self.came.remove(&piece);
    }

    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read {
        let start = self.content.torrent.pieces.range(piece).start as usize + begin as usize;
        into.copy_from_slice(&self.content.bytes[start..start + into.len()]);
        if self.honesty == Honesty::Corrupts {
            into[0] ^= 1;
        }
        Read::Found
    }

    fn room(&self) -> u64 {
        u64::MAX
    }
}

/// One end of a pipe.
#[derive(Default)]
struct End {
    conn: Option<ConnId>,
    queue: VecDeque<Vec<u8>>,
    is_closed: bool,
}

struct Pipe {
    hosts: [usize; 2],
    ends: [End; 2],
    accepted: bool,
}

pub(crate) struct Host {
    pub(crate) address: SocketAddr,
    pub(crate) swarm: Swarm,
    pub(crate) store: Memory,
    /// Bytes per second out; in as many as come.
    rate: f64,
    is_sending: bool,
    next_pipe: usize,
    by_conn: BTreeMap<ConnId, (usize, usize)>,
    timer: Time,
    pub(crate) sent: u64,
    pub(crate) events: Vec<(Time, Event)>,
    pub(crate) complete_at: Option<Time>,
    pub(crate) first_piece_at: Option<Time>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Timer(usize),
    Uplink(usize),
    Arrives { pipe: usize, end: usize, bytes: Vec<u8> },
    Opens { pipe: usize },
    Ends { pipe: usize, end: usize },
    Refused { host: usize, address: SocketAddr },
    Checked { host: usize, piece: u32, is_right: bool },
}

/// All hosts, and what is going to happen.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) hosts: Vec<Host>,
    pipes: Vec<Pipe>,
    queue: BinaryHeap<Reverse<(Time, u64, Happens)>>,
    nth: u64,
    pub(crate) content: Arc<Content>,
    delay: Duration,
    random: fastrand::Rng,
}

impl World {
    pub(crate) fn new(content: Arc<Content>, delay: Duration, seed: u64) -> World {
        World {
            now: Time::from_millis(1_000_000),
            hosts: Vec::new(),
            pipes: Vec::new(),
            queue: BinaryHeap::new(),
            nth: 0,
            content,
            delay,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn config(&mut self) -> Config {
        let mut config = Config::new(PeerId::random(&mut self.random), self.random.u64(..));
        config.port = Some(6881);
        config
    }

    /// A host with these pieces, or one that has only the hash of the torrent.
    pub(crate) fn add(
        &mut self,
        config: Config,
        have: Option<PieceSet>,
        rate: f64,
        honesty: Honesty,
    ) -> usize {
        let n = self.hosts.len();
        let torrent = self.content.torrent.clone();
        let swarm = match have {
            Some(have) => {
                let none = PieceSet::none(have.len());
                Swarm::new(self.now, torrent, have, &none, config)
            }
            None => Swarm::from_magnet(self.now, torrent.info_hash, config),
        };
        let store = Memory {
            content: self.content.clone(),
            honesty,
            wrong: BTreeSet::new(),
            came: BTreeMap::new(),
            checks: VecDeque::new(),
            written: 0,
        };
        self.hosts.push(Host {
            address: SocketAddr::from(([20, (n / 250) as u8, (n % 250) as u8, 1], 6881)),
            swarm,
            store,
            rate,
            is_sending: false,
            next_pipe: 0,
            by_conn: BTreeMap::new(),
            timer: Time::NEVER,
            sent: 0,
            events: Vec::new(),
            complete_at: None,
            first_piece_at: None,
        });
        n
    }

    pub(crate) fn seed(&mut self, rate: f64) -> usize {
        let config = self.config();
        let all = PieceSet::all(self.content.torrent.pieces.count());
        self.add(config, Some(all), rate, Honesty::Honest)
    }

    pub(crate) fn leecher(&mut self, rate: f64) -> usize {
        let config = self.config();
        let none = PieceSet::none(self.content.torrent.pieces.count());
        self.add(config, Some(none), rate, Honesty::Honest)
    }

    /// `host` knows `other`, by whatever named it.
    pub(crate) fn introduce(&mut self, host: usize, other: usize, origin: Origin) {
        let address = self.hosts[other].address;
        self.hosts[host].swarm.add_peer(self.now, address, origin);
        self.poll(host);
    }

    /// Nothing that this host sends arrives from now on, and nobody is told.
    pub(crate) fn mute(&mut self, host: usize) {
        self.hosts[host].rate = 1e-3;
    }

    /// This host ends all its connections, and knows nobody any more that it could connect to at once.
    pub(crate) fn hang_up(&mut self, host: usize) {
        let pipes: Vec<usize> = self.hosts[host].by_conn.values().map(|(pipe, _)| *pipe).collect();
        for pipe in pipes {
            for end in 0..2 {
                self.at(self.now, Happens::Ends { pipe, end });
            }
        }
    }

    fn at(&mut self, time: Time, what: Happens) {
        self.nth += 1;
        self.queue.push(Reverse((time, self.nth, what)));
    }

    fn poll(&mut self, n: usize) {
        loop {
            while let Some((piece, is_right)) = self.hosts[n].store.checks.pop_front() {
                self.at(self.now + HASHING, Happens::Checked { host: n, piece, is_right });
            }
            let host = &mut self.hosts[n];
            match host.swarm.poll_output(self.now, &mut host.store) {
                Output::Timeout(at) => {
                    if at != host.timer {
                        host.timer = at;
                        self.at(at, Happens::Timer(n));
                    }
                    return;
                }
                Output::Event(event) => {
                    match &event {
                        Event::Complete => host.complete_at = Some(self.now),
                        Event::PieceDone(_) => _ = host.first_piece_at.get_or_insert(self.now),
                        _ => {}
                    }
                    if let Event::Metadata(info) = &event {
                        assert!(*info == *self.content.torrent.info);
                        let none = PieceSet::none(self.content.torrent.pieces.count());
                        host.swarm.start(self.now, self.content.torrent.clone(), none.clone(), &none);
                    }
                    host.events.push((self.now, event));
                }
                Output::Connect(address) => {
                    let to = self.hosts.iter().position(|host| host.address == address);
                    match to.filter(|&to| to != n) {
                        Some(to) => {
                            let pipe = self.pipes.len();
                            let ends = [End::default(), End::default()];
                            self.pipes.push(Pipe { hosts: [n, to], ends, accepted: false });
                            self.at(self.now + self.delay * 2, Happens::Opens { pipe });
                        }
                        None => self.at(self.now + self.delay * 2, Happens::Refused { host: n, address }),
                    }
                }
                Output::Send(conn, bytes) => {
                    if let Some(&(pipe, end)) = host.by_conn.get(&conn) {
                        self.pipes[pipe].ends[end].queue.push_back(bytes);
                        self.start_sending(n);
                    }
                }
                Output::Close(conn) => {
                    if let Some((pipe, end)) = host.by_conn.remove(&conn) {
                        self.pipes[pipe].ends[end].is_closed = true;
                        self.at(self.now + self.delay, Happens::Ends { pipe, end: 1 - end });
                    }
                }
            }
        }
    }

    fn start_sending(&mut self, n: usize) {
        if !std::mem::replace(&mut self.hosts[n].is_sending, true) {
            self.at(self.now, Happens::Uplink(n));
        }
    }

    /// The link of a host is free: what is next goes.
    fn send(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        let conns: Vec<(ConnId, (usize, usize))> = host.by_conn.iter().map(|(&id, &at)| (id, at)).collect();
        let first = host.next_pipe;
        let order = conns.iter().filter(|(_, (pipe, _))| *pipe >= first);
        let order = order.chain(conns.iter().filter(|(_, (pipe, _))| *pipe < first));
        for &(conn, (pipe, end)) in order {
            let queue = &mut self.pipes[pipe].ends[end].queue;
            let mut bytes = Vec::new();
            while let Some(mut part) = queue.pop_front() {
                let rest = part.split_off(part.len().min(CHUNK + 13 - bytes.len()));
                bytes.extend(part);
                if !rest.is_empty() {
                    queue.push_front(rest);
                    break;
                }
            }
            if bytes.is_empty() {
                continue;
            }
            host.next_pipe = pipe + 1;
            host.sent += bytes.len() as u64;
            host.swarm.on_sent(conn, bytes.len());
            let gone = self.now + Duration::from_secs_f64(bytes.len() as f64 / host.rate);
            self.at(gone, Happens::Uplink(n));
            self.at(gone + self.delay, Happens::Arrives { pipe, end: 1 - end, bytes });
            self.poll(n);
            return;
        }
        host.is_sending = false;
    }

    fn step(&mut self, what: Happens) {
        match what {
            Happens::Timer(n) => {
                if self.hosts[n].timer <= self.now {
                    self.hosts[n].timer = Time::NEVER;
                    self.hosts[n].swarm.handle_timeout(self.now);
                    self.poll(n);
                }
            }
            Happens::Uplink(n) => self.send(n),
            Happens::Opens { pipe } => {
                let [from, to] = self.pipes[pipe].hosts;
                let address = self.hosts[to].address;
                if let Some(conn) = self.hosts[from].swarm.on_connected(self.now, address) {
                    self.hosts[from].by_conn.insert(conn, (pipe, 0));
                    self.pipes[pipe].ends[0].conn = Some(conn);
                }
                self.poll(from);
            }
            Happens::Arrives { pipe, end, bytes } => {
                let n = self.pipes[pipe].hosts[end];
                if end == 1 && !self.pipes[pipe].accepted {
                    self.pipes[pipe].accepted = true;
                    let mut from = self.hosts[self.pipes[pipe].hosts[0]].address;
                    from.set_port(10_000 + (pipe % 50_000) as u16);
                    match self.hosts[n].swarm.on_accepted(self.now, from) {
                        Some(conn) => {
                            self.hosts[n].by_conn.insert(conn, (pipe, 1));
                            self.pipes[pipe].ends[1].conn = Some(conn);
                        }
                        None => {
                            self.pipes[pipe].ends[1].is_closed = true;
                            self.at(self.now + self.delay, Happens::Ends { pipe, end: 0 });
                        }
                    }
                }
                let side = &self.pipes[pipe].ends[end];
                if let Some(conn) = side.conn.filter(|_| !side.is_closed) {
                    let host = &mut self.hosts[n];
                    host.swarm.on_bytes(self.now, conn, &bytes, &mut host.store);
                    self.poll(n);
                }
            }
            Happens::Ends { pipe, end } => {
                let n = self.pipes[pipe].hosts[end];
                let side = &mut self.pipes[pipe].ends[end];
                if let Some(conn) = side.conn.filter(|_| !std::mem::replace(&mut side.is_closed, true)) {
                    self.hosts[n].by_conn.remove(&conn);
                    self.hosts[n].swarm.on_closed(self.now, conn);
                    self.poll(n);
                }
            }
            Happens::Refused { host, address } => {
                self.hosts[host].swarm.on_connect_failed(self.now, address);
                self.poll(host);
            }
            Happens::Checked { host, piece, is_right } => {
                self.hosts[host].swarm.on_checked(self.now, piece, is_right);
                self.poll(host);
            }
        }
    }

    /// Runs until this holds, at most so long. Returns whether it does.
    pub(crate) fn run_until(&mut self, limit: Duration, mut holds: impl FnMut(&World) -> bool) -> bool {
        for n in 0..self.hosts.len() {
            self.poll(n);
        }
        let end = self.now + limit;
        let mut look_at = self.now;
        while let Some(Reverse((at, _, what))) = self.queue.pop() {
            if at > end {
                self.queue.push(Reverse((at, 0, what)));
                self.now = end;
                return holds(self);
            }
            self.now = at;
            self.step(what);
            // Looking costs time of ours.
            if self.now >= look_at {
                look_at = self.now + Duration::from_millis(20);
                if holds(self) {
                    return true;
                }
            }
        }
        holds(self)
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }
}
