//! What torrent the command line names: a file with metainfo, or a magnet link.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use cjp2p_cli::ToolError;
use cjp2p_io::names::shown;
use cjp2p_torrent::info_hash::InfoHash;
use cjp2p_torrent::magnet::Magnet;
use cjp2p_torrent::metainfo::{MAX_METAINFO, Metainfo};

/// See the [module](self).
pub(crate) enum Given {
    /// Everything is known.
    Metainfo(Box<Metainfo>),
    /// The files are to be asked of peers.
    Magnet(Box<Magnet>),
}

/// Whether an argument names a torrent: a magnet link, or a file that is there and whose name ends with `.torrent`.
pub(crate) fn is_meant(argument: &str) -> bool {
    Magnet::is_meant(argument) || (argument.ends_with(".torrent") && Path::new(argument).is_file())
}

impl Given {
    /// Reads what the argument names.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is nothing of that kind.
    pub(crate) fn read(argument: &str) -> Result<Given, ToolError> {
        if Magnet::is_meant(argument) {
            let magnet = argument.parse().map_err(|error| ToolError::usage(format!("{error}")))?;
            return Ok(Given::Magnet(Box::new(magnet)));
        }
        let failed = |error: io::Error| ToolError::failure(format!("{}: {error}", shown(argument)));
        let mut bytes = Vec::new();
        let file = File::open(argument).map_err(failed)?;
        file.take(MAX_METAINFO as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        let metainfo = Metainfo::parse(&bytes);
        let metainfo =
            metainfo.map_err(|error| ToolError::failure(format!("{}: {error}", shown(argument))))?;
        Ok(Given::Metainfo(Box::new(metainfo)))
    }

    /// Which torrent it is.
    pub(crate) fn info_hash(&self) -> InfoHash {
        match self {
            Given::Metainfo(metainfo) => metainfo.info.hash(),
            Given::Magnet(magnet) => magnet.info_hash,
        }
    }

    /// The trackers in tiers: those of a magnet are each in one of their own.
    pub(crate) fn trackers(&self) -> Vec<Vec<String>> {
        match self {
            Given::Metainfo(metainfo) => metainfo.trackers.clone(),
            Given::Magnet(magnet) => magnet.trackers.iter().map(|url| vec![url.clone()]).collect(),
        }
    }
}
