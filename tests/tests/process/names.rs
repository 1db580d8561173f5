//! Names under a key, by the real programs: what they stand for is published, found, remembered and followed.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::{end_of, tool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A publisher of a file, and a reader.
struct Bench {
    folder: TempDir,
    name: String,
    server: Server,
}

impl Bench {
    fn new(text: &str) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("share")).unwrap();
        fs::write(folder.path().join("share/page"), text).unwrap();
        let (server, name) = publish(folder.path(), "serve", &[]);
        Bench { folder, name, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Another version takes the place of the file, and is published.
    fn change(&mut self, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path("share/page")).unwrap();
        self.server.wait_for("named");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tool("cjp2p-get", &self.path("get"));
        command.current_dir(self.folder.path()).args(["--timeout", "10s"]).args(arguments);
        command
    }

    fn get(&self, arguments: &[&str]) -> Output {
        let peer = self.server.address.to_string();
        self.command(&[&["--peer", &*peer], arguments].concat()).output().unwrap()
    }
}

/// A server of `share/page`, with its state in this folder, that has published its name.
fn publish(folder: &Path, state: &str, more: &[&str]) -> (Server, String) {
    let arguments = [&["--name", "site/page"], more].concat();
    let mut server = Server::start(&folder.join("share/page"), &folder.join(state), &arguments);
    let name = server.name();
    (server, name)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_newest_comes_by_a_name_and_with_if_newer_only_once() {
    let mut bench = Bench::new("first");
    let name = bench.name.clone();
    let key = bench.path("serve.key.json");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    let fetched = bench.get(&[&name]);
    assert_eq!((text(&fetched.stdout), code(&fetched)), ("first".into(), 0), "{}", text(&fetched.stderr));
    let to_file = [&*name, "-o", "copy", "--if-newer"];
    assert_eq!(code(&bench.get(&to_file)), 0);
    assert_eq!(fs::read(bench.path("copy")).unwrap(), b"first");
    assert_eq!(code(&bench.get(&to_file)), 9);
    bench.change("second");
    assert_eq!(code(&bench.get(&to_file)), 0);
    assert_eq!(fs::read(bench.path("copy")).unwrap(), b"second");
    assert_eq!(code(&bench.get(&to_file)), 9);
    // What somebody changed is left alone, and so is what is new; with nothing there it is fetched.
    fs::write(bench.path("copy"), "mine").unwrap();
    bench.change("third");
    assert_eq!(code(&bench.get(&to_file)), 7);
    assert_eq!(fs::read(bench.path("copy")).unwrap(), b"mine");
    fs::remove_file(bench.path("copy")).unwrap();
    assert_eq!(code(&bench.get(&to_file)), 0);
    assert_eq!(fs::read(bench.path("copy")).unwrap(), b"third");
}

#[test]
fn a_publisher_goes_on_where_it_stopped_and_a_lost_state_folder_does_no_harm() {
    let mut bench = Bench::new("first");
    let name = bench.name.clone();
    bench.change("second");
    bench.change("third");
    let seq = |server: &Server| {
        let named = server.events.iter().filter(|event| event["event"] == "named");
        named.filter_map(|event| event["seq"].as_u64()).collect::<Vec<_>>()
    };
    let seqs = seq(&bench.server);
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{seqs:?}");
    // Another reader's server, which heard of it, is all that remembers.
    assert_eq!(code(&bench.get(&[&name])), 0);
    fs::create_dir(bench.path("empty")).unwrap();
    let other = Server::start(&bench.path("empty"), &bench.path("get"), &[]);
    let folder = bench.folder.path().to_owned();
    drop(bench.server);
    let (same, again) = publish(&folder, "serve", &[]);
    assert_eq!((seq(&same), &again), (vec![seqs[2]], &name), "nothing is new, so nothing is signed");
    drop(same);
    // The key stays. The number of the lost state is learned before anything is signed.
    fs::remove_dir_all(folder.join("serve")).unwrap();
    fs::write(folder.join("share/page"), "fourth").unwrap();
    let (later, _) = publish(&folder, "serve", &["--peer", &other.address.to_string()]);
    let after = seq(&later)[0];
    assert!(after > seqs[2], "{after} after {seqs:?}");
}

#[test]
fn a_name_that_nobody_knows_and_a_wrong_command_line_have_their_codes() {
    let bench = Bench::new("first");
    let other = bench.name.replace("page", "other");
    let unknown = bench.get(&[&other]);
    assert_eq!(code(&unknown), 3, "{}", text(&unknown.stderr));
    let told = text(&unknown.stderr);
    assert_eq!(told.lines().filter(|line| line.contains(&other)).count(), 1, "{told}");
    let id = format!("blake3/{}", "ab".repeat(32));
    for arguments in [
        &["latest/x/y"][..],
        &[&*bench.name, &id, "-o", "x"],
        &[&bench.name, "--watch"],
        &[&id, "--if-newer"],
        &[&id, "--watch", "-o", "x"],
        &["a#peer="],
    ] {
        let output = bench.get(arguments);
        assert_eq!(code(&output), 2, "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr).lines().count(), 1, "{}", text(&output.stderr));
    }
    let serve = |arguments: &[&str]| {
        let mut command = tool("cjp2p-serve", &bench.path("more"));
        command.current_dir(bench.folder.path()).args(["--listen", "127.0.0.1:0"]);
        command.args(arguments).output().unwrap()
    };
    for arguments in [
        &["--name", ".x", "share"][..],
        &["--name", "a b", "share"],
        &["--name", "a", "--name", "b", "share"],
        &["--name", "a", "--name", "a", "share", "share/page"],
        &["--name", "a", "--follow", "share"],
        &["--key", "k", "share"],
    ] {
        assert_eq!(code(&serve(arguments)), 2, "{arguments:?}");
    }
}

#[test]
fn a_file_that_lies_in_another_argument_has_its_name_too() {
    let bench = Bench::new("first");
    let share = bench.path("share");
    let arguments = ["--name", "site", "--name", "page", share.to_str().unwrap()];
    let mut server = Server::start(&bench.path("share/page"), &bench.path("more"), &arguments);
    while server.events.iter().filter(|event| event["event"] == "named").count() < 2 {
        server.wait_for("named");
    }
    let is_page = |name: &str| name.ends_with("/page");
    let page = server.events.iter().find(|event| event["name"].as_str().is_some_and(is_page));
    assert_eq!(page.unwrap()["id"], server.ids("page")[0]);
}

#[test]
fn a_key_that_lies_in_what_is_shared_is_refused() {
    let bench = Bench::new("first");
    for key in ["share/.key.json", "more/key.json"] {
        fs::create_dir_all(bench.path("more")).unwrap();
        let mut command = tool("cjp2p-serve", &bench.path("more"));
        command.current_dir(bench.folder.path()).args(["--listen", "127.0.0.1:0", "--name", "a"]);
        let output = command.args(["--key", key, "share"]).output().unwrap();
        assert_eq!(code(&output), 2, "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("key.json lies in"), "{}", text(&output.stderr));
    }
}

#[test]
fn an_id_with_its_peer_is_fetched_from_there_and_from_a_name_too() {
    let bench = Bench::new("first");
    let [id, sha256] = bench.server.ids("page");
    for id in [&id, &sha256, &bench.name] {
        let output = bench.command(&[&format!("{id}#peer={}", bench.server.address)]).output().unwrap();
        assert_eq!((text(&output.stdout), code(&output)), ("first".into(), 0), "{}", text(&output.stderr));
    }
}

struct Watching(Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a file has this text in it.
fn until_it_is(path: &Path, text: &str) -> Duration {
    let start = Instant::now();
    while fs::read_to_string(path).ok().as_deref() != Some(text) {
        assert!(start.elapsed() < Duration::from_secs(60), "{path:?} does not become {text:?}");
        thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

#[test]
fn who_watches_a_name_has_each_new_version_and_ends_with_all_that_it_started() {
    let mut bench = Bench::new("first");
    let peer = bench.server.address.to_string();
    let mut command = bench.command(&["--watch", "--peer", &peer, "-o", "copy", &bench.name]);
    let mut watching = Watching(command.stderr(Stdio::piped()).spawn().unwrap());
    let copy = bench.path("copy");
    until_it_is(&copy, "first");
    for version in ["second", "third", "fourth"] {
        bench.change(version);
        // Within seconds, though the machine may be busy: not when it is asked again, in a minute.
        let took = until_it_is(&copy, version);
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
    let pid = watching.0.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM).unwrap();
    end_of(&mut watching.0);
    let start = Instant::now();
    for child in children.split_whitespace() {
        let path = format!("/proc/{child}/cmdline");
        while fs::read(&path).is_ok_and(|line| !line.is_empty()) {
            assert!(start.elapsed() < Duration::from_secs(30), "{child} goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
