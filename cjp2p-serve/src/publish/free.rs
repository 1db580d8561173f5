//! Which parts of a file are free to be used again.

use std::collections::BTreeMap;

/// Room is given in units of so many bytes.
const UNIT: u64 = 4096;

/// See the [module](self).
///
/// Invariant: the free parts lie before `end`, none touches another, and each is a number of whole units.
#[derive(Debug, Default)]
pub(super) struct Free {
    /// Length by start.
    parts: BTreeMap<u64, u64>,
    end: u64,
}

impl Free {
    /// Takes room for `length` bytes, and says where it is.
    pub(super) fn take(&mut self, length: u64) -> u64 {
        let length = length.next_multiple_of(UNIT);
        let found = self.parts.iter().find(|(_, free)| **free >= length).map(|(at, free)| (*at, *free));
        let Some((at, free)) = found else {
            self.end += length;
            return self.end - length;
        };
        self.parts.remove(&at);
        if free > length {
            self.parts.insert(at + length, free - length);
        }
        at
    }

    /// Gives back the room for `length` bytes at `at`.
    pub(super) fn give(&mut self, mut at: u64, length: u64) {
        let mut length = length.next_multiple_of(UNIT);
        if length == 0 {
            return;
        }
        if let Some(next) = self.parts.remove(&(at + length)) {
            length += next;
        }
        let before = self.parts.range(..at).next_back().map(|(start, free)| (*start, *free));
        if let Some((start, free)) = before
            && start + free == at
        {
            self.parts.remove(&start);
            (at, length) = (start, free + length);
        }
        if at + length == self.end {
            self.end = at;
        } else {
            self.parts.insert(at, length);
        }
    }

    /// Where the used part of the file ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The model is a list of what is taken.
        #[test]
        fn no_room_is_given_twice_and_all_is_given_back(steps in prop::collection::vec((0u64..20_000, any::<bool>(), any::<prop::sample::Index>()), 1..60)) {
            let (mut free, mut taken) = (Free::default(), Vec::<(u64, u64)>::new());
            for (length, is_back, which) in steps {
                if is_back && !taken.is_empty() {
                    let (at, length) = taken.swap_remove(which.index(taken.len()));
                    free.give(at, length);
                } else {
                    let at = free.take(length);
                    let ends_before = |other: &(u64, u64), at: u64| other.0 + other.1 <= at;
                    prop_assert!(taken.iter().all(|other| ends_before(other, at) || at + length <= other.0));
                    taken.push((at, length));
                }
                let used: u64 = taken.iter().map(|(_, length)| length.next_multiple_of(UNIT)).sum();
                prop_assert_eq!(free.end() - free.parts.values().sum::<u64>(), used);
                let parts: Vec<_> = free.parts.iter().collect();
                prop_assert!(parts.windows(2).all(|pair| pair[0].0 + pair[0].1 < *pair[1].0), "they touch");
            }
            for (at, length) in taken {
                free.give(at, length);
            }
            prop_assert_eq!((free.end(), free.parts.len()), (0, 0));
        }
    }
}
