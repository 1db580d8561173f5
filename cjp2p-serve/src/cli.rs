//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::args::{
    DhtArgs, FramingArgs, LanArgs, ListenArgs, LockMode, LogArgs, PeerArgs, ProgressArgs, SandboxArgs,
    StateArgs,
};
use cjp2p_cli::{duration, size};
use cjp2p_wire::signed::{NameError, PointerName};
use clap::Parser;

use crate::stream_args::StreamArgs;
use crate::torrent_args::TorrentArgs;

/// The tool's name, before each line on standard error.
pub(crate) const TOOL: &str = "cjp2p-serve";

const EXAMPLES: &str = "\
Examples:
  cjp2p-serve                               share ./cjp2p
  cjp2p-serve ~/Public film.mkv             share a folder and a file, and print their ids
  cjp2p-serve --rate 2M --for 6h --lock skip --quiet /srv/share > /dev/null     from cron
  cjp2p-serve --name photos ~/photos        print latest/KEY/photos too, which stays the same
  ffmpeg ... -f mpegts - | cjp2p-serve --stream cam     share what comes while it comes
On another machine:
  cjp2p-get --peer HOST blake3/... > FILE

Exit status: 0 done, 1 failed, 2 wrong command line, 3 no server runs (--status), 6 another process
shares the same, 7 output cannot be written; 129, 130, 143 ended by HUP, INT or TERM.
Limits on what others may ask are always on. The manual names them all: docs/cjp2p-serve.md";

/// Shares folders and files: any node that knows the id of a file, or this node, can fetch it
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// What to share [default: ./cjp2p, made if missing]
    #[arg(value_name = "DIR|FILE")]
    pub(crate) paths: Vec<PathBuf>,

    /// Give what is shared a lasting name, latest/KEY/NAME (repeatable)
    #[arg(long = "name", value_name = "NAME", conflicts_with = "follow", value_parser = parse_name)]
    pub(crate) names: Vec<PointerName>,

    /// Sign names and streams by the key in FILE, made if missing [env: CJP2P_KEY]
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) streams: StreamArgs,

    #[command(flatten)]
    pub(crate) torrents: TorrentArgs,

    /// Share by hash ids only, not by plain names
    #[arg(long)]
    pub(crate) no_names: bool,

    /// Tell no peer the list of what is shared
    #[arg(long)]
    pub(crate) no_list: bool,

    /// Share the targets of symbolic links, wherever they are
    #[arg(long)]
    pub(crate) follow: bool,

    /// Share dot-files and dot-folders too
    #[arg(long)]
    pub(crate) hidden: bool,

    /// Make times part of the ids of folders
    #[arg(long, hide = true)]
    pub(crate) times: bool,

    /// List what would be shared, and end
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Ask the server with this state folder how it goes, and end
    #[arg(long, conflicts_with_all = ["paths", "dry_run", "metrics"])]
    pub(crate) status: bool,

    /// Keep numbers for Prometheus in FILE
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics: Option<PathBuf>,

    /// Send at most SIZE in a second, as in 500K or 10M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate: Option<u64>,

    /// Send at most SIZE in a second to one address (of IPv6, to one /64)
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate_per_host: Option<u64>,

    /// End after TIME, as in 30m or 6h
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,

    /// If another process shares the same: wait, skip or fail
    #[arg(long, value_name = "WHAT", value_enum, hide_possible_values = true)]
    pub(crate) lock: Option<LockMode>,

    /// Print events as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// Ask the router to pass on this port; needs cjp2p-router
    #[arg(long, value_name = "ROUTER", num_args = 0..=1, require_equals = true)]
    pub(crate) map_port: Option<Option<Ipv4Addr>>,

    /// Be the process that opens, for another one that asks by standard input, what is named here
    #[arg(long, hide = true)]
    pub(crate) open_for_server: bool,

    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    #[command(flatten)]
    pub(crate) lan: LanArgs,

    #[command(flatten)]
    pub(crate) dht: DhtArgs,

    #[command(flatten)]
    pub(crate) framing: FramingArgs,

    #[command(flatten)]
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    #[command(flatten)]
    pub(crate) progress: ProgressArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

fn parse_name(text: &str) -> Result<PointerName, String> {
    PointerName::to_give(text).map_err(|error| match error {
        NameError::Character => {
            "a name has letters, digits, and . _ ~ - / + @ = in it, and nothing else".into()
        }
        error => error.to_string(),
    })
}

fn parse_rate(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        0 => Err("nothing could ever be sent; leave the option away for no limit".into()),
        rate => Ok(rate),
    }
}

#[cfg(test)]
mod tests {
    use cjp2p_io::event_loop::MAX_BACKLOG;
    use cjp2p_wire::node::turns::{
        MAX_WAITING, MAX_WAITING_PER_SOURCE, MAX_WAITING_SOURCES, QUANTUM, QUANTUM_LOCAL,
    };
    use cjp2p_wire::node::{
        AMPLIFICATION, ECHO_FACTOR, ECHO_RATE, ECHO_RATE_OF_HOST, MAX_CONTACTS, MAX_CONTACTS_OF_HOST,
        MAX_LIST, MAX_PEERS_TOLD, UNVALIDATED_ANSWERS_AT_ONCE, UNVALIDATED_ANSWERS_PER_SECOND,
    };
    use clap::CommandFactory;

    use super::*;
    use crate::library::{OPEN_FILES, PIECE, PIECES, TREE_BLOCKS};
    use crate::readers::TREE_BLOCK;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// The limits as they are in force, from the constants themselves.
    fn limits() -> String {
        let caches = PIECE * PIECES + TREE_BLOCK as usize * TREE_BLOCKS;
        let mib = |bytes: usize| bytes >> 20;
        format!(
        "\
  upload            as --rate and --rate-per-host say; without them, turns of {} KiB ({} on
                    loopback), first between addresses (of IPv6, networks of 64 bits), then
                    between the ports of each
  not validated     {AMPLIFICATION} times the bytes that came, in one datagram, and nothing remembered;
                    {UNVALIDATED_ANSWERS_PER_SECOND} answers in a second to an address, {UNVALIDATED_ANSWERS_AT_ONCE} at once
  only echoing      {} KiB in a second to an address, {} in all; at most {ECHO_FACTOR} times the bytes of
                    each echo
  requests waiting  {MAX_WAITING_PER_SOURCE} of a port, {MAX_WAITING} in all, of {MAX_WAITING_SOURCES} ports;
                    where that is full, the address that has most gives way
  peers             {MAX_CONTACTS} with validated addresses, {MAX_CONTACTS_OF_HOST} of an address that only ask;
                    {MAX_PEERS_TOLD} are told in an answer
  list of contents  {MAX_LIST} entries in an answer
  open files        {OPEN_FILES} of those that are shared
  memory            {} MiB of content and trees, {} MiB of answers that wait for the network",
        QUANTUM >> 10,
        QUANTUM_LOCAL >> 10,
        ECHO_RATE_OF_HOST >> 10,
        ECHO_RATE >> 10,
        mib(caches),
        mib(MAX_BACKLOG),
    )
    }

    #[test]
    fn the_manual_tells_the_limits_that_are_in_force() {
        let manual: Vec<&str> = include_str!("../../docs/cjp2p-serve.md").lines().map(str::trim).collect();
        for line in limits().lines() {
            assert!(manual.contains(&line.trim()), "the manual lacks {line:?}");
        }
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert!(parse_rate("0").is_err());
        assert_eq!(parse_rate("10M"), size::parse("10M"));
    }
}
