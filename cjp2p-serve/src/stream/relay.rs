//! A stream of somebody else that is viewed here to be passed on.

use std::path::PathBuf;
use std::time::Duration;

use cjp2p_cli::ToolError;
use cjp2p_io::session::Session;
use cjp2p_io::state_dir::replace_lightly;
use cjp2p_io::stream_files::cursor::{Next, next};
use cjp2p_wire::node::{Start, StreamEvent, StreamOptions};
use cjp2p_wire::store::JobId;
use cjp2p_wire::stream::{BLOCK_LEN, SignedStatement, StreamId};
use cjp2p_wire::time::Time;

use crate::library::SharedLibrary;

/// Bytes that may be on their way, or here with some missing before them.
const WINDOW: u64 = 8 << 20;
/// What has not come in so long will not, and is passed over where there is more after it.
const GIVE_UP_AFTER: Duration = Duration::from_secs(10);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) id: StreamId,
    pub(super) job: JobId,
    statement_path: PathBuf,
    statement: Option<SignedStatement>,
    /// All before this byte is here, or will never be; `None` until it is known where to begin.
    position: Option<u64>,
    /// Since when it is there.
    since: Time,
    /// The block after the last that came.
    end: u64,
    pub(super) has_ended: bool,
}

impl Relay {
    /// Begins to view it, and goes on after what is on disk. The files of the statement and of the blocks are those of the stream's folder.
    pub(super) fn start(
        id: StreamId,
        statement_path: PathBuf,
        session: &mut Session<SharedLibrary>,
    ) -> Relay {
        let known = std::fs::read_to_string(&statement_path).ok();
        let statement =
            known.and_then(|text| SignedStatement::read(text.trim_end())).filter(|known| *known.id() == id);
        let there = session.store().streams().extent(&id).map(|extent| extent.end);
        let from = there.map_or(Start::Edge, Start::Offset);
        let options = StreamOptions { from, window: WINDOW, relay: true };
        let job = session.call(|node, now, _| node.view_stream(now, &id, options));
        session.store_mut().streams_mut().set_job(job, id.clone());
        if let Some(statement) = statement.clone() {
            session.call(|node, now, _| node.set_stream_statement(now, &statement));
        }
        let since = session.now();
        Relay { id, job, statement_path, statement, position: there, since, end: 0, has_ended: false }
    }

    /// Takes in what the node reports of the job.
    pub(super) fn take_event(&mut self, event: &StreamEvent) -> Result<(), ToolError> {
        match event {
            StreamEvent::Started { offset } => self.position = Some(self.position.unwrap_or(0).max(*offset)),
            StreamEvent::Block { index } => self.end = self.end.max(index + 1),
            StreamEvent::Statement(statement) => {
                // Where it cannot be written it is only not known after a restart.
                if let Err(error) =
                    replace_lightly(&self.statement_path, (statement.to_json() + "\n").as_bytes())
                {
                    log::debug!("{}: {error}", self.id);
                }
                // One that ended may go on.
                self.has_ended &= statement.statement().ended;
                self.statement = Some((**statement).clone());
            }
            StreamEvent::Contradiction { index } => {
                log::warn!("{}: its origin signed two contents of block {index}", self.id);
            }
            StreamEvent::Failed(why) => {
                return Err(ToolError::failure(format!("{}: {why}", self.id)));
            }
            StreamEvent::NoSource | StreamEvent::Misbehaved(_) => log::debug!("{}: {event:?}", self.id),
        }
        Ok(())
    }

    /// Moves the window over what has come. Gives whether the stream has just ended.
    pub(super) fn turn(&mut self, session: &mut Session<SharedLibrary>) -> bool {
        let (Some(before), false) = (self.position, self.has_ended) else { return false };
        let now = session.now();
        let mut position = before;
        loop {
            let streams = session.store_mut().streams_mut();
            let Some(store) = streams.store_mut(&self.id) else { return false };
            let statement = self.statement.as_ref().map(SignedStatement::statement);
            match next(position, |index| store.peek(index).cloned(), statement) {
                Next::Bytes(_, range) => position += (range.end - range.start) as u64,
                Next::Gap(gap) => position = gap.end,
                Next::End => {
                    self.has_ended = true;
                    break;
                }
                Next::Missing => {
                    let later = store.next(position / BLOCK_LEN as u64 + 1).filter(|index| *index < self.end);
                    let is_given_up = position == before && now.since(self.since) >= GIVE_UP_AFTER;
                    match later.filter(|_| is_given_up) {
                        Some(index) => position = index * BLOCK_LEN as u64,
                        None => break,
                    }
                }
            }
        }
        if position != before {
            (self.position, self.since) = (Some(position), now);
            session.call(|node, now, _| node.set_stream_position(now, self.job, position));
        }
        self.has_ended
    }
}
