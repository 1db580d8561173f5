//! The path to a peer that may be asked for content: what is on its way, and how long a datagram may be.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::handles::Handles;
use super::strays::Strays;
use super::width::Width;
use crate::download::{Ask, Space};
use crate::node::lengths::{Framing, ORDINARY_DATAGRAM};
use crate::path::in_flight::{Again, Answers, InFlight, MAX_BLOCKS, RequestedBlock, Sequence};
use crate::store::JobId;
use crate::time::Time;

/// A request that is on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) job: JobId,
    pub(super) ask: Ask,
    /// How it is to be answered.
    pub(super) framing: Framing,
}

/// Which bytes came.
pub(super) struct Came {
    pub(super) range: Range<u64>,
    /// There are none after them.
    pub(super) is_end: bool,
}

/// The path to a peer that may be asked for content.
#[derive(Debug)]
pub(super) struct PeerPath {
    pub(super) path: InFlight<Flight>,
    // Where requests begin; some of them are forgotten already.
    places: BTreeSet<(JobId, Space, u64, Sequence)>,
    // No request is for more bytes.
    longest: u64,
    // Which was answered last: its blocks come one after another.
    answered: Sequence,
    /// The names under which it sends raw content.
    pub(super) handles: Handles,
    strays: Strays,
    /// How long a datagram crosses the path whole.
    pub(super) width: Width,
    pub(super) was_gone: bool,
    /// Bytes on their way that are counted in the sum of all paths.
    pub(super) counted: u64,
    /// When it is to be looked at.
    pub(super) looked_at: Time,
    /// The download that the last request was for.
    pub(super) last_job: JobId,
}

