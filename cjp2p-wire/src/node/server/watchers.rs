//! Who waits to hear what a name stands for next: a bounded table, each for a bounded time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::peers::address::host_of;
use crate::signed::PointerId;
use crate::time::Time;

/// Sources that wait, each for one name. Whoever finds no place asks again in a minute.
pub(crate) const MAX_WATCHERS: usize = 1024;
/// Of one [host](host_of).
const MAX_OF_HOST: usize = 32;
/// News is told again after these times, since it may be lost: until the source asks for what comes after it.
const TELL_AGAIN: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(1500)];

type Key = (SocketAddr, PointerId);

#[derive(Debug)]
struct Watcher {
    /// Only what has a greater number is news.
    after: u64,
    until: Time,
    /// How often it was told what is news.
    told: usize,
    /// Its place in the schedule.
    at: Time,
}

/// A source that is to be told now, if there is news.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) to: SocketAddr,
    pub(super) id: PointerId,
    pub(super) after: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Watchers {
    // Invariant: at most `MAX_WATCHERS`.
    by_key: BTreeMap<Key, Watcher>,
    // Invariant: the same, by `at`.
    schedule: BTreeSet<(Time, Key)>,
    // Invariant: how many each host has, if any.
    of_hosts: BTreeMap<IpAddr, usize>,
}

impl Watchers {
    /// A source asks for what comes after this number, and waits for it for so long. What it had asked about the name before is over.
    pub(super) fn ask(&mut self, now: Time, from: SocketAddr, id: &PointerId, after: u64, wait: Duration) {
        let key = (from, id.clone());
        self.remove(&key);
        let of_host = self.of_hosts.get(&host_of(from)).copied().unwrap_or(0);
        if wait.is_zero() || self.by_key.len() >= MAX_WATCHERS || of_host >= MAX_OF_HOST {
            return;
        }
        *self.of_hosts.entry(host_of(from)).or_default() += 1;
        let until = now + wait;
        self.schedule.insert((until, key.clone()));
        self.by_key.insert(key, Watcher { after, until, told: 0, at: until });
    }

    /// A source asks about the name and does not want to wait.
    pub(super) fn forget(&mut self, from: SocketAddr, id: &PointerId) {
        if !self.by_key.is_empty() {
            self.remove(&(from, id.clone()));
        }
    }

    fn remove(&mut self, key: &Key) {
        let Some(watcher) = self.by_key.remove(key) else { return };
        self.schedule.remove(&(watcher.at, key.clone()));
        let host = host_of(key.0);
        if let Some(count) = self.of_hosts.get_mut(&host) {
            *count -= 1;
            if *count == 0 {
                self.of_hosts.remove(&host);
            }
        }
    }

    fn schedule(&mut self, key: &Key, at: Time) {
        if let Some(watcher) = self.by_key.get_mut(key) {
            self.schedule.remove(&(watcher.at, key.clone()));
            watcher.at = at;
            self.schedule.insert((at, key.clone()));
        }
    }

    /// There may be news of this name, and of all below it: whoever waits for that is due.
    pub(super) fn wake(&mut self, now: Time, id: &PointerId) {
        let is_of = |(_, other): &Key| {
            other.key == id.key && (other.name == id.name || other.name.below(&id.name).is_some())
        };
        let woken: Vec<Key> = self.by_key.keys().filter(|key| is_of(key)).cloned().collect();
        woken.iter().for_each(|key| self.schedule(key, now));
    }

    /// The next that is to be told now. It stays, and is told again in a while, unless it asks for what comes after that or has been
    /// told often enough.
    pub(super) fn next(&mut self, now: Time) -> Option<Due> {
        loop {
            let (at, key) = self.schedule.first()?.clone();
            if at > now {
                return None;
            }
            let Some(watcher) = self.by_key.get_mut(&key) else {
                self.schedule.pop_first();
                continue;
            };
            if watcher.until <= now {
                self.remove(&key);
                continue;
            }
            let due = Due { to: key.0, id: key.1.clone(), after: watcher.after };
            let again = TELL_AGAIN.get(watcher.told).copied();
            watcher.told += 1;
            match again {
                Some(pause) => self.schedule(&key, now + pause),
                None => self.remove(&key),
            }
            return Some(due);
        }
    }

