//! Whom to serve of many who fetch the same, and exchange it among themselves.
//!
//! A thousand getters that ask one origin at once would each get a thousandth of its uplink: none would have anything to
//! pass on before the origin had sent a thousand parts. So only some of them are served at a time, quickly, and the others
//! are told so and get it from those. And while there are others, those are offered first what nobody was given yet: what
//! leaves twice before the rest has left once is wasted. All this concerns only who asks which parts there are, since only
//! these know of each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::content_id::ContentId;
use crate::time::Time;
use crate::transfer::blobs::Parts;
use crate::transfer::ranges::RangeSet;

/// Getters that exchange a content and are served it at a time: as many as a fetch exchanges parts with. With more, four blocks
/// on their way to each fill the queue of a home's uplink.
pub(crate) const MAX_SERVED: usize = 16;
/// So many at first, then one more after each [`ONE_MORE_AFTER`]. Each looks for the rate of its path when it begins: all at
/// once ask for far more than the uplink carries, and half of it is lost.
pub(crate) const SERVED_AT_FIRST: usize = 8;
/// See [`SERVED_AT_FIRST`].
pub(crate) const ONE_MORE_AFTER: Duration = Duration::from_millis(250);
/// Who has not asked for so long makes room.
pub(crate) const LAPSE: Duration = Duration::from_secs(2);
/// While others wait, one is served for so long.
pub(crate) const TENURE: Duration = Duration::from_secs(10);
/// Somebody had to wait within this time: there are more than can be served.
pub(crate) const CROWDED: Duration = Duration::from_secs(5);
/// What is offered begins and ends at multiples of this: blocks that were given cut no leaves, and little is to be told.
const UNIT: u64 = 16 << 10;
/// Contents of which this is remembered.
const MAX_CONTENTS: usize = 256;
/// Getters of one content that are remembered.
const MAX_GETTERS: usize = 4096;
/// Who has not asked for so long has gone: they ask again every few seconds.
const GONE_AFTER: Duration = Duration::from_secs(60);

/// Those who exchange one content.
#[derive(Debug, Default)]
struct Crowd {
    // Invariant: at most `MAX_SERVED`.
    served: BTreeMap<SocketAddr, Served>,
    /// Who asked which parts there are, and when they last did.
    getters: BTreeMap<SocketAddr, Time>,
    last: Time,
    /// When the first of them came, after nobody did for [`CROWDED`].
    began: Time,
    /// What was sent to those who exchange it, since all of it was.
    given: RangeSet,
    /// When somebody had to wait.
    had_to_wait: Option<Time>,
    /// Of the content, once some of it was sent.
    length: Option<u64>,
}

impl Crowd {
    /// How many may be served now.
    fn room(&self, now: Time) -> usize {
        let more = now.since(self.began).as_millis() / ONE_MORE_AFTER.as_millis();
        MAX_SERVED.min(SERVED_AT_FIRST.saturating_add(more as usize))
    }

    /// The one that makes room, if any does.
    fn leaver(&self, now: Time) -> Option<SocketAddr> {
        let over = |served: &Served| {
            now.since(served.last) >= LAPSE
                || now.since(served.since) >= TENURE
                || self.length.is_some_and(|length| served.given >= length)
        };
        let over = self.served.iter().filter(|(_, served)| over(served));
        over.min_by_key(|(_, served)| served.since).map(|(&source, _)| source)
    }
}

#[derive(Clone, Copy, Debug)]
struct Served {
    since: Time,
    last: Time,
    /// Bytes of the content that were sent. After as many as all of it, it is likely to be done, and says no goodbye.
    given: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Crowds {
    by_id: BTreeMap<ContentId, Crowd>,
    /// When those who have gone were last forgotten.
    swept_at: Time,
}

impl Crowds {
    /// Notes that this source exchanges the content with others.
    pub(super) fn join(&mut self, now: Time, id: &ContentId, from: SocketAddr) {
        if now.since(self.swept_at) >= GONE_AFTER {
            self.swept_at = now;
            self.forget_gone(now);
        }
        if !self.by_id.contains_key(id) && self.by_id.len() >= MAX_CONTENTS {
            let stalest = self.by_id.iter().min_by_key(|(_, crowd)| crowd.last).map(|(id, _)| id.clone());
            self.by_id.remove(&stalest.unwrap_or_else(|| id.clone()));
        }
        let crowd = self.by_id.entry(id.clone()).or_default();
        if crowd.getters.is_empty() || now.since(crowd.last) >= CROWDED {
            crowd.began = now;
        }
        crowd.last = now;
        if crowd.getters.len() >= MAX_GETTERS {
            // They are noted again when they ask again.
            crowd.getters.clear();
        }
        crowd.getters.insert(from, now);
    }

