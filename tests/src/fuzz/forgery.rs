//! Conversations with forged sources and victims that answer. A victim that knows permanent cookies gets at most twice what was sent
//! in its name. One that only echoes gets what its echoes are worth. Nothing grows without bound.

use std::cell::LazyCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::datagram::{self, Encoder};
use cjp2p_wire::message::{ContentRequest, MAX_NUMBER, Message};
use cjp2p_wire::node::{ECHO_FACTOR, ECHO_RATE_OF_HOST, Node, Output};
use cjp2p_wire::time::Time;

use super::input::Input;
use super::sample::SAMPLES;
use crate::content;
use crate::sim::memory::{MemoryBlobs, Original};
use crate::sim::peer::config;

/// Which of the samples the server shares.
const SHARED: usize = 8;
const NAME: &str = "hello.txt";
const SERVER: SocketAddr = at(9);
/// An answer to an echo, in bytes, at the most.
const BLOCK: u64 = 6000;
/// Datagrams that one forged one may lead to, by way of all victims; it is far from any honest figure.
const MAX_TURNS: usize = 200;

const fn at(host: u8) -> SocketAddr {
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(198, 51, 100, host), 24254))
}

thread_local! {
    static ORIGINAL: LazyCell<Rc<Original>> = LazyCell::new(|| Original::new(SAMPLES[SHARED].content.clone()));
}

fn shared() -> MemoryBlobs {
    let mut store = MemoryBlobs::default();
    ORIGINAL.with(|original| store.share_original(original));
    store.share(
        b"hello world, and a few words more, so that not all of it fits an answer\n".repeat(9),
        Some(NAME),
    );
    store
}

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut talk = Talk::new();
    for _ in 0..300 {
        if input.is_empty() {
            break;
        }
        talk.step(&mut input);
        talk.check();
    }
    talk.pass(Duration::from_secs(60));
    talk.check();
}

/// How a victim answers.
enum Kind {
    /// Returns every value once.
    Echoes,
    /// The same, and shows that it knows permanent cookies: by its own, or by ours.
    Shows { its_own: bool, ours: Option<String> },
    /// A node of ours.
    Ours(Box<(Node, MemoryBlobs)>),
}

struct Victim {
    kind: Kind,
    address: SocketAddr,
    /// Bytes that came to the server in its name, forged or not, and those of them that were its own.
    to_server: u64,
    its_own: u64,
    /// Bytes that the server sent to it.
    from_server: u64,
    /// What it sent last.
    said: Vec<u8>,
}

struct Talk {
    server: Node,
    store: MemoryBlobs,
    victims: Vec<Victim>,
    start: Time,
    now: Time,
    next: Time,
}

fn drain(node: &mut Node) -> (Vec<(SocketAddr, Vec<u8>)>, Time) {
    let mut sent = Vec::new();
    loop {
        match node.poll_output() {
            Output::Transmit(transmit) => {
                sent.extend(transmit.datagrams().map(|datagram| (transmit.to, datagram.to_vec())));
            }
            Output::Event(_) => {}
            Output::Timeout(at) => return (sent, at),
        }
    }
}

impl Victim {
    fn new(kind: Kind, host: u8) -> Victim {
        Victim { kind, address: at(host), to_server: 0, its_own: 0, from_server: 0, said: Vec::new() }
    }

    /// What it answers to a datagram that seems to be the server's.
    fn answer(&mut self, now: Time, bytes: &[u8]) -> Vec<Vec<u8>> {
        if let Kind::Ours(node) = &mut self.kind {
            let (node, store) = &mut **node;
            node.handle_datagram(now, SERVER, bytes, store);
            assert!(node.sizes().are_within_limits());
            let (sent, _) = drain(node);
            return sent.into_iter().filter(|(to, _)| *to == SERVER).map(|(_, bytes)| bytes).collect();
        }
        let mut encoder = Encoder::new();
        let mut returns = false;
        for message in datagram::decode(bytes).unwrap_or_default() {
            match (message, &mut self.kind) {
                (Message::PleaseReturnThisMessage(value), _) => {
                    encoder.value("ReturnedMessage", value.get());
                    returns = true;
                }
                (Message::PleaseAlwaysReturnThisMessage(value), Kind::Shows { its_own: false, ours }) => {
                    *ours = Some(value.get().to_owned());
                }
                _ => {}
            }
        }
        match &self.kind {
            Kind::Shows { its_own: true, .. } => encoder.cookie("PleaseAlwaysReturnThisMessage", "1.5"),
            Kind::Shows { ours: Some(ours), .. } => encoder.value("AlwaysReturned", ours),
            _ => {}
        }
        if returns { vec![encoder.finish(0)] } else { Vec::new() }
    }
}

fn number(input: &mut Input<'_>) -> u64 {
    input.number().min(MAX_NUMBER)
}

