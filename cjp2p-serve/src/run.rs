//! Runs the command: puts the share, the node and the event loop together.

use std::fs;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cjp2p_cli::network::{NetworkStart, release_signals};
use cjp2p_cli::progress::Progress;
use cjp2p_cli::start::end_by;
use cjp2p_cli::{Exit, ToolError, stdout};
use cjp2p_io::event_loop::EventLoop;
use cjp2p_io::listen::Listen;
use cjp2p_io::lookup::Lookup;
use cjp2p_io::mainline::{Entry, Mainline};
use cjp2p_io::names;
use cjp2p_io::peer_file::PeerFile;
use cjp2p_io::pointer_file::PointerFiles;
use cjp2p_io::readiness::{Interest, Readiness};
use cjp2p_io::sandbox::{Confinement, Sandbox};
use cjp2p_io::session::{Policy, Session};
use cjp2p_io::signals::ending;
use cjp2p_io::state_dir::StateDir;
use cjp2p_wire::content_id::ContentId;
use cjp2p_wire::peers::address::DEFAULT_PORT;
use cjp2p_wire::time::Time;
use nix::sys::signal::Signal;

use crate::announcer::Announcer;
use crate::ask_status;
use crate::cli::{Cli, TOOL};
use crate::dry_run::dry_run;
use crate::events::Event;
use crate::insight::{self, Insight};
use crate::invitation::Invitation;
use crate::job::{job, lock};
use crate::library::SharedLibrary;
use crate::mounts::Mounts;
use crate::neighbours::Neighbours;
use crate::open_for_server;
use crate::opener::Opener;
use crate::place::Source;
use crate::publisher::{Prepared, Publisher};
use crate::report::Report;
use crate::router::{Helper, Outcome, Router, default_gateway};
use crate::share::{Options, Share, open_sources};
use crate::status::{MAX_NAMED, OfId, Status, ToPeer};
use crate::stream::{self, Streams};
use crate::torrents::{self, Torrents};
use crate::walk::Rules;

/// Where to listen if nothing is said: a peer that is told a host name alone finds it there.
const CONVENTIONAL: Listen = Listen::Everywhere { port: DEFAULT_PORT };
/// What is shared where nothing is named.
const DEFAULT_FOLDER: &str = "cjp2p";
/// How often a summary of what was sent is printed, if anything was.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);
/// What nobody asked for in so long is not kept in memory.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Files that nobody reads in so long are closed, lest a file system be busy that somebody wants to unmount.
const CLOSE_EVERY: Duration = Duration::from_millis(250);
/// How often the bar moves while files are hashed.
const BAR_EVERY: Duration = Duration::from_millis(100);

/// Among what is waited for beside the socket.
const OF_TORRENTS: u64 = 0;
const OF_INSIGHT: u64 = 1;

