//! Folders: what is at a path in one, found without reading the lists of all that is beside it; and the page that shows what is in it.

pub mod find;
pub mod page;
