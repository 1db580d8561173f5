//! Taking in bytes, checking what they complete, and writing what is right.

use std::io;
use std::net::SocketAddr;

use super::assembly::{Assembly, Check, Key, MAX_GATHERED, MAX_SPARE, Outcome};
use super::extent::{Extent, Space};
use crate::store::Sink;
use crate::tree::{
    ENTRY_LEN, GROUP_LEN, Geometry, LEAF_LEN, RUN_ENTRIES, RUN_LEVELS, Run, TreeError, VerifyError,
    verify_whole,
};

impl Assembly {
    /// Takes in bytes from `source`, and writes what they complete.
    pub(super) fn on_bytes(
        &mut self,
        source: SocketAddr,
        space: Space,
        offset: u64,
        data: &[u8],
        sink: &mut dyn Sink,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let range = offset..offset + data.len() as u64;
        let last = self.filled;
        let within = |extent: &Extent| extent.range.start <= range.start && range.end <= extent.range.end;
        if last.0 == space && self.extents.get(&last).is_some_and(within) {
            self.fill(last, source, offset, data, sink, &mut outcome)?;
        } else {
            for key in self.overlapping(space, &range) {
                self.fill(key, source, offset, data, sink, &mut outcome)?;
            }
        }
        Ok(outcome)
    }

    fn fill(
        &mut self,
        key: Key,
        source: SocketAddr,
        offset: u64,
        data: &[u8],
        sink: &mut dyn Sink,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let Some(extent) = self.extents.get_mut(&key) else { return Ok(()) };
        self.filled = key;
        outcome.new += extent.fill(source, offset, data);
        let (needs_asking, is_full) = (extent.needs_asking(), extent.is_full());
        if !needs_asking {
            self.askable.remove(&key);
        }
        if is_full {
            match key.0 {
                Space::Tree => self.finish_run(key, sink, outcome)?,
                Space::Content => self.finish_content(key, sink, outcome)?,
            }
        }
        Ok(())
    }

    /// A run is all here: checks it, then everything that waited for it.
    fn finish_run(&mut self, key: Key, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let Check::Tree(verifier) = &mut self.check else {
            return Ok(());
        };
        let Some(extent) = self.extents.get(&key) else {
            return Ok(());
        };
        let Some(run) = run_at(verifier.geometry(), key.1) else {
            return Ok(());
        };
        match verifier.insert_run(run, extent.bytes()) {
            Ok(()) => {
                if !self.is_staged {
                    sink.keep_run(self.job, self.length, run, extent.bytes())?;
                }
                self.end(key);
                self.finish_waiting(run, sink, outcome)
            }
            // It waits for the run above it.
            Err(TreeError::ParentUnknown(_)) => Ok(()),
            Err(_) => {
                self.blame(key, outcome);
                Ok(())
            }
        }
    }

    /// Checks what waited for `run`: the runs below it, or the content.
    fn finish_waiting(&mut self, run: Run, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let Check::Tree(verifier) = &self.check else {
            return Ok(());
        };
        let geometry = *verifier.geometry();
        if run.level == 0 {
            let leaves = geometry.run_entries(run);
            let content = leaves.start * LEAF_LEN..leaves.end * LEAF_LEN;
            for key in self.overlapping(Space::Content, &content) {
                if self.extents.get(&key).is_some_and(Extent::is_full) {
                    self.finish_content(key, sink, outcome)?;
                }
            }
            return Ok(());
        }
        let full: Vec<Key> = self
            .extents
            .range((Space::Tree, 0)..(Space::Content, 0))
            .filter(|(key, extent)| {
                extent.is_full()
                    && run_at(&geometry, key.1).is_some_and(|below| geometry.parent_run(below) == Some(run))
            })
            .map(|(&key, _)| key)
            .collect();
        for key in full {
            self.finish_run(key, sink, outcome)?;
        }
        Ok(())
    }

