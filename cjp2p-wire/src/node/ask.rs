//! Asking: requests for what fetches want, each path as much as it takes.

use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

use super::contact::Contact;
use super::peer_path::{Flight, PeerPath};
use super::serving::{MAX_ANSWER, MAX_BLOCKS};
use super::suggestions::{Promise, Suggestion};
use super::width::LEAST_DATAGRAM;
use super::{Event, Job, Node, ORDINARY_DATAGRAM, Transmit};
use crate::content_id::ContentId;
use crate::datagram::{Encoder, content_that_fits};
use crate::download::{Ask, PathTerms, Space};
use crate::message::{ContentRequest, MAX_NUMBER};
use crate::node::turns::BLOCK_COST;
use crate::peers::cookie::COOKIE_LEN;
use crate::store::{JobId, Store};
use crate::time::Time;

/// The largest block asked for: what today's nodes cut an answer to.
pub(crate) const MAX_BLOCK: u64 = MAX_ANSWER as u64;
/// A route that carries such long packets counts as local, like loopback. Few others do.
const LEAST_LOCAL_MTU: usize = 32 << 10;
/// A first question to a peer that the user named is padded to this size at the most, so that the answer may be useful.
pub(crate) const MAX_PROBE: usize = 1200;
/// Bytes that a peer's first answers also hold: a request to return its cookie, and what it can do.
const INTRODUCTION: usize = 130;
/// Blocks asked for in one request where the path is not short.
const MAX_BLOCKS_FAR: u64 = 16;
/// No request for a part of content named by a hash is longer, in bytes; with a question for other ids beside it.
const MAX_REQUEST: usize = 330;
/// The length of a message that names two ids of the same content, about.
const HINT_LEN: usize = 190;
/// After so many bytes of answers a peer that has not introduced itself will not any more.
const ACQUAINTED: u64 = 64 << 10;
/// The question for peers.
const PLEASE_SEND_PEERS: &str = "PleaseSendPeers";
/// No block is shorter, but for the last: what is around it would be much longer.
const LEAST_BLOCK: u64 = 240;
/// The longest first question to a peer that only another peer named.
pub(crate) const MAX_SUGGESTED_PROBE: usize = 256;

impl Node {
    /// Adds a peer that may have what `job` fetches. `suggested`: nobody vouches for the address, so it is asked
    /// when its turn comes among others of that kind, and sparingly.
    pub fn add_source(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: bool) {
        self.enter(now);
        if suggested {
            let (promise, near) = (Promise::Content, Duration::ZERO);
            self.suggestions.add(Suggestion { job, address, by: None, promise, near });
            self.follow_suggestions(now);
        } else {
            self.open_source(now, job, address, false);
        }
    }

    /// Goes by what this peer says of no longer having what `job` fetches, though it may not have given any of it now. `named`: by
    /// the user. Otherwise an interrupted fetch had some from it.
    pub fn rely_on(&mut self, job: JobId, address: SocketAddr, named: bool) {
        if let Some(state) = self.fetches.get_mut(&job) {
            state.fetch.rely_on(address, named);
        }
    }

    /// Who sends some of what `job` fetches, and proved to be there: at most `most`, those first that sent us most.
    pub fn proven_sources(&self, job: JobId, most: usize) -> Vec<SocketAddr> {
        let Some(state) = self.fetches.get(&job) else { return Vec::new() };
        let delivered = |address: SocketAddr| {
            let contact = self.contacts.get(address).filter(|c| c.is_validated() && !c.is_shunned())?;
            Some((contact.path.as_ref()?.path.congestion.delivered(), address))
        };
        let mut sources: Vec<(u64, SocketAddr)> = state.fetch.serving().filter_map(delivered).collect();
        sources.sort_by_key(|&(bytes, address)| (std::cmp::Reverse(bytes), address));
        sources.into_iter().take(most).map(|(_, address)| address).collect()
    }

    pub(super) fn open_source(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: bool) {
        let Some(state) = self.fetches.get(&job) else { return };
        if state.fetch.knows(address) {
            return;
        }
        // One of a host with few places need not wait for those of a host that has many.
        if state.fetch.has_many_sources() && self.asked_places.gives_way_to(address).is_none() {
            self.schedule.put_off.add(job, address, suggested);
        } else {
            self.open_source_now(now, job, address, suggested);
        }
    }

