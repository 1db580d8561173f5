//! Streams: those that begin here, from standard input or a file that grows, and those of others that are passed on.
//!
//! Each that begins here has [a thread](origin) that reads, cuts and signs. What is signed goes to the node, and by
//! [a thread of the disk](cjp2p_io::stream_files::StreamStore) to the state folder.

mod input;
mod origin;
mod pace;
mod relay;
mod reserve;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cjp2p_cli::{Exit, ToolError};
use cjp2p_io::names;
use cjp2p_io::session::Session;
use cjp2p_io::state_dir::StateDir;
use cjp2p_io::stream_files::{Record, StreamFolder, StreamStore};
use cjp2p_wire::node::Event;
use cjp2p_wire::signed::{PublicKey, SigningKey};
use cjp2p_wire::stream::StreamId;

use crate::cli::Cli;
use crate::library::SharedLibrary;
use crate::place::Source;
use crate::publisher::key_of;
use crate::report::Report;
use crate::stream_args::StreamArgs;
use input::Input;
use origin::{News, Origin, Plan};
use relay::Relay;

/// News of one stream that are taken at a time: others have their turn between.
const NEWS_AT_ONCE: usize = 256;

/// What was found and opened while any file may be read.
#[derive(Debug)]
pub(crate) struct Prepared {
    key: Option<SigningKey>,
    origins: Vec<(StreamFolder, Record, Input)>,
    relays: Vec<StreamFolder>,
    args: StreamArgs,
}

impl Prepared {
    /// What the command line asks for.
    ///
    /// # Errors
    ///
    /// Options that do not go together, a file or key that cannot be had, or another process that has the same stream.
    pub(crate) fn of(
        cli: &Cli,
        sources: &[Arc<Source>],
        state: Option<&StateDir>,
    ) -> Result<Option<Prepared>, ToolError> {
        let args = cli.streams.clone();
        if let Some(option) = args.needless() {
            return Err(ToolError::usage(format!("{option} is for streams: it needs --stream")));
        }
        if !args.is_used() {
            return Ok(None);
        }
        let state = state.filter(|state| state.is_writable()).ok_or_else(|| {
            ToolError::failure("a stream needs a state folder: what was signed must be remembered")
        })?;
        if args.streams.iter().filter(|spec| spec.file.is_none()).count() > 1 {
            return Err(ToolError::usage("--stream: only one stream can come from standard input"));
        }
        let mut origins = Vec::new();
        let mut key = None;
        if !args.streams.is_empty() {
            let inputs = args.streams.iter().map(|spec| match &spec.file {
                None => Input::standard().map_err(|error| ToolError::usage(format!("--stream: {error}"))),
                Some(path) => Input::file(path).map_err(|error| {
                    ToolError::failure(format!("--stream: {}: {error}", names::shown(path)))
                }),
            });
            let inputs: Vec<Input> = inputs.collect::<Result<_, _>>()?;
            let folders: Vec<PathBuf> = inputs.iter().filter_map(Input::folder).collect();
            let signer = key_of(cli, sources, Some(state), &folders, "--stream")?;
            for (spec, input) in args.streams.iter().zip(inputs) {
                let id = StreamId::to_give(signer.public(), &spec.name)
                    .map_err(|error| ToolError::usage(format!("--stream: {error}")))?;
                let folder = open(state, &id)?;
                let record = Record::read(&folder.record_path(), &id)
                    .map_err(|error| ToolError::failure(format!("{id}: {error}")))?;
                origins.push((folder, record, input));
            }
            key = Some(signer);
        }
        let relays = args.relays.iter().map(|id| open(state, id)).collect::<Result<_, _>>()?;
        Ok(Some(Prepared { key, origins, relays, args }))
    }

    /// The folders that are to be read later: another file may take the name of one that grows.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.origins.iter().filter_map(|(_, _, input)| input.folder())
    }

    /// Those whose streams are here.
    pub(crate) fn publishers(&self) -> Vec<PublicKey> {
        let of_others = self.relays.iter().map(|folder| *folder.id().key());
        let keys: BTreeSet<PublicKey> = self.key.iter().map(SigningKey::public).chain(of_others).collect();
        keys.into_iter().collect()
    }
}

fn open(state: &StateDir, id: &StreamId) -> Result<StreamFolder, ToolError> {
    let folder =
        StreamFolder::open(state, id).map_err(|error| ToolError::failure(format!("{id}: {error}")))?;
    folder.ok_or_else(|| ToolError::new(Exit::Busy, format!("{id}: another process shares or relays it")))
}

/// A stream that begins here.
struct Own {
    id: StreamId,
    origin: Origin,
    /// Holds the lock.
    _folder: StreamFolder,
}

/// See the [module](self).
#[derive(Default)]
pub(crate) struct Streams {
    own: Vec<Own>,
    relays: Vec<(Relay, StreamFolder)>,
}

