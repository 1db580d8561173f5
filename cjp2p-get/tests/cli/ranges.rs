//! Parts of content: which bytes come, in which order, and what else.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use cjp2p_tests::content::{self, blake3_id, sha256_id};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{Bench, Ended, Host, assert_content, wait_until, written};

const MEBIBYTE: u64 = 1 << 20;

/// The arguments for these ranges of an id.
fn ranged<'a>(id: &'a str, ranges: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let ranges = ranges.iter().flat_map(|range| ["--range", range]);
    [id].into_iter().chain(ranges).chain(more.iter().copied()).collect()
}

#[test]
fn standard_output_gets_the_ranges_in_the_order_of_their_priorities_and_nothing_else() {
    let bytes = content::bytes(60, 3_000_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let last = bytes.len();
    for (ranges, expected) in [
        (&["0-0"][..], bytes[..1].to_vec()),
        (&["-1"], bytes[last - 1..].to_vec()),
        (&["1M+1M"], bytes[1 << 20..2 << 20].to_vec()),
        (&["2999990-4000000"], bytes[2_999_990..].to_vec()),
        (&["-10M"], bytes.clone()),
        (&["0-"], bytes.clone()),
        (&["5-1234567", "2000001-2000001:1"], [&bytes[2_000_001..2_000_002], &bytes[5..1_234_568]].concat()),
        // Several in one leaf, and one around others: each byte comes once, the first time that it is wanted.
        (
            &["100-199", "5000+7:9", "300-399", "0-999", "-3"],
            [
                &bytes[5000..5007],
                &bytes[100..200],
                &bytes[300..400],
                &bytes[..100],
                &bytes[200..300],
                &bytes[400..1000],
                &bytes[last - 3..],
            ]
            .concat(),
        ),
        (&["-500K:2", "0-99999:1", "-600000"], {
            let suffix = 500 << 10;
            [&bytes[last - suffix..], &bytes[..100_000], &bytes[last - 600_000..last - suffix]].concat()
        }),
    ] {
        let ended = bench.run(&[&host], &ranged(&id, ranges, &[])).done();
        assert!(ended.stdout == expected, "{ranges:?}");
        bench.run(&[&host], &ranged(&id, ranges, &["-o", "/dev/null"])).done();
    }
}

#[test]
fn short_content_is_had_in_part_too() {
    for length in [1usize, 2, 4096, 4097, 65_536] {
        let bytes = content::bytes(61, length);
        let host = Host::sharing(&[&bytes]);
        let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
        let ended = bench.run(&[&host], &ranged(&id, &["-1"], &[])).done();
        assert_eq!(ended.stdout, bytes[length - 1..]);
        bench.run(&[&host], &ranged(&id, &["0-0"], &["-o", "file"])).done();
        assert_eq!(bench.read("file"), bytes[..1]);
        assert_eq!(bench.files(), ["file"]);
    }
    let bench = Bench::new();
    let id = blake3_id(b"").to_string();
    assert_eq!(bench.run(&[], &ranged(&id, &["-1"], &[])).done().stdout, b"");
    bench.run(&[], &ranged(&id, &["0-"], &[])).failed(2, "--range 0-: the content is 0 bytes long");
}

#[test]
fn a_range_moves_little_more_than_itself() {
    let bytes = content::bytes(62, 64 << 20);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let ended = bench.run(&[&host], &ranged(&id, &["33333333+1M"], &["-o", "file", "--json"])).done();
    assert_content(&bench.path("file"), &bytes[33_333_333..33_333_333 + (1 << 20)]);
    let line = &ended.json()[0];
    assert!(line["received"].as_u64().unwrap() <= MEBIBYTE * 115 / 100, "{line}");
    assert_eq!(line["length"], 64 << 20);
    assert_eq!(line["ranges"], serde_json::json!([{"offset": 33_333_333, "length": 1 << 20}]));
}

#[test]
fn a_file_gets_the_bytes_in_the_order_of_their_offsets_each_once() {
    let bytes = content::bytes(63, 5_000_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let ranges = ["4000000+5:200", "10-19:3", "15-29:4", "1000000-1999999", "-1:255"];
    let expected =
        [&bytes[10..30], &bytes[1_000_000..2_000_000], &bytes[4_000_000..4_000_005], &bytes[4_999_999..]];
    let more = ["-o", "file", "--json", "--progress", "json"];
    let ended = bench.run(&[&host], &ranged(&id, &ranges, &more));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_content(&bench.path("file"), &expected.concat());
    assert_eq!(bench.files(), ["file"]);
    let shown: Vec<(u64, u64)> = ended.json()[0]["ranges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|range| (range["offset"].as_u64().unwrap(), range["length"].as_u64().unwrap()))
        .collect();
    assert_eq!(shown, [(10, 20), (1_000_000, 1_000_000), (4_000_000, 5), (4_999_999, 1)]);
    let last: serde_json::Value = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((last["bytes"].as_u64(), last["total"].as_u64()), (Some(1_000_026), Some(1_000_026)));
}

#[test]
fn ranges_that_cover_everything_make_the_file_and_the_first_of_them_come_first() {
    let bytes = content::bytes(64, 16 << 20);
    let host = Host::limited(&[&bytes], Some(8 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let arguments = ranged(&id, &["0-", "12M+2M:9"], &["-o", "file", "--json"]);
    let mut child = bench.begin(&[&host], &arguments);
    let half = || {
        fs::metadata(bench.path("file.cjp2p-part"))
            .is_ok_and(|_| written(&bench, "file.cjp2p-part", &bytes) > MEBIBYTE)
    };
    wait_until(half);
    let _ = child.kill();
    child.wait().unwrap();
    let found = bench.read("file.cjp2p-part");
    assert!(found[12 << 20..][..512 << 10] == bytes[12 << 20..][..512 << 10]);
    // It goes on as a fetch of everything; and a file that is all of it is all that was asked for.
    let ended = bench.run(&[&host], &arguments).done();
    assert!(ended.json()[0]["resumed"].as_u64().unwrap() > 0);
    assert_content(&bench.path("file"), &bytes);
    assert_eq!(bench.files(), ["file"]);
    let ended = bench.run(&[], &arguments).done();
    assert_eq!(ended.json()[0]["already"], true);
}

#[test]
fn what_was_fetched_before_is_found_right_again_and_something_else_is_left_alone() {
    let bytes = content::bytes(65, 2_000_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let arguments = ranged(&id, &["100000-199999", "-5"], &["-o", "file"]);
    let expected = [&bytes[100_000..200_000], &bytes[1_999_995..]].concat();
    for _ in 0..3 {
        bench.run(&[&host], &arguments).done();
        assert_content(&bench.path("file"), &expected);
        assert_eq!(bench.files(), ["file"]);
    }
    let mut other = expected.clone();
    other[77] ^= 1;
    for other in [&other, &bytes] {
        fs::write(bench.path("file"), other).unwrap();
        bench.run(&[&host], &arguments).failed(7, "file: is there already and something else");
        assert_content(&bench.path("file"), other);
    }
    bench.run(&[&host], &[&arguments[..], &["--force"]].concat()).done();
    assert_content(&bench.path("file"), &expected);
    assert_eq!(bench.files(), ["file"]);
}

#[test]
fn a_killed_fetch_of_ranges_goes_on_where_it_was() {
    let bytes = content::bytes(66, 32 << 20);
    let host = Host::limited(&[&bytes], Some(8 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let arguments = ranged(&id, &["20000000+6M:1", "1000001+2M"], &["-o", "file", "--json"]);
    let mut child = bench.begin(&[&host], &arguments);
    wait_until(|| written(&bench, "file.cjp2p-part", &bytes) > 3 * MEBIBYTE);
    let arrived = written(&bench, "file.cjp2p-part", &bytes);
    let _ = child.kill();
    child.wait().unwrap();
    // What a process that was killed at the very end may have left.
    fs::write(bench.path("file.cjp2p-part.cjp2p-part"), "half a file").unwrap();
    let ended = bench.run(&[&host], &arguments).done();
    let line = &ended.json()[0];
    assert!(line["resumed"].as_u64().unwrap() + MEBIBYTE > arrived, "{line}");
    let second = 20_000_000..20_000_000 + (6 << 20);
    assert_content(&bench.path("file"), &[&bytes[1_000_001..1_000_001 + (2 << 20)], &bytes[second]].concat());
    assert_eq!(bench.files(), ["file"]);
}

#[test]
fn what_an_interrupted_fetch_of_everything_has_is_used_and_not_lost() {
    let bytes = content::bytes(67, 16 << 20);
    let host = Host::limited(&[&bytes], Some(8 << 20));
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let mut child = bench.begin(&[&host], &[&*id, "-o", "file"]);
    wait_until(|| written(&bench, "file.cjp2p-part", &bytes) > 4 * MEBIBYTE);
    let terminated = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    child.wait().unwrap();
    let had = written(&bench, "file.cjp2p-part", &bytes);
    // From what is there already; nobody needs to be asked.
    let ended = bench.run(&[], &ranged(&id, &["1M+1M", "-9"], &["-o", "file", "--json"])).done();
    assert_eq!(ended.json()[0]["received"], 0);
    assert_content(&bench.path("file"), &[&bytes[1 << 20..2 << 20], &bytes[(16 << 20) - 9..]].concat());
    let ended = bench.run(&[&host], &[&*id, "-o", "file", "--json", "--force"]).done();
    assert_eq!(ended.json()[0]["resumed"], had);
    assert_content(&bench.path("file"), &bytes);
    assert_eq!(bench.files(), ["file"]);
}

#[test]
fn a_range_that_begins_past_the_end_is_told_and_leaves_nothing_behind() {
    let bytes = content::bytes(68, 1_000_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    for (range, shown) in [("1000000-", "1000000-"), ("1M-2M:3", "1M-2M:3"), ("16T-", "16T-")] {
        let told = format!("{id}: nothing is at --range {shown}: the content is 1000000 bytes long");
        bench.run(&[&host], &ranged(&id, &["0-9", range], &[])).failed(2, &told);
        bench.run(&[&host], &ranged(&id, &["0-9", range], &["-o", "file"])).failed(2, &told);
        assert_eq!(bench.files(), [""; 0]);
    }
}

#[test]
fn only_what_can_be_verified_in_part_is_had_in_part() {
    let bytes = content::bytes(69, 100_000);
    let host = Host::sharing(&[&bytes]);
    let (bench, good) = (Bench::new(), blake3_id(&bytes).to_string());
    let sha256 = sha256_id(&bytes).to_string();
    bench.run(&[&host], &ranged(&sha256, &["0-9"], &[])).failed(2, "--range needs a blake3/ id");
    let arguments = ranged("file-0", &["0-9"], &["--unverified"]);
    bench.run(&[&host], &arguments).failed(2, "--range needs a blake3/ id");
    let mut command = bench.command(&[&host], &ranged("-", &["-7"], &["-o", "dir"]));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    write!(child.stdin.take().unwrap(), "{sha256}  a\n{good}  b\n").unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    ended.failed(2, "standard input: line 1: ");
    assert_eq!(bench.files(), [format!("dir/{good}")]);
    assert_content(&bench.path(&format!("dir/{good}")), &bytes[99_993..]);
}

#[test]
fn what_is_no_range_is_refused_before_anything_is_done() {
    let (bench, id) = (Bench::new(), blake3_id(b"a").to_string());
    for range in ["9-3", "-", "1-2:", "x", "99999999999999999999-", "16777216T-", "", "-0", "1-2:256"] {
        let ended = bench.run(&[], &ranged(&id, &[range], &[]));
        assert_eq!(ended.code, Some(2), "{range}");
        assert!(ended.stderr.contains("--range"), "{range}: {}", ended.stderr);
        assert_eq!(ended.stdout, b"");
    }
}

#[test]
fn a_slow_reader_gets_long_ranges_out_of_order_whole_and_counts_as_no_stall() {
    let bytes = content::bytes(70, 32 << 20);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let address = host.address.to_string();
    let script = r#""$GET" --listen 127.0.0.1:0 --peer "$1" --stall 1s "$2" --range 1+11M --range 20M-:1 --range -13M \
        | (sleep 3; cat)"#;
    let ended = Ended::of(bench.script(script, &[&address, &id]).output().unwrap()).done();
    let expected = [&bytes[20 << 20..], &bytes[1..][..11 << 20], &bytes[19 << 20..20 << 20]].concat();
    assert!(ended.stdout == expected);
}

#[test]
fn any_ranges_are_what_a_slice_is() {
    let bytes = content::bytes(71, 700_001);
    let length = bytes.len() as u64;
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes).to_string());
    let range = prop_oneof![
        (0..length, 0..length, 0..3u8).prop_map(|(a, b, priority)| (a.min(b)..a.max(b) + 1, priority)),
        (0..length, 0..20_000u64, 0..3u8)
            .prop_map(|(a, len, priority)| (a..(a + len).min(length) + 1, priority)),
        (0..50_000u64, 0..5u64, 0..3u8).prop_map(|(a, len, priority)| (a..a + len + 1, priority)),
    ];
    // `PROPTEST_CASES` tries more.
    let cases = std::env::var("PROPTEST_CASES").map_or(24, |_| ProptestConfig::default().cases);
    let mut runner =
        TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..Default::default() });
    let ranges = prop::collection::vec(range, 1..12);
    let result = runner.run(&ranges, |ranges| {
        let texts: Vec<String> = ranges
            .iter()
            .map(|(range, priority)| format!("{}-{}:{priority}", range.start, range.end - 1))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut ordered = ranges.clone();
        ordered.sort_by_key(|(_, priority)| std::cmp::Reverse(*priority));
        let mut seen = vec![false; bytes.len()];
        let mut expected = Vec::new();
        for at in ordered.iter().flat_map(|(range, _)| range.clone()).map(|at| at as usize) {
            if at < bytes.len() && !std::mem::replace(&mut seen[at], true) {
                expected.push(bytes[at]);
            }
        }
        let printed = bench.begin(&[&host], &ranged(&id, &texts, &[]));
        bench.run(&[&host], &ranged(&id, &texts, &["-o", "file", "--force"])).done();
        let ended = Ended::of(printed.wait_with_output().unwrap()).done();
        prop_assert!(ended.stdout == expected, "{} bytes, not {}", ended.stdout.len(), expected.len());
        let expected: Vec<u8> =
            bytes.iter().zip(&seen).filter(|(_, seen)| **seen).map(|(byte, _)| *byte).collect();
        prop_assert!(bench.read("file") == expected);
        prop_assert_eq!(bench.files(), ["file"]);
        Ok(())
    });
    result.unwrap();
}
