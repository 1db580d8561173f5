//! Peers that are taken for having some content before they say so, and content that is so short that one request asks for all of it.
//! Of a folder with many small files each then costs one request, which shares a datagram with others, and one answer.

use std::net::SocketAddr;
use std::time::Duration;

use super::assembly::SMALL_LEN;
use super::kind::Kind;
use super::source::Standing;
use super::{Ask, Download, HELP_INTERVAL};
use crate::time::Time;

/// A download with one source has nothing to ask of another. What is lost shows on the path.
const ALONE: Duration = Duration::from_secs(1);

impl Download {
    /// Takes this source for having the content, and the content for being so long: it is asked for content at once, and not whether it
    /// has any. If either is wrong, its answer shows that, and nothing is held against it.
    pub fn presume(&mut self, now: Time, address: SocketAddr, length: u64) {
        let Kind::Proven(proven) = &self.kind else { return };
        if self.is_over() || self.looks_only || length == 0 || proven.root().is_none() {
            return;
        }
        let Some(source) = self.sources.get_mut(address) else { return };
        if source.standing != Standing::Unknown || source.was_ever_asked() {
            return;
        }
        source.presume(now, length);
        self.sources.note_change();
        self.settle_claims(now);
        // It waits for its turn.
        if self.sources.len() == 1 {
            self.quiet_until = now + ALONE;
        }
    }

    /// Whether it is over and has nothing more to report.
    pub fn has_told_all(&self) -> bool {
        self.is_over() && !self.reports.has_any()
    }

    /// Until when no source has anything to be asked for, if all that is missing is on its way and there is nothing to report.
    pub fn rests_until(&self, now: Time) -> Option<Time> {
        (now < self.quiet_until && !self.is_over() && !self.reports.has_any()).then_some(self.quiet_until)
    }

    /// Notes what is asked for. Nothing more is, where that is all of a short content, until another source may do better.
    pub(super) fn note_asked(&mut self, now: Time, ask: &Ask, round_trip: Duration) {
        let length = ask.range.end;
        let is_all = ask.range.start == 0 && length <= SMALL_LEN;
        let is_only_claim = matches!(self.kind.assemblies(), [only] if only.length() == length);
        if is_all && is_only_claim {
            let is_only_source = self.sources.len() == 1;
            self.quiet_until = now + if is_only_source { ALONE } else { HELP_INTERVAL.max(round_trip * 2) };
        }
    }
}
