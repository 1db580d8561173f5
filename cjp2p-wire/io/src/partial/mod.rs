//! What a download keeps while it is not whole: the file that it is written to, what is known of it, and what can be used of it after
//! an interruption. Nothing that was read from a disk is believed before it is verified.

pub mod behind;
pub mod group;
pub mod kept;
pub mod known_tree;
pub mod reading;
pub mod recheck;
pub mod record;
pub mod resume;
pub mod running_hash;
pub mod sources;
pub mod sparse;
pub mod wanted;
