//! Computes and checks CJP2P content ids. A library with a program, so that what reads lists can be tested from outside.

mod check;
mod cli;
mod digest;
mod inputs;
pub mod list;
mod names;
mod output;
mod run;
mod spread;
mod tree_file;

/// The tool.
pub fn main() -> std::process::ExitCode {
    cjp2p_wire::tool::run_tool(run::run)
}
