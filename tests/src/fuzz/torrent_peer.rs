//! A swarm among peers that say anything: it writes only blocks that exist, believes only pieces that were right, ends every turn,
//! and when at last an honest seed comes, it gets everything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::piece_set::PieceSet;
use cjp2p_torrent::pieces::{BLOCK, Block, Pieces};
use cjp2p_torrent::public::Origin;
use cjp2p_torrent::store::{PieceStore, Read};
use cjp2p_torrent::swarm::{Config, ConnId, Event, Order, Output, Swarm, Torrent};
use cjp2p_torrent::wire::{
    ExtendedHandshake, Frames, Handshake, METADATA_PIECE, Message, MetadataMessage, PeerExchange, most_bytes,
};
use cjp2p_wire::time::Time;

use super::input::Input;

const LENGTH: u64 = 150_000;
const PIECE: u32 = 20_000;
/// What one turn may give out, in bytes and outputs.
const MAX_TURN: usize = 8 << 20;
/// An honest seed needs no longer for the rest. In it every block that liars owe is given up.
const HONEST_TIME: Duration = Duration::from_secs(600);

fn byte_at(offset: u64) -> u8 {
    (offset.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn bytes_at(start: u64, length: u32) -> Vec<u8> {
    (start..start + u64::from(length)).map(byte_at).collect()
}

/// Checks what is written.
struct Store {
    pieces: Pieces,
    came: BTreeMap<u32, BTreeMap<u32, Vec<u8>>>,
    checks: Vec<(u32, bool)>,
    right: BTreeSet<u32>,
    room: u64,
    reads: u32,
}

impl PieceStore for Store {
    fn write_block(&mut self, piece: u32, begin: u32, block: &[u8]) {
        let written = Block { piece, begin, len: block.len() as u32 };
        assert!(self.pieces.bytes_of(written).is_some() && begin.is_multiple_of(BLOCK), "{written:?}");
        self.came.entry(piece).or_default().insert(begin, block.to_vec());
    }

    fn check(&mut self, piece: u32) {
        let bytes: Vec<u8> = self.came.remove(&piece).unwrap_or_default().into_values().flatten().collect();
        let length = self.pieces.len_of(piece);
        assert_eq!(bytes.len(), length as usize, "piece {piece} has a hole");
        let is_right = bytes == bytes_at(self.pieces.range(piece).start, length);
        if is_right {
            self.right.insert(piece);
        }
        self.checks.push((piece, is_right));
    }

    fn forget(&mut self, piece: u32) {
        self.came.remove(&piece);
    }

    fn read_block(&mut self, piece: u32, begin: u32, into: &mut [u8]) -> Read {
        assert!(self.right.contains(&piece), "an unverified piece is read");
        self.reads += 1;
        if self.reads.is_multiple_of(7) {
            return Read::Later;
        }
        into.copy_from_slice(&bytes_at(self.pieces.range(piece).start + u64::from(begin), into.len() as u32));
        Read::Found
    }

    fn room(&self) -> u64 {
        self.room
    }
}

/// What the swarm said on one connection.
struct Said {
    frames: Frames,
    handshake: usize,
    asked: Vec<Block>,
    wants: bool,
    metadata_asked: Vec<u32>,
    metadata_id: u8,
    unsent: usize,
}

impl Said {
    fn new() -> Said {
        Said {
            frames: Frames::new(most_bytes(8)),
            handshake: 0,
            asked: Vec::new(),
            wants: false,
            metadata_asked: Vec::new(),
            metadata_id: 0,
            unsent: 0,
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        self.unsent += bytes.len();
        let rest = (Handshake::LEN - self.handshake).min(bytes.len());
        self.handshake += rest;
        bytes = &bytes[rest..];
        while let Some(message) = self.frames.next(&mut bytes, true).expect("it speaks well") {
            match message {
                Message::Request(block) => self.asked.push(block),
                Message::Cancel(block) => self.asked.retain(|asked| *asked != block),
                Message::Interested => self.wants = true,
                Message::NotInterested => self.wants = false,
                Message::Extended(0, said) => {
                    self.metadata_id = ExtendedHandshake::read(said).expect("it speaks well").metadata;
                }
                // As the peers here say: metadata is 3.
                Message::Extended(3, said) => {
                    if let Some(MetadataMessage::Request(piece)) =
                        MetadataMessage::read(said).expect("it speaks well")
                    {
                        self.metadata_asked.push(piece);
                    }
                }
                _ => {}
            }
        }
    }
}

struct World {
    now: Time,
    swarm: Swarm,
    store: Store,
    torrent: Torrent,
    conns: BTreeMap<ConnId, Said>,
    connecting: Vec<SocketAddr>,
    timeout: Time,
}

impl World {
    fn new(input: &mut Input<'_>) -> World {
        let pieces = Pieces::new(LENGTH, PIECE).expect("it can be divided");
        let info: Arc<[u8]> = vec![b'x'; 40_000].into();
        let torrent = Torrent { info_hash: InfoHash::of(&info), pieces, info, is_private: false };
        let now = Time::from_millis(1000);
        let mut config = Config::new(PeerId::from_bytes([7; 20]), input.byte().into());
        config.max_connections = 8;
        config.upload_slots = input.below(3) as usize;
        let mut have = PieceSet::none(pieces.count());
        let bits = input.byte();
        (0..8).filter(|n| bits & 1 << n != 0).for_each(|n| _ = have.insert(n));
        let right = have.iter().collect();
        let swarm = match input.below(3) {
            0 => Swarm::from_magnet(now, torrent.info_hash, config),
            _ => Swarm::new(now, torrent.clone(), have, &PieceSet::none(pieces.count()), config),
        };
        let store = Store {
            pieces,
            came: BTreeMap::new(),
            checks: Vec::new(),
            right: if swarm.have().is_some() { right } else { BTreeSet::new() },
            room: u64::MAX,
            reads: 0,
        };
        let (conns, connecting) = (BTreeMap::new(), Vec::new());
        World { now, swarm, store, torrent, conns, connecting, timeout: now }
    }

    /// Takes all outputs, and tells what the store has hashed.
    fn turn(&mut self) {
        self.drain();
        while !self.store.checks.is_empty() {
            for (piece, is_right) in std::mem::take(&mut self.store.checks) {
                self.swarm.on_checked(self.now, piece, is_right);
            }
            self.drain();
        }
        if let Some(have) = self.swarm.have() {
            assert!(have.iter().eq(self.store.right.iter().copied()), "a piece is believed that is wrong");
        }
        #[cfg(debug_assertions)]
        self.swarm.check_invariants();
    }

    fn drain(&mut self) {
        let (mut bytes, mut outputs) = (0, 0);
        loop {
            outputs += 1;
            assert!(outputs < 10_000 && bytes < MAX_TURN, "a turn without an end");
            match self.swarm.poll_output(self.now, &mut self.store) {
                Output::Timeout(at) => {
                    self.timeout = at;
                    break;
                }
                Output::Connect(address) => self.connecting.push(address),
                Output::Send(conn, sent) => {
                    bytes += sent.len();
                    self.conns.get_mut(&conn).expect("an open connection").take(&sent);
                }
                Output::Close(conn) => assert!(self.conns.remove(&conn).is_some(), "closed twice"),
                Output::Event(Event::Metadata(info)) => {
                    assert!(info == *self.torrent.info);
                    let none = PieceSet::none(self.torrent.pieces.count());
                    self.swarm.start(self.now, self.torrent.clone(), none.clone(), &none);
                }
                Output::Event(_) => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.now >= self.timeout {
            self.swarm.handle_timeout(self.now);
        }
    }

    fn says(&mut self, conn: ConnId, bytes: &[u8]) {
        self.swarm.on_bytes(self.now, conn, bytes, &mut self.store);
    }

    fn say(&mut self, conn: ConnId, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.says(conn, &bytes);
    }

    fn handshake(&self, name: u8, fast: bool) -> [u8; Handshake::LEN] {
        let info_hash = self.torrent.info_hash;
        Handshake { info_hash, peer_id: PeerId::from_bytes([name; 20]), extended: true, fast }.to_bytes()
    }

    fn introduction(&self) -> Vec<u8> {
        ExtendedHandshake { metadata: 3, metadata_size: Some(40_000), ..ExtendedHandshake::default() }
            .to_bytes()
    }

    fn metadata(&self, piece: u32) -> Vec<u8> {
        let chunk = self.torrent.info.chunks(METADATA_PIECE as usize).nth(piece as usize);
        MetadataMessage::Data(piece, 40_000, chunk.unwrap_or_default()).to_bytes()
    }

    /// Does what the input says, once.
    fn step(&mut self, input: &mut Input<'_>) {
        let pick = input.byte();
        let conn = self.conns.keys().copied().nth(usize::from(pick) % self.conns.len().max(1));
        let block = |input: &mut Input<'_>| Block {
            piece: input.below(9) as u32,
            begin: input.below(3) as u32 * BLOCK + input.below(2) as u32,
            len: *input.choose(&[BLOCK, PIECE - BLOCK, 0, 1, BLOCK + 1, u32::MAX]),
        };
        match (input.below(16), conn) {
            (0, _) => {
                let address = SocketAddr::from(([20, 0, 0, pick % 16], 1000 + u16::from(input.byte())));
                if let Some(conn) = self.swarm.on_accepted(self.now, address) {
                    self.conns.insert(conn, Said::new());
                    let handshake = self.handshake(pick, input.byte() & 1 == 0);
                    self.says(conn, &handshake);
                }
            }
            (1, _) => match self.connecting.pop() {
                Some(address) if pick & 1 == 0 => self.swarm.on_connect_failed(self.now, address),
                Some(address) => {
                    if let Some(conn) = self.swarm.on_connected(self.now, address) {
                        self.conns.insert(conn, Said::new());
                    }
                }
                None => {
                    let address = SocketAddr::from(([20, 0, 1, pick], 6881));
                    self.swarm.add_peer(self.now, address, Origin::Tracker);
                }
            },
            (2, Some(conn)) => self.says(conn, input.counted()),
            (3, Some(conn)) => {
                let piece = input.below(9) as u32;
                let message = *input.choose(&[
                    Message::Choke,
                    Message::Unchoke,
                    Message::Interested,
                    Message::NotInterested,
                    Message::Have(piece),
                    Message::HaveAll,
                    Message::HaveNone,
                    Message::KeepAlive,
                    Message::Suggest(piece),
                    Message::AllowedFast(piece),
                ]);
                self.say(conn, &message);
            }
            (4, Some(conn)) => self.say(conn, &Message::Bitfield(&[input.byte()])),
            (5, Some(conn)) => {
                let block = block(input);
                let kind =
                    *input.choose(&[Message::Request(block), Message::Cancel(block), Message::Reject(block)]);
                self.say(conn, &kind);
            }
            (6 | 7, Some(conn)) => {
                // What was asked for, right or wrong.
                let Some(said) = self.conns.get_mut(&conn).filter(|said| !said.asked.is_empty()) else {
                    return;
                };
                let block = said.asked.remove(usize::from(pick) % said.asked.len());
                let start = self.torrent.pieces.range(block.piece).start + u64::from(block.begin);
                let mut bytes = bytes_at(start, block.len);
                if input.byte() & 3 == 0 {
                    bytes[0] ^= 1;
                }
                self.say(conn, &Message::Piece(block.piece, block.begin, &bytes));
            }
            (8, Some(conn)) => {
                let block = block(input);
                let bytes = vec![1; block.len.min(BLOCK) as usize];
                self.say(conn, &Message::Piece(block.piece, block.begin, &bytes));
            }
            (9, Some(conn)) => {
                let said = match input.byte() & 1 {
                    0 => self.introduction(),
                    _ => input.counted().to_vec(),
                };
                self.say(conn, &Message::Extended(0, &said));
            }
            (10, Some(conn)) => {
                let mut said = match input.below(4) {
                    0 => self.metadata(input.below(4) as u32),
                    1 => MetadataMessage::Request(input.below(5) as u32).to_bytes(),
                    2 => MetadataMessage::Reject(input.below(4) as u32).to_bytes(),
                    _ => input.counted().to_vec(),
                };
                if input.byte() & 15 == 1 {
                    let last = said.len().saturating_sub(1);
                    said.get_mut(last..).into_iter().flatten().for_each(|byte| *byte ^= 1);
                }
                self.say(conn, &Message::Extended(2, &said));
            }
            (11, Some(conn)) => {
                let added =
                    vec![SocketAddr::from(([30, 0, 0, pick], 6881)), SocketAddr::from(([127, 0, 0, 1], 1))];
                let peers = PeerExchange { added, dropped: Vec::new() };
                self.say(conn, &Message::Extended(1, &peers.to_bytes()));
            }
            (12, Some(conn)) => {
                self.conns.remove(&conn);
                self.swarm.on_closed(self.now, conn);
            }
            (13, Some(conn)) => {
                if let Some(said) = self.conns.get_mut(&conn) {
                    let gone = said.unsent.min(input.below(1 << 17) as usize);
                    said.unsent -= gone;
                    self.swarm.on_sent(conn, gone);
                }
            }
            (14, _) => {
                let start = input.below(LENGTH);
                let end = start + input.below(LENGTH);
                let order = *input.choose(&[Order::InOrder, Order::RarestFirst]);
                let parts = match end.min(LENGTH) {
                    end if end > start => vec![start..end, 0..start.min(1)],
                    _ => std::iter::once(0..LENGTH).collect(),
                };
                let parts = parts.into_iter().filter(|part| !part.is_empty()).collect();
                for piece in self.swarm.want(parts, order) {
                    self.store.forget(piece);
                }
                self.swarm.set_room(input.below(LENGTH));
                self.store.room = input.number();
            }
            _ => {
                let ms = *input.choose(&[1, 100, 300, 1000, 10_000, 30_000, 200_000]);
                self.pass(Duration::from_millis(ms));
                self.swarm.on_store();
            }
        }
    }

    /// An honest seed comes, and everything is wanted.
    fn finish(&mut self) {
        for conn in std::mem::take(&mut self.conns).into_keys() {
            self.swarm.on_closed(self.now, conn);
        }
        self.store.room = u64::MAX;
        for piece in self.swarm.want(std::iter::once(0..LENGTH).collect(), Order::RarestFirst) {
            self.store.forget(piece);
        }
        self.swarm.set_room(u64::MAX);
        self.turn();
        let seed = SocketAddr::from(([40, 0, 0, 1], 6881));
        let conn = self.swarm.on_accepted(self.now, seed).expect("there is a place");
        self.conns.insert(conn, Said::new());
        let mut hello = self.handshake(99, true).to_vec();
        Message::Extended(0, &self.introduction()).write(&mut hello);
        Message::HaveAll.write(&mut hello);
        Message::Unchoke.write(&mut hello);
        self.says(conn, &hello);
        let until = self.now + HONEST_TIME;
        while !self.swarm.is_complete() && self.now < until {
            self.turn();
            let Some(said) = self.conns.get_mut(&conn) else { break };
            let (asked, metadata) =
                (std::mem::take(&mut said.asked), std::mem::take(&mut said.metadata_asked));
            for piece in metadata {
                let data = self.metadata(piece);
                self.say(conn, &Message::Extended(2, &data));
            }
            for block in asked {
                let start = self.torrent.pieces.range(block.piece).start + u64::from(block.begin);
                self.say(conn, &Message::Piece(block.piece, block.begin, &bytes_at(start, block.len)));
            }
            self.turn();
            self.pass(Duration::from_millis(250));
        }
        self.turn();
        assert!(self.swarm.is_complete(), "an honest seed is of no use: {:?}", self.swarm.status(self.now));
    }
}

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    world.turn();
    while !input.is_empty() {
        world.step(&mut input);
        world.turn();
    }
    world.finish();
}
