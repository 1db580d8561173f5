//! A torrent of a few files, for tests of the real programs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::server::Server;
use super::tool;
use crate::content;

/// A folder with a torrent `album` in `share`, whose files share pieces, and its metainfo `t.torrent`.
pub struct Album {
    /// Where all is.
    pub folder: tempfile::TempDir,
    /// As cjp2p-hash prints it.
    pub magnet: String,
}

/// Names and lengths.
pub const FILES: [(&str, usize); 5] =
    [("a", 900_000), ("empty", 0), ("sub/b", 70_001), ("sub/c.nfo", 12), ("z", 2_000_000)];

impl Album {
    /// A new one, with pieces of 32 KiB.
    ///
    /// # Panics
    ///
    /// Where it cannot be made.
    #[allow(clippy::new_without_default, reason = "it writes to the disk")]
    pub fn new() -> Album {
        let folder = tempfile::tempdir().expect("it works");
        fs::create_dir_all(folder.path().join("share/album/sub")).expect("it works");
        for (seed, (name, length)) in FILES.iter().enumerate() {
            fs::write(folder.path().join("share/album").join(name), content::bytes(seed as u64, *length))
                .expect("it works");
        }
        let mut hash = tool("cjp2p-hash", &folder.path().join("state"));
        let made = hash.args(["--write-torrent", "t.torrent", "share/album", "--piece-length", "32K"]);
        let made = made.current_dir(folder.path()).output().expect("it works");
        assert!(made.status.success(), "{made:?}");
        Album { magnet: String::from_utf8(made.stdout).expect("it works").trim().to_owned(), folder }
    }

    /// Something in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server that seeds it, once all is hashed that is to be.
    ///
    /// # Panics
    ///
    /// Where it does not.
    pub fn seed(&self) -> Server {
        let torrent = self.path("t.torrent");
        let arguments = ["--torrent", torrent.to_str().expect("it works")];
        let mut server = Server::start(&self.path("share"), &self.path("serve"), &arguments);
        if !server.events.iter().any(|event| event["event"] == "torrent") {
            server.wait_for("torrent");
        }
        server
    }

    /// A getter that knows this server, working in the folder.
    ///
    /// # Panics
    ///
    /// Where the server seeds nothing.
    pub fn get(&self, server: &Server, arguments: &[&str]) -> Command {
        let listening = &server.events[0];
        let peer = format!("--peer=bt:{}", listening["torrent_address"].as_str().expect("it works"));
        let mut get = tool("cjp2p-get", &self.path("get"));
        get.current_dir(self.folder.path())
            .arg(peer)
            .args(["--listen", "127.0.0.1:0", "--quiet"])
            .args(arguments);
        get
    }

    /// Whether the files below this folder are those of the torrent, and nothing else is there.
    ///
    /// # Panics
    ///
    /// Where there is no such folder.
    pub fn is_there(&self, folder: &str) -> bool {
        let all = FILES.iter().all(|(name, _)| {
            let read = |folder: &str| fs::read(self.path(folder).join("album").join(name)).ok();
            read(folder).is_some() && read(folder) == read("share")
        });
        all && fs::read_dir(self.path(folder)).expect("it works").count() == 1
    }
}
