//! Viewers of other programs. They ask for block after block, and each arrival makes them ask for one more, whichever that is: so a
//! request says that something came, and not what is missing. What is lost they notice after a second without any arrival.
//!
//! They are served by stop and wait: a few blocks in one datagram, in order; any request confirms it; it is sent again when none comes.
//! A request for what is not here yet waits for it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::path::rtt::Rtt;
use crate::peers::address::host_of;
use crate::time::Time;

/// Such viewers of one stream.
pub(crate) const MAX_PLAIN: usize = 32;
/// Of one [host](host_of).
const MAX_OF_HOST: usize = 4;
/// One that asks for nothing for so long is gone.
const GONE: Duration = Duration::from_secs(30);
/// Blocks in one datagram: more would not fit, and each is cut into four packets.
const MAX_TOGETHER: u64 = 4;
/// A request that comes so soon after a datagram left is not an answer to it: sometimes one comes in a datagram of its own just before.
const TOO_SOON: Duration = Duration::from_micros(500);
/// What is not confirmed is sent again after one and a half round trips and this, twice as long each time.
const GRACE: Duration = Duration::from_millis(20);
/// The round trip before any was measured.
const FIRST_ROUND_TRIP: Duration = Duration::from_millis(100);
/// It is sent so often.
const MAX_TRIES: u32 = 8;
/// So many requests for one block within this time say that it is missing: they come in threes or sixes after a second of silence.
const INSISTS: u32 = 3;
const WITHIN: Duration = Duration::from_millis(300);
/// A request for a block that is further ahead than this says that somebody reads elsewhere.
const FAR: u64 = 256;

#[derive(Debug)]
struct Flying {
    end: u64,
    sent_at: Time,
    tries: u32,
}

#[derive(Debug)]
struct Viewer {
    /// All blocks before this one were confirmed, or not wanted.
    next: u64,
    flying: Option<Flying>,
    /// Blocks in the next datagram.
    together: u64,
    rtt: Rtt,
    heard_at: Time,
    // The block that was asked for last, how often in a row, and since when.
    asked: (u64, u32, Time),
}

