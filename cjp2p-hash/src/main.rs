//! Computes and checks CJP2P content ids.

use std::process::ExitCode;

fn main() -> ExitCode {
    cjp2p_hash::main()
}
