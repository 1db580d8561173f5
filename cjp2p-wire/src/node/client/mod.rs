//! The client of a node: asks peers for what is downloaded, each as fast as its path takes, and takes what they send.
//!
//! It owns the downloads, the paths to the peers that may be asked, and the schedule of when to look at which. It writes what
//! was verified to the [`Store`], through the downloads.
//!
//! An answer goes through [`Client::take`]; [`Client::look_at`] then asks its source for more. [`Client::open_source`] adds a peer that
//! may have what is downloaded; the [discovery](super::discovery) finds such.

mod downloads;
mod handles;
mod looking;
mod parts;
mod paths;
mod peer_path;
mod places;
mod put_off;
mod request;
mod response;
mod room;
mod schedule;
mod sources;
mod strays;
#[cfg(test)]
mod tests;
mod width;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

pub(super) use self::downloads::Downloads;
pub(super) use self::handles::{MAX_HANDLES, RawRun, mint as mint_handle};
pub(super) use self::places::{MAX_ASKED, MAX_ASKERS, MAX_UNVALIDATED};
pub(super) use self::put_off::MAX_PUT_OFF;

use self::paths::Paths;
use self::schedule::Schedule;
use super::event::Event;
use super::shared::Shared;
use crate::content_id::ContentId;
use crate::download::{Download, DownloadEvent, Kept, RangeSpec, Spec};
use crate::range_set::RangeSet;
use crate::store::{JobId, Store};
use crate::time::Time;

/// A limit of a download that has none.
const FOR_EVER: Duration = Duration::from_secs(1 << 32);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Client {
    downloads: Downloads,
    paths: Paths,
    schedule: Schedule,
    /// How many handles were made.
    handles_made: u64,
    /// Sources that only peers suggested, and that are not validated, in the order in which they were tried. Some have been since.
    // Invariant: at most `MAX_UNVALIDATED`.
    unvalidated: VecDeque<SocketAddr>,
}

/// How much the client holds; see [`Sizes`](super::Sizes).
pub(super) struct ClientSizes {
    pub(super) asked: usize,
    pub(super) unvalidated: usize,
    pub(super) askers: usize,
    pub(super) put_off: usize,
    pub(super) handles: usize,
    pub(super) kept: Kept,
}

impl Client {
    pub(super) fn sizes(&self) -> ClientSizes {
        ClientSizes {
            asked: self.paths.len(),
            unvalidated: self.unvalidated.len(),
            askers: self.schedule.askers.most(),
            put_off: self.schedule.put_off.len(),
            handles: self.paths.most_handles(),
            kept: self.downloads.kept(),
        }
    }

    /// What is downloaded, to look at.
    pub(super) fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    /// Whether this address may be asked for content.
    pub(super) fn asks(&self, address: SocketAddr) -> bool {
        self.paths.has(address)
    }

    /// The round trip over the path to an address, where it was measured.
    pub(super) fn round_trip(&self, address: SocketAddr) -> Option<Duration> {
        self.paths.get(address).and_then(|path| path.round_trip())
    }

    /// Starts to download. Content that is downloaded already is not downloaded twice: the same job is returned.
    pub(super) fn start(&mut self, shared: &mut Shared, now: Time, spec: Spec) -> JobId {
        self.downloads.start(now, spec, &mut shared.random)
    }

    /// Starts to look for sources of some content, without downloading it.
    pub(super) fn start_search(&mut self, shared: &mut Shared, now: Time, id: ContentId) -> JobId {
        let is_new = self.downloads.job_of(&id).is_none();
        let (source_timeout, stall_timeout) = (FOR_EVER, FOR_EVER);
        let (ranges, in_order, resume) = (Vec::new(), false, None);
        let spec = Spec { id, ranges, in_order, resume, source_timeout, stall_timeout };
        let job = self.start(shared, now, spec);
        if let Some(download) = self.downloads.get_mut(job).filter(|_| is_new) {
            download.only_look();
        }
        job
    }

    /// The number of the next job, whatever it fetches.
    pub(super) fn allot_job(&mut self) -> JobId {
        self.downloads.allot()
    }

    /// Forgets a download, ended or not, and returns it.
    pub(super) fn end(&mut self, now: Time, job: JobId) -> Option<Download> {
        let ended = self.downloads.remove(job)?;
        self.withdraw(now, job);
        Some(ended)
    }

    /// See [`Node::on_verdict`](super::Node::on_verdict).
    pub(super) fn on_verdict(
        &mut self,
        shared: &mut Shared,
        now: Time,
        job: JobId,
        is_right: bool,
        store: &mut dyn Store,
    ) {
        if let Some(download) = self.downloads.get_mut(job) {
            download.on_verdict(now, is_right, store);
        }
        self.ask_everybody(shared, now, store);
    }

    /// What an interrupted download wrote of `range` is verified now; returns whether more may be asked for than before.
    pub(super) fn on_checked(&mut self, now: Time, job: JobId, range: Range<u64>, right: &RangeSet) -> bool {
        self.downloads.get_mut(job).is_some_and(|download| download.on_checked(now, range, right))
    }

    /// Changes what is wanted of a download; returns whether it goes on.
    pub(super) fn want(&mut self, now: Time, job: JobId, ranges: Vec<RangeSpec>) -> bool {
        self.downloads.get_mut(job).is_some_and(|download| download.want(now, ranges))
    }

    /// Destinations may take more than before.
    pub(super) fn on_room(&mut self, now: Time, store: &mut dyn Store) {
        for (_, download) in self.downloads.all_mut() {
            download.on_room(now, store);
        }
    }

    /// What a download reports. Answers to one that is over are of no use any more.
    pub(super) fn poll_event(&mut self, shared: &mut Shared, now: Time) -> Option<Event> {
        let (job, event) = self.downloads.poll_event()?;
        match &event {
            DownloadEvent::Misbehaved(address, why) => {
                log::info!("{address}: {why}; it is left alone from now on");
                self.ban(shared, now, *address);
            }
            DownloadEvent::Complete(_) | DownloadEvent::Failed(_) => {
                self.withdraw(now, job);
                self.downloads.lay_aside(job);
            }
            DownloadEvent::Length(_) | DownloadEvent::Staged(_) => {}
        }
        Some(Event::Download(job, event))
    }

    /// Does what is due, but for the paths: see [`Client::take_due`].
    pub(super) fn handle_timeout(&mut self, now: Time, store: &mut dyn Store) {
        for (_, download) in self.downloads.all_mut() {
            download.handle_timeout(now, store);
        }
    }

    /// When something is due.
    pub(super) fn next_at(&self, now: Time) -> Time {
        self.downloads.next_at().min(self.schedule.next_at(now))
    }

    /// Leaves a peer alone that sent what is provably wrong. Only one that returns our cookie can be named with
    /// certainty; of others nothing more is believed in that one download.
    fn ban(&mut self, shared: &mut Shared, now: Time, address: SocketAddr) {
        let Some(contact) = shared.contacts.get_mut(address) else { return };
        if contact.cookies.returns_always {
            contact.banned = true;
            self.on_silent(now, address);
        }
    }

    /// Nothing more comes from this address.
    pub(super) fn on_silent(&mut self, now: Time, address: SocketAddr) {
        for (_, download) in self.downloads.wake_all() {
            download.on_silent(now, address);
        }
    }
}
