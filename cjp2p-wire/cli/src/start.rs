//! How a tool starts and ends.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use cjp2p_io::torrent::trackers;
use cjp2p_io::{lookup, signals};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use nix::sys::signal::{SigSet, Signal};

use super::error::ToolError;
use super::exit::Exit;
use super::stderr::Priority;
use super::{logging, stderr, stdout};

/// How long what was printed may take to leave, before a signal ends the process.
const OUTPUT_TIMEOUT: Duration = Duration::from_millis(500);

/// The whole of a tool's `main`: reads the command line, runs the tool, and turns what it returns into one line on standard
/// error and an exit code.
///
/// The tool never ends the process itself. What it printed and is not written yet is waited for here, and a signal ends that.
/// Rust programs ignore SIGPIPE, so a closed reader arrives as an error ([`ToolError::output`]), not as a signal.
pub fn run_tool<A: Parser>(run: impl FnOnce(A) -> Result<Exit, ToolError>) -> ExitCode {
    // Where the size of files is limited, going beyond is an error like a full disk, and not the end by a signal. Blocked and not
    // ignored, because that takes no unsafe code. It cannot fail.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
    // The tool started itself once more, for one of these alone.
    match std::env::args_os().nth(1) {
        Some(argument) if argument == lookup::ARGUMENT => {
            lookup::run();
            return Exit::Done.into();
        }
        Some(argument) if argument == trackers::ARGUMENT => {
            trackers::run();
            return Exit::Done.into();
        }
        _ => {}
    }
    stderr::prepare();
    let ended = started(std::env::args_os(), run);
    if stdout::is_behind() {
        // Nobody reads signals any more. It cannot fail.
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        let _ = signals.thread_unblock();
    }
    let written = stdout::settle(None);
    end::<A>(ended.and_then(|exit| written.map(|()| exit)))
}

fn started<A: Parser>(
    command_line: impl IntoIterator<Item = OsString>,
    run: impl FnOnce(A) -> Result<Exit, ToolError>,
) -> Result<Exit, ToolError> {
    let error = match A::try_parse_from(command_line) {
        Ok(args) => return run(args),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Only for a terminal there are colours.
            let printed = match io::stdout().is_terminal() {
                true => error.print().map_err(ToolError::output),
                false => stdout::print(error.render().to_string().as_bytes()),
            };
            printed.map(|()| Exit::Done)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(ToolError::usage("what to do is missing; try --help"))
        }
        _ => Err(ToolError::usage(one_line(&error.render().to_string()))),
    }
}

fn end<A: CommandFactory>(result: Result<Exit, ToolError>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            if !error.message.is_empty() && logging::tells_of(error.exit) {
                let message = format!("{}: {error}\n", A::command().get_name());
                stderr::tell(Priority::Error, &message);
            }
            error.exit.into()
        }
    }
}

/// Ends the process by `signal`, so that its parent sees the reason. Before that, waits until what was printed is written, or
/// until half a second has passed. Does not return where the signal ends a process.
pub fn end_by(signal: Signal) {
    // What cannot be written is lost either way.
    let _ = stdout::settle(Some(OUTPUT_TIMEOUT));
    signals::end_by(signal);
}

/// What clap prints as a message, hints and a usage, as one line.
fn one_line(rendered: &str) -> String {
    let message = rendered.strip_prefix("error: ").unwrap_or(rendered);
    let told: Vec<String> = message
        .split("\n\n")
        .take_while(|paragraph| !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more"))
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|paragraph| !paragraph.is_empty())
        .collect();
    format!("{}; try --help", told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug)]
    #[command(name = "cjp2p-test", version)]
    struct Args {
        #[arg(long, value_parser = super::super::size::parse)]
        rate: Option<u64>,
        id: String,
    }

    fn run(arguments: &[&str]) -> Result<Exit, ToolError> {
        let line = std::iter::once("cjp2p-test").chain(arguments.iter().copied());
        started(line.map(OsString::from), |_: Args| Ok(Exit::Done))
    }

    #[test]
    fn a_wrong_command_line_is_one_line_and_exit_code_2() {
        for (arguments, told) in [
            (&[][..], "<ID>"),
            (&["--rat", "1", "x"], "'--rate'"),
            (&["--rate", "1X", "x"], "\"1X\" is not a size"),
            (&["--rate"], "value is required"),
            (&["x", "y"], "'y'"),
        ] {
            let error = run(arguments).unwrap_err();
            assert_eq!(error.exit, Exit::Usage);
            assert!(error.message.contains(told), "{}", error.message);
            assert!(error.message.ends_with("; try --help"), "{}", error.message);
            assert_eq!(error.message.lines().count(), 1, "{}", error.message);
        }
    }

    #[test]
    fn help_and_version_end_with_0() {
        assert_eq!(run(&["--version"]).unwrap(), Exit::Done);
        assert_eq!(run(&["--help"]).unwrap(), Exit::Done);
    }
}
