//! What goes on, as it is shown: values by themselves, for programs and for people.

pub mod metrics;
pub mod page;

use serde::Serialize;

/// Parts of content that are shown; of more, the smallest gaps are not.
pub const MAX_PARTS: usize = 200;

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Status {
    /// The version of this program.
    pub version: &'static str,
    /// For how long it has run, in seconds.
    pub uptime: u64,
    /// Clients that are connected.
    pub connections: u64,
    /// Requests that came.
    pub requests: u64,
    /// Bytes that were sent to clients.
    pub bytes_sent: u64,
    /// Bytes of content and trees that were sent to peers.
    pub bytes_shared: u64,
    /// Bytes of content and trees that came from peers in a second, lately.
    pub rate: u64,
    /// The same in each of the last seconds, the latest last.
    pub rates: Vec<u64>,
    /// The cache.
    pub cache: CacheStatus,
    /// What is being fetched or read.
    pub contents: Vec<ContentStatus>,
    /// Peers that answered.
    pub peers: Vec<PeerStatus>,
}

/// The cache.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CacheStatus {
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes that it may hold.
    pub most: u64,
    /// Contents of which it has some.
    pub contents: u64,
}

/// One content.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ContentStatus {
    /// Its id.
    pub id: String,
    /// Its length in bytes, where it is known.
    pub length: Option<u64>,
    /// Bytes of it that are here.
    pub done: u64,
    /// Which, as first byte and end of each part.
    pub parts: Vec<(u64, u64)>,
    /// Clients that read it.
    pub readers: u64,
    /// Whether it is being fetched.
    pub fetching: bool,
    /// Bytes that came in a second, lately.
    pub rate: u64,
    /// Who sends it.
    pub sources: Vec<String>,
}

/// A peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PeerStatus {
    /// Its address.
    pub address: String,
    /// The round trip to it in milliseconds, where it was measured.
    pub round_trip: Option<u64>,
}

impl Status {
    /// As JSON.
    pub fn to_json(&self) -> String {
        // None of the types can fail.
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }
}

/// At most [`MAX_PARTS`] of these ranges: where there are more, the smallest gaps are closed.
pub fn some_parts(ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    if ranges.len() <= MAX_PARTS {
        return ranges;
    }
    let mut gaps: Vec<u64> = ranges.windows(2).map(|two| two[1].0 - two[0].1).collect();
    let closed = ranges.len() - MAX_PARTS;
    let (_, &mut limit, _) = gaps.select_nth_unstable(closed - 1);
    let mut left = closed;
    let mut parts: Vec<(u64, u64)> = Vec::with_capacity(MAX_PARTS);
    for (start, end) in ranges {
        match parts.last_mut() {
            Some(last) if left > 0 && start - last.1 <= limit => {
                last.1 = end;
                left -= 1;
            }
            _ => parts.push((start, end)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_parts_the_largest_gaps_are_shown() {
        let some = vec![(0, 5), (7, 9)];
        assert_eq!(some_parts(some.clone()), some);
        let mut many: Vec<(u64, u64)> = (0..1000).map(|n| (n * 10, n * 10 + 9)).collect();
        many.push((1_000_000, 1_000_001));
        let parts = some_parts(many);
        assert_eq!(parts.len(), MAX_PARTS);
        assert_eq!(parts.last(), Some(&(1_000_000, 1_000_001)));
        assert!(parts.windows(2).all(|two| two[0].1 < two[1].0));
    }
}
