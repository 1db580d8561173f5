//! Leechers say which parts of the content they have, and are asked again when they may have more.

use std::net::SocketAddr;
use std::time::Duration;

use super::leechers::Place;
use super::source::{MAX_PROBE_PAUSE, Standing};
use super::{Block, Download, PathTerms, assembly_for};
use crate::message::TheseParts;
use crate::pieces::{
    Have, HaveMap, MAX_PAUSE, MIN_PAUSE, RARITY_INTERVAL, Space, answer_timeout, most_ranges_of_one,
};
use crate::store::Sink;
use crate::time::Time;

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
        let have = Have {
            offset: told.offset,
            until: told.until,
            parts: &told.parts,
            length: told.eof,
            is_busy: told.busy,
        };
        let place = self.place_for(address);
        let most = most_ranges_of_one(self.sources.len());
        let Some(source) = self.sources.get_mut(&address) else { return };
        if source.standing == Standing::Liar || source.in_reserve {
            return;
        }
        let state = source.have.get_or_insert_with(|| HaveMap::new(now));
        let was_leecher = state.is_leecher();
        let is_news = state.take(&have, most);
        let gives_nothing = state.has().is_empty() || state.is_busy();
        if state.is_leecher() && !was_leecher {
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
                assembly.picker.forget_used_up(address);
                let enough = (path.rate * 2.0 * RARITY_INTERVAL.as_secs_f64()) as u64;
                let untaken = assembly.picker.untaken(state.has(), enough.max(1));
                Duration::from_secs_f64(untaken as f64 / path.rate.max(1.0)).min(RARITY_INTERVAL * 2)
            });
            state.plan(now, is_news, lasts, path.round_trip);
            if state.is_busy() && state.is_leecher() && now >= self.replaced_at + MIN_PAUSE {
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
            source.have = Some(HaveMap::of_leecher(now));
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
            source.ask_parts_at = now + answer_timeout(round_trip, source.asked_parts);
            source.asked_parts += 1;
            self.wake_for(address);
            return Some(0);
        };
        if have.is_gone() {
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
        let cursor = have.on_asked(now, round_trip);
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
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::download::source::Source;
    use crate::download::{MAX_LEECHERS, Spec};
    use crate::pieces::QUESTIONS_UNTIL_GONE;
    use crate::store::JobId;
    use crate::tree::LEAF_LEN as LEAF;

    fn told(offset: u64, until: u64, parts: &[Range<u64>], eof: Option<u64>) -> TheseParts<'static> {
        TheseParts { id: "x".into(), offset, until, parts: parts.to_vec(), eof, busy: false }
    }

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_source_that_is_back_is_asked_again_which_parts_it_has() {
        let mut have = HaveMap::of_leecher(at(0));
        (0..QUESTIONS_UNTIL_GONE).for_each(|_| _ = have.on_asked(at(0), Duration::ZERO));
        assert!(have.is_gone());
        let mut source = Source::new(at(0), false);
        source.have = Some(have);
        source.on_serving();
        assert!(source.have.is_some_and(|have| !have.is_silent()), "else it is taken for gone at once");
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
        let mut busy = HaveMap::of_leecher(at(0));
        busy.take(&Have { offset: 0, until: 0, parts: &[], length: None, is_busy: true }, 1);
        let source = fetch.sources.get_mut(&address).expect("it was added");
        source.standing = Standing::Waiting;
        source.have = Some(busy);
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
