//! Challenges: what an unvalidated source without a cookie is sent, so that it can show that it is there; and what comes back.
//!
//! A challenge carries the request that caused it in its cookie, so nothing need be remembered. A source that knows permanent
//! cookies is asked in the same datagram to return one. If it does, or if it asks for the return of its own, its echo authorises nothing:
//! it would ask with our cookie if it wanted anything, so another asked in its name.

use std::net::SocketAddr;

use super::dialect::Dialect;
use super::echo::{ECHO_LIFETIME, length_of_challenge};
use super::reply::Reply;
use super::{Context, Server};
use crate::content_id::ContentId;
use crate::message::{ContentRequest, MAX_ID_LEN, MAX_NUMBER, Message};
use crate::node::inbound::{Inbound, cookie_text};
use crate::node::shared::Shared;
use crate::peers::cookie::COOKIE_LEN;
use crate::stream::StreamId;
use crate::time::Time;

/// Today's nodes that know of permanent cookies begin with a request for this many bytes from the start, without a word about cookies.
const FIRST_BLOCK: u64 = 4096;
/// How much longer a challenge makes a datagram, without the text of its cookie.
const CHALLENGE_FRAME: usize = r#",{"PleaseReturnThisMessage":{"cookie":""}}"#.len();
/// And what asks for the return of a permanent cookie beside it.
const ALWAYS: usize = r#",{"PleaseAlwaysReturnThisMessage":{"cookie":""}}"#.len() + COOKIE_LEN;
/// Challenges have their time in them, in milliseconds, which begin anew after this many: much longer than a cookie is good.
const TURNOVER: u64 = 1_000_000;

/// Whether the source wants a cookie returned, to validate our address. The oldest nodes have other values returned.
pub(super) fn is_challenge(message: &Message<'_>) -> bool {
    matches!(message, Message::PleaseReturnThisMessage(value) if cookie_text(value.get()).is_some())
}

/// A request that came back in a cookie.
#[derive(Debug, PartialEq, Eq)]
struct Carried<'a> {
    /// When it was sent out, in milliseconds modulo [`TURNOVER`].
    at: u64,
    /// Whether the return of a permanent cookie was asked for beside it.
    asks: bool,
    request: ContentRequest<'a>,
}

impl<'a> Carried<'a> {
    /// The text of a cookie that carries it, which has at least `length` bytes.
    fn write(&self, cookie: &str, length: usize) -> String {
        let ContentRequest { id, offset, length: wanted, .. } = &self.request;
        let mark = 2 * self.at + u64::from(self.asks);
        let rest = format!(".{offset}.{wanted}.{id}");
        let digits = length.saturating_sub(cookie.len() + 1 + rest.len());
        format!("{cookie}.{mark:0digits$}{rest}")
    }

    /// Reads what [`Carried::write`] wrote, after the cookie. The source could as well have asked for it plainly.
    fn read(text: &'a str) -> Option<Carried<'a>> {
        let mut parts = text.splitn(4, '.');
        let mark = parts.next()?.parse::<u64>().ok()?;
        let offset = parts.next()?.parse().ok()?;
        let length = parts.next()?.parse().ok()?;
        let id = parts.next()?;
        let (at, asks) = (mark / 2, mark % 2 == 1);
        let within = offset <= MAX_NUMBER && length <= MAX_NUMBER && at < TURNOVER;
        let request = ContentRequest::plain(id, offset, length);
        (within && id.len() <= MAX_ID_LEN).then_some(Carried { at, asks, request })
    }

    /// Whether it comes back in time.
    fn is_fresh(&self, now: Time) -> bool {
        u128::from((in_turn(now) + TURNOVER - self.at) % TURNOVER) <= ECHO_LIFETIME.as_millis()
    }
}

fn in_turn(now: Time) -> u64 {
    now.as_nanos() / 1_000_000 % TURNOVER
}

/// Whether a challenge carries a request. A node that asks with a cookie of its own, as we do, is sent none: another
/// asked in our name. Those of earlier versions have no time in them.
pub(super) fn carries_request(value: &str) -> bool {
    cookie_text(value).is_some_and(|text| {
        let mut parts = text.splitn(4, '.');
        let cookie = parts.next().unwrap_or_default();
        let mut is_number = || parts.next().is_some_and(|part| part.parse::<u64>().is_ok());
        cookie.len() == COOKIE_LEN && is_number() && is_number() && parts.next().is_some()
    })
}

impl Server {
    /// Writes a challenge that carries `request`. Where it fits, it is as long as its echo must be for a whole block, and
    /// asks for the return of a permanent cookie, except where that was asked in vain.
    pub(super) fn challenge(
        &self,
        cx: &Context<'_>,
        to: SocketAddr,
        request: &ContentRequest<'_>,
        reply: &mut Reply,
    ) {
        let Context { now, shared, .. } = cx;
        let cookie = shared.mint.mint(*now, to);
        let asked_in_vain = self.dialects.of(*now, to, &shared.config.secret) == Some(Dialect::Echoes);
        let mut carried = Carried { at: in_turn(*now), asks: true, request: request.clone() };
        let shortest = CHALLENGE_FRAME + carried.write(&cookie, 0).len();
        let room = reply.room();
        carried.asks = !asked_in_vain && shortest + ALWAYS <= room;
        let room = if carried.asks { room - ALWAYS } else { room };
        let length = length_of_challenge(request).min(room).saturating_sub(CHALLENGE_FRAME);
        reply.say(|e| {
            if carried.asks {
                e.cookie("PleaseAlwaysReturnThisMessage", &cookie);
            }
            e.cookie("PleaseReturnThisMessage", &carried.write(&cookie, length));
        });
    }

