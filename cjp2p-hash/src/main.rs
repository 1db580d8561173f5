//! Computes and checks CJP2P content ids.

mod check;
mod cli;
mod digest;
mod inputs;
mod list;
mod names;
mod output;
mod run;
mod spread;
mod tree_file;

fn main() -> std::process::ExitCode {
    cjp2p_wire::tool::run_tool(run::run)
}
