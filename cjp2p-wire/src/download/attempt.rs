//! Content that can only be verified as a whole: one length after the other is tried, and after a mismatch one source
//! after the other, so that the blame falls on that one alone.

use std::net::SocketAddr;
use std::time::Duration;

use super::assembly::{Assembly, Check};
use super::range_spec::select;
use super::source::{Source, Standing};
use super::{Download, DownloadEvent, Failure};
use crate::content_id::ContentId;
use crate::peers::places_by_host::PlacesByHost;
use crate::range_set::RangeSet;
use crate::store::Sink;
use crate::time::Time;

/// Bytes that an attempt may bring at first before a shorter length is tried in its place. Fewer are not missed.
pub(super) const LITTLE: u64 = 1 << 20;
/// And it may bring so many times that length.
const OVERRUN: u64 = 2;

/// So long an attempt is looked at before it is judged slow; then twice as long, and so on.
const PACE_TIME: Duration = Duration::from_secs(5);
/// An attempt that brings fewer bytes in a second makes way for another that is offered.
const LEAST_PACE: u64 = 1024;

/// How fast an attempt goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Time,
    new: u64,
    /// How often it was too slow.
    slow: u32,
}

impl Pace {
    pub(super) fn new(now: Time) -> Pace {
        Pace { since: now, new: 0, slow: 0 }
    }

    pub(super) fn on_new(&mut self, bytes: u64) {
        self.new += bytes;
    }

    fn time(&self) -> Duration {
        PACE_TIME * 2u32.pow(self.slow.min(6))
    }

    pub(super) fn ends_at(&self) -> Time {
        self.since + self.time()
    }

    /// Looks anew from now on.
    pub(super) fn start_anew(&mut self, now: Time) {
        self.since = now;
        self.new = 0;
    }

    /// Whether it was looked at for long enough, and is slow. Whoever is slow may be all there is: it has more time when its turn
    /// comes again.
    pub(super) fn is_slow(&mut self, now: Time) -> bool {
        if now < self.ends_at() {
            return false;
        }
        let is_slow = self.new < LEAST_PACE * self.time().as_secs();
        self.slow += u32::from(is_slow);
        self.start_anew(now);
        is_slow
    }
}

impl Download {
    /// Whether what was staged has the right hash, after [`DownloadEvent::Staged`].
    pub fn on_verdict(&mut self, now: Time, is_right: bool, sink: &mut dyn Sink) {
        if !self.waits_for_verdict || self.ended {
            return;
        }
        self.waits_for_verdict = false;
        self.count_from(now);
        if is_right {
            let length = self.assemblies.first().map_or(0, Assembly::length);
            if let ContentId::Sha256(_) = self.id {
                self.settle_hints(now);
                self.accuse_of_claims_other_than(now, length);
            }
            return self.complete(length);
        }
        // What was here before nobody can be blamed for.
        let resumed = std::mem::take(&mut self.resumed);
        self.lied_to |= !resumed;
        let stagers = std::mem::take(&mut self.stagers);
        match self.hint() {
            Some(hint) if self.hints.covers_all => self.refute_hint(now, hint),
            // Something came before the hint did. It is tried again, from the beginning.
            Some(_) => {}
            None => {
                if let (1, Some(&liar), false) = (stagers.len(), stagers.first(), resumed) {
                    let certain = self.gave_all(liar);
                    self.accuse(now, liar, certain, "what it sent has another hash");
                }
                self.one_at_a_time = true;
            }
        }
        self.next_attempt(now, sink);
    }

    /// Tries another length, or in single file another source.
    pub(super) fn next_attempt(&mut self, now: Time, sink: &mut dyn Sink) {
        let mut next = self.candidate();
        if next.is_none() {
            self.put_off.clear();
            next = self.candidate();
        }
        match next {
            Some((address, length)) => {
                let only = self.one_at_a_time.then_some(address);
                self.begin_attempt(now, length, only, sink);
            }
            None => {
                self.assemblies.clear();
                self.only = None;
                if let Err(error) = sink.restage(self.job) {
                    self.fail(Failure::Destination(error));
                }
            }
        }
    }

