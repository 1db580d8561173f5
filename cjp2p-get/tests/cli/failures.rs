//! What can go wrong: the documented exit code, and one clear line.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cjp2p_tests::content::{self, blake3_id, sha256_id};
use cjp2p_tests::sim::liars::{Liar, Lie};

use crate::support::{Bench, Ended, Host, assert_content, wait_until, written};

#[test]
fn wrong_arguments_are_a_usage_error() {
    let bench = Bench::new();
    let id = blake3_id(b"x").to_string();
    for (arguments, told) in [
        (&[][..], "<ID>"),
        (&["blake3/123"], "64 hex digits"),
        (&["../x", "--unverified"], "slash"),
        (&["x"], "--unverified"),
        (&[&*id.replace("blake3", "blake3_tree_v2")], "hash tree"),
        (&[&*id, &*id], "folder"),
        (&["-"], "folder"),
        (&["-", "-", "-o", "dir"], "only once"),
        (&[&*id, "--json"], "--json"),
        (&[&*id, "--timeout", "30"], "is not a duration"),
        (&[&*id, "-o", "a", "--into", "b"], "--into"),
        (&[&*id, "--peer", "a b"], "is not an address"),
    ] {
        bench.run(&[], arguments).failed(2, told);
    }
    assert_eq!(bench.files(), [""; 0]);
}

#[test]
fn nobody_to_ask_is_told_at_once() {
    let bench = Bench::new();
    let begun = Instant::now();
    bench.run(&[], &[&blake3_id(b"x").to_string(), "-o", "file"]).failed(3, "nobody to ask");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(bench.files(), [""; 0]);
}

#[test]
fn an_unknown_id_has_no_source() {
    let host = Host::sharing(&[b"something else"]);
    let bench = Bench::new();
    for id in [blake3_id(b"x"), sha256_id(b"x")] {
        let id = id.to_string();
        bench
            .run(&[&host], &[&*id, "-o", "file", "--timeout", "500ms"])
            .failed(3, "no peer offered any of it");
        let ended = bench.run(&[&host], &[&*id, "--timeout", "500ms"]).failed(3, "one peer was asked");
        assert_eq!(ended.stdout, b"");
    }
    assert_eq!(bench.files(), [""; 0]);
}

