//! Requests by name: peers are asked what it stands for now, and the newest that any of them knows counts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use cjp2p_io::known_names::Known;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::Query;
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::peers::round::{Next, Round};
use cjp2p_wire::signed::{PointerId, PointsTo, PublicKey, SignedPointer};
use cjp2p_wire::time::Time;

use super::Gateway;
use super::client::Token;
use super::finding::Asked;
use super::names::Naming;
use super::policy;

/// What was heard so lately is true still.
const FRESH: Duration = Duration::from_secs(10);
/// Others may know something newer than the first that answers: they have this time,
const SETTLE: Duration = Duration::from_millis(300);
/// and peers that the user named this.
const SETTLE_NAMED: Duration = Duration::from_secs(1);
/// So long the DHT may take to find somebody.
const DHT_TIMEOUT: Duration = Duration::from_secs(10);
/// Names of which it is remembered when they were heard.
const MAX_HEARD: usize = 1024;
/// Names that are asked for at a time.
const MAX_ASKED: usize = 64;

impl Gateway {
    /// Finds out what a path below a key stands for.
    pub(super) fn begin_name(&mut self, token: Token, asked: Asked, key: PublicKey) {
        let Ok(path) = String::from_utf8(asked.path.join(&b'/')) else {
            return self.answer_line(token, 404, "a name is UTF-8");
        };
        let text = format!("latest/{key}/{path}");
        let candidates = match PointerId::candidates(&text) {
            Ok(candidates) => candidates,
            Err(error) => return self.answer_line(token, 404, &format!("{text}: {error}")),
        };
        let now = self.session.now();
        let heard = |id: &PointerId| {
            let (pointer, at) = self.names.heard.get(id)?;
            (now.since(*at) < FRESH).then(|| pointer.clone())
        };
        if let Some((pointer, depth)) = meant(&candidates, heard) {
            return self.send_named(token, asked, &pointer, depth);
        }
        if let Some(naming) = self.names.asked.get_mut(&text) {
            return naming.waiting.push((token, asked));
        }
        if self.names.asked.len() >= MAX_ASKED {
            return self.answer_line(token, 503, "too many names are asked for at the same time");
        }
        let ids: Vec<PointerId> = candidates.iter().map(|(id, _)| id.clone()).collect();
        let known = Known::of(self.names.files.clone(), ids.iter());
        for pointer in known.pointers() {
            let pointer = pointer.clone();
            self.session.call(|node, _, _| node.know_latest(pointer));
        }
        self.search.look_for_publisher(&key);
        if self.peers.lan_delay().is_some() {
            self.session.call(|node, now, _| node.look_for_neighbours(now));
        }
        let mut round = Round::default();
        let of_user: BTreeSet<SocketAddr> = self.peers.of_user().collect();
        for &address in &of_user {
            round.add_known(address, Origin::CommandLine);
        }
        if !self.peers.is_limited() {
            for &address in self.peers.nearest() {
                round.add_known(address, Origin::Added);
            }
            for (address, peer) in self.peers.others() {
                match peer.suggested {
                    true => round.add_suggested(address, Origin::Incoming),
                    false => round.add_known(address, Origin::Added),
                }
            }
        }
        let waiting = vec![(token, asked)];
        let naming = Naming { waiting, candidates, ids, known, round, of_user, began: now, found_at: None };
        self.names.asked.insert(text, naming);
    }

    /// Asks those whose turn it is, and answers what has settled.
    pub(super) fn look_at_names(&mut self) {
        if self.names.asked.is_empty() {
            return;
        }
        let now = self.session.now();
        let mut settled = Vec::new();
        let is_limited = self.peers.is_limited();
        for (text, naming) in &mut self.names.asked {
            let next_at = loop {
                match naming.round.next(now) {
                    Next::Ask { address, suggested } => {
                        let ids = &naming.ids;
                        self.session
                            .call(|node, now, _| node.ask_latest(now, address, ids, suggested, false));
                        if !suggested && !is_limited {
                            self.session.call(|node, now, _| node.query(now, address, Query::Peers, false));
                        }
                    }
                    Next::Wait(at) => break at,
                }
            };
            let node = self.session.node();
            let may_find_more = self.search.is_on() && now.since(naming.began) < DHT_TIMEOUT;
            let is_pending = node.awaits_latest() > 0
                || next_at != Time::NEVER
                || node.looks_for_neighbours()
                || self.peers.may_have_more()
                || self.session.has_events();
            let has_settled = match naming.found_at {
                _ if now.since(naming.began) >= self.settings.source_timeout => true,
                None => !is_pending && !may_find_more,
                Some(found_at) => {
                    let is_named_awaited =
                        naming.of_user.iter().any(|address| node.awaits_latest_of(*address));
                    let time = if is_named_awaited { SETTLE_NAMED } else { SETTLE };
                    !is_pending || now.since(found_at) >= time
                }
            };
            if has_settled {
                settled.push(text.clone());
            }
        }
        for text in settled {
            if let Some(naming) = self.names.asked.remove(&text) {
                self.on_named(&text, naming);
            }
        }
    }

