//! Marks beginnings of lines, but not of each.

use std::time::Duration;

use crate::time::Time;

/// After a mark the next comes no sooner.
const GAP: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Clone, Debug)]
pub(super) struct Lines {
    is_at_start: bool,
    next: Time,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines { is_at_start: true, next: Time::ZERO }
    }
}

impl Lines {
    /// Takes bytes, at least one; gives the first beginning of a line among them if it is time for a mark.
    pub(super) fn push(&mut self, now: Time, offset: u64, bytes: &[u8]) -> Option<u64> {
        let was_at_start = std::mem::replace(&mut self.is_at_start, bytes.last() == Some(&b'\n'));
        if now < self.next {
            return None;
        }
        let mark = match was_at_start {
            true => 0,
            false => memchr::memchr(b'\n', bytes)? + 1,
        };
        // Of what begins after these bytes it does not show yet that it is a line.
        (mark < bytes.len()).then(|| {
            self.next = now + GAP;
            offset + mark as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_marked_where_they_begin_and_not_too_often() {
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let mut lines = Lines::default();
        assert_eq!(lines.push(at(0), 10, b"one\ntwo"), Some(10));
        assert_eq!(lines.push(at(249), 17, b"\nthree\n"), None);
        assert_eq!(lines.push(at(250), 24, b"four"), Some(24), "the line before had ended");
        assert_eq!(lines.push(at(600), 28, b" and\n"), None, "nobody knows whether there is another line");
        assert_eq!(lines.push(at(601), 33, b"five\n"), Some(33));
        assert_eq!(lines.push(at(900), 38, b"\n\n"), Some(38));
        assert_eq!(lines.push(at(1200), 40, b"si"), Some(40));
        assert_eq!(lines.push(at(1500), 42, b"x\nse"), Some(44));
    }
}
