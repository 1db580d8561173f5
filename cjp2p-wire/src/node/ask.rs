//! Asking: requests for what fetches want, and what comes back.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::time::Duration;

use super::answer::MAX_BLOCKS;
use super::{Event, Job, Node, ORDINARY_DATAGRAM, Transmit};
use crate::content_id::ContentId;
use crate::datagram::{Encoder, content_that_fits};
use crate::message::{ContentBlock, ContentRequest, MAX_NUMBER, Message, Referral};
use crate::peers::address;
use crate::peers::cookie::{COOKIE_LEN, Proof};
use crate::time::Time;
use crate::transfer::blobs::{Blobs, JobId};
use crate::transfer::fetch::{Ask, Block, PathTerms, Space};
use crate::transfer::path::{Path, Sequence};
use crate::tree::LEAF_LEN;

/// The largest block asked for: what today's nodes cut an answer to is a little more, and two fill 64 KiB.
pub(crate) const MAX_BLOCK: u64 = 32 << 10;
/// A first question to a peer that the user named is padded to this size at the most, so that the answer may be useful.
pub(crate) const MAX_PROBE: usize = 1200;
/// The longest datagram asked for where longer ones are swallowed: what IPv6 promises of every path, 1,280, less headers.
pub(crate) const NARROW_DATAGRAM: usize = 1232;
/// How often a long datagram is tried on such a path.
pub(crate) const WIDEN_INTERVAL: Duration = Duration::from_secs(5);
/// So many waits in vain make a path a narrow one.
pub(crate) const SILENCES_UNTIL_NARROW: u32 = 2;
/// Bytes that a peer's first answers also hold: a request to return its cookie, and what it can do.
const INTRODUCTION: usize = 130;
/// After so many bytes of answers a peer that has not introduced itself will not any more.
const ACQUAINTED: u64 = 64 << 10;
/// The longest first question to a peer that only another peer named.
pub(crate) const MAX_SUGGESTED_PROBE: usize = 256;
/// Suggested addresses tried in a second at the most.
pub(crate) const SUGGESTIONS_PER_SECOND: u32 = 8;
/// Peers asked for content at the most, by all fetches.
pub(crate) const MAX_ASKED: usize = 1024;
/// Suggested addresses that wait to be tried, at the most.
pub(crate) const MAX_SUGGESTIONS: usize = 1024;
/// Suggestions taken from one peer for one fetch.
pub(crate) const MAX_SUGGESTIONS_EACH: u32 = 64;

/// A request that is on its way.
#[derive(Clone, Debug)]
struct Flight {
    job: JobId,
    ask: Ask,
}

/// Blocks in a row that one request asks for.
#[derive(Debug)]
struct Run {
    job: JobId,
    ask: Ask,
    /// The length of each block but the last, which may be shorter.
    block: u64,
}

impl Run {
    /// Takes up `ask` too, where it is the next block and there is room for one more.
    fn extend(&mut self, job: JobId, ask: &Ask, most: u64) -> bool {
        let range = &mut self.ask.range;
        let length = range.end - range.start;
        let next = ask.range.end - ask.range.start;
        let fits = length.is_multiple_of(self.block) && length / self.block < most && next <= self.block;
        let same = self.job == job && self.ask.space == ask.space && !self.ask.probe && !ask.probe;
        let follows = range.end == ask.range.start;
        if fits && same && follows {
            range.end = ask.range.end;
        }
        fits && same && follows
    }
}

/// The path to a peer that may be asked for content.
#[derive(Debug)]
pub(super) struct AskedPath {
    path: Path<Flight>,
    // The latest request for each place; some of them are forgotten already.
    places: BTreeMap<(JobId, Space, u64), Sequence>,
    /// Bytes of a datagram that cross the path whole, as far as the route says.
    room: usize,
    /// Long datagrams seem to be swallowed: ask for short ones.
    narrow: bool,
    /// While it is narrow, when to try a long one again.
    widen_at: Time,
    was_gone: bool,
    /// The fetch that the last request was for.
    last_job: JobId,
}

