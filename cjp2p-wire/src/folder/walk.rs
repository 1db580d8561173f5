//! All entries of a folder, however its list is split.

use std::fmt;

use super::cut::MAX_LIST;
use super::entry::{Entry, Kind, ListRef, reference_of};
use super::lines::{Flaw, ReadError, Wrong, read_line};
use super::path::FolderPath;

/// Parts within parts at the most. A list with as many levels has more entries than [`MAX_ENTRIES`].
pub const MAX_PART_DEPTH: u8 = 8;
/// Entries in a folder at the most. A few lists that refer to each other often could stand for more than anybody can store.
pub const MAX_ENTRIES: u64 = 1 << 26;

/// Bytes of lists that are kept at the most. Of deeper ones the uppermost are forgotten, and asked for again.
const MAX_HELD: usize = 4 << 20;

/// Goes through the lists of a folder and gives its entries, in the order of the bytes of their paths, each folder before what is
/// in it. Asks for one list after another; each is at most [`MAX_LIST`] long.
///
/// Keeps a few MiB at the most, whatever the lists are.
pub struct Walk {
    /// The lists that are being read, each referred to by the one before it.
    lists: Vec<Reading>,
    /// Of how many of these the text is forgotten, counted from the first.
    forgotten: usize,
    /// Bytes of text that are kept.
    held: usize,
    /// The path of the latest entry.
    path: Vec<u8>,
    /// The folders whose entries may still come, as lengths of beginnings of `path`.
    ///
    /// Invariant: each is the path of a folder, and `path` goes on with a byte up to `/` behind it, or ends there.
    folders: Vec<OpenFolder>,
    /// Folders with lists of their own, whose turn has not come: after `S` comes `S-`, and only then `S/a`. Each is one of
    /// `folders`.
    waiting: Vec<(usize, ListRef)>,
    has_times: Option<bool>,
    entries: u64,
    /// How many there may be.
    most: u64,
}

struct OpenFolder {
    len: usize,
    has_list: bool,
}

/// A list that is being read.
struct Reading {
    list: ListRef,
    /// `None` before it is given, while it is forgotten, and at its end.
    text: Option<Vec<u8>>,
    at: usize,
    line: u64,
    is_over: bool,
    /// The folder that it is of, as the length of a beginning of the path; 0 for the top.
    base: usize,
    has_parts: Option<bool>,
    role: Role,
}

enum Role {
    /// The list of a folder, and how many others were waiting when it began.
    Folder { waiting: usize },
    /// A part of a list, with the path that it begins with, and how deep it is among parts.
    Part { first: FolderPath, depth: u8 },
}

/// What comes next in a [`Walk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// This list has to be [given](Walk::give). The same may be asked for again.
    List(ListRef),
    /// An entry, never a [part](Kind::Part), with its path from the top of the folder.
    Entry(Entry),
    /// There are no more.
    End,
}

impl Walk {
    /// Begins with the list that a folder is known by.
    pub fn new(list: ListRef) -> Walk {
        Walk {
            lists: vec![Reading::new(list, 0, Role::Folder { waiting: 0 })],
            forgotten: 0,
            held: 0,
            path: Vec::new(),
            folders: Vec::new(),
            waiting: Vec::new(),
            has_times: None,
            entries: 0,
            most: MAX_ENTRIES,
        }
    }

    /// Goes on to what comes next. While it is a list, it stays so until that is given.
    ///
    /// # Errors
    ///
    /// Where the lists break the rules. It goes no further then.
    pub fn step(&mut self) -> Result<Step, WalkError> {
        loop {
            let Some(reading) = self.lists.last_mut() else { return Ok(Step::End) };
            if reading.is_over {
                self.end_list();
                continue;
            }
            let Some(text) = &reading.text else {
                // That of the folder itself; of all others it was seen before.
                if reading.list.length > MAX_LIST as u64 {
                    return Err(self.error(Wrong { path: None, what: Flaw::LongList }));
                }
                return Ok(Step::List(reading.list));
            };
            if reading.at == text.len() {
                if let (0, Role::Part { first, .. }) = (reading.at, &reading.role) {
                    let wrong = Wrong::at(first, Flaw::EmptyPart);
                    return Err(self.error(wrong));
                }
                self.held -= text.len();
                reading.text = None;
                reading.is_over = true;
                continue;
            }
            let read = read_line(&text[reading.at..]);
            match read.and_then(|(entry, length)| self.take(entry, length)) {
                Ok(Some(entry)) => return Ok(Step::Entry(entry)),
                Ok(None) => {}
                Err(wrong) => return Err(self.error(wrong)),
            }
        }
    }

