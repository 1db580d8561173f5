//! What goes on: counted, and told to those who watch.

use std::time::Duration;

use cjp2p_cli::prometheus;
use cjp2p_wire::time::Time;

use super::Gateway;
use super::client::Token;
use super::finding::Asked;
use crate::cache::Slot;
use crate::http::{Answer, Body, Head};
use crate::routes::Target;
use crate::status::{CacheStatus, ContentStatus, PeerStatus, Status, metrics, page, some_parts};

/// How often rates are measured, and those who watch told.
const EVERY: Duration = Duration::from_secs(1);
/// So many of the last rates are shown.
const RATES: usize = 60;
/// Contents and peers that are shown.
const MAX_SHOWN: usize = 200;

impl Gateway {
    /// Answers a question about this program itself, for a program on this machine.
    pub(super) fn answer_about(&mut self, token: Token, asked: &Asked, target: &Target) {
        let Some(client) = self.clients.get(&token) else { return };
        if !client.from.ip().to_canonical().is_loopback() {
            return self.answer_line(token, 403, "this is told on this machine only");
        }
        let text = |content_type, text: String| Answer::of_text(200, content_type, text);
        let mut answer = match target {
            Target::Events => {
                let head = Head::new(200).with("Content-Type", "text/event-stream");
                Answer { head, body: Body::Stream }
            }
            Target::StatusJson => text("application/json", self.status().to_json()),
            Target::Metrics => text(prometheus::CONTENT_TYPE, metrics::text(&self.status())),
            _ => {
                let host = asked.request.host.as_deref().unwrap_or("localhost");
                let mut answer = text("text/html; charset=utf-8", page::page(&self.status(), host));
                answer.head = answer.head.with("Content-Security-Policy", page::policy());
                answer.head = answer.head.with("X-Frame-Options", "DENY");
                answer
            }
        };
        for (name, value) in &asked.fields {
            answer.head = answer.head.with(name, value.clone());
        }
        answer.head = answer.head.with("Cache-Control", "no-store");
        self.answer(token, answer);
        if *target == Target::Events && !asked.request.is_head() {
            let event = page::event(&self.status());
            if let Some(client) = self.clients.get_mut(&token) {
                client.is_watching = true;
                client.connection.push(event.as_bytes());
            }
        }
    }

    /// Measures rates, and tells those who watch.
    pub(super) fn look_at_rates(&mut self, now: Time) {
        let passed = now.since(self.measured_at);
        if passed < EVERY {
            return;
        }
        self.measured_at = now;
        let jobs = self.jobs();
        let mut sum = 0.0;
        let mut rates = std::collections::BTreeMap::new();
        for (slot, job) in jobs {
            let received = self.session.node().progress(job).unwrap_or_default().received;
            let before = self.received.get(&slot).map_or(0, |(received, _)| *received);
            // Another job counts from the beginning.
            let came = if received >= before { received - before } else { received };
            let rate = came as f64 / passed.as_secs_f64();
            sum += rate;
            rates.insert(slot, (received, rate as u64));
        }
        self.received = rates;
        self.rates.push_back(sum as u64);
        while self.rates.len() > RATES {
            self.rates.pop_front();
        }
        let watching = self.clients.iter().filter(|(_, client)| client.is_watching);
        let watching: Vec<Token> = watching.map(|(&token, _)| token).collect();
        if watching.is_empty() {
            return;
        }
        let event = page::event(&self.status());
        for token in watching {
            if let Some(client) = self.clients.get_mut(&token)
                && client.connection.has_room()
            {
                client.connection.push(event.as_bytes());
                self.turn_client(token);
            }
        }
    }

    fn status(&self) -> Status {
        let cache = self.session.store();
        let counters = self.session.node().counters();
        let mut contents: Vec<(Slot, ContentStatus)> = cache
            .iter()
            .filter(|(slot, entry)| entry.job().is_some() || self.readers.contains_key(slot))
            .take(MAX_SHOWN)
            .map(|(slot, entry)| {
                let job = entry.job();
                let fetch = job.and_then(|job| self.session.node().fetch(job));
                let sources = fetch.into_iter().flat_map(|fetch| fetch.serving());
                let parts = entry.kept().done().iter().map(|range| (range.start, range.end)).collect();
                let content = ContentStatus {
                    id: entry.id().to_string(),
                    length: entry.length(),
                    done: entry.kept().done().total(),
                    parts: some_parts(parts),
                    readers: self.readers.get(&slot).map_or(0, |readers| readers.len() as u64),
                    fetching: job.is_some(),
                    rate: self.received.get(&slot).map_or(0, |(_, rate)| *rate),
                    sources: sources.take(MAX_SHOWN).map(|address| address.to_string()).collect(),
                };
                (slot, content)
            })
            .collect();
        contents.sort_by_key(|(slot, content)| (std::cmp::Reverse(content.readers), *slot));
        let peers = self.session.node().acquaintances().take(MAX_SHOWN).map(|peer| PeerStatus {
            address: peer.address.to_string(),
            round_trip: peer.round_trip.map(|time| time.as_millis() as u64),
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.session.now().since(Time::ZERO).as_secs(),
            connections: self.clients.len() as u64,
            requests: self.requests,
            bytes_sent: self.bytes_sent,
            bytes_shared: counters.content_out,
            rate: self.rates.back().copied().unwrap_or(0),
            rates: self.rates.iter().copied().collect(),
            cache: CacheStatus { bytes: cache.held(), most: cache.most(), contents: cache.contents() as u64 },
            contents: contents.into_iter().map(|(_, content)| content).collect(),
            peers: peers.collect(),
        }
    }
}
