//! Fetching one piece of content from many sources, of which any may lie, lose, or fall silent.
//!
//! The length of the content is what each source claims until the last leaf proves it, so a fetch keeps one
//! `Assembly` for each length claimed, and judges what a source sends only under its own claim. Under each claim the
//! last leaf and the runs of the tree above it are fetched first. The first claim that is proven is the truth.
//!
//! An id that is verified only as a whole has no such proof: there one claim after the other is tried, staged apart,
//! and judged by whoever holds all of it ([`Download::on_verdict`]). Where a source names the BLAKE3 id of the same content,
//! its tree serves as a hint that is right until shown to be wrong.

mod asking;
mod assembly;
mod attempt;
mod checking;
mod claims;
mod exchange;
mod hint;
mod intake;
mod interface;
mod kept;
mod leechers;
mod looking;
mod range_spec;
mod rechecking;
mod source;
mod timing;
mod withdrawn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use assembly::{Assembly, Check};
pub use claims::{CLAIM_TIMEOUT, MAX_CLAIMS};
use hint::Hints;
pub use interface::{Ask, Block, DownloadEvent, Failure, PathTerms, Progress, Resume, Spec};
pub(crate) use kept::Kept;
pub use leechers::{MAX_LEECHERS, WantedHosts};
pub use range_spec::{RangeSpec, select};
use source::{Source, Standing};

use crate::content_id::ContentId;
pub use crate::pieces::Space;
use crate::range_set::RangeSet;
use crate::store::JobId;
use crate::time::Time;
use crate::tree::TreeVerifier;

/// An attempt that brings nothing for so long is put off for another.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often an idle source looks whether it can help a slow one.
pub const HELP_INTERVAL: Duration = Duration::from_millis(20);
/// So many sources are asked as soon as they are named. Of a longer list the rest is asked little by little, if need be.
const MANY_SOURCES: usize = 128;

/// One fetch.
#[derive(Debug)]
pub struct Download {
    job: JobId,
    id: ContentId,
    /// What is wanted of it, in order; if empty, all.
    ranges: Vec<RangeSpec>,
    sources: BTreeMap<SocketAddr, Source>,
    /// Who alone may be a source, where not everybody may.
    only_from: Option<BTreeSet<SocketAddr>>,
    // Invariant: at most one is proven, and then it is the only one. For content verified as a whole, at most one.
    assemblies: Vec<Assembly>,
    /// The claims that are tried or were, while none is proven.
    claims_tried: BTreeMap<u64, claims::Tried>,
    /// When to look at claims that wait.
    settle_at: Time,
    hints: Hints,
    /// In an attempt with one source only: which.
    only: Option<SocketAddr>,
    /// Sources whose attempt brought nothing.
    // Invariant: at most `MAX_SET_ASIDE`, but for those that are sources yet.
    put_off: BTreeSet<SocketAddr>,
    /// Who sent what is staged: the first `ENOUGH_STAGERS`.
    stagers: BTreeSet<SocketAddr>,
    /// Some of what is staged was here before.
    resumed: bool,
    one_at_a_time: bool,
    waits_for_verdict: bool,
    length_told: bool,
    ended: bool,
    in_order: bool,
    /// Nothing is fetched, only looked for.
    looks_only: bool,
    random: fastrand::Rng,
    /// What sources say that they have has changed since it was counted.
    have_changed: bool,
    /// Whether any source fetches as we do.
    has_leechers: bool,
    review_at: Time,
    exchange_at: Time,
    replaced_at: Time,
    /// Not later than any time that a source waits for.
    wake_at: Time,
    /// Something changed that may matter to sources with nothing to ask for.
    changed: bool,
    started: Time,
    /// When something new came that was not found wrong since.
    last_news: Time,
    /// Not before this: what came until then is verified, or there was nothing to wait for.
    news_since: Time,
    /// The destination held everything up, when that was last looked at.
    held_up: bool,
    attempt_since: Time,
    /// When to look whether all who had it say that they no longer do; never while nobody says so.
    withdrawn_at: Time,
    /// Whether what the attempt brings is worth waiting for.
    attempt_pace: attempt::Pace,
    /// Bytes that an attempt may bring before a shorter length is tried in its place.
    attempt_bytes: u64,
    found: bool,
    lied_to: bool,
    source_timeout: Duration,
    stall_timeout: Duration,
    received: u64,
    wasted: u64,
    events: VecDeque<DownloadEvent>,
}

