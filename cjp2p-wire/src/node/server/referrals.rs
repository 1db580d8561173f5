//! Which peers others are told of: peers at random, and those that may have what they ask for. What is looked at for that does not
//! grow with what is known.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;

use super::{Context, Server};
use crate::content_id::ContentId;
use crate::datagram::Encoder;
use crate::node::budget;
use crate::peers::address::{self, Prefix, Scope};

/// Of these, at most this many of one IPv4 /24 or IPv6 /48 where that is public: the owner of many addresses or ports shall not be
/// all that others hear of.
pub(crate) const MAX_TOLD_OF_NEIGHBOURS: usize = 8;
/// Addresses told in one referral, at most.
pub(crate) const MAX_REFERRED: usize = 6;
/// Contacts that are looked at for each one to be told.
const LOOKED_AT_FOR_EACH: usize = 4;
/// And beside these.
const LOOKED_AT: usize = 8;
/// Sources of a download that are looked at for a referral.
const SOURCES_LOOKED_AT: usize = 32;

/// Contacts that are looked at to tell of `most`.
fn looked_at(most: usize) -> usize {
    LOOKED_AT_FOR_EACH * most + LOOKED_AT
}

/// What looking for `most` peers costs.
pub(super) fn cost_of_peers(most: usize) -> u64 {
    looked_at(most) as u64
}

/// What a referral costs.
pub(super) const COST_OF_REFERRAL: u64 = budget::REFERRAL + (SOURCES_LOOKED_AT * 2) as u64;

impl Server {
    /// Answers that others may have what is not given here. `part` is what of a request for several blocks is not; of a request for
    /// one it goes without saying. `withdrawn`: it was here.
    pub(super) fn refer(
        &mut self,
        cx: &mut Context<'_>,
        from: SocketAddr,
        wire_id: &str,
        part: Range<u64>,
        blocks: bool,
        withdrawn: bool,
    ) {
        let cost = COST_OF_REFERRAL + cost_of_peers(MAX_REFERRED);
        let Ok(id) = ContentId::parse(wire_id) else { return };
        if !cx.shared.budget.may_begin(cx.now, from, cost) {
            return;
        }
        let asks_for_peers = cx.shared.contacts.get(from).is_some_and(|contact| contact.asks_for_peers);
        let at_random = if asks_for_peers { 0 } else { MAX_REFERRED };
        let peers = self.referred_for(cx, from, &id, MAX_REFERRED, at_random);
        let length = part.end - part.start;
        // A request for one byte only asks which peers have it. In the name of a source that only echoes, another may have asked.
        let is_known =
            cx.shared.contacts.get(from).is_some_and(|contact| contact.returned_always_lately(cx.now));
        if cx.shared.config.answers && length > 1 && is_known {
            self.providers.note(cx.now, &id, from);
        }
        let mut encoder = Encoder::new();
        cx.shared.write_cookies_beside_answer(cx.now, from, &mut encoder);
        encoder.refusal(wire_id, &peers, blocks.then_some(part), withdrawn);
        self.send_small(cx, from, encoder.finish(0));
    }

    /// Sends an answer that is not content to a validated source, where the upload rate has room for it.
    pub(super) fn send_small(&mut self, cx: &mut Context<'_>, to: SocketAddr, bytes: Vec<u8>) {
        if cx.shared.budget.may_send(cx.now, bytes.len()) && self.turns.may_send_small(cx.now, to) {
            self.turns.on_sent(cx.now, to, bytes.len());
            cx.shared.send(to, bytes);
        }
    }

    /// Which others may have `id`: `most` of those that we download it from, that download it from us, or that lately asked for it
    /// or said that they have it; or else this many peers `at_random`.
    pub(super) fn referred_for(
        &self,
        cx: &mut Context<'_>,
        to: SocketAddr,
        id: &ContentId,
        most: usize,
        at_random: usize,
    ) -> Vec<SocketAddr> {
        if !cx.shared.config.answers {
            return Vec::new();
        }
        let mut serving: Vec<SocketAddr> = Vec::new();
        let download = cx.downloads.of(id);
        serving.extend(download.into_iter().flat_map(|it| it.serving_near(to, SOURCES_LOOKED_AT)));
        serving.extend(self.upload_slots.served(id));
        serving.extend(self.providers.of(cx.now, id));
        cx.shared.budget.count(COST_OF_REFERRAL);
        cx.shared.random.shuffle(&mut serving);
        let mut fitting: Vec<SocketAddr> = Vec::new();
        for peer in serving.into_iter().take(looked_at(most)) {
            let fits = peer != to
                && (to.is_ipv6() || peer.is_ipv4())
                && !fitting.contains(&peer)
                && address::may_suggest(to, peer)
                && cx.shared.contacts.get(peer).is_some_and(|contact| contact.is_presentable(cx.now));
            if fits {
                fitting.push(peer);
            }
            if fitting.len() == most {
                break;
            }
        }
        if fitting.is_empty() {
            return peers_for(cx, to, at_random);
        }
        fitting
    }
}

/// Peers to tell `to` of, at random. A source on IPv4 is told of IPv4 only: some nodes die of other addresses.
pub(super) fn peers_for(cx: &mut Context<'_>, to: SocketAddr, most: usize) -> Vec<SocketAddr> {
    if most == 0 {
        return Vec::new();
    }
    let looked = looked_at(most);
    cx.shared.budget.count(looked as u64);
    let mut fitting = cx.shared.contacts.some_presentable(cx.now, to, looked, &mut cx.shared.random);
    let mut told: BTreeMap<Prefix, usize> = BTreeMap::new();
    fitting.retain(|peer| {
        let told = told.entry(Prefix::narrow(peer.ip())).or_insert(0);
        let fits = *peer != to && address::may_suggest(to, *peer);
        *told += usize::from(fits);
        fits && (*told <= MAX_TOLD_OF_NEIGHBOURS || Scope::of(*peer) != Scope::Public)
    });
    fitting.truncate(most);
    fitting
}
