//! Which parts of some content to ask which source for, whatever the protocol and whatever verifies it.
//!
//! A [`Picker`] knows which bytes are wanted, which are done, and which are being gathered from which source. It chooses the next range for
//! a source by what that source has ([`HaveMap`]), by what is rare ([`Rarity`]), and by how fast it is. It verifies nothing: a full
//! extent stays until its owner says that it was right, wrong, or is not wanted now.
//!
//! Where hashes are fetched beside the content, [`Proofs`] says which are needed first. Where a list of hashes is known from the
//! start, as in a torrent, there are none:
//!
//! ```
//! use cjp2p_wire::pieces::{NoProofs, Picker, Shape, Space, Terms};
//! use cjp2p_wire::range_set::RangeSet;
//! use cjp2p_wire::slices::Slices;
//! use cjp2p_wire::time::Time;
//! use sha2::{Digest, Sha256};
//!
//! // Ten bytes in pieces of four, each with its hash. Blocks of two bytes are asked for.
//! let content = *b"abcdefghij";
//! let hashes: Vec<_> = content.chunks(4).map(Sha256::digest).collect();
//! let shape = Shape { length: 10, unit: 4, least_extent: 4, is_one: false };
//! let mut picker = Picker::new(shape, vec![0..10], RangeSet::new());
//!
//! let peer = "192.0.2.1:6881".parse().unwrap();
//! let has: RangeSet = [0..4, 8..10].into_iter().collect();
//! let terms = Terms { has: Some(&has), ..Terms::new(peer, 2, 4) };
//! let mut asked = Vec::new();
//! while let Some(wanted) = picker.next_wanted(Time::ZERO, &terms, &NoProofs) {
//!     asked.push(wanted.range.clone());
//!     let (start, end) = (wanted.range.start as usize, wanted.range.end as usize);
//!     for key in picker.overlapping(Space::Content, &wanted.range) {
//!         picker.fill(key, peer, wanted.range.start, Slices::new(&[&content[start..end]]));
//!         let Some((range, piece)) = picker.full(key) else { continue };
//!         if Sha256::digest(piece) == hashes[range.start as usize / 4] {
//!             picker.finish(key);
//!         } else {
//!             picker.start_over(key);
//!         }
//!     }
//! }
//! assert_eq!(asked, [0..2, 2..4, 8..10]);
//! assert!(!picker.is_complete(), "the peer does not have the second piece");
//! assert_eq!(picker.first_missing(), Some(4));
//! ```

mod availability;
mod extent;
mod gathering;
mod goal;
mod parts;
mod picker;
mod proofs;
mod rarity;
mod terms;
#[cfg(test)]
mod tests;

pub use availability::{Have, HaveMap, MIN_PAUSE, QUESTIONS_UNTIL_GONE};
pub(crate) use availability::{MAX_PAUSE, RARITY_INTERVAL, answer_timeout, most_ranges, most_ranges_of_one};
pub use extent::Space;
pub use gathering::{Filled, Key, MAX_GATHERED};
pub use parts::Parts;
pub use picker::Picker;
pub use proofs::{NoProofs, Proofs};
pub use rarity::Rarity;
pub use terms::{Shape, Terms, Wanted};
