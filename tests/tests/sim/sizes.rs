//! Messages of all kinds from very many hosts and ports, in their own names and in others': whatever comes, no table of a node
//! grows beyond its limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cjp2p_tests::content;
use cjp2p_tests::sim::MemoryBlobs;
use cjp2p_tests::sim::peer::config;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::Spec;
use cjp2p_wire::node::{Config, Event, Node, Output, Query, Sizes};
use cjp2p_wire::peers::cookie::CookieMint;
use cjp2p_wire::peers::links::{Links, Network};
use cjp2p_wire::signed::PointerId;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

const OWN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 78, 0, 1)), 24254);
/// What the node fetches is said to be so long.
const EOF: u64 = 1 << 40;

struct Target {
    node: Node,
    store: MemoryBlobs,
    mint: CookieMint,
    /// By BLAKE3 and by SHA-256: what it shares, or what it fetches.
    ids: [String; 2],
    now: Time,
    next: Time,
    /// The last question to everybody on the link.
    question: Vec<u8>,
    /// What it sent last.
    sent: Vec<u8>,
    said: usize,
    /// The most that each table held.
    peak: BTreeMap<&'static str, usize>,
}

/// How somebody shows that an address is its own.
#[derive(Clone, Copy)]
enum Name {
    /// By the cookie that the target gave it.
    Validated,
    /// By a cookie that the target wanted back once.
    Echoed,
    /// Not at all.
    Forged,
}

impl Target {
    fn new(config: Config, ids: [ContentId; 2], store: MemoryBlobs) -> Target {
        let mint = CookieMint::new(config.secret);
        let ids = ids.map(|id| id.to_string());
        let mut target = Target {
            node: Node::new(config),
            store,
            mint,
            ids,
            now: Time::from_millis(1000),
            next: Time::NEVER,
            question: Vec::new(),
            sent: Vec::new(),
            said: 0,
            peak: BTreeMap::new(),
        };
        target.node.attach(target.now, Links::new(OWN, vec![Network { address: OWN.ip(), bits: 16 }]));
        target.settle();
        target
    }

