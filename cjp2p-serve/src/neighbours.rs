//! The peers that this node makes itself known to, and tells what it shares, so that they can say where that is; and the table
//! of those that it met.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cjp2p_io::event_loop::Waker;
use cjp2p_io::learned::{Admit, Learned};
use cjp2p_io::lookup::Lookups;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::peer_saver::PeerSaver;
use cjp2p_io::session::Session;
use cjp2p_io::workers::{Crew, Workers};
use cjp2p_wire::message::MAX_IDS;
use cjp2p_wire::node::{Event, Query};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::table::PeerTable;
use cjp2p_wire::store::{Library, Store};
use cjp2p_wire::time::Time;

use crate::library::SharedLibrary;

/// How many of the peers in the table are greeted.
const GREETED: usize = 20;
/// How many of those that were not heard from for a day are asked whether they are still there, beside them.
const TESTED: usize = 4;
/// How often: peers are told of only while they were heard from within 15 minutes.
const GREET_EVERY: Duration = Duration::from_secs(300);
/// How often the peers that the user named are asked whether they are there. A router that lets in only the peers that were asked
/// forgets them after 30 s, and such a peer, itself behind a router, may come at any time.
const KNOCK_EVERY: Duration = Duration::from_secs(20);
/// So long after there is something new to tell it is told: there may be more soon.
const TELL_AFTER: Duration = Duration::from_secs(1);
/// But not oftener than so.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// The table is read now and then.
const READER: Crew = Crew { name: "greetings", threads: 1, most_for_hosts: 0, is_nice: false };
/// How often the table is written.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// See the [module](self).
pub(crate) struct Neighbours {
    table: PeerSaver,
    /// Reads the table where the network does not wait for it,
    reader: Workers<()>,
    /// and gives it here.
    tables: Receiver<PeerTable>,
    /// The names of the command line and the bootstrap list, as they are looked up.
    named: Lookups,
    /// Peers that were greeted, and were not yet taken note of elsewhere.
    met: Vec<SocketAddr>,
    /// The table was read at least once.
    has_read: bool,
    unanswered: Vec<SocketAddr>,
    /// Peers that did not answer since the last greeting: it counts once, however often they are asked.
    silent: BTreeSet<SocketAddr>,
    greet_at: Time,
    knock_at: Time,
    /// Peers that answered the last greeting.
    answered: BTreeSet<SocketAddr>,
    /// When they are told next what is shared here, and not before which time. `None`: nobody is told.
    tell_at: Option<Time>,
    tell_not_before: Time,
    save_at: Time,
    saved_at: Time,
}

impl Neighbours {
    /// Those that were `named`, and those in the table. `tells`: they are told what is shared here. `waker` is woken when the table
    /// was read.
    pub(crate) fn new(file: PeerFile, named: Lookups, now: Time, tells: bool, waker: Waker) -> Neighbours {
        let (sender, tables) = mpsc::channel();
        let of = file.clone();
        let reader = Workers::on_demand(READER, move |()| {
            let (table, warning) = of.load();
            if let Some(warning) = warning {
                log::warn!("{warning}");
            }
            // Fails only at the end.
            let _ = sender.send(table);
            waker.wake();
        });
        Neighbours {
            table: PeerSaver::new(file),
            reader,
            tables,
            named,
            met: Vec::new(),
            has_read: false,
            unanswered: Vec::new(),
            silent: BTreeSet::new(),
            greet_at: now,
            knock_at: now + KNOCK_EVERY,
            answered: BTreeSet::new(),
            tell_at: tells.then_some(Time::NEVER),
            tell_not_before: now,
            save_at: now + SAVE_EVERY,
            saved_at: Time::ZERO,
        }
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        let knock_at = if self.invited().next().is_some() { self.knock_at } else { Time::NEVER };
        self.greet_at.min(knock_at).min(self.save_at).min(self.tell_at.unwrap_or(Time::NEVER))
    }

