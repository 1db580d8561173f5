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
  List known peers, and how far away they are:
    cjp2p-peers | jq -r '.[] | [.address, .round_trip_ms] | @tsv'
  Start with a peer of your own:
    cjp2p-peers add peer.example.org 192.0.2.7:24254
  Forget peers that were not heard from since yesterday:
    cjp2p-peers | jq 'map(select(.last_heard_ms > (now - 86400) * 1000))' | cjp2p-peers set -
  Get to know the network, for a minute at most:
    cjp2p-peers discover --for 1m
  List the peers that have some content, nearest first:
    cjp2p-peers find blake3/85052e9a... | jq -r '[.round_trip_ms, .address] | @tsv' | sort -n

Exit status: 0 done, 1 failed (nothing was changed), 2 wrong command line, 3 no peer answered or
has it, 7 standard output cannot be written, 10 a list of content is not complete.

The manual has more: docs/cjp2p-peers.md";

/// Prints the table of known peers, which all cjp2p tools share, edits it, and asks the peers in it
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Print one JSON object per line, not an array or plain lines
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
    #[command(
        after_help = "They are suggestions until a tool has heard from them. A host name is looked up now; the table \
            holds addresses."
    )]
    Add {
        /// HOST or HOST:PORT; the port is 24254 if it is not given
        #[arg(required = true, value_name = "ADDR")]
        peers: Vec<PeerName>,
    },
    /// Remove peers from the table
    Remove {
        /// HOST or HOST:PORT; the port is 24254 if it is not given
        #[arg(required = true, value_name = "ADDR")]
        peers: Vec<PeerName>,
    },
    /// Replace the table by JSON: what this tool prints, after an edit
    #[command(
        after_help = "If anything in it is wrong, nothing is changed. Empty input is wrong too, because a failed filter \
            leaves it. To empty the table, give it []."
    )]
    Set {
        /// A file, or - for standard input
        #[arg(value_name = "FILE")]
        input: PathBuf,
    },
    /// Ask whether peers are there, and print round trips
    #[command(
        after_help = "Prints the address and the round trip of each peer, or \"no answer\" after five seconds."
    )]
    Ping {
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Ask peers for peers, and those again, until nothing new comes
    #[command(
        after_help = "Without ADDR, asks the local network too. Prints the address, the round trip and the origin of each \
            peer that answers, and \"new\" if it was not among the verified peers. They are in the table \
            afterwards."
    )]
    Discover {
        /// End after TIME, as in 30s or 5m
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
        limit: Option<Duration>,

        #[command(flatten)]
        search: SearchArgs,
    },
    /// Ask which peers have some content, without fetching it
    #[command(
        after_help = "Asks the peers that others name too, and without ADDR the local network. Prints a JSON object for \
            each peer that says it has the content. Only fetching verifies that."
    )]
    Find {
        /// The content: blake3/HEX, a SHA-256 hash, or a plain name
        #[arg(value_name = "ID")]
        id: String,

        /// End after TIME at the latest
        #[arg(long = "for", value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
        limit: Duration,

        #[command(flatten)]
        search: SearchArgs,
    },
    /// Ask peers what they share
    #[command(
        after_help = "Prints the peer's address, the length in bytes, and the content id, separated by tabs. Ends with 10 \
            if the list of a peer is not complete, and says what is missing."
    )]
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
    /// The peers to ask: HOST or HOST:PORT [default: all in the table, and the bootstrap list]
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
        let named = self.only.iter().chain(&self.peers.peers).filter(|name| !name.is_torrent());
        Lookup::start(named.map(|name| (name.clone(), Origin::CommandLine)).collect())
    }
}