/// Runs the command.
pub(crate) fn run(cli: Cli) -> Result<Exit, ToolError> {
    let rules = Rules { hidden: cli.hidden, follow: cli.follow };
    if cli.open_for_server {
        return open_for_server::run(&cli.paths, rules);
    }
    cli.log.start(TOOL);
    if cli.status {
        return ask_status::run(&cli);
    }
    let mut sources = open_sources(&arguments(&cli)?)
        .map_err(|(path, error)| ToolError::failure(format!("{}: {error}", names::shown(path))))?;
    if cli.dry_run {
        return dry_run(&sources, rules, &Report::new(cli.json, cli.log.quiet > 0));
    }
    let state =
        cli.state.open_or_do_without("no id, tree and peer is remembered, and no folder published")?;
    let state = state.as_ref();
    // The key is read before this process is confined, and out of its reach afterwards.
    if cli.key.is_some() && cli.names.is_empty() && cli.streams.streams.is_empty() {
        return Err(ToolError::usage("--key: there is nothing to sign without --name or --stream"));
    }
    let prepared = Prepared::of(&cli, &sources, state)?;
    let streams = stream::Prepared::of(&cli, &sources, state)?;
    let job = job(&sources, &cli);
    let Some(lock) = lock(state, &job, &cli)? else {
        return Ok(Exit::Done);
    };
    let insight = insight::Prepared::of(state, lock.as_ref().map(|_| &*job), cli.metrics.as_deref())?;
    // Before it is confined: no process can be started afterwards, as the one that looks up names, which may need whatever it likes.
    let listen = cli.listen.listen.unwrap_or(CONVENTIONAL);
    let contacts = Contacts {
        router: helper_with_router(&cli),
        named: cli.peers.look_up(),
        dht: cli.dht.entry(listen, &cli.peers),
    };
    let mounts = Mounts::open().inspect_err(|error| log::info!("mounts are not noticed: {error}")).ok();
    let opener = opener_for(&sources, rules, &cli);
    // As `nohup` has it; not to be found out later either.
    let outlives_terminal = !ending().contains(&Signal::SIGHUP);
    let torrents = torrents::Prepared::of(&cli.torrents, &cli.paths, listen, cli.lan.is_on(listen))?;
    let needs = needs(&sources, rules, state, streams.as_ref()).see_interfaces(cli.lan.is_on(listen));
    let start = NetworkStart {
        tool: TOOL,
        sandbox: &cli.sandbox,
        needs: torrents.iter().fold(insight.sandbox(needs), |needs, torrents| torrents.sandbox(needs)),
        signals: &[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP],
        listen: &cli.listen,
        default: CONVENTIONAL,
        state,
    };
    let (event_loop, confinement) = start.open()?;
    if confinement.as_ref().is_some_and(|confinement| confinement.refused().contains(&"files")) {
        for source in sources.iter_mut().filter_map(Arc::get_mut) {
            source.opener.clone_from(&opener);
        }
    }
    // Where it is not needed it ends here.
    drop(opener);
    let start = Start {
        event_loop,
        contacts,
        prepared,
        streams,
        torrents,
        sources,
        rules,
        mounts,
        outlives_terminal,
        insight,
    };
    let mut server = Server::start(cli, start, state, confinement.as_ref())?;
    let ended = server.run()?;
    server.save()?;
    // Whatever is still to be written down is written before the signal ends the process.
    drop(server);
    let Some(signal) = ended else {
        return Ok(Exit::Done);
    };
    end_by(signal);
    // The process that started this one had that signal ignored.
    Ok(Exit::of_signal(signal))
}

/// The peers and others that are to know this node, found out while any file may be read.
struct Contacts {
    /// `None` where no router is to be asked for a port.
    router: Option<Helper>,
    named: Lookup,
    /// `None` where the DHT is not to be used.
    dht: Option<Entry>,
}

/// The process that is to ask the router for a port, if one is to be asked.
fn helper_with_router(cli: &Cli) -> Option<Helper> {
    let Some(gateway) = cli.map_port?.or_else(default_gateway) else {
        log::warn!("--map-port: there is no router, as no default route leads to one");
        return None;
    };
    Helper::start(gateway, &cli.sandbox)
        .inspect_err(|error| log::warn!("--map-port: no router is asked: {error}"))
        .ok()
}

fn arguments(cli: &Cli) -> Result<Vec<PathBuf>, ToolError> {
    if !cli.paths.is_empty() || cli.streams.is_used() {
        return Ok(cli.paths.clone());
    }
    let folder = PathBuf::from(DEFAULT_FOLDER);
    if cli.dry_run && !folder.exists() {
        log::warn!("{DEFAULT_FOLDER}: does not exist yet");
        return Ok(Vec::new());
    }
    fs::create_dir_all(&folder).map_err(|error| ToolError::failure(format!("{DEFAULT_FOLDER}: {error}")))?;
    Ok(vec![folder])
}

/// The files that are needed from now on: what is shared, and the state.
fn needs(
    sources: &[Arc<Source>],
    rules: Rules,
    state: Option<&StateDir>,
    streams: Option<&stream::Prepared>,
) -> Sandbox {
    let sandbox = state.map_or_else(Sandbox::new, |state| Sandbox::new().write(state.path()));
    if rules.follow {
        // Where a link leads that somebody will make tomorrow, nobody knows.
        return sandbox.read("/");
    }
    let sandbox = streams.into_iter().flat_map(stream::Prepared::folders).fold(sandbox, Sandbox::read);
    sources.iter().fold(sandbox, |sandbox, source| sandbox.read(source.path()))
}

/// The process that opens what takes the place of the arguments: this one will have no right to it. With `rules.follow` it will.
fn opener_for(sources: &[Arc<Source>], rules: Rules, cli: &Cli) -> Option<Arc<Opener>> {
    if cli.sandbox.no_sandbox || rules.follow {
        return None;
    }
    Opener::start(TOOL, sources.iter().map(|source| &*source.named), rules)
        .inspect_err(|error| log::warn!("the process that opens what is replaced: {error}"))
        .ok()
        .map(Arc::new)
}