    pub(super) fn open_source_now(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: bool) {
        let is_new = !self.asked.contains(&address);
        if self.fetches.get(&job).is_none_or(|job| !job.fetch.admits(address)) {
            return;
        }
        if is_new && suggested && !self.has_room_for_unvalidated(now) {
            return;
        }
        if self.fetches.get(&job).is_none_or(|job| job.fetch.knows(address)) || self.lan.is_own(address) {
            return;
        }
        let is_spent = suggested && self.probes.has_had_all(address);
        let is_validated = self.contacts.get(address).is_some_and(Contact::is_validated);
        let is_shunned = self.contacts.get(address).is_some_and(Contact::is_shunned);
        if is_shunned || (is_spent && !is_validated) || (is_new && !self.has_room_to_ask(address)) {
            return;
        }
        let Some(job) = self.fetches.get_mut(&job) else { return };
        let contact = self.contacts.entry(now, address);
        if !suggested {
            contact.suggested = false;
        }
        job.fetch.add_source(now, address, suggested);
        if contact.path.is_none() {
            contact.path = Some(Box::new(PeerPath::new()));
            contact.suggested = suggested && !contact.is_validated();
            if contact.suggested {
                self.note_unvalidated(address);
            }
            self.asked.insert(address);
            self.asked_places.take(address);
            self.events.push_back(Event::PathOpened(address));
        }
    }

    /// Says what the route to a peer carries in one IP packet, in bytes.
    pub fn set_path_mtu(&mut self, address: SocketAddr, mtu: usize) {
        let headers = if address.is_ipv6() { 48 } else { 28 };
        if let Some(path) = self.contacts.get_mut(address).and_then(|contact| contact.path.as_mut()) {
            path.path.congestion.set_local(mtu >= LEAST_LOCAL_MTU);
            let room = mtu.saturating_sub(headers).clamp(LEAST_DATAGRAM, 65_507);
            path.width.set_route(room);
            path.path.congestion.set_block(room.min(answer_length(MAX_BLOCK) as usize) as u64);
            self.reschedule(address);
        }
    }

    pub(super) fn path(&self, address: SocketAddr) -> Option<&PeerPath> {
        self.contacts.get(address)?.path.as_deref()
    }

    pub(super) fn path_mut(&mut self, address: SocketAddr) -> Option<&mut PeerPath> {
        self.contacts.get_mut(address)?.path.as_deref_mut()
    }

    /// What to ask of `address` now, for whichever fetch has something to ask of it: answers of `allowance` bytes at the
    /// most, or a single one. `first` of a burst.
    pub(super) fn next_ask(
        &mut self,
        now: Time,
        address: SocketAddr,
        allowance: u64,
        first: bool,
        store: &mut dyn Store,
    ) -> Option<(JobId, Ask)> {
        let contact = self.contacts.get(address)?;
        let path = contact.path.as_ref()?;
        let (room, rate) = (path.width.room(now), path.path.congestion.rate());
        let (round_trip, is_short) = (path.path.rtt.smoothed(), path.path.is_short());
        // Our cookie comes back beside the answer, and theirs may be asked for in it.
        let mut beside = r#"{"AlwaysReturned":{"cookie":""}},"#.len() + COOKIE_LEN;
        if !contact.has_cookie && path.path.congestion.delivered() < ACQUAINTED {
            beside += INTRODUCTION;
        }
        // They take turns, or one that has much to ask for would keep the others waiting; each has a burst, so that its
        // requests can share a datagram.
        // On a long path a request that is lost should not take too much with it.
        let most = if is_short { contact.blocks } else { contact.blocks.min(MAX_BLOCKS_FAR) };
        let last = path.last_job;
        let turn = if first { Excluded(last) } else { Included(last) };
        let mut wanted = |(&id, job): (&JobId, &mut Job)| {
            let largest = job.fetch.claimed_length().unwrap_or(MAX_NUMBER);
            let fits = |room, id: &str| content_that_fits(room, id, largest, beside) as u64;
            let may = |id: &str| fits(room, id).min(most_in_a_second(rate)).clamp(LEAST_BLOCK, MAX_BLOCK);
            let block = may(&job.wire_id);
            let tree_block = job.tree_id().map_or(block, may);
            let least_block = fits(LEAST_DATAGRAM, &job.wire_id).clamp(LEAST_BLOCK, block);
            let blocks = (allowance / answer_length(block)).clamp(1, most);
            let terms = PathTerms { block, tree_block, least_block, blocks, round_trip, is_short, rate };
            let ask = job.fetch.next_ask(now, address, terms, store)?;
            Some((id, ask))
        };
        let mut found = self.fetches.range_mut((turn, Unbounded)).find_map(&mut wanted);
        if found.is_none() {
            found = self.fetches.range_mut(..=last).find_map(&mut wanted);
        }
        let (job, _) = found.as_ref()?;
        let job = *job;
        if let Some(path) = self.path_mut(address) {
            path.last_job = job;
        }
        found
    }