    /// Whom to try next, and the length it claims: one that gave a hint, if there is any, or else one of the hosts of which
    /// fewest were tried in vain, and of these the shortest, since nothing but the end shows that a length is false.
    fn candidate(&self) -> Option<(SocketAddr, u64)> {
        let good = self.sources.iter().filter(|(address, source)| {
            source.standing == Standing::Serving && source.claim.is_some() && !self.put_off.contains(address)
        });
        let mut in_vain = PlacesByHost::default();
        let lied = self.sources.iter().filter(|(_, source)| source.standing == Standing::Liar);
        lied.map(|(address, _)| address).chain(&self.put_off).for_each(|&address| in_vain.take(address));
        let best = good.min_by_key(|(address, source)| {
            (!self.has_usable_hint(**address, source), in_vain.of(**address), source.claim)
        });
        best.and_then(|(&address, source)| Some((address, source.claim?)))
    }

    pub(super) fn begin_attempt(
        &mut self,
        now: Time,
        length: u64,
        only: Option<SocketAddr>,
        sink: &mut dyn Sink,
    ) {
        if !self.assemblies.is_empty()
            && let Err(error) = sink.restage(self.job)
        {
            return self.fail(Failure::Destination(error));
        }
        self.stagers.clear();
        self.changed = true;
        self.resumed = false;
        let check = self.check_in_attempt(now, length);
        // By a tree each can be told from the others.
        self.only = only.filter(|_| matches!(check, Check::AtTheEnd));
        self.attempt_since = now;
        self.attempt_pace.start_anew(now);
        let assembly = Assembly::new(self.job, length, check, RangeSet::new(), select(&[], length));
        self.assemblies = vec![assembly];
        self.events.push_back(DownloadEvent::Length(length));
        self.check_complete();
    }

    /// The present attempt brings nothing: another source may claim another length.
    pub(super) fn put_off_attempt(&mut self, now: Time, sink: &mut dyn Sink) {
        self.attempt_since = now;
        let Some(length) = self.assemblies.first().map(Assembly::length) else {
            return self.next_attempt(now, sink);
        };
        if self.drop_hint(sink) {
            return;
        }
        let only = self.only;
        let silent = |(address, source): &(&SocketAddr, &Source)| {
            only.map_or(source.claim == Some(length) && self.agrees(source), |only| only == **address)
        };
        let silent: Vec<_> = self.sources.iter().filter(silent).map(|(&address, _)| address).collect();
        self.put_off.extend(silent.iter().copied());
        self.forget_put_off();
        if self.candidate().is_none() {
            // Those that were put off earlier have their turn again.
            self.put_off = silent.into_iter().collect();
        }
        if self.candidate().is_some() {
            self.next_attempt(now, sink);
        }
    }