impl Download {
    /// Starts a fetch. Empty content needs no peer: it is complete at once.
    ///
    /// All random choices follow from `seed`.
    pub fn new(now: Time, job: JobId, spec: Spec, seed: u64) -> Download {
        let mut fetch = Download {
            job,
            ranges: if matches!(spec.id, ContentId::Blake3(_)) { spec.ranges } else { Vec::new() },
            id: spec.id,
            sources: BTreeMap::new(),
            only_from: None,
            assemblies: Vec::new(),
            claims_tried: BTreeMap::new(),
            settle_at: Time::NEVER,
            hints: Hints::default(),
            only: None,
            put_off: BTreeSet::new(),
            stagers: BTreeSet::new(),
            resumed: false,
            one_at_a_time: false,
            waits_for_verdict: false,
            length_told: false,
            ended: false,
            in_order: spec.in_order,
            looks_only: false,
            random: fastrand::Rng::with_seed(seed),
            have_changed: false,
            has_leechers: false,
            review_at: now,
            exchange_at: now + leechers::REVIEW_INTERVAL,
            replaced_at: now,
            wake_at: Time::NEVER,
            changed: false,
            started: now,
            last_news: now,
            news_since: now,
            held_up: false,
            attempt_since: now,
            withdrawn_at: Time::NEVER,
            attempt_pace: attempt::Pace::new(now),
            attempt_bytes: attempt::LITTLE,
            found: false,
            lied_to: false,
            source_timeout: spec.source_timeout,
            stall_timeout: spec.stall_timeout,
            received: 0,
            wasted: 0,
            events: VecDeque::new(),
        };
        if is_hash_of_nothing(&fetch.id) {
            fetch.complete_at_once(0);
        } else if let Some(resume) = spec.resume {
            fetch.resume(resume);
        }
        fetch
    }

    fn resume(&mut self, resume: Resume) {
        let check = match (&self.id, resume.verifier) {
            (ContentId::Blake3(root), Some(verifier)) => {
                let fits = verifier.root() == root && verifier.geometry().length() == resume.length;
                fits.then_some(Check::Tree(verifier))
            }
            (ContentId::Blake3(_) | ContentId::Tree(_), _) => None,
            (ContentId::Sha256(_) | ContentId::Name(_), _) => Some(Check::AtTheEnd),
        };
        let Some(check) = check else { return };
        let goal = select(&self.ranges, resume.length);
        let mut assembly = Assembly::new(self.job, resume.length, check, resume.done, goal);
        assembly.wait_for_checks(&resume.unchecked);
        let is_proven = assembly.is_proven;
        self.assemblies.push(assembly);
        if is_proven {
            self.tell_length(resume.length);
        }
        self.resumed = true;
        self.check_complete();
    }

    /// What is fetched.
    pub fn id(&self) -> &ContentId {
        &self.id
    }

    /// Whether content of this id can only be verified as a whole, or not at all.
    fn is_staged(&self) -> bool {
        matches!(self.id, ContentId::Sha256(_) | ContentId::Name(_))
    }

    /// Another peer that may have the content. `suggested`: by somebody we know nothing of, so it is asked sparingly.
    pub fn add_source(&mut self, now: Time, address: SocketAddr, suggested: bool) {
        self.sources.entry(address).or_insert_with(|| Source::new(now, suggested));
        self.wake_for(address);
    }

    /// Forgets a source that never answered.
    pub fn forget_source(&mut self, address: SocketAddr) {
        if self.sources.remove(&address).is_some() {
            self.release(address);
            for assembly in &mut self.assemblies {
                assembly.picker.forget_used_up(address);
            }
        }
    }

    /// Whether it is over, well or not.
    pub fn is_over(&self) -> bool {
        self.ended
    }

    /// Whether there are so many sources that more had better wait.
    pub fn has_many_sources(&self) -> bool {
        self.sources.len() >= MANY_SOURCES
    }

