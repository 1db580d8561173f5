//! Addresses that peers suggest: nobody vouches for them, so they are tried few at a time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::Node;
use crate::time::Time;
use crate::transfer::blobs::JobId;

/// Suggested addresses tried in a second at the most.
pub(crate) const SUGGESTIONS_PER_SECOND: u32 = 8;
/// Suggested addresses that wait to be tried, at the most.
pub(crate) const MAX_SUGGESTIONS: usize = 1024;
/// Suggestions taken from one peer for one fetch.
pub(crate) const MAX_SUGGESTIONS_EACH: u32 = 64;

/// Addresses that peers suggested, and how fast they may be tried.
#[derive(Debug, Default)]
pub(super) struct Suggestions {
    pub(super) waiting: VecDeque<(JobId, SocketAddr)>,
    pub(super) taken: BTreeMap<(JobId, SocketAddr), u32>,
    pub(super) next_at: Time,
}

impl Suggestions {
    pub(super) fn next_at(&self) -> Time {
        if self.waiting.is_empty() { Time::NEVER } else { self.next_at }
    }
}

impl Node {
    /// Tries the next suggested address, if it is time.
    pub(super) fn follow_suggestions(&mut self, now: Time) {
        while now >= self.suggestions.next_at {
            let Some((job, address)) = self.suggestions.waiting.pop_front() else {
                return;
            };
            if self.fetches.get(&job).is_some_and(|job| !job.fetch.knows(address)) {
                self.suggestions.next_at = now + Duration::from_secs(1) / SUGGESTIONS_PER_SECOND;
                self.open_source(now, job, address, true);
            }
        }
    }
}
