//! The modules of a crate, and which of them import which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::source::Source;

/// A module is known by its path below the crate; the root's is empty.
pub(super) type Name = Vec<String>;

/// The modules of a crate.
#[derive(Debug, Default)]
pub struct Crate {
    modules: BTreeMap<Name, Source>,
}

/// That a module imports another, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    pub(super) from: Name,
    pub(super) to: Name,
    pub(super) line: usize,
}

/// An import that names itself through others has no end; no sensible one has so many steps.
const MAX_STEPS: usize = 16;

impl Crate {
    /// Reads all modules of the crate whose root is this file.
    ///
    /// # Panics
    ///
    /// Where a module that is declared has no file.
    pub fn read(root: &Path) -> Crate {
        let folder = root.parent().expect("a file lies in a folder");
        let mut read = Crate::default();
        let mut to_read = vec![(Name::new(), root.to_owned(), folder.to_owned())];
        while let Some((name, file, folder)) = to_read.pop() {
            let text =
                fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            for declared in read.add(name, &text) {
                let child = declared.last().expect("only the root has no name");
                let (alone, with_children) = (folder.join(format!("{child}.rs")), folder.join(child));
                let file = if alone.exists() { alone } else { with_children.join("mod.rs") };
                to_read.push((declared, file, with_children));
            }
        }
        read
    }

    /// Adds a module with this text, and says which others it declares in files of their own.
    pub(super) fn add(&mut self, name: Name, text: &str) -> Vec<Name> {
        let source = Source::parse(text);
        let below = |child: &String| [&name[..], std::slice::from_ref(child)].concat();
        let declared = source.children.iter().map(below).collect();
        self.modules.insert(name, source);
        declared
    }

    /// The imports of modules by others.
    pub(super) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (from, source) in &self.modules {
            for (path, line) in source.paths() {
                if let Some(to) = self.find(from, path, MAX_STEPS).filter(|to| to != from) {
                    imports.insert(Import { from: from.clone(), to, line });
                }
            }
        }
        imports
    }

    /// In which module of this crate the thing is that is called `path` in the module `within`. `None` where it is in another
    /// crate.
    fn find(&self, within: &[String], path: &[String], steps: usize) -> Option<Name> {
        let steps = steps.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Name::new(),
            "self" => within.to_vec(),
            "super" => within.split_last()?.1.to_vec(),
            _ => {
                let source = self.modules.get(within)?;
                if source.children.contains(first) {
                    [within, std::slice::from_ref(first)].concat()
                } else {
                    let imported =
                        source.named.get(first).filter(|imported| imported.first() != Some(first))?;
                    return self.find(within, &[imported, rest].concat(), steps);
                }
            }
        };
        for (n, part) in rest.iter().enumerate() {
            if part == "super" {
                at.pop()?;
                continue;
            }
            let source = self.modules.get(&at)?;
            if source.children.contains(part) {
                at.push(part.clone());
            } else if let Some(imported) = source.named.get(part) {
                // It lies where that module has it from.
                return self.find(&at, &[imported, &rest[n + 1..]].concat(), steps);
            } else {
                break;
            }
        }
        Some(at)
    }
}
