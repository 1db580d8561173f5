//! Looks at what there is: at everything, or at what is below one path.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::memory::{Memory, is_passing};
use super::{QUIET, Work};
use crate::hash_store::Remembered;
use crate::place::{Place, Source};
use crate::walk::{Step, walk, walk_from};
use crate::watch::{Watch, way_to};

impl Work {
    /// Looks at everything, folders that were missing included.
    pub(super) fn walk_all(&mut self) {
        self.rescan_at = None;
        self.walks = self.walks.wrapping_add(1);
        let mut memory = Memory::default();
        let mut has_links = false;
        // Before looking, so that what is mounted meanwhile is a change.
        self.mounted = self.mounts_around();
        for at in 0..self.keeper.sources.len() {
            has_links |= self.walk_source(at, &mut memory);
        }
        if self.is_ending() {
            return;
        }
        if self.blind || has_links {
            self.rescan_at.get_or_insert(Instant::now() + self.keeper.poll_every);
        }
        self.tidy_up(memory);
        self.check_ready();
    }

    /// Looks at what an argument names now, and says whether it was reached by links.
    fn walk_source(&mut self, at: usize, memory: &mut Memory) -> bool {
        // Before looking, so that no change comes in between.
        let known = self.keeper.sources[at].clone();
        self.keeper.publisher.touched(known.number);
        if let Some(watch) = &self.watch {
            watch.begin_round();
        }
        for (folder, name) in way_to(&known.named) {
            self.watched(|watch| watch.add_name(known.number, &folder, &name));
        }
        let (source, is_there) = self.reopen(at);
        let mut has_links = false;
        // One that another leads to as well is only watched for leading elsewhere.
        if is_there && !self.cover.is_covered(source.number, self.keeper.rules) {
            if let Some(only) = &source.only {
                self.watched(|watch| watch.add_file(source.number, only.as_ref(), &source.path()));
            }
            walk(&source, self.keeper.rules, &mut |step| {
                has_links |= matches!(&step, Step::File(Place { target: Some(_), .. }, _));
                self.take_step(step, memory)
            });
        }
        if self.is_ending() {
            return has_links;
        }
        if let Some(watch) = &self.watch {
            watch.end_round(source.number);
        }
        self.withdraw_unseen(source.number, Path::new(""));
        has_links
    }

    /// The source, and whether it is there. One that was replaced since is taken hold of anew.
    fn reopen(&mut self, at: usize) -> (Arc<Source>, bool) {
        let source = self.keeper.sources[at].clone();
        let opened = source.open_again();
        let covers_others = match &opened {
            Ok(now) => self.cover.put(now),
            Err(_) => self.cover.lose(source.number),
        };
        if covers_others {
            self.rescan_at.get_or_insert(Instant::now() + QUIET);
        }
        match opened {
            Ok(now) => {
                self.warned.remove(&source.shown);
                self.missing.remove(&source.number);
                if now.is_same(&source) {
                    return (source, true);
                }
                let now = Arc::new(now);
                self.keeper.sources[at] = now.clone();
                self.keeper.publisher.replaced(now.clone());
                (now, true)
            }
            Err(error) => {
                self.missing.insert(source.number);
                self.warn(source.shown.clone(), &error);
                (source, false)
            }
        }
    }

    /// Whatever became of an argument without a notice, as on file systems and in folders that cannot be watched.
    pub(super) fn look_at_names(&mut self) {
        self.look_at_names_at = Instant::now() + self.keeper.poll_every;
        for source in self.keeper.sources.clone() {
            let was_missing = self.missing.contains(&source.number);
            let is_as_it_was = match source.open_again() {
                // To look at one file is no more work than to find out whether it is needed.
                Ok(now) => !was_missing && now.only.is_none() && now.is_same(&source),
                Err(_) => was_missing,
            };
            if !is_as_it_was {
                self.look_soon(Instant::now(), source.number, PathBuf::new());
            }
        }
    }

    fn take_step(&mut self, step: Step<'_>, memory: &mut Memory) -> ControlFlow<()> {
        match step {
            Step::Folder { source, relative, opened } => {
                self.watched(|watch| watch.add(source.number, relative, opened));
            }
            Step::File(place, identity) => self.take_file(place, identity, memory),
            Step::Problem { path, error } => {
                self.warn(path, &error);
                if is_passing(&error) {
                    self.rescan_at.get_or_insert(Instant::now() + self.keeper.poll_every);
                }
            }
        }
        if self.is_ending() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn watched(&mut self, add: impl FnOnce(&Watch) -> io::Result<()>) {
        let Some(watch) = &self.watch else {
            return;
        };
        match add(watch) {
            // The walk finds that out as well, and knows whether it matters; and names are looked at in any case.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(error) if !self.blind => {
                self.blind = true;
                self.keeper.cannot_watch(&error);
            }
            _ => {}
        }
    }

    /// Looks at one path and what is below it.
    pub(super) fn look_at(&mut self, source: u32, relative: &Path) {
        let Some(source) = self.keeper.sources.get(source as usize).cloned() else {
            return;
        };
        self.walks = self.walks.wrapping_add(1);
        if relative.as_os_str().is_empty() {
            // A folder may be back that was there before, with all that it held. For one file it is not worth a look.
            let mut memory = Memory(source.only.as_ref().map(|_| Remembered::default()));
            self.walk_source(source.number as usize, &mut memory);
            if !self.is_ending() {
                self.tidy_up(memory);
                self.check_ready();
            }
            return;
        }
        // What is new was most likely never hashed: the ids of earlier runs are not worth loading for it.
        let mut memory = Memory(Some(Remembered::default()));
        walk_from(&source, relative, self.keeper.rules, &mut |step| self.take_step(step, &mut memory));
        if self.is_ending() {
            return;
        }
        self.withdraw_unseen(source.number, relative);
        self.check_ready();
    }

    fn tidy_up(&self, memory: Memory) {
        let roots = memory.0.and_then(|mut remembered| remembered.roots_after_tidying());
        if let Some(roots) = roots {
            self.keeper.trees.remove_all_but(&roots);
        }
    }
}