impl PeerPath {
    pub(super) fn new() -> PeerPath {
        PeerPath {
            path: InFlight::new(ORDINARY_DATAGRAM as u64),
            places: BTreeSet::new(),
            longest: 0,
            answered: 0,
            handles: Handles::default(),
            strays: Strays::default(),
            width: Width::new(ORDINARY_DATAGRAM),
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
        let paced = self.path.congestion.next_send_at();
        let check = self.path.next_check_at();
        if paced > now { paced.min(check) } else { check }
    }

    /// Notes a request of `job`. Returns what earlier ones asked for in the same blocks beyond it: that is no
    /// longer watched.
    pub(super) fn on_sent(&mut self, now: Time, job: JobId, ask: &Ask, framing: Framing) -> Vec<Ask> {
        let mut again = if ask.again { Again::Yes } else { Again::No };
        again = again.or(self.strays.among(now, job, ask.space, &ask.range));
        let mut rest = Vec::new();
        let overlapping = self.overlapping(job, ask);
        for &(request, ref earlier) in &overlapping {
            for nth in 0..earlier.blocks() {
                let range = earlier.block_range(nth);
                // An answer to the earlier request of the two would be taken for a quick one to this.
                if range.start < ask.range.end
                    && ask.range.start < range.end
                    && let Some(earlier_again) = self.path.supersede(RequestedBlock { request, nth })
                {
                    again = again.or(earlier_again);
                    let before = range.start..ask.range.start.min(range.end);
                    let after = ask.range.end.max(range.start)..range.end;
                    let outside = [before, after].into_iter().filter(|range| !range.is_empty());
                    rest.extend(outside.map(|range| Ask { range, ..earlier.clone() }));
                }
            }
            if self.path.get(request).is_none() {
                self.places.remove(&(job, ask.space, earlier.range.start, request));
            }
        }
        let blocks = ask.blocks();
        let length = |range: Range<u64>| framing.answer_length(range.end - range.start);
        let (bytes, last) = (length(ask.block_range(0)), length(ask.block_range(blocks - 1)));
        let answers = Answers { blocks, bytes, last };
        let request = self.path.on_sent(now, Flight { job, ask: ask.clone(), framing }, answers, again);
        self.places.insert((job, ask.space, ask.range.start, request));
        self.longest = self.longest.max(ask.range.end - ask.range.start);
        self.forget_places();
        rest
    }

    /// The requests that are remembered and overlap `ask`.
    fn overlapping(&self, job: JobId, ask: &Ask) -> Vec<(Sequence, Ask)> {
        let first = (job, ask.space, ask.range.start.saturating_sub(self.longest), 0);
        let end = (job, ask.space, ask.range.end, 0);
        let near = self.places.range(first..end.max(first));
        near.filter_map(|&(.., request)| {
            let flight = self.path.get(request)?;
            (flight.ask.range.end > ask.range.start).then(|| (request, flight.ask.clone()))
        })
        .collect()
    }

    /// Drops places of forgotten requests, once they are the most.
    fn forget_places(&mut self) {
        if self.places.len() > 2 * self.path.remembered() + 1024 {
            let path = &self.path;
            self.places.retain(|(.., request)| path.get(*request).is_some());
        }
    }

    /// Forgets what was asked for this download.
    pub(super) fn withdraw(&mut self, job: JobId) {
        // All requests that are remembered are there, and few of them are for any one download where there are many.
        let first = (job, Space::Tree, 0, 0);
        let last = (job, Space::Content, u64::MAX, Sequence::MAX);
        let of_job: Vec<_> = self.places.range(first..=last).copied().collect();
        for place in of_job {
            self.places.remove(&place);
            self.path.withdraw(place.3);
        }
        self.handles.forget(job);
        self.strays.forget(job);
    }

    /// Notes that what was asked for came: the bytes `came` of it, up to the end or not, or a refusal. Returns the request for
    /// that block alone, once.
    pub(super) fn on_answer(
        &mut self,
        now: Time,
        asked: RequestedBlock,
        came: Option<Came>,
    ) -> Option<Flight> {
        let flight = self.path.get(asked.request)?;
        let (block, framing) = (flight.ask.block_range(asked.nth), flight.framing);
        let is_exact = came.as_ref().is_none_or(|came| {
            came.range.start == block.start && (came.range.end == block.end || came.is_end)
        });
        self.note_stray(now, asked.request, block);
        // A source with a low rate sends less than it was asked for.
        let bytes = came.map(|came| framing.answer_length(came.range.end - came.range.start));
        let answered = self.path.on_answer_of(now, asked, is_exact, bytes)?;
        Some(self.on_answered(asked.request, asked.nth..asked.nth + 1, answered))
    }

    /// Notes that the first `count` blocks from `asked` on came together, exactly as they were asked for. Returns the request for them.
    pub(super) fn on_answers(&mut self, now: Time, asked: RequestedBlock, count: u32) -> Option<Flight> {
        let blocks = asked.nth..asked.nth + count;
        let ask = &self.path.get(asked.request)?.ask;
        let range = ask.block_range(asked.nth).start..ask.block_range(blocks.end - 1).end;
        self.note_stray(now, asked.request, range);
        let answered = self.path.on_answers(now, asked.request, blocks.clone())?;
        Some(self.on_answered(asked.request, blocks, answered))
    }

    /// Notes that these bytes, which came, may come a second time, if they were asked for twice.
    fn note_stray(&mut self, now: Time, request: Sequence, range: Range<u64>) {
        let again = self.path.again(request);
        if let (true, Some(flight)) = (again != Again::No, self.path.get(request)) {
            let until = now + self.path.rtt.timeout(0);
            self.strays.note(until, flight.job, flight.ask.space, range, again);
        }
    }

    fn on_answered(
        &mut self,
        request: Sequence,
        blocks: Range<u32>,
        (flight, is_last): (Flight, bool),
    ) -> Flight {
        self.answered = request;
        if is_last {
            self.places.remove(&(flight.job, flight.ask.space, flight.ask.range.start, request));
        }
        Flight { ask: flight.ask.part(blocks), ..flight }
    }

    /// How many of these pieces, from the first on, are the blocks that follow one another from `asked` on, each exactly as it was asked
    /// for and open.
    pub(super) fn exact(&self, asked: RequestedBlock, offset: u64, pieces: &[&[u8]]) -> u32 {
        let Some(flight) = self.path.get(asked.request) else { return 0 };
        let (mut at, open) = (offset, self.path.open_blocks(asked.request));
        let blocks = asked.nth..flight.ask.blocks();
        let mut fits = |nth: u32, piece: &[u8]| {
            let range = at..at + piece.len() as u64;
            at = range.end;
            flight.ask.block_range(nth) == range && open >> nth & 1 == 1
        };
        blocks.zip(pieces).take_while(|(nth, piece)| fits(*nth, piece)).count() as u32
    }

    /// Notes that the peer does not give `part` of what was asked for this download; or, where it does not say what, the block that was
    /// asked for longest ago. Returns the requests for these blocks.
    pub(super) fn on_refusal(
        &mut self,
        now: Time,
        job: JobId,
        space: Space,
        part: Option<Range<u64>>,
    ) -> Vec<Flight> {
        let Some(part) = part else {
            let oldest = self.path.oldest(|flight| flight.job == job && flight.ask.space == space);
            return oldest.and_then(|asked| self.on_answer(now, asked, None)).into_iter().collect();
        };
        let first = (job, space, part.start.saturating_sub(self.longest), 0);
        let near = self.places.range(first..(job, space, part.end.max(part.start), 0).max(first));
        let mut refused = Vec::new();
        for &(.., request) in near {
            let Some(flight) = self.path.get(request) else { continue };
            let within = |nth: &u32| part.contains(&flight.ask.block_range(*nth).start);
            let blocks = (0..flight.ask.blocks()).filter(within).map(|nth| RequestedBlock { request, nth });
            refused.extend(blocks.filter(|asked| self.path.is_live(*asked)));
            if refused.len() >= MAX_BLOCKS as usize {
                break;
            }
        }
        refused.into_iter().filter_map(|asked| self.on_answer(now, asked, None)).collect()
    }

    /// The block asked for that one at this place answers.
    pub(super) fn answered_by(&self, job: JobId, space: Space, offset: u64) -> Option<RequestedBlock> {
        let open_in = |request| {
            let flight = self.path.get(request)?;
            let ask = &flight.ask;
            let here = ask.range.contains(&offset) || ask.range.start == offset;
            let asked = RequestedBlock {
                request,
                nth: (offset.checked_sub(ask.range.start)? / ask.block.max(1)) as u32,
            };
            let same = flight.job == job && ask.space == space;
            (same && here && self.path.is_open(asked)).then_some(asked)
        };
        open_in(self.answered).or_else(|| {
            let first = (job, space, offset.saturating_sub(self.longest), 0);
            let mut near = self.places.range(first..=(job, space, offset, Sequence::MAX)).rev();
            near.find_map(|&(.., request)| open_in(request))
        })
    }
}
