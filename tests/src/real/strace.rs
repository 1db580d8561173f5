//! Looking at the system calls of a program, and having some of them fail, by `strace`.

use std::path::Path;
use std::process::{Command, Stdio};

/// Why that cannot be done here, if so.
pub fn unavailable() -> Option<String> {
    let tried = Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"])
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().into()),
        Err(error) => Some(format!("strace: {error}")),
    }
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
