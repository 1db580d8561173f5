//! Trees kept between runs: one that is not what it was is none.

use std::fs;

use cjp2p_serve::tree_store::TreeStore;
use cjp2p_wire::tree::{GROUP_LEN, Geometry};
use data_encoding::HEXLOWER;

use super::input::Input;
use super::mutate::edit;
use super::sample::SAMPLES;
use super::scratch::scratch;

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let folder = scratch();
    let store = TreeStore::new(Some(folder.path()));
    let sample = input.choose(&SAMPLES);
    let prefix = sample.tree.prefix();
    store.keep(&sample.root, prefix.to_vec()).expect("the scratch folder can be written");
    let length = match input.byte() {
        0..200 => sample.geometry.length(),
        _ => input.number(),
    };
    let Ok(geometry) = Geometry::new(length) else { return };
    let path = folder.path().join("trees-2").join(HEXLOWER.encode(&sample.root));
    let mut kept = prefix.to_vec();
    if !input.is_empty() && path.exists() {
        match input.byte() % 4 {
            0 => kept = input.rest().to_vec(),
            1 => kept = SAMPLES[usize::from(input.byte()) % SAMPLES.len()].file.clone(),
            _ => edit(&mut kept, &mut input),
        }
        fs::write(&path, &kept).expect("the scratch folder can be written");
    }
    let Ok(found) = store.open(&sample.root, &geometry) else {
        assert!(kept != prefix || geometry.leaves() != sample.geometry.leaves(), "a right tree was refused");
        return;
    };
    if geometry.length() <= GROUP_LEN {
        return;
    }
    assert!(kept == prefix, "a damaged tree was accepted");
    let mut out = vec![1, 2, 3];
    let start = input.number() % (prefix.len() as u64 + 1);
    let end = start + input.number() % (prefix.len() as u64 + 1 - start);
    found.read(start..end, &mut out).expect("it is there");
    assert!(out[3..] == prefix[start as usize..end as usize]);
    assert!(found.read(start..prefix.len() as u64 + 1, &mut out).is_err(), "more than there is");
}
