//! Fetching a folder: its lists, then what is in them, as one thing.
//!
//! A [`Folder`] knows nothing of the network: the [`Getter`](crate::getter::Getter) asks it which [`Piece`] to fetch next, and gives it
//! what came. It goes through the lists in order and passes the entries to an [`Aim`]: a listing, a tar stream, or a folder on this disk.

mod aim;
pub(crate) mod command;
mod holders;
mod known_lists;
mod listing;
mod lists;
pub(crate) mod local;
pub(crate) mod piece;
pub(crate) mod select;
mod spool;
mod tar;
pub(crate) mod text;
mod tree;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{Entry, FolderPath, Kind};

pub(crate) use self::aim::{Aim, Without};
pub(crate) use self::holders::Holders;
use self::known_lists::KnownLists;
use self::lists::{Lists, Next};
use self::piece::{Piece, Places, What};
use crate::report::Report;

/// Entries that are taken before the network has its turn again.
const ENTRIES_A_TURN: usize = 2048;

/// A folder in the one that is read.
struct Below {
    path: FolderPath,
    /// It was come across.
    is_there: bool,
}

impl Below {
    /// What an entry is in this folder, if it is in it.
    fn take(&mut self, entry: Entry) -> Option<Entry> {
        self.is_there |= entry.path == self.path && matches!(entry.kind, Kind::Folder { .. });
        let path = entry.path.from_folder(&self.path)?;
        Some(Entry { path, ..entry })
    }

    fn check(&self) -> Result<(), ToolError> {
        let missing = || ToolError::new(Exit::NoSource, format!("there is no folder {} in it", self.path));
        self.is_there.then_some(()).ok_or_else(missing)
    }
}

/// See the [module](self).
pub(crate) struct Folder {
    /// Its id as the user gave it.
    name: String,
    /// The folder in it of which all is wanted: the whole of it if there is none.
    below: Option<Below>,
    lists: Lists,
    aim: Box<dyn Aim>,
    /// All entries were taken.
    ended: bool,
}

impl Folder {
    /// Fetches the folder whose list has this hash, and whose id is shown as `name`; or the one at the path `below` in it.
    /// Lists that are `known` are not fetched.
    pub(crate) fn new(
        name: String,
        root: Hash,
        below: Option<FolderPath>,
        known: KnownLists,
        aim: Box<dyn Aim>,
    ) -> Folder {
        let below = below.map(|path| Below { path, is_there: false });
        Folder { name, below, lists: Lists::new(root, known), aim, ended: false }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Goes on as far as it can. Returns whether it could go on at once.
    ///
    /// # Errors
    ///
    /// Where the lists are wrong, or nothing more can be done with what is in them.
    pub(crate) fn turn(&mut self, report: &mut Report) -> Result<bool, ToolError> {
        let mut left = ENTRIES_A_TURN;
        while !self.ended && left > 0 && self.aim.has_room() {
            left -= 1;
            match self.lists.step()? {
                Next::Entry(entry) => {
                    let wanted = match &mut self.below {
                        Some(below) => below.take(entry),
                        None => Some(entry),
                    };
                    if let Some(entry) = wanted {
                        self.aim.take(entry)?;
                    }
                }
                Next::Wait => break,
                Next::End => {
                    self.below.as_ref().map_or(Ok(()), Below::check)?;
                    self.ended = true;
                    self.aim.end()?;
                }
            }
        }
        self.aim.turn(report)?;
        Ok(left == 0)
    }

    /// The next content to fetch.
    pub(crate) fn next_piece(&mut self, places: Places) -> Option<Piece> {
        if places.short
            && let Some(list) = self.lists.next_wanted()
        {
            return Some(Piece::list(list.root, list.length));
        }
        self.aim.next_piece(places)
    }

    /// This content is here, in memory.
    pub(crate) fn on_bytes(&mut self, piece: &Piece, bytes: Vec<u8>) {
        match piece.what {
            What::List => self.lists.take(piece.root, bytes),
            What::Content(number) => self.aim.on_bytes(number, bytes),
        }
    }

    /// This content is here, in its file, or written.
    pub(crate) fn on_done(&mut self, piece: &Piece) {
        if let What::Content(number) = piece.what {
            self.aim.on_done(number);
        }
    }

    /// This content cannot be had. Returns what is left without it.
    pub(crate) fn on_failed(&mut self, piece: &Piece, error: &ToolError) -> Without {
        match piece.what {
            What::List => Without::Nothing,
            What::Content(number) => self.aim.on_failed(number, error),
        }
    }

    /// Whether everything is done.
    pub(crate) fn is_over(&self) -> bool {
        self.ended && self.aim.is_over()
    }

    /// How much is done, and how much is to be done, where that is known: in bytes.
    pub(crate) fn counts(&self) -> (u64, Option<u64>) {
        let (done, total) = self.aim.counts();
        (done, total.filter(|_| self.ended))
    }

    /// Where in the folder the content of this number is, for messages.
    pub(crate) fn path_of(&self, number: u32) -> Option<Vec<u8>> {
        self.aim.path_of(number)
    }

    /// It ends before it is done. What to say of what is kept.
    pub(crate) fn abandon(&mut self) -> Option<String> {
        self.aim.abandon()
    }
}
