//! Asks a router for a port, asks again before the time is over, and gives the port back at the end.
//!
//! `cjp2p-serve --map-port` starts this program before it confines itself: UPnP takes TCP connections, which the server gives up.
//! The two talk by pipes:
//!
//! - One line comes by standard input: the port and the seconds to ask for at a time, as in `24254 3600`.
//! - Each change goes out by standard output, as one line of JSON: `{"mapped":{"address":"198.51.100.9","port":24254}}`, where
//!   the address is `null` if the router does not tell it, or `{"failed":"no answer"}`.
//! - The end of standard input ends the program. So the port is given back even if the server is killed.

mod cli;
mod keep;
mod upnp;

use std::process::ExitCode;

fn main() -> ExitCode {
    cjp2p_cli::run_tool(keep::run)
}
