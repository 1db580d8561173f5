//! Fetches that go on with what an interrupted one wrote, some of which is verified while the conversation goes on.

use std::ops::Range;

use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::Resume;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::JobId;
use cjp2p_wire::tree::{LEAF_LEN, TreeVerifier};

use super::talk::Talk;
use crate::fuzz::input::Input;
use crate::fuzz::sample::Sample;

/// What an interrupted fetch had of this content; of content by its SHA-256 id nothing is verified before the end.
pub(super) fn left(id: &ContentId, sample: &Sample, input: &mut Input<'_>) -> Resume {
    let length = sample.content.len() as u64;
    let done = (0..input.below(4)).map(|_| leaves(sample, input)).collect();
    let mut unchecked = RangeSet::new();
    let verifier = matches!(id, ContentId::Blake3(_)).then(|| {
        unchecked = (0..input.below(4)).map(|_| leaves(sample, input)).collect();
        let mut tree = TreeVerifier::new(sample.root, sample.geometry);
        let top = sample.geometry.top_run();
        let span = sample.geometry.run_bytes(top);
        let bytes = &sample.file[span.start as usize..span.end as usize];
        tree.insert_run(top, bytes).expect("it is of this tree");
        tree
    });
    Resume { length, done, unchecked, verifier }
}

/// A range of whole leaves; often the last.
fn leaves(sample: &Sample, input: &mut Input<'_>) -> Range<u64> {
    let length = sample.content.len() as u64;
    let count = sample.geometry.leaves();
    let first = count.saturating_sub(1 + input.below(256) % count);
    let last = (first + input.below(256)).min(count - 1);
    first * LEAF_LEN..((last + 1) * LEAF_LEN).min(length)
}

impl Talk {
    /// Some of what a job's interrupted fetch wrote is verified, right or not.
    pub(super) fn check(&mut self, input: &mut Input<'_>) {
        let nth = usize::from(input.byte()) % self.unchecked.len().max(1);
        let Some((&job, unchecked)) = self.unchecked.iter_mut().nth(nth) else { return };
        let Some(&sample) = self.jobs.get(&job) else { return };
        let range = leaves(sample, input);
        let right: RangeSet = match input.byte() {
            0..128 => std::iter::once(range.clone()).collect(),
            wrong => {
                let wrong = range.start + u64::from(wrong % 8) * LEAF_LEN;
                let mut right: RangeSet = std::iter::once(range.clone()).collect();
                right.remove(wrong..wrong + LEAF_LEN);
                right
            }
        };
        let there: Vec<Range<u64>> =
            unchecked.within(range.clone()).flat_map(|part| right.within(part)).collect();
        unchecked.remove(range.clone());
        for part in there {
            self.store.is_there(job, sample, part);
        }
        self.node.on_checked(self.now, job, range, &right, &mut self.store);
        self.drain(None);
    }

    /// What a fetch that goes on finds.
    pub(super) fn take_up(
        &mut self,
        job: JobId,
        sample: &'static Sample,
        done: &RangeSet,
        unchecked: &RangeSet,
    ) {
        for part in done.iter() {
            self.store.is_there(job, sample, part);
        }
        let length = sample.content.len() as u64;
        if done.contains(length - 1..length) {
            let waits = unchecked.iter().flat_map(|part| done.gaps(part)).collect();
            self.unchecked.insert(job, waits);
        }
    }
}
