//! Whom a view takes blocks from: when a parent is left, and which source takes its place.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ENOUGH, MAX_REST, REST, View};
use crate::node::shared::Shared;
use crate::node::streams::source::{NamedBy, SILENT, Source, Told};
use crate::time::Time;

/// One hop further away from the origin a parent may be silent for so long more.
const PATIENCE_OF_HOP: Duration = Duration::from_millis(80);
/// A parent to which nothing comes either may take so long more to find another. Who leaves meanwhile
/// takes a place that those above need.
const MENDING: Duration = Duration::from_secs(1);
/// Where nobody else is known, a parent that does not answer is kept for so long: the link may be back soon.
const ALONE: Duration = Duration::from_millis(1500);
/// One that had no place is left alone for so long.
const REST_FULL: Duration = Duration::from_millis(500);
/// One that serves enough is asked all the same where no other was found for so long.
const TRY_FULL: Duration = Duration::from_millis(600);
/// And one to which nothing comes itself after so long.
const TRY_ALL: Duration = Duration::from_millis(1500);
/// So long after nothing came any more a parent to which nothing comes either has noticed that.
const NOTICED: Duration = Duration::from_millis(200);
/// Who lags less is preferred, in steps of so many bytes.
const LAG: u64 = 128 << 10;
/// Where a parent was lost, the next is one that was heard since, if there is one within this time.
const ANYBODY_AFTER: Duration = Duration::from_millis(1500);
/// A parent that has less than others for so long is left for one of them.
const LAGGING: Duration = Duration::from_millis(1500);
/// A parent that does not give for so long what is missing before the newest block does not have it.
const HOLE: Duration = Duration::from_secs(1);
/// After a parent was left, the next is not left for lagging for so long.
const SETTLE: Duration = Duration::from_secs(5);

impl View {
    /// Leaves a parent that refuses or is silent; and one that has less than another, for that one.
    pub(super) fn leave_parent(&mut self, now: Time) {
        let Some((address, since)) = self.parent else { return };
        let Some(source) = self.sources.get(&address) else {
            self.parent = None;
            return;
        };
        let refuses = source.told.is_none_or(|told| told.full);
        let silent = now.since(source.heard_at.max(since));
        let idle = now.since(source.data_at.max(since));
        let edge = self.window.as_ref().map_or(0, |window| window.edge());
        if idle <= source.usual_pause() {
            self.is_quiet = false;
            if source.data_at > since {
                self.alarm_at = None;
            }
        } else if self.alarm_at.is_none_or(|at| at < since) && !self.is_quiet {
            self.raise_alarm(now, address);
        }
        let Some(source) = self.sources.get(&address) else { return };
        let told = source.told.filter(|told| told.until <= edge);
        if let Some(at) = self.alarm_at
            && source.heard_at > at + NOTICED
            && told.is_some_and(|told| !told.waits)
        {
            (self.alarm_at, self.is_quiet) = (None, true);
        }
        // Whoever is nearer to the origin notices first, and mends it for all below.
        let depth = source.told.and_then(|told| told.depth).unwrap_or(0).min(16);
        let mends =
            told.is_some_and(|told| told.waits) && self.alarm_at.is_some_and(|at| source.heard_at > at);
        let patience = source.patience();
        let long = patience + PATIENCE_OF_HOP * depth as u32 + if mends { MENDING } else { Duration::ZERO };
        let ahead = |long: Duration, or_full: bool| {
            let fit = self.sources.iter().filter(|(other, source)| {
                let is_open = source.told.is_some_and(|told| or_full || !told.full);
                let is_ahead = source.ahead.is_some_and(|(at, _)| now.since(at) >= long);
                **other != address && is_open && is_ahead && source.rests_until <= now
            });
            fit.min_by_key(|(_, source)| source.told.and_then(|told| told.depth)).map(|(&other, _)| other)
        };
        let is_late = idle > long && ahead(patience / 2, true).is_some();
        let is_settled = self.was_level && now.since(self.settled_at) > SETTLE;
        let lags = ahead(LAGGING + source.round_trip.unwrap_or_default() * 2, false);
        let is_dumb = idle > patience && silent > patience && source.is_dumb(now);
        let is_gone = silent > SILENT || is_dumb && (silent > ALONE || self.knows_another(address));
        let waits = now.since(self.lacks.1.max(since)) > long.max(HOLE);
        let lacks = waits && self.other_fills_hole(now, address);
        if refuses || is_gone || is_late || lacks {
            log::debug!(
                "{now:?} {address}: refuses {refuses}, silent {silent:?}, idle {idle:?}, late {is_late}, lacks {lacks}"
            );
            self.set_parent(now, None);
            self.ask_all(now);
            if let Some(source) = self.sources.get_mut(&address) {
                // Who was full may have a place soon.
                source.failures += u32::from(!refuses);
                let rest =
                    (REST * 2u32.saturating_pow(source.failures.min(8).saturating_sub(1))).min(MAX_REST);
                source.rests_until = now + if refuses { REST_FULL } else { rest };
                if is_gone {
                    source.told = None;
                }
            }
            return;
        }
        // Where it said something after that, it is there and has nothing new.
        if self.alarm_at.is_some()
            && let Some(source) = self.sources.get_mut(&address)
        {
            source.probe(now);
        }
        if let Some(other) = lags.filter(|_| is_settled) {
            log::debug!("{now:?} {address}: lags, left for {other}");
            self.set_parent(now, Some(other));
        }
    }

