//! The tool, run on a state folder of its own.

#![allow(clippy::unwrap_used, reason = "clippy excuses tests, but not their helpers")]

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A state folder, removed when dropped.
pub(crate) struct Bench {
    pub(crate) state: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        Bench { state: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cjp2p-peers"));
        command
            .env("CJP2P_BOOTSTRAP", "")
            .env("CJP2P_NO_LAN", "1")
            .env("CJP2P_STATE_DIR", self.state.path())
            .env_remove("RUST_LOG")
            .args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }
}