    /// Asks `address`: notes it, and writes the request to `datagram`, which leaves with it or later, when it is full.
    /// Only peers that answer every request of a datagram in datagrams of their own get more than one in it.
    pub(super) fn ask(
        &mut self,
        now: Time,
        address: SocketAddr,
        job: JobId,
        ask: &Ask,
        datagram: &mut Option<Encoder>,
    ) {
        self.note_flight(now, address, job, ask);
        // Names can be long.
        let is_name = |job: &Job| matches!(job.fetch.id(), ContentId::Name(_));
        let shares = !ask.probe
            && !self.fetches.get(&job).is_some_and(is_name)
            && self.contacts.get(address).is_some_and(|c| c.blocks > 1 && !c.is_only_suggested());
        if !shares {
            self.send_requests(address, datagram);
            return self.ask_alone(now, address, job, ask);
        }
        let longest =
            self.path(address).map_or(ORDINARY_DATAGRAM, |path| path.width.sends().min(ORDINARY_DATAGRAM));
        if datagram.as_ref().is_some_and(|written| written.len() + MAX_REQUEST > longest) {
            self.send_requests(address, datagram);
        }
        let mut encoder = datagram.take().unwrap_or_else(|| {
            let mut encoder = Encoder::with_capacity(ORDINARY_DATAGRAM);
            self.write_cookies(now, address, true, &mut encoder);
            encoder
        });
        if let Some(job) = self.fetches.get_mut(&job) {
            if job.fetch.wants_hint(now, address) {
                encoder.please_list_ids(&job.wire_id);
            }
            write_request(&mut encoder, job, ask);
        }
        *datagram = Some(encoder);
    }

    /// Sends the requests written so far.
    pub(super) fn send_requests(&mut self, address: SocketAddr, datagram: &mut Option<Encoder>) {
        if let Some(encoder) = datagram.take() {
            self.send(address, encoder.finish(0));
        }
    }

    fn ask_alone(&mut self, now: Time, address: SocketAddr, job: JobId, ask: &Ask) {
        let mut encoder = Encoder::new();
        self.write_cookies(now, address, true, &mut encoder);
        let Some(job) = self.fetches.get_mut(&job) else { return };
        let contact = self.contacts.get(address);
        let sparing = contact.is_some_and(Contact::is_only_suggested);
        // Without cookies it is too old to know the question.
        let too_old = contact.is_some_and(Contact::ignores_cookies);
        if sparing && too_old {
            // It can prove itself only so.
            encoder.cookie("PleaseReturnThisMessage", &self.mint.mint(now, address));
        }
        let asks_hint = !too_old && !sparing && job.fetch.wants_hint(now, address);
        if asks_hint {
            encoder.please_list_ids(&job.wire_id);
        }
        if ask.probe
            && !sparing
            && job.fetch.asks_for_parts()
            && self.contacts.get(address).is_some_and(|c| c.cookie.is_some())
        {
            encoder.which_parts(&job.wire_id, 0);
        }
        write_request(&mut encoder, job, ask);
        // Who does not have it may know somebody who does.
        let asks_peers = ask.probe && !too_old && job.fetch.lacks_sources();
        if asks_peers && (!sparing || encoder.len() + PLEASE_SEND_PEERS.len() + 6 <= MAX_SUGGESTED_PROBE) {
            encoder.bare(PLEASE_SEND_PEERS);
        }
        let pad = if ask.probe && !sparing {
            let answer = answer_length(ask.range.end - ask.range.start) as usize;
            let hint = if asks_hint { HINT_LEN } else { 0 };
            ((answer + hint) / 2 + 8).clamp(150, MAX_PROBE)
        } else {
            0
        };
        let bytes = encoder.finish(pad);
        // A long name does not fit what a mere suggestion is worth: such a peer is not asked for it.
        if !sparing || (self.probes.may_send(now, address) && bytes.len() <= MAX_SUGGESTED_PROBE) {
            self.send(address, bytes);
        }
    }

