//! A file that is changed or removed at the source while it is fetched: the real tools on loopback.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cjp2p_tests::at_once::at_once;
use cjp2p_tests::content;
use cjp2p_tests::real::server::Server;
use cjp2p_tests::real::tool;
use tempfile::TempDir;

const LENGTH: usize = 8 << 20;

struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        for name in ["share", "share/below", "state", "get-state", "other", "other-state"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("share/file"), content::bytes(91, LENGTH)).unwrap();
        Bench { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server at a rate at which the file takes eight seconds.
    fn serve(&self) -> Server {
        Server::start(&self.path("share"), &self.path("state"), &["--rate", "1M"])
    }

    fn get(&self, servers: &[&Server], id: &str) -> Command {
        let mut command = tool("cjp2p-get", &self.path("get-state"));
        command.current_dir(self.folder.path()).args(["--progress", "never", "--listen", "127.0.0.1:0"]);
        for server in servers {
            command.args(["--peer", &server.address.to_string()]);
        }
        command.args([id, "-o", "copy"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts to fetch, and waits until some of it is here.
    fn begin(&self, servers: &[&Server], id: &str) -> Child {
        let child = self.get(servers, id).spawn().unwrap();
        let record = self.path("copy.cjp2p-resume");
        wait_until(|| fs::metadata(&record).is_ok_and(|found| found.len() > 0));
        child
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "it does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_is_changed_or_removed_at_the_source_ends_the_fetch_with_8() {
    type Change = fn(&Bench);
    let changes: [(&str, Change); 4] = [
        ("removed", |bench| fs::remove_file(bench.path("share/file")).unwrap()),
        ("appended to", |bench| {
            let mut file = OpenOptions::new().append(true).open(bench.path("share/file")).unwrap();
            file.write_all(b"more").unwrap();
        }),
        ("changed in place", |bench| {
            fs::write(bench.path("share/file"), content::bytes(92, LENGTH)).unwrap();
        }),
        ("replaced", |bench| {
            fs::write(bench.path("share/new"), content::bytes(93, 100)).unwrap();
            fs::rename(bench.path("share/new"), bench.path("share/file")).unwrap();
        }),
    ];
    at_once(changes, |(how, change)| {
        let bench = Bench::new();
        let server = bench.serve();
        let id = &server.ids("file")[0];
        let child = bench.begin(&[&server], id);
        change(&bench);
        let (code, message) = told(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(8), "{how}: {message}");
        assert!(message.contains("withdrawn at the source"), "{how}: {message}");
        // And again, as a loop in a script does it that goes on from what came; and for who comes only now.
        let (code, message) = told(&bench.get(&[&server], id).output().unwrap());
        assert_eq!(code, Some(8), "{how}, again: {message}");
        let sha256 = &server.ids("file")[1];
        let (code, message) = told(&bench.get(&[&server], sha256).output().unwrap());
        assert_eq!(code, Some(8), "{how}, by the other id: {message}");
    });
}

#[test]
fn what_is_only_touched_or_moved_is_fetched_to_the_end() {
    let bench = Bench::new();
    let server = bench.serve();
    let id = &server.ids("file")[0];
    let child = bench.begin(&[&server], id);
    fs::rename(bench.path("share/file"), bench.path("share/below/moved")).unwrap();
    thread::sleep(Duration::from_millis(300));
    let moved = File::options().write(true).open(bench.path("share/below/moved")).unwrap();
    moved.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH)).unwrap();
    let (code, message) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{message}");
    assert!(fs::read(bench.path("copy")).unwrap() == content::bytes(91, LENGTH));
}

#[test]
fn what_another_server_still_has_comes_from_there() {
    let bench = Bench::new();
    fs::write(bench.path("other/file"), content::bytes(91, LENGTH)).unwrap();
    let server = bench.serve();
    let other = Server::start(&bench.path("other"), &bench.path("other-state"), &["--rate", "1M"]);
    let id = &server.ids("file")[0];
    let child = bench.begin(&[&server, &other], id);
    fs::remove_file(bench.path("share/file")).unwrap();
    let (code, message) = told(&child.wait_with_output().unwrap());
    assert_eq!(code, Some(0), "{message}");
    assert!(fs::read(bench.path("copy")).unwrap() == content::bytes(91, LENGTH));
}
