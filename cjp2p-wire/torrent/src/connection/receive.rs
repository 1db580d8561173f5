//! What a peer says, taken in.

use cjp2p_wire::time::Time;

use super::events::{Broken, PeerEvent};
use super::{Connection, OUR_METADATA, OUR_PEERS, Phase};
use crate::piece_set::PieceSet;
use crate::pieces::{BLOCK, Block};
use crate::wire::{ExtendedHandshake, Handshake, Message, MetadataMessage, PeerExchange};

impl Connection {
    /// The next thing that it said, from what came before and from `input`, of which this takes what it uses. `None` where more must
    /// arrive.
    ///
    /// # Errors
    ///
    /// Where the connection is to be closed.
    pub fn next_event<'a, 'i: 'a>(
        &'a mut self,
        now: Time,
        input: &mut &'i [u8],
    ) -> Result<Option<PeerEvent<'a>>, Broken> {
        self.check_unsent()?;
        if !input.is_empty() {
            self.heard_at = now;
        }
        if let Phase::Handshake(partial) = &mut self.phase {
            let count = (Handshake::LEN - partial.len()).min(input.len());
            partial.extend_from_slice(&input[..count]);
            *input = &input[count..];
            let Some(theirs) = Handshake::read(partial)? else { return Ok(None) };
            if theirs.info_hash != self.introduction.info_hash {
                return Err(Broken::OtherTorrent);
            }
            if theirs.peer_id == self.introduction.peer_id {
                return Err(Broken::Ourselves);
            }
            self.peer_id = Some(theirs.peer_id);
            (self.fast, self.extended) = (theirs.fast, theirs.extended);
            self.phase = Phase::Open;
            return Ok(Some(PeerEvent::Ready));
        }
        let expects_blocks = !self.asked.is_empty();
        let Some(message) = self.frames.next(input, expects_blocks)? else { return Ok(None) };
        let said = |is_news, event| if is_news { event } else { PeerEvent::Nothing };
        let has = |before: Option<PieceSet>| before.map_or(PeerEvent::Nothing, PeerEvent::Has);
        let event = match message {
            Message::Piece(piece, begin, data) => {
                let block = Block { piece, begin, len: data.len() as u32 };
                let was_expected = self.asked.on_block(now, block);
                if was_expected {
                    self.down.add(now, u64::from(block.len));
                }
                said(was_expected, PeerEvent::Block(block, data))
            }
            // Extensions are not what BEP 3 makes them of: some clients write them in ways of their own. What cannot be read was
            // not said.
            Message::Extended(0, payload) => match ExtendedHandshake::read(payload) {
                Ok(theirs) => {
                    self.theirs = theirs;
                    self.asked.set_most(self.theirs.requests);
                    PeerEvent::Introduced
                }
                Err(_) => PeerEvent::Nothing,
            },
            Message::Extended(OUR_METADATA, payload) => match MetadataMessage::read(payload) {
                Ok(Some(message)) => PeerEvent::Metadata(message),
                Ok(None) | Err(_) => PeerEvent::Nothing,
            },
            Message::Extended(OUR_PEERS, payload) => {
                PeerExchange::read(payload).map_or(PeerEvent::Nothing, PeerEvent::Peers)
            }
            Message::Bitfield(bits) => has(self.parts.on_bitfield(bits)?),
            Message::HaveAll => has(self.parts.on_all()),
            Message::Have(piece) => said(self.parts.on_have(piece)?, PeerEvent::Gained(piece)),
            Message::Choke => {
                self.it_chokes = true;
                // With the fast extension each block is answered or refused nevertheless.
                PeerEvent::Choked(if self.fast { Vec::new() } else { self.asked.take_all() })
            }
            Message::Unchoke => {
                self.it_chokes = false;
                PeerEvent::Unchoked
            }
            Message::Interested | Message::NotInterested => {
                self.it_wants = message == Message::Interested;
                PeerEvent::Interest
            }
            Message::Request(block) => {
                if block.len > BLOCK || self.parts.count().is_some_and(|count| block.piece >= count) {
                    return Err(Broken::NoSuchPiece);
                }
                let is_taken = !self.we_choke && self.demands.push(now, block);
                if !is_taken && self.fast {
                    Message::Reject(block).write(&mut self.out);
                }
                said(is_taken, PeerEvent::Demand)
            }
            Message::Cancel(block) => {
                if self.demands.remove(block) && self.fast {
                    Message::Reject(block).write(&mut self.out);
                }
                PeerEvent::Nothing
            }
            Message::Reject(block) => said(self.asked.remove(block), PeerEvent::Rejected(block)),
            Message::KeepAlive
            | Message::HaveNone
            | Message::Port(_)
            | Message::Suggest(_)
            | Message::AllowedFast(_)
            | Message::Extended(..)
            | Message::Unknown(_) => PeerEvent::Nothing,
        };
        Ok(Some(event))
    }
}
