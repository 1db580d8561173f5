//! How far a viewer is behind the origin, by the origin's clock: from what that says of when which byte came, and when this byte was passed
//! on here.

use std::collections::VecDeque;

/// Samples that are kept of what was passed on when, and points that were not reached yet.
const MOST: usize = 512;

/// See the [module](self). Times are milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub(super) struct Delay {
    /// When the position was there: one sample a millisecond.
    passed: VecDeque<(u64, u64)>,
    /// Bytes that are ahead, with the time that the origin tells.
    ahead: VecDeque<(u64, u64)>,
    newest: Option<u64>,
}

impl Delay {
    /// All before this byte was passed on by now.
    pub(super) fn on_position(&mut self, now: u64, position: u64) {
        let has_begun = self.passed.len() > 1;
        match self.passed.back_mut() {
            Some((_, at)) if *at == position => return,
            // The first one stays: it says where it began.
            Some((time, at)) if *time == now && has_begun => *at = position,
            _ => self.passed.push_back((now, position)),
        }
        if self.passed.len() > MOST {
            self.passed.pop_front();
        }
        while let Some(&(offset, time)) = self.ahead.front().filter(|(offset, _)| *offset <= position) {
            self.ahead.pop_front();
            // Where it began after that, it says nothing.
            if self.passed.front().is_some_and(|(_, first)| *first < offset) {
                self.newest = Some(now.saturating_sub(time));
            }
        }
    }

    /// The origin says that the byte before this one came at that time.
    pub(super) fn on_point(&mut self, offset: u64, time: u64) {
        if self.passed.back().is_none_or(|(_, position)| *position < offset) {
            if self.ahead.back().is_none_or(|(last, _)| *last < offset) {
                self.ahead.push_back((offset, time));
            }
            if self.ahead.len() > MOST {
                self.ahead.pop_front();
            }
            return;
        }
        let first = self.passed.partition_point(|(_, position)| *position < offset);
        if first > 0 {
            self.newest = self.passed.get(first).map(|(passed, _)| passed.saturating_sub(time));
        }
    }

    /// The newest that is known, in milliseconds.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_known_where_everything_came_within_a_millisecond() {
        let mut delay = Delay::default();
        delay.on_position(1000, 0);
        delay.on_position(1000, 50);
        delay.on_position(1000, 100);
        delay.on_point(100, 900);
        assert_eq!(delay.newest(), Some(100));
    }

    #[test]
    fn a_delay_is_known_whichever_comes_first_the_byte_or_what_is_said_of_it() {
        let mut delay = Delay::default();
        delay.on_position(1000, 500);
        delay.on_point(500, 10);
        assert_eq!(delay.newest(), None, "when it came is not known");
        delay.on_point(600, 900);
        assert_eq!(delay.newest(), None);
        delay.on_position(1020, 599);
        delay.on_position(1030, 700);
        assert_eq!(delay.newest(), Some(130));
        delay.on_position(1100, 800);
        delay.on_point(750, 1050);
        assert_eq!(delay.newest(), Some(50));
        delay.on_point(800, 5000);
        assert_eq!(delay.newest(), Some(0), "clocks differ");
    }
}