/// What was found out and opened before the first thread.
struct Start {
    event_loop: EventLoop,
    contacts: Contacts,
    prepared: Option<Prepared>,
    streams: Option<stream::Prepared>,
    torrents: Option<torrents::Prepared>,
    sources: Vec<Arc<Source>>,
    rules: Rules,
    mounts: Option<Mounts>,
    outlives_terminal: bool,
    insight: insight::Prepared,
}

struct Server {
    share: Share,
    session: Session<SharedLibrary>,
    report: Report,
    neighbours: Neighbours,
    announcer: Announcer,
    publisher: Publisher,
    streams: Streams,
    torrents: Option<Torrents>,
    /// What the arguments are called.
    shown: Vec<PathBuf>,
    router: Option<Router>,
    /// Until everything there at the start is hashed.
    progress: Option<Progress>,
    end_at: Time,
    summary_at: Time,
    forget_at: Time,
    /// When to close the files that nobody reads. Never, where none is open.
    close_at: Time,
    /// Whether HUP ends this process once the terminal is gone.
    on_terminal: bool,
    insight: Insight,
}

impl Server {
    fn start(
        cli: Cli,
        start: Start,
        state: Option<&StateDir>,
        confinement: Option<&Confinement>,
    ) -> Result<Server, ToolError> {
        let Start {
            event_loop,
            contacts,
            prepared,
            streams,
            torrents,
            sources,
            rules,
            mounts,
            outlives_terminal,
            insight,
        } = start;
        let failed =
            |what: &'static str| move |error: io::Error| ToolError::failure(format!("{what}: {error}"));
        let address = event_loop.port().local_address().map_err(failed("socket"))?;
        stdout::write_behind(event_loop.waker());
        let mut report = Report::new(cli.json, cli.log.quiet > 0);
        if io::stdout().is_terminal() {
            report.invite(Invitation::new(address));
        }
        // Of one that cannot be written the user was told.
        let kept_in = state.filter(|state| state.is_writable()).map(StateDir::path);
        let torrents = match torrents {
            Some(prepared) => {
                let (rate, rate_per_host) = (cli.rate, cli.rate_per_host);
                let state = kept_in.map(Path::to_owned);
                let options = torrents::Options { rate, rate_per_host, rules, state };
                Some(Torrents::start(prepared, options, event_loop.waker())?)
            }
            None => None,
        };
        let torrent_address = torrents.as_ref().and_then(Torrents::address);
        let refused = confinement.map(Confinement::refused).unwrap_or_default();
        report.listening(address, torrent_address, refused)?;
        let options = Options { rules, names: !cli.no_names, times: cli.times, ..Options::default() };
        let waker = event_loop.waker();
        let shown = sources.iter().map(|source| source.shown.clone()).collect();
        let publisher = Publisher::new(prepared, PointerFiles::new(state), event_loop.waker());
        let (share, library) =
            Share::start(sources, &options, kept_in, mounts, Arc::new(move || waker.wake()))
                .map_err(failed("threads"))?;
        let policy = Policy {
            upload_rate: cli.rate,
            upload_rate_per_host: cli.rate_per_host,
            answers: true,
            lists: !cli.no_list,
            json_only: cli.framing.no_raw,
        };
        let mut session = Session::start(event_loop, policy, library).map_err(failed("random numbers"))?;
        let mut insight = Insight::start(insight, session.now()).map_err(failed("threads"))?;
        let watched = Readiness::new().map_err(failed("descriptors"))?;
        if let Some(torrents) = &torrents {
            let added = watched.add(torrents.readiness(), OF_TORRENTS, Interest::READ);
            added.map_err(failed("descriptors"))?;
        }
        insight.watch(&watched, OF_INSIGHT).map_err(failed("descriptors"))?;
        session.watch(&watched);
        let has_lan = cli.lan.is_on(cli.listen.listen.unwrap_or(CONVENTIONAL));
        if has_lan {
            session.join_lan(true).map_err(failed("local network"))?;
        }
        let now = session.now();
        let waker = session.waker();
        let named = contacts.named.watch(move || waker.wake());
        let neighbours = Neighbours::new(PeerFile::new(state), named, now, !cli.no_list, session.waker());
        let dht = contacts.dht.and_then(|entry| Mainline::start(entry, session.waker()));
        let port = NonZeroU16::new(address.port());
        let router = contacts.router.zip(port).map(|(helper, port)| helper.ask_for(port, session.waker()));
        let router = router.and_then(|asked| {
            asked.inspect_err(|error| log::warn!("--map-port: a thread for it: {error}")).ok()
        });
        let mut announcer = Announcer::new(dht, address.port());
        publisher.public_key().iter().for_each(|key| announcer.publish(key));
        let of_streams = streams.as_ref().map(stream::Prepared::publishers).unwrap_or_default();
        of_streams.iter().for_each(|key| announcer.publish(key));
        let streams = Streams::start(streams, &mut session, &report, has_lan)?;
        Ok(Server {
            announcer,
            publisher,
            streams,
            torrents,
            shown,
            router,
            share,
            report,
            neighbours,
            progress: Some(cli.progress.start(TOOL, &cli.log)),
            end_at: cli.duration.map_or(Time::NEVER, |duration| now + duration),
            summary_at: now + SUMMARY_EVERY,
            forget_at: now + FORGET_EVERY,
            close_at: now + CLOSE_EVERY,
            on_terminal: io::stderr().is_terminal() && !outlives_terminal,
            insight,
            session,
        })
    }

