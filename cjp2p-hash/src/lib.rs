//! Computes and checks CJP2P content ids.

mod ahead;
mod check;
mod cli;
mod digest;
mod files;
mod folder;
mod folders;
mod hashers;
mod input;
mod output;
mod run;
mod spread;
mod stream;
mod torrent;
mod torrent_args;
mod tree_file;

/// The tool.
pub fn main() -> std::process::ExitCode {
    cjp2p_cli::run_tool(run::run)
}
