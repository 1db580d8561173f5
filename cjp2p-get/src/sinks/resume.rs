//! What of an interrupted download can be used. Nothing that the record says is believed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::transfer::fetch::Resume;
use cjp2p_wire::transfer::ranges::RangeSet;
use cjp2p_wire::tree::{GROUP_LEN, Geometry, LEAF_LEN, Run, TreeVerifier, VerifyError};

use super::record;
use super::sources::Sources;

/// What a record was good for.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What of the partial can be used; `None` where nothing can.
    pub resume: Option<Resume>,
    /// Who sent some of it lately.
    pub sources: Sources,
}

/// What the partial in `file` has of the content `id`, by the record at `path`, and from whom it had it.
///
/// Content that is verified by its tree is read and verified again. What was staged is verified at the end anyway.
///
/// # Errors
///
/// The record or the partial cannot be read. Damaged ones can.
pub fn load(file: &File, path: &Path, id: &ContentId) -> io::Result<Loaded> {
    let Some(found) = record::read(path, id)? else { return Ok(Loaded::default()) };
    let resume = usable(file, &found, id)?;
    Ok(Loaded { resume, sources: found.sources })
}

fn usable(file: &File, found: &record::Found, id: &ContentId) -> io::Result<Option<Resume>> {
    let Ok(geometry) = Geometry::new(found.length) else { return Ok(None) };
    let there = whole_leaves(&found.done, file.metadata()?.len(), &geometry);
    let (done, verifier) = match id {
        ContentId::Blake3(root) => {
            let mut tree = TreeVerifier::new(*root, geometry);
            for (run, bytes) in &found.runs {
                // One that does not fit is of no use, and so is what only it proves.
                let _ = tree.insert_run(*run, bytes);
            }
            (verified(file, &there, &mut tree)?, Some(tree))
        }
        ContentId::Sha256(_) => (there, None),
        // What a name stands for may be something else today.
        ContentId::Name(_) | ContentId::Tree(_) => return Ok(None),
    };
    Ok((!done.is_empty()).then_some(Resume { length: found.length, done, verifier }))
}

/// The whole leaves in `ranges` that a file of `available` bytes can have.
fn whole_leaves(ranges: &RangeSet, available: u64, geometry: &Geometry) -> RangeSet {
    let length = geometry.length();
    let whole = |range: Range<u64>| {
        let end = range.end.min(available).min(length);
        let end = if end == length { end } else { end / LEAF_LEN * LEAF_LEN };
        let start = range.start.min(length).next_multiple_of(LEAF_LEN);
        start..end.max(start)
    };
    ranges.iter().map(whole).filter(|range| !range.is_empty()).collect()
}

/// Reads the ranges `there` and gives those that are right. Leaves of complete groups are forgotten.
fn verified(file: &File, there: &RangeSet, tree: &mut TreeVerifier) -> io::Result<RangeSet> {
    let mut done = RangeSet::new();
    let mut buffer = vec![0; GROUP_LEN as usize];
    for range in there.iter() {
        let mut start = range.start;
        while start < range.end {
            let end = ((start / GROUP_LEN + 1) * GROUP_LEN).min(range.end);
            let bytes = &mut buffer[..(end - start) as usize];
            file.read_exact_at(bytes, start)?;
            match tree.verify(start, bytes) {
                Ok(_) => {
                    done.insert(start..end);
                }
                Err(VerifyError::BadLeaves(bad)) => {
                    done.insert(start..end);
                    for leaf in bad {
                        done.remove(tree.geometry().leaf_range(leaf));
                    }
                }
                Err(VerifyError::RunUnknown(_) | VerifyError::NotWholeLeaves) => {}
            }
            start = end;
        }
    }
    forget_complete_groups(&done, tree);
    Ok(done)
}

fn forget_complete_groups(done: &RangeSet, tree: &mut TreeVerifier) {
    let geometry = *tree.geometry();
    if geometry.top_run_level() == 0 {
        return;
    }
    for range in done.iter() {
        for group in range.start.div_ceil(GROUP_LEN)..range.end.div_ceil(GROUP_LEN) {
            if done.contains(geometry.group_range(group)) {
                tree.forget_run(Run { level: 0, index: group });
            }
        }
    }
}
