//! The entries of a list as a tree in memory: about 100 bytes for each, beside its name.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use cjp2p_cli::ToolError;
use cjp2p_io::names::shown;
use cjp2p_io::partial_name::is_partial;
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::folder::{Entry, Kind, MAX_LIST, Mtime, leads_out, read_list};

/// The node of the folder that all is in.
pub(super) const TOP: u32 = 0;
/// Entries at the most. They are held in memory.
pub(super) const MAX_ENTRIES: usize = 10_000_000;
/// Bytes of the paths of folders at the most: of deep ones each has those of all that it is in.
const MAX_PATHS: usize = 1 << 30;

/// An entry, or a folder that one is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    /// The folder that it is in; of the top, itself.
    pub(super) parent: u32,
    name_at: u32,
    name_len: u8,
    pub(super) what: What,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Folder,
    /// `content` is its place among the contents.
    File {
        content: u32,
        exec: bool,
    },
    /// Its target is in the text.
    Link {
        at: u32,
        len: u16,
    },
    /// Not to be written, nor what is below it. But it is in the list: what is there is left alone.
    Refused,
}

/// What files are to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content {
    pub(super) root: Hash,
    pub(super) length: u64,
    /// Its first file.
    pub(super) first: u32,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    /// Names, and targets of links.
    text: Vec<u8>,
    /// Of each node, where the list has times; else empty.
    times: Vec<Option<Mtime>>,
    contents: Vec<Content>,
    /// The files of a content after the first.
    others: BTreeMap<u32, Vec<u32>>,
    /// The nodes in each folder, sorted by name, folder after folder.
    children: Vec<u32>,
    /// Where those of a node begin.
    starts: Vec<u32>,
    /// Folders by their path, and those that were refused, which are `None`.
    folders: HashMap<Box<[u8]>, Option<u32>>,
}

impl Tree {
    /// All nodes but the top.
    pub(super) fn entries(&self) -> impl Iterator<Item = u32> + use<> {
        1..self.nodes.len() as u32
    }

    /// How many nodes there are, the top included.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn node(&self, node: u32) -> &Node {
        &self.nodes[node as usize]
    }

    pub(super) fn what(&self, node: u32) -> What {
        self.node(node).what
    }

    pub(super) fn name(&self, node: u32) -> &[u8] {
        let node = self.node(node);
        &self.text[node.name_at as usize..][..usize::from(node.name_len)]
    }

    /// From the top; that of the top is empty.
    pub(super) fn path(&self, node: u32) -> Vec<u8> {
        let mut nodes = Vec::new();
        let mut at = node;
        while at != TOP {
            nodes.push(at);
            at = self.node(at).parent;
        }
        let names: Vec<&[u8]> = nodes.into_iter().rev().map(|node| self.name(node)).collect();
        names.join(&b'/')
    }

    pub(super) fn target(&self, node: u32) -> &[u8] {
        match self.what(node) {
            What::Link { at, len } => &self.text[at as usize..][..usize::from(len)],
            _ => &[],
        }
    }

    pub(super) fn mtime(&self, node: u32) -> Option<Mtime> {
        self.times.get(node as usize).copied().flatten()
    }

    /// Whether the list has times.
    pub(super) fn has_times(&self) -> bool {
        !self.times.is_empty()
    }

    pub(super) fn contents(&self) -> &[Content] {
        &self.contents
    }

    pub(super) fn content(&self, number: u32) -> &Content {
        &self.contents[number as usize]
    }

    /// The files that hold this content.
    pub(super) fn users(&self, content: u32) -> impl Iterator<Item = u32> {
        let others = self.others.get(&content).map(Vec::as_slice).unwrap_or_default();
        std::iter::once(self.content(content).first).chain(others.iter().copied())
    }

    /// What is in a folder, sorted by name.
    pub(super) fn children(&self, node: u32) -> &[u32] {
        let end = self.starts.get(node as usize + 1).copied().unwrap_or(0) as usize;
        let start = self.starts.get(node as usize).copied().unwrap_or(0) as usize;
        &self.children[start..end]
    }

    /// The folder of this path, and in it the node of this name.
    pub(super) fn find(&self, folder: &[u8], name: &[u8]) -> Option<u32> {
        let folder = if folder.is_empty() { TOP } else { (*self.folders.get(folder)?)? };
        let children = self.children(folder);
        children.binary_search_by(|child| self.name(*child).cmp(name)).ok().map(|at| children[at])
    }
}

