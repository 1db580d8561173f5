//! One that is asked for a stream: what it said, when it was heard, and when it is to be told again what is wanted.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::places::Place;
use crate::datagram::Encoder;
use crate::message::{ContentRequest, Handle, LastPiece, MAX_STREAM_RANGES, StreamHolding, StreamRequest};
use crate::node::shared::Shared;
use crate::range_set::RangeSet;
use crate::stream::{BLOCK_LEN, StreamId, record};
use crate::time::Time;

/// When a question is asked again that is not answered; after the last the source is given up, unless the user named it.
const TRIES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
    Duration::from_millis(2000),
];
/// One that the user named is asked on and on.
const INSIST: Duration = Duration::from_secs(3);
/// One that answered is told again what is wanted.
const RENEW: Duration = Duration::from_secs(1);
const RENEW_SEEKING: Duration = Duration::from_millis(400);
const RENEW_FULL: Duration = Duration::from_secs(4);
/// It is told what came: so long after the first that it was not told of; at once after so many; soon where one is missing.
const REPORT: Duration = Duration::from_millis(25);
const REPORT_AFTER: u32 = 8;
const REPORT_GAP: Duration = Duration::from_millis(4);
/// It is told so often of places below us.
const PLACES: Duration = Duration::from_secs(1);
const PLACES_NEWS: Duration = Duration::from_millis(50);
/// One that is silent for so long is gone, though it is told what is wanted.
pub(super) const SILENT: Duration = Duration::from_millis(2500);
/// A parent of whom nothing came for so long, or three times the usual pause, may be gone.
const IDLE: Duration = Duration::from_millis(100);
/// Then it is asked so often whether it is there, and is gone if it says nothing so often.
const PROBE: Duration = Duration::from_millis(100);
const PROBES: u32 = 3;
/// Content of a datagram that three of make a record: no packet of 1,500 bytes is cut, over IPv4. IPv6 takes a little less.
const PIECE_V4: u64 = 1387;
const PIECE_V6: u64 = 1376;
/// The longest question to an address that only another peer named.
const SPARING: usize = 256;
/// So long the first pause between two arrivals is taken for.
const USUAL_GAP: Duration = Duration::from_millis(100);

/// Who named a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NamedBy {
    /// The user: it is asked whatever it says.
    User,
    /// The owner of the node: it was validated once.
    Known,
    /// Another peer.
    Peer,
}

/// What a source has, as it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) from: u64,
    pub(super) until: u64,
    pub(super) depth: Option<u64>,
    pub(super) full: bool,
    pub(super) waits: bool,
}

/// What a source is told.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) id: &'a StreamId,
    /// What is wanted, as positions.
    pub(super) wanted: Range<u64>,
    /// What of it is here, or came in part from this source.
    pub(super) here: &'a RangeSet,
    pub(super) room: &'a Room,
    pub(super) depth: Option<u64>,
    /// Whether there is no parent.
    pub(super) seeks: bool,
    /// Whether it is to send what is wanted; otherwise it is to tell how far the stream goes.
    pub(super) is_parent: bool,
}

/// Who may come to us, or to those below us.
#[derive(Debug, Default)]
pub(super) struct Room {
    pub(super) spare: u64,
    pub(super) places: Vec<Place>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Source {
    pub(super) handle: Handle,
    pub(super) named_by: NamedBy,
    tries: usize,
    next_at: Time,
    sent_at: Time,
    pub(super) told: Option<Told>,
    pub(super) heard_at: Time,
    /// When blocks last came from it.
    pub(super) data_at: Time,
    /// The usual time from one arrival to the next.
    gap: Duration,
    pub(super) round_trip: Option<Duration>,
    got: Option<(u64, Time)>,
    /// Datagrams that came since it was told.
    unreported: u32,
    /// How often it was told since it was heard, and since when it has been asked whether it is there.
    unanswered: u32,
    probed_at: Option<Time>,
    // Where the datagram begins that comes next, if none is lost.
    expected: u64,
    /// It said so long ago that it has more than was here then, and that is still not here: up to there.
    pub(super) ahead: Option<(Time, u64)>,
    // When it was told last of the places below us.
    places_at: Time,
    places: Vec<(SocketAddr, u64)>,
    /// It is left alone until then.
    pub(super) rests_until: Time,
    /// How often in a row it was of no use.
    pub(super) failures: u32,
    /// Whether what it sent was not right, once.
    pub(super) is_suspect: bool,
    /// It is another program, that gives blocks one by one; and how many of these were wrong.
    pub(super) is_plain: bool,
    pub(super) wrong: u32,
}

impl Source {
    pub(super) fn new(now: Time, handle: Handle, named_by: NamedBy) -> Source {
        Source {
            handle,
            named_by,
            tries: 0,
            next_at: now,
            sent_at: now,
            told: None,
            heard_at: now,
            data_at: Time::ZERO,
            gap: USUAL_GAP,
            round_trip: None,
            got: None,
            unreported: 0,
            unanswered: 0,
            probed_at: None,
            expected: 0,
            ahead: None,
            places_at: Time::ZERO,
            places: Vec::new(),
            rests_until: Time::ZERO,
            failures: 0,
            is_suspect: false,
            is_plain: false,
            wrong: 0,
        }
    }

