//! How much a fetch keeps of what its sources say.

use super::Download;

pub(crate) use super::hint::MAX_REFUTED;
pub(crate) use crate::pieces::most_ranges;

/// Sources that an attempt set aside are forgotten from this number on, but for those that are sources yet.
pub(super) const MAX_SET_ASIDE: usize = 1024;
/// Sources remembered of those that sent what is staged. One can be blamed for it; of several nobody knows which.
pub(super) const ENOUGH_STAGERS: usize = 2;

/// Entries in a fetch's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Sources.
    pub(crate) sources: usize,
    /// Sources that an attempt set aside, or that sent what is staged, or that have nothing left of what is wanted.
    pub(crate) noted: usize,
    /// Lengths that were claimed.
    pub(crate) claims: usize,
    /// Hints that were false.
    pub(crate) refuted: usize,
    /// Ranges that sources say they have.
    pub(crate) have_ranges: usize,
}

impl Kept {
    /// What a fetch with at most so many sources keeps at the most.
    pub(crate) const fn most(sources: usize) -> Kept {
        Kept {
            sources,
            noted: MAX_SET_ASIDE + ENOUGH_STAGERS + sources + sources,
            claims: sources,
            refuted: MAX_REFUTED,
            have_ranges: most_ranges(sources),
        }
    }

    /// The larger of each.
    pub(crate) fn max(self, other: Kept) -> Kept {
        Kept {
            sources: self.sources.max(other.sources),
            noted: self.noted.max(other.noted),
            claims: self.claims.max(other.claims),
            refuted: self.refuted.max(other.refuted),
            have_ranges: self.have_ranges.max(other.have_ranges),
        }
    }
}

impl Download {
    /// How much it keeps at present.
    pub(crate) fn kept(&self) -> Kept {
        let used_up = self.assemblies.iter().map(|assembly| assembly.picker.used_up()).max().unwrap_or(0);
        let have = self.sources.values().filter_map(|source| source.have.as_ref());
        Kept {
            sources: self.sources.len(),
            noted: self.put_off.len() + self.stagers.len() + used_up,
            claims: self.claims_tried.len(),
            refuted: self.hints.refuted.len(),
            have_ranges: have.map(|have| have.has().pieces()).sum(),
        }
    }

    /// Forgets sources that an attempt set aside and that are none any more, where there are too many.
    pub(super) fn forget_put_off(&mut self) {
        if self.put_off.len() > MAX_SET_ASIDE {
            let sources = &self.sources;
            self.put_off.retain(|address| sources.contains_key(address));
        }
    }
}
