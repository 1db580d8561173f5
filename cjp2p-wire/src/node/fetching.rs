//! The fetches: starting and ending them, and what their destinations tell them.

use std::net::SocketAddr;
use std::ops::Range;

use super::{Job, Node};
use crate::content_id::ContentId;
use crate::download::{Download, Progress, Spec};
use crate::range_set::RangeSet;
use crate::store::{JobId, Store};
use crate::time::Time;

impl Node {
    /// Starts to fetch. Content that is fetched already is not fetched twice: the same job is returned.
    pub fn start_fetch(&mut self, now: Time, spec: Spec) -> JobId {
        self.enter(now);
        if let Some(&job) = self.jobs.get(&spec.id) {
            return job;
        }
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(spec.id.clone(), job);
        if let ContentId::Blake3(root) = spec.id {
            self.jobs.insert(ContentId::Tree(root), job);
        }
        let fetch = Download::new(now, job, spec, self.random.u64(..));
        self.fetches.insert(job, Job::new(fetch));
        job
    }

    /// From now on nobody is asked for what `job` fetches, and nothing of it taken from anybody, but those whom
    /// [`Node::add_named_source`] adds: whoever is found otherwise, or named by others, is left alone.
    pub fn limit_sources(&mut self, now: Time, job: JobId) {
        self.enter(now);
        if let Some(job) = self.fetches.get_mut(&job) {
            job.fetch.limit_sources();
        }
    }

    /// Adds a peer that the user named as a source of `job`, also where others may not be one.
    pub fn add_named_source(&mut self, now: Time, job: JobId, address: SocketAddr) {
        self.enter(now);
        if let Some(job) = self.fetches.get_mut(&job) {
            job.fetch.admit(address);
        }
        self.open_source(now, job, address, false);
    }

    /// Forgets a fetch, ended or not.
    pub fn end_fetch(&mut self, now: Time, job: JobId) {
        self.enter(now);
        if let Some(ended) = self.fetches.remove(&job) {
            for source in ended.fetch.serving() {
                self.providers.note(now, ended.fetch.id(), source);
            }
            self.jobs.remove(ended.fetch.id());
            self.jobs.retain(|_, other| *other != job);
            self.withdraw(job);
        }
    }

    /// How far a fetch is.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.fetches.get(&job).map(|job| job.fetch.progress())
    }

    /// The fetch itself, to look at.
    pub fn fetch(&self, job: JobId) -> Option<&Download> {
        self.fetches.get(&job).map(|job| &job.fetch)
    }

    /// Tells a fetch whether what was staged has the right hash; see
    /// [`DownloadEvent::Staged`](crate::download::DownloadEvent::Staged).
    pub fn on_verdict(&mut self, now: Time, job: JobId, is_right: bool, store: &mut dyn Store) {
        self.enter(now);
        if let Some(job) = self.fetches.get_mut(&job) {
            job.fetch.on_verdict(now, is_right, store);
        }
        self.ask_everybody(now, store);
    }

    /// What an interrupted fetch wrote of `range` is verified now, and `right` is what of it is right; see
    /// [`Resume::unchecked`](crate::download::Resume::unchecked).
    pub fn on_checked(
        &mut self,
        now: Time,
        job: JobId,
        range: Range<u64>,
        right: &RangeSet,
        store: &mut dyn Store,
    ) {
        self.enter(now);
        let fetch = self.fetches.get_mut(&job).map(|job| &mut job.fetch);
        if fetch.is_some_and(|fetch| fetch.on_checked(now, range, right)) {
            self.ask_everybody(now, store);
        }
    }

    /// The destination of some fetch takes more now.
    pub fn handle_room(&mut self, now: Time, store: &mut dyn Store) {
        self.enter(now);
        self.ask_everybody(now, store);
    }
}