    /// Counts what is asked for as on its way.
    fn note_flight(&mut self, now: Time, address: SocketAddr, job: JobId, ask: &Ask) {
        let Some(path) = self.path_mut(address) else { return };
        let rest = path.on_sent(now, job, ask);
        path.width.on_asked(now, ask.block.div_ceil(3) as usize * 4);
        self.recount(address);
        if let Some(job) = self.fetches.get_mut(&job) {
            for ask in rest {
                job.fetch.on_lost(address, &ask);
            }
        }
    }

    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.outputs.push_back(Transmit { to, segment: bytes.len(), bytes });
    }

    /// Writes what rides beside every message to a peer, in a datagram that is sent: its cookie, and a request to return ours
    /// if it does not yet.
    pub(super) fn write_cookies(
        &mut self,
        now: Time,
        to: SocketAddr,
        ask_for_ours: bool,
        encoder: &mut Encoder,
    ) {
        if self.write_cookies_unsent(now, to, ask_for_ours, encoder) {
            self.contacts.on_asked(to);
        }
    }

    /// The same in a datagram that may not be sent. Returns whether it asks for the return of our cookie: if it is sent after
    /// all, that must be noted.
    pub(super) fn write_cookies_unsent(
        &self,
        now: Time,
        to: SocketAddr,
        ask_for_ours: bool,
        encoder: &mut Encoder,
    ) -> bool {
        let contact = self.contacts.get(to);
        if let Some(cookie) = contact.and_then(|contact| contact.cookie.as_ref()) {
            encoder.value("AlwaysReturned", cookie);
        }
        if !ask_for_ours || contact.is_some_and(|c| c.has_good_cookie(now) || c.ignores_cookies()) {
            return false;
        }
        encoder.cookie("PleaseAlwaysReturnThisMessage", &self.mint.mint(now, to));
        if contact.is_some_and(|contact| contact.cookie.is_some()) {
            encoder.can_send_blocks(MAX_BLOCKS);
        }
        true
    }

    /// Gives up what is lost on the path to `address`.
    pub(super) fn detect_losses(&mut self, now: Time, address: SocketAddr) {
        let Some(path) = self.path_mut(address) else {
            return;
        };
        let pto_count = path.path.pto_count();
        let lost = path.path.detect_losses(now);
        if !lost.is_empty() || path.path.pto_count() > pto_count {
            log::trace!(
                "{now:?} {address}: {} given up, {} pto_count, {} live, {:?}",
                lost.len(),
                path.path.pto_count(),
                path.path.live(),
                path.path.rtt
            );
        }
        let gone = path.path.is_gone();
        let newly_gone = gone && !path.was_gone;
        path.was_gone = gone;
        path.width.on_pto_count(now, path.path.pto_count());
        for (Flight { job, ask }, blocks) in lost {
            if let Some(job) = self.fetches.get_mut(&job) {
                job.fetch.on_lost(address, &ask.part(blocks));
            }
        }
        if newly_gone {
            for job in self.fetches.values_mut() {
                job.fetch.on_silent(now, address);
            }
        }
    }

    /// Answers to this fetch are of no use any more.
    pub(super) fn withdraw(&mut self, job: JobId) {
        for &address in &self.asked {
            if let Some(path) = self.contacts.get_mut(address).and_then(|contact| contact.path.as_mut()) {
                path.withdraw(job);
            }
        }
        for address in self.asked.clone() {
            self.recount(address);
            self.reschedule(address);
        }
        self.schedule.forget(job);
        self.suggestions.forget(job);
        self.search.forget(job);
        self.lan.forget(job);
    }
}

fn write_request(encoder: &mut Encoder, job: &Job, ask: &Ask) {
    let id = match (ask.space, job.tree_id()) {
        (Space::Tree, Some(tree_id)) => tree_id,
        _ => &*job.wire_id,
    };
    let length = ask.range.end - ask.range.start;
    let block = (ask.block < length).then_some(ask.block);
    encoder.request(&ContentRequest { block, ..ContentRequest::plain(id, ask.range.start, length) });
}

/// A block is no longer than what a path with this rate brings in a second: bytes of content.
fn most_in_a_second(rate: f64) -> u64 {
    if rate > 0.0 { (rate as u64).saturating_sub(ANSWER_SLACK as u64) / 4 * 3 } else { u64::MAX }
}

/// What a datagram with content holds beside the base64, at the most.
pub(super) const ANSWER_SLACK: usize = BLOCK_COST;

/// About how long a datagram is that answers with `length` bytes of content, IP and UDP headers included.
pub(super) fn answer_length(length: u64) -> u64 {
    length.div_ceil(3) * 4 + ANSWER_SLACK as u64
}