    /// When it is to be told what is wanted.
    pub(super) fn next_at(&self) -> Time {
        self.next_at
    }

    /// It is to be told now what is wanted.
    pub(super) fn tell_at(&mut self, at: Time) {
        self.next_at = self.next_at.min(at);
    }

    /// Whether it has nothing to say.
    pub(super) fn is_spent(&self, now: Time) -> bool {
        let is_over = self.tries >= TRIES.len() && now >= self.next_at;
        self.named_by != NamedBy::User && !self.is_plain && is_over
    }

    /// Whether it may still answer for the first time.
    pub(super) fn is_asked(&self) -> bool {
        self.told.is_none() && self.tries < TRIES.len()
    }

    /// Whether an answer is to be expected: others need not be asked meanwhile.
    pub(super) fn is_asked_lately(&self) -> bool {
        self.told.is_none() && self.tries <= 1
    }

    /// Nothing came from it for longer than usual: it is asked whether it is there.
    pub(super) fn probe(&mut self, now: Time) {
        self.probed_at = self.probed_at.or(Some(now));
        self.next_at = self.next_at.min((self.sent_at + PROBE).max(now));
    }

    /// Whether it does not answer, though it was asked again and again.
    pub(super) fn is_dumb(&self, now: Time) -> bool {
        let long = PROBE * PROBES + self.round_trip.unwrap_or_default();
        self.unanswered >= PROBES && self.probed_at.is_some_and(|at| now.since(at) >= long)
    }

    /// Where nothing comes from it for so long, something may be wrong.
    pub(super) fn usual_pause(&self) -> Duration {
        IDLE.max(self.gap * 3)
    }

    /// How long to wait for what should have come from it.
    pub(super) fn patience(&self) -> Duration {
        let round_trip = self.round_trip.unwrap_or_default();
        Duration::from_millis(300).max(self.gap * 3).max(round_trip * 2)
    }

