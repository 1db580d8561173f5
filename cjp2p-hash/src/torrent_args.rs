//! The part of the command line that is about torrents.

use std::ffi::OsString;
use std::path::PathBuf;

use cjp2p_cli::size;
use cjp2p_torrent::metainfo::is_url;
use cjp2p_torrent::pieces::{BLOCK, MAX_PIECE};

/// What is only for torrents.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct TorrentArgs {
    /// Make a torrent of FILE, a file or folder; print its magnet link
    #[arg(long, value_name = "TORRENT", help_heading = "Torrents")]
    #[arg(conflicts_with_all = ["algorithm", "tree", "recursive", "folder", "null", "files_from", "check", "magnet"])]
    pub(crate) write_torrent: Option<PathBuf>,

    /// Print the magnet link of each torrent
    #[arg(long, help_heading = "Torrents")]
    #[arg(conflicts_with_all = ["algorithm", "tree", "recursive", "folder", "null", "files_from", "check"])]
    pub(crate) magnet: bool,

    /// With -c, check the files of this torrent below the folder FILE
    #[arg(long, value_name = "TORRENT", requires = "check", help_heading = "Torrents")]
    #[arg(conflicts_with_all = ["algorithm", "null", "strict", "warn"])]
    pub(crate) torrent: Option<OsString>,

    /// Where peers ask for each other; one more is asked where the one before it fails (repeatable)
    #[arg(long = "tracker", value_name = "URL", requires = "write_torrent", hide = true)]
    #[arg(value_parser = parse_tracker)]
    pub(crate) trackers: Vec<String>,

    /// Where the files can be had by HTTP (repeatable)
    #[arg(long = "webseed", alias = "web-seed", value_name = "URL", requires = "write_torrent", hide = true)]
    #[arg(value_parser = parse_web_seed)]
    pub(crate) web_seeds: Vec<String>,

    /// Bytes of a piece, a power of two
    #[arg(long, value_name = "SIZE", requires = "write_torrent", hide = true)]
    #[arg(value_parser = parse_piece_length)]
    pub(crate) piece_length: Option<u32>,

    /// Let peers be found by trackers only
    #[arg(long, requires = "write_torrent", hide = true)]
    pub(crate) private: bool,

    /// Replace the file TORRENT
    #[arg(long, requires = "write_torrent", hide = true)]
    pub(crate) force: bool,
}

fn parse_tracker(text: &str) -> Result<String, String> {
    parse_url(text, &["http://", "https://", "udp://"])
}

fn parse_web_seed(text: &str) -> Result<String, String> {
    parse_url(text, &["http://", "https://"])
}

fn parse_url(text: &str, schemes: &[&str]) -> Result<String, String> {
    let starts = |scheme: &&str| {
        text.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme) && text.len() > scheme.len())
    };
    if is_url(text) && schemes.iter().any(starts) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no URL that begins with {}", schemes.join(" or ")))
}

fn parse_piece_length(text: &str) -> Result<u32, String> {
    let length = u32::try_from(size::parse(text)?).ok();
    length
        .filter(|length| length.is_power_of_two() && (BLOCK..=MAX_PIECE).contains(length))
        .ok_or_else(|| format!("{text:?} is no power of two from 16K to 256M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_urls_that_somebody_can_use_are_taken() {
        assert!(parse_tracker("udp://t:1/announce").is_ok() && parse_tracker("HTTP://t/").is_ok());
        for text in ["", "t", "http://", "ftp://t/", "http://a b/", "http://é/"] {
            assert!(parse_tracker(text).is_err(), "{text}");
        }
        assert!(parse_web_seed("udp://t:1/").is_err());
    }

    #[test]
    fn pieces_have_a_power_of_two_within_bounds() {
        assert_eq!(parse_piece_length("16K"), Ok(16 << 10));
        assert_eq!(parse_piece_length("256M"), Ok(256 << 20));
        for text in ["8K", "512M", "100K", "0", "x", "5G"] {
            assert!(parse_piece_length(text).is_err(), "{text}");
        }
    }
}