    /// Serves until the time is over, or gives the signal that ended it.
    fn run(&mut self) -> Result<Option<Signal>, ToolError> {
        self.insight.is_ready();
        loop {
            let now = self.session.now();
            if now >= self.end_at {
                return Ok(None);
            }
            let until = self.next_due(now);
            let wake =
                self.session.turn(until).map_err(|error| ToolError::failure(format!("network: {error}")))?;
            match wake.signal {
                Some(Signal::SIGHUP) if !self.terminal_is_gone() => {
                    self.share.rescan();
                    self.insight.is_reloading();
                }
                Some(signal) => return Ok(Some(signal)),
                None => {}
            }
            if wake.woken {
                stdout::check()?;
                self.take_share_events()?;
                self.take_news_of_router()?;
                self.session.call(|node, now, library| node.handle_library_ready(now, library));
            }
            self.neighbours.turn(&mut self.session);
            while let Some(event) = self.session.next_event() {
                self.neighbours.take_event(self.session.now(), &event);
                self.publisher.take_event(&event);
                self.streams.take_event(&mut self.session, &event)?;
            }
            self.streams.turn(&mut self.session, &self.report)?;
            if let Some(torrents) = &mut self.torrents {
                torrents.turn(self.session.now(), wake.woken, &self.report)?;
                for (hash, port) in torrents.take_public() {
                    self.announcer.share_torrent(hash, port);
                }
            }
            self.publish()?;
            self.announcer.turn(self.session.now());
            self.show_progress();
            self.show_insight(wake.ready);
            if self.session.now() >= self.summary_at {
                self.summary_at = self.session.now() + SUMMARY_EVERY;
                self.report.served(self.session.node().counters())?;
                self.announcer.look_at_use(self.session.store());
            }
            if self.session.now() >= self.forget_at {
                self.forget_at = self.session.now() + FORGET_EVERY;
                self.session.store_mut().forget_unused();
            }
            self.close_files();
        }
    }

    /// Signs what names stand for now, and says so.
    fn publish(&mut self) -> Result<(), ToolError> {
        let (met, looks) = (self.neighbours.take_met(), self.neighbours.looks());
        self.streams.meet(&mut self.session, &met);
        for news in self.publisher.turn(&mut self.session, &met, looks) {
            if let Some(path) = self.shown.get(news.source as usize) {
                self.report.named(&news, path)?;
            }
        }
        Ok(())
    }

    /// Closes the files that nobody reads just now.
    fn close_files(&mut self) {
        let now = self.session.now();
        if now >= self.close_at {
            self.session.store_mut().close_unused();
            self.close_at = if self.session.store().has_open() { now + CLOSE_EVERY } else { Time::NEVER };
        } else if self.close_at == Time::NEVER && self.session.store_mut().has_open() {
            self.close_at = now + CLOSE_EVERY;
        }
    }

    fn next_due(&self, now: Time) -> Time {
        let bar = self.progress.as_ref().map_or(Time::NEVER, |_| now + BAR_EVERY);
        self.end_at
            .min(self.close_at)
            .min(self.summary_at)
            .min(self.neighbours.due())
            .min(self.insight.due())
            .min(self.announcer.due())
            .min(self.publisher.due())
            .min(self.torrents.as_ref().map_or(Time::NEVER, Torrents::due))
            .min(bar)
    }

