//! Shares a directory over CJP2P.

use std::process::ExitCode;

fn main() -> ExitCode {
    cjp2p_serve::main()
}
