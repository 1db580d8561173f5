//! The paths to all peers that may be asked for content, and how much is on its way from them together.

use std::net::{IpAddr, SocketAddr};

use super::peer_path::PeerPath;
use crate::node::by_address::ByAddress;
use crate::node::contacts::ports_of;
use crate::peers::places_by_host::PlacesByHost;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Paths {
    by_address: ByAddress<PeerPath>,
    // Invariant: the same by their hosts.
    places: PlacesByHost,
    // Invariant: the sum of what each counted last.
    in_flight: u64,
}

impl Paths {
    pub(super) fn get(&self, address: SocketAddr) -> Option<&PeerPath> {
        self.by_address.get(address)
    }

    pub(super) fn get_mut(&mut self, address: SocketAddr) -> Option<&mut PeerPath> {
        self.by_address.get_mut(address)
    }

    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.by_address.has(address)
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.by_address.addresses().collect()
    }

    /// How many there are by host.
    pub(super) fn places(&self) -> &PlacesByHost {
        &self.places
    }

    /// Those of one host.
    pub(super) fn of_host(&self, host: IpAddr) -> impl Iterator<Item = (SocketAddr, &PeerPath)> {
        self.by_address.range(ports_of(host))
    }

    /// Bytes on their way to us in all.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Bytes of content that came over the path to this address.
    pub(super) fn delivered(&self, address: SocketAddr) -> u64 {
        self.get(address).map_or(0, |path| path.path.congestion.delivered())
    }

    /// How many handles the peer has that has most.
    pub(super) fn most_handles(&self) -> usize {
        self.by_address.iter().map(|(_, path)| path.handles.len()).max().unwrap_or(0)
    }

    /// Opens one to an address that has none.
    pub(super) fn open(&mut self, address: SocketAddr) {
        self.by_address.insert(address, PeerPath::new());
        self.places.take(address);
    }

    /// Closes one, and returns it.
    pub(super) fn close(&mut self, address: SocketAddr) -> Option<PeerPath> {
        let path = self.by_address.remove(address)?;
        self.in_flight -= path.counted;
        self.places.leave(address);
        Some(path)
    }

    /// Counts anew what is on its way from `address`.
    pub(super) fn recount(&mut self, address: SocketAddr) {
        let Some(path) = self.by_address.get_mut(address) else { return };
        let in_flight = path.path.congestion.in_flight();
        let before = std::mem::replace(&mut path.counted, in_flight);
        self.in_flight = self.in_flight + in_flight - before;
    }
}
