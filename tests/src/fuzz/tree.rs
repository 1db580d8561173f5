//! Trees and content fed to a verifier, true, changed, misplaced, or under a false length: nothing wrong is accepted, and
//! under the true length nothing right is refused.

use std::collections::BTreeSet;

use cjp2p_wire::tree::{
    Geometry, LEAF_LEN, LeafIndex, Level, Run, TreeError, TreeVerifier, VerifyError, verify_whole,
};

use super::input::Input;
use super::mutate::edit;
use super::sample::{SAMPLES, Sample};

pub(super) fn body(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let sample = input.choose(&SAMPLES);
    let length = match input.byte() % 8 {
        0..5 => sample.content.len() as u64,
        5 => sample.content.len() as u64 ^ input.number(),
        _ => input.number(),
    };
    let Ok(geometry) = Geometry::new(length) else { return };
    let mut fed = Fed {
        sample,
        is_true: length == sample.content.len() as u64,
        verifier: TreeVerifier::new(sample.root, geometry),
        here: BTreeSet::new(),
    };
    for _ in 0..64 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0..3 => fed.insert(&mut input),
            3 => {
                let run = fed.any_run(&mut input);
                fed.verifier.forget_run(run);
                fed.here.remove(&run);
            }
            4 => fed.read(&mut input),
            5 => fed.path(&mut input),
            _ => fed.verify(&mut input),
        }
    }
}

struct Fed<'a> {
    sample: &'a Sample,
    is_true: bool,
    verifier: TreeVerifier,
    /// The model: which runs must be here.
    here: BTreeSet<Run>,
}

impl Fed<'_> {
    fn any_run(&self, input: &mut Input<'_>) -> Run {
        match input.byte() {
            // One of the tree.
            byte @ 0..200 => {
                let top = self.verifier.geometry().top_run_level();
                let level = byte % 4 * 7 % (top.0 + 7);
                Run { level: Level(level), index: input.byte().into() }
            }
            _ => Run { level: Level(input.number() as u8), index: input.number() },
        }
    }

    /// The bytes that the file has for a run, as far as it has them.
    fn bytes_of(&self, run: Run) -> Vec<u8> {
        let bytes = self.verifier.geometry().run_bytes(run);
        let end = bytes.end.min(self.sample.file.len() as u64);
        self.sample.file[bytes.start.min(end) as usize..end as usize].to_vec()
    }

    fn insert(&mut self, input: &mut Input<'_>) {
        let run = self.any_run(input);
        let mut bytes = match input.byte() % 4 {
            0..3 => self.bytes_of(run),
            _ => self.bytes_of(self.any_run(input)),
        };
        let edits = input.byte();
        if edits >= 128 {
            edit(&mut bytes, &mut Input::new(input.take(usize::from(edits % 4 + 1) * 4)));
        }
        let geometry = *self.verifier.geometry();
        let result = self.verifier.insert_run(run, &bytes);
        let parent = geometry.parent_run(run);
        let expected = geometry.run_bytes(run).end - geometry.run_bytes(run).start;
        match result {
            Ok(()) => {
                assert!(geometry.has_run(run) && bytes.len() as u64 == expected);
                assert!(
                    parent.is_none_or(|parent| self.here.contains(&parent)),
                    "{run:?} without its parent"
                );
                assert!(!self.is_true || bytes == self.bytes_of(run), "a wrong run was accepted: {run:?}");
                self.here.insert(run);
            }
            Err(TreeError::NoSuchRun(_)) => assert!(!geometry.has_run(run) || geometry.leaves() == 1),
            Err(TreeError::Length { .. }) => assert_ne!(bytes.len() as u64, expected),
            Err(TreeError::ParentUnknown(parent)) => assert!(!self.here.contains(&parent)),
            Err(TreeError::Mismatch(_)) => {
                assert!(!self.is_true || bytes != self.bytes_of(run), "a right run was refused: {run:?}");
            }
        }
        assert_eq!(
            self.verifier.runs().map(|(run, _)| run).collect::<Vec<_>>(),
            Vec::from_iter(self.here.clone())
        );
    }

    fn read(&self, input: &mut Input<'_>) {
        let start = input.number();
        let range = start..start.saturating_add(input.below(1 << 16));
        if let (Some(read), true) = (self.verifier.read(range.clone()), self.is_true) {
            let end = range.end.min(self.sample.file.len() as u64);
            assert!(
                read == self.sample.file[range.start.min(end) as usize..end as usize],
                "{range:?} of the tree"
            );
        }
    }

    fn path(&self, input: &mut Input<'_>) {
        let leaf = LeafIndex(input.number() % self.verifier.geometry().leaves());
        match self.verifier.missing_run_for(leaf) {
            Some(run) => assert!(!self.here.contains(&run)),
            None => assert!(
                self.verifier.geometry().leaves() == 1 || self.here.contains(&Run::of_leaves(leaf.group()))
            ),
        }
    }

    fn verify(&self, input: &mut Input<'_>) {
        let content = &self.sample.content;
        let mut offset = match input.byte() {
            0..230 => u64::from(input.byte()) * LEAF_LEN,
            _ => input.number(),
        };
        let leaves = match input.byte() {
            count @ 0..200 => u64::from(count % 16),
            count => u64::from(count),
        };
        let end = (offset.saturating_add(leaves * LEAF_LEN)).min(content.len() as u64);
        let mut bytes = content[offset.min(end) as usize..end as usize].to_vec();
        match input.byte() % 8 {
            0..4 => {}
            4 => offset = offset.wrapping_add(LEAF_LEN),
            _ => edit(&mut bytes, &mut Input::new(input.take(4))),
        }
        let geometry = self.verifier.geometry();
        let true_bytes = |offset: u64, length: usize| content.get(offset as usize..offset as usize + length);
        let is_right = offset < 1 << 40 && true_bytes(offset, bytes.len()) == Some(&bytes);
        match self.verifier.verify(offset, &bytes) {
            Ok(verified) => {
                assert!(is_right, "wrong content was accepted at {offset}");
                assert_eq!((verified.offset(), verified.bytes()), (offset, &bytes[..]));
                if let Some(length) = verified.proves_length() {
                    assert_eq!(length, content.len() as u64, "a false length was proved");
                }
            }
            Err(VerifyError::NotWholeLeaves { .. }) => {
                let end = offset.saturating_add(bytes.len() as u64);
                let at_end = end.is_multiple_of(LEAF_LEN) || end == geometry.length();
                let whole = offset.is_multiple_of(LEAF_LEN) && at_end && end <= geometry.length();
                assert!(!whole || (bytes.is_empty() && geometry.length() > 0), "whole leaves were refused");
            }
            Err(VerifyError::RunUnknown(run)) => assert!(!self.here.contains(&run)),
            Err(VerifyError::BadLeaves(bad)) if self.is_true => {
                let leaves = offset / LEAF_LEN..(offset + bytes.len() as u64).div_ceil(LEAF_LEN).max(1);
                let is_bad = |leaf: &LeafIndex| {
                    let own = geometry.leaf_range(*leaf);
                    let sent = &bytes[(own.start - offset) as usize..(own.end - offset) as usize];
                    sent != &content[own.start as usize..own.end as usize]
                };
                assert_eq!(bad, leaves.map(LeafIndex).filter(is_bad).collect::<Vec<_>>());
            }
            Err(VerifyError::BadLeaves(_)) => {}
        }
        assert_eq!(verify_whole(&self.sample.root, &bytes).is_some(), bytes == *content);
    }
}
