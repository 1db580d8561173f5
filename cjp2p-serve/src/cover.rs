//! Which arguments lie within others just now, so that nothing is shared twice. Links make that change: of two that lead to
//! one folder, each may lead elsewhere tomorrow.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cjp2p_io::walk::Rules;

use crate::place::Source;

/// Where arguments lead, by number.
#[derive(Debug, Default)]
pub struct Cover {
    /// What each leads to, and whether that is a folder.
    places: HashMap<u32, (PathBuf, bool)>,
    /// The same by path.
    at: HashMap<PathBuf, BTreeSet<u32>>,
}

impl Cover {
    /// Of these arguments.
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Cover {
        let mut cover = Cover::default();
        for source in sources {
            cover.insert(source.number, (source.path(), source.only.is_none()));
        }
        cover
    }

    /// Notes where an argument leads now. Says whether it covers others that it did not, or no more.
    pub fn put(&mut self, source: &Source) -> bool {
        let place = (source.path(), source.only.is_none());
        if self.places.get(&source.number) == Some(&place) {
            return false;
        }
        let covered = self.lose(source.number);
        let covers = self.is_above_any(&place.0);
        self.insert(source.number, place);
        covered || covers
    }

    /// Notes that an argument leads nowhere now, and so covers nothing. Says whether it covered any other.
    pub fn lose(&mut self, number: u32) -> bool {
        let Some((path, _)) = self.places.remove(&number) else {
            return false;
        };
        if let Some(numbers) = self.at.get_mut(&path) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.at.remove(&path);
            }
        }
        self.is_above_any(&path)
    }

    fn insert(&mut self, number: u32, place: (PathBuf, bool)) {
        self.at.entry(place.0.clone()).or_default().insert(number);
        self.places.insert(number, place);
    }

    fn is_above_any(&self, path: &Path) -> bool {
        self.at.keys().any(|other| other.starts_with(path))
    }

    /// Whether a walk of another argument comes to this one. Of several that lead to the same, the first is not covered.
    pub fn is_covered(&self, number: u32, rules: Rules) -> bool {
        let Some((path, _)) = self.places.get(&number) else {
            return false;
        };
        let is_first = self.at.get(path).and_then(BTreeSet::first) == Some(&number);
        !is_first || path.ancestors().skip(1).any(|above| self.is_walked(above, path, rules))
    }

    /// The argument whose walk comes to this one, and where below it this one is: itself, and nowhere, if it is not covered.
    pub fn found_at(&self, number: u32, rules: Rules) -> (u32, PathBuf) {
        let here = (number, PathBuf::new());
        let Some((path, _)) = self.places.get(&number).filter(|_| self.is_covered(number, rules)) else {
            return here;
        };
        let first_folder = |at: &Path| {
            let mut numbers = self.at.get(at)?.iter();
            numbers.find(|number| self.places.get(number).is_some_and(|(_, is_folder)| *is_folder)).copied()
        };
        // The outermost one is covered by no other.
        let above: Vec<&Path> =
            path.ancestors().skip(1).filter(|at| self.is_walked(at, path, rules)).collect();
        match above.last() {
            Some(at) => match (first_folder(at), path.strip_prefix(at)) {
                (Some(number), Ok(below)) => (number, below.to_owned()),
                _ => here,
            },
            None => first_folder(path).map_or(here, |number| (number, PathBuf::new())),
        }
    }

    fn is_walked(&self, above: &Path, path: &Path, rules: Rules) -> bool {
        let is_folder = |number| self.places.get(number).is_some_and(|(_, is_folder)| *is_folder);
        self.at.get(above).is_some_and(|numbers| numbers.iter().any(is_folder))
            && path.strip_prefix(above).is_ok_and(|below| below.iter().all(|name| rules.allow(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_covers_what_follows_links_that_are_switched() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["1/.hidden", "2"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        for name in ["1/file", "1/.hidden/file"] {
            fs::write(path(name), "").unwrap();
        }
        symlink("1", path("current")).unwrap();
        let arguments = ["1", "current", "1/file", "1/.hidden/file", "current/file"];
        let open = |number: usize| Source::open(number as u32, &path(arguments[number])).unwrap();
        let sources: Vec<Source> = (0..arguments.len()).map(open).collect();
        let mut cover = Cover::of(&sources);
        let covered = |cover: &Cover| -> Vec<u32> {
            (0..arguments.len() as u32).filter(|number| cover.is_covered(*number, Rules::default())).collect()
        };
        assert_eq!(covered(&cover), [1, 2, 4]);
        fs::remove_file(path("current")).unwrap();
        symlink("2", path("current")).unwrap();
        assert!(!cover.put(&open(0)) && cover.put(&open(1)));
        assert_eq!(covered(&cover), [2, 4]);
        assert!(!cover.at[&sources[0].path()].contains(&1));
        assert!(!cover.lose(1) && !cover.lose(1), "nothing else is there");
        assert!(!cover.put(&open(1)));
        fs::remove_file(path("current")).unwrap();
        symlink("1", path("current")).unwrap();
        assert!(cover.put(&open(1)));
        assert_eq!(covered(&cover), [1, 2, 4]);
        assert!(cover.lose(0), "the other one leads there too");
        assert_eq!(covered(&cover), [2, 4]);
        assert!(cover.put(&open(0)) && !cover.put(&open(0)));
        assert_eq!(covered(&cover), [1, 2, 4]);
    }
}
