//! `--max-delay`: what is late is left out, up to a place where one may go on, and what reads it does so.

use std::fs;
use std::io::{BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use cjp2p_tests::real::{end_of, line_of};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Bench, Origin};
use crate::json::Page;

/// The events, held against the page.
fn check(events: &[Value], command: &str) {
    let mut page = Page::read();
    for event in events {
        page.check(&format!("{command}, {}", event["event"].as_str().expect("an event")), event);
    }
}

#[test]
fn what_is_late_is_left_out_up_to_a_place_where_one_may_go_on() {
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "log", "--marks", "lines"]);
    let id = origin.ids[0].clone();
    let arguments = [&*id, "--from", "start", "--max-delay", "300ms", "--json", "-o", "late"];
    let mut viewer = bench.viewer(origin.address, &arguments);
    let mut viewer = viewer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cjp2p-get starts");
    let mut events = BufReader::new(viewer.stdout.take().expect("a pipe"));
    let mut next = || serde_json::from_str::<Value>(&line_of(&mut events).expect("a line")).expect("JSON");
    let mut written = 0u64;
    let mut write = |origin: &mut Origin, count: usize| {
        for _ in 0..count {
            origin.write(format!("{written:09} {}\n", "x".repeat(89)).as_bytes());
            written += 1;
            thread::sleep(Duration::from_millis(10));
        }
        written
    };
    write(&mut origin, 50);
    let started = next();
    assert_eq!(started["event"], "started");
    // It hears nothing for a while.
    let pid = Pid::from_raw(viewer.id().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("it runs");
    write(&mut origin, 150);
    kill(pid, Signal::SIGCONT).expect("it runs");
    let count = write(&mut origin, 100);
    origin.close();
    let mut all = vec![started];
    while all.last().is_none_or(|event| event["event"] != "viewed") {
        all.push(next());
    }
    assert!(end_of(&mut viewer).success());
    check(&all, "cjp2p-get --json");
    let late: Vec<&Value> = all.iter().filter(|event| event["event"] == "late").collect();
    let skipped: u64 =
        late.iter().map(|late| late["to"].as_u64().unwrap_or(0) - late["from"].as_u64().unwrap_or(0)).sum();
    let viewed = &all[all.len() - 1];
    assert!(!late.is_empty() && viewed["gaps"] == late.len() && viewed["skipped"] == skipped, "{all:?}");
    let mut said = String::new();
    viewer.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("came too late and were left out"), "{said}");
    // Each line once, though not all; whole, but for one before each gap that may have come in part.
    let found = fs::read_to_string(bench.path("late")).expect("a file");
    assert_eq!(found.len() as u64 + skipped, count * 100);
    let cut = found.lines().filter(|line| line.len() != 99).count();
    assert!(cut <= late.len() && found.lines().all(|line| line.len() >= 99), "{cut} of {late:?}");
    let whole = found.lines().map(|line| &line[line.len() - 99..]);
    let numbers: Vec<u64> = whole.map(|line| line[..9].parse().expect("a number")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(numbers.ends_with(&[count - 2, count - 1]), "{numbers:?}");
}

#[test]
fn a_decoder_goes_on_after_what_was_late() {
    let ffmpeg = || {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
        command
    };
    if ffmpeg().arg("-version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no ffmpeg here");
        return;
    }
    let bench = Bench::new();
    let mut origin = bench.origin(1, &["--stream", "cam"]);
    let id = origin.ids[0].clone();
    // The end of the pipe is the camera's alone: the stream ends with it.
    let mut camera = ffmpeg()
        .args(["-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-t", "9"])
        .args(["-c:v", "mpeg2video", "-b:v", "1M", "-g", "12", "-f", "mpegts", "-"])
        .stdout(origin.stdin.take().expect("its input"))
        .spawn()
        .expect("ffmpeg starts");
    let mut viewer = bench.viewer(origin.address, &[&id, "--from", "start", "--max-delay", "300ms"]);
    let mut viewer = viewer.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cjp2p-get starts");
    // A line for each frame that was decoded.
    let decoder = ffmpeg()
        .args(["-i", "pipe:0", "-f", "framecrc", "-"])
        .stdin(viewer.stdout.take().expect("a pipe"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ffmpeg starts");
    thread::sleep(Duration::from_secs(3));
    let pid = Pid::from_raw(viewer.id().cast_signed());
    kill(pid, Signal::SIGSTOP).expect("it runs");
    thread::sleep(Duration::from_millis(1200));
    kill(pid, Signal::SIGCONT).expect("it runs");
    let decoded = decoder.wait_with_output().expect("ffmpeg ends");
    assert!(end_of(&mut camera).success() && end_of(&mut viewer).success());
    let mut said = String::new();
    viewer.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(said.contains("came too late and were left out"), "{said}");
    let frames =
        String::from_utf8_lossy(&decoded.stdout).lines().filter(|line| line.starts_with('0')).count();
    let errors = String::from_utf8_lossy(&decoded.stderr).into_owned();
    eprintln!("{frames} frames, {} lines of errors", errors.lines().count());
    // 225 were made; 30 are not there for a second and a bit, and 12 at the most from a place to join back to that.
    assert!((100..225).contains(&frames) && errors.lines().count() <= 6, "{frames} frames; {errors}");
}