    fn forget_gone(&mut self, now: Time) {
        self.by_id.retain(|_, crowd| {
            crowd.getters.retain(|_, last| now.since(*last) < GONE_AFTER);
            !crowd.getters.is_empty()
        });
    }

    /// Notes that this source, which could exchange the content, asks for some of it. Where others exchange it, so will this
    /// one: its question which parts there are is lost or on its way. Where a thousand begin at once most of those are.
    pub(super) fn expect(&mut self, now: Time, id: &ContentId, from: SocketAddr) {
        if self.by_id.get(id).is_some_and(|crowd| !crowd.getters.contains_key(&from)) {
            self.join(now, id, from);
        }
    }

    /// Who is served this content now: the others may get it from them.
    pub(super) fn served(&self, id: &ContentId) -> impl Iterator<Item = SocketAddr> + '_ {
        self.by_id.get(id).into_iter().flat_map(|crowd| crowd.served.keys().copied())
    }

    /// Whether this source is served this content now. Whoever exchanges it with nobody always is. `asks`: it asks for
    /// content, and not only which parts there are.
    pub(super) fn serves(&mut self, now: Time, id: &ContentId, from: SocketAddr, asks: bool) -> bool {
        let of_tree;
        let id = match id {
            ContentId::Tree(root) => {
                of_tree = ContentId::Blake3(*root);
                &of_tree
            }
            id => id,
        };
        let Some(crowd) = self.by_id.get_mut(id).filter(|crowd| crowd.getters.contains_key(&from)) else {
            return true;
        };
        if let Some(served) = crowd.served.get_mut(&from) {
            if asks {
                served.last = now;
            }
            return true;
        }
        if crowd.served.len() >= crowd.room(now) {
            let Some(leaver) = crowd.leaver(now) else {
                crowd.had_to_wait = Some(now);
                return false;
            };
            crowd.served.remove(&leaver);
        }
        crowd.served.insert(from, Served { since: now, last: now, given: 0 });
        true
    }
}

impl Crowds {
    /// Notes that this part was sent to this source, of content that ends at `eof`, where that is known.
    pub(super) fn on_given(&mut self, id: &ContentId, to: SocketAddr, part: Range<u64>, eof: Option<u64>) {
        let Some(crowd) = self.by_id.get_mut(id) else { return };
        crowd.length = eof.or(crowd.length);
        if let Some(served) = crowd.served.get_mut(&to) {
            served.given += part.end - part.start;
        }
        crowd.given.insert(part);
    }

    /// Whether more getters exchange this content than can be served.
    pub(super) fn is_crowded(&self, now: Time, id: &ContentId) -> bool {
        let waited = self.by_id.get(id).and_then(|crowd| crowd.had_to_wait);
        waited.is_some_and(|at| now.since(at) < CROWDED)
    }

