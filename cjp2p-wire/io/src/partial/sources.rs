//! Who sent some of a content lately: asked first when an interrupted fetch goes on.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cjp2p_wire::peers::address::{self, Scope};

/// So many are remembered with one download.
pub const MAX_SOURCES: usize = 16;

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// When each was last known to send, in milliseconds since 1970. Invariant: at most [`MAX_SOURCES`], all addresses that a
    /// peer can have.
    seen: BTreeMap<SocketAddr, u64>,
}

impl Sources {
    /// Notes that these send some of it at `now_ms`; of more than fit the first count. Who was seen longest ago makes room.
    /// Returns whether there is anybody new.
    pub fn note(&mut self, sending: &[SocketAddr], now_ms: u64) -> bool {
        let sending = &sending[..sending.len().min(MAX_SOURCES)];
        let mut new = false;
        for &address in sending {
            new |= self.seen.insert(address, now_ms).is_none();
        }
        while self.seen.len() > MAX_SOURCES {
            let others = self.seen.iter().filter(|(address, _)| !sending.contains(address));
            let Some((&oldest, _)) = others.min_by_key(|(_, seen)| **seen) else { break };
            self.seen.remove(&oldest);
        }
        new
    }

    /// Forgets one that is not worth asking again. Returns whether it was there.
    pub fn forget(&mut self, address: SocketAddr) -> bool {
        self.seen.remove(&address).is_some()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// All, and when each was last seen, in milliseconds since 1970.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, u64)> {
        self.seen.iter().map(|(&address, &seen)| (address, seen))
    }

    /// What they are called in a record.
    pub fn spelled(&self) -> BTreeMap<String, u64> {
        self.iter().map(|(address, seen)| (address.to_string(), seen)).collect()
    }

    /// Those of `spelled` that are addresses of peers.
    pub fn read(spelled: &BTreeMap<String, u64>) -> Sources {
        let mut sources = Sources::default();
        let mut read: Vec<(u64, SocketAddr)> = (spelled.iter())
            .filter_map(|(text, &seen)| Some((seen, address::parse(text).ok()?)))
            .filter(|(_, address)| Scope::of(*address) != Scope::Unusable)
            .collect();
        read.sort();
        for (seen, address) in read {
            sources.note(&[address], seen);
        }
        sources
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(n: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, n], 24254))
    }

    #[test]
    fn who_sent_last_is_remembered_and_no_more_than_sixteen() {
        let mut sources = Sources::default();
        assert!(sources.note(&[a(1), a(2)], 10));
        assert!(!sources.note(&[a(2)], 20));
        let many: Vec<SocketAddr> = (10..100).map(a).collect();
        assert!(sources.note(&many[..15], 30));
        assert_eq!(sources.iter().count(), MAX_SOURCES);
        assert_eq!(sources.iter().find(|(_, seen)| *seen < 30), Some((a(2), 20)));
        assert!(sources.note(&many, 5), "whatever the clock says, it is now");
        assert_eq!(sources.iter().map(|(address, _)| address).collect::<Vec<_>>(), many[..16]);
        assert!(sources.forget(many[0]) && !sources.forget(many[0]));
    }

    #[test]
    fn what_is_no_address_of_a_peer_is_passed_over() {
        let mut spelled =
            BTreeMap::from([("nowhere".into(), 1), ("224.0.0.1:5".into(), 2), (String::new(), 3)]);
        assert!(Sources::read(&spelled).is_empty());
        spelled.extend((1..=200).map(|n| (a(n).to_string(), u64::from(n))));
        let sources = Sources::read(&spelled);
        assert_eq!(sources.iter().map(|(_, seen)| seen).collect::<Vec<_>>(), (185..=200).collect::<Vec<_>>());
        assert_eq!(Sources::read(&sources.spelled()), sources);
    }
}
