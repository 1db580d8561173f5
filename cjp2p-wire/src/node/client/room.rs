//! Room for one more source: where all places are taken, one that is worth less gives up its own.

use std::net::SocketAddr;
use std::time::Duration;

use super::Client;
use super::places::{MAX_ASKED, MAX_UNVALIDATED};
use crate::node::shared::Shared;
use crate::store::JobId;
use crate::time::Time;

/// This long after it was last asked, such an address will not answer any more.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Client {
    /// Notes that this address asks us for what `job` downloads. Returns whether it may be a source for that.
    pub(super) fn admit_asker(&mut self, shared: &mut Shared, job: JobId, address: SocketAddr) -> bool {
        let (schedule, paths) = (&mut self.schedule, &self.paths);
        let Some(download) = self.downloads.get(job) else { return false };
        let put_off = &schedule.put_off;
        let is_there = |asker| download.knows(asker) || put_off.has(job, asker);
        let delivered = |asker| paths.delivered(asker);
        let (is_admitted, leaver) = schedule.askers.admit(job, address, is_there, delivered);
        if let Some(leaver) = leaver {
            self.leave(shared, job, leaver);
        }
        is_admitted
    }

    /// This address is no source of `job` any more; nor asked for anything, if it is none of another download.
    fn leave(&mut self, shared: &mut Shared, job: JobId, address: SocketAddr) {
        if let Some(download) = self.downloads.get_mut(job) {
            download.forget_source(address);
        }
        if !self.downloads.iter().any(|(_, download)| download.knows(address)) {
            self.close_path(shared, address);
        }
    }

    /// Whether one more address may be asked. Where all places are taken, the host that has most of them gives up the one that
    /// brought least.
    pub(super) fn has_room_to_ask(&mut self, shared: &mut Shared, address: SocketAddr) -> bool {
        if self.paths.len() < MAX_ASKED {
            return true;
        }
        let Some(host) = self.paths.places().gives_way_to(address) else { return false };
        let of_host =
            self.paths.of_host(host).map(|(address, path)| (path.path.congestion.delivered(), address));
        let Some((_, least)) = of_host.min_by_key(|(delivered, _)| *delivered) else { return false };
        self.close_path(shared, least);
        true
    }

    /// Gives up the path to an address. That it was tried stays known.
    pub(super) fn close_path(&mut self, shared: &mut Shared, address: SocketAddr) {
        for (_, download) in self.downloads.wake_all() {
            download.forget_source(address);
        }
        if let Some(path) = self.paths.close(address) {
            self.schedule.forget_path(path.looked_at, address);
        }
        if let Some(contact) = shared.contacts.get_mut(address) {
            contact.is_asked = false;
        }
    }

    /// Whether there is room for one more that is not validated; makes some where it can.
    pub(super) fn has_room_for_unvalidated(&mut self, shared: &mut Shared, now: Time) -> bool {
        let contacts = &shared.contacts;
        self.unvalidated
            .retain(|&address| contacts.get(address).is_some_and(|contact| contact.is_only_suggested()));
        if self.unvalidated.len() < MAX_UNVALIDATED {
            return true;
        }
        let is_spent = |&address: &SocketAddr| shared.probes.is_spent(now, address, TIMEOUT);
        let Some(spent) = self.unvalidated.iter().position(is_spent) else { return false };
        if let Some(address) = self.unvalidated.remove(spent) {
            self.close_path(shared, address);
        }
        true
    }
}
