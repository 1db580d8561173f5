//! Torrents between the real programs: in whole, in part, by magnet, resumed, and where something is wrong.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::at_once::at_once;
use cjp2p_tests::content;
use cjp2p_tests::real::album::{Album, FILES};
use cjp2p_tests::real::server::{Server, peak_memory};
use cjp2p_tests::real::tracker::{Manner, Tracker};
use cjp2p_tests::real::{end_of, tool};
use serde_json::Value;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn done(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_str(&text(&output.stdout)).unwrap()
}

#[test]
fn a_torrent_is_fetched_by_its_file_and_by_its_magnet_and_then_is_there() {
    let album = Album::new();
    let server = album.seed();
    let total: usize = FILES.iter().map(|(_, length)| length).sum();
    let whole = done(&album.get(&server, &["t.torrent", "-o", "one", "--json"]).output().unwrap());
    assert!(album.is_there("one"));
    assert_eq!((whole["event"].as_str(), whole["length"].as_u64()), (Some("complete"), Some(total as u64)));
    assert_eq!((whole["files"].as_u64(), whole["already"].as_bool()), (Some(5), Some(false)));
    let bare = album.magnet.split('&').next().unwrap();
    done(&album.get(&server, &[bare, "-o", "two", "--json"]).output().unwrap());
    assert!(album.is_there("two"));
    // Without anybody.
    let mut again = tool("cjp2p-get", &album.path("get"));
    let again = again.current_dir(album.folder.path()).args(["t.torrent", "-o", "one", "--json", "-q"]);
    assert_eq!(done(&again.output().unwrap())["already"], true);
    assert!(album.is_there("one"));
}

