//! What peers say, and what it means for the swarm.

use std::time::Duration;

use cjp2p_wire::time::Time;

use super::fetching::{Checked, Fetching};
use super::member::MAX_METADATA_DEMANDS;
use super::metadata::Progress;
use super::output::{ConnId, Event, Output, Reason};
use super::state::Swarm;
use crate::connection::{Broken, PeerEvent};
use crate::piece_set::PieceSet;
use crate::pieces::Block;
use crate::public::Origin;
use crate::store::PieceStore;
use crate::wire::{MetadataMessage, PeerExchange};

/// A peer tells us of peers so often at the most; clients do each minute.
const HEARS_OF_PEERS: Duration = Duration::from_secs(40);

/// What we have is told so much later at the most: many pieces go together.
const HAVES_TOGETHER: Duration = Duration::from_millis(50);

impl Swarm {
    /// These bytes came.
    pub fn on_bytes(&mut self, now: Time, id: ConnId, bytes: &[u8], store: &mut impl PieceStore) {
        let mut input = bytes;
        loop {
            let Some(member) = self.members.get_mut(&id) else { return };
            self.active.insert(id);
            let address = member.connection.address();
            match member.connection.next_event(now, &mut input) {
                Ok(Some(PeerEvent::Block(block, data))) => {
                    let Some(fetching) = &mut self.fetching else { continue };
                    let taken = fetching.on_block(address, block);
                    if taken.is_new {
                        store.write_block(block.piece, block.begin, data);
                        self.known.on_useful(address);
                    }
                    if taken.is_full {
                        store.check(block.piece);
                    }
                    if taken.is_doubled {
                        self.cancel_elsewhere(id, block);
                    }
                }
                Ok(Some(PeerEvent::Metadata(MetadataMessage::Data(piece, _, data)))) => {
                    let progress = self.metadata.on_data(now, id, piece, data);
                    self.on_metadata(now, id, progress);
                }
                Ok(Some(PeerEvent::Metadata(MetadataMessage::Request(piece)))) => {
                    match member.metadata_demands.len() < MAX_METADATA_DEMANDS {
                        true => member.metadata_demands.push_back(piece),
                        false => _ = member.connection.say_metadata(&MetadataMessage::Reject(piece)),
                    }
                }
                Ok(Some(PeerEvent::Metadata(MetadataMessage::Reject(_)))) => self.metadata.on_refused(id),
                Ok(Some(
                    PeerEvent::Nothing | PeerEvent::Introduced | PeerEvent::Demand | PeerEvent::Unchoked,
                )) => {}
                Ok(Some(PeerEvent::Ready)) => self.on_ready(now, id),
                Ok(Some(PeerEvent::Has(before))) => self.on_has(id, Some(&before)),
                Ok(Some(PeerEvent::Gained(piece))) => self.on_gained(id, piece),
                Ok(Some(PeerEvent::Interest)) => self.on_interest(now, id),
                Ok(Some(PeerEvent::Choked(lost))) => {
                    if let Some(fetching) = &mut self.fetching {
                        lost.into_iter().for_each(|block| fetching.give_back(address, block));
                    }
                    self.others_may_ask();
                }
                Ok(Some(PeerEvent::Rejected(block))) => self.on_rejected(id, block),
                Ok(Some(PeerEvent::Peers(peers))) => self.on_peers(now, id, peers),
                Ok(None) => return,
                Err(broken) => return self.on_broken(now, id, broken),
            }
        }
    }

    /// The store has hashed this piece.
    pub fn on_checked(&mut self, now: Time, piece: u32, is_right: bool) {
        let Some(fetching) = &mut self.fetching else { return };
        match fetching.on_checked(piece, is_right) {
            Checked::Unexpected => {}
            Checked::Done => {
                // One that has everything does not care.
                let leechers =
                    self.members.values_mut().filter(|member| !member.connection.parts().is_seed());
                leechers.for_each(|member| member.connection.tell_piece(piece));
                self.haves_at = self.haves_at.min(now + HAVES_TOGETHER);
                self.outputs.push_back(Output::Event(Event::PieceDone(piece)));
                self.note_complete();
            }
            Checked::Wrong(blamed) => {
                self.outputs.push_back(Output::Event(Event::PieceWrong(piece)));
                if let Some(address) = blamed {
                    self.ban(now, address, Reason::WrongPiece(piece));
                }
                self.others_may_ask();
            }
        }
    }

