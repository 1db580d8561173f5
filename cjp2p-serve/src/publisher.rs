//! Signs what the names stand for that this server was given: whenever it is something else than before, and no sooner than its peers
//! had time to say what they know of these names.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cjp2p_cli::ToolError;
use cjp2p_io::event_loop::Waker;
use cjp2p_io::pointer_file::PointerFiles;
use cjp2p_io::session::Session;
use cjp2p_io::state_dir::StateDir;
use cjp2p_io::{keys, names};
use cjp2p_wire::content_id::Hash;
use cjp2p_wire::node::Event as NodeEvent;
use cjp2p_wire::signed::{
    Pointer, PointerId, PointerName, PointsTo, PublicKey, SignedPointer, SigningKey, next_seq,
};
use cjp2p_wire::time::Time;

use crate::cli::Cli;
use crate::events::Event;
use crate::library::SharedLibrary;
use crate::names::FilesOf;
use crate::place::Source;

/// So long peers have to say what they know of our own names. Where the state folder was lost, or the clock was set back, a number
/// might be given twice.
const ASK_FOR: Duration = Duration::from_secs(10);
/// How often it is looked whether another tool has learned what a name stands for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a name is to stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    blake3: Hash,
    sha256: Hash,
    length: u64,
    kind: PointsTo,
}

impl Target {
    fn is_that_of(&self, pointer: &Pointer) -> bool {
        pointer.sha256 == self.sha256 && pointer.blake3 == Some(self.blake3) && pointer.kind == self.kind
    }
}

/// A name, and the argument that it is given to.
#[derive(Debug)]
struct Named {
    id: PointerId,
    /// The argument's number.
    source: u32,
    /// Where the argument is, if it is a file. Another one, which it lies in, may be what it is shared by.
    file: Option<PathBuf>,
    /// What it is to stand for, once that is known.
    target: Option<Target>,
    /// Where the index has its files.
    files: FilesOf,
    signed: Option<SignedPointer>,
    /// The greatest number that anybody was seen to have.
    greatest: Option<u64>,
    /// It was told that it stands for something.
    told: bool,
}

/// The key and the names, found out while any file may be read.
#[derive(Debug)]
pub(crate) struct Prepared {
    key: SigningKey,
    /// With the number of the argument, and where that is, if it is a file.
    names: Vec<(PointerName, u32, Option<PathBuf>)>,
}

impl Prepared {
    /// What the command line asks for: the first name for the first argument, and so on.
    ///
    /// # Errors
    ///
    /// More names than arguments, or one name twice; the key cannot be had, or lies in what is shared.
    pub(crate) fn of(
        cli: &Cli,
        sources: &[Arc<Source>],
        state: Option<&StateDir>,
    ) -> Result<Option<Prepared>, ToolError> {
        if cli.names.is_empty() {
            return Ok(None);
        }
        if cli.names.len() > sources.len() {
            let message =
                format!("--name: {} names for {} folders and files", cli.names.len(), sources.len());
            return Err(ToolError::usage(message));
        }
        if cli.names.iter().collect::<BTreeSet<_>>().len() < cli.names.len() {
            return Err(ToolError::usage("--name: the same name twice"));
        }
        let key = key_of(cli, sources, state, &[], "--name")?;
        let file = |source: &Source| source.only.is_some().then(|| source.path());
        let named = cli.names.iter().cloned().zip(sources);
        let names = named.map(|(name, source)| (name, source.number, file(source))).collect();
        Ok(Some(Prepared { key, names }))
    }
}

/// The key to sign by, for what `option` asks for. Besides what is shared and the state folder, these folders will be read.
///
/// # Errors
///
/// It cannot be had, or lies in what is shared or will be read.
pub(crate) fn key_of(
    cli: &Cli,
    sources: &[Arc<Source>],
    state: Option<&StateDir>,
    folders: &[PathBuf],
    option: &str,
) -> Result<SigningKey, ToolError> {
    let path = cli.key.clone().or_else(keys::default_path);
    let path = path
        .ok_or_else(|| ToolError::usage(format!("{option}: no home folder for the key: use --key FILE")))?;
    let key = keys::load_or_make(&path).map_err(|error| ToolError::failure(format!("key: {error}")))?;
    let readable = sources.iter().map(|source| source.path()).chain(folders.iter().cloned());
    let folders: Vec<_> = readable.chain(state.map(|state| state.path().to_path_buf())).collect();
    if keys::is_below(&path, &folders) {
        let message = format!(
            "key: {} lies in what is shared, or in the state folder; move it, and name it by --key",
            names::shown(&path)
        );
        return Err(ToolError::usage(message));
    }
    Ok(key)
}