    /// Tells it what is wanted.
    pub(super) fn report(&mut self, shared: &mut Shared, now: Time, to: SocketAddr, report: &Report<'_>) {
        let pause = match (&self.told, TRIES.get(self.tries)) {
            (Some(told), _) => {
                if report.seeks {
                    RENEW_SEEKING
                } else if told.full && !report.is_parent {
                    RENEW_FULL
                } else {
                    RENEW
                }
            }
            (None, Some(&pause)) => pause,
            (None, None) => INSIST,
        };
        self.next_at = now + pause;
        if self.told.is_none() {
            self.tries += 1;
        }
        let is_validated = shared.contacts.entry(now, to).is_validated();
        let spares = self.named_by == NamedBy::Peer && !is_validated;
        let Range { start, end } = report.wanted;
        let is_parent = report.is_parent;
        let have = report.here.within(start..end).take(if is_parent { MAX_STREAM_RANGES } else { 0 });
        let got = self.got.map(|(offset, at)| LastPiece {
            offset,
            ago: now.since(at),
            at: Some(at.as_nanos() / 1000),
        });
        let places = || report.room.places.iter().map(|place| (place.address, place.depth));
        let is_news = !self.places.iter().copied().eq(places());
        let says_places =
            is_parent && now.since(self.places_at) >= if is_news { PLACES_NEWS } else { PLACES };
        let request = StreamRequest {
            id: report.id.clone(),
            handle: self.handle,
            from: start,
            until: if is_parent { end } else { start },
            have: have.collect(),
            got: got.filter(|_| is_parent),
            piece: Some(if to.is_ipv4() { PIECE_V4 } else { PIECE_V6 }),
            spare: report.room.spare,
            places: says_places.then(|| places().collect()),
            depth: report.depth,
            stops: false,
        };
        if says_places {
            self.places_at = now;
            self.places = places().collect();
        }
        if spares && !shared.probes.may_send(now, to) {
            return;
        }
        let mut encoder = Encoder::new();
        shared.write_cookies(now, to, true, &mut encoder);
        let mark = encoder.mark();
        encoder.keep_sending(&request);
        if spares && encoder.len() > SPARING {
            // First it is to show that it is there; then it is asked for more.
            encoder.rewind(mark);
            encoder.cookie("PleaseReturnThisMessage", &shared.mint.mint(now, to));
        }
        let mark = encoder.mark();
        if self.told.is_none() && !self.is_plain {
            // Other programs know nothing of that, and give a block.
            let offset = record::index_at(start) * BLOCK_LEN as u64;
            encoder.request(&ContentRequest::plain(report.id.to_string(), offset, BLOCK_LEN as u64));
        }
        if spares && encoder.len() > SPARING {
            encoder.rewind(mark);
        }
        // It may not know us, and answers then with no more than twice as much.
        let pad = if is_validated || spares { 0 } else { 400 };
        self.sent_at = now;
        self.unreported = 0;
        self.unanswered += 1;
        shared.send(to, encoder.finish(pad));
    }

    /// Tells it that nothing more is wanted.
    pub(super) fn stop(&self, shared: &mut Shared, now: Time, to: SocketAddr, id: &StreamId) {
        if self.told.is_none() {
            return;
        }
        let request = StreamRequest {
            id: id.clone(),
            handle: self.handle,
            from: 0,
            until: 0,
            have: Vec::new(),
            got: None,
            piece: None,
            spare: 0,
            places: None,
            depth: None,
            stops: true,
        };
        let mut encoder = Encoder::new();
        shared.write_cookies(now, to, true, &mut encoder);
        encoder.keep_sending(&request);
        shared.send(to, encoder.finish(0));
    }

    /// It says what it has, of a stream of which all up to `edge` is here.
    pub(super) fn on_told(&mut self, now: Time, told: &StreamHolding, edge: u64) {
        if self.told.is_none() {
            self.round_trip = Some(now.since(self.sent_at));
            self.next_at = self.next_at.max(now + RENEW / 4);
        }
        self.heard_at = now;
        (self.tries, self.unanswered, self.probed_at) = (0, 0, None);
        let StreamHolding { from, until, depth, full, waits, .. } = *told;
        self.told = Some(Told { from, until, depth, full, waits });
        if until > edge && self.ahead.is_none() {
            self.ahead = Some((now, until));
        }
    }

    /// All up to here is here now.
    pub(super) fn on_edge(&mut self, edge: u64) {
        self.ahead = self.ahead.filter(|(_, until)| *until > edge);
    }

    /// Some of the stream came from it, `waited` ago.
    pub(super) fn on_piece(&mut self, now: Time, waited: Duration, offset: u64, length: u64) {
        let at = now - waited;
        if self.data_at != Time::ZERO {
            let gap = now.since(self.data_at).min(Duration::from_secs(1));
            // Datagrams that come together are one arrival.
            if gap >= Duration::from_millis(2) {
                self.gap = (self.gap * 7 + gap) / 8;
            }
        }
        (self.data_at, self.heard_at) = (now, now);
        self.got = Some((offset, at));
        self.unreported += 1;
        (self.tries, self.unanswered, self.probed_at) = (0, 0, None);
        let is_gap = self.expected != 0 && offset > self.expected;
        self.expected = offset + length;
        let pause = match self.unreported {
            REPORT_AFTER.. => Duration::ZERO,
            _ if is_gap => REPORT_GAP,
            _ => REPORT,
        };
        self.tell_at(now + pause);
    }
}
