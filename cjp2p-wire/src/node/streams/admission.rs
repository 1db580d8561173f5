//! How many are served of one stream: two, more where nobody below has a free place and the way out takes it, and fewer after one was
//! too many. One viewer shows whether anything can be sent at all.

use std::time::Duration;

use super::subscriber::Subscriber;
use crate::time::Time;

/// Those served or standing by, of one stream.
pub(crate) const MAX_SUBSCRIBERS: usize = 64;
/// So many are served whatever room others have.
const BASE: usize = 2;
/// One that is sent something and says nothing for so long, two round trips aside, is not behind but gone, or cut off: it takes no more
/// than is in flight, and another may have its place.
const SILENT: Duration = Duration::from_millis(300);
/// One that has been served for so long and is level shows that the way out takes the stream.
const PROOF: Duration = Duration::from_millis(1200);
/// More are served where nobody below has had a free place for so long.
const FULL_FOR: Duration = Duration::from_secs(1);
/// One that is behind for so long is given up, where others are served.
const BEHIND_FOR: Duration = Duration::from_millis(1500);
/// The same before there is proof.
const BEHIND_AT_FIRST: Duration = Duration::from_millis(300);
/// After that, no more than were left are served for so long, twice as long each time.
const CAUTION: Duration = Duration::from_secs(20);
const MAX_CAUTION: Duration = Duration::from_secs(300);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Admission {
    // Until then no more than so many are served; and how long that was.
    caution: Option<(Time, usize, Duration)>,
    /// The way out took the stream: one that was served stayed level.
    is_proven: bool,
    /// When one below had a free place last.
    free_at: Time,
}

impl Admission {
    /// `is_proven`: an origin serves whoever comes.
    pub(super) fn new(is_proven: bool) -> Admission {
        Admission { caution: None, is_proven, free_at: Time::ZERO }
    }

    /// How many more may be served, beside these.
    pub(super) fn room<'a>(&self, now: Time, all: impl Iterator<Item = &'a Subscriber> + Clone) -> usize {
        let served = all.clone().filter(|one| is_there(now, one)).count();
        if self.caution.is_some_and(|(until, most, _)| now < until && served >= most) {
            return 0;
        }
        let base = if self.is_proven { BASE } else { 1 };
        if served < base {
            return base - served;
        }
        let is_full = now.since(self.free_at) >= FULL_FOR && served < MAX_SUBSCRIBERS / 2;
        let is_behind = |one: &Subscriber| one.is_served && one.behind_since.is_some();
        usize::from(
            self.is_proven && is_full && !all.clone().any(|one| passes_on(now, one) || is_behind(one)),
        )
    }

    /// Notes whether those below have free places.
    pub(super) fn look<'a>(&mut self, now: Time, mut all: impl Iterator<Item = &'a Subscriber>) {
        if all.any(|one| passes_on(now, one)) {
            self.free_at = now;
        }
    }

    /// One that is served is level.
    pub(super) fn on_level(&mut self, now: Time, one: &Subscriber) {
        self.is_proven |= now.since(one.served_since) >= PROOF;
    }

    /// Whether this one has been behind for too long.
    pub(super) fn is_too_slow(&self, now: Time, one: &Subscriber) -> bool {
        let long = if self.is_proven { BEHIND_FOR } else { BEHIND_AT_FIRST };
        one.is_served && one.behind_since.is_some_and(|since| now.since(since) >= long)
    }

    /// One was too many: no more than these from now on, for a while.
    pub(super) fn be_cautious(&mut self, now: Time, served: usize) {
        let pause = match self.caution {
            _ if !self.is_proven => MAX_CAUTION,
            Some((.., pause)) => (pause * 2).min(MAX_CAUTION),
            None => CAUTION,
        };
        self.caution = Some((now + pause, served, pause));
    }
}

/// Whether one is served and says what came.
pub(super) fn is_there(now: Time, one: &Subscriber) -> bool {
    let long = SILENT + one.round_trip().unwrap_or_default() * 2;
    one.is_served && one.owes_since.is_none_or(|since| now.since(since) < long)
}

/// Whether one that is served is there, and it or others below it have a free place.
pub(super) fn passes_on(now: Time, one: &Subscriber) -> bool {
    let has_place = one.spare > 0 || !one.places.is_empty();
    has_place && is_there(now, one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Handle;

    const MS: Duration = Duration::from_millis(1);
    const BEGIN: Time = Time::from_millis(100_000);

    fn served() -> Subscriber {
        let handle = Handle::parse(b"k3J9x0aQ7_Z").expect("a handle");
        let mut one = Subscriber::new(BEGIN, handle, false);
        one.is_served = true;
        one
    }

    #[test]
    fn one_viewer_shows_that_the_way_out_takes_the_stream_before_there_is_a_second() {
        let (mut admission, first) = (Admission::new(false), served());
        assert_eq!(admission.room(BEGIN, [].iter()), 1);
        assert_eq!(admission.room(BEGIN, [&first].into_iter()), 0);
        admission.on_level(BEGIN + MS * 1100, &first);
        assert_eq!(admission.room(BEGIN, [&first].into_iter()), 0);
        admission.on_level(BEGIN + PROOF, &first);
        assert_eq!(admission.room(BEGIN, [&first].into_iter()), 1);
        assert_eq!(Admission::new(true).room(BEGIN, [&first].into_iter()), 1);
    }

    #[test]
    fn where_the_first_falls_behind_nobody_is_served_for_long() {
        let mut admission = Admission::new(false);
        let mut slow = served();
        slow.behind_since = Some(BEGIN);
        assert!(!admission.is_too_slow(BEGIN + MS * 299, &slow));
        assert!(admission.is_too_slow(BEGIN + MS * 300, &slow));
        admission.be_cautious(BEGIN, 0);
        assert_eq!(admission.room(BEGIN + MAX_CAUTION - MS, [].iter()), 0);
        assert_eq!(admission.room(BEGIN + MAX_CAUTION, [].iter()), 1);
    }

    #[test]
    fn one_that_is_sent_something_and_says_nothing_takes_no_place() {
        let admission = Admission::new(true);
        let mut both = [served(), served()];
        both[0].spare = 1;
        both[1].owes_since = Some(BEGIN);
        assert_eq!(admission.room(BEGIN + SILENT - MS, both.iter()), 0);
        assert_eq!(admission.room(BEGIN + SILENT, both.iter()), 1);
        both[1].owes_since = None;
        assert_eq!(admission.room(BEGIN + MS * 4000, both.iter()), 0, "nothing was sent");
    }

    #[test]
    fn a_third_is_served_only_where_nobody_below_has_had_a_place_for_a_while() {
        let mut admission = Admission::new(true);
        let mut with_place = [served(), served()];
        with_place[0].spare = 1;
        let without = [served(), served()];
        admission.look(BEGIN, with_place.iter());
        assert_eq!(admission.room(BEGIN + MS * 5000, with_place.iter()), 0);
        assert_eq!(admission.room(BEGIN + FULL_FOR - MS, without.iter()), 0);
        assert_eq!(admission.room(BEGIN + FULL_FOR, without.iter()), 1);
    }
}
