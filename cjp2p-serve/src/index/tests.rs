//! Files with the same content or the same name, files that change, and lists of them in parts.

use super::list::FILES_LOOKED_AT;
use super::*;
use crate::open::Root;
use crate::place::Source;
use cjp2p_io::identity::Stamp;
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::PathBuf;

fn source() -> Arc<Source> {
    Arc::new(Source::open(0, Path::new("/")).unwrap())
}

fn place(source: &Arc<Source>, path: &str) -> Place {
    Place { source: source.clone(), relative: Path::new(path).into(), target: None }
}

fn version(number: u8) -> Identity {
    let stamp = Stamp { seconds: number.into(), nanos: 1 };
    Identity { device: 1, inode: 1, size: number.into(), modified: stamp, changed: stamp }
}

fn ids(content: u8) -> Ids {
    Ids { blake3: [content; 32], sha256: [!content; 32] }
}

fn name(text: &str) -> ContentId {
    ContentId::parse(text).unwrap()
}

#[test]
fn when_one_of_two_files_with_the_same_content_goes_the_other_answers() {
    let (source, mut index) = (source(), Index::new(true));
    let Seen::New(a) = index.see(place(&source, "a"), version(1), 1) else { panic!() };
    let Seen::New(b) = index.see(place(&source, "b"), version(1), 1) else { panic!() };
    index.share(a, ids(7));
    index.share(b, ids(7));
    let id = ContentId::Sha256(ids(7).sha256);
    assert_eq!(index.find(&id).collect::<Vec<_>>(), [a, b]);
    index.remove(a);
    assert_eq!(index.find(&id).collect::<Vec<_>>(), [b]);
    index.check_invariants();
}

#[test]
fn a_name_that_two_files_have_is_shared_again_when_one_of_them_goes() {
    let (source, mut index) = (source(), Index::new(true));
    let Seen::New(a) = index.see(place(&source, "x/readme"), version(1), 1) else { panic!() };
    index.share(a, ids(1));
    assert_eq!(index.find(&name("readme")).collect::<Vec<_>>(), [a]);
    let Seen::New(b) = index.see(place(&source, "y/readme"), version(2), 1) else { panic!() };
    assert_eq!(index.find(&name("readme")).count(), 0, "even before the second is hashed");
    index.share(b, ids(2));
    assert_eq!(index.find(&name("readme")).count(), 0);
    index.remove(a);
    assert_eq!(index.find(&name("readme")).collect::<Vec<_>>(), [b]);
}

#[test]
fn a_file_named_like_a_hash_is_not_shared_by_name() {
    let (source, mut index) = (source(), Index::new(true));
    let digits = "ab".repeat(32);
    let Seen::New(a) = index.see(place(&source, &digits), version(1), 1) else { panic!() };
    index.share(a, ids(1));
    assert_eq!(index.find(&name(&digits)).count(), 0);
}

#[test]
fn a_changed_file_loses_its_ids_and_its_number() {
    let (source, mut index) = (source(), Index::new(true));
    let Seen::New(old) = index.see(place(&source, "a"), version(1), 1) else { panic!() };
    index.share(old, ids(1));
    assert!(matches!(index.see(place(&source, "a"), version(1), 2), Seen::Same(no) if no == old));
    let Seen::Changed { new, ids: Some(lost), .. } = index.see(place(&source, "a"), version(2), 3) else {
        panic!()
    };
    assert_eq!(lost, ids(1));
    assert_eq!(index.find(&name("a")).count(), 0);
    assert!(index.share(old, ids(1)).is_none(), "a late result for the old state");
    assert!(index.share(new, ids(2)).is_some());
    assert_eq!(index.find(&name("a")).collect::<Vec<_>>(), [new]);
}

#[test]
fn a_list_in_parts_holds_everything_once() {
    let (source, mut index) = (source(), Index::new(true));
    for number in 0..100u8 {
        let path = format!("{}/file-{number}", number % 3);
        let Seen::New(no) = index.see(place(&source, &path), version(number), 1) else { panic!() };
        index.share(no, ids(number / 2));
    }
    let (all, end) = index.list(None, usize::MAX);
    assert_eq!((all.len(), end), (150, None));
    for limit in [2, 3, 4, 7, 149, 150] {
        let (mut parts, mut last) = (Vec::new(), None);
        loop {
            let (part, end) = index.list(last, limit);
            assert!(part.len() <= limit);
            parts.extend(part);
            last = end;
            if end.is_none() {
                break;
            }
        }
        assert_eq!(parts, all, "limit {limit}");
    }
}