/// Why an entry is not taken.
#[derive(Debug)]
pub(super) enum Untaken {
    /// What is wrong about it.
    Refused(String),
    /// It is below something that was refused.
    Below,
    /// Nothing more can be taken.
    TooMany,
}

/// Takes entries one after the other, each folder before what is in it.
#[derive(Debug)]
pub(super) struct TreeBuilder {
    tree: Tree,
    by_root: HashMap<Hash, u32>,
    any_links: bool,
    /// Bytes of the paths of folders.
    paths: usize,
}

impl TreeBuilder {
    /// With `any_links`, links may lead anywhere.
    pub(super) fn new(any_links: bool) -> TreeBuilder {
        let mut tree = Tree::default();
        tree.nodes.push(Node { parent: TOP, name_at: 0, name_len: 0, what: What::Folder });
        TreeBuilder { tree, by_root: HashMap::new(), any_links, paths: 0 }
    }

    /// Takes an entry. What is refused is in the tree nevertheless, as something to leave alone.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), Untaken> {
        let parent = self.folder(entry.path.parent_bytes().unwrap_or_default())?;
        let refusal = self.refusal(entry);
        let what = match (&entry.kind, &refusal) {
            (_, Some(_)) | (Kind::Part(_), None) => What::Refused,
            (Kind::Folder { .. }, None) => What::Folder,
            (Kind::Link { target }, None) => {
                let at = self.tree.text.len() as u32;
                self.tree.text.extend_from_slice(target);
                What::Link { at, len: target.len() as u16 }
            }
            (Kind::File { length, root, exec }, None) => {
                let next = self.tree.contents.len() as u32;
                let content = *self.by_root.entry(*root).or_insert(next);
                let node = self.tree.nodes.len() as u32;
                if content == next {
                    self.tree.contents.push(Content { root: *root, length: *length, first: node });
                } else {
                    self.tree.others.entry(content).or_default().push(node);
                }
                What::File { content, exec: *exec }
            }
        };
        let node = self.push(parent, entry.path.name(), what)?;
        if let Some(mtime) = entry.mtime {
            self.tree.times.resize(node as usize, None);
            self.tree.times.push(Some(mtime));
        }
        if let Kind::Folder { .. } = entry.kind {
            let known = (what == What::Folder).then_some(node);
            self.note_folder(entry.path.as_bytes(), known)?;
        }
        refusal.map_or(Ok(()), |why| Err(Untaken::Refused(why)))
    }

    fn refusal(&self, entry: &Entry) -> Option<String> {
        let name = OsStr::from_bytes(entry.path.name());
        if is_partial(name) {
            return Some("has the name of something unfinished of ours".into());
        }
        match &entry.kind {
            Kind::Link { target } if !self.any_links && leads_out(&entry.path, target) => {
                Some("is a link that leads out of the folder; --links any makes it".into())
            }
            Kind::Part(_) => Some("is no entry of a folder".into()),
            Kind::File { length, root, .. } => {
                let known = self.tree.content(*self.by_root.get(root)?);
                (known.length != *length).then(|| {
                    let other = shown(OsStr::from_bytes(&self.tree.path(known.first)));
                    format!("cannot have the same id as {other} and another length")
                })
            }
            _ => None,
        }
    }

    /// The node of the folder of this path. What the list does not have, as where only some of it is wanted, is made.
    fn folder(&mut self, path: &[u8]) -> Result<u32, Untaken> {
        if path.is_empty() {
            return Ok(TOP);
        }
        match self.tree.folders.get(path) {
            Some(Some(node)) => return Ok(*node),
            Some(None) => return Err(Untaken::Below),
            None => {}
        }
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (&path[..0], path),
        };
        let parent = self.folder(parent)?;
        // Where entries come in their order, what stands there is no folder.
        let node = self.push(parent, name, What::Folder)?;
        self.note_folder(path, Some(node))?;
        Ok(node)
    }

    /// Notes which node the folder of this path is; `None` where it was refused.
    fn note_folder(&mut self, path: &[u8], node: Option<u32>) -> Result<(), Untaken> {
        self.paths += path.len();
        if self.paths > MAX_PATHS {
            return Err(Untaken::TooMany);
        }
        self.tree.folders.insert(path.into(), node);
        Ok(())
    }

    fn push(&mut self, parent: u32, name: &[u8], what: What) -> Result<u32, Untaken> {
        let (node, name_at) = (self.tree.nodes.len(), self.tree.text.len());
        let (Ok(name_len), Ok(name_at)) = (u8::try_from(name.len()), u32::try_from(name_at)) else {
            return Err(Untaken::TooMany);
        };
        if node > MAX_ENTRIES || self.tree.text.len() > u32::MAX as usize - (64 << 10) {
            return Err(Untaken::TooMany);
        }
        self.tree.text.extend_from_slice(name);
        self.tree.nodes.push(Node { parent, name_at, name_len, what });
        Ok(node as u32)
    }

    /// The tree, when all is taken. What is named twice is refused the second time: these are given back.
    pub(super) fn finish(mut self) -> (Tree, Vec<u32>) {
        let tree = &mut self.tree;
        let count = tree.nodes.len();
        if !tree.times.is_empty() {
            tree.times.resize(count, None);
        }
        // Sorted by counting: those of one folder stay in the order in which they came, which is that of their names.
        let mut starts = vec![0_u32; count + 1];
        for node in &tree.nodes[1..] {
            starts[node.parent as usize + 1] += 1;
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut children = vec![0; count.saturating_sub(1)];
        for (at, node) in tree.nodes.iter().enumerate().skip(1) {
            let place = &mut next[node.parent as usize];
            children[*place as usize] = at as u32;
            *place += 1;
        }
        tree.children = children;
        tree.starts = starts;
        let mut twice = Vec::new();
        for folder in 0..count {
            let range = tree.starts[folder] as usize..tree.starts[folder + 1] as usize;
            let mut sorted = tree.children[range.clone()].to_vec();
            // It is stable, and what is in order already costs no more than looking.
            sorted.sort_by(|one, other| tree.name(*one).cmp(tree.name(*other)));
            for pair in sorted.windows(2) {
                if tree.name(pair[0]) == tree.name(pair[1]) {
                    twice.push(pair[1]);
                }
            }
            tree.children[range].copy_from_slice(&sorted);
        }
        for node in &twice {
            tree.nodes[*node as usize].what = What::Refused;
        }
        (self.tree, twice)
    }
}

