//! What is known of one address.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use crate::peers::cookie::PERIOD;
use crate::time::Time;

/// A peer that was silent for this long may be another when it comes back.
pub(crate) const VALIDATION_LIFETIME: Duration = Duration::from_secs(600);
/// Only peers heard from within this time are told to others.
pub(crate) const FRESH: Duration = Duration::from_secs(900);

/// The cookies that an address and we have from each other.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    /// What it wants returned beside every message, as JSON.
    pub(crate) theirs: Option<Box<str>>,
    /// It was asked to return our cookie beside the one it wants from us: some nodes keep ours only then.
    pub(super) was_asked: bool,
    /// It has returned our cookie beside a message: what comes in its name without it is forged.
    pub(crate) returns_always: bool,
    /// When it last did so, by which it showed that it knows of such.
    pub(super) returned_always_at: Option<Time>,
    /// It has our present cookie, so it need not be told.
    pub(crate) has_ours: bool,
    /// Its last content came without a word about cookies.
    pub(crate) is_silent: bool,
}

/// When an address was heard and validated.
#[derive(Debug)]
struct Seen {
    heard_at: Option<Time>,
    validated_at: Option<Time>,
    /// Since when it has been the same peer that is validated here.
    validated_since: Option<Time>,
    /// It spoke like one that has just come: the peer that is validated next may be another than before.
    seems_new: bool,
    /// When it was last heard, or made.
    touched_at: Time,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Contact {
    seen: Seen,
    pub(crate) cookies: Cookies,
    /// When it last sent some of what we asked for.
    pub(crate) useful_at: Option<Time>,
    /// How many blocks it sends for one request; 1 where it never said.
    pub(crate) blocks: u64,
    /// It sends raw content to whoever asks for it so.
    pub(crate) sends_raw: bool,
    /// It sent what is provably wrong.
    pub(crate) banned: bool,
    /// What came from there was said by ourselves: the address is our own, or repeats what we say.
    pub(crate) is_us: bool,
    /// Named by another peer, not by the user: asked sparingly until it is validated.
    pub(crate) suggested: bool,
    /// The peer that suggested it, when it was tried. Boxed: few have one.
    named_by: Option<Box<SocketAddr>>,
    /// It asks for peers beside its questions for content: referrals to it need not name any at random.
    pub(crate) asks_for_peers: bool,
    /// It may be asked for content: it is not forgotten as long as that is so.
    pub(crate) is_asked: bool,
    /// The round trip of a query, where one was answered.
    pub(crate) round_trip: Option<Duration>,
    /// Its place among those that others may be told of.
    pub(super) told_from: Option<NonZeroU16>,
}

impl Contact {
    pub(super) fn new(now: Time) -> Contact {
        Contact {
            seen: Seen {
                heard_at: None,
                validated_at: None,
                validated_since: None,
                seems_new: false,
                touched_at: now,
            },
            cookies: Cookies::default(),
            useful_at: None,
            blocks: 1,
            sends_raw: false,
            banned: false,
            is_us: false,
            suggested: false,
            named_by: None,
            asks_for_peers: false,
            is_asked: false,
            round_trip: None,
            told_from: None,
        }
    }

    /// Whether it returned a permanent cookie of ours at any time.
    pub(crate) fn returned_always(&self) -> bool {
        self.cookies.returned_always_at.is_some()
    }

    /// Whether it did so not long ago. It can, so its echoes are worth nothing.
    pub(crate) fn returned_always_lately(&self, now: Time) -> bool {
        self.cookies.returned_always_at.is_some_and(|at| now.since(at) < VALIDATION_LIFETIME)
    }

    /// Whether it never showed more than the oldest nodes can: to return our cookie when asked.
    fn may_be_old(&self) -> bool {
        !self.returned_always() && self.is_validated()
    }

    /// Whether it has a cookie of ours that is still good. One from which nothing came for long has one that is not.
    pub(crate) fn has_good_cookie(&self, now: Time) -> bool {
        self.cookies.has_ours && self.seen.validated_at.is_some_and(|at| now.since(at) < PERIOD)
    }

    /// Whether it does not seem to know of cookies, so that it need not be asked for the return of ours.
    pub(crate) fn ignores_cookies(&self) -> bool {
        self.cookies.is_silent && self.cookies.theirs.is_none()
    }

