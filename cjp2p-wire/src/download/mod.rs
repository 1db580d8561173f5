//! Fetching one content from many sources, of which any may lie, lose, or fall silent.
//!
//! A [`Download`] is its sources and what is made of their claims about the length: `Proven` where the content is checked as it
//! comes, `Staged` where it is checked as a whole. Which part to ask which source for is the picker's choice
//! ([`pieces`](crate::pieces)).

mod asking;
mod assembly;
mod context;
mod exchange;
mod holders;
mod intake;
mod interface;
mod kind;
mod leechers;
mod limits;
mod looking;
mod proven;
mod range_spec;
mod reports;
mod sizes;
mod source;
mod sources;
mod staged;
mod timing;
mod withdrawal;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use assembly::Assembly;
pub use interface::{Ask, Block, DownloadEvent, Failure, PathTerms, Progress, Resume, Spec};
use kind::Kind;
use leechers::Leechers;
pub use leechers::{MAX_LEECHERS, WantedHosts};
use limits::Limits;
use proven::Proven;
pub use proven::{CLAIM_TIMEOUT, MAX_CLAIMS};
pub use range_spec::{RangeSpec, select};
use reports::Reports;
pub(crate) use sizes::Kept;
use sources::{Fault, Sources};
pub use staged::ATTEMPT_TIMEOUT;
use staged::Staged;
use withdrawal::Withdrawal;

use crate::content_id::{ContentId, Hash};
pub use crate::pieces::Space;
use crate::range_set::RangeSet;
use crate::store::JobId;
use crate::time::Time;
use crate::tree::TreeVerifier;

/// How often an idle source looks whether it can help a slow one.
pub const HELP_INTERVAL: Duration = Duration::from_millis(20);
/// So many sources are asked as soon as they are named. Of a longer list the rest is asked little by little, if need be.
const MANY_SOURCES: usize = 128;

/// One content that is fetched.
#[derive(Debug)]
pub struct Download {
    job: JobId,
    id: ContentId,
    sources: Sources,
    kind: Kind,
    leechers: Leechers,
    limits: Limits,
    withdrawal: Withdrawal,
    traffic: Traffic,
    reports: Reports,
    in_order: bool,
    /// Nothing is fetched, only looked for.
    looks_only: bool,
    /// All that is missing is asked for, and until then no source is asked for anything more.
    quiet_until: Time,
}

/// Bytes that came.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    received: u64,
    /// Bytes of them that were of no use.
    wasted: u64,
}

impl Download {
    /// Starts a download. Empty content needs no peer: it is complete at once.
    ///
    /// All random choices follow from `seed`.
    pub fn new(now: Time, job: JobId, spec: Spec, seed: u64) -> Download {
        let kind = match &spec.id {
            ContentId::Blake3(root) => Kind::Proven(Proven::new(job, Some(*root), spec.ranges)),
            ContentId::Tree(_) => Kind::Proven(Proven::new(job, None, Vec::new())),
            ContentId::Sha256(_) => Kind::Staged(Box::new(Staged::new(now, job, true))),
            ContentId::Name(_) => Kind::Staged(Box::new(Staged::new(now, job, false))),
        };
        let is_empty = is_hash_of_nothing(&spec.id);
        let mut download = Download {
            job,
            id: spec.id,
            sources: Sources::new(),
            kind,
            leechers: Leechers::new(now, seed),
            limits: Limits::new(now, spec.source_timeout, spec.stall_timeout),
            withdrawal: Withdrawal::new(),
            traffic: Traffic::default(),
            reports: Reports::default(),
            in_order: spec.in_order,
            looks_only: false,
            quiet_until: Time::ZERO,
        };
        let Download { kind, reports, .. } = &mut download;
        match (kind, spec.resume) {
            (Kind::Proven(proven), _) if is_empty => proven.complete_at_once(0, reports),
            (Kind::Staged(staged), _) if is_empty => staged.complete_at_once(reports),
            (Kind::Proven(proven), Some(resume)) => proven.resume(resume, reports),
            (Kind::Staged(staged), Some(resume)) => staged.resume(resume, reports),
            (_, None) => {}
        }
        download
    }

    /// What is fetched.
    pub fn id(&self) -> &ContentId {
        &self.id
    }

