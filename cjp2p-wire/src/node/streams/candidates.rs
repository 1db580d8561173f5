//! Peers that may have a stream and were not asked yet, or were of no use for now.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::source::NamedBy;
use crate::peers::neighbourhoods::Neighbourhoods;
use crate::time::Time;

/// Peers of one view that wait to be asked.
pub(crate) const MAX_CANDIDATES: usize = 128;
/// Peers that are remembered because they were of no use lately.
const MAX_RESTING: usize = 128;
/// The pause from one to the next: of those that the owner of the node knows, and of those that peers named.
const KNOWN_PAUSE: Duration = Duration::from_millis(25);
const NAMED_PAUSE: Duration = Duration::from_millis(125);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Candidates {
    // Invariant: at most `MAX_CANDIDATES`, each address once.
    waiting: VecDeque<(SocketAddr, NamedBy)>,
    // Invariant: at most `MAX_RESTING`.
    resting: BTreeMap<SocketAddr, Time>,
    neighbourhoods: Neighbourhoods,
    next_at: Time,
}

impl Candidates {
    /// Notes one. Those that peers name come first: they were named for this stream just now.
    pub(super) fn add(&mut self, now: Time, address: SocketAddr, named_by: NamedBy) {
        let is_resting = self.resting.get(&address).is_some_and(|until| *until > now);
        let is_waiting = self.waiting.iter().any(|(other, _)| *other == address);
        if is_waiting || (is_resting && named_by != NamedBy::User) {
            return;
        }
        if self.waiting.len() >= MAX_CANDIDATES {
            self.waiting.pop_back();
        }
        match named_by {
            NamedBy::Known => self.waiting.push_back((address, named_by)),
            NamedBy::User | NamedBy::Peer => self.waiting.push_front((address, named_by)),
        }
    }

    /// Leaves one alone until then, however often it is named.
    pub(super) fn rest(&mut self, now: Time, address: SocketAddr, until: Time) {
        self.waiting.retain(|(other, _)| *other != address);
        self.resting.retain(|_, until| *until > now);
        if self.resting.len() < MAX_RESTING {
            self.resting.insert(address, until);
        }
    }

    /// The next that may be asked now; sooner where something `hurries`.
    pub(super) fn next(&mut self, now: Time, hurries: bool) -> Option<(SocketAddr, NamedBy)> {
        if now < self.next_at {
            return None;
        }
        let may = |&(address, named_by): &(SocketAddr, NamedBy)| {
            named_by != NamedBy::Peer || self.neighbourhoods.open_at(address) <= now
        };
        let at = self.waiting.iter().position(may)?;
        let (address, named_by) = self.waiting.remove(at)?;
        if named_by == NamedBy::Peer {
            self.neighbourhoods.disturb(now, address);
        }
        self.next_at = now + if named_by == NamedBy::Peer && !hurries { NAMED_PAUSE } else { KNOWN_PAUSE };
        Some((address, named_by))
    }

    /// When the next may be asked, if any waits.
    pub(super) fn next_at(&self) -> Time {
        let open = self.waiting.iter().map(|&(address, named_by)| match named_by {
            NamedBy::Peer => self.neighbourhoods.open_at(address),
            NamedBy::User | NamedBy::Known => Time::ZERO,
        });
        open.min().map_or(Time::NEVER, |open| open.max(self.next_at))
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of;

    #[test]
    fn those_that_peers_name_come_first_and_not_too_fast() {
        let mut all = Candidates::default();
        all.add(Time::ZERO, port_of(1, 1), NamedBy::Known);
        all.add(Time::ZERO, port_of(2, 1), NamedBy::Peer);
        all.add(Time::ZERO, port_of(2, 1), NamedBy::Peer);
        assert_eq!(all.len(), 2);
        assert_eq!(all.next(Time::ZERO, false), Some((port_of(2, 1), NamedBy::Peer)));
        assert_eq!(all.next(Time::from_millis(124), false), None);
        assert_eq!(all.next_at(), Time::from_millis(125));
        assert_eq!(all.next(Time::from_millis(125), false), Some((port_of(1, 1), NamedBy::Known)));
        assert_eq!(all.next_at(), Time::NEVER);
    }

    #[test]
    fn one_that_was_of_no_use_is_left_alone_for_a_while_and_there_is_a_limit() {
        let mut all = Candidates::default();
        all.add(Time::ZERO, port_of(1, 1), NamedBy::Peer);
        all.rest(Time::ZERO, port_of(1, 1), Time::from_millis(1000));
        assert_eq!(all.len(), 0);
        all.add(Time::from_millis(999), port_of(1, 1), NamedBy::Peer);
        assert_eq!(all.len(), 0);
        all.add(Time::from_millis(1000), port_of(1, 1), NamedBy::Peer);
        assert_eq!(all.len(), 1);
        for port in 1..1000 {
            all.add(Time::from_millis(1000), port_of(2, port), NamedBy::Known);
            all.rest(Time::from_millis(1000), port_of(3, port), Time::from_millis(5000));
        }
        assert_eq!((all.len(), all.resting.len()), (MAX_CANDIDATES, MAX_RESTING));
    }
}
