//! Serves content by id over HTTP to programs on this machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    cjp2p_http::main()
}
