//! `Probes`: the questions whether a peer has the content at all, and when the next is due.

use std::time::Duration;

use super::standing::Standing;
use crate::time::Time;

/// A peer that had nothing at all of the content is asked again after so long. For one that was only suggested this doubles each
/// time.
pub(in crate::download) const ABSENCE_MEMORY: Duration = Duration::from_secs(5);
/// The longest of these pauses.
const MAX_ABSENCE_MEMORY: Duration = Duration::from_secs(300);
/// Where all sources are looked for: a peer that had nothing and did not know us yet is asked again after so long.
pub(in crate::download) const SECOND_LOOK: Duration = Duration::from_millis(500);
/// When a suggested peer is asked, after the first time; then never again until it answers.
const SUGGESTED_RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(9)];
/// The longest pause between questions to a peer that the user named.
pub(super) const MAX_PROBE_PAUSE: Duration = Duration::from_secs(4);
/// The pause after the first question to such a peer; it doubles.
const FIRST_PROBE_PAUSE: Duration = Duration::from_millis(400);
/// A peer that has not answered for so long after the first question will not answer soon.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Such questions.
#[derive(Clone, Debug)]
pub(super) struct Probes {
    /// The peer was only suggested.
    suggested: bool,
    /// Questions since it last answered.
    count: u32,
    /// How often it had nothing.
    absences: u32,
    first_at: Option<Time>,
    next_at: Time,
}

impl Probes {
    pub(super) fn new(now: Time, suggested: bool) -> Probes {
        Probes { suggested, count: 0, absences: 0, first_at: None, next_at: now }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn was_ever_asked(&self) -> bool {
        self.first_at.is_some()
    }

    pub(super) fn next_at(&self) -> Time {
        self.next_at
    }

    /// The next question is due then.
    pub(super) fn ask_at(&mut self, at: Time) {
        self.next_at = at;
    }

    /// The next question is not due before.
    pub(super) fn not_before(&mut self, at: Time) {
        self.next_at = self.next_at.max(at);
    }

    pub(super) fn on_asked(&mut self, now: Time, standing: Standing) {
        self.next_at = match standing {
            Standing::Unknown if self.suggested => {
                SUGGESTED_RETRIES.get(self.count as usize).map_or(Time::NEVER, |&pause| now + pause)
            }
            Standing::Absent => now + self.absence_memory(),
            _ => now + (FIRST_PROBE_PAUSE * 2u32.pow(self.count.min(8))).min(MAX_PROBE_PAUSE),
        };
        self.count += 1;
        self.first_at.get_or_insert(now);
    }

    /// It sent some of the content, or says that it has some.
    pub(super) fn on_serving(&mut self) {
        self.count = 0;
    }

    /// It says that it has nothing.
    pub(super) fn on_absent(&mut self, now: Time) {
        self.absences += 1;
        self.next_at = now + self.absence_memory();
    }

    /// It sent some of the content and then fell silent.
    pub(super) fn on_silent(&mut self, now: Time) {
        self.suggested = false;
        self.on_asked(now, Standing::Unknown);
    }

    /// Whether it seems not to have the beginning, and is now asked for another part; the how many-th. Some say that they
    /// do not have it, and some say nothing.
    pub(super) fn elsewhere(&self, standing: Standing) -> Option<u32> {
        let elsewhere = match standing {
            Standing::Absent => !self.count.is_multiple_of(2),
            Standing::Unknown => self.count >= 2 && self.count.is_multiple_of(2),
            Standing::Serving | Standing::Waiting | Standing::Liar => false,
        };
        elsewhere.then(|| (self.count - 1) / 2)
    }

    /// Whether it was asked a short while ago and may answer yet, or is to be asked.
    pub(super) fn may_answer(&self, now: Time, standing: Standing) -> bool {
        match standing {
            Standing::Unknown => self.first_at.is_none_or(|at| now.since(at) < PROBE_TIMEOUT),
            Standing::Absent => self.absences <= 1 && self.next_at <= now + SECOND_LOOK,
            Standing::Serving | Standing::Waiting | Standing::Liar => false,
        }
    }

    fn absence_memory(&self) -> Duration {
        let doublings = if self.suggested { self.absences.saturating_sub(1).min(6) } else { 0 };
        (ABSENCE_MEMORY * 2u32.pow(doublings)).min(MAX_ABSENCE_MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_suggested_peer_that_never_answers_is_asked_three_times() {
        let mut probes = Probes::new(at(0), true);
        let mut asked = Vec::new();
        while probes.next_at() < Time::NEVER {
            let now = probes.next_at();
            asked.push(now);
            probes.on_asked(now, Standing::Unknown);
        }
        assert_eq!(asked, [at(0), at(1000), at(10_000)]);
    }

    #[test]
    fn a_suggested_peer_that_has_nothing_is_asked_ever_more_rarely_and_a_named_one_as_often() {
        for (suggested, expected) in [(true, [5, 10, 20, 40]), (false, [5; 4])] {
            let mut probes = Probes::new(at(0), suggested);
            let pauses = [(); 4].map(|()| {
                probes.on_absent(at(0));
                probes.next_at().since(at(0)).as_secs()
            });
            assert_eq!(pauses, expected);
        }
    }
}
