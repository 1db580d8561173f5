//! What a server remembers from one run to the next: its port, and those it met.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use serde_json::Value;

const AUTO: &str = "127.0.0.1:auto";

fn start(folder: &Path, peers: &[SocketAddr]) -> Server {
    let peers: Vec<String> = peers.iter().flat_map(|peer| ["--peer".into(), peer.to_string()]).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    Server::run(tool("cjp2p-serve", &folder.join("state")), AUTO, &folder.join("share"), &peers)
}

/// Ends it as a user would, so that it writes down what it knows.
fn end(server: Server) {
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let begun = Instant::now();
    // Until it is reaped there is only a name left of it.
    while fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Addresses in the table of the state folder below `folder`.
fn table(folder: &Path) -> Vec<String> {
    let output = tool("cjp2p-peers", &folder.join("state")).output().unwrap();
    let peers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    peers.iter().map(|peer| peer["address"].as_str().unwrap().to_owned()).collect()
}

fn bench() -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("share")).unwrap();
    let bytes = content::bytes(70, 100_000);
    fs::write(folder.path().join("share/a"), &bytes).unwrap();
    (folder, bytes)
}

#[test]
fn a_restarted_server_is_where_it_was_and_knows_whom_it_knew() {
    let ((here, bytes), (there, _)) = (bench(), bench());
    let other = start(there.path(), &[]);
    let server = start(here.path(), &[other.address]);
    let (address, id) = (server.address, server.ids("a")[0].clone());
    // The other one answers at some time after the start.
    let mut ping = tool("cjp2p-peers", &here.path().join("state"));
    assert!(
        ping.args(["ping", "--listen", "127.0.0.1:0", &other.address.to_string()])
            .status()
            .unwrap()
            .success()
    );
    // By its greeting it made itself known there.
    let begun = Instant::now();
    loop {
        let mut discover = tool("cjp2p-peers", &here.path().join("stranger"));
        let peer = other.address.to_string();
        let found = discover.args(["discover", "--listen", "127.0.0.1:0", &peer]).output().unwrap();
        if String::from_utf8_lossy(&found.stdout)
            .lines()
            .any(|line| line.starts_with(&format!("{address}\t")))
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not known");
    }
    end(server);
    assert_eq!(table(here.path()), [other.address.to_string()]);

    let server = start(here.path(), &[]);
    assert_eq!(server.address, address);
    let mut get = tool("cjp2p-get", &here.path().join("getter"));
    let got = get.args(["--quiet", "--listen", "127.0.0.1:0", "--peer", &address.to_string(), &id]).output();
    assert!(got.unwrap().stdout == bytes);
    end(server);
    assert_eq!(table(here.path()), [other.address.to_string()], "who fetches and is gone is not kept");
}

#[test]
fn a_server_whose_port_is_taken_takes_another_for_this_run() {
    let (folder, _) = bench();
    let server = start(folder.path(), &[]);
    let address = server.address;
    end(server);
    let taken = UdpSocket::bind(address).unwrap();
    let server = start(folder.path(), &[]);
    assert_ne!(server.address, address);
    end(server);
    drop(taken);
    let server = start(folder.path(), &[]);
    assert_eq!(server.address, address, "it is kept for the next time");
}
