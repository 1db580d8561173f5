//! What a folder is fetched for: each kind takes the entries in their order, and says which contents it needs.

use cjp2p_cli::ToolError;
use cjp2p_wire::folder::Entry;

use super::piece::{Piece, Places};
use crate::report::Report;

/// What is left without a content that cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Without {
    /// All else.
    Rest,
    /// The same, and the aim itself tells what is left out.
    RestToldThere,
    /// Nothing that is of use.
    Nothing,
}

/// See the [module](self). None of this waits.
pub(crate) trait Aim {
    /// Whether it takes entries now.
    fn has_room(&self) -> bool {
        true
    }

    /// The next entry.
    ///
    /// # Errors
    ///
    /// Where it can go no further.
    fn take(&mut self, entry: Entry) -> Result<(), ToolError>;

    /// There are no more entries.
    ///
    /// # Errors
    ///
    /// As for [`Aim::take`].
    fn end(&mut self) -> Result<(), ToolError>;

    /// Does what can be done now, and tells what there is to tell.
    ///
    /// # Errors
    ///
    /// As for [`Aim::take`].
    fn turn(&mut self, report: &mut Report) -> Result<(), ToolError>;

    /// The next content that is needed, where there are places for it.
    fn next_piece(&mut self, places: Places) -> Option<Piece>;

    /// This content is here, in memory.
    fn on_bytes(&mut self, number: u32, bytes: Vec<u8>);

    /// This content is here, in its file, or written.
    fn on_done(&mut self, number: u32);

    /// This content cannot be had. Returns what is left without it.
    fn on_failed(&mut self, number: u32, error: &ToolError) -> Without;

    /// Whether everything is done, once there are no more entries.
    fn is_over(&self) -> bool;

    /// How much is done, and how much is to be done, where that is known: in bytes.
    fn counts(&self) -> (u64, Option<u64>);

    /// Where in the folder the content of this number is, for messages.
    fn path_of(&self, number: u32) -> Option<Vec<u8>> {
        let _ = number;
        None
    }

    /// It ends before it is done. What to say of what is kept.
    fn abandon(&mut self) -> Option<String> {
        None
    }
}
