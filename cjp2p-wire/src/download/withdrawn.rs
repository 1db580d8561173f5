//! Sources that had the content and say that they no longer do: the file was changed there, or removed.
//!
//! To wait for them is in vain, and the user should know. But anybody can say so, and what a source no longer has others may
//! have. So it ends a fetch only when it comes from all who gave anything or whom the user named, and nobody is left who may
//! still give what is missing.

use std::net::SocketAddr;
use std::time::Duration;

use super::Download;
use super::source::{Source, Standing};
use crate::time::Time;

/// So long others may still be found, and the content may be back where it was, before it counts as withdrawn.
const WITHDRAWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Who withdrew it is asked again after this time, at least twice before that counts.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl Download {
    /// What this source says of no longer having the content counts, though it may not have given any of it now. `named`: by the
    /// user. Otherwise an interrupted fetch had some from it.
    pub fn rely_on(&mut self, address: SocketAddr, named: bool) {
        if let Some(source) = self.sources.get_mut(&address) {
            source.is_named |= named;
            source.is_remembered |= !named;
        }
    }

    /// A source says, and nobody in its name, that it no longer has the content.
    pub fn on_withdrawn(&mut self, now: Time, address: SocketAddr) {
        let Some(source) = self.sources.get_mut(&address) else { return };
        // Who was not asked cannot know that it matters here.
        if self.ended || self.looks_only || source.standing == Standing::Liar || source.asked_at.is_none() {
            return;
        }
        source.has_withdrawn = true;
        source.have = None;
        if source.standing != Standing::Absent {
            source.on_absent(now);
        }
        if source.counts_as_withdrawn() {
            source.next_probe = now + ASK_AGAIN_AFTER;
        }
        if self.withdrawn_at == Time::NEVER {
            self.withdrawn_at = now + WITHDRAWN_TIMEOUT;
        }
        self.have_changed = true;
        self.wake_for(address);
        self.release(address);
    }

    /// Whether the content is withdrawn as far as anybody can tell.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.sources.values().any(Source::counts_as_withdrawn)
            && !self.sources.values().any(Source::may_still_give)
    }

    /// Whether that has been so for long enough, and nobody is expected to say otherwise.
    pub(super) fn is_found_withdrawn(&mut self, now: Time) -> bool {
        if now < self.withdrawn_at {
            return false;
        }
        if self.is_withdrawn() && now.since(self.last_news) >= WITHDRAWN_TIMEOUT && !self.awaits_answers(now)
        {
            return true;
        }
        let somebody_says_so = self.sources.values().any(|source| source.has_withdrawn);
        self.withdrawn_at = if somebody_says_so { now + WITHDRAWN_TIMEOUT / 5 } else { Time::NEVER };
        false
    }

    /// While the destination takes nothing, nobody can show that they have it.
    pub(super) fn put_off_withdrawal(&mut self, now: Time) {
        if self.withdrawn_at != Time::NEVER {
            self.withdrawn_at = now + WITHDRAWN_TIMEOUT;
        }
    }
}

impl Source {
    fn counts_as_withdrawn(&self) -> bool {
        self.has_withdrawn
            && self.standing != Standing::Liar
            && (self.has_given || self.is_named || self.is_remembered)
    }

    /// Whether it may have what is missing: it has not said otherwise, and had all of it, or may have.
    fn may_still_give(&self) -> bool {
        if self.has_withdrawn || self.standing == Standing::Liar {
            return false;
        }
        // Who fetches it too has no more than the others gave.
        let is_leecher = self.have.as_ref().is_some_and(|have| have.is_leecher() && !have.is_whole());
        let is_silent = self.standing == Standing::Unknown;
        !is_leecher && (self.has_given || self.standing == Standing::Serving || self.is_named && is_silent)
    }
}
