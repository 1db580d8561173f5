//! Looking at paths: giving up what is lost, and asking for more, when the schedule says so.

use std::net::SocketAddr;
use std::time::Duration;

use super::Client;
use super::request::send_requests;
use super::schedule::by_turns;
use crate::download::HELP_INTERVAL;
use crate::node::shared::Shared;
use crate::store::Store;
use crate::time::Time;

/// This many paths with nothing to ask for look at a time whether they can help.
const HELPERS: usize = 8;
/// What is asked for at once where nothing but the buffer of the socket limits it: this part of the buffer.
const BURST_SHARE: u64 = 8;
/// How long after one of them the next is asked.
const PUT_OFF_SPACING: Duration = Duration::from_millis(5);
/// When a download has enough sources, it is looked at again after this time.
const ENOUGH_PAUSE: Duration = Duration::from_secs(1);

impl Client {
    /// The paths whose time has come. What is lost on them is given up.
    pub(crate) fn take_due(&mut self, now: Time) -> Vec<SocketAddr> {
        self.downloads.wake_due(now);
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
    pub(crate) fn on_heard(
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
    pub(crate) fn look_at_due(
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
                self.downloads.rest(now, job);
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
        let mut changed = self.downloads.take_fresh_came();
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
    pub(crate) fn ask_everybody(&mut self, shared: &mut Shared, now: Time, store: &mut dyn Store) {
        for address in self.paths.addresses() {
            self.look_at(shared, now, address, store);
        }
        self.look_at_waiting(shared, now, store);
    }
}
