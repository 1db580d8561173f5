//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use cjp2p_cli::progress::ProgressMode;
use clap::{ArgGroup, Parser, ValueEnum};

use crate::torrent_args::TorrentArgs;

const EXAMPLES: &str = "\
Examples:
  cjp2p-hash film.mkv                       print the id that cjp2p-get takes
  cjp2p-get \"$(cjp2p-hash film.mkv | cut -d' ' -f1)\"
  cjp2p-hash -r share > LIST                ids of all files in a folder
  cjp2p-hash --folder share                 the id of the folder too, by which cjp2p-get recreates it
  cjp2p-hash -c --quiet LIST && echo same   check them, also lists of sha256sum and b3sum
  cjp2p-hash -a all --json film.mkv         every spelling, for jq
  find . -size +1G -print0 | cjp2p-hash -0 --files-from -
  tar c share | cjp2p-hash                  hash a stream

Exit status: 0 done, 1 a file could not be read or did not match, 2 wrong command line, 7 output
cannot be written.

The manual has more: docs/cjp2p-hash.md";

/// Prints the content ids of files, or checks files against lists of ids
#[derive(Parser, Debug)]
#[command(name = "cjp2p-hash", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(group = ArgGroup::new("looks_into_folders").args(["recursive", "folder", "check", "write_torrent"]).multiple(true))]
pub(crate) struct Args {
    /// Files to hash, or lists to check with -c; -, or none, is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<OsString>,

    /// Print this id: blake3, sha256, cid or all [default: blake3]
    #[arg(short, long, value_name = "WHAT", hide_possible_values = true)]
    pub(crate) algorithm: Option<Algorithm>,

    /// Write the hash tree of each file into this folder
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pub(crate) tree: Option<PathBuf>,

    /// Hash the files in folders too: those that cjp2p-serve shares
    #[arg(short, long, conflicts_with = "check")]
    pub(crate) recursive: bool,

    /// Print the id of each folder, then those of the files in it
    #[arg(long, conflicts_with_all = ["algorithm", "check", "files_from", "recursive", "tree"])]
    pub(crate) folder: bool,

    /// With --folder, make times part of the id
    #[arg(long, requires = "folder")]
    pub(crate) times: bool,

    /// With -r, --folder or --write-torrent, take dot-files and dot-folders too
    #[arg(long, requires = "looks_into_folders")]
    pub(crate) hidden: bool,

    /// End lines with NUL, in lists too, and escape no names
    #[arg(short = '0', short_alias = 'z', long, alias = "zero")]
    pub(crate) null: bool,

    /// Read the names of the files from LIST; - is standard input
    #[arg(long, value_name = "LIST", conflicts_with_all = ["files", "check"])]
    pub(crate) files_from: Option<PathBuf>,

    /// Print one JSON object for each file
    #[arg(long)]
    pub(crate) json: bool,

    /// Check the files in lists of ids and names
    #[arg(short, long, help_heading = "Checking")]
    pub(crate) check: bool,

    /// Skip files that do not exist
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) ignore_missing: bool,

    /// Print nothing about the files that are right
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) quiet: bool,

    /// Print nothing; the exit status says whether all are right
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) status: bool,

    /// Fail if a line of a list cannot be understood
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) strict: bool,

    /// Name the lines that cannot be understood
    #[arg(short, long, requires = "check", help_heading = "Checking")]
    pub(crate) warn: bool,

    #[command(flatten)]
    pub(crate) torrents: TorrentArgs,

    /// Show progress: auto, always, never or json [default: auto]
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    pub(crate) progress: ProgressMode,

    /// Print more on standard error; twice, even more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Which ids of a file are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    /// `blake3/<hex>`, the id to prefer: verified as it comes
    Blake3,
    /// The SHA-256 in hex, exactly as sha256sum prints it
    Sha256,
    /// The BLAKE3 hash as a CID, bafkr4i...
    Cid,
    /// `blake3/<hex>`, and on a second line the SHA-256, from one read
    All,
}