    /// Whether it is of no use to ask it or to name it.
    pub(crate) fn is_shunned(&self) -> bool {
        self.banned || self.is_us
    }

    /// Whether only a suggestion says that a peer is there.
    pub(crate) fn is_only_suggested(&self) -> bool {
        self.suggested && !self.is_validated()
    }

    /// Whether others may be told of it.
    pub(crate) fn is_presentable(&self, now: Time) -> bool {
        let fresh = self.seen.heard_at.is_some_and(|at| now.since(at) < FRESH);
        fresh && self.is_validated() && !self.is_shunned()
    }

    /// Whether it was ever validated.
    pub(crate) fn is_validated(&self) -> bool {
        self.seen.validated_at.is_some()
    }

    /// Whether nothing has come from it for this long.
    fn was_silent(&self, now: Time, long: Duration) -> bool {
        self.seen.heard_at.is_some_and(|at| now.since(at) >= long)
    }

    /// Whether it was heard, and only asked us.
    pub(super) fn only_asked(&self) -> bool {
        let was_asked = self.is_asked || self.useful_at.is_some() || self.round_trip.is_some();
        self.seen.heard_at.is_some() && !was_asked && !self.is_shunned()
    }

    /// Whether it only asked us, and has gone: nobody is told of it any more, and no cookie that it may have is good.
    pub(super) fn has_gone(&self, now: Time) -> bool {
        self.only_asked() && self.was_silent(now, FRESH)
    }

    /// It said something without our cookie. Getters come and go at the same port, and each is unvalidated at first.
    pub(super) fn on_unvalidated(&mut self, now: Time) {
        self.seen.touched_at = now;
        self.seen.seems_new |= self.was_silent(now, VALIDATION_LIFETIME) || !self.may_be_old();
        if !self.cookies.returns_always {
            self.seen.heard_at = Some(now);
        }
    }

    pub(super) fn on_validated(&mut self, now: Time) {
        let is_new = self.seen.seems_new || self.was_silent(now, VALIDATION_LIFETIME);
        self.seen.validated_since = self.seen.validated_since.filter(|_| !is_new).or(Some(now));
        self.seen.seems_new = false;
        self.seen.validated_at = Some(now);
        self.seen.heard_at = Some(now);
        self.seen.touched_at = now;
    }

    /// When it was last heard, or made.
    pub(super) fn touched_at(&self) -> Time {
        self.seen.touched_at
    }

    /// It is tried because this peer suggested it, unless it was heard already.
    pub(super) fn on_named(&mut self, by: Option<SocketAddr>) {
        if self.seen.heard_at.is_none() {
            self.named_by = by.map(Box::new);
        }
    }

    /// Its permanent cookie does not come back any more: another node has taken its place.
    pub(super) fn on_replaced(&mut self) {
        self.cookies = Cookies { is_silent: self.cookies.is_silent, ..Cookies::default() };
        self.seen.seems_new = true;
    }

    /// The same for the peer table; `None` if it was never heard.
    pub(super) fn acquaintance(&self, address: SocketAddr) -> Option<Acquaintance> {
        Some(Acquaintance {
            address,
            last_heard: self.seen.heard_at?,
            round_trip: self.round_trip,
            validated_since: self.seen.validated_since,
            last_useful: self.useful_at,
            misbehaved: self.banned,
            suggested: self.suggested,
            named_by: self.named_by.as_deref().copied(),
        })
    }
}

/// A peer that we met, for the peer table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acquaintance {
    /// Where it is.
    pub address: SocketAddr,
    /// When it was last heard.
    pub last_heard: Time,
    /// The round trip, where it was measured.
    pub round_trip: Option<Duration>,
    /// Since when it has been validated, as far as can be told the same peer all the time; `None` where it never was.
    pub validated_since: Option<Time>,
    /// When it last sent some of what we asked for.
    pub last_useful: Option<Time>,
    /// Whether it sent what is provably wrong.
    pub misbehaved: bool,
    /// Whether only another peer named it.
    pub suggested: bool,
    /// Which peer named it, where one did and it was tried for that.
    pub named_by: Option<SocketAddr>,
}
