//! A partial that is interrupted and resumed, and whose disk fails.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use cjp2p_io::partial::known_tree::Content;
use cjp2p_io::partial::record::Record;
use cjp2p_wire::tree::{GROUP_LEN, Tree, TreeBuilder, group_leaves};

use super::super::prepare::{Prepared, Ready, prepare};
use super::*;
use crate::ranges::RangeArg;

fn paths_in(folder: &Path) -> Paths {
    Paths {
        target: folder.join("a"),
        partial: folder.join("a.part"),
        record: folder.join("a.record"),
        make_folders: false,
    }
}

fn go_on(id: &ContentId, paths: &Paths) -> Ready {
    match prepare(id, Ranges::default(), paths.clone(), false) {
        Ok(Prepared::Ready(ready)) => *ready,
        _ => panic!("nothing is in the way"),
    }
}

#[test]
fn what_an_interrupted_fetch_wrote_is_nobodys_before_it_is_verified_and_stays_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let bytes: Vec<u8> = (0..3 * GROUP_LEN + 100_000).map(|n| (n ^ (n >> 9)) as u8).collect();
    let length = bytes.len() as u64;
    let mut builder = TreeBuilder::new();
    builder.update(&bytes);
    let tree = builder.finish();
    let id = ContentId::Blake3(*tree.root());
    let top = tree.geometry().top_run();
    let span = tree.geometry().run_bytes(top);
    let run = &tree.prefix()[span.start as usize..span.end as usize];
    let there: RangeSet = [0..GROUP_LEN, 2 * GROUP_LEN..length].into_iter().collect();
    fs::write(&paths.partial, &bytes).unwrap();
    let mut record = Record::new(paths.record.clone());
    record.begin(&id, length, std::iter::once((top, run)), &there, &Sources::default()).unwrap();

    let recorded = || cjp2p_io::partial::record::read(&paths.record, &id).unwrap().unwrap().done;
    let Ready { mut partial, resume, recheck } = go_on(&id, &paths);
    let resume = resume.unwrap();
    assert_eq!(resume.done, std::iter::once(3 * GROUP_LEN..length).collect(), "only the end is read");
    assert_eq!(resume.unchecked, [0..GROUP_LEN, 2 * GROUP_LEN..3 * GROUP_LEN].into_iter().collect());
    assert_eq!(partial.read(0, 4096, true, &mut Vec::new()), Read::Absent);
    let told = partial.parts(0, 9).unwrap().ranges;
    assert!(told.iter().eq([&(3 * GROUP_LEN..length)]), "{told:?}");
    assert_eq!(partial.abandon(), Some(names::shown(&paths.partial)));
    drop((partial, recheck));
    assert_eq!(recorded(), there, "it is lost to nobody who did not wait for it");

    let Ready { mut partial, recheck, .. } = go_on(&id, &paths);
    partial.kept.file().write_all_at(&[!bytes[5000]], 5000).unwrap();
    let mut next = recheck;
    while let Some(recheck) = next {
        let checked = recheck.step();
        partial.on_checked(&checked);
        next = checked.rest;
    }
    let mut out = Vec::new();
    assert_eq!(
        partial.read(0, 4096, true, &mut out),
        Read::Absent,
        "of this group it is not known what is wrong"
    );
    assert_eq!(partial.read(2 * GROUP_LEN, 4096, true, &mut out), Read::Found { eof: Some(length) });
    assert_eq!(out, bytes[2 * GROUP_LEN as usize..][..4096]);
    assert_eq!(recorded(), std::iter::once(2 * GROUP_LEN..length).collect());
    assert!(partial.kept.resumed() == partial.kept.done() && partial.kept.unchecked().is_empty());
}

#[test]
fn what_was_written_before_the_disk_failed_is_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, block) = (ContentId::Sha256([7; 32]), 64 << 10);
    let Ready { mut partial, resume, .. } = go_on(&id, &paths);
    assert!(resume.is_none(), "there is nothing yet");
    partial.on_length(1 << 20);
    partial.stage(0, &vec![1; block]).unwrap();
    partial.stage(block as u64, &vec![2; block]).unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    partial.kept.write_to(full);
    partial.stage(2 * block as u64, &[3; 100]).unwrap();
    assert_eq!(partial.save().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let found = cjp2p_io::partial::record::read(&paths.record, &id).unwrap().unwrap();
    assert_eq!(found.done, std::iter::once(0..2 * block as u64).collect());
}

