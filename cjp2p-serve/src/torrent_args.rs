//! The part of the command line that is about torrents.

use std::path::PathBuf;

/// What is only for torrents.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct TorrentArgs {
    /// Seed this torrent too, whose files are in DIR by its name (repeatable)
    #[arg(long = "torrent", value_name = "FILE", requires = "paths")]
    pub(crate) torrents: Vec<PathBuf>,

    /// Seed each entry of DIR as a torrent too, and print its magnet link
    #[arg(long, requires = "paths", hide = true)]
    pub(crate) magnets: bool,

    /// Tell this tracker of all torrents, before their own (repeatable)
    #[arg(long = "tracker", value_name = "URL", requires = "paths", hide = true)]
    pub(crate) trackers: Vec<String>,

    /// Peers of torrents that others name may be in private networks
    #[arg(long, hide = true)]
    pub(crate) allow_private: bool,
}

impl TorrentArgs {
    /// Whether there is any torrent.
    pub(crate) fn is_used(&self) -> bool {
        !self.torrents.is_empty() || self.magnets
    }
}
