//! The command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::args::{DhtArgs, FramingArgs, LanArgs, LogArgs, PeerArgs, SandboxArgs, StateArgs};
use cjp2p_cli::{duration, size};
use cjp2p_io::listen::Listen;
use cjp2p_io::peer_name::PeerName;
use clap::Parser;

/// The tool's name, before each line on standard error.
pub(crate) const TOOL: &str = "cjp2p-http";

/// Where peers find this node if nothing is said: it is no server of theirs.
pub(crate) const ANYWHERE: Listen = Listen::Everywhere { port: 0 };

/// The port for HTTP if nothing is said.
const PORT: u16 = 24256;

const EXAMPLES: &str = "\
Examples:
  cjp2p-http                                       then http://127.0.0.1:24256/blake3/HEX
  curl -O http://127.0.0.1:24256/blake3/HEX/film.mkv
  mpv http://127.0.0.1:24256/blake3/HEX            seeks without fetching what lies between

Exit status: 0 ended in order, 1 failed, 2 wrong command line, 6 another process uses the cache;
130, 143 ended by INT, TERM.

The manual has more: docs/cjp2p-http.md";

/// Serves content by id over HTTP to programs on this machine, fetched from peers and verified
#[derive(Parser, Debug)]
#[command(name = TOOL, version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    /// Take HTTP here; port 0 is any free one [default: 127.0.0.1:24256]
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = parse_listen)]
    pub(crate) listen: Option<SocketAddr>,

    /// Use this UDP port for peers [default: any free one]
    #[arg(long, value_name = "[ADDR:]PORT")]
    pub(crate) udp: Option<Listen>,

    /// Keep up to this much of what was fetched; 0 keeps nothing
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = size::parse)]
    pub(crate) cache: u64,

    /// Keep it here [default: $XDG_CACHE_HOME/cjp2p]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// A name of this machine that requests may be to (repeatable)
    #[arg(long = "host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,

    /// Let web pages of this origin read content (repeatable)
    #[arg(long = "allow-origin", value_name = "URL")]
    pub(crate) origins: Vec<String>,

    /// Take files that programs send, with the token, as new files in DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) share: Option<PathBuf>,

    /// Take no longer file
    #[arg(long, value_name = "SIZE", default_value = "10G", value_parser = size::parse, hide = true)]
    pub(crate) max_upload: u64,

    /// Answer 404 if no peer has sent any of it after TIME
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration::parse)]
    pub(crate) timeout: Duration,

    /// Answer 504, or break off, if no new data arrives for TIME
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration::parse)]
    pub(crate) stall: Duration,

    /// Take so many connections at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1000, hide = true)]
    pub(crate) max_connections: usize,

    /// Answer no requests of peers meanwhile
    #[arg(long)]
    pub(crate) no_share: bool,

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
    pub(crate) state: StateArgs,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,

    #[command(flatten)]
    pub(crate) log: LogArgs,
}

impl Cli {
    /// Where HTTP is taken.
    pub(crate) fn http(&self) -> SocketAddr {
        self.listen.unwrap_or(SocketAddr::new(LOOPBACK, PORT))
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A port alone is one of loopback: whoever wants more has to say so.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(LOOPBACK, port));
    }
    text.parse().map_err(|_| format!("{text:?} is no PORT or ADDR:PORT"))
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
    fn a_port_alone_is_for_this_machine_only() {
        assert_eq!(parse_listen("80"), Ok("127.0.0.1:80".parse().unwrap()));
        assert_eq!(parse_listen("[::]:80"), Ok("[::]:80".parse().unwrap()));
        assert!(parse_listen("localhost:80").is_err());
    }
}
