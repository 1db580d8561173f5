//! The commands that ask peers, against peers on loopback.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use cjp2p_cli::args::AS_ROOT;
use cjp2p_io::event_loop::EventLoop;
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::udp::UdpPort;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::node::{Event, Query};
use cjp2p_wire::store::{Asker, Library, Read, Sink};
use serde_json::{Value, json};

use crate::support::Bench;

/// A peer as our other tools are, in a thread.
struct NodePeer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Shelf(Vec<(ContentId, u64)>);

impl Library for Shelf {
    fn read(&mut self, _: Asker, _: &ContentId, _: u64, _: usize, _: &mut Vec<u8>) -> Read {
        Read::Absent
    }

    fn list(&mut self, limit: usize) -> Vec<(ContentId, u64)> {
        self.0.iter().take(limit).cloned().collect()
    }
}

impl Sink for Shelf {}

impl NodePeer {
    /// Starts a peer that shares what it says it does. If it has a friend, both know each other when this returns.
    fn start(shared: &[(&str, u64)], friend: Option<SocketAddr>) -> NodePeer {
        let shared = shared.iter().map(|(id, length)| (ContentId::parse(id).unwrap(), *length));
        let shelf = Shelf(shared.collect());
        let port = UdpPort::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = port.local_address().unwrap();
        let event_loop = EventLoop::new(port, None).unwrap();
        let policy = Policy { answers: true, lists: true, ..Policy::default() };
        let mut session = Session::start(event_loop, policy, shelf).unwrap();
        if let Some(friend) = friend {
            session.call(|node, now, _| node.query(now, friend, Query::Peers, false));
            let mut is_answered = false;
            while !is_answered || session.node().open_questions() > 0 {
                session.turn(session.now() + Duration::from_secs(1)).unwrap();
                while let Some(event) = session.next_event() {
                    is_answered |= matches!(event, Event::Answer { .. });
                }
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                session.turn(session.now() + Duration::from_millis(20)).unwrap();
                while session.next_event().is_some() {}
            }
        });
        NodePeer { address, stop, thread: Some(thread) }
    }
}

impl Drop for NodePeer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// A foreign peer: answers each datagram as its script says.
struct ScriptedPeer {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
}

impl ScriptedPeer {
    fn start(script: impl Fn(&[Value]) -> Vec<Value> + Send + 'static) -> ScriptedPeer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let counter = heard.clone();
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                counter.fetch_add(1, Ordering::Relaxed);
                let messages: Vec<Value> = serde_json::from_slice(&buffer[..length]).unwrap();
                let answer = script(&messages);
                if !answer.is_empty() {
                    socket.send_to(Value::from(answer).to_string().as_bytes(), from).unwrap();
                }
            }
        });
        ScriptedPeer { address, heard }
    }

    /// Knows no cookies, returns what it is asked to, and knows these peers: the node of February 2026.
    fn february(peers: Vec<String>) -> ScriptedPeer {
        ScriptedPeer::start(move |messages| {
            messages
                .iter()
                .filter_map(|message| {
                    if let Some(value) = message.get("PleaseReturnThisMessage") {
                        Some(json!({"ReturnedMessage": value}))
                    } else {
                        message.get("PleaseSendPeers").map(|_| json!({"Peers": {"peers": peers}}))
                    }
                })
                .collect()
        })
    }
}

