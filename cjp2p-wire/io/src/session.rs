//! One node on one socket, from its start to its end.
//!
//! A [`Session`] owns the node, its event loop, what the node reads from and writes to, and what it reports. There is one way to drive
//! it: [`Session::turn`] waits and lets the node act, [`Session::call`] calls the node, and both drain it; [`Session::next_event`]
//! gives what came of that.
//!
//! # One datagram of each kind
//!
//! The peer here is a plain socket. What it says is written out, and so is what comes back; `cookie` stands for the session's own.
//!
//! ```
//! use std::net::UdpSocket;
//! use std::time::Duration;
//!
//! use cjp2p_io::event_loop::EventLoop;
//! use cjp2p_io::session::{Policy, Session};
//! use cjp2p_io::udp::UdpPort;
//! use cjp2p_wire::content_id::ContentId;
//! use cjp2p_wire::node::{Answer, Event, Query};
//! use cjp2p_wire::store::{Asker, Library, Read, Sink};
//! use serde_json::{Value, json};
//!
//! /// Has one file.
//! struct Shelf;
//!
//! impl Library for Shelf {
//!     fn read(&mut self, _: Asker, id: &ContentId, offset: u64, length: usize, out: &mut Vec<u8>) -> Read {
//!         if id.to_string() != "hello.txt" {
//!             return Read::Absent;
//!         }
//!         out.extend(b"hello world\n".iter().skip(offset as usize).take(length));
//!         Read::Found { eof: Some(12) }
//!     }
//!
//!     fn list(&mut self, _: usize) -> Vec<(ContentId, u64)> {
//!         vec![(ContentId::parse("hello.txt").unwrap(), 12)]
//!     }
//! }
//!
//! impl Sink for Shelf {}
//!
//! # fn main() -> std::io::Result<()> {
//! let port = UdpPort::bind(&["127.0.0.1:0".parse().unwrap()])?;
//! let policy = Policy { answers: true, lists: true, ..Policy::default() };
//! let mut session = Session::start(EventLoop::new(port, None)?, policy, Shelf)?;
//!
//! let peer = UdpSocket::bind("127.0.0.1:0")?;
//! peer.connect(session.port().local_address()?)?;
//! peer.set_read_timeout(Some(Duration::from_secs(10)))?;
//! let peer_address = peer.local_addr()?;
//!
//! // Gives what the session sends to the peer next.
//! let hear = || -> std::io::Result<Vec<Value>> {
//!     let mut buffer = [0; 65536];
//!     let length = peer.recv(&mut buffer)?;
//!     Ok(serde_json::from_slice(&buffer[..length]).unwrap())
//! };
//! // A turn ends when the datagram was taken in.
//! let say = |session: &mut Session<Shelf>, messages: Value| -> std::io::Result<()> {
//!     peer.send(messages.to_string().as_bytes())?;
//!     let until = session.now() + Duration::from_secs(10);
//!     let before = session.node().counters().datagrams_in;
//!     while session.node().counters().datagrams_in == before && session.now() < until {
//!         session.turn(until)?;
//!     }
//!     Ok(())
//! };
//! let of_kind = |messages: &[Value], kind: &str| messages.iter().find_map(|one| one.get(kind).cloned());
//!
//! // A request from an address that is not validated: the answer asks to return a cookie. The node takes it for no peer yet.
//! say(&mut session, json!([{"PleaseSendPeers": {}}, {"PleaseAlwaysReturnThisMessage": "ours"}]))?;
//! let answer = hear()?;
//! assert_eq!(of_kind(&answer, "AlwaysReturned"), Some(json!("ours")));
//! let cookie = of_kind(&answer, "PleaseAlwaysReturnThisMessage").expect("a cookie to return");
//! let returned = json!({"AlwaysReturned": cookie});
//!
//! // With the cookie the address is validated, and a request is answered in full: the datagram goes from the socket by the node to
//! // the library, and the content goes back.
//! let request = json!({"PleaseSendContent": {"id": "hello.txt", "offset": 0, "length": 4096}});
//! say(&mut session, json!([returned, request]))?;
//! let content = of_kind(&hear()?, "Content").expect("content");
//! assert_eq!(content, json!({"id": "hello.txt", "offset": 0, "base64": "aGVsbG8gd29ybGQK", "eof": 12}));
//!
//! // What is not there is answered by a referral.
//! let request = json!({"PleaseSendContent": {"id": "other.txt", "offset": 0, "length": 4096}});
//! say(&mut session, json!([returned, request]))?;
//! let referral = of_kind(&hear()?, "MaybeTheyHaveSome").expect("a referral");
//! assert_eq!(referral["id"], "other.txt");
//!
//! // A list of what is shared.
//! say(&mut session, json!([returned, {"PleaseListContent": {}}]))?;
//! let list = of_kind(&hear()?, "ContentList").expect("a list");
//! assert_eq!(list, json!({"results": [["hello.txt", 12]]}));
//!
//! // The other way round: the session asks, and the peer names somebody. What comes of it is an event.
//! session.call(|node, now, _| node.query(now, peer_address, Query::Peers, false));
//! let question = hear()?;
//! assert!(of_kind(&question, "PleaseSendPeers").is_some());
//! let cookie = of_kind(&question, "PleaseAlwaysReturnThisMessage").expect("a cookie to return");
//! say(&mut session, json!([{"AlwaysReturned": cookie}, {"Peers": {"peers": ["198.51.100.7:24254"]}}]))?;
//! let Some(Event::Answer { from, answer: Answer::Peers(peers), .. }) = session.next_event() else {
//!     panic!("the answer is an event");
//! };
//! assert_eq!((from, peers), (peer_address, vec!["198.51.100.7:24254".parse().unwrap()]));
//! # Ok(())
//! # }
//! ```

