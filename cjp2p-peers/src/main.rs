//! Prints and edits the CJP2P peer table as JSON, and asks the peers in it.

use std::process::ExitCode;

mod add;
mod asking;
mod cli;
mod content;
mod discover;
mod edit;
mod find;
mod ping;
mod print;
mod remove;
mod run;
mod set;

fn main() -> ExitCode {
    cjp2p_cli::run_tool(run::run)
}
