//! Prints and edits the CJP2P peer table as JSON.

use std::process::ExitCode;

mod add;
mod cli;
mod print;
mod remove;
mod run;
mod set;

fn main() -> ExitCode {
    cjp2p_wire::tool::run_tool(run::run)
}
