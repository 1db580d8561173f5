//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::args::{DhtArgs, LanArgs, ListenArgs, LogArgs, PeerArgs, SandboxArgs, StateArgs};
use cjp2p_cli::duration;
use cjp2p_io::lookup::Lookup;
use cjp2p_io::peer_name::PeerName;
use cjp2p_wire::peers::peer::Origin;
use clap::{Args, Parser, Subcommand};

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
  Who is there, nearest first:
    cjp2p-peers ping --json | jq -r 'select(.round_trip_ms) | [.round_trip_ms, .address] | @tsv' | sort -n
  Get to know the network, for a minute at most:
    cjp2p-peers discover --for 1m
  Who has it, nearest first:
    cjp2p-peers find blake3/85052e9a... | jq -r '[.round_trip_ms, .address] | @tsv' | sort -n
  Fetch all that a neighbour shares:
    cjp2p-peers content 192.0.2.7 | cut -f3 | grep ^blake3 | cjp2p-get --peer 192.0.2.7 --into shared -

ping, discover, find and content without ADDR also ask the bootstrap list: two public nodes by
default, or those that CJP2P_BOOTSTRAP names; --no-bootstrap asks none.

Exit status: 0 done, 1 failed (nothing was changed), 2 wrong command line, 3 no peer answered or
has it, 7 standard output cannot be written, 10 not all is listed that a peer shares (content).";

/// Prints and edits the table of known peers, which all cjp2p tools share, and asks the peers in it
///
/// Without a command, the table is printed as a JSON array.
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_long_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Print one JSON object per line, instead of an array or a plain line
    #[arg(long, visible_alias = "json", global = true)]
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
    /// Ask whether peers are there, and print round trips
    ///
    /// Prints the address and the round trip, or "no answer", as it becomes known. A silent peer is asked for five
    /// seconds.
    Ping {
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Ask peers for peers, and those again, until nothing new comes
    ///
    /// Where no ADDR is given, everybody on the local network is asked too.
    ///
    /// Prints the address, the round trip and the origin of everybody who answers, and "new" after those that were not among
    /// the verified peers. They are in the table afterwards.
    Discover {
        /// End after this time, such as 30s or 5m
        #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse)]
        limit: Option<Duration>,

        #[command(flatten)]
        search: SearchArgs,
    },
    /// Ask peers who has some content, and those that they name, without fetching it
    ///
    /// Everybody on the local network is asked too, where no ADDR is given.
    ///
    /// Prints a JSON object for each peer that says it has the content, as soon as it does. What it says is not verified:
    /// only fetching shows that. Ends when everybody has been asked who is known or was named.
    Find {
        /// The content: blake3/... or a SHA-256 hash; or a plain name, which may mean something else to everybody
        #[arg(value_name = "ID")]
        id: String,

        /// End after this time at the latest
        #[arg(long = "for", value_name = "DURATION", value_parser = duration::parse, default_value = "30s")]
        limit: Duration,

        #[command(flatten)]
        search: SearchArgs,
    },
    /// Ask peers what they share
    ///
    /// Prints the peer's address, the length in bytes, and the content id, separated by tabs. Ends with 10 where the list of a peer
    /// is not complete, and says what is missing.
    Content {
        #[command(flatten)]
        network: NetworkArgs,
    },
}

/// How to look for peers that nobody has named.
#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) lan: LanArgs,

    #[command(flatten)]
    pub(crate) dht: DhtArgs,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,
}

/// Whom to ask, and from where.
#[derive(Args, Debug)]
pub(crate) struct NetworkArgs {
    /// The peers to ask: addresses or host names, with a port if it is not 24254 [default: all in the table and the
    /// bootstrap list]
    #[arg(value_name = "ADDR")]
    pub(crate) only: Vec<PeerName>,

    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
}

impl NetworkArgs {
    /// Begins to look up those named, or where none are, the bootstrap list too. To be called before the process is confined.
    pub(crate) fn look_up(&self) -> Lookup {
        if self.only.is_empty() {
            return self.peers.look_up();
        }
        let named = self.only.iter().chain(&self.peers.peers);
        Lookup::start(named.map(|name| (name.clone(), Origin::CommandLine)).collect())
    }
}
