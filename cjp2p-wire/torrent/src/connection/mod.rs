//! `Connection`: one peer of one torrent. Bytes and time in; bytes, events and a deadline out.
//!
//! It knows nothing of other peers, of pieces that are here, or of a socket. What it is told to ask for it asks for; what the
//! peer asks for waits in [`demands`](Connection::demands) until somebody answers.

mod asked;
mod demands;
mod events;
mod meter;
mod peer_parts;
mod receive;

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;

pub use asked::Asked;
pub use demands::{Demands, MAX_DEMANDS};
pub use events::{Broken, PeerEvent};
pub use meter::Meter;
pub use peer_parts::PeerParts;

use crate::info_hash::InfoHash;
use crate::peer_id::PeerId;
use crate::piece_set::PieceSet;
use crate::pieces::Block;
use crate::wire::{ExtendedHandshake, Frames, Handshake, Message, MetadataMessage, PeerExchange, most_bytes};

/// The number under which we take messages with peers.
const OUR_PEERS: u8 = 1;
/// The same of metadata.
const OUR_METADATA: u8 = 2;
/// A handshake is waited for so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Something is said at least so often.
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// A peer that says nothing for so long is gone.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(160);
/// While a peer is sent no blocks, so many bytes may wait for it, and a bitfield: one that reads nothing is none.
const MAX_UNSENT: usize = 64 << 10;

/// Pieces that are told one by one at a time: together less than [`MAX_UNSENT`].
const MAX_SINGLY: usize = 4000;

/// What both sides of every connection of one torrent are told.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Who we are.
    pub peer_id: PeerId,
    /// What else we say of ourselves.
    pub extended: ExtendedHandshake,
}

impl Introduction {
    /// What we say of ourselves: where others may connect, and which client we are.
    #[must_use]
    pub fn new(info_hash: InfoHash, peer_id: PeerId, client: &str, port: Option<u16>) -> Introduction {
        let extended = ExtendedHandshake {
            metadata: OUR_METADATA,
            peers: OUR_PEERS,
            metadata_size: None,
            port,
            requests: Some(MAX_DEMANDS as u32),
            client: client.to_string(),
        };
        Introduction { info_hash, peer_id, extended }
    }
}

/// How far it is.
#[derive(Debug)]
enum Phase {
    /// The first bytes of the peer's handshake.
    // Invariant: fewer than those of a handshake.
    Handshake(Vec<u8>),
    Open,
}

/// One peer.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    introduction: Introduction,
    phase: Phase,
    peer_id: Option<PeerId>,
    frames: Frames,
    /// What the peer said of itself.
    theirs: ExtendedHandshake,
    fast: bool,
    extended: bool,
    /// What the peer has.
    parts: PeerParts,
    /// What we asked for.
    asked: Asked,
    /// What the peer asked for.
    demands: Demands,
    we_choke: bool,
    we_want: bool,
    it_chokes: bool,
    it_wants: bool,
    /// The bitfield, or what stands for it, was sent.
    has_told: bool,
    out: Vec<u8>,
    /// Bytes that were handed out to be sent and have not left.
    unsent: usize,
    opened_at: Time,
    heard_at: Time,
    said_at: Time,
    /// What it sent us.
    down: Meter,
    /// What we sent it.
    up: Meter,
}

impl Connection {
    /// A connection that was just made, or just accepted: our handshake goes out at once. `pieces` is how many the torrent has, where
    /// that is known.
    #[must_use]
    pub fn new(
        now: Time,
        address: SocketAddr,
        introduction: Introduction,
        pieces: Option<u32>,
    ) -> Connection {
        let Introduction { info_hash, peer_id, .. } = introduction;
        let out = Handshake { info_hash, peer_id, extended: true, fast: true }.to_bytes().to_vec();
        Connection {
            address,
            introduction,
            phase: Phase::Handshake(Vec::new()),
            peer_id: None,
            frames: Frames::new(most_bytes(pieces.unwrap_or(0))),
            theirs: ExtendedHandshake::default(),
            fast: false,
            extended: false,
            parts: PeerParts::new(pieces),
            asked: Asked::new(),
            demands: Demands::default(),
            we_choke: true,
            we_want: false,
            it_chokes: true,
            it_wants: false,
            has_told: false,
            out,
            unsent: 0,
            opened_at: now,
            heard_at: now,
            said_at: now,
            down: Meter::new(now),
            up: Meter::new(now),
        }
    }

