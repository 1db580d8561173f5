//! Requests for what downloads want, from each peer as much as its path takes.

use std::net::SocketAddr;
use std::time::Duration;

use super::Client;
use super::downloads::Job;
use super::handles::mint;
use super::peer_path::Flight;
use super::width::LEAST_DATAGRAM;
use crate::content_id::ContentId;
use crate::datagram::raw::raw_that_fits;
use crate::datagram::{Encoder, content_that_fits};
use crate::download::{Ask, PathTerms, Space};
use crate::message::{ContentRequest, Handle, MAX_NUMBER};
use crate::node::contacts::Contact;
use crate::node::lengths::{
    BLOCK_COST, Framing, MAX_BLOCK, MAX_PROBE, MAX_SUGGESTED_PROBE, ORDINARY_DATAGRAM,
};
use crate::node::shared::Shared;
use crate::peers::cookie::COOKIE_LEN;
use crate::store::{JobId, Store};
use crate::time::Time;

/// Bytes that a peer's first answers also hold: a request to return its cookie, and what it can do.
const INTRODUCTION: usize = 130;
/// Blocks asked for in one request where the path is not short.
const MAX_BLOCKS_FAR: u64 = 16;
/// No request for a part of content named by a hash is longer, in bytes; with a question for other ids beside it.
const MAX_REQUEST: usize = 330;
/// A peer is asked how long requests wait where the shortest round trip, with that wait, is no longer than this. Beside a longer
/// path it matters less.
const ASKS_WAIT_WITHIN: Duration = Duration::from_millis(10);
/// The length of a message that names two ids of the same content, about.
const HINT_LEN: usize = 190;
/// A peer that has not introduced itself in this many bytes of answers will not any more.
const ACQUAINTED: u64 = 64 << 10;
/// The question for peers.
const PLEASE_SEND_PEERS: &str = "PleaseSendPeers";
/// No block is shorter, but for the last: what is around it would be much longer.
const LEAST_BLOCK: u64 = 240;

impl Client {
    /// What to ask of `address` now, for whichever download has something to ask of it: answers of at most `allowance`
    /// bytes, or a single one. `first` of a burst.
    pub(super) fn next_ask(
        &mut self,
        shared: &Shared,
        now: Time,
        address: SocketAddr,
        allowance: u64,
        first: bool,
        store: &mut dyn Store,
    ) -> Option<(JobId, Ask)> {
        let contact = shared.contacts.get(address)?;
        let path = self.paths.get(address)?;
        let (room, rate) = (path.width.room(now), path.path.congestion.rate());
        let framing = framing_for(shared, contact);
        let (round_trip, is_short) = (path.path.rtt.smoothed(), path.path.is_short());
        // Our cookie comes back beside the answer, and theirs may be asked for in it.
        let mut beside = r#"{"AlwaysReturned":{"cookie":""}},"#.len() + COOKIE_LEN;
        if !contact.cookies.has_ours && path.path.congestion.delivered() < ACQUAINTED {
            beside += INTRODUCTION;
        }
        // They take turns, or one that has much to ask for would keep the others waiting; each has a burst, so that its
        // requests can share a datagram.
        // On a long path a request that is lost should not take too much with it.
        let most = if is_short { contact.blocks } else { contact.blocks.min(MAX_BLOCKS_FAR) };
        let last = path.last_job;
        let found = self.downloads.ask_in_turn(last, !first, |job| {
            let largest = job.download.claimed_length().unwrap_or(MAX_NUMBER);
            let fits = |room, id: &str, is_probe| match framing {
                Framing::Json => content_that_fits(room, id, largest, beside) as u64,
                Framing::Raw => raw_that_fits(room, largest, is_probe) as u64,
            };
            let may = |id: &str, is_probe| {
                fits(room, id, is_probe).min(most_in_a_second(rate)).clamp(LEAST_BLOCK, MAX_BLOCK)
            };
            let (block, probe_block) = (may(&job.wire_id, false), may(&job.wire_id, true));
            let tree_block = job.tree_id().map_or(block, |id| may(id, false));
            let least_block = fits(LEAST_DATAGRAM, &job.wire_id, true).clamp(LEAST_BLOCK, block);
            let blocks = (allowance / framing.answer_length(block)).clamp(1, most);
            let terms =
                PathTerms { block, tree_block, least_block, probe_block, blocks, round_trip, is_short, rate };
            job.download.next_ask(now, address, terms, store)
        });
        if let (Some((job, _)), Some(path)) = (&found, self.paths.get_mut(address)) {
            path.last_job = *job;
        }
        found
    }

