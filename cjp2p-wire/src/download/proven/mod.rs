//! Content that is checked as it comes: its BLAKE3 hash is known, and its tree is fetched beside it.
//!
//! The length is what each source claims until the last leaf proves it. So there is an [`Assembly`] for each length claimed, and what
//! a source sends counts only under its own claim. Under each claim the last leaf and the runs of the tree above it are fetched
//! first; under the only claim right after the first leaf that is wanted. The first claim that is proven is the truth.

mod claims;

use std::ops::Range;

pub use claims::{CLAIM_TIMEOUT, MAX_CLAIMS};

use claims::Claims;

use super::assembly::{Assembly, Check};
use super::interface::{DownloadEvent, Failure, Resume};
use super::range_spec::{RangeSpec, select};
use super::reports::Reports;
use super::sources::Sources;
use crate::content_id::Hash;
use crate::range_set::RangeSet;
use crate::store::JobId;
use crate::time::Time;

/// What came of settling which claims are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// This length is proven now.
    pub(super) proven: Option<u64>,
    /// A claim is tried that was not before.
    pub(super) begins: bool,
}

/// One content that is checked as it comes.
#[derive(Debug)]
pub(super) struct Proven {
    job: JobId,
    /// Without it nothing can be checked, and so nothing is taken.
    root: Option<Hash>,
    /// What is wanted of it, in order; if empty, all.
    ranges: Vec<RangeSpec>,
    // Invariant: at most one is proven, and once its length is reported it is the only one.
    assemblies: Vec<Assembly>,
    claims: Claims,
    is_reported: bool,
}

impl Proven {
    pub(super) fn new(job: JobId, root: Option<Hash>, ranges: Vec<RangeSpec>) -> Proven {
        Proven { job, root, ranges, assemblies: Vec::new(), claims: Claims::new(), is_reported: false }
    }

    /// Goes on with what an interrupted download had, if that can be checked.
    pub(super) fn resume(&mut self, resume: Resume, reports: &mut Reports) {
        let fits = |root: &Hash| self.root.as_ref() == Some(root);
        let verifier =
            resume.verifier.filter(|tree| fits(tree.root()) && tree.geometry().length() == resume.length);
        let Some(verifier) = verifier else { return };
        let goal = select(&self.ranges, resume.length);
        let mut assembly = Assembly::new(self.job, resume.length, Check::Tree(verifier), resume.done, goal);
        assembly.wait_for_checks(&resume.unchecked);
        let is_proven = assembly.is_proven();
        self.assemblies.push(assembly);
        if is_proven {
            self.report_length(resume.length, reports);
        }
        self.check_complete(reports);
    }

    /// From now on these ranges are wanted, in order.
    pub(super) fn want(&mut self, ranges: Vec<RangeSpec>, reports: &mut Reports) {
        for assembly in &mut self.assemblies {
            assembly.set_goal(select(&ranges, assembly.length()));
        }
        self.ranges = ranges;
        if let Some(length) = self.length().filter(|_| self.is_reported) {
            self.fail_past_the_end(length, reports);
        }
        if !reports.is_over() {
            self.check_complete(reports);
        }
    }

    pub(super) fn root(&self) -> Option<Hash> {
        self.root
    }

    pub(super) fn assemblies(&self) -> &[Assembly] {
        &self.assemblies
    }

    pub(super) fn assemblies_mut(&mut self) -> &mut [Assembly] {
        &mut self.assemblies
    }

    /// The length, once it is proven.
    pub(super) fn length(&self) -> Option<u64> {
        self.assemblies.iter().find(|a| a.is_proven()).map(Assembly::length)
    }

    /// How many claims are remembered.
    pub(super) fn claims(&self) -> usize {
        self.claims.len()
    }

    /// When claims are to be settled though nothing comes.
    pub(super) fn settle_at(&self) -> Time {
        self.claims.settle_at()
    }

    /// The length is proven. A range that is not there cannot be had from any source.
    fn report_length(&mut self, length: u64, reports: &mut Reports) {
        self.is_reported = true;
        reports.push(DownloadEvent::Length(length));
        self.fail_past_the_end(length, reports);
    }

    fn fail_past_the_end(&self, length: u64, reports: &mut Reports) {
        if let Some(nth) = self.ranges.iter().position(|range| range.is_past_the_end(length)) {
            reports.fail(Failure::PastTheEnd { nth, length });
        }
    }

    /// Content so short that no assembly was needed is all here.
    pub(super) fn complete_at_once(&mut self, length: u64, reports: &mut Reports) {
        self.assemblies = vec![Assembly::finished(self.job, length, select(&self.ranges, length))];
        self.report_length(length, reports);
        if !reports.is_over() {
            reports.complete(length);
        }
    }

    pub(super) fn check_complete(&mut self, reports: &mut Reports) {
        let complete = self.assemblies.iter().find(|a| a.picker().is_complete());
        if let Some(assembly) = complete
            && assembly.is_proven()
            && !reports.is_over()
        {
            reports.complete(assembly.length());
        }
    }

    /// Drops claims that are refuted or superseded, and tries others where there is room or others had their time.
    pub(super) fn settle(&mut self, now: Time, sources: &mut Sources, reports: &mut Reports) -> Settled {
        self.claims.put_off();
        if reports.is_over() {
            return Settled::default();
        }
        if !self.is_reported {
            sources.note_change();
        }
        if let Some(proven) = self.assemblies.iter().position(|a| a.is_proven()) {
            if self.is_reported {
                return Settled::default();
            }
            let assembly = self.assemblies.swap_remove(proven);
            let length = assembly.length();
            self.assemblies = vec![assembly];
            self.claims = Claims::new();
            self.report_length(length, reports);
            return Settled { proven: Some(length), begins: false };
        }
        let Proven { job, root, ranges, assemblies, claims, .. } = self;
        let begin = |length| {
            let check = Check::new((*root)?, length)?;
            Some(Assembly::new(*job, length, check, RangeSet::new(), select(ranges, length)))
        };
        Settled { proven: None, begins: claims.choose(now, sources, assemblies, begin) }
    }

    /// What is unchecked of `range` is verified now, and `right` is right. Returns whether something was wrong.
    pub(super) fn on_checked(&mut self, range: &Range<u64>, right: &RangeSet) -> bool {
        let wrong = self.assemblies.iter_mut().map(|assembly| assembly.on_checked(range, right));
        wrong.fold(false, |any, is_wrong| any | is_wrong)
    }
}