    /// Changes to a shorter length that is claimed: one who claims an endless one, and sends it, would keep all others from
    /// being heard. At first that costs little. Later it is done when so much was brought that the shorter one would have
    /// been all here long ago; and each time what an attempt may bring doubles, so that no false claim does the same to others.
    pub(super) fn try_shorter(&mut self, now: Time, sink: &mut dyn Sink) {
        let Some(attempt) = self.assemblies.first().filter(|_| self.is_staged()) else { return };
        let (length, done) = (attempt.length(), attempt.done().total());
        if self.ended || self.waits_for_verdict || self.hint().is_some() {
            return;
        }
        let serving = self.sources.values().filter(|source| source.standing == Standing::Serving);
        let Some(shortest) = serving.filter_map(|source| source.claim).min() else { return };
        let is_new = done <= LITTLE && self.candidate().is_some_and(|(_, claim)| claim < length);
        let is_overrun = shortest < length && done > self.attempt_bytes.max(shortest * OVERRUN);
        if is_overrun {
            self.attempt_bytes = done * 2;
            self.put_off.clear();
        }
        if is_new || is_overrun {
            let longer = self.sources.iter().filter(|(_, source)| source.claim == Some(length));
            self.put_off.extend(longer.map(|(&address, _)| address));
            self.forget_put_off();
            self.next_attempt(now, sink);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use sha2::Digest;

    use super::*;
    use crate::download::{Block, PathTerms, Space, Spec};
    use crate::store::JobId;

    struct Staging;

    impl Sink for Staging {
        fn stage(&mut self, _: JobId, offset: u64, _: &[u8]) -> io::Result<()> {
            assert!(offset < 1 << 30, "a file would have to be as long as somebody claims");
            Ok(())
        }

        fn restage(&mut self, _: JobId) -> io::Result<()> {
            Ok(())
        }

        fn room(&self, _: JobId) -> u64 {
            u64::MAX
        }
    }

    const LENGTH: u64 = 100_000;

    fn source(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 24254))
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    fn fetch(sources: u8) -> Download {
        let spec = Spec {
            id: ContentId::Sha256(sha2::Sha256::digest(b"the content").into()),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(10),
        };
        let mut fetch = Download::new(at(0), JobId(0), spec, 1);
        (1..=sources).for_each(|n| fetch.add_source(at(0), source(n), false));
        fetch
    }

    /// Lets this source answer what it is asked for with content of `length` bytes, `most` requests at the most, each in a
    /// millisecond. Its address is proved by all answers but those that `proved` says are not.
    fn answer(
        fetch: &mut Download,
        now: u64,
        n: u8,
        length: u64,
        most: usize,
        proved: impl Fn(usize) -> bool,
    ) -> u64 {
        let round_trip = Duration::from_millis(1);
        let path = PathTerms {
            block: 4096,
            tree_block: 4096,
            least_block: 300,
            blocks: 1,
            round_trip,
            is_short: false,
            rate: 4e6,
        };
        let mut now = now;
        for nth in 0..most {
            let Some(ask) = fetch.next_ask(at(now), source(n), path, &Staging) else { break };
            now += 1;
            let data = vec![0; (ask.range.end.min(length) - ask.range.start) as usize];
            let (space, offset) = (Space::Content, ask.range.start);
            let block = Block { space, offset, data: &data, length: Some(length), answers: proved(nth) };
            fetch.on_block(at(now), source(n), block, &mut Staging);
        }
        now
    }

    fn events(fetch: &mut Download) -> Vec<String> {
        std::iter::from_fn(|| fetch.poll_event()).map(|event| format!("{event:?}")).collect()
    }

    fn is_blamed(fetch: &mut Download) -> bool {
        events(fetch).iter().any(|event| event.starts_with("Misbehaved"))
    }

    fn length_tried(fetch: &Download) -> Option<u64> {
        fetch.assemblies.first().map(Assembly::length)
    }

    #[test]
    fn who_alone_sent_what_has_another_hash_is_blamed() {
        let mut fetch = fetch(1);
        let now = answer(&mut fetch, 0, 1, LENGTH, 1000, |_| true);
        assert!(events(&mut fetch).contains(&format!("Staged({LENGTH})")));
        fetch.on_verdict(at(now), false, &mut Staging);
        assert!(is_blamed(&mut fetch));
    }

    #[test]
    fn nobody_is_blamed_for_another_hash_where_somebody_else_may_have_sent_some_of_it() {
        let mut fetch = fetch(1);
        let now = answer(&mut fetch, 0, 1, LENGTH, 1000, |nth| nth > 0);
        assert!(events(&mut fetch).contains(&format!("Staged({LENGTH})")));
        fetch.on_verdict(at(now), false, &mut Staging);
        assert!(!is_blamed(&mut fetch));
        answer(&mut fetch, now + 1000, 1, LENGTH, 1000, |_| true);
        assert!(events(&mut fetch).contains(&format!("Staged({LENGTH})")), "it is asked again");
    }

    #[test]
    fn a_shorter_length_is_tried_first_while_little_has_come() {
        let mut fetch = fetch(2);
        let now = answer(&mut fetch, 0, 1, 1 << 40, 10, |_| true);
        assert_eq!(length_tried(&fetch), Some(1 << 40));
        let now = answer(&mut fetch, now, 2, LENGTH, 1, |_| true);
        assert_eq!(length_tried(&fetch), Some(LENGTH));
        assert_eq!(answer(&mut fetch, now, 1, 1 << 40, 10, |_| true), now, "it waits");
    }

    #[test]
    fn an_attempt_that_brings_far_more_than_a_shorter_one_would_makes_way_and_then_may_bring_more() {
        let mut fetch = fetch(2);
        answer(&mut fetch, 0, 1, 1 << 40, 10, |_| true);
        answer(&mut fetch, 20, 2, LENGTH, 2, |_| true);
        let mut brought = Vec::new();
        let mut now = 100;
        for _ in 0..3 {
            // The shorter one brings nothing for a while.
            now += 4000;
            fetch.handle_timeout(at(now), &mut Staging);
            assert_eq!(length_tried(&fetch), Some(1 << 40));
            let before = fetch.received;
            while length_tried(&fetch) == Some(1 << 40) {
                now = answer(&mut fetch, now, 1, 1 << 40, 1, |_| true);
                fetch.handle_timeout(at(now), &mut Staging);
                assert!(fetch.received < 64 << 20, "it is believed for ever");
            }
            brought.push((fetch.received - before) >> 20);
        }
        assert_eq!(brought, [1, 2, 4]);
    }

    #[test]
    fn an_attempt_that_drips_makes_way_for_another() {
        let mut fetch = fetch(2);
        answer(&mut fetch, 0, 1, LENGTH, 1, |_| true);
        answer(&mut fetch, 10, 2, 2 * LENGTH, 1, |_| true);
        assert_eq!(length_tried(&fetch), Some(LENGTH));
        let path = PathTerms {
            block: 100,
            tree_block: 100,
            least_block: 100,
            blocks: 1,
            round_trip: Duration::from_millis(1),
            is_short: false,
            rate: 100.0,
        };
        let mut turns = vec![LENGTH];
        for ms in (500..40_000).step_by(500) {
            if let Some(ask) = fetch.next_ask(at(ms), source(1), path, &Staging) {
                let (space, offset, data) = (Space::Content, ask.range.start, [0; 100]);
                let block = Block { space, offset, data: &data, length: Some(LENGTH), answers: true };
                fetch.on_block(at(ms), source(1), block, &mut Staging);
            }
            fetch.handle_timeout(at(ms), &mut Staging);
            let tried = length_tried(&fetch).expect("something is tried");
            if turns.last() != Some(&tried) {
                turns.push(tried);
                assert!(turns.len() > 2 || ms <= 6000, "only after {ms} ms");
            }
        }
        assert_eq!(turns[..3], [LENGTH, 2 * LENGTH, LENGTH], "and it has its turn again");
    }

    #[test]
    fn attempts_that_bring_nothing_take_turns() {
        let mut fetch = fetch(2);
        answer(&mut fetch, 0, 1, LENGTH, 2, |_| true);
        answer(&mut fetch, 10, 2, LENGTH / 2, 2, |_| true);
        let mut tried = Vec::new();
        for n in 1..5 {
            tried.push(length_tried(&fetch));
            fetch.handle_timeout(at(n * 2400), &mut Staging);
            fetch.handle_timeout(at(n * 2400 + 1000), &mut Staging);
        }
        let (long, short) = (Some(LENGTH), Some(LENGTH / 2));
        assert!(tried.contains(&long) && tried.contains(&short), "{tried:?}");
        assert_ne!(tried[2], tried[3], "{tried:?}");
    }

    #[test]
    fn the_end_of_content_of_a_claimed_length_is_not_staged_when_its_hint_is_dropped() {
        let mut fetch = fetch(1);
        answer(&mut fetch, 0, 1, 1 << 40, 1, |_| true);
        assert!(fetch.wants_hint(at(1), source(1)));
        fetch.on_hint(at(1), source(1), [7; 32], &mut Staging);
        let path = PathTerms {
            least_block: 300,
            block: 4096,
            tree_block: 4096,
            blocks: 1,
            round_trip: Duration::from_millis(1),
            is_short: false,
            rate: 4e6,
        };
        let mut trees = Vec::new();
        let mut far = 0;
        while let (true, Some(ask)) = (far < 4, fetch.next_ask(at(2), source(1), path, &Staging)) {
            if ask.space == Space::Tree {
                trees.push(ask);
                continue;
            }
            far += 1;
            assert!(ask.range.start > 1 << 39, "what proves the length comes first");
            let data = vec![0; (ask.range.end - ask.range.start) as usize];
            let (space, offset) = (Space::Content, ask.range.start);
            let block = Block { space, offset, data: &data, length: Some(1 << 40), answers: true };
            fetch.on_block(at(2), source(1), block, &mut Staging);
        }
        fetch.on_refusal(at(3), source(1), trees.first().expect("it is asked for the tree"));
        fetch.handle_timeout(at(3), &mut Staging);
        assert!(fetch.hint().is_none(), "nobody has the tree");
        let next = fetch.next_ask(at(4), source(1), path, &Staging).expect("it goes on");
        assert!(next.range.start < 1 << 20);
    }
}