    /// Takes in a challenge that came back: its whole `text`, and the `request` in it. Returns for which block of a stream it asks, if it
    /// does and our cookie is beside it.
    pub(crate) fn take_echo(
        &mut self,
        shared: &mut Shared,
        now: Time,
        inbound: &Inbound<'_>,
        text: &str,
        request: &str,
    ) -> Option<(StreamId, u64)> {
        let from = inbound.from;
        let carried = Carried::read(request).filter(|carried| carried.is_fresh(now))?;
        let secret = &shared.config.secret;
        if inbound.kinds.speaks_of_cookies() {
            self.dialects.note(now, from, Dialect::Cookies, secret);
            // A viewer asks for a block once, and returns our cookie when it is asked to.
            let stream = StreamId::on_wire(&carried.request.id).filter(|_| inbound.is_validated());
            return stream.map(|id| (id, carried.request.offset));
        }
        if shared.contacts.get(from).is_some_and(|contact| contact.returned_always_lately(now)) {
            return None;
        }
        shared.contacts.on_echo(from);
        if carried.asks || self.dialects.of(now, from, secret) == Some(Dialect::Echoes) {
            self.dialects.note(now, from, Dialect::Echoes, secret);
        }
        if shared.config.answers {
            self.echoes.add(now, from, text, &carried.request, inbound.length, secret);
            self.answer_echoes(shared, now);
        }
        None
    }

    /// Has the requests answered that rode in echoes and may be now.
    pub(crate) fn answer_echoes(&mut self, shared: &Shared, now: Time) {
        while let Some(echoed) = self.echoes.take(now) {
            let request = ContentRequest::plain(&*echoed.wire_id, echoed.offset, echoed.length);
            self.queue_content(shared, echoed.from, &request, None);
        }
    }

