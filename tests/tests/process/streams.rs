//! Streams, by the real programs: through pipes, from files that grow, over relays, and through ends of processes.

mod late;

use std::fs::{self, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::thread;

use cjp2p_tests::content;
use cjp2p_tests::real::{end_of, line_of, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::json::Page;

/// A server with streams. Killed when dropped.
struct Origin {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    address: SocketAddr,
    ids: Vec<String>,
    events: Vec<Value>,
}

impl Origin {
    /// Starts one that listens there, and has so many streams.
    fn start(state: &Path, listen: &str, streams: usize, arguments: &[&str]) -> Origin {
        let mut child = tool("cjp2p-serve", state)
            .args(["--json", "--quiet", "--listen", listen])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cjp2p-serve starts");
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let stdin = child.stdin.take();
        let mut origin = Origin {
            child,
            stdin,
            lines,
            address: ([127, 0, 0, 1], 0).into(),
            ids: Vec::new(),
            events: Vec::new(),
        };
        let listening = origin.wait_for("listening");
        origin.address = listening["address"].as_str().and_then(|a| a.parse().ok()).expect("an address");
        for _ in 0..streams {
            let stream = origin.wait_for("stream");
            origin.ids.push(stream["id"].as_str().expect("an id").to_owned());
        }
        origin
    }

    fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let line = line_of(&mut self.lines).expect("a line");
            assert!(!line.is_empty(), "cjp2p-serve ended before {event:?}: {:?}", self.child.wait());
            let value: Value = serde_json::from_str(&line).expect("a JSON object");
            self.events.push(value.clone());
            if value["event"] == event {
                return value;
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("its input is open").write_all(bytes).expect("it reads");
    }

    /// Its input ends.
    fn close(&mut self) {
        self.stdin = None;
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    fn signal(&mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it runs");
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn origin(&self, streams: usize, arguments: &[&str]) -> Origin {
        Origin::start(&self.path("origin"), "127.0.0.1:0", streams, arguments)
    }

    /// A viewer that asks this peer alone.
    fn viewer(&self, peer: SocketAddr, arguments: &[&str]) -> Command {
        let mut command = tool("cjp2p-get", &self.path("get"));
        command.current_dir(self.0.path()).args(["--listen", "127.0.0.1:0"]);
        command.args(["--only-peer", &peer.to_string()]).args(arguments);
        command
    }

    fn view(&self, peer: SocketAddr, arguments: &[&str]) -> Output {
        self.viewer(peer, arguments).output().expect("cjp2p-get runs")
    }
}

/// Asserts that these are the same, without printing megabytes.
fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    let differs = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
    assert_eq!((found.len(), differs), (wanted.len(), None), "{what}");
}

#[test]
fn what_goes_into_a_pipe_comes_out_of_another_and_ends_with_it() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let id = origin.ids[0].clone();
    let bytes = content::bytes(7, 3_000_001);
    // One from the start on, while it is made.
    let mut live = bench.viewer(origin.address, &[&id, "--from", "start"]);
    let mut live = live.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut stdout = live.stdout.take().expect("a pipe");
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).map(|_| all)
    });
    for piece in bytes.chunks(50_000) {
        origin.write(piece);
    }
    origin.close();
    let ended = origin.wait_for("ended");
    assert_eq!(ended["length"], bytes.len());
    assert_eq!(ended["blake3"], format!("blake3/{}", blake3::hash(&bytes).to_hex()));
    assert_same(&reader.join().expect("a thread").expect("a pipe"), &bytes, "live");
    assert!(end_of(&mut live).success());
    // Others when it is over.
    let late = bench.view(origin.address, &[&id, "--from", "start"]);
    assert!(late.status.success(), "{}", String::from_utf8_lossy(&late.stderr));
    assert_same(&late.stdout, &bytes, "late");
    let part = bench.view(origin.address, &[&id, "--from", "2999999", "--json", "-o", "part"]);
    assert!(part.status.success(), "{}", String::from_utf8_lossy(&part.stderr));
    assert_same(&fs::read(bench.path("part")).expect("a file"), &bytes[2_999_999..], "the end");
    let again = bench.view(origin.address, &[&id, "-o", "part"]);
    assert_eq!(again.status.code(), Some(7), "it is there already");
}

