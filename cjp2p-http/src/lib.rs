//! Serves content by id over HTTP to programs on this machine, fetched over CJP2P and verified. A library with a program, so that what
//! reads requests of anybody can be tested from outside.

mod cache;
mod cli;
mod fetch;
pub mod folder;
mod gateway;
pub mod guard;
pub mod http;
pub mod media;
pub mod routes;
mod run;
pub mod site;
pub mod status;
pub mod token;
pub mod upload;

/// The tool.
pub fn main() -> std::process::ExitCode {
    cjp2p_cli::run_tool(run::run)
}
