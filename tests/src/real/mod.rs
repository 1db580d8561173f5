//! The real binaries on loopback, and hosts of the simulation on real sockets beside them.

pub mod album;
pub mod bench;
pub mod host;
pub mod igd;
pub mod server;
pub mod strace;
pub mod terminal;
pub mod tracker;

use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

/// A test that waits for longer for a line or the end of a program fails.
const LIMIT: Duration = Duration::from_secs(60);

/// The folder with the tools' binaries, built in the same profile as the tests. A program finds them beside itself.
///
/// # Panics
///
/// Where they cannot be built.
pub fn binaries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // target/<profile>/deps/<test>, or target/<profile>/<program>
        let this = std::env::current_exe().expect("it has a path");
        let beside = this.parent().expect("it lies in a folder").to_path_buf();
        if !beside.ends_with("deps") {
            return beside;
        }
        let folder = beside.parent().expect("it lies below target").to_path_buf();
        // Cargo builds other packages' binaries only for their own tests; this is quick where they are fresh.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if folder.ends_with("release") {
            build.arg("--release");
        }
        if let Some(target) = folder.parent() {
            build.arg("--target-dir").arg(target);
        }
        assert!(build.status().expect("cargo runs").success(), "the tools do not build");
        folder
    })
}

/// A command that runs one of the tools, with nobody but the peers named and nothing remembered outside `state`.
pub fn tool(name: &str, state: &Path) -> Command {
    let mut command = Command::new(binaries().join(name));
    command
        .env("CJP2P_BOOTSTRAP", "")
        .env("CJP2P_NO_LAN", "1")
        .env("CJP2P_STATE_DIR", state)
        .env("CJP2P_KEY", state.with_extension("key.json"))
        .env_remove("RUST_LOG")
        .stdin(std::process::Stdio::null());
    command
}

/// Waits for the end of a program.
///
/// # Panics
///
/// Where it does not end within a minute. It is killed then.
pub fn end_of(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("its state") {
            return status;
        }
        if start.elapsed() > LIMIT {
            // It may have ended by itself just now.
            let _ = child.kill();
            panic!("it does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The next line that a program prints, with its end; empty where it has closed its output.
///
/// # Errors
///
/// Where no line comes within a minute, or the pipe cannot be read.
pub fn line_of(lines: &mut BufReader<ChildStdout>) -> io::Result<String> {
    let start = Instant::now();
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        if lines.buffer().is_empty() {
            let mut output = [PollFd::new(lines.get_ref().as_fd(), PollFlags::POLLIN)];
            let left = LIMIT.saturating_sub(start.elapsed()).as_millis();
            if poll(&mut output, u16::try_from(left).unwrap_or(u16::MAX))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let here = lines.fill_buf()?;
        if here.is_empty() {
            break;
        }
        let length = here.iter().position(|&byte| byte == b'\n').map_or(here.len(), |end| end + 1);
        line.extend_from_slice(&here[..length]);
        lines.consume(length);
    }
    String::from_utf8(line).map_err(io::Error::other)
}
