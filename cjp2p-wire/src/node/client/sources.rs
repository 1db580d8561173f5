//! Adding peers that may have what is downloaded.

use std::net::SocketAddr;

use super::Client;
use crate::content_id::ContentId;
use crate::message::Message;
use crate::node::contacts::Contact;
use crate::node::event::Event;
use crate::node::inbound::Inbound;
use crate::node::lengths::{Framing, MAX_BLOCK};
use crate::node::shared::Shared;
use crate::store::JobId;
use crate::time::Time;

use super::width::LEAST_DATAGRAM;

/// A route that carries such long packets counts as local, like loopback. Few others do.
const LEAST_LOCAL_MTU: usize = 32 << 10;

impl Client {
    /// Asks nobody for what `job` downloads but the sources that [`Client::add_named_source`] adds, and takes nothing of it from others.
    pub(crate) fn limit_sources(&mut self, job: JobId) {
        if let Some(download) = self.downloads.get_mut(job) {
            download.limit_sources();
        }
    }

    /// Adds a peer that the user named as a source of `job`, also where others may not be one.
    pub(crate) fn add_named_source(
        &mut self,
        shared: &mut Shared,
        now: Time,
        job: JobId,
        address: SocketAddr,
    ) {
        if let Some(download) = self.downloads.get_mut(job) {
            download.admit(address);
        }
        self.open_source(shared, now, job, address, false);
    }

    /// See [`Node::rely_on`](crate::node::Node::rely_on).
    pub(crate) fn rely_on(&mut self, job: JobId, address: SocketAddr, named: bool) {
        if let Some(download) = self.downloads.get_mut(job) {
            download.rely_on(address, named);
        }
    }

    /// The validated sources of `job` that send some of it: at most `most`, those first that sent us most.
    pub(crate) fn validated_sources(&self, shared: &Shared, job: JobId, most: usize) -> Vec<SocketAddr> {
        let Some(download) = self.downloads.get(job) else { return Vec::new() };
        let delivered = |address: SocketAddr| {
            shared.contacts.get(address).filter(|contact| contact.is_validated() && !contact.is_shunned())?;
            Some((self.paths.get(address)?.path.congestion.delivered(), address))
        };
        let mut sources: Vec<(u64, SocketAddr)> = download.serving().filter_map(delivered).collect();
        sources.sort_by_key(|&(bytes, address)| (std::cmp::Reverse(bytes), address));
        sources.into_iter().take(most).map(|(_, address)| address).collect()
    }

    /// Adds a source of `job`, now or when its turn comes. `suggested`: nobody vouches for its address.
    pub(crate) fn open_source(
        &mut self,
        shared: &mut Shared,
        now: Time,
        job: JobId,
        address: SocketAddr,
        suggested: bool,
    ) {
        let Some(download) = self.downloads.get(job) else { return };
        if download.knows(address) {
            return;
        }
        // One of a host with few places need not wait for those of a host that has many.
        if download.has_many_sources() && self.paths.places().gives_way_to(address).is_none() {
            self.schedule.put_off.add(job, address, suggested);
        } else {
            self.open_source_now(shared, now, job, address, suggested);
        }
    }

    /// Adds a source of `job` that is taken for having the content, of this length, where it is validated and takes many requests in a
    /// datagram. Any other is asked first whether it has it.
    pub(crate) fn add_holder(
        &mut self,
        shared: &mut Shared,
        now: Time,
        job: JobId,
        address: SocketAddr,
        length: u64,
    ) {
        if let Some(download) = self.downloads.get_mut(job) {
            download.admit(address);
        }
        self.open_source(shared, now, job, address, false);
        self.rely_on(job, address, false);
        let knows_us = |contact: &Contact| {
            contact.is_validated()
                && contact.blocks > 1
                && !contact.is_shunned()
                && !contact.is_only_suggested()
        };
        let is_there = self.paths.get(address).is_some_and(|path| !path.path.is_gone());
        if is_there
            && shared.contacts.get(address).is_some_and(knows_us)
            && let Some(download) = self.downloads.get_mut(job)
        {
            download.presume(now, address, length);
        }
    }

