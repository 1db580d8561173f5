//! Asks the servers that run with a state folder how they go.

use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::names;
use cjp2p_io::status_socket;

use crate::cli::Cli;
use crate::insight::SOCKETS;
use crate::status::Status;

/// Runs `--status`.
///
/// # Errors
///
/// Where no server runs, or one does not say how it goes.
pub(crate) fn run(cli: &Cli) -> Result<Exit, ToolError> {
    let state = cli.state.open()?;
    let failed = |error: std::io::Error| ToolError::failure(format!("status: {error}"));
    let mut is_first = true;
    for said in status_socket::ask_all(&state, SOCKETS).map_err(failed)? {
        let status: Status = serde_json::from_slice(&said).map_err(|error| failed(error.into()))?;
        if cli.json {
            stdout::print(status.to_json().as_bytes())?;
        } else {
            let gap = if is_first { "" } else { "\n" };
            stdout::print(format!("{gap}{}", status.to_text()).as_bytes())?;
        }
        is_first = false;
    }
    if is_first {
        let folder = names::shown(state.path());
        let message = format!("no server runs with the state folder {folder}");
        return Err(ToolError::new(Exit::NoSource, message));
    }
    Ok(Exit::Done)
}