/// A forged datagram, of up to eight messages.
fn compose(input: &mut Input<'_>) -> Vec<u8> {
    let shape = input.byte();
    let mut encoder = Encoder::new();
    for _ in 0..(shape & 7) + 1 {
        match input.byte() % 12 {
            0..5 => {
                let id = match input.byte() % 6 {
                    0 => NAME.to_owned(),
                    1 => ContentId::Blake3(SAMPLES[SHARED].root).to_string(),
                    2 => ContentId::Tree(SAMPLES[SHARED].root).to_string(),
                    3 => content::sha256_id(&SAMPLES[SHARED].content).to_string(),
                    4 => "nothing of this name".to_owned(),
                    _ => String::from_utf8_lossy(input.counted()).into_owned(),
                };
                let offset = if input.byte() & 1 == 0 { 0 } else { number(input) };
                let length = *input.choose(&[4096, 4096, 40_960, 1, 30, 64 * 40_960]);
                let block = (input.byte() & 1 != 0).then(|| number(input));
                encoder.request(&ContentRequest { block, ..ContentRequest::plain(&*id, offset, length) });
            }
            5 => encoder.bare("PleaseSendPeers"),
            6 => encoder.bare("PleaseListContent"),
            7 => encoder.value("PleaseReturnThisMessage", r#"{"sent_at":1.5}"#),
            8 => encoder.cookie("PleaseReturnThisMessage", &String::from_utf8_lossy(input.counted())),
            9 => encoder.cookie("PleaseAlwaysReturnThisMessage", "1.5"),
            10 => encoder.cookie("AlwaysReturned", "AAAAAAAAAAAAAAAAAAAAAA"),
            _ => encoder.which_parts(&ContentId::Blake3(SAMPLES[SHARED].root).to_string(), number(input)),
        }
    }
    encoder.finish(if shape & 8 != 0 { 1200 } else { 0 })
}

impl Talk {
    fn new() -> Talk {
        let now = Time::from_millis(1_000_000);
        let mut server = Node::new(config(1));
        let mut store = shared();
        server.handle_timeout(now, &mut store);
        let (_, next) = drain(&mut server);
        let ours = Kind::Ours(Box::new((Node::new(config(2)), MemoryBlobs::default())));
        let kinds = [
            Kind::Echoes,
            Kind::Shows { its_own: true, ours: None },
            Kind::Shows { its_own: false, ours: None },
            ours,
        ];
        let victims = (1..).zip(kinds).map(|(host, kind)| Victim::new(kind, host)).collect();
        Talk { server, store, victims, start: now, now, next }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let which = usize::from(choice >> 4) % self.victims.len();
        match choice % 16 {
            0..11 => {
                let datagram = compose(input);
                self.deliver(which, datagram, false);
            }
            // Of the server's, to the victim.
            11 | 12 => {
                let datagram = compose(input);
                self.reach(which, &datagram);
            }
            // What it said comes twice. Who only echoes may change a letter too; others would not hide what they know.
            13 | 14 => {
                let mut said = self.victims[which].said.clone();
                let at = usize::from(input.byte());
                if choice % 16 == 14 && which == 0 && at < said.len() {
                    said[at] = input.byte();
                }
                self.deliver(which, said, true);
            }
            _ => {
                let ms = input.number() % 20_000;
                self.pass(Duration::from_millis(ms));
            }
        }
    }

    /// A datagram arrives at the server in the name of a victim.
    fn deliver(&mut self, which: usize, datagram: Vec<u8>, its_own: bool) {
        let victim = &mut self.victims[which];
        victim.to_server += datagram.len() as u64;
        victim.its_own += if its_own { datagram.len() as u64 } else { 0 };
        self.server.handle_datagram(self.now, victim.address, &datagram, &mut self.store);
        self.settle();
    }

    /// A datagram reaches a victim, which may answer.
    fn reach(&mut self, which: usize, bytes: &[u8]) {
        for answer in self.victims[which].answer(self.now, bytes) {
            self.victims[which].said.clone_from(&answer);
            self.deliver(which, answer, true);
        }
    }

    /// What the server sends arrives, and what that leads to.
    fn settle(&mut self) {
        let (mut sent, mut next) = drain(&mut self.server);
        let mut turns = 0;
        while !sent.is_empty() {
            let mut answers = Vec::new();
            for (to, bytes) in sent.drain(..) {
                let which = self.victims.iter().position(|victim| victim.address == to);
                let which = which.expect("nobody is sent anything who did not ask");
                self.victims[which].from_server += bytes.len() as u64;
                let said = self.victims[which].answer(self.now, &bytes);
                answers.extend(said.into_iter().map(|answer| (which, answer)));
            }
            for (which, answer) in answers {
                let victim = &mut self.victims[which];
                victim.to_server += answer.len() as u64;
                victim.its_own += answer.len() as u64;
                victim.said.clone_from(&answer);
                self.server.handle_datagram(self.now, victim.address, &answer, &mut self.store);
                let (more, at) = drain(&mut self.server);
                sent.extend(more);
                next = at;
            }
            turns += 1;
            assert!(turns < MAX_TURNS, "they talk for ever");
        }
        self.next = next;
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..2_000 {
            if self.next > end {
                break;
            }
            self.now = self.now.max(self.next);
            self.server.handle_timeout(self.now, &mut self.store);
            self.settle();
        }
        self.now = self.now.max(end);
    }

    fn check(&self) {
        assert!(self.server.sizes().are_within_limits());
        let seconds = self.now.since(self.start).as_secs_f64();
        for victim in &self.victims {
            let Victim { to_server, its_own, from_server, address, .. } = *victim;
            let excess = from_server.saturating_sub(2 * to_server);
            match victim.kind {
                Kind::Echoes => {
                    // The first may be answered at once.
                    let rate = (seconds * ECHO_RATE_OF_HOST as f64) as u64 + 8192;
                    assert!(excess <= rate, "{address}: {excess} bytes in {seconds} s");
                    assert!(excess <= ECHO_FACTOR as u64 * its_own, "{address}: {excess} for {its_own}");
                }
                // A short request may leave no room to ask it, until the first block does.
                Kind::Shows { its_own: false, .. } => {
                    assert!(excess <= BLOCK, "{address} was sent {from_server} for {to_server}");
                }
                _ => assert_eq!(excess, 0, "{address} was sent {from_server} for {to_server}"),
            }
        }
    }
}
