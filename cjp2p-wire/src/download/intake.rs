//! What comes from sources: which of them to believe about the length, and which to leave alone.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;

use super::assembly::checking::Outcome;
use super::context::Context;
use super::kind::Kind;
use super::source::Standing;
use super::sources::Fault;
use super::{Block, Download, Failure, RangeSpec, Space};
use crate::content_id::Hash;
use crate::range_set::RangeSet;
use crate::store::Sink;
use crate::time::Time;
use crate::tree::verify_whole;

impl Download {
    /// Takes in a block that `address` sent in answer to a request. Returns whether it was of use; where it was not,
    /// what was asked for must be given back with [`Download::on_lost`].
    pub fn on_block(
        &mut self,
        now: Time,
        address: SocketAddr,
        block: Block<'_>,
        sink: &mut dyn Sink,
    ) -> bool {
        if self.is_over() || self.sources.is_ignored(address) {
            return false;
        }
        if self.looks_only {
            return self.take_offer(now, address, &block);
        }
        let bytes = block.data.len() as u64;
        self.traffic.received += bytes;
        let used = self.take_claim(now, address, &block, sink) && self.take_bytes(now, address, &block, sink);
        if !used {
            self.traffic.wasted += bytes;
        }
        self.settle(now, sink);
        #[cfg(debug_assertions)]
        for assembly in self.kind.assemblies().iter().filter(|assembly| assembly.length() < 1 << 20) {
            assembly.picker().check_invariants();
        }
        used && !self.sources.is_ignored(address)
    }

    /// After some of it was checked: which claims and hints hold, and whether all is there.
    fn settle(&mut self, now: Time, sink: &mut dyn Sink) {
        self.settle_claims(now);
        if let Kind::Staged(staged) = &mut self.kind {
            let (sources, reports) = (&mut self.sources, &mut self.reports);
            staged.check_hint(&mut Context { now, sources, reports, sink });
        }
        self.kind.check_complete(&mut self.reports);
    }

    /// Bytes came that were asked for twice, or never.
    pub fn on_unwanted(&mut self, bytes: u64) {
        self.traffic.received += bytes;
        self.traffic.wasted += bytes;
    }

    /// Notes the length that the source claims. Returns whether its bytes are worth a look.
    fn take_claim(&mut self, now: Time, address: SocketAddr, block: &Block<'_>, sink: &mut dyn Sink) -> bool {
        if block.data.is_empty() && block.length != Some(0) {
            let claim = self.sources.claim_of(address);
            if let (Space::Content, Some(length), Some(_)) = (block.space, block.length, claim) {
                self.note_claim(now, address, length, block.answers);
            }
            return false;
        }
        let range = block.offset..block.offset + block.data.len() as u64;
        if let (Space::Content, Some(length)) = (block.space, block.length) {
            if range.end > length {
                let why = "it sent bytes past the end it claims";
                self.accuse(now, Fault { source: address, certain: block.answers, why });
                return false;
            }
            if !self.note_claim(now, address, length, block.answers) {
                return false;
            }
        }
        let Some(source) = self.sources.get_mut(address) else { return false };
        let claim = source.claim.length;
        let is_first_of_source = source.standing != Standing::Serving;
        source.on_serving();
        source.on_sent(block.data.len() as u64, block.answers);
        if block.space == Space::Content {
            source.has_after_all(range);
        }
        if self.limits.on_found() && is_first_of_source {
            self.limits.count_from(now);
        }
        match claim.filter(|_| is_first_of_source) {
            Some(length) => self.begin_claim(now, address, length, block, sink),
            None => true,
        }
    }

    /// Notes a length that the source claims; `answers`: from a validated address. Returns whether it may.
    pub(super) fn note_claim(&mut self, now: Time, address: SocketAddr, length: u64, answers: bool) -> bool {
        let Some(source) = self.sources.get_mut(address) else { return false };
        // What was said in its name before its address was validated, another node may have said.
        let replaces = source.claim.length.is_none() || (answers && !source.claim.is_its_own);
        if source.claim.length != Some(length) {
            if !replaces {
                let why = "it changed the length it claims";
                self.accuse(now, Fault { source: address, certain: answers, why });
                return false;
            }
            source.claim.length = Some(length);
            source.standing = Standing::Unknown;
        }
        if answers {
            source.own_claim();
        }
        true
    }

