//! `Withdrawal`: sources that had the content and say that they no longer do. The file was changed there, or removed.
//!
//! To wait for them is in vain, and the user should know. But any node can say so, and what one source no longer has others may
//! have. So it ends a download only when every source says so that gave anything or that the user named, and when no other may
//! still give what is missing.

use std::time::Duration;

use super::source::Source;
use super::sources::Sources;
use crate::time::Time;

/// So long others may still be found, and the content may be back where it was, before it counts as withdrawn.
const WITHDRAWN_TIMEOUT: Duration = Duration::from_secs(5);
/// A source that withdrew it is asked again after this time, at least twice before that counts.
pub(super) const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// When to look whether all sources say so.
#[derive(Debug)]
pub(super) struct Withdrawal {
    /// Never while no source says so.
    look_at: Time,
}

impl Withdrawal {
    pub(super) fn new() -> Withdrawal {
        Withdrawal { look_at: Time::NEVER }
    }

    pub(super) fn look_at(&self) -> Time {
        self.look_at
    }

    /// A source says so.
    pub(super) fn note(&mut self, now: Time) {
        if self.look_at == Time::NEVER {
            self.look_at = now + WITHDRAWN_TIMEOUT;
        }
    }

    /// While the destination takes nothing, no source can show that it has the content.
    pub(super) fn put_off(&mut self, now: Time) {
        if self.look_at != Time::NEVER {
            self.look_at = now + WITHDRAWN_TIMEOUT;
        }
    }

    /// Whether the content counts as withdrawn, after so long without anything new, and no source is expected to say otherwise.
    pub(super) fn is_found(&mut self, now: Time, silence: Duration, sources: &Sources) -> bool {
        if now < self.look_at {
            return false;
        }
        let may_answer = || sources.values().any(|source| source.may_answer(now));
        if is_withdrawn(sources) && silence >= WITHDRAWN_TIMEOUT && !may_answer() {
            return true;
        }
        let is_said = sources.values().any(Source::has_withdrawn);
        self.look_at = if is_said { now + WITHDRAWN_TIMEOUT / 5 } else { Time::NEVER };
        false
    }
}

/// Whether the content is withdrawn as far as the sources say.
pub(super) fn is_withdrawn(sources: &Sources) -> bool {
    sources.values().any(Source::counts_as_withdrawn) && !sources.values().any(Source::may_still_give)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_withdrawn_only_when_every_source_that_counts_says_so_for_long_enough() {
        let at = |seconds: u64| Time::from_millis(seconds * 1000);
        let address = |n: u8| std::net::SocketAddr::from(([192, 0, 2, n], 24254));
        let (mut sources, mut withdrawal) = (Sources::new(), Withdrawal::new());
        for n in 1..=2 {
            sources.add(at(0), address(n), false);
            let source = sources.get_mut(address(n)).expect("it was added");
            source.rely_on(true);
            source.on_probe(at(0));
        }
        let mut withdraws = |sources: &mut Sources, now, n| {
            sources.get_mut(address(n)).expect("it was added").on_withdrawn(now, ASK_AGAIN_AFTER);
            withdrawal.note(now);
            let silence = Duration::from_secs(60);
            (withdrawal.is_found(now, silence, sources), withdrawal.look_at())
        };
        assert_eq!(withdraws(&mut sources, at(10), 1), (false, at(15)));
        assert_eq!(withdraws(&mut sources, at(15), 1), (false, at(16)), "the other may give it");
        assert!(withdraws(&mut sources, at(16), 2).0);
    }
}