    /// Whether this peer was ever named as a source.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.sources.contains_key(&address)
    }

    /// Who sent some of the content and still does.
    pub fn serving(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sources
            .iter()
            .filter(|(_, source)| source.standing == Standing::Serving)
            .map(|(&address, _)| address)
    }

    /// Some of these: of `most` sources, beginning at an address.
    pub fn serving_near(&self, address: SocketAddr, most: usize) -> impl Iterator<Item = SocketAddr> + '_ {
        let some = self.sources.range(address..).chain(self.sources.range(..address)).take(most);
        some.filter(|(_, source)| source.standing == Standing::Serving).map(|(&address, _)| address)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let assembly = self.assembly();
        let known = assembly.filter(|a| a.is_proven || self.is_staged());
        Progress {
            done: assembly.map_or(0, |a| a.picker.wanted_done()),
            length: known.map(Assembly::length),
            wanted: known.map(|a| a.picker.wanted()),
            sources: self.serving().count(),
            received: self.received,
            wasted: self.wasted,
        }
    }

    /// The largest length claimed and not refuted.
    pub fn claimed_length(&self) -> Option<u64> {
        self.assemblies.iter().map(Assembly::length).max()
    }

    /// What is verified and written so far.
    pub fn done(&self) -> Option<&RangeSet> {
        self.assembly().map(Assembly::done)
    }

    /// The proven part of the tree, once the length is proven; for content wanted by its SHA-256 hash, once it is complete,
    /// if all of it was checked by a tree too.
    pub fn verifier(&self) -> Option<&TreeVerifier> {
        let may_be_false = self.is_staged() && !self.has_proven_hint();
        self.assembly().filter(|a| a.is_proven && !may_be_false).and_then(|a| a.check.verifier())
    }

    /// The one that is proven, or the one that is furthest.
    fn assembly(&self) -> Option<&Assembly> {
        self.assemblies.iter().max_by_key(|a| (a.is_proven, a.done().total()))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DownloadEvent> {
        self.events.pop_front()
    }

    fn check_complete(&mut self) {
        if self.ended {
            return;
        }
        let Some(assembly) = self.assemblies.iter().find(|a| a.picker.is_complete()) else {
            return;
        };
        let length = assembly.length();
        if self.is_staged() {
            if !self.waits_for_verdict {
                self.waits_for_verdict = true;
                self.events.push_back(DownloadEvent::Staged(length));
            }
        } else if assembly.is_proven {
            self.complete(length);
        }
    }

    /// The length is proven. A range that is not there cannot be had from anybody.
    fn tell_length(&mut self, length: u64) {
        self.length_told = true;
        self.events.push_back(DownloadEvent::Length(length));
        if let Some(nth) = self.ranges.iter().position(|range| range.is_past_the_end(length)) {
            self.fail(Failure::PastTheEnd { nth, length });
        }
    }

    /// Content so short that no assembly was needed is all here.
    fn complete_at_once(&mut self, length: u64) {
        self.assemblies = vec![Assembly::finished(self.job, length, select(&self.ranges, length))];
        self.tell_length(length);
        if !self.ended {
            self.complete(length);
        }
    }

    /// All that is wanted of content of this length is here.
    fn complete(&mut self, length: u64) {
        self.ended = true;
        self.events.push_back(DownloadEvent::Complete(length));
    }

    fn fail(&mut self, why: Failure) {
        self.ended = true;
        self.events.push_back(DownloadEvent::Failed(why));
    }
}

/// The assembly in which a source with this claim takes part.
fn assembly_for(assemblies: &[Assembly], claim: Option<u64>) -> Option<usize> {
    assemblies.iter().position(|a| match claim {
        Some(length) => a.length() == length,
        None => a.is_proven,
    })
}

fn is_hash_of_nothing(id: &ContentId) -> bool {
    match id {
        ContentId::Blake3(hash) => blake3::hash(b"").as_bytes() == hash,
        ContentId::Sha256(hash) => {
            use sha2::Digest;
            sha2::Sha256::digest(b"")[..] == hash[..]
        }
        ContentId::Tree(_) | ContentId::Name(_) => false,
    }
}
