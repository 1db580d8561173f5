//! Fetching what readers want: a job for each entry that lacks something, and its sources.

use std::net::SocketAddr;

use cjp2p_io::search::Sought;
use cjp2p_wire::download::{RangeSpec, Spec};
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::Gateway;
use super::outcome::Outcome;
use crate::cache::{Kind, Slot};
use crate::fetch::plan::{Plan, Reader};
use crate::fetch::read_ahead::LEAST;

impl Gateway {
    /// Plans anew what to fetch of an entry: its readers, or where they are, have changed.
    pub(super) fn plan(&mut self, slot: Slot) {
        let Some(entry) = self.session.store().get(slot) else { return };
        let (kind, length, job) = (entry.kind(), entry.length(), entry.job());
        if entry.kept().is_complete() {
            return;
        }
        let tokens: Vec<_> = self.readers.get(&slot).into_iter().flatten().copied().collect();
        if tokens.is_empty() {
            // What is on its way may come; nothing more is asked for.
            return self.set_room(slot, 0);
        }
        let (Kind::AsItComes, Some(length)) = (kind, length) else {
            let specs = match kind {
                Kind::AsAWhole => Vec::new(),
                Kind::AsItComes => {
                    let readings =
                        tokens.iter().filter_map(|token| self.clients.get(token)?.reading.as_ref());
                    readings.flat_map(|reading| reading.specs()).take(64).collect()
                }
            };
            let room = LEAST * tokens.len() as u64;
            return self.want(slot, job, specs, room);
        };
        let mut readers = Vec::new();
        for token in &tokens {
            let Some(client) = self.clients.get_mut(token) else { continue };
            let Some(reading) = &mut client.reading else { continue };
            let ahead = reading.ahead.bytes();
            let ranges = match reading.is_answered {
                true => client.connection.content_to_send().collect(),
                false => reading.ranges(length),
            };
            readers.push(Reader { ranges, ahead });
        }
        let mut plan = Plan::new(&readers);
        let most = self.room_for(slot);
        let Some(entry) = self.session.store_mut().get_mut(slot) else { return };
        if let Some(most) = most {
            plan.bound(&entry.there(), most);
        }
        if let Some(recheck) = entry.next_check(&plan.soon) {
            self.hashing.run(move || Outcome::Checked(slot, recheck.step()));
        }
        let lacks = plan.lacks(&entry.there());
        match job {
            // What is here is enough.
            None if !lacks => {}
            _ => {
                let specs = plan.ranges.iter().cloned().map(RangeSpec::Span).collect();
                self.want(slot, job, specs, plan.room);
            }
        }
        for token in tokens {
            if let Some(reading) = self.clients.get_mut(&token).and_then(|client| client.reading.as_mut()) {
                reading.until_planned = reading.ahead.bytes().min(plan.room) / 4;
            }
        }
    }

    fn set_room(&mut self, slot: Slot, room: u64) {
        if let Some(entry) = self.session.store_mut().get_mut(slot) {
            entry.set_room(room);
        }
    }

    /// Has this much of these ranges fetched now.
    fn want(&mut self, slot: Slot, job: Option<JobId>, specs: Vec<RangeSpec>, room: u64) {
        self.set_room(slot, room);
        match job {
            // Where it is over, that is told next, and it is planned anew.
            Some(job) => {
                self.session.call(|node, now, cache| node.want(now, job, specs, cache));
                self.session.call(|node, now, cache| node.handle_room(now, cache));
            }
            None => self.begin_job(slot, specs),
        }
    }

    fn begin_job(&mut self, slot: Slot, ranges: Vec<RangeSpec>) {
        let Some(entry) = self.session.store().get(slot) else { return };
        let (id, resume) = (entry.id().clone(), entry.resume());
        let remembered = self.peers.add_remembered(entry.kept().sources());
        let spec = Spec {
            id,
            ranges,
            in_order: true,
            resume,
            source_timeout: self.settings.source_timeout,
            stall_timeout: self.settings.stall_timeout,
        };
        let job = self.session.call(|node, now, _| node.start_fetch(now, spec));
        let now = self.session.now();
        self.session.store_mut().begin(slot, job);
        self.begun.insert(slot, now);
        self.add_sources(job, remembered);
        self.session.call(|node, now, cache| node.handle_room(now, cache));
    }

    /// Ends the job of an entry, if it has one.
    pub(super) fn end_job(&mut self, slot: Slot) {
        if let Some(job) = self.session.store_mut().end(slot) {
            self.session.call(|node, now, _| node.end_fetch(now, job));
            self.search.forget(job);
            self.begun.remove(&slot);
        }
    }

    /// Has all known peers asked for what this job fetches, and these.
    pub(super) fn add_sources(&mut self, job: JobId, remembered: Vec<(SocketAddr, bool)>) {
        let is_limited = self.peers.is_limited();
        let named: Vec<SocketAddr> = self.peers.of_user().collect();
        if is_limited {
            self.session.call(|node, now, _| node.limit_sources(now, job));
        }
        for &address in &named {
            self.session.call(|node, now, _| node.add_named_source(now, job, address));
            self.session.call(|node, _, _| node.rely_on(job, address, true));
        }
        if is_limited {
            return;
        }
        let others: Vec<_> = self.peers.others().map(|(address, peer)| (address, peer.suggested)).collect();
        for &(address, _) in &remembered {
            self.session.call(|node, _, _| node.rely_on(job, address, false));
        }
        for (address, suggested) in remembered.into_iter().chain(others) {
            self.session.call(|node, now, _| node.add_source(now, job, address, suggested));
        }
        for &address in self.peers.nearest() {
            self.session.call(|node, now, _| node.add_known(now, job, address));
        }
        if let Some(delay) = self.peers.lan_delay() {
            self.session.call(|node, now, _| node.look_on_lan(now, job, delay));
        }
    }

    /// All jobs, and the entries that they are for.
    pub(super) fn jobs(&self) -> Vec<(Slot, JobId)> {
        self.session.store().iter().filter_map(|(slot, entry)| Some((slot, entry.job()?))).collect()
    }

    /// Looks for more sources of what lacks them.
    pub(super) fn look_for_sources(&mut self, now: Time) {
        let waits = !self.peers.is_nobody();
        let (cache, begun) = (self.session.store(), &self.begun);
        let sought = cache.iter().filter_map(|(slot, entry)| {
            let fetch = entry.job()?;
            Some(Sought { fetch, id: entry.id(), started: *begun.get(&slot)?, waits })
        });
        self.search.turn(now, self.session.node(), sought);
        self.note_sources_sometimes(now);
    }
}