    /// A stretch of content is all here: checks it, if it can be checked yet, and writes it.
    pub(super) fn finish_content(
        &mut self,
        key: Key,
        sink: &mut dyn Sink,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let Some(extent) = self.extents.get(&key) else {
            return Ok(());
        };
        let range = extent.range.clone();
        // Whatever length is claimed, the place where it is staged grows only with what came.
        let is_far = range.start > self.done.total() + 2 * MAX_GATHERED;
        match &self.check {
            Check::AtTheEnd if is_far => {
                self.forget(key);
                return Ok(());
            }
            Check::AtTheEnd => sink.stage(self.job, range.start, extent.bytes())?,
            Check::Root(root) => match verify_whole(root, extent.bytes()) {
                Some(block) => {
                    sink.write(self.job, block)?;
                    self.proven = true;
                }
                None => {
                    self.blame(key, outcome);
                    return Ok(());
                }
            },
            Check::Tree(verifier) => match verifier.verify(range.start, extent.bytes()) {
                Ok(block) => {
                    let proves_length = block.proves_length().is_some();
                    if self.is_staged && is_far {
                        // It fits the length that is claimed beside a hint, and is fetched again when its turn comes.
                        self.proven |= proves_length;
                        self.forget(key);
                        return Ok(());
                    } else if self.is_staged {
                        sink.stage(self.job, block.offset(), block.bytes())?;
                    } else {
                        sink.write(self.job, block)?;
                    }
                    self.proven |= proves_length;
                }
                Err(VerifyError::RunUnknown(_)) => {
                    // It is on its way; or of a whole group that is wrong somewhere, it shows where.
                    outcome.lacks_runs = Some(range.start);
                    return Ok(());
                }
                Err(_) => {
                    self.blame(key, outcome);
                    return Ok(());
                }
            },
        }
        self.end(key);
        outcome.verified |= !matches!(self.check, Check::AtTheEnd);
        self.done.insert(range.clone());
        self.pass_done();
        self.forget_finished_group(range.start);
        Ok(())
    }

    /// Leaves are not needed once their content is here: they can be computed from it.
    pub(super) fn forget_finished_group(&mut self, offset: u64) {
        let group = offset / GROUP_LEN;
        let range = group * GROUP_LEN..((group + 1) * GROUP_LEN).min(self.length);
        if let Check::Tree(verifier) = &mut self.check
            && self.done.contains(range)
            && verifier.geometry().top_run_level() > 0
        {
            verifier.forget_run(Run { level: 0, index: group });
        }
    }

    pub(super) fn end(&mut self, key: Key) {
        self.askable.remove(&key);
        if let Some(extent) = self.extents.remove(&key) {
            self.gathered -= extent.range.end - extent.range.start;
            if key.0 == Space::Content && self.spare.len() < MAX_SPARE {
                self.spare.push(extent.into_memory());
            }
        }
    }

    /// Gives up a stretch of content: it is not here, nor being gathered.
    fn forget(&mut self, key: Key) {
        if let Some(extent) = self.extents.get(&key) {
            self.taken.remove(extent.range.clone());
        }
        self.end(key);
    }

    /// What came is wrong. One contributor is to blame; of several nobody knows which, so it is asked for again whole.
    fn blame(&mut self, key: Key, outcome: &mut Outcome) {
        let Some(extent) = self.extents.get_mut(&key) else {
            return;
        };
        if let [only] = extent.contributors[..] {
            outcome.liars.push((only, extent.range.end - extent.range.start));
            extent.start_over();
            extent.sole = false;
        } else {
            extent.start_over();
        }
        self.askable.insert(key);
    }
}

/// The run whose bytes begin at `start` of the tree file.
pub(super) fn run_at(geometry: &Geometry, start: u64) -> Option<Run> {
    let levels = (0..=geometry.top_run_level()).step_by(RUN_LEVELS as usize);
    for level in levels {
        let offset = geometry.level_offset(level);
        let end = offset + geometry.level_entries(level) * ENTRY_LEN;
        if (offset..end).contains(&start) {
            return Some(Run { level, index: (start - offset) / (RUN_ENTRIES * ENTRY_LEN) });
        }
    }
    None
}
