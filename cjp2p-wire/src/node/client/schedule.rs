//! Which paths to look at, and when: only those that may have something to do, since there can be many.
//!
//! A path is looked at when a datagram came over it and when a time has come that it waits for. One that had nothing to ask
//! for is looked at again when a fetch has changed in a way that may matter to it, and one that was held back because too
//! much is on its way to us, when less is.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::Client;
use super::places::Askers;
use super::put_off::PutOff;
use super::request::send_requests;
use crate::download::HELP_INTERVAL;
use crate::node::shared::Shared;
use crate::peers::address::host_of;
use crate::store::{JobId, Store};
use crate::time::Time;

/// So many paths with nothing to ask for look at a time whether they can help.
const HELPERS: usize = 8;

/// What is asked for at once where nothing but the buffer of the socket limits it: so large a part of the buffer.
const BURST_SHARE: u64 = 8;

/// How long after one of them the next is asked.
const PUT_OFF_SPACING: Duration = Duration::from_millis(5);
/// When a fetch has enough sources, it is looked at again after so long.
const ENOUGH_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Schedule {
    // Invariant: each path with a time to wait for, once, by that time.
    due: BTreeSet<(Time, SocketAddr)>,
    /// Paths that had nothing to ask for.
    idle: BTreeSet<SocketAddr>,
    /// Paths that may have asked for more, had not so much been on its way to us.
    held: BTreeSet<SocketAddr>,
    /// How many turns the idle ones and those held back had.
    turn: usize,
    /// Sources that were named where there were many already.
    pub(super) put_off: PutOff,
    /// When the next of them is asked.
    put_off_until: Time,
    /// Sources that made themselves known by asking us for the same.
    pub(super) askers: Askers,
    /// When the idle ones were last looked at.
    idle_at: Time,
    /// Whether they look from time to time whether they can help.
    may_help: bool,
}

/// These in the order in which they have their turns: one of each host, then the next of each. `turn`: how many turns there were,
/// so that others begin the next time.
fn by_turns(set: &BTreeSet<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let mut hosts: Vec<Vec<SocketAddr>> = Vec::new();
    for &address in set {
        match hosts.last_mut().filter(|host| host_of(host[0]) == host_of(address)) {
            Some(host) => host.push(address),
            None => hosts.push(vec![address]),
        }
    }
    let count = hosts.len().max(1);
    hosts.rotate_left(turn % count);
    for host in &mut hosts {
        let first = turn / count % host.len();
        host.rotate_left(first);
    }
    let longest = hosts.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest).flat_map(|nth| hosts.iter().filter_map(move |host| host.get(nth).copied())).collect()
}

impl Schedule {
    /// Forgets what was noted for a fetch that is over.
    pub(super) fn forget(&mut self, job: JobId) {
        self.askers.forget(job);
        self.put_off.forget(job);
    }

    /// Forgets a path that was to be looked at at this time.
    pub(super) fn forget_path(&mut self, looked_at: Time, address: SocketAddr) {
        self.due.remove(&(looked_at, address));
        self.idle.remove(&address);
        self.held.remove(&address);
    }

    pub(super) fn next_at(&self, now: Time) -> Time {
        let mut due = self.due.first().map_or(Time::NEVER, |&(at, _)| at);
        if !self.put_off.is_empty() {
            due = due.min(self.put_off_until);
        }
        if self.may_help && !self.idle.is_empty() {
            due.min(self.idle_at + HELP_INTERVAL).max(now)
        } else {
            due
        }
    }
}