    /// Whether a datagram that asks seems to come from a node that knows of permanent cookies, though it may not say so. This
    /// decides only how it is answered within its budget: with a cookie and a first part of the content, which has such
    /// a node ask on with the cookie, or with a challenge that carries the request.
    pub(super) fn seems_to_know_cookies(&self, cx: &Context<'_>, inbound: &Inbound<'_>) -> bool {
        let Inbound { from, messages, kinds, .. } = *inbound;
        let Context { now, shared, .. } = cx;
        if kinds.speaks_of_cookies() {
            return true;
        }
        if let Some(dialect) = self.dialects.of(*now, from, &shared.config.secret) {
            return dialect == Dialect::Cookies;
        }
        if shared.contacts.get(from).is_some_and(|contact| contact.returned_always_lately(*now)) {
            return true;
        }
        if kinds.wants_returned && !messages.iter().any(is_challenge) {
            return false;
        }
        let mut requests = messages.iter().filter_map(|message| match message {
            Message::PleaseSendContent(request) => Some((request, ContentId::parse(&request.id).ok()?)),
            _ => None,
        });
        match requests.next() {
            // The oldest nodes know no such ids.
            Some((_, ContentId::Blake3(_) | ContentId::Tree(_))) => true,
            Some((request, ContentId::Sha256(_))) => request.offset == 0 && request.length == FIRST_BLOCK,
            Some((_, ContentId::Name(_))) => false,
            // There is no request that a challenge could carry.
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram;
    use crate::node::Node;
    use crate::node::testing::{config, drain};
    use crate::store::{Asker, Library, Read, Sink};

    /// Shares what is asked for.
    struct Shares;

    impl Library for Shares {
        fn read(&mut self, _: Asker, _: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
            out.resize(length.min(50_000 - offset as usize), 7);
            Read::Found { eof: Some(50_000) }
        }

        fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
            Vec::new()
        }
    }

    impl Sink for Shares {}

    fn victim() -> SocketAddr {
        "198.51.100.7:24254".parse().unwrap()
    }

    fn say(node: &mut Node, ms: u64, text: &str) -> Vec<String> {
        let now = Time::from_millis(ms);
        node.handle_datagram(now, victim(), text.as_bytes(), &mut Shares);
        let (mut sent, _, mut next) = drain(node);
        while next <= now + ECHO_LIFETIME {
            node.handle_timeout(next, &mut Shares);
            let (more, _, at) = drain(node);
            sent.extend(more);
            next = at;
        }
        sent.iter().map(|sent| String::from_utf8(sent.bytes.clone()).unwrap()).collect()
    }

    fn request(id: &str, offset: u64) -> String {
        format!(r#"[{{"PleaseSendContent":{{"id":"{id}","length":4096,"offset":{offset}}}}}]"#)
    }

    /// What this datagram wants returned, once and always.
    fn wanted(text: &str) -> (Option<String>, Option<String>) {
        let (mut once, mut always) = (None, None);
        for message in datagram::decode(text.as_bytes()).unwrap() {
            match message {
                Message::PleaseReturnThisMessage(value) => once = Some(value.get().to_owned()),
                Message::PleaseAlwaysReturnThisMessage(value) => always = Some(value.get().to_owned()),
                _ => {}
            }
        }
        (once, always)
    }

    fn echo(challenge: &str) -> String {
        format!(r#"{{"ReturnedMessage":{}}}"#, wanted(challenge).0.expect("a challenge"))
    }

    const LONG: &str = "a name that is longer than most, so that twice its request has room";

    #[test]
    fn a_carried_request_reads_back_at_any_length() {
        let cookie = "c".repeat(COOKIE_LEN);
        for length in 0..200 {
            let request = ContentRequest::plain("a.b.c", 5, 4096);
            let sent = Carried { at: in_turn(Time::from_millis(2_000_123)), asks: length % 2 == 0, request };
            let text = sent.write(&cookie, length);
            assert!(text.len() >= length && text.len() <= length.max(50), "{text}");
            let (_, rest) = text.split_once('.').unwrap();
            let carried = Carried::read(rest).unwrap();
            assert_eq!((carried.at, &carried), (123, &sent));
            assert!(carries_request(&format!(r#"{{"cookie":"{text}"}}"#)));
        }
        for other in [r#"{"cookie":"17.3"}"#, r#"{"sent_at":1.5}"#, r#"{"cookie":"dGhpcyBpcyBhIGNvb2tpZQ"}"#]
        {
            assert!(!carries_request(other), "{other}");
        }
    }

    #[test]
    fn an_echo_gets_the_one_request_that_rides_in_it_once_and_in_time() {
        let mut node = Node::new(config(1, true));
        let challenge = say(&mut node, 0, &request("file", 4096)).remove(0);
        let echo = format!("[{}]", echo(&challenge));
        let answers = say(&mut node, 9000, &echo);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert!(answers[0].len() > 5000 && answers[0].contains(r#""offset":4096"#));
        // The node has seen later times meanwhile.
        assert!(say(&mut node, 19_000, &echo).is_empty(), "the replay was answered");
        let next = say(&mut node, 19_000, &request("file", 8192));
        assert!(next[0].len() < 150, "it is remembered as validated: {next:?}");
        let late = say(&mut node, 40_000, &request("file", 0)).remove(0);
        assert!(say(&mut node, 50_001, &format!("[{}]", self::echo(&late))).is_empty());
        assert_eq!(node.acquaintances().count(), 0, "an echo makes nobody known");
    }

    #[test]
    fn a_source_that_knows_permanent_cookies_gets_nothing_for_an_echo() {
        for id in ["file", LONG] {
            for reveals in [r#"{"PleaseAlwaysReturnThisMessage":{"cookie":"its"}}"#, "its answer"] {
                let mut node = Node::new(config(1, true));
                let challenge = say(&mut node, 0, &request(id, 0)).remove(0);
                let beside = match (wanted(&challenge).1, reveals) {
                    (Some(cookie), "its answer") => format!(r#"{{"AlwaysReturned":{cookie}}}"#),
                    (None, "its answer") => continue,
                    _ => reveals.to_owned(),
                };
                let answers = say(&mut node, 50, &format!("[{},{beside}]", echo(&challenge)));
                assert!(answers.is_empty(), "{answers:?}");
                // It is asked for its cookie from then on, and never challenged in vain again.
                let next = say(&mut node, 11_000, &request(id, 0)).remove(0);
                let (once, always) = wanted(&next);
                assert!(once.is_none() && always.is_some(), "{next}");
            }
        }
    }

    #[test]
    fn where_there_is_room_a_challenge_asks_for_a_permanent_cookie_until_it_was_asked_in_vain() {
        let mut node = Node::new(config(1, true));
        let first = say(&mut node, 0, &request(LONG, 0)).remove(0);
        assert!(wanted(&first).1.is_some(), "{first}");
        assert!(!say(&mut node, 10, &format!("[{}]", echo(&first))).is_empty());
        let second = say(&mut node, 11_000, &request(LONG, 4096)).remove(0);
        assert_eq!((wanted(&second).0.is_some(), wanted(&second).1), (true, None), "{second}");
    }

    #[test]
    fn where_a_challenge_had_no_room_to_ask_for_a_permanent_cookie_its_answer_does() {
        let mut node = Node::new(config(1, true));
        let challenge = say(&mut node, 0, &request("file", 0)).remove(0);
        assert_eq!(wanted(&challenge).1, None, "{challenge}");
        let answer = say(&mut node, 10, &format!("[{}]", echo(&challenge))).remove(0);
        assert!(answer.contains("Content") && wanted(&answer).1.is_some(), "{answer}");
    }

    #[test]
    fn a_source_that_returned_a_permanent_cookie_gets_nothing_for_an_echo_for_ten_minutes() {
        let mut node = Node::new(config(1, true));
        let challenge = say(&mut node, 0, &request(LONG, 0)).remove(0);
        let cookie = wanted(&challenge).1.unwrap();
        let asks = format!(r#"[{{"AlwaysReturned":{cookie}}},{{"PleaseSendPeers":{{}}}}]"#);
        assert!(!say(&mut node, 10, &asks).is_empty());
        // A challenge can be had by a request that seems to be that of an old node.
        let stamped = request("file", 0).replace('[', r#"[{"PleaseReturnThisMessage":{"sent_at":1}},"#);
        for (seconds, is_answered) in [(0, false), (599, false), (620, true)] {
            let now = Time::from_millis(seconds * 1000 + 20);
            let request = ContentRequest::plain("file", 0, 4096);
            let text = Carried { at: in_turn(now), asks: true, request }
                .write(&node.shared.mint.mint(now, victim()), 60);
            let echo = format!(r#"[{{"ReturnedMessage":{{"cookie":"{text}"}}}}]"#);
            assert_eq!(!say(&mut node, seconds * 1000 + 20, &echo).is_empty(), is_answered, "{seconds}");
            assert!(say(&mut node, seconds * 1000 + 11_000, &stamped).iter().all(|sent| sent.len() < 250));
        }
    }

    #[test]
    fn nobody_returns_a_challenge_that_carries_a_request_but_others_it_does() {
        let mut node = Node::new(config(1, true));
        for carried in ["123456.0.4096.file", "0.4096.file", "000000000000000123.0.4096.blake3/ab"] {
            let text =
                format!(r#"[{{"PleaseReturnThisMessage":{{"cookie":"dGhpcyBpcyBhIGNvb2tpZQ.{carried}"}}}}]"#);
            assert!(say(&mut node, 0, &text).is_empty(), "{carried}");
        }
        let plain = r#"[{"PleaseReturnThisMessage":{"cookie":"dGhpcyBpcyBhIGNvb2tpZQ"}}]"#;
        assert_eq!(say(&mut node, 0, plain), [plain.replace("PleaseReturnThis", "Returned")]);
    }
}
