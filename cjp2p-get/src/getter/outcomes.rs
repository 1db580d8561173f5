//! What threads do for a fetch, and what comes of it: looking at what is there, hashing, and the last step.

use cjp2p_cli::args::LockMode;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_wire::peers::peer::Origin;
use cjp2p_wire::store::JobId;

use super::{Getter, TRY_LOCK_EVERY};
use crate::job::{Job, Outcome, Step};
use crate::sinks::prepare::{Prepared, Ready};
use cjp2p_io::partial::recheck::{Checked, Recheck};
use cjp2p_io::partial::wanted::Part;

impl Getter {
    /// Another thread has something to tell.
    pub(super) fn on_woken(&mut self) -> Result<(), ToolError> {
        stdout::check()?;
        let next = |getter: &Getter| {
            let outcome = getter.tasks.outcome().or_else(|| getter.hashing.outcome());
            outcome.or_else(|| getter.leaves.outcome())
        };
        while let Some(outcome) = next(self) {
            self.take_outcome(outcome)?;
        }
        if self.session.store_mut().take_ready() {
            self.session.call(|node, now, store| node.handle_library_ready(now, store));
        }
        // What comes to memory waits for nothing.
        let others = self.jobs.iter().filter(|(_, job)| !job.is_short());
        let fetches: Vec<(u64, JobId)> =
            others.filter_map(|(&number, job)| Some((number, job.fetch()?))).collect();
        let waits_for_room = !fetches.is_empty();
        self.ask_named();
        for (fetch, address) in self.search.found() {
            if let Some(fetch) = fetch {
                self.add_found(fetch, address, Origin::Dht, true);
            }
        }
        for (number, fetch) in fetches {
            if let Some(error) = self.session.store_mut().problem(fetch) {
                self.fail(number, &error)?;
            }
        }
        if waits_for_room {
            self.session.call(|node, now, store| node.handle_room(now, store));
        }
        Ok(())
    }

    fn take_outcome(&mut self, outcome: Outcome) -> Result<(), ToolError> {
        match outcome {
            Outcome::Prepared(number, Ok(prepared)) => self.on_prepared(number, prepared),
            Outcome::Prepared(number, Err(error)) => self.fail(number, &error),
            Outcome::Hashed(fetch, piece) => {
                let Some(&number) = self.by_fetch.get(&fetch) else { return Ok(()) };
                if let Err(error) = self.session.store_mut().on_hashed(fetch, piece) {
                    let error = self.session.store().failure(fetch, error);
                    return self.fail(number, &error);
                }
                self.judge(number);
                Ok(())
            }
            Outcome::Checked(fetch, checked) => {
                self.on_checked(fetch, checked);
                Ok(())
            }
            Outcome::Published(number, Ok(())) => {
                if let Some(fetch) = self.jobs.get(&number).and_then(Job::fetch) {
                    self.session.store_mut().on_published(fetch);
                }
                self.complete(number, false)
            }
            Outcome::Published(number, Err(error)) => self.fail(number, &error),
            Outcome::Leaves(fetch, group, leaves) => {
                self.session.store_mut().on_leaves(fetch, group, leaves);
                Ok(())
            }
            Outcome::Warmed(fetch, window, can_tell) => {
                self.session.store_mut().on_warmed(fetch, window, can_tell);
                Ok(())
            }
        }
    }

    /// Has threads hash what was staged, as far as it can be hashed yet.
    pub(super) fn hash_staged(&mut self) {
        for (fetch, file, piece) in self.session.store_mut().pieces() {
            self.hashing.run(move || Outcome::Hashed(fetch, file.and_then(|file| piece.hash(&file))));
        }
    }

    /// Has threads read and hash what others ask for, a little at a time.
    pub(super) fn work_for_others(&mut self) {
        while let Some((fetch, part, group)) = self.session.store_mut().next_wanted() {
            self.leaves.run(move || match part {
                Part::Leaves(number) => Outcome::Leaves(fetch, number, group.and_then(|group| group.hash())),
                Part::Window(window) => {
                    let can_tell = group.is_none_or(|group| group.warm());
                    Outcome::Warmed(fetch, window, can_tell)
                }
            });
        }
    }

    /// Tells the fetch whether what was staged is right, once all is staged and hashed.
    pub(super) fn judge(&mut self, number: u64) {
        let Some(Job { id, step: Step::Judging(fetch), .. }) = self.jobs.get(&number) else { return };
        let fetch = *fetch;
        if let Some(right) = self.session.store_mut().verdict(fetch, id) {
            self.set_step(number, Step::Fetching(fetch));
            self.session.call(|node, now, store| node.on_verdict(now, fetch, right, store));
        }
    }

    /// Has a thread verify the next piece of what an interrupted fetch wrote.
    fn check(&mut self, fetch: JobId, recheck: Recheck) {
        self.hashing.run(move || Outcome::Checked(fetch, recheck.step()));
    }

    fn on_checked(&mut self, fetch: JobId, checked: Checked) {
        let job = self.by_fetch.get(&fetch).and_then(|number| self.jobs.get_mut(number));
        let Some(job) = job.filter(|job| job.step == Step::Fetching(fetch)) else {
            // All that is wanted is here without it.
            return;
        };
        self.session.store_mut().on_checked(fetch, &checked);
        let Checked { range, right, rest } = checked;
        job.resumed += right.total();
        let done = |getter: &Getter| getter.session.node().progress(fetch).unwrap_or_default().done;
        let before = done(self);
        self.session.call(|node, now, store| node.on_checked(now, fetch, range, &right, store));
        self.progress.add_there(done(self) - before);
        if let Some(rest) = rest {
            self.check(fetch, rest);
        }
    }

    fn on_prepared(&mut self, number: u64, prepared: Prepared) -> Result<(), ToolError> {
        match prepared {
            Prepared::There(length) => {
                if let Some(job) = self.jobs.get_mut(&number) {
                    job.length = Some(length);
                }
                self.complete(number, true)
            }
            Prepared::Ready(ready) => {
                let Ready { partial, resume, recheck } = *ready;
                let remembered = self.peers.add_remembered(partial.sources());
                self.begin_fetch(number, Box::new(partial), resume, remembered);
                if let (Some(fetch), Some(recheck)) = (self.jobs.get(&number).and_then(Job::fetch), recheck) {
                    self.check(fetch, recheck);
                }
                Ok(())
            }
            Prepared::Busy if self.lock == LockMode::Wait => {
                self.set_step(number, Step::Locked(self.session.now() + TRY_LOCK_EVERY));
                Ok(())
            }
            // A folder has to be told of each piece that does not come.
            Prepared::Busy
                if self.lock == LockMode::Skip
                    && self.jobs.get(&number).is_some_and(|job| job.piece.is_none()) =>
            {
                match self.jobs.remove(&number) {
                    Some(Job { id, paths: Some(paths), .. }) => self.report.skipped(&id, &paths.target),
                    _ => Ok(()),
                }
            }
            Prepared::Busy => {
                let error = ToolError::new(Exit::Busy, "another process fetches it to the same file");
                self.fail(number, &error)
            }
        }
    }
}
