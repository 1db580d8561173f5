//! Exit codes: one list for all tools, documented in every manual and part of the interface.

use std::process::ExitCode;

use nix::sys::signal::Signal;

/// How a tool ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// A failure that no other code names.
    Failure = 1,
    /// The command line was wrong.
    Usage = 2,
    /// No peer offered a byte before the limit.
    NoSource = 3,
    /// A source was found, then the time or stall limit passed.
    Stalled = 4,
    /// What came does not match the id.
    Mismatch = 5,
    /// A lock is held by another process.
    Busy = 6,
    /// The destination cannot be written.
    Destination = 7,
    /// The sources had the content and no longer have it: the file changed, or is gone.
    Withdrawn = 8,
    /// What a name stands for is not newer than what was fetched before.
    NothingNewer = 9,
    /// A list was printed and is known to be incomplete.
    Incomplete = 10,
    /// Ended by HUP, where that signal itself may not end the process.
    HungUp = 129,
    /// Ended by INT, where that signal itself may not end the process because it was ignored from the start.
    Interrupted = 130,
    /// Whoever read standard output has closed it: what a shell reports for SIGPIPE.
    ClosedOutput = 141,
    /// The same with TERM.
    Terminated = 143,
}

impl Exit {
    /// All of them, by their number.
    pub const ALL: [Exit; 15] = [
        Exit::Done,
        Exit::Failure,
        Exit::Usage,
        Exit::NoSource,
        Exit::Stalled,
        Exit::Mismatch,
        Exit::Busy,
        Exit::Destination,
        Exit::Withdrawn,
        Exit::NothingNewer,
        Exit::Incomplete,
        Exit::HungUp,
        Exit::Interrupted,
        Exit::ClosedOutput,
        Exit::Terminated,
    ];

    /// How a tool ends that this signal ended, where the signal itself may not.
    pub fn of_signal(signal: Signal) -> Exit {
        match signal {
            Signal::SIGHUP => Exit::HungUp,
            Signal::SIGINT => Exit::Interrupted,
            _ => Exit::Terminated,
        }
    }

    /// Whether the same command may do better later, with nothing else changed.
    pub fn is_worth_another_try(self) -> bool {
        matches!(self, Exit::NoSource | Exit::Stalled | Exit::Busy)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
