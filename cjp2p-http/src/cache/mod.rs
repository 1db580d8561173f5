//! The cache: contents that were fetched, or some of each, in files of a folder that has a bound. What nobody read for longest goes
//! first.
//!
//! While one is in use it is an [`Entry`], from which readers here and other peers are served alike. What another process left
//! there is verified again before it is read.

pub(crate) mod entry;
pub(crate) mod files;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cjp2p_io::partial::wanted::Wanted;
use cjp2p_io::stream_files::Viewed;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::signed::{PointerId, SignedPointer};
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::StreamId;
use cjp2p_wire::time::Time;

pub(crate) use entry::{Entry, Kind};
use files::{Folder, OnDisk};

/// Names an entry as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u64);

impl Slot {
    /// What others want is noted by the number of the entry, in the place of that of a job.
    fn as_job(self) -> JobId {
        JobId(self.0 as u32)
    }
}

/// Entries that are open beyond those that are read: each is an open file, and they are shared onward.
pub(crate) const MAX_UNREAD: usize = 128;
/// When the disk was full with less than this here, in bytes, others have filled it: that is no bound to hold to.
const LEAST_BOUND: u64 = 1 << 20;
/// For so long the disk is taken to have no more room than it had.
const SHORT_FOR: Duration = Duration::from_secs(600);
/// Names that peers are told of.
const MAX_LATEST: usize = 1024;

/// See the [module](self).
pub(crate) struct Cache {
    folder: Folder,
    /// Bytes that it may hold.
    most: u64,
    /// Bytes that fitted on the disk when that was full, less some, and when that was.
    fits: Option<(u64, Time)>,
    entries: BTreeMap<Slot, Entry>,
    // Invariant: the id of each entry, and of its tree.
    by_id: BTreeMap<ContentId, Slot>,
    by_job: BTreeMap<JobId, Slot>,
    /// What is in the folder and not open.
    on_disk: BTreeMap<ContentId, OnDisk>,
    /// Counts uses.
    uses: u64,
    next: u64,
    wanted: Wanted,
    /// What names stand for, for peers that ask.
    // Invariant: at most `MAX_LATEST`.
    latest: BTreeMap<PointerId, SignedPointer>,
    /// Streams that are viewed.
    streams: BTreeMap<StreamId, Viewed>,
    // Invariant: the ids of streams by the jobs that view them.
    viewing: BTreeMap<JobId, StreamId>,
    /// Entries of which more is here than when this was last asked.
    grown: BTreeSet<Slot>,
}

impl Cache {
    /// A cache in this folder, of `most` bytes.
    pub(crate) fn new(folder: Folder, most: u64) -> Cache {
        let on_disk = if most > 0 { folder.scan() } else { BTreeMap::new() };
        let uses = on_disk.len() as u64;
        Cache {
            folder,
            most,
            fits: None,
            entries: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_job: BTreeMap::new(),
            on_disk,
            uses,
            next: 0,
            wanted: Wanted::default(),
            latest: BTreeMap::new(),
            streams: BTreeMap::new(),
            viewing: BTreeMap::new(),
            grown: BTreeSet::new(),
        }
    }

    /// Where files are.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether anything is kept once nobody reads it.
    pub(crate) fn keeps(&self) -> bool {
        self.most > 0
    }

    /// Bytes that it may hold: what the user said, or less where the disk was full.
    pub(crate) fn most(&self) -> u64 {
        self.fits.map_or(self.most, |(fits, _)| fits.min(self.most))
    }

    /// The disk is full with what is here.
    pub(crate) fn on_full(&mut self, now: Time) {
        let held = self.held();
        if held >= LEAST_BOUND {
            self.fits = Some((held - held / 8, now));
        }
    }

    /// Whether the disk was full lately.
    pub(crate) fn is_short_of_room(&self) -> bool {
        self.fits.is_some()
    }

    /// Where the disk was full lately, how many bytes more there is room for. That is a little more than [what it may hold](Cache::most),
    /// so that what is older goes.
    pub(crate) fn room(&self) -> Option<u64> {
        let (fits, _) = self.fits?;
        Some((fits + fits / 16).saturating_sub(self.held()))
    }

    /// After a while there may be more room again.
    pub(crate) fn look_at_room(&mut self, now: Time) {
        self.fits = self.fits.filter(|(_, at)| now.since(*at) < SHORT_FOR);
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> u64 {
        let open: u64 = self.entries.values().map(|entry| entry.kept.done().total()).sum();
        open + self.on_disk.values().map(|there| there.bytes).sum::<u64>()
    }

    /// Contents that it has some of.
    pub(crate) fn contents(&self) -> usize {
        self.entries.len() + self.on_disk.len()
    }

    /// The entry of some content, if it is open.
    pub(crate) fn slot_of(&self, id: &ContentId) -> Option<Slot> {
        self.by_id.get(id).copied()
    }

    /// The entry that a job writes to.
    pub(crate) fn slot_of_job(&self, job: JobId) -> Option<Slot> {
        self.by_job.get(&job).copied()
    }

    /// An open entry.
    pub(crate) fn get(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(&slot)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(&slot)
    }

    /// All that are open.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        self.entries.iter().map(|(&slot, entry)| (slot, entry))
    }

