//! Connections that begin and end.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_wire::peers::address::{canonical, host_of};
use cjp2p_wire::time::Time;

use super::member::Member;
use super::output::{ConnId, Event, Output, Reason};
use super::state::Swarm;
use crate::connection::{Broken, Connection};

/// A connection over which nobody wants anything makes place for another after so long.
const IDLE: Duration = Duration::from_secs(60);

impl Swarm {
    /// A connection that was asked for by [`Output::Connect`] is there. `None` where it is not wanted any more, and to be closed.
    pub fn on_connected(&mut self, now: Time, address: SocketAddr) -> Option<ConnId> {
        if self.bans.has(address) || !self.has_place_for(address) {
            self.known.on_over(now, address);
            return None;
        }
        self.known.on_connected(address).then(|| self.join(now, address, false))
    }

    /// A connection that was asked for by [`Output::Connect`] cannot be made.
    pub fn on_connect_failed(&mut self, now: Time, address: SocketAddr) {
        self.known.on_over(now, address);
    }

    /// A peer connected, and wants this torrent: all that it sent, its handshake included, follows by
    /// [`on_bytes`](Swarm::on_bytes). `None` where it is refused, and the connection to be closed.
    pub fn on_accepted(&mut self, now: Time, address: SocketAddr) -> Option<ConnId> {
        let address = canonical(address);
        if self.bans.has(address) {
            return None;
        }
        if self.members.len() >= self.config.max_connections {
            self.make_place(now);
        }
        self.has_place_for(address).then(|| self.join(now, address, true))
    }

    /// Closes the connection that has been of no use for longest, so that idle peers keep nobody out.
    fn make_place(&mut self, now: Time) {
        let is_idle = |member: &Member| {
            let connection = &member.connection;
            !connection.it_wants() && !connection.we_want() && now.since(member.joined_at) >= IDLE
        };
        let idle = self.members.iter().filter(|(_, member)| is_idle(member));
        if let Some((&id, _)) = idle.min_by_key(|(_, member)| member.joined_at) {
            self.close(now, id, None);
        }
    }

    /// The connection was closed by the peer, or failed.
    pub fn on_closed(&mut self, now: Time, id: ConnId) {
        self.forget(now, id);
    }

    fn has_place_for(&self, address: SocketAddr) -> bool {
        let host = host_of(address);
        self.members.len() < self.config.max_connections
            && self.members.values().filter(|member| member.host == host).count() < self.config.max_per_host
            && self.members.values().all(|member| member.connection.address() != address)
    }

    fn join(&mut self, now: Time, address: SocketAddr, is_incoming: bool) -> ConnId {
        let id = ConnId(self.next_id);
        self.next_id += 1;
        let pieces = self.fetching.as_ref().map(|fetching| fetching.torrent().pieces.count());
        let connection = Connection::new(now, address, self.introduction.clone(), pieces);
        self.members.insert(id, Member::new(now, connection, is_incoming));
        self.active.insert(id);
        id
    }

    /// Closes a connection, and says why where the peer is at fault.
    pub(super) fn close(&mut self, now: Time, id: ConnId, broken: Option<Broken>) {
        if let Some(member) = self.members.get(&id) {
            let address = member.connection.address();
            self.outputs.push_back(Output::Close(id));
            self.forget(now, id);
            if broken == Some(Broken::Ourselves) {
                self.known.forget(|known| known == address);
            }
        }
    }

    /// This host lied: it is not talked with any more, on any connection.
    pub(super) fn ban(&mut self, now: Time, address: SocketAddr, reason: Reason) {
        self.bans.add(address);
        self.outputs.push_back(Output::Event(Event::Banned(host_of(address), reason)));
        let is_banned =
            |id: &ConnId, member: &Member| self.bans.has(member.connection.address()).then_some(*id);
        let ids: Vec<ConnId> = self.members.iter().filter_map(|(id, member)| is_banned(id, member)).collect();
        for id in ids {
            self.close(now, id, None);
        }
        let bans = &self.bans;
        self.known.forget(|known| bans.has(known));
    }

    fn forget(&mut self, now: Time, id: ConnId) {
        let Some(mut member) = self.members.remove(&id) else { return };
        // What it was asked for may belong to nobody by now, as after a refusal.
        let lost = member.connection.asked_mut().take_all();
        self.active.remove(&id);
        self.metadata.on_refused(id);
        let connection = &member.connection;
        let address = connection.address();
        self.past.0 += connection.down().total();
        self.past.1 += connection.up().total();
        if let Some(fetching) = &mut self.fetching {
            if let Some(parts) = connection.parts().set().filter(|_| member.is_counted) {
                fetching.lost(parts, &mut self.random);
            }
            lost.into_iter().for_each(|block| fetching.give_back(address, block));
            fetching.leave(address);
        }
        if !member.is_incoming {
            self.known.on_over(now, address);
        }
        if self.members.values().all(|other| other.host != member.host) {
            self.upload_of_host.remove(&member.host);
        }
        if member.is_introduced {
            self.outputs.push_back(Output::Event(Event::Disconnected(id, address)));
        }
        if member.unchoked_at.is_some() {
            self.fill_slots(now);
        }
        // What it was to send may be asked of others.
        self.active
            .extend(self.members.iter().filter(|(_, other)| other.connection.may_ask()).map(|(id, _)| *id));
    }
}
