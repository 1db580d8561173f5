//! What `-o` may name: links, devices, pipes, descriptors, and long names; and how much room the file takes.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use cjp2p_tests::content::{self, blake3_id, sha256_id};
use cjp2p_tests::real::strace::{insist, strace, unavailable, under, worked};

use crate::support::{Bench, Ended, Host, assert_content, wait_until};

const MEBIBYTE: usize = 1 << 20;

/// Runs a script in which `get ID...` fetches from this host.
fn script(bench: &Bench, host: &Host, script: &str) -> Ended {
    let script = format!(
        r#"get() {{ "$GET" --listen 127.0.0.1:0 --progress never --peer "$ADDRESS" "$@"; }}; {script}"#
    );
    let mut command = bench.script(&script, &[]);
    Ended::of(command.env("ADDRESS", host.address.to_string()).output().unwrap())
}

#[test]
fn a_descriptor_of_ours_is_written_to_by_whatever_name_it_goes() {
    let bytes = content::bytes(1, 100_000);
    let host = Host::sharing(&[&bytes]);
    for id in [blake3_id(&bytes), sha256_id(&bytes)] {
        let bench = Bench::new();
        symlink("/dev/stdout", bench.path("link")).unwrap();
        for (n, line) in [
            "get ID -o /dev/stdout > out",
            "get ID -o /dev/stdout --force > out",
            "get ID -o /dev/fd/1 > out",
            "get ID -o /proc/self/fd/1 --force > out",
            "get ID -o link --force > out",
            "get ID -o /dev/fd/3 3> out",
            "get ID -o /dev/fd/3 --force --no-sandbox 3> out",
            "get ID -o /dev/fd/3 3> out > /dev/null",
            "get ID -o /dev/stderr 2> out",
            "get ID -o /dev/fd/3 3>&1 | cat > out",
            "get ID -o /dev/stdout | cat > out",
            "get ID -o /dev/fd/8 8>> out",
        ]
        .iter()
        .enumerate()
        {
            let _ = fs::remove_file(bench.path("out"));
            // So that what root is told goes elsewhere.
            let line = line.replace("ID", &format!("-q {id}"));
            script(&bench, &host, &line).done();
            let found = bench.read("out");
            let rest = found
                .strip_prefix(b"cjp2p-get: warning: running as root")
                .map(|rest| &rest[rest.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1)..]);
            assert!(rest.unwrap_or(&found) == bytes, "{n}: {line}: {} bytes", found.len());
            assert!(bench.path("link").is_symlink());
        }
        let around = format!("{{ echo head; get {id} -o /dev/stdout; echo tail; }} > out");
        script(&bench, &host, &around).done();
        assert!(bench.read("out") == [b"head\n", &*bytes, b"tail\n"].concat());
        let appended = format!("echo head > out; get {id} -o /dev/fd/3 3>> out");
        script(&bench, &host, &appended).done();
        assert!(bench.read("out") == [b"head\n", &*bytes].concat());
    }
}

#[test]
fn a_descriptor_that_cannot_be_written_is_told_at_once() {
    let bytes = content::bytes(2, 1000);
    let host = Host::sharing(&[&bytes]);
    let (bench, id) = (Bench::new(), blake3_id(&bytes));
    fs::write(bench.path("in"), "").unwrap();
    for name in ["/dev/fd/9", "/dev/fd/7", "/dev/stdin"] {
        let ended = script(&bench, &host, &format!("get {id} -o {name} 7< in < in"));
        ended.failed(7, &format!("{name}: Bad file descriptor"));
    }
    script(&bench, &host, &format!("get {id} -o /dev/stdout >&-")).failed(7, "Bad file descriptor");
    script(&bench, &host, &format!("get {id} -o /dev/stdout --json > out")).failed(2, "--json needs");
    let other = script(&bench, &host, &format!("exec 5> foreign; get {id} -o /proc/$$/fd/5 --force"));
    other.failed(7, "is a file that another process has open");
}

