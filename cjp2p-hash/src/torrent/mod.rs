//! Torrents: makes metainfo, prints magnets, checks files against metainfo.

pub(crate) mod check;
pub(crate) mod make;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_torrent::magnet::Magnet;
use cjp2p_torrent::metainfo::{MAX_METAINFO, Metainfo};
use serde::Serialize;

use crate::files::Trouble;
use crate::output::{Output, complain};

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
