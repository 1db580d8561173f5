//! A folder on standard output: a tar stream, its entries in the order of the list, each verified before its header leaves. Only of a
//! long file the header leaves first, and the content as it comes.

mod blocks;
mod writer;

use std::collections::{BTreeMap, VecDeque};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::event_loop::Waker;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{Entry, Kind, leads_out};

use self::blocks::{Blocks, END, padding};
use self::writer::Writer;
use super::aim::{Aim, Without};
use super::piece::{Keep, Piece, Places, SHORT, What};
use super::select::{Select, nothing_matches};
use crate::report::Report;
use crate::sinks::stream::Output;

/// Entries that wait for their turn.
const MAX_WAITING: usize = 4096;
/// Bytes of short files of these, whether they are here or not.
const WINDOW: u64 = 16 << 20;

/// See the [module](self).
pub(crate) struct Tar {
    select: Select,
    any_links: bool,
    blocks: Blocks,
    writer: Writer,
    /// Those whose turn has not come.
    waiting: VecDeque<Entry>,
    /// Bytes of the short contents of these, of each once.
    window: u64,
    /// The short contents of these.
    contents: BTreeMap<Hash, Content>,
    /// Those of them that nobody was asked for.
    wanted: VecDeque<Hash>,
    /// By the numbers under which they were asked for.
    asked: BTreeMap<u32, Hash>,
    count: u32,
    long: Long,
    /// What is to be told: a path, and why it is not in the stream.
    refused: Vec<(Vec<u8>, Exit, &'static str)>,
    found: bool,
    ended: bool,
    /// All of it was given to the writer.
    closed: bool,
    done: u64,
    total: u64,
}

/// A short content.
struct Content {
    length: u64,
    /// So many of the entries that wait have it.
    users: usize,
    state: State,
}

enum State {
    Coming,
    Here(Vec<u8>),
    Failed,
}

/// How far the long file is whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Long {
    None,
    /// Its header leaves before it is asked for.
    Header,
    /// It is asked for under this number.
    Asked(u32),
    Done,
}

impl Tar {
    /// Of what `select` takes, to `output`. `waker` is woken when there is room again, or nothing can be written any more.
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub(crate) fn new(
        select: Select,
        any_links: bool,
        output: &Output,
        waker: Waker,
    ) -> Result<Tar, ToolError> {
        let failed = |error: std::io::Error| ToolError::failure(format!("threads: {error}"));
        let output = output.try_clone().map_err(failed)?;
        Ok(Tar {
            select,
            any_links,
            blocks: Blocks::new(),
            writer: Writer::start(output, waker).map_err(failed)?,
            waiting: VecDeque::new(),
            window: 0,
            contents: BTreeMap::new(),
            wanted: VecDeque::new(),
            asked: BTreeMap::new(),
            count: 0,
            long: Long::None,
            refused: Vec::new(),
            found: false,
            ended: false,
            closed: false,
            done: 0,
            total: 0,
        })
    }

    /// Gives the writer what is next and here.
    fn write(&mut self) {
        while !self.writer.is_full() {
            let Some(entry) = self.waiting.front() else { break };
            match entry.kind {
                Kind::File { length, .. } if length > SHORT => {
                    if !self.write_long(length) {
                        return;
                    }
                }
                Kind::File { length, root, .. } if length > 0 => {
                    let Some(content) = self.contents.get_mut(&root) else { return };
                    match &content.state {
                        State::Coming => return,
                        State::Here(bytes) => self.writer.push(self.blocks.entry(entry, bytes)),
                        State::Failed => {}
                    }
                    self.done += length;
                    content.users -= 1;
                    if content.users == 0 {
                        self.window -= content.length;
                        self.contents.remove(&root);
                    }
                }
                _ => self.writer.push(self.blocks.entry(entry, &[])),
            }
            self.waiting.pop_front();
        }
        if self.ended && self.waiting.is_empty() && !self.closed {
            self.closed = true;
            self.writer.push(vec![0; END]);
        }
    }

    /// Goes on with the long file whose turn it is. Returns whether all of it is written.
    fn write_long(&mut self, length: u64) -> bool {
        match self.long {
            Long::None => {
                let Some(entry) = self.waiting.front() else { return false };
                self.writer.push(self.blocks.entry(entry, &[]));
                self.long = Long::Header;
                false
            }
            Long::Header | Long::Asked(_) => false,
            Long::Done => {
                self.writer.push(vec![0; padding(length)]);
                self.done += length;
                self.long = Long::None;
                true
            }
        }
    }

