//! Ids remembered between runs: whatever happened to the file, no file is taken for what it is not.

use std::fs;

use cjp2p_io::identity::{Identity, Stamp};
use cjp2p_serve::file::Ids;
use cjp2p_serve::hash_store::HashStore;

use super::input::Input;
use super::mutate::edit;
use super::scratch::scratch;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = scratch();
    let (store, path) = (HashStore::new(Some(folder.path())), folder.path().join("hashes-1"));
    let count = input.below(8);
    let files: Vec<(Identity, Ids)> = (0..count).map(|inode| file(inode, &mut input)).collect();
    for some in files.chunks(3) {
        store.append(some).expect("the scratch folder can be written");
    }
    let is_changed = !input.is_empty();
    if is_changed {
        let mut text = fs::read(&path).unwrap_or_default();
        match input.byte() % 4 {
            0 => text.extend_from_slice(input.rest()),
            1 => text = input.rest().to_vec(),
            _ => edit(&mut text, &mut input),
        }
        fs::write(&path, text).expect("the scratch folder can be written");
    }
    let find = || {
        let mut found = store.load().expect("the store can be read");
        let ids: Vec<Option<Ids>> =
            files.iter().map(|(identity, _)| found.find(identity).map(|(ids, _)| ids)).collect();
        if let Some(roots) = found.roots_after_tidying() {
            assert!(
                ids.iter().flatten().all(|ids| roots.contains(&ids.blake3)),
                "a tree in use would be removed"
            );
        }
        ids
    };
    let found = find();
    for (found, (identity, ids)) in found.iter().zip(&files) {
        assert!(found.is_none_or(|found| found == *ids), "{identity:?} is taken for something else");
        assert!(found.is_some() || is_changed, "{identity:?} was forgotten");
    }
    assert_eq!(find(), found, "tidying changed what is known");
    // What was there before does no harm to what comes after it.
    let new = file(100, &mut Input::new(&[]));
    store.append(&[new]).expect("the scratch folder can be written");
    assert_eq!(store.load().expect("the store can be read").find(&new.0).map(|(ids, _)| ids), Some(new.1));
}

/// A file, whose ids follow from its identity.
fn file(inode: u64, input: &mut Input<'_>) -> (Identity, Ids) {
    let mut stamp = || Stamp { seconds: input.number() as i64, nanos: input.below(1_000_000_000) as u32 };
    let (modified, changed) = (stamp(), stamp());
    let identity = Identity { device: input.number(), inode, size: input.number(), modified, changed };
    let blake3 = *blake3::hash(format!("{identity:?}").as_bytes()).as_bytes();
    (identity, Ids { blake3, sha256: blake3.map(|byte| !byte) })
}
