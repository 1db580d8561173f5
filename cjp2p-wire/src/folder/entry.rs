//! The entries of a folder, and the one way to write each.

use std::io::Write;

use data_encoding::HEXLOWER;

use super::escape::escape;
use super::path::FolderPath;
use crate::content_id::{ContentId, Hash};

/// Longest target of a link in bytes, what Linux takes in one system call.
pub const MAX_TARGET_LEN: usize = 4095;

/// What people write before the hex digits of a folder's id.
pub const FOLDER_PREFIX: &str = "folder/";

/// When a file was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    seconds: i64,
    nanos: u32,
}

impl Mtime {
    /// `seconds` since 1970, which may be before it, and so many nanoseconds after that; `None` for a second or more of these.
    pub fn new(seconds: i64, nanos: u32) -> Option<Mtime> {
        (nanos < 1_000_000_000).then_some(Mtime { seconds, nanos })
    }

    /// Whole seconds since 1970, rounded down.
    pub fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds after these.
    pub fn nanos(self) -> u32 {
        self.nanos
    }
}

/// A list, as it is referred to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListRef {
    /// Its length in bytes; of a list that is cut, that of the list of its parts.
    pub length: u64,
    /// The BLAKE3 hash of these.
    pub root: Hash,
}

impl ListRef {
    /// The id by which the list is asked for.
    pub fn id(&self) -> ContentId {
        ContentId::Blake3(self.root)
    }

    /// The id of the folder that the list is of, as people write it.
    pub fn folder_id(&self) -> String {
        folder_id(&self.root)
    }
}

/// The id of the folder whose list has this BLAKE3 hash, as people write it: `folder/` and 64 hex digits.
pub fn folder_id(root: &Hash) -> String {
    format!("{FOLDER_PREFIX}{}", HEXLOWER.encode(root))
}

/// How a list of this text is referred to.
pub fn reference_of(text: &[u8]) -> ListRef {
    ListRef { length: text.len() as u64, root: *blake3::hash(text).as_bytes() }
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, from the folder that the list is of.
    pub path: FolderPath,
    /// What it is.
    pub kind: Kind,
    /// When it was last changed, in lists with times.
    pub mtime: Option<Mtime>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its length in bytes, at most [`MAX_LENGTH`](crate::tree::MAX_LENGTH).
        length: u64,
        /// The BLAKE3 hash of its content.
        root: Hash,
        /// Whether its owner may execute it.
        exec: bool,
    },
    /// A symbolic link.
    Link {
        /// What it says, 1 to [`MAX_TARGET_LEN`] bytes without NUL.
        target: Vec<u8>,
    },
    /// A folder.
    Folder {
        /// The list of what is in it, where that has one of its own. Otherwise its entries are in this list.
        list: Option<ListRef>,
    },
    /// A part of this list, not of the folder: what follows from the entry at this path on.
    Part(ListRef),
}

impl Entry {
    /// Appends the entry as a line of a list, with its line feed. There is one way to write each.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        bytes("path", "path_escaped", self.path.as_bytes(), out);
        match &self.kind {
            Kind::File { length, root, exec } => {
                out.extend_from_slice(b",\"kind\":\"file\"");
                reference(*length, root, out);
                if *exec {
                    out.extend_from_slice(b",\"exec\":true");
                }
            }
            Kind::Link { target } => {
                out.extend_from_slice(b",\"kind\":\"link\",");
                bytes("target", "target_escaped", target, out);
            }
            Kind::Folder { list } => {
                out.extend_from_slice(b",\"kind\":\"folder\"");
                if let Some(list) = list {
                    reference(list.length, &list.root, out);
                }
            }
            Kind::Part(list) => {
                out.extend_from_slice(b",\"kind\":\"list\"");
                reference(list.length, &list.root, out);
            }
        }
        if let Some(mtime) = self.mtime {
            let _ = write!(out, ",\"mtime\":{}", mtime.seconds);
            if mtime.nanos != 0 {
                let _ = write!(out, ",\"mtime_ns\":{}", mtime.nanos);
            }
        }
        out.extend_from_slice(b"}\n");
    }
}

// Writing to a vector cannot fail, here and above.

fn reference(length: u64, root: &Hash, out: &mut Vec<u8>) {
    let _ = write!(out, ",\"length\":{length},\"blake3\":\"");
    out.extend_from_slice(HEXLOWER.encode(root).as_bytes());
    out.push(b'"');
}

/// A text under `name`, or what is no UTF-8 escaped under `escaped_name`.
fn bytes(name: &str, escaped_name: &str, value: &[u8], out: &mut Vec<u8>) {
    match str::from_utf8(value) {
        Ok(value) => text(name, value, out),
        Err(_) => text(escaped_name, &escape(value), out),
    }
}

fn text(name: &str, value: &str, out: &mut Vec<u8>) {
    let _ = write!(out, "\"{name}\":");
    let _ = serde_json::to_writer(out, value);
}
