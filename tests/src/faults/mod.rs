//! The real programs while they are killed, while their disk fails, and while the system refuses their calls: what the program
//! `faults` is made of.

pub mod callers;
pub mod full;
pub mod jobs;
pub mod kills;
pub mod mirrors;
pub mod refused;
pub mod tally;
mod trees;
pub mod writes;

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::content;
use crate::lab::Error;
use crate::lab::scratch::in_memory;
use crate::real::server::Server;

/// A program that runs for longer hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// A server that shares one content, and a place for the folders in which programs come to grief.
pub struct Bench {
    folder: TempDir,
    /// What the server shares.
    pub content: Vec<u8>,
    /// Its ids, BLAKE3 first.
    pub ids: [String; 2],
    /// The id of a small folder with that content in it.
    pub small_folder: String,
    /// Where the server is.
    pub peer: String,
    _server: Server,
}

impl Bench {
    /// Shares `length` bytes, at most `rate` of them in a second.
    ///
    /// # Errors
    ///
    /// Where there is no place for them.
    pub fn new(length: usize, rate: Option<&str>) -> Result<Bench, Error> {
        // What matters is which call fails, not what a disk does.
        let folder = in_memory()?;
        let share = folder.path().join("share");
        fs::create_dir(&share)?;
        let content = content::bytes(length as u64, length);
        fs::write(share.join("content"), &content)?;
        let small_folder = trees::share_small(&content, &share)?;
        let arguments: Vec<&str> = rate.iter().flat_map(|rate| ["--rate", rate]).collect();
        let server = Server::start(&share, &folder.path().join("serve-state"), &arguments);
        let (ids, peer) = (server.ids("content"), server.address.to_string());
        Ok(Bench { folder, content, ids, small_folder, peer, _server: server })
    }

    /// An empty folder of its own, which vanishes when dropped.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn fresh(&self) -> Result<TempDir, Error> {
        Ok(tempfile::Builder::new().prefix("case-").tempdir_in(self.folder.path())?)
    }

    /// A path beside all cases.
    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a program to its end; it is killed with all that it started where it does not come to one.
    ///
    /// # Errors
    ///
    /// Where it does not start, or hangs.
    pub fn run(&self, command: &mut Command) -> Result<Ended, Error> {
        let (out, err) = (self.beside("stdout"), self.beside("stderr"));
        let mut child =
            command.stdout(File::create(&out)?).stderr(File::create(&err)?).process_group(0).spawn()?;
        let status = wait(&mut child, LIMIT)?;
        let Some(status) = status else {
            killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL)?;
            child.wait()?;
            return Err(format!("it hangs: {command:?}").into());
        };
        let stderr = String::from_utf8_lossy(&fs::read(err)?).into_owned();
        Ok(Ended { code: status.code(), signal: status.signal(), stdout: fs::read(out)?, stderr })
    }
}

/// How a program ended, and what it wrote.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that did.
    pub signal: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// And to standard error.
    pub stderr: String,
}

impl Ended {
    /// What is wrong about how `tool` ended, apart from what it left: a panic, another code than these, or a failure that is
    /// not told on one line.
    ///
    /// # Errors
    ///
    /// Says what.
    pub fn is_proper(&self, tool: &str, codes: &[i32]) -> Result<(), String> {
        let told = self.stderr.trim_end();
        let Some(code) = self.code.filter(|code| codes.contains(code)) else {
            return Err(format!("ended with {:?}, signal {:?}: {told}", self.code, self.signal));
        };
        if told.contains("panicked") {
            return Err(told.into());
        }
        if let Some(line) = told.lines().find(|line| !line.starts_with(&format!("{tool}: "))) {
            return Err(format!("tells: {line}"));
        }
        let failures = told.lines().filter(|line| !line.contains(": warning: ")).count();
        if failures != usize::from(code != 0) {
            return Err(format!("ended with {code} and tells {failures} failures: {told}"));
        }
        Ok(())
    }
}

/// Waits for a program to end by itself; `None` where it does not within `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Error> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Copies the files of a folder, and of those in it.
fn copy_folder(from: &Path, to: &Path) -> Result<(), Error> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