    /// A source claims a length for the first time: takes it up, unless one is proven already.
    pub(super) fn begin_claim(
        &mut self,
        now: Time,
        address: SocketAddr,
        length: u64,
        block: &Block<'_>,
        sink: &mut dyn Sink,
    ) -> bool {
        let (may_be_empty, proven) = match &self.kind {
            Kind::Proven(proven) => (false, proven.length()),
            Kind::Staged(staged) => (!staged.is_by_hash(), None),
        };
        if let Some(proven) = proven {
            if proven != length {
                let why = "the length it claims is not the proven one";
                self.accuse(now, Fault { source: address, certain: block.answers, why });
            }
            return proven == length;
        }
        if length == 0 && !may_be_empty {
            let why = "it says that the content is empty";
            self.accuse(now, Fault { source: address, certain: block.answers, why });
            return false;
        }
        match &mut self.kind {
            Kind::Staged(staged) => {
                let (sources, reports) = (&mut self.sources, &mut self.reports);
                staged.on_claim(address, length, &mut Context { now, sources, reports, sink });
            }
            Kind::Proven(proven) => {
                let Some(root) = proven.root() else { return false };
                let is_all = block.offset == 0 && block.data.len() as u64 == length;
                let whole = if is_all { block.data.to_contiguous() } else { Cow::Borrowed(&[][..]) };
                match is_all.then(|| verify_whole(&root, &whole)).flatten() {
                    Some(verified) => match sink.write(self.job, verified) {
                        Ok(()) => proven.complete_at_once(length, &mut self.reports),
                        Err(error) => self.reports.fail(Failure::Destination(error)),
                    },
                    None => self.settle_claims(now),
                }
            }
        }
        true
    }

    /// Drops claims that are refuted or superseded, and tries others where there is room or others had their time.
    pub(super) fn settle_claims(&mut self, now: Time) {
        let Kind::Proven(proven) = &mut self.kind else { return };
        let settled = proven.settle(now, &mut self.sources, &mut self.reports);
        if settled.begins {
            self.leechers.note_change();
        }
        if let Some(length) = settled.proven {
            self.accuse_all(now, self.sources.with_claims_other_than(length));
        }
    }

    /// Puts the bytes where they belong.
    fn take_bytes(&mut self, now: Time, address: SocketAddr, block: &Block<'_>, sink: &mut dyn Sink) -> bool {
        if self.is_over() {
            return true;
        }
        let Some(source) = self.sources.get(address) else { return false };
        if let Kind::Staged(staged) = &self.kind
            && (staged.waits_for_verdict() || !staged.takes_from(address, source))
        {
            return false;
        }
        let Some(assembly) = self.kind.assembly_for_mut(source.claim.length) else { return false };
        let is_contended = assembly.picker().is_contended();
        let taken = assembly.on_bytes(address, block.space, block.offset, block.data, sink);
        let outcome = match taken {
            Ok(outcome) => outcome,
            Err(error) => {
                self.reports.fail(Failure::Destination(error));
                return false;
            }
        };
        // Others wait where too much is being gathered.
        if is_contended || outcome.lacks_runs.is_some() || !outcome.liars.is_empty() {
            self.sources.note_change();
        }
        self.note_checked(now, &outcome);
        if outcome.new > 0 {
            self.limits.on_news(now);
            if let Some(source) = self.sources.get_mut(address) {
                source.on_news(now, outcome.new);
            }
            if let Kind::Staged(staged) = &mut self.kind {
                staged.on_news(now, address, outcome.new);
            }
        }
        self.traffic.wasted += (block.data.len() as u64).saturating_sub(outcome.new);
        self.blame(now, outcome.liars);
        true
    }

    fn note_checked(&mut self, now: Time, outcome: &Outcome) {
        if outcome.verified {
            self.limits.count_from(now);
        }
    }

    fn blame(&mut self, now: Time, liars: Vec<(SocketAddr, u64)>) {
        for (liar, bytes) in liars {
            self.traffic.wasted += bytes;
            self.on_wrong_bytes(now, liar);
        }
    }

    /// The destination may take more than before: what waited for that is checked and written.
    pub fn on_room(&mut self, now: Time, sink: &mut dyn Sink) {
        if self.is_over() {
            return;
        }
        let mut outcomes = Vec::new();
        for assembly in self.kind.assemblies_mut() {
            match assembly.on_room(sink) {
                Ok(outcome) => outcomes.push(outcome),
                Err(error) => return self.reports.fail(Failure::Destination(error)),
            }
        }
        for outcome in outcomes {
            if outcome.verified || !outcome.liars.is_empty() {
                self.sources.note_change();
            }
            self.note_checked(now, &outcome);
            self.blame(now, outcome.liars);
        }
        self.settle(now, sink);
    }

