//! Fetches content by id over CJP2P, to standard output or a file. A library with a program, so that what reads files that
//! anybody may have damaged can be tested from outside.

mod cli;
mod folder;
mod getter;
mod ids;
mod job;
mod latest;
mod links;
mod output_lock;
mod place;
pub mod ranges;
mod reach;
mod report;
mod run;
mod sinks;
mod store;
mod stream;
mod stream_args;
mod torrent;
mod torrent_args;

/// The tool.
pub fn main() -> std::process::ExitCode {
    cjp2p_cli::run_tool(run::run)
}