impl AskedPath {
    fn new() -> AskedPath {
        AskedPath {
            path: Path::new(ORDINARY_DATAGRAM as u64),
            places: BTreeMap::new(),
            room: ORDINARY_DATAGRAM,
            narrow: false,
            widen_at: Time::ZERO,
            was_gone: false,
            last_job: JobId(0),
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.path.rtt.is_known().then(|| self.path.rtt.smoothed())
    }

    pub(super) fn next_at(&self, now: Time) -> Time {
        let paced = self.path.window.next_send_at();
        let check = self.path.next_check_at();
        if paced > now { paced.min(check) } else { check }
    }

    /// Drops places of forgotten requests, once they are the most.
    fn forget_places(&mut self) {
        if self.places.len() > 2 * self.path.remembered() + 1024 {
            let path = &self.path;
            self.places.retain(|_, sequence| path.flight(*sequence).is_some());
        }
    }

    /// Bytes of a datagram to ask for now.
    fn room_now(&self, now: Time) -> usize {
        if self.narrow && now < self.widen_at { self.room.min(NARROW_DATAGRAM) } else { self.room }
    }

    /// The request that a block at this place answers.
    fn answered_by(&mut self, job: JobId, space: Space, offset: u64) -> Option<Sequence> {
        let (&place, &sequence) = self.places.range((job, space, 0)..=(job, space, offset)).next_back()?;
        match self.path.flight(sequence) {
            Some(flight) if flight.ask.range.contains(&offset) || flight.ask.range.start == offset => {
                Some(sequence)
            }
            Some(_) => None,
            None => {
                self.places.remove(&place);
                None
            }
        }
    }
}

/// Addresses that peers suggested, and how fast they may be tried.
#[derive(Debug, Default)]
pub(super) struct Suggestions {
    waiting: VecDeque<(JobId, SocketAddr)>,
    taken: BTreeMap<(JobId, SocketAddr), u32>,
    next_at: Time,
}

impl Suggestions {
    pub(super) fn next_at(&self) -> Time {
        if self.waiting.is_empty() { Time::NEVER } else { self.next_at }
    }
}

impl Node {
    /// Adds a peer that may have what `job` fetches. `suggested`: nobody vouches for the address, so it is asked
    /// sparingly.
    pub fn add_source(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: bool) {
        self.enter(now);
        self.open_source(now, job, address, suggested);
    }

    fn open_source(&mut self, now: Time, job: JobId, address: SocketAddr, suggested: bool) {
        let Some(job) = self.fetches.get_mut(&job) else { return };
        if job.fetch.knows(address) || (self.asked.len() >= MAX_ASKED && !self.asked.contains(&address)) {
            return;
        }
        let contact = self.contacts.entry(address);
        if contact.is_shunned() {
            return;
        }
        if contact.path.is_none() {
            contact.path = Some(AskedPath::new());
            contact.suggested = suggested && !contact.is_proved();
            self.asked.insert(address);
            self.events.push_back(Event::PathOpened(address));
        }
        job.fetch.add_source(now, address, suggested);
    }

    /// Says what the route to a peer carries in one IP packet, in bytes.
    pub fn set_path_mtu(&mut self, address: SocketAddr, mtu: usize) {
        let headers = if address.is_ipv6() { 48 } else { 28 };
        if let Some(path) = self.contacts.get_mut(address).and_then(|contact| contact.path.as_mut()) {
            path.room = mtu.saturating_sub(headers).clamp(1200, 65_507);
            path.path.window.set_block(path.room.min(answer_length(MAX_BLOCK) as usize) as u64);
        }
    }

