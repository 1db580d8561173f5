//! Whom a view takes blocks from: when a parent is left, and which source takes its place.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ENOUGH, MAX_REST, REST, View};
use crate::node::shared::Shared;
use crate::node::streams::source::{NamedBy, SILENT, Source};
use crate::time::Time;

/// One hop further away from the origin a parent may be silent for so long more.
const PATIENCE_OF_HOP: Duration = Duration::from_millis(80);
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
        // Whoever is nearer to the origin notices first, and mends it for all below.
        let depth = source.told.and_then(|told| told.depth).unwrap_or(0).min(16);
        let patience = source.patience() + PATIENCE_OF_HOP * depth as u32;
        let ahead = |long: Duration, or_full: bool| {
            let fit = self.sources.iter().filter(|(other, source)| {
                let is_open = source.told.is_some_and(|told| or_full || !told.full);
                let is_ahead = source.ahead.is_some_and(|(at, _)| now.since(at) >= long);
                **other != address && is_open && is_ahead && source.rests_until <= now
            });
            fit.min_by_key(|(_, source)| source.told.and_then(|told| told.depth)).map(|(&other, _)| other)
        };
        let is_late = idle > patience && ahead(patience, idle > SILENT / 2).is_some();
        let is_settled = self.was_level && now.since(self.settled_at) > SETTLE;
        let lags = ahead(LAGGING + source.round_trip.unwrap_or_default() * 2, false);
        let is_gone = silent > SILENT || (idle > patience && silent > patience && source.is_dumb(now));
        let waits = now.since(self.lacks.1.max(since)) > patience.max(HOLE);
        let lacks = waits && self.other_fills_hole(now, address);
        if refuses || is_gone || is_late || lacks {
            log::debug!(
                "{now:?} {address}: refuses {refuses}, silent {silent:?}, idle {idle:?}, late {is_late}, lacks {lacks}"
            );
            self.set_parent(now, None);
            if let Some(source) = self.sources.get_mut(&address) {
                source.failures += 1;
                source.rests_until =
                    now + (REST * 2u32.saturating_pow(source.failures.min(8) - 1)).min(MAX_REST);
                if is_gone {
                    source.told = None;
                }
            }
            return;
        }
        // Where it said something after that, it is there and has nothing new.
        if idle > patience
            && silent == idle
            && let Some(source) = self.sources.get_mut(&address)
        {
            source.probe(now);
        }
        if let Some(other) = lags.filter(|_| is_settled) {
            log::debug!("{now:?} {address}: lags, left for {other}");
            self.set_parent(now, Some(other));
        }
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
            let others = self.sources.iter().filter(|(address, source)| {
                **address != parent && source.told.is_some() && source.named_by != NamedBy::User
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
        let start = window.wanted().start;
        // One that sent what was not right, though it may have been an old part of it, is the last that is asked.
        let fit = self.sources.iter().filter_map(|(&address, source)| {
            let told = source.told.filter(|told| !told.full || source.rests_until <= now)?;
            let is_there = now.since(source.heard_at) < if told.full { 2 * SILENT } else { SILENT };
            let may = source.rests_until <= now && is_there && told.from <= start && !serves(address);
            may.then_some((
                source.is_suspect,
                told.until <= start,
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
