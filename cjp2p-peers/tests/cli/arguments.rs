//! The commands that need no network, run as a person or a script runs them.

#![expect(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::Bench;

impl Bench {
    fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The tool may stop reading early; that is its right.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    fn table(&self) -> Vec<Value> {
        let output = self.run(&[]);
        assert_eq!(output.status.code(), Some(0));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn addresses(&self) -> Vec<String> {
        self.table().iter().map(|peer| peer["address"].as_str().unwrap().to_owned()).collect()
    }

    fn path(&self) -> PathBuf {
        self.state.path().join("peers.json")
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The exit code is as said, and standard error is one line of this tool that contains each of the texts.
fn assert_told(output: &Output, code: i32, texts: &[&str]) {
    let told = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.starts_with("cjp2p-peers: "), "{told}");
    for text in texts {
        assert!(told.contains(text), "{text:?} is not in {told:?}");
    }
}

fn assert_silent(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    assert_eq!((stderr(output).as_str(), output.stdout.len()), ("", 0));
}

#[test]
fn an_unused_table_is_an_empty_array() {
    let bench = Bench::new();
    let output = bench.run(&[]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[]\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(!bench.path().exists(), "reading writes nothing");
}

#[test]
fn peers_are_added_printed_and_removed() {
    let bench = Bench::new();
    assert_silent(&bench.run(&["add", "127.0.0.1:7001", "[::ffff:127.0.0.1]:7002", "127.0.0.1", "fd00::1"]));
    let expected = ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:24254", "[fd00::1]:24254"];
    assert_eq!(bench.addresses(), expected);
    assert_eq!(
        bench.table()[0],
        json!({
            "address": "127.0.0.1:7001", "verified": false, "first_heard_ms": null, "last_heard_ms": null,
            "round_trip_ms": null, "unanswered": 0, "origin": "added",
        })
    );
    assert_silent(&bench.run(&["add", "127.0.0.1:7001"]));
    assert_silent(&bench.run(&["remove", "127.0.0.1:7001", "[::ffff:127.0.0.1]:24254"]));
    assert_eq!(bench.addresses(), ["127.0.0.1:7002", "[fd00::1]:24254"]);
}

#[test]
fn removing_twice_is_no_failure() {
    let bench = Bench::new();
    bench.run(&["add", "127.0.0.1:7001"]);
    assert_told(
        &bench.run(&["remove", "127.0.0.1:7002"]),
        0,
        &["warning: 127.0.0.1:7002 is not in the table"],
    );
    assert_eq!(bench.addresses(), ["127.0.0.1:7001"]);
}

#[test]
fn lines_print_one_object_each() {
    let bench = Bench::new();
    bench.run(&["add", "127.0.0.1:7001", "127.0.0.1:7002"]);
    for flag in ["--lines", "--json"] {
        let output = bench.run(&[flag]);
        let text = String::from_utf8(output.stdout).unwrap();
        let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects, bench.table());
    }
}

#[test]
fn what_is_printed_can_be_set_again_unchanged_in_either_form() {
    let bench = Bench::new();
    let table = json!([
        {"address": "127.0.0.1:7001", "verified": true, "first_heard_ms": 1, "last_heard_ms": 2, "round_trip_ms": 0.25,
         "unanswered": 0, "origin": "incoming", "from_a_later_version": {"kept": true}},
        {"address": "[fe80::1%6]:7001", "verified": false, "first_heard_ms": null, "last_heard_ms": null,
         "round_trip_ms": null, "unanswered": 3, "origin": "referral 127.0.0.1:7001"},
    ]);
    assert_silent(&bench.run_with(&["set", "-"], table.to_string().as_bytes()));
    assert_eq!(Value::from(bench.table()), table);
    for print in [&[][..], &["--lines"][..]] {
        let printed = bench.run(print).stdout;
        assert_silent(&bench.run_with(&["set", "-"], &printed));
        assert_eq!(Value::from(bench.table()), table);
    }
    let edited = bench.state.path().join("edited");
    fs::write(&edited, "[]").unwrap();
    assert_silent(&bench.run(&["set", edited.to_str().unwrap()]));
    assert!(bench.table().is_empty());
}

#[test]
fn set_changes_nothing_where_anything_is_wrong_and_says_where() {
    let bench = Bench::new();
    bench.run(&["add", "127.0.0.1:7001"]);
    let before = fs::read(bench.path()).unwrap();
    let too_many: Vec<Value> = (0..9).map(|n| json!({"address": format!("198.51.100.{n}:24254")})).collect();
    let too_many = Value::from(too_many).to_string();
    let huge = " ".repeat((16 << 20) + 1);
    for (input, told) in [
        ("", "empty"),
        (" \n", "empty"),
        ("[\n{\"address\":\"127.0.0.1:1\"},\n{\"address\":", "line 3: EOF"),
        ("nonsense", "line 1: expected"),
        (
            "[{\"address\":\"127.0.0.1:1\"},\n{\"address\":\"127.0.0.1\"}]",
            "line 2: entry 1: \"127.0.0.1\" is not an address",
        ),
        ("[{\"address\":\"127.0.0.1:1\"},{}]", "line 1: entry 1: missing field `address`"),
        ("[{\"address\":\"224.0.0.1:1\"}]", "entry 0: no peer can be at 224.0.0.1:1"),
        ("[7,8,9]", "(and 2 more)"),
        ("{\"error\":\"jq did not like it\"}", "entry 0: missing field"),
        (&too_many, "1 peers too many"),
        (&huge, "larger than 16 MiB"),
    ] {
        let output = bench.run_with(&["set", "-"], input.as_bytes());
        assert_told(&output, 1, &["nothing was changed: standard input: ", told]);
        assert_eq!(fs::read(bench.path()).unwrap(), before);
    }
    assert_told(&bench.run_with(&["set", "-"], b"[\"\xff\"]"), 1, &["UTF-8"]);
    assert_told(&bench.run(&["set", "/nonexistent/file"]), 1, &["/nonexistent/file: No such file"]);
    assert_eq!(fs::read(bench.path()).unwrap(), before);
}

#[test]
fn one_wrong_address_among_good_ones_adds_nothing() {
    let bench = Bench::new();
    assert_told(&bench.run(&["add", "127.0.0.1:7001", "127.0.0.1:70011"]), 2, &["127.0.0.1:70011"]);
    assert_told(
        &bench.run(&["add", "127.0.0.1:7001", "224.0.0.1"]),
        1,
        &["nothing was added", "224.0.0.1:24254"],
    );
    let addresses: Vec<String> = (1..=9).map(|n| format!("198.51.100.{n}")).collect();
    let args: Vec<&str> = std::iter::once("add").chain(addresses.iter().map(String::as_str)).collect();
    assert_told(&bench.run(&args), 1, &["nothing was added: no room for 198.51.100.9:24254"]);
    assert!(bench.table().is_empty());
}

#[test]
fn a_wrong_command_line_is_exit_code_2_and_one_line() {
    let bench = Bench::new();
    for args in [&["add"][..], &["remove"], &["set"], &["--nonsense"], &["frobnicate"], &["add", ""]] {
        assert_told(&bench.run(args), 2, &["try --help"]);
    }
}

#[test]
fn help_teaches_with_examples() {
    let bench = Bench::new();
    let output = bench.run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    for text in ["| cjp2p-peers set -", "--state <DIR>", "CJP2P_STATE_DIR", "Exit status"] {
        assert!(help.contains(text), "{text:?} is missing in {help}");
    }
}

#[test]
fn a_damaged_table_is_set_aside_with_a_warning() {
    let bench = Bench::new();
    fs::write(bench.path(), "[{\"address\":\"127.0.0.1:7001\"},oops").unwrap();
    let output = bench.run(&[]);
    assert_told(&output, 0, &["warning: ", "peers.json: line 1: expected", "peers.json.damaged-1"]);
    assert_eq!(output.stdout, b"[]\n");
    assert!(bench.state.path().join("peers.json.damaged-1").exists());
    assert_silent(&bench.run(&["add", "127.0.0.1:7001"]));
}

#[test]
fn a_state_folder_that_cannot_be_used_is_a_failure() {
    let bench = Bench::new();
    let file = bench.state.path().join("file");
    fs::write(&file, "").unwrap();
    let inside = file.join("state");
    let output = bench.run(&["add", "127.0.0.1:1", "--state", inside.to_str().unwrap()]);
    assert_told(&output, 1, &["state folder: ", "file/state"]);
}

#[test]
fn a_closed_reader_ends_the_tool_quietly_with_141() {
    let bench = Bench::new();
    bench.run(&["add", "127.0.0.1:7001"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = bench.command(&[]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(141), ""));
}

#[test]
fn a_full_disk_under_standard_output_is_exit_code_7() {
    let bench = Bench::new();
    for args in [&[][..], &["--help"]] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let output = bench.command(args).stdout(full).stderr(Stdio::piped()).output().unwrap();
        assert_told(&output, 7, &["standard output: No space left"]);
    }
}

#[test]
fn verbose_says_what_was_done() {
    let bench = Bench::new();
    let output = bench.run(&["add", "-v", "127.0.0.1:7001"]);
    assert_told(&output, 0, &["127.0.0.1:7001 added"]);
    assert_told(&bench.run(&["-v", "add", "127.0.0.1:7001"]), 0, &["was known already"]);
}
