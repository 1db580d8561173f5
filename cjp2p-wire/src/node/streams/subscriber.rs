//! One that is sent a stream: what it has, what is on its way to it, and how fast its path takes more.
//!
//! The path is measured as a download's is, the other way round: each datagram is a request that the next report answers.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::places::Place;
use super::queueing::Queueing;
use super::send_window::{SendWindow, Shown};
use crate::message::{Handle, LastPiece, StreamRequest};
use crate::path::in_flight::{Again, Answers, InFlight, RequestedBlock, Sequence};
use crate::range_set::RangeSet;
use crate::stream::block::SIGNATURE_LEN;
use crate::stream::{SignedBlock, record};
use crate::time::Time;

/// One that says nothing for so long is gone.
pub(super) const GONE: Duration = Duration::from_secs(5);
/// Bytes of the stream's signed form that one may ask for at a time.
const MAX_WINDOW: u64 = 64 << 20;
/// Bytes of content in a datagram, at the least and at the most.
const PIECE: Range<u64> = 400..1400;
/// Bytes that a datagram has beside its content, IP and UDP headers included.
const AROUND: u64 = 110;

/// Some of a record that was sent.
#[derive(Clone, Debug)]
struct Piece {
    range: Range<u64>,
    /// Where the record ended then, if its block was short.
    eof: Option<u64>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) handle: Handle,
    /// What is wanted.
    pub(super) from: u64,
    pub(super) until: u64,
    piece: u64,
    flight: InFlight<Piece>,
    window: SendWindow,
    queueing: Queueing,
    // Bytes that were lost since the last report.
    lost_bytes: u64,
    // The window kept something back since the last report.
    was_full: bool,
    // Invariant: what is in flight and neither came nor was lost, in the order in which it was sent.
    sent: VecDeque<(Sequence, Piece)>,
    /// What it said that it has.
    have: RangeSet,
    /// What was lost: if it is sent again, it is unclear which of both came.
    lost: RangeSet,
    /// What was looked for and is not here.
    absent: RangeSet,
    // Invariant: `have`, `absent` and what is in `sent`; but for signatures that are to be sent anew.
    covered: RangeSet,
    pub(super) heard_at: Time,
    /// Since when it has been sent something and said nothing.
    pub(super) owes_since: Option<Time>,
    pub(super) spare: u64,
    // Invariant: at most `MAX_STREAM_PLACES`.
    pub(super) places: Vec<Place>,
    pub(super) depth: Option<u64>,
    /// It is sent blocks, and not only told of the edge.
    pub(super) is_served: bool,
    /// Since when it has been served.
    pub(super) served_since: Time,
    /// Since when it has been too far behind.
    pub(super) behind_since: Option<Time>,
    /// How far the stream went when it was last level with it; 0 before.
    pub(super) level_at: u64,
    /// When it was last told what is here, and up to where.
    pub(super) told: Option<(Time, u64)>,
}

impl Subscriber {
    pub(super) fn new(now: Time, handle: Handle, is_local: bool) -> Subscriber {
        let mut flight = InFlight::new(PIECE.end + AROUND);
        flight.congestion.set_local(is_local);
        Subscriber {
            handle,
            from: 0,
            until: 0,
            piece: PIECE.end,
            flight,
            window: SendWindow::new(),
            queueing: Queueing::default(),
            lost_bytes: 0,
            was_full: false,
            sent: VecDeque::new(),
            have: RangeSet::new(),
            lost: RangeSet::new(),
            absent: RangeSet::new(),
            covered: RangeSet::new(),
            heard_at: now,
            owes_since: None,
            spare: 0,
            places: Vec::new(),
            depth: None,
            is_served: false,
            served_since: now,
            behind_since: None,
            level_at: 0,
            told: None,
        }
    }

    /// Takes in what it says, `waited` after that came.
    pub(super) fn take(&mut self, now: Time, request: &StreamRequest, waited: Duration) {
        self.handle = request.handle;
        self.from = request.from;
        self.until = request.until.min(request.from.saturating_add(MAX_WINDOW));
        self.piece = request.piece.unwrap_or(PIECE.end).clamp(PIECE.start, PIECE.end);
        self.spare = request.spare;
        self.depth = request.depth;
        (self.heard_at, self.owes_since) = (now, None);
        self.have = request.have.iter().cloned().collect();
        let measured = request.got.and_then(|got| self.measure_queue(now, got));
        let came = self.settle(now, request.got, waited);
        self.absent.remove(0..self.from);
        self.lost.remove(0..self.from);
        self.detect_losses(now);
        self.cover();
        if came > 0 && self.flight.rtt.is_known() {
            let times = self.flight.rtt.times(now, false);
            let (lost, was_full) = (std::mem::take(&mut self.lost_bytes), std::mem::take(&mut self.was_full));
            // What says no times may wait on the way back just as well.
            let queue = measured.unwrap_or(times.latest.saturating_sub(times.min));
            let shown = Shown { came, lost, round_trip: times.latest, queue, was_full };
            self.window.on_report(now, shown);
        }
    }

    /// How long the piece that came last waited on its way.
    fn measure_queue(&mut self, now: Time, got: LastPiece) -> Option<Duration> {
        let (sequence, _) = self.sent.iter().rev().find(|(_, piece)| piece.range.start == got.offset)?;
        Some(self.queueing.measure(now, self.flight.sent_at(*sequence)?, got.at?))
    }

