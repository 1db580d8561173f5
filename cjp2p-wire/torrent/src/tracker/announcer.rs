//! `Announcer`: which of a torrent's trackers is asked, and when.
//!
//! Trackers come in tiers. Within a tier the one that answered last is asked first, the others when it fails; a tier only when all
//! before it fail (BEP 12).

use std::time::Duration;

use cjp2p_wire::time::Time;

use super::announce::{Answer, Moment, TrackerError};

/// A tracker is asked again after so long where it does not say.
const INTERVAL: Duration = Duration::from_secs(1800);
/// Never sooner, whatever it says,
const LEAST_INTERVAL: Duration = Duration::from_secs(30);
/// nor later.
const MOST_INTERVAL: Duration = Duration::from_secs(2 * 3600);
/// When all failed, the first is tried again after so long, then after twice that.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
/// Waiting doubles so often at the most.
const MAX_DOUBLINGS: u32 = 7;
/// Peers that are asked for.
const WANT: u32 = 100;
/// Trackers of one torrent, at the most: more are not asked.
const MAX_TRACKERS: usize = 64;

#[derive(Clone, Debug)]
struct Tracker {
    url: String,
    tracker_id: Option<Vec<u8>>,
    /// It knows that we are there.
    was_started: bool,
}

/// What to ask of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Of whom.
    pub url: String,
    /// Why now.
    pub moment: Option<Moment>,
    /// How many peers to ask for.
    pub want: u32,
    /// What it gave us to be returned.
    pub tracker_id: Option<Vec<u8>>,
}

/// Asks the trackers of one torrent.
#[derive(Clone, Debug)]
pub struct Announcer {
    // Invariant: none is empty; together at most `MAX_TRACKERS`.
    tiers: Vec<Vec<Tracker>>,
    /// Which one is being asked, or is next: its tier, and its place there.
    at: (usize, usize),
    is_asking: bool,
    /// What we would tell it beside figures.
    completed: bool,
    next_at: Time,
    /// How often all of them failed.
    rounds: u32,
}

impl Announcer {
    /// These trackers, none asked yet. Each tier is shuffled.
    #[must_use]
    pub fn new(now: Time, tiers: &[Vec<String>], random: &mut fastrand::Rng) -> Announcer {
        let mut left = MAX_TRACKERS;
        let mut known: Vec<Vec<Tracker>> = Vec::new();
        for tier in tiers {
            let tracker = |url: &String| Tracker { url: url.clone(), tracker_id: None, was_started: false };
            let mut tier: Vec<Tracker> = tier.iter().take(left).map(tracker).collect();
            left -= tier.len();
            random.shuffle(&mut tier);
            if !tier.is_empty() {
                known.push(tier);
            }
        }
        Announcer { tiers: known, at: (0, 0), is_asking: false, completed: false, next_at: now, rounds: 0 }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tiers.is_empty()
    }

    /// When to call [`next_ask`](Announcer::next_ask).
    #[must_use]
    pub fn next_at(&self) -> Time {
        if self.is_asking || self.is_empty() { Time::NEVER } else { self.next_at }
    }

    /// Whom to ask now, if it is time; the answer goes to [`on_answer`](Announcer::on_answer).
    pub fn next_ask(&mut self, now: Time) -> Option<Ask> {
        if now < self.next_at() {
            return None;
        }
        let tracker = self.tiers.get(self.at.0)?.get(self.at.1)?;
        self.is_asking = true;
        let moment = match (tracker.was_started, self.completed) {
            (false, _) => Some(Moment::Started),
            (true, true) => Some(Moment::Completed),
            (true, false) => None,
        };
        let (url, tracker_id) = (tracker.url.clone(), tracker.tracker_id.clone());
        Some(Ask { url, moment, want: WANT, tracker_id })
    }

    /// We have everything now, and had not when we began: the tracker is told at once.
    pub fn on_complete(&mut self, now: Time) {
        self.completed = true;
        // One that does not answer is not asked more often for this.
        if self.rounds == 0 {
            self.next_at = now;
        }
    }

    /// What came of the last question.
    pub fn on_answer(&mut self, now: Time, told: Option<Moment>, answer: &Result<Answer, TrackerError>) {
        if !std::mem::replace(&mut self.is_asking, false) {
            return;
        }
        let (tier, nth) = self.at;
        match answer {
            Ok(answer) => {
                self.tiers[tier][..=nth].rotate_right(1);
                let tracker = &mut self.tiers[tier][0];
                tracker.was_started = true;
                if answer.tracker_id.is_some() {
                    tracker.tracker_id.clone_from(&answer.tracker_id);
                }
                if told == Some(Moment::Completed) {
                    self.completed = false;
                }
                let asked = answer.interval.unwrap_or(INTERVAL);
                let interval = asked.max(answer.min_interval.unwrap_or_default());
                self.at = (tier, 0);
                // It is to be told at once that we have everything.
                let pause = if self.completed {
                    Duration::ZERO
                } else {
                    interval.clamp(LEAST_INTERVAL, MOST_INTERVAL)
                };
                self.next_at = now + pause;
                self.rounds = 0;
                if tier > 0 && !self.completed {
                    // Those before it may be there again then.
                    self.at = (0, 0);
                }
            }
            Err(_) => {
                self.at = if nth + 1 < self.tiers[tier].len() {
                    (tier, nth + 1)
                } else if tier + 1 < self.tiers.len() {
                    (tier + 1, 0)
                } else {
                    self.next_at = now + FIRST_PAUSE * 2u32.pow(self.rounds.min(MAX_DOUBLINGS));
                    self.rounds += 1;
                    (0, 0)
                };
            }
        }
    }