    /// One more entry has this short content. Returns whether it can have it.
    fn add_content(&mut self, root: Hash, length: u64) -> bool {
        if let Some(content) = self.contents.get_mut(&root) {
            content.users += usize::from(content.length == length);
            return content.length == length;
        }
        self.window += length;
        self.wanted.push_back(root);
        self.contents.insert(root, Content { length, users: 1, state: State::Coming });
        true
    }

    fn next_number(&mut self) -> u32 {
        self.count = self.count.wrapping_add(1);
        self.count
    }
}

impl Aim for Tar {
    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING && self.window < WINDOW
    }

    fn take(&mut self, entry: Entry) -> Result<(), ToolError> {
        if !self.select.takes(&entry) {
            return Ok(());
        }
        self.found = true;
        match &entry.kind {
            Kind::Link { target } if !self.any_links && leads_out(&entry.path, target) => {
                let why = "a link that leads out of the folder; --links any takes it";
                self.refused.push((entry.path.as_bytes().to_vec(), Exit::Destination, why));
                return Ok(());
            }
            Kind::File { length, root, .. } => {
                if (1..=SHORT).contains(length) && !self.add_content(*root, *length) {
                    let why = "has the id of another entry, and not its length";
                    self.refused.push((entry.path.as_bytes().to_vec(), Exit::Mismatch, why));
                    return Ok(());
                }
                // Of thousands of files the list may say the greatest length.
                self.total = self.total.saturating_add(*length);
            }
            _ => {}
        }
        self.waiting.push_back(entry);
        Ok(())
    }

    fn end(&mut self) -> Result<(), ToolError> {
        self.ended = true;
        if !self.found && !self.select.is_all() { Err(nothing_matches()) } else { Ok(()) }
    }

    fn turn(&mut self, report: &mut Report) -> Result<(), ToolError> {
        self.writer.check()?;
        for (path, exit, why) in std::mem::take(&mut self.refused) {
            report.entry_failed(&path, None, &ToolError::new(exit, why))?;
        }
        self.write();
        Ok(())
    }

    fn next_piece(&mut self, places: Places) -> Option<Piece> {
        if self.long == Long::Header && places.long && self.writer.is_idle() {
            let entry = self.waiting.front()?;
            let (path, Kind::File { length, root, .. }) = (entry.path.as_bytes().to_vec(), &entry.kind)
            else {
                return None;
            };
            let (length, root) = (Some(*length), *root);
            let number = self.next_number();
            self.long = Long::Asked(number);
            return Some(Piece { what: What::Content(number), root, length, keep: Keep::Output, path });
        }
        if !places.short {
            return None;
        }
        let root = self.wanted.pop_front()?;
        let length = self.contents.get(&root).map(|content| content.length);
        let number = self.next_number();
        self.asked.insert(number, root);
        Some(Piece { what: What::Content(number), root, length, keep: Keep::Memory, path: Vec::new() })
    }

    fn on_bytes(&mut self, number: u32, bytes: Vec<u8>) {
        let root = self.asked.remove(&number);
        if let Some(content) = root.and_then(|root| self.contents.get_mut(&root)) {
            content.state = State::Here(bytes);
        }
    }

    fn on_done(&mut self, number: u32) {
        if self.long == Long::Asked(number) {
            self.long = Long::Done;
        }
    }

    fn on_failed(&mut self, number: u32, _: &ToolError) -> Without {
        let root = self.asked.remove(&number);
        match root.and_then(|root| self.contents.get_mut(&root)) {
            Some(content) => {
                content.state = State::Failed;
                Without::Rest
            }
            // Its header is written.
            None => Without::Nothing,
        }
    }

    fn is_over(&self) -> bool {
        self.closed && self.writer.is_idle()
    }

    fn counts(&self) -> (u64, Option<u64>) {
        (self.done, Some(self.total))
    }

    fn path_of(&self, number: u32) -> Option<Vec<u8>> {
        let root = self.asked.get(&number)?;
        let has_it = |entry: &&Entry| matches!(&entry.kind, Kind::File { root: other, .. } if other == root);
        self.waiting.iter().find(has_it).map(|entry| entry.path.as_bytes().to_vec())
    }
}
