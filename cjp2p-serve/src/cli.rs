//! The command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::args::{
    DhtArgs, LanArgs, ListenArgs, LockMode, LogArgs, PeerArgs, ProgressArgs, SandboxArgs, StateArgs,
};
use cjp2p_cli::{duration, size};
use cjp2p_io::event_loop::MAX_BACKLOG;
use cjp2p_wire::node::turns::{
    MAX_WAITING, MAX_WAITING_PER_SOURCE, MAX_WAITING_SOURCES, QUANTUM, QUANTUM_LOCAL,
};
use cjp2p_wire::node::{
    AMPLIFICATION, ECHO_FACTOR, ECHO_RATE, ECHO_RATE_OF_HOST, MAX_CONTACTS, MAX_CONTACTS_OF_HOST, MAX_LIST,
    MAX_PEERS_TOLD, UNVALIDATED_ANSWERS_AT_ONCE, UNVALIDATED_ANSWERS_PER_SECOND,
};
use clap::Parser;

use crate::library::{OPEN_FILES, PIECE, PIECES, TREE_BLOCKS};
use crate::readers::TREE_BLOCK;

/// The tool's name, before each line on standard error.
pub(crate) const TOOL: &str = "cjp2p-serve";

const EXAMPLES: &str = "\
Examples:
  cjp2p-serve                               share ./cjp2p
  cjp2p-serve --dry-run ~/Public            what would be shared?
  cjp2p-serve ~/Public film.mkv             share a folder and a file; prints their ids
  cjp2p-serve --rate 2M --for 6h --lock skip --quiet /srv/share > /dev/null
                                            from cron: never twice, 2 MiB a second at most
  cjp2p-serve --json --listen 127.0.0.1:0 dir | jq -r 'select(.event == \"listening\").address'
                                            for scripts: any free port of this machine only
  pkill -HUP cjp2p-serve                    look at everything again

On another machine: cjp2p-get --peer HOST blake3/... > FILE

Exit status: 0 done (--for is over, --dry-run, --lock skip), 1 failed, 2 wrong command line,
6 another process shares the same (--lock fail), 7 standard output cannot be written;
129, 130 and 143 where it was ended by HUP (the terminal is gone), INT or TERM.";

/// Shares folders and files: anybody who knows the id of a file, or a peer of this node, can fetch it
///
/// Every regular file below the folders is shared under its BLAKE3 id, its SHA-256 id, and its plain name, and with its
/// hash tree. New files are hashed in the background, changed ones withdrawn until they are hashed again; ids are
/// remembered, so the next start hashes only what is new. Dot-files, downloads in progress and symbolic links are not
/// shared.
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_help = after_help(), max_term_width = 100)]
pub(crate) struct Cli {
    /// What to share [default: ./cjp2p, made if missing]
    #[arg(value_name = "DIR|FILE")]
    pub(crate) paths: Vec<PathBuf>,

    /// Share by hash ids only, not by plain names
    #[arg(long)]
    pub(crate) no_names: bool,

    /// Do not tell anybody the list of what is shared
    #[arg(long)]
    pub(crate) no_list: bool,

    /// Share what symbolic links lead to, wherever that is
    #[arg(long)]
    pub(crate) follow: bool,

    /// Share dot-files and dot-folders too
    #[arg(long)]
    pub(crate) hidden: bool,

    /// List what would be shared, and end; nothing is hashed or sent
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// Send at most so much in a second, as in 500K or 10M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate: Option<u64>,

    /// Send at most so much in a second to one address (of IPv6, to one /64), as in 500K or 10M
    #[arg(long, value_name = "SIZE", value_parser = parse_rate)]
    pub(crate) rate_per_host: Option<u64>,

    /// End after this time, as in 30m or 6h
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    pub(crate) duration: Option<Duration>,

    /// What to do where another process shares the same already, with the same state folder; without this, both do
    #[arg(long, value_name = "WHAT", value_enum)]
    pub(crate) lock: Option<LockMode>,

    /// Print events as JSON, one object per line
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    /// Ask the router, by PCP, NAT-PMP or UPnP, to pass on what comes to this port from outside, and give it back at the end; ROUTER is
    /// its address if it is not that of the default route. Needs cjp2p-router beside this program or in PATH
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
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    #[command(flatten)]
    pub(crate) progress: ProgressArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

fn after_help() -> String {
    format!("{EXAMPLES}\n\n{}", limits())
}

/// The limits as they are in force, from the constants themselves.
fn limits() -> String {
    let caches = PIECE * PIECES + TREE_BLOCK as usize * TREE_BLOCKS;
    let mib = |bytes: usize| bytes >> 20;
    format!(
        "\
Limits, always on:
  upload            as --rate and --rate-per-host say; without them, turns of {} KiB ({} within
                    the machine), first between addresses (of IPv6, networks of 64 bits), then
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

fn parse_rate(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        0 => Err("nothing could ever be sent; leave the option away for no limit".into()),
        rate => Ok(rate),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_tells_the_limits_that_help_tells() {
        let manual: Vec<&str> = include_str!("../../docs/cjp2p-serve.md").lines().map(str::trim).collect();
        for line in limits().lines().skip(1) {
            assert!(manual.contains(&line.trim()), "the manual lacks {line:?}");
        }
    }

    #[test]
    fn a_rate_of_nothing_is_refused() {
        assert!(parse_rate("0").is_err());
        assert_eq!(parse_rate("10M"), size::parse("10M"));
    }
}