#[test]
fn a_line_comes_at_once_however_short() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "log"]);
    let id = origin.ids[0].clone();
    let mut viewer = bench.viewer(origin.address, &[&id, "--from", "start"]);
    let mut viewer = viewer.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut lines = BufReader::new(viewer.stdout.take().expect("a pipe"));
    // Each has to come before the next is written, and so before its block is whole.
    for n in 0..100 {
        let line = format!("line {n}\n");
        origin.write(line.as_bytes());
        assert_eq!(line_of(&mut lines).expect("a line"), line);
    }
    origin.close();
    assert_eq!(line_of(&mut lines).expect("the end"), "");
    assert!(end_of(&mut viewer).success());
}

#[test]
fn a_stream_whose_origin_is_gone_ends_with_4_and_one_that_nobody_has_with_3() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let id = origin.ids[0].clone();
    let absent = bench.view(origin.address, &[&format!("{id}2"), "--timeout", "2s"]);
    assert_eq!(absent.status.code(), Some(3), "{}", String::from_utf8_lossy(&absent.stderr));
    origin.write(b"a line\n");
    let mut viewer = bench.viewer(origin.address, &[&id, "--from", "start", "--stall", "7s"]);
    let mut viewer = viewer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut lines = BufReader::new(viewer.stdout.take().expect("a pipe"));
    assert_eq!(line_of(&mut lines).expect("a line"), "a line\n");
    origin.kill();
    assert_eq!(end_of(&mut viewer).code(), Some(4));
    let mut said = String::new();
    viewer.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("its origin was silent for 7.0s"), "{said}");
}

#[test]
fn a_viewer_that_was_killed_goes_on_in_its_file() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let id = origin.ids[0].clone();
    let bytes = content::bytes(8, 2_000_000);
    origin.write(&bytes[..1_000_000]);
    let arguments = [&*id, "--from", "start", "-o", "cam.ts", "--json"];
    let mut viewer =
        bench.viewer(origin.address, &arguments).stdout(Stdio::null()).spawn().expect("it starts");
    // Until it has brought some of it to the disk.
    let record = bench.path("cam.ts.cjp2p-resume");
    while !record.exists() {
        assert_eq!(viewer.try_wait().expect("its state"), None);
        thread::yield_now();
    }
    viewer.kill().expect("it runs");
    viewer.wait().expect("it ends");
    let kept = fs::metadata(bench.path("cam.ts.cjp2p-part")).expect("a partial").len();
    assert!(kept > 0 && kept <= 1_000_000, "{kept}");
    origin.write(&bytes[1_000_000..]);
    origin.close();
    let again = bench.view(origin.address, &arguments);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert_same(&fs::read(bench.path("cam.ts")).expect("a file"), &bytes, "resumed");
    let viewed: Vec<Value> = String::from_utf8_lossy(&again.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|event: &Value| event["event"] == "viewed")
        .collect();
    assert!(viewed[0]["resumed"].as_u64().is_some_and(|resumed| resumed > 0), "{viewed:?}");
    assert!(!record.exists() && !bench.path("cam.ts.cjp2p-part").exists());
}

