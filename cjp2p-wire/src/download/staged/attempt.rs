//! Attempts: which length is tried next, with which sources, and when an attempt makes way for another.

use std::net::SocketAddr;

use super::{ATTEMPT_TIMEOUT, ENOUGH_STAGERS, LITTLE, Staged};
use crate::download::assembly::{Assembly, Check};
use crate::download::context::Context;
use crate::download::interface::{DownloadEvent, Failure};
use crate::download::range_spec::select;
use crate::download::source::{Source, Standing};
use crate::download::sources::{Fault, Sources};
use crate::peers::places_by_host::PlacesByHost;
use crate::range_set::RangeSet;
use crate::time::Time;

/// An attempt may bring so many times a shorter length that is claimed.
const OVERRUN: u64 = 2;

impl Staged {
    /// Whether what this source sends is taken in the present attempt.
    pub(in crate::download) fn takes_from(&self, address: SocketAddr, source: &Source) -> bool {
        self.attempt.only.is_none_or(|only| only == address) && self.agrees(source)
    }

    /// A source claims a length for the first time.
    pub(in crate::download) fn on_claim(
        &mut self,
        address: SocketAddr,
        length: u64,
        context: &mut Context<'_>,
    ) {
        if self.assembly.is_none() {
            self.begin_attempt(length, None, context);
        } else {
            self.follow_hint(address, context);
            self.try_shorter(context);
        }
    }

    /// This source sent so many bytes that were new.
    pub(in crate::download) fn on_news(&mut self, now: Time, address: SocketAddr, bytes: u64) {
        self.attempt.news_at = now;
        self.attempt.pace.on_new(bytes);
        if self.attempt.stagers.len() < ENOUGH_STAGERS {
            self.attempt.stagers.insert(address);
        }
    }

    /// The destination takes nothing: the attempt loses no time by it.
    pub(in crate::download) fn on_held_up(&mut self, now: Time) {
        self.attempt.news_at = now;
        self.attempt.pace.start_anew(now);
    }

    /// When [`Staged::handle_timeout`] may have something to do.
    pub(in crate::download) fn next_wake(&self) -> Time {
        if self.assembly.is_none() {
            return Time::NEVER;
        }
        (self.attempt.news_at + ATTEMPT_TIMEOUT).min(self.attempt.pace.ends_at())
    }

