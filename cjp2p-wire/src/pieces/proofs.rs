//! Hashes that are fetched beside the content, and without which it cannot be verified.

use std::ops::Range;

/// Where the hashes lie that verify some content. Ranges of hashes are bytes of [`Space::Tree`](super::Space::Tree), ranges of content
/// bytes of [`Space::Content`](super::Space::Content).
pub trait Proofs {
    /// The hashes that verify the first unit at `offset` and are not here, in the order in which they are needed.
    fn lacking_at(&self, offset: u64) -> Vec<Range<u64>>;

    /// The hashes that verify `extent` as a whole and are not here, in the order in which they are needed. These may be fewer.
    fn lacking_for(&self, extent: &Range<u64>) -> Vec<Range<u64>>;

    /// The content that the hashes at `start` are about.
    fn content_below(&self, start: u64) -> Option<Range<u64>>;
}

/// Nothing is fetched beside the content.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProofs;

impl Proofs for NoProofs {
    fn lacking_at(&self, _: u64) -> Vec<Range<u64>> {
        Vec::new()
    }

    fn lacking_for(&self, _: &Range<u64>) -> Vec<Range<u64>> {
        Vec::new()
    }

    fn content_below(&self, _: u64) -> Option<Range<u64>> {
        None
    }
}
