//! What a tracker is told, and what it answers.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::info_hash::InfoHash;
use crate::peer_id::PeerId;

/// So many peers are taken of one answer.
pub const MAX_PEERS: usize = 500;
/// So much of what a tracker says to people is kept, in letters.
const MAX_TEXT: usize = 200;

/// Why a tracker is told something out of turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// We begin.
    Started,
    /// We have everything now.
    Completed,
    /// We end.
    Stopped,
}

/// What a tracker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announce {
    /// Which torrent.
    pub info_hash: InfoHash,
    /// Who we are.
    pub peer_id: PeerId,
    /// Where we accept connections.
    pub port: u16,
    /// Bytes that we sent.
    pub uploaded: u64,
    /// Bytes that we received.
    pub downloaded: u64,
    /// Bytes that we lack.
    pub left: u64,
    /// Why now, unless it is only time.
    pub moment: Option<Moment>,
    /// How many peers we would like to know.
    pub want: u32,
    /// By which the tracker knows us when our address changes.
    pub key: u32,
    /// What the tracker gave us to be returned.
    pub tracker_id: Option<Vec<u8>>,
}

/// What a tracker answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// When it wants to be asked again.
    pub interval: Option<Duration>,
    /// When it allows to be asked again.
    pub min_interval: Option<Duration>,
    /// Peers that have everything.
    pub seeders: Option<u32>,
    /// Peers that do not.
    pub leechers: Option<u32>,
    /// Some of them; [`MAX_PEERS`] at the most.
    pub peers: Vec<SocketAddr>,
    /// To be returned the next time.
    pub tracker_id: Option<Vec<u8>>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrackerError {
    /// What came is no answer.
    Malformed,
    /// The tracker refuses, and says why.
    Refused(String),
    /// It cannot be reached, or does not answer.
    Unreachable(String),
}

impl TrackerError {
    /// The tracker says so; what could harm a terminal is left out.
    #[must_use]
    pub fn refused(text: &[u8]) -> TrackerError {
        let text = String::from_utf8_lossy(text);
        TrackerError::Refused(text.chars().filter(|letter| !letter.is_control()).take(MAX_TEXT).collect())
    }
}

impl fmt::Display for TrackerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrackerError::Malformed => f.write_str("what it answers is no answer"),
            TrackerError::Refused(why) => write!(f, "it refuses: {why}"),
            TrackerError::Unreachable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for TrackerError {}