    /// Does what is due.
    pub(crate) fn turn(&mut self, session: &mut Session<SharedLibrary>) {
        let now = session.now();
        // Those whose names have an address now need not wait for the next greeting.
        let mut greeted: Vec<SocketAddr> =
            self.named.news().into_iter().map(|(address, _)| address).collect();
        if self.greet_at <= now {
            self.greet_at = now + GREET_EVERY;
            self.reader.send(());
        }
        if let Ok(table) = self.tables.try_recv() {
            self.answered.clear();
            self.silent.clear();
            greeted = self.to_greet(&table);
            self.has_read = true;
        }
        self.met.extend(&greeted);
        for address in greeted {
            // A node that only asks whether a peer is there is not validated by it, and so does not become known.
            session.call(|node, now, _| node.query(now, address, Query::Peers, false));
        }
        if self.knock_at <= now {
            self.knock_at = now + KNOCK_EVERY;
            for address in self.invited() {
                session.call(|node, now, _| node.query(now, address, Query::Ping, false));
            }
        }
        if self.tell_at.is_some_and(|at| at <= now) {
            self.tell_at = Some(Time::NEVER);
            self.tell_not_before = now + TELL_EVERY;
            for &to in &self.answered {
                // Each list goes on where the last one ended: others are told of other content, where there is much.
                session.call(|node, now, library| {
                    // A folder stands for all that is in it.
                    let mut ids = library.published();
                    ids.truncate(MAX_IDS / 2);
                    ids.extend(library.list(MAX_IDS - ids.len()).into_iter().map(|(id, _)| id));
                    node.tell_content(now, to, &ids);
                });
            }
        }
        if self.save_at <= now {
            self.save_at = now + SAVE_EVERY;
            self.save(session);
        }
    }

    /// The peers that were greeted since this was last called.
    pub(crate) fn take_met(&mut self) -> Vec<SocketAddr> {
        std::mem::take(&mut self.met)
    }

    /// Whether others may be greeted soon: names are still looked up, or the table is read.
    pub(crate) fn looks(&self) -> bool {
        !self.has_read || self.named.is_pending()
    }

    /// Takes note of what the node reports.
    pub(crate) fn take_event(&mut self, now: Time, event: &Event) {
        match event {
            Event::Unanswered(address) => {
                if self.silent.insert(*address) {
                    self.unanswered.push(*address);
                }
            }
            Event::Answer { from, .. } => {
                if self.answered.insert(*from) {
                    self.have_news(now);
                }
            }
            Event::Download(..)
            | Event::Stream(..)
            | Event::Latest { .. }
            | Event::PathOpened(_)
            | Event::AskLan(_)
            | Event::AskNeighbours(_)
            | Event::Neighbour(_) => {}
        }
    }

    /// There is something to tell: a peer answered that was not told yet, or more is shared.
    pub(crate) fn have_news(&mut self, now: Time) {
        if let Some(at) = &mut self.tell_at {
            *at = (*at).min((now + TELL_AFTER).max(self.tell_not_before));
        }
    }

    /// The peers that the user named.
    fn invited(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let by_user = self.named.addresses().filter(|(_, origin)| **origin == Origin::CommandLine);
        by_user.map(|(address, _)| address)
    }

    /// The named peers, the best known ones, and some of which it is not known whether they are still there. Suggested peers that are
    /// not validated are not among them.
    fn to_greet(&self, table: &PeerTable) -> Vec<SocketAddr> {
        let trusted = |address: &SocketAddr| {
            (table.get(*address)).is_some_and(|peer| peer.is_verified() || peer.origin().is_local())
        };
        let now_ms = unix_ms();
        let best = table.best(2 * GREETED, now_ms).into_iter().filter(trusted).take(GREETED);
        let mut addresses: Vec<SocketAddr> = self.named.addresses().map(|(address, _)| address).collect();
        for address in best.chain(table.doubtful(TESTED, now_ms)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Has the peers that we met written into the table, which other tools may be writing too.
    fn save(&mut self, session: &Session<impl Store>) {
        let since = std::mem::replace(&mut self.saved_at, session.now());
        let unanswered = std::mem::take(&mut self.unanswered);
        let origin = |address| {
            let named = self.named.addresses().find(|(named, _)| *named == address);
            named.map_or(Origin::Incoming, |(_, origin)| origin.clone())
        };
        let learned = Learned::of(session, since, &unanswered, Admit::Lasting, origin);
        self.table.save(learned);
    }

    /// The same at the end, and waits for a moment until it is written.
    pub(crate) fn save_at_end(&mut self, session: &Session<impl Store>) {
        self.save(session);
        self.table.finish();
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
