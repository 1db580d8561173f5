//! Which of many getters to serve that download the same, and exchange it among themselves.
//!
//! A thousand getters that ask one origin at once would each get a thousandth of its uplink: none would have anything to
//! pass on before the origin had sent a thousand parts. So only some of them have an upload slot at a time, and are served
//! quickly; the others are told so and get it from those. And while there are others, those are offered first what nobody was
//! given yet: what leaves twice before the rest has left once is wasted. All this concerns only getters that ask which parts there are,
//! since only these know of each other.
//!
//! Slots are shared between [hosts](crate::peers::address::host_of) first, since ports cost nothing: a host that holds two more
//! than another that wants one gives one up at once. Where each host holds one, a newcomer takes the place of the getter that
//! was served longest. A getter that holds a slot and asks for next to nothing loses it, and comes after the others from then on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use super::given::Given;
use crate::content_id::ContentId;
use crate::node::contacts::ports_of;
use crate::peers::address::host_of;
use crate::peers::places_by_host::PlacesByHost;
use crate::store::Parts;
use crate::time::Time;

/// Upload slots of one content: as many as a download exchanges parts with. With more, four blocks on their way to each fill the
/// queue of a home's uplink.
pub(crate) const MAX_SLOTS: usize = 16;
/// So many at first, then one more after each [`ONE_MORE_AFTER`]. Each looks for the rate of its path when it begins: all at
/// once ask for far more than the uplink carries, and half of it is lost.
pub(crate) const SLOTS_AT_FIRST: usize = 8;
/// See [`SLOTS_AT_FIRST`].
pub(crate) const ONE_MORE_AFTER: Duration = Duration::from_millis(250);
/// A getter loses its slot that neither asked for content nor was given any for this long.
pub(crate) const LAPSE: Duration = Duration::from_secs(2);
/// A getter with a slot that asked for nothing for this long is offered all there is.
pub(crate) const OFFER_ALL_AFTER: Duration = Duration::from_secs(1);
/// A request for less does not keep a slot, in bytes: a getter that downloads asks for more, over any path.
pub(crate) const LEAST_ASKED: u64 = 128;
/// While others wait, a getter keeps its slot for this long.
pub(crate) const TENURE: Duration = Duration::from_secs(10);
/// Where no host holds more than one slot, a newcomer takes another's place so often.
pub(crate) const TURN: Duration = Duration::from_secs(1);
/// A getter had to wait within this time: there are more than can be served.
pub(crate) const CONTENDED_FOR: Duration = Duration::from_secs(5);
/// Contents of which this is remembered.
pub(crate) const MAX_CONTENTS: usize = 256;
/// Getters that are remembered, of all contents.
pub(crate) const MAX_GETTERS: usize = 8192;
/// A getter that has not asked for this long has gone: getters ask again every few seconds.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// One that asked which parts there are.
#[derive(Clone, Copy, Debug)]
struct Getter {
    /// When it last asked.
    last: Time,
    /// Since when it has waited for its first slot.
    waits_since: Option<Time>,
    was_served: bool,
    /// It lost a slot of which it made no use.
    was_idle: bool,
}

/// An upload slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    since: Time,
    /// When its getter last asked for content, or was given some.
    last: Time,
    /// Bytes of the content that were sent. After as many as all of it, the getter is likely to be done, and says no goodbye.
    given: u64,
}

impl Slot {
    fn is_idle(&self, now: Time) -> bool {
        now.since(self.last) >= LAPSE
    }
}

/// The getters that exchange one content.
#[derive(Debug, Default)]
struct Contended {
    // Invariant: at most `MAX_SLOTS`, each of one of the getters.
    slots: BTreeMap<SocketAddr, Slot>,
    /// The getters that asked which parts there are.
    getters: BTreeMap<SocketAddr, Getter>,
    last: Time,
    /// When the first of them came, after none did for [`CONTENDED_FOR`].
    began: Time,
    /// What was sent to the getters that exchange it, since all of it was.
    given: Given,
    /// When a getter had to wait.
    had_to_wait: Option<Time>,
    /// The same of those that made use of their slots, if they had any.
    busy_had_to_wait: Option<Time>,
    /// When a newcomer last took another's place.
    turned_at: Option<Time>,
    /// Of the content, once some of it was sent.
    length: Option<u64>,
}

impl Contended {
    /// How many may be served now.
    fn room(&self, now: Time) -> usize {
        let more = now.since(self.began).as_millis() / ONE_MORE_AFTER.as_millis();
        MAX_SLOTS.min(SLOTS_AT_FIRST.saturating_add(more as usize))
    }

