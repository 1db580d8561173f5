//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use cjp2p_cli::progress::ProgressMode;
use clap::{Parser, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  cjp2p-hash film.mkv                       print the id that cjp2p-get takes
  cjp2p-get \"$(cjp2p-hash film.mkv | cut -d' ' -f1)\"
  cjp2p-hash -r share > LIST                ids of all files in a folder
  cjp2p-hash -c --quiet LIST && echo same   check them, also lists of sha256sum and b3sum
  cjp2p-hash -a all --json film.mkv         every spelling, for jq
  find . -size +1G -print0 | cjp2p-hash -0 --files-from -
  tar c share | cjp2p-hash                  hash a stream

Exit status: 0 done, 1 a file could not be read or did not match, 2 wrong command line, 7 output
cannot be written.";

/// Prints the content ids of files, or checks files against lists of ids
#[derive(Parser, Debug)]
#[command(name = "cjp2p-hash", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Args {
    /// Files to hash, or lists to check with -c; `-`, or none, is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<OsString>,

    /// What to print; with -c, what the lists' bare hex digits are [default: blake3; with -c, either hash]
    #[arg(short, long, value_name = "WHAT")]
    pub(crate) algorithm: Option<Algorithm>,

    /// Write the hash tree of each file into this folder, named by the hex digits of its id
    #[arg(long, value_name = "DIR", conflicts_with = "check")]
    pub(crate) tree: Option<PathBuf>,

    /// Hash the regular files in folders too, sorted by name: those that cjp2p-serve shares, so no dot-files, downloads in progress
    /// and symbolic links
    #[arg(short, long, conflicts_with = "check")]
    pub(crate) recursive: bool,

    /// With -r, take dot-files and dot-folders too, as cjp2p-serve --hidden does
    #[arg(long, requires = "recursive")]
    pub(crate) hidden: bool,

    /// Lines printed and lists read end with NUL, and names are not escaped
    #[arg(short = '0', short_alias = 'z', long, alias = "zero")]
    pub(crate) null: bool,

    /// Take the names of the files from LIST, one to a line; `-` is standard input
    #[arg(long, value_name = "LIST", conflicts_with_all = ["files", "check"])]
    pub(crate) files_from: Option<PathBuf>,

    /// Print one JSON object for each file
    #[arg(long)]
    pub(crate) json: bool,

    /// Read lists of ids and names, and check these files
    #[arg(short, long, help_heading = "Checking")]
    pub(crate) check: bool,

    /// Pass over files that do not exist
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) ignore_missing: bool,

    /// Print nothing about the files that are right
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) quiet: bool,

    /// Print nothing: the exit status tells
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) status: bool,

    /// Fail where a line of a list cannot be understood
    #[arg(long, requires = "check", help_heading = "Checking")]
    pub(crate) strict: bool,

    /// Name the lines that cannot be understood
    #[arg(short, long, requires = "check", help_heading = "Checking")]
    pub(crate) warn: bool,

    /// When and how to show progress on standard error
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) progress: ProgressMode,

    /// Tell more on standard error; twice, even more
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
