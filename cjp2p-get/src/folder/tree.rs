//! A folder on this disk: the entries go to a spool, and then the [local side](super::local) says what is needed.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::event_loop::Waker;
use cjp2p_io::names;
use cjp2p_wire::folder::Entry;

use super::aim::{Aim, Without};
use super::local::{Counts, Local, Need, Running, Summary, Told};
use super::piece::{Keep, Piece, Places, SHORT, What};
use super::spool::Spool;
use crate::report::{Report, Written};

/// Long contents that wait while short ones go on.
const MAX_LONG: usize = 64;
/// Reasons of which it is remembered how the tool is to end.
const MAX_REASONS: usize = 64;

/// See the [module](self).
pub(crate) struct Tree {
    name: String,
    destination: PathBuf,
    is_dry: bool,
    step: Step,
    waker: Waker,
    /// The next short content, for which there was no place.
    next: Option<Need>,
    long: VecDeque<Need>,
    /// How far it was at the end.
    last: Counts,
    /// Why contents could not be had, and what that means for the end.
    reasons: BTreeMap<String, Exit>,
}

enum Step {
    /// The entries come.
    Reading(Box<(Local, Spool)>),
    Running(Running),
    Over,
}

impl Tree {
    /// Ready for the entries of the folder `name`.
    pub(crate) fn new(
        name: String,
        destination: PathBuf,
        is_dry: bool,
        to: Box<(Local, Spool)>,
        waker: Waker,
    ) -> Tree {
        Tree {
            name,
            destination,
            is_dry,
            step: Step::Reading(to),
            waker,
            next: None,
            long: VecDeque::new(),
            last: Counts::default(),
            reasons: BTreeMap::new(),
        }
    }

    fn tell(&self, told: &Told, report: &mut Report) -> Result<(), ToolError> {
        match told {
            Told::Would { what, path, length } => report.would(what.as_str(), path, *length),
            Told::Refused { path, why } => {
                let exit = self.reasons.get(why).copied().unwrap_or(Exit::Destination);
                report.entry_failed(path, None, &ToolError::new(exit, why.clone()))
            }
            Told::Warning(text) => {
                log::warn!("{text}");
                Ok(())
            }
        }
    }
}

impl Aim for Tree {
    fn take(&mut self, entry: Entry) -> Result<(), ToolError> {
        match &mut self.step {
            Step::Reading(to) => to.1.push(&entry),
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), ToolError> {
        let Step::Reading(to) = std::mem::replace(&mut self.step, Step::Over) else { return Ok(()) };
        let (local, spool) = *to;
        let (entries, waker) = (spool.finish()?, self.waker.clone());
        self.step = Step::Running(local.start(entries, move || waker.wake())?);
        Ok(())
    }

    fn turn(&mut self, report: &mut Report) -> Result<(), ToolError> {
        while !stdout::is_full() {
            let Step::Running(running) = &mut self.step else { return Ok(()) };
            if let Some(told) = running.next_told() {
                self.tell(&told, report)?;
                continue;
            }
            let Some(ended) = running.finished() else { return Ok(()) };
            // What was told before it ended comes first.
            while let Step::Running(running) = &mut self.step
                && let Some(told) = running.next_told()
            {
                self.tell(&told, report)?;
            }
            let counts = match &self.step {
                Step::Running(running) => running.counts(),
                _ => return Ok(()),
            };
            let summary = ended?;
            self.step = Step::Over;
            self.last = counts;
            report.note(summary.exit);
            if let Some(kept) = &summary.kept_in {
                let kept = names::shown(kept);
                log::warn!("what came of the rest is kept in {kept}; the same command goes on from there");
            }
            if !self.is_dry {
                report.folder_done(&self.name, &self.destination, &written(&counts, &summary))?;
            }
        }
        Ok(())
    }

    fn next_piece(&mut self, places: Places) -> Option<Piece> {
        let Step::Running(running) = &mut self.step else { return None };
        if places.long
            && let Some(need) = self.long.pop_front()
        {
            return Some(long(need));
        }
        while self.long.len() < MAX_LONG {
            let need = self.next.take().or_else(|| running.next_need())?;
            if need.length > SHORT {
                if places.long {
                    return Some(long(need));
                }
                self.long.push_back(need);
                continue;
            }
            if places.short && running.has_room() {
                return Some(piece(need, Keep::Memory));
            }
            self.next = Some(need);
            return None;
        }
        None
    }

    fn on_bytes(&mut self, number: u32, bytes: Vec<u8>) {
        if let Step::Running(running) = &mut self.step {
            running.give(number, bytes);
        }
    }

    fn on_done(&mut self, number: u32) {
        if let Step::Running(running) = &mut self.step {
            running.done(number);
        }
    }

    fn on_failed(&mut self, number: u32, error: &ToolError) -> Without {
        let Step::Running(running) = &mut self.step else { return Without::Nothing };
        if self.reasons.len() < MAX_REASONS {
            self.reasons.insert(error.message.clone(), error.exit);
        }
        running.failed(number, error.message.clone());
        Without::RestToldThere
    }

    fn is_over(&self) -> bool {
        matches!(self.step, Step::Over)
    }

    fn counts(&self) -> (u64, Option<u64>) {
        let counts = match &self.step {
            Step::Running(running) => running.counts(),
            Step::Reading(_) | Step::Over => self.last,
        };
        (counts.bytes_here, Some(counts.bytes).filter(|&bytes| bytes > 0))
    }

    fn abandon(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Running(running) => running.abandon(),
            _ => None,
        }
    }
}

fn written(counts: &Counts, summary: &Summary) -> Written {
    Written {
        exit: summary.exit as u8,
        files: counts.files,
        bytes: counts.bytes,
        fetched: summary.fetched,
        copied: summary.copied,
        unchanged: summary.kept,
        replaced: summary.replaced,
        deleted: summary.deleted,
        left_out: summary.refused,
    }
}

fn long(need: Need) -> Piece {
    let keep = Keep::File(need.staged.clone());
    piece(need, keep)
}

fn piece(need: Need, keep: Keep) -> Piece {
    let Need { number, root, length, path, .. } = need;
    Piece { what: What::Content(number), root, length: Some(length), keep, path }
}