    /// The parent gives nothing for longer than usual: it is asked whether it is there, and all others how far they are, so that it is
    /// known who can take its place.
    fn raise_alarm(&mut self, now: Time, parent: SocketAddr) {
        self.alarm_at = Some(now);
        for (address, source) in &mut self.sources {
            if *address == parent {
                source.probe(now);
            } else if source.told.is_some_and(|told| !told.full) && source.rests_until <= now {
                source.tell_at(now);
            }
        }
    }

    /// Whether there is anybody who may take the parent's place.
    fn knows_another(&self, parent: SocketAddr) -> bool {
        let may = |source: &Source| {
            source.told.is_some_and(|told| !told.waits) && Some(source.heard_at) > self.alarm_at
        };
        self.candidates.len() > 0
            || self.sources.iter().any(|(other, source)| *other != parent && may(source))
    }

    /// The parent was lost: all that are known are asked who may take its place.
    fn ask_all(&mut self, now: Time) {
        self.alarm_at = self.alarm_at.or(Some(now));
        let known = self.sources.values_mut().filter(|source| source.told.is_some());
        known.filter(|source| source.rests_until <= now).for_each(|source| source.tell_at(now));
    }

    /// Whether something before the newest block is missing that another source may have: the parent may have begun later.
    fn other_fills_hole(&self, now: Time, parent: SocketAddr) -> bool {
        let Some(window) = &self.window else { return false };
        let start = window.wanted().start;
        let may = |source: &Source| {
            let has = source.told.is_some_and(|told| !told.full && told.from <= start && told.until > start);
            has && source.rests_until <= now
        };
        window.has_hole() && self.sources.iter().any(|(other, source)| *other != parent && may(source))
    }

    /// From now on what is wanted is to come from this one.
    pub(super) fn set_parent(&mut self, now: Time, parent: Option<SocketAddr>) {
        log::debug!("{now:?} {:?}: from now on from {parent:?}", self.job);
        let before = std::mem::replace(&mut self.parent, parent.map(|address| (address, now)));
        (self.settled_at, self.was_level) = (now, false);
        // Who was it until now shall send no more.
        for address in before.map(|(address, _)| address).into_iter().chain(parent) {
            if let Some(source) = self.sources.get_mut(&address) {
                source.tell_at(now);
                if let Some(told) = source.told.as_mut().filter(|_| parent == Some(address)) {
                    told.full = false;
                }
            }
        }
    }

    /// Where all is well, those are kept that may take the parent's place, and no more.
    pub(super) fn drop_spare(&mut self, shared: &mut Shared, now: Time) {
        let Some((parent, since)) = self.parent.filter(|(_, since)| now.since(*since) > SETTLE / 2) else {
            return;
        };
        if self.sources.get(&parent).is_none_or(|source| source.data_at < since) {
            return;
        }
        while self.sources.len() > ENOUGH {
            let depth_of = |source: &Source| source.told.and_then(|told| told.depth).unwrap_or(u64::MAX);
            // One near the origin knows more places than one far from it.
            let anchor = self.sources.iter().filter(|(address, _)| **address != parent);
            let anchor = anchor.min_by_key(|(_, source)| depth_of(source)).map(|(&address, _)| address);
            let others = self.sources.iter().filter(|(address, source)| {
                **address != parent
                    && Some(**address) != anchor
                    && source.told.is_some()
                    && source.named_by != NamedBy::User
            });
            let worst = others.max_by_key(|(_, source)| {
                let told = source.told.map(|told| (told.full, told.depth));
                (source.rests_until > now, told, source.round_trip)
            });
            let Some(address) = worst.map(|(&address, _)| address) else { return };
            if let Some(source) = self.sources.get(&address) {
                source.stop(shared, now, address, &self.id);
            }
            self.sources.remove(&address);
            self.assemblies.forget_source(address);
        }
    }

    pub(super) fn choose_parent(&mut self, now: Time, serves: &impl Fn(SocketAddr) -> bool) {
        let Some(window) = self.window.as_ref().filter(|window| !window.is_complete()) else { return };
        if self.parent.is_some() {
            return;
        }
        let (start, edge) = (window.wanted().start, window.edge());
        let alarm_at = self.alarm_at.filter(|at| now.since(*at) < ANYBODY_AFTER).unwrap_or(Time::ZERO);
        // One that sent what was not right, though it may have been an old part of it, is the last that is asked.
        let newest =
            self.sources.values().filter_map(|source| source.told).map(|told| told.until).max().unwrap_or(0);
        let tries_full = now.since(self.settled_at) >= TRY_FULL;
        let tries_all = now.since(self.settled_at) >= TRY_ALL;
        let fit = self.sources.iter().filter_map(|(&address, source)| {
            let has_more = |told: &Told| told.until > edge.max(start) || told.depth == Some(0);
            let may = |told: &Told| tries_all || !told.waits && (tries_full || !told.full && has_more(told));
            let told = source.told.filter(may)?;
            let is_there = now.since(source.heard_at) < if told.full { 2 * SILENT } else { SILENT };
            let is_fresh = source.heard_at >= alarm_at;
            let may =
                source.rests_until <= now && is_there && is_fresh && told.from <= start && !serves(address);
            may.then_some((
                source.is_suspect,
                // One that has no more than is here may be one that waits for us.
                told.until <= edge.max(start),
                told.full,
                newest.saturating_sub(told.until) / LAG,
                told.depth.unwrap_or(u64::MAX),
                source.round_trip,
                address,
            ))
        });
        if let Some((.., address)) = fit.min() {
            self.said_no_source = false;
            self.set_parent(now, Some(address));
        }
    }
}