    fn on_named(&mut self, text: &str, naming: Naming) {
        let Naming { waiting, candidates, known, .. } = naming;
        // Where nobody knows it now, what was known before is still the newest that anybody was seen to say.
        let named = meant(&candidates, |id| known.get(id).map(|(pointer, _)| pointer)).or_else(|| {
            meant(&candidates, |id| known.pointers().find(|pointer| pointer.pointer().id == *id).cloned())
        });
        for (token, asked) in waiting {
            if !self.clients.contains_key(&token) {
                continue;
            }
            match &named {
                Some((pointer, depth)) => self.send_named(token, asked, pointer, *depth),
                None => self.answer_line(token, 404, &format!("{text}: no peer knows what it stands for")),
            }
            self.turn_client(token);
        }
    }

    /// A name of the first `depth` parts of what is asked for stands for this.
    fn send_named(&mut self, token: Token, mut asked: Asked, signed: &SignedPointer, depth: usize) {
        let pointer = signed.pointer();
        let rest = asked.path.split_off(depth.min(asked.path.len()));
        let name = asked.path.last().map(|name| String::from_utf8_lossy(name).into_owned());
        asked.path = rest;
        match (pointer.kind, pointer.blake3) {
            (PointsTo::Folder, Some(root)) => self.begin_finding(token, asked, root, true),
            (_, root) => {
                let id = root.map_or(ContentId::Sha256(pointer.sha256), ContentId::Blake3);
                let policy = policy::below(&asked.request, asked.is_site, &asked.request.path);
                self.send_content(token, asked, id, name, policy::CHANGES, policy);
            }
        }
    }

    /// A peer says what a name stands for.
    pub(super) fn on_latest(&mut self, from: SocketAddr, pointer: &SignedPointer) {
        let now = self.session.now();
        let id = &pointer.pointer().id;
        let mut is_wanted = false;
        for naming in self.names.asked.values_mut().filter(|naming| naming.ids.contains(id)) {
            is_wanted = true;
            naming.found_at.get_or_insert(now);
            naming.known.hear(from, pointer.clone());
        }
        if !is_wanted {
            return;
        }
        let heard = &mut self.names.heard;
        let is_older = heard.get(id).is_some_and(|(known, _)| known.is_newer_than(pointer));
        if !is_older {
            if heard.len() >= MAX_HEARD {
                heard.retain(|_, (_, at)| now.since(*at) < FRESH);
            }
            if heard.len() < MAX_HEARD {
                heard.insert(id.clone(), (pointer.clone(), now));
            }
            self.session.store_mut().know_latest(pointer.clone());
        }
    }

    /// Asks this peer too for the names that are asked for.
    pub(super) fn ask_for_names(&mut self, address: SocketAddr, origin: Origin, is_suggested: bool) {
        for naming in self.names.asked.values_mut() {
            if origin == Origin::CommandLine {
                naming.of_user.insert(address);
            }
            match is_suggested {
                true => naming.round.add_suggested(address, origin.clone()),
                false => naming.round.add_known(address, origin.clone()),
            }
        }
    }

    /// A peer named these, which may know the names that are asked for.
    pub(super) fn add_names_suggestions(&mut self, by: SocketAddr, peers: &[SocketAddr]) {
        if !self.peers.is_limited() {
            self.names.asked.values_mut().for_each(|naming| naming.round.add_suggestions(by, peers));
        }
    }
}

/// Of these candidates the first of which something is known that fits: a file has nothing below it. Gives also of how many parts the
/// name is.
fn meant(
    candidates: &[(PointerId, String)],
    known: impl Fn(&PointerId) -> Option<SignedPointer>,
) -> Option<(SignedPointer, usize)> {
    candidates.iter().find_map(|(id, rest)| {
        let pointer = known(id)?;
        let fits = pointer.pointer().kind == PointsTo::Folder || rest.is_empty();
        fits.then(|| (pointer, id.name.as_str().split('/').count()))
    })
}
