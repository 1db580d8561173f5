//! Which parts of the content each source says that it has, and when to ask it again.
//!
//! A source that fetches the content itself, a leecher, has more of it every moment. It is asked again when we soon
//! have all that it told of, and otherwise now and then, to know which parts are rare. What it tells is a claim: nothing is
//! believed for it, and nobody is blamed for it; it only decides whom to ask for what.

use std::net::SocketAddr;
use std::time::Duration;

use super::leechers::Place;
use super::source::{MAX_PROBE_PAUSE, Standing};
use super::{Block, Download, PathTerms, Space, assembly_for};
use crate::message::{MAX_NUMBER, TheseParts};
use crate::range_set::RangeSet;
use crate::store::Sink;
use crate::time::Time;
use crate::tree::LEAF_LEN;

/// A leecher is asked again after so long at the soonest, or after a round trip.
pub(crate) const MIN_PAUSE: Duration = Duration::from_millis(100);
/// The pause when it tells nothing new: it doubles up to this.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(1);
/// As [`MAX_PAUSE`], for one that serves others now: it may have many of us to answer.
pub(crate) const BUSY_PAUSE: Duration = Duration::from_secs(4);
/// How often it is asked while it has enough for us.
pub(crate) const RARITY_INTERVAL: Duration = Duration::from_millis(500);
/// For each range that it tells it is left alone for so long, so that long answers do not fill its link; four times as long
/// while it has enough for us.
pub(crate) const PAUSE_PER_RANGE: Duration = Duration::from_millis(4);
/// An answer is waited for this long, or two round trips; then twice as long, and so on.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// After so many questions in vain a source is taken for gone.
pub(crate) const QUESTIONS_UNTIL_GONE: u32 = 4;
/// What a source told counts as news only if it is so much more than ever before.
const NEWS: u64 = 16 << 10;
/// Ranges kept of what one source tells. More are of no use, and nobody shall fill our memory with them.
const MAX_RANGES: usize = 8192;
/// The same where there are many sources: each has its part of this, or `LEAST_RANGES`.
const MAX_RANGES_OF_ALL: usize = 65_536;
/// See [`MAX_RANGES_OF_ALL`].
const LEAST_RANGES: usize = 64;

/// Ranges that a fetch with at most so many sources keeps of what all of them tell. The first told while there were few others: the
/// parts of all are at most those of a harmonic series.
pub(crate) const fn most_ranges(sources: usize) -> usize {
    MAX_RANGES_OF_ALL * (sources.ilog2() as usize + 1) + LEAST_RANGES * sources
}

/// What a source said that it has.
#[derive(Clone, Debug)]
pub(super) struct HaveMap {
    /// What it refused since is not in it.
    // Invariant: at most `most_ranges` pieces.
    pub(super) has: RangeSet,
    most_ranges: usize,
    /// It has everything.
    pub(super) is_whole: bool,
    /// It did not have everything once, so it fetches as we do.
    pub(super) is_leecher: bool,
    /// It serves others now.
    pub(super) is_busy: bool,
    /// How much it has told at the most.
    most: u64,
    /// Where the next question goes on.
    cursor: u64,
    /// When it is asked again.
    pub(super) next_at: Time,
    /// When it may be asked again at the soonest.
    not_before: Time,
    unanswered: u32,
    pause: Duration,
}

impl HaveMap {
    pub(super) fn nothing(now: Time) -> HaveMap {
        HaveMap {
            has: RangeSet::new(),
            most_ranges: MAX_RANGES,
            is_whole: false,
            is_leecher: true,
            is_busy: false,
            most: 0,
            cursor: 0,
            next_at: now,
            not_before: now,
            unanswered: 0,
            pause: MIN_PAUSE,
        }
    }

    /// Forgets all where there is too much of it.
    fn keep_bounded(&mut self) {
        if self.has.pieces() > self.most_ranges {
            self.has = RangeSet::new();
        }
    }

    /// Takes in what it told, of which `most` ranges are kept. Returns whether there is more than ever before.
    fn take(&mut self, told: &TheseParts<'_>, most: usize) -> bool {
        self.has.remove(told.offset..told.until);
        let eof = told.eof.unwrap_or(told.until);
        for part in &told.parts {
            self.has.insert(part.clone());
        }
        self.most_ranges = most;
        let is_end = told.until >= eof;
        if is_end {
            self.has.remove(told.until..MAX_NUMBER);
        }
        self.keep_bounded();
        self.cursor = if is_end { 0 } else { told.until };
        self.unanswered = 0;
        self.is_whole = eof > 0 && told.eof.is_some() && self.has.contains(0..eof);
        self.is_busy = told.busy;
        self.is_leecher |= is_end && !self.is_whole;
        let is_news = self.has.total() >= self.most + NEWS || self.is_whole && self.most < eof;
        if is_news {
            self.most = self.has.total();
        }
        is_news
    }