    /// There was no news after all for one that [`Watchers::next`] gave: it waits on.
    pub(super) fn wait_on(&mut self, due: &Due) {
        let key = (due.to, due.id.clone());
        if let Some(watcher) = self.by_key.get_mut(&key) {
            watcher.told = 0;
            let until = watcher.until;
            self.schedule(&key, until);
        }
    }

    /// When somebody is due.
    pub(super) fn next_at(&self) -> Time {
        self.schedule.first().map_or(Time::NEVER, |(at, _)| *at)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of;

    const HOUR: Duration = Duration::from_secs(3600);

    fn id(name: &str) -> PointerId {
        PointerId::parse(&format!("latest/{}/{name}", "ab".repeat(32))).unwrap()
    }

    fn told(watchers: &mut Watchers, now: Time) -> Vec<(SocketAddr, u64)> {
        std::iter::from_fn(|| watchers.next(now)).map(|due| (due.to, due.after)).collect()
    }

    #[test]
    fn news_is_told_to_whoever_waits_for_the_name_or_for_one_below_it_and_told_again() {
        let mut watchers = Watchers::default();
        for (port, name) in [(1, "site"), (2, "site/a"), (3, "site2"), (4, "sit")] {
            watchers.ask(Time::ZERO, port_of(1, port), &id(name), 7, HOUR);
        }
        assert_eq!(told(&mut watchers, Time::from_millis(5)), []);
        watchers.wake(Time::from_millis(5), &id("site"));
        let both = [(port_of(1, 1), 7), (port_of(1, 2), 7)];
        assert_eq!(told(&mut watchers, Time::from_millis(5)), both);
        assert_eq!(watchers.next_at(), Time::from_millis(505));
        // One of them heard it, and waits for what comes next.
        watchers.ask(Time::from_millis(100), port_of(1, 1), &id("site"), 8, HOUR);
        assert_eq!(told(&mut watchers, Time::from_millis(505)), both[1..]);
        assert_eq!(told(&mut watchers, Time::from_millis(2005)), both[1..]);
        assert_eq!(told(&mut watchers, Time::from_millis(60_000)), []);
        assert_eq!(watchers.len(), 3, "who never says that it heard it is forgotten");
    }

    #[test]
    fn who_was_woken_for_nothing_waits_on_and_nobody_waits_for_ever() {
        let mut watchers = Watchers::default();
        watchers.ask(Time::ZERO, port_of(1, 1), &id("a"), 7, Duration::from_secs(9));
        watchers.wake(Time::from_millis(1), &id("a"));
        let due = watchers.next(Time::from_millis(1)).unwrap();
        watchers.wait_on(&due);
        assert_eq!((watchers.next_at(), watchers.len()), (Time::from_millis(9000), 1));
        assert_eq!(watchers.next(Time::from_millis(9000)), None);
        assert_eq!((watchers.next_at(), watchers.len()), (Time::NEVER, 0));
        watchers.ask(Time::ZERO, port_of(1, 1), &id("a"), 7, Duration::from_secs(9));
        watchers.forget(port_of(1, 1), &id("a"));
        assert_eq!(watchers.len(), 0);
    }

    #[test]
    fn a_host_has_few_places_and_all_have_no_more_than_the_limit() {
        let mut watchers = Watchers::default();
        for port in 1..1000 {
            watchers.ask(Time::ZERO, port_of(1, port), &id("a"), 7, HOUR);
        }
        assert_eq!(watchers.len(), MAX_OF_HOST);
        for host in 0..=255 {
            for n in 0..8 {
                watchers.ask(Time::ZERO, port_of(host, 9), &id(&format!("n{n}")), 7, HOUR);
            }
        }
        assert_eq!(watchers.len(), MAX_WATCHERS);
        watchers.ask(Time::ZERO, port_of(1, 1), &id("a"), 8, HOUR);
        assert_eq!(watchers.len(), MAX_WATCHERS, "one that is there may ask again");
        told(&mut watchers, Time::ZERO + HOUR);
        assert!(watchers.of_hosts.is_empty() && watchers.schedule.is_empty());
    }
}