#[test]
fn an_origin_that_was_killed_goes_on_in_a_new_part_and_its_viewer_with_it() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let (id, address) = (origin.ids[0].clone(), origin.address);
    let mut viewer = bench.viewer(address, &[&id, "--from", "start"]);
    let mut viewer = viewer.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut stdout = viewer.stdout.take().expect("a pipe");
    let parts = [1, 2, 3].map(|seed| content::bytes(seed, 100_000 + 7 * seed as usize));
    let mut seen = vec![0; parts[0].len()];
    let mut starts = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        if n > 0 {
            // Whatever it was about to do.
            origin.kill();
            origin = Origin::start(&bench.path("origin"), &address.to_string(), 1, &["--stream", "cam"]);
            assert_eq!(origin.ids[0], id);
        }
        starts.push(origin.wait_for("part")["offset"].as_u64().expect("an offset"));
        origin.write(part);
        seen.resize(part.len(), 0);
        stdout.read_exact(&mut seen).expect("a pipe");
        assert_same(&seen, part, "live");
    }
    origin.close();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("a pipe");
    assert!(rest.is_empty(), "{rest:?}");
    assert!(end_of(&mut viewer).success());
    assert_eq!(starts[0], 0);
    // Beyond all that may have been signed.
    assert!(starts[1] >= 1 << 20 && starts[2] >= starts[1] + (1 << 20), "{starts:?}");
    let late = bench.view(address, &[&id, "--from", "start"]);
    assert!(late.status.success(), "{}", String::from_utf8_lossy(&late.stderr));
    assert_same(&late.stdout, &parts.concat(), "late");
}

#[test]
fn a_file_is_followed_as_it_grows_and_is_rotated_and_gone_on_with() {
    let bench = Bench::new();
    let log = bench.path("logs/app.log");
    fs::create_dir(bench.path("logs")).expect("a folder");
    fs::write(&log, "first\n").expect("a file");
    let append = |text: &str| {
        let mut file = OpenOptions::new().append(true).open(&log).expect("the log");
        file.write_all(text.as_bytes()).expect("the log");
    };
    let spec = format!("log={}", log.display());
    let mut origin = bench.origin(1, &["--stream", &spec]);
    let (id, address) = (origin.ids[0].clone(), origin.address);
    let mut viewer = bench.viewer(address, &[&id, "--from", "start"]);
    let mut viewer = viewer.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut lines = BufReader::new(viewer.stdout.take().expect("a pipe"));
    let mut next = || line_of(&mut lines).expect("a line");
    assert_eq!(next(), "first\n");
    append("second\n");
    assert_eq!(next(), "second\n");
    fs::rename(&log, bench.path("logs/app.log.1")).expect("the log");
    fs::write(&log, "third\n").expect("a file");
    assert_eq!(next(), "third\n");
    while origin.wait_for("part")["why"] != "rotated" {}
    fs::write(&log, "cut\n").expect("a file");
    assert_eq!(next(), "cut\n");
    while origin.wait_for("part")["why"] != "truncated" {}
    // What is appended while nobody looks is not missed, and nothing comes twice.
    origin.kill();
    append("meanwhile\n");
    let mut origin = Origin::start(&bench.path("origin"), &address.to_string(), 1, &["--stream", &spec]);
    assert_eq!(next(), "meanwhile\n");
    assert_eq!(origin.wait_for("part")["why"], "resumed");
    origin.signal(Signal::SIGTERM);
    end_of(&mut origin.child);
    append("later\n");
    let mut origin = Origin::start(&bench.path("origin"), &address.to_string(), 1, &["--stream", &spec]);
    assert_eq!(next(), "later\n");
    assert_eq!(origin.wait_for("part")["why"], "resumed");
    viewer.kill().expect("it runs");
    viewer.wait().expect("it ends");
}

#[test]
fn a_stream_that_ended_can_be_viewed_after_another_start_and_gone_on_with() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let (id, bytes) = (origin.ids[0].clone(), content::bytes(9, 300_000));
    origin.write(&bytes);
    origin.close();
    origin.wait_for("ended");
    origin.signal(Signal::SIGTERM);
    end_of(&mut origin.child);
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    origin.write(b"more");
    origin.close();
    origin.wait_for("ended");
    let late = bench.view(origin.address, &[&id, "--from", "start"]);
    assert!(late.status.success(), "{}", String::from_utf8_lossy(&late.stderr));
    assert_same(&late.stdout, &[&bytes[..], b"more"].concat(), "both");
}

