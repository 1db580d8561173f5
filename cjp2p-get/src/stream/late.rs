//! What is too late to be of use, and where to go on after it.

use std::collections::BTreeMap;
use std::time::Duration;

use cjp2p_wire::stream::Statement;
use cjp2p_wire::time::Time;

/// Two samples of where the edge was are so far apart at the least.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// Samples that are kept at the most.
const MOST: usize = 4096;

/// See the [module](self). A byte is late where it is here, or is missing, for longer than the delay that is allowed after others had it: as far
/// as that is known by now, from the edge of the stream that peers tell, and from the times that the origin tells. Clocks need not agree: the
/// quickest statement of the origin shows how far they are apart.
#[derive(Clone, Debug)]
pub(super) struct Late {
    most: Duration,
    /// Bytes, and when the stream went so far.
    // Invariant: the times go up with the bytes.
    edges: BTreeMap<u64, Time>,
    sampled_at: Option<Time>,
    /// The time here less that of the origin in milliseconds, where a statement came quickest.
    apart: Option<i64>,
}

impl Late {
    pub(super) fn new(most: Duration) -> Late {
        Late { most, edges: BTreeMap::new(), sampled_at: None, apart: None }
    }

    /// The stream goes so far.
    pub(super) fn on_edge(&mut self, now: Time, edge: u64) {
        let is_soon = self.sampled_at.is_some_and(|at| now.since(at) < SAMPLE_EVERY);
        if !is_soon && self.edges.last_key_value().is_none_or(|(last, _)| *last < edge) {
            self.sampled_at = Some(now);
            self.insert(edge, now);
        }
    }

    /// The origin says which byte came when. It is `unix_ms` milliseconds since 1970.
    pub(super) fn on_statement(&mut self, now: Time, unix_ms: u64, statement: &Statement) {
        let ago = |time: u64| i64::try_from(unix_ms).unwrap_or(0) - i64::try_from(time).unwrap_or(0);
        let apart = self.apart.map_or(ago(statement.time), |apart| apart.min(ago(statement.time)));
        self.apart = Some(apart);
        let since_start = now.since(Time::ZERO);
        for (offset, time) in statement
            .joins
            .iter()
            .map(|join| (join.offset, join.time))
            .chain([(statement.end, statement.time)])
        {
            let age = Duration::from_millis(u64::try_from(ago(time) - apart).unwrap_or(0));
            self.insert(offset, Time::ZERO + since_start.saturating_sub(age));
        }
    }

    fn insert(&mut self, edge: u64, at: Time) {
        // It went further no later.
        if self.edges.range(edge..).next().is_some_and(|(_, other)| *other <= at) {
            return;
        }
        while let Some((&before, _)) =
            self.edges.range(..=edge).next_back().filter(|(_, other)| **other >= at)
        {
            self.edges.remove(&before);
        }
        self.edges.insert(edge, at);
        if self.edges.len() > MOST {
            self.edges.pop_first();
        }
    }

    /// When the byte at this position becomes too late; never, as far as is known, where nobody has it.
    pub(super) fn due(&mut self, position: u64) -> Time {
        while self.edges.len() > 1 && self.edges.first_key_value().is_some_and(|(edge, _)| *edge <= position)
        {
            self.edges.pop_first();
        }
        self.edges.range(position + 1..).next().map_or(Time::NEVER, |(_, at)| *at + self.most)
    }
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::stream::Join;

    use super::*;

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn a_byte_is_late_when_others_had_it_for_too_long() {
        let mut late = Late::new(Duration::from_millis(300));
        assert_eq!(late.due(0), Time::NEVER);
        late.on_edge(at(0), 100);
        late.on_edge(at(50), 200);
        late.on_edge(at(100), 150);
        late.on_edge(at(100), 300);
        assert_eq!(late.due(99), at(300));
        assert_eq!(late.due(100), at(350));
        assert_eq!(late.due(250), at(400));
        assert_eq!(late.due(300), Time::NEVER);
    }

    #[test]
    fn what_the_origin_had_long_ago_is_late_though_nobody_told_of_it_meanwhile() {
        let mut late = Late::new(Duration::from_millis(300));
        let said = |end, time| Statement { end, time, ..Statement::default() };
        // The origin's clock is a million milliseconds ahead, and the path takes 20.
        late.on_statement(at(1020), 51_020, &said(100, 1_051_000));
        late.on_edge(at(1025), 110);
        // It is silent for a second, and all comes at once then.
        let joins = [200, 300].map(|offset| Join { offset, time: 1_051_000 + offset });
        let statement = Statement { joins: joins.into(), ..said(900, 1_052_000) };
        late.on_statement(at(2220), 52_220, &statement);
        late.on_edge(at(2220), 1000);
        assert_eq!(late.due(110), at(1220 + 300), "what came before 200 is 1,000 ms late");
        assert_eq!(late.due(250), at(1320 + 300));
        assert_eq!(late.due(899), at(2020 + 300));
        assert_eq!(late.due(900), at(2220 + 300));
        assert_eq!(late.due(1000), Time::NEVER);
    }
}
