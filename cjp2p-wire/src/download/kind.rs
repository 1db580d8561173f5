//! `Kind`: how content is checked, and what both kinds have in common.

use super::assembly::Assembly;
use super::proven::Proven;
use super::reports::Reports;
use super::staged::Staged;
use crate::tree::TreeVerifier;

/// How content is checked.
#[derive(Debug)]
pub(super) enum Kind {
    /// As it comes.
    Proven(Proven),
    /// As a whole.
    Staged(Box<Staged>),
}

impl Kind {
    pub(super) fn assemblies(&self) -> &[Assembly] {
        match self {
            Kind::Proven(proven) => proven.assemblies(),
            Kind::Staged(staged) => staged.assemblies(),
        }
    }

    pub(super) fn assemblies_mut(&mut self) -> &mut [Assembly] {
        match self {
            Kind::Proven(proven) => proven.assemblies_mut(),
            Kind::Staged(staged) => staged.assemblies_mut(),
        }
    }

    /// The assembly in which a source with this claim takes part.
    pub(super) fn assembly_for(&self, claim: Option<u64>) -> Option<&Assembly> {
        self.assemblies().iter().find(|assembly| takes_part(assembly, claim))
    }

    pub(super) fn assembly_for_mut(&mut self, claim: Option<u64>) -> Option<&mut Assembly> {
        self.assemblies_mut().iter_mut().find(|assembly| takes_part(assembly, claim))
    }

    /// The one that is proven, or the one that is furthest.
    pub(super) fn best(&self) -> Option<&Assembly> {
        self.assemblies().iter().max_by_key(|a| (a.is_proven(), a.done().total()))
    }

    /// The same, if its length is proven, or is the only one that is tried.
    pub(super) fn believed(&self) -> Option<&Assembly> {
        match self {
            Kind::Proven(_) => self.best().filter(|a| a.is_proven()),
            Kind::Staged(_) => self.best(),
        }
    }

    /// The proven part of the tree of content that is certainly what is wanted.
    pub(super) fn proven_tree(&self) -> Option<&TreeVerifier> {
        match self {
            Kind::Proven(_) => self.believed()?.verifier(),
            Kind::Staged(staged) => staged.proven_tree(),
        }
    }

    /// Everything is here, and nothing is asked for until it is judged.
    pub(super) fn waits_for_verdict(&self) -> bool {
        match self {
            Kind::Proven(_) => false,
            Kind::Staged(staged) => staged.waits_for_verdict(),
        }
    }

    pub(super) fn check_complete(&mut self, reports: &mut Reports) {
        match self {
            Kind::Proven(proven) => proven.check_complete(reports),
            Kind::Staged(staged) => staged.check_complete(reports),
        }
    }
}

fn takes_part(assembly: &Assembly, claim: Option<u64>) -> bool {
    claim.map_or(assembly.is_proven(), |length| assembly.length() == length)
}
