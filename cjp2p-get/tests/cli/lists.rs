//! Lists of ids on standard input, in every form in which lists come.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use cjp2p_tests::content::{self, blake3_id, sha256_id};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Bench, Ended, Host, assert_content};

/// Runs the tool with this list on standard input.
fn fed(bench: &Bench, hosts: &[&Host], arguments: &[&str], list: &[u8]) -> Ended {
    let mut command = bench.command(hosts, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Where it has ended already, how is what matters.
    let _ = child.stdin.take().unwrap().write_all(list);
    Ended::of(child.wait_with_output().unwrap())
}

#[test]
fn an_empty_list_is_a_failure_of_what_should_have_written_it() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"x"]);
    for list in ["", "\n\r\n  \n", "# nothing today\n", "\u{feff}", "\u{feff}# nothing\r\n"] {
        fed(&bench, &[&host], &["-", "--into", "d"], list.as_bytes()).failed(2, "--allow-empty");
        fed(&bench, &[&host], &["-", "--into", "d", "--allow-empty"], list.as_bytes()).done();
    }
    let id = blake3_id(b"x").to_string();
    let ended = fed(&bench, &[&host], &[&id, "-", "--into", "d", "--json"], b"");
    let json = ended.json();
    ended.failed(2, "standard input: not a single id");
    let events: Vec<_> = json.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert!(events.contains(&"complete") && events.contains(&"failed"), "{json:?}");
    let mut closed = bench.script(r#"exec "$GET" - --into d <&-"#, &[]);
    Ended::of(closed.output().unwrap()).failed(1, "standard input: ");
}

#[test]
fn every_form_of_a_list_is_read() {
    let contents: Vec<Vec<u8>> = (0..9).map(|n| content::bytes(60 + n, 3000)).collect();
    let borrowed: Vec<&[u8]> = contents.iter().map(|bytes| &bytes[..]).collect();
    let host = Host::sharing(&borrowed);
    let digits = |n: usize| blake3_id(&contents[n]).to_string()["blake3/".len()..].to_owned();
    let mut list = Vec::new();
    list.extend_from_slice(b"\xef\xbb\xbf# made elsewhere\r\n\r\n");
    list.extend_from_slice(format!("{}  a\r\n", blake3_id(&contents[0])).as_bytes());
    list.extend_from_slice(format!("blake3/{}  caf", digits(1)).as_bytes());
    list.extend_from_slice(b"\xe9\n");
    list.extend_from_slice(format!("\\blake3/{}  new\\nline\n", digits(2)).as_bytes());
    list.extend_from_slice(format!("BLAKE3/{}\n", digits(3).to_uppercase()).as_bytes());
    list.extend_from_slice(format!("blake3:{} *a\n", digits(4)).as_bytes());
    list.extend_from_slice(format!("BLAKE3 (a (1)) = {}\n", digits(5)).as_bytes());
    list.extend_from_slice(format!("SHA256 (b) = {}\n", sha256_id(&contents[6])).as_bytes());
    list.extend_from_slice(format!("\u{feff}{}\tsecond list\n", sha256_id(&contents[7])).as_bytes());
    list.extend_from_slice(format!("  {}", blake3_id(&contents[8]).cid().unwrap()).as_bytes());
    let bench = Bench::new();
    fed(&bench, &[&host], &["-", "--into", "d"], &list).done();
    for (n, bytes) in contents.iter().enumerate() {
        let id = if n == 6 || n == 7 { sha256_id(bytes) } else { blake3_id(bytes) };
        assert_content(&bench.path("d").join(id.to_string()), bytes);
    }
}

