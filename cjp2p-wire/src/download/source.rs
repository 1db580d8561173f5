//! What is known of one peer as a source of one piece of content.

use std::time::Duration;

use super::hint::SourceHint;
use crate::pieces::{HaveMap, QUESTIONS_UNTIL_GONE};
use crate::range_set::RangeSet;
use crate::time::Time;

/// A peer that did not have something is tried again after so long.
pub(crate) const REFUSAL_MEMORY: Duration = Duration::from_secs(1);
/// A peer that had nothing at all of the content is asked again after so long. For one that somebody else suggested this
/// doubles each time.
pub(crate) const ABSENCE_MEMORY: Duration = Duration::from_secs(5);
/// The longest of these pauses.
pub(crate) const MAX_ABSENCE_MEMORY: Duration = Duration::from_secs(300);
/// Where all who have it are looked for: a peer that had nothing and did not know us yet is asked again after so long.
pub(crate) const SECOND_LOOK: Duration = Duration::from_millis(500);
/// When a peer that somebody else suggested is asked, after the first time; then never again until it answers.
pub(crate) const SUGGESTED_RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(9)];
/// The longest pause between questions to a peer that the user named.
pub(crate) const MAX_PROBE_PAUSE: Duration = Duration::from_secs(4);
/// The pause after the first question to such a peer; it doubles.
pub(crate) const FIRST_PROBE_PAUSE: Duration = Duration::from_millis(400);

/// So many faults of one that never proved its address, and it is asked again only after a pause.
pub(crate) const MAX_STRIKES: u32 = 3;
/// The first such pause; it doubles with each fault more.
pub(crate) const FIRST_DOUBT_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
pub(crate) const MAX_DOUBT_PAUSE: Duration = Duration::from_secs(60);

/// A source that brings less before it falls silent answered in vain, in bytes.
const MUCH: u64 = 4096;

/// How far we got with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not answered yet.
    Unknown,
    /// It sent some of the content.
    Serving,
    /// It said that it has nothing of it.
    Absent,
    /// It fetches the content itself, and has nothing of it yet.
    Waiting,
    /// It sent something wrong. It is not asked again.
    Liar,
}

#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) standing: Standing,
    /// The length it says the content has.
    pub(super) claim: Option<u64>,
    /// The claim came from an address that has proved itself: nobody else can have made it.
    pub(super) claim_is_its_own: bool,
    /// Some of what it gave under its claim came without proof that it was from there.
    pub(super) gave_unvalidated: bool,
    /// Faults that may be its own.
    pub(super) strikes: u32,
    /// It answers whole aligned leaves only.
    pub(super) aligned: bool,
    /// What it said that it has, if it did.
    pub(super) have: Option<HaveMap>,
    /// Until it says what it has: when it is asked, and how often it was.
    pub(super) ask_parts_at: Time,
    pub(super) asked_parts: u32,
    /// It fetches as we do, but there are enough others.
    pub(super) in_reserve: bool,
    /// Since it fell silent it sent nothing, whatever it says that it has.
    pub(super) fell_silent: bool,
    /// New bytes that it brought since it answered after a silence.
    pub(super) brought: u64,
    /// When it last brought new bytes that were not found wrong since.
    pub(super) news_at: Option<Time>,
    /// How often in a row it answered and then fell silent without having brought much.
    in_vain: u32,
    /// Since when it was asked for content without bringing any.
    pub(super) asked_since: Option<Time>,
    /// Bytes that it gave lately.
    pub(super) gave: u64,
    /// It gave some of the content, at whatever time.
    pub(super) has_given: bool,
    /// The user named it.
    pub(super) is_named: bool,
    /// An interrupted fetch had some of the content from it.
    pub(super) is_remembered: bool,
    /// It says that it no longer has the content, and gave nothing since.
    pub(super) has_withdrawn: bool,
    /// Content ranges it did not have lately.
    pub(super) refused: RangeSet,
    pub(super) hint: SourceHint,
    refused_at: Time,
    suggested: bool,
    probes: u32,
    /// How often it had nothing.
    absences: u32,
    /// When it was first asked.
    pub(super) asked_at: Option<Time>,
    pub(super) next_probe: Time,
}

impl Source {
    pub(super) fn new(now: Time, suggested: bool) -> Source {
        Source {
            standing: Standing::Unknown,
            claim: None,
            claim_is_its_own: false,
            gave_unvalidated: false,
            strikes: 0,
            aligned: false,
            have: None,
            ask_parts_at: now,
            asked_parts: 0,
            in_reserve: false,
            fell_silent: false,
            brought: 0,
            news_at: None,
            in_vain: 0,
            asked_since: None,
            gave: 0,
            has_given: false,
            is_named: false,
            is_remembered: false,
            has_withdrawn: false,
            refused: RangeSet::new(),
            hint: SourceHint::default(),
            refused_at: now,
            suggested,
            probes: 0,
            absences: 0,
            asked_at: None,
            next_probe: now,
        }
    }

    /// Whether it was asked before and has not answered since.
    pub(super) fn was_probed(&self) -> bool {
        self.probes > 0
    }

    /// Whether two questions in a row were in vain: perhaps the path to it carries no long answers.
    pub(super) fn was_probed_in_vain(&self) -> bool {
        self.standing == Standing::Unknown && self.probes >= 2
    }