#[test]
fn parts_of_a_list_make_the_whole_while_files_come_and_go() {
    let (source, mut index) = (source(), Index::new(true));
    let mut numbers = Vec::new();
    for number in 0..200u8 {
        let Seen::New(no) = index.see(place(&source, &format!("file {number}")), version(number), 1) else {
            panic!()
        };
        // Two of each, and twenty of one.
        index.share(no, ids(if number < 180 { number / 2 } else { 99 }));
        numbers.push(no);
    }
    index.check_invariants();
    for limit in [1, 2, 7, 90, 91, 92] {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let part = index.list_after(after.as_ref(), limit);
            assert!(part.contents.len() <= limit);
            assert_eq!(part.total, 91);
            after = part.contents.last().map(|content| content.id.clone());
            all.extend(part.contents);
            if !part.goes_on {
                break;
            }
        }
        let mut hashes: Vec<_> = all.iter().map(|content| content.id.clone()).collect();
        hashes.dedup();
        assert_eq!(hashes.len(), 91, "limit {limit}");
        for content in &all {
            let many = content.id == ContentId::Blake3(ids(99).blake3);
            assert_eq!(content.names.len(), if many { FILES_LOOKED_AT } else { 2 });
        }
    }
    // What was listed last goes, and others with it.
    let part = index.list_after(None, 10);
    let last = part.contents[9].id.clone();
    for no in &numbers[..40] {
        index.remove(*no);
    }
    index.check_invariants();
    let rest = index.list_after(Some(&last), 1000);
    assert_eq!((rest.contents.len(), rest.goes_on, rest.total), (71, false, 71));
    assert_eq!(index.list_after(Some(&name("nothing of ours")), 1000).contents.len(), 71);
}

#[test]
fn hashes_and_names_that_begin_alike_are_told_apart() {
    let (source, mut index) = (source(), Index::new(true));
    let alike = |last: u8| {
        let mut hash = [7; 32];
        hash[31] = last;
        hash
    };
    let share = |index: &mut Index, path: &str, last| {
        let Seen::New(no) = index.see(place(&source, path), version(1), 1) else { panic!() };
        index.share(no, Ids { blake3: alike(last), sha256: alike(!last) });
        no
    };
    let (a, b) = (share(&mut index, "a", 1), share(&mut index, "b", 2));
    for (no, last) in [(a, 1), (b, 2)] {
        assert_eq!(index.find(&ContentId::Blake3(alike(last))).collect::<Vec<_>>(), [no]);
        assert_eq!(index.find(&ContentId::Tree(alike(last))).collect::<Vec<_>>(), [no]);
        assert_eq!(index.find(&ContentId::Sha256(alike(!last))).collect::<Vec<_>>(), [no]);
    }
    assert_eq!(index.find(&ContentId::Blake3(alike(3))).count(), 0);
    assert_eq!(index.list(None, 9).0.len(), 4);
    // Two with one short key are seldom met, so some are made up.
    let key = index.short_key("a", b.slot);
    index.names.insert(key);
    let key = index.short_key(alike(!1), b.slot);
    index.sha256.insert(key);
    assert_eq!(index.find(&ContentId::Sha256(alike(!1))).collect::<Vec<_>>(), [a]);
    assert_eq!(index.find(&name("a")).collect::<Vec<_>>(), [a]);
}

#[test]
fn a_file_takes_little_memory() {
    assert!(size_of::<Option<Entry>>() <= 144, "{} bytes", size_of::<Option<Entry>>());
    assert_eq!((size_of::<Key>(), size_of::<ShortKey>()), (12, 8));
    // All of one folder share what is known of it.
    let (source, mut index) = (source(), Index::new(true));
    for path in ["d/a", "d/b", "d/c"] {
        index.see(place(&source, path), version(1), 1);
    }
    let folder = index.in_slot(0).unwrap().folder.clone();
    assert!((0..3).all(|slot| Arc::ptr_eq(&index.in_slot(slot).unwrap().folder, &folder)));
}

