//! The side of the process that fetches: has a name found out, puts what it stands for in its place, and remembers what was fetched.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::state_dir::{StateDir, replace_lightly};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::signed::PointerId;
use sha2::{Digest as _, Sha256};

use super::resolved::{MAX_LINE, Resolved, is_verifiable};
use crate::cli::Cli;

/// The option by which this program asks peers for a name, and does nothing else.
const RESOLVE: &str = "--resolve-name";

/// Whether a name under a key is to be fetched.
///
/// # Errors
///
/// Where it is given beside other ids, or what goes with a name is asked for without one.
pub(crate) fn is_name(cli: &Cli) -> Result<bool, ToolError> {
    let has_name = cli.ids.iter().any(|id| PointerId::is_meant(id));
    if has_name && cli.ids.len() > 1 {
        return Err(ToolError::usage(
            "a latest/ name is fetched alone: other ids take a command of their own",
        ));
    }
    if !has_name && (cli.watch || cli.if_newer) {
        let option = if cli.watch { "--watch" } else { "--if-newer" };
        return Err(ToolError::usage(format!("{option} needs a latest/ name: an id never changes")));
    }
    let is_stdout = cli.into.is_none() && cli.output.as_ref().is_none_or(|output| output == Path::new("-"));
    if cli.watch && is_stdout {
        return Err(ToolError::usage("--watch needs a place where the newest replaces the one before: -o"));
    }
    if let Some(id) = cli.ids.first().filter(|_| has_name) {
        PointerId::candidates(id).map_err(|error| ToolError::usage(format!("{id:?}: {error}")))?;
    }
    Ok(has_name)
}

/// The process that asks peers, and what it prints.
pub(crate) struct Asking {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Asking {
    /// Starts it, with all that this one was told.
    pub(crate) fn start() -> Result<Asking, ToolError> {
        let failed = |error: std::io::Error| ToolError::failure(format!("asking for a name: {error}"));
        let mut command = this_program();
        // First, for what comes after `--` is no option.
        command.arg(RESOLVE).args(env::args_os().skip(1));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        match child.stdout.take() {
            Some(stdout) => Ok(Asking { child, lines: BufReader::new(stdout) }),
            None => Err(ToolError::failure("asking for a name: no pipe")),
        }
    }

    /// What it finds next; `None` where it has ended. It read what peers sent, so it is believed no more than a peer is.
    pub(crate) fn next(&mut self) -> Option<Resolved> {
        let mut line = Vec::new();
        self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).ok()?;
        serde_json::from_slice::<Resolved>(&line).ok().filter(|resolved| is_verifiable(&resolved.id))
    }

    /// How it ended: what there was to say of that, it said.
    pub(crate) fn end(mut self) -> ToolError {
        // It ends when its standard input does.
        drop(self.child.stdin.take());
        let exit = self.child.wait().map_or(Exit::Failure, exit_of);
        ToolError::new(if exit == Exit::Done { Exit::Failure } else { exit }, "")
    }
}

/// This program, once more.
pub(crate) fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0(env::args_os().next().unwrap_or_default());
    command
}

/// How another process of this program ended.
pub(crate) fn exit_of(status: ExitStatus) -> Exit {
    Exit::ALL.into_iter().find(|exit| status.code() == Some(*exit as i32)).unwrap_or(Exit::Failure)
}

/// A name that was found out.
pub(crate) struct Name {
    resolved: Resolved,
    done: Done,
}

impl Name {
    /// Finds out what the name on the command line stands for, and puts that in its place.
    ///
    /// # Errors
    ///
    /// Where no peer knows it; it was said already.
    pub(crate) fn find_out(cli: &mut Cli) -> Result<Name, ToolError> {
        let done = Done::of(cli);
        let mut asking = Asking::start()?;
        let Some(resolved) = asking.next() else { return Err(asking.end()) };
        drop(asking.end());
        log::info!("{}: is {}, number {}", cli.ids[0], resolved.id, resolved.seq);
        cli.ids[0].clone_from(&resolved.id);
        Ok(Name { resolved, done })
    }

