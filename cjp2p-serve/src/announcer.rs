//! Makes known in the Mainline DHT what is shared here.

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::io::mainline::{Mainline, key};
use cjp2p_wire::peers::announcements::{Announcements, Key};
use cjp2p_wire::time::Time;

use crate::events::Event;
use crate::index::Ids;
use crate::share::Share;

/// See the [module](self).
pub(crate) struct Announcer {
    /// `None` where the DHT is not to be used.
    dht: Option<Mainline>,
    /// Where others reach this node.
    port: u16,
    announcements: Announcements,
}

impl Announcer {
    /// Announces by this node of the DHT that content is to be had at `port`.
    pub(crate) fn new(dht: Option<Mainline>, port: u16) -> Announcer {
        Announcer { dht, port, announcements: Announcements::default() }
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        self.announcements.due()
    }

    /// Takes note of what is shared now, and of what is not.
    pub(crate) fn take_events(&mut self, events: &[Event], share: &Share) {
        if self.dht.is_none() {
            return;
        }
        for event in events {
            match event {
                Event::Shared { ids, .. } => {
                    keys(ids).for_each(|key| self.announcements.share(key));
                }
                Event::Changed { ids, .. } | Event::Withdrawn { ids, .. } if !share.has(ids) => {
                    keys(ids).for_each(|key| self.announcements.withdraw(&key));
                }
                Event::Changed { .. } | Event::Withdrawn { .. } | Event::Ready { .. } => {}
            }
        }
    }

    /// Takes note of what others are interested in. To be called from time to time.
    pub(crate) fn look_at_use(&mut self, share: &Share) {
        if self.dht.is_none() {
            return;
        }
        for ids in share.in_use() {
            keys(&ids).for_each(|key| self.announcements.asked(key));
        }
    }

    /// Announces what is due.
    pub(crate) fn turn(&mut self, now: Time) {
        let Some(dht) = &self.dht else { return };
        if let Some(key) = self.announcements.next(now)
            && !dht.announce(key, self.port)
        {
            log::info!("DHT: earlier announcements are not through yet, one is left out");
        }
    }
}

fn keys(ids: &Ids) -> impl Iterator<Item = Key> {
    [ContentId::Blake3(ids.blake3), ContentId::Sha256(ids.sha256)].into_iter().filter_map(|id| key(&id))
}
