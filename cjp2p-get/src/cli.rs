//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::args::{
    DhtArgs, FramingArgs, LanArgs, ListenArgs, LockMode, LogArgs, PeerArgs, ProgressArgs, SandboxArgs,
    StateArgs,
};
use cjp2p_cli::duration;
use cjp2p_io::listen::Listen;
use cjp2p_io::peer_name::PeerName;
use clap::Parser;

use crate::ranges::RangeArg;
use crate::stream_args::StreamArgs;
use crate::torrent_args::TorrentArgs;

/// The tool's name, before each line on standard error.
pub(crate) const TOOL: &str = "cjp2p-get";

/// Where to listen if nothing is said: nobody needs to find a getter again that is gone when it is done.
pub(crate) const ANYWHERE: Listen = Listen::Everywhere { port: 0 };

const EXAMPLES: &str = "\
Examples:
  cjp2p-get blake3/... | tar x              use what comes while the rest is on its way
  cjp2p-get blake3/... -o film.mkv          a file; the same command resumes it
  cjp2p-get folder/HEX -o DIR               a folder; the same command brings it up to date
  cjp2p-get latest/KEY/photos -o photos     the newest of what has a name; --watch follows it
  cjp2p-get stream/KEY/cam | mpv -          a live stream
  cjp2p-get 'ID#peer=HOST' > FILE           from a peer that you know, named beside the id

Exit status: 0 done, 1 failed, 2 wrong command line, 3 no peer has it, 4 it came to a stop, 5 what
came does not match the id, 6 another process fetches it, 7 the destination cannot be written,
8 withdrawn, 9 nothing newer; 129, 130, 143 ended by HUP, INT, TERM, 141 the reader is gone.

The manual has more: docs/cjp2p-get.md";

/// Fetches content by id, from all peers that have it, and verifies every byte before it passes it on
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// blake3/HEX, HEX of sha256sum, CID, folder/..., latest/..., stream/...; - is stdin
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,

    /// Write to this file or folder [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write to DIR/ID, below a shared folder
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub(crate) into: Option<PathBuf>,

    /// Fetch only these bytes: 0-499, 500-, -500, 4G+1M (repeatable)
    #[arg(long = "range", value_name = "RANGE", allow_hyphen_values = true)]
    #[arg(value_parser = RangeArg::parse)]
    pub(crate) ranges: Vec<RangeArg>,

    /// Fetch even if the file is there, and replace it
    #[arg(long)]
    pub(crate) force: bool,

    /// Fetch plain names too, whose content cannot be verified
    #[arg(long)]
    pub(crate) unverified: bool,

    /// With -, standard input may hold no id at all
    #[arg(long, hide = true)]
    pub(crate) allow_empty: bool,

    /// With latest/..., end with 9 where the same command has fetched this version before
    #[arg(long, hide = true)]
    pub(crate) if_newer: bool,

    /// With latest/..., stay, and fetch each new version
    #[arg(long, hide = true, conflicts_with = "if_newer")]
    pub(crate) watch: bool,

    /// Be the process that finds out, for another one, what the name stands for
    #[arg(long, hide = true)]
    pub(crate) resolve_name: bool,

    /// End with the process that started this one
    #[arg(long, hide = true)]
    pub(crate) end_with_parent: bool,

    /// A peer that was found to know what is wanted
    #[arg(long = "known-peer", value_name = "ADDR", hide = true)]
    pub(crate) known_peers: Vec<SocketAddr>,

    /// Answer no requests meanwhile
    #[arg(long)]
    pub(crate) no_share: bool,

    /// Fail if no peer has sent any of it after TIME
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// Fail if no new data arrives for TIME [default: 10s; of streams 30s]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) stall: Option<Duration>,

    /// If another process fetches it: wait, skip or fail [default: fail]
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true)]
    pub(crate) lock: Option<LockMode>,

    /// Keep content that is verified as a whole here until it goes to standard output [default: $TMPDIR]
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) temp_dir: Option<PathBuf>,

    /// Print the outcome of each id as JSON; needs -o or --into
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) folder: FolderArgs,

    #[command(flatten)]
    pub(crate) stream: StreamArgs,

    #[command(flatten)]
    pub(crate) torrent: TorrentArgs,

    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// Contact this peer and no other (repeatable)
    #[arg(long = "only-peer", value_name = "ADDR", conflicts_with = "peers")]
    pub(crate) only_peers: Vec<PeerName>,

    #[command(flatten)]
    pub(crate) lan: LanArgs,

    #[command(flatten)]
    pub(crate) dht: DhtArgs,

    #[command(flatten)]
    pub(crate) framing: FramingArgs,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    #[command(flatten)]
    pub(crate) progress: ProgressArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What is only for folders.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct FolderArgs {
    /// Print what is in a folder, with sizes and ids
    #[arg(long)]
    pub(crate) list: bool,

    /// Of a list, only what is at this path, which may be missing: how this program looks into folders for itself
    #[arg(long, value_name = "PATH", hide = true, requires = "list")]
    pub(crate) look_up: Option<String>,

    /// Only this of a folder: '*.jpg', 'raw/*.dng', 'raw' (repeatable)
    #[arg(long = "file", value_name = "GLOB")]
    pub(crate) files: Vec<String>,

    /// Remove what a folder has no more; --dry-run tells what
    #[arg(long, conflicts_with = "files")]
    pub(crate) delete: bool,

    /// Keep what is replaced or removed below this folder
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) backup: Option<PathBuf>,

    /// Print what would be done, and do nothing
    #[arg(long, hide = true)]
    pub(crate) dry_run: bool,

    /// Hash the files that are there, whatever is remembered of them
    #[arg(long, hide = true)]
    pub(crate) checksum: bool,

    /// Take links that lead out of the folder too
    #[arg(long, value_name = "WHAT", value_enum, hide = true)]
    pub(crate) links: Option<Links>,
}

impl FolderArgs {
    /// The first option that was given.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        let given =
            [("--list", self.list), ("--file", !self.files.is_empty()), ("--links", self.links.is_some())];
        given.into_iter().chain(self.for_disk()).find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }

    /// The first option that was given and is only for folders on this disk.
    pub(crate) fn first_for_disk(&self) -> Option<&'static str> {
        self.for_disk().into_iter().find(|(_, is_given)| *is_given).map(|(option, _)| option)
    }

    fn for_disk(&self) -> [(&'static str, bool); 4] {
        [
            ("--delete", self.delete),
            ("--backup", self.backup.is_some()),
            ("--dry-run", self.dry_run),
            ("--checksum", self.checksum),
        ]
    }
}

/// Which links are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Links {
    /// All of them.
    Any,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