    /// Asks each peer for as much as its path takes.
    pub(super) fn ask_everybody(&mut self, now: Time, blobs: &mut dyn Blobs) {
        if self.fetches.is_empty() {
            return;
        }
        let addresses: Vec<SocketAddr> = self.asked.iter().copied().collect();
        self.in_flight =
            addresses.iter().filter_map(|&a| self.path(a)).map(|p| p.path.window.in_flight()).sum();
        for address in addresses {
            let mut run = None;
            let mut first = true;
            while self.may_ask(now, address, std::mem::take(&mut first)) {
                if !self.ask_one(now, address, blobs, &mut run) {
                    if let Some(path) = self.path_mut(address) {
                        path.path.window.on_nothing_to_ask();
                    }
                    break;
                }
            }
            self.send_run(now, address, run);
        }
    }

    fn path(&self, address: SocketAddr) -> Option<&AskedPath> {
        self.contacts.get(address)?.path.as_ref()
    }

    fn path_mut(&mut self, address: SocketAddr) -> Option<&mut AskedPath> {
        self.contacts.get_mut(address)?.path.as_mut()
    }

    fn may_ask(&self, now: Time, address: SocketAddr, first: bool) -> bool {
        let Some(contact) = self.contacts.get(address) else {
            return false;
        };
        let Some(path) = &contact.path else {
            return false;
        };
        // A first request may always leave, or a buffer smaller than a block would stop everything.
        let fits = self.in_flight == 0 || self.in_flight + path.room as u64 <= self.config.receive_buffer;
        !contact.is_shunned() && fits && path.path.may_send(now, first)
    }

    /// Sends one request to `address`, for whichever fetch has something to ask of it.
    fn ask_one(
        &mut self,
        now: Time,
        address: SocketAddr,
        blobs: &mut dyn Blobs,
        run: &mut Option<Run>,
    ) -> bool {
        let Some(contact) = self.contacts.get(address) else {
            return false;
        };
        let Some(path) = &contact.path else {
            return false;
        };
        let (room, round_trip) = (path.room_now(now), path.path.rtt.smoothed());
        // Our cookie comes back beside the answer, and theirs may be asked for in it.
        let mut beside = r#"{"AlwaysReturned":{"cookie":""}},"#.len() + COOKIE_LEN;
        if !contact.has_cookie && path.path.window.delivered() < ACQUAINTED {
            beside += INTRODUCTION;
        }
        // They take turns, or one that has much to ask for would keep the others waiting; each has a burst, so that its
        // requests can share a datagram.
        let last = path.last_job;
        let turn = if run.is_some() { Included(last) } else { Excluded(last) };
        let mut wanted = |(&id, job): (&JobId, &mut Job)| {
            let largest = job.fetch.claimed_length().unwrap_or(MAX_NUMBER);
            let fits = |id: &str| (content_that_fits(room, id, largest, beside) as u64).min(MAX_BLOCK);
            let block = fits(&job.wire_id);
            let tree_block = job.tree_id.as_deref().map_or(block, fits);
            let ask = job.fetch.next_ask(now, address, PathTerms { block, tree_block, round_trip }, blobs)?;
            Some((id, ask))
        };
        let mut found = self.fetches.range_mut((turn, Unbounded)).find_map(&mut wanted);
        if found.is_none() {
            found = self.fetches.range_mut(..=last).find_map(&mut wanted);
        }
        let Some((job, ask)) = found else {
            return false;
        };
        if let Some(path) = self.path_mut(address) {
            path.last_job = job;
        }
        self.note_flight(now, address, job, &ask);
        let most = self.contacts.get(address).map_or(1, |contact| contact.blocks);
        if !run.as_mut().is_some_and(|run| run.extend(job, &ask, most)) {
            let next = Run { job, block: ask.range.end - ask.range.start, ask };
            let full = run.replace(next);
            self.send_run(now, address, full);
        }
        true
    }

