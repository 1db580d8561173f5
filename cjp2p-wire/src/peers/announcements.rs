//! Which ids to announce to the Mainline DHT, and when: a bounded list, worked off at a bounded pace.
//!
//! An announcement costs about a hundred datagrams, and the nodes that take it forget it after half an hour. So a node can
//! keep only a limited number of ids announced: first what the user named, then what is asked for most, and of that the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Time;

/// A place in the key space of the DHT.
pub type Key = [u8; 20];

/// An announcement is made again after this time. Nodes of the DHT keep one for about 30 minutes.
pub const AGAIN_AFTER: Duration = Duration::from_secs(15 * 60);
/// From one announcement to the next.
pub const PACE: Duration = Duration::from_secs(2);
/// Keys that are kept announced: what fits [`AGAIN_AFTER`] at [`PACE`].
pub const MOST: usize = (AGAIN_AFTER.as_secs() / PACE.as_secs()) as usize;
/// A key counts as asked for at most this often.
const MOST_ASKED: u32 = 1 << 16;

/// How much a key is worth announcing: whether the user named it, how often it was asked for, then how recently it was shared.
type Rank = (bool, u32, u64);

#[derive(Clone, Copy, Debug)]
struct Entry {
    is_named: bool,
    asked: u32,
    /// Larger for keys that were shared later.
    shared: u64,
    due: Time,
}

impl Entry {
    fn rank(&self) -> Rank {
        (self.is_named, self.asked, self.shared)
    }
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Announcements {
    entries: BTreeMap<Key, Entry>,
    ranks: BTreeSet<(Rank, Key)>,
    /// When each is due. The rank is reversed: of keys due at the same time the highest comes first.
    schedule: BTreeSet<(Time, std::cmp::Reverse<Rank>, Key)>,
    shared: u64,
    next_at: Time,
}

impl Announcements {
    /// Adds a key that is shared from now on.
    pub fn share(&mut self, key: Key) {
        self.add(key, false);
    }

    /// Adds a key that the user named: a torrent, who publishes. None that is only [shared](Announcements::share) pushes it out.
    pub fn share_named(&mut self, key: Key) {
        self.add(key, true);
    }

    fn add(&mut self, key: Key, is_named: bool) {
        if self.entries.get(&key).is_some_and(|entry| entry.is_named >= is_named) {
            return;
        }
        let new = Entry { is_named, asked: 0, shared: self.shared + 1, due: Time::ZERO };
        let entry = self.take(&key).map_or(new, |entry| Entry { is_named, ..entry });
        self.shared += 1;
        self.insert(key, entry);
    }

    /// Removes a key that is shared no more. The DHT forgets it by itself.
    pub fn withdraw(&mut self, key: &Key) {
        self.take(key);
    }

    /// Notes that a shared key was asked for.
    pub fn asked(&mut self, key: Key) {
        let mut entry = match self.take(&key) {
            Some(entry) => entry,
            // It was pushed out, or never had room.
            None => Entry { is_named: false, asked: 0, shared: 0, due: Time::ZERO },
        };
        entry.asked = (entry.asked + 1).min(MOST_ASKED);
        self.insert(key, entry);
    }

    /// When the next announcement is due; [`Time::NEVER`] without any.
    pub fn due(&self) -> Time {
        self.schedule.first().map_or(Time::NEVER, |(at, ..)| self.next_at.max(*at))
    }

    /// The key to announce now. It is due again after [`AGAIN_AFTER`], and counts as asked for half as often.
    pub fn next(&mut self, now: Time) -> Option<Key> {
        if self.due() > now {
            return None;
        }
        let key = self.schedule.first()?.2;
        let mut entry = self.take(&key)?;
        self.next_at = now + PACE;
        entry.due = now + AGAIN_AFTER;
        entry.asked /= 2;
        self.insert(key, entry);
        Some(key)
    }

    /// How many keys are kept announced.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to announce.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn take(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.ranks.remove(&(entry.rank(), *key));
        self.schedule.remove(&(entry.due, std::cmp::Reverse(entry.rank()), *key));
        Some(entry)
    }