impl Bench {
    /// The JSON lines that a command that succeeds prints, in the order of their text.
    fn json(&self, args: &[&str]) -> Vec<Value> {
        let output = self.command(args).arg("--json").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let mut lines: Vec<_> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn peer(&self, address: SocketAddr) -> Option<Value> {
        let table: Vec<Value> = serde_json::from_slice(&self.run(&[]).stdout).unwrap();
        table.into_iter().find(|peer| peer["address"] == address.to_string())
    }
}

fn stderr(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    // The tests are run by root and by others.
    told.split_inclusive('\n').filter(|line| !line.contains(AS_ROOT)).collect()
}

fn nobody() -> SocketAddr {
    // Bound, so that nobody else gets the port, and never read.
    let socket = Box::leak(Box::new(UdpSocket::bind("127.0.0.1:0").unwrap()));
    socket.local_addr().unwrap()
}

#[test]
fn a_ping_prints_the_round_trip_and_verifies_the_peer() {
    let bench = Bench::new();
    let ours = NodePeer::start(&[], None);
    let february = ScriptedPeer::february(vec![]);
    for address in [ours.address, february.address] {
        let lines = bench.json(&["ping", &address.to_string()]);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["address"], address.to_string());
        assert!(lines[0]["round_trip_ms"].as_f64().unwrap() >= 0.0);
        let peer = bench.peer(address).unwrap();
        assert_eq!((&peer["verified"], &peer["origin"]), (&json!(true), &json!("command line")));
        assert!(peer["last_heard_ms"].as_u64().unwrap() > 1_700_000_000_000);
    }
    let output = bench.run(&["ping", &ours.address.to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with(&format!("{}\t", ours.address)) && text.ends_with(" ms\n"), "{text}");
}

#[test]
fn whoever_returns_something_else_is_not_there() {
    let bench = Bench::new();
    let liar =
        ScriptedPeer::start(|_| vec![json!({"ReturnedMessage": {"cookie": "AAAAAAAAAAAAAAAAAAAAAA"}})]);
    let output = bench.run(&["ping", &liar.address.to_string()]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(bench.peer(liar.address), None);
}

#[test]
fn where_nobody_answers_the_exit_code_is_3_and_the_table_knows() {
    let bench = Bench::new();
    let silent = nobody();
    bench.run(&["add", &silent.to_string()]);
    let output = bench.run(&["ping"]);
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), format!("{silent}\tno answer\n"));
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(3), "cjp2p-peers: no peer answered\n")
    );
    assert_eq!(bench.peer(silent).unwrap()["unanswered"], 1);
}

#[test]
fn where_nobody_is_known_there_is_nobody_to_ask() {
    let bench = Bench::new();
    for command in ["ping", "discover", "content"] {
        let output = bench.run(&[command]);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr(&output).starts_with("cjp2p-peers: nobody to ask"), "{}", stderr(&output));
    }
}

#[test]
fn discover_finds_the_peers_of_peers_and_keeps_who_answers() {
    let bench = Bench::new();
    let first = NodePeer::start(&[], None);
    let second = NodePeer::start(&[], Some(first.address));
    let third = NodePeer::start(&[], Some(second.address));
    let silent = nobody();
    let foreign = ScriptedPeer::february(vec![
        silent.to_string(),
        first.address.to_string(),
        "no address".into(),
        "127.0.0.1:0".into(),
        "224.0.0.1:24254".into(),
    ]);
    let lines = bench.json(&["discover", "--peer", &foreign.address.to_string()]);
    let mut found: Vec<String> =
        lines.iter().map(|line| line["address"].as_str().unwrap().to_owned()).collect();
    found.sort();
    let mut expected: Vec<String> = [first.address, second.address, third.address, foreign.address]
        .map(|address| address.to_string())
        .to_vec();
    expected.sort();
    assert_eq!(found, expected);
    assert!(lines.iter().all(|line| line["new"] == true));
    let origin = |address: SocketAddr| {
        lines.iter().find(|line| line["address"] == address.to_string()).unwrap()["origin"].clone()
    };
    assert_eq!(origin(foreign.address), "command line");
    assert_eq!(origin(first.address), format!("referral {}", foreign.address));
    let peer = bench.peer(first.address).unwrap();
    assert_eq!(
        (&peer["verified"], &peer["origin"]),
        (&json!(true), &json!(format!("referral {}", foreign.address)))
    );
    assert_eq!(bench.peer(silent), None, "whom nobody has heard is not kept");
    let again = bench.json(&["discover"]);
    assert_eq!(again.len(), 4);
    assert!(again.iter().all(|line| line["new"] == false));
}

