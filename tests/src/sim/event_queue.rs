//! What will happen, and when.

use std::collections::BTreeMap;

use cjp2p_wire::time::Time;

/// Things that happen at a time; those of the same time in the order in which they were added.
#[derive(Debug)]
pub struct EventQueue<T> {
    things: BTreeMap<(Time, u64), T>,
    /// How many were ever added.
    count: u64,
}

impl<T> Default for EventQueue<T> {
    fn default() -> EventQueue<T> {
        EventQueue { things: BTreeMap::new(), count: 0 }
    }
}

impl<T> EventQueue<T> {
    /// Has `what` happen at this time.
    pub fn add(&mut self, at: Time, what: T) {
        self.count += 1;
        self.things.insert((at, self.count), what);
    }

    /// When the next thing happens.
    pub fn next_time(&self) -> Option<Time> {
        self.things.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes out the next thing, and when it happens; `None` where that is after `until`.
    pub fn take(&mut self, until: Time) -> Option<(Time, T)> {
        let first = self.things.first_entry().filter(|first| first.key().0 <= until)?;
        let ((at, _), what) = first.remove_entry();
        Some((at, what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn things_happen_in_the_order_of_time_and_then_in_that_of_adding() {
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let mut event_queue = EventQueue::default();
        for (seconds, what) in [(3, 'd'), (1, 'a'), (3, 'e'), (2, 'c'), (1, 'b'), (9, 'f')] {
            event_queue.add(at(seconds), what);
        }
        assert_eq!(event_queue.next_time(), Some(at(1)));
        assert_eq!(event_queue.take(Time::ZERO), None);
        let taken: Vec<_> = std::iter::from_fn(|| event_queue.take(at(3))).collect();
        assert_eq!(taken, [(at(1), 'a'), (at(1), 'b'), (at(2), 'c'), (at(3), 'd'), (at(3), 'e')]);
        assert_eq!(event_queue.next_time(), Some(at(9)));
    }
}
