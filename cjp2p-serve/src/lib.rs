//! Shares directories over CJP2P. The tool is thin: [`share::Share`] keeps track of files and reads them by id, the
//! node of `cjp2p-wire` answers requests from that, and `run` puts both together.

mod announcer;
mod ask_status;
mod cli;
pub mod cover;
mod dry_run;
pub mod events;
pub mod file;
pub mod gone;
pub mod hash_store;
pub mod hasher;
pub mod index;
mod insight;
mod invitation;
mod job;
pub mod keeper;
pub mod library;
pub mod lru;
pub mod mounts;
pub mod names;
mod neighbours;
pub mod open;
mod open_for_server;
pub mod opener;
pub mod place;
pub mod publish;
mod publisher;
pub mod readers;
mod report;
mod router;
mod run;
pub mod share;
mod shelves;
mod status;
mod stream;
mod stream_args;
mod tally;
pub mod task;
mod torrent_args;
mod torrents;
pub mod tree_store;
pub mod walk;
pub mod watch;

/// The tool.
pub fn main() -> std::process::ExitCode {
    cjp2p_cli::run_tool(run::run)
}
