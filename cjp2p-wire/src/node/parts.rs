//! Telling which parts of some content are here, and asking others; and knowing those who fetch the same.

use std::net::SocketAddr;

use super::{Node, ORDINARY_DATAGRAM};
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::download::PathTerms;
use crate::message::{ContentRequest, PartsRequest, TheseParts};
use crate::peers::cookie::Validation;
use crate::store::{Parts, Store};
use crate::time::Time;

/// Ranges told in one answer at the most; as many as fit a datagram.
const MAX_TOLD: usize = 128;

impl Node {
    /// Answers a source that has proved its address which parts of some content are here.
    pub(super) fn tell_parts(
        &mut self,
        now: Time,
        from: SocketAddr,
        request: &PartsRequest<'_>,
        store: &mut dyn Store,
    ) {
        if !self.config.answers {
            return;
        }
        let Ok(id) = ContentId::parse(&request.id) else { return };
        self.note_leecher(now, from, &id);
        let is_fetched = self.jobs.contains_key(&id);
        let mut parts = match store.parts(&id, request.offset, MAX_TOLD) {
            Some(parts) => parts,
            // Nothing yet: but whoever asks is to know that there will be.
            None if is_fetched => Parts { length: None, until: request.offset, ranges: Vec::new() },
            // Who goes by what it was told before asks for no content: it would never hear of it.
            None if store.is_withdrawn(&id) => return self.refer(now, from, &request.id, 0..0, false, true),
            None => return,
        };
        if parts.length.is_some() {
            self.upload_slots.join(now, &id, from);
        }
        let busy = !self.upload_slots.serves(now, &id, from, 0);
        if let (Some(length), false) = (parts.length, busy)
            && parts == Parts::whole(length, request.offset)
            && let Some(offered) = self.upload_slots.offer(now, &id, from, length, request.offset, MAX_TOLD)
        {
            parts = offered;
        }
        let mut encoder = Encoder::new();
        self.write_cookies(now, from, self.wants_cookie_from(from), &mut encoder);
        let offset = parts.length.map_or(request.offset, |length| request.offset.min(length));
        let mut room = ORDINARY_DATAGRAM.saturating_sub(encoder.len() + 2 * request.id.len() + FRAME);
        let fit = parts.ranges.iter().take_while(|range| {
            let length = digits(range.start) + digits(range.end) + "[,],".len();
            room = room.saturating_sub(length);
            room > 0
        });
        let fit = fit.count();
        if let Some(first_left) = parts.ranges.get(fit) {
            parts.until = first_left.start;
            parts.ranges.truncate(fit);
        }
        let until = parts.length.map_or(parts.until, |length| parts.until.min(length));
        encoder.these_parts(&TheseParts {
            id: request.id.clone(),
            offset,
            until,
            parts: parts.ranges,
            eof: parts.length,
            busy,
        });
        self.send_small(now, from, encoder.finish(0));
    }

    /// Whether this source is one of those that are served the content now.
    pub(super) fn serves_now(&mut self, now: Time, from: SocketAddr, request: &ContentRequest<'_>) -> bool {
        let Ok(id) = ContentId::parse(&request.id) else { return false };
        // Whoever knows of requests for several blocks knows of exchanging parts. A tree may also be wanted by one that
        // fetches by another id, and exchanges nothing.
        let exchanges = self.contacts.get(from).is_some_and(|contact| contact.blocks > 1);
        if exchanges && matches!(id, ContentId::Blake3(_)) {
            self.upload_slots.expect(now, &id, from);
        }
        self.upload_slots.serves(now, &id, from, request.length)
    }

    /// A source that has proved its address asks for what is fetched here: it may have some of it, now or later.
    pub(super) fn note_leecher(&mut self, now: Time, from: SocketAddr, id: &ContentId) {
        let Some(&job) = self.jobs.get(id) else { return };
        let Some(state) = self.fetches.get(&job).filter(|state| !state.fetch.is_over()) else { return };
        let knows_its_cookie = self.contacts.get(from).is_some_and(|contact| contact.cookie.is_some());
        if !state.fetch.knows(from) {
            if !self.admit_asker(job, from) {
                return;
            }
            self.open_source(now, job, from, !knows_its_cookie);
        }
        if let Some(state) = self.fetches.get_mut(&job)
            && knows_its_cookie
        {
            state.fetch.on_leecher(now, from);
        }
    }

    /// Takes in which parts a source of ours says that it has.
    pub(super) fn take_parts(
        &mut self,
        now: Time,
        from: SocketAddr,
        told: &TheseParts<'_>,
        validation: Validation,
        store: &mut dyn Store,
    ) {
        // Nobody shall speak for others here: what is told decides whom we ask.
        if validation == Validation::None {
            return;
        }
        let Ok(id) = ContentId::parse(&told.id) else { return };
        let Some(&job) = self.jobs.get(&id) else { return };
        let Some(path) = self.path(from) else { return };
        let (round_trip, is_short) = (path.path.rtt.smoothed(), path.path.is_short());
        let rate = path.path.congestion.rate();
        let terms =
            PathTerms { block: 0, tree_block: 0, least_block: 0, blocks: 1, round_trip, is_short, rate };
        if let Some(job) = self.fetches.get_mut(&job) {
            job.fetch.on_told(now, from, told, terms, store);
        }
    }

    /// Asks a source which parts it has, where a fetch wants to know now.
    pub(super) fn ask_for_parts(&mut self, now: Time, address: SocketAddr) {
        let Some(contact) = self.contacts.get(address) else { return };
        let Some(path) = &contact.path else { return };
        // Whoever gave us no cookie may know of no such questions.
        if contact.cookie.is_none() || contact.is_shunned() || contact.is_only_suggested() {
            for job in self.fetches.values_mut() {
                job.fetch.put_off_parts_question(now, address);
            }
            return;
        }
        let round_trip = path.path.rtt.smoothed();
        let question = |(&id, job): (&_, &mut super::Job)| {
            Some((id, job.fetch.parts_question(now, address, round_trip)?))
        };
        let questions: Vec<_> = self.fetches.iter_mut().filter_map(question).collect();
        for (job, offset) in questions {
            let mut encoder = Encoder::new();
            self.write_cookies(now, address, true, &mut encoder);
            let Some(job) = self.fetches.get(&job) else { continue };
            encoder.which_parts(&job.wire_id, offset);
            self.send(address, encoder.finish(0));
        }
    }
}

/// What an `IHaveTheseParts` holds beside its id and parts, at the most.
const FRAME: usize =
    r#"[{"IHaveTheseParts":{"id":"","offset":,"until":,"parts":[],"eof":,"busy":true}}],"#.len() + 3 * 16;

fn digits(n: u64) -> usize {
    n.checked_ilog10().map_or(1, |digits| digits as usize + 1)
}
