//! What the swarm does: it connects, asks, answers, and looks after its peers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::time::Time;

use super::bucket::Bucket;
use super::choking::{Candidate, ROUND};
use super::fetching::Path;
use super::member::{MAX_TOLD, Member};
use super::output::{ConnId, Output};
use super::state::Swarm;
use crate::piece_set::PieceSet;
use crate::pieces::BLOCK;
use crate::store::PieceStore;
use crate::wire::{MAX_PEX, METADATA_PIECE, MetadataMessage, PeerExchange};

/// All members are looked after so often.
const TICK: Duration = Duration::from_secs(1);
/// The same while blocks are under way: what is late passes to another.
const BUSY_TICK: Duration = Duration::from_millis(250);
/// While so much waits to be sent, no metadata follows.
const METADATA_WINDOW: usize = 32 << 10;
/// Metadata is sent to one peer so often.
const METADATA_COPIES: u64 = 4;
/// Peers are told of peers so often.
const TELLS_OF_PEERS: Duration = Duration::from_secs(60);

impl Swarm {
    /// So many bytes of what was to be sent have left.
    pub fn on_sent(&mut self, id: ConnId, bytes: usize) {
        if let Some(member) = self.members.get_mut(&id) {
            member.connection.on_sent(bytes);
            if !member.connection.demands().is_empty() || !member.metadata_demands.is_empty() {
                self.active.insert(id);
            }
        }
    }

    /// Bytes came for which the store had said [`Read::Later`](crate::store::Read::Later), or it takes more again.
    pub fn on_store(&mut self) {
        self.active.extend(self.members.keys());
    }

    /// The time of the last [`Output::Timeout`] has come.
    pub fn handle_timeout(&mut self, now: Time) {
        if now >= self.tick_at {
            self.tick(now);
        }
        if now >= self.haves_at {
            self.haves_at = Time::NEVER;
            self.active.extend(self.members.keys());
        }
        // What waited for a rate may go on.
        self.active.extend(self.members.iter().filter_map(|(&id, member)| {
            let connection = &member.connection;
            (connection.may_ask() || !connection.demands().is_empty()).then_some(id)
        }));
    }

