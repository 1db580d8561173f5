//! `Limits`: how long a download waits for a source, and for new content.

use std::time::Duration;

use crate::time::Time;

/// Two clocks: one until the first source is found, one since the last news.
#[derive(Debug)]
pub(super) struct Limits {
    source_timeout: Duration,
    stall_timeout: Duration,
    started: Time,
    /// A source offered some of the content.
    is_found: bool,
    /// When something new came that was not found wrong since.
    last_news: Time,
    /// Not before this: what came until then is verified, or there was nothing to wait for.
    news_since: Time,
    /// The destination held everything up, when that was last looked at.
    held_up: bool,
}

/// The limit that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// No source was found in time.
    Source,
    /// Nothing new came in time.
    Stall,
}

impl Limits {
    pub(super) fn new(now: Time, source_timeout: Duration, stall_timeout: Duration) -> Limits {
        Limits {
            source_timeout,
            stall_timeout,
            started: now,
            is_found: false,
            last_news: now,
            news_since: now,
            held_up: false,
        }
    }

    /// Whether a source offered some of the content so far.
    pub(super) fn is_found(&self) -> bool {
        self.is_found
    }

    /// A source offers some of the content. Returns whether it is the first.
    pub(super) fn on_found(&mut self) -> bool {
        !std::mem::replace(&mut self.is_found, true)
    }

    /// The time for news counts from now on.
    pub(super) fn count_from(&mut self, now: Time) {
        self.last_news = now;
        self.news_since = now;
    }

    /// Nothing was needed until now.
    pub(super) fn start_over(&mut self, now: Time) {
        self.started = now;
        self.count_from(now);
        self.held_up = false;
    }

    pub(super) fn on_news(&mut self, now: Time) {
        self.last_news = now;
    }

    /// Some news was wrong, and so none: of the others the last came at `last`. A wrong answer keeps no download waiting.
    pub(super) fn take_back_news(&mut self, last: Option<Time>) {
        self.last_news = last.map_or(self.news_since, |at| at.max(self.news_since));
    }

    /// For how long nothing new has come.
    pub(super) fn silence(&self, now: Time) -> Duration {
        now.since(self.last_news)
    }

    /// Notes whether the destination holds everything up: then the reader or the disk is slow, not the sources. Returns whether it
    /// does, or did until now.
    pub(super) fn is_held_up(&mut self, now: Time, held_up: bool) -> bool {
        let was_held_up = std::mem::replace(&mut self.held_up, held_up);
        if held_up || was_held_up {
            self.started = now;
            self.count_from(now);
        }
        held_up || was_held_up
    }

    pub(super) fn ends_at(&self) -> Time {
        if self.is_found { self.last_news + self.stall_timeout } else { self.started + self.source_timeout }
    }

    pub(super) fn passed(&self, now: Time) -> Option<Passed> {
        if self.is_found {
            (now.since(self.last_news) >= self.stall_timeout).then_some(Passed::Stall)
        } else {
            (now.since(self.started) >= self.source_timeout).then_some(Passed::Source)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn limits() -> Limits {
        Limits::new(at(0), Duration::from_secs(30), Duration::from_secs(10))
    }

    #[test]
    fn the_limit_is_another_once_a_source_is_found() {
        let mut limits = limits();
        assert_eq!((limits.passed(at(29)), limits.passed(at(30))), (None, Some(Passed::Source)));
        assert!(limits.on_found() && !limits.on_found());
        assert_eq!((limits.passed(at(9)), limits.passed(at(10))), (None, Some(Passed::Stall)));
        limits.on_news(at(9));
        assert_eq!(limits.ends_at(), at(19));
    }

    #[test]
    fn wrong_news_takes_the_clock_back_but_not_before_what_was_verified() {
        let mut limits = limits();
        limits.on_found();
        limits.count_from(at(5));
        limits.on_news(at(9));
        limits.take_back_news(Some(at(7)));
        assert_eq!(limits.silence(at(9)), Duration::from_secs(2));
        limits.take_back_news(None);
        assert_eq!(limits.silence(at(9)), Duration::from_secs(4));
    }

    #[test]
    fn the_clocks_stand_still_while_the_destination_takes_nothing() {
        let mut limits = limits();
        assert!(limits.is_held_up(at(29), true));
        assert!(limits.is_held_up(at(40), false), "it did until now");
        assert!(!limits.is_held_up(at(41), false));
        assert_eq!(limits.ends_at(), at(70));
    }
}
