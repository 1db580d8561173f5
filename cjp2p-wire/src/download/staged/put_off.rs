//! `PutOff`: sources whose attempt brought nothing, so that others have their turn first.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::download::sources::Sources;

/// Sources that were put off are forgotten from this number on, but for those that are sources yet.
pub(in crate::download) const MAX_SET_ASIDE: usize = 1024;

/// Such sources.
#[derive(Debug, Default)]
pub(super) struct PutOff {
    // Invariant: at most `MAX_SET_ASIDE`, but for those that are sources yet.
    sources: BTreeSet<SocketAddr>,
}

impl PutOff {
    pub(super) fn len(&self) -> usize {
        self.sources.len()
    }

    pub(super) fn has(&self, source: SocketAddr) -> bool {
        self.sources.contains(&source)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.sources.iter().copied()
    }

    /// Puts off these too, and forgets some where there are too many.
    pub(super) fn extend(&mut self, put_off: impl IntoIterator<Item = SocketAddr>, sources: &Sources) {
        self.sources.extend(put_off);
        if self.sources.len() > MAX_SET_ASIDE {
            self.sources.retain(|&address| sources.has(address));
        }
    }

    /// Those that were put off earlier have their turn again: only these have not.
    pub(super) fn replace(&mut self, put_off: impl IntoIterator<Item = SocketAddr>) {
        self.sources = put_off.into_iter().collect();
    }

    pub(super) fn clear(&mut self) {
        self.sources.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn source(n: usize) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 24254))
    }

    #[test]
    fn of_sources_that_come_and_go_few_are_remembered_as_put_off_and_those_that_are_there_always() {
        let (mut put_off, mut sources) = (PutOff::default(), Sources::new());
        for n in 0..8 {
            sources.add(Time::ZERO, source(n), false);
        }
        put_off.extend((0..8).map(source), &sources);
        for n in 8..3 * MAX_SET_ASIDE {
            put_off.extend([source(n)], &sources);
            assert!(put_off.len() <= MAX_SET_ASIDE, "{} after {n}", put_off.len());
            assert!((0..8).all(|n| put_off.has(source(n))));
        }
    }
}