use std::collections::VecDeque;
use std::io;

use cjp2p_wire::node::{Config, Event, Node};
use cjp2p_wire::store::Store;
use cjp2p_wire::time::Time;

use super::event_loop::{EventLoop, Wake, Waker};
use super::random;
use super::readiness::Readiness;
use super::udp::UdpPort;

/// What the node does for others. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Bytes of datagrams with content that may leave in a second.
    pub upload_rate: Option<u64>,
    /// The same for those that go to one [host](cjp2p_wire::peers::address::host_of).
    pub upload_rate_per_host: Option<u64>,
    /// Whether to answer requests for content and peers at all.
    pub answers: bool,
    /// Whether to tell which content is shared.
    pub lists: bool,
    /// Neither to send nor to ask for raw content: all datagrams are JSON and nothing else.
    pub json_only: bool,
}

/// See the [module](self).
pub struct Session<S> {
    event_loop: EventLoop,
    node: Node,
    store: S,
    events: VecDeque<Event>,
}

impl<S: Store> Session<S> {
    /// A node that knows nobody, and nobody knows.
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers.
    pub fn start(event_loop: EventLoop, policy: Policy, store: S) -> io::Result<Session<S>> {
        let node = Node::new(Config {
            secret: random::secret()?,
            seed: random::seed()?,
            upload_rate: policy.upload_rate,
            upload_rate_per_host: policy.upload_rate_per_host,
            answers: policy.answers,
            lists: policy.lists,
            raw: !policy.json_only,
            receive_buffer: event_loop.port().receive_buffer(),
        });
        Ok(Session { event_loop, node, store, events: VecDeque::new() })
    }

    /// Lets the node ask on the local network, and with `hears` also answer those who ask there. Does nothing where the socket
    /// is bound to an address of loopback.
    ///
    /// # Errors
    ///
    /// Where the system has no descriptor left.
    pub fn join_lan(&mut self, hears: bool) -> io::Result<()> {
        self.event_loop.join_lan(&mut self.node, hears, &mut self.events)
    }

    /// From now on [`Session::turn`] ends also when something in this set is ready.
    pub fn watch(&mut self, set: &Readiness) {
        self.event_loop.watch(set);
    }

    /// Waits until something happens or `until`, and lets the node act on it.
    ///
    /// # Errors
    ///
    /// Where the socket or a descriptor fails for good.
    pub fn turn(&mut self, until: Time) -> io::Result<Wake> {
        self.event_loop.turn(&mut self.node, &mut self.store, until, &mut self.events)
    }

    /// Calls the node once, and takes what it wants done.
    pub fn call<T>(&mut self, call: impl FnOnce(&mut Node, Time, &mut S) -> T) -> T {
        let result = call(&mut self.node, self.event_loop.now(), &mut self.store);
        self.event_loop.drain(&mut self.node, &mut self.events);
        result
    }

    /// What the node reports next.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether there is something to be taken by [`Session::next_event`].
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The node, to look at.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// What the node reads from and writes to.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The same, to be changed between calls of the node.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// The present time, as the node is told it.
    pub fn now(&self) -> Time {
        self.event_loop.now()
    }

    /// The time of day at which `time` was, in milliseconds since 1970: for what is kept in files.
    pub fn unix_ms(&self, time: Time) -> u64 {
        self.event_loop.unix_ms(time)
    }

    /// The socket.
    pub fn port(&self) -> &UdpPort {
        self.event_loop.port()
    }

    /// Something with which other threads end the wait of [`Session::turn`].
    pub fn waker(&self) -> Waker {
        self.event_loop.waker()
    }
}