#[test]
fn before_the_last_step_all_is_written_and_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, length) = (ContentId::Sha256([7; 32]), 200_000);
    let Ready { mut partial, .. } = go_on(&id, &paths);
    // From the first block on there is a thread that writes, and nobody asks what it has written.
    partial.kept.write_to(partial.staged().unwrap());
    partial.on_length(length);
    partial.stage(0, &[1; 100_000]).unwrap();
    partial.stage(100_000, &[2; 100_000]).unwrap();
    let last_step = partial.publish(length);
    let recorded = cjp2p_io::partial::record::read(&paths.record, &id).unwrap().unwrap();
    assert_eq!(recorded.done, std::iter::once(0..length).collect());
    assert_eq!(fs::read(&paths.partial).unwrap(), [[1; 100_000], [2; 100_000]].concat());
    // The last step fails, and a later fetch has it all.
    fs::write(&paths.target, "appeared").unwrap();
    assert!(last_step().unwrap_err().message.contains("appeared meanwhile"));
    assert_eq!(cjp2p_io::partial::record::read(&paths.record, &id).unwrap(), Some(recorded));
}

#[test]
fn what_could_not_be_written_is_told_by_the_last_step_and_nothing_gets_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, length) = (ContentId::Sha256([7; 32]), 200_000);
    let Ready { mut partial, .. } = go_on(&id, &paths);
    partial.kept.write_to(OpenOptions::new().write(true).open("/dev/full").unwrap());
    partial.on_length(length);
    partial.stage(0, &[1; 200_000]).unwrap();
    let error = partial.publish(length)().unwrap_err();
    assert!(error.message.contains("No space left"), "{error}");
    assert!(!paths.target.exists() && paths.partial.exists());
}

/// Content, its tree, and all that verifies it.
fn content(length: u64) -> (Vec<u8>, Tree, TreeVerifier) {
    let bytes: Vec<u8> = (0..length).map(|n| (n ^ (n >> 9)) as u8).collect();
    let mut builder = TreeBuilder::new();
    builder.update(&bytes);
    let tree = builder.finish();
    let mut verifier = TreeVerifier::new(*tree.root(), tree.geometry());
    let (top, run) = top_of(&tree);
    verifier.insert_run(top, &run).unwrap();
    for group in (0..length.div_ceil(GROUP_LEN)).map(GroupIndex) {
        verifier.insert_run(Run::of_leaves(group), &leaves_of(&bytes, group)).unwrap();
    }
    (bytes, tree, verifier)
}

fn top_of(tree: &Tree) -> (Run, Vec<u8>) {
    let top = tree.geometry().top_run();
    let span = tree.geometry().run_bytes(top);
    (top, tree.prefix()[span.start as usize..span.end as usize].to_vec())
}

fn leaves_of(bytes: &[u8], group: GroupIndex) -> Vec<u8> {
    let part = &bytes[group.offset() as usize..bytes.len().min(group.next().offset() as usize)];
    group_leaves(group.first_leaf(), part).concat()
}

fn partial(id: &ContentId, paths: &Paths, ranges: &[&str], force: bool) -> Partial {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&paths.partial);
    let ranges = Ranges::new(ranges.iter().map(|text| RangeArg::parse(text).unwrap()).collect());
    Partial::new(id, ranges, paths.clone(), force, Arc::new(file.unwrap()), Sources::default())
}

/// Writes content with all of its tree.
fn write(partial: &mut Partial, bytes: &[u8], tree: &Tree, verifier: &TreeVerifier) {
    let length = bytes.len() as u64;
    let (top, run) = top_of(tree);
    partial.keep_run(length, top, &run).unwrap();
    let end = (length - 1) / LEAF_LEN * LEAF_LEN;
    for range in [end..length, 0..GROUP_LEN, GROUP_LEN..end] {
        let block = verifier.verify(range.start, &bytes[range.start as usize..range.end as usize]);
        partial.write(block.unwrap()).unwrap();
    }
}

