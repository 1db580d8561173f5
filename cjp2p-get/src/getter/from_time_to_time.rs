//! What is done from time to time: showing progress, noting the sources of each download, and asking these for peers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_cli::{Exit, list};
use cjp2p_wire::node::Query;
use cjp2p_wire::time::Time;

use super::{Getter, LOOK_EVERY};
use crate::job::{Job, Step};
use cjp2p_io::exchange::ASKED_EACH;
use cjp2p_io::partial::sources::MAX_SOURCES;
use cjp2p_io::peers::unix_ms;

/// How often each download notes its sources.
const NOTE_EVERY: Duration = Duration::from_millis(500);
/// After so long without a source it is told for what digits alone are taken.
const TELL_OF_BARE_DIGITS_AFTER: Duration = Duration::from_secs(3);

impl Getter {
    /// Looks again at what another process had locked.
    pub(super) fn retry_locks(&mut self) {
        let now = self.session.now();
        let due = self.jobs.iter().filter(|(_, job)| matches!(job.step, Step::Locked(at) if at <= now));
        let due: Vec<u64> = due.map(|(&number, _)| number).collect();
        for number in due {
            self.prepare(number);
        }
    }

    /// Tells once, while nobody has what was asked for by digits alone, that these may be of another hash.
    pub(super) fn tell_of_bare_digits_in_time(&mut self) {
        if self.told_of_bare_digits {
            return;
        }
        let now = self.session.now();
        let is_due = |job: &&Job| job.is_bare && now.since(job.started) >= TELL_OF_BARE_DIGITS_AFTER;
        let is_in_vain = |job: &&Job| match job.step {
            Step::Fetching(fetch) => {
                let progress = self.session.node().progress(fetch).unwrap_or_default();
                progress.received == 0 && progress.done == 0
            }
            _ => false,
        };
        if let Some(job) = self.jobs.values().filter(is_due).find(is_in_vain) {
            log::warn!("{}: nobody has it so far; {}", job.id, list::of_bare_digits(&job.id));
            // Quiet tools tell it with the failure.
            self.told_of_bare_digits = log::log_enabled!(log::Level::Warn);
        }
    }

    /// Has each download remember its sources, from time to time, and asks these for peers.
    pub(super) fn note_sources_sometimes(&mut self) {
        let now = self.session.now();
        if now.since(self.noted_at) >= NOTE_EVERY {
            self.noted_at = now;
            self.note_sources();
            self.ask_for_peers(now);
        }
    }

    fn ask_for_peers(&mut self, now: Time) {
        for job in self.jobs.values() {
            let Step::Fetching(fetch) = job.step else { continue };
            let senders = self.session.node().proven_sources(fetch, ASKED_EACH);
            for address in self.exchange.due(now, job.started, &senders) {
                self.session.call(|node, now, _| node.query(now, address, Query::Peers, false));
            }
        }
    }

    /// A source of some content named these peers: they may have it too.
    pub(super) fn on_peers(&mut self, by: SocketAddr, peers: &[SocketAddr]) {
        for fetch in self.jobs.values().filter_map(Job::fetch) {
            if self
                .session
                .node()
                .fetch(fetch)
                .is_some_and(|fetch| fetch.serving().any(|sender| sender == by))
            {
                self.session.call(|node, now, _| node.add_suggestions(now, fetch, by, peers));
            }
        }
    }

    pub(super) fn note_sources(&mut self) {
        let now = unix_ms();
        for job in self.jobs.values() {
            let Step::Fetching(fetch) = job.step else { continue };
            let sending = self.session.node().proven_sources(fetch, MAX_SOURCES);
            self.session.store_mut().note_sources(fetch, &sending, now);
        }
    }

    pub(super) fn show_progress_sometimes(&mut self) {
        let now = self.session.now();
        if now.since(self.shown_at) >= LOOK_EVERY {
            self.shown_at = now;
            self.show_progress();
        }
    }

    pub(super) fn show_progress(&mut self) {
        let mut done = self.finished;
        // Where something failed, what is left is not all that was wanted: nothing of it shall look complete.
        let is_whole = self.ids_ended && self.report.exit() == Exit::Done;
        let mut total = is_whole.then_some(self.finished);
        if let Some(folder) = &self.folder {
            (done, total) = folder.counts();
        }
        let mut sources = BTreeSet::new();
        for job in self.jobs.values() {
            let progress = match job.step {
                Step::Fetching(fetch) | Step::Judging(fetch) => {
                    self.session.node().progress(fetch).unwrap_or_default()
                }
                Step::Publishing(_) => job.last,
                Step::Preparing | Step::Locked(_) | Step::Aside => Default::default(),
            };
            done += progress.done;
            // What is to be done for a folder counts in it already.
            if self.folder.is_none() {
                total = total.zip(progress.wanted).map(|(total, wanted)| total + wanted);
            }
            if let Some(fetch) = job.fetch().and_then(|fetch| self.session.node().fetch(fetch)) {
                sources.extend(fetch.serving());
            }
        }
        self.progress.update(done, total, sources.len());
    }
}