    /// What to offer of content of `length` bytes of which everything is here, from byte `from` on, in at most `most` ranges:
    /// while others wait, what nobody was given yet.
    pub(super) fn offer(
        &mut self,
        now: Time,
        id: &ContentId,
        length: u64,
        from: u64,
        most: usize,
    ) -> Option<Parts> {
        if !self.is_crowded(now, id) {
            return None;
        }
        let crowd = self.by_id.get_mut(id)?;
        // The end is always offered: it proves the length.
        let last = length.saturating_sub(1) / UNIT * UNIT;
        if crowd.given.contains(0..last) {
            crowd.given = RangeSet::new();
        }
        let whole = |gap: Range<u64>| gap.start / UNIT * UNIT..gap.end.next_multiple_of(UNIT).min(length);
        let mut offered: RangeSet = crowd.given.gaps(0..length).map(whole).collect();
        offered.insert(last..length);
        Some(Parts::of(&offered, length, from, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    /// So long after enough time for as many to be served as ever are.
    fn at(seconds: u64) -> Time {
        Time::from_millis(10_000 + seconds * 1000)
    }

    const ID: ContentId = ContentId::Blake3([7; 32]);

    fn full() -> Crowds {
        let mut crowds = Crowds::default();
        for n in 0..100 {
            crowds.join(Time::ZERO, &ID, source(n));
        }
        let served = (0..100).filter(|&n| crowds.serves(at(0), &ID, source(n), true)).count();
        assert_eq!(served, MAX_SERVED);
        crowds
    }

    #[test]
    fn who_was_sent_as_much_as_all_of_it_makes_room_at_once() {
        let mut crowds = full();
        crowds.on_given(&ID, source(3), 0..600, Some(1000));
        assert!(!crowds.serves(at(0), &ID, source(99), true), "it is not done");
        crowds.on_given(&ID, source(3), 600..1000, Some(1000));
        assert!(crowds.serves(at(0), &ID, source(3), true), "nobody else has asked");
        assert!(crowds.serves(at(0), &ID, source(99), true));
        assert!(!crowds.serves(at(0), &ID, source(3), true));
        assert!(!crowds.serves(at(0), &ID, source(98), true), "only that one");
    }

    #[test]
    fn of_many_some_are_served_and_stay_so_while_they_ask() {
        let mut crowds = full();
        let tree = ContentId::Tree([7; 32]);
        for n in 0..100 {
            assert_eq!(crowds.serves(at(1), &tree, source(n), true), usize::from(n) < MAX_SERVED, "{n}");
        }
    }

    #[test]
    fn few_are_served_at_first_and_then_more_and_more() {
        let mut crowds = Crowds::default();
        for n in 0..100 {
            crowds.join(at(0), &ID, source(n));
        }
        for (ms, most) in
            [(0, SERVED_AT_FIRST), (250, SERVED_AT_FIRST + 1), (1500, 14), (1999, 15), (9000, MAX_SERVED)]
        {
            let now = at(0) + Duration::from_millis(ms);
            assert_eq!((0..100).filter(|&n| crowds.serves(now, &ID, source(n), true)).count(), most, "{ms}");
        }
    }

    #[test]
    fn who_asks_like_the_others_is_one_of_them_before_it_says_so() {
        let mut crowds = full();
        crowds.expect(at(0), &ID, source(100));
        assert!(!crowds.serves(at(0), &ID, source(100), true));
        assert!(!crowds.serves(at(0), &ContentId::Tree([7; 32]), source(100), true));
        let nobodys = ContentId::Blake3([8; 32]);
        crowds.expect(at(0), &nobodys, source(100));
        assert!(!crowds.by_id.contains_key(&nobodys), "nobody exchanges this");
    }

    #[test]
    fn who_exchanges_nothing_is_always_served() {
        let mut crowds = full();
        assert!((100..200).all(|n| crowds.serves(at(0), &ID, source(n), true)));
        assert!((0..100).all(|n| crowds.serves(at(0), &ContentId::Blake3([8; 32]), source(n), true)));
    }

    #[test]
    fn who_stops_asking_makes_room_and_nobody_stays_for_ever() {
        let mut crowds = full();
        assert!((1..MAX_SERVED as u16).all(|n| crowds.serves(at(1), &ID, source(n), true)));
        assert!(!crowds.serves(at(1), &ID, source(99), true));
        assert!(crowds.serves(at(2), &ID, source(99), true), "the first has stopped");
        for second in 2..9 {
            assert!(crowds.serves(at(second), &ID, source(99), true));
            assert!((1..MAX_SERVED as u16).all(|n| crowds.serves(at(second), &ID, source(n), true)));
            assert!(!crowds.serves(at(second), &ID, source(98), true));
        }
        assert!(crowds.serves(at(10), &ID, source(98), true), "they have had their turn");
        let still = (1..MAX_SERVED as u16).filter(|&n| crowds.by_id[&ID].served.contains_key(&source(n)));
        assert_eq!(still.count(), MAX_SERVED - 2);
    }

    #[test]
    fn while_others_wait_what_nobody_was_given_is_offered() {
        let mut crowds = full();
        let length = 1 << 20;
        let last = length - UNIT;
        assert_eq!(crowds.offer(at(1), &ID, length, 0, 9).unwrap(), Parts::whole(length, 0));
        crowds.on_given(&ID, source(0), 100..last, Some(length));
        assert_eq!(crowds.offer(at(1), &ID, length, 0, 9).unwrap().ranges, [0..UNIT, last..length]);
        assert_eq!(crowds.offer(at(6), &ID, length, 0, 9), None, "nobody waits any more");
        assert!(!crowds.serves(at(1), &ID, source(99), true));
        crowds.on_given(&ID, source(0), 0..100, Some(length));
        assert_eq!(crowds.offer(at(1), &ID, length, 0, 9).unwrap(), Parts::whole(length, 0), "all of it was");
    }

    #[test]
    fn who_has_gone_is_forgotten() {
        let mut crowds = full();
        let other = ContentId::Blake3([8; 32]);
        crowds.join(at(50), &ID, source(7));
        crowds.join(at(70), &other, source(8));
        assert_eq!(crowds.by_id[&ID].getters.keys().copied().collect::<Vec<_>>(), [source(7)]);
        crowds.join(at(131), &other, source(8));
        assert_eq!(crowds.by_id.keys().collect::<Vec<_>>(), [&other]);
    }

    #[test]
    fn a_flood_of_askers_and_contents_takes_little_memory() {
        let mut crowds = Crowds::default();
        for n in 0..20_000u32 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_le_bytes());
            crowds.join(at(0), &ContentId::Blake3(hash), source(1));
            crowds.join(at(0), &ID, SocketAddr::from((n.to_le_bytes(), 1)));
        }
        assert!(crowds.by_id.len() <= MAX_CONTENTS);
        assert!(crowds.by_id.values().all(|crowd| crowd.getters.len() <= MAX_GETTERS));
    }
}