    /// Asks `address`: notes it, and writes the request to `datagram`, which leaves with it or later, when it is full.
    /// Only peers that answer every request of a datagram in datagrams of their own get more than one in it.
    pub(super) fn ask(
        &mut self,
        shared: &mut Shared,
        now: Time,
        address: SocketAddr,
        job: JobId,
        ask: &Ask,
        datagram: &mut Option<Encoder>,
    ) {
        let framing =
            shared.contacts.get(address).map_or(Framing::Json, |contact| framing_for(shared, contact));
        self.note_flight(now, address, job, ask, framing);
        let handle = self.handle_for(shared, now, address, job, ask.space, framing);
        // Names can be long.
        let is_name = |job: &Job| matches!(job.download.id(), ContentId::Name(_));
        let shares = !ask.probe
            && !self.downloads.job(job).is_some_and(is_name)
            && shared.contacts.get(address).is_some_and(|c| c.blocks > 1 && !c.is_only_suggested());
        if !shares {
            send_requests(shared, address, datagram);
            return self.ask_alone(shared, now, address, job, ask, handle);
        }
        let longest = self
            .paths
            .get(address)
            .map_or(ORDINARY_DATAGRAM, |path| path.width.sends().min(ORDINARY_DATAGRAM));
        if datagram.as_ref().is_some_and(|written| written.len() + MAX_REQUEST > longest) {
            send_requests(shared, address, datagram);
        }
        let mut encoder = datagram.take().unwrap_or_else(|| {
            let mut encoder = Encoder::with_capacity(ORDINARY_DATAGRAM);
            shared.write_cookies(now, address, true, &mut encoder);
            let path = self.paths.get_mut(address).map(|path| &mut path.path);
            let near = path.filter(|path| path.rtt.min() <= ASKS_WAIT_WITHIN);
            let number = near.and_then(|path| path.ask_wait(now));
            if let Some(number) = number {
                encoder.please_say_wait(number);
            }
            encoder
        });
        if let Some(job) = self.downloads.job_mut(job) {
            if job.download.wants_hint(now, address) {
                encoder.please_list_ids(&job.wire_id);
            }
            write_request(&mut encoder, job, ask, handle);
        }
        *datagram = Some(encoder);
    }

    /// Under which name the answers to a request are to come, where they are to come raw.
    fn handle_for(
        &mut self,
        shared: &Shared,
        now: Time,
        address: SocketAddr,
        job: JobId,
        space: Space,
        framing: Framing,
    ) -> Option<Handle> {
        let path = self.paths.get_mut(address).filter(|_| framing == Framing::Raw)?;
        let made = &mut self.handles_made;
        Some(path.handles.get(now, job, space, || {
            *made += 1;
            mint(&shared.config.secret, *made)
        }))
    }

