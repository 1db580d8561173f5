//! Metainfo, what a `.torrent` file holds: `info`, and where to find peers (BEP 3, 12, 19, 27, 47).

mod build;
mod info;
mod read;
mod value;
mod write;

pub use build::{Spec, auto_piece_length};
pub use info::{Info, MAX_INFO};
pub use read::{MAX_METAINFO, MetainfoError};
pub use value::{CJP2P_KEY, MAX_TRACKERS, MAX_URL, MAX_WEB_SEEDS, Metainfo, is_url};

#[cfg(test)]
mod tests;