    /// Adds an entry. If there is no more room, the one that is worth least goes.
    fn insert(&mut self, key: Key, entry: Entry) {
        self.entries.insert(key, entry);
        self.ranks.insert((entry.rank(), key));
        self.schedule.insert((entry.due, std::cmp::Reverse(entry.rank()), key));
        if self.entries.len() > MOST
            && let Some((_, least)) = self.ranks.first().copied()
        {
            self.take(&least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> Key {
        let mut key = [0; 20];
        key[..4].copy_from_slice(&n.to_be_bytes());
        key
    }

    /// All that is announced until `end`, with the times.
    fn run(announcements: &mut Announcements, from: Time, end: Time) -> Vec<(Time, Key)> {
        let mut made = Vec::new();
        let mut now = from;
        while announcements.due().max(now) <= end {
            now = announcements.due().max(now);
            made.push((now, announcements.next(now).expect("it is due")));
        }
        made
    }

    #[test]
    fn the_newest_come_first_at_a_steady_pace_and_again_before_they_are_forgotten() {
        let mut announcements = Announcements::default();
        for n in 0..3 {
            announcements.share(key(n));
        }
        let made = run(&mut announcements, Time::ZERO, Time::ZERO + AGAIN_AFTER);
        let keys: Vec<Key> = made.iter().map(|(_, key)| *key).collect();
        assert_eq!(keys, [key(2), key(1), key(0), key(2)]);
        assert!(made.windows(2).all(|two| two[1].0.since(two[0].0) >= PACE));
        assert_eq!(made[3].0.since(made[0].0), AGAIN_AFTER);
        // To be told again of what is shared already changes nothing.
        announcements.share(key(1));
        assert_eq!(announcements.len(), 3);
    }

    #[test]
    fn what_does_not_fit_is_what_nobody_asked_for_and_is_oldest() {
        let mut announcements = Announcements::default();
        let most = MOST as u32;
        for n in 0..most {
            announcements.share(key(n));
        }
        announcements.asked(key(0));
        announcements.share(key(most));
        announcements.share(key(most + 1));
        assert_eq!(announcements.len(), MOST);
        let made = run(&mut announcements, Time::ZERO, Time::ZERO + AGAIN_AFTER - PACE);
        let keys: BTreeSet<Key> = made.iter().map(|(_, key)| *key).collect();
        assert_eq!((made[0].1, keys.len()), (key(0), MOST), "asked for, so before the newest");
        assert!(!keys.contains(&key(1)) && !keys.contains(&key(2)) && keys.contains(&key(3)));
        // Who is asked for after it was pushed out comes back.
        announcements.asked(key(1));
        assert_eq!(announcements.len(), MOST);
        assert_eq!(announcements.next(Time::ZERO + AGAIN_AFTER), Some(key(1)));
    }

    #[test]
    fn what_the_user_named_comes_first_and_is_not_pushed_out_by_what_was_not() {
        let mut announcements = Announcements::default();
        announcements.share(key(1));
        announcements.share_named(key(0));
        announcements.share_named(key(1));
        for n in 2..3 * MOST as u32 {
            announcements.share(key(n));
            announcements.asked(key(n));
        }
        assert_eq!(announcements.len(), MOST);
        let first = [Time::ZERO, Time::ZERO + PACE].map(|now| announcements.next(now));
        assert!(first.contains(&Some(key(0))) && first.contains(&Some(key(1))), "{first:?}");
        // To be told of again as one of many takes nothing from it.
        announcements.share(key(0));
        (0..MOST as u32).for_each(|n| announcements.asked(key(9999 + n)));
        assert!(announcements.entries.contains_key(&key(0)));
    }

    #[test]
    fn what_is_withdrawn_is_not_announced() {
        let mut announcements = Announcements::default();
        announcements.share(key(1));
        announcements.withdraw(&key(1));
        announcements.withdraw(&key(2));
        assert!(announcements.is_empty() && announcements.due() == Time::NEVER);
        assert_eq!(announcements.next(Time::ZERO + AGAIN_AFTER), None);
    }

    #[test]
    fn every_key_that_is_kept_is_announced_in_each_period_whatever_happens_meanwhile() {
        let mut announcements = Announcements::default();
        let mut random = fastrand::Rng::with_seed(7);
        for n in 0..MOST as u32 {
            announcements.share(key(n));
        }
        let mut last: BTreeMap<Key, Time> = BTreeMap::new();
        let mut now = Time::ZERO;
        for _ in 0..20 * MOST {
            now = announcements.due().max(now);
            let key = announcements.next(now).expect("it is due");
            if let Some(before) = last.insert(key, now) {
                let waited = now.since(before);
                assert!(waited >= AGAIN_AFTER && waited < AGAIN_AFTER * 2, "{waited:?}");
            }
            announcements.asked(self::key(random.u32(0..MOST as u32)));
        }
        assert_eq!(last.len(), MOST);
    }
}