    fn ask_alone(
        &mut self,
        shared: &mut Shared,
        now: Time,
        address: SocketAddr,
        job: JobId,
        ask: &Ask,
        handle: Option<Handle>,
    ) {
        let mut encoder = Encoder::new();
        shared.write_cookies(now, address, true, &mut encoder);
        let Some(job) = self.downloads.job_mut(job) else { return };
        let contact = shared.contacts.get(address);
        let sparing = contact.is_some_and(Contact::is_only_suggested);
        // Without cookies it is too old to know the question.
        let too_old = contact.is_some_and(Contact::ignores_cookies);
        if sparing && too_old {
            // It can show itself only so.
            encoder.cookie("PleaseReturnThisMessage", &shared.mint.mint(now, address));
        }
        let asks_hint = !too_old && !sparing && job.download.wants_hint(now, address);
        if asks_hint {
            encoder.please_list_ids(&job.wire_id);
        }
        if ask.probe
            && !sparing
            && job.download.asks_for_parts()
            && shared.contacts.get(address).is_some_and(|c| c.cookies.theirs.is_some())
        {
            encoder.which_parts(&job.wire_id, 0);
        }
        write_request(&mut encoder, job, ask, handle);
        // A peer that does not have it may know one that does.
        let asks_peers = ask.probe && !too_old && job.download.lacks_sources();
        if asks_peers && (!sparing || encoder.len() + PLEASE_SEND_PEERS.len() + 6 <= MAX_SUGGESTED_PROBE) {
            encoder.bare(PLEASE_SEND_PEERS);
        }
        let pad = if ask.probe && !sparing {
            let answer = Framing::Json.answer_length(ask.range.end - ask.range.start) as usize;
            let hint = if asks_hint { HINT_LEN } else { 0 };
            ((answer + hint) / 2 + 8).clamp(150, MAX_PROBE)
        } else {
            0
        };
        let bytes = encoder.finish(pad);
        // A long name does not fit what a mere suggestion is worth: such a peer is not asked for it.
        if !sparing || (shared.probes.may_send(now, address) && bytes.len() <= MAX_SUGGESTED_PROBE) {
            shared.send(address, bytes);
        }
    }

    /// Counts what is asked for as on its way.
    fn note_flight(&mut self, now: Time, address: SocketAddr, job: JobId, ask: &Ask, framing: Framing) {
        let Some(path) = self.paths.get_mut(address) else { return };
        let rest = path.on_sent(now, job, ask, framing);
        path.width.on_asked(now, framing.shortest(ask.block));
        self.paths.recount(address);
        if let Some(job) = self.downloads.job_mut(job) {
            for ask in rest {
                job.download.on_lost(address, &ask);
            }
        }
    }

    /// Gives up what is lost on the path to `address`.
    pub(super) fn detect_losses(&mut self, now: Time, address: SocketAddr) {
        let Some(path) = self.paths.get_mut(address) else {
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
        for (Flight { job, ask, .. }, blocks) in lost {
            if let Some(job) = self.downloads.job_mut(job) {
                job.download.on_lost(address, &ask.part(blocks));
            }
        }
        if newly_gone {
            self.on_silent(now, address);
        }
    }

    /// Answers to this download are of no use any more.
    pub(super) fn withdraw(&mut self, now: Time, job: JobId) {
        let addresses = self.paths.addresses();
        for &address in &addresses {
            if let Some(path) = self.paths.get_mut(address) {
                path.withdraw(job);
            }
        }
        for address in addresses {
            self.paths.recount(address);
            self.reschedule(now, address);
        }
        self.schedule.forget(job);
    }
}

/// Sends the requests written so far.
pub(super) fn send_requests(shared: &mut Shared, address: SocketAddr, datagram: &mut Option<Encoder>) {
    if let Some(encoder) = datagram.take() {
        shared.send(address, encoder.finish(0));
    }
}

/// How this peer is to send content.
fn framing_for(shared: &Shared, contact: &Contact) -> Framing {
    let may = shared.config.raw && contact.sends_raw && !contact.is_only_suggested();
    if may { Framing::Raw } else { Framing::Json }
}

fn write_request(encoder: &mut Encoder, job: &Job, ask: &Ask, handle: Option<Handle>) {
    let id = match (ask.space, job.tree_id()) {
        (Space::Tree, Some(tree_id)) => tree_id,
        _ => &*job.wire_id,
    };
    let length = ask.range.end - ask.range.start;
    // Without it an answer says how long the whole is, and so is longer.
    let always = handle.is_some() && !ask.probe;
    let block = (always || ask.block < length).then_some(ask.block);
    encoder.request(&ContentRequest { block, handle, ..ContentRequest::plain(id, ask.range.start, length) });
}

/// A block is no longer than what a path with this rate brings in a second: bytes of content.
fn most_in_a_second(rate: f64) -> u64 {
    if rate > 0.0 { (rate as u64).saturating_sub(BLOCK_COST as u64) / 4 * 3 } else { u64::MAX }
}
