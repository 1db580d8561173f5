//! Whom to serve of many who fetch the same, and exchange it among themselves.
//!
//! A thousand getters that ask one origin at once would each get a thousandth of its uplink: none would have anything to
//! pass on before the origin had sent a thousand parts. So only some of them are served at a time, quickly, and the others
//! are told that nothing is here for them now; they get it from those. It concerns only who asks which parts there are,
//! since only these know of each other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::content_id::ContentId;
use crate::time::Time;

/// Getters that exchange a content and are served it at a time. More than a fetch exchanges parts with, so that it
/// concerns hardly anybody but an origin.
pub(crate) const MAX_SERVED: usize = 20;
/// Who has not asked for so long makes room.
pub(crate) const LAPSE: Duration = Duration::from_secs(2);
/// While others wait, one is served for so long.
pub(crate) const TENURE: Duration = Duration::from_secs(10);
/// Contents of which this is remembered.
const MAX_CONTENTS: usize = 256;
/// Getters of one content that are remembered.
const MAX_GETTERS: usize = 4096;

/// Those who exchange one content.
#[derive(Debug, Default)]
struct Crowd {
    // Invariant: at most `MAX_SERVED`.
    served: BTreeMap<SocketAddr, Served>,
    /// Who asked which parts there are, and when.
    getters: BTreeMap<SocketAddr, Time>,
    last: Time,
}

#[derive(Clone, Copy, Debug)]
struct Served {
    since: Time,
    last: Time,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Crowds {
    by_id: BTreeMap<ContentId, Crowd>,
}

impl Crowds {
    /// Notes that this source exchanges the content with others.
    pub(super) fn join(&mut self, now: Time, id: &ContentId, from: SocketAddr) {
        if !self.by_id.contains_key(id) && self.by_id.len() >= MAX_CONTENTS {
            let stalest = self.by_id.iter().min_by_key(|(_, crowd)| crowd.last).map(|(id, _)| id.clone());
            self.by_id.remove(&stalest.unwrap_or_else(|| id.clone()));
        }
        let crowd = self.by_id.entry(id.clone()).or_default();
        crowd.last = now;
        if crowd.getters.len() >= MAX_GETTERS {
            // They are noted again when they ask again.
            crowd.getters.clear();
        }
        crowd.getters.insert(from, now);
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
        if crowd.served.len() >= MAX_SERVED {
            let over = |served: &Served| now.since(served.last) >= LAPSE || now.since(served.since) >= TENURE;
            let longest = crowd.served.iter().filter(|(_, served)| over(served)).min_by_key(|(_, s)| s.since);
            let Some((&longest, _)) = longest else { return false };
            crowd.served.remove(&longest);
        }
        crowd.served.insert(from, Served { since: now, last: now });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], n))
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    const ID: ContentId = ContentId::Blake3([7; 32]);

    fn full() -> Crowds {
        let mut crowds = Crowds::default();
        for n in 0..100 {
            crowds.join(at(0), &ID, source(n));
        }
        let served = (0..100).filter(|&n| crowds.serves(at(0), &ID, source(n), true)).count();
        assert_eq!(served, MAX_SERVED);
        crowds
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
            assert!((1..MAX_SERVED as u16).all(|n| crowds.serves(at(second), &ID, source(n), true)));
            assert!(!crowds.serves(at(second), &ID, source(98), true));
        }
        assert!(crowds.serves(at(10), &ID, source(98), true), "they have had their turn");
        let still = (1..MAX_SERVED as u16).filter(|&n| crowds.by_id[&ID].served.contains_key(&source(n)));
        assert_eq!(still.count(), MAX_SERVED - 2);
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
