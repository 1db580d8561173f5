//! `Source`: what is known of one peer as a source of one content, and when to ask it again.

mod hint;
mod probes;
mod standing;

use std::ops::Range;
use std::time::Duration;

pub(super) use hint::SourceHint;
pub(super) use probes::{ABSENCE_MEMORY, SECOND_LOOK};
use probes::{MAX_PROBE_PAUSE, Probes};
pub(super) use standing::Standing;

use crate::pieces::{HaveMap, QUESTIONS_UNTIL_GONE, answer_timeout};
use crate::range_set::RangeSet;
use crate::time::Time;

/// A peer that did not have something is tried again after so long.
const REFUSAL_MEMORY: Duration = Duration::from_secs(1);
/// A source that never validated its address and has more faults than these is asked again only after a pause.
const MAX_STRIKES: u32 = 3;
/// The first such pause; it doubles with each fault more.
const FIRST_DOUBT_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const MAX_DOUBT_PAUSE: Duration = Duration::from_secs(60);
/// A leecher that was asked and brought nothing for so long makes way for another.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that is taken for having the content is not asked which parts it has before this time.
const PRESUMED_FOR: Duration = Duration::from_secs(1);
/// A source that brings less before it falls silent answered in vain, in bytes.
const MUCH: u64 = 4096;

/// What a source claims about the length, and whether another node can have spoken in its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Claim {
    /// The length that the source says the content has.
    pub(super) length: Option<u64>,
    /// The claim came from a validated address: no other node can have made it.
    pub(super) is_its_own: bool,
    /// Some of what it gave under its claim came without validation.
    pub(super) gave_unvalidated: bool,
    /// Faults that may be its own.
    strikes: u32,
}

impl Claim {
    /// Whether all that came from this address is certainly from there.
    pub(super) fn is_certain(&self) -> bool {
        self.is_its_own && !self.gave_unvalidated
    }
}

/// Times without an answer.
#[derive(Clone, Debug, Default)]
struct Silence {
    /// Since it fell silent it sent nothing, whatever it says that it has.
    is_silent: bool,
    /// New bytes that it brought since it answered after a silence.
    brought: u64,
    /// How often in a row it answered and then fell silent without having brought much.
    in_vain: u32,
}

/// What it brought, and was asked for in vain.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries {
    /// When it last brought new bytes that were not found wrong since.
    pub(super) news_at: Option<Time>,
    /// Since when it was asked for content without bringing any.
    pub(super) asked_since: Option<Time>,
    /// Bytes that it gave since the last review.
    pub(super) lately: u64,
    /// It gave some of the content, at whatever time.
    has_given: bool,
}

/// Content that it did not have lately.
#[derive(Clone, Debug)]
struct Refusals {
    ranges: RangeSet,
    at: Time,
}

/// How far its word counts that it no longer has the content.
#[derive(Clone, Debug, Default)]
struct Withdrawn {
    /// The user named it.
    is_named: bool,
    /// An interrupted download had some of the content from it.
    is_remembered: bool,
    /// It says that it no longer has the content, and gave nothing since.
    is_so: bool,
}

/// Which parts it has, if it is a leecher or may be one.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    /// What it says that it has, if it does.
    pub(super) have: Option<HaveMap>,
    /// Until it says what it has: when it is asked.
    ask_at: Time,
    asked: u32,
    /// It is a leecher, but there are enough others.
    pub(super) in_reserve: bool,
}

/// One source.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) standing: Standing,
    pub(super) claim: Claim,
    /// It answers with whole leaves only.
    pub(super) is_aligned: bool,
    pub(super) exchange: Exchange,
    pub(super) deliveries: Deliveries,
    pub(super) hint: SourceHint,
    probes: Probes,
    silence: Silence,
    refusals: Refusals,
    withdrawn: Withdrawn,
    /// It is taken for having the content, though it has neither sent any nor said so.
    is_presumed: bool,
}

impl Source {
    pub(super) fn new(now: Time, suggested: bool) -> Source {
        Source {
            standing: Standing::Unknown,
            claim: Claim::default(),
            is_aligned: false,
            exchange: Exchange { have: None, ask_at: now, asked: 0, in_reserve: false },
            deliveries: Deliveries::default(),
            hint: SourceHint::default(),
            probes: Probes::new(now, suggested),
            silence: Silence::default(),
            refusals: Refusals { ranges: RangeSet::new(), at: now },
            withdrawn: Withdrawn::default(),
            is_presumed: false,
        }
    }