#[test]
fn discover_ends_at_its_limit_and_bothers_the_silent_little() {
    let bench = Bench::new();
    let victim = ScriptedPeer::start(|_| vec![]);
    let named = victim.address.to_string();
    let foreign =
        ScriptedPeer::february(vec![named.clone(), named.replace("127.0.0.1", "[::ffff:127.0.0.1]"), named]);
    bench.json(&["discover", "--for", "800ms", "--peer", &foreign.address.to_string()]);
    assert_eq!(victim.heard.load(Ordering::Relaxed), 1);
    bench.json(&["discover", "--peer", &foreign.address.to_string()]);
    assert_eq!(victim.heard.load(Ordering::Relaxed), 3);
}

#[test]
fn content_tells_who_shares_what() {
    let bench = Bench::new();
    let blake3 = format!("blake3/{}", "ab".repeat(32));
    let many: Vec<(String, u64)> = (0..100u64).map(|n| (format!("{n:064x}"), n)).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|(id, length)| (id.as_str(), *length)).collect();
    let one = NodePeer::start(&[(&blake3, 5000), ("film", 7)], None);
    let two = NodePeer::start(&many, Some(one.address));
    for peer in [&one, &two] {
        bench.run(&["add", &peer.address.to_string()]);
    }
    let lines = bench.json(&["content"]);
    assert_eq!(lines.len(), 102);
    assert!(lines.contains(&json!({"address": one.address.to_string(), "id": blake3, "length": 5000})));
    assert!(
        lines.contains(
            &json!({"address": two.address.to_string(), "id": format!("{:064x}", 99), "length": 99})
        )
    );
    let output = bench.run(&["content", &one.address.to_string()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let mut text: Vec<&str> = text.lines().collect();
    text.sort();
    assert_eq!(text, [format!("{}\t5000\t{blake3}", one.address), format!("{}\t7\tfilm", one.address)]);
}

#[test]
fn a_list_of_a_foreign_node_is_read_and_what_is_no_id_left_out() {
    let bench = Bench::new();
    let sha256 = "cd".repeat(32);
    let results =
        json!([[sha256, 12], ["../../etc/passwd", 1], ["\u{1b}[2Jgone", 2], [sha256, 12], ["1M", 1048576]]);
    let foreign = ScriptedPeer::start(move |messages| {
        let asks = messages.iter().any(|message| message.get("PleaseListContent").is_some());
        Vec::from_iter(asks.then(|| json!({"ContentList": {"results": results}})))
    });
    let output = bench.run(&["content", &foreign.address.to_string()]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let address = foreign.address;
    let expected = format!("{address}\t12\t{}\n{address}\t1048576\t1M\n", "cd".repeat(32));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_full_answer_of_a_node_that_knows_of_no_parts_may_not_be_all() {
    for (count, code) in [(255, 0), (256, 10)] {
        let bench = Bench::new();
        let results: Vec<Value> = (0..count).map(|n| json!([format!("{n:064x}"), n])).collect();
        let foreign = ScriptedPeer::start(move |messages| {
            let asks = messages.iter().any(|message| message.get("PleaseListContent").is_some());
            Vec::from_iter(asks.then(|| json!({"ContentList": {"results": results}})))
        });
        let output = bench.run(&["content", &foreign.address.to_string()]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert_eq!(String::from_utf8(output.stdout.clone()).unwrap().lines().count(), count);
        if code == 10 {
            let told =
                format!("{}: lists 256 entries and does not say how many are missing", foreign.address);
            assert!(stderr(&output).contains(&told), "{}", stderr(&output));
        }
    }
}

#[test]
fn a_peer_that_stops_in_the_middle_is_told_with_how_much_is_missing() {
    let bench = Bench::new();
    let results = json!([[format!("blake3/{:064x}", 1), 1], [format!("blake3/{:064x}", 2), 2]]);
    let foreign = ScriptedPeer::start(move |messages| {
        let begins = messages.iter().any(|message| message["PleaseListContent"]["after"] == "");
        let list = json!({"results": results, "after": "", "next": "x", "total": 1000});
        Vec::from_iter(begins.then(|| json!({"ContentList": list})))
    });
    let output = bench.run(&["content", &foreign.address.to_string()]);
    assert_eq!(output.status.code(), Some(10), "{}", stderr(&output));
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap().lines().count(), 2);
    let told = format!("{}: 998 of 1000 contents are missing", foreign.address);
    assert!(stderr(&output).contains(&told), "{}", stderr(&output));
}

#[test]
fn a_busy_port_is_a_clear_failure() {
    let bench = Bench::new();
    let taken = nobody().to_string();
    let output = bench.run(&["ping", "--listen", &taken, "127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains(&format!("cannot listen at {taken}: Address already in use")),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_name_that_cannot_be_resolved_is_told() {
    let bench = Bench::new();
    let output = bench.run(&["ping", "does-not-exist.invalid"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("warning: does-not-exist.invalid:24254: "), "{}", stderr(&output));
}

#[test]
fn an_interrupt_keeps_what_was_found_and_ends_by_the_signal() {
    let bench = Bench::new();
    let ours = NodePeer::start(&[], None);
    let mut child: Child = bench
        .command(&["ping", &ours.address.to_string(), &nobody().to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(&ours.address.to_string()));
    let id = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    assert!(bench.peer(ours.address).is_some());
}

/// A peer that has this content, and says so when it is asked.
fn holder(id: &'static str, length: u64) -> ScriptedPeer {
    ScriptedPeer::start(move |messages| {
        messages
            .iter()
            .filter_map(|message| {
                if let Some(value) = message.get("PleaseAlwaysReturnThisMessage") {
                    Some(json!({"AlwaysReturned": value}))
                } else if let Some(request) = message.get("PleaseSendContent")
                    && request["id"] == id
                {
                    assert_eq!(request["length"], 1, "nothing is to be fetched");
                    Some(json!({"Content": {"id": id, "offset": request["offset"], "base64": "aA==", "eof": length}}))
                } else {
                    None
                }
            })
            .collect()
    })
}

#[test]
fn who_has_it_is_printed_as_json_with_how_it_was_found() {
    const ID: &str = "blake3/85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca";
    let bench = Bench::new();
    let (named, of_table) = (holder(ID, 2), holder(ID, 3));
    let other = NodePeer::start(&[], None);
    for address in [of_table.address, other.address] {
        bench.run(&["ping", &address.to_string()]);
    }
    bench.run(&["add", &of_table.address.to_string()]);
    let lines = bench.json(&["find", ID, "--peer", &named.address.to_string()]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (address, length, found) in [(named.address, 2, "command line"), (of_table.address, 3, "table")] {
        let line = lines.iter().find(|line| line["address"] == address.to_string()).unwrap();
        assert_eq!(
            (&line["id"], &line["length"], &line["found"]),
            (&json!(ID), &json!(length), &json!(found))
        );
        assert!(line["round_trip_ms"].as_f64().is_some());
    }
    assert!(bench.peer(named.address).unwrap()["verified"] == json!(true));
}

#[test]
fn where_nobody_has_it_the_exit_code_is_3() {
    let bench = Bench::new();
    let ours = NodePeer::start(&[], None).address.to_string();
    for arguments in [
        vec!["find", "blake3/85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca"],
        vec!["find", "x", &ours],
    ] {
        let output = bench.run(&arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        assert!(output.stdout.is_empty() && stderr(&output).lines().count() == 1);
    }
    let limited = nobody().to_string();
    let output = bench.run(&["find", "x", &limited, "--for", "1s"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn what_cannot_be_looked_for_is_a_wrong_command_line_and_empty_content_is_everywhere() {
    let bench = Bench::new();
    let digits = "85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca";
    for id in ["../x", "blake3/123", &format!("blake3_tree_v2/{digits}")] {
        let output = bench.run(&["find", id, "127.0.0.1:9"]);
        assert_eq!(output.status.code(), Some(2), "{id}");
        assert!(output.stdout.is_empty() && stderr(&output).lines().count() == 1, "{}", stderr(&output));
    }
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let output = bench.run(&["find", empty, "127.0.0.1:9"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
}
