//! Content that is checked only as a whole: it is wanted by its SHA-256 hash, or by a name.
//!
//! Nothing proves a length there. One claim after the other is tried, staged apart, and judged when all of it is there. After a
//! mismatch one source after the other is tried, so that the blame falls on that one alone. Where a source names the BLAKE3 hash of the
//! same content, its tree serves as a hint that is right until shown to be wrong.

mod attempt;
mod hint;
mod pace;
mod put_off;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use pace::Pace;
pub(super) use put_off::MAX_SET_ASIDE;
use put_off::PutOff;

use super::assembly::{Assembly, Check};
use super::interface::{DownloadEvent, Resume};
use super::range_spec::select;
use super::reports::Reports;
use crate::content_id::Hash;
use crate::store::JobId;
use crate::time::Time;
use crate::tree::TreeVerifier;

/// An attempt that brings nothing for so long makes way for another.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes that an attempt may bring at first before a shorter length is tried in its place. Fewer are not missed.
const LITTLE: u64 = 1 << 20;
/// A hint that a source contradicts is tried for so long at first, and twice as long each time that one was given up. By
/// then it should be judged; or its giver sends just enough to keep others from being heard.
const HINT_TIMEOUT: Duration = Duration::from_secs(600);
/// False hints that are remembered: each cost its giver the whole content.
pub(super) const MAX_REFUTED: usize = 1024;
/// Sources remembered of those that sent what is staged. A single one can be blamed for it; of several it is not known which.
pub(super) const ENOUGH_STAGERS: usize = 2;

/// One content that is checked as a whole.
#[derive(Debug)]
pub(super) struct Staged {
    job: JobId,
    /// It is wanted by its SHA-256 hash, so that hints help, and it cannot be empty. Otherwise it is wanted by a name.
    by_hash: bool,
    assembly: Option<Assembly>,
    attempt: Attempt,
    /// Sources whose attempt brought nothing.
    put_off: PutOff,
    hints: Hints,
    /// After a mismatch of several sources, each attempt is with one only.
    one_at_a_time: bool,
    waits_for_verdict: bool,
}

/// The attempt that is being made.
#[derive(Debug)]
struct Attempt {
    /// It is made with this source only.
    only: Option<SocketAddr>,
    /// When it last brought something new.
    news_at: Time,
    /// Whether what it brings is worth waiting for.
    pace: Pace,
    /// Bytes that it may bring before a shorter length is tried in its place.
    most: u64,
    /// Sources that sent what is staged: the first `ENOUGH_STAGERS`.
    stagers: BTreeSet<SocketAddr>,
    /// Some of what is staged was here before.
    resumed: bool,
}

/// What is made of hints.
#[derive(Debug)]
struct Hints {
    /// BLAKE3 hashes of other content.
    // Invariant: at most `MAX_REFUTED`.
    refuted: BTreeSet<Hash>,
    /// All that is staged was checked by the hint that is in use.
    cover_all: bool,
    /// The whole was right, and all of it was checked by the hint.
    proven: bool,
    /// When the one in use was taken up.
    since: Time,
    timeout: Duration,
}

/// Entries in its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct StagedSizes {
    /// Sources that an attempt put off, or that sent what is staged.
    pub(super) noted: usize,
    /// Hints that were false.
    pub(super) refuted: usize,
}

impl Staged {
    pub(super) fn new(now: Time, job: JobId, by_hash: bool) -> Staged {
        Staged {
            job,
            by_hash,
            assembly: None,
            attempt: Attempt {
                only: None,
                news_at: now,
                pace: Pace::new(now),
                most: LITTLE,
                stagers: BTreeSet::new(),
                resumed: false,
            },
            put_off: PutOff::default(),
            hints: Hints {
                refuted: BTreeSet::new(),
                cover_all: false,
                proven: false,
                since: Time::ZERO,
                timeout: HINT_TIMEOUT,
            },
            one_at_a_time: false,
            waits_for_verdict: false,
        }
    }

    /// Goes on with what an interrupted download staged.
    pub(super) fn resume(&mut self, resume: Resume, reports: &mut Reports) {
        let goal = select(&[], resume.length);
        self.assembly = Some(Assembly::new(self.job, resume.length, Check::AtTheEnd, resume.done, goal));
        self.attempt.resumed = true;
        self.check_complete(reports);
    }

    pub(super) fn is_by_hash(&self) -> bool {
        self.by_hash
    }

    pub(super) fn assemblies(&self) -> &[Assembly] {
        self.assembly.as_slice()
    }

    pub(super) fn assemblies_mut(&mut self) -> &mut [Assembly] {
        self.assembly.as_mut_slice()
    }

    /// Everything is staged, and nothing is asked for until it is judged.
    pub(super) fn waits_for_verdict(&self) -> bool {
        self.waits_for_verdict
    }

    /// The length that is tried.
    pub(super) fn length(&self) -> Option<u64> {
        self.assembly.as_ref().map(Assembly::length)
    }

    /// The tree by which all of the content was checked that turned out right.
    pub(super) fn proven_tree(&self) -> Option<&TreeVerifier> {
        let assembly = self.assembly.as_ref().filter(|a| a.is_proven() && self.hints.proven)?;
        assembly.verifier()
    }

    /// Empty content is all here.
    pub(super) fn complete_at_once(&mut self, reports: &mut Reports) {
        self.assembly = Some(Assembly::finished(self.job, 0, select(&[], 0)));
        reports.push(DownloadEvent::Length(0));
        reports.complete(0);
    }

    pub(super) fn check_complete(&mut self, reports: &mut Reports) {
        let complete = self.assembly.as_ref().filter(|a| a.picker().is_complete());
        if let Some(assembly) = complete
            && !self.waits_for_verdict
            && !reports.is_over()
        {
            self.waits_for_verdict = true;
            reports.push(DownloadEvent::Staged(assembly.length()));
        }
    }

    pub(super) fn sizes(&self) -> StagedSizes {
        StagedSizes {
            noted: self.put_off.len() + self.attempt.stagers.len(),
            refuted: self.hints.refuted.len(),
        }
    }
}