#[test]
fn a_link_is_never_replaced_but_what_it_leads_to() {
    let (bytes, other) = (content::bytes(3, 300_000), content::bytes(4, 1000));
    let host = Host::sharing(&[&bytes]);
    for id in [blake3_id(&bytes).to_string(), sha256_id(&bytes).to_string()] {
        let bench = Bench::new();
        fs::create_dir(bench.path("there")).unwrap();
        symlink("there/second", bench.path("link")).unwrap();
        symlink("../there/./file", bench.path("there/second")).unwrap();
        // It leads to nothing yet.
        bench.run(&[&host], &[&*id, "-o", "link"]).done();
        assert_content(&bench.path("there/file"), &bytes);
        bench.run(&[], &[&*id, "-o", "link"]).done();
        fs::write(bench.path("there/file"), &other).unwrap();
        bench.run(&[&host], &[&*id, "-o", "link"]).failed(7, "file: is there already and something else");
        assert_content(&bench.path("there/file"), &other);
        let before = fs::File::open(bench.path("there/file")).unwrap();
        bench.run(&[&host], &[&*id, "-o", "link", "--force"]).done();
        assert_content(&bench.path("there/file"), &bytes);
        assert_eq!(before.metadata().unwrap().len(), 1000, "who has the old file open keeps it");
        assert!(bench.path("link").is_symlink() && bench.path("there/second").is_symlink());
        assert_eq!(bench.files(), ["link", "there/file", "there/second"]);
        symlink("round", bench.path("round")).unwrap();
        bench.run(&[&host], &[&*id, "-o", "round", "--force"]).failed(7, "round: Too many levels");
        symlink("missing/file", bench.path("nowhere")).unwrap();
        bench
            .run(&[&host], &[&*id, "-o", "nowhere", "--force"])
            .failed(7, "missing/file.cjp2p-part: No such");
        assert!(bench.path("round").is_symlink() && bench.path("nowhere").is_symlink());
    }
}

#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let bytes = content::bytes(5, 100_000);
    let host = Host::sharing(&[&bytes]);
    let id = blake3_id(&bytes).to_string();
    let bench = Bench::new();
    symlink("/dev/null", bench.path("null")).unwrap();
    bench.run(&[&host], &[&*id, "-o", "null", "--force"]).done();
    assert!(bench.path("null").is_symlink());
    assert!(Command::new("mkfifo").arg(bench.path("pipe")).status().unwrap().success());
    symlink("pipe", bench.path("link")).unwrap();
    for name in ["pipe", "link"] {
        let line = format!("cat pipe > out & get {id} -o {name} --force; wait");
        script(&bench, &host, &line).done();
        assert_content(&bench.path("out"), &bytes);
        assert!(fs::metadata(bench.path("pipe")).unwrap().file_type().is_fifo());
    }
    // Below a folder.
    fs::create_dir_all(bench.path("into/blake3")).unwrap();
    let place = bench.path("into").join(&id);
    symlink("/dev/null", &place).unwrap();
    bench.run(&[&host], &[&*id, "--into", "into", "--force"]).failed(7, "is a link, which is not replaced");
    assert!(place.is_symlink());
    fs::remove_file(&place).unwrap();
    assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
    bench.run(&[&host], &[&*id, "--into", "into", "--force"]).failed(7, "no regular file");
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    bench.run(&[&host], &[&*id, "--into", "into", "--force"]).failed(7, "is a folder");
}

#[test]
fn every_name_that_the_file_system_takes_can_be_fetched_to_and_gone_on_with() {
    let bytes = content::bytes(6, 20 * MEBIBYTE);
    let (host, slow) = (Host::sharing(&[&bytes]), Host::limited(&[&bytes], Some(8 << 20)));
    let names =
        ["x".repeat(229), "x".repeat(230), "x".repeat(255), "\u{6f22}".repeat(77), "\u{6f22}".repeat(85)];
    for (n, name) in names.iter().enumerate() {
        let bench = Bench::new();
        let id = if n % 2 == 0 { blake3_id(&bytes) } else { sha256_id(&bytes) }.to_string();
        let mut child = bench.begin(&[&slow], &[&*id, "-o", name]);
        let partial = || bench.files().into_iter().find(|name| name.ends_with(".cjp2p-part"));
        let room =
            || partial().map_or(0, |name| fs::metadata(bench.path(&name)).map_or(0, |found| found.blocks()));
        wait_until(|| room() * 512 > 2 << 20);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(bench.files().len(), 2, "a partial and its record: {:?}", bench.files());
        let ended = bench.run(&[&host], &[&*id, "-o", name, "--json"]).done();
        assert!(ended.json()[0]["resumed"].as_u64().unwrap() > 0, "{name}");
        assert_content(&bench.path(name), &bytes);
        assert_eq!(bench.files(), [&**name]);
    }
    let bench = Bench::new();
    let id = blake3_id(&bytes).to_string();
    bench.run(&[&host], &[&*id, "-o", &"x".repeat(255), "--range", "5-1M"]).done();
    assert_content(&bench.path(&"x".repeat(255)), &bytes[5..=MEBIBYTE]);
    bench.run(&[&host], &[&*id, "-o", &"x".repeat(256)]).failed(7, "File name too long");
}