    /// Settles what came, and returns how many bytes that is. Only the piece that came last measures the path: when the others came is not said.
    fn settle(&mut self, now: Time, got: Option<LastPiece>, waited: Duration) -> u64 {
        let ago = got.map_or(Duration::ZERO, |got| got.ago);
        self.flight.set_waited_here(waited + ago);
        let (mut last, mut came) = (None, 0);
        let (have, from, flight) = (&self.have, self.from, &mut self.flight);
        self.sent.retain(|(sequence, piece)| {
            if flight.get(*sequence).is_none() {
                return false;
            }
            let data = match piece.eof {
                // Of a short block only the whole is reported, and not its signature, which changes.
                Some(eof) => {
                    record::start_of(record::index_at(piece.range.start)) + SIGNATURE_LEN as u64..eof
                }
                None => piece.range.clone(),
            };
            if data.end > from && !have.contains(data.start.max(from)..data.end) {
                return true;
            }
            came += piece.range.end - piece.range.start + AROUND;
            if got.is_some_and(|got| got.offset == piece.range.start) {
                last = Some(*sequence);
            } else {
                flight.on_answer(now, RequestedBlock { request: *sequence, nth: 0 }, false);
            }
            false
        });
        if let Some(request) = last {
            flight.on_answer(now, RequestedBlock { request, nth: 0 }, true);
        }
        self.flight.set_waited_here(Duration::ZERO);
        came
    }

    /// Has what is lost by now sent again.
    pub(super) fn detect_losses(&mut self, now: Time) {
        let lost = self.flight.detect_losses(now);
        if lost.is_empty() {
            return;
        }
        let flight = &self.flight;
        self.sent.retain(|(sequence, _)| flight.is_live(RequestedBlock { request: *sequence, nth: 0 }));
        for (piece, _) in lost {
            self.lost_bytes += piece.range.end - piece.range.start + AROUND;
            self.lost.insert(piece.range);
        }
        if self.flight.pto_count() >= 2 {
            self.window.restart();
        }
        self.cover();
    }

    fn cover(&mut self) {
        let all = self.have.iter().chain(self.absent.iter());
        self.covered = all.chain(self.sent.iter().map(|(_, piece)| piece.range.clone())).collect();
    }

    /// A block came, or became longer; its record ends at `end` now.
    pub(super) fn on_block(&mut self, index: u64, end: u64) {
        let range = record::range_of(index);
        if !self.absent.overlaps(range.clone()) && !self.covered.overlaps(range.clone()) {
            return;
        }
        self.absent.remove(range.clone());
        self.cover();
        // With a short one everything goes in one datagram; of a longer one only what is new, and the new signature.
        let again =
            if end - range.start <= self.piece { range.end } else { range.start + SIGNATURE_LEN as u64 };
        self.covered.remove(range.start..again);
    }

    /// The next that is to be sent, of what is there up to `edge`: within one record.
    pub(super) fn wanted(&self, edge: u64) -> Option<Range<u64>> {
        let gap = self.covered.first_gap(self.from..self.until.min(edge).max(self.from))?;
        let end = gap.end.min(record::range_of(record::index_at(gap.start)).end);
        Some(gap.start..end)
    }

    /// These positions hold nothing now.
    pub(super) fn on_absent(&mut self, range: Range<u64>) {
        self.absent.insert(range.clone());
        self.covered.insert(range);
    }

    /// The first part of `range` that fits a datagram, so that all parts of it are about equally long.
    pub(super) fn cut(&self, range: Range<u64>) -> Range<u64> {
        let length = range.end - range.start;
        range.start..range.start + length.div_ceil(length.div_ceil(self.piece).max(1))
    }

    /// Whether one more datagram may leave.
    pub(super) fn may_send(&self, now: Time) -> bool {
        if !self.is_served {
            return false;
        }
        // While it says nothing, a few datagrams probe whether it is back.
        if self.flight.pto_count() > 0 {
            return self.flight.allowance(now, true) > 0;
        }
        self.flight.congestion.in_flight() < self.window.bytes()
    }

    /// Notes that this left.
    pub(super) fn on_sent(&mut self, now: Time, range: Range<u64>, eof: Option<u64>) {
        let again = if self.lost.overlaps(range.clone()) { Again::Yes } else { Again::No };
        let answers = Answers::one(range.end - range.start + AROUND);
        let piece = Piece { range: range.clone(), eof };
        self.owes_since = self.owes_since.or(Some(now));
        let sequence = self.flight.on_sent(now, piece.clone(), answers, again);
        self.sent.push_back((sequence, piece));
        self.covered.insert(range);
    }

    /// The window keeps something back.
    pub(super) fn on_full(&mut self) {
        self.was_full = true;
    }

    /// When something is due: a loss shows, or more may leave of what is there, from `open_at` on.
    pub(super) fn next_at(&self, now: Time, edge: u64, open_at: Time) -> Time {
        let check = self.check_at();
        if !self.is_served {
            return check;
        }
        if self.wanted(edge).is_none() {
            return check;
        }
        if self.may_send(now) { check.min(open_at.max(now)) } else { check }
    }

    /// When it may be gone, or a loss shows.
    pub(super) fn check_at(&self) -> Time {
        let gone = self.heard_at + GONE;
        if self.is_served { self.flight.next_check_at().min(gone) } else { gone }
    }

    /// Whether all of this short block came, as it is now.
    pub(super) fn has_all_of(&self, block: &SignedBlock) -> bool {
        let start = record::start_of(block.index()) + SIGNATURE_LEN as u64;
        !block.is_whole() && self.have.contains(start..record::end_of(block))
    }

    /// The round trip, where it was measured.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.flight.rtt.is_known().then(|| self.flight.rtt.smoothed())
    }

    /// Nothing more is sent to it.
    pub(super) fn stop_serving(&mut self) {
        self.is_served = false;
        (self.behind_since, self.level_at) = (None, 0);
        for (sequence, _) in std::mem::take(&mut self.sent) {
            self.flight.withdraw(sequence);
        }
        self.cover();
    }
}