/// Reads entries, line by line, from the start of a file, and takes them. What is refused is told.
///
/// # Errors
///
/// The file cannot be read, or it is not what was written to it, or there are too many entries.
pub(super) fn read_tree(
    mut lines: &File,
    mut builder: TreeBuilder,
    mut refuse: impl FnMut(Vec<u8>, String),
) -> Result<Tree, ToolError> {
    let failed = |what: String| ToolError::failure(format!("the folder's list: {what}"));
    let mut text = vec![0; MAX_LIST];
    let mut held = 0;
    loop {
        let count = match lines.read(&mut text[held..]) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error.to_string())),
        };
        held += count;
        let end = text[..held].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if end == 0 && (count == 0 || held == text.len()) {
            if held == 0 {
                break;
            }
            return Err(failed("it is damaged".into()));
        }
        for entry in read_list(&text[..end]) {
            let entry = entry.map_err(|error| failed(error.to_string()))?;
            match builder.add(&entry) {
                Ok(()) | Err(Untaken::Below) => {}
                Err(Untaken::Refused(why)) => refuse(entry.path.as_bytes().to_vec(), why),
                Err(Untaken::TooMany) => {
                    let most = MAX_ENTRIES;
                    let what = format!("has more entries than can be held, {most} at most");
                    return Err(failed(format!("{what}; --file takes some of them")));
                }
            }
        }
        text.copy_within(end..held, 0);
        held -= end;
    }
    let (tree, twice) = builder.finish();
    for node in twice {
        refuse(tree.path(node), "is in the list twice".into());
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use cjp2p_wire::folder::FolderPath;

    use super::*;

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: FolderPath::new(path.as_bytes()).unwrap(), kind, mtime: None }
    }

    fn file(path: &str, byte: u8) -> Entry {
        entry(path, Kind::File { length: 1, root: [byte; 32], exec: false })
    }

    fn link(path: &str, target: &str) -> Entry {
        entry(path, Kind::Link { target: target.into() })
    }

    fn folder(path: &str) -> Entry {
        entry(path, Kind::Folder { list: None })
    }

    fn built(entries: &[Entry]) -> (Tree, Vec<String>) {
        let mut builder = TreeBuilder::new(false);
        let mut refused = Vec::new();
        for entry in entries {
            if let Err(Untaken::Refused(why)) = builder.add(entry) {
                refused.push(format!("{}: {why}", entry.path));
            }
        }
        let (tree, twice) = builder.finish();
        refused.extend(twice.into_iter().map(|node| String::from_utf8(tree.path(node)).unwrap()));
        (tree, refused)
    }

    #[test]
    fn entries_become_a_tree_whatever_lies_between_a_folder_and_what_is_in_it() {
        let entries = [
            folder("a"),
            file("a-b", 1),
            file("a/b", 2),
            folder("a/c"),
            file("a/c-d", 1),
            link("a/c/x", "y"),
        ];
        let (tree, refused) = built(&entries);
        assert!(refused.is_empty());
        let paths: Vec<Vec<u8>> = tree.entries().map(|node| tree.path(node)).collect();
        assert_eq!(paths, entries.map(|entry| entry.path.as_bytes().to_vec()));
        let names = |folder: u32| -> Vec<&[u8]> {
            tree.children(folder).iter().map(|child| tree.name(*child)).collect()
        };
        assert_eq!(names(TOP), [&b"a"[..], b"a-b"]);
        assert_eq!(names(1), [&b"b"[..], b"c", b"c-d"]);
        assert_eq!(tree.find(b"a/c", b"x").map(|node| tree.target(node)), Some(&b"y"[..]));
        assert_eq!(tree.find(b"a/x", b"x"), None);
        assert_eq!(tree.contents().len(), 2);
        assert_eq!(tree.users(0).collect::<Vec<_>>(), [2, 5]);
    }

    #[test]
    fn what_must_not_be_written_is_refused_with_all_below_and_stays_in_the_list() {
        let lying = Kind::File { length: 2, root: [1; 32], exec: false };
        let (tree, refused) = built(&[
            folder(".cjp2p-partial"),
            file(".cjp2p-partial/x", 3),
            file("a\u{1b}[2J", 1),
            link("out", "../x"),
            link("root", "/etc"),
            entry("w", lying),
            file("x.cjp2p-part", 1),
        ]);
        let named: Vec<&str> =
            refused.iter().filter_map(|text| text.split_once(':')).map(|(name, _)| name).collect();
        assert_eq!(named, [".cjp2p-partial", "out", "root", "w", "x.cjp2p-part"]);
        assert!(!refused.concat().contains('\u{1b}'), "a terminal obeys what it is shown: {refused:?}");
        assert_eq!(tree.find(b"", b"out").map(|node| tree.what(node)), Some(What::Refused));
        assert_eq!(tree.find(b".cjp2p-partial", b"x"), None);
        assert_eq!(tree.contents().len(), 1);
    }

    #[test]
    fn folders_that_a_selection_leaves_out_are_made_and_a_name_counts_once() {
        let (tree, refused) = built(&[file("a/b/c", 1), file("a/b/c", 2), file("d", 2)]);
        assert_eq!(refused, ["a/b/c"]);
        assert_eq!(tree.find(b"a", b"b").map(|node| tree.what(node)), Some(What::Folder));
        assert_eq!(tree.find(b"", b"a").map(|node| tree.what(node)), Some(What::Folder));
    }

    #[test]
    fn a_file_of_lines_is_read_whatever_its_length() {
        let mut text = Vec::new();
        let names: Vec<String> = (0..5000).map(|nth| format!("{nth:05}")).collect();
        names.iter().for_each(|name| file(name, 1).write(&mut text));
        let mut lines = tempfile::tempfile().unwrap();
        let read = |lines: &mut File, text: &[u8]| {
            use std::io::{Seek, Write};
            lines.set_len(0).unwrap();
            lines.rewind().unwrap();
            lines.write_all(text).unwrap();
            lines.rewind().unwrap();
            read_tree(lines, TreeBuilder::new(false), |path, why| panic!("{path:?} {why}"))
        };
        assert!(text.len() > 5 * MAX_LIST);
        assert_eq!(read(&mut lines, &text).unwrap().len(), 5001);
        assert_eq!(read(&mut lines, b"").unwrap().len(), 1);
        assert!(read(&mut lines, &text[..text.len() - 1]).is_err(), "a line is cut");
    }
}