#[test]
fn a_relay_has_what_its_origin_has_no_more() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let (id, bytes) = (origin.ids[0].clone(), content::bytes(10, 500_000));
    let peer = origin.address.to_string();
    let relay = Origin::start(&bench.path("relay"), "127.0.0.1:0", 1, &["--relay", &id, "--peer", &peer]);
    assert_eq!(relay.ids[0], id);
    let mut viewer = bench.viewer(relay.address, &[&id, "--from", "start"]);
    let mut viewer = viewer.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut stdout = viewer.stdout.take().expect("a pipe");
    let mut seen = vec![0; bytes.len()];
    // A relay begins at the edge: before there is more it has to be there.
    origin.write(&bytes[..1]);
    stdout.read_exact(&mut seen[..1]).expect("a pipe");
    origin.write(&bytes[1..]);
    stdout.read_exact(&mut seen[1..]).expect("a pipe");
    assert_same(&seen, &bytes, "through the relay");
    origin.close();
    origin.wait_for("ended");
    assert!(end_of(&mut viewer).success());
    origin.kill();
    let late = bench.view(relay.address, &[&id, "--from", "start"]);
    assert!(late.status.success(), "{}", String::from_utf8_lossy(&late.stderr));
    assert_same(&late.stdout, &bytes, "from the relay alone");
}

#[test]
fn a_relay_that_is_killed_and_started_again_costs_a_viewer_nothing() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let (id, bytes) = (origin.ids[0].clone(), content::bytes(11, 900_000));
    let peer = origin.address.to_string();
    let start_relay =
        |listen: &str| Origin::start(&bench.path("relay"), listen, 1, &["--relay", &id, "--peer", &peer]);
    let mut relay = start_relay("127.0.0.1:0");
    let address = relay.address.to_string();
    let mut viewer = bench.viewer(relay.address, &["--only-peer", &peer, &id, "--from", "start"]);
    let mut viewer = viewer.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut stdout = viewer.stdout.take().expect("a pipe");
    let mut seen = vec![0; bytes.len()];
    let mut done = 0;
    for (n, part) in bytes.chunks(300_000).enumerate() {
        origin.write(part);
        stdout.read_exact(&mut seen[done..done + part.len()]).expect("a pipe");
        done += part.len();
        match n {
            0 => relay.kill(),
            1 => relay = start_relay(&address),
            _ => {}
        }
    }
    assert_same(&seen, &bytes, "whoever sends it");
    origin.close();
    origin.wait_for("ended");
    assert!(end_of(&mut viewer).success());
}

#[test]
fn an_origin_that_contradicts_itself_ends_a_viewer_with_5() {
    let bench = Bench::new();
    let key = bench.path("key");
    let key = key.to_str().expect("a path");
    let mut one = bench.origin(1, &["--stream", "cam", "--key", key]);
    // The same key in two places, which nobody should do.
    let mut other = Origin::start(&bench.path("other"), "127.0.0.1:0", 1, &["--stream", "cam", "--key", key]);
    assert_eq!(one.ids, other.ids);
    let peer = other.address.to_string();
    let arguments = ["--only-peer", &peer, &one.ids[0], "--from", "0"];
    let mut viewer = bench.viewer(one.address, &arguments);
    let mut viewer = viewer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut stdout = viewer.stdout.take().expect("a pipe");
    let bytes = content::bytes(12, 5000);
    one.write(&bytes);
    let mut seen = vec![0; bytes.len()];
    stdout.read_exact(&mut seen).expect("a pipe");
    assert_same(&seen, &bytes, "the first");
    other.write(&content::bytes(13, 50_000));
    one.kill();
    assert_eq!(end_of(&mut viewer).code(), Some(5));
    let mut said = String::new();
    viewer.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("signed two contents of block"), "{said}");
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).expect("a pipe");
    assert!(rest.is_empty(), "{} bytes of the other were printed", rest.len());
}

