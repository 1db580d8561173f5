//! Looking at the system calls of a program, and having some of them fail, by `strace`.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::Error;

/// So often strace may break down before that counts as a failure.
const TRIES: usize = 5;

/// Why that cannot be done here, if so.
pub fn unavailable() -> Option<String> {
    let tried = insist(|| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]);
        let output = command.stdin(Stdio::null()).output().map_err(|error| format!("strace: {error}"))?;
        let told = String::from_utf8_lossy(&output.stderr);
        worked(&told)?;
        if output.status.success() { Ok(()) } else { Err(told.trim().into()) }
    });
    tried.err().map(|why| why.to_string())
}

/// Begins a command of strace that writes what it sees of all threads to `trace`.
pub fn strace(trace: &Path) -> Command {
    let mut command = Command::new("strace");
    // With the paths of descriptors, stopping at no other calls.
    command.args(["-f", "-qq", "-y", "--seccomp-bpf", "-o"]).arg(trace);
    command
}

/// Adds the command that strace is to run.
pub fn under<'a>(strace: &'a mut Command, command: &Command) -> &'a mut Command {
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.stdin(Stdio::null()).arg(command.get_program()).args(command.get_args())
}

/// strace itself could not do its work, so that nothing is known of the program.
///
/// Mostly `strace: Unexpected wait status 0x100`: its child stops itself to be taken hold of, and strace waits for that. Where
/// somebody else stops and continues all processes just then, as a debugger or a container that is frozen does, the child goes on
/// before, and so without strace, to its end.
#[derive(Debug)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// Whether strace did its work, as far as it told on standard error, where it writes between the lines of its program.
///
/// # Errors
///
/// What it told.
pub fn worked(stderr: &str) -> Result<(), Broken> {
    match stderr.lines().find(|line| line.starts_with("strace: ")) {
        Some(line) => Err(Broken(line.into())),
        None => Ok(()),
    }
}

/// Does something with strace, and anew where strace broke down, a few times.
///
/// # Errors
///
/// Whatever `attempt` gives that is not [`Broken`], and that too in the end.
pub fn insist<R>(mut attempt: impl FnMut() -> Result<R, Error>) -> Result<R, Error> {
    let mut tries = 1;
    loop {
        match attempt() {
            Err(error) if error.is::<Broken>() && tries < TRIES => {
                eprintln!("once more: {error}");
                tries += 1;
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_is_told_from_the_program_that_it_runs() {
        assert!(worked("").is_ok());
        assert!(worked("cjp2p-get: warning: strace: what\ncjp2p-get: strace: is this\n").is_ok());
        for line in [
            "strace: Unexpected wait status 0x100: No such file or directory",
            "strace: attach: ptrace(PTRACE_SEIZE, 7): Operation not permitted",
        ] {
            assert_eq!(worked(line).unwrap_err().to_string(), line);
            assert_eq!(worked(&format!("cjp2p-get: first\n{line}\n")).unwrap_err().to_string(), line);
        }
    }

    #[test]
    fn what_strace_broke_is_done_again_a_few_times_and_nothing_else_is() {
        let runs = |broken: usize, error: fn() -> Error| {
            let mut runs = 0;
            let result = insist(|| {
                runs += 1;
                if runs <= broken { Err(error()) } else { Ok(runs) }
            });
            (runs, result.ok())
        };
        let broken: fn() -> Error = || worked("strace: oh\n").unwrap_err().into();
        assert_eq!(runs(0, broken), (1, Some(1)));
        assert_eq!(runs(TRIES - 1, broken), (TRIES, Some(TRIES)));
        assert_eq!(runs(TRIES, broken), (TRIES, None));
        assert_eq!(runs(1, || "it hangs".into()), (1, None));
    }
}
