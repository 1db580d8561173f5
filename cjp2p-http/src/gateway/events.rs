//! What the node reports: how fetches go on and end, and peers that were found.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_cli::duration;
use cjp2p_io::exchange::ASKED_EACH;
use cjp2p_io::partial::sources::MAX_SOURCES;
use cjp2p_io::peers::unix_ms;
use cjp2p_wire::download::{DownloadEvent, Failure};
use cjp2p_wire::node::{Answer, Event, Query};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::Gateway;
use super::client::Token;
use super::evicting::is_full;
use crate::cache::{Kind, Slot};

/// How often each fetch notes its sources.
const NOTE_EVERY: Duration = Duration::from_millis(500);

impl Gateway {
    pub(super) fn take_events(&mut self) {
        while let Some(event) = self.session.next_event() {
            match event {
                Event::Download(job, event) => {
                    if let Some(slot) = self.session.store().slot_of_job(job) {
                        self.on_download(slot, job, event);
                    }
                }
                Event::Answer { from, answer: Answer::Peers(peers), .. } => self.on_peers(from, &peers),
                Event::Stream(job, event) => self.on_stream(job, event),
                Event::Latest { from, pointer, .. } => self.on_latest(from, &pointer),
                Event::Neighbour(address) => {
                    self.ask_for_names(address, Origin::Lan, false);
                    for job in self.views.keys().copied().collect::<Vec<_>>() {
                        self.add_found(job, address, Origin::Lan, false);
                    }
                    for (_, job) in self.jobs() {
                        self.add_found(job, address, Origin::Lan, false);
                    }
                }
                Event::Answer { .. }
                | Event::Unanswered(_)
                | Event::PathOpened(_)
                | Event::AskLan(_)
                | Event::AskNeighbours(_) => {}
            }
        }
    }

    fn on_download(&mut self, slot: Slot, job: JobId, event: DownloadEvent) {
        let Some(entry) = self.session.store_mut().get_mut(slot) else { return };
        match event {
            DownloadEvent::Length(length) => {
                entry.kept_mut().on_length(length);
                self.plan(slot);
                self.session.store_mut().note_grown(slot);
            }
            DownloadEvent::Staged(length) => {
                if let Err(error) = entry.settle_staged(length) {
                    return self.on_failed(slot, &Failure::Destination(error));
                }
                self.hash_staged();
                self.judge(slot);
            }
            DownloadEvent::Complete(length) => {
                if entry.kind() == Kind::AsAWhole {
                    entry.on_right(length);
                } else if length == 0 {
                    entry.kept_mut().take_up_whole(0);
                }
                if let Err(error) = entry.kept_mut().settle() {
                    return self.on_failed(slot, &Failure::Destination(error));
                }
                self.end_job(slot);
                self.session.store_mut().note_grown(slot);
                self.plan(slot);
                self.on_grown(slot);
            }
            DownloadEvent::Misbehaved(address, _) => entry.kept_mut().forget_source(address),
            DownloadEvent::Failed(why) => {
                log::debug!("{job:?} of {}: {why:?}", entry.id());
                self.on_failed(slot, &why);
            }
        }
    }

    /// What is not here of an entry cannot be had: those who need it are told so.
    fn on_failed(&mut self, slot: Slot, why: &Failure) {
        self.end_job(slot);
        let readers: Vec<Token> = self.readers.get(&slot).into_iter().flatten().copied().collect();
        // Those whose range is past the end are told by the length; the others begin anew.
        if let Failure::PastTheEnd { .. } = why {
            self.plan(slot);
            return self.on_grown(slot);
        }
        if let Failure::Destination(error) = why
            && is_full(error)
            && self.goes_on_when_full(slot)
        {
            return self.plan(slot);
        }
        let (status, line) = self.told(why);
        for token in readers {
            if self.lacks(token) {
                self.fail_reader(token, status, &line);
            }
        }
    }

    /// Whether a client needs something that is not here.
    fn lacks(&self, token: Token) -> bool {
        let Some(client) = self.clients.get(&token) else { return false };
        let Some(reading) = &client.reading else { return false };
        let Some(entry) = reading.slot.and_then(|slot| self.session.store().get(slot)) else { return true };
        let Some(length) = entry.length() else { return true };
        let is_here = |range: std::ops::Range<u64>| entry.available(range.clone()) == range.end - range.start;
        match reading.is_answered {
            true => !client.connection.content_to_send().all(is_here),
            false => !reading.ranges(length).into_iter().all(is_here),
        }
    }

    /// What to tell of a fetch that ended in vain: a status, and why.
    fn told(&self, why: &Failure) -> (u16, String) {
        match why {
            Failure::NoSource => {
                let time = duration::human(self.settings.source_timeout);
                let asked = self.peers.iter().count();
                let asked = if asked == 1 {
                    "one peer was asked".into()
                } else {
                    format!("{asked} peers were asked")
                };
                (404, format!("no peer offered any of it within {time}; {asked}"))
            }
            Failure::Stalled => {
                (504, format!("nothing new came for {}", duration::human(self.settings.stall_timeout)))
            }
            Failure::Mismatch => (502, "what came does not match the id".into()),
            Failure::Withdrawn => {
                (410, "withdrawn: every peer that had it says that it no longer has it".into())
            }
            Failure::Destination(error) => {
                (if is_full(error) { 507 } else { 500 }, format!("the cache cannot be written: {error}"))
            }
            Failure::PastTheEnd { length, .. } => (416, format!("the content is {length} bytes long")),
        }
    }

    /// A source of some content named these peers: they may have it too.
    fn on_peers(&mut self, by: SocketAddr, peers: &[SocketAddr]) {
        self.add_names_suggestions(by, peers);
        if !self.peers.is_limited() {
            for job in self.views.keys().copied().collect::<Vec<_>>() {
                self.session.call(|node, now, _| node.add_suggestions(now, job, by, peers));
            }
        }
        for (_, job) in self.jobs() {
            let serves = |node: &cjp2p_wire::node::Node| {
                node.fetch(job).is_some_and(|fetch| fetch.serving().any(|from| from == by))
            };
            if serves(self.session.node()) {
                self.session.call(|node, now, _| node.add_suggestions(now, job, by, peers));
            }
        }
    }

    /// Asks a peer that was found just now.
    pub(super) fn add_found(&mut self, job: JobId, address: SocketAddr, origin: Origin, suggested: bool) {
        self.peers.add_found(address, origin, suggested, self.session.now());
        self.session.call(|node, now, _| node.add_source(now, job, address, suggested));
    }

    /// Has each fetch remember its sources, from time to time, and asks these for peers.
    pub(super) fn note_sources_sometimes(&mut self, now: Time) {
        if now.since(self.noted_at) < NOTE_EVERY {
            return;
        }
        self.noted_at = now;
        let time = unix_ms();
        for (slot, job) in self.jobs() {
            let sending = self.session.node().proven_sources(job, MAX_SOURCES);
            if let Some(entry) = self.session.store_mut().get_mut(slot) {
                entry.kept_mut().note_sources(&sending, time);
            }
            let begun = self.begun.get(&slot).copied().unwrap_or(now);
            for address in self.exchange.due(now, begun, &sending[..sending.len().min(ASKED_EACH)]) {
                self.session.call(|node, now, _| node.query(now, address, Query::Peers, false));
            }
        }
    }
}
