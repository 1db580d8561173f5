//! The errors by which tools end.

use std::fmt;
use std::io;

use super::exit::Exit;

/// Why a tool ends before its work is done.
#[derive(Debug)]
pub struct ToolError {
    /// How it ends.
    pub exit: Exit,
    /// What went wrong, and where: one line, without the tool's name.
    pub message: String,
}

impl ToolError {
    /// An error with any exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> ToolError {
        ToolError { exit, message: message.into() }
    }

    /// A failure that no other code names.
    pub fn failure(message: impl Into<String>) -> ToolError {
        ToolError::new(Exit::Failure, message)
    }

    /// The command line was wrong in a way that clap does not find.
    pub fn usage(message: impl Into<String>) -> ToolError {
        ToolError::new(Exit::Usage, message)
    }

    /// Writing to standard output failed. A reader that has gone away ends a tool without a word.
    pub fn output(error: io::Error) -> ToolError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => ToolError::new(Exit::ClosedOutput, ""),
            _ => ToolError::new(Exit::Destination, format!("standard output: {error}")),
        }
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ToolError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_reader_is_no_message_and_a_full_disk_is_one() {
        let closed = ToolError::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.exit as u8, closed.message.as_str()), (141, ""));
        let full = ToolError::output(io::ErrorKind::StorageFull.into());
        assert_eq!(full.exit, Exit::Destination);
        assert!(full.message.starts_with("standard output: "));
    }
}
