//! Running the tool, for all of its tests.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses some of it")]

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

/// BLAKE3 and SHA-256 of "hi".
pub const HI_BLAKE3: &str = "85052e9aab1b67b6622d94a08441b09fd5b7aca61ee360416d70de5da67d86ca";
pub const HI_SHA256: &str = "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4";
pub const HI_CID: &str = "bafkr4iefauxjvky3m63gelmuuccedme72w32zjq64nqec3lq3zo2m7mgzi";

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn tool(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("cjp2p-hash").unwrap();
    command.current_dir(folder).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

pub fn run<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Output {
    tool(folder).args(args).output().unwrap()
}

pub fn sha256sum<S: AsRef<OsStr>>(folder: &Path, args: &[S]) -> Output {
    Command::new("sha256sum").current_dir(folder).args(args).env("LC_ALL", "C").output().unwrap()
}

/// Runs with `input` on standard input.
pub fn pipe(mut command: Command, input: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    text(&output.stdout)
}

/// What the tool says on one line of standard error, after its name.
pub fn complaint(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    stderr.trim_end().strip_prefix("cjp2p-hash: ").unwrap().to_owned()
}