    /// Decides when to ask again: `lasts` is for how long it has told us enough to ask for.
    fn plan(&mut self, now: Time, is_news: bool, lasts: Duration, round_trip: Duration) {
        if self.cursor > 0 {
            // There is more to tell.
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

    /// It did not have what it told of, or is too busy to give it: it is asked again.
    pub(super) fn refuse(&mut self, now: Time, range: std::ops::Range<u64>) {
        if self.is_whole {
            self.is_busy = true;
        } else {
            // Whole leaves, since nothing less can be verified.
            self.has.remove(range.start / LEAF_LEN * LEAF_LEN..range.end.next_multiple_of(LEAF_LEN));
            self.keep_bounded();
        }
        self.next_at = self.next_at.min(self.not_before.max(now + MIN_PAUSE));
    }

    /// The source is there, perhaps again: the questions so far may not have reached it.
    pub(super) fn on_serving(&mut self) {
        self.unanswered = 0;
    }

    /// Whether it leaves questions unanswered.
    pub(super) fn is_silent(&self) -> bool {
        self.unanswered >= 2
    }

    /// We have asked for everything that it told of.
    pub(super) fn on_used_up(&mut self) {
        if !self.is_whole && !self.is_busy && self.unanswered == 0 {
            self.next_at = self.next_at.min(self.not_before);
        }
    }
}

impl Download {
    /// Takes in what a source, which has proved its address, says about the parts that it has.
    pub fn on_told(
        &mut self,
        now: Time,
        address: SocketAddr,
        told: &TheseParts<'_>,
        path: PathTerms,
        sink: &mut dyn Sink,
    ) {
        if self.ended || self.is_staged() || self.looks_only {
            return;
        }
        let place = self.place_for(address);
        let most = (MAX_RANGES_OF_ALL / self.sources.len().max(1)).clamp(LEAST_RANGES, MAX_RANGES);
        let Some(source) = self.sources.get_mut(&address) else { return };
        if source.standing == Standing::Liar || source.in_reserve {
            return;
        }
        let state = source.have.get_or_insert_with(|| HaveMap { is_leecher: false, ..HaveMap::nothing(now) });
        let was_leecher = state.is_leecher;
        let is_news = state.take(told, most);
        let gives_nothing = state.has.is_empty() || state.is_busy;
        if state.is_leecher && !was_leecher {
            match place {
                Place::Free => {}
                Place::Of(other) => self.put_in_reserve(other),
                Place::None => return self.put_in_reserve(address),
            }
        }
        self.have_changed = true;
        if let Some(length) = told.eof
            && !self.note_claim(now, address, length, true)
        {
            return;
        }
        let Some(source) = self.sources.get_mut(&address) else { return };
        let waits = matches!(source.standing, Standing::Unknown | Standing::Absent | Standing::Waiting);
        if gives_nothing && waits {
            source.standing = Standing::Waiting;
        } else if !gives_nothing && source.standing == Standing::Waiting && source.fell_silent {
            // It has said so before, and then sent nothing: only content shows that it means it.
            source.standing = Standing::Unknown;
        } else if !gives_nothing
            && waits
            && !source.fell_silent
            && let Some(length) = source.claim
        {
            source.on_serving();
            let nothing =
                Block { space: Space::Content, offset: 0, data: &[], length: Some(length), answers: true };
            self.begin_claim(now, address, length, &nothing, sink);
            self.settle_claims(now);
        }
        let Some(source) = self.sources.get_mut(&address) else { return };
        let index = assembly_for(&self.assemblies, source.claim);
        if let Some(state) = &mut source.have {
            let lasts = index.map_or(Duration::ZERO, |index| {
                let assembly = &mut self.assemblies[index];
                assembly.used_up.remove(&address);
                let enough = (path.rate * 2.0 * RARITY_INTERVAL.as_secs_f64()) as u64;
                let untaken = assembly.untaken(&state.has, enough.max(1));
                Duration::from_secs_f64(untaken as f64 / path.rate.max(1.0)).min(RARITY_INTERVAL * 2)
            });
            state.plan(now, is_news, lasts, path.round_trip);
            if state.is_busy && state.is_leecher && now >= self.replaced_at + MIN_PAUSE {
                self.replaced_at = now;
                self.replace(now, address);
            }
        }
        self.wake_for(address);
    }

    /// A source that asks us for what we fetch ourselves fetches it as we do.
    pub fn on_leecher(&mut self, now: Time, address: SocketAddr) {
        if self.ended || self.is_staged() || self.looks_only {
            return;
        }
        let place = self.place_for(address);
        if let Some(source) = self.sources.get_mut(&address)
            && matches!(source.standing, Standing::Unknown | Standing::Absent)
            && source.have.is_none()
            && !source.in_reserve
        {
            if place == Place::None {
                source.put_in_reserve();
                return;
            }
            source.have = Some(HaveMap::nothing(now));
            source.standing = Standing::Waiting;
            if let Place::Of(other) = place {
                self.put_in_reserve(other);
            }
            self.have_changed = true;
            self.wake_for(address);
        }
    }

    /// From which byte on this source is to be asked now which parts it has, if it is. Notes that it is asked.
    pub fn parts_question(&mut self, now: Time, address: SocketAddr, round_trip: Duration) -> Option<u64> {
        if self.ended || self.is_staged() || self.looks_only {
            return None;
        }
        let source = self.sources.get_mut(&address)?;
        if !matches!(source.standing, Standing::Serving | Standing::Waiting) || source.in_reserve {
            return None;
        }
        let is_due = source.next_at() <= now;
        let Some(have) = source.have.as_mut().filter(|_| is_due) else {
            if !is_due {
                return None;
            }
            // It gives something, and has not said yet what.
            source.ask_parts_at = now + ANSWER_TIMEOUT.max(round_trip * 2) * 2u32.pow(source.asked_parts);
            source.asked_parts += 1;
            self.wake_for(address);
            return Some(0);
        };
        let cursor = have.cursor;
        if have.unanswered >= QUESTIONS_UNTIL_GONE {
            let was_waiting = source.standing == Standing::Waiting;
            source.on_silent(now, false);
            if was_waiting {
                source.standing = Standing::Unknown;
                source.next_probe = now + MAX_PROBE_PAUSE;
            }
            self.have_changed = true;
            self.release(address);
            self.wake_for(address);
            return None;
        }
        let patience = ANSWER_TIMEOUT.max(round_trip * 2) * 2u32.pow(have.unanswered);
        have.unanswered += 1;
        have.next_at = now + patience;
        self.wake_for(address);
        Some(cursor)
    }

    /// This source cannot be asked now which parts it has: looks again later, if it was to be asked.
    pub fn put_off_parts_question(&mut self, now: Time, address: SocketAddr) {
        let Some(source) = self.sources.get_mut(&address) else { return };
        let asks = matches!(source.standing, Standing::Serving | Standing::Waiting);
        if !asks || source.next_at() > now {
            return;
        }
        source.ask_parts_at = now + MAX_PAUSE;
        // What it told can get no newer: it counts no more, or one that was busy then would be so for ever.
        if source.have.take().is_some() {
            self.have_changed = true;
            if source.standing == Standing::Waiting {
                source.standing = Standing::Unknown;
            }
        }
        self.wake_for(address);
    }

    /// Whether to ask which parts this source has beside the question whether it has the content at all.
    pub fn asks_for_parts(&self) -> bool {
        !self.is_staged() && !self.looks_only
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "sets of one range")]
mod tests {
    use super::*;
    use crate::download::source::Source;
    use crate::download::{MAX_LEECHERS, Spec};
    use crate::store::JobId;
    use std::ops::Range;

    const LEAF: u64 = LEAF_LEN;

    fn told(offset: u64, until: u64, parts: &[Range<u64>], eof: Option<u64>) -> TheseParts<'static> {
        TheseParts { id: "x".into(), offset, until, parts: parts.to_vec(), eof, busy: false }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn what_is_told_in_several_answers_is_put_together_and_replaces_what_was() {
        let eof = 100 * LEAF + 5;
        let mut state = HaveMap::nothing(at(0));
        assert!(state.take(&told(0, 50 * LEAF, &[0..10 * LEAF], Some(eof)), MAX_RANGES));
        assert_eq!(state.cursor, 50 * LEAF);
        state.take(&told(50 * LEAF, eof, &[99 * LEAF..eof], Some(eof)), MAX_RANGES);
        assert_eq!(state.cursor, 0);
        assert_eq!(state.has, [0..10 * LEAF, 99 * LEAF..eof].into_iter().collect());
        assert!(!state.take(&told(0, eof, &[3 * LEAF..4 * LEAF], Some(eof)), MAX_RANGES), "less is no news");
        assert_eq!(state.has, [3 * LEAF..4 * LEAF].into_iter().collect());
        assert!(state.take(&told(0, eof, std::slice::from_ref(&(0..eof)), Some(eof)), MAX_RANGES));
        assert!(state.is_whole);
    }

    #[test]
    fn who_tells_nothing_new_is_asked_more_and_more_seldom() {
        let mut state = HaveMap::nothing(at(0));
        let mut pauses = Vec::new();
        for _ in 0..6 {
            state.take(&told(0, 0, &[], None), MAX_RANGES);
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
    fn what_is_refused_is_taken_not_to_be_there_and_who_has_everything_is_busy() {
        let eof = 10 * LEAF;
        let mut state = HaveMap::nothing(at(0));
        state.take(&told(0, eof, std::slice::from_ref(&(0..4 * LEAF)), Some(eof)), MAX_RANGES);
        state.refuse(at(0), LEAF + 957..2 * LEAF - 3);
        assert_eq!(state.has, [0..LEAF, 2 * LEAF..4 * LEAF].into_iter().collect());
        state.take(&told(0, eof, std::slice::from_ref(&(0..eof)), Some(eof)), MAX_RANGES);
        state.plan(at(0), true, Duration::ZERO, Duration::ZERO);
        assert_eq!(state.next_at, Time::NEVER);
        state.refuse(at(0), 0..LEAF);
        assert!(state.is_busy && state.next_at < Time::NEVER);
    }

    #[test]
    fn however_much_is_told_little_is_kept() {
        let mut state = HaveMap::nothing(at(0));
        for n in 0..1000 {
            let parts: Vec<_> = (0..512).map(|m| (n * 512 + m) * 2 * LEAF).map(|s| s..s + LEAF).collect();
            let (start, end) = (parts[0].start, parts[511].end);
            state.take(&told(start, end, &parts, Some(1 << 50)), MAX_RANGES);
            assert!(state.has.pieces() <= MAX_RANGES);
        }
    }

    #[test]
    fn a_source_that_is_back_is_asked_again_which_parts_it_has() {
        let mut state = HaveMap::nothing(at(0));
        state.unanswered = QUESTIONS_UNTIL_GONE;
        let mut source = Source::new(at(0), false);
        source.have = Some(state);
        source.on_serving();
        assert_eq!(source.have.map(|have| have.unanswered), Some(0), "else it is taken for gone at once");
    }

    fn fetch() -> Download {
        let spec = Spec {
            id: crate::content_id::ContentId::Blake3([1; 32]),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        Download::new(at(0), JobId(0), spec, 1)
    }

    #[test]
    fn what_a_source_told_counts_no_more_when_it_cannot_be_asked_again() {
        let mut fetch = fetch();
        let address = SocketAddr::from(([10, 0, 0, 1], 24254));
        fetch.add_source(at(0), address, false);
        let source = fetch.sources.get_mut(&address).expect("it was added");
        source.standing = Standing::Waiting;
        source.have = Some(HaveMap { is_busy: true, ..HaveMap::nothing(at(0)) });
        fetch.put_off_parts_question(at(10), address);
        let source = &fetch.sources[&address];
        assert!(source.have.is_none(), "it would be busy for ever");
        assert_eq!(source.standing, Standing::Unknown);
    }
    #[test]
    fn who_has_only_some_and_gets_no_place_leaves_its_part_to_others_at_once() {
        struct Nowhere;
        impl Sink for Nowhere {
            fn room(&self, _: JobId) -> u64 {
                u64::MAX
            }
        }
        let path = PathTerms {
            block: LEAF,
            tree_block: LEAF,
            least_block: LEAF,
            blocks: 1,
            round_trip: Duration::from_millis(1),
            is_short: false,
            rate: 1e6,
        };
        let mut fetch = fetch();
        let peer = |host: u8| SocketAddr::from(([192, 0, 2, host], 24254));
        for leecher in (1..=MAX_LEECHERS as u8).map(peer) {
            fetch.add_source(at(0), leecher, false);
            fetch.on_leecher(at(0), leecher);
        }
        let (partial, whole) = (peer(100), peer(101));
        for source in [partial, whole] {
            fetch.add_source(at(0), source, false);
            let source = fetch.sources.get_mut(&source).expect("it was added");
            source.claim = Some(LEAF);
            source.on_serving();
        }
        fetch.settle_claims(at(0));
        assert!(fetch.next_ask(at(1), partial, path, &Nowhere).is_some());
        assert!(
            fetch.next_ask(at(1), whole, path, &Nowhere).is_none(),
            "the other was asked for all there is"
        );
        fetch.on_told(at(2), partial, &told(0, LEAF, &[], Some(LEAF)), path, &mut Nowhere);
        assert!(fetch.sources[&partial].in_reserve);
        assert!(fetch.next_ask(at(2), whole, path, &Nowhere).is_some());
    }
}