    /// Takes it for having the content, of this length.
    pub(super) fn presume(&mut self, now: Time, length: u64) {
        self.on_serving();
        self.probes.on_asked(now, self.standing);
        self.claim.length = Some(length);
        self.is_presumed = true;
        // What is short is here by then.
        self.ask_have_at(now + PRESUMED_FOR);
    }

    /// Whether it is only taken for having the content.
    pub(super) fn is_presumed(&self) -> bool {
        self.is_presumed
    }

    /// It was taken for having the content, and does not.
    pub(super) fn on_not_there(&mut self, now: Time) {
        self.is_presumed = false;
        self.claim.length = None;
        self.on_absent(now);
    }

    /// When there is something to ask it without any datagram coming.
    pub(super) fn next_at(&self) -> Time {
        match self.standing {
            Standing::Unknown | Standing::Absent => self.probes.next_at(),
            Standing::Serving | Standing::Waiting => match &self.exchange.have {
                Some(have) => have.next_at(),
                None if self.exchange.in_reserve || self.exchange.asked >= QUESTIONS_UNTIL_GONE => {
                    Time::NEVER
                }
                None => self.exchange.ask_at,
            },
            Standing::Liar => Time::NEVER,
        }
    }

    /// It sent some of the content, or says that it has some.
    pub(super) fn on_serving(&mut self) {
        if self.standing != Standing::Serving {
            self.hint.on_serving();
            if let Some(have) = &mut self.exchange.have {
                have.on_serving();
            }
        }
        self.standing = Standing::Serving;
        self.probes.on_serving();
    }

    pub(super) fn on_absent(&mut self, now: Time) {
        self.standing = Standing::Absent;
        self.probes.on_absent(now);
    }

    /// Notes that the peer fell silent: it is asked from time to time whether it is back. Where `others` offer the content too,
    /// one that answers and then brings next to nothing is asked ever more rarely.
    pub(super) fn on_silent(&mut self, now: Time, others: bool) {
        self.silence.is_silent = true;
        self.deliveries.asked_since = None;
        if self.standing == Standing::Serving {
            self.standing = Standing::Unknown;
            self.probes.on_silent(now);
            let silence = &mut self.silence;
            silence.in_vain = if silence.brought < MUCH { silence.in_vain + 1 } else { 0 };
            silence.brought = 0;
            if others && silence.in_vain > 1 {
                let pause = FIRST_DOUBT_PAUSE * 2u32.pow(silence.in_vain.min(8));
                self.probes.not_before(now + pause.min(MAX_DOUBT_PAUSE));
            }
        }
    }

    /// Whether it fell silent and has sent nothing since.
    pub(super) fn is_silent(&self) -> bool {
        self.silence.is_silent
    }

    /// Notes that it sent bytes of the content or its tree; `validated`: from a validated address.
    pub(super) fn on_sent(&mut self, bytes: u64, validated: bool) {
        self.silence.is_silent = false;
        self.is_presumed = false;
        self.deliveries.asked_since = None;
        self.deliveries.lately += bytes;
        self.deliveries.has_given = true;
        self.withdrawn.is_so = false;
        self.claim.gave_unvalidated |= !validated;
    }

    /// Notes that some of that was new.
    pub(super) fn on_news(&mut self, now: Time, bytes: u64) {
        self.deliveries.news_at = Some(now);
        self.silence.brought += bytes;
    }

    /// Notes a fault. Returns whether it is the first that shows it to be a liar, or casts doubt on it; that another node spoke in its
    /// name is ruled out where `certain`.
    pub(super) fn on_fault(&mut self, now: Time, certain: bool) -> bool {
        self.claim.strikes += 1;
        if self.standing == Standing::Liar {
            return false;
        }
        if certain {
            self.standing = Standing::Liar;
        } else {
            self.on_doubt(now);
        }
        true
    }

    /// It may begin anew, after ever longer pauses where that happens often.
    fn on_doubt(&mut self, now: Time) {
        self.on_serving();
        self.on_silent(now, false);
        let strikes = self.claim.strikes;
        self.claim = Claim { strikes, ..Claim::default() };
        if let Some(more) = strikes.checked_sub(MAX_STRIKES) {
            let pause = (FIRST_DOUBT_PAUSE * 2u32.pow(more.min(8))).min(MAX_DOUBT_PAUSE);
            self.probes.not_before(now + pause);
        }
    }

