//! One content in the cache that is open: what of it is here, and may be read.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use cjp2p_io::partial::kept::Kept;
use cjp2p_io::partial::recheck::Recheck;
use cjp2p_io::partial::running_hash::{Piece, RunningHash};
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::download::Resume;
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::JobId;

/// How content is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bit by bit.
    AsItComes,
    /// When all of it is here.
    AsAWhole,
}

/// See the [module](self).
pub(crate) struct Entry {
    pub(super) id: ContentId,
    pub(super) kept: Kept,
    pub(super) job: Option<JobId>,
    /// How much the job may fetch now, along what is wanted.
    pub(super) room: u64,
    /// What is still to be verified of what another process left, while nobody works on it.
    pub(super) recheck: Option<Recheck>,
    /// Somebody does.
    pub(super) is_checking: bool,
    /// Of what is verified as a whole.
    pub(super) hash: Option<RunningHash>,
    pub(super) used: u64,
}

impl Entry {
    /// Of content of which this is kept, and what is to be verified of it.
    pub(crate) fn new(id: ContentId, kept: Kept, recheck: Option<Recheck>) -> Entry {
        let hash = match id {
            ContentId::Sha256(hash) if !kept.is_complete() => {
                Some(RunningHash::new(hash, kept.done().clone()))
            }
            _ => None,
        };
        Entry { id, kept, job: None, room: 0, recheck, is_checking: false, hash, used: 0 }
    }

    /// What it is.
    pub(crate) fn id(&self) -> &ContentId {
        &self.id
    }

    /// How it is verified.
    pub(crate) fn kind(&self) -> Kind {
        match self.id {
            ContentId::Blake3(_) => Kind::AsItComes,
            _ => Kind::AsAWhole,
        }
    }

    /// Who fetches it.
    pub(crate) fn job(&self) -> Option<JobId> {
        self.job
    }

    /// Its file.
    pub(crate) fn file(&self) -> &Arc<std::fs::File> {
        self.kept.file()
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The same, to be changed.
    pub(crate) fn kept_mut(&mut self) -> &mut Kept {
        &mut self.kept
    }

    /// The length of the content, if it is certain.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.kind() {
            Kind::AsItComes => self.kept.length(),
            Kind::AsAWhole => self.kept.length().filter(|_| self.kept.is_complete()),
        }
    }

    /// How much of `range` can be read from its beginning on: verified and written.
    pub(crate) fn available(&self, range: Range<u64>) -> u64 {
        if self.kind() == Kind::AsAWhole && !self.kept.is_complete() {
            return 0;
        }
        let end = self.kept.done().first_gap(range.clone()).map_or(range.end, |gap| gap.start);
        end - range.start.min(end)
    }

    /// What is here or being verified: nobody has to fetch that.
    pub(crate) fn there(&self) -> RangeSet {
        self.kept.done().iter().chain(self.kept.unchecked().iter()).collect()
    }

    /// What a new job goes on from.
    pub(crate) fn resume(&self) -> Option<Resume> {
        let length = self.kept.length()?;
        let done = self.kept.done().clone();
        let verifier = match self.kind() {
            Kind::AsItComes => Some(self.kept.tree()?.clone()),
            Kind::AsAWhole => None,
        };
        let unchecked = self.kept.unchecked().clone();
        (!done.is_empty()).then_some(Resume { length, done, unchecked, verifier })
    }

    /// How much the job may fetch now, along what is wanted.
    pub(crate) fn set_room(&mut self, room: u64) {
        self.room = room;
    }

    /// All of it is staged under this length.
    ///
    /// # Errors
    ///
    /// Some of it could not be written.
    pub(crate) fn settle_staged(&mut self, length: u64) -> io::Result<()> {
        let staged = self.kept.settle()?;
        if let Some(hash) = &mut self.hash {
            staged.into_iter().for_each(|range| hash.on_staged(range));
            hash.on_end(length);
        }
        Ok(())
    }

    /// A piece of what is staged is hashed.
    ///
    /// # Errors
    ///
    /// It could not be read.
    pub(crate) fn on_hashed(&mut self, piece: io::Result<Piece>) -> io::Result<()> {
        self.hash.as_mut().map_or(Ok(()), |hash| hash.on_hashed(piece))
    }

    /// Whether what is staged is the content, once that is known.
    pub(crate) fn verdict(&mut self) -> Option<bool> {
        self.hash.as_mut()?.verdict()
    }

    /// It is, and this long.
    pub(crate) fn on_right(&mut self, length: u64) {
        self.hash = None;
        self.kept.on_complete(length);
    }

    /// Takes out what is to be verified next, beginning with what has some of `wanted`, if any of that has.
    pub(crate) fn next_check(&mut self, wanted: &RangeSet) -> Option<Recheck> {
        let is_wanted = wanted.iter().any(|range| self.kept.unchecked().overlaps(range));
        if self.is_checking || !is_wanted {
            return None;
        }
        let mut recheck = self.recheck.take()?;
        recheck.prefer(wanted.clone());
        self.is_checking = true;
        Some(recheck)
    }

    /// Gives back what is left to verify.
    pub(crate) fn put_back(&mut self, rest: Option<Recheck>) {
        self.is_checking = false;
        self.recheck = rest;
    }
}
