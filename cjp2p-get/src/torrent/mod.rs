//! Torrents: what is named, what of it is wanted, and fetching it.

mod ending;
mod excerpt;
mod fetcher;
mod given;
mod job;
mod listing;
mod outlet;
mod run;
mod selection;
mod sources;
mod target;

pub(crate) use run::{is_torrent, run};
