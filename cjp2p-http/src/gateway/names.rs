//! `Names`: the names that are asked for, and those that were heard lately.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cjp2p_io::known_names::Known;
use cjp2p_io::pointer_file::PointerFiles;
use cjp2p_wire::peers::round::Round;
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::time::Time;

use super::client::Token;
use super::finding::Asked;

/// See the [module](self). How many there may be is said where they are added.
pub(super) struct Names {
    pub(super) files: PointerFiles,
    /// By the text that is asked for.
    // Invariant: at most `MAX_ASKED`.
    pub(super) asked: BTreeMap<String, Naming>,
    // Invariant: at most `MAX_HEARD`.
    pub(super) heard: BTreeMap<PointerId, (SignedPointer, Time)>,
}

/// A name that is asked for.
pub(super) struct Naming {
    pub(super) waiting: Vec<(Token, Asked)>,
    pub(super) candidates: Vec<(PointerId, String)>,
    pub(super) ids: Vec<PointerId>,
    pub(super) known: Known,
    pub(super) round: Round,
    pub(super) of_user: BTreeSet<SocketAddr>,
    pub(super) began: Time,
    pub(super) found_at: Option<Time>,
}

impl Names {
    pub(super) fn new(files: PointerFiles) -> Names {
        Names { files, asked: BTreeMap::new(), heard: BTreeMap::new() }
    }
}