    /// The length it claims, if it sent some of the content before it fell silent, and is not tried elsewhere.
    pub(super) fn lost_touch_with(&self) -> Option<u64> {
        let may_have_all = self.fell_silent && self.have.as_ref().is_none_or(|have| have.is_whole());
        self.claim
            .filter(|_| may_have_all && self.standing == Standing::Unknown && !self.probes.is_multiple_of(2))
    }

    /// Whether it seems not to have the beginning, and is now asked for another part; the how many-th. Some say that they
    /// do not have it, and some say nothing.
    pub(super) fn is_tried_elsewhere(&self) -> Option<u32> {
        let elsewhere = match self.standing {
            Standing::Absent => !self.probes.is_multiple_of(2),
            Standing::Unknown => self.probes >= 2 && self.probes.is_multiple_of(2),
            Standing::Serving | Standing::Waiting | Standing::Liar => false,
        };
        elsewhere.then(|| (self.probes - 1) / 2)
    }

    /// Notes that the peer is asked whether it has the content.
    pub(super) fn on_probe(&mut self, now: Time) {
        self.next_probe = if self.suggested && self.standing == Standing::Unknown {
            SUGGESTED_RETRIES.get(self.probes as usize).map_or(Time::NEVER, |&pause| now + pause)
        } else if self.standing == Standing::Absent {
            now + self.absence_memory()
        } else {
            now + (FIRST_PROBE_PAUSE * 2u32.pow(self.probes.min(8))).min(MAX_PROBE_PAUSE)
        };
        self.probes += 1;
        self.asked_at.get_or_insert(now);
    }

    /// Whether it said only once that it has nothing.
    pub(super) fn is_worth_a_second_look(&self) -> bool {
        self.absences <= 1
    }

    fn absence_memory(&self) -> Duration {
        let doublings = if self.suggested { self.absences.saturating_sub(1).min(6) } else { 0 };
        (ABSENCE_MEMORY * 2u32.pow(doublings)).min(MAX_ABSENCE_MEMORY)
    }

    pub(super) fn on_serving(&mut self) {
        if self.standing != Standing::Serving {
            self.hint.on_serving();
            if let Some(have) = &mut self.have {
                have.on_serving();
            }
        }
        self.standing = Standing::Serving;
        self.probes = 0;
    }

    pub(super) fn on_absent(&mut self, now: Time) {
        self.standing = Standing::Absent;
        self.absences += 1;
        self.next_probe = now + self.absence_memory();
    }

    /// When there is something to ask it without any datagram coming.
    pub(super) fn next_at(&self) -> Time {
        match self.standing {
            Standing::Unknown | Standing::Absent => self.next_probe,
            Standing::Serving | Standing::Waiting => match &self.have {
                Some(have) => have.next_at(),
                None if self.in_reserve || self.asked_parts >= QUESTIONS_UNTIL_GONE => Time::NEVER,
                None => self.ask_parts_at,
            },
            Standing::Liar => Time::NEVER,
        }
    }

    /// Notes that the peer fell silent: it is asked from time to time whether it is back. Where `others` offer the content too,
    /// one that answers and then brings next to nothing is asked ever more rarely.
    pub(super) fn on_silent(&mut self, now: Time, others: bool) {
        self.fell_silent = true;
        self.asked_since = None;
        if self.standing == Standing::Serving {
            self.standing = Standing::Unknown;
            self.suggested = false;
            self.on_probe(now);
            self.in_vain = if self.brought < MUCH { self.in_vain + 1 } else { 0 };
            self.brought = 0;
            if others && self.in_vain > 1 {
                let pause = FIRST_DOUBT_PAUSE * 2u32.pow(self.in_vain.min(8));
                self.next_probe = self.next_probe.max(now + pause.min(MAX_DOUBT_PAUSE));
            }
        }
    }

    /// Notes a fault that may be its own, or of somebody who speaks in its name.
    pub(super) fn on_doubt(&mut self, now: Time) {
        self.on_serving();
        self.on_silent(now, false);
        self.claim = None;
        self.claim_is_its_own = false;
        self.gave_unvalidated = false;
        if let Some(more) = self.strikes.checked_sub(MAX_STRIKES) {
            let pause = (FIRST_DOUBT_PAUSE * 2u32.pow(more.min(8))).min(MAX_DOUBT_PAUSE);
            self.next_probe = self.next_probe.max(now + pause);
        }
    }

    pub(super) fn refuse(&mut self, now: Time, range: std::ops::Range<u64>) {
        self.refused.insert(range);
        self.refused_at = now;
    }

    /// Whether it may be asked once more for something that it did not have: a download in progress has more every second.
    pub(super) fn may_try_refused(&self, now: Time) -> bool {
        !self.refused.is_empty() && now.since(self.refused_at) >= REFUSAL_MEMORY
    }

    /// Notes that it was asked once more: one question shows whether others are worth asking.
    pub(super) fn on_try_refused(&mut self, now: Time) {
        self.refused_at = now;
    }

    /// It sent this part of the content: if that is what it did not have, it may have the rest by now too.
    pub(super) fn on_sent(&mut self, range: std::ops::Range<u64>) {
        if self.refused.overlaps(range) {
            self.refused = RangeSet::new();
        }
    }
}
