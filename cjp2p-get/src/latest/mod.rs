//! Names under a key: finding out what one stands for now, before all else, and running again when that changes.
//!
//! Peers are asked by a [process of its own](resolver), which is this program once more. It is confined, and says in a line what it
//! found. What comes of that is as if the user had given the [id](resolved) that the name stands for.

pub(crate) mod in_folder;
pub(crate) mod peer_hints;
pub(crate) mod resolved;
pub(crate) mod resolver;
pub(crate) mod run;
pub(crate) mod watch;
