//! Peers that the user named, and nobody else.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use cjp2p_tests::content::{self, blake3_id};
use cjp2p_tests::sim::Peer;
use cjp2p_tests::sim::peer::config;

use crate::support::{Bench, Host};

/// Puts these peers in the table, as if the tool had met them.
fn remember(bench: &Bench, peers: &[SocketAddr]) {
    let peers: Vec<String> = peers
        .iter()
        .map(|peer| format!(r#"{{"address":"{peer}","verified":true,"origin":"added"}}"#))
        .collect();
    fs::create_dir_all(bench.path("state")).unwrap();
    fs::write(bench.path("state/peers.json"), format!("[{}]", peers.join(","))).unwrap();
}

#[test]
fn a_plain_name_is_taken_only_from_a_peer_that_was_named() {
    let bench = Bench::new();
    let (named, other) = (Host::sharing(&[]), Host::sharing(&[b"something else of that name"]));
    remember(&bench, &[other.address]);
    let arguments = ["file-0", "--unverified", "--timeout", "2s"];
    bench.run(&[&named], &arguments).failed(3, "one peer was asked");
    bench.run(&[&named], &[&arguments[..], &["-o", "file"]].concat()).failed(3, "one peer was asked");
    bench.run(&[], &arguments).failed(2, "only from peers that you name");
    assert_eq!(bench.files(), [""; 0]);
    let right = bench.run(&[&other], &arguments).done();
    assert!(right.stdout == b"something else of that name");
}

#[test]
fn a_plain_name_is_not_taken_from_whom_a_named_peer_names() {
    let bench = Bench::new();
    let other = Host::sharing(&[b"something else of that name"]);
    let there = other.address;
    // Its own shelf is empty, and it knows who has it.
    let named = Host::start(move || {
        let mut peer = Peer::with_config(config(3));
        peer.node.query(cjp2p_wire::time::Time::ZERO, there, cjp2p_wire::node::Query::Peers, false);
        peer.settle(cjp2p_wire::time::Time::ZERO);
        peer
    });
    // So it is, for an id that can be verified.
    let id = blake3_id(b"something else of that name").to_string();
    bench.run(&[&named], &[&*id, "--timeout", "20s"]).done();
    bench.run(&[&named], &["file-0", "--unverified", "--timeout", "2s"]).failed(3, "one peer was asked");
}

#[test]
fn with_only_peer_nobody_else_is_asked_and_nothing_is_taken_from_anybody_else() {
    let bytes = content::bytes(3, 100_000);
    let id = blake3_id(&bytes).to_string();
    let bench = Bench::new();
    let (named, other) = (Host::sharing(&[&bytes]), Host::sharing(&[&bytes]));
    let bystander = UdpSocket::bind("127.0.0.1:0").unwrap();
    remember(&bench, &[bystander.local_addr().unwrap(), other.address]);
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
    let only = |peer: SocketAddr| {
        let peer = peer.to_string();
        bench.run(&[], &[&*id, "--only-peer", &peer, "--timeout", "2s", "-o", "file"])
    };
    only(nobody.local_addr().unwrap()).failed(3, "one peer was asked");
    assert_eq!(bench.files(), [""; 0]);
    only(named.address).done();
    assert!(bench.read("file") == bytes);
    // Datagrams of loopback are there as soon as they are sent.
    bystander.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let heard = bystander.recv_from(&mut [0; 2000]).unwrap_err();
    assert!(matches!(heard.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{heard}");
    bench.run(&[&named], &[&*id, "--only-peer", "127.0.0.1:9"]).failed(2, "--only-peer");
}
