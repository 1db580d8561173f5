//! What each watch is for: folders and files below arguments, and names that decide where arguments lead.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

#[derive(Debug, Default)]
pub(super) struct Known {
    /// How often all of an argument was looked through.
    pub(super) round: u32,
    /// What each watch is for. One folder has one watch, whatever it is watched for.
    pub(super) watches: HashMap<i32, Watched>,
    /// The same by arguments, of which there can be many in one folder.
    uses: HashMap<u32, Uses>,
}

/// The watches of one argument, each with the round that last came to it.
#[derive(Debug, Default)]
struct Uses {
    below: HashMap<i32, u32>,
    names: HashMap<(i32, OsString), u32>,
}

#[derive(Debug, Default)]
pub(super) struct Watched {
    /// A folder below an argument, or the file that is one: the argument, and the path from there.
    pub(super) below: Vec<(u32, PathBuf)>,
    /// Names in the folder on the way to arguments, with their numbers.
    pub(super) names: BTreeMap<OsString, Vec<u32>>,
}

impl Known {
    pub(super) fn put_below(&mut self, watch: i32, source: u32, relative: &Path) {
        let below = &mut self.watches.entry(watch).or_default().below;
        below.retain(|(known, _)| *known != source);
        below.push((source, relative.to_path_buf()));
        below.shrink_to_fit();
        self.uses.entry(source).or_default().below.insert(watch, self.round);
    }

    pub(super) fn put_name(&mut self, watch: i32, source: u32, name: &OsStr) {
        let uses = self.uses.entry(source).or_default();
        if uses.names.insert((watch, name.to_owned()), self.round).is_none() {
            let names = &mut self.watches.entry(watch).or_default().names;
            names.entry(name.to_owned()).or_default().push(source);
        }
    }

    /// The kernel watches this no longer.
    pub(super) fn forget(&mut self, watch: i32) {
        let Some(watched) = self.watches.remove(&watch) else {
            return;
        };
        for (source, _) in watched.below {
            self.uses.entry(source).or_default().below.remove(&watch);
        }
        for (name, sources) in watched.names {
            for source in sources {
                self.uses.entry(source).or_default().names.remove(&(watch, name.clone()));
            }
        }
    }

    /// Forgets what this round did not come to of an argument. Gives the watches that nothing needs any more.
    pub(super) fn forget_stale(&mut self, source: u32) -> Vec<i32> {
        let round = self.round;
        let uses = self.uses.entry(source).or_default();
        let below: Vec<i32> =
            uses.below.extract_if(|_, came| *came != round).map(|(watch, _)| watch).collect();
        let names: Vec<_> = uses.names.extract_if(|_, came| *came != round).map(|(key, _)| key).collect();
        let mut stale = Vec::new();
        for watch in &below {
            if let Some(watched) = self.watches.get_mut(watch) {
                watched.below.retain(|(of, _)| *of != source);
                stale.push(*watch);
            }
        }
        for (watch, name) in names {
            if let Some(watched) = self.watches.get_mut(&watch) {
                if let Some(sources) = watched.names.get_mut(&name) {
                    sources.retain(|of| *of != source);
                    if sources.is_empty() {
                        watched.names.remove(&name);
                    }
                }
                stale.push(watch);
            }
        }
        stale.retain(|watch| {
            let is_unused = |watched: &Watched| watched.below.is_empty() && watched.names.is_empty();
            let is_unused = self.watches.get(watch).is_some_and(is_unused);
            if is_unused {
                self.watches.remove(watch);
            }
            is_unused
        });
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_invariants(known: &Known) {
        for (watch, watched) in &known.watches {
            assert!(!watched.below.is_empty() || !watched.names.is_empty(), "{watch} is for nothing");
            assert!(watched.below.iter().all(|(source, _)| known.uses[source].below.contains_key(watch)));
            for (name, sources) in &watched.names {
                let key = (*watch, name.clone());
                assert!(!sources.is_empty());
                assert!(sources.iter().all(|source| known.uses[source].names.contains_key(&key)));
            }
        }
        let uses: usize = known.uses.values().map(|uses| uses.below.len() + uses.names.len()).sum();
        let of_watches = known.watches.values();
        let total = of_watches
            .map(|watched| watched.below.len() + watched.names.values().map(Vec::len).sum::<usize>())
            .sum::<usize>();
        assert_eq!(uses, total);
    }

    #[test]
    fn a_round_of_one_argument_forgets_what_it_did_not_come_to_and_nothing_of_others() {
        let mut known = Known::default();
        let look = |known: &mut Known, source: u32, release: i32| {
            known.round += 1;
            known.put_name(1, source, OsStr::new("current"));
            known.put_name(1, source, OsStr::new(&format!("release-{release}")));
            known.put_below(100 + release, source, Path::new(""));
            let stale = known.forget_stale(source);
            check_invariants(known);
            stale
        };
        assert!(look(&mut known, 7, 1).is_empty());
        assert!(look(&mut known, 8, 1).is_empty());
        // The other argument still needs the first release.
        assert!(look(&mut known, 7, 2).is_empty());
        assert_eq!(look(&mut known, 8, 3), [101]);
        for release in 4..50 {
            assert_eq!(look(&mut known, 8, release), [100 + release - 1]);
        }
        assert_eq!(known.watches.len(), 3);
        assert_eq!(known.watches[&1].names[OsStr::new("current")], [7, 8]);
        known.forget(1);
        check_invariants(&known);
        known.forget(102);
        known.forget(149);
        check_invariants(&known);
        assert!(known.watches.is_empty());
    }
}