    /// Looks whether the attempt makes way for another.
    pub(in crate::download) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        self.check_hint(context);
        self.try_shorter(context);
        let is_slow = self.attempt.pace.is_slow(context.now) && self.hint().is_none();
        if is_slow || context.now.since(self.attempt.news_at) >= ATTEMPT_TIMEOUT {
            self.put_off_attempt(context);
        }
    }

    /// What was staged is what was wanted. Returns which sources contradicted.
    pub(in crate::download) fn on_right(&mut self, sources: &Sources) -> Vec<Fault> {
        self.waits_for_verdict = false;
        if self.by_hash { self.settle_hint(sources) } else { Vec::new() }
    }

    /// What was staged is something else: [`Staged::next_attempt`] comes next. Returns which sources are to blame.
    pub(in crate::download) fn on_wrong(&mut self, sources: &mut Sources) -> Vec<Fault> {
        self.waits_for_verdict = false;
        // No source can be blamed for what was here before.
        let resumed = std::mem::take(&mut self.attempt.resumed);
        if !resumed {
            sources.note_lie();
        }
        let stagers = std::mem::take(&mut self.attempt.stagers);
        match self.hint() {
            Some(hint) if self.hints.cover_all => return self.refute_hint(hint, sources),
            // Something came before the hint did. It is tried again, from the beginning.
            Some(_) => return Vec::new(),
            None => self.one_at_a_time = true,
        }
        let only = stagers.first().filter(|_| stagers.len() == 1 && !resumed);
        let why = "what it sent has another hash";
        only.map(|&source| Fault { source, certain: sources.gave_all(source), why }).into_iter().collect()
    }

    /// Tries another length, or in single file another source.
    pub(in crate::download) fn next_attempt(&mut self, context: &mut Context<'_>) {
        let mut next = self.candidate(context.sources);
        if next.is_none() {
            self.put_off.clear();
            next = self.candidate(context.sources);
        }
        match next {
            Some((address, length)) => {
                let only = self.one_at_a_time.then_some(address);
                self.begin_attempt(length, only, context);
            }
            None => {
                self.assembly = None;
                self.attempt.only = None;
                if let Err(error) = context.sink.restage(self.job) {
                    context.reports.fail(Failure::Destination(error));
                }
            }
        }
    }

    /// Which source to try next, and the length it claims: one that gave a hint, if there is any. Otherwise one of the hosts of which
    /// fewest were tried in vain, and of these the shortest, since nothing but the end shows that a length is false.
    fn candidate(&self, sources: &Sources) -> Option<(SocketAddr, u64)> {
        let mut in_vain = PlacesByHost::default();
        let lied = sources.iter().filter(|(_, source)| source.standing == Standing::Liar);
        lied.map(|(address, _)| address).chain(self.put_off.iter()).for_each(|address| in_vain.take(address));
        let good = sources.serving().filter(|(address, _)| !self.put_off.has(*address));
        let claims = good.filter_map(|(address, source)| Some((address, source, source.claim.length?)));
        let best = claims.min_by_key(|&(address, source, length)| {
            (self.usable_hint(address, source).is_none(), in_vain.of(address), length)
        });
        best.map(|(address, _, length)| (address, length))
    }

    pub(super) fn begin_attempt(&mut self, length: u64, only: Option<SocketAddr>, context: &mut Context<'_>) {
        if self.assembly.is_some()
            && let Err(error) = context.sink.restage(self.job)
        {
            return context.reports.fail(Failure::Destination(error));
        }
        context.sources.note_change();
        let check = self.check_in_attempt(length, context);
        let attempt = &mut self.attempt;
        attempt.stagers.clear();
        attempt.resumed = false;
        // A tree shows which source sent what is wrong.
        attempt.only = only.filter(|_| matches!(check, Check::AtTheEnd));
        attempt.news_at = context.now;
        attempt.pace.start_anew(context.now);
        let goal = select(&[], length);
        self.assembly = Some(Assembly::new(self.job, length, check, RangeSet::new(), goal));
        context.reports.push(DownloadEvent::Length(length));
        self.check_complete(context.reports);
    }

    /// The present attempt brings nothing: another source may claim another length.
    fn put_off_attempt(&mut self, context: &mut Context<'_>) {
        self.attempt.news_at = context.now;
        let Some(length) = self.length() else { return self.next_attempt(context) };
        if self.drop_hint(context) {
            return;
        }
        let is_silent = |address: SocketAddr, source: &Source| match self.attempt.only {
            Some(only) => only == address,
            None => source.claim.length == Some(length) && self.agrees(source),
        };
        let silent = context.sources.iter().filter(|&(address, source)| is_silent(address, source));
        let silent: Vec<SocketAddr> = silent.map(|(address, _)| address).collect();
        self.put_off.extend(silent.iter().copied(), context.sources);
        if self.candidate(context.sources).is_none() {
            self.put_off.replace(silent);
        }
        if self.candidate(context.sources).is_some() {
            self.next_attempt(context);
        }
    }

    /// Changes to a shorter length that is claimed: a source that claims an endless one, and sends it, would keep all others from
    /// being heard. At first that costs little. Later it is done when so much was brought that the shorter one would have
    /// been all here long ago. Each time what an attempt may bring doubles, so that no false claim does the same to others.
    fn try_shorter(&mut self, context: &mut Context<'_>) {
        let Some(attempt) = &self.assembly else { return };
        let (length, done) = (attempt.length(), attempt.done().total());
        if context.reports.is_over() || self.waits_for_verdict || self.hint().is_some() {
            return;
        }
        let claims = context.sources.serving().filter_map(|(_, source)| source.claim.length);
        let Some(shortest) = claims.min() else { return };
        let is_new =
            done <= LITTLE && self.candidate(context.sources).is_some_and(|(_, claim)| claim < length);
        let is_overrun = shortest < length && done > self.attempt.most.max(shortest * OVERRUN);
        if is_overrun {
            self.attempt.most = done * 2;
            self.put_off.clear();
        }
        if is_new || is_overrun {
            let longer = context.sources.iter().filter(|(_, source)| source.claim.length == Some(length));
            let longer: Vec<SocketAddr> = longer.map(|(address, _)| address).collect();
            self.put_off.extend(longer, context.sources);
            self.next_attempt(context);
        }
    }
}