/// What was newly signed, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) pointer: SignedPointer,
    /// The argument's number.
    pub(crate) source: u32,
    /// It had not been told before.
    pub(crate) is_first: bool,
}

/// See the [module](self).
pub(crate) struct Publisher {
    key: Option<SigningKey>,
    names: Vec<Named>,
    /// Peers had their time to say what they know.
    may_sign: bool,
    asked: BTreeSet<SocketAddr>,
    keeper: Keeper,
}

impl Publisher {
    /// Publishes what is `prepared`, and goes on where the last one stopped that had these `files`. `waker` is woken when another
    /// tool learned what some name stands for.
    pub(crate) fn new(prepared: Option<Prepared>, files: PointerFiles, waker: Waker) -> Publisher {
        let (key, names) = match prepared {
            Some(Prepared { key, names }) => (Some(key), names),
            None => (None, Vec::new()),
        };
        let public = key.as_ref().map(SigningKey::public);
        let named = names.into_iter().zip(public.into_iter().cycle()).map(|((name, source, file), key)| {
            let id = PointerId { key, name };
            let signed = files.get(&id);
            let greatest = signed.as_ref().map(|signed| signed.pointer().seq);
            let files = (source, PathBuf::new());
            Named { id, source, file, target: None, files, signed, greatest, told: false }
        });
        let names = named.collect();
        Publisher { key, names, may_sign: false, asked: BTreeSet::new(), keeper: Keeper::start(files, waker) }
    }

    /// How many names it publishes.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// The key by which others know the publisher, if it has names to publish.
    pub(crate) fn public_key(&self) -> Option<PublicKey> {
        self.key.as_ref().map(SigningKey::public)
    }

    /// When there is something to do.
    pub(crate) fn due(&self) -> Time {
        if self.may_sign || self.names.is_empty() { Time::NEVER } else { Time::ZERO + ASK_FOR }
    }

    /// Takes note of what the arguments that have a name are now.
    pub(crate) fn take_share_event(&mut self, event: &Event) {
        match event {
            Event::Shared { file, ids, .. } => {
                let source = &file.place.source;
                let is_at = |path: &PathBuf| *path == source.root.path().join(&file.place.relative);
                let is_it = |named: &Named| {
                    let is_own = source.only.is_some() && named.source == source.number;
                    is_own || named.file.as_ref().is_some_and(is_at)
                };
                let (blake3, sha256, length) = (ids.blake3, ids.sha256, file.identity.size);
                for named in self.names.iter_mut().filter(|named| is_it(named)) {
                    named.target = Some(Target { blake3, sha256, length, kind: PointsTo::File });
                }
            }
            Event::Published(published) => {
                let (list, sha256) = (published.list, published.sha256);
                let (blake3, length) = (list.root, list.length);
                let number = published.source.number;
                if let Some(named) = self.names.iter_mut().find(|named| named.source == number) {
                    named.target = Some(Target { blake3, sha256, length, kind: PointsTo::Folder });
                    named.files = (published.known_by, published.below.clone());
                }
            }
            _ => {}
        }
    }

    /// Takes in what a peer knows of our own names.
    pub(crate) fn take_event(&mut self, event: &NodeEvent) {
        let NodeEvent::Latest { from, pointer, .. } = event else { return };
        let Pointer { id, seq, .. } = pointer.pointer();
        let Some(named) = self.names.iter_mut().find(|named| named.id == *id) else { return };
        if named.greatest.is_some_and(|greatest| *seq > greatest) {
            log::warn!("{from} knows a newer {id} than this server: is it published elsewhere too?");
        }
        named.greatest = named.greatest.max(Some(*seq));
        if named.signed.as_ref().is_none_or(|signed| pointer.is_newer_than(signed)) {
            // If it still stands for that, it need not be signed again.
            named.signed = Some((**pointer).clone());
        }
    }

