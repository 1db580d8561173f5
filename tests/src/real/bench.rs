//! A folder to share, and folders for the state of a server and of a getter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;

use super::server::Server;
use super::tool;
use crate::lab::scratch::in_memory;

/// What the real programs need to share with each other, in a folder that is removed with it.
pub struct Bench {
    folder: TempDir,
}

impl Bench {
    /// Folders in memory: each finished file is brought to the disk, and that is not tested here.
    ///
    /// # Panics
    ///
    /// Where they cannot be made.
    #[allow(clippy::new_without_default, reason = "it makes folders")]
    pub fn new() -> Bench {
        let folder = in_memory().expect("a folder");
        for name in ["share", "serve-state", "get-state"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        Bench { folder }
    }

    /// The folder that holds all others.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file into the share.
    ///
    /// # Panics
    ///
    /// Where it cannot be written.
    pub fn share(&self, name: &str, bytes: &[u8]) {
        let path = self.path("share").join(name);
        fs::create_dir_all(path.parent().expect("it lies in the share")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    /// A server that shares all of it.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn serve(&self, arguments: &[&str]) -> Server {
        Server::start(&self.path("share"), &self.path("serve-state"), arguments)
    }

    /// What becomes of a fetch from this peer.
    ///
    /// # Panics
    ///
    /// Where it does not start.
    pub fn get(&self, peer: &str, arguments: &[&str]) -> Output {
        tool("cjp2p-get", &self.path("get-state"))
            .args(["--quiet", "--peer", peer])
            .args(arguments)
            .current_dir(self.folder())
            .output()
            .expect("cjp2p-get runs")
    }
}
