//! Queries to single peers that are not about downloads: is it there, which peers does it know, what does it share.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::lan::Lan;
use super::list_reader::{ListReader, MAX_ALL_AHEAD_BYTES, Then};
use crate::datagram::Encoder;
use crate::message::{ContentList, Message};
use crate::node::contacts::MAX_CONTACTS;
use crate::node::event::{Answer, Event, Query};
use crate::node::inbound::Inbound;
use crate::node::shared::Shared;
use crate::time::Time;

/// When a question is asked again, and at last given up.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(1500),
    Duration::from_millis(2000),
];
/// The same for an address that only another peer named, and that may want nothing of us.
const SPARING_PAUSES: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(2000)];
/// The same for the next part of a list, of which some came: the peer is there, and only loss can be why nothing comes.
const LIST_PAUSES: [Duration; 16] = [Duration::from_millis(500); 16];
/// A question is padded to this size: a peer that does not know us answers with little more than we send.
const PAD: usize = 600;
/// The same for an address that only another peer named, until it is validated.
const SPARING_PAD: usize = 256;

/// Queries that may be open: no more than there can be contacts, since answers are taken only from those. More count as not
/// answered.
pub(crate) const MAX_QUERIES: usize = MAX_CONTACTS;

#[derive(Debug)]
struct OpenQuery {
    sent_at: Time,
    next_at: Time,
    tries: usize,
    answered: bool,
    sparing: bool,
    /// What came of a list.
    list: ListReader,
}

impl OpenQuery {
    fn pauses(&self) -> &'static [Duration] {
        match self.sparing {
            _ if self.list.is_in_parts() => &LIST_PAUSES,
            true => &SPARING_PAUSES,
            false => &PAUSES,
        }
    }
}

/// Questions under way.
#[derive(Debug, Default)]
pub(super) struct Queries {
    // Invariant: at most `MAX_QUERIES`.
    open: BTreeMap<(SocketAddr, Query), OpenQuery>,
    // Invariant: the sum of what the lists of all of them keep.
    ahead_bytes: usize,
}