    /// Another peer that may have the content. `suggested`: by a node we know nothing of, so it is asked sparingly.
    pub fn add_source(&mut self, now: Time, address: SocketAddr, suggested: bool) {
        self.quiet_until = Time::ZERO;
        self.sources.add(now, address, suggested);
    }

    /// Forgets a source that never answered.
    pub fn forget_source(&mut self, address: SocketAddr) {
        if self.sources.remove(address) {
            self.release(address);
            for assembly in self.kind.assemblies_mut() {
                assembly.forget_used_up(address);
            }
        }
    }

    /// Whether it is over, well or not.
    pub fn is_over(&self) -> bool {
        self.reports.is_over()
    }

    /// Whether there are so many sources that more had better wait.
    pub fn has_many_sources(&self) -> bool {
        self.sources.len() >= MANY_SOURCES
    }

    /// Whether this peer was ever named as a source.
    pub fn knows(&self, address: SocketAddr) -> bool {
        self.sources.has(address)
    }

    /// The sources that sent some of the content and still do.
    pub fn serving(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sources.serving().map(|(address, _)| address)
    }

    /// Some of these: of `most` sources, beginning at an address.
    pub fn serving_near(&self, address: SocketAddr, most: usize) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sources.serving_near(address, most)
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let assembly = self.kind.best();
        let known = self.kind.believed();
        Progress {
            done: assembly.map_or(0, |a| a.picker().wanted_done()),
            length: known.map(Assembly::length),
            wanted: known.map(|a| a.picker().wanted()),
            sources: self.serving().count(),
            received: self.traffic.received,
            wasted: self.traffic.wasted,
        }
    }

    /// The largest length claimed and not refuted.
    pub fn claimed_length(&self) -> Option<u64> {
        self.kind.assemblies().iter().map(Assembly::length).max()
    }

    /// What is verified and written so far.
    pub fn done(&self) -> Option<&RangeSet> {
        self.kind.best().map(Assembly::done)
    }

    /// The proven part of the tree, once the length is proven. For content wanted by its SHA-256 hash: once it is complete, if all
    /// of it was checked by a tree too.
    pub fn verifier(&self) -> Option<&TreeVerifier> {
        self.kind.proven_tree()
    }

    /// The BLAKE3 hash by whose tree the content is checked.
    pub fn tree_root(&self) -> Option<Hash> {
        match &self.kind {
            Kind::Proven(proven) => proven.root(),
            Kind::Staged(staged) => staged.hint(),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DownloadEvent> {
        self.reports.poll()
    }

    /// How much it keeps at present.
    pub(crate) fn kept(&self) -> Kept {
        let used_up = self.kind.assemblies().iter().map(|a| a.picker().used_up()).max().unwrap_or(0);
        let have = self.sources.values().filter_map(|source| source.exchange.have.as_ref());
        let kept = Kept {
            sources: self.sources.len(),
            noted: used_up,
            have_ranges: have.map(|have| have.has().pieces()).sum(),
            ..Kept::default()
        };
        match &self.kind {
            Kind::Proven(proven) => Kept { claims: proven.claims(), ..kept },
            Kind::Staged(staged) => {
                let sizes = staged.sizes();
                Kept { noted: used_up + sizes.noted, refuted: sizes.refuted, ..kept }
            }
        }
    }

    /// A fault of a source. It is left alone from now on where it is certain that the fault is its own. Otherwise another node may
    /// have spoken in its name, and it may begin anew, after ever longer pauses if there are many.
    fn accuse(&mut self, now: Time, fault: Fault) {
        let Fault { source: address, certain, why } = fault;
        let Some(source) = self.sources.get_mut(address) else { return };
        if !source.on_fault(now, certain) {
            return;
        }
        self.sources.note_lie();
        if certain {
            self.reports.push(DownloadEvent::Misbehaved(address, why));
        } else {
            log::debug!("{address}, or another node in its name: {why}");
            self.sources.wake_for(address);
        }
        self.release(address);
    }

    /// This source is not asked any more for what it was to bring: others are.
    fn release(&mut self, address: SocketAddr) {
        self.quiet_until = Time::ZERO;
        self.sources.note_change();
        for assembly in self.kind.assemblies_mut() {
            assembly.release(address);
        }
    }
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