    fn settle(&mut self) {
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => self.sent = transmit.bytes,
                Output::Event(Event::AskLan(question)) => self.question = question,
                Output::Event(_) => {}
                Output::Timeout(at) => {
                    self.next = at;
                    break;
                }
            }
        }
        self.said += 1;
        if self.said.is_multiple_of(64) {
            self.check();
        }
    }

    fn check(&mut self) {
        for (name, size, limit) in self.node.sizes().each() {
            assert!(size <= limit, "{name}: {size} of at most {limit} after {} steps", self.said);
            let peak = self.peak.entry(name).or_default();
            *peak = size.max(*peak);
        }
    }

    /// Lets time pass, and has the node do once what is due.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.next <= self.now {
            self.node.handle_timeout(self.now, &mut self.store);
            self.settle();
        }
    }

    fn say(&mut self, from: SocketAddr, name: Name, messages: &str) {
        let cookie = self.mint.mint(self.now, from);
        let proof = match name {
            Name::Validated => format!(
                r#"{{"AlwaysReturned":{{"cookie":"{cookie}"}}}},{{"PleaseAlwaysReturnThisMessage":{{"cookie":"y"}}}},"#
            ),
            Name::Echoed => format!(r#"{{"ReturnedMessage":{{"cookie":"{cookie}"}}}},"#),
            Name::Forged => String::new(),
        };
        let datagram = format!("[{proof}{messages}]");
        self.node.handle_datagram(self.now, from, datagram.as_bytes(), &mut self.store);
        self.settle();
        self.pass(Duration::from_micros(200));
    }

    /// Says something of each kind, in several datagrams.
    fn say_everything(&mut self, n: usize, from: SocketAddr, name: Name) {
        for messages in each_kind(n, &self.ids) {
            self.say(from, name, &messages);
        }
        if let Name::Echoed = name {
            (0..8).for_each(|part| self.echo(from, part * 4096));
        }
    }

    /// Asks for some of a file as the oldest nodes do, and returns what the target wants returned for it: the request rides in that.
    fn echo(&mut self, from: SocketAddr, offset: u64) {
        self.sent.clear();
        self.say(
            from,
            Name::Forged,
            &format!(r#"{{"PleaseSendContent":{{"id":"file","offset":{offset},"length":4096}}}}"#),
        );
        let sent = String::from_utf8_lossy(&self.sent).into_owned();
        if let Some((_, rest)) = sent.split_once(r#""PleaseReturnThisMessage":"#) {
            let value = rest.split_inclusive('}').next().unwrap_or_default();
            self.say(from, Name::Forged, &format!(r#"{{"ReturnedMessage":{value}}}"#));
        }
    }
}

/// Every kind of message, number `n` of many: some of them in a datagram each, since what comes first may use up what one may ask.
fn each_kind(n: usize, ids: &[String; 2]) -> Vec<String> {
    let [blake3, sha256] = ids;
    let other = format!("blake3/{n:064x}");
    let place = n as u64 % 1000 * 8192;
    let mut peers = String::new();
    for m in 0..6 {
        let _ = write!(
            peers,
            r#"{}"{}.{}.{m}.9:24254""#,
            if m > 0 { "," } else { "" },
            30 + n / 250 % 60,
            n % 250
        );
    }
    let parts: Vec<String> =
        (0..90).map(|m| (n as u64 % 7 + m) * 16_384).map(|at| format!("[{at},{}]", at + 4096)).collect();
    let parts = parts.join(",");
    let ids16: Vec<String> = (0..16).map(|m| format!(r#""blake3/{:064x}""#, n * 16 + m)).collect();
    let ids16 = ids16.join(",");
    vec![
        format!(
            r#"{{"ICanSendContentInBlocks":{{"most":64}}}},{{"PleaseSayWhichParts":{{"id":"{blake3}","offset":0}}}},{{"PleaseSendContent":{{"id":"{blake3}","offset":{place},"length":40960,"block":960}}}}"#
        ),
        format!(
            r#"{{"PleaseSendContent":{{"id":"{sha256}","offset":{place},"length":4096}}}},{{"PleaseSendContent":{{"id":"{other}","offset":0,"length":4096}}}},{{"PleaseSendPeers":{{}}}}"#
        ),
        format!(
            r#"{{"IHaveThisContent":{{"ids":[{ids16}]}}}},{{"Peers":{{"peers":[{peers}]}}}},{{"MaybeTheyHaveSome":{{"id":"{blake3}","peers":[{peers}]}}}}"#
        ),
        format!(
            r#"{{"MaybeTheyHaveSome":{{"id":"{sha256}","peers":[{peers}]}}}},{{"PleaseListContent":{{"after":""}}}}"#
        ),
        format!(
            r#"{{"IHaveTheseParts":{{"id":"{blake3}","offset":{0},"until":{1},"parts":[{parts}],"eof":{EOF}}}}}"#,
            0,
            EOF / 2
        ),
        format!(
            r#"{{"Content":{{"id":"{blake3}","offset":{place},"base64":"AAAA","eof":{EOF}}}}},{{"Content":{{"id":"{sha256}","offset":0,"base64":"AAAA","eof":{}}}}}"#,
            EOF + n as u64
        ),
        format!(
            r#"{{"ContentList":{{"results":[["{other}",5]],"after":"{other}","next":"blake3/{:064x}","total":100000,"follows":true}}}}"#,
            n + 1
        ),
        format!(
            r#"{{"PleaseListIdsOfTheSameContent":{{"id":"{sha256}"}}}},{{"TheseIdsNameTheSameContent":{{"ids":["{sha256}","{other}"]}}}},{{"PleaseListSupportedMessages":{{}}}},{{"SupportedMessages":{{}}}},{{"PleaseReturnThisMessage":{{"cookie":"{n}"}}}}"#
        ),
        format!(
            r#"{{"GetLatest":{{"ed25519":"{sha256}","name":"n{n}","after":1,"wait":300}}}},{{"GetLatest":{{"ed25519":"{sha256}","name":"name","after":1,"wait":300}}}}"#
        ),
    ]
}

fn host(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x1400_0000 + ((n as u32) << 8) + 1), 24254))
}

fn port(n: usize) -> SocketAddr {
    SocketAddr::from(([21, 200, 0, 1], 1024 + n as u16))
}

fn on_link(n: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from_bits(0x0a4e_0100 + n as u32), 24254))
}

/// From 5,000 hosts and 3,000 ports of one.
fn flood(target: &mut Target) {
    for n in 0..5000 {
        target.say_everything(n, host(n), Name::Validated);
        if n % 4 == 0 {
            target.say_everything(n, host(100_000 + n), Name::Forged);
            target.say_everything(n, host(200_000 + n), Name::Echoed);
        }
        if n % 5 < 3 {
            target.say_everything(n, port(n), Name::Validated);
        }
    }
    target.check();
}

