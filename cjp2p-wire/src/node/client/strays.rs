//! `Strays`: where answers may still come that no open request waits for.
//!
//! Where bytes were asked for twice, the first answer settles the later request, and another may be on its way. If those bytes are then
//! asked for once more, that answer would pass for one to the new request, and so show a path as long as the pause between both.

use std::collections::VecDeque;
use std::ops::Range;

use crate::path::in_flight::Again;
use crate::pieces::Space;
use crate::store::JobId;
use crate::time::Time;

/// So many places are remembered. Beyond that the oldest are forgotten: a round trip may then be measured that is none.
pub(super) const MAX_STRAYS: usize = 64;

/// A place where an answer may still come.
#[derive(Clone, Debug)]
struct Stray {
    job: JobId,
    space: Space,
    range: Range<u64>,
    again: Again,
    until: Time,
}

/// See the [module](self).
#[derive(Clone, Debug, Default)]
pub(super) struct Strays {
    // Invariant: at most `MAX_STRAYS`.
    places: VecDeque<Stray>,
}

impl Strays {
    /// Until this time answers may come to what was asked for there before: `again` says when.
    pub(super) fn note(&mut self, until: Time, job: JobId, space: Space, range: Range<u64>, again: Again) {
        if self.places.len() == MAX_STRAYS {
            self.places.pop_front();
        }
        self.places.push_back(Stray { job, space, range, again, until });
    }

    /// Whether an answer to a request for these bytes that leaves now may be one to a request of before.
    pub(super) fn among(&mut self, now: Time, job: JobId, space: Space, range: &Range<u64>) -> Again {
        while self.places.front().is_some_and(|stray| stray.until <= now) {
            self.places.pop_front();
        }
        let near = self.places.iter().filter(|stray| {
            let is_same = stray.job == job && stray.space == space && stray.until > now;
            is_same && stray.range.start < range.end && range.start < stray.range.end
        });
        near.fold(Again::No, |again, stray| again.or(stray.again))
    }

    /// Forgets what was asked for this download.
    pub(super) fn forget(&mut self, job: JobId) {
        self.places.retain(|stray| stray.job != job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId(1);

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn what_overlaps_a_place_where_an_answer_may_come_is_unclear_until_it_cannot_come() {
        let mut strays = Strays::default();
        strays.note(at(100), JOB, Space::Content, 1000..2000, Again::Since(at(10)));
        strays.note(at(80), JOB, Space::Content, 1500..2500, Again::Since(at(5)));
        let mut among = |ms, space, range| strays.among(at(ms), JOB, space, &range);
        assert_eq!(among(20, Space::Content, 1999..2001), Again::Since(at(5)), "the earlier of both");
        assert_eq!(among(80, Space::Content, 1999..2001), Again::Since(at(10)));
        for (ms, space, range) in
            [(20, Space::Content, 0..1000), (20, Space::Content, 2500..3000), (20, Space::Tree, 1000..2000)]
        {
            assert_eq!(among(ms, space, range), Again::No);
        }
        assert_eq!(among(100, Space::Content, 1000..2000), Again::No);
        assert_eq!(strays.among(at(20), JobId(2), Space::Content, &(1000..2000)), Again::No);
        for n in 0..1000 {
            strays.note(at(500), JOB, Space::Content, n..n + 1, Again::Yes);
        }
        assert_eq!(strays.places.len(), MAX_STRAYS);
        strays.forget(JOB);
        assert_eq!(strays.among(at(200), JOB, Space::Content, &(0..1000)), Again::No);
    }
}
