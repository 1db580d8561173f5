//! Fetches content by id over CJP2P, to standard output or a file.

use std::process::ExitCode;

mod cli;
mod getter;
mod ids;
mod job;
mod peers;
mod place;
mod ranges;
mod report;
mod run;
mod running_hash;
mod search;
mod sinks;
mod store;
mod tasks;

fn main() -> ExitCode {
    cjp2p_wire::tool::run_tool(run::run)
}