    /// Takes in an entry that was opened.
    pub(crate) fn insert(&mut self, mut entry: Entry) -> Slot {
        let slot = Slot(self.next);
        self.next += 1;
        self.uses += 1;
        entry.used = self.uses;
        self.on_disk.remove(&entry.id);
        self.by_id.insert(entry.id.clone(), slot);
        if let ContentId::Blake3(root) = entry.id {
            self.by_id.insert(ContentId::Tree(root), slot);
        }
        self.entries.insert(slot, entry);
        slot
    }

    /// Somebody reads it.
    pub(crate) fn touch(&mut self, slot: Slot) {
        self.uses += 1;
        if let Some(entry) = self.entries.get_mut(&slot) {
            entry.used = self.uses;
        }
    }

    /// From now on `job` writes to this entry.
    pub(crate) fn begin(&mut self, slot: Slot, job: JobId) {
        if let Some(entry) = self.entries.get_mut(&slot) {
            entry.job = Some(job);
            self.by_job.insert(job, slot);
        }
    }

    /// The job of an entry is over.
    pub(crate) fn end(&mut self, slot: Slot) -> Option<JobId> {
        let job = self.entries.get_mut(&slot)?.job.take()?;
        self.by_job.remove(&job);
        Some(job)
    }

    /// Closes an entry without a job: what is kept of it stays on the disk.
    pub(crate) fn close(&mut self, slot: Slot) {
        let Some(mut entry) = self.entries.remove(&slot) else { return };
        debug_assert!(entry.job.is_none());
        self.by_id.retain(|_, other| *other != slot);
        self.grown.remove(&slot);
        self.wanted.forget(slot.as_job());
        if let Err(error) = entry.kept.save() {
            log::warn!("{}: what is here cannot be kept: {error}", entry.id);
        }
        let bytes = entry.kept.done().total();
        if self.most == 0 || bytes == 0 {
            return self.folder.remove(&entry.id);
        }
        self.on_disk.insert(entry.id.clone(), OnDisk { bytes, used: entry.used });
    }

    /// What nobody read for longest, as long as there is more than there may be: among what is on the disk, and those open entries that
    /// `may_go`.
    pub(crate) fn too_much(&self, may_go: impl Fn(Slot, &Entry) -> bool) -> Option<Excess> {
        if self.held() <= self.most() {
            return None;
        }
        let closed = self.on_disk.iter().map(|(id, there)| (there.used, Excess::Closed(id.clone())));
        let open = self.entries.iter().filter(|(slot, entry)| may_go(**slot, entry));
        let open = open.map(|(&slot, entry)| (entry.used, Excess::Open(slot)));
        closed.chain(open).min_by_key(|(used, _)| *used).map(|(_, excess)| excess)
    }

    /// Removes what is on the disk of this content, which is not open.
    pub(crate) fn remove_closed(&mut self, id: &ContentId) {
        if self.on_disk.remove(id).is_some() {
            self.folder.remove(id);
        }
    }

    /// Closes an entry without a job, and keeps nothing of it.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get(&slot) else { return };
        let id = entry.id.clone();
        self.close(slot);
        self.on_disk.remove(&id);
        self.folder.remove(&id);
    }

    /// Takes note of what was written since, of entries with a job. Returns those of which more is here.
    pub(crate) fn take_grown(&mut self) -> BTreeSet<Slot> {
        for slot in self.by_job.values() {
            if let Some(entry) = self.entries.get_mut(slot) {
                let before = entry.kept.done().total();
                // A failure comes again with the next block, and ends the job.
                let _ = entry.kept.settle_some();
                if entry.kept.done().total() != before {
                    self.grown.insert(*slot);
                }
            }
        }
        std::mem::take(&mut self.grown)
    }

    /// A name stands for this, as somebody was asked for here.
    pub(crate) fn know_latest(&mut self, pointer: SignedPointer) {
        let id = pointer.pointer().id.clone();
        if self.latest.len() < MAX_LATEST || self.latest.contains_key(&id) {
            self.latest.insert(id, pointer);
        }
    }

    /// From now on `job` views this stream, of which so many bytes are kept in memory.
    pub(crate) fn begin_stream(&mut self, job: JobId, id: StreamId, bytes: usize) {
        self.viewing.insert(job, id.clone());
        self.streams.insert(id, Viewed::new(bytes));
    }

    /// It is viewed no more.
    pub(crate) fn end_stream(&mut self, job: JobId) {
        if let Some(id) = self.viewing.remove(&job) {
            self.streams.remove(&id);
        }
    }

    /// What is here of a stream that is viewed.
    pub(crate) fn stream(&self, id: &StreamId) -> Option<&Viewed> {
        self.streams.get(id)
    }

    /// Something else of this entry changed: its readers are to look.
    pub(crate) fn note_grown(&mut self, slot: Slot) {
        self.grown.insert(slot);
    }
}

/// What is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// Files of content that is not open.
    Closed(ContentId),
    /// An open entry.
    Open(Slot),
}
