//! The command line.

use std::path::PathBuf;

use cjp2p_wire::tool::args::{LogArgs, PeerName, StateArgs};
use clap::{Parser, Subcommand};

/// The tool's name, before each line on standard error.
pub(crate) const TOOL: &str = "cjp2p-peers";

const EXAMPLES: &str = "\
Examples:
  Who is known, and how far away they are:
    cjp2p-peers | jq -r '.[] | [.address, .round_trip_ms] | @tsv'
  Start with a peer of your own:
    cjp2p-peers add peer.example.org 192.0.2.7:24254
  Forget whom nobody has heard from since yesterday:
    cjp2p-peers | jq 'map(select(.last_heard_ms > (now - 86400) * 1000))' | cjp2p-peers set -
  The same with line tools:
    cjp2p-peers --lines | grep '\"verified\":true' | cjp2p-peers set -

Exit status: 0 done, 1 failed (nothing was changed), 2 wrong command line,
7 standard output cannot be written.";

/// Prints and edits the table of known peers, which all cjp2p tools share
///
/// Without a command, the table is printed as a JSON array.
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_long_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Print one object per line instead of an array
    #[arg(long, visible_alias = "json")]
    pub(crate) lines: bool,

    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Add peers to the table
    ///
    /// They are suggestions until a tool has heard from them. A host name is looked up now; the table holds addresses.
    Add {
        /// Addresses or host names, with a port if it is not 24254
        #[arg(required = true, value_name = "ADDR")]
        peers: Vec<PeerName>,
    },
    /// Remove peers from the table
    Remove {
        /// Addresses or host names, with a port if it is not 24254
        #[arg(required = true, value_name = "ADDR")]
        peers: Vec<PeerName>,
    },
    /// Replace the table by JSON: what this tool prints, after an edit
    ///
    /// Where anything in it is wrong, nothing is changed. Empty input is wrong too: it is what a failed filter leaves. To
    /// empty the table, give it [].
    Set {
        /// A file, or - for standard input
        #[arg(value_name = "FILE")]
        input: PathBuf,
    },
}