    fn on_ready(&mut self, now: Time, id: ConnId) {
        let Some(member) = self.members.get(&id) else { return };
        let theirs = member.connection.peer_id();
        let twin = self.members.iter().find(|&(&other, twin)| {
            other != id
                && twin.host == member.host
                && twin.is_introduced
                && twin.connection.peer_id() == theirs
        });
        if let Some((&twin, other)) = twin {
            // Both sides close the same one: the greater name keeps the connection that it made.
            let ours_is_greater = Some(self.introduction.peer_id) > theirs;
            let is_kept = other.is_incoming != member.is_incoming && member.is_incoming != ours_is_greater;
            self.close(now, if is_kept { twin } else { id }, None);
            if !is_kept {
                return;
            }
        }
        let Some(member) = self.members.get_mut(&id) else { return };
        member.is_introduced = true;
        let fetching = self.fetching.as_ref();
        let size = fetching.map(|fetching| fetching.torrent().info.len() as u32).filter(|&size| size > 0);
        member.connection.tell(fetching.map(Fetching::have), size);
        let address = member.connection.address();
        let client = theirs.map_or_else(String::new, |id| id.to_string());
        self.outputs.push_back(Output::Event(Event::Connected(id, address, client)));
    }

    /// It is known what this peer has; before it had these.
    pub(super) fn on_has(&mut self, id: ConnId, before: Option<&PieceSet>) {
        let (Some(member), Some(fetching)) = (self.members.get_mut(&id), &mut self.fetching) else { return };
        let connection = &mut member.connection;
        let Some(parts) = connection.parts().set() else { return };
        if let Some(before) = before.filter(|_| member.is_counted) {
            fetching.lost(before, &mut self.random);
        }
        member.is_counted = !parts.is_full();
        if member.is_counted {
            parts.runs().for_each(|run| fetching.gained(run, &mut self.random));
        }
        fetching.on_more(connection.address());
        let wants = parts.intersects(fetching.needed());
        connection.want(wants);
        self.active.insert(id);
    }

    fn on_gained(&mut self, id: ConnId, piece: u32) {
        let (Some(member), Some(fetching)) = (self.members.get_mut(&id), &mut self.fetching) else { return };
        let Some(parts) = member.connection.parts().set() else { return };
        if !parts.is_full() {
            fetching.gained(piece..piece + 1, &mut self.random);
            member.is_counted = true;
        } else if std::mem::take(&mut member.is_counted) {
            let mut before = parts.clone();
            before.remove(piece);
            fetching.lost(&before, &mut self.random);
        }
        if fetching.needed().contains(piece) {
            fetching.on_more(member.connection.address());
            member.connection.want(true);
        }
    }

    /// Somebody would ask for blocks, or not any more: while there is a slot, that is not put off until the next round.
    fn on_interest(&mut self, now: Time, id: ConnId) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if !member.connection.it_wants() {
            member.choke(now, true);
        }
        self.fill_slots(now);
    }

    /// With the fast extension this is how a choke goes on; or it does not have the piece after all.
    fn on_rejected(&mut self, id: ConnId, block: Block) {
        let (Some(member), Some(fetching)) = (self.members.get_mut(&id), &mut self.fetching) else { return };
        let connection = &mut member.connection;
        if connection.may_ask() {
            if member.is_counted
                && let Some(parts) = connection.parts().set()
            {
                fetching.lost(parts, &mut self.random);
            }
            connection.parts_mut().lost(block.piece);
            if let Some(parts) = connection.parts().set() {
                parts.runs().for_each(|run| fetching.gained(run, &mut self.random));
                member.is_counted = true;
            }
        }
        fetching.give_back(connection.address(), block);
        self.others_may_ask();
    }

    fn on_metadata(&mut self, now: Time, id: ConnId, progress: Progress) {
        match progress {
            Progress::More => {}
            Progress::Right(info) if self.fetching.is_none() => {
                self.outputs.push_back(Output::Event(Event::Metadata(info)));
            }
            Progress::Right(_) => {}
            Progress::Wrong => {
                if let Some(member) = self.members.get(&id) {
                    let address = member.connection.address();
                    self.ban(now, address, Reason::WrongMetadata);
                }
            }
        }
    }

    fn on_peers(&mut self, now: Time, id: ConnId, peers: PeerExchange) {
        let may = self.config.exchange_peers && !self.is_private();
        let Some(member) = self.members.get_mut(&id).filter(|member| may && now >= member.heard_of_at) else {
            return;
        };
        member.heard_of_at = now + HEARS_OF_PEERS;
        for address in peers.added {
            self.add_peer(now, address, Origin::Pex);
        }
    }

    fn on_broken(&mut self, now: Time, id: ConnId, broken: Broken) {
        let Some(member) = self.members.get(&id) else { return };
        let address = member.connection.address();
        match broken.is_fault() && member.is_introduced {
            true => self.ban(now, address, Reason::BrokeProtocol),
            false => self.close(now, id, Some(broken)),
        }
    }

    /// A block came: those that were asked for it too need not send it.
    fn cancel_elsewhere(&mut self, from: ConnId, block: Block) {
        for (id, member) in &mut self.members {
            if *id != from && member.connection.asked().contains(block) {
                member.connection.cancel(block);
                self.active.insert(*id);
            }
        }
    }

    /// There may be something to ask for again.
    pub(super) fn others_may_ask(&mut self) {
        let may_ask = self.members.iter().filter(|(_, member)| member.connection.may_ask());
        self.active.extend(may_ask.map(|(id, _)| *id));
    }
}