    fn take_share_events(&mut self) -> Result<(), ToolError> {
        // Where nobody reads what is printed, no more is taken.
        let library = self.session.store_mut();
        let events = if stdout::is_full() { self.share.collect(library) } else { self.share.poll(library) };
        self.announcer.take_events(&events, self.session.store());
        if events
            .iter()
            .any(|event| matches!(event, Event::Shared { .. } | Event::Published(_) | Event::Ready { .. }))
        {
            self.neighbours.have_news(self.session.now());
        }
        for event in &events {
            self.publisher.take_share_event(event);
            if let Event::Ready { files, bytes, .. } = event {
                self.show_progress();
                if let Some(progress) = self.progress.take() {
                    progress.finish();
                }
                self.report.ready(*files, *bytes);
            }
        }
        self.report.events(&events)
    }

    fn take_news_of_router(&mut self) -> Result<(), ToolError> {
        for outcome in self.router.iter().flat_map(Router::news) {
            match outcome {
                Outcome::Mapped { address, port } => {
                    self.announcer.set_port(port.get());
                    self.report.mapped(address, port.get())?;
                }
                Outcome::Failed(why) => log::warn!("--map-port: the router gives no port: {why}"),
            }
        }
        Ok(())
    }

    fn show_progress(&mut self) {
        let (done, total) = self.share.hashing();
        if let Some(progress) = self.progress.as_mut().filter(|_| total > 0) {
            progress.update(done, Some(total), 0);
        }
    }

    /// Says how it goes to those who want to know it.
    fn show_insight(&mut self, ready: bool) {
        let (now, sent) = (self.session.now(), self.session.node().counters().content_out);
        let mut insight = std::mem::take(&mut self.insight);
        insight.turn(now, sent, ready, |insight| self.status(insight));
        self.insight = insight;
    }

    fn status(&self, insight: &Insight) -> Status {
        let (now, node, library) = (self.session.now(), self.session.node(), self.session.store());
        let (counters, totals, given) = (node.counters(), library.totals(), library.given());
        let (hashing_done, hashing_total) = self.share.hashing();
        let (mut known, mut validated) = (0, 0);
        for peer in node.acquaintances() {
            known += 1;
            validated += u64::from(peer.validated_since.is_some());
        }
        let address = self.session.port().local_address();
        let torrents = self.torrents.as_ref();
        let of_id = |(id, sent): (&ContentId, u64)| OfId { id: id.to_string(), sent };
        let to_peer = |(host, sent): (&IpAddr, u64)| ToPeer { host: host.to_string(), sent };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: now.since(Time::ZERO).as_millis() as u64,
            address: address.map(|address| address.to_string()).unwrap_or_default(),
            torrent_address: torrents.and_then(Torrents::address).map(|address| address.to_string()),
            files: totals.files,
            bytes: totals.bytes,
            hashing_done,
            hashing_total,
            names: self.publisher.len() as u64,
            streams: self.streams.len() as u64,
            torrents: torrents.map_or(0, Torrents::len) as u64,
            requests: counters.requests_served,
            sent: counters.content_out,
            rate: insight.rate(now, counters.content_out),
            reads: given.reads,
            disk_waits: given.waits,
            peers_known: known,
            peers_validated: validated,
            absent: given.absent,
            unreadable: counters.unreadable,
            by_id: given.of_ids(MAX_NAMED).into_iter().map(of_id).collect(),
            by_peer: given.to_hosts(MAX_NAMED).into_iter().map(to_peer).collect(),
        }
    }

    /// HUP asks for another look at the files, but a terminal that closes sends it too.
    fn terminal_is_gone(&self) -> bool {
        self.on_terminal && !io::stderr().is_terminal()
    }

    /// Writes down what has to be kept. From here on a second signal ends the process at once.
    fn save(&mut self) -> Result<(), ToolError> {
        release_signals();
        self.insight.is_stopping();
        self.progress = None;
        self.streams.end(&mut self.session, &self.report)?;
        if let Some(torrents) = &mut self.torrents {
            torrents.end(self.session.now());
        }
        self.neighbours.save_at_end(&self.session);
        self.router = None;
        self.report.served(self.session.node().counters())
    }
}