#[test]
fn one_file_or_a_range_of_it_goes_to_a_reader_and_moves_few_pieces() {
    let album = Album::new();
    let server = album.seed();
    let file = album.get(&server, &["t.torrent", "--file", "1"]).output().unwrap();
    assert!(file.status.success() && file.stdout == content::bytes(0, 900_000), "{}", text(&file.stderr));
    let range = ["t.torrent", "--file", "z", "--range", "1000000+4096", "--progress", "json"];
    let range = album.get(&server, &range).output().unwrap();
    assert!(range.stdout == content::bytes(4, 2_000_000)[1_000_000..1_004_096], "{}", text(&range.stderr));
    let several = album.get(&server, &["t.torrent"]).output().unwrap();
    assert_eq!(several.status.code(), Some(2), "{}", text(&several.stderr));
    // A reader that goes ends it.
    let mut closed =
        album.get(&server, &["t.torrent", "--file", "z"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(closed.stdout.take());
    assert_eq!(end_of(&mut closed).code(), Some(141));
}

#[test]
fn parts_of_a_file_become_a_file() {
    let album = Album::new();
    let server = album.seed();
    let whole = content::bytes(4, 2_000_000);
    let wanted = [&whole[..4096], &whole[1_000_000..1_300_000]].concat();
    let ranges = ["--range", "1000000+300000:1", "--range", "0+4K"];
    let get = |arguments: &[&str]| {
        let mut get = album.get(&server, &["t.torrent", "--file", "z"]);
        get.args(ranges).args(arguments).output().unwrap()
    };
    let told = done(&get(&["-o", "part", "--json"]));
    assert!(fs::read(album.path("part")).unwrap() == wanted, "in the order in which they lie in the file");
    assert_eq!(
        told["ranges"].to_string(),
        r#"[{"length":4096,"offset":0},{"length":300000,"offset":1000000}]"#
    );
    assert!(told["path"] == "part" && told["received"].as_u64().unwrap() < 500_000, "{told}");
    let is_alone = || {
        fs::read_dir(album.folder.path())
            .unwrap()
            .all(|entry| !entry.unwrap().file_name().to_str().unwrap().ends_with(".cjp2p-part"))
    };
    assert!(is_alone(), "nothing unfinished is left");

    // The same is there already; something else is left alone, and replaced with --force.
    assert!(get(&["-o", "part"]).status.success());
    let other = vec![7; wanted.len()];
    fs::write(album.path("part"), &other).unwrap();
    let refused = get(&["-o", "part"]);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
    assert!(fs::read(album.path("part")).unwrap() == other);
    fs::write(album.path("part"), "short").unwrap();
    let refused = get(&["-o", "part", "--json"]);
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
    // What was fetched before is taken up.
    let forced = done(&get(&["-o", "part", "--force", "--json"]));
    assert!(fs::read(album.path("part")).unwrap() == wanted && is_alone());
    assert!(forced["received"] == 0 && forced["resumed"].as_u64().unwrap() > 300_000, "{forced}");

    // In a folder it has the name of the file, with --into what is unfinished elsewhere.
    assert!(get(&["--into", "dir"]).status.success());
    assert!(fs::read(album.path("dir/z")).unwrap() == wanted);
    assert_eq!(fs::read_dir(album.path("dir/incomplete")).unwrap().count(), 0);
    // A device gets them in the order of fetching, as standard output does.
    let device = get(&["-o", "/dev/stdout"]);
    assert!(device.stdout == [&whole[1_000_000..1_300_000], &whole[..4096]].concat(), "{device:?}");

    let mut past = album.get(&server, &["t.torrent", "--file", "z", "--range", "2M-", "-o", "past"]);
    assert_eq!(past.output().unwrap().status.code(), Some(2));
    let mut several = album.get(&server, &["t.torrent", "--range", "0+1", "-o", "past"]);
    assert_eq!(several.output().unwrap().status.code(), Some(2));
    assert!(!album.path("past").exists() && is_alone());
}

#[test]
fn parts_that_are_fetched_lose_nothing_of_an_interrupted_fetch_of_more() {
    let album = Album::new();
    let server = album.seed();
    let whole = content::bytes(4, 2_000_000);
    let get = |range: &str, output: &str, force: bool| {
        let mut get =
            album.get(&server, &["t.torrent", "--file", "z", "--json", "--range", range, "-o", output]);
        get.args(force.then_some("--force")).output().unwrap()
    };
    let is_unfinished = || {
        let mut found = fs::read_dir(album.folder.path()).unwrap().flatten();
        found.any(|entry| entry.file_name().to_str().unwrap().ends_with(".cjp2p-part"))
    };
    // What was fetched cannot get its place.
    fs::write(album.path("first"), vec![7; 1_000_000]).unwrap();
    assert_eq!(get("0+1000000", "first", false).status.code(), Some(7));
    assert!(is_unfinished());
    done(&get("1500000+1000", "second", false));
    assert!(fs::read(album.path("second")).unwrap() == whole[1_500_000..1_501_000]);
    assert!(is_unfinished(), "it has more than that");
    let first = done(&get("0+1000000", "first", true));
    assert!(fs::read(album.path("first")).unwrap() == whole[..1_000_000]);
    assert!(first["received"] == 0 && first["already"] == true, "{first}");
}

#[test]
fn what_is_unfinished_of_a_torrent_can_be_kept_apart_and_what_is_whole_is_shared() {
    let album = Album::new();
    let server = album.seed();
    let told = done(&album.get(&server, &["t.torrent", "--into", "pool", "--json"]).output().unwrap());
    assert_eq!(told["path"], "pool/album");
    assert_eq!(fs::read_dir(album.path("pool/incomplete")).unwrap().count(), 0);
    fs::remove_dir(album.path("pool/incomplete")).unwrap();
    assert!(album.is_there("pool"));
    // A server that shares the folder gives it by its blake3 id too.
    let pool = Server::start(&album.path("pool"), &album.path("pool-state"), &[]);
    let [id, _] = pool.ids("z");
    let mut get = tool("cjp2p-get", &album.path("get"));
    let get = get.args([&id, "--peer", &pool.address.to_string(), "--quiet", "--listen", "127.0.0.1:0"]);
    assert!(get.output().unwrap().stdout == content::bytes(4, 2_000_000));
}

#[test]
fn files_are_listed_and_chosen_by_number_and_pattern() {
    let album = Album::new();
    let mut get = tool("cjp2p-get", &album.path("get"));
    let list = get.current_dir(album.folder.path()).args(["t.torrent", "--list"]).output().unwrap();
    let lines: Vec<Vec<String>> =
        text(&list.stdout).lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    let wanted = FILES
        .iter()
        .enumerate()
        .map(|(n, (name, length))| vec![(n + 1).to_string(), length.to_string(), (*name).to_owned()]);
    assert!(lines.iter().cloned().eq(wanted), "{lines:?}");
    let server = album.seed();
    let by_magnet = album.get(&server, &[&album.magnet, "--list"]).output().unwrap();
    assert_eq!(by_magnet.stdout, list.stdout);
    let chosen = ["t.torrent", "--file", "*.nfo", "--file", "2", "-o", "some"];
    assert!(album.get(&server, &chosen).status().unwrap().success());
    let there = |name: &str| album.path("some/album").join(name).exists();
    assert!(there("sub/c.nfo") && there("empty") && !there("a") && !there("sub/b") && !there("z"));
    assert_eq!(fs::read_dir(album.path("some")).unwrap().count(), 1, "nothing else is kept");
}

#[test]
fn what_is_there_already_is_taken_or_left_alone() {
    let album = Album::new();
    let server = album.seed();
    fs::create_dir_all(album.path("out/album")).unwrap();
    fs::copy(album.path("share/album/z"), album.path("out/album/z")).unwrap();
    let taken = done(&album.get(&server, &["t.torrent", "-o", "out", "--json"]).output().unwrap());
    assert!(album.is_there("out") && taken["received"].as_u64().unwrap() < 1_200_000, "{taken}");
    fs::write(album.path("out/album/a"), "mine").unwrap();
    let refused = album.get(&server, &["t.torrent", "-o", "out"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(7), "{}", text(&refused.stderr));
    assert_eq!(fs::read(album.path("out/album/a")).unwrap(), b"mine");
    assert!(album.get(&server, &["t.torrent", "-o", "out", "--force"]).status().unwrap().success());
    assert!(album.is_there("out"));
}

#[test]
fn a_fetch_that_was_killed_at_any_moment_is_resumed() {
    let album = Album::new();
    let server = album.seed();
    for n in 0..20 {
        let mut get = album.get(&server, &["t.torrent", "-o", "out"]).spawn().unwrap();
        thread::sleep(Duration::from_millis(n * 2));
        let _ = get.kill();
        get.wait().unwrap();
        if album.path("out/album/z").exists() {
            // It was done before.
            fs::remove_dir_all(album.path("out")).unwrap();
        }
    }
    done(&album.get(&server, &["t.torrent", "-o", "out", "--json"]).output().unwrap());
    assert!(album.is_there("out"));
}

#[test]
fn two_at_once_do_not_write_the_same() {
    let album = Album::new();
    // Nobody has it, so the first waits for peers.
    let first = |arguments: &[&str]| {
        let mut get = tool("cjp2p-get", &album.path("get"));
        get.current_dir(album.folder.path()).args(["t.torrent", "-o", "out", "--quiet", "--timeout", "60s"]);
        get.args(arguments);
        get
    };
    let mut waits = first(&[]).spawn().unwrap();
    let begun = Instant::now();
    while fs::read_dir(album.path("out")).map_or(0, |found| found.count()) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
    thread::sleep(Duration::from_millis(200));
    assert_eq!(first(&[]).status().unwrap().code(), Some(6));
    assert!(first(&["--lock", "skip"]).status().unwrap().success());
    waits.kill().unwrap();
    waits.wait().unwrap();
}

#[test]
fn a_torrent_that_nobody_has_fails_with_3_and_leaves_nothing() {
    let album = Album::new();
    for what in ["t.torrent", &album.magnet] {
        let mut get = tool("cjp2p-get", &album.path("get"));
        let get = get.current_dir(album.folder.path()).args([what, "-o", "out", "--timeout", "300ms"]);
        let output = get.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains("the DHT is asked only with --dht"),
            "{}",
            text(&output.stderr)
        );
        assert_eq!(fs::read_dir(album.path("out")).unwrap().count(), 0);
    }
}

#[test]
fn a_file_that_changes_under_the_seed_is_not_given_to_anybody() {
    let album = Album::new();
    let server = album.seed();
    let file = fs::OpenOptions::new().write(true).open(album.path("share/album/z")).unwrap();
    file.write_all_at(b"something else", 1_000_000).unwrap();
    let get = ["t.torrent", "-o", "out", "--stall", "2s", "--timeout", "2s"];
    let output = album.get(&server, &get).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("not talked with any more"), "{}", text(&output.stderr));
    // What shares no piece with it is there.
    assert!(album.get(&server, &["t.torrent", "-o", "out", "--file", "a"]).status().unwrap().success());
    let read = |folder: &str| fs::read(album.path(folder).join("album/a")).unwrap();
    assert!(read("out") == read("share"));
}

#[test]
fn what_a_torrent_says_cannot_lead_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "d4:infod5:filesld6:lengthi1e4:pathl2:..1:xeee4:name1:n12:piece lengthi16384e6:pieces20:hhhhhhhhhhhhhhhhhhhhee";
    fs::write(folder.path().join("h.torrent"), hostile).unwrap();
    let mut get = tool("cjp2p-get", &folder.path().join("state"));
    let output = get.current_dir(folder.path()).args(["h.torrent", "-o", "out"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn what_is_shared_is_made_a_torrent_on_demand() {
    let album = Album::new();
    fs::write(album.path("share/single"), content::bytes(9, 100_000)).unwrap();
    let mut server = Server::start(&album.path("share"), &album.path("serve"), &["--magnets"]);
    let told = |server: &Server, name: &str| {
        let ends =
            |event: &&Value| event["event"] == "torrent" && event["path"].as_str().unwrap().ends_with(name);
        server.events.iter().find(ends).map(|event| event["magnet"].as_str().unwrap().to_owned())
    };
    while told(&server, "album").is_none() || told(&server, "single").is_none() {
        server.wait_for("torrent");
    }
    let single = told(&server, "single").unwrap();
    let output = album.get(&server, &[&single]).output().unwrap();
    assert!(output.stdout == content::bytes(9, 100_000), "{}", text(&output.stderr));
    let of_album = told(&server, "album").unwrap();
    assert!(album.get(&server, &[&of_album, "-o", "out"]).status().unwrap().success());
    assert!(album.is_there("out"));
}

#[test]
fn peers_find_each_other_by_a_tracker_that_hears_when_one_is_done() {
    for by_udp in [false, true] {
        let (album, tracker) = (Album::new(), Tracker::start(Ipv4Addr::LOCALHOST).unwrap());
        let url = if by_udp { tracker.udp() } else { tracker.http() };
        let torrent = album.path("t.torrent");
        let arguments = ["--torrent", torrent.to_str().unwrap(), "--tracker", &url];
        let mut server = Server::start(&album.path("share"), &album.path("serve"), &arguments);
        tracker.wait_for("left=0");
        let mut get = tool("cjp2p-get", &album.path("get"));
        get.current_dir(album.folder.path()).args(["--listen", "127.0.0.1:0", "--quiet", "--allow-private"]);
        let get = get.args(["--tracker", &url, &album.magnet, "-o", "out"]).output().unwrap();
        assert!(get.status.success(), "{}", text(&get.stderr));
        assert!(album.is_there("out"));
        tracker.wait_for("event=completed");
        server.end();
        tracker.wait_for("event=stopped");
    }
}

/// Memory that a fetch may have resident beside what it does with an honest tracker, in bytes.
const MOST_MEMORY: u64 = 64 << 20;
/// What a tracker that sends without end may have sent before it is left: what fits the buffers of both sides, and a bound of ours.
const MOST_FLOODED: u64 = 24 << 20;

#[test]
fn a_tracker_that_does_harm_stops_no_fetch_and_is_no_reason_to_wait() {
    let album = Album::new();
    let server = album.seed();
    let manners = [Manner::Lies, Manner::Babbles, Manner::Hangs, Manner::Redirects, Manner::Floods];
    at_once(manners, |manner| {
        let tracker = Tracker::with_manner(Ipv4Addr::LOCALHOST, manner).unwrap();
        let name = format!("{manner:?}");
        // Nobody has it, but for the tracker.
        let mut alone = tool("cjp2p-get", &album.path(&format!("{name}-alone")));
        alone.current_dir(album.folder.path()).args([
            "--listen",
            "127.0.0.1:0",
            "--timeout",
            "3s",
            "--allow-private",
        ]);
        alone.args(["--tracker", &tracker.http(), "t.torrent", "-o", &format!("{name}-nothing")]);
        let begun = Instant::now();
        let mut child = alone.stderr(Stdio::piped()).spawn().unwrap();
        tracker.wait_for("left=");
        let mut memory = 0;
        while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(60) {
            memory = memory.max(peak_memory(child.id()));
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(end_of(&mut child).code(), Some(3), "{name}");
        assert!(memory > 0 && memory < MOST_MEMORY, "{name}: {memory} bytes");
        assert!(tracker.flooded() <= MOST_FLOODED, "{} bytes were taken", tracker.flooded());
        // From redirect to redirect it does not go on for ever.
        assert!(tracker.asked().len() <= 30, "{name}: {} questions", tracker.asked().len());
        let into = format!("{name}-out");
        let get = ["--tracker", &tracker.http(), "t.torrent", "-o", &into];
        let said = album.get(&server, &get).arg("--allow-private").output().unwrap();
        assert!(said.status.success() && album.is_there(&into), "{name}: {}", text(&said.stderr));
    });
}
