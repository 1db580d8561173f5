//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::args::{
    DhtArgs, LanArgs, ListenArgs, LockMode, LogArgs, PeerArgs, ProgressArgs, SandboxArgs, StateArgs,
};
use cjp2p_cli::duration;
use cjp2p_io::peer_name::PeerName;
use clap::Parser;

use crate::ranges::RangeArg;

/// The tool's name, before each line on standard error.
pub(crate) const TOOL: &str = "cjp2p-get";

const EXAMPLES: &str = "\
Examples:
  cjp2p-get blake3/... | tar x              use what comes while the rest is on its way
  cjp2p-get blake3/... -o film.mkv          a file; the same command goes on after an interruption
  cjp2p-get --peer HOST blake3/... > FILE   from a peer that you know
  cjp2p-get blake3/... --range 4G+1M | ...  a MiB from the middle; --range -64K is the last 64 KiB
  cjp2p-get --into cjp2p ID ID ID           several at once, into a shared folder: cjp2p/ID
  cjp2p-hash -r . | ssh there cjp2p-get --peer HOST --into mirror -
                                            all that is listed
  cjp2p-get --lock skip -qq -o FILE ID      from cron: never twice at once; done if it is there;
                                            silent about what is worth another try
  cjp2p-get --json -o FILE ID | jq .path    for scripts

Exit status: 0 done (or there already), 1 failed, 2 wrong command line, 3 no peer had any of it,
4 it came to a stop, 5 what came does not match the id, 6 another process fetches the same file,
7 the destination cannot be written, 8 withdrawn at the source; 129, 130 and 143 where it was ended
by HUP, INT or TERM, 141 where the reader has gone.";

/// Fetches content by id, from all peers that have it, and checks every byte before it is passed on
///
/// Content goes to standard output, or to a file that gets its name only once it is complete and right. blake3/ ids
/// are checked piece by piece and can be used as they come; SHA-256 ids only as a whole, so they are kept in a
/// temporary file until then. While it fetches, it answers requests for what it already has.
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to fetch: blake3/HEX, the HEX of sha256sum, a CID of either, or - for ids on standard input, one to a line
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,

    /// Write to this file; with several ids, or where it is a folder, to FILE/ID [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Write to DIR/ID, a shared folder, with what is unfinished in DIR/incomplete
    #[arg(long, value_name = "DIR", conflicts_with = "output")]
    pub(crate) into: Option<PathBuf>,

    /// Only these bytes, the last one included: 0-499, 500- (to the end), -500 (the last 500), or as a length 4G+1M; the
    /// higher the priority (0 to 255, default 0), the earlier; repeatable
    #[arg(long = "range", value_name = "RANGE[:PRIORITY]", allow_hyphen_values = true)]
    #[arg(value_parser = RangeArg::parse)]
    pub(crate) ranges: Vec<RangeArg>,

    /// Fetch even what is there already, and replace whatever the file holds
    #[arg(long)]
    pub(crate) force: bool,

    /// Fetch plain names too, from the peers that --peer or --only-peer names: nobody can tell whether what comes is right
    #[arg(long)]
    pub(crate) unverified: bool,

    /// With -, take standard input without a single id for a list of nothing, and not for a failure of what should write it
    #[arg(long)]
    pub(crate) allow_empty: bool,

    /// Do not answer requests of others meanwhile
    #[arg(long)]
    pub(crate) no_share: bool,

    /// Give up if no peer has sent any of it after this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// Give up if nothing new comes for this time; while the output is blocked, the clock stands still
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub(crate) stall: Duration,

    /// What to do where another process fetches to the same file already [default: fail]
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) lock: Option<LockMode>,

    /// Where content of SHA-256 ids is kept until it can go to standard output [default: $TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_dir: Option<PathBuf>,

    /// Print what became of each id as JSON, one object per line; needs -o or --into
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// Fetch from this peer alone: nobody else is asked, and nothing is taken from anybody else (repeatable)
    #[arg(long = "only-peer", value_name = "ADDR", conflicts_with = "peers")]
    pub(crate) only_peers: Vec<PeerName>,

    #[command(flatten)]
    pub(crate) lan: LanArgs,

    #[command(flatten)]
    pub(crate) dht: DhtArgs,

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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
