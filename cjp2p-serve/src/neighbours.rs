//! The peers that this node makes itself known to, and the table of those that it met.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cjp2p_wire::io::event_loop::EventLoop;
use cjp2p_wire::io::peer_file::PeerFile;
use cjp2p_wire::node::{Event, Node, Question};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::time::Time;

/// How many of the peers in the table are greeted.
const GREETED: usize = 20;
/// How many of those that were not heard from for a day are asked whether they are still there, beside them.
const TESTED: usize = 4;
/// How often: peers are told of only while they were heard from within 15 minutes.
const GREET_EVERY: Duration = Duration::from_secs(300);
/// How often the table is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(crate) struct Neighbours {
    file: PeerFile,
    /// Addresses from the command line and the bootstrap list.
    named: Vec<(SocketAddr, Origin)>,
    unanswered: Vec<SocketAddr>,
    greet_at: Time,
    save_at: Time,
    saved_at: Time,
}

impl Neighbours {
    /// Those that were `named`, and those in the table.
    pub(crate) fn new(file: PeerFile, named: Vec<(SocketAddr, Origin)>, now: Time) -> Neighbours {
        Neighbours {
            file,
            named,
            unanswered: Vec::new(),
            greet_at: now,
            save_at: now + SAVE_EVERY,
            saved_at: Time::ZERO,
        }
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        self.greet_at.min(self.save_at)
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, event_loop: &mut EventLoop, node: &mut Node, events: &mut Vec<Event>) {
        let now = event_loop.now();
        if self.greet_at <= now {
            self.greet_at = now + GREET_EVERY;
            for address in self.to_greet() {
                // Whoever only asks whether somebody is there is not asked to prove itself, and so does not become known.
                node.inquire(event_loop.now(), address, Question::Peers, false);
                event_loop.drain(node, events);
            }
        }
        if self.save_at <= now {
            self.save_at = now + SAVE_EVERY;
            self.save(event_loop, node);
        }
    }

    /// Takes note of what the node reports.
    pub(crate) fn take_event(&mut self, event: &Event) {
        if let Event::Unanswered(address) = event {
            self.unanswered.push(*address);
        }
    }

    /// Those named, the best known ones, and some of which it is not known whether they are still there. What a stranger suggested is not among them.
    fn to_greet(&self) -> Vec<SocketAddr> {
        let (table, warning) = self.file.load();
        if let Some(warning) = warning {
            log::warn!("{warning}");
        }
        let trusted = |address: &SocketAddr| {
            (table.get(*address)).is_some_and(|peer| peer.is_verified() || peer.origin().is_local())
        };
        let now_ms = unix_ms();
        let best = table.best(2 * GREETED, now_ms).into_iter().filter(trusted).take(GREETED);
        let mut addresses: Vec<SocketAddr> = self.named.iter().map(|(address, _)| *address).collect();
        for address in best.chain(table.doubtful(TESTED, now_ms)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Writes whom we met into the table, which other tools may be writing too.
    pub(crate) fn save(&mut self, event_loop: &EventLoop, node: &Node) {
        let since = std::mem::replace(&mut self.saved_at, event_loop.now());
        let unanswered = std::mem::take(&mut self.unanswered);
        let saved = self.file.record(event_loop, node, since, &unanswered, |address| {
            let named = self.named.iter().find(|(named, _)| *named == address);
            named.map_or(Origin::Incoming, |(_, origin)| origin.clone())
        });
        match saved {
            Ok(None) => {}
            Ok(Some(warning)) => log::warn!("{warning}"),
            Err(error) => log::warn!("peer table: {error}"),
        }
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
