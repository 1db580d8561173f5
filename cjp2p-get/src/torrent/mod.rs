//! Torrents: what is named, what of it is wanted, and fetching it.

mod given;
mod listing;
mod outlet;
mod selection;
