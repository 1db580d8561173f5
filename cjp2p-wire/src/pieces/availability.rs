//! `HaveMap`: which parts of the content a source says that it has, and when to ask it again.
//!
//! A leecher has more of it every moment. It is asked again when we soon have everything that it has, and otherwise now and then,
//! to know which parts are rare. What it says is a claim: nothing is believed for it, and no source is blamed for it. It only decides
//! which source to ask for what.

use std::ops::Range;
use std::time::Duration;

use crate::range_set::RangeSet;
use crate::time::Time;

/// A leecher is asked again after so long at the soonest, or after a round trip.
pub const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The pause when it says nothing new: it doubles up to this.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(1);
/// As [`MAX_PAUSE`], for one that serves others now: it may have many of us to answer.
const BUSY_PAUSE: Duration = Duration::from_secs(4);
/// How often it is asked while it has enough for us.
pub(crate) const RARITY_INTERVAL: Duration = Duration::from_millis(500);
/// For each range that it names it is left alone for so long, so that long answers do not fill its link; four times as long
/// while it has enough for us.
const PAUSE_PER_RANGE: Duration = Duration::from_millis(4);
/// An answer is waited for this long, or two round trips; then twice as long, and so on.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// After so many questions in vain a source is taken for gone.
pub const QUESTIONS_UNTIL_GONE: u32 = 4;
/// What a source has counts as news only if it is so much more than ever before.
const NEWS: u64 = 16 << 10;
/// Ranges kept of what one source has. More are of no use, and no source shall fill our memory with them.
const MAX_RANGES: usize = 8192;
/// The same where there are many sources: each has its part of this, or `LEAST_RANGES`.
const MAX_RANGES_OF_ALL: usize = 65_536;
/// See [`MAX_RANGES_OF_ALL`].
const LEAST_RANGES: usize = 64;

/// Ranges that a download with at most so many sources keeps of what all of them have. The first said so while there were few others:
/// the parts of all are at most those of a harmonic series.
pub(crate) const fn most_ranges(sources: usize) -> usize {
    MAX_RANGES_OF_ALL * (sources.ilog2() as usize + 1) + LEAST_RANGES * sources
}

/// How many ranges are kept of what one of so many sources has.
pub(crate) fn most_ranges_of_one(sources: usize) -> usize {
    (MAX_RANGES_OF_ALL / sources.max(1)).clamp(LEAST_RANGES, MAX_RANGES)
}

/// How long to wait for an answer to the question which parts a source has, after so many in vain.
pub(crate) fn answer_timeout(round_trip: Duration, unanswered: u32) -> Duration {
    ANSWER_TIMEOUT.max(round_trip * 2) * 2u32.pow(unanswered)
}

/// What a source says in one message about the parts that it has.
#[derive(Clone, Copy, Debug)]
pub struct Have<'a> {
    /// Where the message begins.
    pub offset: u64,
    /// Where it ends. Of what follows it says nothing.
    pub until: u64,
    /// What the source has of that.
    pub parts: &'a [Range<u64>],
    /// What the source says is the length of the content.
    pub length: Option<u64>,
    /// It serves others at present, and is to be asked for nothing yet.
    pub is_busy: bool,
}

/// Which parts a source has.
#[derive(Clone, Debug)]
pub struct HaveMap {
    /// What it refused since is not in it.
    // Invariant: at most `most_ranges` pieces.
    has: RangeSet,
    most_ranges: usize,
    is_whole: bool,
    is_leecher: bool,
    is_busy: bool,
    /// The most that it ever had.
    most: u64,
    /// Where the next question goes on.
    cursor: u64,
    next_at: Time,
    /// When it may be asked again at the soonest.
    not_before: Time,
    unanswered: u32,
    pause: Duration,
}

impl HaveMap {
    /// A source that has nothing yet as far as is known, and is asked at once.
    pub fn new(now: Time) -> HaveMap {
        HaveMap {
            has: RangeSet::new(),
            most_ranges: MAX_RANGES,
            is_whole: false,
            is_leecher: false,
            is_busy: false,
            most: 0,
            cursor: 0,
            next_at: now,
            not_before: now,
            unanswered: 0,
            pause: MIN_PAUSE,
        }
    }

    /// The same of a leecher.
    pub fn of_leecher(now: Time) -> HaveMap {
        HaveMap { is_leecher: true, ..HaveMap::new(now) }
    }

    /// The parts.
    pub fn has(&self) -> &RangeSet {
        &self.has
    }

    /// Whether it has everything.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether it did not have everything once, and so is a leecher as we are.
    pub fn is_leecher(&self) -> bool {
        self.is_leecher
    }

