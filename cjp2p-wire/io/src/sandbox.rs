//! Confinement: a process gives up what it does not need, for good, so that a hole in it is of little use to others.
//!
//! Two means of Linux, each of which any user may use. Landlock says which files can be read and written, and refuses TCP.
//! A filter of system calls (seccomp) refuses what Landlock does not know: programs, other processes, sockets
//! but for UDP, and the parts of the kernel that exploits like. What the kernel has not is left out, and told.

mod calls;

use std::fmt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};
use nix::errno::Errno;

/// The newest Landlock that this code was written for and tested with.
const KNOWN: ABI = ABI::V7;

/// What may be done with files below a folder that is only read. Not to run them.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// What may be done below a folder that is written to: files and folders, but no devices, links, pipes and sockets.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer
});

/// What may be done below a folder that is recreated as somebody else has it: symbolic links too.
const RECREATE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | MakeSym | RemoveFile | RemoveDir | Refer
});

/// Those of them that a file by itself can have.
const OF_FILES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | WriteFile | Truncate});

/// What a process needs after its start. All else is refused from [`Sandbox::confine`] on.
///
/// What is open already stays open: files, standard output, sockets.
#[derive(Clone, Debug, Default)]
pub struct Sandbox {
    readable: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    recreated: Vec<PathBuf>,
    interfaces: bool,
    connects: bool,
    accepts: bool,
    /// The number of a descriptor.
    listener: Option<i32>,
    offline: bool,
}

impl Sandbox {
    /// Needs nothing but what is open.
    pub fn new() -> Sandbox {
        Sandbox::default()
    }

    /// Needs to read this file, or all that is below this folder. What is not there gives no right.
    ///
    /// The right is to the file or folder that has this name now, not to the name.
    #[must_use]
    pub fn read(mut self, path: impl Into<PathBuf>) -> Sandbox {
        self.readable.push(path.into());
        self
    }

    /// Needs to read, write, make, rename and remove files and folders below this folder. As for [`Sandbox::read`].
    #[must_use]
    pub fn write(mut self, path: impl Into<PathBuf>) -> Sandbox {
        self.writable.push(path.into());
        self
    }

    /// Needs to make of this folder what somebody else has: as for [`Sandbox::write`], and symbolic links, modes and times.
    ///
    /// Modes and times are no affair of Landlock. Modes can be set of open files only, and times of any file of the user.
    #[must_use]
    pub fn recreate(mut self, path: impl Into<PathBuf>) -> Sandbox {
        self.recreated.push(path.into());
        self
    }

    /// Needs to be told which network interfaces there are. It could not change them either way.
    #[must_use]
    pub fn see_interfaces(mut self, needed: bool) -> Sandbox {
        self.interfaces = needed;
        self
    }

    /// Needs to open TCP connections to others, wherever they are.
    #[must_use]
    pub fn connect_tcp(mut self) -> Sandbox {
        self.connects = true;
        self
    }

    /// Needs to take the connections that come in at sockets that listen already. None can be made to listen later.
    #[must_use]
    pub fn accept_tcp(mut self) -> Sandbox {
        self.accepts = true;
        self
    }

    /// Needs to take the connections that come in at this open descriptor, and at no other.
    #[must_use]
    pub fn accept_at(mut self, listener: Option<std::os::fd::RawFd>) -> Sandbox {
        self.listener = listener;
        self
    }

    /// Needs no socket but those that are open.
    #[must_use]
    pub fn offline(mut self) -> Sandbox {
        self.offline = true;
        self
    }

    /// Confines the calling thread, and all that it will start, for good. To be called before the first thread is started:
    /// those that run already are not confined.
    ///
    /// Never fails: what the kernel refuses is left out, and told.
    pub fn confine(self) -> Confinement {
        let refusal = refusal_of_landlock();
        let (files, tcp) = match self.restrict_files() {
            Ok(status) => outcome(&status, refusal),
            Err(error) => (Files::Free(innermost(&error)), false),
        };
        // After Landlock, whose system calls it may refuse.
        let calls = calls::refuse(calls::Needs {
            interfaces: self.interfaces,
            tcp: self.connects,
            accepts: self.accepts,
            listener: self.listener,
            offline: self.offline,
            modes_and_times: !self.recreated.is_empty(),
        });
        Confinement { sandbox: self, files, tcp, calls }
    }

    fn restrict_files(&self) -> Result<RestrictionStatus, RulesetError> {
        let mut ruleset = Ruleset::default()
            // The first Landlock refuses every renaming from one folder to another: none is better then.
            .set_compatibility(CompatLevel::SoftRequirement)
            .handle_access(AccessFs::Refer)?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(if self.connects {
                AccessNet::BindTcp.into()
            } else {
                AccessNet::from_all(KNOWN)
            })?
            .scope(Scope::from_all(KNOWN))?
            .create()?;
        let all = [(&self.readable, READ), (&self.writable, WRITE), (&self.recreated, RECREATE)];
        for (paths, rights) in all {
            for path in paths {
                let Ok(opened) = PathFd::new(path) else {
                    log::debug!("sandbox: {}: not there", path.display());
                    continue;
                };
                let rights = if path.is_dir() { rights } else { rights & OF_FILES };
                ruleset = ruleset.add_rule(PathBeneath::new(opened, rights))?;
            }
        }
        for opened in RANDOM.into_iter().filter_map(|path| PathFd::new(path).ok()) {
            ruleset = ruleset.add_rule(PathBeneath::new(opened, AccessFs::ReadFile))?;
        }
        ruleset.restrict_self()
    }
}