    /// Where the peer is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether both handshakes went over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// How the peer names itself, once it did.
    #[must_use]
    pub fn peer_id(&self) -> Option<PeerId> {
        self.peer_id
    }

    /// What the peer said of itself.
    #[must_use]
    pub fn theirs(&self) -> &ExtendedHandshake {
        &self.theirs
    }

    /// What the peer has.
    #[must_use]
    pub fn parts(&self) -> &PeerParts {
        &self.parts
    }

    /// What it sent us.
    #[must_use]
    pub fn down(&self) -> &Meter {
        &self.down
    }

    /// What we sent it.
    #[must_use]
    pub fn up(&self) -> &Meter {
        &self.up
    }

    /// What we asked it for.
    #[must_use]
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// The same, to change what is still expected.
    pub fn asked_mut(&mut self) -> &mut Asked {
        &mut self.asked
    }

    /// What it asks us for.
    #[must_use]
    pub fn demands(&self) -> &Demands {
        &self.demands
    }

    /// The same, to answer it.
    pub fn demands_mut(&mut self) -> &mut Demands {
        &mut self.demands
    }

    /// What the peer has, to take out what it does not give.
    pub fn parts_mut(&mut self) -> &mut PeerParts {
        &mut self.parts
    }

    /// Bytes of blocks that it sent us since this was last asked.
    pub fn take_round(&mut self) -> u64 {
        self.down.take_round()
    }

    /// Whether it may be asked for blocks.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        self.we_want && !self.it_chokes
    }

    /// Whether it would ask for blocks.
    #[must_use]
    pub fn it_wants(&self) -> bool {
        self.it_wants
    }

    /// Whether we send it no blocks.
    #[must_use]
    pub fn we_choke(&self) -> bool {
        self.we_choke
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.unsent + self.out.len()
    }

    /// How many pieces there are is known now.
    ///
    /// # Errors
    ///
    /// Where what it said before cannot be of so many pieces.
    pub fn set_pieces(&mut self, count: u32) -> Result<(), Broken> {
        self.frames.set_most(most_bytes(count));
        self.parts.set_count(count)
    }

    /// These bytes were taken to be sent, and so many of them have left.
    pub fn on_sent(&mut self, bytes: usize) {
        self.unsent = self.unsent.saturating_sub(bytes);
    }

    /// What to send now.
    pub fn take_output(&mut self, now: Time) -> Option<Vec<u8>> {
        if self.out.is_empty() {
            return None;
        }
        self.said_at = now;
        self.unsent += self.out.len();
        Some(std::mem::take(&mut self.out))
    }

    /// A block, its header before it, goes out beside what [`take_output`](Connection::take_output) gives.
    pub fn on_block_out(&mut self, now: Time, message: usize, block: Block) {
        self.said_at = now;
        self.unsent += message;
        self.up.add(now, u64::from(block.len));
    }

    /// When to call [`handle_timeout`](Connection::handle_timeout) at the latest.
    #[must_use]
    pub fn deadline(&self) -> Time {
        match self.phase {
            Phase::Handshake(_) => self.opened_at + HANDSHAKE_TIMEOUT,
            Phase::Open => (self.said_at + KEEP_ALIVE).min(self.heard_at + SILENCE_TIMEOUT),
        }
    }

    /// Keeps the connection alive.
    ///
    /// # Errors
    ///
    /// Where the peer is gone, or does not take what is sent.
    pub fn handle_timeout(&mut self, now: Time) -> Result<(), Broken> {
        let is_gone = match self.phase {
            Phase::Handshake(_) => now >= self.opened_at + HANDSHAKE_TIMEOUT,
            Phase::Open => now >= self.heard_at + SILENCE_TIMEOUT,
        };
        if is_gone {
            return Err(Broken::Silent);
        }
        if self.is_open() && now >= self.said_at + KEEP_ALIVE && self.unsent == 0 {
            self.say(&Message::KeepAlive);
        }
        self.check_unsent()
    }

    fn check_unsent(&self) -> Result<(), Broken> {
        let bitfield = self.parts.count().unwrap_or(0) as usize / 8;
        match self.we_choke && self.unsent() > MAX_UNSENT + bitfield {
            true => Err(Broken::ReadsNothing),
            false => Ok(()),
        }
    }
}

