//! What is downloaded: each content once, found by its job and by its ids.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::content_id::{ContentId, Hash};
use crate::download::{Ask, Download, DownloadEvent, Kept, Space, Spec};
use crate::store::JobId;
use crate::time::Time;

/// A download, and the ids by which it asks.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) download: Download,
    pub(super) wire_id: String,
    /// The tree by which its content is checked, and that tree's id. Of content wanted by its SHA-256 hash it is a hint: it comes
    /// and goes.
    tree: Option<(Hash, String)>,
}

impl Job {
    fn new(download: Download) -> Job {
        let wire_id = download.id().to_string();
        let mut job = Job { download, wire_id, tree: None };
        job.follow_hint();
        job
    }

    /// Notes by which tree the download checks its content now.
    pub(super) fn follow_hint(&mut self) {
        let root = self.download.tree_root();
        if self.tree.as_ref().map(|(root, _)| *root) == root {
            return;
        }
        self.tree = root.map(|root| (root, ContentId::Tree(root).to_string()));
        if let (Some(root), ContentId::Sha256(_)) = (root, self.download.id()) {
            let hint = ContentId::Blake3(root);
            log::info!("{}: checked while it comes by the tree of {hint}, as a peer says", self.wire_id);
        }
    }

    pub(super) fn tree_id(&self) -> Option<&str> {
        self.tree.as_ref().map(|(_, id)| &**id)
    }
}

/// All downloads. The other machines may look at them; only the client changes them.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    /// Those that are looked at whenever something happens.
    by_job: BTreeMap<JobId, Box<Job>>,
    /// Those of which all that is missing is on its way: there can be hundreds. Each is looked at again when something happens to it, or
    /// its time has come.
    // Invariant: none of `by_job`.
    resting: BTreeMap<JobId, Box<Job>>,
    // Invariant: the same by their times.
    rest_until: BTreeSet<(Time, JobId)>,
    /// Those that rest and are still to be asked for, whenever there is room. Some of them do not rest any more.
    fresh: VecDeque<JobId>,
    /// Some came since somebody was asked.
    fresh_came: bool,
    /// It is their turn.
    fresh_turn: bool,
    // Invariant: each id of a job in `by_job` or `resting`.
    by_id: BTreeMap<ContentId, JobId>,
    next: u32,
    /// The job that the last block was for.
    last_taken: Option<JobId>,
}

impl Downloads {
    /// The download of a job.
    pub(crate) fn get(&self, job: JobId) -> Option<&Download> {
        self.job(job).map(|job| &job.download)
    }

    /// The download of some content.
    pub(crate) fn of(&self, id: &ContentId) -> Option<&Download> {
        self.get(self.job_of(id)?)
    }

    /// The job that downloads some content.
    pub(crate) fn job_of(&self, id: &ContentId) -> Option<JobId> {
        self.by_id.get(id).copied()
    }

    /// The id by which a job asks.
    pub(crate) fn wire_id(&self, job: JobId) -> Option<&str> {
        self.job(job).map(|job| &*job.wire_id)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &Download)> {
        self.by_job.iter().chain(&self.resting).map(|(&job, state)| (job, &state.download))
    }

    /// What an id on the wire is a part of, where it is downloaded.
    pub(crate) fn find(&self, wire_id: &str) -> Option<(JobId, Space)> {
        // Most of what comes is content of the same download as the block before.
        if let Some(last) = self.last_taken
            && self.job(last).is_some_and(|job| job.wire_id == wire_id)
        {
            return Some((last, Space::Content));
        }
        let id = ContentId::parse(wire_id).ok()?;
        let space = if matches!(id, ContentId::Tree(_)) { Space::Tree } else { Space::Content };
        let hinted = || self.hinted_by(wire_id, JobId(u32::MAX));
        self.job_of(&id).or_else(hinted).map(|job| (job, space))
    }

    /// Another job than `but` that follows a hint to this tree.
    pub(super) fn hinted_by(&self, tree_id: &str, but: JobId) -> Option<JobId> {
        let mut jobs = self.by_job.iter().filter(|(_, job)| job.tree_id() == Some(tree_id));
        jobs.find(|(job, _)| **job != but).map(|(&job, _)| job)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_job.is_empty() && self.resting.is_empty()
    }

    /// The most that any of them keeps.
    pub(super) fn kept(&self) -> Kept {
        self.iter().map(|(_, download)| download.kept()).fold(Kept::default(), Kept::max)
    }

    /// When one of them wants to be called again.
    pub(super) fn next_at(&self) -> Time {
        if self.fresh_came {
            return Time::ZERO;
        }
        let awake = self.by_job.values().map(|job| job.download.next_wake()).min();
        let resting = self.rest_until.first().map(|&(at, _)| at);
        awake.into_iter().chain(resting).min().unwrap_or(Time::NEVER)
    }

    /// Starts one. Content that is downloaded already is not downloaded twice: the same job is returned.
    pub(super) fn start(&mut self, now: Time, spec: Spec, random: &mut fastrand::Rng) -> JobId {
        if let Some(job) = self.job_of(&spec.id) {
            return job;
        }
        let job = self.allot();
        self.by_id.insert(spec.id.clone(), job);
        if let ContentId::Blake3(root) = spec.id {
            self.by_id.insert(ContentId::Tree(root), job);
        }
        self.by_job.insert(job, Box::new(Job::new(Download::new(now, job, spec, random.u64(..)))));
        job
    }

