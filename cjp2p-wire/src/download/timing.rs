//! What a download does without any datagram coming: limits, and times that sources wait for.

use std::net::SocketAddr;

use super::context::Context;
use super::kind::Kind;
use super::limits::Passed;
use super::withdrawal::is_withdrawn;
use super::{Download, Failure};
use crate::store::Sink;
use crate::time::Time;

impl Download {
    /// Sources that have waited long enough for something.
    pub fn take_due(&mut self, now: Time) -> Vec<SocketAddr> {
        if self.is_over() { Vec::new() } else { self.sources.take_due(now) }
    }

    /// Whether something changed that may matter to sources with nothing to ask for. Says so once.
    pub fn take_changed(&mut self) -> bool {
        self.sources.take_changed()
    }

    /// Whether something is being gathered, so that a source with nothing to ask for may help another.
    pub fn is_gathering(&self) -> bool {
        !self.is_over() && self.kind.assemblies().iter().any(|a| a.picker().is_gathering())
    }

    /// Looks after the limits.
    pub fn handle_timeout(&mut self, now: Time, sink: &mut dyn Sink) {
        if self.is_over() || self.kind.waits_for_verdict() || self.looks_only {
            self.limits.count_from(now);
            return;
        }
        for left in self.leechers.review(now, &mut self.sources) {
            self.release(left);
        }
        if let Kind::Proven(proven) = &self.kind
            && now >= proven.settle_at()
        {
            self.settle_claims(now);
        }
        let room = sink.room(self.job);
        let held_up = self.kind.assemblies().iter().any(|a| a.picker().waits_for_destination(room));
        if self.limits.is_held_up(now, held_up) {
            if let Kind::Staged(staged) = &mut self.kind {
                staged.on_held_up(now);
            }
            self.withdrawal.put_off(now);
            return;
        }
        if let Kind::Staged(staged) = &mut self.kind {
            let (sources, reports) = (&mut self.sources, &mut self.reports);
            staged.handle_timeout(&mut Context { now, sources, reports, sink });
        }
        if self.withdrawal.is_found(now, self.limits.silence(now), &self.sources) {
            return self.reports.fail(Failure::Withdrawn);
        }
        let Some(passed) = self.limits.passed(now) else { return };
        self.reports.fail(match passed {
            _ if is_withdrawn(&self.sources) => Failure::Withdrawn,
            Passed::Source => Failure::NoSource,
            Passed::Stall if self.sources.all_lied() => Failure::Mismatch,
            Passed::Stall => Failure::Stalled,
        });
    }

    /// When [`Download::handle_timeout`] or [`Download::next_ask`] may have something to do without any datagram coming.
    pub fn next_wake(&self) -> Time {
        if self.is_over() || self.kind.waits_for_verdict() {
            return Time::NEVER;
        }
        if self.looks_only {
            return self.sources.wake_at();
        }
        let wake = self.limits.ends_at().min(self.sources.wake_at()).min(self.withdrawal.look_at());
        wake.min(match &self.kind {
            Kind::Proven(proven) => proven.settle_at(),
            Kind::Staged(staged) => staged.next_wake(),
        })
    }
}
