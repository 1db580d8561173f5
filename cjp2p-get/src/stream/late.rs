//! What is too late to be of use, and where to go on after it.

use std::collections::VecDeque;
use std::time::Duration;

use cjp2p_wire::stream::Join;
use cjp2p_wire::time::Time;

/// Two samples of where the edge was are so far apart at the least.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// Samples that are kept at the most.
const MOST: usize = 4096;

/// See the [module](self). Late is what others had for longer than the delay that is allowed.
#[derive(Clone, Debug)]
pub(super) struct Late {
    most: Duration,
    /// When the edge of the stream was first known to be there: times and bytes go up.
    edges: VecDeque<(Time, u64)>,
}

impl Late {
    pub(super) fn new(most: Duration) -> Late {
        Late { most, edges: VecDeque::new() }
    }

    /// The stream goes so far.
    pub(super) fn on_edge(&mut self, now: Time, edge: u64) {
        match self.edges.back() {
            Some((_, last)) if edge <= *last => return,
            Some((at, _)) if now.since(*at) < SAMPLE_EVERY && self.edges.len() > 1 => return,
            _ => self.edges.push_back((now, edge)),
        }
        if self.edges.len() > MOST {
            self.edges.pop_front();
        }
    }

    /// When the byte at this position becomes too late; never, as far as is known, where nobody has it.
    pub(super) fn due(&mut self, position: u64) -> Time {
        while self.edges.len() > 1 && self.edges.front().is_some_and(|(_, edge)| *edge <= position) {
            self.edges.pop_front();
        }
        match self.edges.front() {
            Some((at, edge)) if *edge > position => *at + self.most,
            _ => Time::NEVER,
        }
    }
}

/// Where to go on after a position that is late: at the newest place to join of which something is here; where the origin tells none at
/// all, where what is here begins that reaches the edge.
pub(super) fn go_on_at(
    position: u64,
    joins: &[Join],
    is_here: impl Fn(u64) -> bool,
    last_run: Option<u64>,
) -> Option<u64> {
    if joins.is_empty() {
        return last_run.filter(|start| *start > position);
    }
    let after = joins.iter().rev().map(|join| join.offset).take_while(|offset| *offset > position);
    after.into_iter().find(|offset| is_here(*offset))
}

#[cfg(test)]
mod tests {
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
    fn one_goes_on_at_the_newest_place_of_which_there_is_something() {
        let joins = [10, 20, 30, 40].map(|offset| Join { offset, time: 0 });
        assert_eq!(go_on_at(15, &joins, |offset| offset < 40, Some(35)), Some(30));
        assert_eq!(go_on_at(30, &joins, |offset| offset < 40, Some(35)), None);
        assert_eq!(go_on_at(15, &joins, |_| false, Some(35)), None);
        assert_eq!(go_on_at(15, &[], |_| false, Some(35)), Some(35));
        assert_eq!(go_on_at(35, &[], |_| true, Some(35)), None);
    }
}