    /// Whether it serves others now.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// What it may be asked for, where that is not everything.
    pub fn limit(&self) -> Option<&RangeSet> {
        static NOTHING: RangeSet = RangeSet::new();
        if self.is_busy { Some(&NOTHING) } else { (!self.is_whole).then_some(&self.has) }
    }

    /// When it is asked again.
    pub fn next_at(&self) -> Time {
        self.next_at
    }

    /// Forgets all where there is too much of it.
    fn keep_bounded(&mut self) {
        if self.has.pieces() > self.most_ranges {
            self.has = RangeSet::new();
        }
    }

    /// Takes in what it says, of which `most` ranges are kept. Returns whether there is more than ever before.
    pub fn take(&mut self, have: &Have<'_>, most: usize) -> bool {
        self.has.remove(have.offset..have.until);
        let length = have.length.unwrap_or(have.until);
        for part in have.parts {
            self.has.insert(part.clone());
        }
        self.most_ranges = most;
        let is_end = have.until >= length;
        if is_end {
            self.has.remove(have.until..u64::MAX);
        }
        self.keep_bounded();
        self.cursor = if is_end { 0 } else { have.until };
        self.unanswered = 0;
        self.is_whole = length > 0 && have.length.is_some() && self.has.contains(0..length);
        self.is_busy = have.is_busy;
        self.is_leecher |= is_end && !self.is_whole;
        let is_news = self.has.total() >= self.most + NEWS || self.is_whole && self.most < length;
        if is_news {
            self.most = self.has.total();
        }
        is_news
    }

    /// Decides when to ask again: `lasts` is for how long it has enough for us.
    pub fn plan(&mut self, now: Time, is_news: bool, lasts: Duration, round_trip: Duration) {
        if self.cursor > 0 {
            // There is more to say.
            self.next_at = now;
            self.not_before = now;
            return;
        }
        let longest = if self.is_busy { BUSY_PAUSE } else { MAX_PAUSE };
        self.pause = if is_news { MIN_PAUSE } else { (self.pause * 2).min(longest) };
        let ranges = self.has.pieces() as u32;
        let soonest = self.pause.max(round_trip).max(PAUSE_PER_RANGE * ranges);
        let latest = RARITY_INTERVAL.max(PAUSE_PER_RANGE * 4 * ranges).max(soonest);
        self.not_before = now + soonest;
        self.next_at = match self.is_whole && !self.is_busy {
            true => Time::NEVER,
            false => now + lasts.saturating_sub(round_trip).clamp(soonest, latest),
        };
    }

    /// Notes that it is asked. Returns from which byte on.
    pub fn on_asked(&mut self, now: Time, round_trip: Duration) -> u64 {
        self.next_at = now + answer_timeout(round_trip, self.unanswered);
        self.unanswered += 1;
        self.cursor
    }

    /// It did not have this range, or is too busy to give it: it is asked again. What it has counts in whole `units`.
    pub fn refuse(&mut self, now: Time, range: &Range<u64>, unit: u64) {
        if self.is_whole {
            self.is_busy = true;
        } else {
            self.has.remove(range.start / unit * unit..range.end.next_multiple_of(unit));
            self.keep_bounded();
        }
        self.next_at = self.next_at.min(self.not_before.max(now + MIN_PAUSE));
    }

    /// The source is there, perhaps again: the questions so far may not have reached it.
    pub fn on_serving(&mut self) {
        self.unanswered = 0;
    }

    /// Whether it leaves questions unanswered.
    pub fn is_silent(&self) -> bool {
        self.unanswered >= 2
    }

    /// Whether it left so many unanswered that it is taken for gone.
    pub fn is_gone(&self) -> bool {
        self.unanswered >= QUESTIONS_UNTIL_GONE
    }

    /// We have asked for everything that it has.
    pub fn on_used_up(&mut self) {
        if !self.is_whole && !self.is_busy && self.unanswered == 0 {
            self.next_at = self.next_at.min(self.not_before);
        }
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "sets of one range")]
mod tests {
    use super::*;

    const LEAF: u64 = 4096;

    fn have(offset: u64, until: u64, parts: &[Range<u64>], length: Option<u64>) -> Have<'_> {
        Have { offset, until, parts, length, is_busy: false }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn what_several_messages_say_is_put_together_and_replaces_what_was() {
        let length = 100 * LEAF + 5;
        let mut state = HaveMap::of_leecher(at(0));
        assert!(state.take(&have(0, 50 * LEAF, &[0..10 * LEAF], Some(length)), MAX_RANGES));
        assert_eq!(state.cursor, 50 * LEAF);
        state.take(&have(50 * LEAF, length, &[99 * LEAF..length], Some(length)), MAX_RANGES);
        assert_eq!(state.cursor, 0);
        assert_eq!(state.has, [0..10 * LEAF, 99 * LEAF..length].into_iter().collect());
        assert!(
            !state.take(&have(0, length, &[3 * LEAF..4 * LEAF], Some(length)), MAX_RANGES),
            "less is no news"
        );
        assert_eq!(state.has, [3 * LEAF..4 * LEAF].into_iter().collect());
        assert!(state.take(&have(0, length, std::slice::from_ref(&(0..length)), Some(length)), MAX_RANGES));
        assert!(state.is_whole);
    }

