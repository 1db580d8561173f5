//! Fetching the pieces of a folder: its lists, and the contents of its files. Short ones come to memory, hundreds at a time, and are
//! asked first of those that gave others of the same folder.

use std::time::Duration;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::{Download, RangeSpec};
use cjp2p_wire::range_set::RangeSet;
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;

use super::Getter;
use crate::folder::piece::{Keep, Piece, Places, What};
use crate::folder::text::path as path_of;
use crate::folder::{Folder, Without};
use crate::job::{Job, Step};
use crate::place::Paths;
use crate::sinks::memory::Memory;
use crate::sinks::stream::Stream;

/// Short contents that are fetched at once: as many as one peer has handles for raw content, nearly.
const SHORT_AT_ONCE: usize = 192;
/// And those for which nobody is known to have them, beside these.
const IN_VAIN_AT_ONCE: usize = 1024;
/// Bytes of the short ones.
const SHORT_BYTES: u64 = 16 << 20;
/// Long contents that are fetched at once.
const LONG_AT_ONCE: usize = 8;
/// A peer that most likely has a content has so long to send it before all others are asked.
const HEAD_START: Duration = Duration::from_secs(2);
/// How often it is looked whether others are to be asked.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Getter {
    /// Goes on with the folder, if one is fetched.
    pub(super) fn turn_folder(&mut self) -> Result<(), ToolError> {
        let Some(mut folder) = self.folder.take() else { return Ok(()) };
        let result = self.advance(&mut folder);
        self.folder = Some(folder);
        match result {
            Err(error) if error.exit != Exit::ClosedOutput => self.end_folder(&error),
            result => result,
        }
    }

    fn advance(&mut self, folder: &mut Folder) -> Result<(), ToolError> {
        if folder.turn(&mut self.report)? {
            self.waker.wake();
        }
        loop {
            let short = self.short.count < SHORT_AT_ONCE && self.short.bytes < SHORT_BYTES;
            let long = self.jobs.len() - self.short.count - self.short.in_vain < LONG_AT_ONCE;
            let places = Places { short: short && self.short.in_vain < IN_VAIN_AT_ONCE, long };
            let Some(piece) = folder.next_piece(places) else { break };
            self.start_piece(piece)?;
        }
        let now = self.session.now();
        if now.since(self.short.looked_at) >= LOOK_EVERY {
            self.short.looked_at = now;
            self.ask_all_in_time(now);
        }
        Ok(())
    }

    fn start_piece(&mut self, piece: Piece) -> Result<(), ToolError> {
        let number = self.count;
        self.count += 1;
        let now = self.session.now();
        let (keep, root) = (piece.keep.clone(), piece.root);
        match keep {
            Keep::Memory => {
                self.jobs.insert(number, Job::of_piece(piece, None, now));
                self.begin_short(number, root);
            }
            Keep::File(target) => {
                self.jobs.insert(number, Job::of_piece(piece, Some(Paths::of_file(target)), now));
                self.prepare(number);
            }
            Keep::Output => {
                let failed = |error: std::io::Error| ToolError::failure(format!("threads: {error}"));
                let Some(output) = &self.tar_output else { return Ok(()) };
                let output = output.try_clone().map_err(failed)?;
                // No more than its header says: whatever followed would be read as headers that no list has. More may come before
                // the length is proven, where somebody keeps the last leaf back.
                let said: Vec<RangeSpec> =
                    piece.length.map(|length| RangeSpec::Span(0..length)).into_iter().collect();
                let stream = Stream::start(root, said, output, self.waker.clone());
                let stream = stream.map_err(failed)?;
                self.jobs.insert(number, Job::of_piece(piece, None, now));
                self.begin_fetch(number, Box::new(stream), None, Vec::new());
            }
        }
        Ok(())
    }

    /// Fetches a short content to memory, from those that gave others, if there are any.
    fn begin_short(&mut self, number: u64, root: Hash) {
        let Some(piece) = self.jobs.get(&number).and_then(|job| job.piece.as_ref()) else { return };
        let (length, most) = (piece.length.unwrap_or(0), piece.most());
        let id = ContentId::Blake3(root);
        let spec = self.limits.spec(id.clone(), &self.ranges, None, false, Duration::ZERO);
        let is_limited = self.peers.limits(&id);
        let holders = if length > 0 { self.holders.all() } else { Vec::new() };
        let fetch =
            self.session.call(|node, now, _| node.start_fetch_from(now, spec, length, &holders, is_limited));
        self.session.store_mut().insert(fetch, &id, Box::new(Memory::new(most as usize)), RangeSet::new());
        self.by_fetch.insert(fetch, number);
        self.short.count += 1;
        self.short.bytes += most;
        if let Some(job) = self.jobs.get_mut(&number) {
            job.step = Step::Fetching(fetch);
        }
        if holders.is_empty() {
            self.ask_all(number, fetch);
        }
    }

    /// Has all known peers asked for a short content.
    fn ask_all(&mut self, number: u64, fetch: JobId) {
        let Some(job) = self.jobs.get_mut(&number).filter(|job| !job.asks_all) else { return };
        job.asks_all = true;
        let id = job.id.clone();
        self.short.count -= 1;
        self.short.in_vain += 1;
        self.add_sources(&id, fetch, Vec::new());
    }

    /// Has all known peers asked for what those do not have, or do not send, that most likely have it.
    fn ask_all_in_time(&mut self, now: Time) {
        let is_due = |job: &Job, fetch: JobId| {
            let lacks = self.session.node().fetch(fetch).is_some_and(Download::lacks_sources);
            lacks || now.since(job.started) >= HEAD_START
        };
        let waiting = self.jobs.iter().filter(|(_, job)| !job.asks_all);
        let due = waiting.filter_map(|(&number, job)| {
            let fetch = job.fetch()?;
            is_due(job, fetch).then_some((number, fetch))
        });
        for (number, fetch) in due.collect::<Vec<_>>() {
            self.ask_all(number, fetch);
        }
    }

    /// A short content is here and right.
    pub(super) fn on_short(&mut self, number: u64, fetch: JobId, length: u64) -> Result<(), ToolError> {
        let Some(job) = self.jobs.get(&number) else { return Ok(()) };
        let Some(piece) = &job.piece else { return Ok(()) };
        if !piece.fits(length) {
            return self.fail(number, &unfit(piece, length));
        }
        let bytes = self.session.store_mut().take_bytes(fetch, &piece.root, length);
        let Some(bytes) = bytes else {
            return self.fail(number, &ToolError::failure("what came cannot be had back"));
        };
        if let Some(download) = self.session.node().fetch(fetch) {
            download.serving().for_each(|source| self.holders.note(source));
        }
        self.end_fetch(fetch);
        self.by_fetch.remove(&fetch);
        let Some(job) = self.jobs.remove(&number) else { return Ok(()) };
        self.leave(&job);
        self.news_at = self.session.now();
        if let (Some(folder), Some(piece)) = (&mut self.folder, &job.piece) {
            folder.on_bytes(piece, bytes);
        }
        Ok(())
    }

    /// The proven length of a piece is not the one that its list says.
    pub(super) fn refuse_length(&mut self, number: u64, length: u64) -> Result<bool, ToolError> {
        let piece = self.jobs.get(&number).and_then(|job| job.piece.as_ref());
        match piece.filter(|piece| !piece.fits(length)) {
            Some(piece) => {
                let error = unfit(piece, length);
                self.fail(number, &error)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// A long content is whole.
    pub(super) fn on_long(&mut self, piece: &Piece) {
        self.news_at = self.session.now();
        if let Some(folder) = &mut self.folder {
            folder.on_done(piece);
        }
    }

    /// A piece cannot be had. Where nothing else comes either, nobody has the folder any more, and the rest is not waited for.
    pub(super) fn on_piece_failed(&mut self, job: &Job, error: &ToolError) -> Result<(), ToolError> {
        self.leave(job);
        let (Some(piece), Some(folder)) = (&job.piece, &mut self.folder) else { return Ok(()) };
        let is_alone = self.news_at <= job.started && matches!(error.exit, Exit::NoSource | Exit::Stalled);
        let path = match piece.what {
            What::Content(number) => folder.path_of(number),
            What::List => None,
        };
        let path = path.unwrap_or_else(|| piece.path.clone());
        match folder.on_failed(piece, error) {
            Without::Rest if !is_alone => return self.report.entry_failed(&path, Some(&job.id), error),
            Without::RestToldThere if !is_alone => {
                self.report.note(error.exit);
                return Ok(());
            }
            Without::Rest | Without::RestToldThere | Without::Nothing => {}
        }
        let shown = match path.is_empty() {
            true => format!("its list {}", job.id),
            false => cjp2p_io::names::shown(path_of(&path)),
        };
        self.end_folder(&ToolError::new(error.exit, format!("{shown}: {error}")))
    }

    /// The folder fails as a whole: nothing more of it is fetched.
    fn end_folder(&mut self, error: &ToolError) -> Result<(), ToolError> {
        let Some(mut folder) = self.folder.take() else { return Ok(()) };
        for (_, job) in std::mem::take(&mut self.jobs) {
            if let Some(fetch) = job.fetch() {
                self.end_fetch(fetch);
                self.session.store_mut().abandon(fetch);
            }
        }
        self.by_fetch.clear();
        let message = match folder.abandon() {
            Some(kept) => format!("{error}; {kept}"),
            None => error.to_string(),
        };
        self.report.folder_failed(folder.name(), &ToolError::new(error.exit, message))
    }

    /// A piece gives up its place.
    fn leave(&mut self, job: &Job) {
        let Some(piece) = job.piece.as_ref().filter(|piece| piece.is_short()) else { return };
        self.short.bytes -= piece.most();
        match job.asks_all {
            true => self.short.in_vain -= 1,
            false => self.short.count -= 1,
        }
    }
}

fn unfit(piece: &Piece, length: u64) -> ToolError {
    let message = match piece.length {
        Some(said) => format!("the content is {length} bytes long, and the folder's list says {said}"),
        None => format!("is no folder: a list is not {length} bytes long"),
    };
    ToolError::new(Exit::Mismatch, message)
}