/// Has the tools print all that they print of streams, but for what is late.
pub(crate) fn check_json(page: &mut Page) {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let id = origin.ids[0].clone();
    origin.write(b"one");
    // What is still in its pipe at a signal it does not read.
    let mut viewer = bench.viewer(origin.address, &[&id, "--from", "start"]);
    let mut viewer = viewer.stdout(Stdio::piped()).spawn().expect("cjp2p-get starts");
    viewer.stdout.take().expect("a pipe").read_exact(&mut [0; 3]).expect("three bytes");
    viewer.kill().expect("it runs");
    viewer.wait().expect("it ends");
    origin.signal(Signal::SIGTERM);
    end_of(&mut origin.child);
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    origin.write(b"two");
    origin.close();
    origin.wait_for("ended");
    let viewed =
        bench.view(origin.address, &[&id, "--from", "start", "--json", "--progress", "json", "-o", "cam"]);
    assert!(viewed.status.success(), "{}", String::from_utf8_lossy(&viewed.stderr));
    assert_eq!(page.check_events("cjp2p-get --json", &viewed.stdout), 3);
    assert!(page.check_events("--progress json", &viewed.stderr) > 0);
    for event in &origin.events {
        page.check(&format!("cjp2p-serve --json, {}", event["event"].as_str().expect("an event")), event);
    }
    drop(origin);
    let mut whole = Origin::start(&bench.path("whole"), "127.0.0.1:0", 1, &["--stream", "cam"]);
    whole.close();
    page.check("cjp2p-serve --json, ended", &whole.wait_for("ended"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let bench = Bench::new();
    let id = format!("stream/{}/cam", "ab".repeat(32));
    let run = |name: &str, arguments: &[&str]| {
        let mut command = tool(name, &bench.path("state"));
        let output = command.args(arguments).current_dir(bench.0.path()).output().expect("it runs");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let refused = |(status, said): (ExitStatus, String), why: &str| {
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    };
    for name in ["", ".cam", "a b", "a//b", &"x".repeat(190)] {
        assert_eq!(run("cjp2p-serve", &["--stream", name]).0.code(), Some(2), "{name}");
    }
    refused(run("cjp2p-serve", &["--stream", "a", "--stream", "b"]), "only one stream can come from");
    refused(run("cjp2p-serve", &["--flush", "1ms"]), "--flush is for streams");
    refused(run("cjp2p-serve", &["--key", "k"]), "--key: there is nothing to sign");
    refused(run("cjp2p-get", &["stream/abc/cam"]), "no key of 64 hex digits");
    refused(run("cjp2p-get", &[&id, &id, "-o", "dir"]), "a stream is viewed alone");
    refused(run("cjp2p-get", &[&id, "--range", "0-9", "-o", "f"]), "--range is not for streams");
    refused(run("cjp2p-get", &[&id, "--json"]), "--json needs -o");
    refused(
        run("cjp2p-get", &["0".repeat(64).as_str(), "--from", "start", "-o", "f"]),
        "--from is for streams",
    );
    let missing = run("cjp2p-serve", &["--stream", "log=none"]);
    assert_eq!(missing.0.code(), Some(1), "{}", missing.1);
    let folder = bench.path("busy");
    let _first = Origin::start(&folder, "127.0.0.1:0", 1, &["--stream", "cam"]);
    let mut second = tool("cjp2p-serve", &folder);
    let second = second.args(["--listen", "127.0.0.1:0", "--stream", "cam"]).output().expect("it runs");
    assert_eq!(second.status.code(), Some(6), "{}", String::from_utf8_lossy(&second.stderr));
}