#[test]
fn what_failed_never_looks_complete() {
    let host = Host::sharing(&[b"something else"]);
    let bench = Bench::new();
    let id = blake3_id(b"x").to_string();
    for progress in ["always", "json"] {
        let arguments = [&*id, "-o", "file", "--timeout", "1500ms", "--progress", progress];
        let ended = bench.run(&[&host], &arguments);
        assert_eq!(ended.code, Some(3), "{}", ended.stderr);
        assert!(!ended.stderr.contains("100%") && !ended.stderr.contains(r#""total":0"#), "{}", ended.stderr);
    }
}

#[test]
fn only_wrong_bytes_are_a_mismatch_and_nothing_of_them_is_written() {
    let bytes = content::bytes(20, 300_000);
    let liar = {
        let bytes = bytes.clone();
        Host::start(move || Liar::new(Lie::Content, &bytes, 1))
    };
    let bench = Bench::new();
    for id in [blake3_id(&bytes), sha256_id(&bytes)] {
        let id = id.to_string();
        let ended = bench.run(&[&liar], &[&*id, "--stall", "1s"]).failed(5, "does not match the id");
        assert_eq!(ended.stdout, b"");
        bench.run(&[&liar], &[&*id, "--stall", "1s", "-o", "file"]).failed(5, "does not match the id");
        assert_eq!(bench.files(), [""; 0]);
    }
}

#[test]
fn a_source_that_falls_silent_is_a_stall_and_what_came_is_kept() {
    let bytes = content::bytes(22, 20 << 20);
    let host = Host::limited(&[&bytes], Some(8 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let child = bench.begin(&[&host], &[&*id, "-o", "file", "--stall", "1s"]);
    wait_until(|| written(&bench, "file.cjp2p-part", &bytes) > 2 << 20);
    drop(host);
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended.failed(4, "nothing new came for 1.0s; what came is kept in file.cjp2p-part");
    assert_eq!(bench.files(), ["file.cjp2p-part", "file.cjp2p-resume"]);
}

#[test]
fn a_reader_that_has_gone_ends_the_tool_quietly() {
    let bytes = content::bytes(23, 20 << 20);
    let host = Host::sharing(&[&bytes]);
    let bench = Bench::new();
    for id in [blake3_id(&bytes), sha256_id(&bytes)] {
        let mut child = bench.begin(&[&host], &[&id.to_string()]);
        let mut stdout = child.stdout.take().unwrap();
        let mut taken = vec![0; 100_000];
        stdout.read_exact(&mut taken).unwrap();
        assert!(taken == bytes[..100_000]);
        drop(stdout);
        let ended = Ended::of(child.wait_with_output().unwrap());
        assert_eq!((ended.code, &*ended.stderr), (Some(141), ""));
    }
}

#[test]
fn a_destination_that_cannot_be_written_is_named() {
    let bytes = content::bytes(24, 1 << 20);
    let host = Host::sharing(&[&bytes]);
    let bench = Bench::new();
    let address = host.address.to_string();
    fs::write(bench.path("plain"), "").unwrap();
    for id in [blake3_id(&bytes), sha256_id(&bytes)] {
        let id = id.to_string();
        bench.run(&[&host], &[&*id, "-o", "missing/file"]).failed(7, "missing/file.cjp2p-part: No such file");
        bench.run(&[&host], &[&*id, "-o", "plain/file"]).failed(7, "plain/file: Not a directory");
        bench.run(&[&host], &[&*id, "--into", "plain"]).failed(7, "plain");
        let full = bench.script(r#"exec "$GET" --peer "$1" "$2" > /dev/full"#, &[&address, &id]).output();
        Ended::of(full.unwrap()).failed(7, "standard output: No space left");
        // A file may grow to half a mebibyte only.
        let script = r#"trap '' XFSZ; ulimit -f 1024; exec "$GET" --peer "$1" "$2" -o file"#;
        let full = bench.script(script, &[&address, &id]).output();
        Ended::of(full.unwrap()).failed(7, "file: File too large");
        let temporary = bench.run(&[&host], &[&*id, "--temp-dir", "missing"]);
        if id.starts_with("blake3/") {
            temporary.done();
        } else {
            temporary.failed(7, "missing");
        }
    }
}

#[test]
fn a_file_that_appears_meanwhile_is_not_replaced() {
    let bytes = content::bytes(25, 4 << 20);
    let host = Host::limited(&[&bytes], Some(4 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let child = bench.begin(&[&host], &[&*id, "-o", "file"]);
    wait_until(|| bench.path("file.cjp2p-resume").exists());
    fs::write(bench.path("file"), "somebody else's").unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended.failed(7, "file: appeared meanwhile; what was fetched is in file.cjp2p-part");
    assert_eq!(bench.read("file"), b"somebody else's");
    let ended = bench.run(&[], &[&*id, "-o", "file", "--force", "--json"]).done();
    assert_eq!(ended.json()[0]["resumed"], 4 << 20);
    assert_content(&bench.path("file"), &bytes);
}

#[test]
fn two_processes_never_fetch_to_one_file() {
    let bytes = content::bytes(26, 8 << 20);
    let host = Host::limited(&[&bytes], Some(4 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let first = bench.begin(&[&host], &[&*id, "-o", "file"]);
    wait_until(|| bench.path("file.cjp2p-resume").exists());
    bench.run(&[&host], &[&*id, "-o", "file"]).failed(6, "another process");
    bench.run(&[&host], &[&*id, "-o", "file", "--lock", "fail"]).failed(6, "another process");
    let ended = bench.run(&[&host], &[&*id, "-o", "file", "--lock", "skip", "--json"]).done();
    assert_eq!(ended.json()[0]["event"], "skipped");
    let ended = bench.run(&[&host], &[&*id, "-o", "file", "--lock", "wait", "--json"]).done();
    assert_eq!(ended.json()[0]["already"], true);
    Ended::of(first.wait_with_output().unwrap()).done();
    assert_content(&bench.path("file"), &bytes);
    assert_eq!(bench.files(), ["file"]);
}

#[test]
fn a_pipeline_can_have_a_lock_too() {
    let bytes = content::bytes(27, 8 << 20);
    let host = Host::limited(&[&bytes], Some(4 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let mut first = bench.command(&[&host], &[&*id, "--lock", "fail"]);
    let mut first = first.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = first.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 1000]).unwrap();
    bench.run(&[&host], &[&*id, "--lock", "fail"]).failed(6, "another process");
    assert_eq!(bench.run(&[&host], &[&*id, "--lock", "skip"]).done().stdout, b"");
    assert!(bench.run(&[&host], &[&*id]).done().stdout == bytes, "without the option there is none");
    first.kill().unwrap();
    first.wait().unwrap();
}

#[test]
fn a_state_folder_is_needed_only_where_it_was_asked_for() {
    let bytes = content::bytes(28, 1000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    fs::write(bench.path("plain"), "").unwrap();
    bench.run(&[&host], &[&*id, "--state", "plain/state"]).failed(1, "state folder");
    let mut command = bench.command(&[&host], &[&*id]);
    let ended = Ended::of(command.env("CJP2P_STATE_DIR", "plain/state").output().unwrap());
    assert_eq!((ended.code, ended.stdout == bytes), (Some(0), true));
    assert!(ended.stderr.contains("warning: state folder"), "{}", ended.stderr);
}
