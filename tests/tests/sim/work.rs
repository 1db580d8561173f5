//! How much work one datagram causes, whatever is in it: counted in units and in what the library is asked, not in time.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::MemoryBlobs;
use cjp2p_tests::sim::peer::config;
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::datagram;
use cjp2p_wire::message::Message;
use cjp2p_wire::node::{
    AMPLIFICATION, Config, MAX_UNVALIDATED_WORK, Node, Output, WORK_PER_SECOND_OF_LONE_HOST,
};
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::store::{Asker, Library, Parts, Read, Sink};
use cjp2p_wire::time::Time;

/// Files in memory, and how much was asked of them.
#[derive(Default)]
struct Counting {
    inner: MemoryBlobs,
    /// Questions of any kind.
    asked: usize,
    /// Bytes asked for.
    bytes: usize,
    /// Questions that may begin work elsewhere.
    full_reads: usize,
}

impl Library for Counting {
    fn read(&mut self, asker: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
        self.asked += 1;
        match asker {
            Asker::Host(_) => self.full_reads += 1,
            Asker::Unvalidated => self.bytes += length,
        }
        self.inner.read(asker, id, offset, length, out)
    }

    fn parts(&mut self, id: &ContentId, from: u64, most: usize) -> Option<Parts> {
        self.asked += 1;
        self.inner.parts(id, from, most)
    }

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        self.asked += 1;
        self.inner.list(limit)
    }

    fn blake3_of(&mut self, sha256: &Hash) -> Option<Hash> {
        self.asked += 1;
        self.inner.blake3_of(sha256)
    }

    fn latest(&mut self, asker: Asker, id: &PointerId) -> Option<SignedPointer> {
        self.asked += 1;
        self.inner.latest(asker, id)
    }
}

impl Sink for Counting {}

struct Server {
    node: Node,
    library: Counting,
    /// By BLAKE3 and by SHA-256.
    ids: [String; 2],
    now: Time,
}

const CONTACTS: u32 = 3000;

fn host(n: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x1400_0000 + (n << 8)), 24254))
}

