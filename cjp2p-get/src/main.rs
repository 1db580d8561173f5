//! Fetches content by id over CJP2P, to standard output or a file.

use std::process::ExitCode;

fn main() -> ExitCode {
    cjp2p_get::main()
}