/// Calls out for peers, and answers questions to everybody, from 600 hosts on the link.
fn flood_from_link(target: &mut Target) {
    for n in 0..600 {
        target.node.handle_group_datagram(
            target.now,
            on_link(n),
            br#"[{"PleaseSendPeers":{}}]"#,
            &mut target.store,
        );
        target.settle();
        let question = String::from_utf8_lossy(&target.question).into_owned();
        if let Some((_, rest)) = question.split_once(r#""cookie":""#) {
            let cookie = rest.split('"').next().unwrap_or_default();
            let answer =
                format!(r#"[{{"ReturnedMessage":{{"cookie":"{cookie}"}}}},{{"Peers":{{"peers":[]}}}}]"#);
            for m in 0..100 {
                target.node.handle_datagram(target.now, on_link(n + m), answer.as_bytes(), &mut target.store);
                target.settle();
            }
        }
        target.pass(Duration::from_millis(126));
    }
    target.check();
}

/// At least so much: else the flood did not get there. No flood brings false hints, since each costs who gives it the whole content:
/// what is kept of them has a test beside it.
fn assert_filled(target: &Target, floors: &Sizes) {
    for (name, floor, _) in floors.each() {
        let peak = target.peak.get(name).copied().unwrap_or(0);
        assert!(peak >= floor, "{name}: {peak} of at least {floor}: too little came to try the limit");
    }
}

#[test]
fn a_node_that_serves_holds_no_more_than_its_limits_whatever_comes() {
    let mut store = MemoryBlobs::default();
    let file = content::bytes(1, 8 << 20);
    let ids = [content::blake3_id(&file), content::sha256_id(&file)];
    store.share(file, Some("file"));
    let limited = Config { upload_rate_per_host: Some(200), ..config(1) };
    let mut target = Target::new(limited, ids, store);
    flood(&mut target);
    flood_from_link(&mut target);
    let limits = Sizes::LIMITS;
    assert_filled(
        &target,
        &Sizes {
            contacts: limits.contacts,
            requests: 1,
            requesters: limits.requesters,
            debtors: 1000,
            echoed: limits.echoed,
            // More than these cannot be answered in the time for which they are remembered.
            echoes_answered: 400,
            exchanged: 1,
            getters: 1,
            providers: limits.providers,
            greeted: limits.greeted,
            queries: 1,
            watchers: limits.watchers,
            ..Sizes::default()
        },
    );
}

#[test]
fn a_node_that_fetches_holds_no_more_than_its_limits_whatever_comes() {
    let file = content::bytes(2, 8 << 20);
    let ids = [content::blake3_id(&file), content::sha256_id(&file)];
    let mut target = Target::new(config(2), ids.clone(), MemoryBlobs::default());
    let jobs: Vec<JobId> = ids.map(|id| start(&mut target, id)).into();
    target.node.look_for_neighbours(target.now);
    target.settle();
    let name = PointerId::parse(&format!("latest/{}/name", "ab".repeat(32))).unwrap();
    for n in 0..9000 {
        // The user names some, and knows others from before.
        if n % 9 == 0 {
            target.node.add_source(target.now, jobs[n / 9 % 2], host(n / 9), false);
            target.settle();
        }
        target.node.add_known(target.now, jobs[n % 2], host(300_000 + n));
        target.settle();
        target.node.query(target.now, host(n), Query::List, false);
        target.settle();
        target.node.ask_latest(target.now, host(n), std::slice::from_ref(&name), false, true);
        target.settle();
    }
    flood(&mut target);
    flood_from_link(&mut target);
    // And more than may be asked or wait for that.
    for n in 0..6000 {
        target.node.add_source(target.now, jobs[n % 2], host(400_000 + n), false);
        target.settle();
    }
    let limits = Sizes::LIMITS;
    assert_filled(
        &target,
        &Sizes {
            contacts: limits.contacts,
            asked: limits.asked,
            known: limits.known,
            suggestions: limits.suggestions,
            givers: 300,
            providers: limits.providers,
            askers: limits.askers,
            put_off: limits.put_off,
            probed: 256,
            queries: limits.queries,
            name_queries: limits.name_queries,
            list_bytes: 1,
            neighbours: limits.neighbours,
            greeted: limits.greeted,
            sources: 500,
            claims: 1,
            have_ranges: 1000,
            ..Sizes::default()
        },
    );
}

fn start(target: &mut Target, id: ContentId) -> JobId {
    let long = Duration::from_secs(100_000);
    let job = target.node.start_fetch(
        target.now,
        Spec {
            id: id.clone(),
            ranges: Vec::new(),
            in_order: false,
            resume: None,
            source_timeout: long,
            stall_timeout: long,
        },
    );
    target.store.wanted.insert(job, Vec::new());
    target.store.share_fetched(&id, job);
    target.settle();
    target.node.look_on_lan(target.now, job, Duration::ZERO);
    target.settle();
    job
}
