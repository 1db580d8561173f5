//! Random folders, changes and lists, beside a model that is slow and obviously right.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cjp2p_cli::Exit;
use proptest::prelude::*;

use super::super::Options;
use super::support::{Thing, Things, World, found, insert, make};

const NAMES: [&[u8]; 5] = [b"a", b"a-b", b"b", b"\xff", b"c\nd"];

fn path() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..NAMES.len(), 1..4)
        .prop_map(|names| names.iter().map(|nth| NAMES[*nth]).collect::<Vec<_>>().join(&b'/'))
}

fn thing() -> impl Strategy<Value = Thing> {
    let content = prop_oneof![
        Just(Vec::new()),
        Just(b"x".to_vec()),
        Just(b"y".to_vec()),
        Just(b"other".to_vec()),
        Just(vec![7; 1500])
    ];
    prop_oneof![
        4 => (content, any::<bool>()).prop_map(|(bytes, exec)| Thing::File(bytes, exec)),
        1 => prop_oneof![Just(b"x".to_vec()), Just(b"y".to_vec())].prop_map(Thing::Link),
        1 => Just(Thing::Folder),
    ]
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Puts these where they can be: the first to have a name keeps it.
fn tree_of(these: Vec<(Vec<u8>, Thing)>) -> Things {
    let mut things = Things::new();
    for (path, thing) in these {
        let is_below_a_file =
            things.iter().any(|(other, thing)| *thing != Thing::Folder && is_below(&path, other));
        if !is_below_a_file && !things.contains_key(&path) {
            insert(&mut things, &path, thing);
        }
    }
    things
}

fn trees() -> impl Strategy<Value = Things> {
    proptest::collection::vec((path(), thing()), 0..12).prop_map(tree_of)
}

/// What somebody does to a folder.
#[derive(Clone, Debug)]
enum Edit {
    Put(Vec<u8>, Thing),
    Remove(Vec<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (path(), thing()).prop_map(|(path, thing)| Edit::Put(path, thing)),
        path().prop_map(Edit::Remove)
    ];
    proptest::collection::vec(edit, 0..5)
}

fn remove(things: &mut Things, path: &[u8]) {
    things.retain(|other, _| other != path && !is_below(other, path));
}

fn edited(mut things: Things, edits: &[Edit]) -> Things {
    for edit in edits {
        match edit {
            Edit::Remove(path) => remove(&mut things, path),
            Edit::Put(path, thing) => {
                let above: Vec<Vec<u8>> = things
                    .iter()
                    .filter(|(other, thing)| **thing != Thing::Folder && is_below(path, other))
                    .map(|(other, _)| other.clone())
                    .collect();
                above.iter().for_each(|path| remove(&mut things, path));
                remove(&mut things, path);
                insert(&mut things, path, thing.clone());
            }
        }
    }
    things
}

/// Changes the folder on the disk, and nothing that stays the same.
fn apply(folder: &Path, before: &Things, after: &Things) {
    for (path, thing) in before.iter().rev() {
        if after.get(path) != Some(thing) {
            let path = folder.join(Path::new(std::ffi::OsStr::from_bytes(path)));
            match thing {
                Thing::Folder => fs::remove_dir(path).unwrap(),
                _ => fs::remove_file(path).unwrap(),
            }
        }
    }
    make(
        folder,
        &after.iter().filter(|(path, thing)| before.get(*path) != Some(*thing)).map(clone).collect(),
    );
}

fn clone((path, thing): (&Vec<u8>, &Thing)) -> (Vec<u8>, Thing) {
    (path.clone(), thing.clone())
}

/// Whether two are the same but for their mode.
fn is_same(one: &Thing, other: &Thing) -> bool {
    match (one, other) {
        (Thing::File(one, _), Thing::File(other, _)) => one == other,
        _ => one == other,
    }
}

/// What is to be there in the end: `None` where nothing is done. And whether all was done.
fn model(there: &Things, ours: &Things, list: &Things, options: &Options) -> Option<(Things, bool)> {
    let may_lose = options.force || options.backup.is_some();
    // What was written here, is not in the list, and is something else now.
    let is_changed = |path: &Vec<u8>, thing: &Thing| {
        let was = ours.get(path).filter(|was| **was != Thing::Folder);
        !may_lose
            && *thing != Thing::Folder
            && !list.contains_key(path)
            && was.is_some_and(|was| !is_same(was, thing))
    };
    let holds_changes = |folder: &Vec<u8>| {
        there.iter().any(|(path, thing)| is_below(path, folder) && is_changed(path, thing))
    };
    let mut result = there.clone();
    let mut left: Vec<&Vec<u8>> = Vec::new();
    for (path, wanted) in list {
        if left.iter().any(|folder| is_below(path, folder)) {
            continue;
        }
        let may_replace = match result.get(path) {
            None => true,
            Some(found) if is_same(found, wanted) => {
                result.insert(path.clone(), wanted.clone());
                continue;
            }
            Some(Thing::Folder) => {
                let is_empty = !there.keys().any(|other| is_below(other, path));
                may_lose || is_empty || (options.delete && !holds_changes(path))
            }
            Some(found) => may_lose || ours.get(path).is_some_and(|was| is_same(was, found)),
        };
        if may_replace {
            remove(&mut result, path);
            result.insert(path.clone(), wanted.clone());
        } else {
            left.push(path);
        }
    }
    let mut is_all = left.is_empty();
    if !options.delete {
        return Some((result, is_all));
    }
    let is_in_place_of_listed =
        |path: &Vec<u8>| list.iter().any(|(other, thing)| *thing != Thing::Folder && is_below(path, other));
    let extras: Vec<&Vec<u8>> =
        there.keys().filter(|path| !list.contains_key(*path) && !is_in_place_of_listed(path)).collect();
    // A folder that goes is one of them, and so is all that is in it.
    if extras.len() * 2 > there.len() && !options.force {
        return None;
    }
    let tops: Vec<&Vec<u8>> =
        extras.iter().copied().filter(|path| !extras.iter().any(|other| is_below(path, other))).collect();
    for path in tops {
        if is_changed(path, &there[path]) || holds_changes(path) {
            is_all = false;
        } else {
            remove(&mut result, path);
        }
    }
    Some((result, is_all))
}

proptest! {
    // `PROPTEST_CASES` tries more.
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").map_or(48, |_| ProptestConfig::default().cases)
    ))]

    #[test]
    fn any_folder_becomes_what_the_model_says(
        first in trees(),
        edits in edits(),
        changes in edits(),
        other in proptest::option::of(trees()),
        (delete, force, keeps, checksum) in any::<(bool, bool, bool, bool)>(),
    ) {
        let mut world = World::new();
        prop_assert_eq!(world.fetch(&first, Options::default()).exit(), Exit::Done);
        prop_assert_eq!(&world.found(), &first);
        let there = edited(first.clone(), &edits);
        apply(&world.to(), &first, &there);
        prop_assert_eq!(&world.found(), &there);
        let list = other.unwrap_or_else(|| edited(first.clone(), &changes));
        let backup = keeps.then(|| world.at("kept"));
        let options = Options { delete, force, backup, checksum, ..Options::default() };

        // What would be done is neither done nor more than that.
        let dry = world.fetch(&list, Options { dry_run: true, ..options.clone() });
        prop_assert_eq!(&world.found(), &there);
        let expected = model(&there, &first, &list, &options);
        let ended = world.fetch(&list, options.clone());
        let found_now = world.found();
        match expected {
            None => {
                prop_assert!(ended.result.is_err());
                prop_assert_eq!(&found_now, &there);
            }
            Some((expected, is_all)) => {
                prop_assert_eq!(&found_now, &expected, "{:?}", ended);
                prop_assert_eq!(ended.exit() == Exit::Done, is_all, "{:?}", ended);
                prop_assert_eq!(dry.would().is_empty(), found_now == there, "{:?}", dry);
                prop_assert_eq!(dry.refused().len(), ended.refused().len());
            }
        }
        // Nothing of the user's is lost where it is to be kept.
        if options.backup.is_some() && !force {
            let kept: BTreeSet<Vec<u8>> = [&found_now, &found(&world.at("kept"))]
                .into_iter()
                .flat_map(|things| things.values())
                .filter_map(|thing| match thing { Thing::File(bytes, _) => Some(bytes.clone()), _ => None })
                .collect();
            for thing in there.values() {
                if let Thing::File(bytes, _) = thing {
                    prop_assert!(kept.contains(bytes));
                }
            }
        }
        // By force it becomes the list, and the next run finds nothing to do.
        let all = Options { delete: true, force: true, ..Options::default() };
        prop_assert_eq!(world.fetch(&list, all).exit(), Exit::Done);
        prop_assert_eq!(&world.found(), &list);
        let again = world.fetch(&list, Options { delete: true, ..Options::default() });
        prop_assert_eq!(again.exit(), Exit::Done);
        prop_assert!(again.asked.is_empty());
        let summary = again.result.expect("it is done");
        prop_assert_eq!((summary.kept as usize, summary.fetched + summary.linked + summary.deleted), (list.len(), 0));
    }
}
