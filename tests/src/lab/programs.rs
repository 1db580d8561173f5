//! The tools, as they run on the hosts of a lab.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Error, Growth, Lab, namespace};

/// How often a waiting run looks at the file and at whether the program has ended.
const LOOK: Duration = Duration::from_millis(2);

/// How much of two files is compared at a time.
const PIECE: u64 = 1 << 20;

/// The tools' binaries.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Those beside this program.
    ///
    /// # Errors
    ///
    /// Where one is missing.
    pub fn beside_this() -> Result<Programs, Error> {
        let this = std::env::current_exe()?;
        let folder = this.parent().ok_or("this program lies nowhere")?.to_path_buf();
        for name in ["cjp2p-serve", "cjp2p-get", "cjp2p-hash"] {
            if !folder.join(name).is_file() {
                return Err(
                    format!("{}: not there: build the workspace first", folder.join(name).display()).into()
                );
            }
        }
        Ok(Programs { folder })
    }

    /// Where a tool's binary is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Whether `cjp2p-get` has this option.
    ///
    /// # Errors
    ///
    /// Where it does not run.
    pub fn get_knows(&self, option: &str) -> Result<bool, Error> {
        let help = Command::new(self.path("cjp2p-get")).arg("--help").output()?;
        Ok(String::from_utf8_lossy(&help.stdout).contains(option))
    }

    /// A command that runs a tool in a lab, with nobody but the peers named and nothing remembered outside `state`.
    ///
    /// # Errors
    ///
    /// Where the path of this program is not known.
    pub fn command(&self, name: &str, state: &Path) -> Result<Command, Error> {
        let mut command = namespace::command(&self.path(name))?;
        command
            .env("CJP2P_BOOTSTRAP", "")
            .env("CJP2P_NO_LAN", "1")
            .env_remove("RUST_LOG")
            .arg("--state")
            .arg(state);
        Ok(command)
    }
}

/// A running `cjp2p-serve`. Killed when dropped.
pub struct Serve {
    child: Child,
    /// Kept open, so that it never writes to a closed pipe. It prints too little to fill it.
    _lines: BufReader<ChildStdout>,
    /// The BLAKE3 id of the last file that it shared.
    pub id: String,
}

impl Serve {
    /// Serves `shared` on a host, at its usual address, and waits until all that is there is hashed.
    ///
    /// # Errors
    ///
    /// Where it ends before.
    pub fn start(
        lab: &Lab,
        host: usize,
        programs: &Programs,
        shared: &Path,
        state: &Path,
    ) -> Result<Serve, Error> {
        let mut command = programs.command("cjp2p-serve", state)?;
        command.args(["--json", "--quiet", "--listen", &lab.address(host).to_string()]);
        command.arg(shared).stdout(Stdio::piped());
        let mut child = lab.spawn(host, command)?;
        let stdout = child.stdout.take().ok_or("no pipe from cjp2p-serve")?;
        let mut serve = Serve { child, _lines: BufReader::new(stdout), id: String::new() };
        loop {
            let mut line = String::new();
            if serve._lines.read_line(&mut line)? == 0 {
                return Err("cjp2p-serve ended at its start".into());
            }
            let event: Value = serde_json::from_str(&line)?;
            match event["event"].as_str() {
                Some("shared") => serve.id = event["ids"][0].as_str().unwrap_or_default().to_owned(),
                Some("ready") => return Ok(serve),
                _ => {}
            }
        }
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    ///
    /// Where it has ended before.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// What `cjp2p-get` is to do.
pub struct Job<'a> {
    /// The host it runs on.
    pub host: usize,
    /// What to fetch.
    pub id: &'a str,
    /// Whom to ask.
    pub peers: Vec<SocketAddr>,
    /// A folder of its own, for its state and what it prints.
    pub folder: &'a Path,
    /// Where the content goes, in that folder; `None`: to standard output, which is a pipe.
    pub output: Option<&'a str>,
    /// Further arguments.
    pub more: Vec<String>,
}

/// What became of a fetch.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// From before its start to after its end, in seconds.
    pub seconds: f64,
    /// Bytes of content and tree that came.
    pub received: u64,
    /// Those of them that were of no use.
    pub wasted: u64,
    /// What it said on standard error.
    pub said: String,
}