    /// Gives the list that [`Walk::step`] asked for.
    ///
    /// # Errors
    ///
    /// Where it is not that list, and where none was asked for. It can still be given then.
    pub fn give(&mut self, text: Vec<u8>) -> Result<(), WalkError> {
        let Some(reading) =
            self.lists.last_mut().filter(|reading| reading.text.is_none() && !reading.is_over)
        else {
            return Err(WalkError::NotWanted);
        };
        // A list that is longer than any may be was never asked for.
        if reading.list.length > MAX_LIST as u64 || reference_of(&text) != reading.list {
            return Err(WalkError::Other(reading.list));
        }
        self.held += text.len();
        reading.text = Some(text);
        self.forgotten = self.forgotten.min(self.lists.len() - 1);
        while self.held > MAX_HELD && self.forgotten + 1 < self.lists.len() {
            self.held -= self.lists[self.forgotten].text.take().map_or(0, |text| text.len());
            self.forgotten += 1;
        }
        Ok(())
    }

    /// Goes back to the list that the current one, which is over, was referred to by; or to a folder that waited for its end.
    fn end_list(&mut self) {
        if let Some(Reading { role: Role::Folder { waiting }, .. }) = self.lists.last()
            && self.waiting.len() > *waiting
        {
            self.begin_waiting();
            return;
        }
        self.lists.pop();
        self.forgotten = self.forgotten.min(self.lists.len());
    }

    /// Goes into the folder whose turn is next.
    fn begin_waiting(&mut self) {
        if let Some((base, list)) = self.waiting.pop() {
            self.lists.push(Reading::new(list, base, Role::Folder { waiting: self.waiting.len() }));
        }
    }

    /// Takes a line of the current list, `length` bytes long. `None` where it is no entry, or not its turn yet.
    fn take(&mut self, entry: Entry, length: usize) -> Result<Option<Entry>, Wrong> {
        let Some(reading) = self.lists.last_mut() else { return Ok(None) };
        let path = match reading.base {
            0 => entry.path,
            base => match FolderPath::new(&self.path[..base]).and_then(|folder| folder.join(&entry.path)) {
                Ok(path) => path,
                Err(error) => return Err(Wrong::at(&entry.path, Flaw::Path(error))),
            },
        };
        if let Role::Part { first, .. } = &reading.role
            && reading.at == 0
            && *first != path
        {
            return Err(Wrong::at(first, Flaw::First));
        }
        if *path.as_bytes() <= *self.path {
            return Err(Wrong::at(&path, Flaw::Order));
        }
        let is_part = matches!(entry.kind, Kind::Part(_));
        if *reading.has_parts.get_or_insert(is_part) != is_part {
            return Err(Wrong::at(&path, Flaw::Mixed));
        }
        if let Kind::Part(list) = entry.kind {
            let depth = match &reading.role {
                Role::Folder { .. } => 0,
                Role::Part { depth, .. } => depth + 1,
            };
            if depth >= MAX_PART_DEPTH {
                return Err(Wrong::at(&path, Flaw::Depth));
            }
            reading.pass(length);
            let base = reading.base;
            self.lists.push(Reading::new(list, base, Role::Part { first: path, depth }));
            return Ok(None);
        }
        let waits = |len: usize| path.as_bytes().starts_with(&self.path[..len]) && may_hold(&path, len);
        if self.waiting.last().is_some_and(|(len, _)| !waits(*len)) {
            self.begin_waiting();
            return Ok(None);
        }
        if *self.has_times.get_or_insert(entry.mtime.is_some()) != entry.mtime.is_some() {
            return Err(Wrong::at(&path, Flaw::Times));
        }
        self.entries += 1;
        if self.entries > self.most {
            return Err(Wrong::at(&path, Flaw::TooMany));
        }
        let base = reading.base;
        self.enter(&path, base).map_err(|what| Wrong::at(&path, what))?;
        if let Some(reading) = self.lists.last_mut() {
            reading.pass(length);
        }
        if let Kind::Folder { list } = entry.kind {
            let len = path.as_bytes().len();
            self.folders.push(OpenFolder { len, has_list: list.is_some() });
            self.waiting.extend(list.map(|list| (len, list)));
        }
        Ok(Some(Entry { path, ..entry }))
    }