/// What we say.
impl Connection {
    fn say(&mut self, message: &Message<'_>) {
        message.write(&mut self.out);
    }

    /// Says what we have. `None` where it is not known how many pieces there are.
    pub fn tell(&mut self, have: Option<&PieceSet>, metadata_size: Option<u32>) {
        if self.extended {
            let extended = ExtendedHandshake { metadata_size, ..self.introduction.extended.clone() };
            self.say(&Message::Extended(0, &extended.to_bytes()));
        }
        self.tell_parts(have);
    }

    /// The same, where the metadata came later: not all clients take a bitfield then, so pieces are told one by one. Of very many only
    /// some: nobody is harmed by what it does not know.
    pub fn tell_parts(&mut self, have: Option<&PieceSet>) {
        let has_told = std::mem::replace(&mut self.has_told, true);
        match have {
            Some(have) if has_told => {
                have.iter().take(MAX_SINGLY).for_each(|piece| self.say(&Message::Have(piece)));
            }
            Some(have) if self.fast && have.is_full() => self.say(&Message::HaveAll),
            Some(have) if !have.is_empty() => self.say(&Message::Bitfield(have.as_bytes())),
            _ if self.fast && !has_told => self.say(&Message::HaveNone),
            _ => {}
        }
    }

    /// Says that we have this piece now.
    pub fn tell_piece(&mut self, piece: u32) {
        if self.is_open() {
            self.say(&Message::Have(piece));
        }
    }

    /// Says whether we would ask for blocks, where that has changed.
    pub fn want(&mut self, wants: bool) {
        if self.we_want != wants && self.is_open() {
            self.we_want = wants;
            self.say(if wants { &Message::Interested } else { &Message::NotInterested });
        }
    }

    /// Whether we said that we would ask for blocks.
    #[must_use]
    pub fn we_want(&self) -> bool {
        self.we_want
    }

    /// Asks for this block.
    pub fn ask(&mut self, now: Time, block: Block) {
        self.asked.push(now, block);
        self.say(&Message::Request(block));
    }

    /// Does not want this block any more. Returns whether it was expected.
    pub fn cancel(&mut self, block: Block) -> bool {
        let was_expected = self.asked.remove(block);
        if was_expected {
            self.say(&Message::Cancel(block));
        }
        was_expected
    }

    /// Lets it ask for blocks, or not any more: then what it asked for is refused.
    pub fn choke(&mut self, choke: bool) {
        if self.we_choke == choke || !self.is_open() {
            return;
        }
        self.we_choke = choke;
        self.say(if choke { &Message::Choke } else { &Message::Unchoke });
        if choke {
            for block in self.demands.take_all() {
                self.refuse(block);
            }
        }
    }

    /// Does not send it this block.
    pub fn refuse(&mut self, block: Block) {
        if self.fast {
            self.say(&Message::Reject(block));
        }
    }

    /// Says something about metadata, if it understands that. Returns whether it does.
    pub fn say_metadata(&mut self, message: &MetadataMessage<'_>) -> bool {
        let id = self.theirs.metadata;
        if id != 0 {
            self.say(&Message::Extended(id, &message.to_bytes()));
        }
        id != 0
    }

    /// Tells it of peers, if it understands that.
    pub fn say_peers(&mut self, peers: &PeerExchange) {
        if self.theirs.peers != 0 {
            self.say(&Message::Extended(self.theirs.peers, &peers.to_bytes()));
        }
    }
}