#[test]
fn of_many_files_each_is_in_its_slot_and_slots_are_used_again() {
    let (source, mut index) = (source(), Index::new(true));
    let path = |number: u32| format!("{}/file {number}", number % 7);
    let see = |index: &mut Index, number: u32| {
        let Seen::New(no) = index.see(place(&source, &path(number)), version(1), 1) else { panic!() };
        no
    };
    let numbers: Vec<FileNo> = (0..1000).map(|number| see(&mut index, number)).collect();
    for no in numbers.iter().step_by(3) {
        assert!(index.remove(*no).is_some());
    }
    assert_eq!(index.len(), 666);
    let others: Vec<FileNo> = (1000..1334).map(|number| see(&mut index, number)).collect();
    assert_eq!((index.len(), index.files.len()), (1000, 1000));
    assert!(others.iter().all(|no| !numbers.contains(no)));
    for (number, no) in (0..).zip(numbers).filter(|(number, _)| number % 3 > 0).chain((1000..).zip(others)) {
        assert_eq!(index.at(0, Path::new(&path(number))), Some(no));
    }
    index.check_invariants();
}

#[test]
fn files_of_one_folder_may_be_on_different_devices_and_behind_links() {
    let (source, mut index) = (source(), Index::new(true));
    let linked = |path: &str, to: &str| {
        let root = Arc::new(Root::open("/".into()).unwrap());
        Place { target: Some(Arc::new(Target { root, path: to.into() })), ..place(&source, path) }
    };
    let on = |device: u64| Identity {
        device,
        modified: Stamp { seconds: -5, nanos: 1 },
        changed: Stamp { seconds: 6, nanos: 2 },
        ..version(7)
    };
    let files = [(place(&source, "d/a"), on(1)), (linked("d/b", "x"), on(2)), (place(&source, "d/c"), on(1))];
    let mut numbers = Vec::new();
    for (place, identity) in &files {
        let Seen::New(no) = index.see(place.clone(), *identity, 1) else { panic!() };
        numbers.push(no);
    }
    index.check_invariants();
    for ((place, identity), no) in files.iter().zip(&numbers) {
        assert!(matches!(index.see(place.clone(), *identity, 2), Seen::Same(same) if same == *no));
        let (file, _) = index.get(*no).unwrap();
        assert_eq!((file.identity, &file.place.relative), (*identity, &place.relative));
        assert!(Target::is_same(file.place.target.as_deref(), place.target.as_deref()));
    }
    assert!(matches!(index.see(linked("d/b", "y"), on(2), 3), Seen::Changed { .. }));
    let Seen::Changed { file, .. } = index.see(place(&source, "d/b"), on(2), 4) else { panic!() };
    assert_eq!(file.place.target.as_ref().unwrap().path, Path::new("y"));
    // What took the place of the folder has files of its own.
    let new = self::source();
    for path in ["d/c", "d/a", "d/b"] {
        let device = if path == "d/b" { 2 } else { 1 };
        let Seen::Changed { file, new: no, .. } = index.see(place(&new, path), on(device), 5) else {
            panic!()
        };
        assert!(Arc::ptr_eq(&file.place.source, &source));
        let (file, _) = index.get(no).unwrap();
        assert!(Arc::ptr_eq(&file.place.source, &new) && file.place.target.is_none());
        index.check_invariants();
    }
}

#[derive(Clone, Debug)]
enum Step {
    See { path: usize, version: u8 },
    Share { path: usize, content: u8 },
    Remove { path: usize },
    Walk { below: usize, of: Vec<usize> },
}

const PATHS: [&str; 8] = ["a", "b", "d/a", "d/b", "d/e/a", "d.x/b", "d/e", "f"];
const BELOW: [&str; 5] = ["", "d", "d/e", "a", "none"];

fn any_step() -> impl Strategy<Value = Step> {
    let path = || 0..PATHS.len();
    prop_oneof![
        (path(), 0u8..4).prop_map(|(path, version)| Step::See { path, version }),
        (path(), 0u8..4).prop_map(|(path, content)| Step::Share { path, content }),
        path().prop_map(|path| Step::Remove { path }),
        (0..BELOW.len(), prop::collection::vec(path(), 0..5))
            .prop_map(|(below, of)| Step::Walk { below, of }),
    ]
}

