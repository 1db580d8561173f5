//! Which contents a conversation is about, and where its messages come from.

use cjp2p_wire::content_id::ContentId;

use crate::content;
use crate::fuzz::sample::{SAMPLES, Sample};

/// Which of the samples the node shares, and which it fetches; the last of these by its SHA-256 id.
pub(super) const SHARED: [usize; 2] = [6, 11];
pub(super) const WANTED: [usize; 3] = [7, 10, 4];
/// Where messages come from: the first four are never asked for anything unless somebody names them.
pub(super) const ADDRESSES: [([u8; 4], u16); 8] = [
    ([198, 51, 100, 1], 4000),
    ([198, 51, 100, 2], 53),
    ([203, 0, 113, 9], 24254),
    ([10, 7, 7, 7], 5000),
    ([10, 0, 0, 1], 24254),
    ([10, 0, 0, 2], 24254),
    ([81, 2, 69, 1], 24254),
    ([81, 2, 69, 2], 1024),
];

/// One of the contents that are fetched, and by which id.
pub(super) fn wanted(which: usize) -> (ContentId, &'static Sample) {
    let sample = &SAMPLES[WANTED[which % WANTED.len()]];
    let id = match which % WANTED.len() {
        2 => content::sha256_id(&sample.content),
        _ => ContentId::Blake3(sample.root),
    };
    (id, sample)
}