    /// Notes that its claim comes from a validated address.
    pub(super) fn own_claim(&mut self) {
        if !self.claim.is_its_own {
            self.claim.is_its_own = true;
            self.claim.strikes = 0;
        }
    }
}

/// Whether it has the content at all.
impl Source {
    /// Whether it may be asked now.
    pub(super) fn may_be_probed(&self, now: Time) -> bool {
        now >= self.probes.next_at()
    }

    /// Whether it was asked before and has not answered since.
    pub(super) fn was_probed(&self) -> bool {
        self.probes.count() > 0
    }

    /// Whether it was asked at any time.
    pub(super) fn was_ever_asked(&self) -> bool {
        self.probes.was_ever_asked()
    }

    /// Whether two questions in a row were in vain: perhaps the path to it carries no long answers.
    pub(super) fn was_probed_in_vain(&self) -> bool {
        self.standing == Standing::Unknown && self.probes.count() >= 2
    }

    /// The length it claims, if it sent some of the content before it fell silent, and is not tried elsewhere.
    pub(super) fn lost_touch_with(&self) -> Option<u64> {
        let may_have_all =
            self.silence.is_silent && self.exchange.have.as_ref().is_none_or(HaveMap::is_whole);
        let is_here = self.standing == Standing::Unknown && !self.probes.count().is_multiple_of(2);
        self.claim.length.filter(|_| may_have_all && is_here)
    }

    /// Whether it seems not to have the beginning, and is now asked for another part; the how many-th. Some say that they
    /// do not have it, and some say nothing.
    pub(super) fn is_tried_elsewhere(&self) -> Option<u32> {
        self.probes.elsewhere(self.standing)
    }

    /// Notes that the peer is asked whether it has the content.
    pub(super) fn on_probe(&mut self, now: Time) {
        self.probes.on_asked(now, self.standing);
    }

    /// It is asked again at this time.
    pub(super) fn probe_at(&mut self, at: Time) {
        self.probes.ask_at(at);
    }

    /// The user named it.
    pub(super) fn is_named(&self) -> bool {
        self.withdrawn.is_named
    }

    /// It may answer yet that was asked a short while ago, or is to be asked.
    pub(super) fn may_answer(&self, now: Time) -> bool {
        self.probes.may_answer(now, self.standing)
    }
}

/// Content that it did not have.
impl Source {
    pub(super) fn refused(&self) -> &RangeSet {
        &self.refusals.ranges
    }

    pub(super) fn refuse(&mut self, now: Time, range: Range<u64>) {
        self.refusals.ranges.insert(range);
        self.refusals.at = now;
    }

    /// Whether it may be asked once more for something that it did not have: a leecher has more every second.
    pub(super) fn may_try_refused(&self, now: Time) -> bool {
        !self.refusals.ranges.is_empty() && now.since(self.refusals.at) >= REFUSAL_MEMORY
    }

    /// Notes that it was asked once more for this: one question shows whether others are worth asking.
    pub(super) fn on_try_refused(&mut self, now: Time, range: &Range<u64>) {
        if self.refusals.ranges.overlaps(range.clone()) {
            self.refusals.at = now;
        }
    }

    /// It sent this part of the content: if that is what it did not have, it may have the rest by now too.
    pub(super) fn has_after_all(&mut self, range: Range<u64>) {
        if self.refusals.ranges.overlaps(range) {
            self.refusals.ranges = RangeSet::new();
        }
    }
}

/// Exchanging parts.
impl Source {
    /// Whether it is a leecher, parts are exchanged with it, and it seems to be there.
    pub(super) fn is_active_leecher(&self) -> bool {
        let takes_part =
            matches!(self.standing, Standing::Serving | Standing::Waiting) && !self.exchange.in_reserve;
        takes_part && self.exchange.have.as_ref().is_some_and(|have| have.is_leecher() && !have.is_silent())
    }

    /// Whether it was asked for what it says that it has, and has not brought anything since.
    pub(super) fn fails_to_deliver(&self, now: Time) -> bool {
        self.deliveries.asked_since.is_some_and(|since| now.since(since) >= DELIVERY_TIMEOUT)
    }