    /// What this source sent is wrong, or the hint by which it was checked.
    fn on_wrong_bytes(&mut self, now: Time, liar: SocketAddr) {
        self.sources.take_back_news_of(liar);
        self.limits.take_back_news(self.sources.last_news());
        if let (Kind::Staged(staged), Some(source)) = (&mut self.kind, self.sources.get_mut(liar))
            && staged.set_aside(source)
        {
            return self.release(liar);
        }
        let why = "it sent bytes that are not of this content";
        self.accuse(now, Fault { source: liar, certain: self.sources.gave_all(liar), why });
    }

    fn accuse_all(&mut self, now: Time, faults: Vec<Fault>) {
        for fault in faults {
            self.accuse(now, fault);
        }
    }
}

/// Content that is checked elsewhere: as a whole, or what an interrupted download wrote.
impl Download {
    /// Whether what was staged has the right hash, after [`DownloadEvent::Staged`](super::DownloadEvent::Staged).
    pub fn on_verdict(&mut self, now: Time, is_right: bool, sink: &mut dyn Sink) {
        let Kind::Staged(staged) = &mut self.kind else { return };
        if !staged.waits_for_verdict() || self.reports.is_over() {
            return;
        }
        self.limits.count_from(now);
        if is_right {
            let length = staged.length().unwrap_or(0);
            let is_by_hash = staged.is_by_hash();
            let contradicting = staged.on_right(&self.sources);
            self.accuse_all(now, contradicting);
            if is_by_hash {
                self.accuse_all(now, self.sources.with_claims_other_than(length));
            }
            return self.reports.complete(length);
        }
        let faults = staged.on_wrong(&mut self.sources);
        self.accuse_all(now, faults);
        if let Kind::Staged(staged) = &mut self.kind {
            let (sources, reports) = (&mut self.sources, &mut self.reports);
            staged.next_attempt(&mut Context { now, sources, reports, sink });
        }
    }

    /// Whether to ask this source, beside a request, which BLAKE3 id names the same content. Notes that it is asked.
    pub fn wants_hint(&mut self, now: Time, address: SocketAddr) -> bool {
        let Kind::Staged(staged) = &self.kind else { return false };
        let source = self.sources.get_mut(address).filter(|_| !self.looks_only);
        source.is_some_and(|source| staged.wants_hint(now, source))
    }

    /// A source with a validated address says that the content has this BLAKE3 hash. The first that it says counts.
    pub fn on_hint(&mut self, now: Time, address: SocketAddr, root: Hash, sink: &mut dyn Sink) {
        let Kind::Staged(staged) = &mut self.kind else { return };
        let source = self.sources.get_mut(address).filter(|_| staged.is_by_hash());
        if source.is_some_and(|source| source.hint.take(root)) {
            let (sources, reports) = (&mut self.sources, &mut self.reports);
            staged.follow_hint(address, &mut Context { now, sources, reports, sink });
        }
    }

    /// From now on these bytes are wanted, those first that come first, and no others. Only of content with a tree; any other is wanted
    /// whole. Returns whether it is still fetched: what is wanted of a download that is over needs another one.
    pub fn want(&mut self, now: Time, ranges: Vec<RangeSpec>) -> bool {
        let Kind::Proven(proven) = &mut self.kind else { return !self.reports.is_over() };
        if self.reports.is_over() {
            return false;
        }
        proven.want(ranges, &mut self.reports);
        self.limits.count_from(now);
        self.quiet_until = Time::ZERO;
        self.sources.note_change();
        true
    }

    /// What [`Resume::unchecked`](super::Resume::unchecked) has of `range` is verified now: what is in `right` is right, the
    /// rest is not and is fetched like anything else. Returns whether there is such a rest.
    pub fn on_checked(&mut self, now: Time, range: Range<u64>, right: &RangeSet) -> bool {
        if self.is_over() {
            return false;
        }
        if self.may_have_all() {
            self.limits.start_over(now);
        }
        let Kind::Proven(proven) = &mut self.kind else { return false };
        let is_wrong = proven.on_checked(&range, right);
        if is_wrong {
            self.sources.note_change();
        }
        self.kind.check_complete(&mut self.reports);
        is_wrong
    }

    /// Whether all that is wanted is on the disk, if what is still being verified is right. Then no source is asked for it.
    pub fn may_have_all(&self) -> bool {
        self.kind.assemblies().iter().any(|assembly| assembly.picker().waits_for_destination(u64::MAX))
    }
}
