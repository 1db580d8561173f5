//! Exchanging parts with leechers: they say which parts they have, and are asked again when they may have more. And sources that say
//! that they no longer have the content.

use std::net::SocketAddr;
use std::time::Duration;

use super::kind::Kind;
use super::leechers::{Place, place_for};
use super::source::Standing;
use super::withdrawal::ASK_AGAIN_AFTER;
use super::{Block, Download, PathTerms};
use crate::message::TheseParts;
use crate::pieces::{Have, HaveMap, MAX_PAUSE, RARITY_INTERVAL, Space, most_ranges_of_one};
use crate::slices::Slices;
use crate::store::Sink;
use crate::time::Time;

impl Download {
    /// Whether to ask which parts a source has beside the question whether it has the content at all.
    pub fn asks_for_parts(&self) -> bool {
        matches!(self.kind, Kind::Proven(_)) && !self.looks_only
    }

    fn exchanges_parts(&self) -> bool {
        self.asks_for_parts() && !self.is_over()
    }

    /// Takes in what a source with a validated address says about the parts that it has.
    pub fn on_have(
        &mut self,
        now: Time,
        address: SocketAddr,
        message: &TheseParts<'_>,
        path: PathTerms,
        sink: &mut dyn Sink,
    ) {
        if !self.exchanges_parts() {
            return;
        }
        let TheseParts { offset, until, parts, eof: length, busy: is_busy, .. } = message;
        let have = Have { offset: *offset, until: *until, parts, length: *length, is_busy: *is_busy };
        let Some((is_news, gives_nothing)) = self.take_have(now, address, &have) else { return };
        if let Some(length) = have.length
            && !self.note_claim(now, address, length, true)
        {
            return;
        }
        let Some(source) = self.sources.get_mut(address) else { return };
        let waits = matches!(source.standing, Standing::Unknown | Standing::Absent | Standing::Waiting);
        if gives_nothing && waits {
            source.standing = Standing::Waiting;
        } else if !gives_nothing && source.standing == Standing::Waiting && source.is_silent() {
            // It has said so before, and then sent nothing: only content shows that it means it.
            source.standing = Standing::Unknown;
        } else if !gives_nothing
            && waits
            && !source.is_silent()
            && let Some(length) = source.claim.length
        {
            source.on_serving();
            let nothing = Block {
                space: Space::Content,
                offset: 0,
                data: Slices::new(&[]),
                length: Some(length),
                answers: true,
            };
            self.begin_claim(now, address, length, &nothing, sink);
            self.settle_claims(now);
        }
        self.plan_question(now, address, is_news, path);
        self.sources.wake_for(address);
    }

    /// Notes what a source has, and its place among leechers. Returns whether that is more than ever before, and whether it gives
    /// nothing now. `None` where it has no place, or what it says does not count.
    fn take_have(&mut self, now: Time, address: SocketAddr, have: &Have<'_>) -> Option<(bool, bool)> {
        let place = place_for(&self.sources, address);
        let most = most_ranges_of_one(self.sources.len());
        let source = self.sources.get_mut(address)?;
        if source.standing == Standing::Liar || source.exchange.in_reserve {
            return None;
        }
        let map = source.exchange.have.get_or_insert_with(|| HaveMap::new(now));
        let was_leecher = map.is_leecher();
        let is_news = map.take(have, most);
        let gives_nothing = map.has().is_empty() || map.is_busy();
        if map.is_leecher() && !was_leecher {
            match place {
                Place::Free => {}
                Place::Of(other) => self.put_in_reserve(other),
                Place::None => {
                    self.put_in_reserve(address);
                    return None;
                }
            }
        }
        self.leechers.note_change();
        Some((is_news, gives_nothing))
    }