impl Server {
    /// One that shares a file and knows thousands of validated peers.
    fn new(config: Config) -> Server {
        let mut library = Counting::default();
        let file = content::bytes(1, 3 << 20);
        let ids = [content::blake3_id(&file), content::sha256_id(&file)].map(|id| id.to_string());
        library.inner.share(file, Some("file"));
        let mut server = Server { node: Node::new(config), library, ids, now: Time::ZERO };
        for n in 0..CONTACTS {
            let cookie = server.cookie(host(n));
            server.say(host(n), &[&cookie, r#"{"PleaseReturnThisMessage":{"cookie":"hello"}}"#]);
        }
        assert_eq!(server.node.sizes().contacts, CONTACTS as usize);
        // What that cost is made up for.
        server.now += Duration::from_secs(1);
        server
    }

    fn say(&mut self, from: SocketAddr, messages: &[&str]) -> Vec<Vec<u8>> {
        let datagram = format!("[{}]", messages.join(","));
        self.node.handle_datagram(self.now, from, datagram.as_bytes(), &mut self.library);
        let mut sent = Vec::new();
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.to, from);
                    sent.extend(transmit.datagrams().map(<[u8]>::to_vec));
                }
                Output::Event(_) => {}
                Output::Timeout(_) => return sent,
            }
        }
    }

    /// Lets the node do at once what it has put off for less than a second.
    fn catch_up(&mut self) {
        let end = self.now + Duration::from_secs(1);
        for _ in 0..100_000 {
            self.node.handle_timeout(self.now, &mut self.library);
            let next = loop {
                if let Output::Timeout(next) = self.node.poll_output() {
                    break next;
                }
            };
            if next > end {
                return;
            }
            self.now = self.now.max(next);
        }
        panic!("it never comes to rest");
    }

    /// What validates this address.
    fn cookie(&mut self, at: SocketAddr) -> String {
        let ask = [r#"{"PleaseAlwaysReturnThisMessage":{"cookie":"x"}}"#, r#"{"PleaseSendPeers":{}}"#];
        let pad = format!("{}{}", ask[1], " ".repeat(300));
        let answers = self.say(at, &[ask[0], &pad]);
        for message in datagram::decode(&answers[0]).expect("we send arrays") {
            if let Message::PleaseAlwaysReturnThisMessage(value) = message {
                return format!(r#"{{"AlwaysReturned":{}}}"#, value.get());
            }
        }
        panic!("no cookie");
    }

    /// Each kind of message that there is, number `n` of many.
    fn each_kind(&self, n: usize) -> Vec<(&'static str, String)> {
        let [blake3, sha256] = &self.ids;
        let tree = blake3.replace("blake3/", "blake3_tree_v2/");
        let nothing = format!("blake3/{n:064x}");
        let request = |id: &str| {
            format!(r#"{{"PleaseSendContent":{{"id":"{id}","offset":{},"length":40960}}}}"#, n * 4096)
        };
        let blocks = |id: &str| {
            format!(
                r#"{{"PleaseSendContent":{{"id":"{id}","offset":{},"length":61440,"block":960}}}}"#,
                n * 61440
            )
        };
        let mut named = String::new();
        for m in 0..20 {
            let _ = write!(named, r#"{}"20.{n}.{m}.9:24254""#, if m > 0 { "," } else { "" });
        }
        let ids: Vec<String> = (0..16).map(|m| format!(r#""blake3/{:064x}""#, n * 16 + m)).collect();
        let ids = ids.join(",");
        let parts = |id: &str| format!(r#"{{"PleaseSayWhichParts":{{"id":"{id}","offset":0}}}}"#);
        vec![
            ("content", request(blake3)),
            ("content by SHA-256", request(sha256)),
            ("content by name", request("file")),
            ("tree", request(&tree)),
            ("nothing", request(&nothing)),
            ("the same nothing", request(&format!("blake3/{:064x}", 7))),
            ("blocks of content", blocks(blake3)),
            ("blocks of nothing", blocks(&nothing)),
            ("block", format!(r#"{{"Content":{{"id":"{nothing}","offset":0,"base64":"AAAA","eof":9}}}}"#)),
            ("referral", format!(r#"{{"MaybeTheyHaveSome":{{"id":"{blake3}","peers":[{named}]}}}}"#)),
            ("peers wanted", r#"{"PleaseSendPeers":{}}"#.to_owned()),
            ("peers", format!(r#"{{"Peers":{{"peers":[{named}]}}}}"#)),
            ("challenge", format!(r#"{{"PleaseReturnThisMessage":{{"cookie":"{n:022}"}}}}"#)),
            ("echo", format!(r#"{{"ReturnedMessage":{{"cookie":"{n:022}"}}}}"#)),
            ("echo of a request", format!(r#"{{"ReturnedMessage":{{"cookie":"{n:022}.0.4096.file"}}}}"#)),
            ("cookie wanted", format!(r#"{{"PleaseAlwaysReturnThisMessage":{{"cookie":"{n:022}"}}}}"#)),
            ("cookie", format!(r#"{{"AlwaysReturned":{{"cookie":"{n:022}"}}}}"#)),
            ("can send blocks", r#"{"ICanSendContentInBlocks":{"most":64}}"#.to_owned()),
            ("wait wanted", format!(r#"{{"PleaseSayHowLongThisWaited":{{"number":{n}}}}}"#)),
            ("wait", format!(r#"{{"ThisWaited":{{"number":{n},"us":900}}}}"#)),
            ("ids wanted", format!(r#"{{"PleaseListIdsOfTheSameContent":{{"id":"{sha256}"}}}}"#)),
            ("ids", format!(r#"{{"TheseIdsNameTheSameContent":{{"ids":[{ids}]}}}}"#)),
            ("has content", format!(r#"{{"IHaveThisContent":{{"ids":[{ids}]}}}}"#)),
            ("parts wanted", parts(blake3)),
            ("parts of nothing wanted", parts(&nothing)),
            (
                "parts",
                format!(
                    r#"{{"IHaveTheseParts":{{"id":"{blake3}","offset":0,"until":9,"parts":[[0,9]],"eof":9}}}}"#
                ),
            ),
            ("list wanted", r#"{"PleaseListContent":{}}"#.to_owned()),
            ("list", format!(r#"{{"ContentList":{{"results":[["{blake3}",9]]}}}}"#)),
            (
                "name wanted",
                format!(r#"{{"GetLatest":{{"ed25519":"{}","name":"n{n}","after":{n},"wait":90}}}}"#, &sha256),
            ),
            (
                "signed",
                format!(
                    r#"{{"SignedMessage":{{"ed25519":"{sha256}","signature":"{}","payload_json":"[]"}}}}"#,
                    "A".repeat(86)
                ),
            ),
            ("nothing newer", format!(r#"{{"IKnowNothingNewer":{{"ed25519":"{sha256}","name":"n{n}"}}}}"#)),
            ("messages wanted", r#"{"PleaseListSupportedMessages":{}}"#.to_owned()),
            ("messages", r#"{"SupportedMessages":{"schema":{}}}"#.to_owned()),
        ]
    }

    /// Datagrams with as many messages as are read: of one kind each, and of all kinds.
    fn datagrams(&self) -> Vec<(&'static str, Vec<String>)> {
        let each: Vec<_> = (0..255).map(|n| self.each_kind(n)).collect();
        let kinds = each[0].len();
        let of_kind = |kind: usize| {
            let messages = each.iter().map(|kinds| kinds[kind].1.clone());
            (each[0][kind].0, messages.collect::<Vec<_>>())
        };
        let mut all: Vec<_> = (0..kinds).map(of_kind).collect();
        let mixed = each.iter().enumerate().map(|(n, each)| each[n % kinds].1.clone());
        all.push(("all kinds", mixed.collect()));
        all
    }
}

fn borrowed(messages: &[String]) -> Vec<&str> {
    messages.iter().map(String::as_str).collect()
}

#[test]
fn no_datagram_without_our_cookie_costs_more_than_a_small_read_and_no_walk() {
    let mut server = Server::new(config(1));
    let stranger: SocketAddr = "203.0.113.9:5000".parse().unwrap();
    for (what, messages) in server.datagrams() {
        // Also in the name of one that is known.
        for from in [stranger, host(7)] {
            let before = server.node.counters();
            (server.library.asked, server.library.bytes, server.library.full_reads) = (0, 0, 0);
            let sent = server.say(from, &borrowed(&messages));
            let (work, library) = (server.node.counters().work - before.work, &server.library);
            assert!(work <= MAX_UNVALIDATED_WORK, "{what}: {work} units");
            assert_eq!(library.full_reads, 0, "{what}");
            assert!(library.asked <= 3, "{what}: the library was asked {} times", library.asked);
            assert!(library.bytes <= 4096, "{what}: {} bytes were read", library.bytes);
            let length: usize = messages.iter().map(|message| message.len() + 1).sum();
            assert!(sent.len() <= 1 && sent.concat().len() <= AMPLIFICATION * length, "{what}");
        }
    }
}

#[test]
fn what_a_host_asks_for_with_our_cookie_costs_what_it_may_and_no_more() {
    let asker: SocketAddr = "203.0.113.9:5000".parse().unwrap();
    let mut server = Server::new(config(1));
    let cookie = server.cookie(asker);
    for (what, mut messages) in server.datagrams() {
        messages.insert(0, cookie.clone());
        server.now += Duration::from_secs(1);
        let start = server.now;
        let answered_before = server.node.counters().requests_served as usize;
        let before = server.node.counters().work;
        let mut datagrams = 0;
        (server.library.asked, server.library.full_reads) = (0, 0);
        for ms in (0..1000).step_by(4) {
            server.now = start + Duration::from_millis(ms);
            server.say(asker, &borrowed(&messages));
            datagrams += 1;
        }
        // What is charged when it is asked for may be done later.
        server.catch_up();
        let work = server.node.counters().work - before;
        // Reading the cookies of each datagram is not charged.
        let most = WORK_PER_SECOND_OF_LONE_HOST * 11 / 10 + datagrams * 64;
        assert!(work <= most, "{what}: {work} units");
        // A question to the library costs a unit at least.
        let answered = server.node.counters().requests_served as usize - answered_before;
        let asked = server.library.asked.saturating_sub(answered);
        assert!(asked as u64 <= work, "{what}: the library was asked {asked} times for {work} units");
    }
}

#[test]
fn a_request_for_many_blocks_of_what_is_not_here_has_one_answer() {
    let mut server = Server::new(config(1));
    let asker: SocketAddr = "203.0.113.9:5000".parse().unwrap();
    let cookie = server.cookie(asker);
    let request = format!(
        r#"{{"PleaseSendContent":{{"id":"blake3/{:064x}","offset":960,"length":61440,"block":960}}}}"#,
        1
    );
    let sent = server.say(asker, &[&cookie, &request]);
    assert_eq!(sent.len(), 1, "{sent:?}");
    let said = datagram::decode(&sent[0]).unwrap();
    let part = said.iter().find_map(|message| match message {
        Message::MaybeTheyHaveSome(referral) => referral.part.clone(),
        _ => None,
    });
    assert_eq!(part, Some(960..62400));
}

#[test]
fn what_is_no_content_is_charged_to_the_upload_rate_too() {
    const RATE: u64 = 20_000;
    let nothing = format!(
        r#"{{"PleaseSendContent":{{"id":"blake3/{:064x}","offset":0,"length":61440,"block":960}}}}"#,
        1
    );
    let questions = [
        r#"{"PleaseSendPeers":{}}"#,
        r#"{"PleaseListContent":{}}"#,
        &nothing,
        r#"{"PleaseListSupportedMessages":{}}"#,
    ];
    for (rate, per_host) in [(Some(RATE), None), (None, Some(RATE))] {
        for question in questions {
            let limits = Config { upload_rate: rate, upload_rate_per_host: per_host, ..config(1) };
            let mut server = Server::new(limits);
            server.now += Duration::from_secs(60);
            let start = server.now;
            let asker: SocketAddr = "203.0.113.9:5000".parse().unwrap();
            let cookie = server.cookie(asker);
            let mut bytes = 0;
            for ms in 0..20_000 {
                server.now = start + Duration::from_millis(ms);
                bytes += server.say(asker, &[&cookie, question]).concat().len() as u64;
            }
            let most = 25 * RATE;
            assert!(bytes <= most, "{question}: {bytes} of {most} bytes");
        }
    }
}
