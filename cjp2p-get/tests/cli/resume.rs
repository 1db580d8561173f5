//! Going on after an interruption, whatever it left.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use cjp2p_tests::content::{self, blake3_id, sha256_id};
use cjp2p_wire::content_id::ContentId;

use crate::support::{Bench, Ended, Host, assert_content, wait_until, written};

const MEBIBYTE: u64 = 1 << 20;

fn kill(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

fn record_len(bench: &Bench) -> u64 {
    fs::metadata(bench.path("file.cjp2p-resume")).map_or(0, |found| found.len())
}

/// Lets a fetch to `file` come some way, and ends it by `signal`.
fn interrupt(bench: &Bench, host: &Host, id: &ContentId, signal: &str) -> Ended {
    let child = bench.begin(&[host], &[&*id.to_string(), "-o", "file"]);
    // On a busy machine the record can be there long before any content is. What blocks the file has is only about right.
    let blocks = || fs::metadata(bench.path("file.cjp2p-part")).map_or(0, |found| found.blocks());
    wait_until(|| record_len(bench) > 4000 && blocks() * 512 > MEBIBYTE);
    kill(&child, signal);
    Ended::of(child.wait_with_output().unwrap())
}

/// Fetches the rest; returns what came and what was there.
fn finish(bench: &Bench, host: &Host, id: &ContentId, bytes: &[u8]) -> (u64, u64) {
    let ended = bench.run(&[host], &[&*id.to_string(), "-o", "file", "--json"]).done();
    assert_content(&bench.path("file"), bytes);
    assert_eq!(bench.files(), ["file"]);
    let line = &ended.json()[0];
    (line["received"].as_u64().unwrap(), line["resumed"].as_u64().unwrap())
}

/// Kills the fetch at different moments.
fn killed_ten_times(id: &ContentId, bytes: &[u8]) {
    let host = Host::limited(&[bytes], Some(16 << 20));
    let bench = Bench::new();
    let mut arrived = 0;
    for n in 0..10 {
        let child = bench.begin(&[&host], &[&*id.to_string(), "-o", "file"]);
        // Each time a little further. What blocks the file has is only about right, and quick to find out.
        let blocks = || fs::metadata(bench.path("file.cjp2p-part")).map_or(0, |found| found.blocks());
        wait_until(|| blocks() * 512 > arrived + (2 << 20) + n * 100_000);
        arrived = written(&bench, "file.cjp2p-part", bytes);
        kill(&child, "-KILL");
        let ended = Ended::of(child.wait_with_output().unwrap());
        assert_eq!(ended.signal, Some(9), "{}", ended.stderr);
        let found = bench.read("file.cjp2p-resume");
        let recorded: u64 = String::from_utf8(found).unwrap().lines().filter_map(done).sum();
        assert!(recorded + MEBIBYTE > arrived, "{arrived} bytes were written, {recorded} are recorded");
    }
    let (received, resumed) = finish(&bench, &host, id, bytes);
    assert!(resumed + MEBIBYTE > arrived, "{arrived} bytes were written, {resumed} could be used");
    let tree = bytes.len() as u64 / 100;
    assert!(
        received < bytes.len() as u64 - resumed + tree + MEBIBYTE,
        "{received} came, {resumed} was there"
    );
}

/// How much content a line of a record is about.
fn done(line: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let range = line.get("done")?.as_array()?;
    Some(range[1].as_u64()? - range[0].as_u64()?)
}

#[test]
fn a_fetch_killed_ten_times_loses_at_most_a_mebibyte_each_time() {
    let bytes = content::bytes(40, 64 << 20);
    killed_ten_times(&blake3_id(&bytes), &bytes);
}

#[test]
fn a_fetch_of_a_sha256_id_killed_ten_times_loses_no_more() {
    let bytes = content::bytes(41, 64 << 20);
    killed_ten_times(&sha256_id(&bytes), &bytes);
}

#[test]
fn a_signal_saves_what_came_and_ends_the_tool_by_itself() {
    let bytes = content::bytes(42, 16 << 20);
    let host = Host::limited(&[&bytes], Some(16 << 20));
    for (name, number) in [("-INT", 2), ("-TERM", 15), ("-HUP", 1)] {
        for id in [blake3_id(&bytes), sha256_id(&bytes)] {
            let bench = Bench::new();
            let child = bench.begin(&[&host], &[&*id.to_string(), "-o", "file"]);
            wait_until(|| record_len(&bench) > 0);
            kill(&child, name);
            let ended = Ended::of(child.wait_with_output().unwrap());
            assert_eq!((ended.signal, &*ended.stderr), (Some(number), ""));
            let written = written(&bench, "file.cjp2p-part", &bytes);
            let (_, resumed) = finish(&bench, &host, &id, &bytes);
            assert_eq!(resumed, written, "all that was written is used");
            assert!(resumed < bytes.len() as u64);
        }
    }
}

#[test]
fn bytes_that_changed_in_the_partial_are_fetched_again_and_no_others() {
    let bytes = content::bytes(43, 8 << 20);
    let host = Host::limited(&[&bytes], Some(8 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes));
    interrupt(&bench, &host, &id, "-TERM");
    let partial = OpenOptions::new().write(true).open(bench.path("file.cjp2p-part")).unwrap();
    let written = written(&bench, "file.cjp2p-part", &bytes);
    partial.write_all_at(&[!bytes[10_000]], 10_000).unwrap();
    // The last leaf, which proves the length.
    partial.write_all_at(&[!bytes[bytes.len() - 1]], bytes.len() as u64 - 1).unwrap();
    let (received, resumed) = finish(&bench, &host, &id, &bytes);
    assert_eq!(resumed, written - 2 * 4096);
    assert!(received < bytes.len() as u64 - resumed + 200_000, "{received}");
}

#[test]
fn a_staged_partial_that_changed_is_found_out_and_fetched_anew() {
    let bytes = content::bytes(44, 4 << 20);
    let host = Host::limited(&[&bytes], Some(16 << 20));
    let (bench, id) = (Bench::new(), sha256_id(&bytes));
    let child = bench.begin(&[&host], &[&*id.to_string(), "-o", "file"]);
    wait_until(|| record_len(&bench) > 0);
    kill(&child, "-KILL");
    child.wait_with_output().unwrap();
    let partial = OpenOptions::new().write(true).open(bench.path("file.cjp2p-part")).unwrap();
    partial.write_all_at(&[!bytes[0]], 0).unwrap();
    finish(&bench, &host, &id, &bytes);
}

#[test]
fn a_record_that_is_torn_garbled_or_false_costs_no_more_than_what_it_was_about() {
    let bytes = content::bytes(45, 8 << 20);
    let host = Host::limited(&[&bytes], Some(32 << 20));
    let id = blake3_id(&bytes);
    let spoil: [fn(&mut Vec<u8>); 7] = [
        |record| record.truncate(record.len() - 10),
        |record| record.truncate(30),
        |record| record.clear(),
        |record| record.extend(b"\x00\xff{\"done\":[0,8388608]}\n{\"done\":[0,8388608]}\n"),
        |record| {
            record.extend(b"{\"done\":[1,18446744073709551615]}\n{\"done\":[9,3]}\n{\"run\":[7,9],\"base64\":\"AA==\"}\n")
        },
        |record| {
            record.extend(b"{\"peers\":{\"127.0.0.1:9\":5,\"x\":9}}\n{\"peers\":[1]}\n{\"peers\":{\"127.0")
        },
        |record| {
            for at in (0..record.len()).step_by(1000) {
                record[at] = b'~';
            }
        },
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        let bench = Bench::new();
        interrupt(&bench, &host, &id, "-KILL");
        let mut record = bench.read("file.cjp2p-resume");
        spoil(&mut record);
        fs::write(bench.path("file.cjp2p-resume"), record).unwrap();
        println!("{n}");
        finish(&bench, &host, &id, &bytes);
    }
}

#[test]
fn a_record_of_100_mb_costs_little_time_and_no_harm() {
    let bytes = content::bytes(49, 4 << 20);
    let host = Host::limited(&[&bytes], Some(8 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes));
    interrupt(&bench, &host, &id, "-KILL");
    let path = bench.path("file.cjp2p-resume");
    let sound = fs::read(&path).unwrap();
    let begun = Instant::now();
    for line in
        [&b"\0"[..], b"{\"run\":[0,18446744073709551615],\"base64\":\"AAAA\"}\n", b"{\"done\":[0,1]}\n"]
    {
        fs::write(&path, [&sound, &line.repeat(100_000_000 / line.len())[..]].concat()).unwrap();
        let child = bench.begin(&[&host], &[&*id.to_string(), "-o", "file"]);
        // Begun anew, the record is short again.
        wait_until(|| record_len(&bench) < 1 << 20);
        kill(&child, "-KILL");
        child.wait_with_output().unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let (_, resumed) = finish(&bench, &host, &id, &bytes);
    assert!(resumed > 0);
}

#[test]
fn a_partial_of_other_content_is_begun_anew() {
    let (bytes, other) = (content::bytes(46, 2 << 20), content::bytes(47, 8 << 20));
    let host = Host::limited(&[&bytes, &other], Some(16 << 20));
    let bench = Bench::new();
    interrupt(&bench, &host, &blake3_id(&other), "-TERM");
    let (_, resumed) = finish(&bench, &host, &blake3_id(&bytes), &bytes);
    assert_eq!(resumed, 0);
    // A partial without a record.
    fs::remove_file(bench.path("file")).unwrap();
    fs::write(bench.path("file.cjp2p-part"), &other).unwrap();
    let (_, resumed) = finish(&bench, &host, &blake3_id(&bytes), &bytes);
    assert_eq!(resumed, 0);
}

#[test]
fn a_partial_that_is_a_link_or_a_pipe_is_refused() {
    let bytes = content::bytes(48, 1000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    fs::write(bench.path("victim"), "precious").unwrap();
    std::os::unix::fs::symlink("victim", bench.path("file.cjp2p-part")).unwrap();
    bench
        .run(&[&host], &[&*id, "-o", "file"])
        .failed(7, "file.cjp2p-part: a symbolic link is in the place of a regular file");
    assert_eq!(bench.read("victim"), b"precious");
    fs::remove_file(bench.path("file.cjp2p-part")).unwrap();
    assert!(Command::new("mkfifo").arg(bench.path("file.cjp2p-part")).status().unwrap().success());
    bench.run(&[&host], &[&*id, "-o", "file"]).failed(7, "is in the place of a regular file");
}