impl Streams {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.own.len() + self.relays.len()
    }

    /// Starts all.
    ///
    /// # Errors
    ///
    /// Where the system has no thread left.
    pub(crate) fn start(
        prepared: Option<Prepared>,
        session: &mut Session<SharedLibrary>,
        report: &Report,
        has_lan: bool,
    ) -> Result<Streams, ToolError> {
        let Some(Prepared { key, origins, relays, args }) = prepared else { return Ok(Streams::default()) };
        let failed = |error: std::io::Error| ToolError::failure(format!("threads: {error}"));
        let mut streams = Streams::default();
        for ((folder, record, input), key) in origins.into_iter().zip(key.into_iter().cycle()) {
            let id = folder.id().clone();
            let store =
                StreamStore::on_disk(folder.blocks(), args.keep(), session.waker()).map_err(failed)?;
            let plan = Plan {
                key,
                id: id.clone(),
                input,
                record,
                record_path: folder.record_path(),
                files: folder.blocks(),
                marks: args.marks(),
                flush: args.flush(),
            };
            let origin = Origin::start(plan, store.floor(), session.waker()).map_err(failed)?;
            session.store_mut().streams_mut().insert(id.clone(), store);
            session.call(|node, now, _| node.publish_stream(now, &id));
            report.stream(&id, false)?;
            streams.own.push(Own { id, origin, _folder: folder });
        }
        for folder in relays {
            let id = folder.id().clone();
            let store =
                StreamStore::on_disk(folder.blocks(), args.keep(), session.waker()).map_err(failed)?;
            session.store_mut().streams_mut().insert(id.clone(), store);
            let relay = Relay::start(id.clone(), folder.statement_path(), session);
            if has_lan {
                session.call(|node, now, _| node.look_on_lan(now, relay.job, std::time::Duration::ZERO));
            }
            report.stream(&id, true)?;
            streams.relays.push((relay, folder));
        }
        Ok(streams)
    }

    /// Asks these peers too for what is relayed.
    pub(crate) fn meet(&self, session: &mut Session<SharedLibrary>, met: &[SocketAddr]) {
        for (relay, _) in &self.relays {
            for &address in met {
                session.call(|node, now, _| node.add_source(now, relay.job, address, false));
            }
        }
    }

    /// Takes in what the node reports.
    pub(crate) fn take_event(
        &mut self,
        session: &mut Session<SharedLibrary>,
        event: &Event,
    ) -> Result<(), ToolError> {
        match event {
            Event::Stream(job, event) => {
                let relay = self.relays.iter_mut().find(|(relay, _)| relay.job == *job);
                relay.map_or(Ok(()), |(relay, _)| relay.take_event(event))
            }
            Event::Neighbour(address) => {
                self.meet(session, &[*address]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Gives the node what is new.
    ///
    /// # Errors
    ///
    /// A stream cannot go on, or standard output cannot be written.
    pub(crate) fn turn(
        &mut self,
        session: &mut Session<SharedLibrary>,
        report: &Report,
    ) -> Result<(), ToolError> {
        for own in &self.own {
            let news: Vec<News> = own.origin.news.try_iter().take(NEWS_AT_ONCE).collect();
            if news.len() == NEWS_AT_ONCE {
                session.waker().wake();
            }
            for news in news {
                own.take(session, report, news)?;
            }
            tell_of_read(session, &own.id);
        }
        for (relay, _) in &mut self.relays {
            tell_of_read(session, &relay.id);
            if relay.turn(session) {
                let id = relay.id.clone();
                log::info!("{id}: has ended");
                session.call(|node, now, _| node.publish_stream(now, &id));
            }
        }
        Ok(())
    }

    /// Has all signed and written that came.
    ///
    /// # Errors
    ///
    /// As for [`Streams::turn`].
    pub(crate) fn end(
        &mut self,
        session: &mut Session<SharedLibrary>,
        report: &Report,
    ) -> Result<(), ToolError> {
        let mut result = Ok(());
        for own in &mut self.own {
            for news in own.origin.end() {
                result = result.and(own.take(session, report, news));
            }
        }
        session.store_mut().streams_mut().finish();
        result
    }
}

impl Own {
    fn take(
        &self,
        session: &mut Session<SharedLibrary>,
        report: &Report,
        news: News,
    ) -> Result<(), ToolError> {
        let id = &self.id;
        match news {
            News::Block(block) => {
                let index = block.index();
                let store = session.store_mut().streams_mut().store_mut(id);
                if store.is_some_and(|store| store.put(block)) {
                    session.call(|node, now, library| node.on_stream_block(now, id, index, library));
                }
            }
            News::Statement(statement) => {
                session.call(|node, now, _| node.set_stream_statement(now, &statement));
            }
            News::Part(offset, why) => report.stream_part(id, offset, why)?,
            News::Ended { length, blake3 } => report.stream_ended(id, length, blake3.as_ref())?,
            News::Failed(why) => return Err(ToolError::failure(format!("{id}: {why}"))),
        }
        Ok(())
    }
}

/// Tells the node of the blocks that were read from the disk since: whoever waits for them gets them.
fn tell_of_read(session: &mut Session<SharedLibrary>, id: &StreamId) {
    let store = session.store_mut().streams_mut().store_mut(id);
    for index in store.map(StreamStore::take_read).unwrap_or_default() {
        session.call(|node, now, library| node.on_stream_block(now, id, index, library));
    }
}
