//! What one datagram has the real programs read from files: counted by the kernel, so that no other load matters.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::content;
use cjp2p_tests::real::bench::Bench;
use cjp2p_tests::real::tool;

const LIMIT: Duration = Duration::from_secs(60);

/// Bytes that a process has read by system calls.
fn read_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("it runs");
    let line = io.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("a count");
    line.parse().expect("a number")
}

/// What it reads until it has done next to nothing for a while: what wakes it up is read too.
fn reads_until_quiet(pid: u32, before: u64) -> u64 {
    let end = Instant::now() + LIMIT;
    loop {
        let last = read_by(pid);
        thread::sleep(Duration::from_secs(1));
        let now = read_by(pid);
        if now - last < 4096 || Instant::now() > end {
            return now - before;
        }
    }
}

/// Sends a datagram, and waits until the program has taken in another that came after it.
fn say(to: &str, datagram: &str) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(to).expect("an address");
    socket.set_read_timeout(Some(LIMIT)).expect("a limit");
    socket.send(datagram.as_bytes()).expect("it is sent");
    let ping = format!("{:200}", r#"[{"PleaseReturnThisMessage":{"cookie":"still there"}}]"#);
    socket.send(ping.as_bytes()).expect("it is sent");
    let mut answer = [0; 65536];
    loop {
        let length = socket.recv(&mut answer).expect("an answer");
        if String::from_utf8_lossy(&answer[..length]).contains("still there") {
            return socket;
        }
    }
}

/// Requests for every part of a tree file, as many as are read of one datagram.
fn requests(tree: &str, first: u64, step: u64) -> String {
    let request = |n: u64| {
        let offset = first + n * step;
        format!(r#"{{"PleaseSendContent":{{"id":"{tree}","offset":{offset},"length":40960}}}}"#)
    };
    let all: Vec<String> = (0..250).map(request).collect();
    format!("[{}]", all.join(","))
}

#[test]
fn a_datagram_without_a_cookie_has_a_server_hash_nothing() {
    let bench = Bench::new();
    let length: u64 = 256 << 20;
    let file = fs::File::create(bench.path("share").join("large")).expect("a file");
    file.set_len(length).expect("a sparse file");
    let server = bench.serve(&[]);
    let [blake3, _] = server.ids("large");
    let tree = blake3.replace("blake3/", "blake3_tree_v2/");
    let pid = server.pid();
    reads_until_quiet(pid, 0);
    // All levels: the tree file has two entries of 32 bytes for each leaf.
    for step in [4096, length / 4096 * 64 / 250 / 4096 * 4096 + 4096] {
        let before = read_by(pid);
        let _socket = say(&server.address.to_string(), &requests(&tree, 0, step));
        let read = reads_until_quiet(pid, before);
        assert!(read < 1 << 20, "{read} bytes were read for one datagram");
    }
}

/// A getter that has fetched one file and waits for another, which nobody has.
struct Getter(Child);

impl Getter {
    fn start(bench: &Bench, peer: &str, listen: &str, into: &Path, id: &str) -> Getter {
        let nowhere = format!("blake3/{}", "ab".repeat(32));
        let child = tool("cjp2p-get", &bench.path("get-state"))
            .args(["--listen", listen, "--peer", peer, "--timeout", "300s", "--quiet", "--into"])
            .arg(into)
            .args([id, &nowhere])
            .stdout(Stdio::null())
            .spawn()
            .expect("cjp2p-get runs");
        let end = Instant::now() + LIMIT;
        while !into.join(id).exists() {
            assert!(Instant::now() < end, "it is not there");
            thread::sleep(Duration::from_millis(20));
        }
        Getter(child)
    }
}

impl Drop for Getter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_datagram_without_a_cookie_has_a_getter_hash_nothing_and_another_getter_gets_the_tree() {
    let bench = Bench::new();
    let bytes = content::bytes(3, 8 << 20);
    bench.share("file", &bytes);
    let server = bench.serve(&[]);
    let [id, _] = server.ids("file");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let listen = socket.local_addr().expect("an address").to_string();
    drop(socket);
    let getter = Getter::start(&bench, &server.address.to_string(), &listen, &bench.path("into"), &id);
    let pid = getter.0.id();
    reads_until_quiet(pid, 0);
    let before = read_by(pid);
    let tree = id.replace("blake3/", "blake3_tree_v2/");
    // The leaves are the last half of the tree.
    let leaves = (bytes.len() / 4096) as u64;
    let first = 64 + 32 * (2 * leaves - 2) - 32 * leaves;
    let _socket = say(&listen, &requests(&tree, first, 4096));
    let read = reads_until_quiet(pid, before);
    assert!(read < 64 << 10, "{read} bytes were read for one datagram");
    // With a cookie it is hashed, and right.
    drop(server);
    fs::create_dir(bench.path("other-state")).expect("a folder");
    let fetched = tool("cjp2p-get", &bench.path("other-state"))
        .args(["--quiet", "--peer", &listen, "--timeout", "60s", "-o"])
        .arg(bench.path("again"))
        .arg(&id)
        .output()
        .expect("cjp2p-get runs");
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    assert!(fs::read(bench.path("again")).expect("a file") == bytes);
}
