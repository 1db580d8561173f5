//! `Kept`: how much a download keeps of what its sources say.

use super::staged::{ENOUGH_STAGERS, MAX_REFUTED, MAX_SET_ASIDE};
use crate::pieces::most_ranges;

/// Entries in a download's tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Sources.
    pub(crate) sources: usize,
    /// Sources that an attempt put off, or that sent what is staged, or that have nothing left of what is wanted.
    pub(crate) noted: usize,
    /// Lengths that were claimed.
    pub(crate) claims: usize,
    /// Hints that were false.
    pub(crate) refuted: usize,
    /// Ranges that sources say they have.
    pub(crate) have_ranges: usize,
}

impl Kept {
    /// The most that a download with so many sources keeps.
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