    /// One whose getter is gone, done, idle, or had its time.
    fn over(&self, now: Time, from: SocketAddr) -> Option<SocketAddr> {
        // A getter that made no use of a slot has another only where no other wants it.
        let others_wait = self.busy_had_to_wait.is_some_and(|at| now.since(at) < CONTENDED_FOR);
        if others_wait && self.getters.get(&from).is_some_and(|getter| getter.was_idle) {
            return None;
        }
        let over = |slot: &Slot| {
            slot.is_idle(now)
                || now.since(slot.since) >= TENURE
                || self.length.is_some_and(|length| slot.given >= length)
        };
        let over = self.slots.iter().filter(|(_, slot)| over(slot));
        over.min_by_key(|(_, slot)| slot.since).map(|(&source, _)| source)
    }

    /// One of the host with most slots, if without it the host still has as many as that of `from`; the one that was
    /// of least use.
    fn of_larger_host(&self, from: SocketAddr) -> Option<SocketAddr> {
        let mut held = PlacesByHost::default();
        self.slots.keys().for_each(|&source| held.take(source));
        let slots = self.slots.range(ports_of(held.gives_way_to(from)?));
        slots.min_by_key(|(_, slot)| (slot.given, slot.since)).map(|(&source, _)| source)
    }

    /// The one that was served longest, for a newcomer of a host that holds none and has waited. Notes that it is given away.
    fn turn(&mut self, now: Time, from: SocketAddr) -> Option<SocketAddr> {
        let waits_since = self.getters.get(&from).filter(|getter| !getter.was_served)?.waits_since?;
        let is_its_turn = now.since(waits_since) >= TURN
            && self.turned_at.is_none_or(|at| now.since(at) >= TURN)
            && self.slots.range(ports_of(host_of(from))).next().is_none();
        let oldest = self.slots.iter().filter(|_| is_its_turn).min_by_key(|(_, slot)| slot.since);
        let (&oldest, _) = oldest.filter(|(_, slot)| now.since(slot.since) >= TURN)?;
        self.turned_at = Some(now);
        Some(oldest)
    }

    /// Whether `from`, a getter, has a slot now; gives it one if it can.
    fn serves(&mut self, now: Time, from: SocketAddr, asked: u64) -> bool {
        if let Some(slot) = self.slots.get_mut(&from) {
            if asked >= LEAST_ASKED {
                slot.last = now;
            }
            return true;
        }
        if self.slots.len() >= self.room(now) {
            let leaver = self.over(now, from).or_else(|| self.of_larger_host(from));
            let Some(leaver) = leaver.or_else(|| self.turn(now, from)) else {
                self.has_to_wait(now, from);
                return false;
            };
            self.take_slot(now, leaver);
        }
        if let Some(getter) = self.getters.get_mut(&from) {
            getter.was_served = true;
            getter.waits_since = None;
        }
        self.slots.insert(from, Slot { since: now, last: now, given: 0 });
        true
    }

    fn has_to_wait(&mut self, now: Time, from: SocketAddr) {
        self.had_to_wait = Some(now);
        let Some(getter) = self.getters.get_mut(&from) else { return };
        getter.waits_since.get_or_insert(now);
        if !getter.was_idle {
            self.busy_had_to_wait = Some(now);
        }
    }