    /// Lets a download rest that only waits for its turn to be asked for.
    pub(crate) fn rest_fresh(&mut self, now: Time, job: JobId) {
        self.downloads.rest_fresh(now, job);
    }

    /// Adds a source of `job`, where there is room and nothing speaks against it.
    pub(crate) fn open_source_now(
        &mut self,
        shared: &mut Shared,
        now: Time,
        job: JobId,
        address: SocketAddr,
        suggested: bool,
    ) {
        let is_new = !self.paths.has(address);
        if self.downloads.get(job).is_none_or(|download| !download.admits(address)) {
            return;
        }
        if is_new && suggested && !self.has_room_for_unvalidated(shared, now) {
            return;
        }
        if self.downloads.get(job).is_none_or(|download| download.knows(address)) || shared.is_own(address) {
            return;
        }
        let is_spent = suggested && shared.probes.has_had_all(address);
        let is_validated = shared.contacts.get(address).is_some_and(Contact::is_validated);
        let is_shunned = shared.contacts.get(address).is_some_and(Contact::is_shunned);
        if is_shunned || (is_spent && !is_validated) || (is_new && !self.has_room_to_ask(shared, address)) {
            return;
        }
        let Some(download) = self.downloads.get_mut(job) else { return };
        let contact = shared.contacts.entry(now, address);
        if !suggested {
            contact.suggested = false;
        }
        download.add_source(now, address, suggested);
        if is_new {
            contact.is_asked = true;
            contact.suggested = suggested && !contact.is_validated();
            if contact.suggested {
                self.unvalidated.push_back(address);
            }
            self.paths.open(address);
            shared.outbox.report(Event::PathOpened(address));
        }
    }

    /// A validated source asks for what is downloaded here: it may have some of it, now or later.
    pub(crate) fn on_leecher(&mut self, shared: &mut Shared, now: Time, from: SocketAddr, id: &ContentId) {
        let Some(job) = self.downloads.job_of(id) else { return };
        let Some(download) = self.downloads.get(job).filter(|download| !download.is_over()) else { return };
        let knows_its_cookie =
            shared.contacts.get(from).is_some_and(|contact| contact.cookies.theirs.is_some());
        if !download.knows(from) {
            if !self.admit_asker(shared, job, from) {
                return;
            }
            self.open_source(shared, now, job, from, !knows_its_cookie);
        }
        if let Some(download) = self.downloads.get_mut(job)
            && knows_its_cookie
        {
            download.on_leecher(now, from);
        }
    }

    /// A validated peer says what it has.
    pub(super) fn take_content_told(&mut self, shared: &mut Shared, now: Time, inbound: &Inbound<'_>) {
        for message in inbound.told() {
            let Message::IHaveThisContent(ids) = message else { continue };
            for id in ids.iter().filter_map(|id| ContentId::parse(id).ok()) {
                if let Some(job) = self.downloads.job_of(&id) {
                    self.open_source(shared, now, job, inbound.from, false);
                }
            }
        }
    }

    /// Says what the route to a peer carries in one IP packet, in bytes.
    pub(crate) fn set_path_mtu(&mut self, now: Time, address: SocketAddr, mtu: usize) {
        let headers = if address.is_ipv6() { 48 } else { 28 };
        if let Some(path) = self.paths.get_mut(address) {
            path.path.congestion.set_local(mtu >= LEAST_LOCAL_MTU);
            let room = mtu.saturating_sub(headers).clamp(LEAST_DATAGRAM, 65_507);
            path.width.set_route(room);
            path.path.congestion.set_block(room.min(Framing::Json.answer_length(MAX_BLOCK) as usize) as u64);
            self.reschedule(now, address);
        }
    }
}
