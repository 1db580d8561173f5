//! The local side of a folder that is fetched: from what is there to what the list has. It knows nothing of the network.
//!
//! [`Local::open`] opens the folder, before the process is confined. [`Local::start`] has a thread do the work: it reads the list
//! ([`tree`]) and what is remembered ([`record`]), looks at what is there ([`look`], which asks [`judge`]), says what is needed,
//! takes that ([`fill`]) into a folder within ([`staging`]), and at the end gives all of it its names ([`place`]). [`Running`] is
//! the end of that which the thread of the network holds.
//!
//! What is written is hostile until it is proven otherwise. Every name is resolved beneath the folder and through no link
//! ([`cjp2p_io::beneath`]), and whatever was there before is replaced only where the list says so and nobody's changes are lost.

mod backup;
mod copying;
mod engine;
mod fill;
mod in_parallel;
mod judge;
mod look;
mod open;
mod options;
mod place;
mod record;
mod removal;
mod running;
mod shared;
mod staging;
mod told;
mod tree;
mod work;

#[cfg(test)]
mod tests;

pub(crate) use open::Local;
pub(crate) use options::Options;
pub(crate) use running::Running;
pub(crate) use told::{Counts, Need, Summary, Told};