#[test]
fn what_is_no_id_is_named_by_its_line_and_the_rest_is_fetched() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"x"]);
    let id = blake3_id(b"x").to_string();
    for (wrong, told) in [
        (&b"caf\xe9"[..], "line 2: no id, and not UTF-8"),
        (b"blake3/12", "line 2: \"blake3/12\""),
        (&[b'x'; 70_000], "line 2: too long for an id"),
    ] {
        let list = [format!("{id}\n").as_bytes(), wrong, b"\n"].concat();
        fed(&bench, &[&host], &["-", "--into", "d"], &list).failed(2, told);
        assert_content(&bench.path("d").join(&id), b"x");
    }
    let utf16: Vec<u8> = format!("\u{feff}{id}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    fed(&bench, &[&host], &["-", "--into", "d"], &utf16).failed(2, "UTF-16");
}

#[test]
fn a_list_without_end_of_lines_that_are_none_keeps_no_signal_waiting() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"x"]);
    let id = format!("{}\n", blake3_id(b"nothing"));
    for line in ["no id\n", &id] {
        let mut command = bench.command(&[&host], &["-", "--into", "d"]);
        let (mut told, writer) = std::io::pipe().unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(writer).spawn().unwrap();
        command.stderr(Stdio::null());
        let mut list = child.stdin.take().unwrap();
        let lines = line.repeat(1000);
        let feeding = std::thread::spawn(move || while list.write_all(lines.as_bytes()).is_ok() {});
        // Somebody reads all that is told, and more slowly than it can be written.
        let reading = std::thread::spawn(move || {
            while told.read(&mut [0; 4096]).unwrap() > 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let sent = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if sent.elapsed() > Duration::from_secs(20) {
                child.kill().unwrap();
                panic!("{line:?}: it does not hear the signal");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        feeding.join().unwrap();
        reading.join().unwrap();
    }
}

#[test]
fn digits_that_nobody_has_are_said_to_be_taken_for_sha256() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"x"]);
    let blake3 = blake3_id(b"x").to_string();
    let digits = &blake3["blake3/".len()..];
    let hint = format!("if b3sum printed them, the id is {blake3}");
    let ended = bench.run(&[&host], &[digits, "--timeout", "500ms"]);
    ended.failed(3, &hint);
    // While it waits it is told too, and once, however many such ids there are.
    let list = format!("{digits}  a\n{}  b\n", "5".repeat(64));
    let arguments = ["-", "--into", "d", "--timeout", "4s"];
    let ended = fed(&bench, &[&host], &arguments, list.as_bytes());
    assert_eq!(ended.code, Some(3));
    let told: Vec<_> = ended.stderr.lines().filter(|line| line.contains("taken for SHA-256")).collect();
    assert!(told.len() == 1 && told[0].contains("nobody has it so far"), "{}", ended.stderr);
    Bench::new().run(&[], &[digits]).failed(3, &hint);
    for unmistakable in
        [&*format!("sha256:{digits}"), &*"blake3/".chars().chain("5".repeat(64).chars()).collect::<String>()]
    {
        let ended = bench.run(&[&host], &[unmistakable, "--timeout", "500ms"]);
        assert!(!ended.stderr.contains("taken for SHA-256"), "{}", ended.stderr);
        ended.failed(3, "no peer offered any of it");
    }
}

#[test]
fn twice_quiet_is_silent_about_what_is_worth_another_try() {
    let bench = Bench::new();
    let host = Host::sharing(&[b"x"]);
    let id = blake3_id(b"y").to_string();
    for quiet in [&["-qq"][..], &["--quiet", "--quiet"], &["-q", "--quiet"]] {
        for hosts in [&[&host][..], &[]] {
            let arguments = [&[&*id, "-o", "file", "--timeout", "300ms"], quiet].concat();
            let ended = bench.run(hosts, &arguments);
            assert_eq!((ended.code, &*ended.stderr), (Some(3), ""));
        }
        let ended = bench.run(&[&host], &[&["blake3/1"][..], quiet].concat());
        ended.failed(2, "64 hex digits");
    }
    bench.run(&[&host], &[&*id, "-q", "--timeout", "300ms"]).failed(3, "no peer offered any of it");
    let ended = bench.run(&[&host], &[&*id, "-qq", "-o", "d/f", "--json", "--timeout", "300ms"]);
    ended.failed(7, "d/f");
}