impl Client {
    /// The paths whose time has come. What is lost on them is given up.
    pub(in crate::node) fn take_due(&mut self, now: Time) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        while let Some(&(at, address)) = self.schedule.due.first()
            && at <= now
        {
            self.schedule.due.pop_first();
            if let Some(path) = self.paths.get_mut(address) {
                path.looked_at = Time::NEVER;
            }
            due.push(address);
        }
        for &address in &due {
            self.detect_losses(now, address);
        }
        due
    }

    /// Notes when the path to `address` is to be looked at next.
    pub(super) fn reschedule(&mut self, now: Time, address: SocketAddr) {
        let Some(path) = self.paths.get_mut(address) else { return };
        let (before, at) = (path.looked_at, path.next_at(now));
        path.looked_at = at;
        if before != at {
            self.schedule.due.remove(&(before, address));
            if at != Time::NEVER {
                self.schedule.due.insert((at, address));
            }
        }
    }

    /// Datagrams came from an address: gives up what is lost on its path, and asks for more.
    pub(in crate::node) fn on_heard(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        store: &mut dyn Store,
    ) {
        if self.paths.has(from) {
            self.detect_losses(now, from);
            self.look_at(shared, now, from, store);
        }
        self.look_at_waiting(shared, now, store);
    }

    /// Looks at paths whose time has come, and at those that wait for something else than a time of their own.
    pub(in crate::node) fn look_at_due(
        &mut self,
        shared: &mut Shared,
        now: Time,
        due: Vec<SocketAddr>,
        store: &mut dyn Store,
    ) {
        for address in due {
            self.look_at(shared, now, address, store);
        }
        self.look_at_waiting(shared, now, store);
    }

    /// Asks the peer at `address` for as much as its path takes.
    fn look_at(&mut self, shared: &mut Shared, now: Time, address: SocketAddr, store: &mut dyn Store) {
        self.paths.recount(address);
        self.schedule.idle.remove(&address);
        self.schedule.held.remove(&address);
        if !self.downloads.is_empty() {
            self.downloads.follow_hints();
            self.ask_for_parts(shared, now, address);
            let mut datagram = None;
            let mut first = true;
            loop {
                let allowance = self.allowance(shared, now, address, first);
                if allowance == 0 {
                    break;
                }
                let Some((job, ask)) = self.next_ask(shared, now, address, allowance, first, store) else {
                    if let Some(path) = self.paths.get_mut(address) {
                        path.path.congestion.on_nothing_to_ask();
                    }
                    self.schedule.idle.insert(address);
                    break;
                };
                self.ask(shared, now, address, job, &ask, &mut datagram);
                first = false;
            }
            send_requests(shared, address, &mut datagram);
        }
        self.reschedule(now, address);
    }

    /// How many bytes of answers may be asked of `address` now; 0 where none may.
    fn allowance(&mut self, shared: &Shared, now: Time, address: SocketAddr, first: bool) -> u64 {
        let Some(contact) = shared.contacts.get(address) else { return 0 };
        let Some(path) = self.paths.get(address) else { return 0 };
        let is_spent = contact.is_only_suggested() && shared.probes.has_had_all(address);
        let allowance = if contact.is_shunned() || is_spent { 0 } else { path.path.allowance(now, first) };
        if allowance == 0 {
            return 0;
        }
        // A first request may always leave, or a buffer smaller than a block would stop everything.
        let left = shared.config.receive_buffer.saturating_sub(self.paths.in_flight());
        // After that a burst leaves only when there is room for much, so that requests can share a datagram.
        let much = if first { shared.config.receive_buffer / BURST_SHARE } else { 0 };
        // And what asks whether a silent peer is back: what it holds of the room is lost, most likely.
        let fits = self.paths.in_flight() == 0
            || path.path.pto_count() > 0
            || left >= much.max(path.width.route() as u64);
        if !fits {
            self.schedule.held.insert(address);
            return 0;
        }
        allowance.min(left.max(1))
    }

    /// Looks at the paths that wait for something else than a time of their own.
    pub(super) fn look_at_waiting(&mut self, shared: &mut Shared, now: Time, store: &mut dyn Store) {
        self.ask_put_off(shared, now);
        let mut changed = false;
        self.schedule.may_help = false;
        let mut due = Vec::new();
        for (_, download) in self.downloads.all_mut() {
            changed |= download.take_changed();
            self.schedule.may_help |= download.is_gathering();
            due.extend(download.take_due(now));
        }
        for address in due {
            self.look_at(shared, now, address, store);
        }
        let helps = self.schedule.may_help && now >= self.schedule.idle_at + HELP_INTERVAL;
        let idle = self.schedule.idle.len();
        let looked = if changed { idle } else { idle.min(HELPERS) };
        if changed || helps {
            self.schedule.idle_at = now;
            let order = by_turns(&self.schedule.idle, self.schedule.turn);
            self.schedule.turn = self.schedule.turn.wrapping_add(looked);
            for &address in order.iter().take(looked) {
                self.look_at(shared, now, address, store);
            }
        }
        self.look_at_held(shared, now, store);
    }

    /// Takes up the next sources of those that were put off.
    fn ask_put_off(&mut self, shared: &mut Shared, now: Time) {
        if now < self.schedule.put_off_until {
            return;
        }
        let Some((job, address, suggested)) = self.schedule.put_off.take(self.paths.places()) else { return };
        self.schedule.put_off_until = now + PUT_OFF_SPACING;
        let Some(download) = self.downloads.get(job) else { return };
        if download.wants_source(address) {
            self.open_source_now(shared, now, job, address, suggested);
        } else {
            self.schedule.put_off.add(job, address, suggested);
            self.schedule.put_off_until = now + ENOUGH_PAUSE / 8;
        }
    }

    /// Looks at the paths that were held back, as far as there is room now.
    fn look_at_held(&mut self, shared: &mut Shared, now: Time, store: &mut dyn Store) {
        let buffer = shared.config.receive_buffer;
        let is_full = |client: &Client, room: u64| {
            let in_flight = client.paths.in_flight();
            in_flight > 0 && in_flight + room > buffer
        };
        let burst = buffer / BURST_SHARE;
        if self.schedule.held.is_empty() || is_full(self, burst) {
            return;
        }
        for address in by_turns(&self.schedule.held, self.schedule.turn) {
            let room = self.paths.get(address).map_or(0, |path| path.width.route() as u64);
            if is_full(self, room.max(burst)) {
                return;
            }
            self.schedule.turn = self.schedule.turn.wrapping_add(1);
            self.look_at(shared, now, address, store);
        }
    }

    /// Asks each peer for as much as its path takes.
    pub(in crate::node) fn ask_everybody(&mut self, shared: &mut Shared, now: Time, store: &mut dyn Store) {
        for address in self.paths.addresses() {
            self.look_at(shared, now, address, store);
        }
        self.look_at_waiting(shared, now, store);
    }
}