    /// Sends the request for a run of blocks.
    fn send_run(&mut self, now: Time, address: SocketAddr, run: Option<Run>) {
        let Some(Run { job, ask, block }) = run else { return };
        let mut encoder = Encoder::new();
        self.write_cookies(now, address, true, &mut encoder);
        let Some(job) = self.fetches.get(&job) else { return };
        let id = match (ask.space, &job.tree_id) {
            (Space::Tree, Some(tree_id)) => tree_id,
            _ => &job.wire_id,
        };
        let length = ask.range.end - ask.range.start;
        let block = (block < length).then_some(block);
        encoder.request(&ContentRequest { block, ..ContentRequest::plain(id, ask.range.start, length) });
        let sparing = self.contacts.get(address).is_some_and(|contact| contact.suggested);
        let pad = if ask.probe && !sparing {
            (answer_length(length) as usize / 2 + 8).clamp(150, MAX_PROBE)
        } else {
            0
        };
        let bytes = encoder.finish(pad);
        // A long name does not fit what a mere suggestion is worth: such a peer is not asked for it.
        if !(sparing && ask.probe && bytes.len() > MAX_SUGGESTED_PROBE) {
            self.send(address, bytes);
        }
    }

    /// Counts what is asked for as on its way.
    fn note_flight(&mut self, now: Time, address: SocketAddr, job: JobId, ask: &Ask) {
        let Some(path) = self.path_mut(address) else { return };
        let place = (job, ask.space, ask.range.start);
        let answer = answer_length(ask.range.end - ask.range.start);
        // An answer to the earlier request of the two would be taken for a quick one to this.
        let earlier = path.places.get(&place).is_some_and(|&earlier| path.path.supersede(earlier));
        let again = ask.again || earlier;
        let sequence = path.path.on_sent(now, Flight { job, ask: ask.clone() }, answer, again);
        path.places.insert(place, sequence);
        path.forget_places();
        if path.narrow && answer as usize > NARROW_DATAGRAM {
            path.widen_at = now + WIDEN_INTERVAL;
        }
        self.in_flight += answer;
    }

    pub(super) fn send(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        self.outputs.push_back(Transmit { to, bytes });
    }

    /// Writes what rides beside every message to a peer: its cookie, and a request to return ours if it does not yet.
    pub(super) fn write_cookies(
        &mut self,
        now: Time,
        to: SocketAddr,
        ask_for_ours: bool,
        encoder: &mut Encoder,
    ) {
        let contact = self.contacts.get_mut(to);
        if let Some(cookie) = contact.as_ref().and_then(|contact| contact.cookie.as_ref()) {
            encoder.value("AlwaysReturned", cookie);
        }
        if !ask_for_ours || contact.as_ref().is_some_and(|c| c.has_cookie || c.ignores_cookies()) {
            return;
        }
        encoder.cookie("PleaseAlwaysReturnThisMessage", &self.mint.mint(now, to));
        if contact.as_ref().is_some_and(|contact| contact.cookie.is_some()) {
            encoder.can_send_blocks(MAX_BLOCKS);
        }
        if let Some(contact) = contact {
            contact.was_asked |= contact.cookie.is_some();
        }
    }

    /// Takes in what answers our requests and questions.
    pub(super) fn take_answers(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        proof: Proof,
        blobs: &mut dyn Blobs,
    ) {
        let Some(contact) = self.contacts.get(from) else {
            return;
        };
        if contact.returns_always && proof == Proof::None {
            // It has our cookie: without it, this is somebody else.
            return;
        }
        let is_first_cookie = self.take_foreign_cookie(now, from, messages, proof);
        self.note_silence_about_cookies(from, messages);
        for message in messages {
            if let (Message::ICanSendContentInBlocks(most), Some(contact)) =
                (message, self.contacts.get_mut(from))
            {
                contact.blocks = (*most).clamp(1, MAX_BLOCKS);
            }
        }
        for message in messages {
            match message {
                Message::Content(block) => self.take_content(now, from, block, proof, blobs),
                Message::MaybeTheyHaveSome(referral) => {
                    let came =
                        messages.iter().any(|m| matches!(m, Message::Content(c) if c.id == referral.id));
                    self.take_referral(now, from, referral, came);
                }
                _ => {}
            }
        }
        if is_first_cookie {
            // What it held back until it knew us can be asked for again at once.
            self.inquiries.ask_again(now, from);
            for job in self.fetches.values_mut() {
                job.fetch.probe_again(now, from);
            }
        }
        self.take_inquiry_answers(now, from, messages);
    }