    /// Decides when to ask this source again which parts it has.
    fn plan_question(&mut self, now: Time, address: SocketAddr, is_news: bool, path: PathTerms) {
        let Some(source) = self.sources.get_mut(address) else { return };
        let Some(map) = &mut source.exchange.have else { return };
        let lasts = match self.kind.assembly_for_mut(source.claim.length) {
            Some(assembly) => {
                assembly.forget_used_up(address);
                let enough = (path.rate * 2.0 * RARITY_INTERVAL.as_secs_f64()) as u64;
                let untaken = assembly.picker().untaken(map.has(), enough.max(1));
                Duration::from_secs_f64(untaken as f64 / path.rate.max(1.0)).min(RARITY_INTERVAL * 2)
            }
            None => Duration::ZERO,
        };
        map.plan(now, is_news, lasts, path.round_trip);
        if map.is_busy() && map.is_leecher() && self.leechers.on_busy(now, &mut self.sources, address) {
            self.release(address);
        }
    }

    fn put_in_reserve(&mut self, leecher: SocketAddr) {
        self.release(leecher);
        if let Some(source) = self.sources.get_mut(leecher) {
            source.put_in_reserve();
        }
    }

    /// A source that asks us for what we fetch ourselves is a leecher as we are.
    pub fn on_leecher(&mut self, now: Time, address: SocketAddr) {
        if self.exchanges_parts()
            && let Some(other) = self.leechers.on_leecher(now, &mut self.sources, address)
        {
            self.release(other);
        }
    }

    /// From which byte on this source is to be asked now which parts it has, if it is. Notes that it is asked.
    pub fn parts_question(&mut self, now: Time, address: SocketAddr, round_trip: Duration) -> Option<u64> {
        if !self.exchanges_parts() {
            return None;
        }
        let source = self.sources.get_mut(address)?;
        let takes_part = matches!(source.standing, Standing::Serving | Standing::Waiting);
        if !takes_part || source.exchange.in_reserve || source.next_at() > now {
            return None;
        }
        if source.exchange.have.as_ref().is_some_and(HaveMap::is_gone) {
            source.on_gone(now);
            self.leechers.note_change();
            self.release(address);
            self.sources.wake_for(address);
            return None;
        }
        let from = source.ask_have(now, round_trip);
        self.sources.wake_for(address);
        Some(from)
    }

    /// This source cannot be asked now which parts it has: looks again later, if it was to be asked.
    pub fn put_off_parts_question(&mut self, now: Time, address: SocketAddr) {
        let Some(source) = self.sources.get_mut(address) else { return };
        let asks = matches!(source.standing, Standing::Serving | Standing::Waiting);
        if !asks || source.next_at() > now {
            return;
        }
        source.ask_have_at(now + MAX_PAUSE);
        // What it said can get no newer: it counts no more, or one that was busy then would be so for ever.
        if source.exchange.have.take().is_some() {
            self.leechers.note_change();
            if source.standing == Standing::Waiting {
                source.standing = Standing::Unknown;
            }
        }
        self.sources.wake_for(address);
    }

    /// The word of this source counts when it says that it no longer has the content, though it may not have given any of it now.
    /// `named`: by the user. Otherwise an interrupted download had some from it.
    pub fn rely_on(&mut self, address: SocketAddr, named: bool) {
        if let Some(source) = self.sources.get_mut(address) {
            source.rely_on(named);
        }
    }

    /// A source says, and no other node in its name, that it no longer has the content.
    pub fn on_withdrawn(&mut self, now: Time, address: SocketAddr) {
        let (is_over, looks_only) = (self.is_over(), self.looks_only);
        let Some(source) = self.sources.get_mut(address) else { return };
        // A source that was not asked cannot know that it matters here.
        if is_over || looks_only || source.standing == Standing::Liar || !source.was_ever_asked() {
            return;
        }
        source.on_withdrawn(now, ASK_AGAIN_AFTER);
        self.withdrawal.note(now);
        self.leechers.note_change();
        self.sources.wake_for(address);
        self.release(address);
    }
}
