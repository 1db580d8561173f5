//! A partial that is interrupted and resumed, and whose disk fails.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cjp2p_wire::tree::TreeBuilder;

use super::super::prepare::{Prepared, Ready, prepare};
use super::*;

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

    let recorded = || super::super::record::read(&paths.record, &id).unwrap().unwrap().done;
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
    partial.file.write_all_at(&[!bytes[5000]], 5000).unwrap();
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
    assert!(partial.resumed == partial.done && partial.unchecked.is_empty());
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
    partial.behind = WriteBehind::grown_up(full);
    partial.behind.write(2 * block as u64, &[3; 100]).unwrap();
    assert_eq!(partial.save().unwrap_err().kind(), io::ErrorKind::StorageFull);
    let found = super::super::record::read(&paths.record, &id).unwrap().unwrap();
    assert_eq!(found.done, std::iter::once(0..2 * block as u64).collect());
}

#[test]
fn before_the_last_step_all_is_written_and_in_the_record() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, length) = (ContentId::Sha256([7; 32]), 200_000);
    let Ready { mut partial, .. } = go_on(&id, &paths);
    // From the first block on there is a thread that writes, and nobody asks what it has written.
    partial.behind = WriteBehind::grown_up(partial.file.try_clone().unwrap());
    partial.on_length(length);
    partial.stage(0, &[1; 100_000]).unwrap();
    partial.stage(100_000, &[2; 100_000]).unwrap();
    let last_step = partial.publish(length);
    let recorded = super::super::record::read(&paths.record, &id).unwrap().unwrap();
    assert_eq!(recorded.done, std::iter::once(0..length).collect());
    assert_eq!(fs::read(&paths.partial).unwrap(), [[1; 100_000], [2; 100_000]].concat());
    // The last step fails, and a later fetch has it all.
    fs::write(&paths.target, "appeared").unwrap();
    assert!(last_step().unwrap_err().message.contains("appeared meanwhile"));
    assert_eq!(super::super::record::read(&paths.record, &id).unwrap(), Some(recorded));
}

#[test]
fn what_could_not_be_written_is_told_by_the_last_step_and_nothing_gets_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let paths = paths_in(folder.path());
    let (id, length) = (ContentId::Sha256([7; 32]), 200_000);
    let Ready { mut partial, .. } = go_on(&id, &paths);
    partial.behind = WriteBehind::grown_up(OpenOptions::new().write(true).open("/dev/full").unwrap());
    partial.on_length(length);
    partial.stage(0, &[1; 200_000]).unwrap();
    let error = partial.publish(length)().unwrap_err();
    assert!(error.message.contains("No space left"), "{error}");
    assert!(!paths.target.exists() && paths.partial.exists());
}
