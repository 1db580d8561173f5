//! `-c`, beside the sha256sum of this machine.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use tempfile::TempDir;

use common::{HI_BLAKE3, HI_SHA256, complaint, folder, pipe, run, sha256sum, stdout, text, tool};

/// A folder with files, and a list of them with every kind of line.
fn folder_with_list() -> TempDir {
    let folder = folder();
    for name in ["a", "b", "new\nline", "back\\slash", "two words"] {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let lines = sha256sum(folder.path(), &["a", "new\nline", "back\\slash", "two words"]).stdout;
    let mut list = text(&lines);
    list += &format!("# a comment\n\nno line\n{HI_SHA256}\n{HI_SHA256}  b\n{HI_SHA256} *missing");
    fs::write(folder.path().join("mixed"), list).unwrap();
    fs::write(folder.path().join("right"), lines).unwrap();
    fs::write(folder.path().join("gone"), format!("{HI_SHA256}  missing\n{HI_SHA256}  missing-too\n"))
        .unwrap();
    fs::write(
        folder.path().join("malformed"),
        format!("{}garbage\n", text(&sha256sum(folder.path(), &["a"]).stdout)),
    )
    .unwrap();
    folder
}

#[test]
fn checking_says_and_returns_what_sha256sum_does() {
    let folder = folder_with_list();
    for options in [
        "",
        "--status",
        "--quiet",
        "--strict",
        "--ignore-missing",
        "--ignore-missing --quiet",
        "--strict --status",
    ] {
        for lists in ["mixed", "right", "gone", "malformed", "a", "no-such-list", "right gone", "."] {
            let args: Vec<&str> =
                std::iter::once("-c").chain(options.split_whitespace()).chain(lists.split(' ')).collect();
            let ours = run(folder.path(), &args);
            let theirs = sha256sum(folder.path(), &args);
            let told = text(&theirs.stderr).replace("sha256sum: ", "cjp2p-hash: ");
            assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{args:?}");
            if lists != "." {
                assert_eq!(text(&ours.stderr), told, "{args:?}");
            }
            assert_eq!(ours.status.code(), theirs.status.code(), "{args:?}");
        }
    }
}

#[test]
fn checking_takes_all_that_this_tool_prints() {
    let folder = folder();
    for name in [&b"a"[..], b"new\nline", b"cr\rx", b"back\\slash", b"\xff", b" b "] {
        fs::write(folder.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    for algorithm in ["blake3", "sha256", "cid", "all"] {
        for null in [&[][..], &["-0"]] {
            let mut hash = tool(folder.path());
            hash.args(["-r", "-a", algorithm]).args(null);
            let list = hash.output().unwrap();
            assert!(list.status.success());
            let mut check = tool(folder.path());
            check.args(["-c", "--strict", "--quiet"]).args(null);
            assert_eq!(stdout(&pipe(check, &list.stdout)), "", "{algorithm} {null:?}");
        }
    }
}

#[test]
fn checking_takes_the_lines_of_other_tools() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    for line in [
        // b3sum, sha256sum -b, --tag of both, OpenSSL, an old BSD form, upper case, and a list from Windows.
        format!("{HI_BLAKE3}  a"),
        format!("{HI_SHA256} *a"),
        format!("BLAKE3 (a) = {HI_BLAKE3}"),
        format!("SHA256 (a) = {HI_SHA256}"),
        format!("SHA2-256(a)= {HI_SHA256}"),
        format!("{HI_SHA256} a"),
        format!("{}  a", HI_SHA256.to_uppercase()),
        format!("{HI_SHA256}  a\r"),
    ] {
        let mut command = tool(folder.path());
        command.args(["-c", "--strict"]);
        assert_eq!(stdout(&pipe(command, line.as_bytes())), "a: OK\n", "{line}");
    }
}

#[test]
fn with_an_algorithm_bare_digits_are_of_that_one_only() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    fs::write(folder.path().join("list"), format!("{HI_BLAKE3}  a\n")).unwrap();
    assert_eq!(stdout(&run(folder.path(), &["-c", "-a", "blake3", "list"])), "a: OK\n");
    let wrong = run(folder.path(), &["-c", "-a", "sha256", "list"]);
    assert_eq!((wrong.status.code(), text(&wrong.stdout)), (Some(1), "a: FAILED\n".into()));
    assert_eq!(complaint(&wrong), "WARNING: 1 computed checksum did NOT match");
}

#[test]
fn warn_names_the_lines() {
    let folder = folder_with_list();
    let output = run(folder.path(), &["-c", "-w", "malformed"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).starts_with("cjp2p-hash: malformed: 2: improperly formatted line\n"));
}

#[test]
fn a_list_from_standard_input_may_not_name_standard_input() {
    let folder = folder();
    let mut command = tool(folder.path());
    command.arg("-c");
    let output = pipe(command, format!("{HI_SHA256}  -\n").as_bytes());
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "-: FAILED open or read\n".into()));

    fs::write(folder.path().join("list"), format!("{HI_SHA256}  -\n")).unwrap();
    let mut command = tool(folder.path());
    command.args(["-c", "list"]);
    assert_eq!(stdout(&pipe(command, b"hi")), "-: OK\n");
}

