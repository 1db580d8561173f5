//! cjp2p-serve that is told to end while it is busy: at once, with a clean screen, and with nothing hashed in vain.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use cjp2p_tests::real::terminal::terminal;
use cjp2p_tests::real::tool;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes long. It is only not to hang.
const LONG: Duration = Duration::from_secs(120);
/// To end takes much less, also on a busy machine; to hash what is there takes hours.
const SOON: Duration = Duration::from_secs(30);

struct Bench(TempDir);

impl Bench {
    /// A share with so many small files, and one that takes for ever to hash.
    fn new(files: usize) -> Bench {
        let bench = Bench(tempfile::tempdir().expect("a folder"));
        fs::create_dir(bench.share()).expect("a folder");
        for number in 0..files {
            fs::write(bench.share().join(number.to_string()), number.to_string()).expect("a file");
        }
        let endless = File::create(bench.share().join("endless")).expect("a file");
        // Where that is too long for a file system, it is shorter.
        endless.set_len(4 << 40).or_else(|_| endless.set_len(1 << 40)).expect("a file");
        bench
    }

    fn share(&self) -> PathBuf {
        self.0.path().join("share")
    }

    fn serve(&self, arguments: &[&str]) -> Command {
        let mut command = tool("cjp2p-serve", &self.0.path().join("state"));
        command.args(["--listen", "127.0.0.1:0"]).args(arguments).arg(self.share());
        command
    }

    /// How many files are remembered.
    fn remembered(&self) -> usize {
        let text = fs::read(self.0.path().join("state/hashes-1")).unwrap_or_default();
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count()
    }
}

fn wait_until(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < LONG, "it never comes");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends TERM, and waits for the end that it makes.
fn terminate(child: &mut Child) {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("it runs");
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("its end") {
            Some(status) => break status,
            None if start.elapsed() > SOON => {
                let _ = child.kill();
                panic!("TERM does not end it");
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    assert_eq!(status.signal(), Some(Signal::SIGTERM as i32));
}

#[test]
fn a_server_that_hashes_and_whose_output_nobody_reads_is_ended_by_term_and_has_remembered_what_it_hashed() {
    // More than what waits to be printed, and what waits for that.
    const FILES: usize = 12_000;
    let bench = Bench::new(FILES);
    for arguments in [&["--json", "-vvv"][..], &["-vvv"]] {
        let _ = fs::remove_dir_all(bench.0.path().join("state"));
        let mut server = bench.serve(arguments);
        let (stdout, stderr) = (io::pipe().expect("a pipe"), io::pipe().expect("a pipe"));
        let mut server = server.stdout(stdout.1).stderr(stderr.1).spawn().expect("it starts");
        wait_until(|| bench.remembered() >= 4096);
        terminate(&mut server);
        let remembered = bench.remembered();
        fs::rename(bench.share().join("endless"), bench.0.path().join("endless")).expect("it is there");
        let hashed = hashed_until_ready(&bench);
        assert_eq!(hashed, FILES - remembered, "of {FILES}, {remembered} were remembered");
        fs::rename(bench.0.path().join("endless"), bench.share().join("endless")).expect("it is there");
    }
}

/// How many files a server has to hash.
fn hashed_until_ready(bench: &Bench) -> usize {
    let output = bench.serve(&["--json", "--for", "1m"]).stdout(Stdio::piped()).spawn();
    let mut server = output.expect("it starts");
    let lines = io::BufRead::lines(io::BufReader::new(server.stdout.take().expect("a pipe")));
    let ready = lines.map_while(Result::ok).find(|line| line.contains(r#""event":"ready""#));
    let _ = (server.kill(), server.wait());
    let ready: Value = serde_json::from_str(&ready.expect("it ended")).expect("JSON");
    ready["hashed"].as_u64().and_then(|hashed| usize::try_from(hashed).ok()).expect("a number")
}

#[test]
fn term_while_it_hashes_takes_the_bar_off_the_screen() {
    let bench = Bench::new(0);
    let (mut master, slave) = terminal(80).expect("a terminal");
    let mut server = bench.serve(&[]);
    server.env("TERM", "xterm").stdout(Stdio::null()).stderr(slave);
    let mut running = server.spawn().expect("it starts");
    // Its end of the terminal is to be the last one.
    drop(server);
    let mut screen = Vec::new();
    let mut read = |until: &dyn Fn(&[u8]) -> bool| {
        let mut bytes = [0; 4096];
        while !until(&screen) {
            match master.read(&mut bytes) {
                Ok(0) | Err(_) => break,
                Ok(count) => screen.extend_from_slice(&bytes[..count]),
            }
        }
        screen.clone()
    };
    read(&|screen| screen.windows(2).any(|two| two == b"% "));
    terminate(&mut running);
    let screen = read(&|_| false);
    let shown = screen.rsplit(|byte| *byte == b'%').next().expect("something");
    // The line is emptied, and nothing follows.
    assert!(shown.ends_with(b"\r\x1b[K"), "{:?}", String::from_utf8_lossy(&screen));
}
