//! What a node reports, and the queries that it reports the answers to.

use std::net::SocketAddr;
use std::time::Duration;

use super::stream_event::StreamEvent;
use crate::download::DownloadEvent;
use crate::signed::SignedPointer;
use crate::store::JobId;

/// What to ask a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Query {
    /// Whether it is there.
    Ping,
    /// Which peers it knows.
    Peers,
    /// Which content it shares.
    List,
}

/// What a peer answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is there.
    Ping,
    /// Peers it knows.
    Peers(Vec<SocketAddr>),
    /// Ids, as it writes them, and lengths in bytes. A long list comes in several answers.
    List(Vec<(String, u64)>),
    /// The list has ended, or nothing more of it comes.
    ListEnd(ListEnd),
}

/// How a list ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListEnd {
    /// With its last entry, and none is missing.
    Complete,
    /// Before: fewer contents came than the peer said it has.
    Missing {
        /// All that it said it has.
        total: u64,
        /// What came.
        came: u64,
    },
    /// The peer does not say how many there are.
    Unknown,
    /// The peer tells nobody.
    Withheld,
}

/// What a node reports.
#[derive(Debug)]
pub enum Event {
    /// Something about a download.
    Download(JobId, DownloadEvent),
    /// Something about a stream that is viewed.
    Stream(JobId, StreamEvent),
    /// The answer to a [`Query`].
    Answer {
        /// The peer that answered.
        from: SocketAddr,
        /// Since the query was last sent.
        round_trip: Duration,
        /// What it answered.
        answer: Answer,
    },
    /// What a name stands for, as a peer says that was asked for it. It is verified, and may be older than what came before.
    Latest {
        /// The peer that answered.
        from: SocketAddr,
        /// Since it was last asked.
        round_trip: Duration,
        /// What it answered.
        pointer: Box<SignedPointer>,
    },
    /// All tries of a query to this peer went unanswered.
    Unanswered(SocketAddr),
    /// This address will be asked for content: tell the route's MTU with [`Node::set_path_mtu`](super::Node::set_path_mtu), if known.
    PathOpened(SocketAddr),
    /// Send this datagram to everybody on the link, on every link; see [`Node::attach`](super::Node::attach).
    AskLan(Vec<u8>),
    /// No host on the link was heard to answer this question: send it to each neighbour by itself, to port
    /// [`DEFAULT_PORT`](crate::peers::address::DEFAULT_PORT). Some firewalls let in only answers from addresses that were asked.
    AskNeighbours(Vec<u8>),
    /// This host on the link answered such a question.
    Neighbour(SocketAddr),
}
