//! Makes known in the Mainline DHT what is shared here.

use std::collections::BTreeMap;

use cjp2p_io::mainline::{Mainline, key, key_of_publisher, meeting_key};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::folder::ListRef;
use cjp2p_wire::peers::announcements::{AGAIN_AFTER, Announcements, Key};
use cjp2p_wire::signed::PublicKey;
use cjp2p_wire::time::Time;

use crate::events::Event;
use crate::file::Ids;
use crate::library::SharedLibrary;

/// See the [module](self).
pub(crate) struct Announcer {
    /// `None` where the DHT is not to be used.
    dht: Option<Mainline>,
    /// Where others reach this node.
    port: u16,
    announcements: Announcements,
    /// Torrents, whose peers call another port, by TCP. As many as are seeded.
    torrents: BTreeMap<Key, u16>,
    /// When the node itself is to be made known again, beside what it shares.
    meet_at: Time,
}

impl Announcer {
    /// Announces by this node of the DHT that content is to be had at `port`.
    pub(crate) fn new(dht: Option<Mainline>, port: u16) -> Announcer {
        let (announcements, torrents) = (Announcements::default(), BTreeMap::new());
        Announcer { dht, port, announcements, torrents, meet_at: Time::ZERO }
    }

    /// Makes it known who publishes here: whoever looks for a name of this key finds this node.
    pub(crate) fn publish(&mut self, publisher: &PublicKey) {
        if self.dht.is_some() {
            self.announcements.share_named(key_of_publisher(publisher));
        }
    }

    /// Makes it known that peers of the torrent with this info hash can call at `port`.
    pub(crate) fn share_torrent(&mut self, info_hash: Key, port: u16) {
        if self.dht.is_some() {
            self.announcements.share_named(info_hash);
            self.torrents.insert(info_hash, port);
        }
    }

    /// From now on others reach this node at another port.
    pub(crate) fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        match self.dht {
            Some(_) => self.announcements.due().min(self.meet_at),
            None => Time::NEVER,
        }
    }

    /// Takes note of what is shared now, and of what is not.
    pub(crate) fn take_events(&mut self, events: &[Event], library: &SharedLibrary) {
        if self.dht.is_none() {
            return;
        }
        for event in events {
            match event {
                Event::Shared { ids, .. } => {
                    keys(ids).for_each(|key| self.announcements.share(key));
                }
                Event::Changed { ids, .. } | Event::Withdrawn { ids, .. } if !library.has(ids) => {
                    keys(ids).for_each(|key| self.announcements.withdraw(&key));
                }
                Event::Published(published) => {
                    keys_of(published.list).for_each(|key| self.announcements.share(key));
                    let replaced = published.replaced.filter(|list| *list != published.list);
                    replaced.into_iter().flat_map(keys_of).for_each(|key| self.announcements.withdraw(&key));
                }
                Event::Changed { .. } | Event::Withdrawn { .. } | Event::Ready { .. } => {}
            }
        }
    }

    /// Takes note of what others are interested in. To be called from time to time.
    pub(crate) fn look_at_use(&mut self, library: &SharedLibrary) {
        if self.dht.is_none() {
            return;
        }
        for ids in library.in_use() {
            keys(&ids).for_each(|key| self.announcements.asked(key));
        }
    }

    /// Announces what is due.
    pub(crate) fn turn(&mut self, now: Time) {
        let Some(dht) = &self.dht else { return };
        if now >= self.meet_at {
            self.meet_at = now + AGAIN_AFTER;
            dht.announce(meeting_key(), self.port);
        }
        if let Some(key) = self.announcements.next(now)
            && !dht.announce(key, self.torrents.get(&key).copied().unwrap_or(self.port))
        {
            log::info!("DHT: earlier announcements are not through yet, one is left out");
        }
    }
}

/// The list of a folder.
fn keys_of(list: ListRef) -> impl Iterator<Item = Key> {
    key(&list.id()).into_iter()
}

fn keys(ids: &Ids) -> impl Iterator<Item = Key> {
    [ContentId::Blake3(ids.blake3), ContentId::Sha256(ids.sha256)].into_iter().filter_map(|id| key(&id))
}