    /// Asks the peers that were `met`, and signs what is to be signed. `looks`: others may still be met soon.
    pub(crate) fn turn(
        &mut self,
        session: &mut Session<SharedLibrary>,
        met: &[SocketAddr],
        looks: bool,
    ) -> Vec<News> {
        for pointer in self.keeper.learned() {
            let id = pointer.pointer().id.clone();
            if session.store_mut().names_mut().hear(pointer) {
                session.call(|node, now, library| node.handle_news_of(now, &id, library));
            }
        }
        if self.names.is_empty() {
            return Vec::new();
        }
        if !self.may_sign {
            let ids: Vec<PointerId> = self.names.iter().map(|named| named.id.clone()).collect();
            for &address in met.iter().filter(|address| self.asked.insert(**address)) {
                session.call(|node, now, _| node.ask_latest(now, address, &ids, false, false));
            }
            let has_ended = !looks && session.node().awaits_latest() == 0;
            self.may_sign = has_ended || session.now() >= Time::ZERO + ASK_FOR;
        }
        if self.may_sign { self.sign(session) } else { Vec::new() }
    }

    fn sign(&mut self, session: &mut Session<SharedLibrary>) -> Vec<News> {
        let (Some(key), mut news) = (&self.key, Vec::new()) else { return Vec::new() };
        for named in &mut self.names {
            let Some(target) = named.target else { continue };
            let is_that = named.signed.as_ref().is_some_and(|signed| target.is_that_of(signed.pointer()));
            if is_that && named.told {
                continue;
            }
            let pointer = match named.signed.take() {
                Some(signed) if is_that => signed,
                before => {
                    let Some(seq) = next_seq(unix_s(), named.greatest) else {
                        log::warn!("{}: there are no greater numbers left", named.id);
                        // Until it is to stand for something else.
                        (named.signed, named.target) = (before, None);
                        continue;
                    };
                    let Target { blake3, sha256, length, kind } = target;
                    let (id, blake3, length) = (named.id.clone(), Some(blake3), Some(length));
                    SignedPointer::sign(key, Pointer { id, sha256, seq, blake3, length, kind })
                }
            };
            named.greatest = named.greatest.max(Some(pointer.pointer().seq));
            named.signed = Some(pointer.clone());
            self.keeper.keep(pointer.clone());
            session.store_mut().names_mut().publish(key, named.files.clone(), pointer.clone());
            session.call(|node, now, library| node.handle_news_of(now, &named.id, library));
            let is_first = !std::mem::replace(&mut named.told, true);
            news.push(News { pointer, source: named.source, is_first });
        }
        news
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The thread that reads and writes the files of names, which the network does not wait for.
struct Keeper {
    to_keep: Sender<SignedPointer>,
    learned: Receiver<Vec<SignedPointer>>,
}

impl Keeper {
    fn start(files: PointerFiles, waker: Waker) -> Keeper {
        let (to_keep, waiting) = mpsc::channel();
        let (sender, learned) = mpsc::channel();
        let run = move || {
            let mut seen = None;
            loop {
                let modified = files.modified();
                if modified != seen {
                    seen = modified;
                    if sender.send(files.all()).is_err() {
                        return;
                    }
                    waker.wake();
                }
                match waiting.recv_timeout(LOOK_EVERY) {
                    Ok(pointer) => {
                        if let Err(error) = files.put(&pointer) {
                            log::warn!("what a name stands for is not remembered: {error}");
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        if let Err(error) = thread::Builder::new().name("names".into()).spawn(run) {
            log::warn!("what names stand for is not remembered: {error}");
        }
        Keeper { to_keep, learned }
    }

    fn keep(&self, pointer: SignedPointer) {
        // Fails only where there is no thread, which was told.
        let _ = self.to_keep.send(pointer);
    }

    fn learned(&self) -> Vec<SignedPointer> {
        self.learned.try_iter().flatten().collect()
    }
}
