//! Folders: fetched by their lists, and written to the disk.

pub(crate) mod local;