#[test]
fn json_has_a_result_for_each_line() {
    let folder = folder();
    fs::write(folder.path().join("a"), "hi").unwrap();
    fs::write(folder.path().join("list"), format!("{HI_BLAKE3}  a\n{HI_SHA256}  b\n{HI_BLAKE3}  list\n"))
        .unwrap();
    let output = run(folder.path(), &["-c", "--json", "list"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = [
        format!(r#"{{"path":"a","id":"blake3/{HI_BLAKE3}","result":"ok"}}"#),
        format!(r#"{{"path":"b","id":"{HI_SHA256}","result":"missing"}}"#),
        format!(r#"{{"path":"list","id":"{HI_BLAKE3}","result":"failed"}}"#),
    ];
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn lists_from_elsewhere_lose_no_line() {
    let folder = folder();
    fs::write(folder.path().join("hi"), "hi").unwrap();
    let check = |list: &[u8]| {
        fs::write(folder.path().join("list"), list).unwrap();
        let ended = run(folder.path(), &["-c", "--strict", "list"]);
        (ended.status.code(), text(&ended.stdout), text(&ended.stderr))
    };
    let (blake3, upper) = (HI_BLAKE3, HI_BLAKE3.to_uppercase());
    for list in [
        format!("\u{feff}{HI_SHA256}  hi\r\n"),
        format!("\u{feff}# made elsewhere\r\n{HI_SHA256} *hi\r\n"),
        format!("  # indented\n \t\n\u{feff}{blake3}  hi"),
        format!("BLAKE3/{upper}  hi\n"),
        format!("blake3:{blake3}  hi\n"),
        format!("sha256:{HI_SHA256}  hi\n"),
        format!("\\blake3/{blake3}  hi\n"),
        format!("\u{feff}BLAKE3 (hi) = {blake3}\r\n"),
    ] {
        assert_eq!(check(list.as_bytes()), (Some(0), "hi: OK\n".into(), String::new()), "{list:?}");
        fs::write(folder.path().join("hi"), "changed").unwrap();
        let (code, told, _) = check(list.as_bytes());
        assert_eq!((code, &*told), (Some(1), "hi: FAILED\n"), "{list:?}");
        fs::write(folder.path().join("hi"), "hi").unwrap();
    }
    let utf16 = format!("\u{feff}{HI_SHA256}  hi\r\n");
    let utf16: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (code, _, told) = check(&utf16);
    assert_eq!((code, &*told), (Some(1), "cjp2p-hash: list: is UTF-16, and lists are UTF-8\n"));
}