    /// The number of the next job, whatever it fetches.
    pub(super) fn allot(&mut self) -> JobId {
        self.next += 1;
        JobId(self.next - 1)
    }

    /// Forgets one, and returns it.
    pub(super) fn remove(&mut self, job: JobId) -> Option<Download> {
        self.wake(job);
        let ended = self.by_job.remove(&job)?;
        let id = ended.download.id();
        self.by_id.remove(id);
        if let ContentId::Blake3(root) = id {
            self.by_id.remove(&ContentId::Tree(*root));
        }
        Some(ended.download)
    }

    pub(super) fn job(&self, job: JobId) -> Option<&Job> {
        self.by_job.get(&job).or_else(|| self.resting.get(&job)).map(|job| &**job)
    }

    pub(super) fn job_mut(&mut self, job: JobId) -> Option<&mut Job> {
        self.wake(job);
        self.by_job.get_mut(&job).map(|job| &mut **job)
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Download> {
        self.job_mut(job).map(|job| &mut job.download)
    }

    /// Lets one rest where all that is missing is on its way and it has nothing to tell.
    pub(super) fn rest(&mut self, now: Time, job: JobId) {
        let until = self.by_job.get(&job).and_then(|job| job.download.rests_until(now));
        if let Some(until) = until
            && let Some(resting) = self.by_job.remove(&job)
        {
            self.rest_until.insert((until, job));
            self.resting.insert(job, resting);
        }
    }

    /// Lets one rest that has one source and is still to be asked for.
    pub(super) fn rest_fresh(&mut self, now: Time, job: JobId) {
        self.rest(now, job);
        if self.resting.contains_key(&job) {
            self.fresh.push_back(job);
            self.fresh_came = true;
        }
    }

    /// Whether some came that are to be asked for. Says so once.
    pub(super) fn take_fresh_came(&mut self) -> bool {
        std::mem::take(&mut self.fresh_came)
    }

    fn wake(&mut self, job: JobId) {
        if self.resting.is_empty() {
            return;
        }
        if let Some(resting) = self.resting.remove(&job) {
            if let Some(until) = resting.download.rests_until(Time::ZERO) {
                self.rest_until.remove(&(until, job));
            }
            self.by_job.insert(job, resting);
        }
    }

    /// Lets one rest that is over, until it is forgotten.
    pub(super) fn lay_aside(&mut self, job: JobId) {
        if self.by_job.get(&job).is_some_and(|job| job.download.has_told_all())
            && let Some(over) = self.by_job.remove(&job)
        {
            self.resting.insert(job, over);
        }
    }

    /// Looks again at those that have rested long enough.
    pub(super) fn wake_due(&mut self, now: Time) {
        while let Some(&(at, job)) = self.rest_until.first()
            && at <= now
        {
            self.wake(job);
            self.rest_until.remove(&(at, job));
        }
    }

    /// All of them, those included that rest.
    pub(super) fn wake_all(&mut self) -> impl Iterator<Item = (JobId, &mut Download)> {
        self.rest_until.clear();
        self.fresh.clear();
        self.by_job.append(&mut self.resting);
        self.all_mut()
    }

    /// All that do not rest.
    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = (JobId, &mut Download)> {
        self.by_job.iter_mut().map(|(&job, state)| (job, &mut state.download))
    }

    pub(super) fn follow_hints(&mut self) {
        self.by_job.values_mut().for_each(|job| job.follow_hint());
    }

    /// The block that came last was for this job.
    pub(super) fn on_taken(&mut self, job: JobId) {
        self.last_taken = Some(job);
    }

    pub(super) fn poll_event(&mut self) -> Option<(JobId, DownloadEvent)> {
        self.all_mut().find_map(|(job, download)| Some((job, download.poll_event()?)))
    }

    /// The first that has something to `ask`: they take turns, and the one that asked last goes on, or comes after the others.
    pub(super) fn ask_in_turn(
        &mut self,
        last: JobId,
        goes_on: bool,
        mut ask: impl FnMut(&mut Job) -> Option<Ask>,
    ) -> Option<(JobId, Ask)> {
        // So do all that are fresh and all others.
        self.fresh_turn ^= !goes_on;
        if self.fresh_turn
            && let Some(found) = self.ask_fresh(&mut ask)
        {
            return Some(found);
        }
        let turn = if goes_on { Included(last) } else { Excluded(last) };
        let mut wanted = |(&id, job): (&JobId, &mut Box<Job>)| Some((id, ask(job)?));
        let found = self.by_job.range_mut((turn, Unbounded)).find_map(&mut wanted);
        let found = found.or_else(|| self.by_job.range_mut(..=last).find_map(&mut wanted));
        found.or_else(|| self.ask_fresh(&mut ask))
    }

    fn ask_fresh(&mut self, ask: &mut impl FnMut(&mut Job) -> Option<Ask>) -> Option<(JobId, Ask)> {
        while let Some(job) = self.fresh.pop_front() {
            if !self.resting.contains_key(&job) {
                continue;
            }
            // Where it is not asked for now, it is looked at like any other from now on.
            if let Some(ask) = self.job_mut(job).and_then(&mut *ask) {
                return Some((job, ask));
            }
        }
        None
    }
}
