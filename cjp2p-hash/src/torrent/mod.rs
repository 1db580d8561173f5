//! Torrents: makes metainfo, prints magnets, checks files against metainfo.

pub(crate) mod check;
pub(crate) mod make;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};

use cjp2p_cli::{Exit, ToolError, size};
use cjp2p_torrent::magnet::Magnet;
use cjp2p_torrent::metainfo::{MAX_METAINFO, Metainfo};
use cjp2p_torrent::pieces::{BLOCK, MAX_PIECE};
use serde::Serialize;

use crate::files::Trouble;
use crate::output::{Output, complain};

/// What is only for torrents.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct TorrentArgs {
    /// Make a torrent of FILE, a file or folder; print its magnet link
    #[arg(long, value_name = "TORRENT", help_heading = "Torrents")]
    #[arg(conflicts_with_all = ["algorithm", "tree", "recursive", "folder", "null", "files_from", "check", "magnet"])]
    pub(crate) write_torrent: Option<std::path::PathBuf>,

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
    if cjp2p_torrent::metainfo::is_url(text) && schemes.iter().any(starts) {
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

/// Reads the file `name`, which holds metainfo; `-` is standard input.
fn read(name: &OsStr) -> Result<Metainfo, Trouble> {
    let wrong = |error: io::Error| Trouble::new(name, error);
    let input: Box<dyn Read> = match name == "-" {
        true => Box::new(cjp2p_cli::stdin::open().map_err(wrong)?),
        false => Box::new(File::open(name).map_err(wrong)?),
    };
    let mut bytes = Vec::new();
    input.take(MAX_METAINFO as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    Metainfo::parse(&bytes)
        .map_err(|error| wrong(io::Error::new(io::ErrorKind::InvalidData, error.to_string())))
}

/// A torrent, in JSON.
#[derive(Serialize)]
struct JsonTorrent {
    torrent: String,
    info_hash: String,
    magnet: String,
    name: String,
    length: u64,
    piece_length: u32,
    pieces: u32,
    files: usize,
    private: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Prints the magnet of a torrent.
fn print(path: &OsStr, metainfo: &Metainfo, json: bool, output: &mut Output) -> Result<(), ToolError> {
    let (info, magnet) = (&metainfo.info, Magnet::of(metainfo).to_string());
    if !json {
        return output.lines(format!("{magnet}\n").as_bytes());
    }
    output.json(&JsonTorrent {
        torrent: path.to_string_lossy().into_owned(),
        info_hash: info.hash().to_string(),
        magnet,
        name: String::from_utf8_lossy(info.name().as_bytes()).into_owned(),
        length: info.len(),
        piece_length: info.pieces().piece_length(),
        pieces: info.pieces().count(),
        files: info.layout().files().iter().filter(|file| file.is_written()).count(),
        private: info.is_private(),
        id: metainfo.content.as_ref().map(ToString::to_string),
    })
}

/// Prints the magnets of the torrents in these files.
pub(crate) fn print_magnets(
    mut files: Vec<OsString>,
    json: bool,
    output: &mut Output,
) -> Result<Exit, ToolError> {
    if files.is_empty() {
        files.push("-".into());
    }
    let mut exit = Exit::Done;
    for file in files {
        match read(&file) {
            Ok(metainfo) => print(&file, &metainfo, json, output)?,
            Err(trouble) => {
                complain(trouble);
                exit = Exit::Failure;
            }
        }
    }
    Ok(exit)
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
