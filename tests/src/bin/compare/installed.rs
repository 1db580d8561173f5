//! The programs of others: which are installed, and in which versions.

use std::cell::OnceCell;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use cjp2p_tests::lab::Error;

/// The program that moves a torrent.
pub(crate) const TORRENT: &str = include_str!("torrent.py");

/// Where a program may lie beside the folders of `PATH`: users' shells often leave these out.
const MORE_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Why something cannot be measured here: nothing failed, but a program or a right is missing.
#[derive(Clone, Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Missing {}

/// The programs of others that are installed.
#[derive(Default)]
pub(crate) struct Others {
    python: OnceCell<Option<PathBuf>>,
}

impl Others {
    /// Where a program is.
    ///
    /// # Errors
    ///
    /// Where it is not installed.
    pub(crate) fn find(&self, name: &str) -> Result<PathBuf, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(MORE_FOLDERS.map(PathBuf::from));
        let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
        found.ok_or_else(|| Missing(format!("{name} is not installed")).into())
    }

    /// A Python that has libtorrent: the first in the path, or that of the system.
    pub(crate) fn python(&self) -> Result<PathBuf, Error> {
        let has_it = |python: &PathBuf| {
            let asked = Command::new(python).args(["-c", "import libtorrent"]).stderr(Stdio::null()).status();
            asked.is_ok_and(|status| status.success())
        };
        let all = || self.find("python3").ok().into_iter().chain([PathBuf::from("/usr/bin/python3")]);
        let found = self.python.get_or_init(|| all().find(has_it));
        found.clone().ok_or_else(|| Missing("no python3 has the module libtorrent".into()).into())
    }

    /// The versions of those that are installed, and which are not.
    pub(crate) fn versions(&self) -> String {
        let ask = |name: &str, argument: &str| {
            let said = self.find(name).ok().and_then(|path| Command::new(path).arg(argument).output().ok());
            let Some(said) = said else {
                return format!("no {name}");
            };
            let text = [said.stdout, said.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            // "nginx version: nginx/1.22.1", "curl 7.88.1 (...)"
            let mut words = text.split_whitespace().filter_map(|word| word.rsplit('/').next());
            let version =
                words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
            format!("{name} {}", version.unwrap_or("of unknown version"))
        };
        let torrent = self.python().ok().and_then(|python| {
            let said = Command::new(python).args(["-c", TORRENT, "version"]).output().ok()?;
            Some(format!("libtorrent {}", String::from_utf8_lossy(&said.stdout).trim()))
        });
        [
            ask("nginx", "-v"),
            ask("curl", "--version"),
            torrent.unwrap_or_else(|| "no libtorrent for Python".into()),
            ask("aria2c", "--version"),
            ask("b3sum", "--version"),
            ask("openssl", "version"),
            ask("sha256sum", "--version"),
            ask("rsync", "--version"),
        ]
        .join(", ")
    }
}