#[test]
fn what_is_written_is_shared_with_its_tree_until_somebody_changes_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (bytes, tree, verifier) = content(2 * GROUP_LEN - 100);
    let length = bytes.len() as u64;
    let mut partial = partial(&ContentId::Blake3(*tree.root()), &paths, &[], false);
    partial.keep_run(length, Run::of_leaves(GroupIndex(0)), &leaves_of(&bytes, GroupIndex(0))).unwrap();
    write(&mut partial, &bytes, &tree, &verifier);
    assert_eq!(fs::read(&paths.partial).unwrap(), bytes);
    assert!(partial.kept.has(0..length) && !partial.kept.has(0..length + 1));
    assert_eq!(partial.kept.bytes(5..10).as_deref(), Some(&bytes[5..10]));
    let known = partial.kept.tree().unwrap();
    assert!(!known.has_run(Run::of_leaves(GroupIndex(0))), "it can be computed");
    assert_eq!(partial.window(0).unwrap().range, 0..(256 << 10));

    let whole = verifier.read(0..tree.geometry().tree_length()).unwrap();
    let second = tree.geometry().run_bytes(Run::of_leaves(GroupIndex(1)));
    let mut out = Vec::new();
    let asked = (second.end - second.start) as usize;
    let mut read = |partial: &mut Partial| partial.read_tree(second.start, asked, 0, &mut out);
    assert_eq!(read(&mut partial), Err(NoTree::Needs(GroupIndex(1))));
    let group = partial.group(GroupIndex(1)).unwrap();
    assert_eq!(group.range, GROUP_LEN..length);
    partial.take_leaves(GroupIndex(1), group.hash());
    assert_eq!(read(&mut partial), Ok(tree.geometry().tree_length()));
    assert_eq!(out, whole[second.start as usize..second.end as usize]);

    partial.publish(length)().unwrap();
    partial.on_published();
    let mut out = Vec::new();
    assert_eq!(partial.read(0, 100, true, &mut out), Read::Found { eof: Some(length) });
    assert_eq!(out, bytes[..100]);
    out.clear();
    assert_eq!(partial.read(length, 100, true, &mut out), Read::Found { eof: Some(length) });
    assert!(out.is_empty(), "there is nothing after the end");
    OpenOptions::new().append(true).open(&paths.target).unwrap().set_len(length - 1).unwrap();
    assert_eq!(partial.read(0, 100, true, &mut out), Read::Absent);
    assert_eq!(partial.read_tree(0, 64, 0, &mut out), Err(NoTree::Unknown));
    assert!(partial.parts(0, 9).is_none() && partial.group(GroupIndex(1)).is_none());
}

#[test]
fn bytes_that_cannot_be_read_any_more_are_absent_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (bytes, tree, verifier) = content(2 * GROUP_LEN - 100);
    let mut partial = partial(&ContentId::Blake3(*tree.root()), &paths, &[], false);
    write(&mut partial, &bytes, &tree, &verifier);
    partial.kept.file().set_len(50).unwrap();
    assert_eq!(partial.read(0, 100, true, &mut Vec::new()), Read::Absent);
    assert_eq!(partial.read(0, 100, false, &mut Vec::new()), Read::Absent);
}

#[test]
fn of_ranges_another_file_is_in_the_way_as_soon_as_their_length_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let id = ContentId::Blake3([7; 32]);
    fs::write(&paths.target, [1; 10]).unwrap();
    let check = |ranges: &[&str], force| partial(&id, &paths, ranges, force).check_target(1000);
    check(&["0-9"], false).unwrap();
    check(&["0-10"], true).unwrap();
    check(&[], false).unwrap();
    let error = check(&["0-10"], false).unwrap_err();
    assert!(error.to_string().starts_with(SOMETHING_ELSE), "{error}");
    fs::remove_file(&paths.target).unwrap();
    check(&["0-10"], false).unwrap();
}

#[test]
fn a_partial_is_kept_for_what_else_an_interrupted_fetch_had() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let id = ContentId::Blake3([7; 32]);
    let length = 1 << 20;
    assert!(partial(&id, &paths, &[], false).excerpt(length).is_none());
    let partial = partial(&id, &paths, &["20000-20009"], false);
    for (resumed, keeps) in [
        (0..0, false),
        (16384..20480, false),
        (16384..20481, true),
        (16383..20480, true),
        (length - PROOF_LEN..length, false),
        (length - PROOF_LEN - 1..length, true),
    ] {
        let there = std::iter::once(resumed.clone()).filter(|range| !range.is_empty()).collect();
        let excerpt = partial.excerpt_beside(&there, length).unwrap();
        assert_eq!(excerpt.ranges, std::iter::once(20000..20010).collect());
        assert_eq!(excerpt.keeps_partial, keeps, "{resumed:?}");
    }
}

