//! The lines between the two processes.

use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::tracker::{Announce, Answer, MAX_PEERS, Moment, TrackerError};
use serde::{Deserialize, Serialize};

/// The longest line, in bytes: an answer with all peers, each in 47 letters.
pub(super) const MAX_LINE: u64 = 64 << 10;

/// What is to be asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub(super) nth: u64,
    pub(super) url: String,
    /// The tracker may be in a private network.
    pub(super) may_be_private: bool,
    info_hash: [u8; InfoHash::LEN],
    peer_id: [u8; PeerId::LEN],
    port: u16,
    uploaded: u64,
    downloaded: u64,
    left: u64,
    moment: Option<Why>,
    want: u32,
    key: u32,
    tracker_id: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Why {
    Started,
    Completed,
    Stopped,
}

impl Question {
    pub(super) fn new(nth: u64, url: &str, announce: &Announce, may_be_private: bool) -> Question {
        let announce = announce.clone();
        Question {
            nth,
            url: url.to_string(),
            may_be_private,
            info_hash: *announce.info_hash.as_bytes(),
            peer_id: *announce.peer_id.as_bytes(),
            port: announce.port,
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            left: announce.left,
            moment: announce.moment.map(|moment| match moment {
                Moment::Started => Why::Started,
                Moment::Completed => Why::Completed,
                Moment::Stopped => Why::Stopped,
            }),
            want: announce.want,
            key: announce.key,
            tracker_id: announce.tracker_id,
        }
    }

    /// Whether the tracker is to hear it though the tool has ended: a fetch ends as soon as it is complete.
    pub(super) fn is_last_word(&self) -> bool {
        matches!(self.moment, Some(Why::Completed | Why::Stopped))
    }

    pub(super) fn announce(&self) -> Announce {
        Announce {
            info_hash: InfoHash::from_bytes(self.info_hash),
            peer_id: PeerId::from_bytes(self.peer_id),
            port: self.port,
            uploaded: self.uploaded,
            downloaded: self.downloaded,
            left: self.left,
            moment: self.moment.map(|moment| match moment {
                Why::Started => Moment::Started,
                Why::Completed => Moment::Completed,
                Why::Stopped => Moment::Stopped,
            }),
            want: self.want,
            key: self.key,
            tracker_id: self.tracker_id.clone(),
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) nth: u64,
    found: Result<Found, Failure>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Found {
    interval: Option<Duration>,
    min_interval: Option<Duration>,
    seeders: Option<u32>,
    leechers: Option<u32>,
    peers: Vec<SocketAddr>,
    tracker_id: Option<Vec<u8>>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Failure {
    Malformed,
    Refused(String),
    Unreachable(String),
}

impl Reply {
    pub(super) fn new(nth: u64, answer: Result<Answer, TrackerError>) -> Reply {
        let found = match answer {
            Ok(Answer { interval, min_interval, seeders, leechers, peers, tracker_id }) => {
                Ok(Found { interval, min_interval, seeders, leechers, peers, tracker_id })
            }
            Err(TrackerError::Malformed) => Err(Failure::Malformed),
            Err(TrackerError::Refused(why)) => Err(Failure::Refused(why)),
            Err(TrackerError::Unreachable(why)) => Err(Failure::Unreachable(why)),
        };
        Reply { nth, found }
    }

    pub(super) fn into_answer(self) -> Result<Answer, TrackerError> {
        match self.found {
            Ok(Found { interval, min_interval, seeders, leechers, mut peers, tracker_id }) => {
                peers.truncate(MAX_PEERS);
                Ok(Answer { interval, min_interval, seeders, leechers, peers, tracker_id })
            }
            Err(Failure::Malformed) => Err(TrackerError::Malformed),
            Err(Failure::Refused(why)) => Err(TrackerError::refused(why.as_bytes())),
            Err(Failure::Unreachable(why)) => {
                // What could harm a terminal is left out here too.
                match TrackerError::refused(why.as_bytes()) {
                    TrackerError::Refused(why) => Err(TrackerError::Unreachable(why)),
                    other => Err(other),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_replies_come_through_as_they_were() {
        let announce = Announce {
            info_hash: InfoHash::from_bytes([1; 20]),
            peer_id: PeerId::from_bytes([2; 20]),
            port: 1,
            uploaded: 2,
            downloaded: 3,
            left: u64::MAX,
            moment: Some(Moment::Completed),
            want: 4,
            key: 5,
            tracker_id: Some(vec![0, 255]),
        };
        let line = serde_json::to_string(&Question::new(7, "http://t/", &announce, true)).unwrap();
        let read: Question = serde_json::from_str(&line).unwrap();
        assert!(read.announce() == announce && read.nth == 7 && read.may_be_private && read.is_last_word());
        let peers = vec!["[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap(); MAX_PEERS];
        let answer = Answer { interval: Some(Duration::from_secs(9)), peers, ..Answer::default() };
        for answer in [Ok(answer), Err(TrackerError::Malformed), Err(TrackerError::Refused("no".into()))] {
            let line = serde_json::to_string(&Reply::new(8, answer.clone())).unwrap();
            assert!((line.len() as u64) < MAX_LINE);
            let read: Reply = serde_json::from_str(&line).unwrap();
            assert!(read.into_answer() == answer);
        }
    }
}