    /// Keeps the cookie that a peer of ours wants returned. Returns whether it is the first.
    fn take_foreign_cookie(
        &mut self,
        now: Time,
        from: SocketAddr,
        messages: &[Message<'_>],
        proof: Proof,
    ) -> bool {
        let Some(value) = messages.iter().find_map(|message| match message {
            Message::PleaseAlwaysReturnThisMessage(value) => Some(value.get()),
            _ => None,
        }) else {
            return false;
        };
        let asked = self.inquiries.has(from);
        let Some(contact) = self.contacts.get_mut(from) else {
            return false;
        };
        let ours = contact.path.is_some() || asked || proof != Proof::None || contact.is_trusted(now);
        if !ours
            || value.len() > super::contact::MAX_FOREIGN_COOKIE
            || contact.cookie.as_deref() == Some(value)
        {
            return false;
        }
        let first = contact.cookie.is_none();
        contact.cookie = Some(value.into());
        // Before it knew us it could return our cookie only from the question itself. Now it will keep it: tell it again.
        contact.has_cookie = false;
        first
    }

    /// Content without a word about cookies, though our requests ask for the return of one, comes from a node that does not
    /// know of them. Some log an error each time that they are asked.
    fn note_silence_about_cookies(&mut self, from: SocketAddr, messages: &[Message<'_>]) {
        let has = |wanted: fn(&Message<'_>) -> bool| messages.iter().any(wanted);
        let speaks_of_them =
            has(|m| matches!(m, Message::AlwaysReturned(_) | Message::PleaseAlwaysReturnThisMessage(_)));
        if let Some(contact) = self.contacts.get_mut(from)
            && contact.path.is_some()
            && has(|m| matches!(m, Message::Content(_)))
        {
            contact.silent_about_cookies = !speaks_of_them;
        }
    }

    fn take_content(
        &mut self,
        now: Time,
        from: SocketAddr,
        block: &ContentBlock<'_>,
        proof: Proof,
        blobs: &mut dyn Blobs,
    ) {
        let Ok(id) = ContentId::parse(&block.id) else {
            return;
        };
        let Some(&job_id) = self.jobs.get(&id) else {
            return;
        };
        let space = if matches!(id, ContentId::Tree(_)) { Space::Tree } else { Space::Content };
        let Some(path) = self.path_mut(from) else {
            return;
        };
        // Nothing is taken that was not asked for.
        let Some(sequence) = path.answered_by(job_id, space, block.offset) else {
            if let Some(job) = self.fetches.get_mut(&job_id) {
                job.fetch.on_unwanted(block.base64.len() as u64 / 4 * 3);
            }
            return;
        };
        let Some(data) = block.decode() else { return };
        let Some(Flight { ask, .. }) = path.path.on_answer(now, sequence) else {
            return;
        };
        path.places.remove(&(job_id, space, ask.range.start));
        path.was_gone = false;
        if path.narrow && answer_length(data.len() as u64) as usize > NARROW_DATAGRAM + ANSWER_SLACK {
            path.narrow = false;
        }
        let Some(Job { fetch, .. }) = self.fetches.get_mut(&job_id) else {
            return;
        };
        let end = block.offset + data.len() as u64;
        if end < ask.range.end && !ask.probe {
            let rest = Ask { range: end.max(ask.range.start)..ask.range.end, ..ask.clone() };
            fetch.on_lost(from, &rest);
        }
        let is_leaf = block.offset.is_multiple_of(LEAF_LEN) && data.len() as u64 == LEAF_LEN;
        if space == Space::Content && is_leaf && end > ask.range.end {
            fetch.on_whole_leaf(from);
        }
        let answers = proof != Proof::None;
        let block = Block { space, offset: block.offset, data: &data, length: block.eof, answers };
        if !fetch.on_block(now, from, block, blobs) {
            fetch.on_lost(from, &ask);
        }
    }

    fn take_referral(&mut self, now: Time, from: SocketAddr, referral: &Referral<'_>, content_came: bool) {
        let Ok(id) = ContentId::parse(&referral.id) else {
            return;
        };
        let Some(&job_id) = self.jobs.get(&id) else {
            return;
        };
        let space = if matches!(id, ContentId::Tree(_)) { Space::Tree } else { Space::Content };
        let Some(path) = self.path_mut(from) else {
            return;
        };
        if !content_came {
            let asked = path.path.oldest(|flight| flight.job == job_id && flight.ask.space == space);
            let flight = asked.and_then(|sequence| path.path.on_answer(now, sequence));
            if let (Some(flight), Some(job)) = (flight, self.fetches.get_mut(&job_id)) {
                job.fetch.on_refusal(now, from, &flight.ask);
            }
        }
        for &peer in &referral.peers {
            let taken = self.suggestions.taken.entry((job_id, from)).or_insert(0);
            if *taken >= MAX_SUGGESTIONS_EACH || self.suggestions.waiting.len() >= MAX_SUGGESTIONS {
                break;
            }
            if address::may_suggest(from, peer) {
                *taken += 1;
                self.suggestions.waiting.push_back((job_id, peer));
            }
        }
        self.follow_suggestions(now);
    }

    /// Tries the next suggested address, if it is time.
    pub(super) fn follow_suggestions(&mut self, now: Time) {
        while now >= self.suggestions.next_at {
            let Some((job, address)) = self.suggestions.waiting.pop_front() else {
                return;
            };
            if self.fetches.get(&job).is_some_and(|job| !job.fetch.knows(address)) {
                self.suggestions.next_at = now + Duration::from_secs(1) / SUGGESTIONS_PER_SECOND;
                self.open_source(now, job, address, true);
            }
        }
    }

    /// Gives up what is lost on the path to `address`.
    pub(super) fn detect_losses(&mut self, now: Time, address: SocketAddr) {
        let Some(path) = self.path_mut(address) else {
            return;
        };
        let lost = path.path.detect_losses(now);
        let gone = path.path.is_gone();
        let newly_gone = gone && !path.was_gone;
        path.was_gone = gone;
        if path.path.silences() >= SILENCES_UNTIL_NARROW && path.room > NARROW_DATAGRAM && !path.narrow {
            path.narrow = true;
            path.widen_at = now + WIDEN_INTERVAL;
        }
        for Flight { job, ask } in lost {
            if let Some(job) = self.fetches.get_mut(&job) {
                job.fetch.on_lost(address, &ask);
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
                path.path.withdraw(|flight| flight.job == job);
                path.places.retain(|(other, _, _), _| *other != job);
            }
        }
        self.suggestions.waiting.retain(|(other, _)| *other != job);
        self.suggestions.taken.retain(|(other, _), _| *other != job);
    }

    /// Leaves a peer alone that sent what is provably wrong. Only one that returns our cookie can be named with
    /// certainty; of others nothing more is believed in that one fetch.
    pub(super) fn ban(&mut self, address: SocketAddr) {
        let now = self.now;
        let Some(contact) = self.contacts.get_mut(address) else {
            return;
        };
        if contact.returns_always {
            contact.banned = true;
            for job in self.fetches.values_mut() {
                job.fetch.on_silent(now, address);
            }
        }
    }

    /// Notes that `address` is our own, or repeats what we say: it is not asked again, nor named to anybody.
    pub(super) fn on_own_voice(&mut self, now: Time, address: SocketAddr) {
        let Some(contact) = self.contacts.get_mut(address) else {
            return;
        };
        contact.is_us = true;
        for job in self.fetches.values_mut() {
            job.fetch.on_silent(now, address);
        }
        if self.inquiries.give_up(address) {
            self.events.push_back(Event::Unanswered(address));
        }
    }
}

/// What a datagram with content holds beside the base64, at the most.
const ANSWER_SLACK: usize = 260;

/// About how long a datagram is that answers with `length` bytes of content, IP and UDP headers included.
fn answer_length(length: u64) -> u64 {
    length.div_ceil(3) * 4 + ANSWER_SLACK as u64
}