#[test]
fn there_is_a_record_of_what_is_long_and_has_an_id_and_it_grows_without_being_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, name) = (ContentId::Sha256([7; 32]), ContentId::parse("name").unwrap());
    for (id, length, has_record) in
        [(&id, PROOF_LEN, false), (&id, PROOF_LEN + 1, true), (&name, 1 << 20, false)]
    {
        let mut partial = partial(id, &paths, &[], false);
        partial.on_length(length);
        partial.stage(0, &[1; 4096]).unwrap();
        assert_eq!(paths.record.exists(), has_record, "{length}");
        partial.abandon();
    }
    let mut partial = partial(&id, &paths, &[], false);
    partial.on_length(1 << 20);
    partial.stage(0, &[1; 4096]).unwrap();
    let before = fs::metadata(&paths.record).unwrap().ino();
    partial.stage(8192, &[1; 4096]).unwrap();
    partial.save().unwrap();
    assert_eq!(fs::metadata(&paths.record).unwrap().ino(), before);
    partial.restage().unwrap();
    assert!(!paths.record.exists());
    assert_eq!((fs::metadata(&paths.partial).unwrap().len(), partial.kept.length()), (0, None));
    partial.kept.write_to(partial.staged().unwrap());
    let mut written = partial.stage(0, &[2; 4096]).unwrap();
    written.extend(partial.settle_staged().unwrap());
    assert!(written.iter().eq([&(0..4096)]), "{written:?}");
}

#[test]
fn what_is_worth_going_on_with_is_kept_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, name) = (ContentId::Sha256([7; 32]), ContentId::parse("name").unwrap());
    for (id, staged, is_kept) in
        [(&id, PROOF_LEN, false), (&id, PROOF_LEN + 1, true), (&name, PROOF_LEN + 1, false)]
    {
        let mut partial = partial(id, &paths, &[], false);
        partial.on_length(1 << 20);
        partial.stage(0, &vec![1; staged as usize]).unwrap();
        assert_eq!(partial.abandon(), is_kept.then(|| names::shown(&paths.partial)));
        assert_eq!((paths.partial.exists(), paths.record.exists()), (is_kept, is_kept));
    }
}

#[test]
fn the_record_has_runs_that_are_right_and_those_who_send() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (bytes, tree, verifier) = content(2 * GROUP_LEN - 100);
    let (id, length) = (ContentId::Blake3(*tree.root()), bytes.len() as u64);
    let mut partial = partial(&id, &paths, &[], false);
    let (one, other) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 2], 2).into());
    write(&mut partial, &bytes, &tree, &verifier);
    partial.note_sources(&[one, other], 1000);
    partial.forget_source(other);
    assert!(partial.sources().iter().eq([(one, 1000)]));
    let leaves = leaves_of(&bytes, GroupIndex(1));
    partial.keep_run(length, Run::of_leaves(GroupIndex(1)), &leaves).unwrap();
    partial.keep_run(length, Run::of_leaves(GroupIndex(0)), &leaves).unwrap();
    partial.save().unwrap();
    let found = cjp2p_io::partial::record::read(&paths.record, &id).unwrap().unwrap();
    assert_eq!(found.runs, [top_of(&tree), (Run::of_leaves(GroupIndex(1)), leaves)]);
    assert_eq!(&found.sources, partial.sources());

    // Of what was staged, once it is right.
    let mut staged = self::partial(&ContentId::Sha256([7; 32]), &paths, &[], false);
    staged.on_length(length);
    staged.stage(0, &bytes).unwrap();
    assert_eq!(staged.read_tree(0, 64, 0, &mut Vec::new()), Err(NoTree::Unknown));
    assert!(staged.keep_tree(verifier));
    assert_eq!(staged.read_tree(0, 64, 0, &mut Vec::new()), Ok(tree.geometry().tree_length()));
}