proptest! {
    /// The model is a list of files, searched from end to end for each question.
    #[test]
    fn agrees_with_a_list_of_files(steps in prop::collection::vec(any_step(), 0..60)) {
        let (source, mut index) = (source(), Index::new(true));
        let mut model: Vec<(&str, u8, Option<u8>)> = Vec::new();
        let mut numbers = HashSet::new();
        for (walk, step) in steps.into_iter().enumerate() {
            let walk = walk as u32 + 1;
            match step {
                Step::See { path, version: number } => {
                    let path = PATHS[path];
                    let seen = index.see(place(&source, path), version(number), walk);
                    match model.iter_mut().find(|file| file.0 == path) {
                        None => {
                            let Seen::New(no) = seen else { return Err(TestCaseError::fail("not new")) };
                            prop_assert!(numbers.insert(no), "a number was given twice");
                            model.push((path, number, None));
                        }
                        Some(file) if file.1 == number => prop_assert!(matches!(seen, Seen::Same(_))),
                        Some(file) => {
                            let Seen::Changed { old, ids: lost, new, .. } = seen else {
                                return Err(TestCaseError::fail("not changed"))
                            };
                            prop_assert_eq!(lost, file.2.map(ids));
                            prop_assert!(numbers.insert(new), "a number was given twice");
                            prop_assert!(index.get(old).is_none() && index.look(old).is_none());
                            prop_assert!(index.share(old, ids(9)).is_none() && index.remove(old).is_none());
                            *file = (path, number, None);
                        }
                    }
                }
                Step::Share { path, content } => {
                    let no = index.at(0, Path::new(PATHS[path]));
                    let file = model.iter_mut().find(|file| file.0 == PATHS[path]);
                    prop_assert_eq!(no.is_some(), file.is_some());
                    if let (Some(no), Some(file)) = (no, file) {
                        index.share(no, ids(content));
                        file.2 = Some(content);
                    }
                }
                Step::Remove { path } => {
                    if let Some(no) = index.at(0, Path::new(PATHS[path])) {
                        prop_assert!(index.remove(no).is_some());
                    }
                    model.retain(|file| file.0 != PATHS[path]);
                }
                Step::Walk { below, of } => {
                    let below = Path::new(BELOW[below]);
                    for path in &of {
                        if let Some(file) = model.iter().find(|file| file.0 == PATHS[*path]) {
                            index.see(place(&source, file.0), version(file.1), walk);
                        }
                    }
                    let mut unseen: Vec<PathBuf> = index.unseen(0, below, walk).into_iter()
                        .map(|no| index.get(no).unwrap().0.place.relative.to_path_buf()).collect();
                    let mut expected: Vec<PathBuf> = model.iter()
                        .filter(|file| Path::new(file.0).starts_with(below))
                        .filter(|file| !of.iter().any(|path| PATHS[*path] == file.0))
                        .map(|file| file.0.into()).collect();
                    unseen.sort();
                    expected.sort();
                    prop_assert_eq!(unseen, expected);
                }
            }
            index.check_invariants();
            prop_assert_eq!(index.len(), model.len());
            for content in 0u8..4 {
                let expected = model.iter().filter(|file| file.2 == Some(content)).count();
                prop_assert_eq!(index.find(&ContentId::Blake3(ids(content).blake3)).count(), expected);
                prop_assert_eq!(index.find(&ContentId::Tree(ids(content).blake3)).count(), expected);
                prop_assert_eq!(index.find(&ContentId::Sha256(ids(content).sha256)).count(), expected);
            }
            for text in ["a", "b", "e", "f"] {
                let mut having = model.iter().filter(|file| file.0.rsplit('/').next() == Some(text));
                let only = match (having.next(), having.next()) {
                    (Some(file), None) if file.2.is_some() => index.at(0, Path::new(file.0)),
                    _ => None,
                };
                let id = name(text);
                prop_assert_eq!(index.find(&id).next(), only);
            }
        }
    }
}