/// Why the system gives no Landlock at all, if so. The crate asks this too, and then takes every answer for that of a kernel
/// that has none.
fn refusal_of_landlock() -> Errno {
    Errno::clear();
    let _asks = Ruleset::default();
    Errno::last()
}

fn outcome(status: &RestrictionStatus, refusal: Errno) -> (Files, bool) {
    match (&status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            (Files::Free("Landlock is not switched on in this kernel".into()), false)
        }
        (RulesetStatus::NotEnforced, LandlockStatus::Available { .. }) => (
            Files::Free("the Landlock of this kernel cannot tell renaming apart (Linux 5.19 can)".into()),
            false,
        ),
        (RulesetStatus::NotEnforced, _) if matches!(refusal, Errno::EPERM | Errno::EACCES) => {
            let why = "Landlock was refused to this process, as by the filter of system calls (seccomp) of a container or service; \
                       the kernel may well have it";
            (Files::Free(format!("{why} ({refusal})")), false)
        }
        (RulesetStatus::NotEnforced, _) => (Files::Free("this kernel has no Landlock".into()), false),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            let version = effective_abi as i32;
            let files =
                if effective_abi >= ABI::V3 { Files::Confined(version) } else { Files::NoTruncate(version) };
            (files, effective_abi >= ABI::V4)
        }
        (_, _) => (Files::Free("Landlock does not say what it does".into()), false),
    }
}

/// The error that the others are about: it says what the system said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    format!("Landlock: {error}")
}

/// How far files are confined.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Files {
    /// By this version of Landlock.
    Confined(i32),
    /// The same, but files elsewhere, if the user may write them, can still be cut to a length.
    NoTruncate(i32),
    /// Not at all, and why.
    Free(String),
}

/// Where random numbers come from in a system that refuses the call for them. The standard library ends a program that has none.
const RANDOM: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// What the kernel confined.
#[derive(Clone, Debug)]
pub struct Confinement {
    sandbox: Sandbox,
    files: Files,
    tcp: bool,
    calls: Result<(), String>,
}

impl Confinement {
    /// What is refused from now on, in one word each: `files` outside of what was named, `tcp` connections to others (where none
    /// is needed), `programs`.
    pub fn refused(&self) -> Vec<&'static str> {
        let files = (!matches!(self.files, Files::Free(_))).then_some("files");
        // The filter refuses any TCP socket.
        let tcp = (!self.sandbox.connects && (self.tcp || self.calls.is_ok())).then_some("tcp");
        // Landlock refuses to run any file.
        let programs = (files.is_some() || self.calls.is_ok()).then_some("programs");
        files.into_iter().chain(tcp).chain(programs).collect()
    }

    /// What the kernel would not do, if anything, as one line for the user.
    pub fn missing(&self) -> Option<String> {
        let files = match &self.files {
            Files::Free(why) => Some(format!("files are not confined: {why}")),
            Files::Confined(_) | Files::NoTruncate(_) => None,
        };
        let calls = self.calls.as_ref().err().map(|why| format!("system calls are not confined: {why}"));
        match (files, calls) {
            (Some(files), Some(calls)) => Some(format!("{files}; {calls}")),
            (files, calls) => files.or(calls),
        }
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.files {
            Files::Free(_) => write!(f, "files are not confined")?,
            Files::Confined(version) | Files::NoTruncate(version) => {
                write!(f, "reads {}; ", Paths(&self.sandbox.readable))?;
                let written = self.sandbox.writable.iter().chain(&self.sandbox.recreated);
                write!(f, "reads and writes {}", Paths(&written.cloned().collect::<Vec<_>>()))?;
                write!(f, " (Landlock {version}")?;
                if matches!(self.files, Files::NoTruncate(_)) {
                    write!(f, ", which lets files elsewhere be cut")?;
                }
                write!(f, ")")?;
            }
        }
        let tcp = match (self.sandbox.connects, self.sandbox.accepts) {
            (false, false) => "no TCP",
            (true, false) => "no TCP that comes in",
            (false, true) => "no TCP but what comes in",
            (true, true) => "no other port for TCP that comes in",
        };
        match (&self.calls, self.tcp) {
            (Ok(()), true) => {
                write!(f, "; {tcp} (Landlock, seccomp); no programs (Landlock, seccomp); no new privileges")
            }
            (Ok(()), false) => write!(f, "; {tcp}, no programs (seccomp); no new privileges"),
            (Err(_), true) => {
                write!(f, "; {tcp}, no programs (Landlock); no new privileges; system calls are not confined")
            }
            (Err(_), false) => write!(f, "; system calls are not confined"),
        }
    }
}

struct Paths<'a>(&'a [PathBuf]);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (nth, path) in self.0.iter().enumerate() {
            let shown: &Path = path;
            // Debug spelling: a name can have a line end in it.
            write!(f, "{}{shown:?}", if nth > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}