/// Bytes that are zeros, but for some in the middle and at the end.
fn nearly_zero() -> Vec<u8> {
    let mut bytes = vec![0; 24 * MEBIBYTE];
    bytes[9 * MEBIBYTE..10 * MEBIBYTE].copy_from_slice(&content::bytes(7, MEBIBYTE));
    let length = bytes.len();
    bytes[length - 1] = 1;
    bytes
}

fn room(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn zeros_become_holes() {
    let contents = [nearly_zero(), vec![0; 12 * MEBIBYTE], vec![0; 5 * MEBIBYTE + 77]];
    let host = Host::sharing(&contents.iter().map(|bytes| &**bytes).collect::<Vec<_>>());
    for (n, bytes) in contents.iter().enumerate() {
        for id in [blake3_id(bytes).to_string(), sha256_id(bytes).to_string()] {
            let bench = Bench::new();
            bench.run(&[&host], &[&*id, "-o", "file"]).done();
            bench.run(&[&host], &[&*id, "--into", "into"]).done();
            for path in [bench.path("file"), bench.path("into").join(&id)] {
                assert_content(&path, bytes);
                let most = if n == 0 { 3 * MEBIBYTE } else { MEBIBYTE } as u64;
                assert!(room(&path) < most, "{id}: {} bytes", room(&path));
            }
        }
        let (bench, id) = (Bench::new(), blake3_id(bytes).to_string());
        bench.run(&[&host], &[&*id, "-o", "file", "--range", "77-4M"]).done();
        assert_content(&bench.path("file"), &bytes[77..=4 * MEBIBYTE]);
        assert!(room(&bench.path("file")) < MEBIBYTE as u64);
    }
}

#[test]
fn zeros_take_the_place_of_what_an_interrupted_fetch_had_wrong() {
    let bytes = nearly_zero();
    let (host, slow) = (Host::sharing(&[&bytes]), Host::limited(&[&bytes], Some(8 << 20)));
    for id in [blake3_id(&bytes).to_string(), sha256_id(&bytes).to_string()] {
        let bench = Bench::new();
        let mut child = bench.begin(&[&slow], &[&*id, "-o", "file"]);
        let recorded = || fs::read(bench.path("file.cjp2p-resume")).unwrap_or_default();
        wait_until(|| recorded().iter().filter(|byte| **byte == b'\n').count() > 8);
        child.kill().unwrap();
        child.wait().unwrap();
        // All of it is garbage now.
        let length = fs::metadata(bench.path("file.cjp2p-part")).unwrap().len();
        fs::write(bench.path("file.cjp2p-part"), vec![0xaa; length as usize]).unwrap();
        bench.run(&[&host], &[&*id, "-o", "file"]).done();
        assert_content(&bench.path("file"), &bytes);
    }
}

#[test]
fn the_file_is_on_the_disk_before_its_name_and_its_name_before_the_end() {
    if let Some(why) = unavailable() {
        eprintln!("skipped: {why}");
        return;
    }
    let bytes = content::bytes(8, 3 * MEBIBYTE);
    let host = Host::sharing(&[&bytes]);
    for id in [blake3_id(&bytes).to_string(), sha256_id(&bytes).to_string()] {
        let trace = insist(|| {
            let bench = Bench::new();
            fs::create_dir(bench.path("folder")).unwrap();
            let trace = bench.path("trace");
            let mut command = strace(&trace);
            command.args(["-e", "trace=pwrite64,fallocate,ftruncate,fsync,fdatasync,/rename"]);
            let mut get = bench.command(&[&host], &[&*id, "-o", "folder/file"]);
            let command = under(&mut command, get.stdin(Stdio::null())).current_dir(bench.path(""));
            let output = command.output()?;
            worked(&String::from_utf8_lossy(&output.stderr))?;
            assert!(output.status.success(), "{output:?}");
            Ok(fs::read_to_string(trace)?)
        })
        .unwrap();
        let lines: Vec<&str> = trace.lines().collect();
        let at = |what: &[&str]| {
            let found = lines.iter().rposition(|line| what.iter().all(|what| line.contains(what)));
            found.unwrap_or_else(|| panic!("no {what:?} in {trace}"))
        };
        let written = at(&["pwrite64(", "file.cjp2p-part>"]);
        let synced = at(&["fsync(", "file.cjp2p-part>"]);
        let renamed = at(&["rename", "file.cjp2p-part\"", "folder/file\""]);
        let folder = at(&["fsync(", "/folder>"]);
        assert!(written < synced && synced < renamed && renamed < folder, "{trace}");
    }
}
