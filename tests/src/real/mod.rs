//! The real binaries on loopback, and hosts of the simulation on real sockets beside them.

pub mod host;
pub mod igd;
pub mod server;
pub mod strace;
pub mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
        .env_remove("RUST_LOG")
        .stdin(std::process::Stdio::null());
    command
}