    /// What it stands for.
    pub(crate) fn resolved(&self) -> &Resolved {
        &self.resolved
    }

    /// It stands for this in truth.
    pub(crate) fn set(&mut self, cli: &mut Cli, resolved: Resolved) {
        cli.ids[0].clone_from(&resolved.id);
        self.resolved = resolved;
    }

    /// The peers that know it, and so may have it.
    pub(crate) fn peers(&self) -> &[SocketAddr] {
        &self.resolved.peers
    }

    /// Whether the same command fetched this very content before.
    pub(crate) fn is_done(&self) -> bool {
        self.done.is(&self.resolved.id)
    }

    /// Whether the file that is there is what the same command fetched before, so that the newer one may take its place.
    pub(crate) fn may_replace(&self) -> bool {
        self.done.is_unchanged()
    }

    /// It is fetched now.
    pub(crate) fn note_done(&self) {
        self.done.note(&self.resolved.id);
    }
}

/// What this very command fetched last.
pub(crate) struct Done {
    /// `None`: nothing is remembered.
    file: Option<PathBuf>,
    /// Where it goes.
    place: Option<PathBuf>,
}

impl Done {
    /// What is remembered of this command line, in this folder.
    pub(crate) fn of(cli: &Cli) -> Done {
        let ignored: [&str; 5] = ["--if-newer", "-q", "-qq", "-v", "--json"];
        let words = env::args_os().skip(1).filter(|word| !ignored.iter().any(|other| word == other));
        let mut hasher = blake3::Hasher::new();
        for word in words.chain([env::current_dir().map(OsString::from).unwrap_or_default()]) {
            hasher.update(word.as_bytes());
            hasher.update(b"\0");
        }
        let name = format!("names/{}.done", &hasher.finalize().to_hex()[..32]);
        let state = StateDir::open(cli.state.state.as_deref()).ok();
        let place = cli.into.clone().or_else(|| cli.output.clone()).filter(|place| place != Path::new("-"));
        Done { file: state.map(|state| state.file(&name)), place }
    }

    fn is(&self, id: &str) -> bool {
        let is_there = self.place.as_ref().is_none_or(|place| place.exists());
        let fetched = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        is_there && fetched.is_some_and(|fetched| fetched.trim_end() == id)
    }

    /// Whether the file that is there is just what it fetched. Folders have records of their own.
    pub(crate) fn is_unchanged(&self) -> bool {
        let fetched = self.file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let fetched = fetched.and_then(|fetched| ContentId::parse(fetched.trim_end()).ok());
        let (Some(fetched), Some(place)) = (fetched, &self.place) else { return false };
        // Whatever else is there, and might be waited for, is not opened.
        if !fs::symlink_metadata(place).is_ok_and(|found| found.is_file()) {
            return false;
        }
        let Ok(mut file) = File::open(place) else { return false };
        let (mut blake3, mut sha256) = (blake3::Hasher::new(), Sha256::new());
        let mut buffer = vec![0; 1 << 16];
        loop {
            match (file.read(&mut buffer), &fetched) {
                (Ok(0), ContentId::Blake3(hash)) => return blake3.finalize().as_bytes() == hash,
                (Ok(0), ContentId::Sha256(hash)) => return sha256.finalize()[..] == *hash,
                (Ok(read), ContentId::Blake3(_)) => _ = blake3.update(&buffer[..read]),
                (Ok(read), ContentId::Sha256(_)) => sha256.update(&buffer[..read]),
                _ => return false,
            }
        }
    }

    /// It fetched this.
    pub(crate) fn note(&self, id: &str) {
        let Some(file) = &self.file else { return };
        // The folder is there: what the name stands for was written into it.
        if let Err(error) = replace_lightly(file, format!("{id}\n").as_bytes()) {
            log::warn!("what was fetched is not remembered for --if-newer: {error}");
        }
    }
}
