//! The path to a peer that may be asked for content: what is on its way, and how long a datagram may be.

use std::collections::BTreeMap;
use std::time::Duration;

use super::ORDINARY_DATAGRAM;
use crate::time::Time;
use crate::transfer::blobs::JobId;
use crate::transfer::fetch::{Ask, Space};
use crate::transfer::path::{Path, Sequence};

/// The longest datagram asked for where longer ones are swallowed: what IPv6 promises of every path, 1,280, less headers.
pub(crate) const NARROW_DATAGRAM: usize = 1232;
/// How often a long datagram is tried on such a path.
pub(crate) const WIDEN_INTERVAL: Duration = Duration::from_secs(5);
/// So many waits in vain make a path a narrow one.
pub(crate) const SILENCES_UNTIL_NARROW: u32 = 2;

/// A request that is on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) job: JobId,
    pub(super) ask: Ask,
}

/// Blocks in a row that one request asks for.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) job: JobId,
    pub(super) ask: Ask,
    /// The length of each block but the last, which may be shorter.
    pub(super) block: u64,
}

impl Run {
    /// Takes up `ask` too, where it is the next block and there is room for one more.
    pub(super) fn extend(&mut self, job: JobId, ask: &Ask, most: u64) -> bool {
        let range = &mut self.ask.range;
        let length = range.end - range.start;
        let next = ask.range.end - ask.range.start;
        let fits = length.is_multiple_of(self.block) && length / self.block < most && next <= self.block;
        let same = self.job == job && self.ask.space == ask.space && !self.ask.probe && !ask.probe;
        let follows = range.end == ask.range.start;
        if fits && same && follows {
            range.end = ask.range.end;
        }
        fits && same && follows
    }
}

/// The path to a peer that may be asked for content.
#[derive(Debug)]
pub(super) struct AskedPath {
    pub(super) path: Path<Flight>,
    // The latest request for each place; some of them are forgotten already.
    pub(super) places: BTreeMap<(JobId, Space, u64), Sequence>,
    /// Bytes of a datagram that cross the path whole, as far as the route says.
    pub(super) room: usize,
    /// Long datagrams seem to be swallowed: ask for short ones.
    pub(super) narrow: bool,
    /// While it is narrow, when to try a long one again.
    pub(super) widen_at: Time,
    pub(super) was_gone: bool,
    /// Bytes on their way that are counted in the sum of all paths.
    pub(super) counted: u64,
    /// When it is to be looked at.
    pub(super) looked_at: Time,
    /// The fetch that the last request was for.
    pub(super) last_job: JobId,
}

impl AskedPath {
    pub(super) fn new() -> AskedPath {
        AskedPath {
            path: Path::new(ORDINARY_DATAGRAM as u64),
            places: BTreeMap::new(),
            room: ORDINARY_DATAGRAM,
            narrow: false,
            widen_at: Time::ZERO,
            was_gone: false,
            counted: 0,
            looked_at: Time::NEVER,
            last_job: JobId(0),
        }
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.path.rtt.is_known().then(|| self.path.rtt.smoothed())
    }

    pub(super) fn next_at(&self, now: Time) -> Time {
        let paced = self.path.window.next_send_at();
        let check = self.path.next_check_at();
        if paced > now { paced.min(check) } else { check }
    }

    /// Drops places of forgotten requests, once they are the most.
    pub(super) fn forget_places(&mut self) {
        if self.places.len() > 2 * self.path.remembered() + 1024 {
            let path = &self.path;
            self.places.retain(|_, sequence| path.flight(*sequence).is_some());
        }
    }

    /// Bytes of a datagram to ask for now.
    pub(super) fn room_now(&self, now: Time) -> usize {
        if self.narrow && now < self.widen_at { self.room.min(NARROW_DATAGRAM) } else { self.room }
    }

    /// The request that a block at this place answers.
    pub(super) fn answered_by(&mut self, job: JobId, space: Space, offset: u64) -> Option<Sequence> {
        let (&place, &sequence) = self.places.range((job, space, 0)..=(job, space, offset)).next_back()?;
        match self.path.flight(sequence) {
            Some(flight) if flight.ask.range.contains(&offset) || flight.ask.range.start == offset => {
                Some(sequence)
            }
            Some(_) => None,
            None => {
                self.places.remove(&place);
                None
            }
        }
    }
}
