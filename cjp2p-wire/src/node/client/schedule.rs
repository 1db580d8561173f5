//! Which paths to look at, and when: only those that may have something to do, since there can be many.
//!
//! A path is looked at when a datagram came over it and when a time has come that it waits for. One that had nothing to ask
//! for is looked at again when a download has changed in a way that may matter to it, and one that was held back because too
//! much is on its way to us, when less is.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::places::Askers;
use super::put_off::PutOff;
use crate::download::HELP_INTERVAL;
use crate::peers::address::host_of;
use crate::store::JobId;
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Schedule {
    // Invariant: each path with a time to wait for, once, by that time.
    pub(super) due: BTreeSet<(Time, SocketAddr)>,
    /// Paths that had nothing to ask for.
    pub(super) idle: BTreeSet<SocketAddr>,
    /// Paths that may have asked for more, but too much was on its way to us.
    pub(super) held: BTreeSet<SocketAddr>,
    /// How many turns the idle ones and those held back had.
    pub(super) turn: usize,
    /// Sources that were named where there were many already.
    pub(super) put_off: PutOff,
    /// When the next of them is asked.
    pub(super) put_off_until: Time,
    /// Sources that made themselves known by asking us for the same.
    pub(super) askers: Askers,
    /// When the idle ones were last looked at.
    pub(super) idle_at: Time,
    /// Whether they look from time to time whether they can help.
    pub(super) may_help: bool,
}

/// These in the order in which they have their turns: one of each host, then the next of each. `turn`: how many turns there were,
/// so that others begin the next time.
pub(super) fn by_turns(set: &BTreeSet<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
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
    /// Forgets what was noted for a download that is over.
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