    /// There are enough others: it is left alone for now.
    pub(super) fn put_in_reserve(&mut self) {
        self.exchange.in_reserve = true;
        self.exchange.have = None;
        self.deliveries.asked_since = None;
        self.standing = Standing::Waiting;
    }

    /// Parts are exchanged with it from now on.
    pub(super) fn call_up(&mut self, now: Time) {
        self.exchange.in_reserve = false;
        self.exchange.have = Some(HaveMap::of_leecher(now));
    }

    /// From which byte on it is asked now which parts it has. Notes that it is asked.
    pub(super) fn ask_have(&mut self, now: Time, round_trip: Duration) -> u64 {
        if let Some(have) = &mut self.exchange.have {
            return have.on_asked(now, round_trip);
        }
        // It gives something, and has not said yet what.
        self.exchange.ask_at = now + answer_timeout(round_trip, self.exchange.asked);
        self.exchange.asked += 1;
        0
    }

    /// It leaves such questions unanswered: it is taken for gone.
    pub(super) fn on_gone(&mut self, now: Time) {
        let was_waiting = self.standing == Standing::Waiting;
        self.on_silent(now, false);
        if was_waiting {
            self.standing = Standing::Unknown;
            self.probes.ask_at(now + MAX_PROBE_PAUSE);
        }
    }

    /// It is not asked before this time, until it says what it has.
    pub(super) fn ask_have_at(&mut self, at: Time) {
        self.exchange.ask_at = at;
    }
}

/// Content that was withdrawn.
impl Source {
    /// Its word counts, though it may not have given any of the content now. `named`: by the user. Otherwise an interrupted
    /// download had some from it.
    pub(super) fn rely_on(&mut self, named: bool) {
        self.withdrawn.is_named |= named;
        self.withdrawn.is_remembered |= !named;
    }

    /// It says that it no longer has the content. Where its word counts it is asked again after `pause`.
    pub(super) fn on_withdrawn(&mut self, now: Time, pause: Duration) {
        self.withdrawn.is_so = true;
        self.exchange.have = None;
        if self.standing != Standing::Absent {
            self.on_absent(now);
        }
        if self.counts_as_withdrawn() {
            self.probes.ask_at(now + pause);
        }
    }

    pub(super) fn has_withdrawn(&self) -> bool {
        self.withdrawn.is_so
    }

    pub(super) fn counts_as_withdrawn(&self) -> bool {
        let counts = self.deliveries.has_given || self.withdrawn.is_named || self.withdrawn.is_remembered;
        self.withdrawn.is_so && self.standing != Standing::Liar && counts
    }

    /// Whether it may have what is missing: it has not said otherwise, and had all of it, or may have.
    pub(super) fn may_still_give(&self) -> bool {
        if self.withdrawn.is_so || self.standing == Standing::Liar {
            return false;
        }
        // A leecher has no more than the others gave.
        let is_leecher =
            self.exchange.have.as_ref().is_some_and(|have| have.is_leecher() && !have.is_whole());
        let may_be_back = self.withdrawn.is_named && self.standing == Standing::Unknown;
        !is_leecher && (self.deliveries.has_given || self.standing == Standing::Serving || may_be_back)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_source_that_is_back_is_asked_again_which_parts_it_has() {
        let mut source = Source::new(at(0), false);
        source.call_up(at(0));
        (0..QUESTIONS_UNTIL_GONE).for_each(|_| _ = source.ask_have(at(0), Duration::ZERO));
        assert!(source.exchange.have.as_ref().is_some_and(HaveMap::is_gone));
        source.on_serving();
        assert!(
            !source.exchange.have.is_some_and(|have| have.is_gone()),
            "else it is taken for gone at once"
        );
    }

    #[test]
    fn a_source_with_many_faults_waits_ever_longer() {
        let mut source = Source::new(at(0), false);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert!(source.on_fault(at(0), false));
            pauses.push(source.next_at().since(at(0)).as_millis());
        }
        assert_eq!(pauses, [400, 400, 1000, 2000, 4000, 8000]);
        assert!(source.on_fault(at(0), true) && !source.on_fault(at(0), true));
        assert_eq!(source.next_at(), Time::NEVER);
    }
}