impl Queries {
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.open.range((address, Query::Ping)..=(address, Query::List)).next().is_some()
    }

    /// How many questions are open, and about how many bytes of lists are kept until their turn.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.open.len(), self.ahead_bytes)
    }

    fn remove(&mut self, key: &(SocketAddr, Query)) {
        if let Some(query) = self.open.remove(key) {
            self.ahead_bytes -= query.list.ahead_bytes();
        }
    }

    pub(super) fn next_at(&self) -> Time {
        self.open.values().map(|query| query.next_at).min().unwrap_or(Time::NEVER)
    }

    /// Drops all questions to a peer; returns whether there were any.
    pub(super) fn give_up(&mut self, address: SocketAddr) -> bool {
        let before = self.open.len();
        for question in [Query::Ping, Query::Peers, Query::List] {
            self.remove(&(address, question));
        }
        self.open.len() < before
    }

    /// The peer gave us its cookie: with it, the question will be answered in full.
    pub(super) fn ask_again(&mut self, now: Time, address: SocketAddr) {
        for (_, query) in self.open.range_mut((address, Query::Ping)..=(address, Query::List)) {
            query.next_at = now;
        }
    }

    /// Asks a peer something; an [`Event::Answer`] or [`Event::Unanswered`] follows. `suggested`: nobody vouches for the
    /// address, so it is asked sparingly.
    pub(super) fn begin(
        &mut self,
        shared: &mut Shared,
        lan: &Lan,
        now: Time,
        (address, question): (SocketAddr, Query),
        suggested: bool,
    ) {
        let is_new = !self.open.contains_key(&(address, question));
        if is_new && self.open.len() >= MAX_QUERIES {
            if !lan.has_greeted(address) {
                shared.outbox.report(Event::Unanswered(address));
            }
            return;
        }
        // Answers are taken only from contacts.
        let is_validated = shared.contacts.entry(now, address).is_validated();
        let query = OpenQuery {
            sent_at: now,
            next_at: now,
            tries: 0,
            answered: false,
            sparing: suggested && !is_validated,
            list: ListReader::default(),
        };
        self.open.entry((address, question)).or_insert(query);
        self.send_due(shared, lan, now);
    }

    /// How many queries may still be answered. After the first answer to one, more of it may follow.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Sends the questions that are due.
    pub(super) fn send_due(&mut self, shared: &mut Shared, lan: &Lan, now: Time) {
        let due: Vec<_> = self.open.iter().filter(|(_, i)| i.next_at <= now).map(|(&key, _)| key).collect();
        for key in due {
            let (address, question) = key;
            let Some(query) = self.open.get_mut(&key) else {
                continue;
            };
            let Some(&pause) = query.pauses().get(query.tries) else {
                let (answered, end) = (query.answered, query.list.give_up());
                let round_trip = now.since(query.sent_at);
                self.remove(&key);
                if answered && question == Query::List {
                    let answer = Answer::ListEnd(end);
                    shared.outbox.report(Event::Answer { from: address, round_trip, answer });
                } else if !answered && !lan.has_greeted(address) {
                    shared.outbox.report(Event::Unanswered(address));
                }
                continue;
            };
            query.tries += 1;
            query.sent_at = now;
            query.next_at = now + pause;
            let sparing = query.sparing;
            let after = query.list.after().to_owned();
            let is_validated = shared.contacts.get(address).is_some_and(|c| c.is_validated());
            let mut encoder = Encoder::new();
            shared.write_cookies(now, address, true, &mut encoder);
            // The oldest nodes can show themselves in no other way.
            if question == Query::Ping || !is_validated {
                encoder.cookie("PleaseReturnThisMessage", &shared.mint.mint(now, address));
            }
            match question {
                Query::Ping => {}
                Query::Peers => encoder.bare("PleaseSendPeers"),
                Query::List => encoder.please_list(&after),
            }
            let spares = sparing && !is_validated;
            let pad = if spares { SPARING_PAD } else { PAD };
            if !spares || shared.probes.may_send(now, address) {
                shared.send(address, encoder.finish(pad));
            }
        }
    }

    /// Takes in what answers a query.
    pub(super) fn take_answers(&mut self, shared: &mut Shared, lan: &Lan, now: Time, inbound: &Inbound<'_>) {
        let Inbound { from, messages, .. } = *inbound;
        if !self.has(from) {
            return;
        }
        let held_back = inbound.kinds.wants_always;
        for message in messages {
            let (question, answer) = match message {
                Message::ReturnedMessage(_) if inbound.answers_ours => (Query::Ping, Answer::Ping),
                Message::Peers(peers) => (Query::Peers, Answer::Peers(peers.clone())),
                Message::ContentList(list) => {
                    self.take_list(shared, now, from, list, held_back);
                    continue;
                }
                _ => continue,
            };
            let Some(query) = self.open.get_mut(&(from, question)) else {
                continue;
            };
            let round_trip = now.since(query.sent_at);
            query.answered = true;
            // A peer that does not know us yet told only a part.
            if question == Query::Ping || !held_back {
                self.remove(&(from, question));
            }
            shared.contacts.on_round_trip(from, round_trip);
            shared.outbox.report(Event::Answer { from, round_trip, answer });
        }
        self.send_due(shared, lan, now);
    }

    /// Takes in a list, or a part of one.
    fn take_list(
        &mut self,
        shared: &mut Shared,
        now: Time,
        from: SocketAddr,
        list: &ContentList<'_>,
        held_back: bool,
    ) {
        let key = (from, Query::List);
        let Some(query) = self.open.get_mut(&key) else { return };
        let round_trip = now.since(query.sent_at);
        query.answered = true;
        query.sparing = false;
        let in_parts = list.after.is_some();
        let before = query.list.after().to_owned();
        let elsewhere = self.ahead_bytes - query.list.ahead_bytes();
        let (entries, then) = query.list.take(list, MAX_ALL_AHEAD_BYTES.saturating_sub(elsewhere));
        self.ahead_bytes = elsewhere + query.list.ahead_bytes();
        match then {
            Then::Ask => {
                query.tries = 0;
                query.next_at = now;
            }
            // The pause begins anew with what is news, so that a peer that goes on is waited for.
            Then::Wait if in_parts && query.list.after() != before => {
                query.tries = 1;
                query.next_at = now + LIST_PAUSES[0];
            }
            // More of a list that does not say how long it is may be on its way, for a while.
            Then::Wait if !in_parts && !held_back => query.tries = query.pauses().len(),
            Then::Wait => {}
            Then::End(_) => self.remove(&key),
        }
        shared.contacts.on_round_trip(from, round_trip);
        if !entries.is_empty() || matches!(then, Then::Wait) && !in_parts {
            shared.outbox.report(Event::Answer { from, round_trip, answer: Answer::List(entries) });
        }
        if let Then::End(end) = then {
            shared.outbox.report(Event::Answer { from, round_trip, answer: Answer::ListEnd(end) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::testing::{config, drain};
    use crate::node::{Node, Transmit};
    use crate::store::NothingShared;

    fn node() -> Node {
        Node::new(config(3, false))
    }

    fn peer() -> SocketAddr {
        "198.51.100.7:24254".parse().unwrap()
    }

    /// Lets time pass until the node has nothing more to do.
    fn run_out(node: &mut Node) -> (Vec<Transmit>, Vec<Event>) {
        let (mut all_sent, mut all_events, mut at) = drain(node);
        while at != Time::NEVER {
            node.handle_timeout(at, &mut NothingShared);
            let (sent, events, next) = drain(node);
            all_sent.extend(sent);
            all_events.extend(events);
            at = next;
        }
        (all_sent, all_events)
    }

    fn our_cookie(sent: &Transmit) -> String {
        let text = std::str::from_utf8(&sent.bytes).unwrap();
        let (_, rest) = text.split_once(r#""cookie":""#).unwrap();
        rest[..crate::peers::cookie::COOKIE_LEN].to_owned()
    }

    #[test]
    fn a_suggested_address_that_stays_silent_is_hardly_disturbed() {
        for question in [Query::Ping, Query::Peers, Query::List] {
            let mut node = node();
            node.query(Time::ZERO, peer(), question, true);
            let (sent, events) = run_out(&mut node);
            assert!(sent.len() <= 3);
            assert!(sent.iter().all(|transmit| transmit.bytes.len() <= 256));
            assert!(matches!(events[..], [Event::Unanswered(address)] if address == peer()));
            assert_eq!(node.open_questions(), 0);
        }
    }

    #[test]
    fn a_ping_is_answered_by_our_own_cookie_only() {
        let mut node = node();
        node.query(Time::ZERO, peer(), Query::Ping, false);
        let (sent, _, _) = drain(&mut node);
        let at = Time::from_millis(40);
        let forged = br#"[{"ReturnedMessage":{"cookie":"AAAAAAAAAAAAAAAAAAAAAA"}},{"ReturnedMessage":7}]"#;
        node.handle_datagram(at, peer(), forged, &mut NothingShared);
        assert!(drain(&mut node).1.is_empty());
        let answer = format!(r#"{{"ReturnedMessage":{{"cookie":"{}"}}}}"#, our_cookie(&sent[0]));
        // Each that is checked costs something, so of many only the first are.
        let guesses = r#"{"ReturnedMessage":{"cookie":"AAAAAAAAAAAAAAAAAAAAAA"}},"#.repeat(200);
        node.handle_datagram(at, peer(), format!("[{guesses}{answer}]").as_bytes(), &mut NothingShared);
        assert!(drain(&mut node).1.is_empty());
        node.handle_datagram(at, peer(), format!("[{answer}]").as_bytes(), &mut NothingShared);
        let (_, events, _) = drain(&mut node);
        let [Event::Answer { from, round_trip, answer: Answer::Ping }] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((*from, *round_trip), (peer(), Duration::from_millis(40)));
    }

    #[test]
    fn a_node_without_cookies_proves_itself_beside_its_answer() {
        let mut node = node();
        node.query(Time::ZERO, peer(), Query::Peers, false);
        let (sent, _, _) = drain(&mut node);
        let returned = our_cookie(&sent[0]);
        let answer = format!(
            r#"[{{"ReturnedMessage":{{"cookie":"{returned}"}}}},{{"Peers":{{"peers":["203.0.113.9:24254"]}}}}]"#
        );
        node.handle_datagram(Time::from_millis(9), peer(), answer.as_bytes(), &mut NothingShared);
        let (_, events, _) = drain(&mut node);
        assert!(
            matches!(&events[..], [Event::Answer { answer: Answer::Peers(peers), .. }] if peers.len() == 1)
        );
        assert!(node.acquaintances().all(|peer| peer.validated_since.is_some()));
        assert_eq!(node.acquaintances().count(), 1);
        assert_eq!(node.open_questions(), 0);
    }

    #[test]
    fn two_nodes_that_never_met_answer_each_other_in_full() {
        let here: SocketAddr = "198.51.100.1:24254".parse().unwrap();
        let mut asking = node();
        let mut answering = Node::new(config(4, true));
        for question in [Query::List, Query::Peers] {
            asking.query(Time::ZERO, peer(), question, true);
            let (mut sent, mut events, _) = drain(&mut asking);
            let mut datagrams = 0;
            while !sent.is_empty() {
                for transmit in sent.drain(..) {
                    datagrams += 1;
                    answering.handle_datagram(Time::ZERO, here, &transmit.bytes, &mut NothingShared);
                }
                for transmit in drain(&mut answering).0 {
                    asking.handle_datagram(Time::ZERO, peer(), &transmit.bytes, &mut NothingShared);
                    let (more, told, _) = drain(&mut asking);
                    sent.extend(more);
                    events.extend(told);
                }
                assert!(datagrams < 10, "they talk for ever");
            }
            assert!(matches!(events.last(), Some(Event::Answer { .. })), "{question:?}: {events:?}");
        }
    }
}
