//! What is computed of content, from blocks that come in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use cjp2p_wire::content_id::Hash;
use cjp2p_wire::tree::{ENTRY_LEN, Group, GroupIndex, Tree, TreeBuilder};
use sha2::{Digest, Sha256};

use crate::input::{BLOCK_LEN, changed};

/// What to compute of a file.
#[derive(Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// BLAKE3 and the tree.
    pub(crate) blake3: bool,
    pub(crate) sha256: bool,
    /// Where the values of the leaves go, each at its index; implies `blake3`.
    pub(crate) leaves: Option<&'a File>,
}

impl Wanted<'_> {
    /// Whether groups are hashed.
    pub(crate) fn tree(&self) -> bool {
        self.blake3 || self.leaves.is_some()
    }
}

/// What was computed.
pub(crate) struct Digests {
    /// Bytes read.
    pub(crate) length: u64,
    pub(crate) tree: Option<Tree>,
    pub(crate) sha256: Option<Hash>,
}

/// Why nothing was computed.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The input cannot be read.
    Reading(io::Error),
    /// The values of leaves cannot be written.
    Leaves(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Reading(error)
    }
}

/// Hashes a group and, where asked for, writes the values of its leaves.
pub(crate) fn hash_group(index: GroupIndex, bytes: &[u8], leaves: Option<&File>) -> Result<Group, Failed> {
    let Some(file) = leaves else {
        return Ok(Group::hash(index, bytes));
    };
    let (group, values) = Group::hash_with_leaves(index, bytes);
    let offset = index.first_leaf().0 * ENTRY_LEN;
    file.write_all_at(values.as_flattened(), offset).map_err(Failed::Leaves)?;
    Ok(group)
}

/// The hashes of bytes that come in order.
pub(crate) struct Hashers<'a> {
    length: u64,
    groups: u64,
    tree: Option<TreeBuilder>,
    sha256: Option<Sha256>,
    leaves: Option<&'a File>,
    /// Whether a group was not full.
    ended: bool,
}

impl<'a> Hashers<'a> {
    pub(crate) fn new(wanted: Wanted<'a>) -> Hashers<'a> {
        Hashers {
            length: 0,
            groups: 0,
            tree: wanted.tree().then(TreeBuilder::new),
            sha256: wanted.sha256.then(Sha256::new),
            leaves: wanted.leaves,
            ended: false,
        }
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Takes the next bytes: a whole group where the leaves are wanted, unless they are the last.
    pub(crate) fn update(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        match &mut self.tree {
            Some(tree) if self.leaves.is_some() => {
                tree.push_group(&hash_group(GroupIndex(self.groups), bytes, self.leaves)?);
                self.groups += 1;
            }
            Some(tree) => tree.update(bytes),
            None => {}
        }
        self.length += bytes.len() as u64;
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        Ok(())
    }

    /// Takes the next group, of `length` bytes: their group where there is a tree, the `bytes` themselves where there is SHA-256. Fails
    /// where more comes after the end was seen.
    pub(crate) fn push(&mut self, group: Option<&Group>, length: usize, bytes: &[u8]) -> Result<(), Failed> {
        if self.ended && length > 0 {
            return Err(changed().into());
        }
        self.ended |= length < BLOCK_LEN;
        self.length += length as u64;
        if let (Some(tree), Some(group)) = (&mut self.tree, group) {
            tree.push_group(group);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Digests {
        Digests {
            length: self.length,
            tree: self.tree.map(TreeBuilder::finish),
            sha256: self.sha256.map(|sha256| sha256.finalize().into()),
        }
    }
}