    /// What to do next.
    pub fn poll_output(&mut self, now: Time, store: &mut impl PieceStore) -> Output {
        if self.outputs.is_empty() {
            self.connect(now);
            self.ask_for_metadata(now);
            self.ask(now, store.room());
            self.serve(now, store);
            self.flush(now);
        }
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.next_timeout(now)))
    }

    fn next_timeout(&self, now: Time) -> Time {
        let mut at = self.tick_at.min(self.haves_at);
        let connecting = self.known.connecting();
        // As in `connect`: otherwise time would stand still.
        if self.members.len() + connecting < self.config.max_connections
            && connecting < self.config.max_connecting
        {
            at = at.min(self.known.next_at());
        }
        let waits = |bucket: &Bucket| (!bucket.may(now)).then(|| bucket.next_at());
        let mut limits = self.upload_of_host.values().chain([&self.upload]).filter_map(waits).peekable();
        if limits.peek().is_some()
            && self.members.values().any(|member| !member.connection.demands().is_empty())
        {
            at = limits.fold(at, Time::min);
        }
        if let Some(limit) = waits(&self.download)
            && self.members.values().any(|member| member.connection.may_ask())
        {
            at = at.min(limit);
        }
        at.max(now)
    }

    fn connect(&mut self, now: Time) {
        let mut connecting = self.known.connecting();
        while connecting < self.config.max_connecting
            && self.members.len() + connecting < self.config.max_connections
            && let Some(address) = self.known.next(now)
        {
            if self.members.values().any(|member| member.place() == Some(address)) {
                // It connected to us.
                self.known.on_over(now, address);
                continue;
            }
            connecting += 1;
            self.outputs.push_back(Output::Connect(address));
        }
    }

    fn ask_for_metadata(&mut self, now: Time) {
        if self.fetching.is_some() {
            return;
        }
        if self.metadata.is_idle() {
            let mut offers = self.members.iter().filter_map(|(&id, member)| {
                let theirs = member.connection.theirs();
                (theirs.metadata != 0).then_some((id, theirs.metadata_size?))
            });
            // Those that were asked in vain are asked again from the next tick on.
            let Some((id, size)) = offers.find(|&(id, _)| !self.metadata.was_tried(id)) else { return };
            self.metadata.begin(now, id, size);
        }
        if let Some((id, pieces)) = self.metadata.next_asks()
            && let Some(member) = self.members.get_mut(&id)
        {
            for piece in pieces {
                member.connection.say_metadata(&MetadataMessage::Request(piece));
            }
            self.active.insert(id);
        }
    }

    /// Asks every active peer for as much as it should be asked for.
    fn ask(&mut self, now: Time, room: u64) {
        let Some(fetching) = &mut self.fetching else { return };
        if fetching.is_complete() {
            return;
        }
        let block = u64::from(BLOCK);
        let under_way: usize = self.members.values().map(|member| member.connection.asked().len()).sum();
        let mut left = (room / block).saturating_sub(under_way as u64) as usize;
        for id in &self.active {
            let Some(connection) = self.members.get_mut(id).map(|member| &mut member.connection) else {
                continue;
            };
            while connection.may_ask() && self.download.may(now) && left > 0 {
                let most = connection.asked().free().min(left);
                let Some(parts) = connection.parts().set().filter(|_| most > 0) else { break };
                let path = Path {
                    address: connection.address(),
                    parts,
                    rate: connection.down().rate(now),
                    round_trip: connection.asked().round_trip(),
                };
                let blocks = fetching.next_blocks(now, path, most);
                if blocks.is_empty() {
                    break;
                }
                left -= blocks.len().min(left);
                for block in blocks {
                    self.download.spend(now, u64::from(block.len));
                    connection.ask(now, block);
                }
            }
        }
    }

    /// Gives out what there is to send. Nobody is active any more then.
    fn flush(&mut self, now: Time) {
        let (info, have_all) = match &self.fetching {
            Some(fetching) => (fetching.torrent().info.clone(), fetching.is_complete()),
            None => (Default::default(), false),
        };
        let mut useless = Vec::new();
        while let Some(id) = self.active.pop_first() {
            let Some(member) = self.members.get_mut(&id) else { continue };
            while member.connection.unsent() < METADATA_WINDOW
                && let Some(piece) = member.metadata_demands.pop_front()
            {
                let start = piece as usize * METADATA_PIECE as usize;
                let data = info.get(start..).map(|rest| &rest[..rest.len().min(METADATA_PIECE as usize)]);
                let message = match data.filter(|data| !data.is_empty()) {
                    Some(data) if member.metadata_sent < METADATA_COPIES * info.len() as u64 => {
                        member.metadata_sent += data.len() as u64;
                        MetadataMessage::Data(piece, info.len() as u32, data)
                    }
                    _ => MetadataMessage::Reject(piece),
                };
                member.connection.say_metadata(&message);
            }
            if let Some(bytes) = member.connection.take_output(now) {
                self.outputs.push_back(Output::Send(id, bytes));
            }
            let connection = &member.connection;
            let is_idle = connection.demands().is_empty() && member.metadata_demands.is_empty();
            if have_all && connection.is_open() && connection.parts().is_seed() && is_idle {
                useless.push(id);
            }
        }
        for id in useless {
            if self.have().is_some_and(PieceSet::is_full) {
                // Two that have everything have nothing to say to each other.
                self.close(now, id, None);
            }
        }
    }

    fn tick(&mut self, now: Time) {
        let mut broken = Vec::new();
        for (&id, member) in &mut self.members {
            let connection = &mut member.connection;
            if connection.deadline() <= now
                && let Err(why) = connection.handle_timeout(now)
            {
                broken.push((id, why));
            }
            if connection.asked_mut().is_overdue(now) {
                let lost = connection.asked_mut().take_all();
                if let Some(fetching) = &mut self.fetching {
                    lost.into_iter().for_each(|block| fetching.give_back(connection.address(), block));
                    fetching.release(connection.address());
                }
            }
        }
        for (id, why) in broken {
            self.close(now, id, Some(why));
        }
        self.metadata.handle_timeout(now);
        if let Some(fetching) = &mut self.fetching {
            fetching.refresh(now, &mut self.random);
            for member in self.members.values_mut().filter(|member| member.connection.we_want()) {
                let parts = member.connection.parts().set();
                let wants = parts.is_some_and(|parts| parts.intersects(fetching.needed()));
                member.connection.want(wants);
            }
        } else if self.metadata.is_idle() {
            self.metadata.try_all_again();
        }
        if now >= self.round_at {
            self.round_at = now + ROUND;
            self.choke_round(now);
        }
        self.tell_of_peers(now);
        self.forget_gone_hosts(now);
        self.active.extend(self.members.keys());
        let is_busy = self.members.values().any(|member| !member.connection.asked().is_empty());
        self.tick_at = now + if is_busy { BUSY_TICK } else { TICK };
        #[cfg(debug_assertions)]
        self.check_invariants();
    }

    fn choke_round(&mut self, now: Time) {
        let fetches = !self.is_complete();
        let mut candidates = Vec::new();
        for (&id, member) in &mut self.members {
            let gave = member.connection.take_round();
            member.gave = member.gave / 2 + gave;
            if member.connection.it_wants() && !member.connection.parts().is_seed() {
                candidates.push(Candidate {
                    id,
                    host: member.host,
                    gave: if member.connection.asked().is_snubbing() { 0 } else { member.gave },
                    since: member.unchoked_at,
                    last: member.choked_at,
                });
            }
        }
        let slots = self.config.upload_slots;
        let chosen = self.choking.choose(now, candidates, slots, fetches, &mut self.random);
        for (id, member) in &mut self.members {
            let choke = !chosen.contains(id);
            member.choke(now, choke);
        }
    }

    fn tell_of_peers(&mut self, now: Time) {
        let is_due = |member: &Member| now >= member.tells_at && member.is_introduced;
        if !self.config.exchange_peers || self.is_private() || !self.members.values().any(is_due) {
            return;
        }
        let introduced = self.members.values().filter(|member| member.is_introduced);
        let places: BTreeSet<SocketAddr> = introduced.filter_map(Member::place).collect();
        for member in self.members.values_mut() {
            let takes = member.connection.theirs().peers != 0 && member.connection.unsent() < METADATA_WINDOW;
            if !takes || now < member.tells_at {
                continue;
            }
            member.tells_at = now + TELLS_OF_PEERS;
            let own = member.place();
            let new =
                places.iter().copied().filter(|place| Some(*place) != own && !member.told.contains(place));
            let dropped: Vec<_> = member.told.difference(&places).copied().take(MAX_PEX).collect();
            let left = (MAX_TOLD + dropped.len()).saturating_sub(member.told.len());
            let added: Vec<_> = new.take(MAX_PEX.min(left)).collect();
            if added.is_empty() && dropped.is_empty() {
                continue;
            }
            dropped.iter().for_each(|place| _ = member.told.remove(place));
            member.told.extend(added.iter().copied());
            member.connection.say_peers(&PeerExchange { added, dropped });
        }
    }
}
