//! A conversation: what is known of the node and of those it speaks with.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cjp2p_wire::node::Node;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::checked::{Checked, Met};
use crate::fuzz::sample::Sample;

/// The node, the world as it sees it, and what is known of both.
pub(super) struct Talk {
    pub(super) node: Node,
    pub(super) store: Checked,
    pub(super) now: Time,
    pub(super) next: Time,
    pub(super) met: BTreeMap<SocketAddr, Met>,
    pub(super) jobs: BTreeMap<JobId, &'static Sample>,
    /// What interrupted fetches wrote and is not verified yet.
    pub(super) unchecked: BTreeMap<JobId, RangeSet>,
    pub(super) last_from: SocketAddr,
}
