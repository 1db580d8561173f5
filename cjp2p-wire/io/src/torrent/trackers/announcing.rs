//! `Announcing`: one torrent and its trackers.

use std::net::SocketAddr;

use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::peer_id::PeerId;
use cjp2p_torrent::tracker::{Announce, Announcer, Answer, Ask, Moment, TrackerError};
use cjp2p_wire::time::Time;

use super::asking::Trackers;

/// Which torrent, and who we are.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Our name.
    pub peer_id: PeerId,
    /// Where we accept connections.
    pub port: u16,
}

/// What trackers are told of a torrent, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Sent to peers.
    pub uploaded: u64,
    /// Received from peers.
    pub downloaded: u64,
    /// Not here yet.
    pub left: u64,
}

/// Trackers of which one is asked at a time.
#[derive(Debug)]
struct List {
    announcer: Announcer,
    /// The user named them.
    is_trusted: bool,
    /// The question that is open: its number, why it was asked, and of whom.
    open: Option<(u64, Option<Moment>, String)>,
}

/// Asks the trackers of one torrent in time: each that the user named, and one of those that the torrent names.
#[derive(Debug)]
pub struct Announcing {
    // Invariant: one for each tracker that the user named, and one of the torrent; none is empty.
    lists: Vec<List>,
    ours: Ours,
    key: u32,
    allow_private: bool,
}

impl Announcing {
    /// The trackers that the user named, `trusted`, and those of the torrent in `tiers`. With `allow_private` these may be in a private
    /// network too.
    #[must_use]
    pub fn new(
        now: Time,
        ours: Ours,
        trusted: &[String],
        tiers: &[Vec<String>],
        allow_private: bool,
        random: &mut fastrand::Rng,
    ) -> Announcing {
        let mut lists = Vec::new();
        for url in trusted {
            let announcer = Announcer::new(now, &[vec![url.clone()]], random);
            lists.push(List { announcer, is_trusted: true, open: None });
        }
        let others: Vec<Vec<String>> = tiers
            .iter()
            .map(|tier| tier.iter().filter(|url| !trusted.contains(url)).cloned().collect())
            .collect();
        let announcer = Announcer::new(now, &others, random);
        if !announcer.is_empty() {
            lists.push(List { announcer, is_trusted: false, open: None });
        }
        Announcing { lists, ours, key: random.u32(..), allow_private }
    }

    /// Whether there is no tracker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// When to call [`turn`](Announcing::turn).
    #[must_use]
    pub fn next_at(&self) -> Time {
        self.lists.iter().map(|list| list.announcer.next_at()).min().unwrap_or(Time::NEVER)
    }

    /// Asks whom it is time to ask.
    pub fn turn(&mut self, now: Time, figures: Figures, trackers: &mut Trackers) {
        for nth in 0..self.lists.len() {
            if let Some(ask) = self.lists[nth].announcer.next_ask(now) {
                let number = self.ask(&ask, self.lists[nth].is_trusted, figures, trackers);
                self.lists[nth].open = Some((number, ask.moment, ask.url));
            }
        }
    }

    /// Everything is here that was not when it began.
    pub fn on_complete(&mut self, now: Time) {
        self.lists.iter_mut().for_each(|list| list.announcer.on_complete(now));
    }

    /// An answer of [`Trackers::take_answers`]: the peers, if it is of this torrent.
    pub fn take_answer(
        &mut self,
        now: Time,
        nth: u64,
        answer: &Result<Answer, TrackerError>,
    ) -> Option<Vec<SocketAddr>> {
        let is_it = |list: &&mut List| list.open.as_ref().is_some_and(|open| open.0 == nth);
        let list = self.lists.iter_mut().find(is_it)?;
        let (_, moment, url) = list.open.take()?;
        match answer {
            Ok(answer) => log::debug!("{url}: {} peers", answer.peers.len()),
            Err(error) => log::info!("{url}: {error}"),
        }
        list.announcer.on_answer(now, moment, answer);
        Some(answer.as_ref().map_or_else(|_| Vec::new(), |answer| answer.peers.clone()))
    }

    /// Says good-bye to the trackers that know us.
    pub fn stop(&mut self, figures: Figures, trackers: &mut Trackers) {
        for list in &self.lists {
            for ask in list.announcer.stop() {
                self.ask(&ask, list.is_trusted, figures, trackers);
            }
        }
    }

    fn ask(&self, ask: &Ask, is_trusted: bool, figures: Figures, trackers: &mut Trackers) -> u64 {
        let announce = Announce {
            info_hash: self.ours.info_hash,
            peer_id: self.ours.peer_id,
            port: self.ours.port,
            uploaded: figures.uploaded,
            downloaded: figures.downloaded,
            left: figures.left,
            moment: ask.moment,
            want: ask.want,
            key: self.key,
            tracker_id: ask.tracker_id.clone(),
        };
        trackers.ask(&ask.url, &announce, is_trusted, self.allow_private)
    }
}
