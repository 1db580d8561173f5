//! The tool as a person or a script runs it.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use cjp2p_wire::content_id::ContentId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

struct Bench {
    base: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let base = tempfile::tempdir().unwrap();
        fs::create_dir(base.path().join("share")).unwrap();
        Bench { base }
    }

    fn share(&self) -> PathBuf {
        self.base.path().join("share")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.share().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        // Signals do what they do by default, also where these tests run in the background of a shell.
        let mut command = Command::new("env");
        command
            .args(["--default-signal=INT,TERM,HUP", env!("CARGO_BIN_EXE_cjp2p-serve")])
            .env("CJP2P_BOOTSTRAP", "")
            .env("CJP2P_NO_LAN", "1")
            .env("CJP2P_STATE_DIR", self.base.path().join("state"))
            .env_remove("RUST_LOG")
            .current_dir(self.base.path())
            .stdin(Stdio::null())
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn start(&self, args: &[&str]) -> Server {
        let all = [&["--json", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = self.command(&all).stdout(Stdio::piped()).spawn().unwrap();
        let lines = Some(BufReader::new(child.stdout.take().unwrap()).lines());
        let mut server = Server { child, lines, address: ([0; 4], 0).into() };
        let first = server.event();
        assert_eq!(first["event"], "listening");
        server.address = first["address"].as_str().unwrap().parse().unwrap();
        server
    }
}

struct Server {
    child: Child,
    /// `None` once nobody reads any more.
    lines: Option<Lines<BufReader<ChildStdout>>>,
    address: SocketAddr,
}

impl Server {
    fn event(&mut self) -> Value {
        let line = self.lines.as_mut().unwrap().next().expect("the tool ended").unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn until(&mut self, event: &str) -> Value {
        loop {
            let found = self.event();
            if found["event"] == event {
                return found;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Asks as any node would, and returns the cookie that is asked for.
    fn ask(&self, request: Value) -> Option<Value> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let wanted = answer_to(&request);
        let mut question = vec![request];
        for _ in 0..5 {
            let mut bytes = serde_json::to_vec(&question).unwrap();
            // An unvalidated source is answered with little more than it sent.
            bytes.resize(bytes.len().max(600), b' ');
            socket.send_to(&bytes, self.address).unwrap();
            let mut buffer = [0; 65_536];
            let Ok(length) = socket.recv(&mut buffer) else {
                continue;
            };
            let messages: Vec<Value> = serde_json::from_slice(&buffer[..length]).unwrap();
            let find = |name: &str| messages.iter().find_map(|message| message.get(name)).cloned();
            if let Some(answer) = find(wanted) {
                return Some(answer);
            }
            question.truncate(1);
            if let Some(cookie) = find("PleaseAlwaysReturnThisMessage") {
                question.push(json!({ "AlwaysReturned": cookie }));
            } else if let Some(cookie) = find("PleaseReturnThisMessage") {
                question.push(json!({ "ReturnedMessage": cookie }));
            }
        }
        None
    }

    fn content(&self, id: &str) -> Option<Vec<u8>> {
        let request = json!({ "id": id, "offset": 0, "length": 4096 });
        let answer = self.ask(json!({ "PleaseSendContent": request }))?;
        let text = answer["base64"].as_str()?.trim_end_matches('=').to_string();
        Some(data_encoding::BASE64_NOPAD.decode(text.as_bytes()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answer_to(request: &Value) -> &'static str {
    if request.get("PleaseListContent").is_some() { "ContentList" } else { "Content" }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_dry_run_lists_exactly_what_would_be_shared_and_touches_nothing() {
    let bench = Bench::new();
    for name in ["b", "a/c", ".dot", ".git/config", "x.cjp2p-part", "a/y.cjp2p-resume", "n\nl"] {
        bench.write(name, name);
    }
    symlink("b", bench.share().join("link")).unwrap();
    let list = |args: &[&str]| {
        let output = bench.run(&[&["--dry-run", "share"], args].concat());
        assert!(output.status.success());
        assert_eq!(text(&output.stderr), "");
        text(&output.stdout).to_string()
    };
    assert_eq!(list(&[]), "share/b\n\\share/n\\nl\nshare/a/c\n");
    assert_eq!(list(&["--hidden"]), "share/.dot\nshare/b\n\\share/n\\nl\nshare/.git/config\nshare/a/c\n");
    assert_eq!(list(&["--follow"]), "share/b\n\\share/n\\nl\nshare/a/c\nshare/link\n");
    assert_eq!(list(&["--json"]).lines().next(), Some(r#"{"event":"found","path":"share/b","length":1}"#));
    assert!(!bench.base.path().join("state").exists());
}

#[test]
fn wrong_arguments_are_one_line_and_the_documented_code() {
    let bench = Bench::new();
    let fails = |args: &[&str], code: i32, told: &str| {
        let output = bench.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        let line = text(&output.stderr);
        assert!(line.starts_with("cjp2p-serve: ") && line.contains(told), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(text(&output.stdout), "");
    };
    fails(&["nowhere"], 1, "nowhere: ");
    fails(&["share", "nowhere"], 1, "nowhere: ");
    fails(&["/dev/null"], 1, "/dev/null: neither a folder nor a regular file");
    fails(&["--rate", "0", "share"], 2, "--rate");
    fails(&["--rate", "fast", "share"], 2, "fast");
    fails(&["--for", "6", "share"], 2, "--for");
    fails(&["--lock", "maybe", "share"], 2, "maybe");
    fails(&["--listen", "here", "share"], 2, "here");
    fails(&["--unknown"], 2, "--unknown");
}

#[test]
fn the_default_folder_is_made_and_shared() {
    let bench = Bench::new();
    let mut server = bench.start(&[]);
    let ready = server.until("ready");
    assert_eq!(ready, json!({"event": "ready", "files": 0, "bytes": 0, "hashed": 0}));
    fs::write(bench.base.path().join("cjp2p/new"), "hello").unwrap();
    let shared = server.until("shared");
    assert_eq!(shared["path"], "cjp2p/new");
    assert_eq!(shared["length"], 5);
}

#[test]
fn a_getter_finds_everything_by_id_by_name_and_in_the_list() {
    let bench = Bench::new();
    bench.write("greeting", "hello");
    let mut server = bench.start(&["share"]);
    let shared = server.until("shared");
    let ids: Vec<&str> = shared["ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(ContentId::parse(ids[0]).unwrap().to_string(), ids[0]);
    for id in [ids[0], ids[1], "greeting"] {
        assert_eq!(server.content(id).as_deref(), Some(&b"hello"[..]), "{id}");
    }
    let tree = server.content(&ids[0].replace("blake3/", "blake3_tree_v2/")).unwrap();
    assert_eq!((tree.len(), &tree[..4]), (96, &b"B3T\x02"[..]));
    let list = server.ask(json!({ "PleaseListContent": {} })).unwrap();
    assert_eq!(list["results"], json!([[ids[0], 5], ["greeting", 5]]));
    server.signal(Signal::SIGTERM);
    let served = server.until("served");
    assert!(served["requests"].as_u64() >= Some(1), "{served}");
    assert!(served["bytes"].as_u64() >= Some(96), "{served}");
}

#[test]
fn a_busy_port_is_a_clear_error() {
    let bench = Bench::new();
    let server = bench.start(&["share"]);
    let output = bench.run(&["--listen", &server.address.to_string(), "share"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains(&server.address.to_string()), "{told}");
    assert!(told.contains("another process has that port"), "{told}");
}

#[test]
fn signals_end_it_by_themselves_and_hup_looks_again() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let bench = Bench::new();
        let mut server = bench.start(&["share"]);
        server.until("ready");
        server.signal(Signal::SIGHUP);
        bench.write("new", "after HUP");
        server.until("shared");
        server.signal(signal);
        let status = server.child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal as i32));
    }
}

#[test]
fn what_was_hashed_when_a_signal_came_is_remembered() {
    let bench = Bench::new();
    (0..3000).for_each(|number| bench.write(&format!("{number}"), format!("file {number}")));
    let mut server = bench.start(&["share"]);
    let shared: Vec<Value> = (0..500).map(|_| server.until("shared")).collect();
    server.signal(Signal::SIGTERM);
    let lines = server.lines.take().unwrap().map(Result::unwrap).filter(|line| line.contains("shared"));
    let shared = shared.len() + lines.count();
    assert_eq!(server.child.wait().unwrap().signal(), Some(Signal::SIGTERM as i32));
    let mut server = bench.start(&["share"]);
    let ready = server.until("ready");
    let hashed = ready["hashed"].as_u64().unwrap() as usize;
    assert!(hashed <= 3000 - shared, "{shared} of 3000 were shared, and then {hashed} were hashed again");
}

#[test]
fn it_ends_by_itself_when_the_time_is_over() {
    let bench = Bench::new();
    bench.write("a", "b");
    let output = bench.run(&["--listen", "127.0.0.1:0", "--for", "300ms", "share"]);
    assert_eq!(output.status.code(), Some(0));
    let id = ContentId::Blake3(*blake3::hash(b"b").as_bytes());
    assert_eq!(text(&output.stdout), format!("{id}  share/a\n"));
    let told = text(&output.stderr);
    assert!(told.contains("listening at 127.0.0.1:"), "{told}");
    assert!(told.contains("sharing 1 file, 1 B"), "{told}");
}

#[test]
fn the_same_job_is_locked_and_another_is_not() {
    let bench = Bench::new();
    fs::create_dir(bench.base.path().join("other")).unwrap();
    let first = bench.start(&["share"]);
    let run = |args: &[&str]| {
        let all = [&["--listen", "127.0.0.1:0", "--for", "1ms", "--quiet"], args].concat();
        bench.run(&all).status.code()
    };
    assert_eq!(run(&["--lock", "fail", "share"]), Some(6));
    assert_eq!(run(&["--lock", "skip", "share/../share"]), Some(0));
    assert_eq!(run(&["--lock", "fail", "other"]), Some(0));
    assert_eq!(run(&["share"]), Some(0));
    let wait = ["--listen", "127.0.0.1:0", "--for", "1ms", "--lock", "wait", "share"];
    let mut waiting = bench.command(&wait).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(waiting.try_wait().unwrap().is_none(), "it did not wait");
    drop(first);
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_reader_ends_it_quietly() {
    let bench = Bench::new();
    let mut server = bench.start(&["share"]);
    server.until("ready");
    server.lines = None;
    bench.write("a", "b");
    assert_eq!(server.child.wait().unwrap().code(), Some(141));
}

#[test]
fn what_is_shared_in_secret_is_not_listed_nor_named() {
    let bench = Bench::new();
    bench.write("greeting", "hello");
    let mut server = bench.start(&["--no-list", "--no-names", "share"]);
    let shared = server.until("shared");
    assert_eq!(server.content("greeting"), None);
    assert!(server.content(shared["ids"][0].as_str().unwrap()).is_some());
    let list = server.ask(json!({ "PleaseListContent": {} })).unwrap();
    assert_eq!(list, json!({ "results": [], "withheld": true }));
}

#[test]
fn whatever_a_file_is_called_it_is_one_line_and_nothing_that_a_terminal_acts_on() {
    let bench = Bench::new();
    bench.write("a\nb\x1b]0;c\x07", "x");
    let listed = "\\share/a\\nb\x1b]0;c\x07\n";
    assert_eq!(text(&bench.run(&["--dry-run", "share"]).stdout), listed);
    // `script` gives the tool a terminal.
    let line = format!("'{}' --dry-run share", env!("CARGO_BIN_EXE_cjp2p-serve"));
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .current_dir(bench.base.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(text(&output.stdout), "\\share/a\\nb\\u{1b}]0;c\\u{7}\r\n");
}

#[test]
fn a_name_that_cannot_be_shown_as_it_is_stays_one_line_in_warnings_too() {
    let bench = Bench::new();
    symlink("nowhere", bench.share().join("line\nbreak\x1b[2J")).unwrap();
    let output = bench.run(&["--dry-run", "--follow", "share"]);
    let told = text(&output.stderr);
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("cjp2p-serve: warning: share/line\\nbreak\\u{1b}[2J: "), "{told}");
}
