//! One change on one test program.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::tree::Program;

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A test failed, or the program ended in another bad way: the name of the test, or how.
    Noticed(String),
    /// It did not end in time.
    Hung,
    /// All tests passed.
    Passed,
}

/// Runs a test program with a change switched on, until the first test fails. Zero is no change. Without a filter all tests run.
pub fn run(program: &Program, change: usize, filter: Option<&str>, limit: Duration) -> io::Result<Outcome> {
    let mut command = Command::new(&program.executable);
    command.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
    command.env("MUTANT_ON", change.to_string()).args(filter);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let group = format!("-{}", child.id());
    let output = child.stdout.take();
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in output.into_iter().flat_map(|output| BufReader::new(output).split(b'\n')) {
            let Ok(line) = line else { return };
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    let start = Instant::now();
    let outcome = loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                let failed = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
                if let Some(name) = failed {
                    break Some(Outcome::Noticed(name.to_owned()));
                }
            }
            Err(RecvTimeoutError::Timeout) => break Some(Outcome::Hung),
            Err(RecvTimeoutError::Disconnected) => break None,
        }
    };
    if outcome.is_some() {
        // With all that it started.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    }
    let status = child.wait()?;
    Ok(match outcome {
        Some(outcome) => outcome,
        None if status.success() => Outcome::Passed,
        None => Outcome::Noticed(status.to_string()),
    })
}
