//! When a fetch has something to do without any datagram coming: limits, and times that sources wait for.

use std::net::SocketAddr;

use super::{ATTEMPT_TIMEOUT, Download, Failure};
use crate::store::Sink;
use crate::time::Time;

impl Download {
    /// A source may have another time to wait for.
    pub(super) fn wake_for(&mut self, address: SocketAddr) {
        if let Some(source) = self.sources.get(&address) {
            self.wake_at = self.wake_at.min(source.next_at());
        }
    }

    /// Sources that have waited long enough for something.
    pub fn take_due(&mut self, now: Time) -> Vec<SocketAddr> {
        if self.ended || self.wake_at > now {
            return Vec::new();
        }
        self.wake_at = Time::NEVER;
        let mut due = Vec::new();
        for (&address, source) in &self.sources {
            let at = source.next_at();
            if at <= now {
                // It may wait for its path, which has timers of its own.
                due.push(address);
            } else {
                self.wake_at = self.wake_at.min(at);
            }
        }
        due
    }

    /// Whether something changed that may matter to sources with nothing to ask for. Says so once.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether something is being gathered, so that a source with nothing to ask for may help another.
    pub fn is_gathering(&self) -> bool {
        !self.ended && self.assemblies.iter().any(|a| a.picker.is_gathering())
    }

    /// Looks after the limits.
    pub fn handle_timeout(&mut self, now: Time, sink: &mut dyn Sink) {
        if self.ended || self.waits_for_verdict || self.looks_only {
            self.count_from(now);
            return;
        }
        self.review_leechers(now);
        if now >= self.settle_at {
            self.settle_claims(now);
        }
        let room = sink.room(self.job);
        let held_up = self.assemblies.iter().any(|a| a.picker.waits_for_destination(room));
        if held_up || std::mem::replace(&mut self.held_up, held_up) {
            // The reader or the disk is slow, not the sources.
            self.held_up = held_up;
            self.started = now;
            self.count_from(now);
            self.attempt_since = now;
            self.put_off_withdrawal(now);
            self.attempt_pace.start_anew(now);
            return;
        }
        self.check_hint(now, sink);
        self.try_shorter(now, sink);
        let is_slow = self.is_staged() && self.attempt_pace.is_slow(now) && self.hint().is_none();
        if self.is_staged() && (is_slow || now.since(self.attempt_since) >= ATTEMPT_TIMEOUT) {
            self.put_off_attempt(now, sink);
        }
        let all_lied = self.lied_to && self.serving().next().is_none();
        if self.is_found_withdrawn(now) {
            self.fail(Failure::Withdrawn);
        } else if !self.found && now.since(self.started) >= self.source_timeout {
            self.fail(if self.is_withdrawn() { Failure::Withdrawn } else { Failure::NoSource });
        } else if self.found && now.since(self.last_news) >= self.stall_timeout {
            self.fail(match all_lied {
                _ if self.is_withdrawn() => Failure::Withdrawn,
                true => Failure::Mismatch,
                false => Failure::Stalled,
            });
        }
    }

    /// When [`Download::handle_timeout`] or [`Download::next_ask`] may have something to do without any datagram coming.
    pub fn next_wake(&self) -> Time {
        if self.ended || self.waits_for_verdict {
            return Time::NEVER;
        }
        if self.looks_only {
            return self.wake_at;
        }
        let limit =
            if self.found { self.last_news + self.stall_timeout } else { self.started + self.source_timeout };
        let mut wake = limit.min(self.wake_at).min(self.settle_at).min(self.withdrawn_at);
        if self.is_staged() && !self.assemblies.is_empty() {
            wake = wake.min(self.attempt_since + ATTEMPT_TIMEOUT).min(self.attempt_pace.ends_at());
        }
        wake
    }
}
