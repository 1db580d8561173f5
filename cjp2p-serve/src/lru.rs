//! A bounded map that forgets what was not used for longest.

use std::collections::HashMap;
use std::hash::Hash;

/// Holds at most so many values. Meant for small numbers: making room looks at every entry.
///
/// Invariant: no two entries were last used at the same count, and none later than `uses`.
#[derive(Debug)]
pub struct Lru<K, V> {
    capacity: usize,
    uses: u64,
    swept: u64,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Hash + Eq + Clone, V> Lru<K, V> {
    /// An empty map for at most `capacity` values, at least one.
    pub fn new(capacity: usize) -> Lru<K, V> {
        Lru { capacity: capacity.max(1), uses: 0, swept: 0, entries: HashMap::new() }
    }

    /// The value of `key`, which counts as a use of it.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        self.uses += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.uses;
        Some(value)
    }

    /// The value of `key`, which does not count as a use of it.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Sets the value of `key`. If there is no room, the value not used for longest goes.
    pub fn insert(&mut self, key: K, value: V) {
        self.uses += 1;
        if self.entries.len() == self.capacity && !self.entries.contains_key(&key) {
            let oldest = (self.entries.iter()).min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
        self.entries.insert(key, (self.uses, value));
    }

    /// The keys of all values, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }

    /// All values, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values().map(|(_, value)| value)
    }

    /// Forgets what was not used since this was last called.
    pub fn forget_unused(&mut self) {
        let since = std::mem::replace(&mut self.swept, self.uses);
        self.entries.retain(|_, (used, _)| *used > since);
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The model is a list with the latest use at its end.
        #[test]
        fn forgets_what_was_not_used_for_longest(
            capacity in 1usize..5,
            steps in prop::collection::vec((0u8..4, 0u8..8), 0..100),
        ) {
            let mut lru = Lru::new(capacity);
            let mut model: Vec<(u8, usize)> = Vec::new();
            let mut used: Vec<u8> = Vec::new();
            for (at, (step, key)) in steps.into_iter().enumerate() {
                if step == 3 {
                    lru.forget_unused();
                    model.retain(|entry| used.contains(&entry.0));
                    used.clear();
                    prop_assert_eq!(lru.values().count(), model.len());
                    continue;
                }
                used.push(key);
                let known = model.iter().position(|entry| entry.0 == key);
                let entry = known.map(|known| model.remove(known));
                match step {
                    0 => {
                        prop_assert_eq!(lru.get(&key).copied(), entry.map(|entry| entry.1));
                        model.extend(entry);
                    }
                    1 => {
                        lru.insert(key, at);
                        if model.len() == capacity {
                            model.remove(0);
                        }
                        model.push((key, at));
                    }
                    _ => prop_assert_eq!(lru.remove(&key), entry.map(|entry| entry.1)),
                }
                prop_assert_eq!(lru.entries.len(), model.len());
            }
        }
    }
}