    /// We end: who is to be told so.
    #[must_use]
    pub fn stop(&self) -> Vec<Ask> {
        let told = self.tiers.iter().flatten().filter(|tracker| tracker.was_started);
        told.map(|tracker| Ask {
            url: tracker.url.clone(),
            moment: Some(Moment::Stopped),
            want: 0,
            tracker_id: tracker.tracker_id.clone(),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcer(tiers: &[&[&str]]) -> Announcer {
        let tiers: Vec<Vec<String>> =
            tiers.iter().map(|tier| tier.iter().map(|url| url.to_string()).collect()).collect();
        Announcer::new(Time::ZERO, &tiers, &mut fastrand::Rng::with_seed(1))
    }

    fn at(s: u64) -> Time {
        Time::from_millis(s * 1000)
    }

    fn failed() -> Result<Answer, TrackerError> {
        Err(TrackerError::Malformed)
    }

    fn answered(interval: u64) -> Result<Answer, TrackerError> {
        Ok(Answer { interval: Some(Duration::from_secs(interval)), ..Answer::default() })
    }

    #[test]
    fn the_next_one_is_asked_only_when_those_before_fail_and_the_one_that_answers_first_the_next_time() {
        let mut announcer = announcer(&[&["a", "b", "c"], &["d"]]);
        let mut tried = Vec::new();
        for _ in 0..3 {
            let ask = announcer.next_ask(at(0)).unwrap();
            assert_eq!(announcer.next_ask(at(0)), None, "one at a time");
            tried.push(ask.url);
            if tried.len() < 3 {
                announcer.on_answer(at(0), ask.moment, &failed());
            }
        }
        announcer.on_answer(at(0), Some(Moment::Started), &answered(600));
        assert_eq!(announcer.next_ask(at(599)), None);
        let again = announcer.next_ask(at(600)).unwrap();
        assert_eq!((&again.url, again.moment), (&tried[2], None));
        announcer.on_answer(at(600), None, &failed());
        let rest: Vec<String> = std::iter::from_fn(|| {
            let ask = announcer.next_ask(at(600))?;
            announcer.on_answer(at(600), ask.moment, &failed());
            Some(ask.url)
        })
        .collect();
        assert_eq!(rest.len(), 3);
        assert_eq!(rest[2], "d", "the second tier last");
        assert_eq!(announcer.next_at(), at(615));
    }

    #[test]
    fn it_is_told_that_we_begin_have_everything_and_end() {
        let mut announcer = announcer(&[&["a"]]);
        assert!(announcer.stop().is_empty(), "it does not know us");
        assert_eq!(announcer.next_ask(at(0)).unwrap().moment, Some(Moment::Started));
        announcer.on_complete(at(1));
        announcer.on_answer(at(2), Some(Moment::Started), &answered(600));
        assert_eq!(announcer.next_ask(at(2)).unwrap().moment, Some(Moment::Completed));
        announcer.on_answer(at(2), Some(Moment::Completed), &answered(600));
        assert_eq!(announcer.next_ask(at(601)), None);
        assert_eq!(announcer.next_ask(at(602)).unwrap().moment, None);
        let stop = announcer.stop();
        assert_eq!((stop.len(), stop[0].moment), (1, Some(Moment::Stopped)));
    }

    #[test]
    fn intervals_are_kept_within_reason_and_trackers_that_fail_are_asked_more_and_more_seldom() {
        let mut announcer = announcer(&[&["a"]]);
        for (says, is) in [(0, 30), (600, 600), (u64::MAX, 7200)] {
            let now = announcer.next_at();
            announcer.next_ask(now).unwrap();
            announcer.on_answer(now, None, &answered(says));
            assert_eq!(announcer.next_at().since(now), Duration::from_secs(is));
        }
        let mut pauses = Vec::new();
        for _ in 0..10 {
            let now = announcer.next_at();
            announcer.next_ask(now).unwrap();
            announcer.on_answer(now, None, &failed());
            announcer.on_complete(now);
            pauses.push(announcer.next_at().since(now).as_secs());
        }
        assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1920, 1920, 1920]);
    }
}
