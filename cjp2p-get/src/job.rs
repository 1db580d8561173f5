//! One id, and how far it is.

use std::io;
use std::time::Duration;

use cjp2p_cli::{Exit, ToolError, duration};
use cjp2p_wire::content_id::{ContentId, Hash};
use cjp2p_wire::download::{Failure, Progress, Resume, Spec};
use cjp2p_wire::store::JobId;
use cjp2p_wire::time::Time;
use cjp2p_wire::tree::GroupIndex;

use crate::folder::piece::Piece as FolderPiece;
use crate::ids::Given;
use crate::place::Paths;
use crate::ranges::Ranges;
use crate::sinks::prepare::Prepared;
use cjp2p_io::partial::recheck::Checked;
use cjp2p_io::partial::running_hash::Piece;

/// So long an id that waited for a place is asked for, though its time is over.
const LAST_TURN: Duration = Duration::from_secs(2);

/// What is being done for an id.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: ContentId,
    /// It was given as digits alone.
    pub(crate) is_bare: bool,
    /// Its files, unless it goes to standard output or a device.
    pub(crate) paths: Option<Paths>,
    pub(crate) step: Step,
    pub(crate) started: Time,
    /// When its fetch began, or began again.
    pub(crate) in_place_since: Time,
    /// Peers that an interrupted download had it from, beside those that are asked for everything.
    pub(crate) remembered: usize,
    /// Bytes that an interrupted download had.
    pub(crate) resumed: u64,
    /// How far it was when the fetch ended.
    pub(crate) last: Progress,
    /// Of the whole content, once that is known for certain.
    pub(crate) length: Option<u64>,
    /// What it is of a folder, if it is.
    pub(crate) piece: Option<FolderPiece>,
    /// All known peers are asked for it, and not only those that most likely have it.
    pub(crate) asks_all: bool,
}

/// How far an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A thread looks at what is there.
    Preparing,
    /// Another process has the lock: look again at this time.
    Locked(Time),
    /// Nobody known has it, and others have its place for a while.
    Aside,
    /// It is fetched.
    Fetching(JobId),
    /// All is staged, and threads hash the rest of it.
    Judging(JobId),
    /// A thread does the last step.
    Publishing(JobId),
}

/// What a thread brought to an end for the id of this number.
pub(crate) enum Outcome {
    Prepared(u64, Result<Prepared, ToolError>),
    /// Of what this fetch staged.
    Hashed(JobId, io::Result<Piece>),
    /// Of what an interrupted fetch wrote.
    Checked(JobId, Checked),
    Published(u64, Result<(), ToolError>),
    /// Of a group of the content that this fetch fetched, for others.
    Leaves(JobId, GroupIndex, Option<Vec<Hash>>),
    /// This window of it is in memory, as far as it can be, for others; and whether it can be known later if it is still there.
    Warmed(JobId, u64, bool),
}

impl Job {
    pub(crate) fn new(given: Given, paths: Option<Paths>, now: Time) -> Job {
        let Given { id, is_bare } = given;
        let last = Progress::default();
        Job {
            id,
            is_bare,
            paths,
            step: Step::Preparing,
            started: now,
            in_place_since: now,
            remembered: 0,
            resumed: 0,
            last,
            length: None,
            piece: None,
            asks_all: true,
        }
    }

    /// A piece of a folder.
    pub(crate) fn of_piece(piece: FolderPiece, paths: Option<Paths>, now: Time) -> Job {
        let given = Given { id: piece.id(), is_bare: false };
        Job { asks_all: !piece.is_short(), piece: Some(piece), ..Job::new(given, paths, now) }
    }

    /// Whether it is fetched to memory.
    pub(crate) fn is_short(&self) -> bool {
        self.piece.as_ref().is_some_and(FolderPiece::is_short)
    }

    /// The fetch, once there is one.
    pub(crate) fn fetch(&self) -> Option<JobId> {
        match self.step {
            Step::Fetching(fetch) | Step::Judging(fetch) | Step::Publishing(fetch) => Some(fetch),
            Step::Preparing | Step::Locked(_) | Step::Aside => None,
        }
    }
}

/// What to tell of a fetch that ended in vain. `kept` is where the part that came is.
pub(crate) fn failure(
    why: &Failure,
    spec: &Limits,
    ranges: &Ranges,
    peers: usize,
    kept: Option<&str>,
) -> ToolError {
    let (exit, mut message) = match why {
        Failure::NoSource => {
            let time = duration::human(spec.timeout);
            let peers = if peers == 1 { "one peer was".into() } else { format!("{peers} peers were") };
            (Exit::NoSource, format!("no peer offered any of it within {time}; {peers} asked"))
        }
        Failure::Stalled => {
            let time = duration::human(spec.stall);
            (Exit::Stalled, format!("nothing new came for {time}"))
        }
        Failure::Withdrawn => {
            let message = "withdrawn at the source: every peer that had it says that it no longer has it";
            let kept = kept.map(|kept| format!("; what came is kept in {kept}")).unwrap_or_default();
            // To go on would not help, unless others have it.
            return ToolError::new(Exit::Withdrawn, format!("{message}{kept}"));
        }
        Failure::Mismatch => (Exit::Mismatch, "what came does not match the id".into()),
        Failure::Destination(error) => (Exit::Destination, error.to_string()),
        Failure::PastTheEnd { nth, length } => {
            let range = ranges.text(*nth);
            // To go on would not help.
            let message = format!("nothing is at --range {range}: the content is {length} bytes long");
            return ToolError::usage(message);
        }
    };
    if let Some(kept) = kept {
        message += &format!("; what came is kept in {kept}, and the same command goes on from there");
    }
    ToolError::new(exit, message)
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) stall: Duration,
}

impl Limits {
    /// What to fetch, within these limits, of which so much time has passed; in order where a reader waits for it, or the user
    /// named one.
    pub(crate) fn spec(
        &self,
        id: ContentId,
        ranges: &Ranges,
        resume: Option<Resume>,
        reader_waits: bool,
        waited: Duration,
    ) -> Spec {
        let ranges = ranges.specs();
        Spec {
            id,
            in_order: reader_waits || !ranges.is_empty(),
            ranges,
            resume,
            // However long it waited for a place, it is asked for once more.
            source_timeout: self.timeout.saturating_sub(waited).max(LAST_TURN.min(self.timeout)),
            stall_timeout: self.stall,
        }
    }
}
