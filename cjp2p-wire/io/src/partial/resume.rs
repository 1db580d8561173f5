//! What of an interrupted download can be used. Nothing that the record says is believed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::Resume;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::tree::{GROUP_LEN, Geometry, GroupIndex, LEAF_LEN, Level, Run, TreeVerifier};

use super::recheck::{Recheck, verify};
use super::record;
use super::sources::Sources;

/// What a record was good for.
#[derive(Debug, Default)]
pub struct Loaded {
    /// What of the partial can be used; `None` where nothing can.
    pub resume: Option<Resume>,
    /// What is left to verify of it.
    pub recheck: Option<Recheck>,
    /// Who sent some of it lately.
    pub sources: Sources,
}

/// What the partial in `file` has of the content `id`, by the record at `path`, and from whom it had it.
///
/// Of content that is verified by its tree, only the end is read at once: that proves the length, and a fetch can go on.
/// The rest is to be verified meanwhile. Where the end is damaged, everything is read. What was staged is verified at the end
/// anyway.
///
/// # Errors
///
/// The record cannot be read, or the partial is no file. Damaged ones can.
pub fn load(file: &Arc<File>, path: &Path, id: &ContentId) -> io::Result<Loaded> {
    let Some(found) = record::read(path, id)? else { return Ok(Loaded::default()) };
    let mut loaded = match (id, Geometry::new(found.length)) {
        (ContentId::Blake3(root), Ok(geometry)) => by_tree(file, &found, *root, geometry)?,
        (ContentId::Sha256(_), Ok(geometry)) => staged(file, &found, &geometry)?,
        // What a name stands for may be something else today.
        _ => Loaded::default(),
    };
    loaded.sources = found.sources;
    Ok(loaded)
}

fn by_tree(file: &Arc<File>, found: &record::Found, root: Hash, geometry: Geometry) -> io::Result<Loaded> {
    let length = geometry.length();
    let mut there = whole_leaves(&found.done, file.metadata()?.len(), &geometry);
    let mut tree = TreeVerifier::new(root, geometry);
    for (run, bytes) in &found.runs {
        // One that does not fit is of no use, and so is what only it proves.
        let _ = tree.insert_run(*run, bytes);
    }
    let last_group = length.saturating_sub(1) / GROUP_LEN * GROUP_LEN..length;
    let end: RangeSet = there.within(last_group.clone()).collect();
    let mut done = verify_all(file, &tree, &end);
    if done.contains(length.saturating_sub(1)..length) {
        there.remove(last_group);
    } else {
        done = verify_all(file, &tree, &there);
        there = RangeSet::new();
    }
    let recheck = (!there.is_empty()).then(|| Recheck::new(file, tree.clone(), &there));
    forget_complete_groups(&done, &mut tree);
    let resume =
        (!done.is_empty()).then_some(Resume { length, done, unchecked: there, verifier: Some(tree) });
    Ok(Loaded { resume, recheck, ..Loaded::default() })
}

fn staged(file: &File, found: &record::Found, geometry: &Geometry) -> io::Result<Loaded> {
    let done = whole_leaves(&found.done, file.metadata()?.len(), geometry);
    let unchecked = RangeSet::new();
    let resume = Resume { length: geometry.length(), done, unchecked, verifier: None };
    Ok(Loaded { resume: (!resume.done.is_empty()).then_some(resume), ..Loaded::default() })
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

fn verify_all(file: &File, tree: &TreeVerifier, ranges: &RangeSet) -> RangeSet {
    let mut right = RangeSet::new();
    for range in ranges.iter() {
        verify(file, tree, range, &mut right);
    }
    right
}

/// Leaves of a group that is here can be computed from it.
fn forget_complete_groups(done: &RangeSet, tree: &mut TreeVerifier) {
    let geometry = *tree.geometry();
    if geometry.top_run_level() == Level::LEAVES {
        return;
    }
    for range in done.iter() {
        for group in (range.start.div_ceil(GROUP_LEN)..range.end.div_ceil(GROUP_LEN)).map(GroupIndex) {
            if done.contains(geometry.group_range(group)) {
                tree.forget_run(Run::of_leaves(group));
            }
        }
    }
}