    /// Makes `path` the latest, if it is in a folder of the same list, which is that of the folder at the first `base` bytes.
    fn enter(&mut self, path: &FolderPath, base: usize) -> Result<(), Flaw> {
        let bytes = path.as_bytes();
        let same = self.path.iter().zip(bytes).take_while(|(one, other)| one == other).count();
        while self.folders.pop_if(|folder| folder.len > same || !may_hold(path, folder.len)).is_some() {}
        let parent = path.parent_bytes().map_or(0, <[u8]>::len);
        if parent > base {
            let found = self.folders.binary_search_by_key(&parent, |folder| folder.len);
            if found.map_or(true, |at| self.folders[at].has_list) {
                return Err(Flaw::Parent);
            }
        }
        self.path.truncate(same);
        self.path.extend_from_slice(&bytes[same..]);
        Ok(())
    }

    /// What is wrong with the line that is being read.
    fn error(&self, wrong: Wrong) -> WalkError {
        let Some(reading) = self.lists.last() else { return WalkError::NotWanted };
        WalkError::List(
            reading.list,
            ReadError { line: reading.line + 1, path: wrong.path, what: wrong.what },
        )
    }
}

/// Whether what comes at `path`, which begins with the path of a folder of `len` bytes, is in that folder, or what is in that folder
/// may come after it.
fn may_hold(path: &FolderPath, len: usize) -> bool {
    path.as_bytes().get(len).is_some_and(|next| *next <= b'/')
}

impl Reading {
    fn new(list: ListRef, base: usize, role: Role) -> Reading {
        Reading { list, text: None, at: 0, line: 0, is_over: false, base, has_parts: None, role }
    }

    /// Goes on behind a line.
    fn pass(&mut self, length: usize) {
        self.at += length;
        self.line += 1;
    }
}

/// Why a [`Walk`] goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalkError {
    /// Something in this list is wrong. The path is one from the top of the folder.
    List(ListRef, ReadError),
    /// What was given is not this list.
    Other(ListRef),
    /// A list was given and none was asked for.
    NotWanted,
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalkError::List(list, error) => write!(f, "list {}, {error}", list.id()),
            WalkError::Other(list) => write!(f, "this is not list {}", list.id()),
            WalkError::NotWanted => f.write_str("no list was asked for"),
        }
    }
}

impl std::error::Error for WalkError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Folders in each other, each with the same list at several names: few lists, and 40^4 files.
    fn bomb() -> (ListRef, BTreeMap<ListRef, Vec<u8>>) {
        let mut lists = BTreeMap::new();
        let mut inner: Option<ListRef> = None;
        for _ in 0..4 {
            let mut text = Vec::new();
            for number in 0..40 {
                // Long, so that what is kept would be much.
                let path = format!("{number:02}-{}", "x".repeat(200));
                let kind = match inner {
                    Some(_) => Kind::Folder { list: inner },
                    None => Kind::File { length: 0, root: [0; 32], exec: false },
                };
                let path = FolderPath::new(path.as_bytes()).unwrap();
                Entry { path, kind, mtime: None }.write(&mut text);
            }
            let list = reference_of(&text);
            inner = Some(list);
            lists.insert(list, text);
        }
        (inner.unwrap(), lists)
    }

    #[test]
    fn few_lists_that_stand_for_very_many_entries_are_read_without_keeping_any_and_not_for_ever() {
        let (list, lists) = bomb();
        let mut walk = Walk::new(list);
        walk.most = 100_000;
        let (mut entries, mut last) = (0, None);
        let error = loop {
            match walk.step() {
                Ok(Step::List(list)) => walk.give(lists[&list].clone()).unwrap(),
                Ok(Step::Entry(entry)) => {
                    entries += 1;
                    last = Some(entry.path);
                }
                Ok(Step::End) => panic!("it came to an end"),
                Err(error) => break error,
            }
            assert!(walk.held <= lists.values().map(Vec::len).sum(), "no list twice");
            assert!(walk.lists.len() <= 4 && walk.folders.len() <= 4 && walk.waiting.len() <= 4);
        };
        assert_eq!(entries, walk.most);
        let WalkError::List(_, ReadError { path, what, .. }) = error else { panic!("{error}") };
        assert_eq!(what, Flaw::TooMany);
        assert!(path > last.map(|last| last.to_string()), "the entry that is too many");
    }
}
