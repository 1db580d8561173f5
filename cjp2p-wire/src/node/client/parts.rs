//! Asking sources which parts they have, and taking in what they say.

use std::net::SocketAddr;

use super::Client;
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::download::PathTerms;
use crate::message::TheseParts;
use crate::node::inbound::Inbound;
use crate::node::shared::Shared;
use crate::store::{JobId, Store};
use crate::time::Time;

impl Client {
    /// Takes in which parts a source of ours says that it has.
    pub(super) fn take_parts(
        &mut self,
        now: Time,
        inbound: &Inbound<'_>,
        told: &TheseParts<'_>,
        store: &mut dyn Store,
    ) {
        // No peer shall speak for others here: what is told decides whom we ask.
        if !inbound.is_validated() {
            return;
        }
        let Ok(id) = ContentId::parse(&told.id) else { return };
        let Some(job) = self.downloads.job_of(&id) else { return };
        let Some(path) = self.paths.get(inbound.from) else { return };
        let (round_trip, is_short) = (path.path.rtt.smoothed(), path.path.is_short());
        let rate = path.path.congestion.rate();
        let terms = PathTerms {
            block: 0,
            tree_block: 0,
            least_block: 0,
            probe_block: 0,
            blocks: 1,
            round_trip,
            is_short,
            rate,
        };
        if let Some(download) = self.downloads.get_mut(job) {
            download.on_have(now, inbound.from, told, terms, store);
        }
    }

    /// Asks a source which parts it has, where a download wants to know now.
    pub(super) fn ask_for_parts(&mut self, shared: &mut Shared, now: Time, address: SocketAddr) {
        let Some(path) = self.paths.get(address) else { return };
        let Some(contact) = shared.contacts.get(address) else { return };
        // A peer that gave us no cookie may know of no such questions.
        if contact.cookies.theirs.is_none() || contact.is_shunned() || contact.is_only_suggested() {
            for (_, download) in self.downloads.all_mut() {
                download.put_off_parts_question(now, address);
            }
            return;
        }
        let round_trip = path.path.rtt.smoothed();
        let questions = self
            .downloads
            .all_mut()
            .filter_map(|(job, download)| Some((job, download.parts_question(now, address, round_trip)?)));
        let questions: Vec<(JobId, u64)> = questions.collect();
        for (job, offset) in questions {
            let mut encoder = Encoder::new();
            shared.write_cookies(now, address, true, &mut encoder);
            let Some(wire_id) = self.downloads.wire_id(job) else { continue };
            encoder.which_parts(wire_id, offset);
            shared.send(address, encoder.finish(0));
        }
    }
}