    #[test]
    fn a_source_with_nothing_new_is_asked_more_and_more_seldom() {
        let mut state = HaveMap::of_leecher(at(0));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            state.take(&have(0, 0, &[], None), MAX_RANGES);
            state.plan(at(0), false, Duration::ZERO, Duration::from_millis(10));
            pauses.push(state.next_at.since(at(0)).as_millis());
        }
        assert_eq!(pauses, [200, 400, 800, 1000, 1000, 1000]);
        state.plan(at(0), true, Duration::ZERO, Duration::from_millis(10));
        assert_eq!(state.next_at, at(100));
        state.plan(at(0), true, Duration::from_secs(9), Duration::from_millis(10));
        assert_eq!(state.next_at, at(500), "it has enough for us");
        state.on_used_up();
        assert_eq!(state.next_at, at(100), "it has not");
        state.plan(at(0), true, Duration::ZERO, Duration::from_millis(300));
        assert_eq!(state.next_at, at(300), "a round trip at the soonest");
    }

    #[test]
    fn what_is_refused_is_not_there_and_a_source_that_has_everything_is_busy() {
        let length = 10 * LEAF;
        let mut state = HaveMap::of_leecher(at(0));
        state.take(&have(0, length, std::slice::from_ref(&(0..4 * LEAF)), Some(length)), MAX_RANGES);
        state.refuse(at(0), &(LEAF + 957..2 * LEAF - 3), LEAF);
        assert_eq!(state.has, [0..LEAF, 2 * LEAF..4 * LEAF].into_iter().collect());
        state.take(&have(0, length, std::slice::from_ref(&(0..length)), Some(length)), MAX_RANGES);
        state.plan(at(0), true, Duration::ZERO, Duration::ZERO);
        assert_eq!(state.next_at, Time::NEVER);
        state.refuse(at(0), &(0..LEAF), LEAF);
        assert!(state.is_busy && state.next_at < Time::NEVER);
    }

    #[test]
    fn however_much_a_source_says_little_is_kept() {
        let mut state = HaveMap::of_leecher(at(0));
        for n in 0..1000 {
            let parts: Vec<_> = (0..512).map(|m| (n * 512 + m) * 2 * LEAF).map(|s| s..s + LEAF).collect();
            let (start, end) = (parts[0].start, parts[511].end);
            state.take(&have(start, end, &parts, Some(1 << 50)), MAX_RANGES);
            assert!(state.has.pieces() <= MAX_RANGES);
        }
    }
    #[test]
    fn sources_that_come_and_go_never_hold_more_ranges_together_than_the_limit() {
        const SOURCES: usize = 64;
        let mut random = fastrand::Rng::with_seed(1);
        let (mut sources, mut peak) = (Vec::<HaveMap>::new(), 0);
        for _ in 0..500 {
            if sources.len() == SOURCES {
                // Some leave, at times nearly all.
                for _ in 0..random.usize(1..SOURCES) {
                    sources.swap_remove(random.usize(..sources.len()));
                }
            }
            sources.push(HaveMap::of_leecher(at(0)));
            // The new one says exactly as much as is kept of it, and now and then another one does so again.
            let most = most_ranges_of_one(sources.len());
            let nth = random.usize(..sources.len());
            let parts: Vec<_> = (0..most as u64).map(|n| n * 4 * LEAF..(n * 4 + 3) * LEAF).collect();
            let length = most as u64 * 4 * LEAF;
            let latest = sources.len() - 1;
            let again = (random.u8(..) < 32).then_some(nth);
            for nth in [latest].into_iter().chain(again) {
                sources[nth].take(&have(0, length, &parts, Some(length)), most);
                assert_eq!(sources[nth].has.pieces(), most);
            }
            // It would be one range more.
            sources[nth].refuse(at(0), &(LEAF..2 * LEAF), LEAF);
            let sum: usize = sources.iter().map(|source| source.has.pieces()).sum();
            assert!(sum <= most_ranges(SOURCES), "{sum} of {} sources", sources.len());
            peak = sum.max(peak);
        }
        assert!(peak > MAX_RANGES_OF_ALL, "only {peak}: too little to try the limit");
    }
}
