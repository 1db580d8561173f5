//! Connections that begin and end.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cjp2p_wire::peers::address::{canonical, host_of};
use cjp2p_wire::time::Time;

use super::member::Member;
use super::output::{ConnId, Event, Output, Reason};
use super::state::Swarm;
use crate::connection::{Broken, Connection};

/// A connection over which nobody wants anything makes place for another after so long.
const IDLE: Duration = Duration::from_secs(60);
/// Hosts that are gone and were sent so much that they would have to wait are remembered, so many of them, lest they have a new budget
/// when they come again. With more of them, those go first that would wait least.
const MAX_GONE_HOSTS: usize = 1_000;

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

    /// Forgets what hosts that are gone were sent, where that makes no difference any more, or there are too many.
    pub(super) fn forget_gone_hosts(&mut self, now: Time) {
        if self.upload_of_host.is_empty() {
            return;
        }
        let here: BTreeSet<IpAddr> = self.members.values().map(|member| member.host).collect();
        self.upload_of_host.retain(|host, bucket| here.contains(host) || bucket.owes(now));
        let gone = self.upload_of_host.iter().filter(|(host, _)| !here.contains(host));
        let mut gone: Vec<(Time, IpAddr)> = gone.map(|(host, bucket)| (bucket.next_at(), *host)).collect();
        if let Some(excess) = gone.len().checked_sub(MAX_GONE_HOSTS) {
            gone.sort_unstable();
            for (_, host) in &gone[..excess] {
                self.upload_of_host.remove(host);
            }
        }
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
        self.forget_gone_hosts(now);
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::num::NonZeroU64;

    use super::*;
    use crate::info_hash::InfoHash;
    use crate::peer_id::PeerId;
    use crate::swarm::bucket::Bucket;
    use crate::swarm::config::Config;

    #[test]
    fn of_hosts_that_are_gone_few_are_remembered_and_none_that_has_waited() {
        let now = Time::from_millis(1_000_000);
        let peer_id = PeerId::random(&mut fastrand::Rng::with_seed(1));
        let mut swarm = Swarm::from_magnet(now, InfoHash::from_bytes([7; 20]), Config::new(peer_id, 1));
        let host = |n: u32| IpAddr::from(Ipv4Addr::from_bits(0x0100_0000 + n));
        for n in 0..3 * MAX_GONE_HOSTS as u32 {
            let mut bucket = Bucket::new(NonZeroU64::new(1_000));
            bucket.spend(now, 1_000 * u64::from(n + 1));
            swarm.upload_of_host.insert(host(n), bucket);
        }
        swarm.forget_gone_hosts(now);
        let most = 2 * MAX_GONE_HOSTS as u32..3 * MAX_GONE_HOSTS as u32;
        assert!(swarm.upload_of_host.keys().copied().eq(most.map(host)), "those that would wait longest");
        swarm.forget_gone_hosts(now + Duration::from_secs(2_500));
        assert_eq!(swarm.upload_of_host.len(), MAX_GONE_HOSTS / 2);
        swarm.forget_gone_hosts(now + Duration::from_secs(3_001));
        assert!(swarm.upload_of_host.is_empty());
    }
}
