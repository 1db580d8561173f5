//! The part of the command line that is about torrents.

use std::time::Duration;

use cjp2p_cli::duration;

/// What is only for torrents.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct TorrentArgs {
    /// Of a torrent, fetch what matches GLOB before the rest: '*.nfo:9' (repeatable)
    #[arg(long = "priority", value_name = "GLOB:NUMBER", hide = true)]
    pub(crate) priorities: Vec<String>,

    /// Give a torrent to others for TIME once it is here
    #[arg(long, value_name = "TIME", value_parser = duration::parse, hide = true)]
    pub(crate) seed_for: Option<Duration>,

    /// Give a torrent to others until so many copies of what was fetched were sent
    #[arg(long, value_name = "NUMBER", value_parser = parse_ratio, hide = true)]
    pub(crate) seed_ratio: Option<f64>,

    /// Ask this tracker for peers of a torrent, before its own (repeatable)
    #[arg(long = "tracker", value_name = "URL", hide = true)]
    pub(crate) trackers: Vec<String>,

    /// Peers that others name may be in private networks
    #[arg(long, hide = true)]
    pub(crate) allow_private: bool,
}

fn parse_ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio: &f64| ratio.is_finite() && *ratio >= 0.0);
    ratio.ok_or_else(|| format!("{text:?} is no number of copies, such as 1.5"))
}

impl TorrentArgs {
    /// The first option that was given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--priority", !self.priorities.is_empty()),
            ("--seed-for", self.seed_for.is_some()),
            ("--seed-ratio", self.seed_ratio.is_some()),
            ("--tracker", !self.trackers.is_empty()),
            ("--allow-private", self.allow_private),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }
}
