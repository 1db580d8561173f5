//! Runs the command.

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::peer_file::PeerFile;

use crate::cli::{Cli, Command, TOOL};
use crate::{add, content, discover, find, ping, print, remove, set};

pub(crate) fn run(cli: Cli) -> Result<Exit, ToolError> {
    cli.log.start(TOOL);
    let goes_on = match &cli.command {
        Some(Command::Add { .. } | Command::Remove { .. } | Command::Set { .. }) => false,
        None
        | Some(
            Command::Ping { .. } | Command::Discover { .. } | Command::Find { .. } | Command::Content { .. },
        ) => true,
    };
    // Only edits need a table. Where there is no folder for it, there is nothing to print.
    let state = match goes_on {
        true => cli.state.open_or_do_without("no peer is remembered")?,
        false => Some(cli.state.open()?),
    };
    let file = PeerFile::new(state.as_ref());
    match cli.command {
        None => print::run(&file, cli.lines)?,
        Some(Command::Add { peers }) => add::run(&file, &peers)?,
        Some(Command::Remove { peers }) => remove::run(&file, &peers)?,
        Some(Command::Set { input }) => set::run(&file, &input)?,
        Some(Command::Ping { network }) => return ping::run(&file, &network, cli.lines),
        Some(Command::Discover { limit, search }) => return discover::run(&file, &search, limit, cli.lines),
        Some(Command::Find { id, limit, search }) => return find::run(&file, &id, &search, limit),
        Some(Command::Content { network }) => return content::run(&file, &network, cli.lines),
    }
    Ok(Exit::Done)
}
