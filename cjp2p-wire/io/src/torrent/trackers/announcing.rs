//! `Announcing`: one torrent and its trackers.

use std::collections::BTreeSet;
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

/// Asks the trackers of one torrent in time.
#[derive(Debug)]
pub struct Announcing {
    announcer: Announcer,
    ours: Ours,
    key: u32,
    /// Trackers that the user named.
    trusted: BTreeSet<String>,
    allow_private: bool,
    /// The question that is open: its number, why it was asked, and of whom.
    open: Option<(u64, Option<Moment>, String)>,
}

impl Announcing {
    /// The trackers that the user named, `trusted`, come before those of the torrent.
    #[must_use]
    pub fn new(
        now: Time,
        ours: Ours,
        trusted: &[String],
        tiers: &[Vec<String>],
        allow_private: bool,
        random: &mut fastrand::Rng,
    ) -> Announcing {
        let mut all: Vec<Vec<String>> = trusted.iter().map(|url| vec![url.clone()]).collect();
        all.extend_from_slice(tiers);
        Announcing {
            announcer: Announcer::new(now, &all, random),
            ours,
            key: random.u32(..),
            trusted: trusted.iter().cloned().collect(),
            allow_private,
            open: None,
        }
    }

    /// Whether there is no tracker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.announcer.is_empty()
    }

    /// When to call [`turn`](Announcing::turn).
    #[must_use]
    pub fn next_at(&self) -> Time {
        self.announcer.next_at()
    }

    /// Asks the next tracker, if it is time.
    pub fn turn(&mut self, now: Time, figures: Figures, trackers: &mut Trackers) {
        if let Some(ask) = self.announcer.next_ask(now) {
            let nth = self.ask(&ask, figures, trackers);
            self.open = Some((nth, ask.moment, ask.url));
        }
    }

    /// Everything is here that was not when it began.
    pub fn on_complete(&mut self, now: Time) {
        self.announcer.on_complete(now);
    }

    /// An answer of [`Trackers::take_answers`]: the peers, if it is of this torrent.
    pub fn take_answer(
        &mut self,
        now: Time,
        nth: u64,
        answer: &Result<Answer, TrackerError>,
    ) -> Option<Vec<SocketAddr>> {
        let (_, moment, url) = self.open.take_if(|open| open.0 == nth)?;
        match answer {
            Ok(answer) => log::debug!("{url}: {} peers", answer.peers.len()),
            Err(error) => log::info!("{url}: {error}"),
        }
        self.announcer.on_answer(now, moment, answer);
        Some(answer.as_ref().map_or_else(|_| Vec::new(), |answer| answer.peers.clone()))
    }

    /// Says good-bye to the trackers that know us.
    pub fn stop(&mut self, figures: Figures, trackers: &mut Trackers) {
        for ask in self.announcer.stop() {
            self.ask(&ask, figures, trackers);
        }
    }

    fn ask(&self, ask: &Ask, figures: Figures, trackers: &mut Trackers) -> u64 {
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
        trackers.ask(&ask.url, &announce, self.trusted.contains(&ask.url), self.allow_private)
    }
}
