//! Goes through the lists of a folder as they come, and says which to fetch: the one that is needed next, and some ahead of it.

use std::collections::{BTreeMap, VecDeque};

use cjp2p_cli::{Exit, ToolError};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{Entry, Kind, ListRef, MAX_LIST, Step, Walk, read_list, reference_of};

use super::known_lists::KnownLists;

/// Bytes of lists that are fetched before their turn has come, those included that are on their way.
const AHEAD: usize = 4 << 20;
/// Lists of which it is remembered that they will be needed. Of others it is seen when their turn has come.
const MAX_PLANNED: usize = 16_384;

/// See the [module](self).
pub(crate) struct Lists {
    root: Hash,
    /// Those that need not be fetched.
    known: KnownLists,
    /// `None` until the first list is here: nobody said how long it is.
    walk: Option<Walk>,
    /// Lists that are here before their turn.
    ready: BTreeMap<Hash, Vec<u8>>,
    /// Those that are being fetched, with their lengths.
    asked: BTreeMap<Hash, u64>,
    // Invariant: the sum of the lengths of `ready` and `asked`.
    held: usize,
    /// What will be needed, in this order, and is not here: at most [`MAX_PLANNED`].
    planned: VecDeque<ListRef>,
    /// What the walk waits for.
    needed: Option<ListRef>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// This entry, with its path from the top.
    Entry(Entry),
    /// A list has to come first.
    Wait,
    /// There are no more.
    End,
}

/// A list to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WantedList {
    pub(crate) root: Hash,
    /// `None` of the first.
    pub(crate) length: Option<u64>,
}

impl Lists {
    /// Those of the folder with this id, some of which are known.
    pub(crate) fn new(root: Hash, mut known: KnownLists) -> Lists {
        let first = known.get(&root);
        let mut lists = Lists {
            root,
            known,
            walk: None,
            ready: BTreeMap::new(),
            asked: BTreeMap::new(),
            held: 0,
            planned: VecDeque::new(),
            needed: None,
        };
        if let Some(text) = first {
            lists.take(root, text);
        }
        lists
    }

    /// A list to fetch now, if there is any.
    pub(crate) fn next_wanted(&mut self) -> Option<WantedList> {
        if self.walk.is_none() {
            let is_new = self.asked.insert(self.root, 0).is_none();
            return is_new.then_some(WantedList { root: self.root, length: None });
        }
        if let Some(list) = self.needed
            && !self.asked.contains_key(&list.root)
            && !self.ready.contains_key(&list.root)
        {
            return Some(self.ask(list));
        }
        while self.held < AHEAD {
            let list = self.planned.pop_front()?;
            let is_there = self.ready.contains_key(&list.root)
                || self.asked.contains_key(&list.root)
                || self.known.has(&list.root);
            if !is_there && list.length > 0 && list.length <= MAX_LIST as u64 {
                return Some(self.ask(list));
            }
        }
        None
    }

    fn ask(&mut self, list: ListRef) -> WantedList {
        self.asked.insert(list.root, list.length);
        self.held += list.length as usize;
        WantedList { root: list.root, length: Some(list.length) }
    }

    /// A list is here, verified.
    pub(crate) fn take(&mut self, root: Hash, text: Vec<u8>) {
        if let Some(length) = self.asked.remove(&root) {
            self.held -= length as usize;
        }
        if self.walk.is_none() && root == self.root {
            self.walk = Some(Walk::new(reference_of(&text)));
        }
        self.held += text.len();
        self.ready.insert(root, text);
    }

    /// Goes on to what comes next.
    ///
    /// # Errors
    ///
    /// Where a list breaks the rules: nothing of the folder can be told then.
    pub(crate) fn step(&mut self) -> Result<Next, ToolError> {
        let Some(walk) = &mut self.walk else { return Ok(Next::Wait) };
        loop {
            let wrong = |error: cjp2p_wire::folder::WalkError| {
                ToolError::new(Exit::Mismatch, format!("is no folder as it should be: {error}"))
            };
            match walk.step().map_err(wrong)? {
                Step::Entry(entry) => return Ok(Next::Entry(entry)),
                Step::End => {
                    self.known.keep();
                    return Ok(Next::End);
                }
                Step::List(list) => {
                    let text = match self.ready.remove(&list.root) {
                        // That of an empty folder.
                        None if list.length == 0 => Some(Vec::new()),
                        None => self.known.get_referred(&list),
                        Some(text) => {
                            self.held -= text.len();
                            Some(text)
                        }
                    };
                    let Some(text) = text else {
                        self.needed = Some(list);
                        return Ok(Next::Wait);
                    };
                    self.needed = None;
                    self.known.note(&text);
                    // It came before it was asked for ahead.
                    if self.planned.front() == Some(&list) {
                        self.planned.pop_front();
                    }
                    plan(&mut self.planned, &text);
                    walk.give(text).map_err(wrong)?;
                }
            }
        }
    }
}

/// Notes what a list refers to as what is needed next.
fn plan(planned: &mut VecDeque<ListRef>, text: &[u8]) {
    let lists = read_list(text).filter_map(|line| match line.ok()?.kind {
        Kind::Folder { list } => list,
        Kind::Part(list) => Some(list),
        Kind::File { .. } | Kind::Link { .. } => None,
    });
    let lists: Vec<ListRef> = lists.collect();
    lists.into_iter().rev().for_each(|list| planned.push_front(list));
    planned.truncate(MAX_PLANNED);
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::folder::FolderPath;

    use super::*;

    #[test]
    fn a_list_that_is_here_is_not_asked_for_again_before_it_is_read() {
        let list = |path: &[u8], list: Option<ListRef>| {
            let mut text = Vec::new();
            let kind = Kind::Folder { list };
            Entry { path: FolderPath::new(path).unwrap(), kind, mtime: None }.write(&mut text);
            text
        };
        let below = list(b"a", None);
        let top = list(b"d", Some(reference_of(&below)));
        let root = reference_of(&top).root;
        let mut lists = Lists::new(root, KnownLists::default());
        assert_eq!(lists.next_wanted().map(|wanted| wanted.root), Some(root));
        lists.take(root, top);
        assert!(matches!(lists.step().unwrap(), Next::Entry(_)));
        assert_eq!(lists.step().unwrap(), Next::Wait);
        let wanted = lists.next_wanted().unwrap();
        lists.take(wanted.root, below);
        assert_eq!(lists.next_wanted(), None, "as where the reader of a listing is slow");
        assert!(matches!(lists.step().unwrap(), Next::Entry(_)));
        assert_eq!(lists.step().unwrap(), Next::End);
        assert_eq!((lists.next_wanted(), lists.held), (None, 0));
    }
}
