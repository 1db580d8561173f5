//! Makes the lists of a folder from its entries.

use std::cmp::Ordering;
use std::fmt;

use super::cut::{ListText, MAX_INLINE};
use super::entry::{Entry, Kind, ListRef, Mtime};
use super::path::{FolderPath, PathError};

/// Takes all entries of a folder, in the [order of the tree](FolderPath::cmp_tree), and gives its lists to a sink, which says how
/// each is referred to; see [`reference_of`](super::reference_of).
///
/// The list that the folder is known by comes last, and each list after those that it refers to. Beside the folders that the latest
/// entry is in, with a list of at most [`MAX_LIST`](super::MAX_LIST) each, nothing is in memory.
pub struct Builder<S> {
    sink: S,
    /// The folders that the latest entry is in, the top first; itself, if it is one.
    open: Vec<Open>,
    /// The path of the latest entry.
    last: Option<FolderPath>,
    /// Whether entries have times, once there is one.
    has_times: Option<bool>,
    line: Vec<u8>,
}

/// A folder of which not all is known yet.
#[derive(Default)]
struct Open {
    /// Its own path, but for the top, and when it was changed.
    path: Option<FolderPath>,
    mtime: Option<Mtime>,
    list: ListText,
    /// Its entries, as long as they may become part of the list above. Their paths begin in this folder.
    inline: Option<Vec<Entry>>,
    /// What is in subfolders that are part of this list, until its turn: after `S` comes `S-`, and only then `S/a`.
    ///
    /// Invariant: the name of each begins with the one before it, and is nearer its turn.
    held: Vec<Held>,
}

struct Held {
    /// The name of the subfolder.
    name: FolderPath,
    entries: Vec<Entry>,
}

impl Held {
    /// Whether what is held comes after an entry of this name, which comes after the subfolder.
    fn is_after(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.name.as_bytes()).and_then(|rest| rest.first()).is_some_and(|next| *next < b'/')
    }
}

impl<S, E> Builder<S>
where
    S: FnMut(&[u8]) -> Result<ListRef, E>,
{
    /// Begins with an empty folder.
    pub fn new(sink: S) -> Builder<S> {
        Builder { sink, open: vec![Open::default()], last: None, has_times: None, line: Vec::new() }
    }

    /// Takes the next entry. Of a folder it is found out whether it gets a list of its own, whatever `entry` says.
    ///
    /// # Errors
    ///
    /// Where the entry is no file, link or folder, not in order, in no folder that came before, or differs from the others in
    /// having a time; or what `sink` says. The builder is then of no use any more.
    pub fn push(&mut self, entry: &Entry) -> Result<(), BuildError<E>> {
        let wrong = |what| BuildError::Entry(entry.path.clone(), what);
        if matches!(entry.kind, Kind::Part(_)) {
            return Err(wrong("is a part of a list"));
        }
        if *self.has_times.get_or_insert(entry.mtime.is_some()) != entry.mtime.is_some() {
            return Err(wrong("has a time where others have none, or has none"));
        }
        if self.last.as_ref().is_some_and(|last| last.cmp_tree(&entry.path) != Ordering::Less) {
            return Err(wrong("comes after what it should come before"));
        }
        self.last = Some(entry.path.clone());
        let parent = entry.path.parent_bytes();
        let is_in = |open: &Open| open.path.as_ref().is_none_or(|folder| entry.path.is_beneath(folder));
        while !self.open.last().is_none_or(is_in) {
            self.close()?;
        }
        let Some(folder) = self.open.last_mut() else { return Err(wrong("is in no folder")) };
        if folder.path.as_ref().map(FolderPath::as_bytes) != parent {
            return Err(wrong("is in no folder that came before"));
        }
        let name = name_of(&entry.path)?;
        let (sink, line) = (&mut self.sink, &mut self.line);
        while let Some(held) = folder.held.pop_if(|held| !held.is_after(name.as_bytes())) {
            folder.release(held, line, sink)?;
        }
        if let Kind::Folder { .. } = entry.kind {
            let (path, inline) = (Some(entry.path.clone()), Some(Vec::new()));
            self.open.push(Open { path, mtime: entry.mtime, inline, ..Open::default() });
            return Ok(());
        }
        folder.add(Entry { path: name, ..entry.clone() }, line, sink)
    }

    /// Ends the folder, and says which list it is.
    ///
    /// # Errors
    ///
    /// What the sink says.
    pub fn finish(mut self) -> Result<ListRef, BuildError<E>> {
        while self.open.len() > 1 {
            self.close()?;
        }
        let mut top = self.open.pop().unwrap_or_default();
        top.release_all(&mut self.line, &mut self.sink)?;
        top.list.finish(&mut self.sink).map_err(BuildError::Sink)
    }

    /// Ends the innermost folder, and puts it into the one above.
    fn close(&mut self) -> Result<(), BuildError<E>> {
        let Some(mut folder) = self.open.pop() else { return Ok(()) };
        let (sink, line) = (&mut self.sink, &mut self.line);
        folder.release_all(line, sink)?;
        let (Some(above), Some(path)) = (self.open.last_mut(), folder.path) else { return Ok(()) };
        let name = name_of(&path)?;
        let list = match &folder.inline {
            Some(_) => None,
            None => Some(folder.list.finish(sink).map_err(BuildError::Sink)?),
        };
        above.add(
            Entry { path: name.clone(), kind: Kind::Folder { list }, mtime: folder.mtime },
            line,
            sink,
        )?;
        if let Some(entries) = folder.inline.filter(|entries| !entries.is_empty()) {
            above.held.push(Held { name, entries });
        }
        Ok(())
    }
}

impl Open {
    fn add<E>(
        &mut self,
        entry: Entry,
        line: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>,
    ) -> Result<(), BuildError<E>> {
        line.clear();
        entry.write(line);
        self.list.add(&entry.path, line, sink).map_err(BuildError::Sink)?;
        if self.list.uncut_len().is_none_or(|length| length > MAX_INLINE) {
            self.inline = None;
        } else if let Some(entries) = &mut self.inline {
            entries.push(entry);
        }
        Ok(())
    }

    fn release<E>(
        &mut self,
        held: Held,
        line: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>,
    ) -> Result<(), BuildError<E>> {
        for entry in held.entries {
            let path = held.name.join(&entry.path).map_err(|error| BuildError::Path(entry.path, error))?;
            self.add(Entry { path, ..entry }, line, sink)?;
        }
        Ok(())
    }

    fn release_all<E>(
        &mut self,
        line: &mut Vec<u8>,
        sink: &mut dyn FnMut(&[u8]) -> Result<ListRef, E>,
    ) -> Result<(), BuildError<E>> {
        while let Some(held) = self.held.pop() {
            self.release(held, line, sink)?;
        }
        Ok(())
    }
}

/// The last part of a path, as a path in the folder that it is in.
fn name_of<E>(path: &FolderPath) -> Result<FolderPath, BuildError<E>> {
    FolderPath::new(path.name()).map_err(|error| BuildError::Path(path.clone(), error))
}

/// Why a list cannot be made.
#[derive(Debug)]
pub enum BuildError<E> {
    /// An entry that cannot be taken, and what is wrong with it.
    Entry(FolderPath, &'static str),
    /// A path that cannot be.
    Path(FolderPath, PathError),
    /// What the sink says.
    Sink(E),
}

impl<E: fmt::Display> fmt::Display for BuildError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Entry(path, what) => write!(f, "{path}: {what}"),
            BuildError::Path(path, error) => write!(f, "{path}: {error}"),
            BuildError::Sink(error) => write!(f, "{error}"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for BuildError<E> {}
