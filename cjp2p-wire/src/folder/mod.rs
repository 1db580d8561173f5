//! Folders as content: the list of what is in a folder, made, cut, read and checked.
//!
//! A folder is a list, and a list is content like any other: lines of JSON, one for each file, link and folder. The same folder
//! has the same list everywhere, so its id is the id of that list. A list that would be long consists of several: large
//! subfolders have lists of their own, and a long list is cut into parts. So no single list is longer than [`MAX_LIST`], and a
//! change of one entry changes few of them. `docs/folder-format.md` has the format.
//!
//! [`Builder`] makes the lists of a folder from its entries. [`Walk`] gives the entries back, whoever wrote the lists, and refuses
//! what breaks the rules. Neither keeps more than a few lists in memory.

mod build;
mod cut;
mod entry;
mod escape;
mod lines;
mod link;
mod path;
mod walk;

pub use build::{BuildError, Builder};
pub use cut::{MAX_INLINE, MAX_LIST, MAX_PART, MIN_PART};
pub use entry::{Entry, FOLDER_PREFIX, Kind, ListRef, MAX_TARGET_LEN, Mtime, folder_id, reference_of};
pub use lines::{Flaw, Lines, ReadError, read_list};
pub use link::leads_out;
pub use path::{FolderPath, MAX_PART_LEN, MAX_PATH_LEN, PathError, is_deceptive};
pub use walk::{MAX_ENTRIES, MAX_PART_DEPTH, Step, Walk, WalkError};

#[cfg(test)]
mod tests;
