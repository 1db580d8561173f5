//! Content that can only be verified as a whole: one length after the other is tried, and after a mismatch one source
//! after the other, so that the blame falls on that one alone.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::assembly::{Assembly, Check};
use super::source::{Source, Standing};
use super::{Failure, Fetch, FetchEvent};
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
            return self.complete(length);
        }
        // What was here before nobody can be blamed for.
        let resumed = std::mem::take(&mut self.resumed);
        self.lied_to |= !resumed;
        let stagers = std::mem::take(&mut self.stagers);
        if let (1, Some(&liar), false) = (stagers.len(), stagers.first(), resumed) {
            self.accuse(now, liar, true, "what it sent has another hash");
        }
        self.one_at_a_time = true;
        self.next_trial(now, sink);
    }

    /// Tries another length, or in single file another source.
    fn next_trial(&mut self, now: Time, sink: &mut dyn Sink) {
        let candidate = |put_off: &BTreeSet<SocketAddr>| {
            let mut good = self.sources.iter().filter(|(address, source)| {
                source.standing == Standing::Serving && source.claim.is_some() && !put_off.contains(address)
            });
            good.next().and_then(|(&address, source)| Some((address, source.claim?)))
        };
        let next = candidate(&self.put_off).or_else(|| {
            self.put_off.clear();
            candidate(&BTreeSet::new())
        });
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
        self.only = only;
        self.trial_since = now;
        self.assemblies = vec![Assembly::new(self.job, length, Check::AtTheEnd, RangeSet::new(), &self.goal)];
        self.events.push_back(FetchEvent::Length(length));
        self.check_complete();
    }

    /// The present trial brings nothing: another source may claim another length.
    pub(super) fn put_off_trial(&mut self, now: Time, sink: &mut dyn Sink) {
        self.trial_since = now;
        let Some(length) = self.assemblies.first().map(Assembly::length) else {
            return self.next_trial(now, sink);
        };
        let only = self.only;
        let silent = |(address, source): &(&SocketAddr, &Source)| {
            only.map_or(source.claim == Some(length), |only| only == **address)
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
