//! Checking what bytes complete, and writing what is right.

use std::io;
use std::net::SocketAddr;

use super::{Assembly, Check, run_at};
use crate::pieces::{Key, MAX_GATHERED, Space};
use crate::slices::Slices;
use crate::store::Sink;
use crate::tree::{GroupIndex, LEAF_LEN, Level, Run, TreeError, VerifyError, verify_whole};

/// What came of bytes that arrived.
#[derive(Debug, Default)]
pub(in crate::download) struct Outcome {
    /// Bytes that were new.
    pub(in crate::download) new: u64,
    /// Content was verified.
    pub(in crate::download) verified: bool,
    /// What came from here on cannot be checked without the runs above it, which are asked for now.
    pub(in crate::download) lacks_runs: Option<u64>,
    /// Sources that sent wrong bytes, and how many bytes were spoilt by it.
    pub(in crate::download) liars: Vec<(SocketAddr, u64)>,
}

impl Assembly {
    /// Takes in bytes from `source`, and writes what they complete.
    pub(in crate::download) fn on_bytes(
        &mut self,
        source: SocketAddr,
        space: Space,
        offset: u64,
        data: Slices<'_>,
        sink: &mut dyn Sink,
    ) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let range = offset..offset + data.len() as u64;
        if let Some(last) = self.picker.last_if_holds(space, &range) {
            self.fill(last, source, offset, data, sink, &mut outcome)?;
        } else {
            for key in self.picker.overlapping(space, &range) {
                self.fill(key, source, offset, data, sink, &mut outcome)?;
            }
        }
        if let Some(offset) = outcome.lacks_runs {
            self.picker.begin_proofs_at(offset, &self.check);
        }
        Ok(outcome)
    }

    /// The destination may take more than before: checks and writes what waited for that.
    pub(in crate::download) fn on_room(&mut self, sink: &mut dyn Sink) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        if std::mem::take(&mut self.waits_for_sink) {
            let waiting: Vec<Key> = self.picker.waiting(Space::Content).collect();
            for key in waiting {
                self.finish_content(key, sink, &mut outcome)?;
                if let Some(offset) = outcome.lacks_runs.take() {
                    self.picker.begin_proofs_at(offset, &self.check);
                }
            }
        }
        Ok(outcome)
    }

    fn fill(
        &mut self,
        key: Key,
        source: SocketAddr,
        offset: u64,
        data: Slices<'_>,
        sink: &mut dyn Sink,
        outcome: &mut Outcome,
    ) -> io::Result<()> {
        let Some(filled) = self.picker.fill(key, source, offset, data) else { return Ok(()) };
        outcome.new += filled.new;
        if filled.is_full { self.finish(key, sink, outcome) } else { Ok(()) }
    }

    /// An extent is all here: checks it.
    fn finish(&mut self, key: Key, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        match key.0 {
            Space::Tree => self.finish_run(key, sink, outcome),
            Space::Content => self.finish_content(key, sink, outcome),
        }
    }

    /// A run is all here: checks it, then everything that waited for it.
    fn finish_run(&mut self, key: Key, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let keeps = matches!(self.check, Check::Tree(_));
        let length = self.length();
        let Some(verifier) = self.check.verifier_mut() else { return Ok(()) };
        let Some((_, bytes)) = self.picker.full(key) else { return Ok(()) };
        let Some(run) = run_at(verifier.geometry(), key.1) else { return Ok(()) };
        match verifier.insert_run(run, bytes) {
            Ok(()) => {
                if keeps {
                    sink.keep_run(self.job, length, run, bytes)?;
                }
                self.picker.finish(key);
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
        let Some(verifier) = self.check.verifier() else { return Ok(()) };
        let geometry = *verifier.geometry();
        let keys: Vec<Key> = if run.level == Level::LEAVES {
            let leaves = geometry.run_entries(run);
            let content = leaves.start * LEAF_LEN..leaves.end * LEAF_LEN;
            self.picker.overlapping(Space::Content, &content)
        } else {
            let is_below =
                |start| run_at(&geometry, start).is_some_and(|below| geometry.parent_run(below) == Some(run));
            self.picker.waiting(Space::Tree).filter(|key| is_below(key.1)).collect()
        };
        for key in keys {
            self.finish(key, sink, outcome)?;
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
        let Some((range, bytes)) = self.picker.full(key) else { return Ok(()) };
        if sink.is_busy(self.job) {
            self.waits_for_sink = true;
            return Ok(());
        }
        // Whatever length is claimed, the place where it is staged grows only with what came.
        let is_far = range.start > self.picker.done().total() + 2 * MAX_GATHERED;
        let verified = match &self.check {
            Check::Tree(_) => return self.write_content(key, sink, outcome),
            Check::AtTheEnd if is_far => {
                self.picker.forget(key);
                return Ok(());
            }
            Check::AtTheEnd => {
                sink.stage(self.job, range.start, bytes)?;
                self.picker.finish(key);
                return Ok(());
            }
            Check::Root(root) => verify_whole(root, bytes).ok_or(None),
            Check::Hint(verifier) => verifier.verify(range.start, bytes).map_err(Some),
        };
        let block = match verified {
            Ok(block) => block,
            Err(why) => {
                self.on_unverified(key, why.as_ref(), outcome);
                return Ok(());
            }
        };
        let proves_length = block.proves_length().is_some();
        let is_hinted = matches!(self.check, Check::Hint(_));
        if is_hinted && is_far {
            // It fits the length that is claimed beside a hint, and is fetched again when its turn comes.
            self.is_proven |= proves_length;
            self.picker.forget(key);
            return Ok(());
        } else if is_hinted {
            sink.stage(self.job, block.offset(), block.bytes())?;
        } else {
            sink.write(self.job, block)?;
        }
        self.is_proven |= proves_length;
        self.on_right(key, outcome);
        Ok(())
    }

    /// Checks an extent that is all here by the tree, and gives its memory to the sink.
    fn write_content(&mut self, key: Key, sink: &mut dyn Sink, outcome: &mut Outcome) -> io::Result<()> {
        let Check::Tree(verifier) = &self.check else { return Ok(()) };
        let Some((range, memory)) = self.picker.take_full(key) else { return Ok(()) };
        match verifier.verify_block(range.start, memory) {
            Ok(block) => {
                let proves_length = block.as_verified().proves_length().is_some();
                let memory = sink.write_block(self.job, block)?;
                self.is_proven |= proves_length;
                self.picker.put_back(key, memory);
                self.on_right(key, outcome);
            }
            Err((why, memory)) => {
                self.picker.put_back(key, memory);
                self.on_unverified(key, Some(&why), outcome);
            }
        }
        Ok(())
    }

    /// An extent was right, and is written.
    fn on_right(&mut self, key: Key, outcome: &mut Outcome) {
        self.picker.finish(key);
        outcome.verified = true;
        self.forget_finished_group(key.1);
    }

    /// An extent is wrong, or cannot be checked yet.
    fn on_unverified(&mut self, key: Key, why: Option<&VerifyError>, outcome: &mut Outcome) {
        if let Some(VerifyError::RunUnknown(_)) = why {
            // It is on its way; or of a whole group that is wrong somewhere, it shows where.
            outcome.lacks_runs = Some(key.1);
        } else {
            self.blame(key, outcome);
        }
    }

    /// Leaves are not needed once their content is here: they can be computed from it.
    pub(super) fn forget_finished_group(&mut self, offset: u64) {
        let group = GroupIndex::holding(offset);
        let range = group.offset()..group.next().offset().min(self.length());
        if let Some(verifier) = self.check.verifier_mut()
            && self.picker.done().contains(range)
            && verifier.geometry().top_run_level() > Level::LEAVES
        {
            verifier.forget_run(Run::of_leaves(group));
        }
    }

    /// What came is wrong. One contributor is to blame; of several it is not known which, so all is asked of one.
    fn blame(&mut self, key: Key, outcome: &mut Outcome) {
        outcome.liars.extend(self.picker.start_over(key));
    }
}
