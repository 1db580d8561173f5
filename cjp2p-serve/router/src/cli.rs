//! The command line.

use std::net::Ipv4Addr;

use cjp2p_cli::args::SandboxArgs;
use clap::Parser;

/// Asks a router for a port, for cjp2p-serve, which starts this with --map-port
///
/// One line of standard input says the port and for how many seconds to ask, as in "24254 3600". What comes of it is printed as
/// JSON, one line for each change. At the end of standard input the port is given back.
#[derive(Parser, Debug)]
#[command(name = "cjp2p-router", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// The address of the router
    #[arg(value_name = "ROUTER")]
    pub(crate) gateway: Ipv4Addr,

    #[command(flatten)]
    pub(crate) sandbox: SandboxArgs,
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