    /// Takes its slot from a getter.
    fn take_slot(&mut self, now: Time, from: SocketAddr) {
        if let (Some(slot), Some(getter)) = (self.slots.remove(&from), self.getters.get_mut(&from)) {
            getter.was_idle = slot.is_idle(now);
        }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct UploadSlots {
    // Invariant: at most `MAX_CONTENTS`.
    by_id: BTreeMap<ContentId, Contended>,
    /// The getters of all of them. Invariant: at most `MAX_GETTERS`.
    places: PlacesByHost,
    /// When those that have gone were last forgotten.
    swept_at: Time,
}

impl UploadSlots {
    /// Notes that this source exchanges the content with others.
    pub(super) fn join(&mut self, now: Time, id: &ContentId, from: SocketAddr) {
        if now.since(self.swept_at) >= GONE_AFTER {
            self.swept_at = now;
            self.forget_gone(now);
        }
        if !self.by_id.contains_key(id) && self.by_id.len() >= MAX_CONTENTS {
            self.forget_smallest();
        }
        let contended = self.by_id.entry(id.clone()).or_default();
        if contended.getters.is_empty() || now.since(contended.last) >= CONTENDED_FOR {
            contended.began = now;
        }
        contended.last = now;
        if let Some(getter) = contended.getters.get_mut(&from) {
            getter.last = now;
            return;
        }
        if self.places.total() >= MAX_GETTERS {
            self.make_room_for(from);
        }
        let getter = Getter { last: now, waits_since: None, was_served: false, was_idle: false };
        if let Some(contended) = self.by_id.get_mut(id) {
            contended.getters.insert(from, getter);
            self.places.take(from);
        }
    }

    /// Forgets a getter of the host that has most, or one of the content that most want. It is noted again when it asks again.
    fn make_room_for(&mut self, from: SocketAddr) {
        let of_host = self.places.gives_way_to(from).and_then(|host| {
            self.by_id.iter().find_map(|(id, contended)| {
                let (&source, _) = contended.getters.range(ports_of(host)).next()?;
                Some((id, source))
            })
        });
        let found = of_host.or_else(|| {
            let (id, contended) = self.by_id.iter().max_by_key(|(_, contended)| contended.getters.len())?;
            let (&stalest, _) = contended.getters.iter().min_by_key(|(_, getter)| getter.last)?;
            Some((id, stalest))
        });
        let Some((id, source)) = found.map(|(id, source)| (id.clone(), source)) else { return };
        if let Some(contended) = self.by_id.get_mut(&id) {
            contended.getters.remove(&source);
            contended.slots.remove(&source);
            self.places.leave(source);
        }
    }

    /// Forgets the content with the fewest getters, and of several the one that was quiet longest.
    fn forget_smallest(&mut self) {
        let smallest =
            self.by_id.iter().min_by_key(|(_, contended)| (contended.getters.len(), contended.last));
        if let Some(contended) = smallest.map(|(id, _)| id.clone()).and_then(|id| self.by_id.remove(&id)) {
            contended.getters.keys().for_each(|&getter| self.places.leave(getter));
        }
    }

    fn forget_gone(&mut self, now: Time) {
        let places = &mut self.places;
        self.by_id.retain(|_, contended| {
            let slots = &mut contended.slots;
            contended.getters.retain(|&source, getter| {
                let is_there = now.since(getter.last) < GONE_AFTER;
                if !is_there {
                    places.leave(source);
                    slots.remove(&source);
                }
                is_there
            });
            !contended.getters.is_empty()
        });
    }

    /// How many contents and getters are remembered.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.by_id.len(), self.places.total())
    }

    /// Notes that this source, which could exchange the content, asks for some of it. Where others exchange it, so will this
    /// one: its question which parts there are is lost or on its way. Where a thousand begin at once most of those are.
    pub(super) fn expect(&mut self, now: Time, id: &ContentId, from: SocketAddr) {
        if self.by_id.get(id).is_some_and(|contended| !contended.getters.contains_key(&from)) {
            self.join(now, id, from);
        }
    }

    /// The getters that are served this content now: the others may get it from them.
    pub(super) fn served(&self, id: &ContentId) -> impl Iterator<Item = SocketAddr> + '_ {
        self.by_id.get(id).into_iter().flat_map(|contended| contended.slots.keys().copied())
    }

    /// Whether this source is served this content now, which asks for `asked` bytes of it, or only which parts there are. One
    /// that exchanges it with no other always is.
    pub(super) fn serves(&mut self, now: Time, id: &ContentId, from: SocketAddr, asked: u64) -> bool {
        let contended =
            self.by_id.get_mut(&of_content(id)).filter(|contended| contended.getters.contains_key(&from));
        contended.is_none_or(|contended| contended.serves(now, from, asked))
    }

    /// Notes that this part was sent to this source, of content that ends at `eof`, where that is known.
    pub(super) fn on_given(
        &mut self,
        now: Time,
        id: &ContentId,
        to: SocketAddr,
        part: Range<u64>,
        eof: Option<u64>,
    ) {
        let Some(contended) = self.by_id.get_mut(&of_content(id)) else { return };
        let bytes = part.end.saturating_sub(part.start);
        let slot = contended.slots.get_mut(&to);
        if let Some(slot) = slot
            && bytes >= LEAST_ASKED
        {
            // A server with a low rate sends what was asked for long ago.
            slot.last = now;
        }
        if matches!(id, ContentId::Tree(_)) {
            return;
        }
        contended.length = eof.or(contended.length);
        if let Some(slot) = contended.slots.get_mut(&to) {
            slot.given += bytes;
        }
        if let Some(length) = contended.length {
            contended.given.add(part, length);
        }
    }

    /// Whether more getters exchange this content than can be served.
    pub(super) fn is_contended(&self, now: Time, id: &ContentId) -> bool {
        let waited = self.by_id.get(id).and_then(|contended| contended.had_to_wait);
        waited.is_some_and(|at| now.since(at) < CONTENDED_FOR)
    }

    /// What to offer `to` of content of `length` bytes of which everything is here, from byte `from` on, in at most `most`
    /// ranges, where that is not all: while others wait, what none was given yet. A getter that asks for nothing of it
    /// is offered all: those that were given the rest may not pass it on.
    pub(super) fn offer(
        &mut self,
        now: Time,
        id: &ContentId,
        to: SocketAddr,
        length: u64,
        from: u64,
        most: usize,
    ) -> Option<Parts> {
        if !self.is_contended(now, id) {
            return None;
        }
        let contended = self.by_id.get_mut(id)?;
        if contended.slots.get(&to).is_some_and(|slot| now.since(slot.last) >= OFFER_ALL_AFTER) {
            return None;
        }
        Some(Parts::of(&contended.given.offer(length), length, from, most))
    }
}

/// The content that an id is about: a getter of a tree gets its content too.
fn of_content(id: &ContentId) -> ContentId {
    match id {
        ContentId::Tree(root) => ContentId::Blake3(*root),
        id => id.clone(),
    }
}

#[cfg(test)]
mod tests;
