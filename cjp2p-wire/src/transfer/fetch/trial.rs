//! Content that can only be verified as a whole: one length after the other is tried, and after a mismatch one source
//! after the other, so that the blame falls on that one alone.

use std::net::SocketAddr;

use super::assembly::{Assembly, Check};
use super::source::{Source, Standing};
use super::{Failure, Fetch, FetchEvent};
use crate::content_id::ContentId;
use crate::time::Time;
use crate::transfer::blobs::Sink;
use crate::transfer::ranges::RangeSet;

impl Fetch {
    /// Whether what was staged has the right hash, after [`FetchEvent::Staged`].
    pub fn on_verdict(&mut self, now: Time, is_right: bool, sink: &mut dyn Sink) {
        if !self.waits_for_verdict || self.ended {
            return;
        }
        self.waits_for_verdict = false;
        self.last_news = now;
        if is_right {
            let length = self.assemblies.first().map_or(0, Assembly::length);
            if let ContentId::Sha256(_) = self.id {
                self.settle_hints(now);
                self.accuse_of_claims_other_than(now, length);
            }
            return self.complete(length);
        }
        // What was here before nobody can be blamed for.
        let resumed = std::mem::take(&mut self.resumed);
        self.lied_to |= !resumed;
        let stagers = std::mem::take(&mut self.stagers);
        match self.hint() {
            Some(hint) if self.hints.covers_all => self.refute_hint(now, hint),
            // Something came before the hint did. It is tried again, from the beginning.
            Some(_) => {}
            None => {
                if let (1, Some(&liar), false) = (stagers.len(), stagers.first(), resumed) {
                    self.accuse(now, liar, true, "what it sent has another hash");
                }
                self.one_at_a_time = true;
            }
        }
        self.next_trial(now, sink);
    }

    /// Tries another length, or in single file another source.
    pub(super) fn next_trial(&mut self, now: Time, sink: &mut dyn Sink) {
        let mut next = self.candidate();
        if next.is_none() {
            self.put_off.clear();
            next = self.candidate();
        }
        match next {
            Some((address, length)) => {
                let only = self.one_at_a_time.then_some(address);
                self.begin_trial(now, length, only, sink);
            }
            None => {
                self.assemblies.clear();
                self.only = None;
                if let Err(error) = sink.restage(self.job) {
                    self.fail(Failure::Destination(error));
                }
            }
        }
    }

    /// Whom to try next, and the length it claims: one that gave a hint, if there is any.
    fn candidate(&self) -> Option<(SocketAddr, u64)> {
        let good = self.sources.iter().filter(|(address, source)| {
            source.standing == Standing::Serving && source.claim.is_some() && !self.put_off.contains(address)
        });
        let best = good.min_by_key(|(address, source)| !self.has_usable_hint(**address, source));
        best.and_then(|(&address, source)| Some((address, source.claim?)))
    }

    pub(super) fn begin_trial(
        &mut self,
        now: Time,
        length: u64,
        only: Option<SocketAddr>,
        sink: &mut dyn Sink,
    ) {
        if !self.assemblies.is_empty()
            && let Err(error) = sink.restage(self.job)
        {
            return self.fail(Failure::Destination(error));
        }
        self.stagers.clear();
        self.changed = true;
        self.resumed = false;
        let check = self.check_in_trial(now, length);
        // By a tree each can be told from the others.
        self.only = only.filter(|_| matches!(check, Check::AtTheEnd));
        self.trial_since = now;
        let mut assembly = Assembly::new(self.job, length, check, RangeSet::new(), &self.ranges);
        assembly.is_staged = true;
        self.assemblies = vec![assembly];
        self.events.push_back(FetchEvent::Length(length));
        self.check_complete();
    }

    /// The present trial brings nothing: another source may claim another length.
    pub(super) fn put_off_trial(&mut self, now: Time, sink: &mut dyn Sink) {
        self.trial_since = now;
        let Some(length) = self.assemblies.first().map(Assembly::length) else {
            return self.next_trial(now, sink);
        };
        if self.drop_hint(sink) {
            return;
        }
        let only = self.only;
        let silent = |(address, source): &(&SocketAddr, &Source)| {
            only.map_or(source.claim == Some(length) && self.agrees(source), |only| only == **address)
        };
        let silent: Vec<_> = self.sources.iter().filter(silent).map(|(&address, _)| address).collect();
        self.put_off.extend(silent);
        let others = self.sources.iter().any(|(address, source)| {
            source.standing == Standing::Serving && source.claim.is_some() && !self.put_off.contains(address)
        });
        if others {
            self.next_trial(now, sink);
        }
    }
}