impl Viewer {
    fn resend_at(&self) -> Option<Time> {
        let flying = self.flying.as_ref()?;
        let round_trip = if self.rtt.is_known() { self.rtt.smoothed() } else { FIRST_ROUND_TRIP };
        Some(flying.sent_at + (round_trip * 3 / 2 + GRACE) * 2u32.pow(flying.tries.clamp(1, 6) - 1))
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct PlainViewers {
    // Invariant: at most `MAX_PLAIN`.
    by_address: BTreeMap<SocketAddr, Viewer>,
}

impl PlainViewers {
    /// One asks for a block.
    pub(super) fn ask(&mut self, now: Time, from: SocketAddr, index: u64) {
        if !self.by_address.contains_key(&from) {
            let of_host = self.by_address.keys().filter(|other| host_of(**other) == host_of(from)).count();
            if self.by_address.len() >= MAX_PLAIN || (of_host >= MAX_OF_HOST && !from.ip().is_loopback()) {
                return;
            }
            let asked = (index, 0, now);
            let (flying, rtt) = (None, Rtt::default());
            self.by_address
                .insert(from, Viewer { next: index, flying, together: 1, rtt, heard_at: now, asked });
        }
        let Some(viewer) = self.by_address.get_mut(&from) else { return };
        viewer.heard_at = now;
        let (asked, times, since) = viewer.asked;
        let is_same = asked == index && now.since(since) < WITHIN;
        viewer.asked = if is_same { (index, times + 1, since) } else { (index, 1, now) };
        if let Some(Flying { end, sent_at, tries }) = viewer.flying {
            let after = now.since(sent_at);
            if after < TOO_SOON {
                return;
            }
            if tries == 1 {
                viewer.rtt.sample(now, after);
                viewer.together = (viewer.together + 1).min(MAX_TOGETHER);
            }
            viewer.next = end;
            viewer.flying = None;
        } else if index > viewer.next + FAR || (index < viewer.next && viewer.asked.1 == INSISTS) {
            viewer.next = index;
        }
    }

    /// Those that are sent something if it is here: each with the first block, and how many.
    pub(super) fn waiting(&self) -> Vec<(SocketAddr, u64, u64)> {
        let waits = self.by_address.iter().filter(|(_, viewer)| viewer.flying.is_none());
        waits.map(|(&address, viewer)| (address, viewer.next, viewer.together)).collect()
    }

    /// These blocks left for one.
    pub(super) fn on_sent(&mut self, now: Time, to: SocketAddr, end: u64, tries: u32) {
        if let Some(viewer) = self.by_address.get_mut(&to) {
            viewer.flying = Some(Flying { end, sent_at: now, tries });
        }
    }

    /// There is nothing at this block, and something further on.
    pub(super) fn skip(&mut self, address: SocketAddr, next: u64) {
        if let Some(viewer) = self.by_address.get_mut(&address) {
            viewer.next = next;
        }
    }

    /// What was not confirmed in time: to whom, the first block, how many, and how often it was sent. Those that are gone are forgotten.
    pub(super) fn take_overdue(&mut self, now: Time) -> Vec<(SocketAddr, u64, u64, u32)> {
        self.by_address.retain(|_, viewer| {
            let is_vain = viewer.flying.as_ref().is_some_and(|flying| flying.tries >= MAX_TRIES)
                && viewer.resend_at().is_some_and(|at| at <= now);
            now.since(viewer.heard_at) < GONE && !is_vain
        });
        let overdue = self.by_address.iter_mut().filter_map(|(&address, viewer)| {
            let (end, tries) = viewer.flying.as_ref().map(|flying| (flying.end, flying.tries))?;
            viewer.resend_at().filter(|at| *at <= now)?;
            viewer.together = 1;
            Some((address, viewer.next, end - viewer.next, tries))
        });
        overdue.collect()
    }

    /// When something is overdue, or one is gone.
    pub(super) fn next_at(&self) -> Time {
        let at = |viewer: &Viewer| viewer.resend_at().unwrap_or(Time::NEVER).min(viewer.heard_at + GONE);
        self.by_address.values().map(at).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::port_of;

    fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn any_request_confirms_what_is_in_flight_and_an_early_one_does_not() {
        let (mut all, viewer) = (PlainViewers::default(), port_of(1, 1));
        all.ask(at(0), viewer, 0);
        assert_eq!(all.waiting(), [(viewer, 0, 1)]);
        all.on_sent(at(0), viewer, 1, 1);
        all.ask(at(0), viewer, 7);
        assert_eq!(all.waiting(), [], "it came too soon");
        all.ask(at(40), viewer, 7);
        assert_eq!(all.waiting(), [(viewer, 1, 2)], "one more came, whatever it asks for");
        all.on_sent(at(40), viewer, 3, 1);
        assert_eq!(all.next_at(), at(40 + 60 + 20));
        assert_eq!(all.take_overdue(at(119)), []);
        assert_eq!(all.take_overdue(at(120)), [(viewer, 1, 2, 1)]);
        all.on_sent(at(120), viewer, 3, 2);
        assert_eq!(all.next_at(), at(120 + 160), "it waits longer each time");
    }

    #[test]
    fn one_that_insists_gets_it_again_and_an_echo_does_not() {
        let (mut all, viewer) = (PlainViewers::default(), port_of(1, 1));
        all.ask(at(0), viewer, 5);
        all.on_sent(at(0), viewer, 6, 1);
        all.ask(at(10), viewer, 6);
        for ms in [1000, 1001] {
            all.ask(at(ms), viewer, 5);
            assert_eq!(all.waiting(), [(viewer, 6, 2)]);
        }
        all.ask(at(1002), viewer, 5);
        assert_eq!(all.waiting(), [(viewer, 5, 2)]);
        all.ask(at(1003), viewer, 5 + FAR + 1);
        assert_eq!(all.waiting(), [(viewer, 5 + FAR + 1, 2)]);
    }

    #[test]
    fn there_is_a_limit_and_who_is_gone_is_forgotten() {
        let mut all = PlainViewers::default();
        for host in 0..=255 {
            for port in 1..9 {
                all.ask(at(0), port_of(host, port), 0);
            }
        }
        assert_eq!(all.len(), MAX_PLAIN);
        assert_eq!(
            all.by_address.keys().filter(|address| host_of(**address) == host_of(port_of(0, 1))).count(),
            MAX_OF_HOST
        );
        all.take_overdue(at(30_000));
        assert_eq!((all.len(), all.next_at()), (0, Time::NEVER));
    }
}