/// A running `cjp2p-get`. Killed when dropped.
pub struct Get {
    child: Child,
    begun: Instant,
    folder: PathBuf,
    output: Option<PathBuf>,
    /// How the file grew: seconds since the start, and bytes that are in the partial or file.
    pub growth: Growth,
}

impl Get {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn start(lab: &Lab, programs: &Programs, job: &Job<'_>) -> Result<Get, Error> {
        let mut command = programs.command("cjp2p-get", &job.folder.join("state"))?;
        command.args(["--progress", "never"]).args(&job.more);
        for peer in &job.peers {
            command.arg("--peer").arg(peer.to_string());
        }
        command.stderr(File::create(job.folder.join("stderr"))?);
        let output = job.output.map(|name| job.folder.join(name));
        match &output {
            Some(path) => {
                command.arg("--json").arg("-o").arg(path).stdout(File::create(job.folder.join("stdout"))?);
            }
            None => {
                command.stdout(Stdio::piped());
            }
        }
        command.arg(job.id);
        let begun = Instant::now();
        let child = lab.spawn(job.host, command)?;
        Ok(Get { child, begun, folder: job.folder.to_path_buf(), output, growth: Growth::default() })
    }

    /// Its standard output, where that is a pipe.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Seconds since it was started.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    ///
    /// Where it cannot be ended.
    pub fn kill(&mut self) -> Result<(), Error> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until `enough` holds, of what is there, or it has ended; returns how it ended.
    ///
    /// # Errors
    ///
    /// Where neither happens within `limit` of its start.
    pub fn wait_until(
        &mut self,
        limit: Duration,
        mut enough: impl FnMut(&Get) -> bool,
    ) -> Result<Option<ExitStatus>, Error> {
        loop {
            let status = self.child.try_wait()?;
            let bytes = self.on_disk();
            self.growth.add(self.seconds(), bytes.max(self.growth.last()));
            if status.is_some() || enough(self) {
                return Ok(status);
            }
            if self.begun.elapsed() > limit {
                return Err(format!("not over after {limit:?}: {}", self.said()).into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until it has ended well.
    ///
    /// # Errors
    ///
    /// Where it fails, or is not over within `limit` of its start.
    pub fn finish(&mut self, limit: Duration) -> Result<Outcome, Error> {
        let Some(status) = self.wait_until(limit, |_| false)? else {
            return Err("cjp2p-get has not ended".into());
        };
        let seconds = self.seconds();
        let said = self.said();
        if !status.success() {
            return Err(format!("cjp2p-get: {status}: {said}").into());
        }
        let printed: Value = serde_json::from_slice(&fs::read(self.folder.join("stdout"))?)?;
        let number = |field: &str| printed[field].as_u64().unwrap_or(0);
        Ok(Outcome { seconds, received: number("received"), wasted: number("wasted"), said })
    }

    /// What it said on standard error so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.folder.join("stderr")).unwrap_or_default().trim().to_owned()
    }

    /// Bytes of the partial, or of the file, that are not holes.
    fn on_disk(&self) -> u64 {
        let Some(output) = &self.output else {
            return 0;
        };
        let mut partial = output.clone().into_os_string();
        partial.push(".cjp2p-part");
        let found = fs::metadata(partial).or_else(|_| fs::metadata(output));
        found.map_or(0, |metadata| metadata.blocks() * 512)
    }
}

impl Drop for Get {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// Checks that two files are the same.
///
/// # Errors
///
/// Where they are not, or cannot be read.
pub fn compare(one: &Path, other: &Path) -> Result<(), Error> {
    let [mut left, mut right] = [File::open(one)?, File::open(other)?];
    let [mut expected, mut found] = [const { Vec::new() }; 2];
    loop {
        expected.clear();
        found.clear();
        left.by_ref().take(PIECE).read_to_end(&mut expected)?;
        right.by_ref().take(PIECE).read_to_end(&mut found)?;
        if expected != found {
            return Err(format!("{} is not what was shared", other.display()).into());
        }
        if expected.is_empty() {
            return Ok(());
        }
    }
}
