//! Who was given how much of what: for people who want to know what goes on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::store::Read;

/// Ids, and hosts, of which it is known how much was given: beside these, the one with least makes way for a new one.
pub(crate) const MAX_KEPT: usize = 256;

/// Bytes by key.
#[derive(Debug)]
struct Tally<K> {
    // Invariant: at most `MAX_KEPT`.
    bytes: BTreeMap<K, u64>,
}

impl<K> Default for Tally<K> {
    fn default() -> Tally<K> {
        Tally { bytes: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Tally<K> {
    fn add(&mut self, key: &K, bytes: u64) {
        if let Some(sum) = self.bytes.get_mut(key) {
            *sum += bytes;
            return;
        }
        if self.bytes.len() >= MAX_KEPT {
            let least = self.bytes.iter().min_by_key(|(_, bytes)| **bytes).map(|(key, _)| key.clone());
            if let Some(key) = least {
                self.bytes.remove(&key);
            }
        }
        self.bytes.insert(key.clone(), bytes);
    }

    fn most(&self, count: usize) -> Vec<(&K, u64)> {
        let mut all: Vec<(&K, u64)> = self.bytes.iter().map(|(key, bytes)| (key, *bytes)).collect();
        all.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        all.truncate(count);
        all
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Given {
    of_ids: Tally<ContentId>,
    to_hosts: Tally<IpAddr>,
    /// Reads that gave something.
    pub(crate) reads: u64,
    /// Reads that had to wait for a disk.
    pub(crate) waits: u64,
    /// Reads of what is not here.
    pub(crate) absent: u64,
}

impl Given {
    /// A host asked for some content, and that came of it: so many bytes, if any.
    pub(crate) fn note(&mut self, host: &IpAddr, id: &ContentId, read: &Read, bytes: usize) {
        match read {
            Read::Found { .. } => {
                self.reads += 1;
                self.of_ids.add(id, bytes as u64);
                self.to_hosts.add(host, bytes as u64);
            }
            Read::Later => self.waits += 1,
            Read::Absent => self.absent += 1,
        }
    }

    /// Those ids of which most was given, at most `count`, with how many bytes.
    pub(crate) fn of_ids(&self, count: usize) -> Vec<(&ContentId, u64)> {
        self.of_ids.most(count)
    }

    /// Those hosts to which most was given. Of IPv6, the networks of 64 bits.
    pub(crate) fn to_hosts(&self, count: usize) -> Vec<(&IpAddr, u64)> {
        self.to_hosts.most(count)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn those_with_most_stay_however_many_come() {
        let mut given = Given::default();
        let host = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        let id = |n: u32| ContentId::parse(&format!("file-{n}")).unwrap();
        for n in 0..10_000 {
            given.note(&host(n), &id(n), &Read::Found { eof: None }, 1);
            given.note(&host(7), &id(8), &Read::Found { eof: None }, 1000);
        }
        assert_eq!((given.of_ids.bytes.len(), given.to_hosts.bytes.len()), (MAX_KEPT, MAX_KEPT));
        assert_eq!(given.to_hosts(2)[0], (&host(7), 10_000_001));
        assert_eq!(given.of_ids(1), [(&id(8), 10_000_001)]);
        given.note(&host(7), &id(1), &Read::Later, 0);
        given.note(&host(7), &id(1), &Read::Absent, 0);
        assert_eq!((given.reads, given.waits, given.absent), (20_000, 1, 1));
    }
}
