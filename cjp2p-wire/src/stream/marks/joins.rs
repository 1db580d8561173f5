//! The few places to join that an origin tells: the newest, and further back at growing distances, so that one may also begin with
//! what was half a minute or half an hour ago.

use crate::stream::statement::Join;

/// So many are told: they fit in a statement with any name.
const TOLD: usize = 12;
/// The newest of them that always stay.
const NEWEST: usize = 4;

/// The few places to join that an origin tells: the newest, and others further back at growing distances.
#[derive(Clone, Debug, Default)]
pub struct Joins {
    // Invariant: in ascending order, of offsets and of times; TOLD at the most.
    joins: Vec<Join>,
}

impl Joins {
    /// Those that were told before.
    pub fn new(joins: impl IntoIterator<Item = Join>) -> Joins {
        let mut all = Joins::default();
        joins.into_iter().for_each(|join| all.push(join));
        all
    }

    /// Takes a new one. One that does not lie after all others is passed over; one that is earlier counts as of the same time.
    pub fn push(&mut self, mut join: Join) {
        if let Some(last) = self.joins.last() {
            if join.offset <= last.offset {
                return;
            }
            join.time = join.time.max(last.time);
        }
        self.joins.push(join);
        if self.joins.len() > TOLD {
            // The gap that is left, beside how long ago it is, is the least there.
            let now = join.time;
            let gap = |at: &usize| {
                let [before, after] = [self.joins[at - 1], self.joins[at + 1]].map(|join| join.time);
                (u128::from(after - before) << 32) / u128::from(now - before + 1)
            };
            let least = (1..self.joins.len() - NEWEST).min_by_key(gap);
            if let Some(at) = least {
                self.joins.remove(at);
            }
        }
    }

    /// What was before this offset is not there any more.
    pub fn forget_before(&mut self, offset: u64) {
        self.joins.retain(|join| join.offset >= offset);
    }

    /// Those that are told, in order.
    pub fn as_slice(&self) -> &[Join] {
        &self.joins
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_may_begin_long_ago_and_not_so_long_ago() {
        // A place every two seconds, for a day.
        let mut joins = Joins::default();
        for n in 0..43_200u64 {
            joins.push(Join { offset: n * 1000, time: n * 2000 });
            let now = n * 2000;
            for back in [10_000u64, 30_000, 300_000, 3_600_000].into_iter().filter(|back| now > 2 * back) {
                let found = joins.as_slice().iter().rev().find(|join| now - join.time >= back).unwrap();
                assert!(now - found.time <= 12 * back, "{back} ms back is {}", now - found.time);
            }
        }
        let newest: Vec<u64> =
            joins.as_slice().iter().rev().take(NEWEST).map(|join| join.time / 2000).collect();
        assert_eq!(newest, [43_199, 43_198, 43_197, 43_196]);
        joins.forget_before(43_198_000);
        assert_eq!(joins.as_slice().len(), 2);
    }

    proptest! {
        #[test]
        fn they_are_few_and_in_order_whatever_comes(given in proptest::collection::vec((0..1000u64, 0..1000u64), 0..100)) {
            let joins = Joins::new(given.iter().map(|&(offset, time)| Join { offset, time }));
            let joins = joins.as_slice();
            prop_assert!(joins.len() <= TOLD && joins.is_empty() == given.is_empty());
            prop_assert!(joins.windows(2).all(|pair| pair[0].offset < pair[1].offset && pair[0].time <= pair[1].time));
            prop_assert_eq!(joins.last().map(|join| join.offset), given.iter().map(|(offset, _)| *offset).max());
        }
    }
}
